"""`lipviz bench certified`: its plan, its data file, its page, and that it goes on where it was killed."""

import dataclasses
import json
import types

import numpy as np
import pytest

from lipviz import certification
from lipviz.command import cli
from lipviz.command.bench import certified
from lipviz.command.bench.certified import measuring, page, plan, rows
from lipviz.recipes import LOSSES
from lipviz.recipes.networks import CONVOLUTIONS
from lipviz.recipes.results import Report
from tests.support import predicted
from tools import arrows, loss_settings


def row_of(run, accuracy=0.9, certified_at=0.5):
    shares = {"36/255": 0.8, "0.5": certified_at, "1.0": 0.1}
    return {
        **{"hash": run.hash, "library": run.library, "layer": run.layer, "loss": run.recipe.loss},
        **{"budget": run.budget, "seed": run.recipe.seed, "measured_on": run.measured_on, "accuracy": accuracy},
        **{"certified": shares, "deepfool": shares, "pgd": shares, "mean_radius": 0.4, "seconds": 90.0},
        **{"settings": run.settings, "versions": {}},
    }


def measure(run, images):
    return row_of(run)


def go(path, told=None, **options):
    tell = (told if told is not None else []).append
    certified.run(path, tell=tell, **{"measure": measure, "load": lambda: None, **options})


# --- plan ---


def test_the_star_has_each_layer_and_each_loss_once():
    runs = plan.runs(seeds=[0])
    assert (runs[0].layer, runs[0].recipe.loss) == ("SpectralConv2D", "offset")
    assert {run.recipe.loss for run in runs if run.layer == "SpectralConv2D"} == set(LOSSES)
    assert set(CONVOLUTIONS) <= {run.recipe.layer for run in runs if run.recipe.loss == "offset"}
    assert len({run.hash for run in runs}) == len(runs)
    assert [run.recipe.seed for run in plan.runs(seeds=[3, 1], only=["emma"])] == [3, 1]


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        (["emma"], [("SpectralConv2D", "emma")]),
        (["AOLConv2D"], [("AOLConv2D", "offset")]),
        (["SpectralConv2D"], [("SpectralConv2D", "offset"), ("SpectralConv2D(bound='tight')", "offset")]),
        (["offset", "hkr"], [("SpectralConv2D", "offset"), ("SpectralConv2D", "hkr")]),
    ],
)
def test_names_choose_points_of_the_star(only, expected):
    assert [(run.layer, run.recipe.loss) for run in plan.runs(seeds=[0], only=only)] == expected


def test_another_library_is_trained_by_the_centre_of_the_star():
    (run,) = plan.runs(seeds=[0], library="other 1.0")
    assert run.recipe == plan.runs(seeds=[0])[0].recipe
    assert run.title.startswith("other 1.0 SpectralConv2D, offset")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [({"budgets": ["7"]}, "hour"), ({"only": ["AOL"]}, "AOLConv2D"), ({"budgets": ["20"]}, "--validate")],
)
def test_what_is_not_in_the_plan_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        plan.runs(**arguments)


def test_the_best_on_validation_are_trained_longer():
    validation = plan.runs(seeds=[0], validated=True)
    shares = np.random.default_rng(0).permutation(len(validation))
    there = [row_of(run, certified_at=float(share)) for run, share in zip(validation, shares, strict=True)]
    there += [row_of(run, certified_at=99.0) for run in plan.runs(seeds=[0])[:1]]  # of the test set: not looked at
    best = [validation[place] for place in np.argsort(-shares)[:3]]
    found = plan.runs(["20"], [1], rows=there)
    assert [(run.layer, run.recipe.loss) for run in found] == [(run.layer, run.recipe.loss) for run in best]
    assert all(run.recipe.epochs == 20 and run.recipe.seed == 1 for run in found)


def test_hashes_say_what_was_asked_for():
    (run,) = plan.runs(seeds=[0], only=["emma"])
    changed = [
        dataclasses.replace(run, validated=True),
        dataclasses.replace(run, library="other"),
        *(
            dataclasses.replace(run, recipe=dataclasses.replace(run.recipe, **change))
            for change in ({"seed": 1}, {"loss_arguments": {"tau": 3.0}}, {"width": 2}, {"epochs": 6})
        ),
    ]
    hashes = {each.hash for each in (run, *changed)}
    assert len(hashes) == len(changed) + 1
    reasons = dataclasses.replace(run.recipe, reasons={"loss": ("emma", "because")})
    assert dataclasses.replace(run, recipe=reasons).hash == run.hash
    assert json.loads(json.dumps(run.settings)) == run.settings


# --- data file ---


@pytest.fixture
def there(tmp_path):
    path = tmp_path / "rows.jsonl"
    runs = plan.runs(seeds=[0])[:3]
    for run in runs:
        rows.append(path, row_of(run))
    return path, runs


def test_rows_are_read_as_they_were_written(there):
    path, runs = there
    assert rows.read(path) == [row_of(run) for run in runs]
    assert rows.read(path.with_name("other")) == []


