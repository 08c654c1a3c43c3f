"""The plugin that runs the lessons: what it collects, and that no error escapes it.

The lessons here are made up. They run in one pytest of their own, because each costs the start of a kernel.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import nbformat
import nbformat.v4 as nbf
import pytest
import zmq.asyncio
from jupyter_client.channels import AsyncZMQSocketChannel
from jupyter_client.session import Session

from lipviz.course.sentences import WIDTH
from tests import notebook_plugin
from tests.warm_kernels import Forks

REPOSITORY = Path(__file__).parents[1]
HEADER = """\
# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---
"""
WIDGET = """
# %%
import ipywidgets as widgets
def draw(x):
    if x > 1:
        raise ValueError("only up to one")
    print(x)
slider = widgets.IntSlider(0)
"""

# Each lesson, and the line that must be in its failure (None: it passes).
LESSONS = {
    "00_passes": (
        """
# %% nbmake={"mock": {"EPOCHS": 1}}
EPOCHS = 20

# %%
import os, pathlib, sys
os.write(2, b"from compiled code")
assert EPOCHS == 1
assert sys.executable == {executable!r}
pathlib.Path("written").touch()
""",
        None,
    ),
    "01_raises": ("\n# %%\n1 / 0\n", "ZeroDivisionError"),
    "02_output_widget": (
        f"{WIDGET}\nout = widgets.Output()\n\n# %%\nwith out:\n    draw(1)\nout\n\n# %%\nwith out:\n    draw(2)\n",
        "only up to one",
    ),
    "03_interactive_output": (
        f"{WIDGET}\nwidgets.interactive_output(draw, {{'x': slider}})\n\n# %%\nslider.value = 2\n",
        "only up to one",
    ),
    "04_thread": (
        "\n# %%\nimport threading\nthread = threading.Thread(target=lambda: 1 / 0)\nthread.start()\nthread.join()\n",
        "ZeroDivisionError",
    ),
    "05_widget_passes": (f"{WIDGET}\nwidgets.interactive_output(draw, {{'x': slider}})\nslider.value = 1\n", None),
}


SETTINGS = "[pytest]\nmarkers =\n notebook\n slow\naddopts = -rA -p tests.notebook_plugin\n"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project of made-up lessons."""
    project = tmp_path_factory.mktemp("project")
    (project / "notebooks").mkdir()
    (project / "pytest.ini").write_text(SETTINGS)
    for name, (cells, _) in LESSONS.items():
        cells = cells.replace("{executable!r}", repr(sys.executable))
        (project / "notebooks" / f"{name}.py").write_text(HEADER + cells)
    (project / "notebooks" / "helper.py").write_text("raise AssertionError('not a lesson')\n")
    return project


@pytest.fixture(scope="module")
def report(project):
    """The output of pytest on that project."""
    done = run_pytest(project, "--cold-kernels")
    assert not list(project.rglob("written"))
    return done.stdout


def run_pytest(project, *arguments, **environment):
    """Runs pytest in a project, with some environment variables besides those of this process."""
    program = (
        # The made-up project has no tests of its own: ours are found by their folder.
        f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\n"
        # Under this name lipviz does without Keras, which no lesson here needs.
        "sys.argv[0] = 'lipviz'\n"
        "import pytest; sys.exit(pytest.main(sys.argv[1:]))\n"
    )
    command = [sys.executable, "-c", program, "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, env={**os.environ, **environment})


@pytest.mark.slow
@pytest.mark.parametrize("name", LESSONS)
def test_outcome(report, name):
    outcome = "PASSED" if LESSONS[name][1] is None else "FAILED"
    assert f"{outcome} notebooks/{name}.py::{name}.py" in report


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, (_, line) in LESSONS.items() if line])
def test_failure_says_why(report, name):
    section = report.split(f" {name}.py ", 1)[1].split("\n____")[0]
    assert LESSONS[name][1] in section


@pytest.mark.slow
def test_only_lessons_are_collected(report):
    assert "4 failed, 2 passed" in report
    assert "not a lesson" not in report


@pytest.mark.slow
def test_what_passed_is_kept_with_its_outputs_and_settings(project, report):
    folder = project / notebook_plugin.KEPT
    passed = [name for name, (_, line) in LESSONS.items() if line is None]
    assert sorted(path.stem for path in folder.iterdir()) == sorted(passed)
    quick = nbformat.read(folder / "00_passes.ipynb", as_version=4)
    assert quick.metadata.lipviz.quick_settings == {"EPOCHS": 1}
    assert all(cell.execution_count for cell in quick.cells)
    assert not any(cell.outputs for cell in quick.cells)  # compiled code's stderr is not the reader's


@pytest.mark.nightly
def test_full_lessons_have_the_settings_of_readers_and_a_second_run_prints_the_same(tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "pytest.ini").write_text(SETTINGS)
    lessons = {
        "00_same": '\n# %% nbmake={"mock": {"EPOCHS": 1}}\nEPOCHS = 20\n\n# %%\nprint("epochs", EPOCHS)\n'
        "import time\nprint(f'{time.time():.3f} seconds')\n",
        "01_other": "\n# %%\nimport time\nprint(f'error {time.time() % 1000:.3f}')\n",
    }
    for name, cells in lessons.items():
        (tmp_path / "notebooks" / f"{name}.py").write_text(HEADER + cells)
    done = run_pytest(tmp_path, "--full-lessons", "--repeat-lessons", "--cold-kernels")
    assert "1 failed, 1 passed" in done.stdout
    assert "A second run printed something else" in done.stdout
    kept = tmp_path / notebook_plugin.KEPT
    assert [path.stem for path in kept.iterdir()] == ["00_same"]
    full = nbformat.read(kept / "00_same.ipynb", as_version=4)
    assert full.cells[-1].outputs[0].text.startswith("epochs 20\n")
    assert full.metadata.lipviz.quick_settings == {}


