"""`dub review` and `dub index`: what they serve, write and refuse, as commands in processes of their own."""

import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from flows.commands.review_command import write_index
from infra.artifacts import ArtifactStore
from infra.errors import InputError
from tests.synthetic_report import Published, make_film, make_qa, publish_report


@pytest.fixture
def published(tmp_path: Path) -> Published:
    store = ArtifactStore(tmp_path / "store")
    return publish_report(store, tmp_path / "out", [make_qa(5)], make_film(store, 375))


def test_review_serves_until_it_is_stopped_and_then_says_what_stands(published):
    command = [sys.executable, "-m", "flows.cli", "review", str(published.folder), "--no-browser", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    found = re.search(r"http://127\.0\.0\.1:\d+/\S+", process.stderr.readline())
    assert found is not None
    with urllib.request.urlopen(found[0], timeout=60) as answer:
        page = answer.read().decode()
    assert re.search(r'<meta name="dubflow-review" content="/[\w-]+/api">', page)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(out) | {"draft": ""} == {"status": "done", "episode_id": "episode-1", "draft": "", "num_decisions": 0, "handed_in": None}


def test_review_of_what_is_no_episode_is_refused_with_exit_code_2(tmp_path):
    done = subprocess.run([sys.executable, "-m", "flows.cli", "review", str(tmp_path), "--no-browser"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "Dub the episode first" in done.stderr


def test_index_lists_all_episodes_and_names_those_whose_report_is_broken(published, tmp_path):
    (tmp_path / "out" / "broken").mkdir()
    (tmp_path / "out" / "broken" / "report.json").write_text("{")
    result = write_index(str(published.out))
    assert (result.episodes, len(result.left_out)) == (("episode-1",), 1)
    page = Path(result.page).read_text()
    assert 'href="episode-1/fr/report.html"' in page
    assert "broken" in page


def test_index_of_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="no dubbed episode"):
        write_index(str(tmp_path))
