"""Reading pictures and sound: every frame is the one asked for, in any container, and heard when it is seen."""

import resource
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra import ffmpeg
from infra.declared import pick_video_stream
from infra.errors import OurTroubleError
from infra.video import FrameReader, open_container, scan, upright_bgr
from tests import media

NUM_FRAMES = 60


def reader_of(path: Path) -> FrameReader:
    facts = scan(path)
    return FrameReader(facts.path, facts.pts, facts.time_base, facts.is_keyframe, facts.rotation_degrees)


def numbers(reader: FrameReader, first: int, end: int) -> list[tuple[int, int]]:
    return [(n, media.read_number(image)) for n, image in reader.pictures(first, end)]


@pytest.fixture(scope="session")
def film(tmp_path_factory) -> Path:
    sound = media.Sound(media.tone(NUM_FRAMES / 25))
    return media.numbered_film(tmp_path_factory.mktemp("film") / "film.mp4", NUM_FRAMES, sound=sound)


@pytest.fixture(scope="session")
def film_reader(film) -> FrameReader:
    return reader_of(film)


def make_variant(film: Path, kind: str, folder: Path) -> Path:
    makers = {
        "mp4": lambda: film,
        "faststart": lambda: media.faststart(film, folder / "a.mp4"),
        "fragmented": lambda: media.fragmented(film, folder / "a.mp4"),
        "mov": lambda: media.remux(film, folder / "a.mov"),
        "mkv": lambda: media.remux(film, folder / "a.mkv"),
        "ts": lambda: media.remux(film, folder / "a.ts", "-muxdelay", "1.4"),
        "late start": lambda: media.remux(film, folder / "a.mkv", "-output_ts_offset", "7.3"),
        "intra": lambda: media.numbered_film(folder / "a.mp4", NUM_FRAMES, options={"crf": "16", "preset": "ultrafast", "g": "1"}),
        "short gops with b-frames": lambda: media.numbered_film(
            folder / "a.mp4", NUM_FRAMES, options={"crf": "16", "preset": "veryfast", "g": "3", "bf": "2", "keyint_min": "1"}
        ),
        "open gops": lambda: media.numbered_film(
            folder / "a.mkv", NUM_FRAMES, options={"crf": "16", "preset": "veryfast", "g": "12", "bf": "3", "x264-params": "open-gop=1"}
        ),
        "one gop": lambda: media.numbered_film(folder / "a.mp4", NUM_FRAMES, options={"crf": "16", "preset": "ultrafast", "g": "600"}),
        "ffv1": lambda: media.numbered_film(folder / "a.mkv", NUM_FRAMES, codec="ffv1"),
        "mpeg2": lambda: media.numbered_film(folder / "a.mpg", NUM_FRAMES, codec="mpeg2video", options={"qscale": "2", "bf": "2", "b": "4M"}),
        "vp9": lambda: media.numbered_film(folder / "a.webm", NUM_FRAMES, codec="libvpx-vp9", options={"deadline": "realtime", "crf": "20"}),
        "variable rate": lambda: media.numbered_film(
            folder / "a.mp4", NUM_FRAMES, pts=[n * 40 + 13 * (n % 3) for n in range(NUM_FRAMES)], time_base=Fraction(1, 1000)
        ),
    }
    return makers[kind]()


VARIANTS = ("mp4", "faststart", "fragmented", "mov", "mkv", "ts", "late start", "intra", "short gops with b-frames", "open gops", "one gop", "ffv1")
VARIANTS += ("mpeg2", "vp9", "variable rate")


@pytest.mark.parametrize("kind", VARIANTS)
def test_any_range_of_any_container_gives_exactly_its_frames(kind, film, tmp_path):
    reader = reader_of(make_variant(film, kind, tmp_path))
    assert len(reader.pts) == NUM_FRAMES
    assert numbers(reader, 0, NUM_FRAMES) == [(n, n) for n in range(NUM_FRAMES)]
    for first, end in ((0, 1), (1, 3), (11, 14), (12, 13), (23, 26), (35, 37), (NUM_FRAMES - 1, NUM_FRAMES), (30, NUM_FRAMES)):
        assert numbers(reader, first, end) == [(n, n) for n in range(first, end)], (first, end)


@settings(max_examples=25, deadline=None)
@given(bounds=st.tuples(st.integers(0, NUM_FRAMES), st.integers(0, NUM_FRAMES)))
def test_ranges_may_be_read_in_any_order(film_reader, bounds):
    first, end = sorted(bounds)
    assert numbers(film_reader, first, end) == [(n, n) for n in range(first, end)]


def test_a_part_is_bit_equal_to_the_same_frames_of_a_whole_read(film_reader):
    whole = {n: [bytes(plane) for plane in frame.planes] for n, frame in film_reader.frames(0, NUM_FRAMES)}
    for first in (5, 17, 36, 51):
        for n, frame in film_reader.frames(first, first + 4):
            assert [bytes(plane) for plane in frame.planes] == whole[n]


def test_an_edit_list_hides_the_frames_before_the_cut(film, tmp_path):
    cut = tmp_path / "cut.mp4"
    ffmpeg.run(["-y", "-ss", "0.6", "-i", str(film), "-map", "0:v", "-c", "copy", str(cut)], timeout_s=60)
    facts = scan(cut)
    reader = reader_of(cut)
    shown = [number for _, number in numbers(reader, 0, len(reader.pts))]
    assert shown == list(range(shown[0], NUM_FRAMES))
    assert shown[0] == 15
    assert not facts.is_truncated
    assert numbers(reader, 20, 22) == [(20, 35), (21, 36)]


