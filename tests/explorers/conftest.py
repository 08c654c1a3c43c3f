"""The explorer that the tests of a file share: that of its class `EXPLORER`, or a small one, as it opens."""

import dataclasses
import functools

import keras
import pytest

from lipviz.explorers.shell.live import ExplorerFigure
from tests.explorers.small import Small


@pytest.fixture(scope="module", autouse=True)
def images(request):
    """In a file with `ONE_IMAGE`, only the first image of each explorer is rendered; all else is drawn as usual."""
    render = ExplorerFigure.panels

    def first(figure, alt):
        if not figure.latest:
            return render(figure, alt)
        figure.latest = [dataclasses.replace(figure.latest[0], alt=alt), *figure.latest[1:]]
        return figure.latest

    with pytest.MonkeyPatch.context() as patch:
        if getattr(request.module, "ONE_IMAGE", False):
            patch.setattr(ExplorerFigure, "panels", first)
        yield


@pytest.fixture
def uncompiled(monkeypatch):
    """Training runs eagerly: to trace and compile a step takes longer than a few steps do."""
    monkeypatch.setattr(keras.Model, "compile", functools.partialmethod(keras.Model.compile, run_eagerly=True))


@pytest.fixture(scope="module")
def shared(request):
    """One explorer for all tests of a file."""
    explorer = getattr(request.module, "EXPLORER", Small)()
    yield explorer
    explorer.close()


@pytest.fixture
def explorer(shared, request):
    """The explorer that they share, as it opens; or before any training in the state `UNTRAINED` of the file."""
    with pytest.MonkeyPatch.context() as patch:  # it never shows the larger network of a new explorer
        patch.setattr(shared, "_defaults", {**shared._defaults, **getattr(request.module, "UNTRAINED", {})})
        shared.reset()
    assert shared.error is None
    return shared
