"""The side of a page that speaks with a kernel, by the websocket of a Jupyter server, as JupyterLab and Voilà do."""

import asyncio
import dataclasses
import datetime
import json
import uuid
from urllib.parse import urlsplit, urlunsplit

from jupyter_server.services.kernels.connection.base import deserialize_msg_from_ws_v1, serialize_msg_to_ws_v1
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

# The protocol of today's pages. Voilà takes binary messages of the older one for this one, reads a number of parts from
# them that can be any, and its server makes a list of so many until its memory is full.
PROTOCOL = "v1.kernel.websocket.jupyter.org"
PATIENCE = 300  # seconds for one answer, on a machine that has far more to do than it can
CONTROL = "1.0.0"  # version of the messages by which a page asks for all widgets
STATES = {"method": "request_states"}


@dataclasses.dataclass(frozen=True)
class Told:
    """A message of the kernel.

    Attributes:
        seconds: when it came, on the clock of the event loop.
        kind: its type, such as "comm_msg".
        content: what it says.
        buffers: its binary parts.
    """

    seconds: float
    kind: str
    content: dict
    buffers: tuple


class Front:
    """A page's connection to a kernel. It asks one question at a time.

    Args:
        socket: the open websocket.
        session: the name of this page among those of the kernel.
    """

    def __init__(self, socket, session):
        self._socket, self._session = socket, session

    @classmethod
    async def connect(cls, address, kernel, headers):
        """Opens the websocket of a kernel.

        Args:
            address: any address of the server.
            kernel: the id of the kernel.
            headers: what lets the page in: a cookie, or the token.
        """
        parts, session = urlsplit(address), uuid.uuid4().hex
        path, query = f"/api/kernels/{kernel}/channels", f"session_id={session}"
        request = HTTPRequest(
            urlunsplit(("ws", parts.netloc, path, query, "")), headers=headers, connect_timeout=PATIENCE
        )
        return cls(await websocket_connect(request, subprotocols=[PROTOCOL]), session)

    async def ask(self, kind, content, metadata=None):
        """Sends a message, and returns all that the kernel tells about it, until it is idle: a list of `Told`.

        Raises:
            ConnectionError: the kernel or the server is gone.
            TimeoutError: nothing comes any more.
        """
        asked, told = uuid.uuid4().hex, []
        date = datetime.datetime.now(datetime.UTC).isoformat()
        header = {
            "msg_id": asked,
            "msg_type": kind,
            "session": self._session,
            "username": "",
            "version": "5.4",
            "date": date,
        }
        parts = [json.dumps(part).encode() for part in (header, {}, metadata or {}, content)]
        await self._socket.write_message(serialize_msg_to_ws_v1(parts, "shell"), binary=True)
        while not told or told[-1].kind != "status" or told[-1].content["execution_state"] != "idle":
            seconds, (its_header, parent, _, its_content), further = await self._next()
            if parent.get("msg_id") == asked:
                told.append(Told(seconds, its_header["msg_type"], its_content, further))
        return told

    async def _next(self):
        raw = await asyncio.wait_for(self._socket.read_message(), PATIENCE)
        if raw is None:
            raise ConnectionError("the kernel has closed the websocket")
        _, parts = deserialize_msg_from_ws_v1(raw)
        return asyncio.get_running_loop().time(), [json.loads(part) for part in parts[:4]], tuple(parts[4:])

    async def run(self, code):
        """Runs a cell.

        Raises:
            RuntimeError: the cell raised an error.
        """
        told = await self.ask(
            "execute_request", {"code": code, "silent": False, "store_history": True, "allow_stdin": False}
        )
        for one in told:
            if one.kind == "error":
                raise RuntimeError(f"{one.content['ename']}: {one.content['evalue']}")

    async def widgets(self):
        """Returns the state of every widget of the kernel, by its id, and the bytes that belong to each."""
        comm = uuid.uuid4().hex
        opening = {"comm_id": comm, "target_name": "jupyter.widget.control", "data": {}}
        await self.ask("comm_open", opening, {"version": CONTROL})
        for one in await self.ask("comm_msg", {"comm_id": comm, "data": STATES}):
            data = one.content.get("data", {})
            if one.kind == "comm_msg" and data.get("method") == "update_states":
                return _with_buffers(data, one.buffers)
        raise RuntimeError("the kernel does not tell the state of its widgets")

    async def set(self, widget, **values):
        """Sets traits of a widget, as a control does that a reader moves; returns what `ask` does."""
        data = {"method": "update", "state": values, "buffer_paths": []}
        return await self.ask("comm_msg", {"comm_id": widget, "data": data})

    def close(self):
        self._socket.close()


def _with_buffers(data, buffers):
    found = {name: (one["state"], []) for name, one in data["states"].items()}
    for (name, *_), content in zip(data["buffer_paths"], buffers, strict=True):
        found[name][1].append(bytes(content))
    return found
