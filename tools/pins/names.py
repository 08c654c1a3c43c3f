"""All public names of lipviz with their arguments and defaults, and those of the `lipviz` command: a line each.

A module is public where no part of its name begins with an underscore, or is `shell`, what explorers share. Its public
names are those of `__all__`, and where it has none, what it defines itself without an underscore. What several modules
hand out is described at the shortest of its names, and the others say so. Of a class, its constructor and all public
methods and attributes that lipviz defines, wherever in its bases: a method that moves to a base class changes no line.

Annotations are left out, as are addresses, so that the lines are those of every version of Python.
"""

import argparse
import enum
import functools
import importlib
import inspect
import math
import pkgutil
import types
import typing

from tools.pins import rounding

FILE = "names.txt"


def present():
    """{name: {"is": the rest of its line}}."""
    lines, first = {}, {}
    for path, value in public_objects():
        if isinstance(value, type | types.FunctionType) and first.setdefault(value, path) != path:
            lines[path] = f" is {first[value]}"
        else:
            lines.update(_described(path, value))
    lines.update(_command())
    return {name: {"is": lines[name]} for name in sorted(lines)}


def public_objects():
    """All public names with what they stand for, those of the outer modules first."""
    import lipviz

    public = [(module, name) for module in _modules(lipviz) for name in _public(module)]
    for module, name in sorted(public, key=lambda pair: (pair[0].__name__.count("."), pair[0].__name__, pair[1])):
        yield f"{module.__name__}.{name}", getattr(module, name)


def tolerance(name, key):
    """None: names are equal or not."""
    return rounding.EXACT


def _modules(package):
    yield package
    for found in pkgutil.walk_packages(package.__path__, "lipviz."):
        parts = found.name.split(".")
        if not any(part.startswith("_") or part in ("notebooks", "shell") for part in parts):
            yield importlib.import_module(found.name)


def _public(module):
    if hasattr(module, "__all__"):
        return [name for name in module.__all__ if not isinstance(getattr(module, name), types.ModuleType)]
    return [name for name, value in vars(module).items() if not name.startswith("_") and _is_own(module, value)]


def _is_own(module, value):
    if isinstance(value, type | types.FunctionType):
        return value.__module__ == module.__name__
    return _is_constant(value)


def _is_constant(value):
    """Whether it is a plain value, or a collection of such."""
    if isinstance(value, list | tuple | set | frozenset):
        return all(map(_is_constant, value))
    return value is None or isinstance(value, bool | int | float | str)


def _described(path, value):
    """Lines of one object, {name: rest}."""
    is_alias = typing.get_origin(value) is not None or type(value).__name__ == "TypeAliasType"
    if is_alias or path == "lipviz.types.Array":  # NumPy's own, whose signature differs among its versions
        yield path, " is a type"
    elif isinstance(value, type):
        # The arguments of an Enum are those of its base, which differ among versions of Python.
        yield path, "(value)" if issubclass(value, enum.Enum) else _arguments(value)
        yield from ((f"{path}.{name}", text) for name, text in _members(value))
    elif callable(value):
        yield path, _arguments(value)
    elif path.endswith("__version__"):
        yield path, " is a text"
    else:
        yield path, f" = {_default(value)}" if _is_constant(value) else f" is a {type(value).__name__}"


def _members(cls):
    found = {}
    for base in reversed(cls.__mro__):
        if base.__module__.startswith("lipviz"):
            found.update((name, value) for name, value in vars(base).items() if not name.startswith("_"))
    for name, value in sorted(found.items()):
        if isinstance(value, property):
            yield name, " can be read and set" if value.fset else " can be read"
        elif isinstance(value, functools.cached_property):
            yield name, " can be read"
        elif isinstance(value, staticmethod | classmethod | types.FunctionType):
            yield name, _arguments(getattr(cls, name))
        elif _is_constant(value):
            yield name, f" = {_default(value)}"
        else:
            yield name, " can be read"


def _arguments(value):
    try:
        signature = inspect.signature(value, follow_wrapped=False)  # what is wrapped may be Keras's own
    except (TypeError, ValueError):
        return "(…)"
    return f"({', '.join(_listed(signature.parameters.values()))})"


def _listed(parameters):
    """Parameters as they are written in a definition."""
    kinds = [parameter.kind for parameter in parameters]
    for i, parameter in enumerate(parameters):
        kind = parameter.kind
        if kind is kind.KEYWORD_ONLY and not {kind, kind.VAR_POSITIONAL} & set(kinds[:i]):
            yield "*"
        stars = {kind.VAR_POSITIONAL: "*", kind.VAR_KEYWORD: "**"}.get(kind, "")
        default = "" if parameter.default is parameter.empty else f"={_default(parameter.default)}"
        yield f"{stars}{parameter.name}{default}"
        if kind is kind.POSITIONAL_ONLY and kinds[i + 1 : i + 2] != [kind]:
            yield "/"


def _default(value):
    """A value in words that hold no address."""
    if isinstance(value, type | types.FunctionType):
        return value.__name__
    if isinstance(value, list | tuple):
        left, right = "[]" if isinstance(value, list) else "()"
        return left + ", ".join(map(_default, value)) + ("," * (left == "(" and len(value) == 1)) + right
    if isinstance(value, set | frozenset):
        return "{" + ", ".join(sorted(map(_default, value))) + "}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_default(key)}: {_default(part)}" for key, part in value.items()) + "}"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value}"
    if _is_constant(value):
        return repr(value)
    config = value.get_config() if hasattr(value, "get_config") else None
    return f"{type(value).__name__}({'' if config is None else _default(config)})"


# --- the command ---


def _command():
    from lipviz.command import cli

    parser = cli._build_parser()
    yield from _options("lipviz (command)", parser)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, sub in action.choices.items():
                yield from _options(f"lipviz (command) {name}", sub)


def _options(name, parser):
    yield name, f": {parser.description or ''}".rstrip()
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction | argparse._SubParsersAction):
            continue
        option = ", ".join(action.option_strings) or str(action.metavar or action.dest)
        choices = "" if action.choices is None else f", one of {', '.join(map(str, action.choices))}"
        takes = "takes nothing" if action.nargs == 0 else f"takes {action.metavar or action.dest}, nargs {action.nargs}"
        default = action.default if _is_constant(action.default) else str(action.default)
        yield f"{name} {option}", f" {takes}{choices}, default {default!r}"
