"""Other libraries by the same recipe: PyTorch trains the network, and Keras measures it, as those of lipviz.

Network, loss, schedule and optimizer are those of the recipe. The trained kernels are handed to plain layers of Keras,
so that certificates, radii and attacks are computed by the same code, from the kernels that inference uses.
"""

import dataclasses
import importlib
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

import keras
import numpy as np

from lipviz import certification, layers
from lipviz.command.bench.certified import measuring
from lipviz.command.bench.certified.plan import Run
from lipviz.data import Split
from lipviz.recipes.fitting import learning_rate
from lipviz.recipes.objectives import check_name
from lipviz.recipes.results import Report
from lipviz.recipes.samples import Samples


@dataclasses.dataclass(frozen=True)
class Peer:
    """A library of PyTorch.

    Attributes:
        convolution: Function (inputs, outputs) → 3×3 convolution with zero padding.
        dense: Function (inputs, outputs) → hidden dense layer.
        last: Function (inputs, outputs) → layer each of whose outputs is 1-Lipschitz.
        sort: Function () → sort in pairs of channels, as `GroupSort2`.
        layer: What its convolution is called.
        version: Name and version, as the table has them.
    """

    convolution: Callable[[int, int], Any]
    dense: Callable[[int, int], Any]
    last: Callable[[int, int], Any]
    sort: Callable[[], Any]
    layer: str
    version: str


def _torchlip() -> Peer:
    lip = importlib.import_module("deel.torchlip")
    return Peer(
        lambda n, m: lip.SpectralConv2d(n, m, 3, padding=1),
        lip.SpectralLinear,
        lambda n, m: lip.FrobeniusLinear(n, m, disjoint_neurons=True),
        lip.GroupSort2,
        "SpectralConv2d",
        f"deel-torchlip {metadata.version('deel-torchlip')}",
    )


def _orthogonium() -> Peer:
    ortho = importlib.import_module("orthogonium.layers")
    return Peer(
        lambda n, m: ortho.AdaptiveOrthoConv2d(n, m, 3, padding=1, padding_mode="zeros"),
        ortho.OrthoLinear,
        ortho.UnitNormLinear,
        lambda: importlib.import_module("deel.torchlip").GroupSort2(),
        "AdaptiveOrthoConv2d",
        f"orthogonium {metadata.version('orthogonium')}",
    )


PEERS: dict[str, Callable[[], Peer]] = {"deel-torchlip": _torchlip, "orthogonium": _orthogonium}
"""Libraries by name. Both have the sort in pairs of deel-torchlip: that of orthogonium pairs other channels."""


def find(name: str) -> Peer:
    """A library by its name.

    Raises:
        ValueError: If the name is not known, or the library or PyTorch cannot be imported.
    """
    check_name("peer", name, PEERS)
    try:
        importlib.import_module("torch")
        return PEERS[name]()
    except ImportError as error:
        raise ValueError(f"The peer {name!r} cannot be imported: {error}") from error


def measured(run: Run, images: Split, peer: Peer) -> dict[str, Any]:
    """Trains the network of another library, and returns its row; see `measuring.measured`."""
    (x, y), (x_test, y_test) = measuring.part(images, run.validated)
    samples = Samples.of(x, y)
    began, computed = time.perf_counter(), time.process_time()
    network = trained(run, samples, peer)
    seconds, processor_seconds = time.perf_counter() - began, time.process_time() - computed
    model = as_keras(network, x_test[:64])
    report = Report(
        recipe=run.recipe,
        radii=certification.certified_radius(model, x_test, y_test, method=run.recipe.method),
        certificate=certification.certify(model, search=False, method=run.recipe.method),
        trained=len(samples),
        epochs=float(run.recipe.epochs),
        seconds=seconds,
        processor_seconds=processor_seconds,
        interrupted=False,
    )
    found = measuring.row(run, model, report, x_test, y_test)
    torch = importlib.import_module("torch")
    return found | {"layer": peer.layer, "versions": {**found["versions"], "torch": torch.__version__}}


