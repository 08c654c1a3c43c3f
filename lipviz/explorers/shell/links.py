"""Addresses that hold the state of an explorer: `/bjorck?state={"rows":32}`, with the state as JSON.

A page of `lipviz app` reads its own address. A state may come from anywhere: from another version of lipviz, or from
somebody who typed it. So what is known is set, and what is not is told in the explorer.
"""

import json
import os
import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit, urlunsplit

# What Voilà tells a kernel: the address of the page that it serves, with or without its path.
_ADDRESS, _QUERY = "VOILA_REQUEST_URL", "QUERY_STRING"


def name_of(kind: type) -> str:
    """The short name of an explorer, by its class: that of its module for lipviz's own, else that of the class."""
    package, _, module = kind.__module__.rpartition(".")
    return module if package == "lipviz.explorers" else kind.__name__.removesuffix("Explorer").lower()


def to_json(state: Mapping[str, Any]) -> str:
    """A state as JSON, on one line. Values that JSON does not have are written as their text."""
    return json.dumps(dict(state), ensure_ascii=False, separators=(",", ":"), default=str)


def from_json(text: str) -> dict[str, Any]:
    """A state from JSON.

    Raises:
        ValueError: If the text is no JSON, or no object in it.
    """
    try:
        state = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'A state is JSON, such as {{"rows": 32}}. Received: {_short(text)}') from error
    if not isinstance(state, dict):
        raise ValueError(f'A state has names, such as {{"rows": 32}}. Received: {_short(text)}')
    return state


def _short(text):
    return text if len(text) <= 80 else f"{text[:80]} …"


def command_of(name: str, state: Mapping[str, Any]) -> str:
    """The command that opens an explorer in a state, for a shell."""
    return f"lipviz app {name} --state {shlex.quote(to_json(state))}"


def own_address() -> str | None:
    """The address of the page of `lipviz app` that this kernel serves; None elsewhere, as in a notebook."""
    return os.environ.get(_ADDRESS)


def link(address: str, state: Mapping[str, Any]) -> str:
    """The address of an explorer's page with a state, and without the token, which is a secret."""
    parts = urlsplit(address)
    kept = [(key, value) for key, value in parse_qsl(parts.query) if key not in ("token", "state")]
    return urlunsplit((parts.scheme, parts.netloc, parts.path, urlencode([*kept, ("state", to_json(state))]), ""))


def asked_state(query: str | None = None) -> str | None:
    """The state, as text, that an address asks for; None where it does not.

    Args:
        query: Part of the address behind "?"; None takes that of the page of `lipviz app`.
    """
    query = os.environ.get(_QUERY, "") if query is None else query
    return parse_qs(query, keep_blank_values=True).get("state", [None])[-1]
