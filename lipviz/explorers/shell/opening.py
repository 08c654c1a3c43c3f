"""Opening of an explorer in the state that an address holds."""

from typing import TYPE_CHECKING

from lipviz.explorers.shell import links, registry

if TYPE_CHECKING:
    from lipviz.explorers.shell.base import Explorer


def opened(name: str, query: str | None = None) -> "Explorer":
    """Open an explorer in the state that an address holds. What cannot be used is told in the explorer.

    Args:
        name: Short name of the explorer, as "bjorck", or the name of its class.
        query: Part of the address behind "?", such as "state=%7B%22rows%22%3A32%7D"; None takes that of the page of
            `lipviz app`.

    Returns:
        The `Explorer`.

    Raises:
        ValueError: If there is no explorer of that name.
    """
    explorer = registry.find(name).load()()
    if links.own_address() is not None:
        explorer.follow_address()
    state = links.asked_state(query)
    if state is not None:
        explorer.restore(state)
    return explorer
