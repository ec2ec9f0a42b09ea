"""Two minutes of a soak; ``workbench soak`` makes the hour. Its verdict on growth is checked with made-up series."""

import json
from unittest.mock import patch

import numpy as np
import pytest

from workbench.config import preset
from workbench.diagnose.soak import PARENT, run_soak, table, trend

MINUTES = 2.0
CONFIG = preset("quick").replace(
    **{"device": "cpu", "epochs": 10_000_000, "checkpoint.interval": 50, "processes.max_restarts": 1000}
)


@pytest.mark.slow
def test_nothing_grows_under_kills_and_no_record_is_missing(tmp_path):
    said = []
    with patch("workbench.record.history.IN_MEMORY", 2**15):  # reached within seconds, not within minutes
        data = run_soak(tmp_path / "soak.json", MINUTES, 20.0, 3, "test", said.append, CONFIG)
    assert data == json.loads((tmp_path / "soak.json").read_text())
    assert all(line["flat"] or line["grown"] < 0.03 * line["level"] for line in data["growth"]), table(data)
    assert data["history"] == "complete" and not any(data["lost_records"].values())
    assert data["kills"] == data["deaths_seen"] == len(said) == 5
    assert {"actor", "learner 0", PARENT} <= set(data["processes"])
    assert any(len(set(series["pid"])) > 1 for series in data["processes"].values())
    assert data["epochs"] > 0 and data["updates"] > 0 and data["left_in_dev_shm"] == []


@pytest.mark.parametrize(
    ("growth", "noise", "flat"), [(0, 3, True), (20, 3, False), (0.5, 0, True), (2, 0, False), (-20, 1, True)]
)
def test_growth_is_told_from_what_wavers(growth, noise, flat):
    """Over an hour; single samples that lie far off, such as of a process that is just starting, do not count."""
    rng, at = np.random.default_rng(0), np.linspace(600, 3600, 500)
    value = 250 + growth * at / 3600 + noise * rng.standard_normal(500)
    value[rng.integers(500, size=5)] -= 100
    found = trend(at, value, 3600, least=1.0)
    assert found["flat"] == flat
    assert abs(found["per_hour"] - growth) < 1 and abs(found["noise"] - noise) < 0.5


def test_too_few_samples_are_no_proof():
    assert not trend(np.arange(5.0), np.ones(5), 5, 1.0)["flat"]
