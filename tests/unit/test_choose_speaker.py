"""Casting, on embeddings made so that the truth is known."""

from pathlib import Path

import numpy as np
import pytest

from infra.artifacts import Artifact
from infra.errors import InputError
from tasks.choose_speaker import _best, _Evidence, _spans, _turns, cast_by_hand, cast_only_face, read_casting_file
from tasks.timeline import Ticks
from tasks.types import FaceTrack, Shot, ShotFaces
from wav2lip_core.sync_scorer import MAX_SHIFT

NOTHING = Artifact(sha256="0" * 64, num_bytes=0, media_type="x")


def _track(track_id: int, first: int = 0, end: int = 250, reason: str | None = None) -> FaceTrack:
    return FaceTrack(
        shot_index=4, track_id=track_id, first_frame=first, end_frame=end, geometry=NOTHING, mean_box=(0, 0, 1, 1), crops=NOTHING,
        usable=reason is None, unusable_reason=reason,
    )  # fmt: skip


def _faces(*tracks: FaceTrack) -> ShotFaces:
    return ShotFaces(shot_index=4, num_faces=len(tracks), tracks=tracks)


SHOT = Shot(index=4, first_frame=0, end_frame=250)


def _evidence(speech: np.ndarray, speakers: dict[int, np.ndarray], shift: int = 0) -> _Evidence:
    """Tracks whose lips follow the sound where `speakers[track]` is True, and are unrelated to it elsewhere."""
    rng = np.random.default_rng(0)
    n = len(speech)
    sound = rng.standard_normal((n + 2 * MAX_SHIFT, 64))
    evidence = _Evidence.__new__(_Evidence)
    evidence.ticks = Ticks(np.arange(n + 4) / 25, np.arange(n + 4))
    evidence.speech = speech
    evidence.tracks = {}
    for track_id, speaks in speakers.items():
        lips = rng.standard_normal((n, 64))
        own = sound[MAX_SHIFT + shift : MAX_SHIFT + shift + n]
        lips[speaks] = own[speaks] + 0.7 * lips[speaks]
        evidence.tracks[track_id] = (lips.astype(np.float32), sound.astype(np.float32), speech, 0)
    return evidence


ALWAYS, NEVER = np.ones(246, bool), np.zeros(246, bool)
FIRST_HALF = np.arange(246) < 123


def _cast(evidence: _Evidence, *tracks: FaceTrack) -> list[tuple[int, int, int]]:
    turns = _turns(evidence, _best(evidence.fits(0, 246)))
    return [(s.track_id, s.first_frame, s.end_frame) for s in _spans(SHOT, _faces(*tracks), turns, np.arange(300) / 25)]


def test_the_face_that_follows_the_voice_speaks_and_the_listener_does_not() -> None:
    assert _cast(_evidence(np.ones(246), {0: NEVER, 1: ALWAYS}), _track(0), _track(1)) == [(1, 0, 250)]


def test_nobody_speaks_when_no_face_follows_the_voice() -> None:
    assert _cast(_evidence(np.ones(246), {0: NEVER, 1: NEVER}), _track(0), _track(1)) == []


def test_a_face_that_fits_five_frames_off_is_not_the_speaker() -> None:
    assert _cast(_evidence(np.ones(246), {0: ALWAYS}, shift=5), _track(0)) == []


def test_two_people_who_take_turns_each_get_their_own() -> None:
    speech = np.ones(246)
    speech[113:133] = 0
    spans = _cast(_evidence(speech, {0: FIRST_HALF, 1: ~FIRST_HALF}), _track(0), _track(1))
    assert [(track, first) for track, first, _ in spans] == [(0, 0), (1, spans[0][2])]
    assert abs(spans[0][2] - 123) <= 2
    assert spans[1][2] == 250


def test_an_off_screen_turn_leaves_a_hole() -> None:
    speech = np.ones(246)
    speech[113:133] = 0
    ((track, first, end),) = _cast(_evidence(speech, {0: FIRST_HALF}), _track(0))
    assert (track, first) == (0, 0)
    assert abs(end - 123) <= 2


def test_a_span_never_reaches_over_its_track() -> None:
    assert _cast(_evidence(np.ones(246), {0: ALWAYS}), _track(0, 30, 200)) == [(0, 30, 200)]


def test_too_little_speech_is_no_evidence() -> None:
    speech = np.zeros(246)
    speech[100:104] = 1
    assert _evidence(speech, {0: ALWAYS}).fits(0, 246) == {}


def test_without_original_dialogue_one_face_speaks_and_two_are_ambiguous() -> None:
    assert cast_only_face(SHOT, _faces(_track(0), _track(1, reason="too_small"))).spans[0].track_id == 0
    assert cast_only_face(SHOT, _faces(_track(0), _track(1))).reason == "ambiguous"
    assert cast_only_face(SHOT, _faces()).reason == "no_face"
    assert cast_only_face(SHOT, _faces(_track(0, reason="too_small"))).reason == "too_small"


def test_the_casting_file_is_obeyed_and_a_face_that_is_not_there_is_named() -> None:
    faces = _faces(_track(0), _track(1))
    assert cast_by_hand(SHOT, faces, 1).spans[0].track_id == 1
    assert cast_by_hand(SHOT, faces, None).reason == "refused"
    with pytest.raises(InputError, match="names face 7 in shot 4, which has: 0, 1"):
        cast_by_hand(SHOT, faces, 7)


@pytest.mark.parametrize(
    ("name", "text"), [("c.json", '{"3": 0, "5": null}'), ("c.csv", "shot,track_id\n3,0\n5,\n"), ("c.csv", "\ufeffshot,track_id\n3,0\n5,\n")]
)
def test_casting_files_are_json_or_csv(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert read_casting_file(path) == {3: 0, 5: None}


@pytest.mark.parametrize(("name", "text"), [("c.json", "[1]"), ("c.json", "{"), ("c.csv", "a,b\n1,2\n"), ("c.json", '{"x": 1}')])
def test_a_broken_casting_file_is_refused_with_an_example(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match="no casting file"):
        read_casting_file(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_casting_file(tmp_path / "absent.json")
