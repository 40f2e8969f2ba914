"""What the store says of an episode: whether it is finished as it is asked for now, and how it went."""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from flows.episode.manifest import MANIFEST
from flows.season.costs import GPU_STAGES
from flows.season.jobs import Job, languages_of
from infra.errors import CorruptArtifactError, InputError
from infra.storage import Storage
from tasks.types import DubRequest, StepCount


class _Loose(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class _Work(_Loose):
    steps: dict[str, StepCount] = Field(default_factory=dict)
    num_rendered_frames: int = 0
    seconds: dict[str, float] = Field(default_factory=dict)  # by stage


class _Manifest(_Loose):
    """The part of an episode's manifest that a season looks at."""

    created: str
    request: DubRequest
    outputs: dict[str, object]
    qa: dict[str, dict[str, int]]
    left_out: dict[str, str]
    work: _Work = _Work()


@dataclass(frozen=True)
class Published:
    """An episode as it lies in the store. qa: verdict -> number of shots, by language; films: language -> where it lies, for people."""

    created: str
    inputs_digest: str | None
    qa: dict[str, dict[str, int]]
    left_out: dict[str, str]
    films: dict[str, str]
    report: str
    steps: dict[str, StepCount]
    num_rendered_frames: int
    gpu_seconds: float  # of the run that published it


def read_published(storage: Storage, job: Job) -> Published | None:
    """The episode that the store holds, if it is whole and holds every language that is asked for; else None."""
    assert job.request is not None
    prefix = f"{job.episode_id}/"
    try:
        if not storage.exists(prefix + MANIFEST):
            return None
        found = _Manifest.model_validate_json(storage.read_bytes(prefix + MANIFEST))
    except (ValidationError, CorruptArtifactError, InputError):  # of another version, being replaced at this moment, or damaged: made again
        return None
    languages = {*found.qa, *found.left_out}
    there = set(storage.list(prefix))
    if languages != set(languages_of(job.request)) or any(prefix + key not in there for key in found.outputs):
        return None
    return Published(
        created=found.created,
        inputs_digest=found.request.inputs_digest,
        qa=found.qa,
        left_out=found.left_out,
        films={language: storage.describe(prefix + _film_of(found, job.episode_id, language)) for language in found.qa},
        report=storage.describe(f"{prefix}report.html"),
        steps=found.work.steps,
        num_rendered_frames=found.work.num_rendered_frames,
        gpu_seconds=sum(found.work.seconds.get(stage, 0.0) for stage in GPU_STAGES),
    )


def find_finished(storage: Storage, job: Job) -> Published | None:
    """The episode that the store holds, if it was made from what is asked for now; else None. The job's request bears its digest."""
    assert job.request is not None
    if job.request.inputs_digest is None:
        return None
    found = read_published(storage, job)
    return found if found is not None and found.inputs_digest == job.request.inputs_digest else None


def _film_of(found: _Manifest, episode_id: str, language: str) -> str:
    start = f"{language}/{episode_id}.{language}."
    return next((key for key in found.outputs if key.startswith(start) and not key.endswith(".edl")), start)
