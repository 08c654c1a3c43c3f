"""What is done to a model, line by line: each line is run when it is written, and all of them are a reproducer."""

import contextlib
import inspect
import re
import warnings

from tools.red_team import kit
from tools.red_team.drafts import namespace
from tools.red_team.faults import FaultError, judged

# What NumPy and Python warn of is a fault where lipviz causes it; what lipviz itself warns of is meant.
STRICT = (RuntimeWarning, DeprecationWarning, FutureWarning)
AS_ERRORS = f"""
for category in ({", ".join(category.__name__ for category in STRICT)}):
    warnings.filterwarnings("error", category=category, module="lipviz")
"""


@contextlib.contextmanager
def strict():
    """Within this context what lipviz lets Python or NumPy warn of is an error; its own warnings are not shown."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for category in STRICT:
            warnings.filterwarnings("error", category=category, module="lipviz")
        yield


class Script:
    """Lines that are run on a model.

    Args:
        plan: The `Plan` of the model.
        model: The model, as the plan makes it.
        weights: Arguments of `kit.fill`.
        tally: Counts what was checked.
    """

    def __init__(self, plan, model, weights, tally):
        self.plan, self.tally = plan, tally
        self.lines = []
        self.scope = namespace() | {"model": model, "make": plan.maker()}
        self._start = [plan.source(), f"model = make({plan.dtype!r})"]
        seed, exponents, shapes = weights
        self.run(f"fill(model, {seed}, exponents={exponents}, shapes={shapes})")

    def __getitem__(self, name):
        return self.scope[name]

    def run(self, *lines):
        """Run lines, and keep them.

        Raises:
            RefusedError: If lipviz refuses one.
            UnusableError: If Keras does.
            FaultError: If an assertion in one fails, or something crashes inside of lipviz.
        """
        for line in lines:
            self.lines.append(line)
            try:
                with strict():
                    exec(line, self.scope)
            except Exception as error:
                verdict = judged(error)
                raise verdict.at(self.source()) if isinstance(verdict, FaultError) else verdict from error

    @contextlib.contextmanager
    def naming(self, kind):
        """Within this context an assertion that fails is a fault of a kind; otherwise one more claim is checked."""
        try:
            yield
            self.tally.bound(True)
        except FaultError as fault:
            fault.kind = kind if fault.kind == "claim" else fault.kind
            raise

    def value(self, expression):
        """Value of an expression; see `run`."""
        name = f"value{len(self.lines)}"
        self.run(f"{name} = {expression}")
        return self.scope[name]

    def fail(self, kind, message, *lines):
        """Raise a fault that the lines show; the last of them fails."""
        raise FaultError(kind, message, [*self.source(), *lines])

    def source(self):
        """All lines so far, from the model on."""
        return [*self._start, *self.lines]


def imports():
    """What the kit imports, and its constants."""
    text = inspect.getsource(kit).split('"""', 2)[2].split("\n\n\n")[0]
    return "import warnings\n" + re.sub(r"  # noqa.*", "", text).lstrip()


def reproducer(lines):
    """A program of its own: imports, what the lines need of the kit, and the lines."""
    text = "\n".join(lines)
    needed, seen = [], text
    functions = {
        name: value
        for name, value in vars(kit).items()
        if inspect.isfunction(value) and value.__module__ == kit.__name__
    }
    while True:
        more = [name for name in functions if name not in needed and re.search(rf"\b{name}\(", seen)]
        if not more:
            break
        needed += more
        seen += "".join(inspect.getsource(functions[name]) for name in more)
    parts = [imports() + AS_ERRORS]
    parts += [inspect.getsource(function) for name, function in functions.items() if name in needed]
    return "\n\n".join(parts) + "\n\n" + text + "\n"
