"""`lipviz workers`, with scripts that need no Keras."""

import json

import pytest

from lipviz.command import cli
from lipviz.command.workers import free_ports, start_workers

SCRIPT = """
import json, os, pathlib, signal, sys, time
config = json.loads(os.environ["TF_CONFIG"])
index = config["task"]["index"]
folder, mode = sys.argv[1:3]
runs = pathlib.Path(folder, str(index))
runs.write_text((runs.read_text() if runs.exists() else "") + json.dumps(config["cluster"]["worker"]) + "\\n")
if mode == "exit" and index == 1:
    sys.exit(3)
other = pathlib.Path(folder, "0")
while index == 1 and not (other.exists() and other.read_text()):
    time.sleep(0.01)  # until worker 0 is there
if mode == "kill" and index == 1 and len(runs.read_text().splitlines()) == 1:
    os.kill(os.getpid(), signal.SIGKILL)
if mode == "exit" or (mode == "kill" and len(runs.read_text().splitlines()) == 1):
    time.sleep(600)  # a worker that waits for the lost one; it is ended
"""


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "train.py"
    path.write_text(SCRIPT)
    return path


def test_each_worker_knows_all_addresses(program, tmp_path):
    assert start_workers(3, program, [str(tmp_path), "well"]) == 0
    told = [json.loads((tmp_path / str(index)).read_text()) for index in range(3)]
    assert told[0] == told[1] == told[2]
    assert len(set(told[0])) == 3
    assert all(address.startswith("127.0.0.1:") for address in told[0])


def test_a_worker_that_fails_ends_the_others(program, tmp_path, capsys):
    assert start_workers(2, program, [str(tmp_path), "exit"]) == 3
    assert capsys.readouterr().err == "lipviz: worker 1 failed with exit status 3; the others were ended.\n"


def test_all_workers_are_started_again(program, tmp_path, capsys):
    assert cli.main(["workers", "--restarts", "2", "2", str(program), str(tmp_path), "kill"]) == 0
    said = capsys.readouterr().err
    assert "worker 1 was killed by SIGKILL; the others were ended. Starting all of them again; 1 more time" in said
    assert len((tmp_path / "1").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["0", "train.py"], "expected a positive number, got '0'"),
        (["2", "no_such.py"], "there is no file 'no_such.py'"),
        (["2"], "SCRIPT"),
    ],
)
def test_careless_arguments(arguments, complaint, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["workers", *arguments])
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err


def test_ports_differ():
    assert len(set(free_ports(20))) == 20
