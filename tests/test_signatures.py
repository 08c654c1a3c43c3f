"""The reference's users keep their code: the same modules, names, arguments, order and defaults.

`reference_signatures.txt` lists every public signature of deel-lip 2.0.0, a line each. Ours may take more arguments, as
long as none of them is in the way of one of those.
"""

import ast
import importlib
import inspect
from pathlib import Path

import pytest

from lipviz import normalizers as nm
from lipviz.initializers import SpectralInitializer

LINES = Path(__file__).with_name("reference_signatures.txt").read_text(encoding="utf-8").splitlines()


def parse(line):
    """Returns (module, name, {argument: default or inspect.Parameter.empty}, whether it takes **kwargs)."""
    path, _, arguments = line.partition("(")
    (function,) = ast.parse(f"def f({arguments}: pass").body
    args, defaults = function.args.args, function.args.defaults
    values = [inspect.Parameter.empty] * (len(args) - len(defaults)) + [evaluate(default) for default in defaults]
    module, _, name = path.rpartition(".")
    return module, name, dict(zip((arg.arg for arg in args), values, strict=True)), function.args.kwarg is not None


def evaluate(node):
    return eval(ast.unparse(node), {"SpectralInitializer": SpectralInitializer, **vars(nm)})


def same(ours, theirs):
    if theirs is inspect.Parameter.empty:  # a default of ours breaks no call
        return True
    if isinstance(theirs, SpectralInitializer):
        return isinstance(ours, SpectralInitializer) and ours.get_config() == theirs.get_config()
    return ours == theirs and (ours is theirs or type(ours) is not bool)


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.partition("(")[0])
def test_it_can_be_called_as_in_the_reference(line):
    module, name, arguments, has_kwargs = parse(line)
    found = getattr(importlib.import_module(f"lipviz.{module}"), name)
    if module.startswith("layers."):
        assert getattr(importlib.import_module("lipviz.layers"), name) is found
    parameters = inspect.signature(found.__init__ if inspect.isclass(found) else found).parameters
    ours = {key: value for key, value in parameters.items() if key != "self"}
    variadic = {value.kind for value in ours.values()}
    if arguments:
        assert list(ours)[: len(arguments)] == list(arguments)
        assert {key for key, default in arguments.items() if not same(ours[key].default, default)} == set()
    if has_kwargs:
        assert inspect.Parameter.VAR_KEYWORD in variadic
    further = [value for key, value in ours.items() if key not in arguments]
    plain = [value for value in further if value.kind is value.POSITIONAL_OR_KEYWORD]
    needed = [value.name for value in plain if value.default is value.empty]
    assert needed == []


def test_the_activations_module_has_all_of_them():
    from lipviz import activations, layers

    theirs = [parse(line)[1] for line in LINES if line.startswith("layers.activations.")]
    assert "GroupSort2" in theirs
    assert set(theirs) <= set(activations.__all__)
    assert all(getattr(activations, name) is getattr(layers, name) for name in theirs)


BJORCK = ("eps_spectral", "eps_bjorck", "beta_bjorck", "maxiter_spectral", "maxiter_bjorck")


def test_the_arguments_of_bjorck_have_their_defaults_from_one_place():
    """Keras needs them in each signature. What they are is written down once."""
    found = set()
    for path in Path(nm.__file__).parents[1].rglob("*.py"):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef):
                arguments = function.args.args[len(function.args.args) - len(function.args.defaults) :]
                pairs = zip(arguments, function.args.defaults, strict=True)
                found |= {(arg.arg, ast.unparse(default).removeprefix("nm.")) for arg, default in pairs}
    assert {(name, default) for name, default in found if name in BJORCK} == {
        (name, f"DEFAULT_{name.upper()}") for name in BJORCK
    }
