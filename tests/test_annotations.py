"""The public names have types, and a checker finds no contradiction (`mypy`, which `.ci/run` calls)."""

import functools
import inspect
import types
from pathlib import Path

import pytest

import lipviz
from tools.arrows import HEIGHT
from tools.pins.names import public_objects


@functools.cache
def public_functions():
    """{name: function} of all public functions, methods and properties that lipviz defines."""
    found = {}
    for path, value in public_objects():
        if isinstance(value, types.FunctionType):
            found[path] = value
        elif isinstance(value, type):
            found.update((f"{path}.{name}", method) for name, method in _methods(value))
    return found


def _methods(cls):
    for base in cls.__mro__:
        if base.__module__.startswith("lipviz"):
            for name, value in vars(base).items():
                value = getattr(value, "fget", None) or getattr(value, "func", None) or value
                value = getattr(value, "__func__", value)
                if isinstance(value, types.FunctionType) and (name == "__init__" or not name.startswith("_")):
                    yield name, value


def without_annotation(function):
    """Names of the parameters that say no type, and "return" where the result does not."""
    signature = inspect.signature(function)  # of a wrapped function, the one that `help` shows
    missing = [
        name
        for i, (name, parameter) in enumerate(signature.parameters.items())
        if parameter.annotation is parameter.empty and not (i == 0 and name in ("self", "cls"))
    ]
    return missing + ["return"] * (signature.return_annotation is signature.empty and function.__name__ != "__init__")


@pytest.mark.parametrize("package", sorted({*HEIGHT, "command", "course", "data"}))
def test_public_functions_say_the_types_of_their_arguments_and_results(package):
    missing = {
        name: without_annotation(function)
        for name, function in public_functions().items()
        if f"{function.__module__}.".startswith(f"lipviz.{package}.") and without_annotation(function)
    }
    assert missing == {}, f"{len(missing)} of {package}: annotate them, with the names of lipviz.types where they fit"


def test_a_missing_annotation_is_found():
    def half(a: int, b, *c: int, **d: int) -> None: ...

    def none(self, a: int): ...

    assert without_annotation(half) == ["b"]
    assert without_annotation(none) == ["return"]
    assert {"lipviz.certify", "lipviz.layers.SpectralDense.__init__"} <= public_functions().keys()


def test_type_checkers_of_users_read_the_annotations():
    assert (Path(lipviz.__file__).parent / "py.typed").exists()
