"""The part that a dub and a plan share: look at the film, its sounds, its shots, the faces in them, and who speaks."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

from prefect import Task

from flows.episode import steps
from flows.episode.characters import Characters, Stems, find_characters, prepare_character_stems
from flows.episode.dub_tracks import sort_out
from flows.episode.first_look import FirstSight
from flows.episode.lease import EpisodeLease, episode_lease
from flows.episode.request_checks import Inputs, gather_inputs
from flows.episode.steps import Call, Outcome, Workers
from flows.run import interrupts, progress
from flows.run.board import ProgressBoard
from flows.run.disk_check import refuse_without_room, seems_to_fit
from flows.run.ledger import Ledger
from flows.run.source_watch import SourceWatch
from flows.run.work_folder import work_folder_of
from flows.run.work_store import work_store
from infra.artifacts import ArtifactStore
from infra.errors import InputError
from infra.loading import load_late_modules
from infra.settings import get_settings
from infra.sources import name_of
from tasks.choose_speaker import cast_by_hand, cast_only_face
from tasks.lip_making import load_networks
from tasks.listen import has_speech
from tasks.types import Casting, DubRequest, EpisodeRequest, Film, Models, Shot, ShotFaces, Stem
from tasks.voices import Voices

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
    runner: Workers
    board: ProgressBoard
    ledger: Ledger = field(default_factory=Ledger)
    lease: EpisodeLease | None = None  # None: nothing is to be published
    sources: SourceWatch = field(default_factory=SourceWatch)

    def check(self) -> None:
        """Whether going on makes sense. Raises LostLeaseError once another run has taken the episode over, InputError when an input was replaced."""
        if self.lease is not None:
            self.lease.heart.raise_if_lost()
        self.sources.check()

    def each(self, step: Task, calls: list[Call]) -> list[Outcome]:
        """Run a step for every call; errors of ours are left in the outcomes. An input replaced before it ends the run here, not a stage later."""
        return self.side_by_side((step, calls))[0]

    def side_by_side(self, *batches: tuple[Task, list[Call]]) -> list[list[Outcome]]:
        """As each(), for steps that need nothing of each other."""
        self.check()
        self.sources.check_files()
        found = steps.run_together(self.runner, batches, self.check)
        for (step, _), outcomes in zip(batches, found, strict=True):
            self.ledger.add(step.name, outcomes)
            self.board.finish(step.name)
        return found

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
    left_out: dict[str, str] = field(default_factory=dict)  # languages whose track is of no use -> why
    stems: Stems = field(default_factory=dict)  # character stems, by language and name
    characters: Characters = field(default_factory=Characters)

    def casting_of(self, key: tuple[int, str]) -> Casting:
        """Who is dubbed in a shot (by index) in a language: as in the original, or as its characters' own stems say."""
        voiced = self.characters.voiced.get(key)
        return self.castings[key[0]] if voiced is None else voiced.casting

    def voices_of(self, key: tuple[int, str]) -> Voices | None:
        """The faces of a shot that hear their own characters' stems; None: the language has none."""
        voiced = self.characters.voiced.get(key)
        return None if voiced is None else voiced.voices


@contextmanager
def begin(request: RequestT) -> Iterator[Run[RequestT]]:
    """Check the request, take its episode, open its store and start its workers. Raises InputError for whatever is wrong with it."""
    inputs = gather_inputs(request)
    work_folder = work_folder_of(request)
    runner = steps.make_runner(request.task_runner, request.num_workers)
    sources = SourceWatch.of(request.film, *request.audio.values())
    with work_store(work_folder) as store, episode_lease(request, inputs.storage) as lease, interrupts.ending_in_time(runner):
        run = Run(request, inputs, work_folder, store, runner, ProgressBoard(request), lease=lease, sources=sources)
        yield run
    run.ledger.remember(work_folder)


def study_film(run: Run) -> Study:
    """Inspect, listen, cut, find faces, cast. Raises InputError where the film or a track cannot be used."""
    sight = _inspect(run)
    film = sight.film
    run.sources.add_film(film)
    if isinstance(run.request, DubRequest):
        refuse_without_room(run.request, film, num_languages(run), run.store.root)
    foresee(run, film)
    original, dubs, stems, left_out = _prepare_stems(run, film)
    run.sources.add_stems([*dubs.values(), *(stem for own in stems.values() for stem in own.values())])
    speaker, remarks = _way_of_casting(run, film, original)
    shots: tuple[Shot, ...] = run.one(steps.SHOTS, megapixels(film), store=run.store, film=film)
    check_partition(film, [(shot.first_frame, shot.end_frame) for shot in shots])
    faces, troubles = _track_faces(run, sight, shots)
    castings, more_troubles = _cast(run, film, shots, faces, original, speaker)
    characters = find_characters(run, film, shots, faces, castings, stems)
    remarks = (*remarks, *characters.warnings)
    warnings = (*film.warnings, *(f"{language}: {text}" for language, dub in dubs.items() for text in dub.warnings), *remarks)
    for text in warnings:
        progress.tell(progress.Said(text, is_warning=True))
    troubles |= more_troubles
    return Study(film, original, dubs, shots, faces, castings, troubles, warnings, run.inputs.left_out | left_out, stems, characters)


