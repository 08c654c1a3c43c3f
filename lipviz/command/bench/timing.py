"""Time contenders in turns, so that a slow moment of the machine hits all of them alike."""

import dataclasses
import time

import numpy as np


@dataclasses.dataclass(frozen=True)
class Timing:
    """Times of one contender.

    Attributes:
        seconds: Median of a call.
        spread: Half the distance of the quartiles, in seconds.
        ratio: Median over the rounds of this contender's time over the first one's; 1 for the first.
        ratio_spread: Half the distance of the quartiles of that ratio.
    """

    seconds: float
    spread: float
    ratio: float
    ratio_spread: float


def take_turns(contenders, repeats=20, least=0.01):
    """Call functions in turns and time them.

    Args:
        contenders: Dict from a name to a function of no arguments that returns when its work is done. The first is
            what the others are compared with.
        repeats: Number of rounds.
        least: Seconds that one measurement takes at least: shorter calls are repeated within it.

    Returns:
        A dict from the names to `Timing`.

    Raises:
        ValueError: If there is no contender, or `repeats` is below 1.
    """
    if not contenders or repeats < 1:
        raise ValueError(
            f"Expected a contender and at least one round. Received: {len(contenders)} contenders, repeats={repeats!r}"
        )
    counts = {name: _warm_up(call, least) for name, call in contenders.items()}
    seconds = {name: np.empty(repeats) for name in contenders}
    for turn in range(repeats):
        # A contender that always follows the same one would inherit its caches.
        names = list(contenders) if turn % 2 == 0 else list(contenders)[::-1]
        for name in names:
            seconds[name][turn] = _time(contenders[name], counts[name])
    first = next(iter(seconds.values()))
    return {name: _summary(values, values / first) for name, values in seconds.items()}


def _warm_up(call, least):
    """Calls per measurement, after the calls that trace and allocate."""
    call()
    call()
    return max(1, round(least / max(_time(call, 1), 1e-9)))


def _time(call, count):
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count


def _summary(seconds, ratios):
    return Timing(float(np.median(seconds)), _half_range(seconds), float(np.median(ratios)), _half_range(ratios))


def _half_range(values):
    low, high = np.percentile(values, [25, 75])
    return float(high - low) / 2
