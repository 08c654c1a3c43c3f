"""Watch a model while it trains: `TrainingMonitor`, a Keras callback that draws in a notebook, a terminal and files."""

from lipviz.monitor.callback import TrainingMonitor

__all__ = ["TrainingMonitor"]