def _inspect(run: Run) -> FirstSight:
    """The film, and in the same reading its cuts and faces; where there seems to be no room for them, the film alone."""
    path, request = run.inputs.film, run.request
    name, weights = run.inputs.detector
    if isinstance(request, DubRequest) and not seems_to_fit(request, path, num_languages(run), run.store.root):
        sight = FirstSight(run.one(steps.INSPECT, store=run.store, path=path))
    else:
        num_threads = request.num_workers or get_settings().num_workers
        ready = partial(_have_ready, run.inputs.models, lips=isinstance(request, DubRequest))
        detector = {"detector_name": name, "detector_weights": weights}
        sight = run.one(steps.LOOK, store=run.store, path=path, **detector, num_threads=num_threads, meanwhile=ready)
    run.ledger.measure(steps.LOOK.name, megapixels(sight.film))
    return sight


def _have_ready(models: Models, lips: bool) -> None:
    """Load, while the film is decoded, what every shot will ask for at once."""
    load_networks(models, lips)
    load_late_modules()


def check_partition(film: Film, ranges: Sequence[tuple[int, int]]) -> None:
    """Half-open ranges cover every frame of the film exactly once: our own invariant."""
    ends = [0, *(end for _, end in ranges)]
    assert [first for first, _ in ranges] == ends[:-1]
    assert ends[-1] == film.num_frames


def megapixels(film: Film, num_frames: int | None = None) -> float:
    """Work of decoding: the pixels of these frames, in millions."""
    return (film.num_frames if num_frames is None else num_frames) * film.width * film.height / 1e6


def num_languages(run: Run[Any]) -> int:
    """Languages that the run dubs into."""
    return len(run.inputs.audio.keys() | (run.inputs.cast.stems.keys() if run.inputs.cast else ()))


def foresee(run: Run[Any], film: Film) -> None:
    """Tell how much work each later stage is likely to have, so that a remaining time can be given."""
    num_shots = max(1, round(film.duration_s / TYPICAL_SHOT_S))
    pixels = megapixels(film)
    foreseen = {"shots": (1, 0.0), "faces": (num_shots, 0.0), "casting": (num_shots, film.num_frames)}  # seen while the film was inspected
    if isinstance(run.request, DubRequest):
        for stage, calls, units in (
            ("sync", num_shots, film.num_frames),
            ("judge", num_shots, film.num_frames),
            ("check", num_shots, film.num_frames),
            ("reels", 1, pixels),
        ):
            foreseen[stage] = (calls * num_languages(run), units * num_languages(run))
        foreseen["assemble"] = (num_languages(run), pixels * num_languages(run))
    for stage, (num_calls, num_units) in foreseen.items():
        progress.tell(progress.Foreseen(stage, num_calls, num_units))


def _prepare_stems(run: Run, film: Film) -> tuple[Stem | None, dict[str, Stem], Stems, dict[str, str]]:
    """(the voices as recorded, the dubs by language, their character stems, languages left out and why)"""
    original = run.one(steps.ORIGINAL, store=run.store, film=film, stem_path=run.inputs.original_dialogue)
    calls = [
        Call({"store": run.store, "film": film, "path": path, "language": language, "role": "dialogue"}, film.duration_s)
        for language, path in run.inputs.audio.items()
    ]
    stems, left_out = sort_out(run.request, run.all_of(steps.STEM, calls)) if calls else ([], {})
    own, dubs, left_out = prepare_character_stems(run, film, {str(stem.language): stem for stem in stems}, left_out)
    for language, reason in (run.inputs.left_out | left_out).items():
        progress.tell(progress.Said(f"{language} is left out: {reason}", is_warning=True))
    return original, dubs, own, left_out


def _way_of_casting(run: Run, film: Film, original: Stem | None) -> tuple[str, tuple[str, ...]]:
    """(auto or only-face for the shots that no casting file names, what to tell the user)."""
    if run.request.speaker == "only-face":
        return "only-face", ()
    if original is None and run.inputs.casting is None:
        raise InputError(
            f"{name_of(run.inputs.film)} has no sound, so nobody in it can be said to speak. Give the voices as recorded with "
            "--original-dialogue STEM, "
            "or dub the shots with a single face with --speaker only-face, or name the speakers with --speaker FILE."
        )
    if original is None or not has_speech(run.store, original):
        return "only-face", ("Nobody is heard in the original sound: in each shot its only face is taken to speak.",)
    return "auto", ()


def _track_faces(run: Run, sight: FirstSight, shots: tuple[Shot, ...]) -> tuple[dict[int, ShotFaces], dict[int, Exception]]:
    """(faces, errors) by shot index: the first look has found nearly all, a step looks for the rest."""
    name, weights = run.inputs.detector
    unseen = tuple(shot for shot in shots if shot.index not in sight.faces)
    arguments = {"store": run.store, "film": sight.film, "detector_name": name, "detector_weights": weights}
    calls = [Call(arguments | {"shot": shot}, megapixels(sight.film, shot.num_frames)) for shot in unseen]
    found, troubles = _by_shot(unseen, _tried(run, steps.FACES, calls, len(shots)))
    return sight.faces | found, troubles


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
    found, troubles = _by_shot(tuple(call.arguments["shot"] for call in calls), _tried(run, steps.CAST, calls, len(calls)))
    return castings | found, troubles


def _num_face_frames(faces: ShotFaces) -> int:
    return sum(track.end_frame - track.first_frame for track in faces.tracks if track.usable)


def _tried(run: Run, step: Task, calls: list[Call], num_shots: int) -> list[Outcome]:
    outcomes = run.each(step, calls)
    steps.refuse_all_failed(step.name, num_shots, [outcome.error for outcome in outcomes if outcome.error is not None])
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
