"""Reads the addresses of all workers from the environment variable TF_CONFIG."""

import dataclasses
import json
import os
from typing import Any

_EXAMPLE = '{"cluster": {"worker": ["10.0.0.1:2222", "10.0.0.2:2222"]}, "task": {"type": "worker", "index": 0}}'


@dataclasses.dataclass(frozen=True)
class Cluster:
    """All workers.

    Attributes:
        addresses: Of all workers, "host:port".
        index: Number of this worker, from 0.
    """

    addresses: tuple[str, ...]
    index: int


def from_environment() -> Cluster:
    """The cluster that TF_CONFIG describes, on every backend.

    Raises:
        ValueError: If it is missing or wrong.
    """
    text = os.environ.get("TF_CONFIG", "")
    if not text.strip():
        raise ValueError(
            "TF_CONFIG is not set. Start the script by `lipviz workers 2 SCRIPT`, or set it on each machine, such as "
            f"to {_EXAMPLE}"
        )
    try:
        config = json.loads(text)
        addresses, task = config["cluster"]["worker"], config["task"]
        kind, index = task["type"], task["index"]
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"TF_CONFIG must be JSON such as {_EXAMPLE}. Received: {text}") from error
    others = sorted(set(config["cluster"]) - {"worker"})
    if kind != "worker" or others:
        received = f"a task of type {kind!r}" if kind != "worker" else f"also {', '.join(others)}"
        raise ValueError(f"TF_CONFIG must name workers only, without a chief: {_EXAMPLE}. Received: {received}")
    if not isinstance(addresses, list) or not addresses or not all(map(_is_address, addresses)):
        raise ValueError(f"TF_CONFIG must list workers as host:port. Received: {addresses!r}")
    if len(set(addresses)) < len(addresses):
        raise ValueError(f"TF_CONFIG must give each worker an address of its own. Received: {addresses!r}")
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(addresses):
        raise ValueError(f"The index in TF_CONFIG must be a number from 0 to {len(addresses) - 1}. Received: {index!r}")
    return Cluster(tuple(addresses), index)


def _is_address(address: Any) -> bool:
    host, _, port = address.rpartition(":") if isinstance(address, str) else ("", "", "")
    return bool(host) and port.isdecimal() and 0 < int(port) < 2**16
