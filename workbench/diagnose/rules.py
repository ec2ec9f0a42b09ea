"""Rules: what was found against what is due, record by record. Pure functions of a run's records.

A rule yields a :class:`Comparison`, or None where the records it needs are not there; or in place of that why nothing
can be told, or why it does not apply (:class:`Exempt`). :mod:`workbench.diagnose.checks` makes verdicts of them.
"""

import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from workbench.core.agents import schedules
from workbench.core.config import Config
from workbench.core.records import TABLES, EventKind, Records
from workbench.diagnose.cases import Case
from workbench.diagnose.measurements import measurements_of
from workbench.diagnose.second_opinion import Opinion, opinion
from workbench.diagnose.sentences import said
from workbench.runs.finite import COMPUTED, NotFinite, first_not_finite
from workbench.runs.history import History
from workbench.runs.live_settings import SettingsTimeline
from workbench.runs.result import greedy_reward
from workbench.runs.statistics import chance_above

# Records of a live run are compared across tables only when they are this old: tables arrive one after the other, a
# tenth of a second apart, or some seconds on a machine that has much else to do.
SETTLED_S = 3.0
# A run may pause for this many times its longest pause so far, or for half the time after which a process counts as
# hung. Shorter limits would blame a run for a machine that is busy elsewhere.
PAUSES = 5.0
# Sum of the step sizes of an agent's updates from which on having learned nothing counts as a failure. Adam moves a
# weight by about its step size per update, and the first weights are of size 0.05: with less than a few times that
# the network is still mostly the one that it began as. A step size of 5e-4 takes 1,000 updates. Steps by the gradients
# of fewer rows than this lead less far, by their share: they go to and fro.
ENOUGH_WAY, FULL_BATCH = 0.5, 64
# Size of Q that a network of fresh weights may show.
FRESH_Q = 1.0
# A greedy reward counts as above chance if it is so by this many standard errors: luck does that once in 700 times.
STANDARD_ERRORS = 3.0
# Share of the way from chance to the scripted policy that a run which has learned has made at least.
LEAST_SHARE = 0.1
# Greedy rewards that one can be compared with, of runs of the same configuration or of a run's own earlier weights, how
# often that may accuse one more of their kind, and how far they are taken to lie apart at least, as a share of their
# mean.
FEWEST_OTHERS, OTHERS_ALARM, LEAST_SPREAD = 3, 1e-4, 0.02


@dataclass(frozen=True)
class Evidence:
    """All that a diagnosis may look at.

    Attributes:
        error: Why the run failed, with the child's name and traceback.
        references: Rewards of the reference policies; empty if unknown.
        now: When the records were looked at; of a run that is over, when it ended. Seconds since 1970.
        incidents: Deaths of children, whatever followed: what the run folder says of each, ``text`` and ``epochs``
            among it.
        changes: What was changed during the run: from which epoch on, and the settings by name.
        cases: What the audit kept.
        resumed: Whether the run has been resumed.
        others: Final greedy rewards of other runs of the same configuration, one for each seed.
        paused_until: When the newest pause ended, seconds since 1970; in a pause, when the records were looked at.
    """

    config: Config
    mode: str
    lag: int | None
    status: str
    error: str | None
    history: History
    references: Mapping[str, Mapping[str, float]]
    now: float
    incidents: Sequence[Mapping[str, Any]] = ()
    changes: Sequence[tuple[int, Mapping[str, Any]]] = ()
    cases: Sequence[Case] = ()
    resumed: bool = False
    others: Sequence[float] = ()
    paused_until: float = -1.0

    @functools.cached_property
    def settings(self) -> SettingsTimeline:
        """The settings of each epoch."""
        return SettingsTimeline(self.config, self.changes)

    @functools.cached_property
    def opinion(self) -> Opinion:
        """What computing the evidence once more shows."""
        return opinion(self.cases, self.settings, self.lag, steady=not (self.incidents or self.resumed))

    @functools.cached_property
    def not_finite(self) -> NotFinite | None:
        """The first number of the training that is not finite."""
        return first_not_finite({table: self.history.table(table) for table in COMPUTED})

    @property
    def live(self) -> bool:
        """Whether more records are to come."""
        return self.status in ("created", "starting", "running")

    def events(self, kind: EventKind) -> Records:
        """The events of one kind."""
        events = self.history.events  # once: more may come at any time
        return np.asarray(events[events["kind"] == kind])


