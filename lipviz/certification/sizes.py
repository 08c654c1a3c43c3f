"""Unknown sizes: whether one of them can be 1 while another one is not.

Backends broadcast an axis of length 1, which copies its entries. So two values of unknown sizes may be added only if
both sizes are 1 together, or neither is. This is tested: the shapes of the graph are computed for many choices of the
unknown sizes of its inputs. First, each input has all sizes up to 41, independently of the others. Then all inputs have
the same, larger size. If a size is still 1 for inputs larger than 41, all sizes up to there are tested, too. If it is
still 1 for inputs of size 4096, the test fails, since it may be 1 for all sizes.

This relies on a property of convolutions, poolings, padding and resampling: a larger input has no smaller output.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from lipviz.types import Shape

_SMALL = 41  # a prime number
_LARGE = (48, 64, 96, 128, 192, 256, 512, 1024, 4096)


class Shapes:
    """Shapes of a value, without the batch, for each choice of the unknown sizes of a model's inputs.

    Args:
        state: Function from the number of a choice to a tuple, or to None where the graph refuses those sizes.
        count: Number of unknown sizes.
        before: The `Shapes` that `state` depends on.
    """

    def __init__(self, state: Callable[[int], Shape | None], count: int, before: Sequence["Shapes"] = ()):
        self.count = count
        self._state, self._before = state, before
        self._known: dict[int, Shape | None] = {}

    def at(self, choice: int) -> Shape | None:
        """The shape for a choice, a tuple or None.

        It needs no recursion, since a graph may be deeper than Python's stack: what it depends on is computed first.
        """
        waiting = [self]
        while waiting and choice not in self._known:
            missing = [shapes for shapes in waiting[-1]._before if choice not in shapes._known]
            if missing:
                waiting += missing
            else:
                done = waiting.pop()
                done._known[choice] = done._state(choice)
        return self._known[choice]


def _size(place, choice):
    """Unknown size number `place` in a choice.

    In the choices from 0 to 40 each takes the values from 1 to 41, in an order of its own. In larger choices, all
    are equal to the choice.
    """
    if choice >= _SMALL:
        return choice
    return 1 + ((place % (_SMALL - 1) + 1) * choice + 17 * place) % _SMALL


def of_inputs(shapes: Sequence[Shape]) -> list[Shapes]:
    """The `Shapes` of the inputs of a model.

    Args:
        shapes: List of their shapes, without the batch.
    """
    count = sum(shape.count(None) for shape in shapes)
    places = iter(range(count))
    named = [tuple((next(places), None) if size is None else (None, size) for size in shape) for shape in shapes]

    def stated(axes):
        return lambda choice: tuple(size if place is None else _size(place, choice) for place, size in axes)

    return [Shapes(stated(axes), count) for axes in named]


def behind(
    flows: Sequence[Any], args: tuple[Any, ...], kwargs: dict[str, Any], output_spec: Callable[[Any], Any], output: int
) -> Shapes:
    """The `Shapes` of an output of a step.

    Args:
        flows: The flows that it takes, see `lipviz.certification.merging.Flow`.
        args: Its arguments, with the flows in them.
        kwargs: Its keyword arguments.
        output_spec: Function of the pair (args, kwargs), with symbolic tensors in the place of flows, that returns
            symbolic tensors.
        output: Number of the output.
    """
    before = [flow.shapes for flow in flows if flow.shapes is not None]

    def stated(choice):
        def known(leaf):
            if not isinstance(getattr(leaf, "shapes", None), Shapes):
                return leaf
            return keras.KerasTensor((leaf.tensor.shape[0], *leaf.shapes.at(choice)), leaf.tensor.dtype)

        if any(shapes.at(choice) is None for shapes in before):
            return None
        try:
            spec = output_spec(keras.tree.map_structure(known, (args, kwargs)))
        except Exception:  # of the backend, or of a layer
            return None
        shape = tuple(keras.tree.flatten(spec)[output].shape)[1:]
        return None if None in shape else shape

    return Shapes(stated, before[0].count, before)


def are_one_together(first: Shapes, second: Shapes, axis: int) -> bool:
    """Whether two values have the size 1 on an axis only both together, for all sizes of the inputs.

    Args:
        first: `Shapes` of a value.
        second: Those of another one.
        axis: Axis of a sample.
    """
    if first is second:
        return True

    def are_ones(choice):
        """Whether each of the two is 1; None where the graph refuses the sizes."""
        one, other = first.at(choice), second.at(choice)
        return None if one is None or other is None else [one[axis] == 1, other[axis] == 1]

    tried = {choice: are_ones(choice) for choice in (*range(_SMALL), *_LARGE)}
    known = [choice for choice in _LARGE if tried[choice] is not None]
    last = max((choice for choice in known if any(tried[choice])), default=_SMALL)
    end = min((choice for choice in known if choice > last), default=None)
    if end is None:
        return False
    tried |= {choice: are_ones(choice) for choice in range(_SMALL, end)}  # up to where none is 1 any more
    return all(found is None or found[0] == found[1] for found in tried.values())
