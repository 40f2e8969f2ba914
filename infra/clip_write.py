"""Writes a short clip of pictures and a voice into a file of its own, nearly without loss: the same pictures and voice give the same bytes."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.codec.context import ThreadType
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from infra.errors import OurTroubleError
from infra.video_write import repeatable_x264, written_container

CRF = "8"  # of x264 with full chroma: 50 dB and more
MILLISECOND = Fraction(1, 1000)  # what Matroska counts in


def write_clip(path: Path, pictures: Iterable[np.ndarray], times_s: np.ndarray, fps: Fraction, voice: np.ndarray, rate_hz: int) -> None:
    """A new Matroska file. pictures: uint8 (H, W, 3) BGR, even sizes, shown at times_s (n,) ascending from 0; voice: float32 (m,) in [-1, 1].

    Raises OurTroubleError when there are not n pictures, TransientError when the disk is full.
    """
    num_written = 0
    with written_container(path, "matroska") as container:
        options = {"crf": CRF, "preset": "veryfast", "x264-params": "bframes=3" + repeatable_x264()}
        film: VideoStream = container.add_stream("libx264", rate=fps, options=options)  # type: ignore[assignment]
        film.codec_context.thread_count, film.codec_context.thread_type = 1, ThreadType.NONE
        film.codec_context.time_base, film.codec_context.pix_fmt = MILLISECOND, "yuv444p"
        sound: AudioStream = container.add_stream("pcm_s16le", rate=rate_hz, layout="mono")  # type: ignore[assignment]
        for picture, time_s in zip(pictures, times_s, strict=False):
            if num_written == 0:
                film.codec_context.height, film.codec_context.width = picture.shape[:2]
            frame = VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="bgr24").reformat(format="yuv444p")
            frame.pts, frame.time_base = round(float(time_s) * 1000), MILLISECOND
            container.mux(film.encode(frame))
            num_written += 1
        container.mux(film.encode(None))
        samples = (np.clip(voice, -1, 1) * 32767).round().astype(np.int16)
        heard = AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), format="s16", layout="mono")
        heard.sample_rate, heard.pts, heard.time_base = rate_hz, 0, Fraction(1, rate_hz)
        container.mux(sound.encode(heard))
        container.mux(sound.encode(None))
    if num_written != len(times_s):
        raise OurTroubleError(f"Only {num_written} of {len(times_s)} pictures came for {path.name}.")