@dataclass(frozen=True)
class Comparison:
    """What was found against what is due; n records.

    Attributes:
        detail: What the numbers do not say, for the sentence.
    """

    agent: NDArray[np.int64]
    epoch: NDArray[np.int64]
    value: NDArray[np.float64]
    due: NDArray[np.float64]
    broken: NDArray[np.bool_]
    detail: str = ""

    def place(self, largest: bool) -> int:
        """Place of the record to show: of the broken ones, if there are any, or of all, the one furthest off.

        Args:
            largest: whether the largest is shown instead where none is broken.
        """
        if largest and not self.broken.any():
            return int(np.argmax(np.where(np.isnan(self.value), -np.inf, self.value)))
        off = np.nan_to_num(np.abs(self.value - self.due), nan=np.inf, posinf=np.inf)
        off[~self.broken & self.broken.any()] = -np.inf
        return int(np.argmax(off))


class Exempt(str):
    """Why a rule does not apply to a run."""


# What a rule finds; see the top of this file.
Found = Comparison | str | None


@dataclass(frozen=True)
class Rule:
    """One thing that must hold.

    ``bad`` and ``good`` are filled with count, value, due, epoch and detail. A number can have its noun behind a
    colon, in the singular: ``{value:row}`` is "1 row" or "3 rows". Where the record to show belongs to an agent,
    ``bad`` comes behind its agent and epoch; and before the number of broken records, if there are several records.

    Attributes:
        things: What is counted, in the plural.
        needed: Whether a check cannot pass without it.
        largest: Whether the largest value stands for all where none is broken, not the one that is furthest off.
        about: What it says something of: the weights that the actor acts with, the target network, epsilon.
    """

    measure: Callable[[Evidence], Found]
    threshold: str
    things: str = "records"
    bad: str = "{detail}"
    good: str = "{count} records of the audit agree with the reference ({detail})"
    needed: bool = True
    largest: bool = False
    about: Literal["weights", "target", "epsilon"] = "weights"


def compared(records: Records, value: Any, due: Any, holds: Any, detail: str = "") -> Comparison | None:
    """A comparison of records that have agent and epoch; None if there are none. One number stands for all of them."""
    if not len(records):
        return None
    values, dues, kept = (np.broadcast_to(np.asarray(each, np.float64), len(records)) for each in (value, due, holds))
    return Comparison(records["agent"], records["epoch"], values, dues, kept == 0, detail)


# Agent and epoch of what is no record of a table.
ABOUT = np.dtype([("agent", "<i8"), ("epoch", "<i8")])


def unowned(value: Any, due: float, holds: Any, epoch: Any, detail: str = "") -> Comparison | None:
    """A comparison of one number that belongs to no agent, or of as many as there are epochs."""
    records = np.full(np.size(epoch), -1, ABOUT)
    records["epoch"] = epoch
    return compared(records, value, due, holds, detail)


# --- rules made from one measurement -------------------------------------------------------------------------------


def measured(evidence: Evidence, record: str, tolerance: float = 0.0) -> Comparison | None:
    """Whether what was measured is what is due; nan never is.

    Args:
        evidence: of the run.
        record: name of the measurement.
        tolerance: how far off the value may be, in the measurement's unit.
    """
    found = measurements_of(evidence.history, record)
    return compared(found, found["value"], found["due"], np.abs(found["value"] - found["due"]) <= tolerance)


