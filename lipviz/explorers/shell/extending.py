"""Measurements with further fields, for what else an explorer shows."""

import dataclasses
from typing import Any, TypeVar

_Kind = TypeVar("_Kind")


def extended(kind: type[_Kind], data: Any, **more: Any) -> _Kind:
    """Convert a measurement to a subclass that has further fields.

    Args:
        kind: Dataclass that is a subclass of the measurement's.
        data: The measurement.
        **more: Values of the further fields.

    Returns:
        A `kind`, whose other fields are those of the measurement.
    """
    return kind(**{field.name: getattr(data, field.name) for field in dataclasses.fields(data)}, **more)
