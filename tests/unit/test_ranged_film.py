"""A film in a bucket is read in pieces: what is needed, once, and never a piece of another version."""

import hashlib
import os
from fractions import Fraction

import numpy as np
import pytest

from infra import ranged_file
from infra.artifacts import ArtifactStore
from infra.container import open_container
from infra.errors import InputError, TransientError
from infra.hollow_film import without_pictures
from infra.ranged_file import RangedFile, drop_old_blocks, forget_blocks, num_bytes_fetched
from infra.settings import get_settings
from infra.sources import PinnedObject, find_source, local_copy, name_of, pinned_object
from infra.storage import open_storage
from infra.video import FrameReader, scan
from tasks.inspect_film import inspect_film
from tasks.prepare_stem import prepare_original
from tasks.render_reel import render_reel
from tests.fault_proxy import fault_proxy
from tests.media import Sound, write_film
from tests.small_film import make_voice
from tests.swift_server import point_at

NUM_FRAMES, FPS = 240, 24
BLOCK_BYTES = 1 << 17  # small ones, so that a small film has many


@pytest.fixture(scope="module")
def long_film(tmp_path_factory):
    """Ten seconds of noise, a keyframe each second: many blocks, as a film of hours has."""
    rng = np.random.default_rng(0)
    pictures = (rng.integers(0, 255, (96, 128, 3), np.uint8) for _ in range(NUM_FRAMES))
    path = tmp_path_factory.mktemp("film") / "long.mp4"
    sound = Sound(make_voice(NUM_FRAMES / FPS)[:, None], 16000)
    return write_film(path, pictures, fps=Fraction(FPS), options={"g": "24", "qp": "10", "preset": "ultrafast"}, sound=sound)


@pytest.fixture
def far(long_film, s3_bucket, tmp_path, monkeypatch) -> PinnedObject:
    """The film in a bucket, with nothing of it on this machine."""
    monkeypatch.setenv("DUBFLOW_WORK_FOLDER", str(tmp_path / "work"))
    monkeypatch.setattr(ranged_file, "BLOCK_BYTES", BLOCK_BYTES)
    get_settings.cache_clear()
    open_storage(s3_bucket).put(long_film, "in/long film.mp4")
    forget_blocks()
    found = pinned_object(find_source(f"{s3_bucket}/in/long film.mp4", tmp_path))
    assert found is not None
    return found


def empty_the_disk() -> None:
    forget_blocks()
    for path in (get_settings().work_folder / "film-blocks").iterdir():
        path.unlink()


def test_inspecting_reads_it_once_and_a_reel_a_small_part(far, long_film, tmp_path):
    store = ArtifactStore(tmp_path / "artifacts")
    film = inspect_film(store, str(far))
    size = long_film.stat().st_size
    assert size > 15 * BLOCK_BYTES, "long enough to tell"
    assert num_bytes_fetched(far) == size
    assert film.sha256 == hashlib.sha256(long_film.read_bytes()).hexdigest()
    other = ArtifactStore(tmp_path / "other")
    at_home = inspect_film(other, long_film)
    assert at_home.model_copy(update={"path": "", "state": ""}) == film.model_copy(update={"path": "", "state": ""})

    empty_the_disk()
    reel = render_reel(store, film, 100, 110, (), "fr", "ffv1")
    assert 0 < num_bytes_fetched(far) < size / 4
    assert not (tmp_path / "work" / "inputs").exists(), "it was never fetched whole"
    again = render_reel(other, at_home, 100, 110, (), "fr", "ffv1")
    assert reel == again, "the same bytes as from the local file"


def test_its_sound_and_its_frames_are_those_of_the_local_file(far, long_film, tmp_path):
    here, there = scan(long_film), scan(str(far))
    assert np.array_equal(here.pts, there.pts)
    readers = [FrameReader(path, here.pts, here.time_base, here.is_keyframe) for path in (str(long_film), str(far))]
    first, second = ([frame.to_ndarray() for _, frame in reader.frames(50, 53)] for reader in readers)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    store = ArtifactStore(tmp_path / "artifacts")
    stems = [prepare_original(store, inspect_film(store, path), None) for path in (str(far), long_film)]
    assert stems[0].analysis == stems[1].analysis