def agreed(evidence: Evidence, stages: Sequence[str], findings: Sequence[str] = (), but: Sequence[str] = ()) -> Found:
    """Whether the audit's records agree with the reference in some stages of the chain.

    Args:
        evidence: of the run.
        stages: the stages.
        findings: those that count; none for all.
        but: those that do not.
    """
    found = evidence.opinion.of(stages)
    if evidence.opinion.records and not found:
        return Exempt(f"{', '.join(stages)} cannot be computed for this run")
    wrong = np.array([each.finding in findings if findings else each.finding not in ("", *but) for each in found])
    records = np.array([(each.agent, each.epoch) for each in found], ABOUT)
    detail = next((each.sentence for each, counts in zip(found, wrong, strict=True) if counts), ", ".join(stages))
    return compared(records, wrong, 0, ~wrong, detail) if found else None


def not_refused(evidence: Evidence, refused: str) -> Comparison | None:
    """No process was stopped by an error of that kind: epochs went through, or the error tells."""
    history, error = evidence.history, evidence.error or ""
    if not re.search(refused, error):
        return compared(history.epochs, 0, 0, True)
    lines = error.strip().splitlines()
    # the error's message, from the line of the traceback that names the exception
    named = [at for at, line in enumerate(lines) if re.match(r"[\w.]+(Error|Mismatch|Exception)\b", line)]
    message = " ".join(line.strip() for line in lines[named[-1] if named else -1 :])
    return unowned(1, 0, False, history.epochs_done, message)


# --- rules of their own ----------------------------------------------------------------------------------------------


def finite_numbers(evidence: Evidence) -> Comparison | None:
    """Every number that the training computes is finite; where the world gives others, that is told too."""
    tables = [(evidence.history.table(name), fields) for name, fields in COMPUTED.items()]
    epoch = np.concatenate([records["epoch"] for records, _ in tables])
    whole = np.concatenate([np.all([np.isfinite(records[x]) for x in fields], axis=0) for records, fields in tables])
    given = (
        said(f"finite.{name}", agent=case.agent, epoch=case.epoch)
        for case in evidence.cases for name in ("shown", "paid_rewards")
        if case.has(name) and case[name].dtype.kind == "f" and not np.isfinite(case[name]).all()
    )  # fmt: skip
    return unowned(~whole, 0, whole, epoch, f"{evidence.not_finite or ''}{next(given, '')}")


def _led(evidence: Evidence) -> Records:
    """What is recorded of epochs, without those of agents whose learner was gone by then and had no successor."""
    epochs = evidence.history.epochs
    for each in evidence.incidents:
        if each.get("action") == "run continues without it":
            epochs = epochs[~np.isin(epochs["agent"], each["agents"]) | (epochs["epoch"] < each["epochs"])]
    return epochs


def _synced(evidence: Evidence) -> tuple[Records, NDArray[np.int64]]:
    """The epochs in which a sync is due, and the version that it took: -1 where there was none."""
    epochs = _led(evidence)
    epochs = epochs[(epochs["time"] < evidence.now - SETTLED_S) | (not evidence.live)]
    if evidence.lag is None:
        interval = _by_epoch(epochs, lambda epoch: evidence.settings.at(epoch).pacing.sync_interval)
        epochs = epochs[epochs["epoch"] % interval == 0]
    events = evidence.events(EventKind.SYNC)[["agent", "epoch", "version"]].tolist()
    taken = {(agent, epoch): version for agent, epoch, version in reversed(events)}  # of an epoch begun twice the first
    return epochs, np.array([taken.get(pair, -1) for pair in epochs[["agent", "epoch"]].tolist()], np.int64)


def syncs_against_epochs(evidence: Evidence) -> Comparison | None:
    """There is a sync event for every agent in every epoch in which one is due.

    Nothing is said where events are lost: an agent acts with a version, and no sync is known that took it.
    """
    epochs, taken = _synced(evidence)
    known = set(evidence.events(EventKind.SYNC)[["agent", "version"]].tolist())
    lost = evidence.history.lost["events"] or set(epochs[["agent", "policy_version"]].tolist()) - known
    return None if lost else compared(epochs, taken >= 0, 1, taken >= 0)


def version_acted_with(evidence: Evidence) -> Comparison | None:
    """At a finite lag exactly the version of the dial; free-running none that is older than what the sync took."""
    epochs, due = _synced(evidence)
    used = epochs["policy_version"]
    if evidence.lag is not None:
        due = np.maximum(epochs["epoch"] - evidence.lag, 0)
    return compared(epochs, used, due, used >= due if evidence.lag is None else used == due)


