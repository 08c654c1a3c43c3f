"""The benchmark: that it times in turns, computes ratios, and measures what it says. No time is asserted."""

import json
import os
import subprocess

import keras
import numpy as np
import pytest

from lipviz import measure
from lipviz.command import bench, cli
from lipviz.command.bench import floor, networks, parts, processes, timing
from lipviz.command.bench.peers import find_peer
from tests.browser.lab import LIPVIZ


class Clock:
    """A clock that only the contenders move."""

    def __init__(self, monkeypatch):
        self.now, self.calls = 0.0, []
        monkeypatch.setattr(timing.time, "perf_counter", lambda: self.now)

    def contender(self, name, *seconds):
        def call():
            self.calls.append(name)
            self.now += seconds[self.calls.count(name) % len(seconds)]

        return call


def test_contenders_take_turns_in_both_orders(monkeypatch):
    clock = Clock(monkeypatch)
    contenders = {name: clock.contender(name, 1.0) for name in "abc"}
    bench.take_turns(contenders, repeats=4)
    assert "".join(clock.calls[-12:]) == "abccbaabccba"


def test_medians_and_ratios(monkeypatch):
    clock = Clock(monkeypatch)
    timings = bench.take_turns({"base": clock.contender("base", 2.0), "other": clock.contender("other", 5.0)}, 5)
    assert (timings["base"].seconds, timings["base"].ratio) == (2.0, 1.0)
    assert (timings["other"].seconds, timings["other"].ratio, timings["other"].ratio_spread) == (5.0, 2.5, 0.0)


def test_one_slow_round_changes_no_median(monkeypatch):
    clock = Clock(monkeypatch)
    slow = clock.contender("slow", 1.0, 1.0, 1.0, 1.0, 1.0, 90.0, 1.0, 1.0, 1.0)
    assert bench.take_turns({"base": clock.contender("base", 1.0), "slow": slow}, 5)["slow"].ratio == 1.0


def test_short_calls_are_repeated_within_a_measurement(monkeypatch):
    clock = Clock(monkeypatch)
    timings = bench.take_turns({"short": clock.contender("short", 0.001)}, repeats=2, least=0.01)
    assert clock.calls.count("short") == 3 + 2 * 10
    assert timings["short"].seconds == pytest.approx(0.001)


def test_the_clock_of_the_processor_is_read_where_it_is_wanted(monkeypatch):
    monkeypatch.setattr(timing.time, "process_time", iter(range(100)).__next__)
    assert bench.take_turns({"a": lambda: None}, 3, clock_of_processor=True)["a"].seconds == 1.0


@pytest.mark.parametrize("name", floor._PARTS)
def test_parts_of_the_floor_are_computed_for_each_kernel(name):
    results = floor._call(floor._PARTS[name])()
    assert all(np.isfinite(keras.ops.convert_to_numpy(result)).all() for result in results)
    sides = [min(shape) for shape in floor.KERNELS]
    tall = [(max(shape), min(shape)) for shape in floor.KERNELS]
    wanted = {"call": [(1, 1)] * 4, "five products": tall}.get(name, [(side, side) for side in sides])
    assert [tuple(result.shape) for result in results] == wanted


@pytest.mark.parametrize(("contenders", "repeats"), [({}, 3), ({"a": lambda: None}, 0)])
def test_nothing_to_time_is_refused(contenders, repeats):
    with pytest.raises(ValueError, match="at least one round"):
        bench.take_turns(contenders, repeats)


def test_a_report_is_a_table_a_page_and_json():
    values = {"plain": timing.Timing(0.0123, 0.001, 1.0, 0.0), "lipviz": timing.Timing(0.0246, 0.001, 2.0, 0.1)}
    rows = (bench.Row("step", values, {"lipviz / plain": 2.0}), bench.Row("size", {"plain": 3}, {}))
    report = bench.Report({"Keras": "3"}, (bench.Section("Title", "ms", rows),))
    lines = str(report).splitlines()
    assert lines[0] == "Keras 3"
    assert lines[3].split("  ")[-1] == "lipviz / plain"
    assert lines[4].split() == ["step", "12.3", "24.6", "2.00"]
    assert lines[5].split() == ["size", "3"]
    page = report.to_markdown().splitlines()
    assert page[4:] == [
        "|  | plain [ms] | lipviz [ms] | lipviz / plain |",
        "| --- | --: | --: | --: |",
        "| step | 12.3 ± 1.0 | 24.6 ± 1.0 | 2.00 ± 0.10 |",
        "| size | 3 |  |  |",
    ]
    read = json.loads(report.to_json())
    assert read["sections"][0]["rows"][0]["values"]["lipviz"]["ratio"] == 2.0


