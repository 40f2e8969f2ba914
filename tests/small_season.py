"""A season of tiny episodes for tests: two films and a broken one, two languages, a table that says when they air."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.media import Sound, remux, truncated, write_sound
from tests.small_film import FPS, RATE, make_small_film, make_track, make_voice

LANGUAGES = ("fr", "de")
BROKEN = "ep-4"  # its film breaks off
ODD = "ep-5"  # its German track is a web page
EPISODES = ("ep-1", "ep-2", "ep-3", BROKEN, ODD, "ep-6")
AIR_DATES = {"ep-1": "2027-03-06", "ep-2": "2027-03-05", "ep-3": "2027-03-04", BROKEN: "2027-03-03", "ep-6": "2027-03-01T20:15+01:00"}
FRAMES_PER_SHOT = (16, 110, 16)  # between the two faces nobody is seen for longer than sound reaches from one shot to another
NUM_FRAMES = sum(FRAMES_PER_SHOT)
DURATION_S = NUM_FRAMES / FPS
PAGE = b"<!doctype html><html><body>404 Not Found</body></html>"


@dataclass(frozen=True)
class SmallSeason:
    """The table, and where its files lie: FOLDER/EPISODE.LANGUAGE.wav."""

    manifest: Path
    folder: Path

    def track(self, episode: str, language: str) -> Path:
        return self.folder / f"{episode}.{language}.wav"

    def change_last_line(self, episode: str, language: str) -> None:
        """Another voice in the middle of the last shot, and nowhere else."""
        first = round((NUM_FRAMES - 8) / FPS * RATE)
        wave = make_voice(DURATION_S, 180.0 if language == "fr" else 240.0)
        end = first + round(6 / FPS * RATE)
        wave[first:end] = make_voice(DURATION_S, 300.0)[first:end]
        write_sound(self.track(episode, language), Sound(np.ascontiguousarray(wave)[:, None], RATE, codec="pcm_s16le"))


def make_small_season(folder: Path) -> SmallSeason:
    """Six episodes x two languages. Episodes share films, so that little is to be computed; each has tracks of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    film = make_small_film(folder / "film.mp4", make_voice(DURATION_S), FRAMES_PER_SHOT)
    truncated(remux(film, folder / "whole.mkv"), folder / "broken.mkv")
    for language, pitch_hz in zip(LANGUAGES, (180.0, 240.0), strict=True):
        one = make_track(folder / f"{language}.wav", DURATION_S, pitch_hz)
        for episode in EPISODES:
            shutil.copy(one, folder / f"{episode}.{language}.wav")
    (folder / f"{ODD}.de.wav").write_bytes(PAGE)
    lines = ["episode,film,language,track,air_date"]
    for episode in EPISODES:
        picture = "broken.mkv" if episode == BROKEN else "film.mp4"
        lines += [f"{episode},{picture},{language},{episode}.{language}.wav,{AIR_DATES.get(episode, '')}" for language in LANGUAGES]
    manifest = folder / "season-1.csv"
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return SmallSeason(manifest, folder)
