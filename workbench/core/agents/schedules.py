"""Schedules: epsilon by epoch and the step size by update. They have no state, so none can be stale."""

import math

from workbench.core.config import Config


def epsilon(config: Config, epoch: int) -> float:
    """Probability of a random action in an epoch, counted from 0: linear over ``decay_epochs``, then constant."""
    exploration = config.exploration
    progress = min(epoch / exploration.decay_epochs, 1.0)
    return (1.0 - progress) * exploration.epsilon_start + progress * exploration.epsilon_end


def learning_rate(config: Config, update: float) -> float:
    """Step size of an update, counted from 0: ``learning_rate`` at the first and ``learning_rate_end`` at the last.

    Where the replay ratio was changed, the caller gives the place on the schedule as ``update``, and the ``config`` of
    the epoch. Free-running learners may make more updates than ``config.total_updates``; they keep the end value.
    """
    learning = config.learning
    progress = min(update / max(config.total_updates - 1, 1), 1.0)
    shares = {"constant": 0.0, "linear": progress, "cosine": (1.0 - math.cos(math.pi * progress)) / 2.0}
    share = shares[learning.learning_rate_schedule]  # of the way from learning_rate to learning_rate_end
    return (1.0 - share) * learning.learning_rate + share * learning.learning_rate_end
