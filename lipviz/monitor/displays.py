"""Where a monitor shows the training: in a notebook, a terminal, files. Each display has the methods of `Display`."""

import csv
import dataclasses
import html
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lipviz import _moved
from lipviz._files import write_whole
from lipviz.measure import TrainingLog
from lipviz.monitor.progress import Progress
from lipviz.plots import LiveFigure, alt_text
from lipviz.plots.style import new_figure, number
from lipviz.plots.training import plot_training_log, training_figure, training_panels
from lipviz.types import Array, ArrayLike

_SHARPNESS = 1.5  # image pixels per CSS pixel, as in the explorers
_FLOW = "flex:1 1 380px;min-width:0;max-width:min(460px,100%);"  # panels side by side, as many as a page has room for
_BLOCKS = "▁▂▃▄▅▆▇█"
_SPARKLINE_LENGTH = 24  # characters of a line of blocks


class Display:
    """A display that shows nothing; base class of the others."""

    def begin(self, progress: Progress) -> None:
        """A call of `fit` begins."""

    def tick(self, progress: Progress) -> None:
        """Some more batches are done; called several times a second."""

    def epoch(self, log: TrainingLog, progress: Progress) -> None:
        """An epoch has ended."""

    def draw(self, log: TrainingLog, progress: Progress) -> None:
        """Draw the whole log again; called less often the longer a drawing takes."""

    def end(self, log: TrainingLog, progress: Progress) -> None:
        """Training has ended or was interrupted: draw for the last time."""
        self.draw(log, progress)
        self.tick(progress)


class KeptFigure:
    """One figure for the whole training. It is made again only when the panels of the log change.

    Args:
        make: Function from a number of panels to a figure.
    """

    figure: Any  # of matplotlib, from the first drawing on

    def __init__(self, make: Callable[[int], Any]) -> None:
        self._make = make
        self._panels: tuple = ()

    def draw(self, log: TrainingLog) -> bool:
        """Draw a log; returns whether the figure is a new one."""
        panels = training_panels(log)
        is_new = panels != self._panels
        if is_new:
            self.figure, self._panels = self._make(len(panels)), panels
        plot_training_log(log, figure=self.figure)
        return is_new


# --- notebook ---


class Notebook(Display):
    """A progress bar and a picture below a cell, both updated in place."""

    def __init__(self):
        self._kept = KeptFigure(lambda panels: new_figure(panels, dpi=round(_SHARPNESS * 100)))
        self._live: LiveFigure | None = None
        self._bar: Any = None  # a handle of IPython, as the picture
        self._picture: Any = None

    def begin(self, progress: Progress) -> None:
        from IPython.display import display

        self._bar = display(_Shown(_bar_html(progress), str(progress)), display_id=True)
        self._picture = None

    def tick(self, progress: Progress) -> None:
        self._bar.update(_Shown(_bar_html(progress), str(progress)))

    def draw(self, log: TrainingLog, progress: Progress) -> None:
        from IPython.display import display

        if self._kept.draw(log) or self._live is None:
            self._live = LiveFigure(self._kept.figure)
        words = alt_text(log)
        first, *others = self._live.panels(words)
        named = [dataclasses.replace(other, alt=f"Panel {i} of the training log.") for i, other in enumerate(others, 2)]
        images = "".join(picture.to_html(_FLOW) for picture in (first, *named))
        shown = _Shown(f'<div style="display:flex;flex-flow:row wrap;max-width:960px">{images}</div>', words)
        if self._picture is None:
            self._picture = display(shown, display_id=True)
        else:
            self._picture.update(shown)


class _Shown:
    """HTML for notebooks, and the same in words elsewhere."""

    def __init__(self, page, words):
        self._page, self._words = page, words

    def _repr_html_(self):
        return self._page

    def __repr__(self):
        return self._words


def _bar_html(progress):
    alerts = "".join(
        f'<div role="alert" style="border-left:4px solid #B00020;padding:4px 10px;margin:4px 0">{html.escape(words)}'
        "</div>"
        for words in progress.remarks
    )
    # The words stand beside the bar, and no `aria-label` replaces them for a screen reader.
    return (
        '<div style="max-width:960px"><label style="display:flex;gap:12px;align-items:center">'
        f'<progress max="1" value="{progress.share:.4f}" style="flex:0 0 280px;height:14px"></progress>'
        f'<span style="font-variant-numeric:tabular-nums">{html.escape(str(progress))}</span></label>{alerts}</div>'
    )


# --- terminal ---


def terminal() -> Display:
    """A table that is updated in place where rich is installed and writes to a terminal; else a line per epoch."""
    try:
        from rich.console import Console
    except ImportError:
        return Lines()
    console = Console(file=sys.stdout, force_jupyter=False)
    return RichTerminal(console) if console.is_terminal else Lines()


