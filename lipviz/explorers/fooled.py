"""Fooled: change an image a little, and see an ordinary network err where a 1-Lipschitz one does not."""

import functools
from collections.abc import Mapping
from typing import Any

import ipywidgets as widgets
import numpy as np

from lipviz import data as data_sets
from lipviz.explorers.shell.base import Explorer
from lipviz.explorers.shell.canvas.tiles import ImageTiles
from lipviz.explorers.shell.code import call, picture_of
from lipviz.explorers.shell.controls import slider
from lipviz.measure.fooled import FooledImage, FoolingMeasurement
from lipviz.plots import alt_text
from lipviz.plots.fooled import plot_fooled_image
from lipviz.plots.style import number
from lipviz.toys.fashion import attacked_images, fashion_pair

_LONGEST = 4.0


class FooledExplorer(Explorer):
    """Choose an image and the strength of an attack on two networks: an ordinary one, and a 1-Lipschitz one.

    Both networks come with lipviz. The directions of the changes are those that DeepFool found for these images. The
    decisions are computed for the changed images as they are shown, and the certificates from the networks themselves.
    """

    title = "Fooled: how much must an image change?"
    help_text = (
        "An attack changes the image so that a network errs, by as little as possible. Each network is attacked in its "
        "own way, with the same strength. Move the strength, and look for the change."
    )
    panels = 3
    shows_photographs = True
    essentials = ("image", "strength")

    def make_controls(self) -> dict[str, dict[str, widgets.Widget]]:
        measured = _measurement()
        tiles = ImageTiles("Image", len(measured), "The image that is attacked; arrow keys select its neighbours")
        tiles.show_images(measured.images)
        words = "Length of the change of the image, l2 norm, with grey levels from 0 to 1"
        return {
            "Attack": {
                "image": tiles,
                "strength": slider("Strength of the attack", 0.3, 0.0, _LONGEST, 0.05, words),
            }
        }

    def compute(self, image: int, strength: float) -> FooledImage:
        return _measurement().image(image, strength)

    def draw(self, data: FooledImage, state: Mapping[str, Any]) -> None:
        for place, ax in zip((None, 0, 1), self.figure.axes, strict=True):
            plot_fooled_image(data, place, ax=ax)

    def alt_text(self, data: FooledImage) -> str:
        return alt_text(data)

    def statement(self, data: FooledImage) -> str:
        return f"{_ordinary_in_words(data)} {_constrained_in_words(data)}"

    def numbers(self, data: FooledImage) -> list[tuple[str, str]]:
        rows = [("length of the image", number(data.norm, 3))]
        for place, network in enumerate(data.networks):
            change = float(np.abs(network.image - data.image).max())
            rows += [
                (f"{network.name}: length of the change", number(network.length, 3)),
                (f"{network.name}: largest change of a grey level", number(change, 2)),
                (f"{network.name}: fooled from length", _fooled_from(data, place)),
                (f"{network.name}: certified radius", number(network.radius, 3)),
            ]
        return rows

    def code_lines(self, data: FooledImage, state: Mapping[str, Any]) -> list[str]:
        plots = [f"plot_fooled_image(result, {place}, ax={{ax}})" for place in (None, 0, 1)]
        return [
            "from lipviz.plots.fooled import plot_fooled_image",
            "from lipviz.toys.fashion import attacked_images, fashion_pair",
            "given = attacked_images()",
            call(
                "measured = measure.FoolingMeasurement",
                *("fashion_pair()", "given.images", "given.labels", "given.directions"),
                class_names=data_sets.class_names("fashion_mnist"),
                longest=_LONGEST,
            ),
            call("result = measured.image", repr(state["image"]), repr(state["strength"])),
            *picture_of(plots),
        ]


def _fooled_from(data, place):
    """The length from which an attack succeeds. Before that it is not told: readers are to find it."""
    network = data.networks[place]
    return number(network.fooled_at, 3) if data.is_fooled(place) else f"more than {number(network.length, 3)}"


@functools.cache
def _measurement():
    """Both networks and the images, with the certificates, once per process."""
    given = attacked_images()
    names = data_sets.class_names("fashion_mnist")
    return FoolingMeasurement(fashion_pair(), given.images, given.labels, given.directions, names, _LONGEST)


def _ordinary_in_words(data):
    network = data.networks[0]
    change = number(float(np.abs(network.image - data.image).max()), 2)
    if not data.is_fooled(0):
        return "The ordinary network still decides rightly."
    return (
        f"The ordinary network takes the {data.name(data.label)} for a {data.name(network.predicted)}, and no grey "
        f"level has changed by more than {change}."
    )


def _constrained_in_words(data):
    network = data.networks[1]
    proved = f"no change shorter than {number(network.radius, 3)} can alter its decision, whatever the attack"
    if data.is_fooled(1):
        return (
            f"Now the 1-Lipschitz network errs, too: this attack needs the length {number(network.fooled_at, 3)}. "
            f"It is proved that {proved}."
        )
    if network.length < network.radius:
        return f"The 1-Lipschitz network is right, and it must be: {proved}. That is proved."
    return f"The 1-Lipschitz network is right. It is proved that {proved}; beyond that, it may err at any length."
