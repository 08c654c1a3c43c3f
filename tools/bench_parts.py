"""The parts of `lipviz bench` under pytest-benchmark, to compare one commit with another on one machine.

`python -m pytest -p benchmark tools/bench_parts.py --benchmark-autosave`, then `pytest-benchmark compare`. No time
is asserted: what counts are ratios, see `lipviz bench`.
"""

import keras
import numpy as np
import pytest

from lipviz import Sequential, operators
from lipviz.command.bench import networks, parts
from lipviz.layers import GroupSort2, SpectralDense

ROUNDS = {"rounds": 10, "warmup_rounds": 2}


@pytest.fixture(autouse=True)
def _seeds():
    keras.utils.set_random_seed(0)


def timed(benchmark, call):
    benchmark.pedantic(call, **ROUNDS)


@pytest.mark.parametrize("network", [networks.cnn, networks.mlp])
@pytest.mark.parametrize("kind", ["plain", "lipviz", "sorting", "constrained"])
def test_training_step(benchmark, network, kind):
    timed(benchmark, networks.training_step(networks.compiled(network(kind), False), 256))


@pytest.mark.parametrize("name", ["ReLU", *parts.ACTIVATIONS])
@pytest.mark.parametrize("way", parts.WAYS)
def test_activation(benchmark, name, way):
    layer = {"ReLU": keras.layers.ReLU, **parts.ACTIVATIONS}[name]()
    timed(benchmark, parts.call_of(layer, way, parts.noise((256, 28, 28, 16))))


@pytest.mark.parametrize("name", ["average", *parts.POOLINGS])
@pytest.mark.parametrize("way", parts.WAYS)
def test_pooling(benchmark, name, way):
    layer = {"average": keras.layers.AveragePooling2D, **parts.POOLINGS}[name]((2, 2))
    timed(benchmark, parts.call_of(layer, way, parts.noise((256, 28, 28, 16))))


@pytest.mark.parametrize("shape", parts.SHAPES)
@pytest.mark.parametrize("way", parts.WAYS)
def test_constraint(benchmark, shape, way):
    kernel = np.linalg.qr(parts.noise(shape))[0] + 0.02 * parts.noise(shape, seed=1)
    timed(benchmark, parts.call_of(parts.constraint(shape[1]), way, kernel))


def fifty_layers():
    steps = [step for _ in range(50) for step in (SpectralDense(64), GroupSort2())]
    return Sequential([keras.Input((64,)), *steps])


def test_fifty_layers_built(benchmark):
    benchmark.pedantic(fifty_layers, rounds=3, warmup_rounds=1)


@pytest.mark.parametrize("way", ["exported", "copied", "loaded"])
def test_fifty_layers(benchmark, way, tmp_path):
    model = fifty_layers()
    model.save(tmp_path / "model.keras")
    ways = {
        "exported": model.vanilla_export,
        "copied": lambda: operators.float64_copy(model),
        "loaded": lambda: keras.models.load_model(tmp_path / "model.keras"),
    }
    benchmark.pedantic(ways[way], rounds=3, warmup_rounds=1)
