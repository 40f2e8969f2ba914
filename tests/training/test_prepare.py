"""From raw films to clips: what can be used is made to fit, the rest is refused with a reason."""

import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from infra.errors import InputError
from tests.media import Sound, truncated, write_film
from tests.training.people import crops, prepared, voice
from training import prepare, shards
from training.clips import FaceRun, UnusableClipError, prepare_film
from training.prepare import in_sync, moved, prepare_clips

LABELS = {"licence": "CC0", "consent": "made up"}


def whole_picture(path: Path, facts) -> list[FaceRun]:
    """A finder for films that show nothing but a face."""
    times = (facts.pts - facts.pts[0]) * float(facts.time_base)
    margin = 22.0
    return [FaceRun(times, np.tile([margin, margin, facts.width - margin, facts.height - margin], (len(times), 1)))]


def film(path: Path, seed: int = 1, num_frames: int = 40, *, fps: Fraction = Fraction(25), rate: int = 48000, channels: int = 1) -> Path:
    """The person of this seed speaking, at this frame rate, with this sound."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = np.repeat(voice(seed, round(num_frames * 25 / fps), rate)[:, None], channels, axis=1)
    return write_film(path, pictures(seed, num_frames, fps), fps=fps, sound=Sound(wave, rate, "pcm_s16le" if rate < 16000 else "aac"))


def pictures(seed: int, num_frames: int, fps: Fraction = Fraction(25)) -> np.ndarray:
    """The person's face as a camera of this rate sees it."""
    at_25 = crops(seed, round(num_frames * 25 / fps) + 1)
    return at_25[np.floor(np.arange(num_frames) * 25 / float(fps) + 1e-6).astype(int)]


def prepared_from(tmp_path: Path, **how):
    return prepare_clips(tmp_path / "raw", tmp_path / "out", expert=None, find_faces=whole_picture, **LABELS, **how)


def test_films_become_shards_with_everything_said_of_them(tmp_path) -> None:
    film(tmp_path / "raw/ann/one two.mp4", 1)
    film(tmp_path / "raw/Žofie/ä.mkv", 2)
    report = prepared_from(tmp_path)
    assert (report.num_usable, report.people, report.refused) == (2, {"ann": 1, "Žofie": 1}, {})
    assert report.speech_s > 1
    entries = shards.list_entries(tmp_path / "out")
    assert {(e.person, e.source, e.num_frames, e.licence, e.consent) for e in entries} == {
        ("ann", "ann/one two.mp4", 40, "CC0", "made up"), ("Žofie", "Žofie/ä.mkv", 40, "CC0", "made up")
    }  # fmt: skip
    assert report == prepare.PrepareReport.model_validate_json((tmp_path / "out" / prepare.REPORT).read_bytes())
    assert prepared_from(tmp_path) == report  # once more, the same


@pytest.mark.parametrize("fps", [Fraction(30000, 1001), Fraction(50), Fraction(15)])
def test_any_frame_rate_becomes_25_frames_a_second(tmp_path, fps) -> None:
    path = film(tmp_path / "x.mp4", num_frames=round(2 * fps), fps=fps)
    (clip,) = prepare_film(path, whole_picture)
    assert abs(len(clip.crops) - 50) <= 1
    assert len(clip.voice) == len(clip.crops) * 640
    on_screen = (np.arange(len(clip.crops)) / 25 * float(fps) + 0.06).astype(int)  # the frame shown at each 25th of a second
    shown, truth = ((x[:, 90:110, 60:85] < 60).mean(axis=(1, 2, 3)) for x in (clip.crops, pictures(1, 2 * 50 + 2, fps)[on_screen]))
    assert np.corrcoef(shown, truth)[0, 1] > 0.96


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (44100, 2), (48000, 2)])
def test_any_sound_becomes_16_khz_mono(tmp_path, rate, channels) -> None:
    path = film(tmp_path / f"x.{'mkv' if rate < 16000 else 'mp4'}", rate=rate, channels=channels)
    (clip,) = prepare_film(path, whole_picture)
    truth = voice(1, 40)
    level = [np.sqrt(np.mean(part**2)) for wave in (clip.voice, truth) for part in np.array_split(wave, 20)]
    assert np.corrcoef(level[:20], level[20:])[0, 1] > 0.98


