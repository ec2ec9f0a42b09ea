"""The same rows as text, Markdown, LaTeX and HTML."""

import pytest

from workbench.runs.table import Table, number

TABLE = Table(("run", "loss"), (("a_1 | b", "0.5"), ("<c>", "12")), "Of two runs.")


def test_every_format_has_the_same_cells():
    assert TABLE.text == "run      loss\na_1 | b   0.5\n<c>        12\n\nOf two runs."
    assert TABLE.markdown == (
        "| run      | loss |\n|:---------|-----:|\n| a_1 \\| b |  0.5 |\n| <c>      |   12 |\n\nOf two runs.\n"
    )
    assert r"a\_1 | b & 0.5 \\" in TABLE.latex and r"\begin{tabular}{lr}" in TABLE.latex
    assert r"\textless{}c\textgreater{} & 12 \\" in TABLE.latex
    assert "&lt;c&gt;</td>" in TABLE.html and "<c>" not in TABLE.html and "<b>Of two runs.</b>" in TABLE.html
    assert str(TABLE) == TABLE.text and TABLE._repr_markdown_() == TABLE.markdown


def test_words_are_aligned_to_the_left():
    words = Table(("", "verdict"), (("sync", "pass"),), numbers=False)
    assert words.text == "      verdict\nsync  pass"
    assert "|:-----|:--------|" in words.markdown and "{ll}" in words.latex and "right" not in words.html


def test_a_row_of_another_length_is_refused():
    with pytest.raises(ValueError, match="another length than the head, which has 2 cells"):
        Table(("run", "loss"), (("a",),))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"), (float("nan"), "-"), (0, "0"), (3.0, "3"), (1234.56, "1,235"), (12.3456, "12.35"),
        (1.2345e-4, "0.000123"),
    ],
)  # fmt: skip
def test_a_number_has_four_significant_digits(value, text):
    assert number(value) == text


def test_what_would_steer_a_terminal_is_shown_and_not_sent():
    told = Table(("run",), (("\x1b[31mred\nnext\x07",),)).text
    assert "\x1b" not in told and "\x07" not in told and r"\x1b[31mred next\x07" in told
