"""A season: what is asked of many episodes at once, and how far each language of each is."""

from typing import Literal

from pydantic import AwareDatetime, Field

from tasks.types.record import BUNDLED_MODEL, EpisodeId, Precision, Record
from tasks.types.requests import StepCount

Priority = Literal["urgent", "default", "background"]  # also the names of the work queues
RowState = Literal["waiting", "running", "done", "failed", "skipped"]
Trouble = Literal["", "input", "ours"]  # whose trouble a failure is


class SeasonRequest(Record):
    """What is asked of a season: the table, where everything goes, and what holds for all rows that say nothing else."""

    manifest: str  # CSV, Parquet or JSON: a path, file: or s3:// URI
    out: str  # folder or s3:// URI; each episode goes to OUT/EPISODE/, the table to OUT/season-ID.json and .csv
    season_id: EpisodeId
    speaker: str = "auto"
    model: str = BUNDLED_MODEL
    precision: Literal["auto"] | Precision | None = None  # of the generator; None: as the settings say
    scorer: Literal["expert", "vgg"] = "expert"
    policy: str | None = None
    codec: Literal["h264", "ffv1"] = "h264"
    detector: Literal["auto", "dlib", "yunet", "retinaface"] | None = None
    work: str | None = None
    num_workers: int | None = Field(default=None, ge=1)
    task_runner: Literal["threads", "processes", "dask", "ray"] | None = None
    missing: Literal["refuse", "skip"] = "refuse"  # skip: rows whose files are not there yet wait for another run
    on: str = "here"  # here, workers, or a deployment of dub-episode as FLOW/NAME
    at_once: int | None = Field(default=None, ge=1)  # episodes; None: one here, as many as wait for workers there
    machine_rate_per_hour: float | None = Field(default=None, ge=0)  # None: as the settings say
    gpu_rate_per_hour: float | None = Field(default=None, ge=0)


class SeasonRow(Record):
    """One language of one episode."""

    episode_id: EpisodeId
    language: str
    air_date: AwareDatetime | None = None  # it must be done before
    priority: Priority = "default"
    state: RowState = "waiting"
    progress: float = Field(default=0.0, ge=0, le=1)
    seconds: float = 0.0  # of the episode's run, shared among its languages
    cost: float | None = None  # None: no rate was given
    num_pass: int | None = None  # shots; None before the row is done
    num_review: int | None = None
    num_kept_original: int | None = None
    reason: str = ""  # of a failure or a skip
    trouble: Trouble = ""
    output: str = ""  # the dubbed film, for people
    report: str = ""


class SeasonEpisode(Record):
    """What one episode took in this run of the season."""

    episode_id: EpisodeId
    how: Literal["ran", "found", "failed", "skipped"]  # found: it was finished before, and nothing it was made from has changed
    seconds: float = 0.0
    steps: dict[str, StepCount] = Field(default_factory=dict)
    num_rendered_frames: int = 0


class SeasonResult(Record):
    """How a season stands. Written to OUT/season-ID.json while it runs, and given at its end."""

    season_id: EpisodeId
    status: Literal["running", "done", "failed", "stopped"]  # failed: at least one row did
    rows: tuple[SeasonRow, ...]
    episodes: tuple[SeasonEpisode, ...] = ()
    seconds: float = 0.0  # wall time of this run
    cost: float | None = None  # of this run
    currency: str = ""
    table: str = ""  # where the table lies
    index: str = ""  # the page over all episodes
    warnings: tuple[str, ...] = ()
    updated: AwareDatetime

    @property
    def counts(self) -> dict[RowState, int]:
        """Rows by state; states that no row is in are left out."""
        states = [row.state for row in self.rows]
        return {state: states.count(state) for state in ("done", "failed", "running", "waiting", "skipped") if state in states}

    @property
    def summary(self) -> str:
        """The season in a few lines, for a message."""
        lines = [", ".join(f"{count} {state}" for state, count in self.counts.items())]
        lines += [f"{row.episode_id} {row.language} failed: {row.reason}" for row in self.rows if row.state == "failed"][:20]
        num_review = sum(row.num_review or 0 for row in self.rows)
        return "\n".join([*lines, *([f"{num_review} shots wait for review"] if num_review else []), *([self.index] if self.index else [])])


class EpisodeEstimate(Record):
    """What an episode would take, by the stage times measured so far. Zeros where it is finished."""

    episode_id: EpisodeId
    languages: tuple[str, ...]
    film_s: float  # length of the film
    is_finished: bool
    gpu_seconds: float  # of the steps that need the GPU
    machine_seconds: float  # wall time on one machine
    cost: float | None
    begins_after_s: float
    ends_after_s: float
    air_date: AwareDatetime | None
    meets_air_date: bool | None  # None: there is none


class SeasonEstimate(Record):
    """The answer of `dub season --dry-run`, most urgent first."""

    season_id: EpisodeId
    episodes: tuple[EpisodeEstimate, ...]
    skipped: tuple[SeasonRow, ...] = ()
    num_at_once: int
    gpu_seconds: float
    machine_seconds: float
    wall_seconds: float
    cost: float | None
    currency: str
    is_measured: bool  # whether all stages were measured on the machine whose rates were used; otherwise some are first guesses
    warnings: tuple[str, ...] = ()
