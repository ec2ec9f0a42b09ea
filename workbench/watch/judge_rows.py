"""Checks of the data: what was stored against what was sampled, and what the actor saw against what the learner sees.

Rows are known by the fingerprints of their frames. A window is right if it ever existed: consecutive frames of one
episode, with blank frames, or the first one repeated, before the episode began. By content alone a broken window passes
where frames are few enough that the same window exists elsewhere; each check says how often that would happen.
"""

import functools
from collections.abc import Callable
from contextlib import suppress

import numpy as np

from workbench.core.records import Records
from workbench.diagnose import reference
from workbench.watch.findings import Array, Case, Finding, Told, check_each_agent
from workbench.watch.tensors import whole_hash

# Share of rows from which on something is wrong: less may be rows that were just being written.
SHARE = 0.001
# Share of states that were never stored from which on they are transformed, as a whole or in part; and if stacked.
TRANSFORMED = 0.3, 0.95
# Rows of one episode from which on somebody should have said where episodes end.
ENOUGH = 10_000
# Rows whose return is computed once more.
MOST_COMPUTED = 5000
_MIX = np.int64(0x9E3779B97F4A7C1)


def _pair(one: Array, other: Array) -> Array:
    """One number for two, (n,) int64."""
    other = other.view(np.int64)
    return np.asarray(one * _MIX + (other ^ (other >> np.int64(29))) * np.int64(31))


def _only_place(wanted: Array, values: Array) -> Array:
    """Where each wanted number stands among n values; -1 where it does not, or more than once, (m,)."""
    unique, first, count = np.unique(values, return_index=True, return_counts=True)
    at = np.minimum(np.searchsorted(unique, wanted), len(unique) - 1)
    return np.where((unique[at] == wanted) & (count[at] == 1), first[at], -1)


class Rows:
    """What was stored and what was sampled of one agent's buffer.

    Raises:
        Told: the two cannot be compared.

    Attributes:
        stored: sorted by environment and row.
        episode: a number for each row's episode, unique over environments.
        sampled: the rows that were looked at and count.
        frames: fingerprints of the frames of each sampled state.
        newest: that of the newest frame of each stored state.
        windows: fingerprints of the states that a learner may see for each stored row: (variants, rows).
        across: those of the same rows if frames before the episode count as its own.
        stacks: whether states are stacked from frames that were stored one by one.
    """

    def __init__(self, case: Case) -> None:
        count, stored, sampled = case.evidence.frames, case.table("stored"), case.table("sampled")
        sampled = sampled[(sampled["time"] <= case.evidence.horizon) & (sampled["valid"] != 0)]
        case.need(len(stored), "store")
        case.need(len(sampled), "sample")
        # processes that play for one agent each count rows and episodes by themselves
        stored = stored[np.lexsort((stored["row"], stored["env"], stored["file"]))]
        self.stored, self.sampled, ids = stored, sampled, stored[["file", "env", "episode"]]
        self.episode = np.cumsum(np.append(True, ids[1:] != ids[:-1]))
        size, drawn = int(np.median(stored["size"])), int(np.median(sampled["size"]))
        following, stacked, single = (stored["frames"][:, k * count : (k + 1) * count] for k in (1, 2, 3))
        self.stacks = count > 1 and drawn == count * size
        case.need(self.stacks or drawn == size, "elements", drawn=drawn, stored=size)
        self.windows = self.across = whole_hash(stacked)[None]
        if self.stacks:
            self.windows, self.across = _hashes_of_windows(single[:, 0], self.episode, count)
        self.frames, self.newest = sampled["frames"][:, :count], single[:, 0] if self.stacks else stacked[:, -1]
        self.state, after = (whole_hash(each) for each in np.split(sampled["frames"], 2, axis=1))
        self.when = sampled["time"], sampled["update"]
        self.has_next, self.order = stored["has_next"] > 0, np.argsort(stored["time"], kind="stable")
        self.following = whole_hash(following)  # of each stored row's next state
        self.known = np.isin(self.state, self.windows)  # whether each sampled state ever existed
        self.moves = _pair(self.state, after)  # from state to next state
        self.parts = np.isin(self.frames, self.newest) | (self.frames == 0)  # whether each frame was ever stored
        # sampled states that were never stored; where many are, the trainer changes states before it learns from them
        self.strange = ~self.known & ~(self.parts.all(1) if self.stacks else self.parts[:, -1])
        self.transformed = bool(self.strange.mean() > TRANSFORMED[self.stacks])
        acted = _pair(self.windows[0], self.stored["action"])
        self.place = _only_place(_pair(self.state, self.sampled["action"]), acted)  # the only row it can be, or -1
        # rows that follow each stored row in its episode
        self.left = np.searchsorted(self.episode, self.episode, "right") - 1 - np.arange(len(self.episode))


