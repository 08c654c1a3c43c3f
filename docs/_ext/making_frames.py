"""Makes the pictures of the sliders of the site by the explorers themselves, and keeps them until something changes."""

import dataclasses
import functools
import hashlib
import importlib.metadata
import io
import json
import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import scenes
from PIL import Image
from sphinx.errors import ExtensionError
from sphinx.util import logging

import lipviz
from lipviz.explorers.frames import frames, of_control, of_work
from lipviz.explorers.shell.registry import find
from lipviz.plots.style import number

FEWEST, AVERAGE = 8, 9  # pictures of a slider; on average, there may be so many
WORK = "work"  # in place of the name of a control
SHARPNESS = 1.5  # image pixels per CSS pixel, as in explorers
WORK_TIMEOUT = 600  # seconds for the work with which an explorer opens
PACKAGES = ("numpy", "keras", "tensorflow", "matplotlib", "pillow", "scikit-learn", "adversarial-robustness-toolbox")

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a slider shows; `docs/frames.toml` explains the fields."""

    name: str
    explorer: str
    control: str
    values: list
    label: str
    look: str
    readout: str | list = "{}"
    state: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    finish: bool = False
    scene: str = ""

    @property
    def texts(self) -> list[str]:
        """What the slider reads at each value."""
        if isinstance(self.readout, list):
            return self.readout
        return [
            self.readout.replace("{}", number(value) if isinstance(value, float) else str(value))
            for value in self.values
        ]

    @property
    def source(self) -> str:
        """Where its pictures come from, in one sentence."""
        moved = "" if self.control == WORK else f" for {len(self.values)} values of `{self.control}`"
        return (
            f"Pictures of `{find(self.explorer).class_name}`{moved}, made when this page was built. Where Python runs, "
            "all of its controls can be moved."
        )


def read_plans(path):
    """Returns the plans of a file by name.

    Raises:
        ExtensionError: A slider has too few pictures, or all sliders have too many.
    """
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    plans = {name: Plan(name, **table) for name, table in tables.items()}
    for plan in plans.values():
        if len(plan.values) < FEWEST or len(plan.texts) != len(plan.values):
            raise ExtensionError(f"{path.name}: [{plan.name}] needs {FEWEST} values or more, and a text for each.")
    if sum(len(plan.values) for plan in plans.values()) > AVERAGE * len(plans):
        raise ExtensionError(f"{path.name}: sliders may have {AVERAGE} pictures on average.")
    return plans


def kept_or_made(plan, kept, target):
    """Returns what the page of a slider needs, and puts its pictures into the folder `target`.

    Args:
        plan: The slider's `Plan`.
        kept: Folder in which the pictures stay until the next build.
        target: Folder of the pictures of the site.

    Returns:
        A dict with "look", "label", "source", "sizes" (width and height of each panel, in CSS pixels) and "frames": a
        list of dicts with "value", "alt", "statement" and "panels", which are names of files in `target`.
    """
    index = kept / "frames.json"
    known = json.loads(index.read_text(encoding="utf-8")) if index.exists() else {}
    if known.get("digest") != _digest(plan):
        logger.info("making the pictures of the slider %s", plan.name)
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
        known = _made(plan, kept) | {"digest": _digest(plan)}
        index.write_text(json.dumps(known, ensure_ascii=False), encoding="utf-8")
    target.mkdir(parents=True, exist_ok=True)
    for path in kept.glob("*.webp"):
        shutil.copy(path, target)
    return known


def _digest(plan):
    return hashlib.sha256(f"{plan!r} {_of_code()}".encode()).hexdigest()


@functools.cache
def _of_code():
    """A digest of all code that draws the pictures, and of the versions of what it needs."""
    state = hashlib.sha256()
    here = Path(__file__)
    for path in [here, here.with_name("scenes.py"), *sorted(Path(lipviz.__file__).parent.rglob("*.py"))]:
        state.update(path.read_bytes())
    state.update(" ".join(importlib.metadata.version(name) for name in PACKAGES).encode())
    return state.hexdigest()


def _made(plan, folder):
    explorer, moments = getattr(scenes, plan.scene)(plan.values) if plan.scene else _opened(plan)
    drawn = frames(explorer, moments)
    explorer.close()
    entries = [
        {
            "value": text,
            "alt": frame.alt,
            "statement": frame.statement,
            "panels": [_written(panel.png, folder) for panel in frame.panels],
        }
        for text, frame in zip(plan.texts, drawn, strict=True)
    ]
    sizes = [_size(panel.png) for panel in drawn[0].panels]
    return {"look": plan.look, "label": plan.label, "source": plan.source, "sizes": sizes, "frames": entries}


def _opened(plan):
    """The explorer of a plan, and its moments."""
    explorer = find(plan.explorer).load()()
    explorer.wait(WORK_TIMEOUT)
    explorer.state = plan.state
    if plan.control == WORK:
        return explorer, of_work(explorer, [value / explorer.state["steps"] for value in plan.values])
    return explorer, of_control(explorer, plan.control, plan.values, work=plan.finish)


def _written(png, folder):
    """The name of a file with this image; equal panels share one."""
    name = f"{hashlib.sha256(png).hexdigest()[:16]}.webp"
    with Image.open(io.BytesIO(png)) as image:
        image.convert("RGB").save(folder / name, "webp", lossless=True, quality=50, method=3)
    return name


def _size(png):
    with Image.open(io.BytesIO(png)) as image:
        return [round(side / SHARPNESS) for side in image.size]