def lag_in_versions(evidence: Evidence) -> Comparison | None:
    """The actor is behind by no more versions than the dial, or pacing, allows."""
    epochs, limit = evidence.history.epochs, versions_allowed(evidence)
    return compared(epochs, epochs["sync_lag_versions"], limit, epochs["sync_lag_versions"] <= limit)


def versions_allowed(evidence: Evidence) -> int:
    """Most versions that a sound actor can be behind."""
    if evidence.lag is not None:
        return evidence.lag
    pacings = [config.pacing for config in evidence.settings.configs]
    epochs = max(each.max_ahead + each.max_behind for each in pacings) + max(each.sync_interval for each in pacings)
    updates = epochs * max(pacing.updates_per_epoch for pacing in pacings)
    return math.ceil(updates / min(pacing.publish_interval for pacing in pacings)) + 1


def updates_between_publications(evidence: Evidence) -> Comparison | None:
    """A publication brings no more updates than the interval."""
    published = evidence.events(EventKind.PUBLISH)
    published = published[np.lexsort((published["version"], published["agent"]))]
    later, earlier = published[1:], published[:-1]
    follows = (later["agent"] == earlier["agent"]) & (later["version"] == earlier["version"] + 1)
    updates = (later["update"] - earlier["update"])[follows]
    interval = "publish_interval" if evidence.lag is None else "updates_per_epoch"
    limit = max(getattr(config.pacing, interval) for config in evidence.settings.configs)
    return compared(later[follows], updates, limit, updates <= limit)


def epsilon_told(evidence: Evidence, event: str = "") -> Comparison | None:
    """Epsilon is what is due in its epoch: the one that the actor uses, or, with ``event``, that of all such events.

    A published snapshot belongs to the first epoch that can use it.
    """
    records = evidence.events(EventKind[event]) if event else evidence.history.epochs
    due = _by_epoch(records, lambda epoch: schedules.epsilon(evidence.settings.at(epoch), epoch))
    return compared(records, records["epsilon"], due, np.abs(records["epsilon"] - due) <= 1e-4)


def q_within_return(evidence: Evidence) -> Comparison | None:
    """No Q lies beyond the greatest return, the best reward in every turn forever, with a tenth to spare.

    Below :data:`FRESH_Q` nothing is said: where rewards are tiny, that is the network's first guess. Where the audit
    finds returns and targets right, no scale of rewards is to blame but steps that overshoot.
    """
    config, updates = evidence.config, evidence.history.updates
    if config.learning.gamma >= 1 or config.spec.reward_bound is None:
        return None
    limit = max(1.1 * config.spec.reward_bound * config.learning.reward_scale / (1 - config.learning.gamma), FRESH_Q)
    judged, rate = evidence.opinion.records, config.learning.learning_rate
    cause = "steps" if {each.stage for each in judged} >= {"return", "target"} else "either"
    detail = "" if any(each.finding for each in judged) else said(f"value.{cause}", rate=rate)
    return compared(updates, updates["max_q"], limit, updates["max_q"] <= limit, detail)


def updates_not_ahead(evidence: Evidence) -> Comparison | None:
    """No more updates than belong to the epochs collected, and what free-running learners may do ahead."""
    updates, settings = evidence.history.updates, evidence.settings
    ahead = max(math.floor(each.pacing.max_ahead * each.pacing.updates_per_epoch) for each in settings.configs)
    limit = _by_epoch(updates, lambda epoch: settings.updates_due(epoch + 1)) + (ahead if evidence.lag is None else 0)
    return compared(updates, updates["update"], limit, updates["update"] <= limit)


def updates_not_behind(evidence: Evidence) -> Found:
    """No fewer updates when an epoch ends than were needed to start it."""
    epochs, settings = _led(evidence), evidence.settings
    if evidence.config.replay.max_age:
        return Exempt("with replay.max_age updates are skipped for want of young rows")

    def due(epoch: int) -> int:
        if evidence.lag is not None:
            return settings.updates_due(max(0, epoch - evidence.lag))
        pacing = settings.at(epoch).pacing
        return settings.updates_due(epoch) - math.floor(pacing.max_behind * pacing.updates_per_epoch)

    limit = _by_epoch(epochs, due)
    made = epochs["policy_updates"] + epochs["sync_lag_updates"]
    return compared(epochs, made, np.maximum(limit, 0), made >= limit)


