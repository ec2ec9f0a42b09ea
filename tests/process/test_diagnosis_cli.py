"""``workbench doctor``, the campaign of the fault matrix, and faults on the command line, with real processes."""

import json
import os
import subprocess
import sys

import pytest

from workbench import load

QUICK = ("--preset", "tiny", "--device", "cpu", "--mode", "sequential")
MATRIX = "tests.campaigns.matrix"
DEADLINE_S = 300


def workbench(family, *arguments, module="workbench", **environment):
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)], env=os.environ | family.environment | environment,
        capture_output=True, text=True, timeout=DEADLINE_S,
    )  # fmt: skip
    assert "Traceback" not in done.stderr and family.wait_gone() == {}
    return done


def test_the_doctor_finds_nothing_in_a_sound_run_by_path_or_by_name(family, tmp_path):
    assert workbench(family, "run", *QUICK, "--name", "mine", WORKBENCH_DATA=str(tmp_path)).returncode == 0
    by_path = workbench(family, "doctor", tmp_path / "runs" / "mine")
    by_name = workbench(family, "doctor", "mine", WORKBENCH_DATA=str(tmp_path))
    assert by_path.returncode == by_name.returncode == 0 and by_path.stdout == by_name.stdout
    assert by_path.stdout.startswith("Run mine: sequential, lag 1, finished")
    assert "does not sync from the shared model is FALSE, because" in " ".join(by_path.stdout.split())


def test_the_doctor_finds_the_faults_that_were_switched_on(family, tmp_path):
    faults = ("--fault", "sync_rarely=5", "--fault", "corrupt_rows")
    done = workbench(family, "run", *QUICK, *faults, "--out", tmp_path, "--name", "mine")
    assert done.returncode == 0
    assert list(load(tmp_path / "mine").faults) == ["sync_rarely=5", "corrupt_rows=1"]
    found = workbench(family, "doctor", tmp_path / "mine")
    assert found.returncode == 1
    verdicts = {line.split()[0]: line.split()[1] for line in found.stdout.splitlines() if "must: " in line}
    assert verdicts["sync"] == verdicts["integrity"] == "fail" and verdicts["optimizer"] == "pass"
    assert "does not sync from the shared model is TRUE, because" in " ".join(found.stdout.split())


def test_without_probes_the_doctor_cannot_tell(family, tmp_path):
    assert workbench(family, "run", *QUICK, "--no-probes", "--out", tmp_path, "--name", "mine").returncode == 0
    found = workbench(family, "doctor", tmp_path / "mine")
    assert found.returncode == 2 and "launch it with probes" in " ".join(found.stdout.split())


def test_what_cannot_be_is_refused_before_anything_starts(family, tmp_path):
    unknown = workbench(family, "run", *QUICK, "--fault", "sync_nevr", "--out", tmp_path)
    assert unknown.returncode == 2 and "did you mean sync_never" in unknown.stderr
    senseless = workbench(family, "run", *QUICK, "--fault", "kill_actor", "--out", tmp_path)
    assert senseless.returncode == 2 and "makes no sense here" in senseless.stderr
    arguments = ("--budget", "quick", "--only", "sync_nevr", "--out", tmp_path / "m.json")
    choice = workbench(family, *arguments, module=MATRIX)
    assert choice.returncode == 2 and "did you mean sync_never" in choice.stderr
    nowhere = workbench(family, "doctor", tmp_path / "nowhere")
    assert nowhere.returncode == 2 and "nowhere" in nowhere.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_matrix_fills_its_file_and_continues_it(family, tmp_path):
    out = tmp_path / "reference" / "matrix.json"
    arguments = ("--budget", "quick", "--only", "sync_never", "--only", "unflattened_observation")
    done = workbench(family, *arguments, "--out", out, module=MATRIX)
    assert done.returncode == 0, done.stderr + done.stdout
    data = json.loads(out.read_text())
    lines = {line["name"]: line for line in data["faults"]}
    wanted = {"name", "ids", "expected_probe", "noticed_by", "epochs_to_notice", "effect", "effect_interval", "seeds"}
    assert all(wanted <= set(line) for line in data["faults"])
    assert {"runs", "alarms", "reward_mean", "reward_sd"} <= set(data["sound"])
    assert "sync" in lines["sync_never"]["noticed_by"] and lines["sync_never"]["epochs_to_notice"] <= 3
    assert lines["unflattened_observation"]["outcome"] == "refused"
    assert lines["unflattened_observation"]["epochs_to_notice"] == 0
    assert data["sound"]["runs"] == 1 and data["sound"]["alarms"] == []
    assert data["command"].startswith(f"python -m {MATRIX} --budget quick")
    assert (tmp_path / "figures" / "matrix.png").read_bytes().startswith(b"\x89PNG")
    assert "1 of 3" in done.stderr and "Sound system: 1 runs" in " ".join(done.stdout.split())

    again = workbench(family, *arguments, "--out", out, "--runs", tmp_path / "runs", module=MATRIX)
    assert again.returncode == 0 and again.stderr == "" and again.stdout == done.stdout
