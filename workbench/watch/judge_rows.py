"""Checks of the data: what was stored against what was sampled, and what the actor saw against what the learner sees.

Rows are known by the fingerprints of their frames. A window is right if it ever existed: consecutive frames of one
episode, with blank frames, or the first one repeated, before the episode began. By content alone a broken window passes
where frames are few enough that the same window exists elsewhere; each check says how often that would happen.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from workbench.core.records import Records
from workbench.watch.findings import Array, Evidence, Finding, add, check, good, unknown
from workbench.watch.tensors import whole_hash

# Share of rows from which on something is wrong: less may be rows that were just being written.
SHARE = 0.001
_MIX = np.int64(0x9E3779B97F4A7C1)


def _pair(one: Array, other: Array) -> Array:
    """One number for two, (n,) int64."""
    with np.errstate(over="ignore"):
        return np.asarray(one * _MIX + (other ^ (other >> np.int64(29))) * np.int64(31))


@dataclass
class Rows:
    """What was stored and what was sampled of one agent's buffer.

    Attributes:
        stored: sorted by environment and row.
        episode: a number for each row's episode, unique over environments.
        sampled: the rows that were looked at and count.
        state, following: fingerprints of sampled states and next states, whole and by frame.
        windows: fingerprints of the states that a learner may see for each stored row: (variants, rows).
        across: those of the same rows if frames before the episode count as its own.
        stacks: whether states are stacked from frames that were stored one by one.
    """

    agent: int
    stored: Records
    episode: Array
    sampled: Records
    state: Array
    following: Array
    frames: Array
    next_frames: Array
    newest: Array
    windows: Array
    across: Array
    stacks: bool

    @functools.cached_property
    def known(self) -> Array:
        """Whether each sampled state ever existed, (m,)."""
        return np.isin(self.state, self.windows)

    @functools.cached_property
    def place(self) -> Array:
        """Which stored row a sampled state with its action can only be; -1 where none or several can, (m,)."""
        own = _pair(self.windows[0], self.stored["action"].view(np.int64))
        unique, first, count = np.unique(own, return_index=True, return_counts=True)
        wanted = _pair(self.state, self.sampled["action"].view(np.int64))
        at = np.minimum(np.searchsorted(unique, wanted), len(unique) - 1)
        return np.where((unique[at] == wanted) & (count[at] == 1), first[at], -1)

    @functools.cached_property
    def left(self) -> Array:
        """Rows that follow each stored row in its episode, (n,)."""
        ends = np.append(np.flatnonzero(np.diff(self.episode)), len(self.episode) - 1)
        return ends[np.searchsorted(ends, np.arange(len(self.episode)))] - np.arange(len(self.episode))


def rows_of(evidence: Evidence, agent: int) -> Rows | Finding:
    """The rows of an agent, which are prepared once for all checks; or why they cannot be compared."""
    kept: dict[int, Rows | Finding] = vars(evidence).setdefault("rows", {})
    if agent not in kept:
        kept[agent] = _prepare(evidence, agent)
    return kept[agent]


def _prepare(evidence: Evidence, agent: int) -> Rows | Finding:
    count = evidence.frames
    stored, sampled = evidence.of("stored", agent), evidence.of("sampled", agent)
    sampled = sampled[(sampled["time"] <= evidence.horizon) & (sampled["valid"] != 0)]
    if not len(stored):
        return add("store", "actor")
    if not len(sampled):
        return add("sample", "learner")
    stored = stored[np.lexsort((stored["row"], stored["env"]))]
    episode = np.cumsum(np.diff(stored["env"].astype(np.int64) * 2**40 + stored["episode"], prepend=-1) != 0)
    size, drawn = int(np.median(stored["size"])), int(np.median(sampled["size"]))
    hashes, seen = stored["frames"], sampled["frames"]
    single, stacked = hashes[:, 3 * count], hashes[:, 2 * count : 3 * count]
    stacks = count > 1 and drawn == count * size
    if stacks:
        windows, across = _windows(single, episode, count)
    elif drawn == size:
        windows = across = whole_hash(np.ascontiguousarray(stacked))[None]
    else:
        return unknown(f"agent {agent}: sampled states have {drawn} elements, stored ones {size}.")
    before, after = np.ascontiguousarray(seen[:, :count]), np.ascontiguousarray(seen[:, count:])
    return Rows(
        agent,
        stored,
        episode,
        sampled,
        whole_hash(before),
        whole_hash(after),
        before,
        after,
        single if stacks else stacked[:, -1],
        windows,
        across,
        stacks,
    )


def _windows(frames: Array, episode: Array, count: int) -> tuple[Array, Array]:
    """Fingerprints of the windows that end at each row: (2, n), blank or repeated before the episode; (1, n) across."""
    n = len(frames)
    places = np.arange(n)[:, None] + np.arange(1 - count, 1)
    begins = np.maximum.accumulate(np.where(np.diff(episode, prepend=-1) != 0, np.arange(n), 0))
    early = places < begins[:, None]
    content = frames[np.maximum(places, 0)]
    blank, repeated = np.where(early, 0, content), frames[np.maximum(places, begins[:, None])]
    return np.stack([whole_hash(blank), whole_hash(repeated)]), whole_hash(np.ascontiguousarray(content))[None]


Judged = Callable[[Evidence, Rows], Iterator[Finding]]


def _each(find: Judged) -> Callable[[Evidence], Iterator[Finding]]:
    """A check of every agent's rows, which are prepared once for all checks."""

    def all_agents(evidence: Evidence) -> Iterator[Finding]:
        """What the check finds in each agent's rows, or why it can find nothing."""
        for agent in evidence.agents:
            rows = rows_of(evidence, agent)
            if isinstance(rows, Finding):
                yield rows
            elif not rows.known.any() and not np.isin(rows.frames, rows.newest).any() and find is not _rows:
                yield unknown(
                    f"agent {agent}: no sampled state was ever stored: it is transformed, or from another buffer."
                )
            else:
                yield from find(evidence, rows)

    return all_agents


