"""Sentences in lines of whole words."""

import pytest

from lipviz import course


def test_lines_hold_whole_words_and_begin_where_the_text_says(capsys):
    course.say("one two three\n\nfour-and-five", width=8)
    assert capsys.readouterr().out == "one two\nthree\n\nfour-and-five\n"


def test_a_long_row_of_a_table_goes_on_in_its_last_column(capsys):
    course.say("  loss   offset    one two three four five six seven\n  a     " + 30 * "b", width=46)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["  loss   offset    one two three four five six", "                   seven"]
    assert lines[2:] == ["  a     " + 30 * "b"]


def test_what_cannot_be_said_is_refused():
    with pytest.raises(TypeError, match="expected a string, received 3"):
        course.say(3)
    with pytest.raises(ValueError, match="at least 1, received 0"):
        course.say("a", width=0)
