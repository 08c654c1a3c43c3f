"""What happens after the cells of a lesson: memory goes back, and an answer that Python cannot read is explained."""

import re
import sys
import time
from typing import Any

from lipviz._memory import give_back

LONG = 1.0  # seconds; a cell that takes longer may have trained


def advice(error: BaseException | None, source: str) -> str | None:
    """What to do about a name that is missing, or about an answer that Python reads in another way than it is meant.

    Args:
        error: What the cell raised; None for nothing.
        source: The code of the cell.

    Returns:
        A sentence; None for all other errors.
    """
    found = re.search(r"^answer\s*=(.*)$", source, flags=re.MULTILINE)
    typed = found[1].partition("#")[0].strip() if found else ""
    if isinstance(error, NameError) and error.name:
        return _of_a_name(error.name, typed)
    if found is None:
        return None
    if isinstance(error, SyntaxError):
        return next((words for pattern, words in _MISTYPED if re.search(pattern, typed)), None)
    if "^" in typed and "'" not in typed and '"' not in typed:
        return "In Python, ^ is no power. Write 2 ** 3 for a power, and 2 ** 0.5 for a root."
    return None


_MISTYPED = (  # pattern of an answer that is no Python, and what to do
    (r"^$", "Write your answer behind the = and run the cell again."),
    (r"%", "Leave out the sign %. A question that asks for per cent expects 50, and otherwise 50 % is 0.5."),
    ("√", "Python has no √. Write 2 ** 0.5 for a root."),
    ("[\u2212\u2013]", "This minus is another character. Type it as - on the keyboard."),
    ("[·×]", "Python multiplies with *: 2 * 3."),
)


def _of_a_name(name, typed):
    """What to do about a name in an answer that Python does not know."""
    if typed == name:
        return f'A letter or a word needs quotes. Write answer = "{name}" and run the cell again.'
    if typed and name in ("sqrt", "exp", "log", "pi"):
        return f"Python has {name} in NumPy. Write import numpy as np above the answer, and np.{name} in it."
    if typed and name in ("np", "numpy", "math"):
        line = "import numpy as np" if name == "np" else f"import {name}"
        return f"Write {line} above the answer, and run the cell again."
    return (
        f"If a cell above makes {name}, run that cell first. After a restart of the kernel, the menu Run has "
        '"Run All Above Selected Cell".'
    )


class Follower:
    """Follows the cells that IPython runs.

    Attributes:
        began: When the present cell began, in seconds of `time.monotonic`; None outside of cells.
    """

    def __init__(self) -> None:
        self.began: float | None = None

    def register(self, shell: Any) -> None:
        """Follow the cells of a shell of IPython."""
        shell.events.register("pre_run_cell", self.before)
        shell.events.register("post_run_cell", self.after)

    def before(self, *_: Any) -> None:
        """Notes when a cell begins."""
        self.began = time.monotonic()

    def after(self, result: Any) -> None:
        """Gives memory back after a cell that took longer than `LONG`, and prints the advice on its error."""
        words = advice(result.error_before_exec or result.error_in_exec, result.info.raw_cell or "")
        if words is not None:
            print(words)
        began, self.began = self.began, None
        if began is not None and time.monotonic() - began > LONG:
            give_back()


def follow() -> None:
    """Follow the cells of the notebook that runs in this process, if there is one."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None:
        Follower().register(shell)
