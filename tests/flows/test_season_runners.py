"""One season under every task runner: the same decoded frames, and a table of what each costs."""

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest

from tests.season_media import BROKEN, EPISODES, LANGUAGES, NUM_SHOTS, make_media_season

pytestmark = [pytest.mark.long, pytest.mark.shared]
GOOD = tuple(episode for episode in EPISODES if episode != BROKEN)
NUM_TAKES = NUM_SHOTS * len(LANGUAGES) * len(GOOD)
RUNNERS = ("threads", "processes", "dask", "ray")
SOME_INPUTS_ARE_OF_NO_USE = 2  # exit code: the broken film; all else is done


def frames_of(film: Path) -> str:
    """sha256 over all decoded pictures."""
    digest = hashlib.sha256()
    with av.open(str(film)) as container:
        for frame in container.decode(video=0):
            digest.update(frame.to_ndarray().tobytes())
    return digest.hexdigest()


def dub_season(manifest: Path, folder: Path, models: Path, runner: str) -> tuple[dict, float]:
    """(what `dub season` said, its wall seconds)."""
    words = ["season", str(manifest), "--out", str(folder / "out"), "--work", str(folder / "work"), "--model", "tiny", "--speaker", "only-face"]
    command = [sys.executable, "-m", "flows.cli", *words, "--workers", "2", "--runner", runner, "--json"]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "DUBFLOW_"))}
    environment = inherited | {"DUBFLOW_MODELS_FOLDER": str(models), "PREFECT_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}
    started = time.perf_counter()
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=3000)
    assert done.returncode == SOME_INPUTS_ARE_OF_NO_USE, done.stderr[-3000:]
    return json.loads(done.stdout), time.perf_counter() - started  # a runner that prints on stdout breaks this


def test_all_runners_dub_the_season_to_the_same_frames(shared: Path, small, tmp_path: Path) -> None:
    season = make_media_season(shared, tmp_path / "season")
    frames, wall_s = {}, {}
    for runner in RUNNERS:
        told, wall_s[runner] = dub_season(season.manifest, tmp_path / runner, small.models_folder, runner)
        done = {(row["episode_id"], row["language"]) for row in told["rows"] if row["state"] == "done"}
        assert done == {(episode, language) for episode in GOOD for language in LANGUAGES}
        frames[runner] = {f"{e}.{one}": frames_of(tmp_path / runner / "out" / e / one / f"{e}.{one}.mp4") for e, one in sorted(done)}
    for runner, seconds in wall_s.items():
        beyond_ms = 1000 * (seconds - wall_s["threads"]) / NUM_TAKES
        print(f"{runner:10} {seconds:7.1f} s, {beyond_ms:+8.0f} ms a take beside threads")
    assert all(found == frames["threads"] for found in frames.values())
