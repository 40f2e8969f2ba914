"""Which face of a shot gets new lips from which voice, when, and what of the sound a result depends on."""

from fractions import Fraction
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from infra.artifacts import ArtifactStore
from tasks.judge_shot import judge_shot
from tasks.sync_lips import _strength, sync_lips
from tasks.types import (
    Casting,
    FaceIdentity,
    FaceTrack,
    Film,
    Models,
    QaReport,
    Shot,
    ShotFaces,
    ShotMeasures,
    ShotPatches,
    SpeakingSpan,
    Stem,
)
from tasks.voices import CONTEXT_S, give_voices, give_voices_as_cast, heard_inputs, heard_part, stem_of
from tests.two_people import spoken

NUM_FRAMES = 500
SHOT = Shot(index=3, first_frame=200, end_frame=300)  # from 8 s to 12 s
WHO = (FaceIdentity(track_id=0, character="ANNA"), FaceIdentity(track_id=1, character="BEN"), FaceIdentity(track_id=2))


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path)


@pytest.fixture
def film(store: ArtifactStore) -> Film:
    timing = store.put_arrays(pts=np.arange(NUM_FRAMES), is_keyframe=np.ones(NUM_FRAMES, bool))
    return Film(
        path="x", sha256="0" * 64, timing=timing, time_base=Fraction(1, 25), fps=Fraction(25), num_frames=NUM_FRAMES, width=320, height=240,
        pixel_format="yuv420p", video_codec="h264",
    )  # fmt: skip


@pytest.fixture
def faces(store: ArtifactStore) -> ShotFaces:
    geometry = store.put_arrays(boxes=np.zeros((100, 4), np.float32), detected=np.ones(100, bool))
    tracks = tuple(
        FaceTrack(shot_index=3, track_id=i, first_frame=200, end_frame=300, geometry=geometry, mean_box=(0, 0, 1, 1)) for i in range(3)
    )  # fmt: skip
    return ShotFaces(shot_index=3, num_faces=3, tracks=tracks)


def stem(store: ArtifactStore, *spoken_s: tuple[float, float], pitch_hz: float = 180.0) -> Stem:
    wave = spoken(*spoken_s, pitch_hz=pitch_hz, duration_s=NUM_FRAMES / 25)
    return Stem(
        path="x", sha256=sha256(wave.tobytes()).hexdigest(), language="fr", role="dialogue", sample_rate_hz=16000, num_channels=1,
        num_samples=len(wave), analysis=store.put_array(wave),
    )  # fmt: skip


def casting(*spans: tuple[int, int, int]) -> Casting:
    found = tuple(SpeakingSpan(track_id=track, first_frame=first, end_frame=end) for track, first, end in spans)
    return Casting(shot_index=3, spans=found, reason=None if found else "off_screen", evidence="as in the original")


def spans_of(given) -> list[tuple[int, int, int]]:
    return [(span.track_id, span.first_frame, span.end_frame) for span in given.casting.spans]


def near(frame: int, second: float) -> bool:
    """Within the margin by which lips move earlier and rest later, and the voice detector's own slack."""
    return abs(frame - second * 25) <= 12


def test_who_is_silent_in_the_original_but_speaks_in_the_dub_gets_lips(store, film, faces) -> None:
    given = give_voices(store, film, SHOT, faces, casting((0, 200, 300)), WHO, {"BEN": stem(store, (9.0, 10.0)), "ANNA": stem(store)})
    (anna, first_a, end_a), (ben, first_b, end_b) = spans_of(given)
    assert (anna, first_a, end_a) == (0, 200, 300)  # speaks in the original: the mouth is to rest
    assert ben == 1
    assert near(first_b, 9.0)
    assert near(end_b, 10.0)
    assert "BEN is face 1 and speaks, though not in the original" in given.casting.evidence
    assert "ANNA is face 0 and is silent in the dub: the mouth rests" in given.casting.evidence


def test_a_resting_mouth_is_painted_where_its_face_speaks_in_the_original_and_nowhere_else(store, film, faces) -> None:
    original = stem(store, (8.0, 12.0))
    span = SpeakingSpan(track_id=0, first_frame=200, end_frame=300)
    spoke = (SpeakingSpan(track_id=0, first_frame=200, end_frame=250),)
    strength = _strength(store, film, SHOT, faces.tracks[0], span, stem(store), original, spoke)
    assert (strength[:40] == 1).all()
    assert (strength[55:] == 0).all()
    assert (_strength(store, film, SHOT, faces.tracks[0], span, stem(store), original, ()) == 0).all()
    assert (_strength(store, film, SHOT, faces.tracks[0], span, stem(store, (11.0, 12.0)), original, ())[85:] == 1).all()


