"""The server of `lipviz app`: Voilà with a first page that needs no kernel, and an address for each explorer."""

import asyncio
import contextlib
import signal
import warnings
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from tornado.ioloop import IOLoop
from tornado.web import HTTPError, authenticated
from voila.app import Voila
from voila.handler import BaseVoilaHandler
from voila.tornado.handler import TornadoVoilaHandler

from lipviz import explorers
from lipviz.explorers.shell import cards

_PAGES = Path(__file__).with_name("pages")
# What takes most of the time of a new kernel: all explorers need it.
_READY = "--IPKernelApp.exec_lines=import lipviz.explorers.bjorck"


class AppServer(Voila):
    """Serves the cards at `/`, and the explorer NAME at `/NAME`, from NAME.ipynb in the folder of its notebook."""

    def setup_template_dirs(self) -> None:
        """Puts the pages of the app before those of Voilà, when its options have been read."""
        super().setup_template_dirs()
        self.voila_configuration.prelaunch_hook = _tell_address
        self.template_paths.insert(0, str(_PAGES))

    def listen(self) -> None:
        """Serves until Ctrl-C, which lets the code of a page come to its end: there, it would be an error."""
        loop = main_loop()
        signal.signal(signal.SIGINT, lambda *_: loop.asyncio_loop.call_soon_threadsafe(loop.stop))
        super().listen()

    def stop(self) -> None:
        """Ends all kernels. A second Ctrl-C does not wait for them."""
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # In this loop, where they were started: from another one, nobody can wait for a kernel that is starting.
        self.ioloop.run_sync(self.kernel_manager.shutdown_all)
        super().stop()

    def init_handlers(self) -> list[Any]:
        """Replaces what Voilà does at every other address: it would show the one notebook, or look for a file."""
        rest = [handler for handler in super().init_handlers() if handler[1] is not TornadoVoilaHandler]
        pages = {"voila_configuration": self.voila_configuration}
        notebooks = {**pages, "template_paths": self.template_paths, "config": self.config}
        return [*rest, ("/", _GalleryPage, pages), ("/([^/]+)", _ExplorerPage, notebooks), ("/.*", _UnknownPage, pages)]


def main_loop() -> IOLoop:
    """The event loop of this thread, which is made here where there is none yet."""
    with warnings.catch_warnings():
        # Python 3.12 and 3.13 warn that there is none, and then make it. Later versions raise an error, which Tornado
        # answers by making one.
        warnings.simplefilter("ignore", DeprecationWarning)
        return IOLoop.current()


class SpareKernels(AsyncMappingKernelManager):
    """A kernel manager that keeps one kernel ready while a reader chooses an explorer."""

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self._spare: asyncio.Task[str] | None = None
        self._starting: set[asyncio.Task[str]] = set()

    def prepare(self) -> None:
        """Starts a kernel for the next explorer, if there is none."""
        if self._spare is None:
            self._spare = self._start(path="", extra_arguments=[_READY])

    def _start(self, **options: Any) -> asyncio.Task[str]:
        task = asyncio.ensure_future(super().start_kernel(**options))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)
        return task

    async def start_kernel(self, **options: Any) -> str:
        """Returns the id of the kernel that is ready, else of a new one."""
        spare, self._spare = self._spare, None
        kernel_id = None if spare is None else await spare
        if kernel_id is not None and kernel_id in self and await self.get_kernel(kernel_id).is_alive():
            return kernel_id
        return await self._start(**options)

    async def shutdown_all(self, now: bool = False) -> None:
        """Ends all kernels, and at once those that nobody has used yet: they may still be importing."""
        unused = self._starting | ({self._spare} if self._spare else set())
        self._spare = None
        for kernel_id in await asyncio.gather(*unused, return_exceptions=True):
            with contextlib.suppress(Exception):  # it has ended by itself
                await self.shutdown_kernel(kernel_id, now=True)
        with contextlib.suppress(HTTPError):  # one that was starting is listed, and is gone
            await super().shutdown_all(now=now)

    async def cull_kernel_if_idle(self, kernel_id: str) -> None:
        """Ends a kernel whose page is gone, but not the one that has none yet."""
        if self._spare is None or not self._spare.done() or self._spare.result() != kernel_id:
            await super().cull_kernel_if_idle(kernel_id)


def _tell_address(request_handler: Any, notebook: Any, cwd: str) -> None:
    """Lets the code of a page know its address: a kernel that was ready before has none in its environment."""
    request = request_handler.request
    known = {"VOILA_REQUEST_URL": request.full_url(), "QUERY_STRING": request.query}
    notebook.cells[0].source = f"import os\n\nos.environ.update({known})\n{notebook.cells[0].source}"


class _Page(BaseVoilaHandler):
    """A page with cards, which lead to the explorers."""

    def show(self, template: str, **values: str) -> None:
        """Sends a page, for which cards are made that lead up to the first page and from there to an explorer."""
        home = "../" * (self.request.path.count("/") - 1) or "./"
        values |= {"home": home, "cards": cards.linked(lambda entry: home + entry.name)}
        self.set_header("Content-Type", "text/html; charset=UTF-8")
        self.write(self.render_template(template, card_css=cards.CSS + cards.LINKS_CSS, **values))

    def show_unknown(self) -> None:
        """Says that nothing is here, and shows what there is."""
        self.set_status(404)
        self.show("404.html", path=unquote(self.request.path))


class _GalleryPage(_Page):
    """The first page."""

    @authenticated
    async def get(self) -> None:
        self.show("gallery.html")
        await self.flush()
        self.kernel_manager.prepare()


class _UnknownPage(_Page):
    """Any address that leads nowhere."""

    @authenticated
    def get(self) -> None:
        self.show_unknown()


class _ExplorerPage(TornadoVoilaHandler, _Page):
    """One explorer, which runs in a kernel of its own."""

    @authenticated
    async def get(self, name: str) -> None:
        try:
            entry = explorers.find(name)
        except ValueError:
            self.show_unknown()
            return
        if entry.name != name:
            self.redirect(f"{entry.name}?{self.request.query}".rstrip("?"))
            return
        self.notebook_path = f"{entry.name}.ipynb"
        self.xsrf_token  # noqa: B018 -- sets the cookie, without which the page could not end its kernel when it is left
        await super().get()
