"""The catalogue is the one truth for ids: every check and every fault is in it, under the same names everywhere."""

import re

import pytest

from notebooks.tour import check_of_fault, ids_of_fault
from workbench.diagnose.catalogue import CATALOGUE, CHECKS, fault_names, ids_of_check
from workbench.diagnose.checks import CHECK_RULES
from workbench.diagnose.faults import FAULTS


def test_every_room_is_numbered_without_a_gap():
    rooms = {}
    for id_ in CATALOGUE:
        room, number = re.fullmatch(r"([DWLP])(\d+)", id_).groups()
        rooms.setdefault(room, []).append(int(number))
    assert {room: len(numbers) for room, numbers in rooms.items()} == {"D": 17, "W": 11, "L": 16, "P": 6}
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in rooms.values())


@pytest.mark.parametrize("failure", CATALOGUE.values(), ids=CATALOGUE)
def test_a_failure_that_can_be_switched_on_has_a_check_and_one_that_cannot_says_why(failure):
    assert failure.title and failure.source
    if failure.faults:
        assert failure.check in CHECKS
    else:
        assert failure.note


def test_every_check_of_the_catalogue_exists_and_speaks_for_a_failure():
    assert set(CHECK_RULES) == set(CHECKS)
    assert all(ids_of_check(check) for check in CHECKS)


def test_the_faults_that_exist_are_those_of_the_catalogue_and_each_has_one_check():
    assert tuple(FAULTS) == fault_names()
    for name in FAULTS:
        rows = [row for row in CATALOGUE.values() if name in row.faults]
        assert ids_of_fault(name) == tuple(row.id for row in rows) != ()
        assert {check_of_fault(name)} == {row.check for row in rows}


def test_an_unknown_fault_has_no_check():
    with pytest.raises(KeyError, match=r"no fault 'sync_newer'.*sync_never"):
        check_of_fault("sync_newer")
    assert ids_of_fault("sync_newer") == ()
