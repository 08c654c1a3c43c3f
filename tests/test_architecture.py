"""The page on the architecture is true: its example is run, and held to what it says."""

import re
from pathlib import Path

import keras
import numpy as np
import pytest

from lipviz import layers
from lipviz.certification import certify
from lipviz.layers import ConstrainedKernel
from lipviz.operators import explicit_matrix, linear_operator
from tests.support import singular_values

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"


@pytest.fixture(scope="module")
def examples():
    """Each piece of code, and what it defines."""
    codes = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    scopes = [{"__name__": "example"} for _ in codes]
    for code, scope in zip(codes, scopes, strict=True):
        exec(compile(code, str(PAGE), "exec"), scope)
    return codes, scopes


def test_a_layer_of_ones_own_takes_at_most_fifteen_lines(examples):
    codes, _ = examples
    assert len(codes) == 2
    for code in codes:
        assert len([line for line in code.splitlines() if line.strip()]) <= 15


@pytest.mark.slow
def test_a_layer_of_ones_own_has_the_whole_mechanism(examples, tmp_path):
    layer = examples[1][0]["layer"]
    assert isinstance(layer, ConstrainedKernel)
    model = keras.Sequential([keras.Input((6, 3)), layer])
    x = np.random.default_rng(0).standard_normal((16, 6, 3)).astype("float32")
    model.compile(keras.optimizers.Adam(1e-1), "mse")
    model.fit(x, 3 * x[:, :4], epochs=1, verbose=0)
    layer.refresh()
    np.testing.assert_allclose(singular_values(layer.wbar), 2, rtol=1e-3)
    assert singular_values(layer.wbar)[0] <= 2
    want = model.predict(x, verbose=0)

    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras").predict(x, verbose=0), want)
    export = layer.vanilla_export()
    assert type(export) is keras.layers.EinsumDense
    np.testing.assert_allclose(export(x), want, atol=1e-5)
    assert layer.get_config()["k_coef_lip"] == 2.0


@pytest.mark.slow
def test_a_depthwise_layer_of_ones_own_has_it_too(examples, tmp_path):
    cls = examples[1][1]["SpectralDepthwise"]
    layer = cls(3, padding="same", depth_multiplier=2, depthwise_regularizer="l2", k_coef_lip=2.0)
    model = keras.Sequential([keras.Input((7, 3)), layer])
    x = np.random.default_rng(0).standard_normal((4, 7, 3)).astype("float32")
    model.compile("sgd", "mse")
    model.train_on_batch(x, np.ones((4, 7, 6)))
    layer.refresh()
    norm = np.linalg.norm(explicit_matrix(linear_operator(layer)), 2)  # probed: nobody knows its algebra
    assert norm <= 2
    assert norm <= certify(model).upper_bound <= norm * (1 + 1e-6)
    want = model(x)

    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.models.load_model(tmp_path / "model.keras")(x), want)
    export = layer.vanilla_export()
    assert type(export) is keras.layers.DepthwiseConv1D
    assert export.depthwise_regularizer is None
    np.testing.assert_allclose(export(x), want, atol=1e-5)


@pytest.mark.lists
def test_every_layer_says_what_is_exact():
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    named = set(re.findall(r"`(\w+)", " ".join(row.split(" | ")[0] for row in rows)))
    promise_none = {"Condensable", "ConstrainedKernel", "LipschitzLayer", "PadConv2D"}
    missing = set(layers.__all__) - promise_none - named
    assert not missing, "give the layer a row in the table of docs/architecture.md, section 'The constraint'"


def test_every_file_that_is_named_exists():
    named = set(re.findall(r"`([\w./]+/\w+\.py)`", PAGE.read_text(encoding="utf-8")))
    assert len(named) > 10
    places = (ROOT, ROOT / "lipviz", ROOT / "tools" / "red_team")
    assert [name for name in sorted(named) if not any((place / name).is_file() for place in places)] == []