class Lines(Display):
    """One plain line per epoch."""

    def __init__(self):
        self._said = ()

    def begin(self, progress: Progress) -> None:
        self._said = ()

    def epoch(self, log: TrainingLog, progress: Progress) -> None:
        values = "  ".join(f"{name} {number(values[-1])}" for name, values in summary(log) if np.isfinite(values[-1:]))
        left = "" if progress.seconds_left is None else f"  ({str(progress).rsplit(', ', 1)[-1]})"
        print(f"epoch {progress.epoch}/{progress.epochs}  {values}{left}")
        self._say(progress)

    def end(self, log: TrainingLog, progress: Progress) -> None:
        print(progress)
        self._say(progress)

    def _say(self, progress):
        for words in progress.remarks[len(self._said) :]:
            print(words)
        self._said = progress.remarks


class RichTerminal(Display):
    """A progress bar and a table with a line of blocks for each number, updated in place by rich.

    Args:
        console: `rich.console.Console`.
    """

    _live: Any  # `rich.live.Live` of the present call of `fit`

    def __init__(self, console: Any) -> None:
        self._console = console
        self._rows: list[tuple[str, Array]] = []

    def begin(self, progress: Progress) -> None:
        from rich.live import Live

        # No thread draws, and what others print is not redirected.
        self._live = Live(console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        self._live.start()
        self._rows = []
        self.tick(progress)

    def tick(self, progress: Progress) -> None:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        line = Table.grid(padding=(0, 2))
        line.add_row(ProgressBar(total=1.0, completed=progress.share, width=30), str(progress))
        table = Table.grid(padding=(0, 2))
        for name, values in self._rows:
            table.add_row(name, sparkline(values), number(values[-1]) if len(values) else "")
        self._live.update(Group(line, table, *progress.remarks), refresh=True)

    def draw(self, log: TrainingLog, progress: Progress) -> None:
        self._rows = summary(log)
        self.tick(progress)

    def end(self, log: TrainingLog, progress: Progress) -> None:
        self.draw(log, progress)
        self._live.stop()


def summary(log: TrainingLog) -> list[tuple[str, Array]]:
    """The numbers of a log that fit into a terminal: (name, values per epoch) pairs."""
    rows = list(log.metrics.items())
    rows += [(name, values) for name, values in (("KR", log.kr), ("hinge", log.hinge)) if values is not None]
    if log.gradients is not None:
        rows.append(("median gradient norm", log.gradients.median))
    if log.spectra and len(log):
        spectra = np.stack(list(log.spectra.values()))
        rows += [("largest σ", spectra[..., 0].max(axis=0)), ("smallest σ", spectra[..., 1].min(axis=0))]
    return rows


def sparkline(values: ArrayLike, most: int = _SPARKLINE_LENGTH) -> str:
    """The last values as a line of blocks, from the smallest to the largest of them; × where one is not finite."""
    values = np.asarray(values, float)[-most:]
    finite = values[np.isfinite(values)]
    low, span = (finite.min(), np.ptp(finite)) if finite.size else (0.0, 0.0)
    levels = (values - low) / (span or 1.0) * (len(_BLOCKS) - 1)
    return "".join(_BLOCKS[round(level)] if np.isfinite(level) else "×" for level in levels)


# --- files ---


class Files(Display):
    """`training.csv`, `training_batches.csv`, `training.png` and `training.svg` in a folder.

    The table on the disk gets a new row after every epoch. Pictures are replaced as a whole, so that no file is ever
    half written.

    Args:
        folder: Path; created where it does not exist.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._kept = KeptFigure(training_figure)
        self._columns: list[str] | None = None

    def begin(self, progress: Progress) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def epoch(self, log: TrainingLog, progress: Progress) -> None:
        columns, rows = log.table()
        path = self.folder / "training.csv"
        if columns != self._columns or not path.exists():
            self._columns = columns
            write_whole(path, _as_csv(columns, rows))
            return
        with path.open("a", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerow(rows[-1])

    def draw(self, log: TrainingLog, progress: Progress) -> None:
        self._kept.draw(log)
        points = zip(log.batches.tolist(), log.batch_losses.tolist(), strict=True)
        write_whole(self.folder / "training_batches.csv", _as_csv(["batch", "loss within the epoch"], points))
        words = {"Title": f"Training of {log.name}", "Description": alt_text(log)}
        for kind in ("png", "svg"):
            picture = io.BytesIO()
            self._kept.figure.savefig(picture, format=kind, metadata=words)
            write_whole(self.folder / f"training.{kind}", picture.getvalue())


def _as_csv(columns, rows):
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode()


def __getattr__(name):
    return _moved.name_of(__name__, name)
