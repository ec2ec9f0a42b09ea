"""What an open panel costs, measured with a tiny budget; the figures mean nothing then, their places do."""

import json

import pytest

from tests.campaigns.bench import main
from tests.campaigns.bench.panel import BARS, held

pytestmark = pytest.mark.slow


def test_the_cost_of_a_panel_is_measured_and_judged(tmp_path, capsys):
    out = tmp_path / "panel.json"
    code = main(["--panel", "--quick", "--out", str(out)])
    data = json.loads(out.read_text())
    assert data["slow_down"]["identical"] and data["slow_down"]["frames_per_s"] > 0
    assert len(data["slow_down"]["slow_down_of_pairs"]) == 2 and data["slow_down"]["half_width"] > 0
    assert data["latency"]["with"]["count"] == 10 and data["latency"]["frames"] > 0
    assert data["first_point"]["second_s"] > 0
    assert code == (0 if all(data["held"].values()) else 1)
    assert set(data["held"]) == {"slow_down", "latency_ms", "first_point_s"}

    code = main(["--panel", "--quick", "--minutes", "0.4", "--out", str(out)])
    data = json.loads(out.read_text())
    series = data["growth"]["series"]
    assert len(series["t"]) >= 10 and max(series["notebook_mib"]) > 0 and series["frames"][-1] > series["frames"][0]
    assert data["latency"]["with"]["count"] == 10  # what was measured before is still there
    assert code == (0 if all(data["held"].values()) else 1) and set(data["held"]) == {*BARS} - {"clone_s"}
    assert "growth_mib" in capsys.readouterr().out


def test_a_bar_that_does_not_hold_is_said():
    slow = {"slow_down": {"slow_down": 0.03, "identical": True}, "latency": {"with": {"median_ms": 4.0}}}
    assert held(slow) == {"slow_down": False, "latency_ms": True}
    growing = {"growth": {"grown": {"memory_mib": {"grown": 1.0}, "notebook_mib": {"grown": 0.2}}}}
    assert held(growing) == {"growth_mib": True, "notebook_mib": False}
    late = {"first_point": {"second_s": 2.1}, "clone": {"seconds": 59.0}}
    assert held(late) == {"first_point_s": False, "clone_s": True}
