"""JupyterLab on a free loopback port, with folders of its own, and a page in Chromium on one of its notebooks."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest
from playwright.sync_api import Page, sync_playwright

DEADLINE_S = 90.0
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SWITCHES = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)  # fmt: skip


def wait_until(holds: Callable[[], Any], what: str, seconds: float = DEADLINE_S) -> Any:
    """Look again and again until something holds; return what it gave."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, f"still not so after {seconds:g} s: {what}"
        time.sleep(0.1)
    return found


@dataclass(frozen=True)
class Lab:
    """A running server."""

    url: str
    token: str

    def get(self, path: str) -> Any:
        """Answer of the server's REST interface."""
        with urllib.request.urlopen(f"{self.url}{path}?token={self.token}", timeout=30) as answer:
            return json.load(answer)

    def end(self, kernel: str) -> None:
        """Shut a kernel down."""
        asked = urllib.request.Request(f"{self.url}api/kernels/{kernel}?token={self.token}", method="DELETE")
        urllib.request.urlopen(asked, timeout=30).close()

    def answers(self) -> bool:
        """Whether it listens: it writes down its address a moment before."""
        with contextlib.suppress(urllib.error.URLError):
            return bool(self.get("api/status"))
        return False

    def connected(self) -> bool:
        """Whether there is a kernel that a page is connected to and that has nothing to do."""
        kernels = [session["kernel"] for session in self.get("api/sessions")]
        return any(kernel["connections"] > 0 and kernel["execution_state"] == "idle" for kernel in kernels)


def write_notebook(path: Path, cells: Iterable[str]) -> Path:
    """Write a notebook of some code cells, in a new folder; returns its path."""
    path.parent.mkdir()
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    code = [nbformat.v4.new_code_cell(source) for source in cells]
    nbformat.write(nbformat.v4.new_notebook(cells=code, metadata=metadata), path)
    return path


@contextlib.contextmanager
def lab(notebooks: Path, home: Path, environment: dict[str, str]) -> Iterator[Lab]:
    """JupyterLab on a folder of notebooks; its settings, kernels and logs stay in ``home``."""
    folders = {
        name: str(home / name.lower())
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR",
                     "JUPYTERLAB_WORKSPACES_DIR", "JUPYTERLAB_SETTINGS_DIR")
    }  # fmt: skip
    runtime, config = Path(folders["JUPYTER_RUNTIME_DIR"]), Path(folders["JUPYTER_CONFIG_DIR"])
    quiet = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    (config / "labconfig").mkdir(parents=True)
    (config / "labconfig" / "page_config.json").write_text(json.dumps(quiet))
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
               "--ServerApp.port=0", f"--ServerApp.root_dir={notebooks}"]  # fmt: skip
    with (home / "server.log").open("w") as log:
        server = subprocess.Popen(
            command, env=os.environ | environment | folders | {"JUPYTER_PREFER_ENV_PATH": "1"},
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            card = wait_until(lambda: next(runtime.glob("jpserver-*.json"), None), "the server is up")
            told = wait_until(lambda: _read(card), "the server has said where it is")
            here = Lab(told["url"], told["token"])
            wait_until(here.answers, "the server answers")
            yield here
        finally:
            server.terminate()
            server.wait(DEADLINE_S)


@contextlib.contextmanager
def page_on(lab: Lab, notebook: str, profile: Path) -> Iterator[Page]:
    """A page of Chromium on a notebook, which reaches nothing but this machine."""
    if CHROMIUM is None:
        words = "Chromium is not installed; on Debian: apt-get install chromium"
        pytest.fail(words) if os.environ.get("CI") == "true" else pytest.skip(words)
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile, executable_path=CHROMIUM, headless=True, args=SWITCHES, viewport={"width": 1280, "height": 1000}
        )
        try:
            context.set_default_timeout(1000 * DEADLINE_S)
            page = context.pages[0]
            page.on("dialog", lambda dialog: dialog.accept())  # "leave without saving?"
            page.goto(f"{lab.url}lab/tree/{notebook}?reset&token={lab.token}")
            yield page
        finally:
            context.close()


def run_all(lab: Lab, page: Page) -> None:
    """Run All Cells. A click that comes before the page's socket is open is lost without a word, so it is repeated."""
    page.locator(".jp-Notebook .jp-Cell").first.wait_for()
    wait_until(lab.connected, "the page is connected to an idle kernel")
    began = page.locator(".jp-InputPrompt").filter(has_text="[1]:")
    for seconds in (8, 8, 16, 32, 64):  # a busy machine takes long to import what the first cell does
        page.locator(".lm-MenuBar-itemLabel:text-is('Run')").click()
        page.locator(".lm-Menu-itemLabel:text-is('Run All Cells')").click()
        with contextlib.suppress(Exception):
            began.first.wait_for(timeout=1000 * seconds)
            return
    pytest.fail("Run All Cells was clicked five times, and no cell ran")


def _read(path: Path) -> Any:
    with contextlib.suppress(ValueError):  # not written whole yet
        return json.loads(path.read_text())
