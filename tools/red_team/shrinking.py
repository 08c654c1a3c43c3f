"""Makes a failing program shorter, line by line, after hypothesis has made its model simpler."""

import contextlib
import re
import time

from tools.red_team.drafts import INDENT, namespace
from tools.red_team.faults import FaultError, judged
from tools.red_team.script import strict

# `v3 = l2(v1)`: a layer of the model, which may be left out.
_CALL = re.compile(rf"^{INDENT}(\w+) = (.*\((x\d+|v\d+)[,)].*|-?(x\d+|v\d+) .*)$")


def failure(lines):
    """What the last line raises, or None where nothing is raised, or something before it."""
    scope = namespace()
    with strict():
        for number, line in enumerate(lines):
            try:
                exec(line, scope)
            except Exception as error:
                verdict = judged(error)
                return verdict if number == len(lines) - 1 and isinstance(verdict, FaultError) else None
    return None


def shorter(fault, seconds):
    """The fault with as few lines as are found in time; the last line stays, and fails in the same way.

    Args:
        fault: A `FaultError` with lines, of which the first makes the function `make`.
        seconds: Time for it.
    """
    lines, end = list(fault.lines), time.monotonic() + seconds
    wanted = failure(lines)
    if wanted is None:  # it needs more than its lines, which the reader is told
        return FaultError(fault.kind, f"{fault} (seen once: the program below does not show it)", lines)
    message, tried = str(fault), set()
    while True:
        for candidate in candidates(lines):
            if time.monotonic() > end:
                return FaultError(fault.kind, message, lines)
            if tuple(candidate) in tried:
                continue
            tried.add(tuple(candidate))
            found = failure(candidate)
            if found is not None and found.kind == wanted.kind:
                lines, message = candidate, str(found) or message
                break
        else:
            return FaultError(fault.kind, message, lines)


def candidates(lines):
    """Shorter programs: with a layer less, or a line less."""
    first, *rest = lines
    for source in models(first):
        yield [source, *rest]
    for index in range(len(rest) - 1):
        if not rest[index].startswith("model = "):
            yield [first, *rest[:index], *rest[index + 1 :]]


def models(source):
    """Sources of a model with a step less."""
    lines = source.rstrip("\n").split("\n")
    for index, line in enumerate(lines):
        found = _CALL.match(line)
        if found:  # what leaves the step is what enters it
            name, before = found[1], found[3] or found[4]
            after = [re.sub(rf"\b{name}\b", before, other) for other in lines[index + 1 :]]
            yield "\n".join([*lines[:index], *after]) + "\n"
        elif re.match(rf"^{INDENT}l\d+ = ", line):
            name = line.split()[0]
            others = [re.sub(rf", {name}\b(?=[,\]])", "", other) for other in lines[:index] + lines[index + 1 :]]
            if not any(re.search(rf"\b{name}\b", other) for other in others):
                yield "\n".join(others) + "\n"
    with contextlib.suppress(ValueError):
        yield from simpler_arguments(lines)


def simpler_arguments(lines):
    """Sources with an argument by name less."""
    for index, line in enumerate(lines):
        if not re.match(rf"^{INDENT}l\d+ = ", line):
            continue
        for found in re.finditer(r"(?:, )?\b[a-z_]+=(?:'[^']*'|[\w.\-+]+|\([^()]*\)|\[[^\[\]]*\])(?=[,)])", line):
            shorter_line = (line[: found.start()] + line[found.end() :]).replace("(, ", "(")
            yield "\n".join([*lines[:index], shorter_line, *lines[index + 1 :]]) + "\n"