def trained(run: Run, samples: Samples, peer: Peer) -> Any:
    """The trained network, a `torch.nn.Sequential`, at inference."""
    torch = importlib.import_module("torch")
    recipe = run.recipe
    torch.manual_seed(recipe.seed)
    network = build(peer)
    settings = run.settings["loss_settings"]
    steps_in_epoch = -(-len(samples) // recipe.batch_size)
    rate = learning_rate(recipe.schedule, recipe.learning_rate, recipe.epochs * steps_in_epoch)
    rates = [float(rate(step)) if callable(rate) else rate for step in range(recipe.epochs * steps_in_epoch)]
    step = _Steps(torch, network, rates)
    x = torch.from_numpy(np.moveaxis(samples.x, -1, 1).copy())
    hot, labels = torch.from_numpy(samples.hot), torch.from_numpy(samples.labels)
    for _ in range(recipe.epochs):
        for rows in torch.randperm(len(samples)).split(recipe.batch_size):
            lowered = network(x[rows]) - settings["offset"] * hot[rows]
            step(torch.nn.functional.cross_entropy(settings["tau"] * lowered, labels[rows]) / settings["tau"])
    return network.eval()


def build(peer: Peer) -> Any:
    """The network of the benchmark, for images of 28×28×1."""
    nn = importlib.import_module("torch").nn
    pool = lambda: nn.LPPool2d(2, 2)  # noqa: E731 - the l2 norm of each window
    return nn.Sequential(
        *(peer.convolution(1, 16), peer.sort(), pool(), peer.convolution(16, 32), peer.sort(), pool()),
        *(nn.Flatten(), peer.dense(1568, 128), peer.sort(), peer.last(128, 10)),
    )


class _Steps:
    """Steps of Muon for kernels, and of Adam for all else, at rates that are given; as `lipviz.optimizers.Muon`."""

    def __init__(self, torch, network, rates: Sequence[float]) -> None:
        last = set(network[-1].parameters())
        self._torch, self._rates, self._done = torch, rates, 0
        self._kernels = {p: torch.zeros_like(p) for p in network.parameters() if p.ndim > 1 and p not in last}
        others = [p for p in network.parameters() if p not in self._kernels]
        self._adam = torch.optim.Adam(others, eps=1e-7)

    def __call__(self, loss) -> None:
        for parameter in self._kernels:
            parameter.grad = None
        self._adam.zero_grad()
        loss.backward()
        rate = self._rates[self._done]
        self._done += 1
        self._adam.param_groups[0]["lr"] = rate
        self._adam.step()
        with self._torch.no_grad():
            for kernel, momentum in self._kernels.items():
                if kernel.grad is None:  # a parameter that its layer does not use
                    continue
                momentum.mul_(0.95).add_(kernel.grad)
                step = (kernel.grad + 0.95 * momentum).flatten(1)
                kernel -= (rate * 0.2 * max(step.shape) ** 0.5) * self._orthogonal(step).reshape(kernel.shape)

    def _orthogonal(self, step):
        x = step / (step.norm() + 1e-7)
        x = x.T if step.shape[0] > step.shape[1] else x
        for _ in range(5):
            gram = x @ x.T
            x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
        return x.T if step.shape[0] > step.shape[1] else x


def as_keras(network: Any, x: np.ndarray) -> keras.Model:
    """A Keras model with the kernels of a trained network of `build`.

    Args:
        network: The network, at inference.
        x: Some images, on which both must agree.

    Raises:
        RuntimeError: If they do not.
    """
    torch = importlib.import_module("torch")
    kernels = [_arrays(layer) for layer in network if hasattr(layer, "weight")]
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Conv2D(16, 3, padding="same"),
            layers.GroupSort2(),
            layers.ScaledL2NormPooling2D(2, eps_grad_sqrt=0.0),
            keras.layers.Conv2D(32, 3, padding="same"),
            layers.GroupSort2(),
            layers.ScaledL2NormPooling2D(2, eps_grad_sqrt=0.0),
            keras.layers.Flatten(),
            keras.layers.Dense(128),
            layers.GroupSort2(),
            keras.layers.Dense(10),
        ]
    )
    flat = kernels[2][0]  # its inputs are channels, rows, columns there, and rows, columns, channels here
    kernels[2] = np.moveaxis(flat.reshape(32, 7, 7, -1), 0, 2).reshape(flat.shape), kernels[2][1]
    targets = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)]
    for layer, values in zip(targets, kernels, strict=True):
        layer.set_weights(values)
    with torch.no_grad():
        expected = network(torch.from_numpy(np.moveaxis(x, -1, 1).copy())).numpy()
    found = model.predict(x, verbose=0)
    if not np.allclose(found, expected, rtol=0, atol=1e-4):
        difference = float(np.abs(found - expected).max())
        raise RuntimeError(f"The model in Keras is not that of the peer: their outputs differ by {difference:.2g}")
    return model


def _arrays(layer):
    """Kernel and bias of a layer, as Keras orders their axes."""
    weight, bias = (value.detach().numpy() for value in (layer.weight, layer.bias))
    return (weight.transpose(2, 3, 1, 0) if weight.ndim == 4 else weight.T), bias
