"""Readers of one explorer: each opens it, moves its slider, and looks whether the picture is the right one."""

import asyncio
import dataclasses
import hashlib
import itertools
import random
import time
import traceback

from lipviz import explorers
from lipviz.explorers.shell import page
from tools.load.front import Front
from tools.redraw_times import MOVES

FIRST = "{}"  # what a page says to an explorer that appears on it


def expected(name):
    """The pictures that an explorer shows for the values of its slider: the slider's name, and {value: digest}."""
    control, values = MOVES[name]
    explorer = explorers.find(name).load()()
    (picture,) = [one for one in page.all_widgets(explorer.widget) if one.has_trait("panels")]
    found = {}
    for value in values:
        explorer.state = {control: value}
        found[value] = digest(picture.panels)
    explorer.close()
    return control, found


def digest(panels):
    return hashlib.sha256(b"|".join(panels)).hexdigest()


@dataclasses.dataclass
class Reader:
    """Somebody who has an explorer open.

    Attributes:
        front: the connection to the kernel.
        kernel: the id of the kernel.
        slider: the id of the slider's widget.
        picture: the id of the picture's widget.
        value: where the slider stands.
        opened: seconds until the first picture was there.
    """

    front: Front
    kernel: str
    slider: str
    picture: str
    value: float
    opened: float

    @classmethod
    async def arrive(cls, front, kernel, control, began):
        """Finds the explorer that was shown last among the widgets of a kernel, and tells it that a page is there."""
        found = await front.widgets()

        def with_class(name):
            return [key for key, (state, _) in found.items() if name in state.get("_dom_classes", ())]

        slider = with_class(page.CONTROL + control)[-1]
        picture = [key for key, (state, panels) in found.items() if "panels" in state and panels][-1]
        reader = cls(front, kernel, slider, picture, found[slider][0]["value"], time.perf_counter() - began)
        for text in with_class("lipviz-return"):
            await front.set(text, value=FIRST)
        return reader

    async def move(self, value):
        """Moves the slider.

        Returns:
            Seconds until the picture was there, and its digest; None and None where none came.
        """
        began = asyncio.get_running_loop().time()
        told = await self.front.set(self.slider, value=value)
        self.value = value
        for one in told:
            if one.kind == "comm_msg" and one.content["comm_id"] == self.picture and one.buffers:
                return one.seconds - began, digest([bytes(content) for content in one.buffers])
        return None, None


@dataclasses.dataclass
class Moves:
    """What came of the moves of all readers.

    Attributes:
        took: milliseconds of each move that was answered.
        wrong: number of answers with another picture than the right one.
        failed: number of moves without a picture.
        errors: what went wrong, in words.
    """

    took: list = dataclasses.field(default_factory=list)
    wrong: int = 0
    failed: int = 0
    errors: list = dataclasses.field(default_factory=list)


async def read(reader, pictures, moves, pause, random_numbers, result):
    """Lets a reader move the slider some times, each after a pause of half to one and a half times `pause` seconds."""
    for _ in range(moves):
        await asyncio.sleep(pause * random_numbers.uniform(0.5, 1.5))
        value = random_numbers.choice([value for value in pictures if value != reader.value])
        try:
            seconds, shown = await reader.move(value)
        except Exception as error:  # of any kind: it is counted
            result.failed += 1
            result.errors.append("".join(traceback.format_exception_only(error)).strip())
            return
        if seconds is None:
            result.failed += 1
            continue
        result.took.append(1000 * seconds)
        result.wrong += shown != pictures[value]


async def read_all(readers, pictures, moves, pause, seed=0):
    """Lets all readers move their sliders at the same time; returns `Moves`."""
    result = Moves()
    numbers = (random.Random(f"{seed} {i}") for i in itertools.count())
    await asyncio.gather(
        *(read(reader, pictures, moves, pause, one, result) for reader, one in zip(readers, numbers, strict=False))
    )
    return result
