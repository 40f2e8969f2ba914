"""Everything that is told of a dubbed episode, as one closed record: report.json, and what the pages are made from."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import PurePosixPath
from statistics import fmean
from typing import Literal

import numpy as np

from infra.record_keys import canonical_json
from tasks.plain_words import VERDICTS, delta, in_plain_words, printable, sentences_of
from tasks.shot_table import closed_share, table_of
from tasks.types import (
    Box,
    DubbedEpisode,
    EpisodeId,
    EpisodeQa,
    Film,
    Models,
    MouthPoint,
    Person,
    PictureChecks,
    Preview,
    QaReport,
    Record,
    SelfTest,
    Severity,
    SyncScore,
    Take,
    Verdict,
    VoiceScore,
)

REPORT_FORMAT = 1
PREVIEWS = "previews"  # folder beside a language's page


class FilmFacts(Record):
    name: str
    sha256: str
    num_frames: int
    fps: str  # exact, as in 30000/1001
    duration_s: float
    width: int
    height: int
    start_timecode: str | None
    is_vfr: bool
    video_codec: str
    pixel_format: str


class PreviewFiles(Record):
    """Two small films of one shot; paths go from the language's folder."""

    before: str
    after: str
    num_frames: int
    width: int
    height: int
    mouth: tuple[MouthPoint, ...] = ()


class ShotReport(Record):
    """One shot in one language. Scores as in SyncScore; frames are counted from the film's first."""

    index: int
    first_frame: int
    end_frame: int
    timecode_in: str
    timecode_out: str  # of the frame after the last
    outcome: Literal["synced", "kept_original"]
    verdict: Verdict
    severity: Severity
    code: str
    reason: str  # in plain words
    evidence: str
    sentences: tuple[str, ...]  # what the numbers say
    num_faces: int
    track_id: int | None
    face_box: Box | None
    person: int | None
    before: SyncScore
    undubbed: SyncScore
    after: SyncScore
    delta: float | None  # LSE-C of the dub minus the original's own
    closed_share: float | None
    percentile: float | None
    pooled_offset_frames: int | None
    pooled_shots: tuple[int, ...]
    checks: PictureChecks
    takes: tuple[Take, ...]
    take_sha256: str | None
    num_tries: int
    thumbnail: str | None
    preview: PreviewFiles | None
    character: str | None = None  # whose faces were dubbed from their own stems
    voices: tuple[VoiceScore, ...] = ()  # each face's own scores, where characters have stems
    frame_times_s: tuple[float, ...] = ()  # from the shot's first frame on; only in a film of variable rate


class FaceReport(Record):
    index: int
    shots: tuple[int, ...]
    mean_delta: float | None
    thumbnail: str | None


class LanguageReport(Record):
    language: str
    film: str | None  # the dubbed film's path, from the episode's folder
    film_sha256: str | None
    digest: str  # changes whenever a shot's take does: what decisions are tied to
    policy_name: str
    policy_version: int
    policy_sha256: str
    self_test: SelfTest
    faces: tuple[FaceReport, ...]
    counts: dict[str, int]  # verdict -> number of shots
    num_scored: int
    num_better: int  # than the undubbed picture, of the scored
    mean_lse_c: dict[str, float | None]  # before, undubbed, after: over the scored shots
    closed_share: float | None
    real_confidences: tuple[float, ...]
    shots: tuple[ShotReport, ...]


class EpisodeReport(Record):
    format: Literal[1] = REPORT_FORMAT
    episode_id: EpisodeId
    film: FilmFacts
    models: dict[str, str]
    warnings: tuple[str, ...]
    languages: tuple[LanguageReport, ...]


def episode_report(
    film: Film,
    film_name: str,
    episode_id: str,
    qa: Sequence[EpisodeQa],
    episodes: Sequence[DubbedEpisode],
    models: Models,
    warnings: Sequence[str],
    previews: Mapping[tuple[int, str], Preview],
    times_s: np.ndarray,
) -> EpisodeReport:
    """Gather the report. previews go by (shot, language); times_s: float64 (num_frames,) seconds from the film's first frame. Text is printable."""
    outputs = {episode.language: episode for episode in episodes}
    facts = FilmFacts(
        name=printable(film_name),
        sha256=film.sha256,
        num_frames=film.num_frames,
        fps=str(film.fps),
        duration_s=round(film.duration_s, 3),
        width=film.width,
        height=film.height,
        start_timecode=film.start_timecode,
        is_vfr=film.is_vfr,
        video_codec=film.video_codec,
        pixel_format=film.pixel_format,
    )
    return EpisodeReport(
        episode_id=episode_id,
        film=facts,
        models={
            "name": printable(models.name),
            "generator_sha256": models.generator_sha256,
            "judge_sha256": models.vgg_sha256 or models.expert_sha256,
        },
        warnings=tuple(printable(text) for text in warnings),
        languages=tuple(_language(film, one, outputs.get(one.language), previews, times_s) for one in sorted(qa, key=lambda one: one.language)),
    )


