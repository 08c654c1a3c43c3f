"""What readers open: `lipviz app`, or the course in JupyterLab."""

import contextlib
import re
import time
import uuid
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx

from lipviz.command import lab
from tests.browser.lab import LIPVIZ, clean_environment, free_port, started
from tools.class_memory import prepared
from tools.load.front import PATIENCE, Front
from tools.load.readers import Reader

# Readers have no JAX, which TensorFlow imports where it is installed.
_WITHOUT_JAX = "import sys\n\nsys.modules['jax'] = None\n"
_KERNEL = re.compile(r'"kernelId": *"([-0-9a-f]{36})"')


def environment(home, further):
    """Variables of a server whose readers have the packages of the extra `lab` only."""
    folder = home / "without-jax"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(_WITHOUT_JAX, encoding="utf-8")
    found = clean_environment(home)
    paths = [str(folder), found.get("PYTHONPATH", "")]
    return found | {"PYTHONPATH": ":".join(filter(None, paths))} | further


class App:
    """`lipviz app`: each reader opens the page of an explorer, whose kernel begins then.

    Args:
        name: short name of the explorer.
        control: name of the slider.
        home: an empty folder.
        further: environment variables of the server and its kernels.
    """

    words = "lipviz app"

    def __init__(self, name, control, home, further):
        self._name, self._control, self._home, self._further = name, control, home, further

    @contextlib.contextmanager
    def running(self):
        """Starts the server, and ends it."""
        command = [LIPVIZ, "app", self._name, "--no-browser", f"--port={free_port()}"]
        options = {"output": self._home / "app.log", "environment": environment(self._home, self._further)}
        with started(command, announces=r" is at (\S+)\n", **options) as server:
            self.address = server.address
            yield server

    async def opened(self):
        """Opens the page, as a browser does; returns a `Reader`."""
        began = time.perf_counter()
        async with httpx.AsyncClient(follow_redirects=True, timeout=PATIENCE) as client:
            answer = (await client.get(self.address)).raise_for_status()
            cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        found = _KERNEL.search(answer.text)
        if found is None:
            raise RuntimeError(f"the page has no kernel: {answer.text[-300:]}")
        front = await Front.connect(self.address, found[1], {"Cookie": cookies})
        return await Reader.arrive(front, found[1], self._control, began)


class Course:
    """`lipviz lab`: each reader opens a lesson, and runs it from its first cell to the last.

    Args:
        lesson: number of a lesson; its trainings are short.
        name: short name of the explorer that is opened after the lesson's last cell.
        control: name of its slider.
        home: an empty folder.
        further: environment variables of the server and its kernels.
    """

    words = "lipviz lab"

    def __init__(self, lesson, name, control, home, further):
        (found,) = lab.find_lessons([lesson])
        cells = prepared(found, full=False).cells
        self._cells = [cell.source for cell in cells if cell.cell_type == "code"]
        self._cells.append(f"from lipviz import explorers\n\nexplorers.opened({name!r})")
        self._control, self._home, self._further = control, home, further

    @contextlib.contextmanager
    def running(self):
        """Starts the server, and ends it."""
        command = [LIPVIZ, "lab", "--no-browser", f"--port={free_port()}", str(self._home / "course")]
        options = {"output": self._home / "lab.log", "environment": environment(self._home, self._further)}
        with started(command, announces=r"JupyterLab is at (\S+)\n", **options) as server:
            self.address = server.address
            yield server

    async def opened(self):
        """Opens a lesson of one's own, and runs all its cells; returns a `Reader`."""
        began, parts = time.perf_counter(), urlsplit(self.address)
        headers = {"Authorization": f"token {parse_qs(parts.query)['token'][0]}"}
        path = f"lesson-{uuid.uuid4().hex}.ipynb"
        session = {"path": path, "name": path, "type": "notebook", "kernel": {"name": "python3"}}
        async with httpx.AsyncClient(timeout=PATIENCE, headers=headers) as client:
            answer = await client.post(f"{parts.scheme}://{parts.netloc}/api/sessions", json=session)
            kernel = answer.raise_for_status().json()["kernel"]["id"]
        front = await Front.connect(self.address, kernel, headers)
        for cell in self._cells:
            await front.run(cell)
        return await Reader.arrive(front, kernel, self._control, began)


def home_in(folder, name):
    """An empty folder for a server."""
    home = Path(folder, name)
    home.mkdir()
    return home
