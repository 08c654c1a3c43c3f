"""What differentiates by the input refuses a model whose inputs are whole numbers."""

import keras
import numpy as np
import pytest

from lipviz import certification, measure, operators, utils

X = np.arange(8.0).reshape(4, 2)


def words(dtype="int32"):
    return keras.Sequential([keras.Input((2,), dtype=dtype), keras.layers.Rescaling(1.0), keras.layers.Dense(2)])


DIFFERENTIATE = {
    "attack": lambda model: certification.attack(model, X, epsilon=1.0),
    "attack by decisions": lambda model: certification.attack(model, X, method="hopskipjump", steps=1),
    "saliency": lambda model: measure.saliency(model, X),
    "jacobian_norms": lambda model: operators.jacobian_norms(model, X),
    "evaluate_lip_const": lambda model: utils.evaluate_lip_const(model, X),
    "gradient_ascent_ratio": lambda model: certification.gradient_ascent_ratio(model, X, steps=1),
    "input_gradient_norms": lambda model: measure.input_gradient_norms(model, X),
    "GradientMeter": lambda model: measure.GradientMeter(model, X),
    "gradient_flow": lambda model: measure.gradient_flow(model, X),
    "linear_regions": lambda model: measure.linear_regions(model, resolution=3),
    "decision_field": lambda model: measure.decision_field(model, ((-1, 1), (-1, 1)), resolution=3),
}


@pytest.mark.parametrize("name", DIFFERENTIATE)
def test_inputs_of_whole_numbers_are_refused(name):
    with pytest.raises(ValueError, match=r"floating-point numbers.*dtype int32"):
        DIFFERENTIATE[name](words())


def test_whole_numbers_are_certified_and_compared():
    assert certification.certify(words(), search=False).upper_bound < np.inf
    assert len(certification.certified_radius(words(), X)) == 4
    assert certification.secant_ratios(words("uint8"), X, pairs=5).largest > 0
