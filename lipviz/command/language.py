"""Tell JupyterLab the language of notebooks whose files leave it out: an extension of its server.

JupyterLab writes the language into a notebook when a kernel starts. So a lesson, whose file leaves it out, would look
changed as soon as it is opened. `lipviz lab` and Binder switch this extension on, see `lab.write_settings`.
"""

import inspect
from typing import Any


def tell_language(contents_manager: Any) -> None:
    """Adds the kernel's language to each notebook that a contents manager reads, where its file does not tell it."""
    read = contents_manager.get

    def get(*arguments, **options):
        return _with_language(read(*arguments, **options))

    async def get_later(*arguments, **options):
        return _with_language(await read(*arguments, **options))

    contents_manager.get = get_later if inspect.iscoroutinefunction(read) else get


def _with_language(model):
    from ipykernel.ipkernel import IPythonKernel

    if model["type"] == "notebook" and model.get("content"):
        model["content"]["metadata"].setdefault("language_info", dict(IPythonKernel.language_info))
    return model


def _jupyter_server_extension_points():
    return [{"module": __name__}]


def _load_jupyter_server_extension(server):
    tell_language(server.contents_manager)
