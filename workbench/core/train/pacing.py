"""Who may start which epoch, and who may make how many updates: arithmetic on the counters of the run.

At a finite lag k, epoch e is collected with the weights that came out of the updates of epoch e - 1 - k, that is with
version ``max(0, e - k)``; the updates of epoch e draw from the rows up to its end. So the result does not depend on
timing. Free-running (lag None) keeps ``updates / agent steps`` near the replay ratio from both sides, as Reverb's rate
limiter does (Cassirer et al. 2021).
"""

import math
from collections.abc import Callable, Iterable

from workbench.core.config import Config
from workbench.core.shared.counters import Progress
from workbench.core.train.hooks import FixedSettings, unchanged


class Pacing:
    """The rules of one run."""

    def __init__(
        self, config: Config, lag: int | None, progress: Progress, settings: Callable[[], FixedSettings] | None = None
    ) -> None:
        """``settings`` looks the settings up; default those of ``config`` in every epoch."""
        self._config, self._lag, self._progress = config, lag, progress
        self._settings = settings or unchanged(config)
        self._agents = range(config.num_agents)

    def may_collect(self, epoch: int) -> bool:
        """Whether the actor may start an epoch."""
        progress = self._progress
        if progress.paused:
            return False
        learning = [agent for agent in self._agents if not progress.frozen(agent)]
        if self._lag is not None:
            return all(progress.epochs_learned(agent) >= epoch - self._lag for agent in learning)
        settings = self._settings()
        pacing = settings.at(epoch).pacing
        due = settings.updates_due(epoch) - math.floor(pacing.max_behind * pacing.updates_per_epoch)
        return all(progress.settled(agent) >= due for agent in learning)

    def may_learn(self, epoch: int) -> bool:
        """Finite lag: whether the updates of an epoch may be made."""
        return self._progress.epochs_collected > epoch

    def updates_allowed(self, agent: int) -> int:
        """Free-running: how many updates an agent may make now."""
        collected, settings = self._progress.epochs_collected, self._settings()
        if collected <= settings.first_learning:
            return 0  # fewer rows than learning_starts
        pacing = settings.at(collected - 1).pacing
        ahead = math.floor(pacing.max_ahead * pacing.updates_per_epoch)
        limit = min(settings.updates_due(collected) + ahead, settings.total_updates)
        return max(0, limit - self._progress.settled(agent))

    def may_end(self, agent: int) -> bool:
        """Free-running: whether an agent has made every update of the run, and none can be added to them."""
        progress = self._progress
        collected_all = progress.epochs_collected >= self._config.epochs
        return collected_all and progress.settled(agent) >= self._settings().total_updates

    def all_learned(self, agents: Iterable[int] | None = None) -> bool:
        """Whether these agents (default: all) have made and published every update of the run."""
        every = self._agents if agents is None else agents
        progress, epochs = self._progress, self._config.epochs
        return all(progress.epochs_learned(agent) >= epochs or progress.frozen(agent) for agent in every)

    def version_for(self, epoch: int) -> int | None:
        """The policy version that an epoch is collected with; None for the newest there is."""
        return None if self._lag is None else max(0, epoch - self._lag)
