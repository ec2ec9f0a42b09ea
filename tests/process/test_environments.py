"""Environments of Gymnasium and PettingZoo in child processes: the same bits in both modes, and after a kill."""

import functools
import os
import signal

import numpy as np
import pytest

pytest.importorskip("gymnasium")
pytest.importorskip("pettingzoo")

import workbench as wb
from tests.process.test_survival import reached, wait_until
from workbench.runs.folder import RecordWarning

OWN = "tests.unit.own_environments"
SMALL = {
    "epochs": 14, "device": "cpu", "world.max_turns": 20, "replay.learning_starts": 40, "checkpoint.interval": 3,
    "evaluation.interval": 7, "evaluation.worlds": 2, "evaluation.final_worlds": 100,
}  # fmt: skip
WORLDS = {"cartpole": "gymnasium:CartPole-v1", "leaving": f"pettingzoo:{OWN}"}
DEADLINE_S = 120


def of(world, **changes):
    return wb.preset("tiny").replace(world=world, **SMALL | changes)


def ended_episodes(run):
    """What is recorded of episodes but when and by whom."""
    of_table = {name: run.history.table(name) for name in ("episodes", "greedy_episodes")}
    return {
        name: {column: np.sort(records[["agent", "number"]]) if column == "number" else np.sort(records[column])
               for column in ("number", "episode_return", "length")}
        for name, records in of_table.items()
    }  # fmt: skip


@functools.cache
def undisturbed(world, lag, folder):
    run = wb.launch(of(WORLDS[world]), "sequential", lag, out=folder)
    return run.wait(DEADLINE_S).digest, ended_episodes(run)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


def same(one, other):
    for table, columns in one.items():
        for name, values in columns.items():
            np.testing.assert_array_equal(values, other[table][name], f"{table} {name}")


@pytest.mark.parametrize(("world", "lag"), [("cartpole", 0), ("cartpole", 1), ("leaving", 1)])
def test_both_modes_give_the_same_bits_and_episodes(world, lag, folder):
    run = wb.launch(of(WORLDS[world]), "multiprocess", lag, out=folder)
    digest, episodes = undisturbed(world, lag, folder)
    assert run.wait(DEADLINE_S).digest == digest
    same(ended_episodes(run), episodes)
    assert len(run.history["episode/return"]) > 10 and (run.history["episode/length"] > 0).all()
    assert run.references["random"]["epochs"] == run.config.spec.max_copies == 16
    assert set(run.history.evaluations["worlds"]) == {2, 16}  # of a hundred that were asked for
    if world == "cartpole":
        np.testing.assert_array_equal(run.history["episode/return"], run.history["episode/length"])
    assert wb.load(run.folder.path).config == run.config


def test_a_run_that_lost_its_actor_was_stopped_and_resumed_ends_with_the_same_bits_and_episodes(folder):
    run = wb.launch(of(WORLDS["leaving"]), "multiprocess", 1, out=folder)
    wait_until(lambda: reached(run, 4))
    os.kill(next(each.pid for each in run.processes if each.name == "actor"), signal.SIGKILL)
    wait_until(lambda: reached(run, 8))
    run.stop(now=True)
    again = wb.resume(run.folder.path)
    digest, episodes = undisturbed("leaving", 1, folder)
    assert again.wait(DEADLINE_S).digest == digest and len(again.incidents) == 1
    same(ended_episodes(again), episodes)


def test_every_environment_is_closed_when_a_run_is_over(folder, tmp_path):
    log = tmp_path / "log"
    of_run = {"epochs": 4, "evaluation.interval": 2, "world.env_args": {"log": str(log)}}
    wb.launch(of(f"gymnasium:{OWN}:Simulator", **of_run), "multiprocess", 0, out=folder).wait(DEADLINE_S)
    lines = log.read_text().split()
    assert lines.count("started") == lines.count("ended") > 20  # evaluations play sixteen copies


def test_an_environment_that_its_seed_does_not_decide_runs_and_is_not_compared(folder):
    config = of(f"gymnasium:{OWN}:Walk", **{"world.env_args": {"luck": False}, "epochs": 3})
    with pytest.warns(RecordWarning, match="not decided by its seed"):
        pair = wb.compare(config, lag=1, out=folder)
        summary = pair.wait(DEADLINE_S)
        pair.multiprocess.wait(1)
    assert summary["identical"] is None and "not decided by its seed" in summary["why_not_identical"]
    assert "does not apply (gymnasium:" in pair.table.text
    assert "not decided" in wb.load(pair.sequential.folder.path).description["unseeded"]


def test_a_mistake_that_shows_late_is_named_in_a_run_whose_audit_looks_on_and_what_is_none_is_not_accused(folder):
    turns = {"epochs": 3, "world.max_turns": 50, "evaluation.interval": 0, "evaluation.final_worlds": 2}
    config = of(f"gymnasium:{OWN}:Late", **turns)
    told = "Late gives 'False' as terminated; step must give each agent one value"
    with pytest.warns(RecordWarning, match=told), pytest.raises(wb.ChildFailed, match=told):
        wb.launch(config, "sequential", 0, out=folder).wait(DEADLINE_S)
    run = wb.launch(config.replace(**{"world.env_args": {"after": 50}}), "sequential", 0, out=folder)
    run.wait(DEADLINE_S)
    assert not [each.name for each in run.diagnose().checks if each.verdict == "fail"]
