"""The core runs without any wing: no recovery, no live settings, no folder, nobody who listens."""

import os
import signal

import numpy as np
import pytest

from tests.unit import inprocess
from workbench.core.processes.blocks import Plan
from workbench.core.processes.supervisor import ChildFailed, Supervisor
from workbench.core.train.hooks import Listener, Verdict
from workbench.runs.presets import preset

CONFIG = preset("tiny").replace(device="cpu")
DEADLINE_S = 120


def supervisor_of(tmp_path, mode="multiprocess", lag=1, config=CONFIG):
    return Supervisor(Plan(config, mode, lag, ()), tmp_path)


@pytest.mark.parametrize("mode", ["sequential", "multiprocess"])
def test_a_run_of_the_core_alone_is_the_run(tmp_path, mode):
    supervisor = supervisor_of(tmp_path, mode)
    supervisor.start()
    assert supervisor.wait(DEADLINE_S) and supervisor.error is None
    expected = inprocess.run(CONFIG, 1).progress.digests()
    for name, found in supervisor.progress.digests().items():
        np.testing.assert_array_equal(found, expected[name])


class Kills(Listener):
    """Kills the first learner once, when the run is under way, and leaves it to others what follows."""

    def __init__(self, supervisor):
        self.process = supervisor.children[1].process
        supervisor.listeners.append(self)

    def look(self):
        if self.process is not None:
            os.kill(self.process.pid, signal.SIGKILL)
            self.process = None


def test_a_death_ends_a_run_that_nobody_watches_over(tmp_path):
    supervisor = supervisor_of(tmp_path, config=CONFIG.replace(epochs=1_000_000))
    Kills(supervisor)
    supervisor.start()
    assert supervisor.wait(DEADLINE_S) and isinstance(supervisor.error, ChildFailed)
    assert "learner 0 (agent 0) was ended by signal 9 (SIGKILL)" in str(supervisor.error)


class Continues(Kills):
    """Lets the run continue without what has died, and writes down what it is told."""

    def __init__(self, supervisor):
        super().__init__(supervisor)
        self.deaths, self.records, self.ends = [], 0, 0

    def take_records(self, table, records, lost):
        assert not self.ends
        self.records += len(records)

    def after_death(self, death, failure):
        self.deaths.append(death)
        return Verdict("run continues without it")

    def end(self):
        self.ends += 1


def test_a_listener_says_what_follows_a_death(tmp_path):
    supervisor = supervisor_of(tmp_path, config=CONFIG.replace(epochs=60))
    listener = Continues(supervisor)
    supervisor.start()
    assert supervisor.wait(DEADLINE_S) and supervisor.error is None
    assert [death.process for death in listener.deaths] == ["learner 0"] and listener.ends == 1
    assert supervisor.progress.frozen(0) and supervisor.progress.epochs_collected == 60 and listener.records > 0
