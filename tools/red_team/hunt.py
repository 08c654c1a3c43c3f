"""Draws cases and checks them until time is over; hypothesis draws, and shrinks what fails."""

import dataclasses
import functools
import time

import hypothesis
import keras
import numpy as np
from hypothesis import strategies as st

from tools.red_team.claims import CLAIMS
from tools.red_team.faults import FaultError, RefusedError, UnusableError, judged
from tools.red_team.script import Script, reproducer
from tools.red_team.shrinking import shorter

BATCH = 60  # cases that hypothesis draws before it starts anew with another seed
SHRINKING = 8.0  # seconds for one fault, by hypothesis, and again line by line


@dataclasses.dataclass
class Row:
    """What came of the cases of one claim."""

    models: int = 0
    checked: int = 0
    infinite: int = 0
    refused: int = 0
    thrown: int = 0
    faults: int = 0
    repeated: int = 0
    own: int = 0  # cases that ended because the red team itself has crashed

    def cells(self):
        """Its numbers, for a table."""
        return dataclasses.astuple(self)

    def bound(self, finite):
        """Count one claim that was checked, or that lipviz does not make."""
        self.checked += finite
        self.infinite += not finite


@dataclasses.dataclass(frozen=True)
class Found:
    """A fault, shrunk.

    Attributes:
        claim: Name of the claim.
        kind: A few words for faults of this kind.
        message: What is wrong.
        program: Python source that shows it.
        steps: Classes and functions that the model is made of.
        is_own: Whether the red team itself has crashed.
    """

    claim: str
    kind: str
    message: str
    program: str
    steps: frozenset
    is_own: bool = False

    def covers(self, claim, kind, steps):
        """Whether another fault is most likely this one: of its kind, in a model that has all of its steps."""
        if claim != self.claim and "(" not in kind:  # where something crashes does not depend on the claim
            return False
        return same_kind(kind, self.kind) and (not kind.startswith("bound ") or self.steps <= steps)


def same_kind(kind, other):
    """Whether two kinds are the same; those of a bound name the steps of the model."""
    return kind == other or (kind.startswith("bound ") and other.startswith("bound "))


def steps_of(lines):
    """Names of layers and operations in lines of source."""
    words = " ".join(lines).replace("(", " ").replace("[", " ").split()
    return frozenset(word for word in words if word.startswith(("K.", "lip.", "ops.", "lipviz.Seq")))


class _Over(KeyboardInterrupt):
    """There is no time left; hypothesis lets an interrupt pass."""