def _by_epoch(records: Records, read: Callable[[int], float]) -> NDArray[Any]:
    """Something that depends on the epoch, for each record."""
    epochs, place = np.unique(records["epoch"], return_inverse=True)
    return np.array([read(epoch) for epoch in epochs.tolist()])[place]


def no_process_lost(evidence: Evidence) -> Comparison | None:
    """Every child did its work to the end; one that died counts also where another took its place.

    The first death is told, or the one that ended the run.
    """
    if incidents := evidence.incidents:
        return unowned(1, 0, False, [int(each["epochs"]) for each in incidents], str(incidents[0]["text"]))
    if evidence.status in ("created", "starting"):
        return None
    first, *more = (evidence.error or "the parent process died before the end").strip().splitlines()
    gone, told = evidence.status in ("failed", "cut off"), f"{first} {more[-1].strip()}" if more else first
    return unowned(gone, 0, not gone, evidence.history.epochs_done, told)


def no_silence(evidence: Evidence) -> Comparison | None:
    """A run that has work left, and is not paused, records something now and then.

    What a sync or a publication ends is no pause of the run's own: either comes at once after work, which has a record,
    or after a :meth:`pause` or a resume.
    """
    history, config, updates = evidence.history, evidence.config, evidence.history.updates
    times = np.sort(np.concatenate([history.table(name)["time"] for name in TABLES]))
    if len(times) < 2:
        return None
    done = np.zeros(config.num_agents, np.int64)
    np.maximum.at(done, updates["agent"], updates["update"])
    slowest, total = int(done.argmin()), evidence.settings.total_updates
    finished = done[slowest] >= total and evidence.history.epochs_done >= config.epochs
    silence = 0.0 if finished else max(0.0, float(evidence.now - max(times[-1], evidence.paused_until)))
    own = np.diff(times)[~np.isin(times[1:], history.events["time"])]
    limit = max(config.processes.hang_timeout_s / 2, PAUSES * float(own.max(initial=0)))
    detail = f"agent {slowest} is furthest behind, at update {done[slowest]} of {total}"
    return unowned(silence, limit, silence <= limit, evidence.history.epochs_done, detail)


def greedy_above_chance(evidence: Evidence) -> Found:
    """A finished run earns more, acting greedily, than chance (where walls are known: that avoids them), beyond luck.

    It fails only where luck does not explain that it earns no tenth of what the scripted policy earns beyond chance, as
    far as that is known; between the two nothing is said. With too small a budget only success can be told: not to have
    learned yet is no failure.
    """
    if why := nothing_to_learn(evidence):
        return Exempt(why)
    found, best, settings = _greedy_and_chance(evidence), evidence.references.get("scripted"), evidence.settings
    if found is None:
        return said("learning.unfinished")
    reward, chance, error = found
    limit = chance + STANDARD_ERRORS * error
    if failed := reward <= limit:
        worth = LEAST_SHARE * (best["mean"] - chance) if best else 2 * STANDARD_ERRORS * error
        if (way := _way(settings)) < ENOUGH_WAY or reward + STANDARD_ERRORS * error > chance + worth:
            return said(
                "learning.open", reward=reward, chance=chance, error=error, errors=STANDARD_ERRORS, enough=ENOUGH_WAY,
                updates=settings.total_updates, way=way, full=FULL_BATCH, who=_who(evidence),
            )  # fmt: skip
    share = said("learning.share", share=(reward - chance) / (best["mean"] - chance)) if best else ""
    told = said("learning.limit", who=_who(evidence), limit=limit, errors=STANDARD_ERRORS)
    return unowned(reward, limit, not failed, evidence.config.epochs, told + share)


