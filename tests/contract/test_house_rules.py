"""The rules of the house, read from the source itself: one owner for each dangerous thing, floors that know only what lies below."""

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
FOLDERS = ("flows", "tasks", "wav2lip_core", "training", "infra")
SOURCES = sorted(path.relative_to(REPOSITORY).as_posix() for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*.py"))

Finder = Callable[["Source"], Iterator[str]]


class Source:
    """A parsed module in which every name is known by its full dotted name, whatever it was imported as."""

    def __init__(self, path: str, text: str):
        self.path = path
        self.tree = ast.parse(text)
        self.nodes = tuple(ast.walk(self.tree))
        self.imported: dict[str, str] = {}  # local name -> full name
        self.modules: list[str] = []  # every module or member imported
        for node in self.nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self.modules.append(alias.name)
                    self.imported[alias.asname or alias.name.split(".")[0]] = alias.name if alias.asname else alias.name.split(".")[0]
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    self.modules.append(f"{node.module or ''}.{alias.name}")
                    self.imported[alias.asname or alias.name] = f"{node.module or ''}.{alias.name}"

    def full_name(self, node: ast.AST) -> str:
        if isinstance(node, ast.Attribute):
            return f"{self.full_name(node.value)}.{node.attr}"
        if isinstance(node, ast.Name):
            return self.imported.get(node.id, node.id)
        return ""

    def uses(self, *names: str) -> Iterator[str]:
        """Mentions of these full names or of their members, imports included."""
        for module in self.modules:
            if _is_under(module, names):
                yield f"imports {module}"
        for node in self.nodes:
            if isinstance(node, (ast.Attribute, ast.Name)) and _is_under(self.full_name(node), names):
                yield f"line {node.lineno}: {self.full_name(node)}"

    def calls(self) -> Iterator[tuple[str, ast.Call]]:
        for node in self.nodes:
            if isinstance(node, ast.Call):
                yield self.full_name(node.func), node


@cache
def parsed(path: str) -> Source:
    """A module of the repository, parsed once for all rules."""
    return Source(path, (REPOSITORY / path).read_text())


def _is_under(name: str, names: tuple[str, ...]) -> bool:
    return any(name == wanted or name.startswith(f"{wanted}.") for wanted in names)


def keyword_is(call: ast.Call, name: str, value: object) -> bool:
    return any(word.arg == name and isinstance(word.value, ast.Constant) and word.value.value is value for word in call.keywords)


def owned(owners: tuple[str, ...], *names: str) -> Finder:
    """Only these files (or folders, ending in /) may use these names."""

    def find(source: Source) -> Iterator[str]:
        if not source.path.startswith(owners):
            yield from source.uses(*names)

    return find


def call_without(names: tuple[str, ...], keyword: str, value: object) -> Finder:
    """Calls of these names must say keyword=value."""

    def find(source: Source) -> Iterator[str]:
        for name, call in source.calls():
            if name in names and not keyword_is(call, keyword, value):
                yield f"line {call.lineno}: {name} without {keyword}={value}"

    return find


def shell_true(source: Source) -> Iterator[str]:
    for name, call in source.calls():
        if any(word.arg == "shell" and not (isinstance(word.value, ast.Constant) and word.value.value is False) for word in call.keywords):
            yield f"line {call.lineno}: {name}(shell=...)"


def vague_name(source: Source) -> Iterator[str]:
    path = Path(source.path)
    for name in (*path.parent.parts, path.stem):
        if name.lower() in ("utils", "util", "common", "helpers", "helper", "misc"):
            yield f"named {name}"


def no_docstring(source: Source) -> Iterator[str]:
    if not ast.get_docstring(source.tree):
        yield "does not say what it is for"


SHELLS = ("os.system", "os.popen", "os.execvp", "os.execve", "os.spawnv", "os.spawnl", "os.posix_spawn", "pty", "commands")
PICKLES = ("pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "pandas.read_pickle")

# rule -> (finder, a file that may not do it, what it may not do)
RULES: dict[str, tuple[Finder, str, str]] = {
    "only the S3 modules know boto3": (
        owned(("infra/s3_",), "boto3", "botocore", "s3transfer"),
        "infra/storage.py",
        "from boto3.session import Session",
    ),
    "only ffmpeg starts processes": (
        owned(("infra/ffmpeg.py",), "subprocess", "asyncio.create_subprocess_exec", "asyncio.create_subprocess_shell"),
        "tasks/x.py",
        "import subprocess as s",
    ),
    "only settings reads the environment": (
        owned(("infra/settings.py",), "os.environ", "os.environb", "os.getenv", "os.putenv", "os.unsetenv"),
        "flows/x.py",
        "from os import environ",
    ),
    "only checkpoint unpickles weights": (
        owned(("wav2lip_core/checkpoint.py",), "torch.load", "torch.jit.load", "torch.hub", "torch.package"),
        "training/x.py",
        "import torch as t\nt.load('x')",
    ),
    "and never unsafely": (call_without(("torch.load",), "weights_only", True), "wav2lip_core/checkpoint.py", "import torch\ntorch.load('x')"),
    "arrays are loaded without pickle": (
        call_without(("numpy.load", "numpy.lib.npyio.load"), "allow_pickle", False),
        "infra/x.py",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
    ),
    "nothing is pickled to disk": (owned((), *PICKLES), "training/x.py", "from pickle import loads"),
    "no shell": (shell_true, "infra/ffmpeg.py", "run('x', shell=True)"),
    "no other way to a shell": (owned((), *SHELLS), "infra/ffmpeg.py", "import os\nos.system('x')"),
    "a program is replaced by itself alone": (owned(("infra/process_memory.py",), "os.execv"), "infra/ffmpeg.py", "import os\nos.execv('x', [])"),
    "no code from text": (owned((), "eval", "exec", "yaml.load", "yaml.unsafe_load"), "flows/x.py", "eval('1')"),
    "Prefect lives in flows and tasks": (owned(("flows/", "tasks/"), "prefect"), "infra/x.py", "import prefect"),
    "a module's name says what it is": (vague_name, "infra/utils.py", ""),
    "a module says what it is for": (no_docstring, "infra/x.py", "import os"),
}


@pytest.mark.parametrize("rule", RULES)
def test_the_rule_holds_everywhere(rule):
    find = RULES[rule][0]
    broken = [f"{path}: {what}" for path in SOURCES for what in find(parsed(path))]
    assert broken == []


@pytest.mark.parametrize("rule", RULES)
def test_the_rule_would_notice(rule):
    find, path, code = RULES[rule]
    assert list(find(Source(path, code)))


def test_the_source_is_really_read():
    assert {"infra/storage.py", "infra/settings.py", "tasks/types/record.py"} <= set(SOURCES)
    assert list(parsed("infra/s3_client.py").uses("botocore"))


def lint_imports(folder: Path) -> subprocess.CompletedProcess:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


def test_every_floor_knows_only_what_lies_below():
    answer = lint_imports(REPOSITORY)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_a_forbidden_import_would_be_noticed(tmp_path):
    for folder in FOLDERS:
        for path in (REPOSITORY / folder).rglob("*.py"):
            copy = tmp_path / path.relative_to(REPOSITORY)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    (tmp_path / "pyproject.toml").write_bytes((REPOSITORY / "pyproject.toml").read_bytes())
    with open(tmp_path / "infra" / "storage.py", "a") as file:
        file.write("\nimport tasks.types\n")
    answer = lint_imports(tmp_path)
    assert answer.returncode == 1
    assert "infra.storage -> tasks.types" in answer.stdout
