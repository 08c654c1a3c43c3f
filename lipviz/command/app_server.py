"""The server of `lipviz app`: Voilà with a first page that needs no kernel, and an address for each explorer."""

from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tornado.web import authenticated
from voila.app import Voila
from voila.handler import BaseVoilaHandler
from voila.tornado.handler import TornadoVoilaHandler

from lipviz import explorers
from lipviz.explorers.shell import cards

_PAGES = Path(__file__).with_name("pages")


class AppServer(Voila):
    """Serves the cards at `/`, and the explorer NAME at `/NAME`, from NAME.ipynb in the folder of its notebook."""

    def setup_template_dirs(self) -> None:
        """Puts the pages of the app before those of Voilà."""
        super().setup_template_dirs()
        self.template_paths.insert(0, str(_PAGES))

    def init_handlers(self) -> list[Any]:
        """Replaces what Voilà does at every other address: it would show the one notebook, or look for a file."""
        rest = [handler for handler in super().init_handlers() if handler[1] is not TornadoVoilaHandler]
        pages = {"voila_configuration": self.voila_configuration}
        notebooks = {**pages, "template_paths": self.template_paths, "config": self.config}
        return [*rest, ("/", _GalleryPage, pages), ("/([^/]+)", _ExplorerPage, notebooks), ("/.*", _UnknownPage, pages)]


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
    def get(self) -> None:
        self.show("gallery.html")


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
        await super().get()
