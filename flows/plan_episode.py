"""The flow `plan-episode`: what a dub would do, shot by shot, and how long it would take. Renders nothing; what it finds is kept for the dub."""

import flows.environment  # noqa: F401  # isort: skip
from prefect import flow

from flows.episode.study import Run, Study, begin, megapixels, study_film
from flows.run.forecast import Rates
from infra.settings import get_settings
from tasks.listen import is_heard
from tasks.timecode import timecode_of
from tasks.types import Box, Casting, PlanRequest, Record, Shot
from tasks.voices import stem_of


class PlannedFace(Record):
    """A face as a casting file may name it."""

    track_id: int
    mean_box: Box
    usable: bool
    unusable_reason: str | None
    speaks: bool
    margin: float | None  # how well its lips fit the original voice
    character: str | None = None  # whose face it is, by the cast file
    likeness: float | None = None  # to that character, or to the likeliest one where nobody can tell


class PlannedShot(Record):
    shot: int
    first_frame: int
    end_frame: int
    timecode_in: str
    timecode_out: str
    num_faces: int
    faces: tuple[PlannedFace, ...]
    would_sync: dict[str, bool]  # by language; under `*` where no dub was given
    reason: str  # why it would be left, or empty
    evidence: str


class Plan(Record):
    """The answer of `dub plan`."""

    film: str
    num_frames: int
    fps: str
    shots: tuple[PlannedShot, ...]
    estimated_s: float  # of the dub that would follow, on this machine
    is_measured: bool  # whether this machine has done all of its steps before; otherwise the estimate is a first guess
    warnings: tuple[str, ...]


@flow(name="plan-episode", persist_result=False, validate_parameters=True)
def plan_episode(request: PlanRequest) -> Plan:
    """Study a film as a dub would. Raises InputError for what the user must change, OurTroubleError for what failed here."""
    with begin(request) as run:
        study = study_film(run)
        shots = tuple(_planned(run, study, shot) for shot in study.shots)
        seconds, is_measured = _estimate(run, study, shots)
        return Plan(
            film=request.film,
            num_frames=study.film.num_frames,
            fps=str(study.film.fps),
            shots=shots,
            estimated_s=seconds,
            is_measured=is_measured,
            warnings=study.warnings,
        )


def _planned(run: Run[PlanRequest], study: Study, shot: Shot) -> PlannedShot:
    faces, casting, trouble = study.faces.get(shot.index), study.castings.get(shot.index), study.troubles.get(shot.index)
    languages = study.dubs or ("*",)
    of_language = {language: study.casting_of((shot.index, language)) for language in languages if casting}
    speakers = {span.track_id for each in of_language.values() for span in each.spans}
    would_sync = {language: language in of_language and _would_sync(run, study, of_language[language], language) for language in languages}
    casting = next(iter(of_language.values()), None)
    who = {each.track_id: each for each in study.characters.who.get(shot.index, ())}
    if trouble is not None:
        reason = f"failed: {trouble}"
    elif casting is not None and casting.reason is not None:
        reason = casting.reason
    else:
        reason = "" if any(would_sync.values()) else "silent"
    film = study.film
    return PlannedShot(
        shot=shot.index,
        first_frame=shot.first_frame,
        end_frame=shot.end_frame,
        timecode_in=timecode_of(shot.first_frame, film.fps, film.start_timecode),
        timecode_out=timecode_of(shot.end_frame, film.fps, film.start_timecode),
        num_faces=faces.num_faces if faces else 0,
        faces=tuple(
            PlannedFace(
                track_id=track.track_id,
                mean_box=track.mean_box,
                usable=track.usable,
                unusable_reason=track.unusable_reason,
                speaks=track.track_id in speakers,
                margin=casting.margins.get(track.track_id) if casting else None,
                character=who[track.track_id].character if track.track_id in who else None,
                likeness=who[track.track_id].likeness if track.track_id in who else None,
            )
            for track in (faces.tracks if faces else ())
        ),
        would_sync=would_sync,
        reason=reason,
        evidence=casting.evidence if casting else "",
    )


def _would_sync(run: Run[PlanRequest], study: Study, casting: Casting, language: str) -> bool:
    """Whether a mouth would move: a voice in either language, or no dub to ask."""
    if language not in study.dubs:
        return bool(casting.spans)
    voices = study.voices_of((casting.shot_index, language))
    original = [study.original] if study.original else []
    return any(
        is_heard(run.store, study.film, heard, span.first_frame, span.end_frame)
        for span in casting.spans
        for heard in (stem_of(voices, span.track_id, study.dubs[language]), *original)
    )


def _estimate(run: Run[PlanRequest], study: Study, shots: tuple[PlannedShot, ...]) -> tuple[float, bool]:
    """(seconds of the steps that a dub adds, whether all their rates were measured here)."""
    rates = Rates.load(run.work_folder)
    num_languages = max(1, len(study.dubs))
    frames = sum(_num_frames(study, shot.shot, language) for shot in shots for language, is_synced in shot.would_sync.items() if is_synced)
    pixels = megapixels(study.film) * num_languages
    work = {"sync": frames, "judge": frames, "reels": pixels, "assemble": pixels}
    num_workers = run.request.num_workers or get_settings().num_workers
    spread = {"sync": len(shots), "judge": len(shots), "reels": num_languages, "assemble": num_languages}
    seconds = sum(rates.seconds_per_unit(stage) * units / min(num_workers, max(1, spread[stage])) for stage, units in work.items())
    return seconds, all(rates.is_measured(stage) for stage in work)


def _num_frames(study: Study, index: int, language: str) -> int:
    """Faces to be generated."""
    return sum(span.end_frame - span.first_frame for span in study.casting_of((index, language)).spans)
