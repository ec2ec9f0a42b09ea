"""A short campaign of kills; ``python -m tests.campaigns.kills`` makes the long one."""

import json
from dataclasses import asdict

import pytest

from tests.campaigns.kills import HARM, Disturbed, Kill, KillsFile, disturbed, is_sound, kills_config, main, table
from workbench.runs.folder import RecordError


@pytest.mark.slow
def test_no_kill_does_any_harm(tmp_path, capsys):
    code = main(["--kills", "8", "--seed", "1", "--out", str(tmp_path / "kills.json")])
    data = json.loads((tmp_path / "kills.json").read_text())
    assert code == 0, data["failures"]
    assert data["kills"] >= 8 and data["failures"] == []
    for by in ("by_mode", "by_role", "by_how"):
        assert sum(line["kills"] for line in data[by].values()) == data["kills"]
    assert set(data["by_role"]) <= {"actor", "learner", "sequential", "parent", "server"}
    assert data["seen_after_ms"]["deaths"] > 0
    assert "digest_mismatches: 0" in capsys.readouterr().out


def test_a_harm_is_counted_for_every_role_that_died_in_the_run():
    runs = [
        Disturbed(0, "multiprocess", 1,
                  [Kill("actor", "SIGKILL"), Kill("learner", "at a line", "core/shared/replay.py")],
                  [0.01, 0.04], {"digest_mismatches": ["other digests"]}),
        Disturbed(1, "multiprocess", None, [Kill("learner", "SIGTERM")], [0.02]),
        Disturbed(2, "sequential", 0, [], [], {"hangs": ["did not end"]}),
    ]  # fmt: skip
    data = table(runs)
    assert (data["kills"], data["hangs"], data["digest_mismatches"]) == (3, 1, 1)
    assert data["by_role"]["actor"]["digest_mismatches"] == data["by_role"]["learner"]["digest_mismatches"] == 1
    assert data["by_role"]["learner"]["kills"] == 2
    assert data["by_mode"]["multiprocess, free-running"] == {"kills": 1, **dict.fromkeys(HARM, 0)}
    in_replay = data["by_where"]["core/shared/replay.py"]
    assert in_replay == {"kills": 1, **dict.fromkeys(HARM, 0), "digest_mismatches": 1}
    assert data["failures"] == ["run 0, multiprocess, lag 1: other digests", "run 2, sequential, lag 0: did not end"]
    assert not is_sound(data)
    assert data["seen_after_ms"] == {"deaths": 3, "median": 20.0, "max": 40.0}


def test_the_file_is_continued_where_the_campaign_was_interrupted(tmp_path):
    path, runs = tmp_path / "kills.json", [Disturbed(0, "sequential", 0, [Kill("sequential", "SIGKILL")], [0.01])]
    KillsFile(path, kills_config(), "a command", seed=1).keep(asdict(runs[0]))
    again = KillsFile(path, kills_config(), "a command", seed=1)
    assert again.kills == 1 and [disturbed(run) for run in again.runs] == runs
    with pytest.raises(RecordError, match="another seed"):
        KillsFile(path, kills_config(), "a command", seed=2)
