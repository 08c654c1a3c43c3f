"""Settings of the documentation: `python -m sphinx -W docs docs/_build/html`."""

import os
import runpy
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "_ext"))
# No remarks of TensorFlow's among Sphinx's.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# jsonschema, which nbformat imports, would compile 38 grammars of addresses, for 1.5 s. Notebooks have none.
sys.modules.setdefault("rfc3987_syntax", None)

_links = runpy.run_path(str(DOCS.parent / "binder" / "links.py"))
addresses = _links["addresses"](_links["FIRST_LESSON"])

project = "lipviz"
author = "the lipviz developers"
copyright = f"2026, {author}"
html_title = "lipviz"

extensions = [
    "frames",
    "lessons",
    "playground",
    "signatures",
    "sources",
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx.ext.mathjax",
    # MathJax from the site itself: formulas are readable without the internet.
    "sphinx-mathjax-offline",
]
if tags.has("without_sources"):  # noqa: F821 (Sphinx defines it)
    extensions.remove("sphinx.ext.viewcode")
templates_path = ["_templates"]
exclude_patterns = ["_build", "_ext", "_templates"]
nitpicky = False

# --- pages ---
myst_enable_extensions = ["dollarmath", "deflist", "colon_fence", "substitution"]
myst_heading_anchors = 3
myst_substitutions = addresses
nb_execution_mode = "off"
nb_execution_timeout = 600  # seconds for a cell, on a machine that may be busy
nb_execution_in_temp = True  # what a page saves is no file of this folder
nb_output_stderr = "remove"
# Live widgets need a kernel and scripts from elsewhere: a page shows what stands in for them.
nb_ipywidgets_js = {}
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]

# --- docstrings ---
default_role = "code"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_typehints = "none"
# A method that Keras documents is documented by Keras.
autodoc_inherit_docstrings = False
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

# --- appearance ---
html_theme = "furo"
html_static_path = ["_static"]
html_extra_path = ["_build/downloads"]
html_favicon = "_static/favicon.svg"
html_domain_indices = False
html_css_files = ["lipviz.css"]
html_js_files = [("readable.js", {"defer": "defer"})]
html_show_sphinx = False
# Furo's links to a page's source would lead nowhere: the source of a lesson is not below docs/.
html_theme_options = {"top_of_page_buttons": []}
html_show_sourcelink = False
html_copy_source = False
