"""The preset for a first look learns: what a newcomer sees ends clearly above what chance earns."""

import pytest

import workbench as wb


@pytest.mark.slow
def test_the_preset_quick_beats_every_random_policy_clearly_in_both_modes(tmp_path):
    pair = wb.compare(wb.preset("quick").replace(device="cpu"), out=tmp_path)
    pair.wait()
    assert pair.identical
    means = {name: each["mean"] for name, each in pair.sequential.references.items()}
    assert pair.sequential.result.greedy_reward > 1.2 * means["random_no_wall"] > 1.4 * means["random"]
    assert not pair.speedup_note or "it means little" in pair.speedup_note
