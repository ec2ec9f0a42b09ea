"""The files that say how to install and run: they agree with each other and with what is installed here."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
CONDA_NAMES = {"torch": "pytorch", "playwright": "playwright-python", "docstring-parser": "docstring_parser",
               "fastjsonschema": "python-fastjsonschema"}  # fmt: skip
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
NAMED = [
    Requirement(text) for text in [*PROJECT["dependencies"], *EXTRAS["export"], *EXTRAS["worlds"], *EXTRAS["test"]]
]
DIRECT = [item for item in NAMED if item.name != PROJECT["name"]]  # an extra may include another one
README = (ROOT / "README.md").read_text()
PAGES = [README, (ROOT / "notebooks" / "reference.md").read_text(), (ROOT / "workbench" / "README.md").read_text()]
CI = (ROOT / ".ci" / "run").read_text()


def lines_of(name: str) -> list[str]:
    """A file's lines without comments."""
    return [line for text in (ROOT / name).read_text().splitlines() if (line := text.split("#")[0].rstrip())]


def test_environment_yml_lists_what_pyproject_lists_under_the_names_of_conda():
    lines = lines_of("environment.yml")
    assert lines[-1] == "      - -e ." and "  - conda-forge" in lines
    lines.remove("  - pip:")
    listed = {line.strip().removeprefix("- ") for line in lines[lines.index("dependencies:") + 1 : -1]}
    assert listed == {
        "pip",
        f"python{PROJECT['requires-python']}",
        *(f"{CONDA_NAMES.get(item.name, item.name)}{item.specifier}" for item in DIRECT),
    }


def test_constraints_pin_every_direct_dependency_within_its_bound_and_nothing_else():
    pins = dict(line.split("==") for line in lines_of("constraints.txt"))
    assert set(pins) == {item.name for item in DIRECT}
    assert [item.name for item in DIRECT if not item.specifier.contains(pins[item.name])] == []


@pytest.mark.parametrize("item", DIRECT, ids=lambda item: item.name)
def test_what_is_installed_keeps_the_bounds(item):
    try:
        version = importlib.metadata.version(item.name)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{item.name} is not installed")
    assert item.specifier.contains(version, prereleases=True)


def test_every_dependency_has_a_lower_bound_and_a_reason():
    text = (ROOT / "pyproject.toml").read_text()
    for item in DIRECT:
        assert str(item.specifier).startswith(">=")
        assert re.search(rf'"{item.name}>=[\d.]+",\s+# \w+', text), item.name


def test_every_package_that_is_imported_is_named_or_comes_with_one_that_is():
    direct = {canonicalize_name(item.name) for item in DIRECT}
    brought = {"nbformat": "nbconvert", "traitlets": "ipywidgets"}
    files = [*ROOT.glob("workbench/**/*.py"), *ROOT.glob("tests/**/*.py"), ROOT / "conftest.py"]
    imported = re.compile(r"^ *(?:import|from) ([A-Za-z]\w+)", re.M)
    modules = {module for file in files for module in imported.findall(file.read_text())}
    providers = importlib.metadata.packages_distributions()
    packages = {canonicalize_name(package) for module in modules for package in providers.get(module, [])}
    extra = packages - direct - set(brought) - {"workbench", "ipython", "packaging"}
    assert extra == set()


def commands_in(text: str) -> list[str]:
    """Lines of the shell blocks of a page."""
    return [line for block in re.findall(r"```bash\n(.*?)```", text, re.S) for line in block.splitlines()]


def test_the_readme_has_two_commands_each_complete_in_itself():
    complete = [line for line in commands_in(README) if line.startswith("python3 -m venv .venv && ")]
    main_job, tests = complete
    assert main_job.endswith(" && .venv/bin/workbench compare") and "-c constraints.txt -e . " in main_job
    assert tests.endswith(" && .venv/bin/pytest") and '-c constraints.txt -e ".[test]" ' in tests


def test_ci_runs_the_commands_of_the_readme_to_the_letter_and_pytest_last():
    main_job, tests = (line for line in commands_in(README) if line.startswith("python3 -m venv .venv && "))
    ran = [line for line in CI.splitlines() if line and not line.startswith("#")]
    assert f"{main_job} --preset tiny" in ran
    assert ran[-1] == tests
    assert tests.removesuffix(" && .venv/bin/pytest") in ran
    assert {".venv/bin/ruff check", ".venv/bin/ruff format --check", ".venv/bin/mypy"} <= set(ran)


def test_the_readme_shows_every_command_and_no_other():
    from workbench.cli.main import COMMANDS

    words = re.findall(r"\bworkbench ([a-z]+)\b", "\n".join(commands_in(README)))
    assert set(words) == set(COMMANDS)


def test_the_readme_is_short_and_its_links_lead_somewhere():
    assert len(README.splitlines()) <= 120
    links = re.findall(r"\]\((?!http)([^)]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_what_the_pages_show_of_the_package_is_there():
    import workbench

    blocks = [block for page in PAGES for block in re.findall(r"```python\n(.*?)```", page, re.S)]
    names = {name for block in blocks for name in re.findall(r"\bwb\.(\w+)", block)}
    assert {"compare", "launch", "load", "preset", "Panel"} <= names
    assert [name for name in names if not hasattr(workbench, name)] == []


def test_the_page_on_the_package_shows_its_folders_as_they_are():
    shown = re.search(r"```\n(workbench/.*?)```", PAGES[-1], re.S).group(1)
    inside = [line for line in shown.splitlines() if line.startswith("  ")]
    words = {word for line in inside for word in re.findall(r"\w+\.py|\b\w+/", line)}
    assert [word for word in words if not (ROOT / "workbench" / word).exists()] == []
    folders = {f"{path.name}/" for path in (ROOT / "workbench").iterdir() if (path / "__init__.py").exists()}
    assert folders <= words


def test_nothing_names_a_package_registry():
    registries = re.compile(r"pypi\.org|pythonhosted|download\.pytorch|anaconda\.org|index-url", re.I)
    for name in ("pyproject.toml", "constraints.txt", "environment.yml", "README.md", ".ci/run"):
        assert not registries.search((ROOT / name).read_text()), name