def rows_of(case: Case) -> Rows:
    """The rows of an agent, which are prepared once for all checks.

    Raises:
        Told: they cannot be compared.
    """
    kept: dict[int | None, Rows] = vars(case.evidence).setdefault("rows", {})
    if case.agent not in kept:
        kept[case.agent] = Rows(case)
    return kept[case.agent]


def _hashes_of_windows(frames: Array, episode: Array, count: int) -> tuple[Array, Array]:
    """Fingerprints of the windows that end at each row: (2, n), blank or repeated before the episode; (1, n) across."""
    places, begins = np.arange(len(frames))[:, None] + np.arange(1 - count, 1), np.searchsorted(episode, episode)
    content = frames[np.maximum(places, 0)]
    blank, repeated = np.where(places < begins[:, None], 0, content), frames[np.maximum(places, begins[:, None])]
    return np.stack([whole_hash(blank), whole_hash(repeated)]), whole_hash(content)[None]


def check_rows(find: Callable[[Case, Rows], Finding]) -> None:
    """Make a function a check of each agent's rows, which are prepared once for all checks."""

    @functools.wraps(find)
    def of_agent(case: Case) -> Finding:
        """What the check finds in the rows of an agent."""
        rows = rows_of(case)
        if case.check != "rows":
            case.need(not rows.transformed, "rows")
            case.need(not ends_mostly(rows.stored), "ends")
        return find(case, rows)

    check_each_agent(of_agent)


def ends_mostly(stored: Records) -> bool:
    """Whether most of the stored rows are marked as ends."""
    return bool(2 * (stored["done"] > 0).sum() > len(stored))


def _many(broken: Array, among: Array | None = None) -> bool:
    """Whether more rows are broken than may have been half written when they were looked at."""
    return bool(broken.sum() > max(1, SHARE * (len(broken) if among is None else among.sum())))


@check_rows
def _rows(case: Case, rows: Rows) -> Finding:
    sampled, stored = rows.sampled, rows.stored
    batches = np.unique(_pair(sampled["file"].astype(np.int64), sampled["batch"]), return_inverse=True)[1]
    sizes, firsts = np.bincount(batches), np.unique(batches, return_index=True)[1]
    alike = np.bincount(batches, weights=rows.state == rows.state[firsts][batches]) == sizes
    constant, zeros = len(np.unique(rows.newest)) > 3 and alike[sizes > 3].mean() > 0.5, (rows.state == 0).mean() > 0.5
    case.stop(constant, "zeros" if zeros else "constant", *rows.when, alike[batches])
    case.stop(rows.transformed, "elsewhere", share=rows.strange.mean())
    case.also(_many(rows.strange), "never stored", *rows.when, rows.strange)
    known = rows.known & (sampled["action"] != -1)
    acted = [_pair(each, stored["action"]) for each in rows.windows]
    changed = known & ~np.isin(_pair(rows.state, sampled["action"]), np.concatenate(acted))
    case.also(_many(changed, known) and changed.sum() < 0.95 * known.sum(), "changed", *rows.when, changed, known)
    content = _pair(rows.newest, stored["action"])
    again = np.append(False, (content[1:] == content[:-1]) & (stored["reward"][1:] == stored["reward"][:-1]))
    twin = again | np.append(again[1:], False)  # an agent that stands still repeats itself, but not while it moves
    repeats = twin.mean() > 0.9 and len(np.unique(content)) > 0.1 * len(content)
    case.also(repeats, "duplicates", stored["time"], broken=again)
    return case.say("stored", share=1 - rows.strange.mean(), rows=len(sampled))


