"""What comes in from outside comes in through the hooks of the core, and through nothing else."""

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import workbench
from tests.unit import inprocess
from workbench.core.processes.blocks import Plan
from workbench.core.train.hooks import Death, Hook, Keeper, Listener
from workbench.core.train.loop import run_sequential
from workbench.runs.presets import preset

CONFIG = preset("tiny").replace(epochs=6, device="cpu")
PACKAGE = Path(workbench.__file__).parent


def classes_of_wings():
    for module in pkgutil.walk_packages([str(PACKAGE)], "workbench."):
        if not module.name.startswith(("workbench.core", "workbench.__main__")):
            found = vars(importlib.import_module(module.name)).values()
            yield from (each for each in found if inspect.isclass(each) and each.__module__ == module.name)


def private_methods(owner):
    return {name for name, each in vars(owner).items() if name.startswith("_") and callable(each)} - {
        name for name in vars(owner) if name.startswith("__")
    }


def test_no_wing_overrides_a_private_method_of_the_core():
    overridden = {
        f"{wing.__module__}.{wing.__name__}.{name}"
        for wing in classes_of_wings()
        for base in wing.__mro__[1:] if base.__module__.startswith("workbench.core")
        for name in private_methods(wing) & private_methods(base)
    }  # fmt: skip
    assert overridden == set()


def test_no_wing_wraps_or_replaces_a_private_method_by_its_name():
    """By ``setattr``, or by the helpers that do it for faults and probes."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and len(node.args) > 1 and isinstance(node.args[1], ast.Constant):
                called = node.func.id if isinstance(node.func, ast.Name) else ""
                name = node.args[1].value
                assert called not in ("setattr", "override", "_wrap") or not name.startswith("_"), f"{path}: {name}"


class Counts(Keeper):
    """Writes down what it is told."""

    def __init__(self):
        self.told = []

    def complete(self, epochs):
        self.told.append(("complete", epochs))

    def visible(self, epochs):
        self.told.append(("visible", epochs))


def test_a_keeper_is_told_of_every_step_before_and_after_it_can_be_seen():
    with inprocess.as_in_a_child():
        parts = inprocess.build(CONFIG.replace(**{"evaluation.interval": 0}), 1)
        actor, agent = Counts(), Counts()
        parts.collector.keeper, parts.trainer.keepers[0] = actor, agent
        committed, report = [], parts.progress.report_collected
        parts.progress.report_collected = lambda epochs: (committed.append(actor.told[-1]), report(epochs))
        parts.trainer.publish_initial()
        run_sequential(parts.collector, parts.trainer, 1, before_epoch=lambda: None)
    steps = [(what, epochs) for epochs in range(1, CONFIG.epochs + 1) for what in ("complete", "visible")]
    assert actor.told == steps and committed == [step for step in steps if step[0] == "visible"]
    assert agent.told == [("complete", 0), ("visible", 0), *steps]


def test_what_nobody_brings_changes_nothing():
    hook, listener = Hook(), Listener()
    plan = Plan(CONFIG, "multiprocess", 1, (hook,))
    assert plan.hook_layouts == {} and hook.tables == {} and hook.metrics == ()
    assert hook.on_parts(None) is hook.on_collector(None, None) is hook.on_trainer(None, None) is None
    death = Death("learner 1", (1,), "was ended by signal 9 (SIGKILL)", 12, 34, 0)
    assert listener.after_death(death, "") is listener.look() is listener.end() is None
