"""A model as lines of source, each run when it is written, so that shapes are known while the next one is drawn."""

import dataclasses
import math
import warnings

import keras

from tools.red_team import kit
from tools.red_team.faults import FaultError, RefusedError, UnusableError, judged

INDENT = "    "
SAMPLES = 3  # in a batch that shows whether a model keeps samples apart
HEAD = (
    "keras.utils.set_random_seed(0)",
    "keras.config.set_dtype_policy(dtype)",
    'floats, other = ("float64", "float64") if dtype == "float64" else ("float32", "float16")',
)


def namespace():
    """The names that lines may use."""
    return {name: value for name, value in vars(kit).items() if not name.startswith("_")}


@dataclasses.dataclass(frozen=True)
class Plan:
    """A model that was drawn.

    Attributes:
        lines: Source of a function of `dtype` that makes it.
        result: The expression that it returns.
        dtype: Policy that it is drawn for.
        shapes: Shape of a sample of each input, all sizes known.
        dtypes: Of each input.
    """

    lines: tuple
    result: str
    dtype: str
    shapes: tuple
    dtypes: tuple

    def source(self):
        """Source of the function `make`."""
        body = [*HEAD, *self.lines, f"return {self.result}"]
        return "def make(dtype):\n" + "\n".join(INDENT + line for line in body) + "\n"

    def maker(self):
        """The function `make`."""
        scope = namespace()
        exec(self.source(), scope)
        return scope["make"]


class Draft:
    """A model that is being drawn.

    Args:
        dtype: Policy of its layers.
        refused: Function that is called with the kind of each refusal: of lipviz's, or of Keras's.
    """

    def __init__(self, dtype, refused=lambda kind: None):
        self.dtype, self.refused = dtype, refused
        self.lines, self.values = [], []
        self.inputs, self.shapes, self.dtypes = [], [], []
        self.layers = []  # (name of a layer of one input, shape that it was built for)
        self._count = 0
        self._scope = namespace() | {"dtype": dtype}
        for line in HEAD:
            exec(line, self._scope)

    def name(self, letter):
        """A new name."""
        self._count += 1
        return f"{letter}{self._count}"

    def shape(self, value):
        """Shape of a value, without the batch."""
        return tuple(self._scope[value].shape)[1:]

    def write(self, *lines):
        """Run lines and keep them; returns whether that went well."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for line in lines:
                    exec(line, self._scope)
        except Exception as error:
            verdict = judged(error)
            if isinstance(verdict, FaultError):
                raise verdict.at(self.crash(lines)) from error
            self.refused("lipviz" if isinstance(verdict, RefusedError) else "keras")
            return False
        self.lines.extend(lines)
        return True

    def crash(self, lines):
        """A reproducer's lines for what crashes while a model is made."""
        plan = Plan((*self.lines, *lines), "None", self.dtype, (), ())
        return [plan.source(), f"make({self.dtype!r})"]

    def forget(self, count, values):
        """Drop the lines and values after the first ones; what they made stays usable."""
        del self.lines[count:]
        del self.values[values:]

    def input(self, shape, concrete, dtype):
        """Add an input."""
        name = self.name("x")
        dtype = "floats" if dtype == "float32" else repr(dtype)
        self.write(f"{name} = keras.Input({shape!r}, dtype={dtype}, name={name!r})")
        self.inputs.append(name)
        self.shapes.append(concrete)
        self.dtypes.append("float32" if dtype == "floats" else dtype.strip("'"))
        self.values.append(name)
        return name

    def value(self, text):
        """Add a value given by an expression; returns its name, or None where Keras refuses it."""
        name = self.name("v")
        if not self.write(f"{name} = {text}"):
            return None
        leaf = self._scope[name]
        if not _has_samples(leaf) or 0 in leaf.shape or math.prod(n or 4 for n in leaf.shape[1:]) > 400:
            self.lines.pop()
            return None
        self.values.append(name)
        return name

    def layer(self, text, before):
        """Add a layer of one input behind a value; returns the name of what leaves it, or None."""
        name = self.name("l")
        if not self.write(f"{name} = {text}"):
            return None
        after = self.value(f"{name}({before})")
        if after is None:
            self.lines.pop()
            return None
        self.layers.append((name, self.shape(before)))
        return after

    def plan(self, result):
        """What was drawn."""
        if not self.write(f"model = {result}"):
            raise UnusableError("the model")
        self.lines.pop()
        sized = [_sized(x) for x in self.model.inputs]
        if not all(_takes(self.model, shapes) for shapes in {tuple(map(tuple, s)) for s in (self.shapes, sized)}):
            raise UnusableError("a size that is unknown before, or samples that are mixed")
        return Plan(tuple(self.lines), result, self.dtype, tuple(self.shapes), tuple(self.dtypes))

    @property
    def model(self):
        """The model of the `plan`."""
        return self._scope["model"]


def _sized(tensor):
    """Shape of a sample of an input; sizes that it leaves open are those of `kit.example`."""
    return [size or 4 for size in tensor.shape[1:]]


def _takes(model, shapes):
    """Whether a model takes samples of some shapes, and gives one output for each of them.

    Keras asks for the sizes of values only while a model is made, and TensorFlow returns memory that nobody wrote
    where a filter is larger than what it is moved over. A reshape may put several samples into one row: certificates
    have no bound for that, and radii are refused, as tests of their own show.
    """
    given = [keras.KerasTensor((SAMPLES, *shape), x.dtype) for shape, x in zip(shapes, model.inputs, strict=True)]
    given = given[0] if isinstance(model, keras.Sequential) else keras.tree.pack_sequence_as(model.input, given)
    try:
        leaves = keras.tree.flatten(model.compute_output_spec(given))
    except Exception:  # of many classes
        return False
    return all(leaf.shape[0] == SAMPLES and 0 not in leaf.shape for leaf in leaves)


def _has_samples(leaf):
    """Whether something has an axis of samples, of an unknown number: a mean over that axis has not."""
    return len(getattr(leaf, "shape", ())) > 0 and leaf.shape[0] is None