@pytest.mark.parametrize(
    ("once", "again", "count"),
    [
        (["loss 1.000000"], ["loss 1.000001"], 0),
        (["loss 1.0000"], ["loss 1.0001"], 1),
        (["loss 1e-3"], ["loss 1.1e-3"], 1),
        (["a 1", "b 2"], ["a 1"], 1),
        (["rises to -2"], ["falls to -2"], 1),
        ([], [], 0),
    ],
)
def test_numbers_are_compared_relatively_and_words_exactly(once, again, count):
    assert len(notebook_plugin.differing(once, again)) == count


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only on Linux kernels are forks")
def test_the_processes_of_n_share_one_process_that_forks_and_nobody_else_starts_it(tmp_path, monkeypatch):
    (tmp_path / "ipykernel.py").write_text("raise AssertionError('it is imported')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    config = SimpleNamespace(stash=pytest.Stash(), option=SimpleNamespace(cold_kernels=False))
    nodes = [SimpleNamespace(config=config, workerinput={}) for _ in range(2)]
    for node in nodes:
        notebook_plugin.pytest_configure_node(node)
    first, second = (node.workerinput["forks"] for node in nodes)
    assert first == second
    assert Path(first).is_socket()
    process = config.stash[notebook_plugin.SHARED]._process
    notebook_plugin.pytest_unconfigure(config)
    assert process.returncode == 0  # without a connection it has imported nothing, and ends at once
    assert not Path(first).exists()
    cold = SimpleNamespace(config=SimpleNamespace(option=SimpleNamespace(cold_kernels=True)), workerinput={})
    notebook_plugin.pytest_configure_node(cold)
    assert cold.workerinput == {}


@pytest.mark.slow
def test_a_fork_ends_with_who_asked_for_it(forks, tmp_path):
    if forks is None:
        pytest.skip("kernels are no forks here")
    other = Forks(forks.address)
    fork = other.start("import time; time.sleep(3600)", tmp_path / "out", tmp_path / "err")
    assert forks.ask(poll=fork.pid) is None
    other.close()
    while (ended := forks.ask(poll=fork.pid)) is None:
        time.sleep(0.05)
    assert ended[0] == -signal.SIGKILL


def test_named_lesson_is_run_not_imported(tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "pytest.ini").write_text(SETTINGS)
    (tmp_path / "notebooks" / "00_one.py").write_text(HEADER + "\n# %%\nget_ipython()\n")
    done = run_pytest(tmp_path, "--collect-only", "-q", "-m", "notebook", "notebooks/00_one.py")
    assert done.stdout.splitlines()[0] == "notebooks/00_one.py::00_one.py"
    assert "1 test collected" in done.stdout


def test_lines_that_jupyterlab_would_break_are_found():
    fits, wide = "x" * WIDTH, "y" * (WIDTH + 1)
    outputs = [
        nbf.new_output("stream", name="stdout", text=f"{fits}\n{wide[:50]}"),  # a stream comes in pieces
        nbf.new_output("stream", name="stdout", text=f"{wide[50:]}\n"),
        nbf.new_output("stream", name="stderr", text=wide),
        nbf.new_output("display_data", data={"text/html": f"<pre>{'&lt;' * WIDTH}\n1{fits}</pre>"}),
    ]
    notebook = nbf.new_notebook(cells=[nbf.new_code_cell("", outputs=outputs), nbf.new_markdown_cell(wide)])
    assert notebook_plugin.too_wide(notebook) == [wide, f"1{fits}"]


def test_expected_errors_are_not_hidden_ones():
    error = nbf.new_output("error", ename="E", evalue="x", traceback=["E: x"])
    notebook = nbf.new_notebook(cells=[nbf.new_code_cell("", outputs=[error])])
    assert len(list(notebook_plugin.hidden_errors(notebook))) == 1
    notebook.cells[0].metadata["tags"] = ["raises-exception"]
    assert not list(notebook_plugin.hidden_errors(notebook))


def test_a_reply_that_arrives_just_before_a_send_is_noticed(monkeypatch):
    notebook_plugin.wake_up_after_sending(monkeypatch)

    async def wait_for_reply(channel, kernel):
        reply = asyncio.create_task(channel.get_msg(timeout=60))
        await asyncio.sleep(0.1)
        channel.session.send(kernel, "execute_reply", {})
        # Not asyncio's sleep: the reply arrives while the client is busy with a widget, whose state it then sends.
        time.sleep(0.1)
        channel.send(channel.session.msg("comm_msg"))
        began = time.monotonic()
        await reply
        return time.monotonic() - began

    async def talk():
        context = zmq.asyncio.Context()
        kernel, client = zmq.Context.shadow(context.underlying).socket(zmq.PAIR), context.socket(zmq.PAIR)
        channel = AsyncZMQSocketChannel(client, Session(key=b"key"))
        try:
            client.connect(f"tcp://127.0.0.1:{kernel.bind_to_random_port('tcp://127.0.0.1')}")
            # While the sockets still connect, other events wake the client up.
            return [await wait_for_reply(channel, kernel) for _ in range(2)][1]
        finally:
            kernel.close(linger=0)
            client.close(linger=0)
            context.term()

    assert asyncio.run(talk()) < 30  # unnoticed, it takes the whole of the time limit
