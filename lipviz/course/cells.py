"""What happens after the cells of a lesson: memory goes back, and a letter without quotes is explained."""

import re
import sys
import time
from typing import Any

from lipviz._memory import give_back

LONG = 1.0  # seconds; a cell that takes longer may have trained


def advice(error: BaseException | None, source: str) -> str | None:
    """What to do about an answer such as ``answer = b``, which Python takes for a name.

    Args:
        error: What the cell raised; None for nothing.
        source: The code of the cell.

    Returns:
        A sentence; None for all other errors.
    """
    name = error.name if isinstance(error, NameError) else None
    if not name or not re.search(rf"^answer\s*=\s*{re.escape(name)}\s*(#.*)?$", source, flags=re.MULTILINE):
        return None
    return f'A letter or a word needs quotes. Write answer = "{name}" and run the cell again.'


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
        words = advice(result.error_in_exec, result.info.raw_cell or "")
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
