"""The engine of the playground computes what lipviz computes, and certifies no more."""

import functools
import json

import keras
import numpy as np
import pytest
from keras import ops

import lipviz
from lipviz import layers, losses
from lipviz.operators.precision import float64_scope
from tests import npm
from tests.playground.node import HERE, ROOT, node, printed
from tests.support import gradient, singular_values

pytestmark = pytest.mark.slow

ACTIVATIONS = {"groupsort2": layers.GroupSort2, "maxmin": layers.MaxMin, "relu": keras.layers.ReLU}


def case(activation, kind, constrained, loss="crossentropy", width=8, depth=2, k=1.0, tau=5.0, seed=0, decay=0.0):
    return {
        "activation": activation,
        "kind": kind,
        "constrained": constrained,
        "loss": loss,
        "width": width,
        "depth": depth,
        "k": k,
        "tau": tau,
        "margin": 2 / tau,
        "rate": 0.02,
        "decay": decay,
        "seed": seed,
    }


CASES = [
    case("groupsort2", "drawn", True),
    case("groupsort2", "gaussian", True, loss="hkr", width=16, k=3.0, seed=1),
    case("groupsort2", "ill", True, width=6, depth=3, k=0.5, tau=50.0, seed=2),
    case("groupsort2", "zero", True, tau=1.0),
    case("groupsort2", "gaussian", False, tau=20.0, seed=3),
    case("maxmin", "gaussian", True, width=12, depth=1, k=10.0, tau=1.0, seed=4),
    case("maxmin", "large", True, loss="hkr", depth=3, k=0.1, seed=5),
    case("maxmin", "rankOne", True, seed=6),
    case("maxmin", "drawn", False, loss="hkr", seed=7, decay=0.3),
    case("relu", "gaussian", True, width=5, depth=4, k=2.0, tau=100.0, seed=8),
    case("relu", "ones", True, loss="hkr", seed=9),
    case("relu", "ill", False, depth=1, tau=0.1, seed=10),
    case("relu", "large", False, width=4, depth=1, seed=11),
    case("relu", "zero", False),
]
NAMES = [
    f"{c['activation']}-{c['kind']}-{'constrained' if c['constrained'] else 'ordinary'}-{c['loss']}" for c in CASES
]


@functools.cache
def engine_results():
    """What the engine computes for all cases, in one run of Node.js."""
    return json.loads(printed(node(), HERE / "reference.js", given=json.dumps(CASES)))


def network(settings, weights):
    """The network of lipviz or Keras with the engine's weights, in float64."""
    constrained, activation = settings["constrained"], ACTIVATIONS[settings["activation"]]
    dense = layers.SpectralDense if constrained else keras.layers.Dense
    stack = [keras.Input((2,), dtype="float64")]
    for bias in weights[1:-1:2]:
        stack += [dense(len(bias), dtype="float64"), activation(dtype="float64")]
    stack.append(dense(1, dtype="float64"))
    model = lipviz.Sequential(stack, k_coef_lip=settings["k"]) if constrained else keras.Sequential(stack)
    for variable, weight in zip(model.trainable_variables, weights, strict=True):
        variable.assign(np.reshape(weight, variable.shape))
    lipviz.model.refresh(model)
    return model


def loss_of(settings, y, scores):
    if settings["loss"] == "hkr":
        return ops.mean(losses.hkr(y, scores, 10.0, settings["margin"]))
    return ops.mean(losses.tau_binary_crossentropy(y, scores, settings["tau"]))


def loss_and_gradient(settings, model, x, y):
    """The loss and its gradient with respect to all weights, one after the other in one array."""
    variables, at = model.trainable_variables, [0]
    for variable in variables:
        at.append(at[-1] + variable.numpy().size)

    def loss(flat):
        parts = [ops.reshape(flat[a:b], v.shape) for v, a, b in zip(variables, at, at[1:], strict=False)]
        with keras.StatelessScope(state_mapping=zip(variables, parts, strict=True)):
            return loss_of(settings, y, model(x, training=False))

    flat = np.concatenate([np.ravel(variable.numpy()) for variable in variables])
    return float(loss(ops.convert_to_tensor(flat))), gradient(loss, flat)


def flattened(weights):
    return np.concatenate([np.ravel(np.array(weight, float)) for weight in weights])


@pytest.mark.parametrize("number", range(len(CASES)), ids=NAMES)
def test_the_engine_computes_what_lipviz_computes(number):
    settings, found = CASES[number], engine_results()[number]
    x, y = np.array(found["x"]), np.array(found["labels"], float)[:, None]
    with float64_scope():
        model = network(settings, found["weights"])
        np.testing.assert_allclose(found["scores"], np.ravel(model(x)), rtol=1e-5, atol=1e-5)
        check_norms(settings, model, found["norms"])
        check_radii(lipviz.certified_radius(model, x, method="product").radii, np.array(found["radii"], float))
        loss, slopes = loss_and_gradient(settings, model, x, y)
    np.testing.assert_allclose(found["loss"], loss, rtol=1e-5)
    np.testing.assert_allclose(flattened(found["gradients"]), slopes, rtol=1e-5, atol=1e-5)


def check_norms(settings, model, found):
    dense = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)]
    kernels = [layer.used_kernel() if settings["constrained"] else layer.kernel for layer in dense]
    np.testing.assert_allclose(found, [singular_values(np.asarray(w))[0] for w in kernels], rtol=1e-5, atol=1e-12)


def check_radii(certified, found):
    assert (found <= certified).all()
    finite = np.isfinite(certified)
    assert (found[finite] >= certified[finite] - 1e-5).all()
    assert (found[~finite] == np.inf).all()


@pytest.mark.parametrize("number", [0, 8])
def test_steps_of_adam(number):
    settings, found = CASES[number], engine_results()[number]
    x, y = np.array(found["x"]), np.array(found["labels"], float)[:, None]
    with float64_scope():
        model = network(settings, found["weights"])
        adam = keras.optimizers.Adam(settings["rate"], weight_decay=settings["decay"] or None)
        for _ in range(found["steps"]):
            apply(adam, model, loss_and_gradient(settings, model, x, y)[1])
    after = flattened(variable.numpy() for variable in model.trainable_variables)
    np.testing.assert_allclose(flattened(found["trained"]), after, rtol=1e-5, atol=1e-5)


def apply(optimizer, model, slopes):
    variables = model.trainable_variables
    ends = np.cumsum([variable.numpy().size for variable in variables])[:-1]
    parts = [np.reshape(part, v.shape) for part, v in zip(np.split(slopes, ends), variables, strict=True)]
    optimizer.apply([ops.convert_to_tensor(part) for part in parts], variables)
    lipviz.model.refresh(model)


def test_the_engine_by_itself():
    printed(node(), "--test", *sorted(map(str, HERE.glob("*.test.js"))))


def test_types():
    purpose = "checks the types of the playground's JavaScript"
    compiler = npm.need(npm.MODULES / "typescript" / "bin" / "tsc", purpose)
    printed(node(), compiler, "-p", ROOT / "tsconfig.json")
