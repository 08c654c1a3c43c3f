"""What the page on stability, the build and the templates say agrees with pyproject.toml, and with each other."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

import lipviz

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PAGE = (ROOT / "docs" / "stability.md").read_text(encoding="utf-8")
WORKFLOWS = ROOT / ".github" / "workflows"


def rows():
    """{name: (what is accepted, what the tests passed with)} of the page's table."""
    found = re.findall(r"^\| ([\w-]+) \| `(\S+)` \| ([\d.]+) \| \d+ \w+ 20\d\d \|$", PAGE, re.MULTILINE)
    return {name.lower(): (SpecifierSet(accepted), Version(passed)) for name, accepted, passed in found}


def accepted():
    listed = [Requirement(t) for t in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"])]
    bounds = {requirement.name: requirement.specifier for requirement in listed}
    core = {name: bounds[name] for name in ("tensorflow", "keras", "numpy", "scipy", "jax")}
    return core | {"python": SpecifierSet(PROJECT["requires-python"])}


def workflow(name):
    return yaml.safe_load((WORKFLOWS / name).read_text(encoding="utf-8"))


def test_the_page_names_the_versions_that_are_accepted():
    assert {name: bounds for name, (bounds, _) in rows().items()} == accepted()


def test_the_tests_passed_with_a_version_that_is_accepted():
    assert all(passed in bounds for bounds, passed in rows().values())


def test_binder_has_the_versions_that_the_tests_passed_with():
    text = (ROOT / "binder" / "requirements.txt").read_text(encoding="utf-8")
    pinned = dict(re.findall(r"^([\w-]+)==(\S+)$", text, re.MULTILINE))
    passed = {name: str(version) for name, (_, version) in rows().items()}
    assert pinned["tensorflow-cpu"] == passed["tensorflow"]
    assert {name: pinned[name] for name in ("keras", "numpy", "scipy")}.items() <= passed.items()


def test_the_build_runs_on_the_oldest_and_the_newest_python():
    pythons = workflow("ci.yml")["jobs"]["check"]["strategy"]["matrix"]["python"]
    assert f"on Python {' and '.join(pythons)}" in PAGE
    oldest, newest = pythons
    major, minor = map(int, newest.split("."))
    assert f">={oldest},<{major}.{minor + 1}" == PROJECT["requires-python"]
    pages = [(ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "docs/install.md")]
    assert all(f"Python {oldest} to {newest}" in page for page in pages)


def test_the_night_takes_the_newest_releases_keeps_its_logs_and_changes_nothing():
    night = workflow("nightly.yml")
    assert set(night[True]) == {"schedule", "workflow_dispatch"}  # YAML reads "on" as true
    assert night["permissions"] == {"contents": "read"}
    steps = night["jobs"]["run"]["steps"]
    (install,) = [step["run"] for step in steps if ".[dev]" in step.get("run", "")]
    assert "--upgrade --upgrade-strategy eager" in install
    (upload,) = [step for step in steps if "upload-artifact" in step.get("uses", "")]
    assert upload["if"] == "always()"
    assert upload["with"]["path"] == "logs"


@pytest.mark.parametrize("name", sorted(path.name for path in WORKFLOWS.glob("*.yml")))
def test_only_the_site_may_write(name):
    assert workflow(name)["permissions"] == {"contents": "write" if name == "site.yml" else "read"}


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.stem
)
def test_an_issue_template_is_one(path):
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= form.keys()
    ids = [field["id"] for field in form["body"]]
    assert len(ids) == len(set(ids))
    assert all(field["attributes"]["label"] for field in form["body"])
    assert any(field["validations"]["required"] for field in form["body"])


def test_the_security_contact_is_found_from_where_one_looks():
    assert "Report a vulnerability" in (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert "(SECURITY.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert "`SECURITY.md`" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_the_citation_names_this_version_and_this_repository():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == lipviz.__version__
    assert citation["repository-code"] == PROJECT["urls"]["Repository"]
    assert citation["license"] == PROJECT["license"]