def test_long_stretches_are_cut_into_equal_pieces(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("training.clips.LONGEST_CLIP", 30)
    pieces = list(prepare_film(film(tmp_path / "x.mp4", num_frames=70), whole_picture))
    assert [len(piece.crops) for piece in pieces] == [24, 23, 23]
    assert [piece.start_s for piece in pieces] == pytest.approx([0, 24 / 25, 47 / 25])
    monkeypatch.setattr("training.clips.LONGEST_CLIP", 1000)
    (whole,) = prepare_film(tmp_path / "x.mp4", whole_picture)
    assert np.array_equal(np.concatenate([piece.voice for piece in pieces]), whole.voice)
    assert np.array_equal(np.concatenate([piece.crops for piece in pieces]), whole.crops)


def test_what_cannot_be_used_is_refused_clip_by_clip_with_a_reason(tmp_path) -> None:
    raw = tmp_path / "raw"
    film(raw / "ann/good.mp4", 1)
    film(raw / "bob/good.mp4", 2)
    write_film(raw / "bob/no sound.mp4", crops(3, 40))
    film(raw / "bob/short.mp4", 4, 15)
    truncated(film(tmp_path / "whole.mp4", 5), raw / "bob/corrupt.mp4", 0.4)
    shutil.copy(raw / "ann/good.mp4", raw / "bob/same file.mp4")
    film(raw / "cy/same recording.mkv", 1, rate=44100)
    write_film(raw / "bob/silent.mp4", crops(6, 40), sound=Sound(np.zeros((76800, 1), np.float32)))
    (raw / "bob/text.mp4").write_text("not a film")
    report = prepared_from(tmp_path)
    assert report.people == {"ann": 1, "bob": 1}
    reasons = {
        "bob/no sound.mp4": "no sound",
        "bob/short.mp4": "only 15 frames at 25 fps, 16 are needed",
        "bob/same file.mp4": "the same file as ann/good.mp4",
        "cy/same recording.mkv": "the same recording as ann/good.mp4",
        "bob/silent.mp4": "silent from beginning to end",
    }
    for name, reason in reasons.items():
        assert reason in report.refused[name]
    assert report.refused.keys() == {*reasons, "bob/corrupt.mp4", "bob/text.mp4"}
    assert not any(str(tmp_path) in reason for reason in report.refused.values())


def test_a_film_without_a_face_is_refused(tmp_path) -> None:
    write_film((tmp_path / "x.mp4"), crops(1, 30), sound=Sound(voice(1, 30, 48000)[:, None]))
    from training.clips import find_one_face
    from wav2lip_core.face_detector import open_detector

    with pytest.raises(UnusableClipError, match="a face in only 0 of"):
        list(prepare_film(tmp_path / "x.mp4", find_one_face(open_detector("dlib"))))


def test_too_little_says_how_many_were_usable_and_why_the_others_were_not_and_leaves_an_earlier_set_alone(tmp_path) -> None:
    film(tmp_path / "raw/ann/good.mp4", 1)
    film(tmp_path / "raw/bob/good.mp4", 2)
    prepared_from(tmp_path)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    write_film(tmp_path / "raw/bob/good.mp4", crops(2, 40))
    with pytest.raises(InputError, match=r"1 of 2 clips in .* are usable, at least 2 are needed:\nbob/good.mp4: .*no sound"):
        prepared_from(tmp_path)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_an_empty_folder_and_missing_labels_say_what_to_do(tmp_path) -> None:
    (tmp_path / "raw").mkdir()
    with pytest.raises(InputError, match=r"holds no films .*PERSON/clip.mp4"):
        prepared_from(tmp_path)
    with pytest.raises(InputError, match="licence"):
        prepare_clips(tmp_path / "raw", tmp_path / "out", expert=None, licence=" ", consent="yes")


def test_films_in_nobodys_folder_get_people_by_likeness(tmp_path) -> None:
    for name, seed in (("a.mp4", 1), ("b.mp4", 2)):
        film(tmp_path / "raw" / name, seed)
    assert all(person.startswith("face-") for person in prepared_from(tmp_path).people)


@pytest.mark.parametrize("offset", [-5, 4])
def test_sound_that_is_off_is_moved_into_place(monkeypatch, offset) -> None:
    """An ideal expert: it knows how wide the mouth is and how loud the sound."""
    clip = prepared(1, 75)
    late = prepare.PreparedClip(clip.crops, moved(clip.voice, -offset), 0.0)
    monkeypatch.setattr(prepare, "similarities", ideal_similarities)
    voice_, found, margin = in_sync(_Expert(), late)
    assert found == offset
    assert margin > prepare.MIN_MARGIN
    assert np.allclose(voice_[6400:-6400], clip.voice[6400:-6400])


@pytest.mark.parametrize("offset", [-9, 8])
def test_sound_that_is_more_than_six_frames_off_is_refused(monkeypatch, offset) -> None:
    clip = prepared(1, 75)
    monkeypatch.setattr(prepare, "similarities", ideal_similarities)
    with pytest.raises(UnusableClipError, match=f"sound is {abs(offset)} frames {'early' if offset > 0 else 'late'}, more than 6"):
        in_sync(_Expert(), prepare.PreparedClip(clip.crops, moved(clip.voice, -offset), 0.0))


def test_a_face_that_does_not_speak_the_sound_is_refused(expert) -> None:
    from wav2lip_core.checkpoint import load_sync_expert

    with pytest.raises(UnusableClipError, match="do not belong together"):  # an untrained expert sees a speaker nowhere
        in_sync(load_sync_expert(expert), prepared(1, 40))


def test_an_expert_that_is_none_is_an_input_error(tmp_path) -> None:
    film(tmp_path / "raw/ann/good.mp4", 1)
    (tmp_path / "x.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match="is no sync expert"):
        prepare_clips(tmp_path / "raw", tmp_path / "out", expert=tmp_path / "x.safetensors", find_faces=whole_picture, **LABELS)


def test_real_clips_are_taken_and_with_another_persons_sound_refused(shared) -> None:
    """The bundled expert on people it knows: own sound passes, foreign sound mostly fails, which is what MIN_MARGIN is for."""
    from training.clips import find_one_face
    from training.evaluate_generator import bundled_expert
    from wav2lip_core.checkpoint import load_sync_expert
    from wav2lip_core.face_detector import open_detector

    expert, finder = load_sync_expert(bundled_expert()), find_one_face(open_detector("dlib"))
    grid = shared / "media" / "grid"
    paths = [sorted((grid / person).iterdir())[0] for person in ("spkA_f", "spkQ_m", "spkC_f", "s1")]
    clips = [next(iter(prepare_film(path, finder))) for path in paths]
    for clip in clips:
        assert abs(in_sync(expert, clip)[1]) <= 2
    swapped = [prepare.PreparedClip(a.crops, b.voice[: len(a.crops) * 640], 0.0) for a, b in zip(clips, clips[1:] + clips[:1], strict=True)]
    refused = 0
    for clip in swapped:
        try:
            in_sync(expert, clip)
        except UnusableClipError:
            refused += 1
    assert refused >= 3


class _Expert:
    class config:
        face_size = 96


def ideal_similarities(_expert, faces: np.ndarray, mel: np.ndarray) -> np.ndarray:
    """Cosine of (opening, 1 - opening) with (loudness, 1 - loudness), of smooth five-frame means."""
    from training import dataset

    num = len(faces) - 4
    dark = (faces[:, 60:86, 25:71] < 60).mean(axis=(1, 2, 3))
    opening = np.stack([dark[i : i + 5] for i in range(num)])
    windows = dataset.mel_at(mel, np.arange(num))
    energy = 10 ** (windows.mean(axis=1) / 1.6)
    loud = np.stack([energy[:, round(k * 3.2) : round(k * 3.2) + 4].mean(axis=1) for k in range(5)], axis=1)
    rows = [(part - part.mean(axis=1, keepdims=True)) / (part.std(axis=1, keepdims=True) + 1e-9) for part in (opening, loud)]
    return rows[0] @ rows[1].T / 5
