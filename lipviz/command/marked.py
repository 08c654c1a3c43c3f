"""Tables that a command writes into a page by hand: they stand between two lines, which stay."""


def place(text: str, begin: str, end: str) -> tuple[str, str]:
    """What stands before the first line and after the last one.

    Raises:
        ValueError: If the page does not have both lines, the first before the last.
    """
    before, found, rest = text.partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"The page has no place for what is written. Expected the lines {begin!r} and {end!r}")
    return before, after


def filled(text: str, begin: str, end: str, content: str) -> str:
    """A page with this between the two lines, in the place of what was there.

    Raises:
        ValueError: If the page does not have both lines, the first before the last.
    """
    before, after = place(text, begin, end)
    return f"{before}{begin}\n\n{content}\n\n{end}{after}"
