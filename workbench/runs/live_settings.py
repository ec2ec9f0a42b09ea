"""Settings that change while a run is under way: the parent writes them, each process reads them between two rounds.

A change holds from one epoch on in every process, however far each has got when it is made. So the number of updates
that belong to an epoch is known even where the replay ratio changes, a process that takes a dead one's place does its
work again with the settings of then, and a reader of the run can tell what was due when. Nothing that is sized once,
such as a network or a ring, can be changed.
"""

import json
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from workbench.core.config import Config, ConfigError
from workbench.core.processes.blocks import Plan
from workbench.core.processes.worker import Parts
from workbench.core.shared.counters import Progress
from workbench.core.shared.layout import Arrays, Layout
from workbench.core.train.hooks import FixedSettings, Hook
from workbench.runs.recovery.journal import Journal
from workbench.runs.sentences import beside, said

# Settings that may be changed while a run is under way, by dotted name. Which ones a resumed run may begin with is in
# :data:`workbench.runs.recovery.resume.SAFE_TO_CHANGE`.
CHANGEABLE: tuple[str, ...] = tuple(beside(__file__)["changeable"])
# Name of the block of memory that the changes lie in.
BLOCK = "changed settings"
_ROOM = 2**16


class SettingsTimeline(FixedSettings):
    """The configuration of each epoch of a run, and the updates that are due by then.

    Attributes:
        changes: epochs, and the settings that have another value from there on, by epoch.
        configs: every configuration that holds at some time, the newest last.
    """

    def __init__(self, config: Config, changes: Iterable[tuple[int, Mapping[str, Any]]] = ()) -> None:
        """Put changes on top of a configuration.

        Args:
            config: what the run was launched with.
            changes: epochs, and the settings that have another value from there on, by dotted name, in the order in
                which they were made. A later change of a setting is not undone by an earlier one.

        Raises:
            ConfigError: a setting is unknown, or a value breaks a rule.
        """
        super().__init__(config)
        made: list[tuple[int, dict[str, Any]]] = []
        for epoch, settings in changes:
            for later, waiting in made:
                if later > epoch:  # made before the run was resumed, for epochs after the checkpoint
                    for name in settings:
                        waiting.pop(name, None)
            made.append((epoch, dict(settings)))
        self.changes = sorted(((epoch, settings) for epoch, settings in made if settings), key=lambda each: each[0])
        # of each configuration: when it begins, in epochs, in epochs that were followed by updates, in updates
        self._starts, self._learned, self._updates, self.configs = [0], [0], [0], [config]
        for epoch, settings in self.changes:
            self._updates.append(self.updates_due(epoch))  # by the configurations before it
            self._learned.append(max(0, epoch - self.first_learning))
            self._starts.append(epoch)
            self.configs.append(self.configs[-1].replace(**settings))

    def at(self, epoch: int) -> Config:
        """The configuration that an epoch is collected with, and that its updates are made with."""
        return self.configs[max(0, bisect_right(self._starts, epoch) - 1)]

    def changed(self, epoch: int, settings: Mapping[str, Any]) -> "SettingsTimeline":
        """The timeline with one more change; raises ConfigError as the constructor does."""
        return SettingsTimeline(self.config, [*self.changes, (epoch, settings)])

    def updates_due(self, epochs: int) -> int:
        """Updates of each agent that belong to the first ``epochs`` epochs."""
        learned = max(0, epochs - self.first_learning)
        at = bisect_right(self._learned, learned) - 1
        return self._updates[at] + (learned - self._learned[at]) * self.configs[at].pacing.updates_per_epoch

    def schedule_position(self, update: int, epoch: int) -> float:
        """Where an update stands in a schedule that is spread evenly over the epochs.

        It is the number that the update would have if every epoch had as many as this one, so a schedule that counts
        updates continues without a step where the replay ratio changes.

        Args:
            update: counted from 0.
            epoch: the one with whose settings the update is made.

        Returns:
            A whole number as long as nothing was changed.
        """
        if len(self.configs) == 1:
            return update
        now, at = self.at(epoch).pacing.updates_per_epoch, bisect_right(self._updates, update) - 1
        here = self.configs[at].pacing.updates_per_epoch
        return self._learned[at] * now + (update - self._updates[at]) * now / here


class LiveSettings(Hook):
    """Lets every process look up the changes that the parent makes."""

    def layouts(self, plan: Plan) -> dict[str, Layout]:
        """One block for all changes."""
        return {BLOCK: Changes.layout()}

    def on_parts(self, parts: Parts) -> None:
        """Look the settings up where the parent writes them."""
        parts.settings = Changes(parts.config, parts.blocks[BLOCK].open()).timeline


class Changes:
    """The changes of a run, over arrays that :meth:`layout` describes.

    They lie there as JSON text in two alternating slots, like any other state.
    """

    def __init__(self, config: Config, arrays: Arrays) -> None:
        self._journal, self._timeline, self._seen = Journal(arrays), SettingsTimeline(config), -1

    @staticmethod
    def layout() -> Layout:
        """The table of the one block that a run needs."""
        return Journal.layout(BLOCK, {"text": np.zeros(_ROOM, np.uint8)})

    def timeline(self) -> SettingsTimeline:
        """The settings as far as they are known now; the same object until something is changed."""
        while (step := self._journal.step) != self._seen:
            text = self._journal.load()["text"].tobytes().rstrip(b"\0")
            if self._journal.step == step:  # else it may have been written over meanwhile
                self._timeline, self._seen = SettingsTimeline(self._timeline.config, json.loads(text)), step
        return self._timeline

    def make(self, progress: Progress, settings: Mapping[str, Any], announce: Callable[[int], object]) -> None:
        """Change settings while processes work; the parent's side, one thread at a time. The caller wakes them then.

        No epoch can begin meanwhile. One may be under way, and the actor may just have been let into another; so the
        change holds from the one after these on, which no process has looked at: learners come after the actor.

        Args:
            progress: the run's counters.
            settings: new values by dotted name.
            announce: told the first epoch that the change holds for, before any process can get there.

        Raises:
            ConfigError: a value breaks a rule, no epoch is left, or there is no room for more changes; nothing is
                changed then.
        """
        timeline = self.timeline()
        timeline.changed(timeline.config.epochs, settings)  # refuses what breaks a rule before a process has to wait
        paused = progress.paused
        progress.pause(True)
        try:
            epoch = progress.epochs_collected + 2
            if epoch >= timeline.config.epochs:
                raise ConfigError(said("live_settings.late", epoch=epoch, epochs=timeline.config.epochs))
            self.set(timeline.changed(epoch, settings), lambda: announce(epoch))
        finally:
            progress.pause(paused)

    def set(self, timeline: SettingsTimeline, announce: Callable[[], object] = lambda: None) -> None:
        """Write a timeline, which differs from the one before in epochs only that no process has looked at.

        Raises:
            ConfigError: there were many changes, and no room is left for more.
        """
        text = json.dumps(timeline.changes, separators=(",", ":"), default=np.generic.item).encode()
        if len(text) > _ROOM:
            raise ConfigError(said("live_settings.room", bytes=len(text), room=_ROOM))
        announce()
        self._journal.save(self._journal.step + 1, {"text": np.frombuffer(text.ljust(_ROOM, b"\0"), np.uint8)})
