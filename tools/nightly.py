"""Runs what is long and rarely breaks, part by part.

    python -m tools.nightly [--logs FOLDER] [--seed N] [--runs N ...] [PART ...]
    python -m tools.nightly --list

Each command of a part is a process of its own, whose output goes to the part's log; its newest line is shown
meanwhile, and the last lines where the part failed. A table at the end says what each part took. The exit status is 1
where a part failed, and 2 where there is no part of that name.
"""

import argparse
import dataclasses
import os
import resource
import secrets
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests import jax_run

ROOT = Path(__file__).resolve().parents[1]
LAST = 30  # lines of the log that are shown of a part that failed
WIDTH = 110  # characters of the line that shows what goes on


@dataclasses.dataclass(frozen=True)
class Part:
    """What can be asked for by name.

    Attributes:
        name: several parts may share it, as the runs of one plan.
        sentence: what it does.
        commands: one after the other, each a tuple of words; `{seed}` in a word is the number of this night.
        environment: further variables, for all commands.
        run: its number among the parts of its name.
    """

    name: str
    sentence: str
    commands: tuple[tuple[str, ...], ...]
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    run: int | None = None

    @property
    def title(self) -> str:
        return self.name if self.run is None else f"{self.name}-{self.run}"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a part ended: exit statuses of its commands, and seconds on the clock and of processors."""

    part: Part
    statuses: tuple[int, ...]
    seconds: float
    processor_seconds: float

    @property
    def passed(self) -> bool:
        return not any(self.statuses)


# --- the parts ---


def python(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", *words)


def pytest(*words: str) -> tuple[str, ...]:
    """Tests of this kind take as long as they need."""
    return python("pytest", "-q", "--timeout=7200", *words)


# What asserts numbers: no command, no page, no picture.
SCIENCE = (
    "tests/operators",
    "tests/certification",
    "tests/measure",
    "tests/toys",
    "tests/layers",
    "tests/course",
    "tests/test_normalizers.py",
    "tests/test_eigenvalues.py",
    "tests/test_constraints.py",
    "tests/test_regularizers.py",
    "tests/test_losses.py",
    "tests/test_metrics.py",
    "tests/test_model.py",
    "tests/test_callbacks.py",
    "tests/test_compute_layer_sv.py",
    "tests/test_parallel.py",
    "tests/test_utils.py",
    "tests/test_data.py",
    "tests/test_architecture.py",
)
THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# Each value of a factor as variables. A shared library of Intel's asks for the instruction set, so it only matters
# where that library, oneDNN, is on.
FACTORS = {
    "oneDNN": {"on": {"TF_ENABLE_ONEDNN_OPTS": "1"}, "off": {"TF_ENABLE_ONEDNN_OPTS": "0"}},
    "instructions": {"all": {}, "AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2"}},
    "threads": {str(count): dict.fromkeys(THREADS, str(count)) for count in (1, 2)},
    "seeds": {str(seed): {"LIPVIZ_SEED": str(seed)} for seed in (0, 1, 2)},
}
# On processors with products in bfloat16, TensorFlow asks oneDNN for them also where AVX2 forbids it, and aborts.
WITHOUT_BFLOAT16 = ("-k", "not bfloat16 and not half_precision and not mixed_precision and not 11_train_for_real")
# Every two values of two factors meet in one of them. With a seed, one run is the opposite of the other in all else.
RUNS = (
    ("on", "AVX2", "1", "0"),
    ("off", "all", "2", "0"),
    ("on", "AVX2", "2", "1"),
    ("off", "all", "1", "1"),
    ("on", "all", "1", "2"),
    ("off", "AVX2", "2", "2"),
)


def arithmetic() -> tuple[Part, ...]:
    """Returns the runs under other arithmetic: they differ in order and rounding of sums, and in seeds."""
    parts = []
    for number, values in enumerate(RUNS, 1):
        chosen = dict(zip(FACTORS, values, strict=True))
        variables = {name: text for factor, value in chosen.items() for name, text in FACTORS[factor][value].items()}
        said = ", ".join(f"{factor} {value}" for factor, value in chosen.items())
        limited = WITHOUT_BFLOAT16 if values[:2] == ("on", "AVX2") else ()
        said += ", without bfloat16, which TensorFlow cannot compute there" if limited else ""
        commands = (pytest("notebooks", "--full-lessons", *limited), pytest(*SCIENCE, *limited))
        parts.append(Part("arithmetic", f"all lessons and all asserted science: {said}", commands, variables, number))
    return tuple(parts)


PARTS = (
    Part(
        "lessons",
        "all lessons with the settings that readers get, and the whole site of them with all its sliders and sources",
        (
            pytest("notebooks", "--full-lessons"),
            pytest("--nightly", "tests/browser/test_site.py"),
            python("sphinx", "-q", "-W", "--keep-going", "-D", "lessons_run=0", "docs", "docs/_build/html"),
        ),
    ),
    Part(
        "reading",
        "all lessons in JupyterLab and a browser, every exercise answered",
        (python("tools.read_lessons"),),
    ),
    Part(
        "cases", "the cases of tests that run at night only", (pytest("--nightly", "-m", "nightly or covered_by_day"),)
    ),
    Part("jax", "the core on JAX, all cases", (pytest("--nightly", *jax_run.AGAIN),), jax_run.ENVIRONMENT),
    Part(
        "searches",
        "searches for a broken bound, a false radius, a layer that exceeds k, a difference of fast and plain forms",
        (
            python("tools.conv_bounds", "2000"),
            python("tools.norm_search"),
            python("tools.tight_norms"),
            python("tools.bound_figures"),
            python("tools.attack_search"),
            python("tools.same_accuracy"),
            python("tools.fashion_frontier", "--taus", "6", "--seeds", "0"),
        ),
    ),
    Part(
        "red_team",
        "random models, other ones every night, and attacks on all that lipviz claims of them",
        (
            python("tools.red_team", "--minutes", "20", "--seed", "{seed}"),
            python("tools.red_team", "--minutes", "10", "--seed", "{seed}", "--backend", "jax"),
        ),
    ),
    Part(
        "benchmarks",
        "times of training, inference and parts beside plain Keras, and of sliders in a browser",
        (
            python("lipviz.command.bench"),
            python("pytest", "-q", "-p", "benchmark", "--timeout=7200", "tools/bench_parts.py"),
            python("tools.latency"),
        ),
    ),
    Part(
        "examples",
        "ten times the examples of each property of the numerics, other ones every night",
        (pytest("-m", "hypothesis", "--hypothesis-seed={seed}", *SCIENCE),),
        {"LIPVIZ_EXAMPLES_FACTOR": "10"},
    ),
    Part(
        "grading",
        "nbgrader and otter-grader grade sample submissions",
        (pytest("--nightly", "tests/teaching/test_grading.py"),),
        {"LIPVIZ_REQUIRE_GRADERS": "1"},
    ),
    Part(
        "versions",
        "the fast tests on each Python, with the newest and with the oldest releases; twine on both archives",
        (python("tools.versions"),),
    ),
    Part(
        "distributed",
        "several workers on TensorFlow and JAX, workers that are killed, and what a step costs with more of them",
        (pytest("--nightly", "tests/distributed"), python("tools.distributed_cost")),
    ),
    Part("binder", "what Binder does, without Docker", (python("tools.binder_session"),)),
    *arithmetic(),
)


# --- running them ---


def run(part: Part, log: Path, seed: int) -> Outcome:
    """Runs all commands of a part, the later ones also where one fails."""
    began, before = time.monotonic(), processor_seconds()
    statuses = []
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ, **part.environment}
    with log.open("wb") as stream:
        for words in part.commands:
            command = [word.replace("{seed}", str(seed)) for word in words]
            said = shlex.join([*(f"{name}={text}" for name, text in part.environment.items()), *command])
            stream.write(f"$ {said}\n".encode())
            stream.flush()
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
            statuses.append(follow(process, log, part.title))
    return Outcome(part, tuple(statuses), time.monotonic() - began, processor_seconds() - before)


def processor_seconds() -> float:
    """Returns what all processes took that this one has waited for, and those that they waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def follow(process: subprocess.Popen, log: Path, title: str) -> int:
    """Waits for a process, and shows the newest line of its log: in place on a terminal, else now and then."""
    is_terminal = sys.stdout.isatty()
    began = time.monotonic()
    try:
        while True:
            try:
                return process.wait(timeout=0.5 if is_terminal else 60)
            except subprocess.TimeoutExpired:
                line = f"{title} {time.monotonic() - began:5.0f} s  {newest(log)}"[:WIDTH]
                print(f"\r\033[K{line}" if is_terminal else line, end="" if is_terminal else "\n", flush=True)
    except BaseException:
        process.terminate()
        process.wait()
        raise
    finally:
        if is_terminal:
            print("\r\033[K", end="", flush=True)