@pytest.mark.parametrize("left", [1, 20, -20, -2])
def test_a_process_that_was_killed_in_a_row_loses_only_that(there, left):
    path, runs = there
    whole = path.read_bytes()
    start = whole[:-1].rindex(b"\n") + 1
    path.write_bytes(whole[: start + left] if left > 0 else whole[:left])
    assert rows.torn_end(path)
    assert rows.read(path) == [row_of(run) for run in runs[:2]]
    told = []
    go(path, told, seeds=[0])
    assert "torn" in told[0]
    assert [row["hash"] for row in rows.read(path)[:4]] == [run.hash for run in plan.runs(seeds=[0])[:4]]
    assert path.read_bytes()[:start] == whole[:start]
    assert not rows.torn_end(path)


def test_a_last_row_without_its_end_is_whole(there):
    path, runs = there
    path.write_bytes(path.read_bytes()[:-1])
    assert not rows.torn_end(path)
    assert len(rows.read(path)) == 3
    rows.append(path, row_of(dataclasses.replace(runs[0], validated=True)))
    assert len(rows.read(path)) == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda lines: [lines[0][:-9], *lines[1:]], "Line 1 .* no JSON"),
        (lambda lines: [lines[0], "[1]", lines[2]], "Line 2 .*list"),
        (lambda lines: [lines[0], lines[1].replace('"accuracy": 0.9', '"accuracy": "0.9"'), lines[2]], "Line 2.*float"),
        (lambda lines: [lines[0], lines[1].replace('"pgd"', '"dgp"'), lines[2]], "'pgd' .*nothing"),
        (lambda lines: [*lines[:2], lines[2].replace('"epochs": 5', '"epochs": 6')], "Line 3.*hash"),
    ],
)
def test_a_file_with_other_lines_is_refused(there, change, words):
    path, _ = there
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n", encoding="utf-8")
    before = path.read_bytes()
    with pytest.raises(ValueError, match=words):
        go(path)
    assert path.read_bytes() == before


# --- command ---


def test_the_command_goes_on_with_the_first_that_is_missing(there):
    path, _ = there
    asked = []

    def interrupted(run, images):
        asked.append(run.hash)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return row_of(run)

    with pytest.raises(KeyboardInterrupt):
        go(path, measure=interrupted, seeds=[0])
    every = [run.hash for run in plan.runs(seeds=[0])]
    assert asked == every[3:6]
    assert [row["hash"] for row in rows.read(path)] == every[:5]
    told = []
    go(path, told, seeds=[0])
    assert told[0].startswith(f"{len(every)} networks: 5 are in")
    assert [row["hash"] for row in rows.read(path)] == every
    with pytest.raises(ValueError, match="deel-torchlip"):
        go(path, peer="torch")
    go(path, measure=None, load=None, seeds=[0])  # nothing is left: neither images nor a training are needed


def test_the_page_has_every_figure_and_says_what_is_missing(there, tmp_path):
    path, runs = there
    rows.append(path, row_of(plan.runs(seeds=[1], only=["offset"])[0], accuracy=0.8))
    other = dataclasses.replace(runs[0], recipe=dataclasses.replace(runs[0].recipe, width=3))
    rows.append(path, row_of(other, accuracy=0.123))  # not of the plan
    rows.append(path, row_of(dataclasses.replace(runs[0], library="peer"), accuracy=0.7))
    rows.append(path, row_of(dataclasses.replace(runs[0], validated=True), accuracy=0.6))
    target = tmp_path / "page.md"
    target.write_text(f"Before.\n\n{page.BEGIN}\nold\n{page.END}\n\nAfter.\n", encoding="utf-8")
    go(path, markdown=target)
    text = target.read_text(encoding="utf-8")
    assert text.startswith("Before.\n\n<!--")
    assert text.endswith("-->\n\nAfter.\n")
    assert "old" not in text
    lines = [line.split(" | ") for line in text.splitlines() if line.startswith("| `")]
    assert lines[0][:4] == ["| `SpectralConv2D`", "offset", "0, 1 (2 missing)", ".850 (.800 to .900)"]
    assert sum(line[2] == "missing" for line in lines) == len(plan.star()) - 3
    assert "| peer, `SpectralConv2D` | offset | 0 (1, 2 missing) | .700 |" in text
    assert ".123" not in text
    assert "Not measured yet." in text.partition("## One hour")[2]
    assert "training images 50000 to 59999" in text
    go(path, markdown=target)
    assert target.read_text(encoding="utf-8") == text


def test_a_page_without_a_place_for_tables_is_kept(there, tmp_path):
    target = tmp_path / "page.md"
    target.write_text("Mine.", encoding="utf-8")
    with pytest.raises(ValueError, match="The page has no place"):
        go(there[0], markdown=target)
    assert target.read_text(encoding="utf-8") == "Mine."


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["certified"], "needs --file"),
        (["certified", "networks", "--file", "f"], "runs alone"),
        (["certified", "--file", "f", "--repeats", "3"], "not allowed with the section 'certified': --repeats"),
        (["networks", "--only", "emma"], "not allowed without the section 'certified': --only"),
        (["certified", "--file", "f", "--seeds", "-1"], "--seeds"),
    ],
)
def test_options_without_effect_are_refused(arguments, words, capsys):
    with pytest.raises(SystemExit):
        cli.main(["bench", *arguments])
    assert words in capsys.readouterr().err


