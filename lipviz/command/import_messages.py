"""Drops the messages that TensorFlow's compiled code writes to stderr while it is imported.

TensorFlow writes them before it reads TF_CPP_MIN_LOG_LEVEL, so no setting can stop them. During the import, a second
process reads the stderr of this one and drops these messages. All other lines pass at once, also the last ones of a
process that crashes.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

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
signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is meant for the process that writes the lines
for line in sys.stdin.buffer:
    if not any(words.encode() in line for words in sys.argv[1:]):
        os.write(2, line)
"""


@contextlib.contextmanager
def without_import_messages() -> Iterator[None]:
    """Drops TensorFlow's import messages from this process's stderr, unless Keras has been imported already."""
    if "keras" in sys.modules or sys.stderr is None:
        yield
        return
    # Without site packages and environment variables, the process starts quickly.
    command = [sys.executable, "-I", "-S", "-c", _FILTER, *_DROPPED]
    sys.stderr.flush()
    own = os.dup(2)
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None  # it is a pipe
        os.dup2(process.stdin.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(own, 2)
            os.close(own)
