"""Measurements with what an explorer shows besides."""

import dataclasses


def extended(kind, data, **more):
    """A measurement as one of a subclass that has further fields.

    Args:
        kind: Dataclass that extends that of the measurement.
        data: The measurement.
        **more: Values of the further fields.

    Returns:
        A `kind`, whose other fields are those of the measurement.
    """
    return kind(**{field.name: getattr(data, field.name) for field in dataclasses.fields(data)}, **more)
