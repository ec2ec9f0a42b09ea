"""What the processes of a run take of the machine is among its curves, once for each sampled epoch."""

import numpy as np
import pytest

import workbench as wb

CONFIG = wb.preset("tiny").replace(device="cpu", epochs=40, **{"checkpoint.interval": 4})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    made = wb.launch(CONFIG, "multiprocess", 1, out=tmp_path_factory.mktemp("runs"))
    made.wait(120)
    return made


def test_every_process_says_what_it_takes_in_the_same_epochs(run):
    epochs, acting = run.history.series("system/acting_cores")
    assert epochs.tolist() == list(range(1, 40, 2))  # at most 30 of 40 epochs
    assert ((acting > 0) & (acting < 2)).all()
    for agent in range(CONFIG.num_agents):
        _, memory = run.history.series("system/learning_memory", agent)
        assert (memory > 5).all() and len(memory) >= len(epochs) - 2  # learning starts after a few epochs
    assert (run.history.series("system/acting_memory")[1] > 5).all()


def test_its_curves_are_drawn_and_survive_the_run(run):
    loaded = wb.load(run.folder.path)
    np.testing.assert_array_equal(loaded.history["system/acting_cores"], run.history["system/acting_cores"])
    axes = wb.side_by_side(loaded, charts=["system/acting_memory", "system/learning_memory"]).axes
    assert [each.get_ylabel() for each in axes] == ["MiB", "MiB"] and all(each.lines for each in axes)


def test_a_resumed_run_has_no_sample_twice(tmp_path):
    cut = wb.launch(CONFIG, "sequential", 1, out=tmp_path)
    while cut.progress["epochs"] < 14 and not cut.ended:
        cut._supervisor.wait(0.005)
    cut.stop(now=True)
    again = wb.resume(cut.folder.path)
    again.wait(120)
    assert again.history.table("acting_load")["epoch"].tolist() == list(range(1, 40, 2))
    assert not len(again.history.table("learning_load"))  # there is one process
