"""Compares what is pinned with what is: numbers and arrays within a tolerance, texts by their words and numbers."""

import math
import re

import numpy as np

_NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?![\w])")


def differences(old, new, tolerance):
    """Differences between two entries.

    Args:
        old: Dict of numbers, texts, arrays, lists and dicts.
        new: The same of the present.
        tolerance: Function from a key of the dict to the `Tolerance` of its value.

    Returns:
        Sentences, each with the place, the old and the new value.
    """
    found = []
    for key in dict.fromkeys((*old, *new)):
        if key not in new or key not in old:
            found.append(f"{key} {'is new' if key in new else 'is gone'}: {_short((new if key in new else old)[key])}")
        else:
            found += _compared(key, old[key], new[key], tolerance(key))
    return found


def _compared(where, old, new, tolerance):
    if isinstance(old, np.ndarray):
        return _arrays(where, old, np.asarray(new), tolerance)
    if isinstance(old, dict) and isinstance(new, dict) and list(old) == list(new):
        pairs = [(f"{where}, {key}", old[key], new[key]) for key in old]
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple) and len(old) == len(new):
        pairs = [(f"{where} {i + 1}", a, b) for i, (a, b) in enumerate(zip(old, new, strict=True))]
    else:
        return [] if _equal(old, new, tolerance) else [_sentence(where, old, new)]
    return [sentence for pair in pairs for sentence in _compared(*pair, tolerance)]


def _equal(old, new, tolerance):
    if isinstance(old, str) and isinstance(new, str):
        return texts_agree(old, new, tolerance)
    if isinstance(old, bool) or isinstance(new, bool) or not (_is_number(old) and _is_number(new)):
        return type(old) is type(new) and old == new
    return _close(float(old), float(new), tolerance)


def _is_number(value):
    return isinstance(value, int | float | np.number)


def _close(old, new, tolerance, unit=0.0):
    if math.isinf(old) or math.isinf(new):
        return old == new
    size = max(abs(old), abs(new))
    # Printed numbers are no binary ones: what is a unit apart may lie a hair beyond it.
    return abs(old - new) <= unit * (1 + 1e-6) + tolerance.relative * size + tolerance.absolute


def _arrays(where, old, new, tolerance):
    if old.shape != new.shape or old.dtype != new.dtype:
        return [_sentence(where, f"{old.dtype} of shape {old.shape}", f"{new.dtype} of shape {new.shape}")]
    if old.size == 0 or np.array_equal(old, new):
        return []
    # Errors of a product are relative to its norm, not to each entry.
    limit = tolerance.relative * np.abs(old).max() + tolerance.absolute
    moved = np.abs(old.astype(np.float64) - new.astype(np.float64))
    bad = ~(moved <= limit)  # NaN is bad
    if not bad.any():
        return []
    at = np.unravel_index(np.argmax(np.where(bad, np.nan_to_num(moved, nan=np.inf), -1)), old.shape)
    place = f"{where}[{', '.join(str(int(i)) for i in at)}]" if at else where
    more = f", and {int(bad.sum()) - 1} more of {old.size}; at most {limit:.2g} comes from rounding"
    return [_sentence(place, old[at].item(), new[at].item()) + more]


def texts_agree(old, new, tolerance):
    """Whether two texts have the same words, and numbers that are equal but for rounding.

    A number with a decimal point or an exponent may differ by one unit of its last place and by the tolerance; a whole
    number in both texts counts something, or is exact, and must be equal.

    Args:
        old: Text.
        new: Text.
        tolerance: A `Tolerance`.
    """
    if old == new:
        return True
    if _NUMBER.sub("#", old) != _NUMBER.sub("#", new):
        return False
    pairs = zip(_NUMBER.findall(old), _NUMBER.findall(new), strict=True)
    return all(a == b or _numbers_agree(a, b, tolerance) for a, b in pairs)


def _numbers_agree(old, new, tolerance):
    unit = max(_last_place(old), _last_place(new))
    return unit > 0 and _close(float(old), float(new), tolerance, unit)


def _last_place(text):
    """The unit of a number's last place; 0 for a whole number."""
    mantissa, _, exponent = text.partition("e")
    decimals = len(mantissa.partition(".")[2])
    return 0.0 if not decimals and not exponent else 10.0 ** (int(exponent or 0) - decimals)


def _sentence(where, old, new):
    if isinstance(old, str) and isinstance(new, str) and max(len(old), len(new)) > _LONG:
        old, new = _around(old, new), _around(new, old)
    return f"{where} was {_short(old)}, is {_short(new)}"


_LONG, _BESIDE = 80, 24


def _around(text, other):
    """The part of a long text that differs from another, with some letters on both sides."""
    shorter = min(len(text), len(other))
    before = next((i for i in range(shorter) if text[i] != other[i]), shorter)
    behind = next((i for i in range(shorter - before) if text[-1 - i] != other[-1 - i]), shorter - before)
    start, end = max(before - _BESIDE, 0), min(len(text) - behind + _BESIDE, len(text))
    return ("… " if start else "") + text[start:end] + (" …" if end < len(text) else "")


def _short(value, most=400):
    text = repr(value)
    return text if len(text) <= most else text[:most] + " …"
