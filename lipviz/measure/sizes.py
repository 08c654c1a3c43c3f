"""Sizes that are not known: which of them may turn out to be 1 where another one is not.

Backends broadcast an axis of length 1, which copies its entries. So two values of unknown sizes may be added only if
neither size is 1 without the other. That is tried out: the graph states its shapes for 64 choices of the unknown sizes
of its inputs. An axis that is still 1 where all of these are large is not believed, as it may be so for ever.

This relies on what holds for convolutions, poolings, padding and resampling: the size of an output does not fall where
that of the input grows.
"""

import functools

import keras

_CHOICES = range(64)
_LARGE = 32


class Shapes:
    """Shapes of a value, without the batch, for each choice of the unknown sizes of a model's inputs.

    Args:
        state: Function from the number of a choice to a tuple, or to None where the graph refuses those sizes.
        count: Number of unknown sizes.
    """

    def __init__(self, state, count):
        self.at = functools.cache(state)
        self.count = count

    def are_large(self, choice):
        """Whether all unknown sizes of the inputs are large in a choice."""
        return all(_size(place, choice) > _LARGE for place in range(self.count))


def _size(place, choice):
    """The unknown size of a number takes the values from 1 to 64, in an order of its own."""
    return 1 + ((2 * place + 1) * choice + 17 * place) % len(_CHOICES)


def of_inputs(shapes):
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


def behind(flows, args, kwargs, output_spec, output):
    """The `Shapes` of what a step returns.

    Args:
        flows: What it takes, each with its `shapes` and its symbolic `tensor`.
        args: Its arguments with these in them.
        kwargs: Its named ones.
        output_spec: Function of the pair of both, with symbolic tensors in the place of flows, that returns symbolic
            tensors.
        output: Number of the output.
    """

    def stated(choice):
        def known(leaf):
            if not isinstance(getattr(leaf, "shapes", None), Shapes):
                return leaf
            return keras.KerasTensor((leaf.tensor.shape[0], *leaf.shapes.at(choice)), leaf.tensor.dtype)

        if any(flow.shapes.at(choice) is None for flow in flows):
            return None
        try:
            spec = output_spec(keras.tree.map_structure(known, (args, kwargs)))
        except Exception:  # of the backend, or of a layer
            return None
        shape = tuple(keras.tree.flatten(spec)[output].shape)[1:]
        return None if None in shape else shape

    return Shapes(stated, flows[0].shapes.count)


def are_one_together(first, second, axis):
    """Whether of two values neither has the size 1 on an axis where the other one has not, whatever sizes inputs have.

    Args:
        first: `Shapes` of a value.
        second: Those of another one.
        axis: Axis of a sample.
    """
    if first is second:
        return True
    pairs = [(first.at(choice), second.at(choice), first.are_large(choice)) for choice in _CHOICES]
    found = [(one[axis] == 1, other[axis] == 1, large) for one, other, large in pairs if None not in (one, other)]
    is_seen = any(large for *_, large in found)
    return is_seen and all(one == other and not (one and large) for one, other, large in found)
