"""A data drop is stored once, whole, by digest; one that must not be learnt from is refused with a reason and leaves nothing behind."""

import shutil
from pathlib import Path

import pytest

from infra import ffmpeg
from infra.errors import InputError
from infra.storage import Storage, open_storage
from tests.speaking_clips import write_drop, write_speaking_clip
from training.drops import Drop, add_drop, fetch_drop, list_drops
from training.golden import GoldenSet, find_leaks, freeze_golden, read_golden
from training.intake import clips_at, take_in

WORDS = {"licence": "CC0", "consent": "made up"}


@pytest.fixture(scope="module")
def golden_clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_drop(tmp_path_factory.mktemp("golden"), {"gina": 10, "gus": 11}, 3, num_frames=70)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_drop(tmp_path_factory.mktemp("clips"), {"ann": 0, "bob": 1}, 2, num_frames=55)


@pytest.fixture(scope="module")
def frozen(golden_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> GoldenSet:
    return freeze_golden(open_storage(tmp_path_factory.mktemp("registry")), golden_clips, "golden", **WORDS)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(tmp_path / "registry")


def add(storage: Storage, folder: Path, *goldens: GoldenSet) -> tuple[Drop, bool]:
    return add_drop(storage, folder, goldens, source=str(folder), **WORDS)


def refused(storage: Storage, folder: Path, *goldens: GoldenSet) -> str:
    with pytest.raises(InputError) as caught:
        add(storage, folder, *goldens)
    assert storage.list() == []
    return str(caught.value)


def test_a_drop_is_stored_once_and_comes_back_as_it_was(clips, frozen, storage, tmp_path) -> None:
    drop, is_new = add(storage, clips, frozen)
    again, is_new_again = add(storage, clips, frozen)
    assert (is_new, is_new_again, again) == (True, False, drop)
    assert (drop.people, len(drop.clips), drop.licence) == (("ann", "bob"), 4, "CC0")
    fetched = fetch_drop(storage, drop, tmp_path / "back")
    for clip in drop.clips:
        assert (fetched / clip.label).read_bytes() == (clips / clip.label).read_bytes()
    assert list_drops(storage) == (drop,)


def test_a_drop_on_s3_is_the_same_drop(clips, frozen, s3_bucket, tmp_path) -> None:
    source = open_storage(f"{s3_bucket}/in")
    for path in clips.glob("*/*"):
        source.put(path, path.relative_to(clips).as_posix())
    registry = open_storage(f"{s3_bucket}/registry")
    with clips_at(f"{s3_bucket}/in", tmp_path) as folder:
        drop, _ = add(registry, folder, frozen)
    assert drop.id == add(open_storage(tmp_path / "other"), clips, frozen)[0].id
    assert list_drops(registry) == (drop,)


@pytest.mark.parametrize("disguise", ["copied", "re-encoded", "cut"])
def test_a_golden_clip_is_known_again_whatever_it_is_called(disguise, clips, golden_clips, frozen, storage, tmp_path) -> None:
    shutil.copytree(clips, tmp_path / "drop")
    source, target = golden_clips / "gus" / "clip 1.mp4", tmp_path / "drop" / "ann" / "new.mkv"
    if disguise == "copied":
        shutil.copy(source, target)
    else:
        cut = ["-ss", "0.342"] if disguise == "cut" else []
        coded = ["-c:v", "libx264", "-preset", "ultrafast", "-crf", "30", "-ar", "44100", "-c:a", "aac", "-b:a", "64k", "-af", "volume=0.6"]
        ffmpeg.run(["-i", str(source), *cut, *coded, str(target)], timeout_s=60)
    message = refused(storage, tmp_path / "drop", frozen)
    assert "1 of 5 clips are not to be learnt from" in message
    assert "ann/new.mkv is the" in message
    assert "gus/clip 1.mp4" in message


def test_a_golden_clip_is_known_cropped_scaled_shifted_trimmed_and_at_another_rate(golden_clips, frozen, tmp_path) -> None:
    source, folder = golden_clips / "gus" / "clip 1.mp4", tmp_path / "drop"
    disguises = {
        "cropped": ["-vf", "crop=in_w-60:in_h-40"],
        "scaled": ["-vf", "scale=160:120"],
        "later by seven frames": ["-ss", "0.28"],
        "sound held back": ["-af", "adelay=130:all=1,volume=0.4"],
        "trimmed": ["-ss", "0.613", "-t", "1.5"],
        "thirty frames": ["-r", "30", "-ar", "22050"],
        "a little faster": ["-vf", "setpts=PTS/1.02", "-af", "atempo=1.02"],
    }
    (folder / "ann").mkdir(parents=True)
    for name, how in disguises.items():
        coded = ["-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", "-b:a", "64k"]
        ffmpeg.run(["-i", str(source), *how, *coded, str(folder / "ann" / f"{name}.mkv")], timeout_s=60)
    write_speaking_clip(folder / "ann" / "somebody else's.mp4", 0, 0, 55)
    leaks = find_leaks(frozen, take_in(folder).clips)
    assert leaks.keys() == {f"ann/{name}.mkv" for name in disguises}
    assert all("gus/clip 1.mp4" in why for why in leaks.values())


def test_a_clip_too_short_to_be_told_from_a_golden_one_is_left_out(golden_clips, clips, frozen, storage, tmp_path) -> None:
    shutil.copytree(clips, tmp_path / "drop")
    ffmpeg.run(
        ["-i", str(golden_clips / "gus" / "clip 1.mp4"), "-ss", "0.9", "-t", "0.9", str(tmp_path / "drop" / "ann" / "piece.mkv")], timeout_s=60
    )
    drop, _ = add(storage, tmp_path / "drop", frozen)
    assert [clip.label for clip in drop.clips if clip.name == "piece.mkv"] == []
    assert "might be a piece of a golden clip" in drop.refused["ann/piece.mkv"]


def test_nobody_of_the_golden_set_is_learnt_from(frozen, storage, tmp_path) -> None:
    folder = write_drop(tmp_path / "drop", {"gina": 12, "ann": 0}, 2, num_frames=55)
    assert "shows gina, a person of the golden set" in refused(storage, folder, frozen)


def test_frames_without_sound_are_refused(storage, tmp_path) -> None:
    folder = write_drop(tmp_path / "drop", {"ann": 0}, 2, num_frames=30)
    write_speaking_clip(folder / "bob" / "mute.mkv", 1, 0, 30, sound="none")
    write_speaking_clip(folder / "bob" / "silent.mkv", 1, 1, 30, sound="silence")
    write_speaking_clip(folder / "bob" / "short.mkv", 1, 2, 8)
    message = refused(storage, folder)
    assert "More than half of the drop cannot be used" in message
    for text in ("bob/mute.mkv: frames without sound", "bob/silent.mkv: frames without sound: the track is silent", "bob/short.mkv: only 8 frames"):
        assert text in message


def test_a_tiny_drop_is_refused_with_what_is_needed(storage, tmp_path) -> None:
    folder = write_drop(tmp_path / "drop", {"ann": 0, "bob": 1}, 1, num_frames=30)
    assert "too small to learn from: 2 clips of 2 people usable, 2.4 s, 0 not; at least 4 clips and 8 s" in refused(storage, folder)
    (tmp_path / "empty").mkdir()
    assert "There is no clip in it" in refused(storage, tmp_path / "empty")


def test_a_golden_set_is_frozen_whole_or_not_at_all(golden_clips, clips, storage, tmp_path) -> None:
    golden = freeze_golden(storage, golden_clips, "golden", **WORDS)
    assert freeze_golden(storage, golden_clips, "golden", **WORDS) == golden == read_golden(storage, "golden")
    with pytest.raises(InputError, match="needs at least 6 clips"):
        freeze_golden(storage, clips, "other", **WORDS)
    shutil.copytree(golden_clips, tmp_path / "more")
    shutil.copytree(clips, tmp_path / "more", dirs_exist_ok=True)
    with pytest.raises(InputError, match="is frozen and holds other clips"):
        freeze_golden(storage, tmp_path / "more", "golden", **WORDS)
    (tmp_path / "more" / "ann" / "clip 0.mp4").write_bytes(b"<html>")
    with pytest.raises(InputError, match="whole or not at all"):
        freeze_golden(storage, tmp_path / "more", "third", **WORDS)


def test_a_clip_that_was_altered_in_the_store_is_not_trained_on(clips, storage, tmp_path) -> None:
    drop, _ = add(storage, clips)
    kept = tmp_path / "registry" / drop.clips[0].key
    kept.write_bytes(kept.read_bytes() + b"\0")
    with pytest.raises(InputError, match="was altered"):
        fetch_drop(storage, drop, tmp_path / "back")
