"""A JupyterLab that the `lipviz` command (or any other) started, and a Chromium that looks at it.

with serve(folder) as server, LabSession.open(server.address, chromium) as lab:
    lab.open_by_click("00_tour.py")
    lab.run_all()
    lab.slider("beta").press("ArrowRight", times=3)
"""

import contextlib
import dataclasses
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from tests.warm_kernels import Fork, Forks

CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
PATIENCE = 300  # seconds for what an idle machine does in a few
LIPVIZ = Path(sysconfig.get_path("scripts")) / "lipviz"
SECOND = 1000  # playwright counts in milliseconds


def find_chromium() -> str | None:
    """Finds Chromium: `LIPVIZ_CHROMIUM`, or what the system calls by one of its usual names."""
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    return os.environ.get("LIPVIZ_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def clean_environment(home: Path) -> dict[str, str]:
    """Returns this process's environment for a reader who lives in `home`, without any Jupyter variable."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "XDG_"))}
    return kept | {"HOME": str(home)}


def knock(address: str, path: str, *, cookies: str = "", origin: str | None = None, method: str = "GET") -> int:
    """Asks the server at an address as a web page of another origin would, and returns the status of its answer.

    Args:
        address: any address of the server; the token in it is not sent.
        path: what is asked for; as a websocket, if it ends with "channels" or "subscribe".
        cookies: those of a reader who is logged in.
        origin: of the page that asks; None is a page of the server itself.
        method: of the request.
    """
    parts = urlsplit(address)
    headers = {"Cookie": cookies, "Origin": origin or f"{parts.scheme}://{parts.netloc}"}
    if path.endswith(("channels", "subscribe")):
        headers |= {"Upgrade": "websocket", "Connection": "Upgrade"}
        headers |= {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13"}
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request(method, path, headers=headers)
        return connection.getresponse().status


@dataclasses.dataclass(frozen=True)
class Server:
    """A running JupyterLab.

    Attributes:
        process: the command, or the fork that stands in for it.
        address: what it printed, with the token.
        output: the file that takes what it prints.
    """

    process: subprocess.Popen | Fork
    address: str
    output: Path


def serve(folder: Path, *further: str, home: Path, forks: Forks | None = None) -> AbstractContextManager[Server]:
    """Starts `lipviz lab --no-browser` on `folder` and ends it with Ctrl-C.

    Args:
        folder: the folder of the course.
        further: more arguments for JupyterLab.
        home: where the reader lives; what the command prints is kept there.
        forks: makes the server and its kernels, see `forked`; None starts them as a reader's.
    """
    arguments = ["lab", "--no-browser", f"--port={free_port()}", str(folder), "--", *further]
    options = {
        "announces": r"JupyterLab is at (\S+)\n",
        "output": home / "lipviz-lab.log",
        "environment": clean_environment(home),
    }
    if forks is None:
        return started([LIPVIZ, *arguments], **options)
    return forked(forks, f"from lipviz.command import cli\ncli.main({arguments!r})", **options)


def started(
    command: list,
    *,
    announces: str,
    output: Path,
    environment: dict[str, str],
    folder: Path | None = None,
) -> AbstractContextManager[Server]:
    """Starts a server in `folder` and ends it with Ctrl-C.

    Args:
        command: the server's command line.
        announces: a pattern for what it prints once it is up; its first group is the address.
        output: the file that takes what it prints.
        environment: its environment variables.
        folder: its working directory; None is this process's own.
    """
    # A job in the background ignores Ctrl-C, and hands that on.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with output.open("wb") as stream:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, env=environment, cwd=folder
        )
    signal.signal(signal.SIGINT, before)
    return _running(process, announces, output)


def forked(
    forks: Forks, program: str, *, announces: str, output: Path, environment: dict[str, str]
) -> AbstractContextManager[Server]:
    """Starts a server that is a program, as `started` does, with kernels that need not import TensorFlow.

    Args:
        forks: makes the server and its kernels.
        program: the server's program.
        announces: see `started`.
        output: see `started`.
        environment: see `started`.
    """
    output.touch()
    return _running(forks.start(forks.prelude + program, output, output, environment), announces, output)


@contextlib.contextmanager
def _running(process, announces, output):
    """Waits until a server is up, and ends it with Ctrl-C."""
    try:
        yield Server(process, _wait_for_address(process, announces, output), output)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def _wait_for_address(process, announces, output, timeout=PATIENCE):
    """Waits until the command has printed its address."""
    end = time.monotonic() + timeout
    while time.monotonic() < end and process.poll() is None:
        # Only a whole line: the token may still be on its way.
        found = re.search(announces, output.read_text())
        if found:
            return found[1]
        time.sleep(0.1)
    raise AssertionError(f"the server did not come up (exit status {process.poll()}):\n{output.read_text()}")


def expect(actual):
    """Playwright's `expect`, imported when it is used: without playwright these tests are skipped, not broken."""
    from playwright.sync_api import expect

    expect.set_options(timeout=PATIENCE * SECOND)
    return expect(actual)


@contextlib.contextmanager
def launched(chromium: str):
    """Starts Chromium, a browser of playwright, and closes it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM_FLAGS))
        try:
            yield browser
        finally:
            browser.close()


class Slider:
    """One ipywidgets slider on the page, driven by its keyboard."""

    def __init__(self, page, label):
        self.box = page.locator(".widget-slider:visible", has=page.get_by_text(label, exact=True))
        self._page = page

    def press(self, key: str, times: int = 1) -> None:
        """Focuses the handle and presses `key`, as `ArrowRight`, `PageUp` or `End`."""
        handle = self.box.locator(".noUi-handle")
        handle.scroll_into_view_if_needed()
        handle.focus()
        for _ in range(times):
            self._page.keyboard.press(key)

    @property
    def readout(self):
        """The slider's own readout, a playwright locator."""
        return self.box.locator(".widget-readout")


class LabSession:
    """JupyterLab in a browser.

    Attributes:
        page: the playwright page.
    """

    def __init__(self, page, address: str):
        self.page = page
        self._address = address

    @classmethod
    @contextlib.contextmanager
    def open(cls, address: str, chromium: str, *, on_failure: Path) -> Iterator["LabSession"]:
        """Starts Chromium for this session alone; otherwise as `visit`."""
        with launched(chromium) as browser, cls.visit(address, browser, on_failure=on_failure) as lab:
            yield lab

    @classmethod
    @contextlib.contextmanager
    def visit(cls, address: str, browser, *, on_failure: Path) -> Iterator["LabSession"]:
        """Opens a page of a browser, as a reader who is new there, and leaves a picture of it if the test fails.

        Args:
            address: what the server printed. It must have been given `--LabApp.expose_app_in_browser=True`.
            browser: a browser of playwright, see `launched`.
            on_failure: the file of the picture.
        """
        context = browser.new_context(viewport={"width": 1400, "height": 1000})
        page = context.new_page()
        page.set_default_timeout(PATIENCE * SECOND)
        # A dialog that closes again must not escape the test.
        page.add_init_script(_WATCH_DIALOGS)
        try:
            yield cls(page, address)
        except BaseException as error:
            page.screenshot(path=on_failure)
            error.add_note(f"The page then: {on_failure}")
            raise
        finally:
            context.close()

    def go(self, path: str | None = None) -> None:
        """Opens the address that the server printed, or another `path` of the same JupyterLab."""
        address = urlsplit(self._address)
        self.page.goto(urlunsplit(address._replace(path=path) if path else address))
        self.page.wait_for_selector("#jp-main-dock-panel")

    def open_by_click(self, name: str) -> None:
        """Double-clicks `name` in the file browser, and waits for a notebook whose kernel is ready."""
        self.page.locator(".jp-DirListing-item", has=self.page.get_by_text(name, exact=True)).dblclick()
        self.wait_for_notebook(name)

    def wait_for_document(self, name: str) -> None:
        """Waits until `name` is open in front, as a notebook or as anything else."""
        self.page.wait_for_function(f"name => {_PANEL}?.context?.path === name", arg=name)

    def wait_for_notebook(self, name: str) -> None:
        """Waits until `name` is the current notebook and its kernel has started."""
        self.notebook.wait_for()
        # Running earlier would raise a dialog that asks for a kernel.
        self.page.wait_for_function(
            f"""name => {{
                const panel = {_PANEL};
                return panel?.context?.path === name && panel.sessionContext?.session?.kernel?.status === 'idle';
            }}""",
            arg=name,
        )

    @property
    def notebook(self):
        """The current notebook, a playwright locator."""
        return self.page.locator(".jp-NotebookPanel:visible")

    def run_all(self, timeout: float = 2 * PATIENCE) -> None:
        """Runs every cell of the current notebook and waits for the last one."""
        # The command's promise is fulfilled after the last cell. It is left in the page, because playwright has no
        # time limit for one.
        self.page.evaluate(
            """() => {
                window.ran = false;
                window.jupyterapp.commands.execute('notebook:run-all-cells').then(() => { window.ran = true; });
            }"""
        )
        self.page.wait_for_function("() => window.ran", timeout=timeout * SECOND)
        self.wait_idle(timeout)

    def wait_idle(self, timeout: float = PATIENCE) -> None:
        """Waits until the kernel has nothing left to do."""
        self.page.wait_for_function(
            f"() => {_PANEL}.sessionContext.session.kernel.status === 'idle'", timeout=timeout * SECOND
        )

    def save(self) -> None:
        """Saves the current notebook and waits until that is done."""
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")

    def looks_changed(self) -> bool:
        """Says whether JupyterLab marks the current notebook as changed since it was saved."""
        return self.page.evaluate(f"() => {_PANEL}.context.model.dirty")

    def comms_over_subshells(self) -> str:
        """Returns how the current notebook's kernel treats widget messages, `disabled` for no subshells."""
        return self.page.evaluate(f"() => {_PANEL}.sessionContext.session.kernel.commsOverSubshells")

    def errors(self) -> list[str]:
        """Lists every error of the current notebook: of its cells, and each traceback that is on the page.

        The second kind may stand inside of a widget, or come from a thread.
        """
        of_cells = self.page.evaluate(
            f"""() => [...{_PANEL}.content.model.cells].filter(cell => cell.type === 'code').flatMap(
                cell => cell.outputs.toJSON().filter(output => output.output_type === 'error')
                    .map(output => output.ename + ': ' + output.evalue))"""
        )
        shown = self.notebook.locator("pre", has_text="Traceback (most recent call last)")
        return of_cells + shown.all_inner_texts()

    def dialogs(self) -> list[str]:
        """Lists the text of every dialog that has been on the page, closed ones included."""
        return self.page.evaluate("() => window.dialogsSeen")

    def slider(self, label: str) -> Slider:
        """Returns the slider whose description is `label`."""
        return Slider(self.page, label)

    def figures(self) -> list[str]:
        """Returns the sources of all figures in the notebook's outputs."""
        images = self.notebook.locator(".jp-OutputArea img")
        return images.evaluate_all("images => images.map(image => image.src)")

    def wait_for_new_figure(self, before: list[str], timeout: float = PATIENCE) -> None:
        """Waits until the figures are not those of `before` any more, and none is missing."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            now = self.figures()
            if len(now) == len(before) and now != before:
                return
            self.page.wait_for_timeout(100)
        raise AssertionError(f"expected {len(before)} figures of which one is new, got {len(self.figures())}")

    def screenshot(self, path: Path) -> None:
        self.page.screenshot(path=path)


_PANEL = "window.jupyterapp.shell.currentWidget"

_WATCH_DIALOGS = """
window.dialogsSeen = [];
new MutationObserver(() => {
    for (const dialog of document.querySelectorAll('.jp-Dialog:not([data-seen])')) {
        dialog.dataset.seen = 'yes';
        window.dialogsSeen.push(dialog.innerText);
    }
}).observe(document, { childList: true, subtree: true });
"""
