"""Prepared clips stream: nothing is lost on the way but what is said, memory holds a few clips of many, every clip has its turn."""

import pickle
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from infra.errors import InputError, TransientError
from infra.storage import open_storage
from tests.training.people import prepared, write_shards
from training import shards
from training.clip_source import ClipSource, held_out_clips
from training.measures import psnr
from wav2lip_core.mel import log_mel


def source_of(data: str | Path, **how) -> ClipSource:
    settings = {"num_in_memory": 100, "refill_every": 10, "seed": 1, "min_windows": 1, "without": frozenset()} | how
    return ClipSource(data, **settings)


def test_what_the_encoding_loses_is_what_is_said() -> None:
    clip = prepared(1)
    rng = np.random.default_rng(0)
    texture = np.stack([cv2.GaussianBlur(rng.integers(0, 256, (144, 144, 3), np.uint8), (0, 0), 1.5) for _ in range(3)])
    clip.crops[:3] = texture  # finer than any skin
    crops, voice = shards.decode_clip(*shards.encode_clip(clip.crops, clip.voice))
    assert psnr(crops[:3], texture) > 38
    assert psnr(crops[3:], clip.crops[3:]) > 45
    assert np.abs(voice - clip.voice).max() <= 1 / 32768
    assert len(shards.encode_clip(clip.crops, clip.voice)[0]) < clip.crops.nbytes / 4


@pytest.mark.parametrize("cut", [0, 3, 10, -1, -400])
def test_pictures_that_are_cut_short_are_refused_not_guessed(cut: int) -> None:
    clip = prepared(1, 6)
    pictures, sound = shards.encode_clip(clip.crops, clip.voice)
    with pytest.raises(ValueError, match=r"cut short|buffer|damaged"):
        shards.decode_clip(pictures[:cut], sound)


def test_clips_come_back_with_person_licence_consent_and_source(tmp_path) -> None:
    folder = write_shards(tmp_path, {"ann": [1], "Zoë O'Neil": [2]})
    entries = shards.list_entries(folder)
    assert [(e.person, e.licence, e.consent, e.source) for e in entries] == [
        ("ann", "CC0", "made up", "ann/1.mp4"), ("Zoë O'Neil", "CC0", "made up", "Zoë O'Neil/2.mp4")
    ]  # fmt: skip
    clips = source_of(folder).at(0)
    assert [clip.person for clip in clips] == ["ann", "Zoë O'Neil"]
    assert np.allclose(clips[0].mel, log_mel(prepared(1).voice), atol=0.05)
    assert clips[0].crops.shape == (40, 144, 144, 3)


def test_equal_clips_make_equal_files(tmp_path) -> None:
    people = {"ann": [1], "bob": [2]}
    a, b = write_shards(tmp_path / "a", people), write_shards(tmp_path / "b", people)
    assert {path.name: path.read_bytes() for path in a.iterdir()} == {path.name: path.read_bytes() for path in b.iterdir()}


def test_a_set_larger_than_memory_streams_through_a_buffer_and_every_clip_has_its_turn(tmp_path) -> None:
    folder = write_shards(tmp_path, {f"p{i}": [i] for i in range(9)}, num_frames=20, shard_bytes=200_000)
    assert len(list(folder.glob("*.tar"))) > 2
    source = source_of(folder, num_in_memory=4, refill_every=5)
    names = [[clip.person for clip in source.at(step)] for step in range(0, 60, 5)]
    assert all(len(people) == 4 for people in names)
    assert [clip.person for clip in source.at(4)] == names[0]  # between two fillings nothing changes
    assert names[0] != names[1]
    assert set().union(*names[:4]) == {f"p{i}" for i in range(9)}  # one round and a bit
    assert len(source._buffers) <= 2


def test_the_buffer_depends_on_seed_and_step_alone(tmp_path) -> None:
    folder = write_shards(tmp_path, {f"p{i}": [i] for i in range(6)}, num_frames=20, shard_bytes=100_000)
    one, other = (source_of(folder, num_in_memory=3, refill_every=5) for _ in range(2))
    for step in (0, 5, 10):
        one.at(step)
    resumed = pickle.loads(pickle.dumps(other))
    assert [clip.name for clip in resumed.at(10)] == [clip.name for clip in one.at(10)]


def test_a_shard_larger_than_the_buffer_is_seen_whole_in_time(tmp_path) -> None:
    folder = write_shards(tmp_path, {f"p{i}": [i] for i in range(5)}, num_frames=20)
    source = source_of(folder, num_in_memory=2, refill_every=1)
    assert {clip.person for step in range(3) for clip in source.at(step)} == {f"p{i}" for i in range(5)}


def test_clips_stream_from_s3_and_leave_nothing_behind(tmp_path, s3_bucket) -> None:
    folder = write_shards(tmp_path / "local", {"ann": [1], "bob": [2]}, num_frames=20)
    storage = open_storage(f"{s3_bucket}/clips")
    for path in folder.iterdir():
        storage.put(path, path.name)
    clips = source_of(f"{s3_bucket}/clips").at(0)
    assert [clip.person for clip in clips] == ["ann", "bob"]
    assert np.array_equal(clips[0].crops, source_of(folder).at(0)[0].crops)


def test_people_kept_aside_are_not_among_those_learnt_from(data) -> None:
    assert {clip.person for clip in source_of(data, without=frozenset({"dee"})).at(0)} == {"ann", "bob", "cy"}
    assert {clip.person for clip in held_out_clips(data, frozenset({"dee"}))} == {"dee"}


def test_an_empty_folder_a_missing_shard_and_a_damaged_one_each_say_what_to_do(tmp_path) -> None:
    with pytest.raises(InputError, match=r"holds no prepared clips .*dub data prepare"):
        source_of(tmp_path)
    folder = write_shards(tmp_path / "x", {"ann": [1]}, num_frames=20)
    source, shard = source_of(folder), next(folder.glob("*.tar"))
    content = shard.read_bytes()
    shard.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"clips-00000.tar is damaged"):
        source.at(0)
    shard.unlink()
    with pytest.raises(InputError, match="missing, though the index names it"):
        source.at(0)
    (folder / shards.INDEX).write_text("{}\n")
    with pytest.raises(InputError, match="is damaged"):
        source_of(folder)


def test_clips_too_short_for_the_recipe_are_left_out_and_alone_they_are_an_error(tmp_path) -> None:
    folder = write_shards(tmp_path / "x", {"ann": [1]}, num_frames=20)
    with pytest.raises(InputError, match="no prepared clip of 44 frames or more"):
        source_of(folder, min_windows=40)


def test_a_shard_is_a_plain_tar_that_other_tools_read(data) -> None:
    with tarfile.open(next(Path(data).glob("*.tar"))) as archive:
        suffixes = {name.partition(".")[2] for name in archive.getnames()}
    assert suffixes == {"json", "jpgs", "flac"}


def test_a_full_disk_is_told_and_an_earlier_set_stays(tiny_disk: Path) -> None:
    write_shards(tiny_disk, {"ann": [1]}, num_frames=6)
    before = {path.name: path.read_bytes() for path in tiny_disk.iterdir()}
    with pytest.raises((TransientError, OSError)):
        write_shards(tiny_disk, {f"p{i}": [i] for i in range(20)}, num_frames=20)
    assert {name: (tiny_disk / name).read_bytes() for name in before} == before
