"""Which cases of a test with several parameters run by day: every value of every parameter, not every combination."""

from collections import Counter


def values(item):
    """What a case says of each parameter: a set of (name, value), and of a dict its entries.

    All cases with a value have the same object, so that its identity stands for it.
    """
    return {
        (name, key, repr(part) if isinstance(value, dict) else id(part))
        for name, value in item.callspec.params.items()
        for key, part in (value if isinstance(value, dict) else {None: value}).items()
    }


def covering(cases):
    """Choose cases in which every value occurs that occurs in any, by the greedy way.

    Args:
        cases: A list of sets of values.

    Returns:
        The places of those that are chosen. Of cases with as many new values, the first is chosen whose values were
        chosen least: so all values occur about as often.
    """
    left, used, chosen = set().union(*cases), Counter(), []
    while left:
        best = max(range(len(cases)), key=lambda i: (len(cases[i] & left), -sum(used[value] for value in cases[i]), -i))
        chosen.append(best)
        used.update(cases[best])
        left -= cases[best]
    return sorted(chosen)
