"""The rooms of the package: who imports whom, how large the core may be, and what an import brings along."""

import ast
import graphlib
import inspect
import io
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

import workbench as wb

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "workbench"
ORDER = ("core", "runs", "zoo", "diagnose", "watch", "view", "report export sweep", "api", "cli", "workbench __main__")
"""From the bottom up: a room imports itself and what stands below it. Rooms that stand side by side do not import each
other; "workbench" is the package's ``__init__.py``, which offers what ``api`` is made of."""
FLOOR = {room: floor for floor, rooms in enumerate(ORDER) for room in rooms.split()}
KNOWN_ARROWS_UP = set()
"""Arrows that are still to be turned round; one that is gone must leave this list, so that it can only shrink."""


def modules():
    """Every file of the package by the name under which it is imported."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def imports_of(name, tree):
    """What a file imports of the package and of the tests, at its top or inside a function."""
    package = name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            source = ".".join([*above, *([node.module] if node.module else [])])
            members = {f"{source}.{alias.name}" for alias in node.names}
            found |= {member if member in MODULES else source for member in members}
    return {target for target in found if target.split(".")[0] in ("workbench", "tests")}


def without_types(tree):
    """A file as it runs: without what it imports for type checkers alone."""
    body = [node for node in tree.body if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")]
    return ast.Module(body, [])


GRAPH = {name: imports_of(name, tree) - {name} for name, tree in TREES.items()}
RUNNING = {name: imports_of(name, without_types(tree)) - {name} for name, tree in TREES.items()}


def room(module):
    """The room that a module stands in; tests stand in none."""
    parts = module.split(".")
    return (parts[1] if len(parts) > 1 else parts[0]) if parts[0] == "workbench" else "tests"


def allowed(source, target):
    """Whether a room may import another one."""
    return target != "tests" and (source == target or FLOOR[target] < FLOOR[source])


def code_lines(text):
    """Lines of code: no blank line, no comment, no docstring."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    silent, lines = set(), set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            silent |= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    layout = (
        tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER,
    )  # fmt: skip
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in layout:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - silent)


def run_fresh(script):
    """What a script prints in an interpreter of its own."""
    return subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()  # fmt: skip


def test_no_room_imports_one_above_it_or_the_tests():
    arrows = {
        f"{name} -> {target}" for name, targets in GRAPH.items() for target in targets
        if not allowed(room(name), room(target))
    }  # fmt: skip
    assert arrows - KNOWN_ARROWS_UP == set(), "these imports point upwards"
    assert KNOWN_ARROWS_UP - arrows == set(), "these are gone; take them off the list"


def test_no_files_import_each_other_in_a_circle():
    """Lazily or not. What only type checkers read is left out: a hook names the parts that it is called with."""
    graphlib.TopologicalSorter(RUNNING).prepare()  # raises CycleError, which names the circle


def test_every_file_stands_in_a_room():
    assert {name for name in MODULES if name.count(".") <= 1 and MODULES[name].name != "__init__.py"} == {
        "workbench.__main__", "workbench.api",
    }  # fmt: skip
    assert {room(name) for name in MODULES} <= set(FLOOR)


def test_a_file_of_the_core_names_no_wing():
    wings = set(FLOOR) - {"core", "workbench", "__main__"}
    for name in MODULES:
        if room(name) == "core":
            words = {node.value for node in ast.walk(TREES[name]) if isinstance(node, ast.Constant)}
            assert not [word for word in words if isinstance(word, str) and word in {f"workbench.{w}" for w in wings}]


@pytest.mark.parametrize(("folder", "most"), [(PACKAGE / "core", 2_917), (PACKAGE, 16_883)], ids=["core", "package"])
def test_the_code_stays_small(folder, most):
    counted = sum(code_lines(path.read_text()) for path in folder.rglob("*.py"))
    own = [path for kind in ("*.js", "*.css") for path in folder.rglob(kind) if ".min." not in path.name]
    lines = [line.strip() for path in own for line in path.read_text().splitlines()]
    counted += sum(line != "" and not line.startswith("//") for line in lines)
    assert counted <= most, f"{folder.name} has {counted} lines of code, of at most {most}; simplify or delete"


def test_the_core_can_be_read_in_one_sitting():
    assert sum(path.read_text().count("\n") for path in (PACKAGE / "core").rglob("*.py")) <= 5_371


def test_the_core_alone_brings_no_wing_and_no_matplotlib():
    core = [name for name in MODULES if room(name) == "core"]
    wings = tuple(f"workbench.{name}" for name in FLOOR if name != "core")
    loaded = run_fresh(f"import sys, {', '.join(core)}; print(*sys.modules)")
    empty = {"workbench.runs", "workbench.sweep"}  # imported so that a function may have the same name
    assert [name for name in loaded if name.startswith(wings) and name not in empty] == []
    assert not {"matplotlib", "IPython", "ipywidgets", "pandas"} & set(loaded)


def test_learning_does_not_import_the_compiler_of_torch():
    script = """if True:
        import sys, torch
        from workbench.core.agents.iqn_agent import IQNAgent
        from workbench.core.config import Config
        IQNAgent(Config(), 0, torch.device("cpu")).update(1e-3)
        print(*sys.modules)"""
    assert "torch._dynamo" not in run_fresh(script)


def test_the_package_is_imported_at_once_and_what_draws_when_it_is_asked_for():
    loaded = run_fresh("import sys, workbench; dir(workbench); print(*sys.modules)")
    assert not {"torch", "numpy", "workbench.api"} & set(loaded)
    loaded = run_fresh("import sys, workbench; workbench.launch; print(*sys.modules)")
    assert "workbench.api" in loaded and not {"matplotlib", "ipywidgets", "pandas"} & set(loaded)


def test_completion_shows_the_product_and_nothing_else():
    from workbench import api

    assert dir(wb) == sorted(wb.__all__) and wb.__all__ == api.__all__
    assert {
        "launch",
        "compare",
        "load",
        "Panel",
        "WorldView",
        "side_by_side",
        "film",
        "report",
        "export",
        "sweep",
    } <= set(dir(wb))
    offered = {name: getattr(wb, name) for name in wb.__all__}
    plain = [each for each in offered.values() if not (isinstance(each, type) and issubclass(each, Exception))]
    assert [each for each in plain if not inspect.ismodule(each) and "Example:" not in (each.__doc__ or "")] == []
    assert dir(api) == sorted(wb.__all__)
    with pytest.raises(AttributeError, match="module 'workbench' has no attribute 'lunch'"):
        _ = wb.lunch


def test_the_function_that_lists_runs_has_its_name_whatever_was_imported_first():
    modules = "workbench.runs.folder, workbench as wb, workbench.sweep.cells"
    script = f"import {modules}; print(wb.runs.__name__, wb.sweep.__name__)"
    assert run_fresh(script) == ["runs", "sweep"]
