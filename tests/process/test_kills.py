"""A short campaign of kills; ``workbench kills`` makes the long one."""

import json

import pytest

from workbench.cli import main


@pytest.mark.slow
def test_no_kill_does_any_harm(tmp_path, capsys):
    code = main(["kills", "--kills", "20", "--seed", "1", "--out", str(tmp_path / "kills.json")])
    data = json.loads((tmp_path / "kills.json").read_text())
    assert code == 0, data["failures"]
    assert data["kills"] >= 20 and data["failures"] == []
    assert sum(data["by_how"].values()) == sum(data["by_role"].values()) == data["kills"]
    assert "digest_mismatches: 0" in capsys.readouterr().out
