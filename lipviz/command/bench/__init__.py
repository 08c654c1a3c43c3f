"""Benchmarks in one process: lipviz, the same network in plain Keras, and optionally another library (a peer).

`lipviz bench` and `python -m lipviz.command.bench` print the tables. Times depend on the machine and on its other work,
so look at the ratios: the contenders run alternately in each round, and a ratio is the median over all rounds.
"""

from lipviz.command.bench.report import Report, Row, Section
from lipviz.command.bench.suite import SECTIONS, run
from lipviz.command.bench.timing import Timing, take_turns

__all__ = ["SECTIONS", "Report", "Row", "Section", "Timing", "run", "take_turns"]
