"""Kernels and programs that need not import TensorFlow: one process imports it, and forks for each of them.

`ForkServer` starts that process, which runs this file. With the first connection, it imports what nearly all lessons
import from other packages, runs nothing, and waits. Asked for a kernel, it forks. A fork has the modules in
`sys.modules` and nothing else: no name of a lesson is defined, no TensorFlow operation has run, no random state is
shared. `import lipviz` asks TensorFlow for its default graph, which starts a thread, and threads do not survive a fork.
So each kernel imports lipviz itself. ipywidgets and tqdm look for a kernel while they are imported, and are left to the
kernels as well.

`run` and `start` run a program in such a fork, as `python -c` does. What a program says of the import of TensorFlow
itself, or of what is imported besides, needs a process of its own. A server that runs as such a program may ask for its
kernels in the same place, see `Forks.prelude`.
"""

import contextlib
import gc
import importlib
import json
import logging
import math
import os
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import types
import warnings
from pathlib import Path

IMPORTED = (
    "ipykernel.kernelapp",
    "tensorflow",
    "keras",
    "matplotlib.backends.backend_agg",
    "scipy.optimize",
    "scipy.signal",
    "scipy.sparse.linalg",
    "scipy.spatial.distance",
    "sklearn.datasets",
)
LEFT_OUT = ("ipywidgets", "lipviz", "tqdm")


class Forks:
    """Asks the process at an address for forks: kernels and programs.

    Args:
        address: the path of its socket.

    Attributes:
        address: the same.
        cpu_seconds: the CPU time of the fork that ended last.
    """

    def __init__(self, address):
        self.address = address
        self.cpu_seconds = None
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(address)
        self._stream = self._socket.makefile("rw")

    @property
    def prelude(self):
        """What a program does first whose kernels shall be such forks, too."""
        return (
            "from jupyter_client.provisioning import local_provisioner\n"
            "from tests.warm_kernels import Forks\n"
            f"local_provisioner.launch_kernel = Forks({self.address!r}).launch\n"
        )

    def launch(self, command, cwd=None, env=None, **_):
        """Stands in for `jupyter_client.launcher.launch_kernel`."""
        arguments = command[command.index("ipykernel_launcher") + 1 :]
        environment = dict(os.environ if env is None else env)
        return Fork(self, self.ask(arguments=arguments, folder=str(cwd or Path.cwd()), environment=environment))

    def start(self, program, out, err, environment=os.environ):
        """Starts a program, with all warnings shown.

        Args:
            program: its text.
            out: the file that takes its output.
            err: the file that takes its errors, which may be the same.
            environment: its environment variables.
        """
        environment = {**environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        streams = [str(out), str(err)]
        return Fork(self, self.ask(program=program, streams=streams, folder=os.getcwd(), environment=environment))

    def run(self, program):
        """Runs a program. Returns what `subprocess.run` returns with its output as text."""
        with tempfile.TemporaryDirectory(prefix="lipviz-") as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            status = self.start(program, out, err).wait()
            return subprocess.CompletedProcess(program, status, out.read_text("utf-8"), err.read_text("utf-8"))

    def ask(self, **question):
        """Sends a question and returns the answer."""
        try:
            self._stream.write(json.dumps(question) + "\n")
            self._stream.flush()
            answer = self._stream.readline()
        except ConnectionError:
            answer = ""
        if not answer:
            raise RuntimeError("The process that forks kernels has ended; --cold-kernels does without it.")
        return json.loads(answer)

    def close(self):
        """Ends the connection."""
        with contextlib.suppress(ConnectionError):
            self._stream.close()
        self._socket.close()


class ForkServer:
    """Starts the process that forks, and ends it. The process imports nothing before somebody connects to it.

    Args:
        environment: its environment variables. A library reads some of them when it is imported.

    Attributes:
        address: the path of its socket.
    """

    def __init__(self, environment=os.environ):
        self._folder = tempfile.TemporaryDirectory(prefix="lipviz-")
        self.address = str(Path(self._folder.name, "forks"))
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.address)
            listener.listen()
            descriptor = listener.fileno()
            command = [sys.executable, str(Path(__file__).resolve()), str(descriptor)]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, pass_fds=[descriptor], env=dict(environment)
            )

    def close(self):
        """Ends the process. Kernels that are left notice it and end, too."""
        self._process.stdin.close()
        self._process.wait()
        self._folder.cleanup()


class WarmKernels(Forks):
    """Forks of a process of its own, which it starts and ends."""

    def __init__(self):
        self._server = ForkServer()
        super().__init__(self._server.address)

    def close(self):
        """Ends the connection and the process."""
        super().close()
        self._server.close()


