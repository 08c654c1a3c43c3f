"""Write the links that open a lesson on Binder and on Colab, and the cell that installs lipviz there.

    python binder/links.py            writes them into README.md and into every lesson
    python binder/links.py --check    only says which files are out of date

The address of the repository is set once: `Repository` under `[project.urls]` in pyproject.toml. Packages come from its
dependencies and its extra `lab`. Binder starts from the repository itself, Colab from the notebooks that the site
publishes, because it opens `.ipynb` only.
"""

import argparse
import re
import sys
import textwrap
import tomllib
from pathlib import Path
from urllib.parse import quote

ROOT = Path(__file__).resolve().parents[1]
FIRST_LESSON = "00_take_the_tour"
MAP = "index"  # of the course, which opens first

# What runs the notebook server. A hosted notebook has its own, which must stay as it is.
SERVER_PACKAGES = {"jupyterlab", "jupytext", "ipykernel"}

README_LINKS = re.compile(r"(?<=<!-- launch links -->\n).*?(?=\n<!-- end of launch links -->)", re.DOTALL)

README_TEXT = """\
You can open the course in your browser, without an installation: on [Binder] (in JupyterLab, which starts in a minute
or two), or its first lesson on [Colab]. [The documentation][site] is online as well.

[Binder]: {binder}
[Colab]: {colab}
[site]: {site}"""

LESSON_CELLS = """\
# %% [markdown] tags=["launch"]
# Run it in your browser, without installing anything: on [Binder] or on [Colab]. The [glossary] explains the terms.
#
# [Binder]: {binder}
# [Colab]: {colab}
# [glossary]: {site}glossary.html

# %% jupyter={{"source_hidden": true}} tags=["launch", "remove-cell"]
# Where lipviz is missing, as on Colab, this installs it. The notebook server stays as it is.
import importlib.util
import subprocess
import sys

if importlib.util.find_spec("lipviz") is None:
    install = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*install, "--no-deps", "git+{repository}"], check=True)
    packages = (
{packages}
    )
    subprocess.run([*install, *packages.split()], check=True)

"""


def project() -> dict:
    """Reads the project's table in pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def addresses(lesson: str) -> dict[str, str]:
    """Returns where everything about a lesson (the file's name without its ending) is found.

    Keys: `repository`, `site`, `binder` (JupyterLab at that lesson), `colab`.

    Raises:
        ValueError: the repository's address is not that of a project on GitHub, which the services expect.
    """
    repository = project()["urls"]["Repository"]
    match = re.fullmatch(r"https://github\.com/([\w.-]+)/([\w.-]+)", repository)
    if match is None:
        raise ValueError(
            f"Repository: expected https://github.com/OWNER/NAME, without a slash at the end, got {repository}"
        )
    owner, name = match.groups()
    path = quote(f"notebooks/{lesson}.py", safe="")
    return {
        "repository": repository,
        "site": f"https://{owner.lower()}.github.io/{name}/",
        "binder": f"https://mybinder.org/v2/gh/{owner}/{name}/HEAD?labpath={path}",
        "colab": f"https://colab.research.google.com/github/{owner}/{name}/blob/gh-pages/notebooks/{lesson}.ipynb",
    }


def kernel_packages() -> list[str]:
    """Lists what a kernel needs of lipviz's dependencies and of the extra `lab`, with their bounds."""
    table = project()
    packages = [*table["dependencies"], *table["optional-dependencies"]["lab"]]
    return [r for r in packages if re.match(r"[\w-]+", r)[0] not in SERVER_PACKAGES]


def with_links(lesson: Path) -> str:
    """Returns the text of a lesson whose first cell is followed by its links and by the cell that installs lipviz."""
    cells = re.split(r"^(?=# %%)", lesson.read_text(encoding="utf-8"), flags=re.MULTILINE)
    header, title, *rest = [cell for cell in cells if '"launch"' not in cell.partition("\n")[0]]
    lines = textwrap.wrap(" ".join(kernel_packages()), width=100, break_on_hyphens=False, drop_whitespace=False)
    packages = "\n".join(f'        "{line}"' for line in lines)
    links = LESSON_CELLS.format(**addresses(lesson.stem), packages=packages)
    return "".join([header, title, links, *rest])


def readme_with_links() -> str:
    """Returns the readme's text with the links between its two comments."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = README_TEXT.format(**{**addresses(FIRST_LESSON), "binder": addresses(MAP)["binder"]})
    text, count = README_LINKS.subn(lambda _: links, text)
    if count != 1:
        raise ValueError(f"README.md: expected one place between the comments for launch links, got {count}")
    return text


def up_to_date() -> dict[Path, str]:
    """Returns the text that every file with links should have."""
    lessons = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.py"))
    return {ROOT / "README.md": readme_with_links()} | {lesson: with_links(lesson) for lesson in lessons}


def main() -> int:
    """Writes what is out of date, or (`--check`) names it. Returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a file is out of date")
    check = parser.parse_args().check
    stale = {path: text for path, text in up_to_date().items() if path.read_text(encoding="utf-8") != text}
    for path, text in stale.items():
        print(f"{'out of date' if check else 'written'}: {path.relative_to(ROOT)}")
        if not check:
            path.write_text(text, encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
