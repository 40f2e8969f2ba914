"""The repository's own promises: set-up names no host, files stay small, README's tree is complete, CI runs what people run."""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
FOLDERS = ("flows", "tasks", "wav2lip_core", "training", "infra", "tests", "benchmarks", "docs")
MAX_LINES, MAX_TEST_LINES = 350, 500
PYTHON_FILES = sorted(path for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*.py"))
TOP_FILES = [path for path in REPOSITORY.iterdir() if path.is_file() and path.suffix not in (".egg-info", ".lock")]
TEXT_SUFFIXES = {".py", ".md", ".toml", ".txt", ".sh", ".yaml", ".yml", ".cfg", ".html", ".j2", ".json", ".css", ".js", ""}
TEXT_FILES = [
    path
    for path in (*TOP_FILES, *(p for folder in (*FOLDERS, ".ci") for p in (REPOSITORY / folder).rglob("*")))
    if path.is_file() and path.suffix in TEXT_SUFFIXES and "__pycache__" not in path.parts
]
# A package index's host, or an option that names one: which index to use is the machine's business.
INDEX_HOSTS = re.compile(
    r"(pypi|pythonhosted|anaconda|npmjs|yarnpkg|nodejs|pytorch|debian|ubuntu)[.](org|com)|--(extra-)?index-url|--find-links|registry[.]npm", re.I
)
# An absolute path that exists on one machine only.
MACHINE_PATHS = re.compile(r"(?<![\w.~<:/-])/(?:home|root|Users|opt|work)/[\w.]")


def name_of(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def shown(pattern: re.Pattern, path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [f"{name_of(path)}:{number}: {line.strip()[:100]}" for number, line in enumerate(lines, 1) if pattern.search(line)]


def files_but_this(paths: list[Path]) -> list[Path]:
    return [path for path in paths if path != Path(__file__)]


def test_no_package_index_is_named() -> None:
    assert [line for path in files_but_this(TEXT_FILES) for line in shown(INDEX_HOSTS, path)] == []


def test_no_path_of_one_machine_is_named() -> None:
    assert [line for path in files_but_this(TEXT_FILES) for line in shown(MACHINE_PATHS, path)] == []


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (INDEX_HOSTS, "pip install --index-url x"),
        (INDEX_HOSTS, "see https://" + "pypi" + ".org/simple"),
        (MACHINE_PATHS, "open('/root/clips')"),
        (MACHINE_PATHS, "cd /work/main"),
    ],
)
def test_the_search_would_notice(pattern: re.Pattern, text: str) -> None:
    assert pattern.search(text)


def test_the_lock_holds_names_and_versions_only() -> None:
    lines = [line for line in (REPOSITORY / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    assert len(lines) > 50
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][0-9A-Za-z.]*", line)] == []


def test_the_lock_agrees_with_the_pins() -> None:
    pins = dict(re.findall(r'"([A-Za-z0-9_-]+)(?:\[\w+\])?==([^"]+)"', (REPOSITORY / "pyproject.toml").read_text()))
    locked = dict(line.split("==") for line in (REPOSITORY / "constraints.txt").read_text().splitlines() if "==" in line)
    common = pins.keys() & locked.keys()
    assert {"torch", "prefect", "numpy"} <= common
    assert {name: locked[name] for name in common} == {name: pins[name] for name in common}


def test_every_file_can_be_read_in_one_sitting() -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in PYTHON_FILES}
    assert {name: length for name, length in lengths.items() if length > (MAX_TEST_LINES if name.startswith("tests/") else MAX_LINES)} == {}


def readme_tree() -> dict[str, str]:
    """File -> clause, from the tree in README: folders are lines ending in /, their files are indented below."""
    block = re.search(r"```tree\n(.*?)```", (REPOSITORY / "README.md").read_text(encoding="utf-8"), re.S)
    assert block, "README has a ```tree block"
    tree, folder = {}, ""
    for line in block[1].splitlines():
        name, _, clause = line.strip().partition(" ")
        if not line.startswith(" "):
            folder = name if name.endswith("/") else ""
        tree[name if line[:1] != " " else folder + name] = clause.strip()
    return tree


def test_readme_says_what_every_python_file_is_for() -> None:
    tree = readme_tree()
    assert [name_of(path) for path in PYTHON_FILES if path.name != "__init__.py" and not tree.get(name_of(path))] == []


def test_readme_lists_no_file_that_is_gone() -> None:
    assert [name for name in readme_tree() if not (REPOSITORY / name).exists()] == []


def test_every_promise_on_failure_names_the_tests_that_hold_it() -> None:
    section = (REPOSITORY / "ARCHITECTURE.md").read_text(encoding="utf-8").partition("## What is promised on failure")[2]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("|")][2:]
    assert len(rows) > 20
    assert [row for row in rows if len(row) != 3 or not all(row) or not re.findall(r"`(tests/[\w/]+\.py)`", row[2])] == []
    assert [name for row in rows for name in re.findall(r"`(tests/[\w/]+\.py)`", row[2]) if not (REPOSITORY / name).exists()] == []


def test_ci_runs_exactly_what_people_run() -> None:
    script = REPOSITORY / ".ci" / "run"
    lines = [line for line in script.read_text().splitlines() if line and not line.startswith("#")]
    assert lines == ["set -euo pipefail", 'cd "$(dirname "${BASH_SOURCE[0]}")/.."', "make test"]
    assert script.stat().st_mode & 0o111
