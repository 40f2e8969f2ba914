"""kill -9 in the middle, then the same command again: finished shots are not done twice, and the film is that of an undisturbed run."""

import json
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.flows.command_process import children_of, command_line, wait_for_end, wait_for_text
from tests.flows.test_dub_episode import decoded, request_for


def finished(small, out: Path, environment: dict[str, str], work: Path) -> dict:
    """Run the command to its end and give its JSON answer."""
    command = command_line(small, out, "--json", "--workers", "1", "--work", str(work))
    done = subprocess.run(command, env=environment, capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    return json.loads(done.stdout)


@pytest.mark.usefixtures("settings_of_test")
def test_after_kill_9_finished_shots_are_not_done_again_and_the_pictures_are_the_same(small, environment, prefect_api, tmp_path):
    from flows.dub_episode import dub_episode

    work = tmp_path / "disturbed"
    with open(tmp_path / "stderr", "wb") as stderr:
        command = command_line(small, tmp_path / "out", "--workers", "1", "--work", str(work))
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr, env=environment)
    wait_for_text(tmp_path / "stderr", "sync 1/2", process)
    children = children_of(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "out" / "small").exists()  # beside it lies the dead run's lease, which the next one finds to be a dead one's
    wait_for_end(children)

    steps = finished(small, tmp_path / "out", environment | {"PREFECT_API_URL": prefect_api}, work)["steps"]
    assert steps["inspect_film"] == steps["split_shots"] == {"made": 0, "reused": 1}
    assert steps["track_faces"] == {"made": 0, "reused": 3}
    assert steps["sync_lips"]["made"] <= 1  # at most the one that was under way
    assert steps["sync_lips"]["made"] + steps["sync_lips"]["reused"] == 2
    log = max((work / "logs").glob("small-*.log"), key=lambda path: path.stat().st_mtime).read_text()
    assert log.count("reused track_faces") == 3
    assert log.count("reused sync_lips") == steps["sync_lips"]["reused"]
    assert list((work / "artifacts" / "scratch").iterdir()) == []  # what the killed run had left is swept

    undisturbed = dub_episode(request_for(small, tmp_path / "again", work=str(tmp_path / "undisturbed")))
    assert (undisturbed.steps["sync_lips"].made, undisturbed.steps["sync_lips"].reused) == (2, 0)
    first, second = decoded(tmp_path / "out/small/fr/small.fr.mp4"), decoded(Path(undisturbed.outputs["fr"]))
    assert len(first) == len(second)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
