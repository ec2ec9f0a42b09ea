"""Committed notebooks: executed from top to bottom, readable without a kernel, and checked where they claim to be.

nbval runs the notebooks. It compares nothing in a cell that was never executed, and says so nowhere: this file does.
"""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MAX_LINES = 25
CHECKED = "# NBVAL_CHECK_OUTPUT"
WIDGETS = ("application/vnd.jupyter.widget-state+json", "application/vnd.jupyter.widget-view+json")
PATHS = re.compile(r"(?<![\w.:/])/(?:home|root|Users|tmp|var|opt|mnt|work|workspace)/|[A-Za-z]:\\\\|~/")


def faults(notebook: Any) -> Iterator[str]:
    """What is wrong with a notebook, in words."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        yield "the kernel is not called python3"
    if "widgets" in notebook.metadata:
        yield "the state of widgets was saved"
    parameters = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    if len(parameters) != 1 or "WORKBENCH_BUDGET" not in parameters[0].source:
        yield "no single cell is tagged parameters and reads WORKBENCH_BUDGET"
    if not any(CHECKED in cell.source for cell in code):
        yield "no cell is checked"
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        yield "the cells were not executed once each, from top to bottom"
    if not any("image/png" in output.get("data", {}) for cell in code[-2:] for output in cell.outputs):
        yield "there is no picture at the end"
    for number, cell in enumerate(notebook.cells):
        yield from (f"cell {number}: {fault}" for fault in faults_of_cell(cell))


def faults_of_cell(cell: Any) -> Iterator[str]:
    """What is wrong with one cell."""
    if cell.source.count("\n") >= MAX_LINES:
        yield f"more than {MAX_LINES} lines"
    if PATHS.search(cell.source):
        yield "a path of one machine"
    if cell.cell_type != "code":
        return
    if CHECKED in cell.source and not (cell.execution_count and cell.outputs):
        yield "should be checked, but has nothing to compare with"
    for output in cell.outputs:
        if output.output_type == "error":
            yield f"failed: {output.ename}"
        if any(kind in output.get("data", {}) for kind in WIDGETS):
            yield "holds a widget, which lives no longer than its kernel"
        words = {kind: data for kind, data in output.get("data", {}).items() if not kind.startswith("image/")}
        if PATHS.search(json.dumps([words, output.get("text", ""), output.get("traceback", [])])):
            yield "shows a path of one machine"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_committed_notebooks_are_executed_whole_and_readable(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert list(faults(notebook)) == []


@pytest.mark.parametrize("place", range(len(NOTEBOOKS)), ids=[path.stem for path in NOTEBOOKS])
def test_a_notebook_begins_with_how_long_it_takes_and_what_comes_next(place: int) -> None:
    first = nbformat.read(NOTEBOOKS[place], as_version=4).cells[0].source
    assert re.search(r"^\*Takes about \w+ minutes? on two cores\.", first, re.M)
    assert re.findall(r"\]\((\d\d_\w+\.ipynb)\)", first) == [
        NOTEBOOKS[other].name for other in (place - 1, place + 1) if 0 <= other < len(NOTEBOOKS)
    ]


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


def good_notebook() -> Any:
    """A small notebook without a fault."""
    new = nbformat.v4
    picture = new.new_output("display_data", data={"image/png": "aGk=", "text/plain": "<Picture>"})
    cells = [
        new.new_code_cell(
            'budget = os.environ["WORKBENCH_BUDGET"]', execution_count=1, metadata={"tags": ["parameters"]}
        ),
        new.new_markdown_cell("Prose; data/runs/NAME is no path of a machine."),
        new.new_code_cell(f"{CHECKED}\nprint(1)", execution_count=2, outputs=[new.new_output("stream", text="1\n")]),
        new.new_code_cell("figure", execution_count=3, outputs=[picture]),
    ]
    return new.new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})


SPOILS: dict[str, Any] = {
    "not called python3": lambda book: book.metadata.kernelspec.update(name="my-env"),
    "state of widgets": lambda book: book.metadata.update(widgets={}),
    "is tagged parameters": lambda book: book.cells[0].metadata.pop("tags"),
    "no cell is checked": lambda book: book.cells[2].update(source="print(1)"),
    "from top to bottom": lambda book: book.cells[3].update(execution_count=7),
    "no picture": lambda book: book.cells[3].update(outputs=[]),
    "nothing to compare with": lambda book: book.cells[2].update(execution_count=None),
    "more than 25 lines": lambda book: book.cells[2].update(source="\n" * 25 + CHECKED),
    "failed: ValueError": lambda book: book.cells[3].outputs.append(
        nbformat.v4.new_output("error", ename="ValueError", evalue="", traceback=[])
    ),
    "holds a widget": lambda book: book.cells[3].outputs[0].data.update({WIDGETS[1]: {}}),
    "shows a path": lambda book: book.cells[2].outputs[0].update(text="saved in /home/somebody/data\n"),
    "cell 1: a path": lambda book: book.cells[1].update(source="Look into /tmp/runs."),
}


def test_a_good_notebook_has_no_fault() -> None:
    assert list(faults(good_notebook())) == []


@pytest.mark.parametrize("fault", SPOILS)
def test_every_fault_is_found(fault: str) -> None:
    notebook = copy.deepcopy(good_notebook())
    SPOILS[fault](notebook)
    assert any(fault in found for found in faults(notebook))