def test_carrying_over_its_other_streams_takes_their_room_alone(far, long_film, tmp_path):
    hollow = without_pictures(str(far), tmp_path)
    assert hollow.stat().st_size == far.num_bytes
    assert hollow.stat().st_blocks * 512 < far.num_bytes / 2, "the pictures are holes"
    packets = []
    for path in (long_film, hollow):
        with open_container(path) as container:
            packets.append([(packet.pts, bytes(packet)) for packet in container.demux(container.streams.audio[0])])
    assert packets[0] == packets[1]
    assert without_pictures(str(long_film), tmp_path) == long_film


def test_a_film_replaced_meanwhile_is_never_mixed_with_the_old_one(far, s3_bucket, tmp_path):
    store = ArtifactStore(tmp_path / "artifacts")
    film = inspect_film(store, str(far))
    empty_the_disk()
    (tmp_path / "new").write_bytes(os.urandom(far.num_bytes))
    open_storage(s3_bucket).put(tmp_path / "new", "in/long film.mp4")
    with pytest.raises(InputError, match="was replaced"):
        render_reel(store, film, 100, 110, (), "fr", "ffv1")
    with pytest.raises(InputError, match="was replaced"):
        local_copy(str(far))
    assert list((tmp_path / "artifacts" / "records").glob("render_reel/*")) == []


def test_a_film_that_is_not_what_was_put_there_is_refused(far, long_film, s3_bucket, swift, tmp_path):
    client, bucket = swift.client(), s3_bucket.removeprefix("s3://")
    promised = client.head_object(Bucket=bucket, Key=far.key)["Metadata"]
    damaged = bytearray(long_film.read_bytes())
    damaged[-1] ^= 1
    client.put_object(Bucket=bucket, Key=far.key, Body=bytes(damaged), Metadata=promised)
    with pytest.raises(InputError, match="damaged"):
        inspect_film(ArtifactStore(tmp_path / "artifacts"), find_source(far.uri, tmp_path))


def test_a_line_that_breaks_is_mended_and_one_that_is_dead_may_pass(far, long_film, swift, monkeypatch):
    data = long_film.read_bytes()
    with fault_proxy(swift.port, "GET", "cut_answer", num_faults=2) as proxy:
        point_at(monkeypatch, proxy.url)
        file = RangedFile(far)
        file.seek(BLOCK_BYTES - 10)
        assert file.read(20) == data[BLOCK_BYTES - 10 : BLOCK_BYTES + 10]
        assert proxy.num_done == 2
    monkeypatch.setenv("DUBFLOW_S3_MAX_ATTEMPTS", "1")
    point_at(monkeypatch, "http://127.0.0.1:9")
    empty_the_disk()
    with pytest.raises(TransientError):
        scan(str(far))


def test_a_piece_damaged_on_this_disk_is_fetched_again(far, long_film):
    RangedFile(far).read(10)
    (block,) = (get_settings().work_folder / "film-blocks").iterdir()
    block.write_bytes(block.read_bytes()[:-1] + b"x")
    forget_blocks()
    assert RangedFile(far).read(BLOCK_BYTES) == long_film.read_bytes()[:BLOCK_BYTES]
    assert num_bytes_fetched(far) == BLOCK_BYTES


def test_pieces_on_this_disk_and_in_memory_are_bounded(far, tmp_path, monkeypatch):
    monkeypatch.setattr(ranged_file, "NUM_IN_MEMORY", 3)
    while RangedFile(far).read(0) == b"" and len(ranged_file._blocks) < 3:
        for number in range(8):
            ranged_file.read_block(far, number)
    assert len(ranged_file._blocks) == 3
    folder = get_settings().work_folder / "film-blocks"
    os.utime(next(iter(sorted(folder.iterdir()))))  # the first was used last
    monkeypatch.setattr(ranged_file, "LOOK_EVERY", 0)
    drop_old_blocks(folder, 3.5 * BLOCK_BYTES)
    left = sorted(path.name[-8:] for path in folder.iterdir())
    assert len(left) == 3
    assert left[0] == "00000000"


def test_a_source_survives_as_text_whatever_its_name(far):
    odd = PinnedObject("bucket", "what?#is:this & that#bytes=1/é.mp4", 7, 'a-"b"/&c')
    assert pinned_object(str(odd)) == odd
    assert name_of(str(odd)) == "é.mp4"
    assert pinned_object("/films/a.mp4") is None
    assert pinned_object("s3://bucket/a.mp4") is None
