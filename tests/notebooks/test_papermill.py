"""Papermill runs a notebook as it is, where it is installed; nbclient and nbval, used by other tests, do as well."""

import os
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of its own
def test_papermill_runs_a_notebook_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    papermill = pytest.importorskip("papermill")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("WORKBENCH_DATA", str(tmp_path / "data"))
    book = ROOT / "notebooks" / "00_quickstart.ipynb"
    papermill.execute_notebook(book, tmp_path / "out.ipynb", cwd=book.parent, kernel_name="python3", progress_bar=False)
    cells = nbformat.read(tmp_path / "out.ipynb", as_version=4).cells
    shown = [output.get("data", {}) for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in each for each in shown), "the panel has left its picture"
