"""The committed campaign of kills: in number, of every manner and at every place, and without harm."""

import json
from pathlib import Path

from tests.campaigns.kills import CHECKPOINT, HARM, PLACES, SETTINGS, is_sound
from tests.campaigns.signals import SIGNALS
from workbench.runs.machine import PACKAGE

DATA = json.loads((Path(__file__).parents[2] / "data/reference/kills.json").read_text())


def test_there_are_300_kills_and_no_harm_came_of_them():
    assert DATA["kills"] >= 300 and is_sound(DATA) and not DATA["failures"]
    for by in ("by_mode", "by_role", "by_how", "by_where"):
        assert not any(line[harm] for line in DATA[by].values() for harm in HARM)


def test_every_death_is_seen_within_a_second():
    assert DATA["seen_after_ms"]["deaths"] >= 100 and DATA["seen_after_ms"]["max"] < 1000


def test_every_role_every_setting_every_manner_and_every_place_is_among_them():
    assert len(DATA["by_mode"]) == len(SETTINGS)
    assert set(DATA["by_role"]) == {"actor", "learner", "sequential", "parent", "server"}
    assert set(DATA["by_how"]) == {*SIGNALS, "at a line", "in a checkpoint"}
    assert len(DATA["by_where"]) == len(PLACES) + 2  # the lines of a checkpoint, and any from outside


def test_the_places_are_files_of_the_package():
    assert all((PACKAGE / place).is_file() for place in (*PLACES, CHECKPOINT))
