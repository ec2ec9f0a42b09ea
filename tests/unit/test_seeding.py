"""A random stream depends on the seed, its role and its agent, and on nothing else."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.core.seeding import ROLES, stream


def numbers(seed, role, agent=0):
    return tuple(stream(seed, role, agent).integers(0, 2**63, 8).tolist())


@given(seed=st.integers(0, 2**63 - 1), role=st.sampled_from(ROLES), agent=st.integers(0, 1000))
def test_a_stream_gives_the_same_numbers_whenever_it_is_made(seed, role, agent):
    first = numbers(seed, role, agent)
    for other in ROLES:
        stream(seed, other, agent + 1).random(3)
    np.random.default_rng(seed).random(3)
    assert numbers(seed, role, agent) == first


@given(seed=st.integers(0, 2**62))
def test_no_two_streams_of_a_run_or_of_two_runs_share_their_numbers(seed):
    addresses = list(itertools.product((seed, seed + 1), ROLES, range(3)))
    drawn = {number for address in addresses for number in numbers(*address)}
    assert len(drawn) == 8 * len(addresses)


def test_a_stream_leaves_the_global_generator_alone():
    before = np.random.get_state()[1].copy()
    stream(3, "world").random(10)
    assert (np.random.get_state()[1] == before).all()


@pytest.mark.parametrize("role", ["", "World", "replay", None])
def test_an_unknown_role_is_refused_with_the_known_ones(role):
    with pytest.raises(ValueError, match=", ".join(ROLES)):
        stream(0, role)