def test_a_range_outside_the_film_is_refused(film_reader):
    with pytest.raises(ValueError, match="not inside a film of 60 frames"):
        next(film_reader.frames(10, NUM_FRAMES + 1))


def test_a_frame_that_vanished_since_the_scan_is_our_trouble(film, film_reader, tmp_path):
    other = media.numbered_film(tmp_path / "other.mp4", 40)
    stale = FrameReader(str(other), film_reader.pts, film_reader.time_base, film_reader.is_keyframe)
    with pytest.raises(OurTroubleError, match="frame 40 was there"):
        list(stale.frames(30, 50))


def test_memory_does_not_grow_with_the_number_of_frames(tmp_path):
    picture = media.scene(3, 1280, 720)[:, :1280]
    path = media.write_film(tmp_path / "long.mp4", (picture for _ in range(160)))
    reader = reader_of(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(1 for _ in reader.pictures(0, 160)) == 160
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000  # KiB; all 160 pictures would be 442 MB


# -- upright pictures


PATCHES_BGR = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (128, 128, 128), (230, 230, 230), (20, 120, 220)]


def colour_film(path: Path, matrix: str, color_range: str, pixel_format: str, height: int = 96, tagged: str = "tagged") -> Path:
    """Six flat patches, converted by ffmpeg with the given matrix."""
    picture = np.hstack([np.full((height, 32, 3), colour, np.uint8) for colour in PATCHES_BGR])
    png = path.with_suffix(".png")
    cv2.imwrite(str(png), picture)
    tags = ["-colorspace", {"bt601": "smpte170m"}.get(matrix, matrix), "-color_range", color_range] if tagged == "tagged" else []
    keep = [] if tagged == "tagged" else ["-bsf:v", "h264_metadata=matrix_coefficients=2:video_full_range_flag=0"]
    scale = f"scale=out_color_matrix={matrix}:out_range={color_range}:flags=accurate_rnd+full_chroma_int,format={pixel_format}"
    codec = ["-c:v", "libx264", "-qp", "2"]
    ffmpeg.run(["-y", "-loop", "1", "-i", str(png), "-frames:v", "2", "-vf", scale, *codec, *tags, *keep, str(path)], timeout_s=60)
    return path


@pytest.mark.parametrize(
    ("matrix", "color_range", "pixel_format", "height", "tagged"),
    [
        ("bt709", "tv", "yuv420p", 96, "tagged"),
        ("bt601", "tv", "yuv420p", 96, "tagged"),
        ("bt709", "pc", "yuv444p", 96, "tagged"),
        ("bt2020nc", "tv", "yuv420p10le", 96, "tagged"),
        ("bt601", "tv", "yuv420p", 96, "untagged"),
        ("bt709", "tv", "yuv420p", 720, "untagged"),
    ],
)
def test_colours_come_back_through_the_films_own_matrix_and_range(matrix, color_range, pixel_format, height, tagged, tmp_path):
    path = colour_film(tmp_path / "colours.mp4", matrix, color_range, pixel_format, height, tagged)
    _, image = next(reader_of(path).pictures(0, 1))
    for i, colour in enumerate(PATCHES_BGR):
        assert np.abs(image[height // 2, 32 * i + 16].astype(int) - colour).max() <= 4, (i, image[height // 2, 32 * i + 16], colour)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_turned_film_is_read_upright_as_players_show_it(degrees, tmp_path):
    film = media.write_film(tmp_path / "film.mp4", media.shot_pictures(4, 3, 128, 96))
    turned = media.rotated(film, tmp_path / "turned.mp4", degrees)
    shown = tmp_path / "shown.mkv"
    ffmpeg.run(["-y", "-i", str(turned), "-c:v", "ffv1", str(shown)], timeout_s=60)  # ffmpeg turns by itself
    reader = reader_of(turned)
    assert reader.rotation_degrees == degrees
    for (_, ours), (_, theirs) in zip(reader.pictures(0, 3), reader_of(shown).pictures(0, 3), strict=True):
        assert ours.shape == ((96, 128, 3) if degrees % 180 == 0 else (128, 96, 3))
        assert np.abs(ours.astype(int) - theirs).mean() < 1.5


@pytest.mark.parametrize(("size", "degrees", "width"), [((128, 96), 0, 64), ((128, 96), 90, 48), ((127, 95), 0, 63), ((128, 96), 270, 192)])
def test_scaling_gives_the_width_asked_for_in_proportion(size, degrees, width, tmp_path):
    film = media.write_film(tmp_path / "film.mkv", media.shot_pictures(4, 1, *size), codec="ffv1", pixel_format="yuv444p")
    _, frame = next(reader_of(film).frames(0, 1))
    image, small = upright_bgr(frame, degrees), upright_bgr(frame, degrees, width)
    assert small.shape == (round(image.shape[0] * width / image.shape[1]), width, 3)
    assert small.flags.c_contiguous
    expected = cv2.resize(image, small.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(expected.astype(int) - small).mean() < 2


def test_the_picture_is_never_a_cover(film, tmp_path):
    cover = tmp_path / "cover.png"
    cv2.imwrite(str(cover), media.scene(9))
    both = tmp_path / "both.mp4"
    ffmpeg.run(
        ["-y", "-i", str(cover), "-i", str(film), "-map", "0", "-map", "1", "-c", "copy", "-disposition:v:0", "attached_pic", str(both)], timeout_s=60
    )
    with open_container(both) as container:
        assert len(container.streams.video) == 2
        assert pick_video_stream(container, str(both)).codec_context.name == "h264"
    assert numbers(reader_of(both), 0, 3) == [(0, 0), (1, 1), (2, 2)]
