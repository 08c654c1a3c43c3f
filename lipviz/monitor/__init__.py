"""Watch a model while it trains: `TrainingMonitor`, a Keras callback that draws in a notebook, a terminal and files.

It comes with the extra ``lab``: ``pip install "lipviz[lab]"``.
"""

from lipviz import _extras

_extras.need("lipviz.monitor")

from lipviz.monitor.callback import TrainingMonitor

__all__ = ["TrainingMonitor"]
