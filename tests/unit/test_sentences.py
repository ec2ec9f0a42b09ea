"""Sentences that are data: each is said somewhere, and gets every number that it names."""

import ast
import re
import string
import tomllib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "workbench"
# Sentences whose names are put together where they are said, by what is drawn or missing.
CHOSEN = (
    "bands.", "speedup.bars", "resume.none kept", "resume.due", "resume.asked", "timeline.no", "timeline.not",
    "refused writing.", "too much memory.", "past a limit.", "own gives.",
    "own makes.", "curves.seeds",
)  # fmt: skip


@pytest.mark.parametrize("room", ["cli", "core", "export", "report", "runs", "sweep", "view", "zoo"])
def test_every_sentence_is_said_somewhere_and_gets_all_of_its_numbers(room):
    parts = tomllib.loads((PACKAGE / room / "sentences.toml").read_text())
    known = {f"{part}.{name}": text for part, names in parts.items() for name, text in names.items()}
    calls = [
        node for file in (PACKAGE / room).rglob("*.py") for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "said"
    ]  # fmt: skip
    said = [call for call in calls if isinstance(call.args[0], ast.Constant)]
    assert {call.args[0].value for call in said} <= known.keys()
    for call in said:
        given = {keyword.arg for keyword in call.keywords}
        wanted = {field for _, field, *_ in string.Formatter().parse(known[call.args[0].value]) if field}
        assert None in given or {re.split(r"[.\[]", field)[0] for field in wanted} <= given, call.args[0].value
    chosen = {name for name in known if name.startswith(CHOSEN)}
    assert known.keys() - chosen - {call.args[0].value for call in said} == set()
