"""The part that a dub and a plan share: look at the film, its sounds, its shots, the faces in them, and who speaks."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from prefect import Task
from prefect.task_runners import TaskRunner

from flows import interrupts, progress, steps
from flows.board import ProgressBoard
from flows.ledger import Ledger
from flows.request_checks import Inputs, gather_inputs
from flows.steps import Call, Outcome
from flows.work_folder import work_folder_of
from infra.artifacts import ArtifactStore
from infra.errors import InputError
from tasks.choose_speaker import cast_by_hand, cast_only_face
from tasks.listen import has_speech
from tasks.types import Casting, DubRequest, EpisodeRequest, Film, Shot, ShotFaces, Stem

logger = logging.getLogger(__name__)
RequestT = TypeVar("RequestT", bound=EpisodeRequest)
TYPICAL_SHOT_S = 5.0  # before the cuts are known


@dataclass(frozen=True)
class Run(Generic[RequestT]):
    """One run of a flow: what was asked, what is at hand, and the means to run steps."""

    request: RequestT
    inputs: Inputs
    work_folder: Path
    store: ArtifactStore
    runner: TaskRunner
    board: ProgressBoard
    ledger: Ledger = field(default_factory=Ledger)

    def each(self, step: Task, calls: list[Call]) -> list[Outcome]:
        """Run a step for every call; errors of ours are left in the outcomes."""
        outcomes = steps.run_all(self.runner, step, calls)
        self.ledger.add(step.name, outcomes)
        self.board.finish(step.name)
        return outcomes

    def all_of(self, step: Task, calls: list[Call]) -> list[Any]:
        """Run a step for every call and give the results; raises the first error."""
        return steps.results_of(self.each(step, calls))

    def one(self, step: Task, num_units: float = 1.0, **arguments: Any) -> Any:
        return self.all_of(step, [Call(arguments, num_units)])[0]


@dataclass(frozen=True)
class Study:
    """What is known of a film before anything is rendered. faces and castings go by shot; where a shot failed, troubles says why."""

    film: Film
    original: Stem | None
    dubs: dict[str, Stem]
    shots: tuple[Shot, ...]
    faces: dict[int, ShotFaces]
    castings: dict[int, Casting]
    troubles: dict[int, Exception]
    warnings: tuple[str, ...]


@contextmanager
def begin(request: RequestT) -> Iterator[Run[RequestT]]:
    """Check the request, then open its store and start its workers. Raises InputError for whatever is wrong with it."""
    inputs = gather_inputs(request)
    work_folder = work_folder_of(request)
    store = ArtifactStore(work_folder / "artifacts")
    store.root.mkdir(parents=True, exist_ok=True)
    runner = steps.make_runner(request.task_runner, request.num_workers)
    with interrupts.ending_in_time(runner):
        run = Run(request, inputs, work_folder, store, runner, ProgressBoard(request))
        yield run
    run.ledger.remember(work_folder)


def study_film(run: Run) -> Study:
    """Inspect, listen, cut, find faces, cast. Raises InputError where the film or a track cannot be used."""
    film: Film = run.one(steps.INSPECT, store=run.store, path=run.inputs.film)
    foresee(run, film)
    original, dubs = _prepare_stems(run, film)
    speaker, remarks = _way_of_casting(run, film, original)
    shots: tuple[Shot, ...] = run.one(steps.SHOTS, megapixels(film), store=run.store, film=film)
    check_partition(film, [(shot.first_frame, shot.end_frame) for shot in shots])
    faces, troubles = _track_faces(run, film, shots)
    castings, more_troubles = _cast(run, film, shots, faces, original, speaker)
    warnings = (*film.warnings, *(f"{language}: {text}" for language, dub in dubs.items() for text in dub.warnings), *remarks)
    for text in warnings:
        progress.tell(progress.Said(text, is_warning=True))
    return Study(film, original, dubs, shots, faces, castings, troubles | more_troubles, warnings)


def check_partition(film: Film, ranges: Sequence[tuple[int, int]]) -> None:
    """Half-open ranges cover every frame of the film exactly once: our own invariant."""
    ends = [0, *(end for _, end in ranges)]
    assert [first for first, _ in ranges] == ends[:-1]
    assert ends[-1] == film.num_frames


def megapixels(film: Film, num_frames: int | None = None) -> float:
    """Work of decoding: the pixels of these frames, in millions."""
    return (film.num_frames if num_frames is None else num_frames) * film.width * film.height / 1e6


def foresee(run: Run[Any], film: Film) -> None:
    """Tell how much work each later stage is likely to have, so that a remaining time can be given."""
    num_shots = max(1, round(film.duration_s / TYPICAL_SHOT_S))
    pixels = megapixels(film)
    foreseen = {"shots": (1, pixels), "faces": (num_shots, pixels), "casting": (num_shots, film.num_frames)}
    if isinstance(run.request, DubRequest):
        num_languages = len(run.inputs.audio)
        for stage, calls, units in (
            ("sync", num_shots, film.num_frames),
            ("judge", num_shots, film.num_frames),
            ("check", num_shots, film.num_frames),
            ("reels", 1, pixels),
        ):
            foreseen[stage] = (calls * num_languages, units * num_languages)
        foreseen["assemble"] = (num_languages, pixels * num_languages)
    for stage, (num_calls, num_units) in foreseen.items():
        progress.tell(progress.Foreseen(stage, num_calls, num_units))


def _prepare_stems(run: Run, film: Film) -> tuple[Stem | None, dict[str, Stem]]:
    original = run.one(steps.ORIGINAL, store=run.store, film=film, stem_path=run.inputs.original_dialogue)
    calls = [
        Call({"store": run.store, "film": film, "path": path, "language": language, "role": "dialogue"}, film.duration_s)
        for language, path in run.inputs.audio.items()
    ]
    return original, dict(zip(run.inputs.audio, run.all_of(steps.STEM, calls), strict=True)) if calls else {}


def _way_of_casting(run: Run, film: Film, original: Stem | None) -> tuple[str, tuple[str, ...]]:
    """(auto or only-face for the shots that no casting file names, what to tell the user)."""
    if run.request.speaker == "only-face":
        return "only-face", ()
    if original is None and run.inputs.casting is None:
        raise InputError(
            f"{run.inputs.film.name} has no sound, so nobody in it can be said to speak. Give the voices as recorded with --original-dialogue STEM, "
            "or dub the shots with a single face with --speaker only-face, or name the speakers with --speaker FILE."
        )
    if original is None or not has_speech(run.store, original):
        return "only-face", ("Nobody is heard in the original sound: in each shot its only face is taken to speak.",)
    return "auto", ()


def _track_faces(run: Run, film: Film, shots: tuple[Shot, ...]) -> tuple[dict[int, ShotFaces], dict[int, Exception]]:
    name, weights = run.inputs.detector
    calls = [
        Call({"store": run.store, "film": film, "shot": shot, "detector_name": name, "detector_weights": weights}, megapixels(film, shot.num_frames))
        for shot in shots
    ]
    return _by_shot(shots, _tried(run, steps.FACES, calls))


def _cast(
    run: Run, film: Film, shots: tuple[Shot, ...], faces: dict[int, ShotFaces], original: Stem | None, speaker: str
) -> tuple[dict[int, Casting], dict[int, Exception]]:
    by_hand = run.inputs.casting or {}
    strangers = sorted(set(by_hand) - {shot.index for shot in shots})
    if strangers:
        raise InputError(f"The casting file names shot {strangers[0]}, but the film has shots 0 to {len(shots) - 1}. Run `dub plan` to see them.")
    seen = [shot for shot in shots if shot.index in faces]
    castings: dict[int, Casting] = {}
    calls = []
    for shot in seen:
        if shot.index in by_hand:
            castings[shot.index] = cast_by_hand(shot, faces[shot.index], by_hand[shot.index])
        elif speaker == "only-face":
            castings[shot.index] = cast_only_face(shot, faces[shot.index])
        else:
            arguments = {"store": run.store, "film": film, "shot": shot, "faces": faces[shot.index], "original": original}
            calls.append(Call(arguments | {"models": run.inputs.models}, _num_face_frames(faces[shot.index])))
    found, troubles = _by_shot(tuple(call.arguments["shot"] for call in calls), _tried(run, steps.CAST, calls))
    return castings | found, troubles


def _num_face_frames(faces: ShotFaces) -> int:
    return sum(track.end_frame - track.first_frame for track in faces.tracks if track.usable)


def _tried(run: Run, step: Task, calls: list[Call]) -> list[Outcome]:
    outcomes = run.each(step, calls)
    steps.refuse_all_failed(step.name, len(calls), [outcome.error for outcome in outcomes if outcome.error is not None])
    return outcomes


def _by_shot(shots: tuple[Shot, ...], outcomes: list[Outcome]) -> tuple[dict[int, Any], dict[int, Exception]]:
    """(results, errors) by shot index."""
    results, troubles = {}, {}
    for shot, outcome in zip(shots, outcomes, strict=True):
        if outcome.error is None:
            results[shot.index] = outcome.result
        else:
            logger.warning("%s falls back to the original picture: %s", shot.name, outcome.error)
            troubles[shot.index] = outcome.error
    return results, troubles