@check_rows
def _windows(case: Case, rows: Rows) -> Finding:
    evidence, sampled, n_step = case.evidence, rows.sampled, case.evidence.declared["n_step"] or 1
    states = ~rows.known & rows.parts.all(1) & rows.stacks
    if _many(states):
        head = _at_write_head(rows, sampled["index"], evidence.declared["capacity"])
        how = {"write head": head, "episodes": np.isin(rows.state, rows.across), "states": states}
        name = next(name for name, where in how.items() if (states & where).sum() > 0.5 * states.sum())
        case.found.append(case.say(name, *rows.when, states))
    if not rows.stacks and evidence.frames > 1:
        stacked = rows.stored["frames"][:, 2 * evidence.frames : 3 * evidence.frames]
        whole = (rows.stored["chunks"] == evidence.frames)[1:] & (np.diff(rows.episode) == 0)
        broken = np.append(False, whole & ~(stacked[1:, :-1] == stacked[:-1, 1:]).all(1))
        case.also(_many(broken, whole), "stored", rows.stored["time"], broken=broken, among=whole)
    broken, among = _stored_next(rows, n_step)
    if not rows.stacks and broken.sum() > 0.5 * among.sum():
        case.stop(np.isin(rows.following[broken], rows.windows[0]).mean() < 0.5, "other content")
        case.stop(_interleaved(rows, broken), "interleaved")
        case.found.append(case.say("stored next", rows.stored["time"], broken=broken, among=among))
    counted = rows.known & (sampled["done"] == 0)
    wrong = counted & ~_next_fits(rows, n_step)
    if _many(wrong, counted):
        crossing = np.isin(rows.moves, _crossing(rows, n_step)) & wrong
        name = "crossing" if crossing.sum() > 0.5 * wrong.sum() else "next states"
        case.found.append(case.say(name, *rows.when, wrong, counted, n_step=n_step))
    shares = np.unique(rows.newest, return_counts=True)[1] / len(rows.newest)
    return case.say("whole", rows=len(sampled), missed=min(1.0, float((shares**2).sum())))  # two that are the same


def _interleaved(rows: Rows, broken: Array) -> bool:
    """Whether most rows whose next state is another one were stored with that of 2 to 64 rows later."""
    own, after, places = rows.windows[0], rows.following, np.flatnonzero(broken)
    later = [np.minimum(places + step, len(own) - 1) for step in range(2, 65)]
    found = (after[broken] != own[broken]) & np.any([after[broken] == own[each] for each in later], axis=0)
    return bool(found.mean() > 0.5)


def _stored_next(rows: Rows, n_step: int) -> tuple[Array, Array]:
    """Which rows were stored with a next state that is none of their episode's 1 or n rows later; and of which rows."""
    places = np.arange(len(rows.left))
    later = [np.minimum(places + step, len(places) - 1) for step in (1, n_step)]
    among = rows.has_next & (rows.left >= n_step)
    return among & ~np.any([rows.windows[:, each] == rows.following for each in later], axis=(0, 1)), among


def _next_fits(rows: Rows, n_step: int) -> Array:
    """Whether a sampled next state may follow its state, (m,)."""
    # where the buffer keeps next states, they are compared with what was stored
    allowed = [_pair(each[rows.has_next], rows.following[rows.has_next]) for each in rows.windows]
    if rows.has_next.any() and n_step == 1:
        return np.isin(rows.moves, np.concatenate(allowed))
    for step in range(1, n_step + 1):
        places = np.flatnonzero(rows.left >= step)
        allowed += [_pair(one[places], other[places + step]) for one in rows.windows for other in rows.windows]
    # what comes after the last row of an episode was never stored
    at_end = np.isin(rows.state, rows.windows[:, rows.left < n_step]) & ~np.isin(rows.moves, _crossing(rows, n_step))
    return np.asarray(np.isin(rows.moves, np.concatenate(allowed)) | at_end)


def _crossing(rows: Rows, n_step: int) -> Array:
    """Pairs of a state and one of the next episode, as a buffer gives them that knows no episodes."""
    pairs, states = [np.zeros(0, np.int64)], (*rows.windows, *rows.across)
    for step in range(1, n_step + 1):
        places = np.flatnonzero((rows.left < step)[: max(len(rows.stored) - step, 0)])
        places = places[rows.stored[["file", "env"]][places] == rows.stored[["file", "env"]][places + step]]
        pairs += [_pair(one[places], other[places + step]) for one in states for other in states]
    return np.concatenate(pairs)


