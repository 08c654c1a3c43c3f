"""The readme keeps its word: the two commands, and the sample of code."""

import re
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "command",
    ['python -m pip install ".[lab]" && lipviz lab', 'python -m pip install -e ".[dev]" && python -m pytest -n 2'],
)
def test_command_stands_in_a_block_of_its_own(command):
    assert f"```\n{command}\n```" in README


def test_pictures_are_there_small_and_said_in_words():
    pictures = re.findall(r"!\[([^]]+)\]\((docs/\S+)\)", README)
    assert len(pictures) == 2
    for words, path in pictures:
        assert len(words) > 100
        assert (ROOT / path).stat().st_size <= 3_000_000
    with Image.open(ROOT / "docs/_static/playground.webp") as film:
        assert film.is_animated


@pytest.mark.slow
def test_sample_runs_and_its_certificate_says_what_the_text_says(capsys):
    (sample,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(sample, {})
    printed = capsys.readouterr().out
    bound = re.search(r"Lipschitz constant of '\w+' in the l2 norm: at most (\S+), at least (\S+) by search", printed)
    assert 0.5 < float(bound[2]) <= float(bound[1]) <= 1 + 1e-6
    mean = re.search(r"^Certified radii of 200 samples, (\S+) in the mean\.$", printed, flags=re.MULTILINE)
    assert float(mean[1]) > 0.2
