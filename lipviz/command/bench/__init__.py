"""Benchmarks, side by side in one process: lipviz, the same in plain Keras, and a peer where there is one.

`lipviz bench` and `python -m lipviz.command.bench` print the tables. What counts are the ratios: contenders take turns,
and each ratio is the median over the rounds. Times depend on the machine and on what else it does.
"""

from lipviz.command.bench.report import Report, Row, Section
from lipviz.command.bench.suite import SECTIONS, run
from lipviz.command.bench.timing import Timing, take_turns

__all__ = ["SECTIONS", "Report", "Row", "Section", "Timing", "run", "take_turns"]
