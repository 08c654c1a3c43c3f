"""The deep residual recipe: its constant, a training step on images of CIFAR-10's shape, and its cost on paper."""

import dataclasses
import math

import keras
import numpy as np
import pytest
from keras import ops

import lipviz
from lipviz import losses
from lipviz.recipes import Cost, DeepRecipe, LiResNet
from lipviz.recipes.fitting import ShiftedBatches
from lipviz.recipes.samples import Samples
from tests.support import predicted

RNG = np.random.default_rng(0)
CIFAR = (32, 32, 3)
TINY = LiResNet(width=4, depth=1, units=8, dense_depth=1)


def kernels(model):
    return [layer for layer in model.layers if hasattr(layer, "kernel")]


@pytest.fixture(scope="module")
def trained():
    """A recipe with the tiny network, what it has trained in three steps with EMMA, and its report."""
    recipe = deep()
    return recipe, *recipe.train(IMAGES, LABELS, (IMAGES, LABELS), verbose=0)


@pytest.mark.nightly
def test_it_trains_and_stays_1_lipschitz(trained):
    recipe, model, _ = trained
    assert np.isfinite(model.history.history["loss"]).all()
    for layer, old in zip(kernels(model), kernels(recipe.build()), strict=True):
        assert np.abs(ops.convert_to_numpy(layer.kernel) - ops.convert_to_numpy(old.kernel)).max() > 1e-4, layer.name
    body = lipviz.Sequential([keras.Input(IMAGES.shape[1:]), *model.layers[:-1]])
    assert lipviz.certify(body, search=False).upper_bound <= 1 + 1e-6
    moved = IMAGES + 0.1 * RNG.normal(size=IMAGES.shape).astype("float32")
    far = np.linalg.norm((moved - IMAGES).reshape(len(IMAGES), -1), axis=1)
    apart = np.abs(predicted(model, moved) - predicted(model, IMAGES))  # each output is 1-Lipschitz
    assert (apart <= (1 + 1e-5) * far[:, None]).all()


@pytest.mark.slow
def test_what_is_counted_on_paper_is_what_is_built():
    model, cost = TINY.build(CIFAR, 10), TINY.estimate()
    counts = [(layer.kernel.shape, layer.output.shape[1:-1]) for layer in kernels(model)]
    assert cost.parameters == sum(math.prod(kernel) for kernel, _ in counts)
    assert cost.multiply_adds == sum(math.prod(kernel) * math.prod(places) for kernel, places in counts)
    kept = [layer.input for layer in model.layers if hasattr(layer, "kernel") or "sort" in layer.name]
    assert cost.activations == sum(math.prod(value.shape[1:]) for value in kept) + 10


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "shape", "side"),
    [
        (TINY, (28, 28, 1), 16),
        (dataclasses.replace(TINY, block="AOLConv2D"), (9, 5, 2), 8),
        (dataclasses.replace(TINY, depth=0), (24, 24, 3), 12),
    ],
    ids=["grey", "small", "without blocks"],
)
def test_images_of_other_sizes_are_padded(network, shape, side):
    model = network.build(shape, 3)
    assert model.output_shape == (None, 3)
    assert next(layer for layer in model.layers if hasattr(layer, "kernel")).output.shape[1] == side
    counts = sum(math.prod(layer.kernel.shape) for layer in kernels(model))
    assert network.estimate(shape, 3).parameters == counts


def test_costs_grow_as_the_sizes_say():
    base = LiResNet(width=64)
    wide = dataclasses.replace(base, width=128)
    # All but the stem, the first dense layer and the orthogonal kernels grow with the cube of the width.
    per_block = [
        dataclasses.replace(network, depth=2).estimate().constraint_multiply_adds
        - dataclasses.replace(network, depth=1).estimate().constraint_multiply_adds
        for network in (base, wide)
    ]
    assert 7 < per_block[1] / per_block[0] < 8
    cheap = dataclasses.replace(wide, block="AOLConv2D").estimate()
    assert cheap.constraint_multiply_adds < wide.estimate().constraint_multiply_adds
    assert cheap.multiply_adds == wide.estimate().multiply_adds


