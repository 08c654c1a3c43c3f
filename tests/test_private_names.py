"""Private names of other packages that pictures and explorers need: each stands behind one function of lipviz.

Where a release of the other package breaks one, the test of that name says what to do.
"""

import ast
from pathlib import Path

from matplotlib.text import Text

import lipviz
from lipviz import plots
from lipviz.explorers.shell.controls import is_set_by_page, slider
from lipviz.plots.text_rendering import CachedTextRenderer

SOURCES = Path(lipviz.__file__).parent
# (file, name): ours, or a protocol that is open to everybody, as IPython's is.
KNOWN = {
    ("explorers/shell/controls.py", "_property_lock"),
    ("explorers/shell/base.py", "_repr_mimebundle_"),
    ("explorers/shell/gallery.py", "_repr_mimebundle_"),
    ("plots/text_rendering.py", "_texts"),
    ("plots/text_rendering.py", "_heights"),
}


def test_ipywidgets_tells_what_a_page_sets_from_what_code_sets():
    seen, control = [], slider("size", 4, 1, 9, 1, "Rows")
    control.observe(lambda change: seen.append(is_set_by_page(control)), names="value")
    control.set_state({"value": 5})  # what ipywidgets calls where a page has sent a value
    control.value = 6
    control.close()
    assert seen == [True, False], (
        "ipywidgets no longer keeps in `_property_lock` what a page sets, so explorers compute nothing ahead. See how "
        "`Widget.set_state` (ipywidgets/widgets/widget.py) tells the two apart now, and say it in "
        "lipviz.explorers.shell.controls.is_set_by_page."
    )


def test_matplotlib_asks_a_renderer_for_the_heights_of_its_font(monkeypatch):
    asked, answer = [], CachedTextRenderer._get_font_height_metrics
    monkeypatch.setattr(
        CachedTextRenderer, "_get_font_height_metrics", lambda self, prop: (asked.append(prop), answer(self, prop))[1]
    )
    text = Text(20, 50, "two\nlines", figure=plots.new_figure())
    text.get_window_extent(CachedTextRenderer(100, 100, 100))
    assert asked, (
        "Matplotlib no longer asks a renderer for `_get_font_height_metrics`: pictures are right, and each text takes "
        "twice as long. See where `Text._get_layout` (matplotlib/text.py) finds the height of a line now, and answer "
        "there in lipviz.plots.text_rendering.CachedTextRenderer; or remove the method if Matplotlib remembers heights "
        "itself."
    )


def test_no_other_private_name_is_used():
    files = [path for folder in ("plots", "explorers", "monitor") for path in SOURCES.glob(f"{folder}/**/*.py")]
    used = {(path.relative_to(SOURCES).as_posix(), name) for path in files for name in _private(path)}
    assert used <= KNOWN, (
        f"Put {sorted(used - KNOWN)} behind one function, with a test here that says what to do when it breaks."
    )


def _private(path):
    """Attributes with an underscore of objects that are not the class's own, and names that `getattr` is given."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and not _is_own(node.value) and _is_private(node.attr):
            yield node.attr
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "hasattr", "setattr"):
            name = getattr(node.args[1], "value", "")
            if _is_private(name):
                yield name


def _is_own(value):
    of_base = isinstance(value, ast.Call) and getattr(value.func, "id", "") == "super"
    return of_base or (isinstance(value, ast.Name) and value.id in ("self", "cls"))


def _is_private(name):
    return isinstance(name, str) and name.startswith("_") and not name.startswith("__")
