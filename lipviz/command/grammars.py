"""Lets JupyterLab and Voilà be imported without 38 grammars that they do not use.

Both import jsonschema. It imports `rfc3987_syntax` where that is installed, which compiles its grammars while it is
imported, and this takes 1.5 s. jsonschema uses them for the formats "iri" and "iri-reference" alone.
"""

import importlib
import importlib.util
import sys
import types

_NAME = "rfc3987_syntax"


def compile_when_used() -> None:
    """Puts a module in the place of `rfc3987_syntax` that imports the package once something of it is used.

    It does nothing where the package is missing or has been imported already.
    """
    spec = None if _NAME in sys.modules else importlib.util.find_spec(_NAME)
    if spec is not None:
        sys.modules[_NAME] = _stand_in(spec)


def _stand_in(spec):
    module = types.ModuleType(_NAME)

    def package():
        if sys.modules.get(_NAME) is module:
            del sys.modules[_NAME]
        return importlib.import_module(_NAME)

    def is_valid_syntax(*arguments, **named):
        return package().is_valid_syntax(*arguments, **named)

    vars(module).update(
        __spec__=spec,
        __path__=spec.submodule_search_locations,  # an import asks for it
        __getattr__=lambda name: getattr(package(), name),
        is_valid_syntax=is_valid_syntax,  # what jsonschema imports
    )
    return module
