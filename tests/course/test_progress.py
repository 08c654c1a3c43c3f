"""What is kept of a reader's work: in the course's folder, across kernels that end and beside those that run."""

import json
import multiprocessing
import os

import pytest

from lipviz import course
from lipviz.course import progress


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of a course that this process works in."""
    (tmp_path / ".lipviz").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(progress, "_in_memory", {})
    return tmp_path


def content(folder):
    return json.loads((folder / ".lipviz" / "progress.json").read_text(encoding="utf-8"))


def test_answers_hints_and_guesses_are_in_the_file(folder):
    course.check("tour.compose", 5.25)
    course.check("tour.radius", 0.99)
    done = content(folder)["done"]
    assert done["tour.compose"]["answer"] == "5.25"
    assert done["tour.compose"]["hints"] == 1
    assert "solved" not in done["tour.compose"]
    assert done["tour.radius"]["solved"] is True
    assert done["tour.radius"]["at"][:2] == "20"
    assert sorted(path.name for path in (folder / ".lipviz").iterdir()) == ["progress.json", "progress.lock"]


def test_a_new_kernel_goes_on_where_the_last_one_ended(folder):
    course.check("tour.compose", 1.5)
    course.hint("tour.radius")
    # Nothing is in memory, so this is what a new kernel does.
    assert progress._in_memory == {}
    assert "Hint 2 of 3" in course.hint("tour.radius").message
    assert course.solution("tour.compose").status is course.Status.SOLUTION
    assert "Your last answer was `1.5`, which is right." in course.check("tour.compose", ...).message
    course.check("tour.scale", lambda w, k: w)
    assert "not right yet" in course.check("tour.scale", None).message


def test_a_function_is_kept_as_its_source(folder):
    def scale(w, k):
        # Mine.

        return w

    course.check("tour.scale", scale)
    result = course.check("tour.scale", ...)
    assert result.code.startswith("def scale(w, k):\n    # Mine.\n\n    return w")
    assert result.status is course.Status.UNREADABLE


def test_a_solved_exercise_stays_solved(folder):
    course.check("tour.compose", 1.5)
    course.check("tour.compose", 7)
    assert content(folder)["done"]["tour.compose"]["solved"] is True


def test_reset_and_save(folder, tmp_path):
    course.check("tour.compose", 1.5)
    course.check("tour.radius", 0.99)
    course.save_progress(tmp_path / "mine.json")
    course.reset("tour.compose")
    assert set(content(folder)["done"]) == {"tour.radius"}
    course.reset()
    assert content(folder)["done"] == {}
    saved = json.loads((tmp_path / "mine.json").read_text(encoding="utf-8"))
    assert set(saved["done"]) == {"tour.compose", "tour.radius"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"done": 3}', '{"done": {"a": 1}}', "\x00"])
def test_a_damaged_file_is_set_aside(text, folder):
    (folder / ".lipviz" / "progress.json").write_text(text)
    assert "Hint 1 of 3" in course.hint("tour.compose").message
    assert content(folder)["done"]["tour.compose"]["hints"] == 1
    assert (folder / ".lipviz" / "progress.damaged.json").read_text() == text


def test_what_another_version_kept_stays(folder):
    course.hint("tour.compose")
    kept = content(folder)
    kept["done"]["later.exercise"] = {"stars": 3}
    (folder / ".lipviz" / "progress.json").write_text(json.dumps(kept))
    course.hint("tour.compose")
    assert content(folder)["done"]["later.exercise"] == {"stars": 3}


def test_a_folder_that_takes_nothing_is_told_once(folder, monkeypatch):
    def refuse(*arguments, **settings):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(progress, "write_whole", refuse)
    monkeypatch.setattr(progress, "_warned", set())
    with pytest.warns(UserWarning, match=r"cannot be kept .*No space left"):
        course.check("tour.compose", 1.5)
    assert course.solution("tour.compose").status is course.Status.SOLUTION  # known until Python ends
    course.check("tour.radius", 0.99)  # no second warning, which would be an error here


def test_elsewhere_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    course.check("tour.compose", 1.5)
    assert list(tmp_path.iterdir()) == []
    assert course.solution("tour.compose").status is course.Status.SOLUTION


def test_the_folder_of_the_course(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert progress.folder() is None
    (tmp_path / "00_tour.py").touch()
    assert progress.folder() is None  # any folder may hold such a file
    (tmp_path / "index.py").touch()
    assert progress.folder() == tmp_path
    monkeypatch.setenv(progress.FOLDER_VARIABLE, str(tmp_path / "mine"))
    course.hint("tour.compose")
    assert content(tmp_path / "mine")["done"]["tour.compose"]["hints"] == 1


def _note(folder, name, count):
    os.chdir(folder)
    for place in range(count):
        progress.note(f"{name}.{place}", solved=True)


def test_kernels_that_write_at_once_lose_nothing(folder):
    context = multiprocessing.get_context("fork" if os.name == "posix" else "spawn")
    kernels = [context.Process(target=_note, args=(folder, name, 20)) for name in ("one", "two", "three")]
    for kernel in kernels:
        kernel.start()
    for kernel in kernels:
        kernel.join()
    assert len(content(folder)["done"]) == 60


# The map


def test_the_map_of_the_course(folder):
    header = "# ---\n# jupyter:\n#   lipviz:\n#     minutes: 2\n#     needs: a <matrix>\n#     title: 'A: b'\n# ---\n"
    cells = '# %%\ncourse.check("tour.compose", answer)\n\n# %%\ncourse.check("tour.radius", answer)\n'
    (folder / "00_a.py").write_text(header + cells + '\n# %%\ncourse.predict("tour.wild", truth=3)\n')
    (folder / "01_b.py").write_text(header + '# %%\ncourse.check("tour.scale", scale)\n')
    course.check("tour.compose", 1.5)
    shown = course.home()
    assert "You have solved 1 of 3 exercises. Go on with lesson 00." in repr(shown)
    assert "00  ✓○ 1 of 2 exercises, 0 of 1 guesses  A: b (2 min)" in repr(shown)
    assert '<a href="00_a.py">00 A: b</a>' in shown._repr_html_()
    assert "a &lt;matrix&gt;" in shown._repr_html_()
    assert shown.next.number == "00"
    for name in ("tour.radius", "tour.scale"):
        course.check(name, course.exercise(name).solution)
    assert course.home().next is None


def test_a_folder_without_lessons_has_no_map(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="expected a folder with the lessons"):
        course.home()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_only_the_reader_may_read_what_was_done(folder):
    course.check("tour.compose", 1.5)
    place = folder / ".lipviz" / "progress.json"
    assert place.stat().st_mode & 0o077 == 0
    assert sorted(each.name for each in place.parent.iterdir() if each.suffix == ".tmp") == []
