"""What a season would take: GPU seconds, machine time, money, and when each episode is done, by the stage times measured so far."""

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

from flows.run.forecast import Rates
from flows.season.costs import GPU_STAGES, Prices
from flows.season.digests import InputDigests
from flows.season.jobs import Job
from flows.season.published import find_finished
from flows.season.read import Season, read_season
from infra.container import container_length_s, open_container
from infra.declared import declared_rate, pick_video_stream
from infra.errors import InputError
from infra.settings import get_settings
from infra.storage import open_storage
from infra.storage_keys import FolderLocation, parse_location
from tasks.types import EpisodeEstimate, SeasonEstimate, SeasonRequest, SeasonRow

TYPICAL_SHOT_S = 5.0
GUESSED_BITS_PER_S = 8e6  # of a film in a bucket, which is not fetched for an estimate: 1080p at 25 fps
MEASURED = ("inspect", "stems", "casting", "sync", "judge", "check", "reels", "assemble", "previews")


@dataclass(frozen=True)
class FilmSize:
    """What work grows with; from the container's own words, nothing is decoded."""

    duration_s: float
    num_frames: int
    megapixels: float  # of one frame
    is_guess: bool


def estimate_season(request: SeasonRequest, rates_folder: Path | None) -> SeasonEstimate:
    """The plan of a season and what it takes. rates_folder: of the machines that will do it; None: this machine's own. Raises as read_season does."""
    season = read_season(request)
    rates = Rates.load(rates_folder or season.work_folder)
    prices, digests = Prices.of(request), InputDigests(season.work_folder)
    num_at_once = request.at_once or 1
    warnings: list[str] = []
    lengths = [_length(season, job, digests, rates, num_at_once, warnings) for job in season.jobs if job.request is not None]
    digests.files.save()
    episodes = schedule(lengths, num_at_once, prices, datetime.now(UTC))
    costs = [one.cost for one in episodes if one.cost is not None]
    return SeasonEstimate(
        season_id=request.season_id,
        episodes=episodes,
        skipped=tuple(_skipped(season.jobs)),
        num_at_once=num_at_once,
        gpu_seconds=sum(one.gpu_seconds for one in episodes),
        machine_seconds=sum(one.machine_seconds for one in episodes),
        wall_seconds=max((one.ends_after_s for one in episodes), default=0.0),
        cost=sum(costs) if costs else prices.cost(0.0),
        currency=prices.currency,
        is_measured=all(rates.is_measured(stage) for stage in MEASURED),
        warnings=tuple(warnings),
    )


@dataclass(frozen=True)
class Length:
    """How long one episode takes by itself."""

    job: Job
    film_s: float
    is_finished: bool
    gpu_seconds: float
    machine_seconds: float


def schedule(lengths: Sequence[Length], num_at_once: int, prices: Prices, now: datetime) -> tuple[EpisodeEstimate, ...]:
    """In the order given, each to the place that is free first; when each begins and ends, and whether that is before it airs."""
    free = [0.0] * num_at_once
    episodes = []
    for length in lengths:
        begins = heapq.heappop(free) if length.machine_seconds > 0 else min(free)
        ends = begins + length.machine_seconds
        if length.machine_seconds > 0:
            heapq.heappush(free, ends)
        air_date = length.job.air_date
        is_met = None if air_date is None else length.is_finished or now + timedelta(seconds=ends) <= air_date
        episodes.append(
            EpisodeEstimate(
                episode_id=length.job.episode_id,
                languages=length.job.languages,
                film_s=length.film_s,
                is_finished=length.is_finished,
                gpu_seconds=length.gpu_seconds,
                machine_seconds=length.machine_seconds,
                cost=prices.cost(length.machine_seconds, length.gpu_seconds),
                begins_after_s=begins,
                ends_after_s=0.0 if length.is_finished else ends,
                air_date=air_date,
                meets_air_date=is_met,
            )
        )
    return tuple(episodes)


def _length(season: Season, job: Job, digests: InputDigests, rates: Rates, num_at_once: int, warnings: list[str]) -> Length:
    assert job.request is not None
    size = size_of_film(job.episode_id, job.request.film, warnings)
    job = job.with_digest(digests.digest_of(job.request))
    is_finished = find_finished(season.storage, job) is not None
    if is_finished or size is None:
        return Length(job, size.duration_s if size else 0.0, is_finished, 0.0, 0.0)
    num_workers = season.request.num_workers or get_settings().num_workers
    seconds, spread = stage_seconds(size, len(job.languages), rates), stage_calls(size, len(job.languages))
    machine = sum(spent / min(num_workers, spread[stage]) for stage, spent in seconds.items())
    if season.request.on == "here":
        machine *= num_at_once  # they share this machine
    return Length(job, size.duration_s, False, sum(seconds.get(stage, 0.0) for stage in GPU_STAGES), machine)


def stage_seconds(size: FilmSize, num_languages: int, rates: Rates) -> dict[str, float]:
    """Seconds of each stage on one worker; a speaking face in every frame is counted, so most films take less."""
    pixels, frames = size.num_frames * size.megapixels, float(size.num_frames)
    once = {"inspect": pixels, "stems": size.duration_s, "casting": frames}
    per_language = {"stems": size.duration_s, "sync": frames, "judge": frames, "check": frames, "reels": pixels, "assemble": pixels}
    seconds = {stage: rates.seconds_per_unit(stage) * units for stage, units in once.items()}
    for stage, units in per_language.items():
        seconds[stage] = seconds.get(stage, 0.0) + rates.seconds_per_unit(stage) * units * num_languages
    seconds["previews"] = rates.seconds_per_unit("previews") * num_languages * pixels
    return seconds


def stage_calls(size: FilmSize, num_languages: int) -> dict[str, int]:
    """How many calls of each stage there are to do at the same time."""
    num_shots = max(1, round(size.duration_s / TYPICAL_SHOT_S))
    once = dict.fromkeys(("inspect", "casting"), num_shots)  # several shots are looked at while the film is read
    many = dict.fromkeys(("sync", "judge", "check", "reels", "previews"), num_shots * num_languages)
    return once | many | {"stems": num_languages + 1, "assemble": num_languages}


def size_of_film(episode_id: str, film: str, warnings: list[str]) -> FilmSize | None:
    """None, and a warning, where the file is no film: its episode will fail."""
    location = parse_location(film)
    if not isinstance(location, FolderLocation):
        folder, _, name = location.key.rpartition("/")
        duration_s = 8 * open_storage(f"s3://{location.bucket}/{folder}".rstrip("/")).size(name) / GUESSED_BITS_PER_S
        warnings.append(f"{episode_id}: its film is in a bucket and is not fetched for an estimate; its length is guessed from its size.")
        return FilmSize(duration_s, round(duration_s * 25), 1920 * 1080 / 1e6, True)
    try:
        with open_container(location.path) as container:
            stream = pick_video_stream(container, str(location.path))
            fps = declared_rate(stream) or Fraction(25)
            duration_s = container_length_s(container) or stream.frames / fps
            num_frames = stream.frames or round(duration_s * fps)
            return FilmSize(float(duration_s), num_frames, stream.width * stream.height / 1e6, False)
    except InputError as error:
        warnings.append(f"{episode_id} will fail: {error}")
        return None


def _skipped(jobs: Iterable[Job]) -> Iterable[SeasonRow]:
    for job in jobs:
        for row in job.rows:
            if row.missing:
                yield SeasonRow(episode_id=job.episode_id, language=row.language, state="skipped", reason=row.missing, air_date=row.air_date)
