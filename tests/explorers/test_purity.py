"""What an explorer shows depends on its data and its state alone: read from its code."""

import ast
import inspect
import textwrap

import pytest

from lipviz.explorers import Explorer, entries

# What is given to the explorer or made once, before its first picture.
LASTING = {"figure", "_names"}
SHOWN = ("draw", "alt_text", "statement", "numbers", "table")


def tree(kind, name):
    return ast.parse(textwrap.dedent(inspect.getsource(getattr(kind, name))))


def attributes(kind, name):
    """Attributes of the explorer that a method uses, and those that the methods it calls use."""
    found, waiting = set(), {name}
    while waiting:
        known = found | waiting
        used = {node.attr for method in waiting for node in ast.walk(tree(kind, method)) if is_own(node)}
        found |= used | waiting
        waiting = {attr for attr in used - known if inspect.isfunction(getattr(kind, attr, None))}
    return {attr for attr in found if not inspect.isfunction(getattr(kind, attr, None))}


def is_own(node):
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.name)
def test_what_is_shown_reads_no_attribute_that_changes(entry):
    kind = entry.load()
    for name in SHOWN:
        assert attributes(kind, name) <= LASTING, name
    assert list(inspect.signature(kind.draw).parameters) == ["self", "data", "state"]


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.name)
def test_computing_changes_no_attribute(entry):
    stored = [node.attr for node in ast.walk(tree(entry.load(), "compute")) if is_own(node) and not reads(node)]
    assert not stored


def reads(node):
    return isinstance(node.ctx, ast.Load)


def test_a_state_that_is_read_by_the_way_is_found():
    class Sly(Explorer):
        def draw(self, data, state):
            return self._by_the_way()

        def _by_the_way(self):
            return self._place, self.state

    assert attributes(Sly, "draw") == {"_place", "state"}
