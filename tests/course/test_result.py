"""What an exercise answers, as HTML."""

import pytest

from lipviz.course.result import to_html


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("one\n\ntwo", "<p>one</p><p>two</p>"),
        ("`a < b`", "<p><code>a &lt; b</code></p>"),
        ("the network *that is served* here", "<p>the network <em>that is served</em> here</p>"),
        ("mind *this*, and *that*.", "<p>mind <em>this</em>, and <em>that</em>.</p>"),
        ("`*[1] * (x.ndim - 1)` and `w * w`", "<p><code>*[1] * (x.ndim - 1)</code> and <code>w * w</code></p>"),
        ("a * b * c, a*b*c and a ** 2", "<p>a * b * c, a*b*c and a ** 2</p>"),
        ("(*args, **kwargs)", "<p>(*args, **kwargs)</p>"),
        ("*", "<p>*</p>"),
    ],
)
def test_code_and_stress_become_elements(text, want):
    assert to_html(text) == want
