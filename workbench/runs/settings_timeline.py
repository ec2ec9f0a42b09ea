"""The settings of a run over its epochs: those that it was launched with, and what was changed from which epoch on.

A change holds from one epoch on in every process, however far each has got when it is made. So the number of updates
that belong to an epoch is known even where the replay ratio changes, a process that takes a dead one's place does its
work again with the settings of then, and whoever looks at a run can say what was due when.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from workbench.core.config import Config


class Course:
    """The configuration of each epoch of a run, and the updates that are due by then."""

    def __init__(self, config: Config, changes: Iterable[tuple[int, Mapping[str, Any]]] = ()) -> None:
        """Put changes on top of a configuration.

        Args:
            config: what the run was launched with.
            changes: epochs, and the settings that have another value from there on, by dotted name, in the order in
                which they were made. Whoever is set once more is not changed back by what was made before.

        Raises:
            ConfigError: a setting is unknown, or a value breaks a rule.
        """
        self.config = config
        made: list[tuple[int, dict[str, Any]]] = []
        for epoch, settings in changes:
            for later, waiting in made:
                if later > epoch:  # made in an earlier life of the run, beyond the checkpoint that it went on from
                    for name in settings:
                        waiting.pop(name, None)
            made.append((epoch, dict(settings)))
        self.changes = sorted(((epoch, settings) for epoch, settings in made if settings), key=lambda each: each[0])
        self._starts, self._configs = [0], [config]
        for epoch, settings in self.changes:
            self._starts.append(epoch)
            self._configs.append(self._configs[-1].replace(**settings))
        self._first = config.epochs - config.learning_epochs  # the first epoch that is followed by updates

    def at(self, epoch: int) -> Config:
        """The configuration that an epoch is collected with, and that its updates are made with."""
        return self._configs[max(0, bisect_right(self._starts, epoch) - 1)]

    @property
    def newest(self) -> Config:
        """The configuration that holds from the last change on."""
        return self._configs[-1]

    def changed(self, epoch: int, settings: Mapping[str, Any]) -> Course:
        """The course with one more change; raises ConfigError as the constructor does."""
        return Course(self.config, [*self.changes, (epoch, settings)])

    def largest(self, read: Callable[[Config], float]) -> float:
        """The largest value of something that is read from a configuration, over all that hold at some time."""
        return max(map(read, self._configs))

    def updates_due(self, epochs: int) -> int:
        """Updates of each agent that belong to the first so many epochs."""
        return sum(length * config.pacing.updates_per_epoch for length, config in self._learning(epochs))

    @property
    def total_updates(self) -> int:
        """Updates that each agent makes in the whole run, if nothing is changed any more."""
        return self.updates_due(self.config.epochs)

    def smallest(self, read: Callable[[Config], float]) -> float:
        """The smallest value, likewise."""
        return min(map(read, self._configs))

    def schedule_position(self, update: int, epoch: int) -> float:
        """Where an update stands in a schedule that is spread evenly over the epochs.

        It is the number that the update would have if every epoch had as many as this one, so a schedule that counts
        updates goes on without a step where the replay ratio changes.

        Args:
            update: counted from 0.
            epoch: the one with whose settings the update is made.

        Returns:
            A whole number as long as nothing was changed.
        """
        if len(self._configs) == 1:
            return update
        now = self.at(epoch).pacing.updates_per_epoch
        epochs, left = 0, update
        for length, config in self._learning(None):
            here = config.pacing.updates_per_epoch
            if length is None or left < length * here:
                return epochs * now + left * now / here
            epochs, left = epochs + length, left - length * here
        raise AssertionError("the last configuration holds without end")

    def _learning(self, epochs: int | None) -> Iterable[tuple[Any, Config]]:
        """How many of the first epochs are followed by updates under each configuration; None for without end."""
        for start, end, config in zip(self._starts, [*self._starts[1:], epochs], self._configs, strict=True):
            first = max(start, self._first)
            if end is None:
                yield None, config
            else:
                yield max(0, (end if epochs is None else min(end, epochs)) - first), config
