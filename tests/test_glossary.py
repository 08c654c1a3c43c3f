"""The glossary names what exists, and explains the terms that it uses."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
TERMS = re.findall(r"^(?! |```|#)(\S.*)$", PAGE.partition("```{glossary}\n")[2], flags=re.MULTILINE)
# Dotted names; `layer.kernel` is an attribute of any layer, the others are below lipviz.
NAMES = sorted(set(re.findall(r"`((?:\w+\.)+\w+)(?:\(.*?\))?`", PAGE)) - {"layer.kernel", "torch.nn.utils.parametrize"})


def resolved(name):
    """What a dotted name below lipviz stands for; fields of dataclasses count as well."""
    path = ["lipviz", *name.removeprefix("lipviz.").split(".")]
    value = importlib.import_module(path[0])
    for i, part in enumerate(path[1:], 2):
        if part in getattr(value, "__dataclass_fields__", ()):
            return value
        try:
            value = getattr(value, part)
        except AttributeError:
            value = importlib.import_module(".".join(path[:i]))
    return value


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_the_api_exists(name):
    resolved(name)


def test_a_name_that_does_not_exist_would_be_found():
    assert len(NAMES) > 40
    with pytest.raises(ModuleNotFoundError):
        resolved("layers.SpectralDens")


def test_terms_are_in_order_and_explained_once():
    assert len(TERMS) > 35
    words = [term.lower().replace("ö", "o") for term in TERMS]
    assert words == sorted(set(words))


def test_what_an_entry_refers_to_is_an_entry():
    used = re.findall(r"\{term\}`(?:.*?<)?(.*?)>?`", PAGE)
    pages = [path for path in (ROOT / "docs").glob("**/*.md") if "_build" not in path.parts]
    used += [
        found for path in pages for found in re.findall(r"\{term\}`(?:[^`]*?<)?([^`]*?)>?`", path.read_text("utf-8"))
    ]
    assert len(used) > 20
    assert set(used) <= set(TERMS)
