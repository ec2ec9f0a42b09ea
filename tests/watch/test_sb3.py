"""A trainer of others: what was added to it, and that it is not accused."""

from pathlib import Path

import pytest
import torch

import workbench as wb
from tests.watch import sb3


@pytest.fixture(scope="module")
def diagnosis(tmp_path_factory):
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("sb3")
    sb3.main("sb3", out)
    torch.set_num_threads(before)
    return wb.load(out / "sb3").diagnose()


def test_fewer_than_twenty_lines_were_added():
    added = [line for line in Path(sb3.__file__).read_text().splitlines() if line.endswith("# +")]
    assert 5 < len(added) < 20


def test_it_is_not_accused(diagnosis):
    assert [(check.name, check.sentence) for check in diagnosis.failed] == []


@pytest.mark.parametrize("check", ["rows", "target", "parameters", "optimizer", "loss", "done", "shapes", "result"])
def test_what_its_records_can_tell_is_told(diagnosis, check):
    assert {each.name: each.verdict for each in diagnosis.checks}[check] == "pass"
