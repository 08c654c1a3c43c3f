"""The command that runs what is long: on small parts of our own, and the plan of its own ones."""

import itertools
import re
import shlex
import sys

import pytest
import yaml

from tools import nightly
from tools.nightly import Part


def program(code):
    return (sys.executable, "-c", code)


SPEAKS = program("import os; print('said', os.environ.get('COLOUR'))")
FAKE = (
    Part("good", "does well", (SPEAKS, SPEAKS), {"COLOUR": "green"}),
    Part("bad", "does not", (program("print('first'); print('the reason'); raise SystemExit(3)"), SPEAKS)),
    Part("seeded", "tells its seed", (program("print('seed {seed}')"),)),
    Part("plan", "one way", (program("print('way 1')"),), run=1),
    Part("plan", "another way", (program("print('way 2')"),), run=2),
)


def rows(printed):
    """The table at the end: the result by the title of the part."""
    lines = printed[printed.index("part ") :].splitlines()[1:]
    return {line.split()[0]: re.split(r"  +", line)[1:] for line in lines}


def test_parts_that_pass(tmp_path, capsys):
    assert nightly.main(["good", "seeded", "--logs", str(tmp_path / "new" / "logs"), "--seed", "7"], FAKE) == 0
    printed = capsys.readouterr().out
    assert str(tmp_path / "new" / "logs") in printed
    assert "Seed: 7" in printed
    assert {title: row[0] for title, row in rows(printed).items()} == {"good": "passed", "seeded": "passed"}
    lines = (tmp_path / "new" / "logs" / "good.log").read_text().splitlines()
    assert [line for line in lines if not line.startswith("$ COLOUR=green ")] == ["said green"] * 2
    assert "seed 7" in (tmp_path / "new" / "logs" / "seeded.log").read_text().splitlines()


def test_a_part_that_fails_is_shown_and_the_others_run_all_the_same(tmp_path, capsys):
    assert nightly.main(["bad", "good", "--logs", str(tmp_path)], FAKE) == 1
    printed = capsys.readouterr().out
    assert "the reason\n" in printed
    assert f"FAILED: bad; all of it is in {tmp_path / 'bad.log'}" in printed
    results = rows(printed)
    assert results["bad"][0] == "FAILED, exit status 3, 0"  # its second command ran, too
    assert results["good"][0] == "passed"


def test_of_a_long_log_the_end_is_shown(tmp_path, capsys):
    long = Part("long", "says much", (program("print(*range(50_000), sep='\\n'); raise SystemExit(1)"),))
    assert nightly.main(["--logs", str(tmp_path)], (long,)) == 1
    printed = capsys.readouterr().out.splitlines()
    shown = [line for line in printed if line.isdecimal()]
    assert shown == [str(number) for number in range(50_000 - nightly.LAST, 50_000)]


def test_seconds_of_processors_are_those_of_the_part(tmp_path):
    busy = Part("busy", "computes", (program("while __import__('time').process_time() < 0.3: pass"),))
    outcome = nightly.run(busy, tmp_path / "busy.log", seed=0)
    assert outcome.processor_seconds >= 0.3
    # It has one thread.
    assert outcome.processor_seconds <= outcome.seconds + 0.1


def test_without_a_folder_the_logs_are_in_a_new_one(capsys):
    assert nightly.main(["seeded"], FAKE) == 0
    printed = capsys.readouterr().out
    (folder,) = re.findall(r"^Logs: (.*)$", printed, flags=re.MULTILINE)
    (seed,) = re.findall(r"^Seed: (\d+)$", printed, flags=re.MULTILINE)
    with open(f"{folder}/seeded.log") as log:
        assert f"seed {seed}\n" in log.readlines()


def test_runs_of_a_plan_are_chosen_by_their_numbers(tmp_path, capsys):
    assert nightly.main(["plan", "--runs", "2", "--logs", str(tmp_path)], FAKE) == 0
    assert list(rows(capsys.readouterr().out)) == ["plan-2"]
    assert "way 2" in (tmp_path / "plan-2.log").read_text()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["good", "dance"], "there is no part 'dance'; the parts are good, bad, seeded, plan"),
        (["plan", "--runs", "3"], "there is no run 3; the runs are 1, 2"),
    ],
)
def test_what_there_is_not(arguments, complaint, capsys):
    with pytest.raises(SystemExit) as stop:
        nightly.main(arguments, FAKE)
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"python -m tools.nightly: {complaint}\n")


def test_the_list(capsys):
    assert nightly.main(["--list"], FAKE) == 0
    assert capsys.readouterr().out.splitlines() == [
        "good    does well",
        "bad     does not",
        "seeded  tells its seed",
        "plan-1  one way",
        "plan-2  another way",
    ]


# --- the real parts ---


def test_every_real_part_has_a_sentence_and_programs_that_are_there():
    assert len({part.title for part in nightly.PARTS}) == len(nightly.PARTS)
    for part in nightly.PARTS:
        assert len(part.sentence) > 20
        for words in part.commands:
            assert words[:2] == (sys.executable, "-m"), shlex.join(words)
            module = words[2]
            if module.startswith("tools."):
                path = nightly.ROOT / "tools" / module.removeprefix("tools.")
                assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()
            for path in (word for word in words if word.startswith(("tests/", "tools/", "notebooks"))):
                assert (nightly.ROOT / path).exists(), path


def test_the_workflow_runs_every_part():
    workflow = yaml.safe_load((nightly.ROOT / ".github" / "workflows" / "nightly.yml").read_text(encoding="utf-8"))
    rows = workflow["jobs"]["run"]["strategy"]["matrix"]["parts"]
    found = [part.title for row in rows for part in chosen(row.split())]
    assert sorted(found) == sorted(part.title for part in nightly.PARTS)


def chosen(arguments):
    """The parts that the command runs with these arguments."""
    given = nightly.parse(arguments, nightly.PARTS)
    return nightly.choose(nightly.PARTS, given.names, given.runs)


def test_the_runs_of_other_arithmetic_cover_every_pair_of_values():
    assert len(nightly.RUNS) <= 6
    for (first, one), (second, other) in itertools.combinations(enumerate(nightly.FACTORS.values()), 2):
        met = {(run[first], run[second]) for run in nightly.RUNS}
        assert met == set(itertools.product(one, other))


def test_the_environments_of_those_runs_are_as_different_as_their_names():
    runs = nightly.arithmetic()
    assert [part.run for part in runs] == [1, 2, 3, 4, 5, 6]
    assert len({tuple(sorted(part.environment.items())) for part in runs}) == 6
    last = runs[-1].environment
    assert (last["TF_ENABLE_ONEDNN_OPTS"], last["ONEDNN_MAX_CPU_ISA"], last["LIPVIZ_SEED"]) == ("0", "AVX2", "2")
    assert {last[name] for name in nightly.THREADS} == {"2"}
