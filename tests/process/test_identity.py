"""Plumbing does not change learning: both modes give the same bits at the same lag, however the work is spread.

The reference is the sequential baseline, run in this process. Every digest is compared: final weights, rows in the
replays, all rewards, all losses.
"""

import functools

import pytest

import workbench as wb
from tests.unit import inprocess

DIGESTS = {"weights", "replay", "rewards", "losses"}
LAGS = (0, 1, 3)

QUICK = wb.preset("tiny").replace(device="cpu")
FIVE_AGENTS = wb.Config().replace(
    device="cpu",
    epochs=9,
    world={"num_agents": 5, "max_turns": 16},
    agent={"width": 32, "num_cosines": 16},
    replay={"capacity": 112, "window": 64, "learning_starts": 32},
    learning={"batch_size": 16},
    exploration={"decay_epochs": 6},
    pacing={"updates_per_epoch": 3},
    evaluation={"interval": 4, "worlds": 2, "final_worlds": 2},
    processes={"learners": 2},
)
UNUSUAL = QUICK.replace(
    world={"num_worlds": 2},
    agent={"noisy": True},
    replay={"capacity": 640, "window": 400, "learning_starts": 100},
    learning={"accumulate": 2, "double": False, "n_step": 5, "target_interval": 3, "learning_rate_schedule": "cosine"},
)


@functools.cache
def reference(config, lag):
    return inprocess.digests(inprocess.run(config, lag))


@functools.cache
def run(folder, config, mode, lag):
    with wb.launch(config, mode, lag, out=folder) as run:
        result = run.wait(300)
    assert result.status == "finished" and set(result.digest) == DIGESTS
    assert result.updates == config.total_updates * config.num_agents
    assert run.history.lost == dict.fromkeys(run.history.lost, 0)
    return result.digest


@pytest.fixture(scope="module")
def digests(tmp_path_factory):
    """Digests of a run in child processes; a run that two tests ask for is made once."""
    return functools.partial(run, tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("lag", LAGS)
@pytest.mark.parametrize("config", [QUICK, FIVE_AGENTS], ids=["quick", "five agents"])
def test_both_modes_agree_to_the_last_bit(digests, config, lag):
    assert digests(config, "multiprocess", lag) == reference(config, lag)


@pytest.mark.parametrize("learners", [1, "auto", "per_agent"])
def test_how_agents_are_shared_out_among_learners_changes_nothing(digests, learners):
    config = FIVE_AGENTS.replace(**{"processes.learners": learners})
    assert digests(config, "multiprocess", 1) == reference(FIVE_AGENTS, 1)


def test_both_modes_agree_with_copies_of_the_world_noisy_layers_and_micro_batches(digests):
    assert digests(UNUSUAL, "multiprocess", 1) == reference(UNUSUAL, 1)


def test_the_baseline_gives_the_same_bits_in_a_child_process_and_the_comparison_says_so(digests, tmp_path):
    with wb.compare(QUICK, lag=1, out=tmp_path) as pair:
        summary = pair.wait(300)
    assert pair.identical is True and summary["identical"] is True
    first, second = (run["digest"] for run in summary["runs"])
    assert first == second == reference(QUICK, 1)


def test_the_same_run_twice_is_equal(digests, tmp_path):
    assert run(tmp_path, QUICK, "multiprocess", 3) == digests(QUICK, "multiprocess", 3)


def test_another_seed_and_another_lag_are_different_in_every_digest(digests):
    for config in (QUICK, FIVE_AGENTS):
        found = [digests(config.replace(seed=seed), "multiprocess", lag) for seed in (0, 1) for lag in LAGS]
        for name in DIGESTS:
            assert len({digest[name] for digest in found}) == len(found), name
