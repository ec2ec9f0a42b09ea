"""Text from a run folder is shown as text, wherever it goes: a terminal, a figure, a table, a page."""

import ast
import csv
import json
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest

import workbench as wb
from tests.unit.finished import finished_run
from workbench.cli import main
from workbench.view.html import page
from workbench.view.picture import Picture
from workbench.view.style import own_settings

NASTY = ["=1+1", r"$\frac$", "\x1b]0;mine\x07", "<script>"]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = finished_run(tmp_path_factory.mktemp("runs"), "multiprocess", 1, 0, NASTY, name="nasty")
    head = json.loads((path / "run.json").read_text())
    head["description"]["incidents"] = [{"text": "learner 0 died: \x1b[2J", "epochs": 1}]
    (path / "run.json").write_text(json.dumps(head))
    return path


@pytest.mark.parametrize(
    "command",
    [
        ["doctor", "RUN"], ["runs", "RUNS", "--columns", "name", "run"], ["timeline", "RUN", "--out", "OUT/t.svg"],
        ["figures", "RUN", "--out", "OUT", "--no-bands", "--figure", "reward"],
        ["film", "RUN", "--out", "OUT/film.gif"],
        ["export", "RUN", "--to", "tensorboard", "--out", "OUT"],
    ],
    ids=lambda words: words[0],
)  # fmt: skip
def test_a_terminal_is_not_steered_and_files_are_whole(command, path, tmp_path, capsys):
    words = {"RUN": str(path), "RUNS": str(path.parent)}
    code = main([words.get(word, word).replace("OUT", str(tmp_path)) for word in command])
    told = "".join(capsys.readouterr())
    assert code in (0, 1, 2) and "Traceback" not in told and told.replace("\n", "").isprintable(), told
    for file in tmp_path.glob("*.svg"):
        xml.parse(file)
    for file in [*tmp_path.glob("*.md"), *tmp_path.glob("*.txt"), *tmp_path.glob("*.tex")]:
        assert file.read_text().replace("\n", "").isprintable()


def test_a_cell_is_no_formula(path, tmp_path):
    for file in wb.load(path).export("csv", tmp_path):
        with open(file, newline="") as text:
            cells = [row["faults"] for row in csv.DictReader(text)]
        assert {cell[:5] for cell in cells} <= {"'=1+1"}


def test_a_figure_takes_no_formula_and_no_control_character(tmp_path):
    with own_settings():
        picture = Picture(figsize=(3, 2))
    picture.alt = "".join([*NASTY, "\ud800"])
    picture.add_subplot().set_title(picture.alt, parse_math=True)  # as one that is made elsewhere
    for suffix in (".svg", ".pdf", ".png"):
        picture.save(tmp_path / f"x{suffix}")
    assert "<script>" not in xml.tostring(xml.parse(tmp_path / "x.svg").getroot()).decode()


def test_a_page_is_not_steered(path):
    run = wb.load(path)
    for shown in (page(run), page(run.diagnose()), repr(run)):
        assert "<script>" not in shown.replace(repr(run), "") and shown.replace("\n", "").isprintable()


def test_commands_print_in_one_place():
    for file in (Path(wb.__file__).parent / "cli").glob("*.py"):
        names = [ast.unparse(node.func) for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
        assert "print" not in names, file
