"""`lipviz report MODEL DATA`: measures a saved classifier on data of one's own, and writes a report."""

import dataclasses
import re
from typing import Any

from lipviz import data, reports
from lipviz.certification.model_file import load_model_file
from lipviz.data.tables import SUFFIXES
from lipviz.recipes import Evaluation, evaluate
from lipviz.recipes.scaling import behind_scaling
from lipviz.reports.files import check_target


def report(arguments: Any) -> None:
    """Makes the report that the arguments of the command ask for, prints it or writes it.

    Args:
        arguments: The namespace of `lipviz report`, see `lipviz.command.reporting`.

    Raises:
        OSError: If a file is missing, or cannot be written.
        TypeError: If the data are no numbers.
        ValueError: If model, data or arguments do not fit each other; the message says what to do.
    """
    for path in arguments.output:
        check_target(path)  # before the work
    if arguments.model.suffix.lower() in SUFFIXES or (arguments.model.is_dir() and arguments.data.is_file()):
        raise ValueError(f"Expected the model first, then the data. Received: {arguments.model} {arguments.data}")
    model = load_model_file(arguments.model)
    _check_model(model, arguments.model)
    samples = _loaded(arguments, model)
    x, y, words = _part(arguments, samples)
    found = evaluate(
        model,
        x,
        y,
        epsilons=arguments.epsilon,
        compared=arguments.compared,
        local=arguments.local,
        attack=arguments.attack,
        tight=arguments.tight,
        arithmetic=None if arguments.arithmetic == "float64" else arguments.arithmetic,
        class_names=samples.class_names,
        feature_names=samples.feature_names,
        source=f"{samples.source}, {words}",
    )
    found = dataclasses.replace(found, model=arguments.model.name, notes=(*samples.notes, *found.notes))
    _hand_out(arguments, found)


_OPTIONS = (
    (re.compile(r"drop=\['([^']*)'\]"), r"--drop \1"),
    (re.compile(r"drop=\[…?\]"), "--drop"),
    (re.compile(r"missing='drop'"), "--drop-missing"),
    (re.compile(r"label='([^']*)'"), r"--label \1"),
    (re.compile(r"`label`"), "--label"),
    (re.compile(r"size=\(height, width\)"), "--size HEIGHT,WIDTH"),
    (re.compile(r"class_names:"), "--classes:"),
    (re.compile(r"`?epsilons`?"), "--epsilon"),
)


def as_options(message: str) -> str:
    """A message that names arguments of functions, with the options of the command in their place."""
    for pattern, option in _OPTIONS:
        message = pattern.sub(option, message)
    return message


def _check_model(model, path):
    shapes = model.input_shape, model.output_shape
    if not all(isinstance(shape, tuple) for shape in shapes) or len(shapes[1]) != 2:
        raise ValueError(
            f"{str(path)!r}: expected a classifier with one input and one output of shape (batch, classes). Received: "
            f"inputs {shapes[0]}, outputs {shapes[1]}"
        )


def _loaded(arguments, model) -> data.Dataset:
    """The data, scaled unless the model does that itself."""
    own = not behind_scaling(model)[1].changes_nothing
    shape = model.input_shape[1:]
    split = arguments.part in ("train", "test")
    found = data.load(
        arguments.data,
        label=_column(arguments.label),
        drop=arguments.drop,
        missing="drop" if arguments.drop_missing else "error",
        size=arguments.size,
        color=arguments.color or _color(arguments.data, shape),
        class_names=arguments.classes,
        scaling="none" if own or len(shape) < 3 else "auto",
        test_fraction=arguments.test_fraction if split else 0.0,
        seed=arguments.seed,
    )
    _check_fit(model, found)
    return found


def _column(label):
    """A column by its name or, as a whole number, by its place."""
    return int(label) if label is not None and label.lstrip("-").isdecimal() else label


def _color(path, shape):
    if not path.is_dir() or len(shape) != 3 or shape[-1] not in (1, 3):
        return None
    return "grey" if shape[-1] == 1 else "rgb"


def _check_fit(model, found):
    """Refuses data that the model cannot take, or whose classes it does not have."""
    shape, outputs = model.input_shape[1:], model.output_shape[-1]
    fits = len(shape) == len(found.shape) and all(
        size is None or size == own for size, own in zip(shape, found.shape, strict=True)
    )
    if not fits:
        advice = ""
        if len(shape) == len(found.shape) == 1:
            columns = f": {', '.join(found.feature_names[:8])}" if found.feature_names else ""
            advice = f". The columns that were read{columns}. Leave out others by --drop, or name the --label"
        elif len(shape) == len(found.shape) == 3 and None not in shape:
            advice = f". Say --size {shape[0]},{shape[1]}"
        raise ValueError(
            f"The model takes samples of {_sizes(shape)}. Received: samples of {_sizes(found.shape)} in "
            f"{found.source}{advice}"
        )
    classes = len(found.class_names)
    if classes != max(outputs, 2):
        raise ValueError(
            f"The model has {outputs} outputs. Received: {classes} classes in {found.source}, "
            f"{', '.join(found.class_names[:8])}. Name the class of each output, in order: --classes NAME NAME …"
        )


def _sizes(shape):
    if len(shape) == 1:
        return f"{shape[0]} features"
    return "×".join("any" if size is None else str(size) for size in shape) + " values"


def _part(arguments, samples):
    """Samples, labels, and which part of the data they are."""
    part = arguments.part or ("test" if samples.has_own_split else "all")
    x, y = samples.part(part)
    if not len(y):
        raise ValueError(f"Expected samples in the part {part!r} of {samples.source}. Received: none")
    if part == "all":
        return x, y, "all samples"
    whose = "its own split" if samples.has_own_split else f"split with seed {arguments.seed}"
    return x, y, f"the part '{part}' of {whose}"


def _hand_out(arguments, found: Evaluation):
    for path in arguments.output:
        reports.write(found, path)
    if arguments.json:
        print(found.to_json())
    elif arguments.output:
        for path in arguments.output:
            print(f"Written: {path}")
    else:
        print(found)
