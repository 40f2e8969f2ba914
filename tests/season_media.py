"""A season made from real clips: six short episodes x two languages, two people in each, dubbed with other people's words; one film is broken."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from infra.scan import scan
from infra.sound import SoundReader, read_mono
from infra.video import FrameReader, upright_bgr
from tests.media import Sound, remux, shot_pictures, truncated, write_film, write_sound

LANGUAGES = ("fr", "de")
BROKEN = "ep-4"  # its film breaks off
FRAMES_PER_SHOT, FPS, RATE = 50, 25, 16000
NUM_SHOTS = 2  # with a face; between them nobody is seen for longer than sound reaches from one shot to another
NUM_FRAMES_BETWEEN = 110
NUM_FRAMES = NUM_SHOTS * FRAMES_PER_SHOT + NUM_FRAMES_BETWEEN
# Who is seen and heard in the two shots of each episode, then whose voices dub them, in French and in German; clips of GRID's speakers.
EPISODES: dict[str, tuple[tuple[str, str], tuple[str, str], tuple[str, str]]] = {
    "ep-1": (("s26_m/lrbi7p.mpg", "spkA_f/brbk7n.mpg"), ("s1/bbaf3s.mp4", "s31_f/bgiq6p.mpg"), ("s1/bbal8p.mp4", "s31_f/bgix8n.mpg")),
    "ep-2": (("s31_f/lbig7s.mpg", "s1/bbas1s.mp4"), ("spkC_f/lbbc2a.mpg", "s26_m/bwaq8s.mpg"), ("spkC_f/bbad1n.mpg", "s26_m/lbbo3n.mpg")),
    "ep-3": (("s1/bgaa6n.mp4", "s26_m/pbbg5p.mpg"), ("s26_m/lwajza.mpg", "s1/bgbb3a.mp4"), ("s26_m/lwwx5p.mpg", "s1/bgia3s.mp4")),
    "ep-4": (("spkB_m/bbae8n.mpg", "s31_f/lrau5s.mpg"), ("s1/bgwb4n.mp4", "s31_f/lgbj5a.mpg"), ("s1/bgwo4p.mp4", "s31_f/lbwo3s.mpg")),
    "ep-5": (("s31_f/lwiu7s.mpg", "spkB_m/bbal3s.mpg"), ("spkC_f/lbbc2a.mpg", "s1/brbg2n.mp4"), ("spkC_f/bbad1n.mpg", "s1/brif4n.mp4")),
    "ep-6": (("spkC_f/bbad1n.mpg", "s1/bwaa2p.mp4"), ("s31_f/prwa4n.mpg", "s26_m/srizza.mpg"), ("s31_f/lrbvzp.mpg", "s26_m/swiz3n.mpg")),
}
OTHER_VOICE = "s1/lgbf9s.mp4"


@dataclass(frozen=True)
class MediaSeason:
    """The table, and where its files lie: FOLDER/EPISODE.mp4 and FOLDER/EPISODE.LANGUAGE.wav."""

    clips: Path
    folder: Path
    manifest: Path

    def change_last_line(self, episode: str, language: str) -> Path:
        """Another voice in the middle of the last shot, and nowhere else; the track."""
        track = self.folder / f"{episode}.{language}.wav"
        sound = _voices(self.clips, EPISODES[episode][1 + LANGUAGES.index(language)])
        first = _samples(NUM_FRAMES - 20)
        end = first + _samples(12)
        sound[first:end] = _voice(self.clips / OTHER_VOICE)[_samples(20) : _samples(20) + end - first]
        return write_sound(track, Sound(sound[:, None], RATE, codec="pcm_s16le"))


def make_media_season(shared: Path, folder: Path) -> MediaSeason:
    """Write films, tracks and season.csv into `folder`. shared: the folder of the fixture of that name."""
    folder.mkdir(parents=True, exist_ok=True)
    clips = shared / "media" / "grid"
    lines = ["episode,film,language,track,air_date,priority"]
    for number, (episode, (seen, *dubs)) in enumerate(EPISODES.items(), 1):
        film = write_film(folder / f"{episode}.mp4", _pictures(clips, seen), sound=Sound(_voices(clips, seen)[:, None], RATE))
        if episode == BROKEN:
            film = truncated(remux(film, folder / "whole.mkv"), folder / f"{episode}.mkv")
        for language, voices in zip(LANGUAGES, dubs, strict=True):
            track = write_sound(folder / f"{episode}.{language}.wav", Sound(_voices(clips, voices)[:, None], RATE, codec="pcm_s16le"))
            lines.append(f"{episode},{film.name},{language},{track.name},2027-03-{10 - number:02d},{'urgent' if number == 6 else ''}")
    manifest = folder / "season.csv"
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return MediaSeason(clips, folder, manifest)


def _pictures(clips: Path, names: tuple[str, ...]) -> Iterator[np.ndarray]:
    for number, name in enumerate(names):
        if number:
            yield from shot_pictures(len(name), NUM_FRAMES_BETWEEN, 360, 288)
        facts = scan(clips / name)
        reader = FrameReader(clips / name, facts.pts, facts.time_base, facts.is_keyframe, facts.rotation_degrees)
        for _, frame in reader.frames(0, FRAMES_PER_SHOT):
            yield upright_bgr(frame, facts.rotation_degrees)[:288, :360]


def _voices(clips: Path, names: tuple[str, ...]) -> np.ndarray:
    first, second = (_voice(clips / name)[: _samples(FRAMES_PER_SHOT)] for name in names)
    return np.concatenate([first, np.zeros(_samples(NUM_FRAMES_BETWEEN), np.float32), second])


def _voice(clip: Path) -> np.ndarray:
    """float32 (n,) at RATE, at least as long as a shot."""
    sound = np.concatenate(list(read_mono(SoundReader(clip, 0), RATE)))
    return np.pad(sound, (0, max(0, _samples(FRAMES_PER_SHOT) - len(sound)))).astype(np.float32)


def _samples(num_frames: int) -> int:
    return num_frames * RATE // FPS