def greedy_as(evidence: Evidence, whose: Literal["others", "before"]) -> Comparison | None:
    """A finished run earns no less, acting greedily, than some others, but for what luck explains.

    These are others of its configuration, or its own weights before, in the second half of the training.
    By Student's t for one more reward of the kind. Rewards that are all alike are taken to differ by a little, and by
    no less than those of chance in as many worlds.
    """
    reward, error = greedy_reward(evidence.history), (_greedy_and_chance(evidence) or (0.0,))[-1]
    known = np.asarray(evidence.others if whose == "others" else _before(evidence))
    if evidence.status != "finished" or reward is None or len(known) < FEWEST_OTHERS:
        return None
    mean = float(known.mean())
    spread = max(float(known.std(ddof=1)), LEAST_SPREAD * abs(mean), error, 1e-9) * math.sqrt(1 + 1 / len(known))
    failed = chance_above(max(0.0, mean - reward) / spread, len(known) - 1) < OTHERS_ALARM
    return unowned(reward, mean, not failed, evidence.config.epochs, said(f"learning.{whose}", count=len(known)))


def _before(evidence: Evidence) -> list[float]:
    """Greedy rewards of the second half of a training, summed over agents, without those of its last weights.

    None where settings were changed meanwhile, which may have made the difference, and where luck has more say in the
    last one, as it is of fewer worlds.
    """
    table, epochs, size = evidence.history.evaluations, evidence.config.epochs, evidence.config.evaluation
    alike = not evidence.changes and size.worlds <= size.final_worlds
    half = table[(table["epoch"] >= epochs // 2) & (table["epoch"] < epochs - 1) & alike]
    return [float(half["reward"][half["epoch"] == epoch].sum()) for epoch in np.unique(half["epoch"]).tolist()]


def nothing_to_learn(evidence: Evidence) -> str:
    """Why no policy can earn more than chance in such a world, as far as its references tell.

    Where no scripted policy is known: why not to earn more than chance is no failure.
    """
    chance, best = _chance(evidence), evidence.references.get("scripted")
    if chance is None or best is None:
        reward = greedy_reward(evidence.history)
        alike = chance and reward is not None and chance["sd"] == 0 and math.isclose(reward, chance["mean"])
        return said("learning.alike", chance=reward) if alike else ""
    error = math.hypot(*(each["sd"] / math.sqrt(each["epochs"]) for each in (chance, best)))
    possible = best["mean"] > chance["mean"] + STANDARD_ERRORS * error
    return "" if possible else said("learning.nothing", best=best["mean"], chance=chance["mean"], who=_who(evidence))


def _chance(evidence: Evidence) -> Mapping[str, float] | None:
    return evidence.references.get("random_no_wall") or evidence.references.get("random")


def _who(evidence: Evidence) -> str:
    """What is chance in such a world."""
    return said(f"learning.{'careful' if evidence.references.get('random_no_wall') else 'chance'}")


def _greedy_and_chance(evidence: Evidence) -> tuple[float, float, float] | None:
    """Final greedy reward, what chance earns, the standard error between them; None if unknown."""
    chance, reward = _chance(evidence), greedy_reward(evidence.history)
    if evidence.status != "finished" or chance is None or reward is None:
        return None
    evaluations = evidence.history.evaluations
    worlds = max(1.0, float(evaluations["worlds"][evaluations["final"] == 1].min()))
    return reward, chance["mean"], chance["sd"] * math.sqrt(1 / chance["epochs"] + 1 / worlds)


def _way(settings: SettingsTimeline) -> float:
    """Sum of the step sizes of a run's updates, told from a thousand epochs at most; small batches count less."""
    some = np.unique(np.linspace(0, settings.config.epochs - 1, min(settings.config.epochs, 1000)).astype(int)).tolist()

    def way_of(epoch: int) -> float:
        first, end = settings.updates_due(epoch), settings.updates_due(epoch + 1)
        return (end - first) * schedules.learning_rate(settings.at(epoch), settings.schedule_position(first, epoch))

    share = min(1.0, settings.config.learning.batch_size / FULL_BATCH)
    return share * settings.config.epochs * float(np.mean([way_of(epoch) for epoch in some]))