@pytest.mark.slow
@pytest.mark.parametrize("network", ["cnn", "mlp"])
def test_the_kinds_are_one_network(network):
    make = getattr(networks, network)
    plain, own = make("plain"), make("lipviz")
    assert [w.shape for w in plain.trainable_weights] == [w.shape for w in own.trainable_weights]
    assert plain.output_shape == own.output_shape
    names = [type(layer).__name__ for layer in own.layers]
    assert sum(name.startswith("Spectral") for name in names) == 4
    assert "GroupSort2" in names
    sorting = [type(layer).__name__ for layer in make("sorting").layers]
    constrained = [type(layer).__name__ for layer in make("constrained").layers]
    assert not any(name.startswith("Spectral") for name in sorting)
    assert "GroupSort2" in sorting
    assert "GroupSort2" not in constrained


@pytest.mark.slow
def test_a_step_trains_and_a_prediction_does_not():
    model = networks.compiled(networks.mlp("lipviz"), False)
    model.run_eagerly = True  # to trace both takes seconds
    before = [np.array(keras.ops.convert_to_numpy(w)) for w in model.trainable_weights]
    networks.prediction(model, 4)()
    assert all((b == keras.ops.convert_to_numpy(w)).all() for b, w in zip(before, model.trainable_weights, strict=True))
    networks.training_step(model, 4)()
    assert any((b != keras.ops.convert_to_numpy(w)).any() for b, w in zip(before, model.trainable_weights, strict=True))


def test_the_gradient_that_is_timed_is_the_gradient():
    values = parts.noise((2, 3))
    outputs, pulled = parts.call_of(lambda x: x**3, "with gradient", values)()
    np.testing.assert_allclose(outputs, values**3, rtol=1e-5)
    np.testing.assert_allclose(pulled, 3 * values**2 * parts.noise((2, 3), seed=4), rtol=1e-4)


@pytest.mark.slow
def test_sections_measure_each_part():
    report = bench.run(["activations", "poolings"], repeats=1, batch=1)
    activations, poolings = report.sections
    assert set(activations.rows[0].values) == {"ReLU", *parts.ACTIVATIONS}
    assert [row.name for row in poolings.rows] == list(parts.WAYS)
    assert all(ratio > 0 for section in report.sections for row in section.rows for ratio in row.ratios.values())
    assert report.setting["backend"] == keras.backend.backend()


def test_every_kind_of_layer_has_a_row(monkeypatch):
    wanted = []

    def step_cost(kind, turns, **options):
        wanted.append((kind, turns, options))
        return measure.StepCost(kind, np.array([0.006, 0.008, 0.010]), np.array([0.001, 0.002, 0.004]))

    monkeypatch.setattr(measure, "step_cost", step_cost)
    (section,) = bench.run(["layers"], repeats=3, batch=8).sections
    jit = networks.chosen_jit(False)
    assert wanted == [(kind, 3, {"batch": 8, "jit_compile": jit}) for kind in measure.LAYER_KINDS]
    assert [row.name for row in section.rows] == [kind.title for kind in measure.LAYER_KINDS]
    row = section.rows[0]
    assert (row.values["plain"].seconds, row.values["lipviz"].seconds) == (0.002, 0.008)
    assert row.ratios == {"lipviz / plain": 4.0}


