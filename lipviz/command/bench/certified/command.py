"""What `lipviz bench certified` does: it trains what has no row yet, and writes the page."""

import functools
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from lipviz.command.bench.certified import page, peers, plan, rows
from lipviz.command.bench.certified.measuring import measured
from lipviz.command.bench.certified.plan import Run
from lipviz.data import Split, fashion_mnist


def run(
    file: Path,
    *,
    budgets: Sequence[str] = ("5",),
    seeds: Iterable[int] = (0, 1, 2),
    only: Sequence[str] | None = None,
    validated: bool = False,
    peer: str | None = None,
    markdown: Path | None = None,
    tell: Callable[[str], None] = print,
    measure: Callable[[Run, Split], dict[str, Any]] = measured,
    load: Callable[[], Split] = fashion_mnist,
) -> None:
    """Trains and measures the networks of a plan that have no row in a file, and appends their rows.

    Args:
        file: File of rows, see `lipviz.command.bench.certified.rows`; it is made if it is not there.
        budgets: See `plan.runs`.
        seeds: See `plan.runs`.
        only: See `plan.runs`.
        validated: See `plan.Run`.
        peer: Name of another library that is trained by the recipe of the centre of the star, see `peers.PEERS`.
        markdown: Page whose tables are written from all rows of the file. Then nothing is trained.
        tell: Function of a line of progress.
        measure: Function that trains a network and returns its row.
        load: Function that returns the images.

    Raises:
        FileNotFoundError: If the images are not on this machine.
        KeyboardInterrupt: On Ctrl-C; all rows but that of the running network are in the file.
        RuntimeError: If an attack refutes a certificate.
        ValueError: If a name is not known, or the file holds something else than rows.
    """
    there = rows.read(file)
    if markdown is not None:
        markdown.write_text(page.written(page.text_of(markdown), there), encoding="utf-8")
        tell(f"{markdown} has the figures of {len(there)} rows")
        return
    if rows.torn_end(file):
        tell(f"The last line of {file} is torn: its process was killed. It will be removed")
    library = "lipviz"
    if peer is not None:
        found = peers.find(peer)
        library, measure = found.version, functools.partial(peers.measured, peer=found)
    wanted = plan.runs(budgets, seeds, only, validated, there, library)
    known = {row["hash"] for row in there}
    missing = [each for each in wanted if each.hash not in known]
    tell(f"{len(wanted)} networks: {len(wanted) - len(missing)} are in {file}, {len(missing)} are to be trained")
    if not missing:
        return
    images = load()
    for number, each in enumerate(missing, 1):
        tell(f"{number} of {len(missing)}: {each.title} …")
        began = time.perf_counter()
        row = measure(each, images)
        rows.append(file, row)
        tell(f"  {page.in_short(row)}, {time.perf_counter() - began:.0f} s in all")