def _many(broken: Array, among: Array | None = None) -> bool:
    """Whether more rows are broken than may have been half written when they were looked at."""
    return bool(broken.sum() > max(1, SHARE * (len(broken) if among is None else among.sum())))


def _bad(evidence: Evidence, rows: Rows, broken: Array, about: str, said: str, among: Array | None = None) -> Finding:
    """Something is wrong with some of the sampled rows."""
    first = rows.sampled[int(np.argmax(broken))]
    of = len(broken) if among is None else int(among.sum())
    figure = f"{broken.sum() / max(of, 1):.1%} of {of} rows"
    return evidence.bad(about, rows.agent, first["time"], figure, f"{said} ({figure})", int(first["update"]))


def _rows(evidence: Evidence, rows: Rows) -> Iterator[Finding]:
    sampled, agent = rows.sampled, rows.agent
    distinct = len(np.unique(rows.newest))
    batches = np.unique(_pair(sampled["file"].astype(np.int64), sampled["batch"]), return_inverse=True)[1]
    sizes = np.bincount(batches)
    alike = np.bincount(batches, weights=rows.state == rows.state[_firsts(batches)][batches]) == sizes
    if distinct > 3 and alike[sizes > 3].mean() > 0.5:
        blank = "all zeros: " if (rows.state == 0).mean() > 0.5 else ""
        said = (
            f"batches are constant, {blank}the learner samples an empty buffer of its own, not the one that the actor"
            " fills"
        )
        yield _bad(evidence, rows, alike[batches], "constant", said)
        return
    parts = np.isin(rows.frames, rows.newest) | (rows.frames == 0)
    strange = ~rows.known & ~(parts.all(1) if rows.stacks else parts[:, -1])
    if strange.all():
        yield unknown(f"agent {agent}: no sampled row was ever stored: it is transformed, or from another buffer.")
        return
    if _many(strange):
        yield _bad(evidence, rows, strange, "never stored", "sampled states contain frames that were never stored")
    known = rows.known & (sampled["action"] != -1)
    ever = np.isin(
        _pair(rows.state, sampled["action"].view(np.int64)),
        np.concatenate([_pair(each, rows.stored["action"].view(np.int64)) for each in rows.windows]),
    )
    changed = known & ~ever
    if _many(changed, known) and changed.sum() < 0.95 * known.sum():
        yield _bad(
            evidence, rows, changed, "changed", "sampled rows have another action than was stored with them", known
        )
    content = _pair(rows.newest, rows.stored["action"].view(np.int64))
    again = np.append(False, (content[1:] == content[:-1]) & (rows.stored["reward"][1:] == rows.stored["reward"][:-1]))
    pairs, chance = _collisions(rows, batches)
    if again.mean() > 0.3 + chance and len(np.unique(content)) > 0.1 * len(content):
        said = (
            f"{again.mean():.0%} of the stored rows are the same as the row before: every row is stored more than once"
        )
        yield evidence.bad("duplicates", agent, rows.stored["time"][np.argmax(again)], f"{again.mean():.0%}", said)
    if pairs > 3 * chance + 0.25:
        said = f"two rows of a batch are the same row in {pairs:.0%} of all pairs, where {chance:.0%} are due"
        yield evidence.bad("duplicates", agent, sampled["time"][0], f"{pairs:.0%} of pairs", said)
    yield good(
        f"agent {agent}: {1 - strange.mean():.1%} of {len(sampled)} sampled rows were stored", f"{len(sampled)} rows"
    )


