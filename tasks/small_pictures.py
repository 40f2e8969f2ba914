"""Small pictures of a run of frames for a reviewer's page, encoded without sound."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from infra.artifacts import Artifact, ArtifactStore
from infra.errors import OurTroubleError
from infra.video import small_picture
from infra.video_write import average_rate, frame_clock, written_container
from tasks.types import Film, LipPatch, Record

VERSION = 3
MOST_LINES = 480
CRF, PRESET, NUM_THREADS = 23, "ultrafast", 2  # the number of threads decides the bytes: never the machine's
FRAMES_PER_KEYFRAME = 10  # a reviewer steps and jumps: few frames are decoded to get anywhere
ENCODING = f"crf {CRF} {PRESET} keyframes {FRAMES_PER_KEYFRAME}"
MEDIA_TYPE = "video/x-nut"


class SmallPictures(Record):
    """A run of frames, small."""

    video: Artifact  # NUT: H.264 in closed groups, no frame before its turn


def preview_size(film: Film) -> tuple[int, int]:
    """(width, height) of previews: square pixels, at most MOST_LINES high, both even."""
    aspect = 1 / film.sample_aspect_ratio if film.rotation_degrees % 180 else film.sample_aspect_ratio
    height = min(MOST_LINES, film.height)
    width = film.width * aspect * height / film.height
    return max(2, 2 * round(width / 2)), max(2, 2 * (height // 2))


def inputs_of(film: Film, first: int, end: int, patches: Sequence[LipPatch]) -> dict:
    """What small pictures of the frames [first, end) with these patches depend on. patches: those that touch the run, in pasting order."""
    return {
        "film": film.sha256,
        "timing": film.timing.sha256,
        "frames": (first, end),
        "patches": [(patch.patch.sha256, patch.first_frame, patch.end_frame) for patch in patches],
        "size": preview_size(film),
        "encoding": ENCODING,
    }


def are_stored(store: ArtifactStore, film: Film, first: int, end: int, patches: Sequence[LipPatch]) -> bool:
    """Whether nothing need be read for them."""
    return store.find("small_pictures", VERSION, inputs_of(film, first, end, patches), SmallPictures) is not None


def keep(store: ArtifactStore, film: Film, first: int, end: int, patches: Sequence[LipPatch], make: Callable[[], Artifact]) -> SmallPictures:
    """The small pictures of a run; make() gives their file where there are none yet."""
    inputs = inputs_of(film, first, end, patches)
    return store.get_or_make("small_pictures", VERSION, inputs, SmallPictures, lambda: SmallPictures(video=make()))


def shrink(frame: VideoFrame, film: Film) -> VideoFrame:
    """The picture as a viewer sees it, in the preview's size: a new yuv420p frame, BT.709, limited range."""
    return small_picture(frame, film.rotation_degrees, preview_size(film))


@contextmanager
def written_small(path: Path, film: Film, pts: np.ndarray) -> Iterator[Callable[[VideoFrame], None]]:
    """A new file of small pictures: call what is given with each one. pts: int64 (n,) of the frames, in the film's time base."""
    time_base, times = frame_clock(film, pts)
    num_written = 0
    with written_container(path, "nut") as container:
        stream = _video_stream(container, film)
        stream.codec_context.time_base = time_base

        def add(picture: VideoFrame) -> None:
            nonlocal num_written
            picture.pts, picture.time_base = int(times[num_written]), time_base
            container.mux(stream.encode(picture))
            num_written += 1

        yield add
        container.mux(stream.encode(None))
    if num_written != len(pts):
        raise OurTroubleError(f"Only {num_written} of {len(pts)} frames of the preview came to be encoded.")


def _video_stream(container: OutputContainer, film: Film) -> VideoStream:
    group = f"keyint={FRAMES_PER_KEYFRAME}:min-keyint={FRAMES_PER_KEYFRAME}"
    parameters = f"{group}:scenecut=0:bframes=0:mbtree=0:rc-lookahead=0:stitchable=1"
    options = {"preset": PRESET, "crf": str(CRF), "x264-params": parameters}
    stream: VideoStream = container.add_stream("libx264", rate=average_rate(film), options=options)  # type: ignore[assignment]
    context = stream.codec_context
    context.width, context.height = preview_size(film)
    context.pix_fmt, context.thread_count = "yuv420p", NUM_THREADS
    context.color_range, context.color_primaries, context.color_trc, context.colorspace = 1, 1, 1, 1  # limited, BT.709
    return stream
