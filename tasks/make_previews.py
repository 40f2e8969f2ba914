"""Makes what a reviewer looks at: each shot before and after as two small films with the right sound, frame by frame the same moments."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from fractions import Fraction
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
import soxr
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream

from infra.artifacts import ArtifactStore
from infra.errors import OurTroubleError
from infra.video import FrameReader, upright_bgr
from infra.video_write import average_rate, frame_clock, written_container
from tasks.paste_patches import PatchFaces, in_order, patched_frames
from tasks.timeline import frame_times_s
from tasks.types import Clip, Film, LipPatch, MouthPoint, Preview, Shot, Stem
from wav2lip_core.face_crop import MASK_CENTRE
from wav2lip_core.mel import SAMPLE_RATE_HZ

VERSION = 1
MOST_LINES = 480
CRF, PRESET, NUM_THREADS = 25, "veryfast", 2  # the number of threads decides the bytes: never the machine's
FRAMES_PER_KEYFRAME = 10  # a reviewer steps and jumps: few frames are decoded to get anywhere
SOUND_RATE_HZ = 48_000  # AAC's lead-in is 21 ms there, and noted in the file
SOUND_BITS_PER_S = 96_000
FADE_S = 0.004  # at both ends, so that a loop does not click
FRAMES_PER_MOUTH_POINT = 10
MOUTH_HEIGHT = 0.62  # of the canonical box, shown around the mouth


def make_preview(store: ArtifactStore, film: Film, shot: Shot, patches: Sequence[LipPatch], original: Stem | None, dub: Stem) -> Preview:
    """The shot with the original's sound, and with its patches and the dub's. The first is shared by all languages and all later takes.

    Raises OurTroubleError when the film cannot be read again.
    """
    here = in_order(patches, shot.first_frame, shot.end_frame)
    return Preview(
        shot_index=shot.index,
        language=dub.language or "",
        before=_clip(store, film, shot, [], original),
        after=_clip(store, film, shot, here, dub),
        mouth=tuple(_mouth_path(store, film, shot, here)),
    )


def preview_size(film: Film) -> tuple[int, int]:
    """(width, height) of previews: square pixels, at most MOST_LINES high, both even."""
    aspect = 1 / film.sample_aspect_ratio if film.rotation_degrees % 180 else film.sample_aspect_ratio
    height = min(MOST_LINES, film.height)
    width = film.width * aspect * height / film.height
    return max(2, 2 * round(width / 2)), max(2, 2 * (height // 2))


def _clip(store: ArtifactStore, film: Film, shot: Shot, patches: list[LipPatch], sound: Stem | None) -> Clip:
    heard = _heard(store, film, shot, sound)
    inputs = {
        "film": film.sha256,
        "timing": film.timing.sha256,
        "frames": (shot.first_frame, shot.end_frame),
        "patches": [(patch.patch.sha256, patch.first_frame, patch.end_frame) for patch in patches],
        "heard": None if heard is None else sha256(heard.tobytes()).hexdigest(),
        "size": preview_size(film),
        "encoding": f"crf {CRF} {PRESET} keyframes {FRAMES_PER_KEYFRAME} aac {SOUND_BITS_PER_S}",
    }

    def make() -> Clip:
        with store.scratch() as folder, closing(PatchFaces(store, patches)) as faces:
            path = folder / "clip.mp4"
            timing = store.load_arrays(film.timing)
            reader = FrameReader(film.path, timing["pts"], film.time_base, timing["is_keyframe"], film.rotation_degrees)
            frames = patched_frames(reader.frames(shot.first_frame, shot.end_frame), faces, film.rotation_degrees)
            _write(path, film, timing["pts"][shot.first_frame : shot.end_frame], frames, heard)
            width, height = preview_size(film)
            return Clip(video=store.put_file(path, "video/mp4"), num_frames=shot.num_frames, width=width, height=height)

    return store.get_or_make("make_clip", VERSION, inputs, Clip, make)


def _heard(store: ArtifactStore, film: Film, shot: Shot, sound: Stem | None) -> np.ndarray | None:
    """The stem while the shot is on screen: float32 (n,) at SOUND_RATE_HZ, silence where the stem has none."""
    if sound is None:
        return None
    times = frame_times_s(store, film)[shot.first_frame : shot.end_frame]
    first = round(float(times[0]) * SAMPLE_RATE_HZ)
    end = round((float(times[-1]) + 1 / float(film.fps)) * SAMPLE_RATE_HZ)
    wave = store.load_array(sound.analysis)
    heard = np.zeros(end - first, np.float32)
    known = np.asarray(wave[first : min(end, len(wave))], np.float32)
    heard[: len(known)] = known
    fade = min(round(FADE_S * SAMPLE_RATE_HZ), len(heard) // 2)
    heard[:fade] *= np.linspace(0, 1, fade, dtype=np.float32)
    heard[len(heard) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)
    return np.clip(soxr.resample(heard, SAMPLE_RATE_HZ, SOUND_RATE_HZ), -1, 1).astype(np.float32)


def _write(path: Path, film: Film, pts: np.ndarray, frames: Iterator[VideoFrame], sound: np.ndarray | None) -> None:
    """One MP4, its index first so that a browser can jump at once. pts: int64 (n,) of the frames, in the film's time base."""
    time_base, times = frame_clock(film, pts)
    width, height = preview_size(film)
    num_written = 0
    index_bytes = 16_384 + 64 * len(pts) + (0 if sound is None else len(sound) // 32)
    with written_container(path, "mp4", moov_size=str(index_bytes)) as container:
        stream = _video_stream(container, film, time_base, (width, height))
        sound_stream = None if sound is None else _sound_stream(container)
        if sound is not None and sound_stream is not None:
            _write_sound(container, sound_stream, sound)
        for frame in frames:
            picture = _small(frame, film, (width, height))
            picture.pts, picture.time_base = int(times[num_written]), time_base
            container.mux(stream.encode(picture))
            num_written += 1
        container.mux(stream.encode(None))
    if num_written != len(pts):
        raise OurTroubleError(f"Only {num_written} of {len(pts)} frames of the preview came to be encoded.")


def _small(frame: VideoFrame, film: Film, size: tuple[int, int]) -> VideoFrame:
    """The picture as a viewer sees it, in the preview's size: yuv420p, BT.709, limited range."""
    picture = upright_bgr(frame, film.rotation_degrees, max(2, round(film.width * size[1] / film.height)))
    if picture.shape[1::-1] != size:
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if picture.shape[1] > size[0] else cv2.INTER_LINEAR)
    small = VideoFrame.from_ndarray(picture.astype(np.uint8, copy=False), format="bgr24")
    return small.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG, threads=1)


