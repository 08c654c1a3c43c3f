"""Benchmarks, side by side in one process: lipviz, the same in plain Keras, and a peer where there is one.

`python -m lipviz.bench` and `lipviz bench` print the tables. What counts are the ratios: contenders take turns, and
each ratio is the median over the rounds. Times depend on the machine and on what else it does.
"""

from lipviz.bench.report import Report, Row, Section
from lipviz.bench.suite import SECTIONS, run
from lipviz.bench.timing import Timing, take_turns

__all__ = ["SECTIONS", "Report", "Row", "Section", "Timing", "run", "take_turns"]
