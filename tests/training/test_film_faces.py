"""Whole films give clips too: cut into shots, people followed, listeners left to the expert."""

from pathlib import Path

import numpy as np

from flows.learning.film_faces import find_film_faces
from infra.artifacts import ArtifactStore
from infra.scan import scan
from infra.sound import SoundReader, read_mono
from infra.video import FrameReader
from tests.media import Sound, write_film
from training.clips import prepare_film


def _pictures(path: Path) -> list[np.ndarray]:
    facts = scan(path)
    reader = FrameReader(str(path), facts.pts, facts.time_base, facts.is_keyframe, facts.rotation_degrees)
    return [picture for _, picture in reader.pictures(0, 30)]


def test_a_film_of_two_shots_gives_a_clip_of_each_and_none_across_the_cut(shared, tmp_path) -> None:
    grid = shared / "media" / "grid"
    people = [sorted((grid / person).iterdir())[0] for person in ("spkA_f", "spkQ_m")]
    sound = np.concatenate([np.concatenate(list(read_mono(SoundReader(path), 16000)))[: 30 * 640] for path in people])
    film = write_film(tmp_path / "film.mp4", [picture for path in people for picture in _pictures(path)], sound=Sound(sound[:, None], 16000))
    clips = list(prepare_film(film, find_film_faces(ArtifactStore(tmp_path / "artifacts"), "dlib")))
    assert [(clip.start_s, len(clip.crops)) for clip in clips] == [(0.0, 30), (1.2, 30)]
    looks = [clip.crops.mean(axis=(0, 1, 2)) for clip in clips]
    assert np.abs(looks[0] - looks[1]).max() > 3  # two people
    for clip in clips:  # one person each
        assert np.abs(clip.crops[0].astype(float) - clip.crops[-1]).mean() < 25