def test_the_command_reports_errors_in_a_line(tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    assert cli.main(["bench", "certified", "--file", str(path), "--only", "emmma"]) == 1
    assert "Did you mean 'emma'" in capsys.readouterr().err
    path.write_text("{}\n", encoding="utf-8")
    assert cli.main(["bench", "certified", "--file", str(path), "--markdown", str(tmp_path / "page.md")]) == 1
    assert "Line 1" in capsys.readouterr().err


# --- measuring ---


@pytest.mark.nightly
def test_a_row_holds_what_the_report_and_the_attacks_say(monkeypatch):
    monkeypatch.setattr(measuring, "ATTACKED", 12)
    monkeypatch.setattr(measuring, "PGD_STEPS", 3)
    (run,) = plan.runs(seeds=[0], only=["emma"])
    run = dataclasses.replace(run, recipe=dataclasses.replace(run.recipe, input_shape=(8, 8, 1)))
    model = run.recipe.build()
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(30, 8, 8, 1)).astype("float32")
    y = predicted(model, x).argmax(axis=1)
    y[:3] = (y[:3] + 1) % 10
    report = Report(
        recipe=run.recipe,
        radii=certification.certified_radius(model, x, y),
        certificate=types.SimpleNamespace(upper_bound=1.0),
        **{"trained": 0, "epochs": 5.0, "seconds": 1.0, "processor_seconds": 2.0, "interrupted": False},
    )
    row = measuring.row(run, model, report, x, y)
    assert row["hash"] == rows.hash_of(row["settings"])
    assert row["accuracy"] == 0.9
    assert row["deepfool"]["1.0"] <= row["deepfool"]["36/255"] <= 0.75
    for name, epsilon in plan.EPSILONS.items():
        share = np.mean(report.radii.radii[:12] > epsilon)
        assert share <= row["pgd"][name] <= 0.75
        assert share <= row["deepfool"][name]
        assert row["certified"][name] == np.mean(report.radii.radii > epsilon)
    with pytest.raises(RuntimeError, match="not true"):
        measuring.attacked(model, np.full(12, 99.0), x[:12], y[:12])


def test_choices_never_see_test_images():
    images = tuple((np.arange(n) + start, np.arange(n)) for n, start in ((60_000, 0), (10_000, 60_000)))
    (x, y), (held_back, _) = measuring.part(images, validated=True)
    assert (len(x), len(y), x[-1]) == (50_000, 50_000, 49_999)
    assert (held_back[0], held_back[-1]) == (50_000, 59_999)
    (x, _), (test, _) = measuring.part(images, validated=False)
    assert (len(x), test[0]) == (60_000, 60_000)


def test_a_training_that_was_ended_is_no_row(monkeypatch):
    (run,) = plan.runs(seeds=[0], only=["emma"])
    ended = types.SimpleNamespace(interrupted=True)
    monkeypatch.setattr(type(run.recipe), "train", lambda *_, **__: (None, ended))
    with pytest.raises(KeyboardInterrupt):
        measuring.measured(run, ((np.zeros(60_000),) * 2, (None, None)))


@pytest.mark.lists
def test_the_page_of_the_repository_has_the_figures_of_its_rows():
    target = arrows.ROOT / "docs" / "benchmark.md"
    there = rows.read(target.with_suffix(".jsonl"))
    assert not rows.torn_end(target.with_suffix(".jsonl"))
    text = target.read_text(encoding="utf-8")
    how = "run `lipviz bench certified --file docs/benchmark.jsonl --markdown docs/benchmark.md`"
    assert page.written(text, there) == text, how


@pytest.mark.lists
def test_the_settings_of_losses_are_those_that_were_best_on_validation_images():
    text = loss_settings.PAGE.read_text(encoding="utf-8")
    assert loss_settings.table() in text, "run `python -m tools.loss_settings`"
    assert [loss for loss in LOSSES if not loss_settings.is_used(loss)] == []


def test_settings_that_are_accurate_enough_are_chosen_by_what_they_certify(monkeypatch):
    accuracies = {1: (0.90, 0.5), 2: (0.896, 0.6), 4: (0.894, 0.7)}
    there = [
        {
            "loss": "crossentropy",
            "seed": 0,
            "settings": {"loss_settings": {"tau": tau / loss_settings.R}},
            "accuracy": accuracy,
            "certified": {"36/255": 0.8, "0.5": certified},
        }
        for tau, (accuracy, certified) in accuracies.items()
    ]
    monkeypatch.setattr(loss_settings.rows, "read", lambda _: there)
    assert loss_settings.best("crossentropy") == "tau 4"
    monkeypatch.setattr(loss_settings, "ENOUGH", 0.95)
    assert loss_settings.best("crossentropy") == "tau 2"
