"""Worlds, agents and samplers by name: what the caller names is imported, what a file names is not."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pytest

import workbench as wb
from workbench.core.agents.value_agent import ValueConfig
from workbench.core.config import Config, ConfigError, differences
from workbench.core.envs.base import WorldConfig
from workbench.core.envs.treasurehunt import Treasurehunt, TreasurehuntConfig
from workbench.core.settings import between
from workbench.runs.folder import RecordError, RunFolder


@dataclass(frozen=True)
class Hall(TreasurehuntConfig):
    """A world with one argument more."""

    echo: Annotated[float, between(0, 1)] = 0.5
    names: tuple[str, ...] = ("a", "b")


class Owner(Treasurehunt):
    """A class that has its arguments beside it."""

    config_class = Hall


PATH = f"{__name__}:Hall"


def refused(call) -> str:
    with pytest.raises(ConfigError) as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize("wanted", [Hall, Owner, PATH, {"name": PATH}])
def test_a_class_of_ones_own_is_named_in_many_ways_and_keeps_the_arguments_it_shares(wanted):
    config = Config().replace(**{"world.height": 7}).replace(world=wanted)
    assert config.world == Hall(height=7) and config.replace(**{"world.echo": 1}).world.echo == 1.0
    assert config.to_dict()["world"]["name"] == PATH
    assert config.replace(world=Hall()).world == Hall() and config.replace(world="treasurehunt").world.height == 10


def test_arguments_of_ones_own_class_are_checked_and_named_like_the_others():
    config = Config().replace(world=Hall)
    assert refused(lambda: config.replace(**{"world.echo": 2})) == "world.echo is 2.0; it must be 0 to 1"
    assert "did you mean world.echo" in refused(lambda: config.replace(**{"world.ecko": 1}))
    assert "did you mean world.height" in refused(lambda: Config().replace(**{"world.heigt": 1}))


def test_a_configuration_with_ones_own_class_survives_json_if_the_caller_gives_the_class():
    config = Config().replace(world=Hall, **{"world.names": ("x",)})
    for given in (Hall, Owner, PATH):
        assert Config.from_dict(json.loads(config.to_json()), world=given) == config
    assert eval(repr(config)) == config  # as code that makes the same


@pytest.mark.parametrize(
    ("kind", "wanted", "near"),
    [
        ("world", "treasurehunts", "treasurehunt or treasurehunt_sparse"),
        ("agent", "iqm", "iqn"),
        ("replay.sampler", "uniforn", "uniform"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(kind, wanted, near):
    message = refused(lambda: Config().replace(**{kind: wanted}))
    assert message.startswith(f"{kind} is {wanted!r}; did you mean {near}?")
    assert near in refused(
        lambda: Config.from_dict({"agent": {"name": "iqm"}}) if kind == "agent" else Config().replace(**{kind: wanted})
    )


@pytest.mark.parametrize(
    "wanted", ["nowhere:World", "os.path:join", "collections:OrderedDict", ":", "a:", 3, None, dict]
)
def test_what_is_no_class_of_arguments_is_refused(wanted):
    assert refused(lambda: Config().replace(world=wanted)).startswith("world is ")


@dataclass(frozen=True)
class Nowhere(WorldConfig):
    """It says nothing of itself."""


@dataclass(frozen=True)
class Unmade(Hall):
    """It cannot be made."""

    make = WorldConfig.make


@dataclass(frozen=True)
class Thoughtless(ValueConfig):
    """It has no network."""


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"world": Nowhere}, f"world is '{__name__}:Nowhere', a class without a method spec of its own; give it one"),
        ({"world": Unmade}, f"world is '{__name__}:Unmade', a class without a method make of its own"),
        ({"agent": Thoughtless}, f"agent is '{__name__}:Thoughtless', a class without a method network of its own"),
        ({"agent": "watched"}, "agent is 'watched', a class without a method layout of its own"),
    ],
)
def test_a_class_that_lacks_what_all_of_its_kind_need_is_refused_by_name(changes, says, tmp_path):
    def launched():
        config = wb.preset("tiny").replace(device="cpu").replace(**changes)
        wb.launch(config, "sequential", 0, out=tmp_path)
        config.world.make(np.random.default_rng(0))

    assert says in refused(launched)


def test_settings_of_different_classes_differ_by_name():
    found = differences(Config(), Config().replace(world=Hall))
    assert found == {"world.name": ("treasurehunt", PATH), "world.echo": (None, 0.5), "world.names": (None, ("a", "b"))}


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """The folder of a run whose description names a module that lies where Python would find it, beside the folder."""
    told = Config().to_dict() | {"world": {"name": "trap_of_a_colleague:World"}}
    folder = RunFolder.create(
        "foreign", {"config": told, "mode": "sequential", "lag": 0, "status": "stopped", "error": None}, tmp_path
    )
    (tmp_path / "trap_of_a_colleague.py").write_text("raise SystemExit('this code must never run')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    return folder.path


@pytest.mark.parametrize(
    "read", [wb.load, wb.resume, lambda path: wb.load(path, world=Hall), lambda path: wb.doctor(path, world=Hall)]
)
def test_no_class_is_imported_because_a_run_folder_names_it(foreign, read):
    with pytest.raises(RecordError, match="trap_of_a_colleague:World"):
        read(foreign)
    assert "trap_of_a_colleague" not in sys.modules


def test_the_terminal_asks_for_the_class_too(foreign, capsys):
    from workbench.cli.main import main

    for command in (["doctor"], ["resume"], ["film", "--out", "film.gif"], ["timeline"]):
        assert main([*command, str(foreign)]) == 2
        assert "--world trap_of_a_colleague:World" in capsys.readouterr().err
    assert "trap_of_a_colleague" not in sys.modules


@pytest.mark.parametrize("setting", ["world", "agent", "replay.sampler"])
def test_a_module_that_is_named_relative_to_nothing_is_refused_by_name(setting):
    told = refused(lambda: wb.preset("tiny").replace(**{setting: ".corridor:Corridor"}))
    assert f"{setting} is '.corridor:Corridor', which cannot be imported" in told and "put its module where" in told
