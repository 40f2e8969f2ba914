"""What one language's page works with: the report's facts under short names, so that two thousand shots stay a small page."""

from collections.abc import Mapping

from tasks.plain_words import settings_in_words
from tasks.report_data import EpisodeReport, LanguageReport, ShotReport, rounded
from tasks.types import SyncScore, Take


def page_data(report: EpisodeReport, language: LanguageReport, links: Mapping[str, str] | None = None) -> dict[str, object]:
    """What one language's page works with: short names, no empty values. The page's script (report_page/data.js) reads exactly this."""
    signed: dict[str, object] = {"links": dict(links)} if links else {}
    return signed | {
        "episode": report.episode_id,
        "language": language.language,
        "digest": language.digest,
        "film": report.film.model_dump(mode="json"),
        "watch": language.film if language.film and language.film.endswith(".mp4") else None,
        "faces": [face.model_dump(mode="json") for face in language.faces],
        "shots": [_slim(shot) for shot in language.shots],
    }


def _slim(shot: ShotReport) -> dict[str, object]:
    facts = {
        "i": shot.index, "first": shot.first_frame, "end": shot.end_frame, "in": shot.timecode_in, "out": shot.timecode_out,
        "verdict": shot.verdict, "severity": shot.severity, "reason": shot.reason, "evidence": shot.evidence, "said": list(shot.sentences),
        "person": shot.person, "faces": shot.num_faces, "delta": shot.delta, "percentile": rounded(shot.percentile, 1),
        "take": shot.take_sha256, "thumb": shot.thumbnail, "times": list(shot.frame_times_s),
        "scores": [_slim_score(score) for score in (shot.before, shot.undubbed, shot.after)],
        "tries": [_slim_take(take, shot.take_sha256) for take in shot.takes],
    }  # fmt: skip
    if shot.preview is not None:
        facts["preview"] = {
            "n": shot.preview.num_frames, "w": shot.preview.width, "h": shot.preview.height,
            "mouth": [[point.frame, point.x, point.y, point.height] for point in shot.preview.mouth],
        }  # fmt: skip
    return {name: value for name, value in facts.items() if value not in (None, "", [])}


def _slim_score(score: SyncScore) -> list[object]:
    numbers = (score.confidence, score.confidence_low, score.confidence_high, score.distance)
    return [*(rounded(number) for number in numbers), score.offset_frames, score.num_windows, score.reason or ""]


def _slim_take(take: Take, chosen: str | None) -> dict[str, object]:
    return {
        "rung": take.settings.rung, "how": settings_in_words(take.settings), "score": _slim_score(take.after),
        "verdict": take.verdict, "reason": take.reason, "s": rounded(take.seconds, 1), "used": take.sha256 == chosen,
    }  # fmt: skip
