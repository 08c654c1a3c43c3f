"""Kernels and programs that need not import TensorFlow: one process imports it, and forks for each of them.

`WarmKernels` starts that process, which runs this file. It imports what nearly all lessons import from other packages,
runs nothing, and waits. Asked for a kernel, it forks. A fork has the modules in `sys.modules` and nothing else: no name
of a lesson is defined, no TensorFlow operation has run, no random state is shared. `import lipviz` asks TensorFlow for
its default graph, which starts a thread, and threads do not survive a fork. So each kernel imports lipviz itself.
ipywidgets and tqdm look for a kernel while they are imported, and are left to the kernels as well.

`WarmKernels.run` runs a program in such a fork, as `python -c` does. What a program says of the import of TensorFlow
itself, or of what is imported besides, needs a process of its own.
"""

import gc
import importlib
import json
import logging
import os
import random
import signal
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


class WarmKernels:
    """Launches kernels as forks of one process.

    Attributes:
        cpu_seconds: the CPU time of the kernel that ended last.
    """

    def __init__(self):
        command = [sys.executable, str(Path(__file__).resolve())]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.cpu_seconds = None

    def launch(self, command, cwd=None, env=None, **_):
        """Stands in for `jupyter_client.launcher.launch_kernel`."""
        arguments = command[command.index("ipykernel_launcher") + 1 :]
        environment = dict(os.environ if env is None else env)
        return _Fork(self, self.ask(arguments=arguments, folder=str(cwd or Path.cwd()), environment=environment))

    def run(self, program):
        """Runs a program, with all warnings shown. Returns what `subprocess.run` returns with its output as text."""
        with tempfile.TemporaryDirectory(prefix="lipviz-") as folder:
            out, err = Path(folder, "out"), Path(folder, "err")
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            pid = self.ask(program=program, streams=[str(out), str(err)], folder=os.getcwd(), environment=environment)
            status = _Fork(self, pid).wait()
            return subprocess.CompletedProcess(program, status, out.read_text("utf-8"), err.read_text("utf-8"))

    def ask(self, **question):
        """Sends a question and returns the answer."""
        try:
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise RuntimeError("The process that forks kernels has ended; --cold-kernels does without it.")
        return json.loads(answer)

    def close(self):
        """Ends the process. Kernels that are left notice it and end, too."""
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()


class _Fork:
    """A kernel, with what jupyter_client asks of a `subprocess.Popen`."""

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

    def wait(self):
        while self.poll() is None:
            time.sleep(0.05)
        return self.returncode

    def send_signal(self, signum):
        if self.poll() is None:
            os.kill(self.pid, signum)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


def serve():
    """Imports, then answers questions until there are no more. A fork returns the question that it is for."""
    questions = os.fdopen(os.dup(0))
    answers = os.fdopen(os.dup(1), "w")
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
    for line in questions:
        question = json.loads(line)
        if "poll" in question:
            answer = _ended(question["poll"])
        else:
            answer = _fork(question["folder"], question["environment"], given)
            if answer == 0:
                questions.close()
                answers.close()
                return question
        print(json.dumps(answer), file=answers, flush=True)
    return None


def _ended(pid):
    """The exit status and the CPU seconds of a kernel, or None while it runs."""
    ended, status, usage = os.wait4(pid, os.WNOHANG)
    return [os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime] if ended else None


def _fork(folder, environment, given):
    """Forks. The new process gets 0, a session of its own, and the folder, environment and entropy of a new one.

    Args:
        folder: where the new process works.
        environment: its environment variables. What imports have set besides stays.
        given: the names of the variables before the imports.
    """
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
    os.chdir(folder)
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
        file = os.open(path, os.O_WRONLY | os.O_CREAT)
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
    _question = serve()
    if _question is not None and "program" in _question:
        become_program(_question["program"], _question["streams"])
    elif _question is not None:
        become_kernel(_question["arguments"], os.getppid())
