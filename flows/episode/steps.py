"""The steps as Prefect tasks: named after their shot, retried when the trouble may pass."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from prefect import Task
from prefect.cache_policies import NO_CACHE

from flows.episode import dub_tracks, first_look
from flows.episode.retry_take import retry_take
from flows.runners.calls import Call, Outcome, refuse_all_failed, results_of, run_all, run_one, run_together
from flows.runners.step_runs import Done, TallyStore, observed
from flows.runners.task_runner import Workers, make_runner
from infra.errors import TransientError
from infra.fence import Fence
from infra.storage import Storage
from tasks import (
    assemble_episode,
    check_take,
    choose_speaker,
    hand_over,
    inspect_film,
    judge_episode,
    judge_shot,
    make_previews,
    prepare_stem,
    render_reel,
    split_shots,
    sum_stems,
    sync_lips,
    track_faces,
    who_is_who,
    write_report,
)

__all__ = ["Call", "Done", "Outcome", "TallyStore", "Workers", "make_runner", "refuse_all_failed", "results_of", "run_all", "run_one", "run_together"]

RETRY_DELAYS_S = [1.0, 5.0]


class StepTask(Task):
    """A step as a Prefect task. To a worker process it goes by name: its step function must be found there."""

    origin: tuple[Callable, str, str]

    def __reduce__(self) -> Any:
        return _task_in_worker, self.origin


def as_task(step: Callable, name: str, run_name: str) -> Task:
    """A step function as a Prefect task. run_name may hold `{shot.name}` and the like, filled from its arguments."""
    task = StepTask(
        observed(step, name),
        name=name,
        task_run_name=run_name,
        retries=len(RETRY_DELAYS_S),
        retry_delay_seconds=RETRY_DELAYS_S,
        retry_condition_fn=may_pass,
        cache_policy=NO_CACHE,  # infra.artifacts is the one memory
        persist_result=False,
    )
    task.origin = (step, name, run_name)
    return task


@cache
def _task_in_worker(step: Callable, name: str, run_name: str) -> Task:
    return as_task(step, name, run_name)


def may_pass(_task: Task, _task_run: Any, state: Any) -> bool:
    """Whether another try makes sense: only for TransientError."""
    return is_worth_retrying(state.data)


def is_worth_retrying(error: object) -> bool:
    """Whether the trouble may pass by itself."""
    return isinstance(error, TransientError)


INSPECT = as_task(inspect_film.inspect_film, "inspect", "inspect film")
LOOK = as_task(first_look.look_at_film, "inspect", "inspect film")
ORIGINAL = as_task(prepare_stem.prepare_original, "original", "original dialogue")
STEM = as_task(dub_tracks.stem_or_refused, "stems", "dub {language}")
SHOTS = as_task(split_shots.split_shots, "shots", "split shots")
FACES = as_task(track_faces.track_faces, "faces", "faces {shot.name}")
LOOKS = as_task(who_is_who.faces_looks, "who", "who is in shot {faces.shot_index}")
SUM = as_task(sum_stems.sum_stems, "mix", "sum of stems {language}")
CAST = as_task(choose_speaker.cast_shot, "casting", "cast {shot.name}")
SYNC = as_task(sync_lips.sync_lips, "sync", "sync {shot.name} {dub.language}")
JUDGE = as_task(judge_shot.judge_shot, "judge", "judge {shot.name} {dub.language}")
CHECK = as_task(check_take.check_take, "check", "check {shot.name} {patches.language}")
GROUND = as_task(judge_episode.study_ground, "self-test", "self-test {language}")
RETRY = as_task(retry_take, "retry", "retry {shot.name} {dub.language} {settings.rung}")
VERDICTS = as_task(judge_episode.judge_episode, "verdicts", "verdicts {language}")
REEL = as_task(render_reel.render_reel, "reels", "reel {first}-{end} {language}")
ASSEMBLE = as_task(assemble_episode.assemble_episode, "assemble", "assemble {language}")
PREVIEW = as_task(make_previews.make_preview, "previews", "preview {shot.name} {dub.language}")
REPORT = as_task(write_report.write_report, "report", "write report")
HAND_OVER = as_task(hand_over.hand_over, "hand-over", "hand over")


def put_file(storage: Storage, path: Path, key: str, fence: Fence) -> None:
    """Put one finished file in its place; it appears there whole or not at all, and not when the fence says that the episode is another run's."""
    storage.put_fenced(path, key, fence)


def put_files(storage: Storage, paths: dict[str, Path], first_key: str, fence: Fence) -> None:
    """Put many small files in their places: key -> local path."""
    for key, path in paths.items():
        storage.put_fenced(path, key, fence)


PUBLISH = as_task(put_file, "publish", "publish {key}")
PUBLISH_MEDIA = as_task(put_files, "media", "publish {first_key} and more")
MANIFEST = as_task(put_file, "manifest", "publish {key}")
