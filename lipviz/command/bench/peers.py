"""Other libraries to compare with (peers): those with the reference's names on Keras, and deel-torchlip."""

import importlib
import itertools
import types
from collections.abc import Callable
from typing import Any


def find_peer(name: str) -> Callable[..., tuple[Callable[[], Any], Callable[[], Any] | None]]:
    """Find a peer: a function that makes its training step, and that of the plain network in its framework.

    Args:
        name: "deel-torchlip", or the name of a module. The module, or its modules `layers` and `activations`, must have
            `SpectralDense`, `SpectralConv2D`, `ScaledL2NormPooling2D` and `GroupSort2`, for the installed Keras.

    Returns:
        A function (network, batch size, jit_compile=False) → (step of the peer, plain step). The network is "cnn" or
        "mlp". The plain step is None if plain Keras is what to compare with.

    Raises:
        ValueError: If it cannot be imported, or does not have these layers.
    """
    try:
        if name.replace("_", "-") in ("deel-torchlip", "torchlip"):
            return _torchlip(importlib.import_module("torch"), importlib.import_module("deel.torchlip"))
        return _keras_peer(name)
    except ImportError as error:
        raise ValueError(f"The peer {name!r} cannot be imported: {error}") from error


def _keras_peer(name):
    from lipviz.command.bench import networks

    name = {"deel-lip": "deel.lip"}.get(name, name)
    found: dict[str, Any] = {}
    for place in ("layers", "activations", ""):
        try:
            module = importlib.import_module(f"{name}.{place}".rstrip("."))
        except ImportError:
            if not place:
                raise
            continue
        found = {**vars(module), **found}
    needed = ("SpectralDense", "SpectralConv2D", "ScaledL2NormPooling2D", "GroupSort2")
    missing = [layer for layer in needed if layer not in found]
    if missing:
        raise ValueError(f"The peer {name!r} has no {', '.join(missing)}")
    layers = types.SimpleNamespace(**{layer: found[layer] for layer in needed})

    def steps(network, size, jit_compile=False):
        model = networks.compiled(getattr(networks, network)("peer", layers), jit_compile)
        return networks.training_step(model, size), None

    return steps


def _torchlip(torch, torchlip):
    def network(kind, lipschitz):
        nn = torch.nn
        conv = torchlip.SpectralConv2d if lipschitz else nn.Conv2d
        linear = torchlip.SpectralLinear if lipschitz else nn.Linear
        sort = torchlip.GroupSort2 if lipschitz else nn.ReLU
        pool = torchlip.ScaledL2NormPool2d if lipschitz else nn.AvgPool2d
        if kind == "mlp":
            sizes = (2, 256, 128, 64)
            hidden = [layer for n, m in itertools.pairwise(sizes) for layer in (linear(n, m), sort())]
            return nn.Sequential(*hidden, linear(64, 1))
        return nn.Sequential(
            *(conv(1, 16, 3, padding=1), sort(), pool((2, 2)), conv(16, 32, 3, padding=1), sort(), pool((2, 2))),
            *(nn.Flatten(), linear(1568, 128), sort(), linear(128, 10)),
        )

    def step(kind, lipschitz, size):
        torch.manual_seed(0)
        model = network(kind, lipschitz)
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        x = torch.rand((size, 2) if kind == "mlp" else (size, 1, 28, 28))
        y = torch.rand(size, 1) if kind == "mlp" else torch.randint(0, 10, (size,))
        loss = torch.nn.MSELoss() if kind == "mlp" else torch.nn.CrossEntropyLoss()

        def run():
            optimizer.zero_grad()
            loss(model(x), y).backward()
            optimizer.step()

        return run

    def steps(network, size, jit_compile=False):
        return step(network, True, size), step(network, False, size)

    return steps
