"""Small films and sound tracks with known content, made by ffmpeg for the tests of what is written."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from infra import ffmpeg
from infra.scan import VideoFacts, scan
from infra.video import FrameReader

X264 = ("-c:v", "libx264", "-preset", "ultrafast", "-g", "12", "-bf", "2")
FFV1 = ("-c:v", "ffv1")
FORMAT_NAMES = """
yuv420p yuvj420p yuv422p yuvj422p yuv444p yuvj444p yuv411p yuv410p yuv440p gray yuva420p nv12 nv21 nv16 yuyv422 uyvy422
gbrp rgb24 bgr24 bgr0 gbrap yuv420p10le yuv422p10le yuv444p10le yuv420p12le yuv422p16le gray10le gray16le p010le p210le
gbrp10le gbrp16le yuv420p10be
"""
FORMATS = FORMAT_NAMES.split()
SUBTITLES = "1\n00:00:00,200 --> 00:00:01,000\nhello\n\n2\n00:00:01,200 --> 00:00:01,600\nworld\n"
CHAPTERS = """;FFMETADATA1
title=The Film
[CHAPTER]
TIMEBASE=1/1000
START=0
END=1000
title=One
[CHAPTER]
TIMEBASE=1/1000
START=1000
END=1600
title=Two
"""


def make_picture(path: Path, *, rate="25", num_frames=50, size="96x64", pixel_format="yuv420p", codec=X264, filters="null", options=()) -> Path:
    """A film without sound: FFmpeg's moving test picture, scaled to any size (odd ones too)."""
    width, height = size.split("x")
    source = ["-f", "lavfi", "-i", f"testsrc2=s=320x240:r={rate}", "-frames:v", str(num_frames)]
    scaled = ["-vf", f"scale={width}:{height},setsar=1,{filters}", "-pix_fmt", pixel_format]
    ffmpeg.run([*source, *scaled, *codec, *options, str(path)], timeout_s=60)
    return path


def make_vfr_picture(path: Path, num_frames: int = 60) -> Path:
    """A film whose frames come ever later after one another."""
    late = ("-fps_mode", "vfr", "-enc_time_base", "1/90000", "-video_track_timescale", "90000")
    return make_picture(path, rate="30", num_frames=num_frames, filters="settb=1/90000,setpts='(N*N/200+N)/(30*TB)'", options=late)


def make_film(
    path: Path, *, rate="25", num_frames=40, picture=X264, sound=("-c:a", "aac"), timecode=None, subtitles="mov_text", size="96x64"
) -> Path:
    """A film with sound (English, 48 kHz mono tone), two subtitles, two chapters, a title, and a timecode where given."""
    texts, chapters = path.with_suffix(".srt"), path.with_suffix(".chapters")
    texts.write_text(SUBTITLES)
    chapters.write_text(CHAPTERS)
    duration_s = float(num_frames / Fraction(rate))
    inputs = ["-f", "lavfi", "-i", f"testsrc2=s=96x64:r={rate}", "-f", "lavfi", "-i", f"sine=f=440:r=48000:d={duration_s}", "-i", str(texts)]
    maps = ["-f", "ffmetadata", "-i", str(chapters), "-map", "0", "-map", "1", "-map", "2", "-map_metadata", "3", "-metadata:s:a:0", "language=eng"]
    codecs = ["-frames:v", str(num_frames), "-pix_fmt", "yuv420p", *picture, *sound, "-c:s", subtitles]
    ffmpeg.run([*inputs, *maps, *codecs, *(("-timecode", timecode) if timecode else ()), str(path)], timeout_s=60)
    return path


def make_sound(path: Path, *, duration_s: float, rate_hz=48000, layout="stereo", codec=("-c:a", "pcm_s16le"), click_s: float = 0.5) -> Path:
    """Silence with one loud click of 50 ms at click_s, in every channel."""
    click = f"aevalsrc='if(between(t,{click_s},{click_s + 0.05}),0.9*sin(2*PI*1000*t),0)':s={rate_hz}:d={duration_s}"
    ffmpeg.run(["-f", "lavfi", "-i", f"{click},aformat=channel_layouts={layout}", *codec, str(path)], timeout_s=60)
    return path


def reader_of(facts: VideoFacts) -> FrameReader:
    return FrameReader(facts.path, facts.pts, facts.time_base, facts.is_keyframe, facts.rotation_degrees)


def planes_of(frame: av.VideoFrame) -> list[np.ndarray]:
    """Copies of a frame's planes without padding, uint8 or uint16, whatever they hold, in memory order."""
    planes = []
    for index, plane in enumerate(frame.planes):
        components = [component for component in frame.format.components if component.plane == index]
        sample_bytes = 1 if components[0].bits <= 8 else 2
        samples_per_row = plane.width * (4 if frame.format.name in ("bgr0", "rgb0") else 2 if frame.format.name == "yuyv422" else len(components))
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : samples_per_row * sample_bytes]
        planes.append(rows.copy().view(np.uint8 if sample_bytes == 1 else np.uint16))
    return planes


def all_planes(path: Path) -> list[list[np.ndarray]]:
    """planes_of() every frame of a film."""
    facts = scan(path)
    return [planes_of(frame) for _, frame in reader_of(facts).frames(0, facts.num_frames)]


def same_planes(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def click_after_picture_s(path: Path, audio_index: int) -> float:
    """Seconds from the first frame to the click that is heard in this audio stream."""
    with av.open(str(path)) as container:
        first = next(container.decode(video=0))
        picture_s = float(first.pts * first.time_base)
    with av.open(str(path)) as container:
        stream = container.streams.audio[audio_index]
        mono, start_s, loud = av.AudioResampler("flt", "mono"), None, []
        for frame in container.decode(stream):
            start_s = float(frame.pts * frame.time_base) if start_s is None else start_s
            loud += [np.abs(block.to_ndarray()[0]) for block in mono.resample(frame)]
        sound = np.concatenate(loud)
        return start_s + int(np.argmax(sound > 0.3 * sound.max())) / stream.codec_context.sample_rate - picture_s


def noisy_frame(pixel_format: str, width: int = 64, height: int = 48, seed: int = 0) -> av.VideoFrame:
    """Random samples over the whole range."""
    frame = av.VideoFrame(width, height, pixel_format)
    for plane in frame.planes:
        noise = np.random.default_rng(seed).integers(0, 256, plane.buffer_size, dtype=np.uint8)
        bits = frame.format.components[0].bits
        if bits > 8:
            words = noise.view(np.uint16) & ((1 << bits) - 1)
            noise = (words.byteswap() if frame.format.is_big_endian else words).view(np.uint8)
        plane.update(noise.tobytes())
    return frame
