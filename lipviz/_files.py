"""Write files of which there is never only a part, however a program or a machine ends."""

import os
import secrets
from pathlib import Path


def write_whole(path: str | os.PathLike[str], content: bytes, mode: int = 0o666) -> None:
    """Writes a file under another name in the same folder, and renames it then.

    Args:
        path: a file, which is replaced; if it is a link, the file that it points to.
        content: what it holds afterwards.
        mode: who may read and write it, less what the system's umask takes away; 0o600 is the owner alone.

    Raises:
        OSError: it cannot be written. What was there before is as it was.
    """
    place = Path(os.path.realpath(path))
    beside = place.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, place)
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from error
    finally:
        beside.unlink(missing_ok=True)
