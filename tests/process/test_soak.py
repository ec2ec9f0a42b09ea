"""One minute of the soak, whose campaign takes an hour. Its verdict on growth is checked with made-up series."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.campaigns.soak import CHILDREN, FIELDS, PARENT, growth, is_sound, run_soak, table, trend
from workbench.runs.presets import preset

MINUTES = 1.0
CONFIG = preset("tiny").replace(
    **{"device": "cpu", "epochs": 10_000_000, "checkpoint.interval": 50, "processes.max_restarts": 1000}
)


@pytest.mark.slow
def test_nothing_grows_under_kills_and_no_record_is_missing(tmp_path):
    said = []
    data = run_soak(tmp_path / "soak.json", MINUTES, 10.0, 3, "test", said.append, CONFIG)
    assert data == json.loads((tmp_path / "soak.json").read_text())
    lines = [line for line in data["growth"] if line["process"] != CHILDREN]  # for which there are too few lives
    assert all(line["flat"] or line["grown"] < 0.03 * line["level"] for line in lines), table(data)
    assert data["history"] == "complete" and not any(data["lost_records"].values())
    assert data["kills"] == data["deaths_seen"] == len(said) == 5
    assert {"actor", "learner 0", PARENT} <= set(data["processes"])
    assert any(len(set(series["pid"])) > 1 for series in data["processes"].values())
    assert data["epochs"] > 0 and data["updates"] > 0 and data["left_in_dev_shm"] == []
    blocks = data["processes"][PARENT]["blocks_mib"]
    assert min(blocks) == max(blocks) > 1  # all are made at the launch


def test_the_committed_verdict_is_that_of_the_committed_samples():
    data = json.loads((Path(__file__).parents[2] / "data/reference/soak.json").read_text())
    assert data["minutes"] == 60 and data["growth"] == growth(data["processes"], 3600)
    assert data["held"] and is_sound(data)


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data["dev_shm"]["names"].__setitem__(-1, 1e4),
        lambda data: data["processes"][PARENT]["blocks_mib"].__setitem__(-1, 1e4),
        lambda data: data["growth"][0].update(flat=False),
        lambda data: data.update(history=["agent 0: 3 epochs recorded"]),
        lambda data: data["lost_records"].update(spans=1),
        lambda data: data["left_in_dev_shm"].append("/dev/shm/x"),
    ],
)
def test_a_soak_that_leaves_grows_or_loses_anything_is_not_sound(change):
    data = json.loads((Path(__file__).parents[2] / "data/reference/soak.json").read_text())
    assert is_sound(data)
    change(data)
    assert not is_sound(data)


@pytest.mark.parametrize(
    ("grown", "noise", "flat"), [(0, 3, True), (20, 3, False), (0.5, 0, True), (2, 0, False), (-20, 1, True)]
)
def test_growth_is_told_from_what_wavers(grown, noise, flat):
    """Over an hour; single samples that lie far off, such as of a process that is just starting, do not count."""
    rng, at = np.random.default_rng(0), np.linspace(600, 3600, 500)
    value = 250 + grown * at / 3600 + noise * rng.standard_normal(500)
    value[rng.integers(500, size=5)] -= 100
    found = trend(at, value, np.zeros(500), 3600, least=1.0)
    assert found["flat"] == flat
    assert abs(found["per_hour"] - grown) < 1 and abs(found["noise"] - noise) < 0.5


def samples(per_life, per_hour):
    """A child of ten lives of six minutes: each begins at a level of its own, which grows from life to life."""
    t = np.arange(0.0, 3600, 5)
    life, rng = t // 360, np.random.default_rng(1)
    levels = 220 + 3 * rng.standard_normal(10) + per_hour * np.arange(10) / 10
    memory = levels[life.astype(int)] + per_life * (t % 360) / 360 + 0.1 * rng.standard_normal(len(t))
    constant = np.full(len(t), 60.0)
    columns = (t, 1000 + life, t % 360, memory, constant, constant, constant, constant)
    return dict(zip(FIELDS, columns, strict=True))


@pytest.mark.parametrize(("per_life", "per_hour", "growing"), [(0, 0, []), (1, 0, ["learner 0"]), (0, 60, [CHILDREN])])
def test_growth_is_told_from_the_levels_of_successive_processes(per_life, per_hour, growing):
    """A leak that every death undoes is seen within the lives; a state that grows with the run, from life to life."""
    lines = growth(
        {PARENT: samples(0, 0), "actor": samples(0, per_hour), "learner 0": samples(per_life, per_hour)}, 3600
    )
    assert [line["process"] for line in lines if not line["flat"]] == growing


def test_too_few_samples_are_no_proof():
    assert not trend(np.arange(5.0), np.ones(5), np.zeros(5), 5, 1.0)["flat"]
