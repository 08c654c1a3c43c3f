"""Several ES modules as one, since a widget has the text of one module only."""

import json
import re
from pathlib import Path

_IMPORT = re.compile(r'\bfrom "(\.[^"]+)"')
# A blob has an address, from which a browser can import.
_LOADER = """\
const addresses = {{}};
for (const [name, text] of {modules}) {{
    const linked = text.replace(/\\bfrom "module:(.*?)"/g, (_, other) => `from "${{addresses[other]}}"`);
    addresses[name] = URL.createObjectURL(new Blob([linked], {{type: 'text/javascript'}}));
}}
export default async () => (await import(addresses[{entry}])).default;
"""


def joined(entry: Path) -> str:
    """A module that holds a module and all that it imports, and exports its default export.

    Args:
        entry: File of the module. It and the others import by relative paths, and not in a circle.

    Returns:
        Text of the module. Its default export is an async function that returns that of `entry`.
    """
    texts: dict[Path, str] = {}
    _read(entry.resolve(), texts)
    root = entry.resolve().parents[3]
    modules = [(_name(path, root), _linked(path, text, root)) for path, text in texts.items()]
    return _LOADER.format(modules=json.dumps(modules, ensure_ascii=False), entry=json.dumps(modules[-1][0]))


def _read(path, texts):
    """Read a module after those that it imports."""
    text = path.read_text(encoding="utf-8")
    for other in _IMPORT.findall(text):
        target = (path.parent / other).resolve()
        if target not in texts:
            _read(target, texts)
    texts[path] = text


def _linked(path, text, root):
    """The text of a module, which names each that it imports by its path below a folder."""
    return _IMPORT.sub(lambda match: f'from "module:{_name((path.parent / match[1]).resolve(), root)}"', text)


def _name(path, root):
    return path.relative_to(root).as_posix()
