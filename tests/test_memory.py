"""Memory that nothing uses goes back."""

import weakref

from lipviz import _memory


def test_give_back_frees_what_is_in_a_cycle():
    class Node:
        pass

    node = Node()
    node.self = node
    referred = weakref.ref(node)
    del node
    _memory.give_back()
    assert referred() is None
