"""Guided challenges of the playground, and whether their goals are reached, by what the kernel has computed.

They are those of the page without a server, `lipviz/playground/engine/challenges.js`, with the points of `lipviz.data`.
"""

import dataclasses
import html
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lipviz.toys.side_by_side import SideBySide
from lipviz.types import Array

DISC_GOAL = 0.15  # the smallest disc must have at least this radius
FOOL_GOAL = 0.1  # a step must be shorter than this: a dot is about as wide
RELU_GOAL = 0.006  # the loss of the constrained network must be below
_CHANGED = "The points are not those of the challenge: press “Reset points”, or choose the challenge anew."
_KEPT = ("depth", "width", "k", "loss", "tau")
_LARGE_TAU = 100  # above it, times k, a point on its side hardly pulls


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a challenge says at a moment.

    Attributes:
        done: Whether its goal is reached.
        words: What is reached and what is missing; or why the goal matters, once it is reached.
    """

    done: bool
    words: str


@dataclasses.dataclass(frozen=True)
class Moved:
    """A point that has moved since it was chosen.

    Attributes:
        length: How far.
        before: Whether the ordinary and the constrained network decided rightly where it was.
        after: The same, where it is.
    """

    length: float
    before: tuple[bool, bool]
    after: tuple[bool, bool]


@dataclasses.dataclass(frozen=True)
class Moment:
    """What the goals depend on.

    Attributes:
        state: State of the playground.
        data: What is seen of both networks.
        are_given: Whether the points are as the state names them, and not changed by hand.
        moved: The chosen point, if it has moved.
    """

    state: Mapping[str, Any]
    data: SideBySide
    are_given: bool
    moved: Moved | None


@dataclasses.dataclass(frozen=True)
class Challenge:
    """A task with a goal.

    Attributes:
        name: A few words, for a menu.
        title: The same as a sentence.
        task: What to do.
        presets: Entries of the state to begin with; all others are the defaults.
        check: Function of the challenge and a `Moment` that returns a `Verdict`.
    """

    name: str
    title: str
    task: str
    presets: Mapping[str, Any]
    check: Callable[["Challenge", Moment], Verdict]

    def verdict(self, moment: Moment) -> Verdict:
        """Whether the goal is reached at a moment."""
        return self.check(self, moment)

    def has_its_points(self, moment: Moment) -> bool:
        """Whether the points are those that it begins with."""
        source = ("data", "noise", "seed")
        return moment.are_given and all(moment.state[name] == self.presets[name] for name in source)


def moved_of(scores: Array, start: Array, end: Array, label: float) -> Moved:
    """A moved point.

    Args:
        scores: Scores at the start and at the end of both networks, the ordinary one first, of shape (2, 2).
        start: Place where it was, of shape (2,).
        end: Place where it is, of shape (2,).
        label: Its class, 0 or 1.
    """
    (o_before, o_after), (c_before, c_after) = ((scores > 0) == (label > 0)).tolist()
    return Moved(float(np.linalg.norm(end - start)), (o_before, c_before), (o_after, c_after))


def _not(words):
    return Verdict(False, words)


def _check_disc(challenge, moment):
    if not challenge.has_its_points(moment):
        return _not(_CHANGED)
    view = moment.data.constrained
    wrong, smallest = int((~view.right).sum()), float(view.radii.min())
    if wrong:
        return _not(f"{wrong} {'point is' if wrong == 1 else 'points are'} on the wrong side.")
    # Rounded down, so that what is read is certified, too.
    reached = f"All points are correct. The smallest radius is {np.floor(1000 * smallest) / 1000:.3f}."
    if smallest < DISC_GOAL:
        return _not(reached + _hint(**moment.state))
    return Verdict(
        True,
        f"{reached} With a small τ every point pulls at the boundary, also those far away. With a larger τ, a larger k "
        "or HKR, those near the boundary count most.",
    )


def _hint(loss, tau, k, **_others):
    """What helps where τ is too large for the discs to grow."""
    if loss != "crossentropy" or tau * k < _LARGE_TAU:
        return ""
    return " With so large a τ, a point on its side hardly pulls any more. Try a smaller one."


def _check_fool(_challenge, moment):
    moved = moment.moved
    if moved is None:
        return _not("Choose a point and move it.")
    for kind, was_right in zip(("ordinary", "constrained"), moved.before, strict=True):
        if not was_right:
            return _not(f"The {kind} network was wrong about this point before it moved.")
    length = f"{moved.length:.3f}"
    if moved.after[0]:
        return _not(f"The ordinary network still decides correctly, {length} away.")
    if moved.length >= FOOL_GOAL:
        return _not(f"The ordinary network is fooled, but the step is {length} long.")
    if not moved.after[1]:
        return _not("Both networks are fooled. Try another point.")
    return Verdict(
        True,
        f"A step of {length} fools the ordinary network and not the constrained one. The score of an ordinary network "
        "may change quickly; that of a constrained one changes by at most k times the length of the step.",
    )


def _check_relu(challenge, moment):
    if any(moment.state[name] != challenge.presets[name] for name in _KEPT):
        return _not("Layers, width, k, the loss or τ were changed.")
    if not challenge.has_its_points(moment):
        return _not(_CHANGED)
    losses = moment.data.constrained.losses
    if not len(losses):
        return _not("The networks have not learned yet.")
    reached = f"The loss of the constrained network is {losses[-1]:.4f}."
    if losses[-1] >= RELU_GOAL:
        return _not(reached)
    return Verdict(
        True,
        f"{reached} ReLU sets negative values to 0, so a network that may stretch nothing loses slope in every layer. "
        "GroupSort2 and MaxMin only move values around: they keep the norm of the gradient.",
    )


_CIRCLES = {"data": "circles", "noise": 0.04, "seed": 0, "k": 1.0, "loss": "crossentropy"}

CHALLENGES: dict[str, Challenge] = {
    "disc": Challenge(
        "1. Larger discs",
        "Make the smallest disc larger without losing a point",
        "Let the networks learn. Then change settings until the constrained network decides every point correctly with "
        f"a smallest certified radius of at least {DISC_GOAL}. Leave the points as they are.",
        _CIRCLES | {"activation": "groupsort2", "tau": 1.0},
        _check_disc,
    ),
    "fool": Challenge(
        "2. An unseen step",
        "Fool the ordinary network with a step you cannot see",
        "Let the networks learn, and pause. Then drag a point that both decide correctly by less than "
        f"{FOOL_GOAL}, the width of a dot, so that only the ordinary network gets it wrong. The attacker's lines show "
        "where to go.",
        {
            **{"data": "moons", "noise": 0.25, "seed": 0, "activation": "groupsort2", "tau": 20.0, "k": 1.0},
            **{"loss": "crossentropy", "depth": 2, "width": 32},
        },
        _check_fool,
    ),
    "relu": Challenge(
        "3. ReLU gets stuck",
        "Why does ReLU get stuck?",
        "The constrained network has ReLU. Let it learn until its loss gets no smaller. Then bring the loss below "
        f"{RELU_GOAL} by another activation. Leave layers, width, k, the loss, τ and the points as they are.",
        _CIRCLES | {"activation": "relu", "tau": 10.0, "depth": 2, "width": 16},
        _check_relu,
    ),
}


def box(challenge: Challenge | None, verdict: Verdict | None) -> str:
    """HTML of a challenge and of what it says; "" without one."""
    if challenge is None or verdict is None:
        return ""
    title, task, words = map(html.escape, (challenge.title, challenge.task, verdict.words))
    mark = "✓ Done. " if verdict.done else ""
    return (
        f'<div class="lipviz-challenge"><h5>{title}</h5><p>{task}</p><p class="lipviz-verdict">{mark}{words}</p></div>'
    )
