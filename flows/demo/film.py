"""Makes the demo film and its dub from stills and a speech synthesiser. Nothing is downloaded and nothing of it is kept in the repository.

The portraits get their original voice from our own generator, so that there is a true answer to who speaks when.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import skimage
import soxr

from flows.demo.script import DUB_LANGUAGE, FPS, HEIGHT, ORIGINAL_LANGUAGE, SCRIPT, VOICES, WIDTH, DemoShot, Panel
from flows.demo.sound import RATE_HZ, speak, write_wav
from flows.demo.stills import Still, load_portrait, load_still, look
from wav2lip_core.face_detector import open_detector
from wav2lip_core.lip_syncer import LipSyncer
from wav2lip_core.mel import SAMPLE_RATE_HZ, log_mel, windows_at

SAMPLES_PER_FRAME = RATE_HZ // FPS
BEFORE_LINE_S, AFTER_LINE_S = 0.2, 0.3
ARTICULATION = 0.8


@dataclass(frozen=True)
class DemoFilm:
    """Where the film and its dub lie, and what is true of them."""

    film: Path  # H.264 + AAC, 1280x720, 25 fps, original voices
    dub: Path  # 48 kHz mono wav, as long as the film
    original_language: str
    dub_language: str
    cuts: tuple[tuple[int, int], ...]  # half-open frame ranges of the shots in demo_script.SCRIPT


@dataclass(frozen=True, eq=False)
class _Take:
    """One shot with its sound."""

    shot: DemoShot
    num_frames: int
    original: np.ndarray  # float32 (num_frames * SAMPLES_PER_FRAME,) at RATE_HZ
    dub: np.ndarray


def make_demo_film(folder: Path, syncer: LipSyncer) -> DemoFilm:
    """Write film.mp4 and dub.wav into `folder`. Raises InputError when espeak-ng or the stills are missing."""
    folder.mkdir(parents=True, exist_ok=True)
    takes = [_record(shot, folder) for shot in SCRIPT]
    ends = np.cumsum([take.num_frames for take in takes]).tolist()
    film, dub = folder / "film.mp4", folder / "dub.wav"
    _write_film(film, _pictures(takes, syncer), np.concatenate([take.original for take in takes]))
    write_wav(dub, np.concatenate([take.dub for take in takes]))
    return DemoFilm(film, dub, ORIGINAL_LANGUAGE, DUB_LANGUAGE, tuple(zip([0, *ends[:-1]], ends, strict=True)))


def _record(shot: DemoShot, folder: Path) -> _Take:
    """Let both languages be spoken, and cut the shot to the longer one."""
    lines = [np.zeros(0, np.float32)] * 2
    if shot.line is not None:
        voices = VOICES[shot.line.speaker]
        lines = [speak(text, voice, folder / "line.wav") for text, voice in zip((shot.line.original, shot.line.dub), voices, strict=True)]
    longest_s = max(len(line) for line in lines) / RATE_HZ
    num_frames = round(FPS * max(shot.shortest_s, BEFORE_LINE_S + longest_s + AFTER_LINE_S))
    before = round(BEFORE_LINE_S * RATE_HZ)
    original, dub = (np.pad(line, (before, num_frames * SAMPLES_PER_FRAME - before - len(line))) for line in lines)
    return _Take(shot, num_frames, original, dub)


def _pictures(takes: list[_Take], syncer: LipSyncer) -> Iterator[np.ndarray]:
    """The film's frames, uint8 (HEIGHT, WIDTH, 3) BGR."""
    folder, detector = Path(skimage.__file__).parent / "data", open_detector("dlib")
    stills = {name: load_portrait(name, folder, detector) for name in ("captain", "colleague")}
    stills |= {name: load_still(name, folder) for name in ("coffee", "rocket")}
    for take in takes:
        panels = [_panel_pictures(take, panel, stills[panel.still], syncer) for panel in take.shot.panels]
        for pictures in zip(*panels, strict=True):
            yield np.hstack(pictures)


def _panel_pictures(take: _Take, panel: Panel, still: Still, syncer: LipSyncer) -> Iterator[np.ndarray]:
    width = WIDTH // len(take.shot.panels)
    speaks = take.shot.line is not None and take.shot.line.speaker == panel.still
    faces = _spoken_faces(take, still, syncer) if speaks else [None] * take.num_frames
    for n, face in enumerate(faces):
        picture = still.picture if face is None else still.speaking(face)
        yield look(picture, panel.start, panel.end, n / (take.num_frames - 1), width, HEIGHT)


def _spoken_faces(take: _Take, still: Still, syncer: LipSyncer) -> np.ndarray:
    """The portrait saying the original line: uint8 (num_frames, S, S, 3) BGR.

    It smiles at the camera and speaks from there, every movement ARTICULATION times as large.
    """
    mel = log_mel(soxr.resample(take.original, RATE_HZ, SAMPLE_RATE_HZ))
    windows = windows_at(mel, np.arange(take.num_frames) / FPS)
    smiling = still.face(syncer.model.config.face_size)[None]
    spoken = syncer.generate(np.repeat(smiling, take.num_frames, axis=0), windows).astype(np.float32)
    middle = np.median(spoken, axis=0)
    return np.rint(middle + ARTICULATION * (spoken - middle)).clip(0, 255).astype(np.uint8)


def _write_film(path: Path, pictures: Iterator[np.ndarray], sound: np.ndarray) -> None:
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS, options={"crf": "16", "preset": "veryfast"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.codec_context.color_range = 1  # limited
        video.codec_context.color_primaries = video.codec_context.color_trc = video.codec_context.colorspace = 1  # BT.709
        audio = container.add_stream("aac", rate=RATE_HZ, layout="mono")
        for n, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, "bgr24").reformat(format="yuv420p", dst_colorspace=1)
            frame.pts, frame.time_base = n, Fraction(1, FPS)
            container.mux(video.encode(frame))
            container.mux(audio.encode(_audio_frame(sound, n)))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))


def _audio_frame(sound: np.ndarray, n: int) -> av.AudioFrame:
    """The sound of frame n."""
    samples = sound[n * SAMPLES_PER_FRAME : (n + 1) * SAMPLES_PER_FRAME]
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), format="fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, n * SAMPLES_PER_FRAME, Fraction(1, RATE_HZ)
    return frame
