"""Take the picture of an explorer that the readme and the documentation show.

python -m tools.screenshot docs/_static/explorer.png
"""

import sys
import tempfile
from pathlib import Path

from tests.browser.lab import LabSession, expect, find_chromium, serve

LESSON = "02_orthogonalize_a_kernel.py"


def take(path: Path) -> None:
    """Runs lesson 02 in JupyterLab and writes a picture of its explorer."""
    with (
        tempfile.TemporaryDirectory() as home,
        serve(Path(home, "course"), "--LabApp.expose_app_in_browser=True", home=Path(home)) as server,
        LabSession.open(server.address, find_chromium(), on_failure=path.with_suffix(".failure.png")) as lab,
    ):
        lab.go("/lab")
        lab.open_by_click(LESSON)
        lab.run_all()
        explorer = lab.notebook.locator(".lipviz-explorer")
        expect(explorer).to_contain_text("so the layer is 1-Lipschitz")
        explorer.scroll_into_view_if_needed()
        explorer.screenshot(path=path)


if __name__ == "__main__":
    take(Path(sys.argv[1]).absolute())
