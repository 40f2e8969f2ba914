"""What a frame says beside its picture is found, and asking for it keeps no frame, and with it no decoder's memory, from being freed."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from av.video.frame import VideoFrame

from infra import ffmpeg
from infra.scan import scan
from infra.side_data import side_data_of
from infra.video import FrameReader
from infra.video_join import display_matrix

WIDTH, HEIGHT = 320, 192
LIGHT = "mastering-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1):cll=1000,400"


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Turned by a quarter, and made for bright screens."""
    folder = tmp_path_factory.mktemp("film")
    picture = ["-f", "lavfi", "-i", f"testsrc2=size={WIDTH}x{HEIGHT}:rate=25:duration=0.4"]
    ffmpeg.run([*picture, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-x264-params", LIGHT, "-y", str(folder / "straight.mp4")], timeout_s=60)
    ffmpeg.run(["-display_rotation", "90", "-i", str(folder / "straight.mp4"), "-c", "copy", "-y", str(folder / "turned.mp4")], timeout_s=60)
    return folder / "turned.mp4"


def first_frame_of(film: Path) -> VideoFrame:
    facts = scan(film)
    assert facts.rotation_degrees in (90, 270)
    return next(FrameReader(facts.path, facts.pts, facts.time_base, facts.is_keyframe).frames(0, 1))[1]


def test_what_a_frame_says_is_found(film):
    said = side_data_of(first_frame_of(film))
    assert {"DISPLAYMATRIX", "MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"} <= set(said)
    assert len(said["DISPLAYMATRIX"]) == 36


@pytest.fixture
def garbage() -> Iterator[list]:
    """What Python's collector had to find, from here on."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    yield gc.garbage
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


def test_no_frame_of_the_film_waits_for_the_garbage_collector(film, garbage):
    frame = first_frame_of(film)
    assert display_matrix(frame) is not None
    side_data_of(frame)
    del frame
    gc.collect()
    assert not [found for found in garbage if isinstance(found, VideoFrame) and found.width == WIDTH]
