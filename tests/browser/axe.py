"""What axe-core finds on a page: faults for readers who listen, who use no mouse, or who need contrast.

axe-core is a development tool of npm (`package.json`). Where it is not installed, nothing is looked for, and
`test_axe.py` is skipped with the reason; with LIPVIZ_REQUIRE_NPM=1, it fails.
"""

from tests import npm

AXE = npm.MODULES / "axe-core" / "axe.min.js"


def findings(page, within: str | None = None) -> dict[str, list[str]]:
    """Lists the faults of a page.

    Args:
        page: a page of playwright.
        within: a CSS selector; only elements below what it selects are looked at. None is the whole page.

    Returns:
        The names of axe's rules that are broken, each with the elements that break it, by CSS selectors. Without
        axe-core, there are none.
    """
    if not AXE.exists():
        return {}
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(AXE.read_text(encoding="utf-8"))
    return page.evaluate(_RUN, within)


# Only faults; what axe cannot decide, such as the contrast of words on a picture, is left out. Frames of a page have
# tests of their own.
_RUN = """async within => {
    const options = {resultTypes: ['violations'], iframes: false};
    const {violations} = await axe.run(within === null ? document : {include: [[within]]}, options);
    const place = node => `${node.target.flat().join(' ')}: ${node.html.slice(0, 120)}`;
    return Object.fromEntries(violations.map(rule => [rule.id, rule.nodes.map(place)]));
}"""
