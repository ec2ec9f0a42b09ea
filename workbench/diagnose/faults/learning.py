"""Faults of the learning step: target network, modes, devices, clipping, counting and pacing (catalogue L1 to L13)."""

from typing import Any

import torch

from workbench.core.agents.value_agent import ValueAgent
from workbench.core.config import Config
from workbench.core.processes.worker import Parts
from workbench.diagnose.faults.fault import AgentFault, Fault, override
from workbench.diagnose.sentences import said
from workbench.runs.live_settings import SettingsTimeline


class DoubleTargetUpdate(AgentFault):
    """The training step moves the target network, and so does the loop around it."""

    def change(self, agent: ValueAgent) -> None:
        """Every target update happens twice."""
        override(agent, "update_target", lambda original: [original() for _ in range(2)])


class EvalModeTraining(AgentFault):
    """The online network is left in evaluation mode, so noisy layers are silent.

    The original's sequential trainer lost its noise that way after the first greedy action. Without noisy layers
    (``agent.noisy``) both modes compute the same, and only the flag shows it.
    """

    def change(self, agent: ValueAgent) -> None:
        """A call for training mode sets evaluation mode."""
        override(agent.online.eval(), "train", lambda original, mode=True: original(False))


class DeviceMismatch(AgentFault):
    """A network is moved to another device than its batches are brought to: the update refuses."""

    def change(self, agent: ValueAgent) -> None:
        """The online network moves: to the CPU, or from the CPU to CUDA, or where there is none to torch's "meta"."""
        agent.online.to("cpu" if agent.device.type != "cpu" else "cuda" if torch.cuda.is_available() else "meta")


class NoGradientClipping(AgentFault):
    """Gradients of any length are followed: the original's clipping was commented out in one of its two modes."""

    def change(self, agent: ValueAgent) -> None:
        """The norm above which gradients are shortened is out of reach."""
        agent.config = agent.config.replace(**{"learning.grad_clip": 1e30})


class StepCounterStuck(AgentFault):
    """Updates are made and not counted: schedules, records and publications all say 0."""

    def change(self, agent: ValueAgent) -> None:
        """The counter goes back to 0 after every update."""

        def complete(original: Any) -> None:
            """Complete the update, and then set the counter as if it had not been."""
            original()
            agent.updates = 0

        override(agent, "complete", complete)

    def why_not(self, config: Config, mode: str, lag: int | None) -> str:
        """A free-running run is paced by that counter."""
        return "" if lag is not None else said("faults.free")


class UnpacedLearner(Fault):
    """The learner does not wait for new rows and runs far ahead on old ones.

    The original's learners spun freely, 7 times as fast as its sequential loop. Here the number of updates stays that
    of the run; they are all made as soon as they can be, from the rows of the first epochs.
    A learner that is slower than the actor has no time for that, and nothing is wrong with such a run; a smaller
    ``pacing.updates_per_epoch`` gives it the time.
    """

    def on_parts(self, parts: Parts) -> None:
        """The learner's own copy of the settings lets it run ahead; see ``Pacing.updates_allowed``."""
        if parts.job.role == "learner":
            live, ahead = parts.settings, {"pacing.max_ahead": min(self.strength, 1e6)}

            def settings() -> SettingsTimeline:
                """What was launched and changed, but for how far the learner may run ahead."""
                now = live()
                return SettingsTimeline(now.config.replace(**ahead), getattr(now, "changes", ()))

            parts.settings = settings

    def why_not(self, config: Config, mode: str, lag: int | None) -> str:
        """At a finite lag there is nothing to run ahead with."""
        return "" if lag is None else said("faults.lag", lag=lag)