def test_a_cost_says_what_a_step_and_an_epoch_take():
    cost = Cost(
        parameters=10, multiply_adds=100, constraint_multiply_adds=400, activations=7, samples=50, batch_size=20
    )
    assert cost.steps == 3
    assert cost.step_multiply_adds == 3 * 20 * 100 + 400
    assert cost.memory_bytes == 4 * (60 + 140)
    assert cost.epoch_seconds(3200.0) == 6.0
    assert "6 parameters" not in str(cost)
    assert "3 steps" in str(cost)
    with pytest.raises(ValueError, match="multiply_adds_per_second"):
        cost.epoch_seconds(0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"width": 5}, "`width` must be even"),
        ({"units": 0}, "`units` must be at least 2"),
        ({"depth": -1}, "depth"),
        ({"block": "Conv2D"}, "must be one of SpectralConv2D, AOLConv2D"),
        ({"width": 8.5}, "width"),
    ],
)
def test_impossible_sizes_are_refused(arguments, words):
    with pytest.raises((ValueError, TypeError), match=words):
        LiResNet(**arguments)


@pytest.mark.parametrize("call", [TINY.build, TINY.estimate])
@pytest.mark.parametrize(
    ("shape", "classes", "words"),
    [
        ((32, 32), 10, "height, width, channels"),
        ((32, 0, 3), 10, "`input_shape` must be at least 1"),
        ((32, 32, None), 10, "input_shape"),
        (CIFAR, 1, "`classes` must be at least 2"),
    ],
)
def test_impossible_images_are_refused(call, shape, classes, words):
    with pytest.raises((ValueError, TypeError), match=words):
        call(shape, classes)


@pytest.mark.parametrize("name", ["samples", "batch_size"])
def test_an_epoch_has_samples(name):
    with pytest.raises(ValueError, match=f"`{name}` must be at least 1"):
        TINY.estimate(**{name: 0})


IMAGES = RNG.uniform(size=(24, 8, 8, 3)).astype("float32")
LABELS = np.arange(24) % 3


def deep(**changes):
    given = {"radius": 0.1, "epochs": 1, "batch_size": 8, "shift": 1, "network": TINY}
    return DeepRecipe((8, 8, 3), 3, **{**given, **changes})


@pytest.mark.nightly
def test_its_recipe_trains_and_reports(trained):
    recipe, model, report = trained
    assert "LiResNet(width=4" in str(recipe)
    assert "every second image" in str(recipe)
    assert report.recipe is recipe
    assert report.trained == 24
    assert report.constant < 2  # of three outputs that are 1-Lipschitz each: at most √3
    assert 0 <= report.certified_at([0.1])[0] <= report.accuracy <= 1
    assert recipe.cost(24).steps == 3
    assert isinstance(model.loss, losses.EMMACategoricalCrossentropy)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width": 2}, "`width` has no meaning"),
        ({"layer_arguments": {"bound": "tight"}}, "`layer_arguments` has no meaning"),
        ({"network": "LiResNet"}, "must be a LiResNet"),
        ({"flip": 0.5}, "`flip` must be True or False"),
        ({"shift": 8}, "smaller than an image"),
    ],
)
def test_its_recipe_refuses_what_has_no_meaning(changes, words):
    with pytest.raises((ValueError, TypeError), match=words):
        deep(**changes)


def test_images_are_mirrored_in_every_epoch_anew():
    samples = Samples.of(IMAGES, LABELS)
    batches = ShiftedBatches(samples, 24, 0, 0, flip=True)
    sides = []
    for _ in range(2):
        images, hot = batches[0]
        # Without shifts, each is an image of its class as it was, or mirrored.
        same = [[np.array_equal(image, one) for one in IMAGES] for image in images]
        turned = [[np.array_equal(image, one[:, ::-1]) for one in IMAGES] for image in images]
        found = np.argmax(np.array(same) | np.array(turned), axis=1)
        assert sorted(found) == list(range(24))
        np.testing.assert_array_equal(hot.argmax(axis=1), LABELS[found])
        mirrored = np.array(turned).any(axis=1)[np.argsort(found)]
        assert 4 < mirrored.sum() < 20  # a fair coin is outside of this for one seed of a thousand
        sides.append(mirrored)
        batches.on_epoch_end()
    assert (sides[0] != sides[1]).any()
