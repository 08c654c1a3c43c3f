import keras
import numpy as np
import pytest

from lipviz import layers, operators
from tests.support import singular_values


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (6, 1), (4, 9), (9, 4), (8, 8)])
@pytest.mark.parametrize(
    ("spectrum", "expected"),
    [
        ("even", lambda n: np.linspace(1, 0.01, n)),
        ("geometric", lambda n: np.geomspace(1, 0.01, n)),
        ("one small", lambda n: np.array([1.0] * (n - 1) + [0.01])),
    ],
)
def test_a_random_kernel_has_the_spectrum_that_was_asked_for(shape, spectrum, expected):
    count = min(shape)
    values = np.ones(1) if count == 1 else expected(count)
    kernel = operators.random_kernel(*shape, 0.01, spectrum, seed=3)
    assert kernel.shape == shape
    np.testing.assert_allclose(singular_values(kernel), values, atol=1e-14)


def test_a_seed_is_a_draw():
    first, again, other = (operators.random_kernel(5, 4, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"rows": 0}, "rows=0"),
        ({"columns": -1}, "columns"),
        ({"rows": 2.5}, "rows"),
        ({"smallest": -0.1}, "`smallest`.*-0.1"),
        ({"smallest": 1.1}, "`smallest`.*1.1"),
        ({"smallest": float("nan")}, "`smallest`.*nan"),
        ({"smallest": 0, "spectrum": "geometric"}, "`smallest`.*: 0"),
        ({"spectrum": "flat"}, "`spectrum`.*flat"),
    ],
)
def test_a_bad_argument_of_a_random_kernel_is_named(arguments, words):
    with pytest.raises(ValueError, match=words):
        operators.random_kernel(**{"rows": 3, "columns": 3, **arguments})


def test_kernels_of_a_model_are_matrices_by_name():
    inner = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(4, name="inner")])
    model = keras.Sequential(
        [
            keras.layers.Input((4, 4, 1)),
            keras.layers.Conv2D(3, 2, name="convolution"),
            keras.layers.GlobalAveragePooling2D(),
            layers.SpectralDense(4, activation=layers.GroupSort2(), name="outer"),
            inner,
        ]
    )
    found = operators.kernels(model)
    assert {name: w.shape for name, w in found.items()} == {"convolution": (4, 3), "outer": (3, 4), "inner": (4, 4)}
    assert all(w.dtype == np.float64 for w in found.values())
    np.testing.assert_array_equal(found["inner"], np.asarray(inner.layers[0].kernel, np.float64))


def test_layers_that_share_a_name_go_by_their_path():
    def part(name):
        return keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(3, name="same")], name=name)

    model = keras.Sequential([keras.layers.Input((3,)), part("a"), part("b")], name="whole")
    found = operators.kernels(model)
    assert len(found) == 2
    assert {name.rsplit("/", 2)[-2] for name in found} == {"a", "b"}


def test_a_shared_layer_counts_once():
    shared = keras.layers.Dense(3)
    x = keras.layers.Input((3,))
    assert len(operators.kernels(keras.Model(x, shared(shared(x))))) == 1


def test_an_array_of_any_kind_is_a_kernel():
    values = np.arange(6).reshape(2, 3)
    for kernel in (
        values,
        values.tolist(),
        keras.ops.convert_to_tensor(values),
        keras.Variable(values, dtype="float32"),
    ):
        (matrix,) = operators.kernels(kernel).values()
        np.testing.assert_array_equal(matrix, values)
        assert matrix.dtype == np.float64
