"""A Sphinx extension that makes the navigation of pages with source code once, not for each of them.

`sphinx.ext.viewcode` writes a page per module. None of them is an entry of the navigation, so where they are equally
deep in the folders, it is the same on all; to make it takes longer than all the rest of such a page.
"""


def setup(app):
    """Registers the extension with Sphinx."""
    known = {}

    # Furo makes the navigation at the usual priority of 500.
    def before(app, pagename, templatename, context, doctree):
        if _depth(pagename) in known:
            context["toctree"] = _nothing

    def after(app, pagename, templatename, context, doctree):
        depth = _depth(pagename)
        if depth is not None:
            context["furo_navigation_tree"] = known.setdefault(depth, context["furo_navigation_tree"])

    app.connect("html-page-context", before, priority=400)
    app.connect("html-page-context", after, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _depth(pagename):
    """In how many folders a page with source code lies, None for other pages. Its links begin with as many `../`."""
    return pagename.count("/") if pagename.startswith("_modules/") else None


def _nothing(**_):
    """What Furo takes for the entries of the navigation."""
    return ""
