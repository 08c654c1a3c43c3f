"""What TensorFlow's compiled code writes to stderr as it is imported, and how the `lipviz` command drops it.

They are written before any setting counts: TF_CPP_MIN_LOG_LEVEL does not reach them. So a filter, a process of its own,
stands between this process and its stderr as long as the import takes. All other lines pass at once, the last words of
a process that crashes as well.
"""

import contextlib
import os
import subprocess
import sys

# Ends of messages of TensorFlow 2.21's oneDNN, CUDA, TensorRT and feature checks, and of the log that they go to.
_DROPPED = (
    "All log messages before absl::InitializeLog() is called are written to STDERR",
    "oneDNN custom operations are on",
    "Could not find cuda drivers on your machine",
    "Cannot dlopen some GPU libraries",
    "Unable to register cuDNN factory",
    "Unable to register cuBLAS factory",
    "Unable to register cuFFT factory",
    "computation placer already registered",
    "This TensorFlow binary is optimized to use available CPU instructions",
    "To enable the following instructions:",
    "Could not find TensorRT",
)
_FILTER = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one whose lines these are
for line in sys.stdin.buffer:
    if not any(words.encode() in line for words in sys.argv[1:]):
        os.write(2, line)
"""


@contextlib.contextmanager
def without_import_messages():
    """Drops TensorFlow's import messages from this process's stderr, where Keras has not been imported yet."""
    if "keras" in sys.modules or sys.stderr is None:
        yield
        return
    # Neither the reader's packages nor the environment: it is there in an instant.
    command = [sys.executable, "-I", "-S", "-c", _FILTER, *_DROPPED]
    sys.stderr.flush()
    own = os.dup(2)
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        os.dup2(process.stdin.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(own, 2)
            os.close(own)