class Fork:
    """A kernel or a program, with what is asked of a `subprocess.Popen`."""

    stdin = stdout = stderr = None

    def __init__(self, kernels, pid):
        self._kernels = kernels
        self.pid = pid
        self.returncode = None

    def poll(self):
        if self.returncode is None:
            ended = self._kernels.ask(poll=self.pid)
            if ended is not None:
                self.returncode, self._kernels.cpu_seconds = ended
        return self.returncode

    def wait(self, timeout=math.inf):
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(f"fork {self.pid}", timeout)
            time.sleep(0.05)
        return self.returncode

    def send_signal(self, signum):
        if self.poll() is None:
            os.kill(self.pid, signum)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def serve(listener):
    """Imports, then answers questions until stdin is closed. A fork returns the question that it is for."""
    end = os.fdopen(os.dup(0))
    ready, _, _ = select.select([end, listener], [], [])
    if listener not in ready:  # nobody has connected, and nobody will: nothing is imported
        return None
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for pytest
    # A kernel sets it, and matplotlib reads it when it is imported.
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    given = set(os.environ)
    for name in IMPORTED:
        importlib.import_module(name)
    early = sorted(set(LEFT_OUT) & set(sys.modules))
    if early:
        raise RuntimeError(f"{early} must be imported by each kernel, not before the fork.")
    # No search for garbage in a fork looks at what is imported here, also not at its end, where that takes a second.
    gc.freeze()
    with contextlib.ExitStack() as opened:
        for resource in (end, listener):
            opened.enter_context(resource)
        asked_by = {}  # the streams of all forks that have not ended
        for question, stream in _questions(end, listener, opened):
            if question is None:
                # As a reader's kernels end with their server. Each fork leads a group of its own.
                for pid in [pid for pid, asking in asked_by.items() if asking is stream]:
                    del asked_by[pid]
                    os.killpg(pid, signal.SIGKILL)
                continue
            if "poll" in question:
                answer = _ended(question["poll"])
                if answer:
                    asked_by.pop(question["poll"], None)
            else:
                answer = _fork(question, given)
                if answer == 0:
                    return question
                asked_by[answer] = stream
            with contextlib.suppress(ConnectionError):  # who asked has ended
                print(json.dumps(answer), file=stream, flush=True)
    return None


def _questions(end, listener, opened):
    """Yields questions with the streams of who asks, until `end` is closed, and None where one asks no more.

    What is opened here is to be closed.
    """
    streams = {}
    while True:
        ready, _, _ = select.select([end, listener, *streams], [], [])
        if end in ready:
            return
        for connection in ready:
            if connection is listener:
                new = opened.enter_context(listener.accept()[0])
                streams[new] = opened.enter_context(new.makefile("rw"))
            elif line := streams[connection].readline():
                yield json.loads(line), streams[connection]
            else:
                yield None, streams.pop(connection)


def _ended(pid):
    """The exit status and the CPU seconds of a kernel, or None while it runs."""
    ended, status, usage = os.wait4(pid, os.WNOHANG)
    return [os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime] if ended else None


def _fork(question, given):
    """Forks. The new process gets 0, a session of its own, and the folder, environment and entropy of a new one.

    Args:
        question: has the folder where the new process works, and its environment variables. What imports have set
            besides stays.
        given: the names of the variables before the imports.
    """
    environment = question["environment"]
    sys.stdout.flush()
    sys.stderr.flush()
    ready, told = os.pipe()
    pid = os.fork()
    if pid:
        os.close(told)
        os.read(ready, 1)  # until it has left the process group of pytest, which a signal to its group would end
        os.close(ready)
        # BLAS ends its threads before a fork. What another library leaves would be missing in the kernel.
        if len(os.listdir("/proc/self/task")) > 1:
            raise RuntimeError("One of the imported modules has started a thread, which a fork does not have.")
        return pid
    os.setsid()
    os.close(ready)
    os.close(told)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(question["folder"])
    for name in given - environment.keys():
        os.environ.pop(name, None)
    os.environ.update(environment)
    random.seed()
    sys.modules["numpy"].random.seed()
    return 0


def become_kernel(arguments, parent):
    """Runs a kernel in this process, as `python -m ipykernel_launcher` does."""
    import ipykernel_launcher
    from ipykernel.kernelapp import IPKernelApp

    sys.argv = [ipykernel_launcher.__file__, *arguments]
    early = [handler() for handler in logging._handlerList]
    app = IPKernelApp.instance()
    app.initialize([*arguments, f"--IPKernelApp.parent_handle={parent}"])
    for handler in early:
        # Imported after the kernel's start, the module of this handler would have found the stream of the cells.
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.__stderr__:
            handler.setStream(sys.stderr)
    app.start()


def become_program(program, streams):
    """Runs a program in this process, as `python -W default -c` does, with its output in two files."""
    for descriptor, path in enumerate(streams, 1):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, descriptor)
        os.close(file)
    warnings.simplefilter("default")
    if "MPLBACKEND" not in os.environ:
        sys.modules["matplotlib"].use("agg")
    sys.argv = ["-c"]
    sys.path[:0] = ["", *os.environ["PYTHONPATH"].split(os.pathsep)]
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    exec(compile(program, "<string>", "exec"), vars(module))


if __name__ == "__main__":
    del sys.path[0]  # this folder, which no kernel has
    _question = serve(socket.socket(fileno=int(sys.argv[1])))
    if _question is not None and "program" in _question:
        become_program(_question["program"], _question["streams"])
    elif _question is not None:
        become_kernel(_question["arguments"], os.getppid())