def digest_of(film_sha256: str, language: str, reports: Sequence[QaReport]) -> str:
    """Names a language's takes as a whole: the same takes give the same digest, whatever is said of them."""
    takes = [(report.shot.index, report.shot.first_frame, report.shot.end_frame, report.take_sha256) for report in reports]
    return sha256(canonical_json([film_sha256, language, takes]).encode()).hexdigest()


def preview_names(shot_name: str) -> tuple[str, str, str]:
    """(before, after, thumbnail) of a shot, from the language's folder."""
    return f"{PREVIEWS}/{shot_name}.before.mp4", f"{PREVIEWS}/{shot_name}.after.mp4", f"{PREVIEWS}/{shot_name}.jpg"


def face_name(person: Person) -> str:
    """A face's thumbnail, from the language's folder."""
    return f"{PREVIEWS}/face-{person.index:03d}.jpg"


def _language(
    film: Film, qa: EpisodeQa, episode: DubbedEpisode | None, previews: Mapping[tuple[int, str], Preview], times_s: np.ndarray
) -> LanguageReport:
    reports = sorted(qa.reports, key=lambda report: report.shot.index)
    table = table_of(film, reports, times_s)
    labels = list(zip(table["timecode_in"], table["timecode_out"], strict=True))
    scored = [report for report in reports if report.after.confidence is not None and report.undubbed.confidence is not None]
    return LanguageReport(
        language=qa.language,
        film=episode and str(PurePosixPath(episode.output)),
        film_sha256=episode and episode.sha256,
        digest=digest_of(film.sha256, qa.language, reports),
        policy_name=printable(qa.policy_name),
        policy_version=qa.policy_version,
        policy_sha256=qa.policy_sha256,
        self_test=qa.self_test.model_copy(update={"reason": printable(qa.self_test.reason)}),
        faces=tuple(_face(person) for person in qa.people),
        counts={verdict: sum(report.verdict == verdict for report in reports) for verdict in VERDICTS},
        num_scored=len(scored),
        num_better=sum((report.after.confidence or 0) > (report.undubbed.confidence or 0) for report in scored),
        mean_lse_c={when: _mean([getattr(report, when).confidence for report in scored]) for when in ("before", "undubbed", "after")},
        closed_share=_mean([closed_share(report) for report in scored]),
        real_confidences=qa.real_confidences,
        shots=tuple(
            _shot(report, label, previews.get((report.shot.index, qa.language)), times_s if film.is_vfr else None)
            for report, label in zip(reports, labels, strict=True)
        ),
    )


def _face(person: Person) -> FaceReport:
    return FaceReport(
        index=person.index, shots=person.shots, mean_delta=rounded(person.mean_delta), thumbnail=face_name(person) if person.thumbnail else None
    )


def _shot(report: QaReport, label: tuple[str, str], preview: Preview | None, times_s: np.ndarray | None) -> ShotReport:
    shot = report.shot
    times = () if times_s is None else tuple(round(float(time), 4) for time in times_s[shot.first_frame : shot.end_frame] - times_s[shot.first_frame])
    copied = {name: getattr(report, name) for name in QaReport.model_fields if name in ShotReport.model_fields}
    return ShotReport.model_validate(
        copied
        | {
            "index": shot.index,
            "first_frame": shot.first_frame,
            "end_frame": shot.end_frame,
            "timecode_in": label[0],
            "timecode_out": label[1],
            "reason": printable(in_plain_words(report.reason)),
            "evidence": printable(report.evidence),
            "code": report.code or report.reason.partition(": ")[0],
            "sentences": tuple(printable(text) for text in sentences_of(report)),
            "takes": tuple(take.model_copy(update={"reason": printable(take.reason)}) for take in report.takes),
            "delta": rounded(delta(report)),
            "closed_share": rounded(closed_share(report)),
            "thumbnail": preview_names(shot.name)[2] if report.thumbnail else None,
            "preview": preview and _preview_files(shot.name, preview),
            "frame_times_s": times,
        }
    )


def _preview_files(shot_name: str, preview: Preview) -> PreviewFiles:
    before, after, _ = preview_names(shot_name)
    clip = preview.after
    return PreviewFiles(before=before, after=after, num_frames=clip.num_frames, width=clip.width, height=clip.height, mouth=preview.mouth)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return rounded(fmean(known)) if known else None


def rounded(value: float | None, digits: int = 3) -> float | None:
    """A number without digits that nobody reads; None stays None."""
    return None if value is None else round(value, digits)