class Hunt:
    """A hunt through random models.

    Args:
        seed: Seed of everything that is drawn.
        seconds: Time to hunt for.
        claims: Names of the claims to attack.
        models: Most models to draw; None for as many as there is time for.
        told: Function that is called with each `Found` at once.
        shrinking: Seconds for shrinking one fault, by hypothesis, and again line by line.
    """

    def __init__(self, seed, seconds, claims=tuple(CLAIMS), models=None, told=lambda found: None, shrinking=SHRINKING):
        self.seed, self.seconds, self.models = seed, seconds, models
        self.claims, self.told, self.shrinking = tuple(claims), told, shrinking
        self.rows = {name: Row() for name in self.claims}
        self.found = []
        self.drawn = []
        self._verdicts = {}
        self._failing = None  # while one is shrunk

    def run(self):
        """Hunt until time is over, or enough models were drawn."""
        self._end, policy = time.monotonic() + self.seconds, keras.config.dtype_policy()
        number = 0
        try:
            while not self._is_over():
                self._batch(number)
                number += 1
                keras.backend.clear_session()
        finally:
            keras.config.set_dtype_policy(policy)
        return self

    @property
    def has_failed(self):
        """Whether a claim is violated, or the red team itself crashes in more than one of a hundred models."""
        crashes = sum(row.own for row in self.rows.values())
        return not all(found.is_own for found in self.found) or 100 * crashes > len(self.drawn)

    def _is_over(self):
        return time.monotonic() > self._end or (self.models is not None and len(self.drawn) >= self.models)

    def _batch(self, number):
        self._verdicts, self._failing = {}, None
        seed = int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=BATCH,
            database=None,
            deadline=None,
            derandomize=False,
            report_multiple_bugs=False,
            print_blob=False,
            phases=(hypothesis.Phase.generate, hypothesis.Phase.shrink),
            suppress_health_check=list(hypothesis.HealthCheck),
            verbosity=hypothesis.Verbosity.quiet,
        )
        @hypothesis.given(st.data())
        def attack(data):
            self._case(data.draw)

        try:
            attack()
        except _Over:
            pass
        except (FaultError, hypothesis.errors.HypothesisException, BaseExceptionGroup):
            if self._failing is None:
                raise
        if self._failing is not None:
            self._report()

    def _report(self):
        """Keep what hypothesis has shrunk, made shorter line by line."""
        name, fault, _ = self._failing
        fault = shorter(fault, self.shrinking)
        program, steps = reproducer(fault.lines), steps_of(fault.lines[:1])
        self.found.append(Found(name, fault.kind, str(fault), program, steps, fault.is_own))
        self.told(self.found[-1])

    def _case(self, draw):
        """Draw one case and check it."""
        shrinks = self._failing is not None
        if self._is_over() and not shrinks:
            raise _Over
        name = draw(st.sampled_from(self.claims))
        row = Row() if shrinks else self.rows[name]
        try:
            plan, model, settings = CLAIMS[name].draw(draw, lambda kind: self._refused(row, kind))
        except UnusableError:
            row.thrown += 1
            return
        except FaultError as fault:
            self._judge((name, *fault.lines), functools.partial(self._faulty, name, fault, row, fault.lines))
            return
        key = (name, plan, repr(settings))
        self._judge(key, functools.partial(self._check, name, plan, model, settings, row, shrinks))

    def _judge(self, key, check):
        """Check a case, or say again what came of it: hypothesis asks twice for some, and must hear the same."""
        if key not in self._verdicts:
            if self._failing is not None and time.monotonic() > self._shrunk_by:
                raise _Over
            self._verdicts[key] = check()
        if self._verdicts[key] is not None:
            raise self._verdicts[key]

    def _check(self, name, plan, model, settings, row, shrinks):
        """Check a case; returns the fault that hypothesis should shrink, or None."""
        row.models += 1
        if not shrinks:
            self.drawn.append((name, plan, repr(settings)))
        script = None
        try:
            script = Script(plan, model, settings["weights"], row)
            CLAIMS[name].check(script, settings)
        except Exception as error:
            known = isinstance(error, RefusedError | UnusableError | FaultError)
            verdict = error if known else judged(error)  # of an attack, which is no line of the script
            if isinstance(verdict, FaultError):
                lines = verdict.lines or (script.source() if script else [plan.source()])
                return self._faulty(name, verdict.at(lines), row, plan.lines)
            row.refused += isinstance(verdict, RefusedError)
            row.thrown += isinstance(verdict, UnusableError)
        return None

    def _refused(self, row, kind):
        if kind == "lipviz":
            row.refused += 1

    def _faulty(self, name, fault, row, lines):
        """The fault, unless its kind was found before, or another one is being shrunk."""
        if self._failing is None:
            row.own += fault.is_own
            if any(old.covers(name, fault.kind, steps_of(lines)) for old in self.found):
                row.repeated += 1
                return None
            row.faults += 1
            self._shrunk_by = time.monotonic() + self.shrinking
            self._failing = (name, fault, fault)
        other, smallest, first = self._failing
        if name != other or not same_kind(fault.kind, first.kind):
            return None
        if sum(map(len, fault.lines)) <= sum(map(len, smallest.lines)):
            self._failing = (name, fault, first)
        return fault
