"""What is asked of dubflow, and what it answers."""

from typing import Literal, Self

from pydantic import Field, model_validator

from tasks.types.lips import DubbedEpisode
from tasks.types.record import EpisodeId, Precision, Record
from tasks.types.review import Override

BUNDLED_MODEL = "dubflow-lite"  # the weights that come with the package


class EpisodeRequest(Record):
    """What is asked of a film, as the user wrote it: paths, file: or s3:// URIs. Checked as a whole before anything is read."""

    film: str
    audio: dict[str, str] = Field(default_factory=dict)  # language tag -> the dubbed dialogue track
    original_dialogue: str | None = None
    speaker: str = "auto"  # auto, only-face, or a file that names the track per shot
    cast: str | None = None  # a cast file: whose face is whose
    stems: dict[str, dict[str, str]] = Field(default_factory=dict)  # language tag -> character of the cast file -> its own dubbed track
    work: str | None = None  # folder; default: the settings' work folder
    model: str = BUNDLED_MODEL
    scorer: Literal["expert", "vgg"] = "expert"
    precision: Literal["auto"] | Precision | None = None  # of the generator; None: as the settings say
    detector: Literal["auto", "dlib", "yunet", "retinaface"] | None = None  # None: as the settings say
    num_workers: int | None = Field(default=None, ge=1)
    task_runner: Literal["threads", "processes", "dask", "ray"] | None = None


class PlanRequest(EpisodeRequest):
    """Find out what a dub would do; nothing is rendered."""


class DubRequest(EpisodeRequest):
    """Dub a film into every language of `audio` and `stems`; where a language has stems alone, their sum is the dub."""

    out: str  # folder or s3:// URI; the episode goes to OUT/ID/
    episode_id: EpisodeId
    codec: Literal["h264", "ffv1"] = "h264"
    policy: str | None = None  # a studio's own verdict policy; None: the package's
    link_hours: float | None = Field(default=None, gt=0, le=168)  # how long presigned links in the report hold; None: as the settings say
    overrides: tuple[Override, ...] = ()  # what review has settled
    review: Literal["later", "wait"] = "later"  # wait: pause after publishing until decisions arrive, and honour them in the same run
    if_busy: Literal["wait", "refuse"] = "wait"  # where another run works on the episode
    bad_tracks: Literal["refuse", "leave_out"] = "refuse"  # leave_out: a language whose track is of no use is left out, the others are dubbed
    inputs_digest: str | None = None  # of all that a season knew of its inputs; kept in the manifest, so that what is unchanged is not run again

    @model_validator(mode="after")
    def _has_a_dub(self) -> Self:
        if not self.audio and not any(self.stems.values()):
            raise ValueError("give at least one dubbed track")
        return self


class StepCount(Record):
    """How often a step was done in this run, and how often its earlier result was found."""

    made: int = 0
    reused: int = 0


class DubResult(Record):
    """What a finished run tells: where everything lies and how it went."""

    episode_id: EpisodeId
    num_shots: int
    episodes: tuple[DubbedEpisode, ...]
    outputs: dict[str, str]  # language -> where its film lies, for people
    report: str
    manifest: str
    verdicts: dict[str, int]  # pass, review, kept_original -> number of shots x languages
    steps: dict[str, StepCount]
    warnings: tuple[str, ...] = ()
    left_out: dict[str, str] = Field(default_factory=dict)  # languages whose track is of no use -> why
    num_rendered_frames: int = 0  # pasted and encoded in this run, over all languages; the rest was found finished
    seconds: float = 0.0


class RedoRequest(Record):
    """Do again what review asks for, and nothing else. Everything else is as the episode's manifest recorded it."""

    out: str  # folder or s3:// URI that holds the episode
    episode_id: EpisodeId
    decisions: str | None = None  # path or URI of a decisions.json; None: OUT/ID/decisions.json, where there is one
    shots: tuple[int, ...] = ()  # make these again as well
    model: str | None = None  # with this model, whatever is made again
    reviewer: str = Field(default="", max_length=200)
    if_busy: Literal["wait", "refuse"] = "wait"  # where another run works on the episode
    work: str | None = None  # None: the folder that the episode was made in
    num_workers: int | None = Field(default=None, ge=1)
    task_runner: Literal["threads", "processes", "dask", "ray"] | None = None


class RedoResult(DubResult):
    """How a redo went."""

    num_applied: int  # decisions
    refused: tuple[str, ...] = ()  # decisions that were not applied, and why
    remarks: tuple[str, ...] = ()  # what the reviewer should know: others' decisions on the same shots
