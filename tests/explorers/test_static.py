"""Pictures of explorers for places without a kernel."""

import re
from pathlib import Path

import pytest
from PIL import Image

from lipviz import explorers
from lipviz.explorers import static

PAGE = Path(__file__).parents[2] / "docs" / "explorers"


@pytest.mark.lists
def test_the_page_shows_every_explorer_with_its_words():
    page = (PAGE / "index.md").read_text(encoding="utf-8")
    pictures = re.findall(
        r"```\{figure\} (\w+)\.png\n---\nwidth: (\d+)px\nalt: >-\n  (.+?)\n---\n(.+?)\n```", page, re.S
    )
    names = [name for name, *_ in pictures]
    expected = [entry.name for entry in explorers.entries()]
    assert names == expected, "run `python -m lipviz.explorers.static docs/explorers NAME`"
    for name, width, alt, statement in pictures:
        with Image.open(PAGE / f"{name}.png") as image:
            assert image.width == pytest.approx(1.5 * int(width), abs=1)
        assert len(alt) > 80, f"`alt_text` of '{name}' is too short for who does not see the picture"
        assert len(statement) > 40, f"`statement` of '{name}' is too short"


@pytest.mark.slow
def test_the_page_says_how_many_there_are(tmp_path, monkeypatch):
    page = (PAGE / "index.md").read_text(encoding="utf-8")
    assert page.startswith(static._introduction(len(explorers.entries())))
    few = [explorers.find("activations"), explorers.find("bjorck")]
    monkeypatch.setattr(static, "entries", lambda: few)
    static.write(tmp_path)
    page = (tmp_path / "index.md").read_text(encoding="utf-8")
    assert page.startswith("# Explorers\n\nTwo explorers show")
    assert page.count("```{figure}") == 2
    assert "21 explorers show" in static._introduction(21)


@pytest.mark.slow
def test_one_explorer_is_written_into_the_page_and_the_rest_stays(tmp_path, monkeypatch):
    before = (PAGE / "index.md").read_text(encoding="utf-8")
    path = tmp_path / "index.md"
    path.write_text(before, encoding="utf-8")
    static.write(tmp_path, ["activations"])
    assert [found.name for found in tmp_path.glob("*.png")] == ["activations.png"]
    section = static._sections_of(path.read_text(encoding="utf-8"))["Activations"]
    assert path.read_text(encoding="utf-8") == before.replace(static._sections_of(before)["Activations"], section)

    path.write_text(before.replace(static._sections_of(before)["Activations"] + "\n", ""), encoding="utf-8")
    static.write(tmp_path, ["activations"])  # it comes to its place
    assert static._sections_of(path.read_text(encoding="utf-8"))["Activations"] == section
    assert path.read_text(encoding="utf-8").index(section) == before.index("## Activations")


@pytest.mark.slow
def test_a_picture_is_written_without_the_page(tmp_path):
    static.write(tmp_path / "new", ["activations"])
    (path,) = (tmp_path / "new").iterdir()
    assert path.name == "activations.png"
    explorer = static.shown(explorers.find("activations"))
    assert path.read_bytes() == explorer.static().png
    explorer.close()


def test_an_unknown_name_is_told(tmp_path):
    with pytest.raises(ValueError, match="Expected one of fooled"):
        static.write(tmp_path, ["sliders"])


def test_an_explorer_with_an_error_is_no_picture():
    class Entry:
        name = "broken"

        def load(self):
            return lambda: explorers.BjorckExplorer(kernel=[[float("nan")]])

    with pytest.raises(ValueError, match="'broken' shows an error"):
        static.shown(Entry())
