"""What a checkpoint holds of a model and of callbacks, and how they get it back."""

import json
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from lipviz.distributed.files import CheckpointError
from lipviz.parametrizations.variables import copied
from lipviz.types import Array


def groups_of(model: keras.Model) -> dict[str, list[keras.Variable]]:
    """All variables of a compiled model: its own with seeds, those of the optimizer, of metrics and of losses."""
    return {"model": model.variables, "optimizer": model.optimizer.variables, "metrics": model.metrics_variables}


def _named(model):
    return {f"{group}/{i}": v for group, variables in groups_of(model).items() for i, v in enumerate(variables)}


def description(model: keras.Model) -> list[list[str]]:
    """Name, last part of the path, shape and dtype of each variable, by which a checkpoint knows its model."""
    return [
        [name, variable.path.split("/")[-1], str(tuple(variable.shape)), str(variable.dtype)]
        for name, variable in _named(model).items()
    ]


def values_of(model: keras.Model) -> dict[str, Array]:
    """Values of all variables, by name. Reading metrics sums over workers on TensorFlow: all must call it."""
    return {name: _stored(variable) for name, variable in _named(model).items()}


def shared_bytes(values: dict[str, Array]) -> bytes:
    """What must be the same on all workers: the weights and the state of the optimizer."""
    return b"".join(value.tobytes() for name, value in values.items() if not name.startswith("metrics/"))


def _stored(variable):
    """The value as an array of a dtype that NumPy's files have."""
    value = copied(variable)
    return value if value.dtype.kind in "fiub" else value.view(f"u{value.dtype.itemsize}")


def restore(model: keras.Model, values: dict[str, Array], described: list[list[str]], path: Any) -> None:
    """Give all variables their values.

    Args:
        model: Compiled model, all of whose variables exist.
        values: What `values_of` returned.
        described: What `description` returned.
        path: File that they come from.

    Raises:
        CheckpointError: If they are those of another model.
    """
    expected = description(model)
    if expected != described:
        raise CheckpointError(f"{path} is a checkpoint of another model: {_first_difference(expected, described)}")
    variables = _named(model)
    for _ in range(2):  # assigning `wbar` changes `origin`, wherever that stands
        for name, variable in variables.items():
            stored = values[name]
            if not np.array_equal(_stored(variable), stored):
                value = (
                    stored if stored.dtype.kind == "f" or "float" not in variable.dtype else _viewed(stored, variable)
                )
                variable.assign(value)


def _viewed(stored, variable):
    return stored.view(copied(variable).dtype)


def _first_difference(expected, described):
    if len(expected) != len(described):
        return f"it has {len(described)} variables, this model with its optimizer and metrics {len(expected)}"
    ours, theirs = next((a, b) for a, b in zip(expected, described, strict=True) if a != b)
    return f"its variable {theirs[0]} is {' '.join(theirs[1:])}, that of this model {' '.join(ours[1:])}"


# --- callbacks ---


def counters_of(callbacks: Sequence[keras.callbacks.Callback]) -> list[dict[str, Any]]:
    """Attributes of each callback that JSON can hold: numbers, texts, and lists and dicts of them."""
    return [
        {name: held for name, value in vars(each).items() if (held := _held(value)) is not _NONE} for each in callbacks
    ]


_NONE = object()


def _held(value):
    """A value as JSON gives it back; `_NONE` if JSON cannot hold it."""
    if isinstance(value, np.bool_ | np.number):
        value = value.item()
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError, RecursionError):
        return _NONE


def changed(counters: list[dict[str, Any]], since: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of `counters` that are not the same as when training began."""
    return [
        {name: value for name, value in now.items() if then.get(name, _NONE) != value}
        for now, then in zip(counters, since, strict=True)
    ]


def restore_counters(callbacks: Sequence[keras.callbacks.Callback], counters: list[dict[str, Any]]) -> None:
    """Give callbacks their counters back, if they are as many as before."""
    if len(callbacks) == len(counters):
        for callback, values in zip(callbacks, counters, strict=True):
            for name, value in values.items():
                setattr(callback, name, value)
