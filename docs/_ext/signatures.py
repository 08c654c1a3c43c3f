"""A Sphinx extension that shows how a Keras layer or model is made.

Keras gives its classes a constructor that takes anything, and Sphinx would show that one.
"""

import inspect
import re


def setup(app):
    """Registers the extension with Sphinx."""
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-signature", of_init)
    return {"parallel_read_safe": True}


def of_init(app, what, name, obj, options, signature, return_annotation):
    """Returns the signature of `__init__`, without `self`, where a class shows nothing but `(*args, **kwargs)`."""
    if what != "class" or signature != "(*args, **kwargs)" or obj.__init__ is object.__init__:
        return None
    found = inspect.signature(obj.__init__)
    shown = str(found.replace(parameters=list(found.parameters.values())[1:]))
    # A default such as an initializer has no name but its address in memory.
    return re.sub(r"<(?:\w+\.)*(\w+) object at 0x\w+>", r"\1()", shown), return_annotation