def last_lines(log: Path, count: int) -> list[str]:
    """Returns the last lines of a log that are not empty."""
    with log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - 2**16))
        lines = stream.read().decode(errors="replace").splitlines()
    return [line for line in lines if line.strip()][-count:]


def newest(log: Path) -> str:
    return next(iter(last_lines(log, 1)), "")


# --- the command ---


def parse(arguments: Sequence[str] | None, parts: Sequence[Part]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.nightly", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("names", metavar="PART", nargs="*", help="all by default; --list lists them")
    parser.add_argument("--list", action="store_true", help="list the parts, and run none")
    parser.add_argument("--logs", metavar="FOLDER", type=Path, help="keep the logs there; default: a temporary folder")
    parser.add_argument("--seed", metavar="N", type=int, help="choose the examples of another night again")
    parser.add_argument("--runs", metavar="N", type=int, nargs="+", help="of a part with numbered runs, only these")
    chosen = parser.parse_args(arguments)
    names = {part.name: None for part in parts}
    unknown = [name for name in chosen.names if name not in names]
    if unknown:
        one_line(f"there is no part {unknown[0]!r}; the parts are {', '.join(names)}")
    numbers = {part.run for part in parts if part.run is not None}
    wrong = [number for number in chosen.runs or () if number not in numbers]
    if wrong:
        one_line(f"there is no run {wrong[0]}; the runs are {', '.join(map(str, sorted(numbers))) or 'none'}")
    return chosen


def one_line(message: str) -> None:
    print(f"python -m tools.nightly: {message}", file=sys.stderr)
    sys.exit(2)


def choose(parts: Sequence[Part], names: Sequence[str], runs: Sequence[int] | None) -> list[Part]:
    """Returns the parts that were asked for, in their own order."""
    return [
        part
        for part in parts
        if (not names or part.name in names) and (runs is None or part.run is None or part.run in runs)
    ]


def table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def summary(outcomes: Sequence[Outcome]) -> str:
    """Returns the table of what each part took."""
    rows = [("part", "result", "seconds", "of processors")]
    for outcome in outcomes:
        result = "passed" if outcome.passed else f"FAILED, exit status {', '.join(map(str, outcome.statuses))}"
        rows.append((outcome.part.title, result, f"{outcome.seconds:.0f}", f"{outcome.processor_seconds:.0f}"))
    return table(rows)


def main(arguments: Sequence[str] | None = None, parts: Sequence[Part] = PARTS) -> int:
    """Runs the command.

    Args:
        arguments: its arguments; None takes the process's own.
        parts: what there is to run.

    Returns:
        The exit status.
    """
    chosen = parse(arguments, parts)
    wanted = choose(parts, chosen.names, chosen.runs)
    if chosen.list:
        print(table([(part.title, part.sentence) for part in wanted]))
        return 0
    logs = chosen.logs or Path(tempfile.mkdtemp(prefix="lipviz-nightly-"))
    logs.mkdir(parents=True, exist_ok=True)
    seed = secrets.randbelow(2**32) if chosen.seed is None else chosen.seed
    print(f"Logs: {logs.absolute()}\nSeed: {seed}", flush=True)
    outcomes = []
    try:
        for part in wanted:
            log = logs / f"{part.title}.log"
            print(f"--- {part.title}: {part.sentence} ---", flush=True)
            outcomes.append(run(part, log, seed))
            if not outcomes[-1].passed:
                print(*last_lines(log, LAST), f"FAILED: {part.title}; all of it is in {log}", sep="\n", flush=True)
    finally:
        print(summary(outcomes), flush=True)
    return int(not all(outcome.passed for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
