"""A curve of a long run is made of few points, whichever pieces its records came in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.core.records import UPDATES
from workbench.runs import thinning
from workbench.runs.thinning import Thinned


@given(
    points=st.integers(1, 400), agents=st.integers(1, 3), most=st.integers(1, 50), at_once=st.integers(1, 64),
    cuts=st.lists(st.integers(0, 1200), max_size=8),
)  # fmt: skip
def test_pieces_make_no_difference(points, agents, most, at_once, cuts):
    records = np.zeros(points * agents, UPDATES)
    records["update"], records["agent"] = np.repeat(np.arange(points), agents), np.tile(np.arange(agents), points)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thinning, "AT_ONCE", at_once)
        thinned = Thinned("update", most)
        for cut in sorted(cuts):
            thinned.of(records[:cut])
        kept = thinned.of(records)
    every = next(2**power for power in range(20) if points <= most * 2**power)
    np.testing.assert_array_equal(kept, records[records["update"] % every == 0])
    assert len(np.unique(kept["update"])) <= most and np.array_equal(thinned.of(records), kept)


def test_a_record_that_comes_again_is_kept_again():
    records = np.zeros(12, UPDATES)
    records["update"] = [0, 1, 2, 3, 4, 5, 2, 3, 4, 5, 6, 7]  # the place of a dead process was taken
    assert Thinned("update", 4).of(records)["update"].tolist() == [0, 2, 4, 2, 4, 6]


def test_no_point_at_all_is_refused():
    with pytest.raises(ValueError, match="most is 0; at least one point must be kept"):
        Thinned("update", 0)
