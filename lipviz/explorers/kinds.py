"""Compare kinds of layers: their whole spectra, what a step costs, and what networks of them reach."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import ipywidgets as widgets

from lipviz import data as data_sets
from lipviz.explorers.shell.base import Explorer
from lipviz.explorers.shell.code import Raw, call, literal, picture_of
from lipviz.explorers.shell.controls import choice, log_slider, slider, toggle
from lipviz.explorers.shell.result_cache import ResultCache
from lipviz.measure.layer_kinds import CONVOLUTION_KINDS, DENSE_KINDS, LayerKind
from lipviz.measure.layer_stacks import KindSpectra, kind_spectra
from lipviz.plots import alt_text
from lipviz.plots.layer_kinds import plot_kind_accuracy, plot_kind_costs, plot_kind_spectra
from lipviz.plots.style import number
from lipviz.toys.kind_runs import KindComparison, KindRun, compare_kinds, kind_steps, kind_table
from lipviz.types import Array

_EPSILONS = (0.1, 0.25, 0.5)
_PICTURES = 5  # of the training of one network: for each, the whole test set is certified
_FEWEST = 10  # least number of steps between two pictures
_ALL_EQUAL = 1e-3  # singular values that differ by less count as equal
_TRAINING = ("steps", "seed")


@dataclasses.dataclass(frozen=True, eq=False)
class _Shown:
    """The spectra of some kinds, and networks of the same kinds.

    Attributes:
        spectra: `KindSpectra`.
        networks: `KindComparison` of the same kinds, in the same order.
        live: Titles of the kinds whose network was trained here.
    """

    spectra: KindSpectra
    networks: KindComparison
    live: tuple[str, ...] = ()


def _key(kind):
    """Name of the control of a kind, such as spectral_conv2d_bound_tight."""
    named = [kind.layer.replace("Dense", "_dense").replace("Conv2D", "_conv2d").lower()]
    return "_".join([*named, *(f"{name}_{value}".lower() for name, value in kind.arguments)])


def _name(kind):
    """Name of a kind beside its box, such as SpectralConv2D, tight."""
    return kind.label.replace("\n", " ").replace(kind.label.partition(",")[0], kind.layer, 1)


_KINDS = {_key(kind): kind for kind in (*DENSE_KINDS, *CONVOLUTION_KINDS)}  # by the name of the control


class LayerKindExplorer(Explorer):
    """Choose kinds of layers, and see their spectra, what a step costs, and what networks of them reach.

    Args:
        train: Your own images and labels (x, y), of shape (n, height, width, channels) and class numbers (n,), of at
            least three classes. By default scikit-learn's digits, for which lipviz comes with trained networks.
        test: Images and labels to measure on, with `train`.
    """

    title = "Kinds of layers: spectrum, accuracy and cost"
    help_text = (
        "All layers start from the same raw kernel. Each row shows one kind: the singular values of a stack of such "
        "layers, what a network with such hidden layers reaches on digits, and what a training step costs. Press Start "
        "to train the networks with exactly these settings."
    )
    panels = 3
    essentials = ("family", "depth", "smallest", "padding")
    has_work = True

    def __init__(self, train: tuple[Array, Array] | None = None, test: tuple[Array, Array] | None = None):
        if (train is None) != (test is None):
            raise ValueError("Expected `train` and `test` together. Received one of them.")
        self._train, self._test = train, test
        self._made_here: dict[tuple[LayerKind, int], KindRun] = {}
        self._spectra = ResultCache(_spectra)
        super().__init__()

    def make_controls(self) -> dict[str, dict[str, widgets.Widget]]:
        families = [("dense", "dense"), ("convolutions", "convolutions")]
        paddings = [("same (zeros)", "same"), ("valid (none)", "valid"), ("circular", "circular")]
        groups = {
            f"{name}": {
                key: toggle(_name(kind), True, f"{kind.title}: {kind.construction}")
                for key, kind in _KINDS.items()
                if kind.is_dense is dense
            }
            for name, dense in (("Dense kinds", True), ("Convolutions", False))
        }
        return {
            "Layers": {
                "family": choice("Family", families, "Dense layers, or convolutions"),
                "depth": slider("Layers", 4, 1, 16, 1, "Number of layers in sequence (depth)"),
                "smallest": log_slider(
                    "Smallest singular value", 0.1, -3, 0, "Of the raw kernel, whose largest singular value is 1"
                ),
                "padding": choice(
                    "Padding", paddings, "At the border of images, for the singular values only (padding)"
                ),
            },
            **groups,
            "Training (Start)": {
                "steps": slider("Training steps", 150, 10, 300, 10, "Steps of Adam, on all images at once"),
                "seed": slider("Seed", 0, 0, 20, 1, "Another seed gives another raw kernel, and other initial weights"),
            },
        }

    def enabled(self, state: Mapping[str, Any]) -> set[str]:
        of_family = {key for key, kind in _KINDS.items() if kind.is_dense == (state["family"] == "dense")}
        used = {"family", "depth", "smallest", *_TRAINING, *of_family}
        return used | ({"padding"} if state["family"] == "convolutions" else set())

    def forget(self) -> None:
        """Nothing: a new training replaces the runs that it repeats."""

    def reset(self) -> None:
        """Return to the initial state, without the networks that were trained here."""
        self.stop()
        self._made_here.clear()
        super().reset()

    def compute(
        self, family: str, depth: int, smallest: float, padding: str, steps: int, seed: int, **chosen: bool
    ) -> _Shown:
        kinds = _chosen(family, chosen)
        # Pages and Python differ in the last bit of a power of ten.
        spectra = self._spectra(kinds, depth, float(f"{smallest:.12g}"), padding if family != "dense" else "same", seed)
        live = list(self._made_here.values())
        table = kind_table() if self._train is None else ()
        networks = compare_kinds(spectra.kinds, depth, runs=(*table, *live), epsilons=_EPSILONS)
        here = [run.kind.title for run in networks.runs if run in live]
        return _Shown(spectra, networks, tuple(here))

    def work(self, family: str, depth: int, steps: int, seed: int, **state: Any) -> Iterator[tuple[float, _Shown]]:
        train, test = self._data()
        kinds = self.compute(family=family, depth=depth, steps=steps, seed=seed, **state).spectra.kinds
        for place, kind in enumerate(kinds):
            self.progress(f"Compiling a step of the training with {kind.title} …")
            pieces = kind_steps(
                train,
                test,
                kind,
                depth=depth,
                steps=steps,
                every=max(_FEWEST, steps // _PICTURES),
                dataset="digits" if self._train is None else "yours",
                seed=seed,
            )
            for run in pieces:
                self._made_here[kind, depth] = run
                yield (place + run.step / steps) / len(kinds), self.compute(**self.state)

    def _data(self):
        return data_sets.digits() if self._train is None else (self._train, self._test)

    def draw(self, data: _Shown, state: Mapping[str, Any]) -> None:
        left, middle, right = self.figure.axes
        plot_kind_spectra(data.spectra, ax=left)
        plot_kind_accuracy(data.networks, ax=middle)
        plot_kind_costs(data.networks, ax=right)

    def alt_text(self, data: _Shown) -> str:
        return f"{alt_text(data.spectra)} {alt_text(data.networks)}"

    def statement(self, data: _Shown) -> str:
        return " ".join(part for part in (_spectra_in_words(data.spectra), _networks_in_words(data.networks)) if part)

    def numbers(self, data: _Shown) -> list[tuple[str, str]]:
        rows = []
        for place, kind in enumerate(data.spectra.kinds):
            values, run = data.spectra.values[place], data.networks.runs[place]
            words = f"{values[-1]:.4f}, {data.spectra.median[place]:.4f}, {values[0]:.4f}"
            if run is not None:
                shares = ", ".join(f"{100 * share:.1f} %" for share in (run.accuracy, *data.networks.certified[place]))
                done = "" if run.step == run.steps else f", step {run.step} of {run.steps}"
                words += f"; {shares} (depth {run.depth}{done})"
            rows.append((kind.title, words))
        sizes = ", ".join(map(number, data.networks.epsilons))
        heading = f"smallest, median, largest singular value; accuracy, and certified at ε = {sizes}"
        return [("kind", heading), *rows]

    def table(self, data: _Shown) -> tuple[list[str], list[list[Any]]]:
        """A row for each kind: figures of its spectrum and of its network."""
        networks, spectra = data.networks, data.spectra
        names = ["kind", "layers", "smallest", "median", "largest", "gain", "cost", "hidden_layers", "accuracy"]
        names += [f"certified_at_{number(eps)}" for eps in networks.epsilons]
        rows = []
        for place, kind in enumerate(spectra.kinds):
            values, run = spectra.values[place], networks.runs[place]
            figures = [values[-1], spectra.median[place], values[0], spectra.gain[place], networks.costs[place]]
            shares = [networks.accuracy[place], *networks.certified[place]]
            depth = "" if run is None else run.depth
            rows.append([kind.title, spectra.depth, *map(float, figures), depth, *map(float, shares)])
        return names, rows

    def code_lines(self, data: _Shown, state: Mapping[str, Any]) -> list[str]:
        spectra, networks = data.spectra, data.networks
        titles = [kind.title for kind in _chosen(state["family"], state)]
        settings = {"depth": spectra.depth, "smallest": spectra.smallest, "padding": spectra.padding}
        return [
            "titles = [",
            *(f"    {literal(title)}," for title in titles),
            "]",
            "kinds = [measure.layer_kind(title) for title in titles]",
            call("result = measure.kind_spectra", "kinds", **settings, seed=state["seed"]),
            *self._run_code(data),
            call("networks = toys.compare_kinds", "result.kinds", depth=networks.depth, runs=Raw("runs")),
            *picture_of(
                ["plots.plot_kind_spectra(result, ax={ax})"]
                + [f"plots.plot_kind_{what}(networks, ax={{ax}})" for what in ("accuracy", "costs")],
                'f"{plots.alt_text(result)} {plots.alt_text(networks)}"',
            ),
        ]

    def _run_code(self, data):
        """Lines that make the runs: those that come with lipviz, and those that were trained here."""
        lines = ["runs = list(toys.kind_table())" if self._train is None else "runs = []"]
        runs = [run for run in data.networks.runs if run is not None and run.kind.title in data.live]
        if runs and self._train is None:
            lines.append("train, test = data.digits()")
        for run in runs:
            kind = Raw(f'measure.layer_kind("{run.kind.title}")')
            named = {"depth": run.depth, "steps": run.steps, "dataset": run.dataset, "seed": run.seed}
            every = {} if run.step == run.steps else {"every": run.step}
            lines.append(call("steps = toys.kind_steps", "train", "test", str(kind), **named, **every))
            lines.append("runs.append(next(steps))")
        return lines


def _spectra(kinds, depth, smallest, padding, seed):
    return kind_spectra(kinds, depth=depth, smallest=smallest, padding=padding, seed=seed)


def _chosen(family, chosen):
    kinds = tuple(kind for key, kind in _KINDS.items() if chosen[key] and kind.is_dense == (family == "dense"))
    if not kinds:
        raise ValueError(f"Choose at least one kind of {'dense layers' if family == 'dense' else 'convolutions'}.")
    return kinds


def _spectra_in_words(data):
    what = f"After {data.depth} layers" if data.depth > 1 else "After one layer"
    whole = [kind.title for kind, values in zip(data.kinds, data.values, strict=True) if values[-1] > 1 - _ALL_EQUAL]
    words = f"{what}, all singular values are 1 (within {_ALL_EQUAL:g}) for {_listed(whole)}. "
    least = int(data.gain.argmin())
    if data.gain[least] < 1 - _ALL_EQUAL:
        share = number(100 * data.gain[least])
        words += f"{data.kinds[least].title} leaves {share} % of the length of a random change, in the mean of squares."
    if data.left_out:
        words += f" {_listed([kind.title for kind in data.left_out])} cannot have this padding."
    return words


def _networks_in_words(data):
    if not any(data.runs):
        return "No network is trained yet: press Start."
    eps = data.epsilons[len(data.epsilons) // 2]
    shares = [-1.0 if run is None else run.certified_at(eps) for run in data.runs]
    best = max(range(len(shares)), key=shares.__getitem__)
    run = data.runs[best]
    layers = "hidden layer" if run.depth == 1 else "hidden layers"
    return (
        f"Of the networks with {run.depth} {layers}, the one of {run.kind.title} has the most images that are "
        f"certified at ε = {number(eps)}: {100 * shares[best]:.1f} %."
    )


def _listed(titles):
    return "none" if not titles else " and ".join([", ".join(titles[:-1]), titles[-1]] if titles[1:] else titles)
