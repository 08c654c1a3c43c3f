"""Memory that nothing uses any more goes back to the operating system."""

import ctypes
import gc
import sys


def give_back() -> None:
    """Free the models and graphs that nothing uses any more, and return what is free to the operating system.

    Models are in cycles, which Python's collector frees when it sees fit. glibc keeps what was freed for later use.
    So without this, ten readers on one machine would take more memory than they need.
    """
    if "keras" in sys.modules:  # otherwise there are no graphs, and an import of Keras takes seconds
        from lipviz.keras_internals import release_gradients

        release_gradients()
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
        if trim is not None:
            trim(0)
