"""Semidefinite bounds of chains: proved, between the largest constant that a pair of inputs shows and the product."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lipviz.certification import semidefinite
from lipviz.normalizers import positive
from tests.support import examples
from tools.lipsdp import lipsdp
from tools.rational import exceeds

SLOPES = {"relu": (0.0, 1.0), "leaky": (0.2, 1.0), "gelu": (-0.13, 1.13), "absolute": (-1.0, 1.0), "flat": (0.0, 0.25)}


def chain(widths, slopes=(0.0, 1.0), seed=0, scale=1.0):
    rng = np.random.default_rng(seed)
    matrices = tuple(
        scale * rng.normal(size=(after, before)) / np.sqrt(before) for before, after in itertools.pairwise(widths)
    )
    sizes = widths[1:-1]
    return semidefinite.Chain(
        matrices, (0.0,) * len(matrices), tuple(tuple(np.full(size, slope) for slope in slopes) for size in sizes)
    )


def largest_jacobian(of, slopes, count=300, seed=1):
    """The largest norm of W D W D W over diagonals D of slopes, drawn and then improved entry by entry."""
    rng = np.random.default_rng(seed)

    def norm(choices):
        product = of.matrices[0]
        for w, choice in zip(of.matrices[1:], choices, strict=True):
            product = w @ (choice[:, None] * product)
        return np.linalg.norm(product, 2)

    sizes = [len(low) for low, _ in of.slopes]
    draws = [[rng.choice(slopes, size) for size in sizes] for _ in range(count)]
    best = max([*draws, [np.full(size, slopes[1]) for size in sizes]], key=norm)
    for part in best:
        for place in range(len(part)):
            former = part[place], norm(best)
            part[place] = sum(slopes) - part[place]
            if norm(best) < former[1]:
                part[place] = former[0]
    return norm(best)


def bound(of, improve=0):
    scaled, exponent = of.scaled()
    multipliers = semidefinite.fast(scaled)
    if improve:
        multipliers = semidefinite.improved(scaled, multipliers, improve)
    shape = semidefinite.proved_shape(scaled, multipliers)
    return semidefinite.norm_of(shape.squares(scaled.matrices[-1])) * 2.0**exponent


def product(of, slopes):
    return np.prod([np.linalg.norm(w, 2) for w in of.matrices]) * max(map(abs, slopes)) ** len(of.slopes)


@pytest.mark.parametrize("name", SLOPES)
def test_bounds_lie_between_what_slopes_attain_and_the_product(name):
    slopes = SLOPES[name]
    of = chain((5, 8, 7, 3), slopes)
    fast, improved = bound(of), bound(of, 60)
    assert largest_jacobian(of, slopes) <= improved <= fast * (1 + 1e-6) <= product(of, slopes) * (1 + 1e-4)
    if name != "absolute":  # its multipliers gain nothing if they are one number for each layer
        assert fast < 0.7 * product(of, slopes)
    assert improved < 0.8 * product(of, slopes)


@pytest.mark.nightly
@pytest.mark.parametrize("name", SLOPES)
def test_improved_bounds_are_near_those_of_lipsdp(name):
    pytest.importorskip("clarabel", reason="LipSDP is solved by Clarabel: pip install clarabel")
    for seed in range(3):
        of = chain((5, 8, 7, 9, 3), SLOPES[name], seed)
        reference = lipsdp(of.matrices, *SLOPES[name])
        assert reference * (1 - 1e-5) <= bound(of, 150) <= reference * 1.02


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_a_matrix_is_proved_to_be_positive_only_where_it_is(scale):
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(30, 30)))[0]
    for least in (1e-6, 0.0, -1e-15, -1e-3):
        values = np.append(rng.uniform(1, 2, 29), least)
        matrix = scale * (turn * values) @ turn.T
        assert positive.is_above((matrix + matrix.T) / 2, 0.0) == (least == 1e-6)
        assert not positive.is_above((matrix + matrix.T) / 2, 0.0, off=2e-6 * scale)
    assert not positive.is_above(np.full((2, 2), np.nan), 0.0)


def test_bounds_hold_in_rational_arithmetic_for_all_patterns_of_neurons():
    of = chain((2, 3, 3, 2))
    exact = max(
        np.linalg.norm(of.matrices[2] @ np.diag(d[3:]) @ of.matrices[1] @ np.diag(d[:3]) @ of.matrices[0], 2)
        for d in itertools.product((0, 1), repeat=6)
    )
    assert exceeds(of.matrices, exact * (1 - 1e-12))
    assert not exceeds(of.matrices, exact * (1 + 1e-12))
    assert not exceeds(of.matrices, bound(of, 60))


def test_a_chain_of_numbers_has_the_constant_of_its_product():
    for slopes in SLOPES.values():
        of = chain((1, 1, 1), slopes)
        expected = abs(of.matrices[0][0, 0] * of.matrices[1][0, 0]) * slopes[1]
        assert expected <= bound(of) <= expected * (1 + 2e-5)


def test_ten_layers_are_bounded_far_below_the_product():
    of = chain((64,) * 10 + (10,), seed=3, scale=np.sqrt(2))
    assert bound(of) < product(of, (0, 1)) / 8
    assert bound(of, 15) < product(of, (0, 1)) / 10


def test_differences_of_outputs_are_those_of_rows():
    of, _ = chain((6, 9, 9, 4)).scaled()
    shape = semidefinite.proved_shape(of, semidefinite.fast(of))
    last = of.matrices[-1]
    found = semidefinite.differences_of(shape.squares(last))
    for i in range(4):
        for j in range(4):
            alone = semidefinite.norm_of(shape.squares(last[i : i + 1] - last[j : j + 1]))
            assert found[i, j] == pytest.approx(alone, rel=1e-7, abs=1e-6)


def test_the_derivative_is_that_of_differences():
    of, _ = chain((4, 6, 5, 3), (-0.1, 1.1)).scaled()
    multipliers = [0.7 * (i + 1) ** -1.0 * m for i, m in enumerate(semidefinite.fast(of))]
    for power, centred in ((8, False), (1, True)):
        logs = np.log(np.concatenate(multipliers))

        def value(logs, power=power, centred=centred):
            found, slopes = semidefinite._objective(of, [np.exp(logs[:6]), np.exp(logs[6:])], power, 0.1, centred)
            return found, np.concatenate(slopes)

        slope = value(logs)[1]
        for place in range(len(logs)):
            step = np.eye(len(logs))[place] * 1e-6
            assert slope[place] == pytest.approx((value(logs + step)[0] - value(logs - step)[0]) / 2e-6, abs=1e-6)


def test_multipliers_that_prove_nothing_are_refused():
    of, _ = chain((4, 6, 5, 3)).scaled()
    good = semidefinite.fast(of)
    assert semidefinite.proved_shape(of, good) is not None
    for bad in (100 * good[0], -good[0], 0 * good[0], np.nan * good[0], np.inf * good[0]):
        assert semidefinite.proved_shape(of, [bad, good[1]]) is None


def test_errors_of_matrices_count():
    of = chain((5, 8, 3))
    scaled, exponent = semidefinite.Chain(of.matrices, (1e-3, 1e-3), of.slopes).scaled()
    shape = semidefinite.proved_shape(scaled, [0.9 * m for m in semidefinite.fast(scaled)])
    if shape is None:  # then nothing is claimed
        return
    found = semidefinite.norm_of(shape.squares(scaled.matrices[-1], scaled.errors[-1])) * 2.0**exponent
    off = semidefinite.Chain(tuple(w + 1e-3 * np.eye(*w.shape) for w in of.matrices), (0.0, 0.0), of.slopes)
    assert found >= largest_jacobian(off, (0.0, 1.0))


@settings(max_examples=examples(30), deadline=None)
@given(
    st.lists(st.integers(1, 6), min_size=3, max_size=5),
    st.sampled_from(list(SLOPES.values())),
    st.lists(st.sampled_from([0.0, 1e-200, 1e-12, 1.0, 1e150]), min_size=4, max_size=4),
    st.sampled_from(["drawn", "equal rows", "a zero row"]),
    st.integers(0, 2**16),
)
def test_degenerate_chains_are_sound_or_refused(widths, slopes, scales, kind, seed):
    of = chain(widths, slopes, seed)
    matrices = []
    for w, scale in zip(of.matrices, scales, strict=False):
        w = np.repeat(w[:1], len(w), axis=0) if kind == "equal rows" else w.copy()
        if kind == "a zero row":
            w[0] = 0
        matrices.append(scale * w)
    of = semidefinite.Chain(tuple(matrices), (0.0,) * len(matrices), of.slopes)
    scaled, _ = of.scaled()
    multipliers = semidefinite.fast(scaled)
    shape = None if multipliers is None else semidefinite.proved_shape(scaled, multipliers)
    if shape is not None:
        found = semidefinite.norm_of(shape.squares(scaled.matrices[-1]))
        assert found >= largest_jacobian(scaled, slopes, 20) * (1 - 1e-12)
