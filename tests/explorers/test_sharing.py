"""States that travel: as JSON, in an address, and from versions that know other names."""

import json
import re
import shlex
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from lipviz import explorers, operators
from lipviz.command import cli
from lipviz.explorers.shell import links, registry
from tests.explorers.small import DEFAULTS, Small, Working

PAGE = "http://127.0.0.1:8901/voila/render/explorer.ipynb?token=secret&theme=dark&state=%7B%7D"


@pytest.fixture(scope="module", autouse=True)
def registered():
    registry.register(Small)
    yield
    registry._REGISTERED.clear()


def told(explorer):
    """The sentence that the explorer shows about a state."""
    return explorer._notice.value


def test_a_state_makes_a_round_trip_through_an_address(explorer):
    explorer.state = {"size": 6, "smallest": 0.025118864315095794, "spectrum": "one small"}
    address = explorer.link(PAGE)
    assert "secret" not in address
    assert address.startswith("http://127.0.0.1:8901/voila/render/explorer.ipynb?theme=dark&state=%7B")
    found = explorers.opened("small", urlsplit(address).query)
    assert found.state == explorer.state
    assert told(found) == ""
    found.close()


def test_the_address_is_that_of_the_page_which_shows_the_explorer(explorer, monkeypatch):
    with pytest.raises(ValueError, match=r"Type: lipviz app small --state '\{\"size\":4,"):
        explorer.link()
    monkeypatch.setenv("VOILA_REQUEST_URL", PAGE)
    monkeypatch.setenv("QUERY_STRING", urlsplit(explorer.link()).query)
    found = explorers.opened("small")
    assert found.state == DEFAULTS
    found.controls["size"].value = 3
    found.buttons["link"].click()
    assert f">{found.link()}</pre>".replace("&", "&amp;") in found._files.value
    found.close()


def test_without_a_state_an_explorer_opens_as_it_is():
    found = explorers.opened("Small", "token=abc")
    assert found.state == DEFAULTS
    assert told(found) == ""
    found.close()


def test_the_command_holds_any_state(explorer):
    words = shlex.split(links.command_of("small", {"spectrum": "it's $HOME", "size": 3}))
    assert words[:4] == ["lipviz", "app", "small", "--state"]
    assert json.loads(words[4]) == {"spectrum": "it's $HOME", "size": 3}


@pytest.mark.parametrize(
    ("state", "kept", "words"),
    [
        ({"size": 6, "colour": "red", "<b>": 1}, {"size": 6}, ["know these names: colour, &lt;b&gt;."]),
        ({"size": 99, "seed": 2}, {"seed": 2}, ["cannot be used: size (takes 1 to 9)."]),
        (
            {"spectrum": ["odd"], "share": None, "seed": 1},
            {"seed": 1},
            ["spectrum (takes one of &#x27;even", ", share"],
        ),
        ({"smallest": float("nan"), "size": 10**400}, {}, ["smallest (takes 0.001 to 1), size"]),
        ({"later": {"deep": []}}, {}, ["later"]),
        ("{", {}, ["A state is JSON", "Received: {<"]),
        ("[" * 100_000, {}, ["A state is JSON", "…"]),
        ("[1]", {}, ["A state has names"]),
        ("NaN", {}, ["A state has names"]),
        ("", {}, ["A state is JSON"]),
        (None, {}, ["NoneType"]),
    ],
)
def test_what_is_known_of_a_state_is_set_and_the_rest_is_told(explorer, state, kept, words):
    explorer.restore(state)
    assert explorer.state == {**DEFAULTS, **kept}
    assert explorer.error is None
    assert all(part in told(explorer) for part in words), told(explorer)
    assert "<b>" not in told(explorer)
    explorer.restore({"seed": 3})
    assert told(explorer) == ""
    assert explorer.state["seed"] == 3


def test_a_state_that_cannot_be_computed_shows_its_error(explorer):
    explorer.restore({"seed": 13, "colour": 1})
    assert "must not be 13" in explorer._alert.value
    assert "colour" in told(explorer)
    explorer.reset()
    assert explorer.error is None
    assert told(explorer) == ""


def test_a_training_that_begins_with_the_state_leaves_the_sentence():
    explorer = Working()
    explorer.restore({"seed": 2, "colour": 1})
    assert explorer.wait(300)
    assert explorer.worked[-1] == (2, 5)
    assert "colour" in told(explorer)
    explorer.close()


def test_old_names_in_a_link_are_taken_for_the_new_ones(explorer, monkeypatch):
    monkeypatch.setattr(Small, "_renamed", {"side": "size"})
    explorer.restore('{"side": 7}')
    assert explorer.state["size"] == 7
    assert told(explorer) == ""


@pytest.mark.parametrize("state", ["", "{", "[]", "3", "[" * 100_000])
def test_the_command_refuses_what_is_no_state(state, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["app", "bjorck", "--state", state])
    message = capsys.readouterr().err
    assert "argument --state: expected JSON with names" in message
    assert "Traceback" not in message


def test_a_state_needs_an_explorer(capsys):
    assert cli.main(["app", "--state", "{}"]) == 1
    assert "lipviz app NAME --state JSON" in capsys.readouterr().err


def test_the_address_that_is_printed_holds_the_state():
    from lipviz.command import app

    query = parse_qs(
        urlsplit(app.page_address("bjorck", {"token": "abc", "state": '{"kernel": "yours & mine"}'}, port=8901)).query
    )
    assert query == {"token": ["abc"], "state": ['{"kernel": "yours & mine"}']}


# --- explorers of the reader's own ---


def test_an_explorer_of_the_reader_is_in_the_list(explorer):
    assert explorers.find("small").load() is Small
    assert explorers.entries()[-1].sentence == "Move it."
    gallery = explorers.gallery()
    gallery.open("small")
    assert isinstance(gallery.explorer, Small)
    gallery.close()


def test_registering_again_replaces_and_names_of_lipviz_are_refused():
    class Small(Working):
        """Has the same name."""

    explorers.register(Small)
    assert [entry.name for entry in explorers.entries()].count("small") == 1
    assert explorers.find("small").load() is Small

    class BjorckExplorer(Working):
        """Has a name of lipviz."""

    with pytest.raises(ValueError, match="BjorckExplorer"):
        explorers.register(BjorckExplorer)


def test_the_explorer_of_the_guide_is_short_and_works():
    guide = (Path(__file__).parents[2] / "docs" / "guide.md").read_text(encoding="utf-8")
    (cell,) = [cell for cell in re.findall(r"```{code-cell} python\n(.*?)```", guide, re.S) if "@register" in cell]
    assert len(cell.splitlines()) <= 60
    made = {"__name__": "product"}
    exec(cell.removesuffix("ProductExplorer()\n"), made)
    explorer = explorers.find("product").load()()
    explorer.state = {"count": 2, "size": 4, "smallest": 0.1}
    kernels = [operators.random_kernel(4, 4, 0.1, seed=seed) for seed in range(2)]
    exact = np.linalg.svd(kernels[0] @ kernels[1], compute_uv=False)
    np.testing.assert_allclose(explorer.data.raw, exact, atol=1e-12)
    assert f"It is {exact[0]:.3f}." in explorer._results.value
    assert "from product import ProductExplorer" in explorer.code()
    explorer.close()