@pytest.mark.nightly
def test_kernels_and_what_it_takes_to_orthogonality():
    ((name, timings), *_) = parts.kernels(1, False, shapes=[(9, 4)], batch=2)
    assert name == "9×4, forward"
    assert list(timings) == ["product with 2 inputs", "constraint"]
    rows = list(parts.convergence((1e-3, 1e-5), shapes=[(9, 4)], repeats=1))
    assert [row[0] for row in rows] == ["9×4, ‖WᵀW − I‖ ≤ 0.001", "9×4, ‖WᵀW − I‖ ≤ 1e-05"]
    assert 1 <= rows[0][1] <= rows[1][1] < 30


@pytest.mark.nightly
def test_what_rounding_keeps_out_of_reach_is_said(monkeypatch):
    beyond = ("9×4, ‖WᵀW − I‖ ≤ 1e-12", None, {})
    assert list(parts.convergence((1e-12,), shapes=[(9, 4)], repeats=1)) == [beyond]
    monkeypatch.setattr(parts, "convergence", lambda repeats: [beyond])
    (section,) = bench.run(["convergence"], repeats=1).sections
    assert str(section).splitlines()[-1].strip() == "9×4, ‖WᵀW − I‖ ≤ 1e-12: out of reach"


@pytest.mark.slow
def test_a_peer_on_keras_is_any_module_with_these_names(monkeypatch):
    compiled = networks.compiled

    def uncompiled(*arguments):
        model = compiled(*arguments)
        model.run_eagerly = True
        return model

    monkeypatch.setattr(networks, "compiled", uncompiled)
    step, plain = find_peer("lipviz")("mlp", 2)
    step()
    assert plain is None


@pytest.mark.parametrize(
    ("name", "message"), [("no_such_library", "cannot be imported"), ("json", "has no SpectralDense, SpectralConv2D")]
)
def test_what_is_no_peer_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        find_peer(name)


@pytest.mark.parametrize(
    "arguments", [{"sections": ["speed"]}, {"repeats": 0}, {"batch": 0}, {"sections": [], "peer": "no_such_library"}]
)
def test_bad_arguments_are_named(arguments):
    with pytest.raises(ValueError, match=r"Expected sections|must be positive|cannot be imported"):
        bench.run(**arguments)


@pytest.mark.nightly
def test_the_peak_of_memory_is_that_of_the_process_itself():
    ballast = np.ones(2**27)  # 1 GiB, which a child's peak must not inherit
    used = processes.memory(("plain",), steps=2)["plain"]
    assert ballast[-1] == 1
    # The images of one layer's 256 outputs alone are 12 MiB.
    assert 12 * 2**20 < used < 2**30


@pytest.mark.nightly
def test_the_peak_of_memory_grows_with_the_batch():
    used = [processes.memory(("plain",), batch=batch, steps=2)["plain"] for batch in (256, 1024)]
    assert used[1] > 1.5 * used[0]


def test_a_process_that_fails_says_so():
    with pytest.raises(RuntimeError, match="no_such_thing"):
        processes._run("no_such_thing")


@pytest.mark.nightly
def test_the_command_prints_a_table_and_writes_files(tmp_path):
    command = [LIPVIZ, "bench", "poolings", "--repeats=1", "--batch=1", "--backend=tensorflow"]
    environment = {**os.environ, "KERAS_BACKEND": "jax"}  # so that it needs a process of its own, with another backend
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    command += ["--json", str(tmp_path / "figures.json"), "--markdown", str(tmp_path / "figures.md")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "poolings …\n")  # no import message of TensorFlow
    assert "backend tensorflow" in done.stdout
    assert "ScaledL2NormPooling2D / average" in done.stdout
    assert json.loads((tmp_path / "figures.json").read_text())["setting"]["backend"] == "tensorflow"
    assert "| ScaledL2NormPooling2D / average |" in (tmp_path / "figures.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("arguments", [["speed"], ["poolings", "--peer", "no_such_library"]])
def test_the_command_refuses_what_it_does_not_know(arguments, capsys):
    assert cli.main(["bench", *arguments]) == 1
    assert arguments[-1] in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--repeats", "--batch"])
@pytest.mark.parametrize("value", ["none", "0", "-3"])
def test_numbers_of_the_command_are_positive(option, value, capsys):
    with pytest.raises(SystemExit):
        cli.main(["bench", f"{option}={value}"])
    assert "positive number" in capsys.readouterr().err
