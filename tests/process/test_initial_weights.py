"""Weights to start from: out of a run, its folder, a checkpoint or a file, and those that do not fit."""

import numpy as np
import pytest
import torch

import workbench as wb
from tests.soundness import check_agent
from workbench.runs.folder import RecordError
from workbench.runs.initial_weights import initial_weights

TINY = wb.preset("tiny").replace(device="cpu", epochs=4, **{"evaluation.interval": 0, "evaluation.final_worlds": 1})


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    run = wb.launch(TINY, "sequential", 0, out=tmp_path_factory.mktemp("runs"), name="earlier")
    run.wait(300)
    return run


def test_every_source_gives_the_weights_that_the_run_ended_with(earlier, tmp_path):
    folder, final = earlier.folder.path, earlier.weights
    np.save(tmp_path / "mine.npy", final)
    checkpoint = sorted((folder / "checkpoints").glob("*.npz"))[-1]
    sources = [earlier.weights, earlier, wb.load(folder), folder, str(folder), checkpoint, tmp_path / "mine.npy"]
    for source in sources:
        np.testing.assert_array_equal(initial_weights(source, TINY), final)
    (folder / "weights.npy").rename(tmp_path / "away")
    for source in (folder, wb.load(folder), earlier):  # of the newest checkpoint, and of memory
        np.testing.assert_array_equal(initial_weights(source, TINY), final)
    (tmp_path / "away").rename(folder / "weights.npy")


@pytest.mark.parametrize("mode", ["sequential", "multiprocess"])
def test_a_run_begins_with_both_networks_as_given_and_a_fresh_optimiser(earlier, tmp_path, mode):
    config = TINY.replace(epochs=2, seed=3, **{"learning.learning_rate": 1e-30, "learning.learning_rate_end": 0.0,
                                               "learning.tau": 1e-12})  # fmt: skip
    with wb.launch(config, mode, 0, weights=earlier.folder.path, out=tmp_path) as run:
        result = run.wait(300)
    assert result.updates > 0 and run.folder.read_description()["warm_start"] is True
    np.testing.assert_allclose(run.weights, earlier.weights, atol=1e-6)
    half = earlier.weights.shape[1] // 2
    assert (run.weights[:, :half] != run.weights[:, half:]).any()  # the target is not the online network
    agent = config.agent.agent_class(config, 0, torch.device("cpu"), earlier.weights[0])
    assert (
        check_agent(agent) == (True, "") and agent.get_state()["step"] == 0 and not agent.get_state()["exp_avg"].any()
    )


def test_weights_of_other_networks_are_refused_with_both_layouts(earlier, tmp_path):
    wider = TINY.replace(**{"agent.width": 48})
    with pytest.raises(wb.RunError, match=r"agent 0 was made of psi.weight \(32, \d+\).*makes it of psi.weight \(48,"):
        wb.launch(wider, weights=earlier, out=tmp_path)
    with pytest.raises(wb.RunError, match=r"head.weight \(5, 32\).*makes it of first.weight"):
        wb.launch(TINY.replace(agent="dqn"), weights=earlier.folder.path, out=tmp_path)
    more = TINY.replace(**{"world.num_agents": 3})
    with pytest.raises(wb.RunError, match="number of agents is 2 and this configuration's is 3"):
        wb.launch(more, weights=earlier, out=tmp_path)
    (tmp_path / "junk.npy").write_bytes(b"junk")
    for path in (tmp_path / "junk.npy", tmp_path / "nowhere"):
        with pytest.raises(RecordError, match="holds no weights") as told:
            wb.launch(TINY, weights=path, out=tmp_path)
        assert "pickle" not in str(told.value)  # numpy says how to load it all the same
    with pytest.raises(wb.RunError, match=r"weights have shape \(2, 1\); this configuration needs"):
        wb.launch(TINY, weights=[[1.0], [2.0]], out=tmp_path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_weights_that_are_not_finite_are_refused_and_the_agent_is_named(bad, earlier, tmp_path):
    weights = earlier.weights.astype(np.float64)
    weights[1, 7] = bad
    with np.errstate(over="ignore"), pytest.raises(wb.RunError, match=r"of agent 1 are not all finite.*weights_at"):
        wb.launch(TINY, weights=weights, out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_terminal_takes_them_by_the_folder_of_a_run(earlier, monkeypatch):
    from workbench.cli import training

    taken = {}
    monkeypatch.setattr(training.api, "launch", lambda *_, **named: taken.update(named))
    monkeypatch.setattr(training, "_finish", lambda run: 0)
    assert training.run(["--preset", "tiny", "--weights", str(earlier.folder.path)]) == 0
    assert taken["weights"] == earlier.folder.path
