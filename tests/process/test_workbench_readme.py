"""The examples of workbench/README.md, executed as they stand there."""

import importlib
import re
import sys
from pathlib import Path

import pytest

import workbench as wb

PAGE = (Path(wb.__file__).parent / "README.md").read_text()
EXAMPLES = dict(re.findall(r"```python\n# (\w+)\.py\n(.*?)```", PAGE, re.S))
TINY = wb.preset("tiny")


@pytest.fixture
def example(tmp_path, monkeypatch):
    """Write an example of the page to a module of its own and import it, as a reader would."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def import_example(name):
        (tmp_path / f"{name}.py").write_text(EXAMPLES[name])
        importlib.invalidate_caches()
        return importlib.import_module(name)

    yield import_example
    for name in EXAMPLES:
        sys.modules.pop(name, None)


def test_every_example_is_short():
    assert set(EXAMPLES) == {"corridor", "linear", "by_error", "norms", "forgetful"}
    assert {name: lines for name, text in EXAMPLES.items() if (lines := sum(map(bool, text.splitlines()))) >= 30} == {}


def test_a_world_of_the_readers_runs_in_both_modes_with_equal_digests(example, tmp_path):
    example("corridor")
    pair = wb.compare(TINY.replace(world="corridor:Corridor"), lag=1, out=tmp_path / "runs")
    assert pair.wait()["identical"] is True
    assert pair.multiprocess.result.greedy_reward is not None


def test_an_agent_and_a_sampler_of_the_readers_run_in_both_modes_with_equal_digests(example, tmp_path):
    example("linear")
    example("by_error")
    own = {"agent": "linear:QConfig", "agent.clip": 2.0, "replay.sampler": "by_error:Prioritised"}
    pair = wb.compare(TINY.replace(**own), lag=1, out=tmp_path / "runs")
    assert pair.wait()["identical"] is True
    assert pair.multiprocess.result.updates > 0


def test_a_metric_of_the_readers_is_in_the_history(example, tmp_path):
    hook = example("norms").WeightNorm()
    with wb.launch(TINY, lag=0, hooks=[hook], out=tmp_path / "runs") as run:
        run.wait()
        norms = run.history["weights/norm"]
    assert len(norms) and (norms > 0).all()


def test_a_fault_of_the_readers_is_noticed(example, tmp_path):
    fault = example("forgetful").Forgetful()
    with wb.launch(TINY, lag=0, faults=[fault], out=tmp_path / "runs") as run:
        run.wait()
        failed = {check.name for check in run.diagnose().failed}
    assert "sync" in failed
