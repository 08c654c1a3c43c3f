"""Times of contenders that run alternately, so that a slow moment of the machine affects all of them."""

import dataclasses
import time
from collections.abc import Callable, Mapping

import numpy as np


@dataclasses.dataclass(frozen=True)
class Timing:
    """Times of one contender.

    Attributes:
        seconds: Median time of a call.
        spread: Half the interquartile range, in seconds.
        ratio: Time of this contender divided by that of the first one, median over the rounds; 1 for the first.
        ratio_spread: Half the interquartile range of that ratio.
    """

    seconds: float
    spread: float
    ratio: float
    ratio_spread: float


def take_turns(
    contenders: Mapping[str, Callable[[], object]],
    repeats: int = 20,
    least: float = 0.01,
    clock_of_processor: bool = False,
) -> dict[str, Timing]:
    """Call functions alternately and time them.

    Args:
        contenders: Dict from a name to a function of no arguments that returns when its work is done. The others are
            compared with the first.
        repeats: Number of rounds.
        least: Least time of one measurement, in seconds; shorter calls are repeated in it.
        clock_of_processor: Whether to measure the processor time of this process, of all its threads, instead of the
            time that passes.

    Returns:
        A dict from the names to `Timing`.

    Raises:
        ValueError: If there is no contender, or `repeats` is below 1.
    """
    if not contenders or repeats < 1:
        raise ValueError(
            f"Expected a contender and at least one round. Received: {len(contenders)} contenders, repeats={repeats!r}"
        )
    clock = time.process_time if clock_of_processor else time.perf_counter
    counts = {name: _warm_up(call, least, clock) for name, call in contenders.items()}
    seconds = {name: np.empty(repeats) for name in contenders}
    for turn in range(repeats):
        # The order changes: a contender after the same other one in each round would always find its caches.
        names = list(contenders) if turn % 2 == 0 else list(contenders)[::-1]
        for name in names:
            seconds[name][turn] = _time(contenders[name], counts[name], clock)
    return compared(seconds)


def compared(seconds: Mapping[str, np.ndarray]) -> dict[str, Timing]:
    """Summarize the times of contenders that took turns.

    Args:
        seconds: Dict from a name to the seconds in each round. The others are compared with the first.

    Returns:
        A dict from the names to `Timing`.
    """
    first = next(iter(seconds.values()))
    return {name: _summary(values, values / first) for name, values in seconds.items()}


def _warm_up(call, least, clock):
    """Number of calls per measurement, after calls that trace and allocate."""
    call()
    call()
    return max(1, round(least / max(_time(call, 1, clock), 1e-9)))


def _time(call, count, clock):
    start = clock()
    for _ in range(count):
        call()
    return (clock() - start) / count


def _summary(seconds, ratios):
    return Timing(float(np.median(seconds)), _half_range(seconds), float(np.median(ratios)), _half_range(ratios))


def _half_range(values):
    low, high = np.percentile(values, [25, 75])
    return float(high - low) / 2
