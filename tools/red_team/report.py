"""What is printed: a program for each violation, and a table."""

import textwrap

COLUMNS = ("claim", "models", "checked", "infinite", "refused", "thrown away", "faults", "seen again", "own faults")


def title(found):
    """One line that names a fault."""
    return f"{'FAULT OF THE RED TEAM in' if found.is_own else 'VIOLATION of'} {found.claim}: {found.kind}"


def violation(found):
    """Words and a program for one violation."""
    message = textwrap.indent(found.message, "  ")
    return "\n".join(
        ["", title(found), message, "--- a program that shows it ---", found.program.rstrip(), "--- its end ---"]
    )


def summary(hunt, seconds):
    """The table of what was drawn and checked."""
    rows = [(name, *row.cells()) for name, row in hunt.rows.items()]
    totals = ("all", *(sum(column) for column in list(zip(*rows, strict=True))[1:]))
    cells = [COLUMNS, *([str(cell) for cell in row] for row in (*rows, totals))]
    widths = [max(len(row[i]) for row in cells) for i in range(len(COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    count = len(hunt.drawn)
    lines.append(f"{count} models in {seconds:.0f} s, {count / max(seconds, 1e-9):.1f} a second. Seed: {hunt.seed}")
    lines += [title(found) for found in hunt.found]
    return "\n".join(lines)