def _video_stream(container: OutputContainer, film: Film, time_base: Fraction, size: tuple[int, int]) -> VideoStream:
    options = {
        "preset": PRESET,
        "crf": str(CRF),
        "x264-params": f"keyint={FRAMES_PER_KEYFRAME}:min-keyint={FRAMES_PER_KEYFRAME}:scenecut=0:bframes=0:mbtree=0:rc-lookahead=0",
    }
    stream: VideoStream = container.add_stream("libx264", rate=average_rate(film), options=options)  # type: ignore[assignment]
    context = stream.codec_context
    context.width, context.height = size
    context.pix_fmt, context.time_base, context.thread_count = "yuv420p", time_base, NUM_THREADS
    context.color_range, context.color_primaries, context.color_trc, context.colorspace = 1, 1, 1, 1  # limited, BT.709
    return stream


def _sound_stream(container: OutputContainer) -> AudioStream:
    stream: AudioStream = container.add_stream("aac", rate=SOUND_RATE_HZ, layout="mono")  # type: ignore[assignment]
    stream.codec_context.bit_rate = SOUND_BITS_PER_S
    return stream


def _write_sound(container: OutputContainer, stream: AudioStream, sound: np.ndarray) -> None:
    size = 1024  # of an AAC frame
    for first in range(0, len(sound), size):
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(sound[None, first : first + size]), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE_HZ, first, Fraction(1, SOUND_RATE_HZ)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _mouth_path(store: ArtifactStore, film: Film, shot: Shot, patches: Sequence[LipPatch]) -> Iterator[MouthPoint]:
    """Where a zoom should look, about every FRAMES_PER_MOUTH_POINT frames: the mouth of the face that is patched there."""
    last = -FRAMES_PER_MOUTH_POINT
    for patch in patches:
        boxes = store.load_arrays(patch.patch)["boxes"]
        for n in range(max(patch.first_frame, shot.first_frame), min(patch.end_frame, shot.end_frame)):
            if n - shot.first_frame < last + FRAMES_PER_MOUTH_POINT:
                continue
            last = n - shot.first_frame
            x0, y0, x1, y1 = (float(v) for v in boxes[n - patch.first_frame])
            yield MouthPoint(
                frame=last,
                x=round((x0 + MASK_CENTRE[0] * (x1 - x0)) / film.width, 4),
                y=round((y0 + MASK_CENTRE[1] * (y1 - y0)) / film.height, 4),
                height=round(MOUTH_HEIGHT * (y1 - y0) / film.height, 4),
            )
