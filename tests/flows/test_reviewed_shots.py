"""What reviewers approved can be learnt from: the film's own picture and voice, never our own lips; and nothing that nobody approved."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from infra.errors import InputError
from infra.scan import scan
from infra.sound import SoundReader, read_mono
from infra.video import FrameReader
from tests.flows.test_dub_episode import request_for
from tests.flows.test_redo_shots import decisions_file, redo, said
from tests.speaking_clips import write_speaking_clip

pytestmark = pytest.mark.usefixtures("settings_of_test")
WORDS = {"licence": "studio's own", "consent": "contract 12"}


@pytest.fixture(scope="module")
def dubbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the film lies that is dubbed once for all tests."""
    return tmp_path_factory.mktemp("dubbed")


@pytest.fixture
def published(small, dubbed: Path, tmp_path: Path) -> Path:
    """OUT of a dubbed film that nobody has looked at."""
    from flows.dub_episode import dub_episode

    if not (dubbed / "new").exists():
        dub_episode(request_for(small, dubbed / "new", codec="h264"))
    return shutil.copytree(dubbed / "new", tmp_path / "new")


@pytest.fixture
def reviewed(published: Path, dubbed: Path, tmp_path: Path) -> str:
    """OUT/ID: shot 0 is approved, shot 2 is rejected and made again."""
    if not (dubbed / "seen").exists():
        shutil.copytree(published, dubbed / "seen")
        redo(dubbed / "seen", decisions=decisions_file(tmp_path / "d.json", said(published, 0, "approve"), said(published, 2, "reject")))
    return str(shutil.copytree(dubbed / "seen", tmp_path / "out") / "small")


def pictures_of(path: Path) -> list[np.ndarray]:
    facts = scan(path)
    reader = FrameReader(str(path), facts.pts, facts.time_base, facts.is_keyframe, facts.rotation_degrees)
    return [picture.astype(int) for _, picture in reader.pictures(0, len(facts.pts))]


def voice_of(path: Path) -> np.ndarray:
    return np.concatenate(list(read_mono(SoundReader(path), 16000)))


def test_an_approved_shot_gives_a_clip_of_the_films_own_picture_and_voice(reviewed, small, tmp_path) -> None:
    from flows.learning.clip_places import clips_of
    from infra.settings import get_settings

    with clips_of(reviewed, get_settings().work_folder) as clips:
        (path,) = clips.folder.glob("*/*")
        assert path.parent.name == "small-person-0"
        assert path.name.endswith("-shot-00000-face-0.mkv")
        shown, heard, first = pictures_of(path), voice_of(path), path.read_bytes()
    film = pictures_of(small.film)[:20]
    assert len(shown) == 20
    height, width = shown[0].shape[:2]
    assert (height, width < 320) == (240, True)  # around the face, which fills the little film's height
    away = [np.abs(film[0][:, x : x + width] - shown[0]).mean() for x in range(320 - width + 1)]
    x = int(np.argmin(away))
    for picture, whole in zip(shown, film, strict=True):
        assert np.abs(whole[:, x : x + width] - picture).mean() < 3
    assert np.corrcoef(heard[:12800], voice_of(small.film)[:12800])[0, 1] > 0.999
    with clips_of(reviewed, get_settings().work_folder) as clips:  # again: the same bytes, so the same drop
        assert next(clips.folder.glob("*/*")).read_bytes() == first


def test_the_clips_of_an_episode_are_prepared_with_licence_and_consent(reviewed, tmp_path, monkeypatch) -> None:
    from flows.commands import training_command
    from training import shards

    prepare = training_command.prepare_clips
    monkeypatch.setattr(training_command, "prepare_clips", lambda *some, **more: prepare(*some, **more, min_usable=1))
    report = training_command.prepare_folder(reviewed, tmp_path / "clips", **WORDS, expert="none", faces="one", work=None)
    assert report.people == {"small-person-0": 1}
    (entry,) = shards.list_entries(tmp_path / "clips")
    assert (entry.licence, entry.consent) == ("studio's own", "contract 12")
    assert 18 <= entry.num_frames <= 20


def test_an_episode_that_nobody_has_approved_gives_nothing(published, tmp_path) -> None:
    from flows.commands.data_command import add_data

    with pytest.raises(InputError, match=r"Nobody has approved a shot of .*/new/small"):
        add_data(str(published / "small"), **WORDS, registry=str(tmp_path / "registry"))
    assert not (tmp_path / "registry").exists()


def test_an_approval_of_another_take_or_of_another_film_does_not_count(reviewed, small, tmp_path) -> None:
    from flows.learning.clip_places import clips_of
    from infra.settings import get_settings

    manifest = Path(reviewed) / "manifest.json"
    kept = json.loads(manifest.read_text())
    other = json.loads(manifest.read_text())
    next(take for take in other["takes"] if take["shot"] == 0)["take_sha256"] = "0" * 64
    manifest.write_text(json.dumps(other))
    with pytest.raises(InputError, match="Nobody has approved"), clips_of(reviewed, get_settings().work_folder):
        pass
    kept["request"]["film"] = str(write_speaking_clip(tmp_path / "other.mp4", 3, 0, 30))
    manifest.write_text(json.dumps(kept))
    with pytest.raises(InputError, match=r"other.mp4 is not the film that small was made from"), clips_of(reviewed, get_settings().work_folder):
        pass


def test_a_watcher_takes_no_dubbed_film_for_a_drop(reviewed) -> None:
    from flows.learning.watch_data import look
    from infra.storage import open_storage

    assert look(open_storage(Path(reviewed).parent)) == {}


def test_a_window_rests_where_the_face_rests_and_follows_where_it_goes() -> None:
    from flows.learning.reviewed_shots import windows_around

    face = np.array([100.0, 80.0, 160.0, 160.0])
    still = windows_around(face + np.random.default_rng(0).uniform(-4, 4, (30, 1)), 640, 360)
    assert (still == still[0]).all()
    going = windows_around(face + np.array([1.0, 0, 1, 0]) * np.linspace(-150, 500, 60)[:, None], 640, 360)
    sizes = going[:, 2:] - going[:, :2]
    assert (sizes == sizes[0]).all()
    assert (sizes % 2 == 0).all()
    assert going.min() >= 0
    assert going[:, 2].max() <= 640
    assert going[-1, 0] > going[0, 0] + 300