check("rows", "D1 D7 D8 D13", "sampled rows are rows that were stored")(_each(_rows))


def _firsts(batches: Array) -> Array:
    return np.unique(batches, return_index=True)[1]


def _collisions(rows: Rows, batches: Array) -> tuple[float, float]:
    """How often two rows of a batch are the same, and how often two rows drawn from all that is stored are."""
    content = _pair(_pair(rows.state, rows.following), rows.sampled["action"].view(np.int64))
    many = np.bincount(batches)
    same = np.unique(np.stack([batches, content]), axis=1, return_counts=True)[1]
    pairs = float((same * (same - 1)).sum() / max((many * (many - 1)).sum(), 1))
    early = max(len(rows.stored) // 10, 1)  # the first batches are drawn from few rows
    share = (
        np.unique(_pair(rows.windows[0], rows.stored["action"].view(np.int64))[:early], return_counts=True)[1] / early
    )
    return pairs, float((share**2).sum())


def _power(rows: Rows) -> str:
    """How often a broken window would pass by content alone."""
    share = np.unique(rows.newest, return_counts=True)[1] / len(rows.newest)
    return f"by content alone a broken window would be missed in {min(1.0, float((share**2).sum())):.0%} of cases"


def _find_windows(evidence: Evidence, rows: Rows) -> Iterator[Finding]:
    sampled, n_step = rows.sampled, evidence.declared["n_step"] or 1
    parts = (np.isin(rows.frames, rows.newest) | (rows.frames == 0)).all(1)
    states = ~rows.known & parts & rows.stacks
    index, capacity = sampled["index"], evidence.declared["capacity"]
    if _many(states):
        head = _at_write_head(rows, index, capacity)
        across = np.isin(rows.state, rows.across) & states
        if (states & head).sum() > 0.5 * states.sum():
            yield _bad(
                evidence, rows, states, "write head", "stacks mix the newest frames with the oldest at the write head"
            )
        else:
            how = (
                "mix two episodes" if across.sum() > 0.5 * states.sum() else "are no consecutive frames of one episode"
            )
            yield _bad(evidence, rows, states, "states", f"stacked states {how}")
    if not rows.stacks and evidence.frames > 1:
        stacked = rows.stored["frames"][:, 2 * evidence.frames : 3 * evidence.frames]
        whole = (rows.stored["chunks"] == evidence.frames)[1:] & (np.diff(rows.episode) == 0)
        shifted = (stacked[1:, :-1] == stacked[:-1, 1:]).all(1)
        broken = np.append(False, whole & ~shifted)
        if _many(broken, whole):
            said = f"stored stacks are no consecutive frames ({broken.sum()} of {whole.sum()} rows)"
            yield evidence.bad(
                "states", rows.agent, rows.stored["time"][np.argmax(broken)], f"{broken.mean():.1%}", said
            )
    counted = rows.known & (sampled["done"] == 0)
    wrong = counted & ~_next_fits(rows, n_step)
    if _many(wrong, counted):
        crossing = np.isin(_pair(rows.state, rows.following), _crossing(rows, n_step)) & wrong
        how = (
            "belong to the next episode"
            if crossing.sum() > 0.5 * wrong.sum()
            else f"are not the states 1 to {n_step} steps later in the same episode"
        )
        yield _bad(evidence, rows, wrong, "next states", f"next states {how}", counted)
    yield good(
        f"agent {rows.agent}: {len(sampled)} rows are windows of one episode; {_power(rows)}", f"{len(sampled)} rows"
    )


check("windows", "D3 D9 D10", "stacks and (state, next state) are consecutive frames of one episode")(
    _each(_find_windows)
)


def _next_fits(rows: Rows, n_step: int) -> Array:
    """Whether a sampled next state may follow its state, (m,)."""
    following = rows.stored["has_next"] > 0
    allowed = [rows.stored["frames"][following][:, :0].sum(1)]
    if following.any():  # the buffer keeps next states: they are compared with what was stored
        count = rows.frames.shape[1]
        stored = whole_hash(np.ascontiguousarray(rows.stored["frames"][following, count : 2 * count]))
        allowed = [_pair(each[following], stored) for each in rows.windows]
        if n_step == 1:
            return np.isin(_pair(rows.state, rows.following), np.concatenate(allowed))
    near = np.zeros(len(rows.stored), bool)
    for step in range(1, n_step + 1):
        inside = rows.left >= step
        places = np.flatnonzero(inside)
        allowed += [_pair(one[places], other[places + step]) for one in rows.windows for other in rows.windows]
        near |= ~inside  # what comes after the last row of an episode was never stored
    fits = np.isin(_pair(rows.state, rows.following), np.concatenate(allowed))
    at_end = np.isin(rows.state, rows.windows[:, near]) & ~np.isin(
        _pair(rows.state, rows.following), _crossing(rows, n_step)
    )
    return np.asarray(fits | at_end)


def _crossing(rows: Rows, n_step: int) -> Array:
    """Pairs of a state and one of the next episode, as a buffer gives them that knows no episodes."""
    pairs = []
    for step in range(1, n_step + 1):
        places = np.flatnonzero((rows.left < step)[: max(len(rows.stored) - step, 0)])
        places = places[rows.stored["env"][places] == rows.stored["env"][places + step]]
        targets = (*rows.windows, *rows.across)
        pairs += [
            _pair(one[places], other[places + step]) for one in (*rows.windows, *rows.across) for other in targets
        ]
    return np.concatenate(pairs) if pairs else np.zeros(0, np.int64)


def _at_write_head(rows: Rows, index: Array, capacity: int | None) -> Array:
    """Whether the window of a sampled row crosses the place that was written last, (m,)."""
    if capacity is None or (index < 0).all() or (rows.stored["index"] < 0).all():
        return np.zeros(len(index), bool)
    order = np.argsort(rows.stored["time"], kind="stable")
    times, places = rows.stored["time"][order], rows.stored["index"][order]
    newest = places[np.maximum(np.searchsorted(times, rows.sampled["time"]) - 1, 0)]
    return np.asarray((index - newest - 1) % capacity < rows.frames.shape[1] + 1)


@check("shapes", "D4 D5 D6", "states have the shape that was stored, and the actor feeds what the learner feeds")
def _shapes(evidence: Evidence) -> Iterator[Finding]:
    for agent in evidence.agents:
        stored, sampled = evidence.of("stored", agent), evidence.of("sampled", agent)
        acts, updates = evidence.of("acts", agent), evidence.of("updates", agent)
        fed, learned = acts["size"][acts["size"] > 0], updates["size"][updates["size"] > 0]
        if len(stored) and len(sampled):
            size, drawn = int(np.median(stored["size"])), int(np.median(sampled["size"]))
            if drawn not in (size, evidence.frames * size):
                said = (
                    f"stored rows have {size} elements, sampled states {drawn}: neither one frame nor {evidence.frames}"
                )
                yield evidence.bad("sampled", agent, sampled["time"][0], f"{drawn} against {size}", said)
            elif np.ptp(stored["size"]):
                said = f"rows of {stored['size'].min()} to {stored['size'].max()} elements were stored"
                yield evidence.bad("sampled", agent, stored["time"][0], "sizes differ", said)
            else:
                yield good(f"agent {agent}: {size} elements stored, {drawn} sampled", f"{drawn}")
        if len(fed) and len(learned):
            one, other = int(np.median(fed)), int(np.median(learned))
            if one % other and other % one:
                said = f"the actor feeds its network {one} elements, the learner {other}"
                yield evidence.bad("fed", agent, acts["time"][0], f"{one} against {other}", said)
        if not len(stored) or not len(sampled):
            yield add("store", "actor") if not len(stored) else add("sample", "learner")


def _coverage(evidence: Evidence, rows: Rows) -> Iterator[Finding]:
    sampled, agent = rows.sampled, rows.agent
    order = np.argsort(rows.stored["time"], kind="stable")
    written = np.searchsorted(rows.stored["time"][order], sampled["time"])
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    place = rows.place
    told = (place >= 0) & (written > 100)
    if told.sum() < 100:
        yield unknown(f"agent {agent}: too few sampled rows are known for certain to tell their age.")
        return
    kept = np.minimum(written, evidence.declared["capacity"] or written)[told]
    age = np.maximum(written[told] - rank[place[told]], 0) / kept
    index, of = sampled["index"][sampled["index"] >= 0], min(len(rows.stored), evidence.declared["capacity"] or 2**62)
    seen, due = len(np.unique(place[told])) / len(rows.stored), 1 - np.exp(-told.sum() / len(rows.stored))
    if len(index):
        seen, due = len(np.unique(index)) / of, 1 - np.exp(-len(index) / of)
    figure = f"{seen:.0%} of rows seen"
    if np.quantile(age, 0.1) > 0.5:
        said = f"new rows are hardly ever sampled: nine of ten are in the older half (median age {np.median(age):.0%})"
        yield evidence.bad("age", agent, sampled["time"][0], f"median age {np.median(age):.0%}", said)
    elif due > 0.3 and seen < 0.4 * due:
        said = f"only {seen:.0%} of what was stored was ever sampled, where {due:.0%} are due"
        yield evidence.bad("share", agent, sampled["time"][0], figure, said)
    else:
        yield good(
            f"agent {agent}: {seen:.0%} of the stored rows were seen in what was looked at; their median age is "
            f"{np.median(age):.0%} of the buffer",
            figure,
        )


check("coverage", "D7 D15", "the buffer is sampled from all over, and new rows among it")(_each(_coverage))


def _actor_input(evidence: Evidence, rows: Rows) -> Iterator[Finding]:
    count = evidence.frames
    fed = rows.stored["frames"][:, :count]
    has = rows.stored["fed_size"] == rows.sampled["size"][0]
    if not has.any():
        yield unknown(
            f"agent {rows.agent}: what the actor feeds its network has another size than sampled states, or "
            "`watch.act(agent, model=...)` is missing in the actor."
        )
        return
    whole = whole_hash(np.ascontiguousarray(fed))
    readable = has & (np.isin(fed, rows.newest) | (fed == 0)).all(1)
    if readable.sum() < 0.5 * has.sum():
        yield unknown(
            f"agent {rows.agent}: the actor feeds its network something else than stored frames (transformed?)."
        )
        return
    unique, first, many = np.unique(rows.newest, return_index=True, return_counts=True)
    at = np.minimum(np.searchsorted(unique, rows.frames[:, -1]), len(unique) - 1)
    place = first[at]
    told = (unique[at] == rows.frames[:, -1]) & (many[at] == 1) & readable[place]
    other = told & (whole[place] != rows.state)
    unlike = readable & ~(whole == rows.windows).any(0)
    if _many(other, told):
        said = (
            "for the same step the actor feeds its network other frames than the learner: one of them clears or mixes"
            " its history"
        )
        yield _bad(evidence, rows, other, "input", said, told)
    elif _many(unlike, readable):
        when = rows.stored["time"][np.argmax(unlike)]
        figure = f"{unlike.sum() / readable.sum():.1%} of {readable.sum()} steps"
        said = f"the actor feeds its network frames that are no window of the episode ({figure})"
        yield evidence.bad("input", rows.agent, when, figure, said)
    else:
        yield good(f"agent {rows.agent}: fed alike in {readable.sum()} steps", f"{readable.sum()} steps")


check("actor_input", "D2 D3", "for the same step, actor and learner feed the same")(_each(_actor_input))


@check("done", "D11", "the ends of episodes are marked, and arrive in the samples")
def _done(evidence: Evidence) -> Iterator[Finding]:
    for agent in evidence.agents:
        stored, sampled = evidence.of("stored", agent), evidence.of("sampled", agent)
        if not len(stored):
            yield add("store", "actor")
            continue
        ended, episodes = (stored["done"] > 0) | (stored["truncated"] > 0), len(np.unique(stored[["env", "episode"]]))
        final = (stored["done"] > 0) & (stored["truncated"] <= 0)
        if episodes > 2 and not ended.any():
            said = (
                f"`done` was never set, though {episodes} episodes began: values leak across their ends; if they end by"
                " a time limit, say so with truncated=, and let no row cross the end"
            )
            yield evidence.bad("never set", agent, stored["time"][0], f"0 of {episodes} episodes", said)
        elif final.mean() > 0.005 and len(sampled) > 200 and not (sampled["done"] > 0).any():
            said = (
                f"`done` is set in {final.sum()} stored rows and in none of {len(sampled)} sampled ones: it is lost on"
                " the way"
            )
            yield evidence.bad("lost", agent, sampled["time"][0], f"0 of {len(sampled)} rows", said)
        else:
            yield good(
                f"agent {agent}: {ended.sum()} ends in {episodes} episodes", f"{ended.sum()} of {len(stored)} rows"
            )


def steps_of(rows: Rows, gamma: float, n_step: int) -> tuple[float, float, Array]:
    """How many of the sampled rows hold the reward of one step, and of n; and the rows where these differ, (m,)."""
    rewards, summed = rows.stored["reward"], np.zeros(len(rows.stored))
    for step in range(n_step):
        inside = np.flatnonzero(rows.left >= step)
        summed[inside] += gamma**step * rewards[inside + step]
    one, whole, got = rewards[rows.place], summed[rows.place], rows.sampled["reward"]
    told = (rows.place >= 0) & (rows.left[rows.place] >= n_step) & ((n_step == 1) | ~np.isclose(one, whole, 1e-4, 1e-4))
    single, many = (np.isclose(got, each, 1e-3, 1e-4)[told].mean() if told.any() else 0.0 for each in (one, whole))
    return float(single), float(many), told


def _n_step(evidence: Evidence, rows: Rows) -> Iterator[Finding]:
    gamma, n_step = evidence.declared["gamma"], evidence.declared["n_step"]
    if gamma is None or n_step is None:
        yield unknown("Cannot tell: declare gamma and n_step to wb.Watch.")
        return
    single, many, told = steps_of(rows, gamma, n_step)
    if told.sum() < 10:
        yield unknown(
            f"agent {rows.agent}: too few sampled rows are known for certain to tell how many steps they span."
        )
    elif n_step > 1 and single > 0.5 > many:
        said = f"sampled rows hold the reward of one step, where n_step = {n_step} is declared"
        yield _bad(evidence, rows, told, "rows", said)
    elif many > 0.5:
        yield good(f"agent {rows.agent}: sampled rows span {n_step} steps ({many:.0%} of {told.sum()})", f"{many:.0%}")
    else:
        yield unknown(
            f"agent {rows.agent}: sampled rewards are neither those of one step nor of {n_step} (transformed?)."
        )


check("n_step", "D12", "rows span the declared number of steps")(_each(_n_step))


@check("discount", "D11 D12", "targets use gamma^n, and nothing behind a terminal row")
def _discount(evidence: Evidence) -> Iterator[Finding]:
    gamma, n_step = evidence.declared["gamma"], evidence.declared["n_step"] or 1
    for agent in evidence.agents:
        updates, stored = evidence.of("updates", agent), evidence.of("stored", agent)
        told = updates[updates["discount_rows"] > 0]
        if not len(told):
            yield unknown(
                "Cannot tell: add `update.log(target=..., bootstrap=...)`, and `watch.sample(...)` before it."
            )
            continue
        used, spread = (
            float(np.median(told["discount"])),
            float(np.median(told["discount_high"] - told["discount_low"])),
        )
        error = told["terminal_error"][np.isfinite(told["terminal_error"])]
        if len(error) and np.median(error) > 0.1 and ((stored["done"] > 0) & (stored["truncated"] <= 0)).any():
            said = (
                "targets bootstrap through rows that are terminal: the value behind the end counts; multiply by 1 -"
                " done"
            )
            yield evidence.bad("terminal", agent, told["time"][0], f"{np.median(error):.2g}", said)
        if gamma is None:
            yield unknown(
                f"agent {agent}: targets use a discount of {used:.6g}; declare gamma and n_step to judge that."
            )
            continue
        rows = rows_of(evidence, agent)
        single, many, differ = steps_of(rows, gamma, n_step) if isinstance(rows, Rows) else (0.0, 0.0, np.zeros(0))
        steps = 1 if differ.sum() >= 10 and single > 0.5 > many else n_step
        due, figure = gamma**steps, f"{used:.6g}"
        if abs(used - due) <= max(1e-4, 0.05 * (1 - gamma)):
            yield good(f"agent {agent}: targets use a discount of {used:.6g}, which is gamma^{steps}", figure)
        elif spread > 0.1 * due:
            yield unknown(f"agent {agent}: the target is no reward plus a discounted value (rewards are transformed?).")
        else:
            said = f"targets use a discount of {used:.6g}, where rows of {steps} steps need gamma^{steps} = {due:.6g}"
            yield evidence.bad("discount", agent, told["time"][0], figure, said)
