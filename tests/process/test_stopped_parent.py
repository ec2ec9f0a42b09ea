"""A run whose own process alone is stopped for a while: its children go on, and what it cannot take is lost."""

import contextlib
import os
import re
import signal
import subprocess
import sys

import pytest

import workbench as wb
from workbench.cli import main

DEADLINE_S = 120
RUN = """
import os, sys
os.environ["RUN"] = str(os.getpid())
from workbench.cli import main
sys.exit(main(sys.argv[1:]))
"""
SETTINGS = (
    "--preset", "tiny", "--device", "cpu", "--lag", "0", "--world", "tests.process.stopping:StoppingConfig",
    "--world.height", "7", "--world.width", "7", "--world.num_agents", "2", "--world.max_turns", "3",
    "--replay.learning_starts", "20", "--pacing.updates_per_epoch", "1",
    "--evaluation.interval", "1", "--evaluation.worlds", "1",
)  # fmt: skip


@pytest.mark.parametrize(("end", "epochs", "code"), [("finished", 560, 0), ("interrupted", 100_000, 130)])
def test_what_was_lost_meanwhile_is_told_at_the_end_and_by_the_doctor(end, epochs, code, family, tmp_path, capsys):
    words = ["run", *SETTINGS, "--epochs", str(epochs), "--out", str(tmp_path), "--name", "mine"]
    run = subprocess.Popen(
        [sys.executable, "-c", RUN, *words], env=os.environ | family.environment | {"END": end},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        _, told = run.communicate(timeout=DEADLINE_S)
    finally:
        for number in family.running():
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
    assert run.returncode == code and "Traceback" not in told, told
    (lost,) = re.findall(r"([\d,]+) records lost \(evaluations\)", told)
    loaded = wb.load(tmp_path / "mine", world="tests.process.stopping:StoppingConfig")
    assert loaded.history.lost["evaluations"] == int(lost.replace(",", "")) > 0
    assert len(loaded.history.epochs) == 2 * (loaded.history.epochs["epoch"].max() + 1)
    main(["doctor", str(tmp_path / "mine"), "--world", "tests.process.stopping:StoppingConfig"])
    assert f"{lost} records lost (evaluations)" in capsys.readouterr().out
