"""A report of as many shots as wanted, with made-up scores, published as a folder like a real one: for the page, its server and its benchmark."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from infra.artifacts import Artifact, ArtifactStore
from tasks.page_links import LinkMaker
from tasks.types import (
    DubbedEpisode,
    DubRequest,
    EpisodeQa,
    Film,
    Models,
    Person,
    PictureChecks,
    Preview,
    QaReport,
    SelfTest,
    Shot,
    SyncScore,
    Take,
    TakeSettings,
)
from tasks.write_report import write_report

MODELS = Models(name="tiny", generator_path="/g", generator_sha256="b" * 64, expert_path="/e", expert_sha256="c" * 64)


def make_film(store: ArtifactStore, num_frames: int, **fields) -> Film:
    """A film that was never shot: 640x360 at 25 fps unless told otherwise."""
    timing = store.put_arrays(pts=np.arange(num_frames, dtype=np.int64), is_keyframe=np.ones(num_frames, bool))
    known = {"path": "/films/film.mp4", "sha256": "0" * 64, "timing": timing, "time_base": Fraction(1, 25), "fps": Fraction(25)}
    known |= {"num_frames": num_frames, "width": 640, "height": 360, "pixel_format": "yuv420p", "video_codec": "h264"}
    return Film.model_validate(known | fields)


def make_qa(num_shots: int, language: str = "fr", frames_per_shot: int = 75, thumbnail: Artifact | None = None, seed: int = 0) -> EpisodeQa:
    """One in five shots shows nobody who speaks; of the others about half need a look. Takes are named by their shot."""
    random = np.random.default_rng(seed)
    reports = tuple(_report(random, index, language, frames_per_shot, thumbnail) for index in range(num_shots))
    persons = sorted({report.person for report in reports if report.person is not None})
    people = tuple(
        Person(index=n, shots=tuple(report.shot.index for report in reports if report.person == n), mean_delta=-0.5 - 0.1 * n, thumbnail=thumbnail)
        for n in persons
    )
    test = SelfTest(planted_frames=(-6, -3, -1, 1, 3, 6), num_found=(8, 8, 7, 8, 8, 8), num_shots=8, trusted=True, reason="all were found")
    policy = {"policy_name": "dubflow", "policy_version": 1, "policy_sha256": "a" * 64}
    return EpisodeQa(language=language, reports=reports, self_test=test, people=people, real_confidences=(4.0, 5.0, 6.0), **policy)


def _report(random: np.random.Generator, index: int, language: str, frames_per_shot: int, thumbnail: Artifact | None) -> QaReport:
    shot = Shot(index=index, first_frame=index * frames_per_shot, end_frame=(index + 1) * frames_per_shot)
    if index % 5 == 2:
        return QaReport(shot=shot, language=language, outcome="kept_original", reason="no_face", verdict="kept_original", severity="ok", num_faces=0)
    before, after = 6 + random.normal(), 4.5 + random.normal()
    is_good = after > 4.4
    scored = SyncScore(offset_frames=0, confidence=after, distance=8.0, confidence_low=after - 0.6, confidence_high=after + 0.7, num_windows=60)
    reason = "in sync" if is_good else f"in sync, but only {after / before:.0%} of the original's own score"
    verdict, severity, take = ("pass", "ok", take_of(index)) if is_good else ("review", "issue", take_of(index))
    first = _take("1" * 64, TakeSettings(), scored, "review", "weak", "under half of the original's own score", "issue")
    second = _take(take, TakeSettings(rung="offset", sound_shift_frames=1), scored, verdict, "ok", reason, severity)
    return QaReport(
        shot=shot,
        language=language,
        outcome="synced",
        reason=reason,
        verdict=verdict,
        severity=severity,
        track_id=0,
        num_faces=1,
        person=index % 7,
        evidence="the only face whose lips fit the original voice (margin 0.41)",
        before=SyncScore(offset_frames=0, confidence=before, distance=7.0, num_windows=60),
        undubbed=SyncScore(offset_frames=-4, confidence=2.0, distance=11.0, num_windows=60),
        after=scored,
        percentile=40.0,
        checks=PictureChecks(seam_error=1.2, sharpness_ratio=0.83, generated_per_face_pixel=0.6, flicker_ratio=1.1, identity=0.97, leak_share=0.1),
        takes=(first, second),
        take_sha256=take,
        num_tries=2,
        thumbnail=thumbnail,
    )


def take_of(index: int, again: int = 0) -> str:
    """The digest that names the take of a shot; another one each time it is made again."""
    return f"{again:032x}{index + 1:032x}"


def _take(sha256: str, settings: TakeSettings, after: SyncScore, verdict, code: str, reason: str, severity) -> Take:
    found = {"after": after, "verdict": verdict, "code": code, "reason": reason, "severity": severity, "seconds": 3.1}
    return Take(sha256=sha256, settings=settings, generator_sha256="b" * 64, **found)


@dataclass(frozen=True)
class Published:
    """OUT/ID on disk."""

    out: Path
    episode_id: str

    @property
    def folder(self) -> Path:
        return self.out / self.episode_id

    def page(self, language: str = "fr") -> Path:
        return self.folder / language / "report.html"


def publish_report(
    store: ArtifactStore,
    out: Path,
    qa: Sequence[EpisodeQa],
    film: Film,
    previews: Mapping[tuple[int, str], Preview] | None = None,
    warnings: Sequence[str] = (),
    film_name: str = "film.mp4",
    episode_id: str = "episode-1",
    link_maker: LinkMaker | None = None,
) -> Published:
    """Put a report under OUT/ID/ as a dub does: media, data, pages."""
    published = Published(out, episode_id)
    published.folder.mkdir(parents=True, exist_ok=True)
    audio = {one.language: "dub.wav" for one in qa}
    request = DubRequest(film=f"/films/{film_name}", audio=audio, out=str(out), episode_id=episode_id)
    episodes = [
        DubbedEpisode(
            episode_id=episode_id, language=one.language, output=f"{one.language}/{episode_id}.mp4", sha256="d" * 64, num_frames=film.num_frames
        )
        for one in qa
    ]
    with store.scratch() as scratch:
        files = write_report(store, film, request, qa, previews or {}, episodes, MODELS, warnings, scratch, link_maker)
        for key, path in (files.media | files.data | files.pages).items():
            target = published.folder / key
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            shutil.copyfile(path, target)
    return published