def _at_write_head(rows: Rows, index: Array, capacity: int | None) -> Array:
    """Whether the window of a sampled row crosses the place that was written last, (m,)."""
    if capacity is None or (index < 0).all() or (rows.stored["index"] < 0).all():
        return np.zeros(len(index), bool)
    times, places = rows.stored["time"][rows.order], rows.stored["index"][rows.order]
    newest = places[np.maximum(np.searchsorted(times, rows.sampled["time"]) - 1, 0)]
    return np.asarray((index - newest - 1) % capacity < rows.frames.shape[1] + 1)


@check_each_agent
def _shapes(case: Case) -> Finding:
    stored, sampled, frames = case.table("stored"), case.table("sampled"), case.evidence.frames
    case.need(len(stored), "store")
    case.need(len(sampled), "sample")
    size, drawn = int(np.median(stored["size"])), int(np.median(sampled["size"]))
    case.stop(drawn not in (size, frames * size), "sampled", sampled["time"], stored=size, drawn=drawn, frames=frames)
    least, most = stored["size"].min(), stored["size"].max()
    case.stop(least < most, "sizes", stored["time"], least=least, most=most)
    return case.say("alike", stored=size, drawn=drawn)


@check_rows
def _coverage(case: Case, rows: Rows) -> Finding:
    sampled, place, capacity = rows.sampled, rows.place, case.evidence.declared["capacity"]
    written = np.searchsorted(rows.stored["time"][rows.order], sampled["time"])
    told = (place >= 0) & (written > 100)
    case.stop(told.sum() < 100, "few")
    kept = np.minimum(written, capacity or written)
    ranks = np.argsort(rows.order)[place[told]]
    age, newest = np.maximum(written[told] - ranks, 0) / kept[told], np.maximum.accumulate(ranks)
    drawn, of, top, low = place[told], len(rows.stored), written[told], (written - kept)[told]
    if (chosen := sampled["index"] >= 0).any():
        drawn, of, top, low = sampled["index"][chosen], min(of, capacity or of), kept[chosen], 0 * kept[chosen]
    # how often each row was due: a draw is from as many rows as there were then
    each = 1 / np.maximum(top - low, 1)
    above, below = (np.bincount(np.minimum(edge, of), each, of + 1)[:0:-1].cumsum() for edge in (top, low))
    seen, due = len(np.unique(drawn)) / of, float((1 - np.exp(below - above)).mean())
    # if the newest row that was ever drawn keeps moving, far behind what is stored, rows may wait on their way
    waits, moves = np.median(written[told] - newest), newest[len(newest) // 2] < 0.9 * newest[-1]
    name = "waiting" if moves and waits > 0.4 * np.median(kept[told]) else "age"
    case.stop(np.quantile(age, 0.1) > 0.5, name, sampled["time"], age=np.median(age), waits=waits)
    case.stop(due > 0.3 and seen < 0.4 * due, "share", sampled["time"], seen=seen, due=due)
    return case.say("seen", seen=seen, age=np.median(age))


@check_rows
def _actor_input(case: Case, rows: Rows) -> Finding:
    fed = rows.stored["frames"][:, : case.evidence.frames]
    has = rows.stored["fed_size"] == rows.sampled["size"][0]
    readable = has & (np.isin(fed, rows.newest) | (fed == 0)).all(1)
    case.stop(not has.any(), "size")
    n_step = case.evidence.declared["n_step"] or 1
    broken, among = _stored_next(rows, n_step)
    case.stop(broken.sum() > 0.5 * among.sum() and _interleaved(rows, broken), "late")
    case.stop(n_step > 1 and summed_before(rows, n_step), "late")
    case.stop(readable.sum() < 0.5 * has.sum(), "transformed")
    whole, place = whole_hash(fed), _only_place(rows.frames[:, -1], rows.newest)
    told = (place >= 0) & readable[place]
    other = told & (whole[place] != rows.state)
    unlike = readable & ~(whole == rows.windows).any(0)
    case.stop(_many(other, told), "input", *rows.when, other, told)
    case.stop(_many(unlike, readable), "window", rows.stored["time"], None, unlike, readable)
    return case.say("alike", steps=readable.sum())


@check_each_agent
def _done(case: Case) -> Finding:
    stored, sampled = case.table("stored"), case.table("sampled")
    case.need(len(stored), "store")
    final = (stored["done"] > 0) & (stored["truncated"] <= 0)
    ended = (stored["done"] > 0) | (stored["truncated"] > 0)
    episodes = len(np.unique(stored[["file", "env", "episode"]]))
    if not ended.any():
        case.stop(episodes == 1 and len(stored) > ENOUGH, "unmarked", rows=len(stored))
        case.stop(episodes > 2 and (stored["has_next"] > 0).all(), "untold", episodes=episodes)
        case.stop(episodes > 2, "never set", stored["time"], episodes=episodes)
    lost = final.mean() > 0.005 and len(sampled) > 200 and not (sampled["done"] > 0).any()
    case.stop(lost, "lost", sampled["time"], final=final.sum(), rows=len(sampled))
    return case.say("marked", ended=ended.sum(), episodes=episodes, rows=len(stored))


def steps_of(rows: Rows, gamma: float, n_step: int) -> tuple[float, float, Array, Array]:
    """How many of the sampled rows hold the reward of one step, and of n; where these differ, (m,), and n's there.

    What is due is computed as for the workbench's own runs, of the first rows that are known for certain.
    """
    known = np.flatnonzero((rows.place >= 0) & (rows.left[rows.place] >= n_step))[:MOST_COMPUTED]
    rewards, ends, cuts = rows.stored["reward"], rows.stored["done"] > 0, rows.stored["truncated"] > 0

    def due(steps: int) -> Array:
        windows = (slice(place, place + n_step) for place in rows.place[known])
        return np.array([reference.n_step(rewards[of], ends[of], cuts[of], gamma, steps, 1.0)[0] for of in windows])

    got, one, whole = rows.sampled["reward"][known], due(1), due(n_step)
    differ = (n_step == 1) | ~np.isclose(one, whole, 1e-4, 1e-4)
    single, many = (np.isclose(got, each, 1e-3, 1e-4)[differ].mean() if differ.any() else 0.0 for each in (one, whole))
    return float(single), float(many), np.isin(np.arange(len(rows.place)), known[differ]), whole[differ]


def summed_before(rows: Rows, n_step: int) -> bool:
    """Whether rows were stored that span n steps: what follows each of them is the state n rows on, not the next."""
    fits = [((rows.following[:-k] == rows.windows[0][k:]) & rows.has_next[:-k]).sum() for k in (1, n_step)]
    return bool(fits[1] > fits[0])


@check_rows
def _n_step(case: Case, rows: Rows) -> Finding:
    gamma, n_step = case.evidence.declared["gamma"], case.evidence.declared["n_step"]
    case.stop(gamma is None or n_step is None, "undeclared")
    case.stop(n_step > 1 and summed_before(rows, n_step), "summed", n_step=n_step)
    single, many, told, whole = steps_of(rows, gamma, n_step)
    case.stop(told.sum() < 10, "few")
    case.stop(n_step > 1 and single > 0.5 > many, "rows", *rows.when, told, told, n_step=n_step, single=single)
    numbers = {"got": rows.sampled["reward"][told][0], "sum": whole[0], "share": many, "rows": told.sum()}
    return case.say("span" if many > 0.5 else "neither", n_step=n_step, **numbers)


@check_each_agent
def _discount(case: Case) -> Finding:
    gamma, n_step = case.evidence.declared["gamma"], case.evidence.declared["n_step"] or 1
    updates, stored = case.table("updates"), case.table("stored")
    told = updates[updates["discount_rows"] > 0]
    case.stop(not len(told), "unlogged")
    case.need(not ends_mostly(stored), "ends")
    used = float(np.median(told["discount"]))
    errors = told["terminal_error"][np.isfinite(told["terminal_error"])]
    error = np.median(errors) if len(errors) else 0.0
    through = min(abs(error - (gamma or 0.95) ** each) for each in (1, n_step))
    # else rewards are not those that were drawn
    terminal = through < 0.1 and ((stored["done"] > 0) & (stored["truncated"] <= 0)).any()
    case.also(terminal, "terminal", told["time"], error=error)
    case.stop(gamma is None, "undeclared", used=used)
    steps = n_step
    with suppress(Told):  # without rows to compare, the declared number of steps counts
        rows = rows_of(case)
        single, many, differ, _ = steps_of(rows, gamma, n_step)
        steps = 1 if differ.sum() >= 10 and single > 0.5 > many and not summed_before(rows, n_step) else n_step
    due = gamma**steps
    case.stop(abs(used - due) <= max(1e-4, 0.05 * (1 - gamma)), "due", used=used, steps=steps)
    case.stop(np.median(told["discount_high"] - told["discount_low"]) > 0.1 * due, "scattered")
    return case.say("discount", told["time"], used=used, steps=steps, due=due)
