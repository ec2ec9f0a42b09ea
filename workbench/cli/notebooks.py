"""``workbench lab`` and ``workbench notebooks``: the notebooks in JupyterLab, and executed to be saved.

Kernels run on the Python that runs this command, import this package, and keep results in the same data folder.
"""

import itertools
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import tyro

from workbench.cli.options import command
from workbench.cli.sentences import said
from workbench.runs import machine
from workbench.runs.files import write_whole
from workbench.runs.folder import RecordError, data_folder
from workbench.runs.table import tell

# The clone of the repository that this package lies in.
ROOT = machine.PACKAGE.parent
NOTEBOOKS = ROOT / "notebooks"
# How a notebook is executed: on the Python of this environment, for as long as it takes.
EXECUTION = ("kernel_name=python3", "timeout=None", "record_timing=False", "store_widget_state=False")
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
# Where a warning points to in a notebook: the kernel's name for a cell, another one at every execution.
CELL_LINE = re.compile(r"^\S*ipykernel_\d+/\d+\.py:\d+: ", re.MULTILINE)


class NotebookFailed(Exception):
    """A cell raised or the kernel died. The message names the notebook and shows the cell."""


def lab(arguments: list[str]) -> NoReturn:
    """Open JupyterLab on the notebooks, for this machine only; further arguments go to JupyterLab.

    Raises:
        RecordError: there are no notebooks, an argument would open the server to others, or this is root, whose word
            JupyterLab wants; nothing starts then.
    """
    RecordError.unless(NOTEBOOKS.is_dir(), said("notebooks.none", folder=NOTEBOOKS))
    require_private(arguments)
    RecordError.unless(os.geteuid() != 0 or "--allow-root" in arguments, said("notebooks.root"))
    named = any(re.match(r"--(ServerApp\.)?ip(=|$)", each) for each in arguments)  # JupyterLab refuses two addresses
    server = ["-m", "jupyterlab", f"--ServerApp.root_dir={NOTEBOOKS}", *arguments]
    server += [] if named else ["--ServerApp.ip=127.0.0.1"]
    os.execve(sys.executable, [sys.executable, *server], kernel_environment())


LOOPBACK = ("127.0.0.1", "localhost", "::1")
_OPENS = re.compile(
    r"--(?:\w+\.)?(ip|token|password|hashed_password|password_required|allow_remote_access|disable_check_xsrf"
    r"|allow_unauthenticated_access|allow_origin|allow_origin_pat)(?:=(.*))?"
)


def require_private(arguments: Sequence[str]) -> None:
    """Refuse arguments that would let others in: anyone who reaches the server runs code as this user.

    There is no switch that forces it. ``--ip`` may name this machine; to work from elsewhere, forward a port
    (``ssh -L``), or start ``jupyter lab`` yourself.

    Raises:
        RecordError: an address that others reach, a token or password given here, or a check switched off.
    """
    for argument, following in itertools.zip_longest(arguments, arguments[1:], fillvalue=""):
        if match := _OPENS.fullmatch(argument):
            name, value = match.groups(default=following)
            RecordError.unless(name == "ip" and value in LOOPBACK, said("notebooks.private", argument=argument))


@command
def notebooks(paths: tyro.conf.Positional[tuple[Path, ...]] = ()) -> None:
    """Execute notebooks from top to bottom and save them with their outputs. One that fails is left as it was.

    WORKBENCH_BUDGET=quick in the environment makes the notebooks use small runs.

    Args:
        paths: Notebooks to execute. Default: all in notebooks/, in order.
    """
    paths = paths or tuple(sorted(NOTEBOOKS.glob("*.ipynb")))
    RecordError.unless(bool(paths), said("notebooks.none", folder=NOTEBOOKS))
    for path in paths:
        tell(f"executing {path.name}", sys.stderr)
        began = time.monotonic()
        execute_notebook(path)
        tell(f"{path.name}: executed and saved in {time.monotonic() - began:.0f} s")


def execute_notebook(path: Path) -> None:
    """Execute one notebook in its own folder and save it, whole or not at all.

    Raises:
        RecordError: the file is not there or is no notebook.
        NotebookFailed: a cell raised, or the kernel died.
    """
    import nbformat

    try:
        nbformat.read(path, as_version=4)
    except (OSError, ValueError, AttributeError, KeyError) as error:  # all of these come of JSON that is no notebook
        raise RecordError(f"cannot read notebook {path}: {error}") from None
    command = [sys.executable, "-m", "nbconvert", "--to=notebook", "--execute", "--stdout", str(path)]
    command += [f"--ExecutePreprocessor.{each}" for each in EXECUTION]
    done = subprocess.run(command, env=kernel_environment(), capture_output=True, text=True)
    if done.returncode:
        text = re.sub(r"\x1b\[[0-9;]*m", "", done.stderr).rpartition("CellExecutionError: ")[2].strip()
        raise NotebookFailed(f"{path}: {text}\nthe file was left as it was")
    notebook = nbformat.reads(done.stdout, as_version=4)
    write_whole(path, nbformat.writes(without_volatile_parts(notebook)) + "\n")


def without_volatile_parts(notebook: Any) -> Any:
    """The notebook without what changes at every execution and says nothing: versions, times, widgets, names of cells.

    A widget lives only with its kernel; where its output has no other form than text, nothing of it is kept.
    """
    notebook.metadata.pop("widgets", None)
    notebook.metadata.get("language_info", {}).pop("version", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [it for it in cell.outputs if set(it.get("data", {})) - {"text/plain"} != {WIDGET_VIEW}]
            for output in cell.outputs:
                output.get("data", {}).pop(WIDGET_VIEW, None)
                if output.output_type == "stream":
                    output.text = CELL_LINE.sub("", output.text)
    return notebook


def kernel_environment() -> dict[str, str]:
    """Environment for kernels: this package can be imported, and the data folder is the one of this command."""
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "WORKBENCH_DATA": str(data_folder().absolute()),
        "JUPYTER_PREFER_ENV_PATH": "1",  # the kernel of this environment, not one of the same name in the home folder
    }
