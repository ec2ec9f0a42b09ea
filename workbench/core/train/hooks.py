"""The one way into the core: what comes from outside is called here, and these null objects answer where nothing does.

The core imports none of what uses it: recovery, live settings, timelines, faults and probes are hooks. In the order in
which the core calls them:

=====================================  =================================================================================
when                                   what the core calls
=====================================  =================================================================================
the parent takes the run's memory      :attr:`Hook.tables` of records, and :meth:`Hook.layouts`: their blocks are among
                                       ``shared.blocks`` there and ``parts.blocks`` in a child
... and has it                         :meth:`Hook.on_shared`, before there is a child
a child has opened what it shares      :meth:`Hook.on_parts`; it may set ``parts.settings``
a child has built the acting side      :meth:`Hook.on_collector`; it may set ``collector.keeper``, and
                                       ``collector.evaluator``, or replace a part
... and the learning side              :meth:`Hook.on_trainer`; the same, with ``trainer.keepers``, one per agent
an epoch begins, updates begin         :class:`FixedSettings`, those that hold then
a step is complete: the rows of an     :meth:`Keeper.complete`, before another process can see the step, and
epoch, the updates of an agent         :meth:`Keeper.visible`, when it can, and before the counters say so
an epoch is over; the run is over      :meth:`Evaluator.after_epoch`, :meth:`Evaluator.after_run`
the parent's thread looks around       :meth:`Listener.take_records`, :meth:`Listener.look`
a child has died                       :meth:`Listener.after_death`, which says what follows
every child has left                   :meth:`Listener.end`
=====================================  =================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from workbench.core.config import Config
from workbench.core.records import Metric, Records, RecordTable, tables_with
from workbench.core.shared.layout import Layout

if TYPE_CHECKING:
    from workbench.core.processes.blocks import Plan, Shared
    from workbench.core.processes.worker import Parts
    from workbench.core.train.loop import Collector, Trainer


class Hook:
    """Wraps or replaces parts where a child puts them together. The default changes nothing.

    A hook is made in the parent and sent to every child, in the order of the launch. Each method is called once in
    every process that has such a part. To wrap a method of a part, set the attribute of that one object.

    Attributes:
        tables: Tables of records that it brings, by name: ``parts.channel[name].write(...)`` adds a record to one of
            them.
        metrics: Curves: a field of a table each, its own or the core's; one that the table lacks is added to it, as
            float32.
    """

    tables: ClassVar[Mapping[str, RecordTable]] = {}
    metrics: ClassVar[tuple[Metric, ...]] = ()

    def layouts(self, plan: Plan) -> Mapping[str, Layout]:
        """Shared memory of its own, by names that nothing else uses."""
        return {}

    def on_shared(self, shared: Shared) -> None:
        """Called in the parent alone, with memory that no child has looked at."""

    def on_parts(self, parts: Parts) -> None:
        """Called when progress, replays, weight stores and channel are open."""

    def on_collector(self, collector: Collector, parts: Parts) -> None:
        """Called with the acting side, before the ready barrier."""

    def on_trainer(self, trainer: Trainer, parts: Parts) -> None:
        """Called with the learning side of a group of agents, before the ready barrier."""


def record_tables(config: Config, hooks: Sequence[Hook]) -> dict[str, RecordTable]:
    """The tables of a run: the core's, with what its agent measures, and what its hooks bring."""
    return tables_with([hook.tables for hook in hooks], metrics_of(config, hooks))


def metrics_of(config: Config, hooks: Iterable[Hook]) -> list[Metric]:
    """The metrics that a run's agent and its hooks bring."""
    return [*config.agent.metrics, *(metric for hook in hooks for metric in hook.metrics)]


class Keeper:
    """Is told of every step of the acting side, or of one agent's learning. The default keeps nothing.

    A step may be told twice: first by a process that dies right after, then by the one that takes its place.
    """

    def complete(self, epochs: int) -> None:
        """The work of that many epochs is done. What is kept now belongs to what others are shown next."""

    def visible(self, epochs: int) -> None:
        """Others can read its rows, or its weights; the counters that let them start are raised next."""


class Evaluator:
    """Evaluates the weights that the acting side has in use. The default does not.

    Attributes:
        evaluated: epochs after which nothing is left to evaluate.
    """

    evaluated = 0

    def after_epoch(self, epoch: int) -> None:
        """An epoch is over, and readers see it. May be called twice for the epoch that a dead process ended with."""

    def after_run(self) -> None:
        """The last weights are in use."""


class FixedSettings:
    """The settings of a run over its epochs. By default they are the same in every epoch.

    Attributes:
        first_learning: The first epoch that is followed by updates.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.first_learning = config.epochs - config.learning_epochs

    def at(self, epoch: int) -> Config:
        """The configuration that an epoch is collected with, and that its updates are made with."""
        return self.config

    def updates_due(self, epochs: int) -> int:
        """Updates of each agent that belong to the first ``epochs`` epochs."""
        return max(0, epochs - self.first_learning) * self.config.pacing.updates_per_epoch

    @property
    def total_updates(self) -> int:
        """Updates that each agent makes in the whole run, as far as is known now."""
        return self.updates_due(self.config.epochs)

    def schedule_position(self, update: int, epoch: int) -> float:
        """Where an update, counted from 0 and made in an epoch, stands in a schedule over the run's updates."""
        return update


def unchanged(config: Config) -> Callable[[], FixedSettings]:
    """Where a process looks its settings up if they never change."""
    settings = FixedSettings(config)
    return lambda: settings


@dataclass(frozen=True)
class Death:
    """The death of a child.

    Attributes:
        agents: Whose updates it made; none for the actor.
        cause: How it ended: signal, exit code, why it was killed, or the last line of its traceback.
        epochs: Epochs collected until then.
        updates: Updates that its agents had made together, of all agents for the actor.
        restarts: How often it had been restarted before.
    """

    process: str
    agents: tuple[int, ...]
    cause: str
    epochs: int
    updates: int
    restarts: int

    @property
    def what_happened(self) -> str:
        """Who died, of what, and how far the run was, in one line."""
        whose = f" (agent{'s' * (len(self.agents) > 1)} {', '.join(map(str, self.agents))})" if self.agents else ""
        done = f"{self.epochs} {'epoch was' if self.epochs == 1 else 'epochs were'} collected until then"
        return f"{self.process}{whose} {self.cause}; {done}, {self.updates} update{'s' * (self.updates != 1)} made"


Action = Literal["restarted", "run continues without it", "run ended"]


class Verdict(NamedTuple):
    """What follows a death, and why the run must end where it might have continued."""

    action: Action
    why: str = ""


class Listener:
    """Is told, and asked, by the thread in the parent that watches a run. The default wants nothing to be done."""

    def take_records(self, table: str, records: Records, lost: int) -> None:
        """Records of a table as they come, and how many were lost before them."""

    def look(self) -> None:
        """Called in every round of a run that is under way, after its records and its deaths."""

    def after_death(self, death: Death, failure: str) -> Verdict | None:
        """What follows the death of a child, of which every record is delivered.

        Args:
            death: who died of what.
            failure: its traceback, or why it was killed; empty if it was ended from outside.

        Returns:
            None to leave the answer to the next listener. If nobody answers, the run ends.
        """
        return None

    def end(self) -> None:
        """Every child has left and every record is delivered. Called once."""
