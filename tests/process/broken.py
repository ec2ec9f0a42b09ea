"""Parts that fail on purpose, in a module that a spawned child can import."""

from workbench.core.train.hooks import Hook
from workbench.diagnose.faults import Fault


class FailsBeforeTheBarrier(Hook):
    """The process that makes the updates of agent 1 cannot put its parts together."""

    def on_trainer(self, trainer, parts):
        if 1 in trainer.agents:
            raise LookupError("the trainer of agent 1 is broken")


class FailsInAnUpdate(Hook):
    """Agent 1 fails in its fifth update."""

    def on_trainer(self, trainer, parts):
        if 1 not in trainer.agents:
            return
        agent = trainer.agents[1]
        sound = agent.update

        def update(learning_rate):
            if agent.updates == 4:
                self.go_wrong()
            return sound(learning_rate)

        agent.update = update

    def go_wrong(self):
        raise ArithmeticError("the fifth update is broken")


class FailsInSeveralLines(FailsInAnUpdate):
    """Agent 1 fails in its fifth update with a message that ends in advice, as those of CUDA do."""

    def go_wrong(self):
        raise RuntimeError("CUDA error: an assert triggered\nCompile with `TORCH_USE_CUDA_DSA` to enable assertions.\n")


class HangsInAnUpdate(FailsInAnUpdate):
    """Agent 1 stands still in its fifth update, each time."""

    def go_wrong(self):
        import threading

        threading.Event().wait()


class FailsInAnEpoch(Hook):
    """The world of the actor falls to pieces in its third epoch."""

    def on_collector(self, collector, parts):
        sound, resets = collector.world.reset, []

        def reset():
            resets.append(None)
            if len(resets) == 3:
                raise RuntimeError("the third epoch is broken")
            sound()

        collector.world.reset = reset


class LeavesWithoutAWord(Hook):
    """The actor ends itself with an exit code, as a library might."""

    def on_collector(self, collector, parts):
        import os

        os._exit(7)


class HasNoDeviceMemory(Hook):
    """The first update of agent 1 finds no free device memory, each time."""

    def on_trainer(self, trainer, parts):
        import torch

        if 1 in trainer.agents:

            def update(learning_rate):
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

            trainer.agents[1].update = update


class ClockJumps(Hook):
    """The wall clock of every child jumps in its third epoch or update."""

    def __init__(self, seconds):
        self.seconds = seconds

    def on_parts(self, parts):
        import time

        sound, progress, seconds = time.time, parts.progress, self.seconds
        time.time = lambda: sound() + seconds * (progress.epochs_collected > 2)


class WorksForLong(Hook):
    """Every turn of an evaluation, and every update of one epoch, takes a while; together they take long."""

    SECONDS = 0.3

    def on_collector(self, collector, parts):
        import time

        first = collector.evaluator.policies[0]
        sound = first.act

        def act(stack, epsilon):
            time.sleep(self.SECONDS)
            return sound(stack, epsilon)

        first.act = act

    def on_trainer(self, trainer, parts):
        import time

        agent = trainer.agents.get(0)
        if agent is None:
            return
        sound, first = agent.update, []

        def update(learning_rate):
            first.append(None)
            time.sleep(self.SECONDS if len(first) <= trainer.config.pacing.updates_per_epoch else 0)
            return sound(learning_rate)

        agent.update = update


class FailsOnAFullDisk(Hook):
    """The actor fails when nothing can be written to any file any more, its log included."""

    def on_collector(self, collector, parts):
        import resource

        def reset():
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
            raise RuntimeError("the disk is full, and something else is wrong " + 20_000 * "x" + " at the end")

        collector.world.reset = reset


class ForgetsToSync(Fault):
    """A fault that is in no catalogue: the actor takes no weights over but the first."""

    name = "forgets_to_sync"

    def on_collector(self, collector, parts):
        sync = collector.sync
        collector.sync = lambda epoch, version: sync(epoch, version) if epoch == 0 else None