def test_both_may_speak_at_once_and_off_screen_voices_move_nobody(store, film, faces) -> None:
    stems = {"ANNA": stem(store, (8.5, 11.0)), "BEN": stem(store, (9.0, 11.5)), "CAROL": stem(store, (8.0, 12.0))}
    given = give_voices(store, film, SHOT, faces, casting(), WHO, stems)
    assert [track for track, _, _ in spans_of(given)] == [0, 1]
    assert given.casting.reason is None
    assert {voice.track_id: voice.character for voice in given.voices} == {0: "ANNA", 1: "BEN"}
    dub = stem(store)
    assert stem_of(given.voices, 1, dub) == stems["BEN"]
    assert stem_of(given.voices, 2, dub) == dub


def test_an_unknown_face_is_dubbed_as_in_the_original_but_not_with_the_words_of_who_stands_beside(store, film, faces) -> None:
    stems = {"ANNA": stem(store, (8.0, 9.5)), "CAROL": stem(store, (10.5, 12.0))}
    given = give_voices(store, film, SHOT, faces, casting((2, 200, 300)), WHO, stems)
    ((anna, _, _), (unknown, first, end)) = spans_of(given)
    assert (anna, unknown) == (0, 2)
    assert near(first, 9.5)  # before it only ANNA is heard, who is seen to say it
    assert end == 300  # CAROL is not seen: what she says may be this face's
    assert "face 2 has no stem of its own" in given.casting.evidence


def test_a_shot_in_which_none_of_them_is_heard_stays_as_it_is(store, film, faces) -> None:
    given = give_voices(store, film, SHOT, faces, casting(), WHO, {"ANNA": stem(store, (1.0, 2.0))})
    assert given.casting.spans == ()
    assert given.casting.reason == "off_screen"
    all_known = faces.model_copy(update={"tracks": faces.tracks[:2]})
    silent = {"ANNA": stem(store), "BEN": stem(store), "CAROL": stem(store, (8.0, 12.0))}
    ambiguous = casting().model_copy(update={"reason": "ambiguous"})
    assert give_voices(store, film, SHOT, all_known, ambiguous, WHO, silent).casting.reason == "listener"


def test_what_the_casting_file_says_by_hand_is_kept_and_driven_by_the_characters_own_stem(store) -> None:
    stems = {"ANNA": stem(store), "BEN": stem(store)}
    given = give_voices_as_cast(casting((1, 200, 300)), WHO, stems)
    assert spans_of(given) == [(1, 200, 300)]
    assert [(voice.track_id, voice.character) for voice in given.voices] == [(1, "BEN")]
    assert give_voices_as_cast(casting(), WHO, stems).voices == ()


def test_only_what_is_heard_about_a_shot_counts_for_it_and_each_voice_only_where_it_is(store, film, faces) -> None:
    anna, far = stem(store, (8.5, 10.0)), stem(store, (8.5, 10.0), (12.0 + CONTEXT_S + 0.5, 19.0))
    assert heard_part(store, film, SHOT, anna) == heard_part(store, film, SHOT, far)
    assert heard_part(store, film, SHOT, anna) != heard_part(store, film, SHOT, stem(store, (8.5, 10.1)))
    ben, dub = stem(store, (10.5, 11.5)), stem(store, (8.5, 11.5))
    of_ben = give_voices(store, film, SHOT, faces, casting(), WHO[1:], {"BEN": ben, "ANNA": anna})
    inputs = heard_inputs(store, film, SHOT, of_ben.casting, dub, of_ben.voices)
    assert inputs["dub"] is None  # nobody is driven by the whole dub here: another line of ANNA's changes nothing
    assert [voice[:3] for voice in inputs["voices"]] == [[1, "BEN", heard_part(store, film, SHOT, ben)]]
    of_both = give_voices(store, film, SHOT, faces, casting((2, 200, 300)), WHO[1:], {"BEN": ben})
    assert heard_inputs(store, film, SHOT, of_both.casting, dub, of_both.voices)["dub"] == heard_part(store, film, SHOT, dub)


class KeyNote(Exception):
    """Thrown in place of work: what a step would be filed under."""


class KeyStore(ArtifactStore):
    def get_or_make(self, step, version, inputs, record_type, make):
        raise KeyNote(inputs)


def test_without_a_cast_file_nothing_of_it_is_in_any_key_or_record(store, film, faces) -> None:
    dub, spans, noting = stem(store, (8.5, 10.0)), casting((0, 200, 300)), KeyStore(store.root)
    models = Models(name="m", generator_path="g", generator_sha256="2" * 64, expert_path="e", expert_sha256="3" * 64)
    patches = ShotPatches(shot_index=3, language="fr")
    with pytest.raises(KeyNote) as of_lips:
        sync_lips(noting, film, SHOT, faces, spans, dub, dub, models)
    with pytest.raises(KeyNote) as of_scores:
        judge_shot(noting, film, SHOT, faces, spans, patches, dub, dub, models)
    for note in (of_lips, of_scores):
        assert "voices" not in note.value.args[0]
        assert note.value.args[0]["dub"]
    report = QaReport(shot=SHOT, language="fr", outcome="synced", reason="in sync", verdict="pass")
    for record in (ShotMeasures(shot_index=3, language="fr"), report, patches, spans):
        assert not {"voices", "character"} & record.model_dump(mode="json").keys()
