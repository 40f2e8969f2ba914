"""Figures kept over commits: a run of a benchmark with --record is one JSON file in benchmarks/over_commits, named by benchmark, time and commit."""

import argparse
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

KEPT = Path(__file__).with_name("over_commits")


def add_options(parser: argparse.ArgumentParser) -> None:
    """What every benchmark can do with its figures."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here, too")
    parser.add_argument("--record", action="store_true", help=f"keep the figures in benchmarks/{KEPT.name} for `python -m benchmarks.page`")


def keep(options: argparse.Namespace, benchmark: str, figures: dict) -> None:
    """Write what the options ask for. figures: plain values; the machine among them."""
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    if options.record:
        print(f"kept in {record(benchmark, figures, KEPT)}")


def record(benchmark: str, figures: dict, into: Path) -> Path:
    """One run's file: the figures, when and of which commit they are (`changed`: the tree held more than the commit), and the command's words."""
    now, commit, changed = datetime.now(UTC), _git("rev-parse", "--short=10", "HEAD"), _git("status", "--porcelain", "--untracked-files=no")
    told = {"benchmark": benchmark, "taken": now.isoformat(timespec="seconds"), "commit": commit, "changed": bool(changed), "words": sys.argv[1:]}
    path = into / f"{benchmark}-{now:%Y%m%dT%H%M%SZ}-{commit}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told | {"figures": figures}, indent=1) + "\n")
    return path


def read_all(folder: Path) -> list[dict]:
    """All kept runs, oldest first."""
    return sorted((json.loads(path.read_text()) for path in folder.glob("*.json")), key=lambda run: run["taken"])


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() or ("unknown" if words[0] == "rev-parse" else "")
