"""Certificates: pick an image, read off how far its decision is certified, and attack it."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ipywidgets as widgets
import keras
import numpy as np

from lipviz import certification
from lipviz import data as data_sets
from lipviz.explorers.shell import page
from lipviz.explorers.shell.base import Explorer
from lipviz.explorers.shell.canvas.tiles import ImageTiles
from lipviz.explorers.shell.code import call, picture_of
from lipviz.explorers.shell.controls import choice, slider
from lipviz.losses import TauCategoricalCrossentropy
from lipviz.measure.certified_image import CertifiedImage, ImageCertifier, as_image
from lipviz.plots import alt_text
from lipviz.plots.certified_image import plot_certified_curve, plot_certified_image, plot_class_distances
from lipviz.plots.style import number
from lipviz.toys.networks import toy_network, training
from lipviz.types import Array

_STEPS, _PICTURES = 150, 6  # of the training on digits
_TAU, _RATE = 5.0, 0.02
_BOUNDS = [("several steps together", "auto"), ("product of single steps", "product"), ("near this image", "local")]
_MOST = 500  # images of the reader's own
_METHODS = [("DeepFool: nearest change", "deepfool"), ("PGD: within ε", "pgd")]
_TRAINED: dict[str, ImageCertifier] = {}  # the certifier of the digits, once per process
_LOCK = threading.Lock()


class CertificateExplorer(Explorer):
    """Pick an image, see its certified radius and where it comes from, and attack it.

    Without arguments, a 1-Lipschitz network learns scikit-learn's digits first. This takes some seconds, once per
    process, and the explorer shows it. Attacks are those of the Adversarial Robustness Toolbox.

    Args:
        model: Your own Keras classifier, built, see `lipviz.certification.certified_radius`.
        x: Its images: of shape (n, height, width), with 1 or 3 channels last, or flat (n, d). The first 500 are used.
        y: Their labels, of shape (n,); without labels there is no accuracy.
        class_names: A text for each class, since a model does not know the names of its classes; None says "class 3".

    Raises:
        TypeError: If `class_names` are no texts.
        ValueError: If one of `model` and `x` is missing, or if there is not one name for each class of a model.

    What cannot be used (a layer without a bound, images of another shape) gives a message in the explorer.
    """

    title = "Certificate explorer: how far a decision holds"
    help_text = (
        "No change of the image within the certified radius can alter the decision. Choose an image, a size ε and how "
        "the network is bounded, and press Start to attack the image."
    )
    panels = 3
    essentials = ("image", "epsilon", "bound", "method")
    has_work = True

    def __init__(
        self,
        model: keras.Model | None = None,
        x: Array | None = None,
        y: Array | None = None,
        class_names: Sequence[str] | None = None,
    ):
        if (model is None) != (x is None):
            raise ValueError("Expected a model together with images `x`. Received one of them.")
        self._names = _checked_names(class_names, model)
        self._own = None if model is None or x is None else (model, x[:_MOST], None if y is None else y[:_MOST])
        self._certifier = _TRAINED.get("digits") if model is None else None
        self._attacks: dict[tuple, certification.Attack] = {}
        self._network = None
        self._in_tiles: tuple[ImageCertifier, str] | None = None
        super().__init__()
        if not self._is_ready:
            self.start()

    def _named(self, number, with_word=True):
        """A class as text: its name, or its number."""
        if self._names and 0 <= number < len(self._names):
            return self._names[number]
        return f"class {number}" if with_word else str(number)

    @property
    def _is_ready(self):
        """Whether there is nothing left to train."""
        return self._own is not None or (self._certifier is not None and self._certifier is _TRAINED.get("digits"))

    def make_controls(self) -> dict[str, dict[str, widgets.Widget]]:
        count = max(1, len(self._own[1] if self._own is not None else data_sets.digits()[1][0]))
        return {
            "Image": {
                "image": ImageTiles("Image", count, "The image that is shown; arrow keys select its neighbours"),
                "order": choice(
                    "Order",
                    [("as they come", "given"), ("smallest radius first", "radius")],
                    "How the images are numbered",
                ),
            },
            "Change": {
                "epsilon": slider(
                    "Change ε", 0.5, 0.05, 2.0, 0.05, "Size of the change, l2 norm, in units of the input"
                ),
                "method": choice("Attack", _METHODS, "How the attack searches"),
            },
            "Certificate": {
                "bound": choice("Bound", _BOUNDS, "How the network is bounded; a smaller bound gives a larger radius"),
            },
        }

    def _made_buttons(self):
        before = page.button("Previous", "arrow-left", "The previous image", lambda: self._move(-1))
        after = page.button("Next", "arrow-right", "The next image", lambda: self._move(1))
        for one in (before, after):  # with their words, the buttons would fill two rows
            one.add_class("lipviz-icon")
        return {"previous": before, "next": after, **super()._made_buttons()}

    def _move(self, by):
        control = self.controls["image"]
        control.value = min(max(control.value + by, control.min), control.max)

    def reset(self) -> None:
        """Return to the initial state. A training that was ended early starts again."""
        super().reset()
        if not self._is_ready:
            self.start()

    def forget(self) -> None:
        self._attacks.clear()

    def compute(self, image: int, order: str, epsilon: float, method: str, bound: str) -> CertifiedImage:
        certifier = self._present()
        index = int(certifier.by_radius[image]) if order == "radius" else image
        return certifier.image(index, epsilon, self._attacks.get((index, epsilon, method)), bound)

    def _present(self):
        """The certifier of the present model; for digits before the training, one of a network with initial weights."""
        if self._certifier is None:
            if self._own is None:
                (_, _), test = data_sets.digits()
                self._network = toy_network("groupsort2", 64, 2, inputs=64, outputs=10)
                self._certifier = ImageCertifier(self._network, _flat(test[0]), test[1], 0, _STEPS)
            else:
                self._certifier = ImageCertifier(*self._own)
        return self._certifier

    # --- work ---

    def work(self, **state: Any) -> Iterator[tuple[float, CertifiedImage]]:
        return self._attack(**state) if self._is_ready else self._train()

    def _train(self):
        self.progress("Training a 1-Lipschitz network on digits, once for this session …")
        train, test = data_sets.digits()
        network = toy_network("groupsort2", 64, 2, inputs=64, outputs=10)
        targets = np.eye(10, dtype="float32")[train[1]]
        every = -(-_STEPS // _PICTURES)
        for losses in training(
            network, _flat(train[0]), targets, TauCategoricalCrossentropy(_TAU), _STEPS, every, _RATE
        ):
            step = len(losses)
            self._certifier = ImageCertifier(network, _flat(test[0]), test[1], step, _STEPS)
            if step == _STEPS:
                with _LOCK:
                    _TRAINED["digits"] = self._certifier
            yield step / _STEPS, self.compute(**self.state)

    def _attack(self, image, order, epsilon, method, **_others):
        certifier = self._present()
        index = int(certifier.by_radius[image]) if order == "radius" else image
        self.progress(f"Attacking image {index} …")
        yield 0.1, self.compute(**self.state)
        predicted = certifier.radii.predicted[index : index + 1]
        # DeepFool also searches beyond ε: the nearest change is of interest at every distance.
        limit = epsilon if method == "pgd" else None
        found = certification.attack(
            certifier.model, certifier.x[index : index + 1], predicted, epsilon=limit, method=method
        )
        self._attacks[index, epsilon, method] = found
        yield 1.0, self.compute(**self.state)

    # --- picture ---

    def _drawn(self, data, state):
        self._fill_tiles(self._present(), state["order"])
        return super()._drawn(data, state)

    def _fill_tiles(self, certifier, order):
        """Show the images of a certifier in an order, with what it says of them, unless they are shown."""
        if self._in_tiles == (certifier, order):
            return
        tiles = self.controls["image"]
        if not tiles.pictures:
            tiles.show_images(np.reshape(certifier.x, (-1, *as_image(certifier.x[0]).shape)))
        numbers = certifier.by_radius if order == "radius" else np.arange(len(certifier))
        tiles.tell(numbers, certifier.radii.predicted, certifier.radii.radii, certifier.labels)
        self._in_tiles = certifier, order

    def draw(self, data: CertifiedImage, state: Mapping[str, Any]) -> None:
        left, middle, right = self.figure.axes
        plot_certified_image(data, ax=left)
        plot_class_distances(data, ax=middle)
        plot_certified_curve(data, ax=right)

    def alt_text(self, data: CertifiedImage) -> str:
        return alt_text(data)

    def statement(self, data: CertifiedImage) -> str:
        words = "" if data.steps in (None, data.step) else f"After {data.step} of {data.steps} steps of training: "
        words += (
            f"no change shorter than {number(data.radius, 4)} can alter the decision for {self._named(data.predicted)}"
        )
        words = words[:1].upper() + words[1:]
        words += "." if data.is_right is not False else f", which is wrong: the label is {self._named(data.label)}."
        if data.is_certified:
            words += f" So ε = {number(data.epsilon)} is certified: no attack of that size can succeed."
        else:
            words += f" Beyond that, and so at ε = {number(data.epsilon)}, the certificate says nothing."
        return words + _bound_in_words(data) + _attack_in_words(data, self._named)

    def numbers(self, data: CertifiedImage) -> list[tuple[str, str]]:
        rows = [
            (
                "decision",
                self._named(data.predicted)
                + ("" if data.label is None else f" (label {self._named(data.label, with_word=False)})"),
            ),
            ("certified radius", number(data.radius, 5)),
            ("nearest other class", self._named(data.rival, with_word=False)),
        ]
        if data.by_product is not None and data.together is not None:
            rows.append(("radius by several steps together", number(data.together, 5)))
            rows.append(("radius by the product of single steps", number(data.by_product, 5)))
        if data.saliency is not None:
            rows.append(("norm of the gradient of the margin", number(float(np.linalg.norm(data.saliency)), 4)))
        if data.attack is not None:
            rows.append(("norm of the attack's change", number(float(data.attack.distances[0]), 5)))
        if data.found is not None and 0 < data.found < np.inf:
            rows.append(("certified radius over it", number(data.radius / data.found, 3)))
        if data.curve is not None:
            share = np.interp(data.epsilon, data.curve.epsilons, data.curve.certified)
            rows.append(("accuracy of all images", f"{100 * data.curve.accuracy:.1f} %"))
            rows.append((f"certified accuracy at ε = {number(data.epsilon)}", f"{100 * share:.1f} %"))
        return rows

    def code_lines(self, data: CertifiedImage, state: Mapping[str, Any]) -> list[str]:
        index = "certifier.by_radius[{image}]" if state["order"] == "radius" else "{image}"
        kinds = ("certified_image", "class_distances", "certified_curve")
        return [
            "from lipviz.plots.certified_image import plot_certified_curve, plot_certified_image, plot_class_distances",
            *(_digits_code(data) if self._own is None else [self._own_code()]),
            f"index = {index.format(**state)}",
            *([] if data.attack is None else [_attack_code(**state)]),
            call(
                "result = certifier.image",
                *("index", repr(state["epsilon"])),
                *([] if data.attack is None else ["found"]),
                **({} if state["bound"] == "auto" else {"bound": state["bound"]}),
            ),
            *picture_of([f"plot_{kind}(result, ax={{ax}})" for kind in kinds]),
        ]

    def _own_code(self):
        labels = [] if self._own is None or self._own[2] is None else [f"y[:{_MOST}]"]
        return call("certifier = measure.ImageCertifier", "model", f"x[:{_MOST}]", *labels)


def _flat(x):
    return x.reshape(len(x), -1)


def _digits_code(data):
    """Lines that train the network up to the step that is shown, and certify the digits."""
    steps = f"training(model, x.reshape(len(x), -1), np.eye(10)[y], loss, {data.steps}, {data.step}, {_RATE})"
    trained = [
        "from lipviz.toys.networks import training",
        f"loss = losses.TauCategoricalCrossentropy({_TAU})",
        f"next({steps})  # {data.step} of {data.steps} steps",
    ]
    return [
        "(x, y), (images, labels) = data.digits()",
        'model = toys.toy_network("groupsort2", 64, 2, inputs=64, outputs=10)',
        *(trained if data.step else []),
        call(
            "certifier = measure.ImageCertifier",
            *("model", "images.reshape(len(images), -1)", "labels"),
            step=data.step,
            steps=data.steps,
        ),
    ]


def _attack_code(epsilon, method, **_state):
    return call(
        "found = certification.attack",
        *("model", "certifier.x[index : index + 1]", "certifier.radii.predicted[index : index + 1]"),
        epsilon=epsilon if method == "pgd" else None,
        method=method,
    )


def _checked_names(names, model):
    if names is None:
        return None
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"class_names: expected a text for each class, received {names!r}.")
    if model is None:
        raise ValueError("class_names: expected them together with a model, received them without one.")
    classes = max(2, model.output_shape[-1])  # a single output has two classes
    if len(names) != classes:
        raise ValueError(f"class_names: expected one for each of {classes} classes, received {len(names)}.")
    return tuple(names)


def _bound_in_words(data):
    """How much the product of single steps loses, and at which steps; and what a bound near the image gains."""
    if data.by_product is None:
        return ""
    words = ""
    if data.bound == "local":
        gain = _times(data.radius, data.together)
        curve = "" if data.curve is None else ", as in the curve,"
        words = f" For all inputs at once{curve} it is {number(data.together, 4)}"
        words += f", {gain} times smaller." if gain else "."
    lost = _times(data.together, data.by_product)
    if not lost:
        return words + " The product of the bounds of single steps loses nothing here."
    if data.bound == "product":
        words += f" Several steps together give {number(data.together, 4)}, {lost} times as large"
    else:
        words += f" The product of single steps gives {number(data.by_product, 4)}, {lost} times smaller"
    return words + ("." if data.lossy is None else f". The product loses most at {data.lossy.name}.")


def _times(larger, smaller):
    """How many times larger a radius is, as text; "" where it is not, to one in a million."""
    if not smaller < larger * (1 - 1e-6):
        return ""
    return number(larger / smaller) if smaller > 0 and np.isfinite(larger) else "infinitely many"


def _attack_in_words(data, named):
    if data.attack is None:
        return ""
    if not data.attack.success[0]:
        return f" The attack ({data.attack.method}) found no change that alters it, which proves nothing."
    where = "outside" if data.found >= data.radius else "INSIDE, which contradicts,"
    return (
        f" The attack ({data.attack.method}) altered it to {named(int(data.attack.after[0]))} by a change of norm "
        f"{number(data.found, 4)}, {where} the certified radius."
    )
