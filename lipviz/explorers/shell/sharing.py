"""What a reader takes away from an explorer: its code, its address, and files of its picture and numbers."""

import abc
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from lipviz.explorers.shell import code, links, saving
from lipviz.explorers.shell.hooks import Hooks


class Sharing(Hooks):
    """The part of `Explorer` that hands out what is shown."""

    data: Any
    error: Exception | None
    state: dict[str, Any]
    _shown_state: Mapping[str, Any]
    _files: widgets.HTML
    _lock: threading.RLock

    @abc.abstractmethod
    def _show_error(self, error):
        """Show an exception as a sentence."""

    def code(self) -> str:
        """The lines of lipviz that make what is shown, with the names of the arguments that the controls set.

        Objects that were given to the explorer have the names of its arguments. All others are made by the lines.

        Returns:
            A program. It keeps the measurement as `result`, and its last line shows the picture.

        Raises:
            ValueError: If there is no picture, because of an error.
        """
        with self._lock:
            if self.data is None:
                raise ValueError(f"There is no picture: {self.error}")
            return code.program(self.code_lines(self.data, self._shown_state))

    def link(self, address: str | None = None) -> str:
        """The address that opens this explorer in the present state, in a running `lipviz app`.

        Args:
            address: Address of the page of this explorer, as `lipviz app NAME` prints it. None takes that of the page
                which shows this explorer.

        Returns:
            The address, without the token, which is a secret. Whoever has opened that app before can open it.

        Raises:
            ValueError: If there is no such page, as in a notebook; the message gives the command that opens one.
        """
        address = address or links.own_address()
        if address is None:
            command = links.command_of(links.name_of(type(self)), self.state)
            raise ValueError(f"No page of `lipviz app` shows this explorer. Type: {command}")
        return links.link(address, self.state)

    def _offer_link(self):
        self._files.value = saving.copyable(self.link())

    def _offer_code(self):
        try:
            self._files.value = saving.copyable(self.code())
        except Exception as error:  # shown in the explorer, as in `refresh`
            self._show_error(error)

    # --- files ---

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the present picture, or its numbers, to a file.

        Args:
            path: Path of the file, which ends with .png, .svg or .csv: this decides what is written.

        Raises:
            ValueError: If the path ends otherwise, or there is no picture because of an error.
        """
        kind = saving.suffix_of(path)
        Path(path).write_bytes(self._encoded(kind))

    def _encoded(self, kind):
        with self._lock:
            if self.data is None:
                raise ValueError(f"There is no picture: {self.error}")
            return saving.encoded(self, kind)

    def _offer(self, kind):
        try:
            name = f"{type(self).__name__.removesuffix('Explorer').lower()}-explorer.{kind}"
            self._files.value = saving.download(name, kind, self._encoded(kind))
        except Exception as error:  # shown in the explorer, as in `refresh`
            self._show_error(error)
