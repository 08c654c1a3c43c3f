"""The table of certified accuracies on Fashion-MNIST: each kind of layers and each loss, by the same recipe.

`lipviz bench certified --file FILE` trains one network after the other, and appends a row for each. It takes hours, so
`lipviz bench` alone does not run it. It may be ended at any time: it goes on with the first network that has no row.
"""

from lipviz.command.bench.certified.command import run
from lipviz.command.bench.certified.page import tables

__all__ = ["run", "tables"]
