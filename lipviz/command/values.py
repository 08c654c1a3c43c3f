"""Values of command-line arguments: functions from text to a value, for argparse.

This module imports only the standard library, so that the command answers at once.
"""

import argparse


def shape(text: str) -> tuple[int | None, ...]:
    """Returns sizes from a text such as "28,28,1"; None stands for a size that is not known."""
    sizes = [part.strip() for part in text.strip("()[]").rstrip(",").split(",")]
    if not all(size == "None" or (size.isdecimal() and int(size) > 0) for size in sizes):
        raise argparse.ArgumentTypeError(f"expected positive numbers between commas, such as 28,28,1, got {text!r}")
    return tuple(None if size == "None" else int(size) for size in sizes)


def count(text: str) -> int:
    """Returns a positive whole number."""
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return int(text)


def whole(text: str) -> int:
    """Returns a whole number from 0 on."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a number from 0 on, got {text!r}")
    return int(text)


def port(text: str) -> int:
    """Returns the number of a port."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if not 1 <= number <= 65535:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to 65535, got {text!r}")
    return number
