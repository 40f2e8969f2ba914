"""Makes what a reviewer looks at: each shot before and after as two small films with the right sound, frame by frame the same moments."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from fractions import Fraction
from hashlib import sha256
from pathlib import Path

import numpy as np
import soxr
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet

from infra.artifacts import Artifact, ArtifactStore
from infra.container import open_container
from infra.errors import OurTroubleError
from infra.video_write import average_rate, frame_clock, written_container
from tasks.one_reading import BOTH, keep_small_pictures
from tasks.paste_patches import in_order
from tasks.small_pictures import preview_size
from tasks.timeline import frame_times_s
from tasks.types import Clip, Film, LipPatch, MouthPoint, Preview, Shot, Stem
from wav2lip_core.face_crop import MASK_CENTRE
from wav2lip_core.mel import SAMPLE_RATE_HZ

VERSION = 2
SOUND_RATE_HZ = 48_000  # AAC's lead-in is 21 ms there, and noted in the file
SOUND_BITS_PER_S = 96_000
FADE_S = 0.004  # at both ends, so that a loop does not click
FRAMES_PER_MOUTH_POINT = 10
MOUTH_HEIGHT = 0.62  # of the canonical box, shown around the mouth


def make_preview(
    store: ArtifactStore,
    film: Film,
    shot: Shot,
    patches: Sequence[LipPatch],
    original: Stem | None,
    dub: Stem,
    pieces: Sequence[tuple[int, int]] = (),
) -> Preview:
    """The shot with the original's sound, and with its patches and the dub's. The first is shared by all languages and all later takes.

    pieces: the half-open frame ranges that the shot was rendered in, in order; where their small pictures are stored the film is not read.
    Raises OurTroubleError when the film cannot be read again.
    """
    here = in_order(patches, shot.first_frame, shot.end_frame)
    ranges = list(pieces) or [(shot.first_frame, shot.end_frame)]
    small = [keep_small_pictures(store, film, first, end, here, BOTH, {}) for first, end in ranges]
    return Preview(
        shot_index=shot.index,
        language=dub.language or "",
        before=_clip(store, film, shot, [piece["before"] for piece in small], original),
        after=_clip(store, film, shot, [piece["after"] for piece in small], dub),
        mouth=tuple(_mouth_path(store, film, shot, here)),
    )


def _clip(store: ArtifactStore, film: Film, shot: Shot, small: Sequence[Artifact], sound: Stem | None) -> Clip:
    heard = _heard(store, film, shot, sound)
    inputs = {
        "timing": film.timing.sha256,
        "frames": (shot.first_frame, shot.end_frame),
        "pictures": [piece.sha256 for piece in small],
        "heard": None if heard is None else sha256(heard.tobytes()).hexdigest(),
        "sound": f"aac {SOUND_BITS_PER_S}",
    }

    def make() -> Clip:
        with store.scratch() as folder:
            path = folder / "clip.mp4"
            pts = store.load_arrays(film.timing)["pts"][shot.first_frame : shot.end_frame]
            _write(path, film, pts, [store.path(piece) for piece in small], heard)
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


def _write(path: Path, film: Film, pts: np.ndarray, pieces: Sequence[Path], sound: np.ndarray | None) -> None:
    """One MP4 of encoded pieces, its index first so that a browser can jump at once. pts: int64 (n,) of the frames, in the film's time base."""
    time_base, times = frame_clock(film, pts)
    durations = np.append(np.diff(times), np.diff(times)[-1:] if len(times) > 1 else 1)
    index_bytes = 16_384 + 64 * len(pts) + (0 if sound is None else len(sound) // 32)
    num_written = 0
    with ExitStack() as stack:
        container = stack.enter_context(written_container(path, "mp4", moov_size=str(index_bytes)))
        first = stack.enter_context(open_container(pieces[0]))
        stream = container.add_stream_from_template(first.streams.video[0])
        stream.time_base, stream.codec_context.framerate = time_base, average_rate(film)
        sound_stream = None if sound is None else _sound_stream(container)
        if sound is not None and sound_stream is not None:
            _write_sound(container, sound_stream, sound)
        for packet in _packets(pieces, first.streams.video[0].codec_context.extradata):
            if num_written < len(times):
                packet.stream, packet.time_base = stream, time_base
                packet.pts = packet.dts = int(times[num_written])  # no frame is coded before its turn
                packet.duration = int(durations[num_written])
                container.mux(packet)
            num_written += 1
    if num_written != len(pts):
        raise OurTroubleError(f"{num_written} frames came to be joined for a preview of {len(pts)}.")


def _packets(pieces: Sequence[Path], headers: bytes | None) -> Iterator[Packet]:
    for path in pieces:
        with open_container(path) as piece:
            video = piece.streams.video[0]
            if video.codec_context.extradata != headers:
                raise OurTroubleError("The pieces of a preview have not the same headers.")
            yield from (packet for packet in piece.demux(video) if packet.size)  # without the demuxer's end mark


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
