"""By day, a test that is `covered_by_day` runs with every value of each of its parameters."""

import itertools

import pytest

from tests.covering import covering, values


def test_every_value_occurs_and_about_as_often_as_the_others():
    sizes = (3, 7, 2)
    cases = [set(enumerate(case)) for case in itertools.product(*map(range, sizes))]
    chosen = [cases[place] for place in covering(cases)]
    assert len(chosen) == max(sizes)  # no fewer can have all seven
    for axis, size in enumerate(sizes):
        counts = [sum((axis, value) in case for case in chosen) for value in range(size)]
        assert min(counts) >= 1
        assert max(counts) - min(counts) <= 1


def test_one_parameter_keeps_all_its_values():
    assert covering([{("a", 1)}, {("a", 2)}, {("a", 3)}]) == [0, 1, 2]


@pytest.mark.covered_by_day
@pytest.mark.parametrize("setting", [{"a": 1, "b": None}, {"a": 2, "b": None}, {"a": 2, "b": "x"}, {"a": 1, "b": "x"}])
@pytest.mark.parametrize("words", [["of a list"], "of a text"])
def test_entries_of_a_dict_are_parameters_of_their_own(request, setting, words):
    assert values(request.node) == {
        ("setting", "a", repr(setting["a"])),
        ("setting", "b", repr(setting["b"])),
        ("words", None, id(words)),
    }
    if not request.config.option.nightly:
        ran = [
            item for item in request.session.items if getattr(item, "originalname", None) == request.node.originalname
        ]
        assert len(ran) == 2
