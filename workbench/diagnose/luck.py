"""Tests of luck: what single records cannot tell, over all records of an agent.

Each is given how often it may speak of a sound run, as an exact bound; see
:data:`workbench.diagnose.second_opinion.FALSE_ALARMS`.
"""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from workbench.diagnose import reference
from workbench.diagnose.cases import Case, Wrong, need, wrong_if

# Says what is wrong as a stage does; see :mod:`workbench.diagnose.cases`.
Test = Callable[[Sequence[Case], float], None]


def _share(finding: str, count: float, trials: int, mean: float, level: float, **about: object) -> None:
    """Hold how often something happened against how often it should, but for what luck explains."""
    need(trials)
    wrong_if(reference.chance_of_share(count, trials, mean) < level, finding, found=count / trials, due=mean, **about)


def _repeated(cases: Sequence[Case], level: float) -> None:
    """Two batches of an epoch are not of the same rows, unless luck does that."""
    rows, window = cases[0]["drawn"].shape[1], cases[0].config.steps_per_epoch
    need(any(len(case["drawn"]) > 1 for case in cases))
    for case in cases:
        drawn = case["drawn"]
        equal = sum(np.array_equal(one, other) for at, one in enumerate(drawn) for other in drawn[:at])
        if equal and float(len(drawn)) ** 2 * len(cases) * float(min(window, 1e6)) ** -min(rows, 40) < level:
            updates = equal + 1 if equal < len(drawn) else "all"
            raise Wrong("one batch", updates=updates, epoch=case.epoch)


def _explored(cases: Sequence[Case], level: float) -> None:
    """Actions other than the greedy one are as frequent as epsilon says."""
    count, mean, trials = 0.0, 0.0, 0
    for case in cases:
        actions = case.config.spec.agents[case.agent].num_actions
        count += float((case["chosen_action"] != case["chosen_greedy"]).sum())
        mean += float(case["epsilon"].sum()) * case["chosen_action"].shape[1] * (actions - 1) / actions
        trials += case["chosen_action"].size
    _share("exploration", count, trials, mean / trials, level)


def _every_action(cases: Sequence[Case], level: float) -> None:
    """Every kind of action reaches the world."""
    actions = cases[0].config.spec.agents[cases[0].agent].num_actions
    seen = set(np.concatenate([case["taken"].reshape(-1) for case in cases]).tolist())
    shares = [np.minimum(case["epsilon"] / actions, 0.999999) for case in cases]
    missed = sum(np.log1p(-each).sum() * case["taken"].shape[1] for each, case in zip(shares, cases, strict=True))
    lacking = sorted(set(range(actions)) - seen)
    if lacking and missed < np.log(level / actions):
        raise Wrong("never taken", action=lacking[0])


def _spawned(cases: Sequence[Case], level: float) -> None:
    """Gems appear in empty cells as often as the world says."""
    probability = float(np.float32(cases[0].treasurehunt(exactly=True).spawn_prob))
    before, after = (np.concatenate([case[f"{when}_spawn"] for case in cases]) for when in ("before", "after"))
    empty = before == reference.EMPTY
    wrong_if((before != after)[~empty].any(), "cells change")
    _share("gems", int((after[empty] == reference.GEM).sum()), int(empty.sum()), probability, level)


def _moves_on(field: str) -> Test:
    """A stream continues from epoch to epoch."""

    def test(cases: Sequence[Case], level: float) -> None:
        """The state of the stream is another one in each epoch that draws from it."""
        epochs: dict[bytes, int] = {}
        for case in cases:
            if case.draws(field):
                earlier = epochs.setdefault(case[field].reshape(-1, 6)[0].tobytes(), case.epoch)
                wrong_if(earlier != case.epoch, "epoch again", earlier=earlier, epoch=case.epoch)
        need(epochs)

    return test


def _layouts(cases: Sequence[Case], level: float) -> None:
    """Two epochs do not begin with the same world, unless luck does that."""
    world, layouts = cases[0].treasurehunt(), [case["layout"][0].tobytes() for case in cases]
    cells, copies = (world.height - 2) * (world.width - 2), cases[0]["layout"].shape[1]
    alike = float(math.comb(cells, world.num_agents)) ** -copies * len(layouts) ** 2
    wrong_if(len(set(layouts)) < len(layouts) and alike < level, "same world", epochs=len(layouts) - len(set(layouts)))


# The tests by the stage of the chain that they belong to.
TESTS: Mapping[str, tuple[Test, ...]] = {
    "world's stream": (_moves_on("world_rng"), _layouts),
    "acting stream": (_moves_on("values"),),
    "exploration stream": (_moves_on("exploration"),),
    "choice": (_explored, _every_action),
    "world": (_spawned,),
    "sampling stream": (_moves_on("sampling"),),
    "rows drawn": (_repeated,),
    "learning stream": (_moves_on("rng"),),
}
