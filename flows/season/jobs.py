"""From a season's rows to one dub per episode with all its languages, the most urgent first."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from flows.season.manifest import ManifestRow
from infra.storage_keys import FolderLocation, parse_location
from tasks.types import DubRequest, Priority, SeasonRequest

URGENT_WITHIN = timedelta(days=2)  # of its air date an episode goes to the urgent queue by itself
_RANK: dict[Priority, int] = {"urgent": 0, "default": 1, "background": 2}
_NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Job:
    """One episode: what is asked of dub-episode, and how soon it is needed. request is None where no row's files are all there."""

    episode_id: str
    rows: tuple[ManifestRow, ...]  # with a file missing, too
    request: DubRequest | None
    air_date: datetime | None  # the earliest of its languages'
    priority: Priority  # the most urgent of its languages'

    @property
    def languages(self) -> tuple[str, ...]:
        """Those that are dubbed."""
        return () if self.request is None else languages_of(self.request)

    def with_digest(self, digest: str | None) -> "Job":
        assert self.request is not None
        return replace(self, request=self.request.model_copy(update={"inputs_digest": digest}))


def jobs_of(rows: Sequence[ManifestRow], season: SeasonRequest) -> tuple[Job, ...]:
    """One per episode, in the order in which they are wanted: air date, then priority, then the table's own order."""
    by_episode: dict[str, list[ManifestRow]] = {}
    for row in rows:
        by_episode.setdefault(row.episode, []).append(row)
    jobs = [_job(episode_id, own, season) for episode_id, own in by_episode.items()]
    return tuple(sorted(jobs, key=lambda job: (job.air_date or _NEVER, _RANK[job.priority])))


def absolute(text: str) -> str:
    """A path that means the same in another folder; a URI as it is. Raises InputError."""
    location = parse_location(text)
    return str(location.path) if isinstance(location, FolderLocation) else text


def languages_of(request: DubRequest) -> tuple[str, ...]:
    """All that the film is dubbed into."""
    return tuple(dict.fromkeys((*request.audio, *request.stems)))


def queue_of(job: Job, now: datetime) -> Priority:
    """The work queue that a worker takes it from: as the table says, and urgent where it airs soon."""
    if job.priority == "default" and job.air_date is not None and job.air_date - now < URGENT_WITHIN:
        return "urgent"
    return job.priority


def _job(episode_id: str, rows: list[ManifestRow], season: SeasonRequest) -> Job:
    there = [row for row in rows if not row.missing]
    dates = [row.air_date for row in rows if row.air_date is not None]
    return Job(
        episode_id=episode_id,
        rows=tuple(rows),
        request=_request(episode_id, there, season) if there else None,
        air_date=min(dates, default=None),
        priority=min((row.priority for row in rows), key=_RANK.__getitem__),
    )


def _request(episode_id: str, rows: Sequence[ManifestRow], season: SeasonRequest) -> DubRequest:
    """What dub-episode is asked for, wherever it runs: paths are absolute, and a worker has a work folder of its own."""
    of_episode = rows[0].texts
    fields: dict[str, object] = {
        "film": of_episode["film"],
        "audio": {row.language: row.texts["track"] for row in rows if "track" in row.texts},
        "stems": {row.language: row.stems for row in rows if row.stems},
        "cast": of_episode.get("cast"),
        "original_dialogue": of_episode.get("original_dialogue"),
        "speaker": of_episode.get("speaker") or (season.speaker if season.speaker in ("auto", "only-face") else absolute(season.speaker)),
        "model": of_episode.get("model", season.model),
        "policy": of_episode.get("policy") or (season.policy and absolute(season.policy)),
        "out": absolute(season.out),
        "work": season.work if season.on == "here" else None,
        "episode_id": episode_id,
        "bad_tracks": "leave_out",
    }
    fields |= {name: getattr(season, name) for name in ("precision", "scorer", "codec", "detector", "num_workers", "task_runner")}
    return DubRequest.model_validate(fields)
