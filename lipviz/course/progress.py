"""What a reader has done in the course, kept in its folder as one JSON file that people can read.

The file is ``.lipviz/progress.json`` in the folder of the course, where kernels of its lessons run. The environment
variable ``LIPVIZ_COURSE_DIR`` names another folder. Elsewhere, as in a script, nothing is written: what was done is
known until Python ends.

A change reads the file, changes it and replaces it, while it holds a lock. So several kernels can write at once, and
whoever reads finds a whole file at any time.
"""

import contextlib
import datetime
import functools
import json
import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lipviz._files import write_whole
from lipviz._lessons import PRIVATE

FOLDER_VARIABLE = "LIPVIZ_COURSE_DIR"
_VERSION = 1
_FILE, _LOCK, _DAMAGED = "progress.json", "progress.lock", "progress.damaged.json"

Record = dict[str, Any]
_in_memory: dict[str, Record] = {}
_warned: set[str] = set()


def folder() -> Path | None:
    """The folder of the course that this process works in; None where there is none.

    It is the one that `FOLDER_VARIABLE` names, or the working directory, if that has the private folder of ``lipviz
    lab``, or the lessons beside their index.
    """
    named = os.environ.get(FOLDER_VARIABLE)
    if named:
        return Path(named).expanduser()
    try:
        here = Path.cwd()
    except FileNotFoundError:  # it was removed
        return None
    is_course = (here / PRIVATE).is_dir() or ((here / "index.py").is_file() and any(here.glob("[0-9][0-9]_*.py")))
    return here if is_course else None


def read() -> dict[str, Record]:
    """All that was done: a dict from the id of an exercise or a prediction to its record.

    A record has some of the keys ``answer`` (text), ``guess`` (a number, a key or a list), ``hints`` (how many were
    given), ``solved`` (True) and ``at`` (time of the last change, ISO 8601).
    """
    place = _file()
    if place is None or not place.exists():
        return {name: dict(record) for name, record in _in_memory.items()}
    try:
        return _records(place)
    except (OSError, ValueError):
        return {}


def record(name: str) -> Record:
    """What was done with one exercise or prediction; an empty dict if nothing."""
    return read().get(name, {})


def note(name: str, **changes: Any) -> Record:
    """Adds to the record of an exercise or a prediction.

    Two keys never go back, whichever of several kernels writes last: ``hints`` is the largest number that was noted,
    and ``solved`` stays True.

    Args:
        name: Id of the exercise or the prediction.
        **changes: Keys of the record, see `read`, with values as JSON has them.

    Returns:
        The whole record.
    """
    return _change(functools.partial(_noted, name, changes))


def forget(names: Iterable[str]) -> None:
    """Removes records.

    Args:
        names: Ids of exercises and predictions; those without a record are left out.
    """
    gone = set(names)
    _change(lambda records: [records.pop(name, None) for name in gone])


def save_progress(path: str | os.PathLike[str]) -> None:
    """Writes all that you have done in the course to a JSON file.

    Args:
        path: Path of the file.
    """
    Path(path).write_text(_as_json(read()), encoding="utf-8")


def _as_json(records):
    content = {"version": _VERSION, "done": records}
    return json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def _noted(name, changes, records):
    one = records.setdefault(name, {})
    if "hints" in changes:
        changes["hints"] = max(changes["hints"], one.get("hints", 0))
    if one.get("solved"):
        changes["solved"] = True
    one.update(changes, at=datetime.datetime.now().astimezone().isoformat(timespec="seconds"))
    return dict(one)


def _file():
    place = folder()
    return None if place is None else place / PRIVATE / _FILE


def _records(place):
    """Records of a file; ValueError if it is no such file."""
    content = json.loads(place.read_text(encoding="utf-8"))
    done = content.get("done") if isinstance(content, dict) else None
    if not isinstance(done, dict) or not all(isinstance(one, dict) for one in done.values()):
        raise ValueError(f"{place}: expected an object with the records in `done`.")
    return done


def _change(alter):
    """Lets a function alter all records, in the file, or else in memory; returns what the function returns."""
    place = _file()
    if place is not None:
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with _locked(place.parent / _LOCK):
                records = _present(place)
                result = alter(records)
                write_whole(place, _as_json(records).encode(), mode=0o600)
            return result
        except OSError as error:
            _warn_once(place, error)
    return alter(_in_memory)


def _present(place):
    """Records of a file for a change. A file that cannot be read is set aside, so that nothing in it is lost."""
    if not place.exists():
        return dict(_in_memory)
    try:
        return _records(place)
    except ValueError:
        os.replace(place, place.with_name(_DAMAGED))
        return {}


@contextlib.contextmanager
def _locked(path):
    """Holds the lock of the file. The system gives it up if the process ends."""
    with open(path, "a+b") as stream:
        try:
            import fcntl
        except ImportError:  # Windows
            import msvcrt

            stream.seek(0)
            msvcrt.locking(stream.fileno(), msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined]
            try:
                yield
            finally:
                stream.seek(0)
                msvcrt.locking(stream.fileno(), msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined]
            return
        with contextlib.suppress(OSError):  # a network folder may have no locks
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _warn_once(place, error):
    if str(place) not in _warned:
        _warned.add(str(place))
        reason = error.strerror or str(error)
        warnings.warn(f"Your progress cannot be kept in {place} ({reason}).", stacklevel=6)
