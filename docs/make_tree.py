"""Writes the tree in README: every Python file with the first clause of its docstring or its words below, other files with theirs.

python docs/make_tree.py
"""

import ast
import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
README = REPOSITORY / "README.md"
TREE = re.compile(r"```tree\n.*?```", re.S)
LONGEST_CLAUSE = 125  # characters

FOLDERS = {
    "flows/": "what happens, in order; the command",
    "tasks/": "the steps: records in, records out",
    "wav2lip_core/": "the models, a library of its own",
    "training/": "how weights are made",
    "infra/": "the outside world",
    "tests/": "one file per promise",
    "benchmarks/": "what it costs",
    "docs/": "pictures and the small print",
}
WORDS = {
    "flows/cli.py": "The `dub` command: episode, plan, models, doctor, demo",
    "flows/commands/doctor.py": "What `dub doctor` looks at: packages, FFmpeg, device, weights, detectors, store, Prefect",
    "flows/episode/request_checks.py": "A request is looked at as a whole before any work: everything that is wrong with it is told at once",
    "flows/commands/run_command.py": "Runs the work of a command: server, display, log and Ctrl-C around it, every end as an exit code",
    "infra/ffmpeg.py": "Runs programs, above all the one ffmpeg: argument lists only, no shell, a deadline",
    "tasks/split_shots.py": "Cuts a film into shots, exact to the frame, with PySceneDetect's detectors",
    "tasks/report_page/": "the report's pages: templates, style, script",
    "wav2lip_core/weights/": "the bundled generator and sync expert, each with its card",
    "infra/make_venv.sh": "makes .venv, also on a bare Debian",
    "infra/install_espeak.sh": "sees to the demo's voices",
    "tests/install_chromium.sh": "sees to the browser that the report is tested in",
    "tests/make_swift_venv.sh": "makes .venv-swift: a real S3 server",
    "tests/make_retinaface_venv.sh": "makes .venv-retinaface: the published package, to compare with",
    "docs/attribution.md": "whose work is in here, and on which terms",
    "docs/strip.png": "the picture above",
}
TOP_FILES = {
    "Makefile": "make demo, test, lint, clean",
    "pyproject.toml": "dependencies, tools, import rules",
    "constraints.txt": "every version that was installed together",
    ".ci/run": "what continuous integration runs",
    ".pre-commit-config.yaml": "the checks before a commit",
    "ARCHITECTURE.md": "how it is built and what is promised on failure",
    "CONTRIBUTING.md": "set-up, tests, style, how to add a part",
}


def clause_of(path: Path) -> str:
    """The first clause of a module's docstring."""
    text = " ".join((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0].split())
    sentence = re.split(r"(?<=[a-z0-9)])[.](?= |$)", text)[0]
    if len(sentence) > LONGEST_CLAUSE:
        sentence = re.split(r"[:;] ", sentence)[0]
    return sentence.rstrip(".:")


def make_tree() -> str:
    """The tree as text: folders at the margin, their files indented."""
    lines = [f"{name:28} {clause}" for name, clause in TOP_FILES.items()]
    for folder, clause in FOLDERS.items():
        lines.append(f"{folder:28} {clause}")
        files = {path.relative_to(REPOSITORY / folder).as_posix(): clause_of(path) for path in (REPOSITORY / folder).rglob("*.py")}
        files |= {name.removeprefix(folder): words for name, words in WORDS.items() if name.startswith(folder)}
        files = {name.removesuffix("__init__.py"): words for name, words in files.items() if (REPOSITORY / folder / name).exists()}
        files = {name: words for name, words in files.items() if name and words}
        width = max(map(len, files))
        lines += [f"  {name:{width}} {files[name]}" for name in sorted(files)]
    return "\n".join(lines)


if __name__ == "__main__":
    block = f"```tree\n{make_tree()}\n```"
    README.write_text(TREE.sub(lambda _: block, README.read_text(encoding="utf-8")), encoding="utf-8")
