"""The flow `dub-episode`: a film and its translated dialogue in, the dubbed film in every language and its QA report out."""

import flows.environment  # noqa: F401  # isort: skip
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from prefect import flow

from flows.episode import steps
from flows.episode.previews import is_shown, pieces_of, preview_calls, previews_of
from flows.episode.publish import Finished, check_inputs_unchanged, digests_of, publish_episode
from flows.episode.steps import Call
from flows.episode.study import Run, Study, begin, check_partition, megapixels, study_film
from flows.episode.takes import Takes, dub_shots
from flows.run import progress
from flows.studio import notify
from tasks.history import Deed, append_entry, read_history, write_view
from tasks.one_reading import BOTH
from tasks.render_reel import REEL_S, plan_reels
from tasks.settled import overrides_of
from tasks.types import DubRequest, DubResult, HistoryEntry, InputDigests, Reel

logger = logging.getLogger(__name__)


@flow(
    name="dub-episode",
    flow_run_name="{request.episode_id}",
    persist_result=False,
    validate_parameters=True,
    on_completion=[notify.tell_finished],
    on_failure=[notify.tell_failed],
    on_crashed=[notify.tell_failed],
)
def dub_episode(request: DubRequest) -> DubResult:
    """Dub a film. Raises InputError for what the user must change, OurTroubleError for what failed here; then nothing was published."""
    with begin(request) as run:
        result = dub(run)
    if request.review == "wait":
        from flows.review.pause import review_until_done  # it uses dub()

        return review_until_done(request, result)
    return result


def dub(run: Run[DubRequest]) -> DubResult:
    """From films to a published episode, honouring all that its history of decisions settles; while it runs, nobody else adds to it."""
    started = time.monotonic()
    entries = history_of(run)  # from here to the publication nothing is asked of the store: what is lost of it meanwhile costs no work
    study = study_film(run)
    inputs = digests_of(study)
    settled = _with_overrides(run, entries, inputs)
    takes = dub_shots(settled, study)
    reels = render_reels(settled, study, takes)
    with run.store.scratch() as folder:
        finished = finish(settled, study, takes, reels, folder)
        check_inputs_unchanged(run, study)
        published = publish_episode(settled, run.request, study, takes, finished, entries, folder)
        _note_publication(run, published, entries, inputs)
    found = {"steps": run.ledger.steps(), "num_rendered_frames": run.ledger.num_rendered_frames, "seconds": time.monotonic() - started}
    result = published.model_copy(update=found)
    run.board.show_result(result, takes.reports)
    return result


def history_of(run: Run[DubRequest]) -> tuple[HistoryEntry, ...]:
    """What review has said of the episode that is to be published. Raises BrokenHistoryError."""
    assert run.inputs.storage is not None
    return read_history(run.inputs.storage, run.request.episode_id)


def _with_overrides(run: Run[DubRequest], entries: Sequence[HistoryEntry], inputs: InputDigests) -> Run[DubRequest]:
    """The run, told what review has settled; what the request itself says of a shot comes first."""
    given = {(override.shot, override.language): override for override in run.request.overrides}
    settled = {(override.shot, override.language): override for override in overrides_of(entries, inputs)}
    overrides = tuple(override for _, override in sorted((settled | given).items()))
    return replace(run, request=run.request.model_copy(update={"overrides": overrides}))


def _note_publication(run: Run[DubRequest], result: DubResult, entries: Sequence[HistoryEntry], inputs: InputDigests) -> None:
    """Write into a history that has begun which films came of it."""
    storage = run.inputs.storage
    assert storage is not None
    if not entries:
        return
    assert run.lease is not None
    run.lease.fence.check()
    outputs = {episode.output: episode.sha256 for episode in result.episodes}
    last = next((entry for entry in reversed(entries) if entry.kind == "published"), None)
    if last is None or last.outputs != outputs:
        append_entry(storage, run.request.episode_id, "published", Deed(source="dubflow", inputs=inputs, outputs=outputs))
    else:
        write_view(storage, run.request.episode_id, entries)


def render_reels(run: Run[DubRequest], study: Study, takes: Takes) -> dict[str, list[Reel]]:
    """Each language's film in encoded pieces, patches pasted."""
    ranges = plan_reels(study.shots, study.film.fps, REEL_S)
    shown = {(piece, report.language) for report in takes.reports if is_shown(report) for piece in pieces_of(study.film, report.shot)}
    check_partition(study.film, ranges)
    calls = [
        Call(
            {
                "store": run.store,
                "film": study.film,
                "first": first,
                "end": end,
                "patches": tuple(patch for patch in takes.patches_of(language) if patch.first_frame < end and patch.end_frame > first),
                "language": language,
                "codec": run.request.codec,
                "small": BOTH if ((first, end), language) in shown else (),
            },
            megapixels(study.film, end - first),
        )
        for language in study.dubs
        for first, end in ranges
    ]
    outcomes = run.each(steps.REEL, calls)
    reels: list[Reel] = steps.results_of(outcomes)
    _count_rendered(run, study, [outcome.result for outcome in outcomes if outcome.done is not None and not outcome.done.was_reused])
    return {language: [reel for reel in reels if reel.language == language] for language in study.dubs}


def _count_rendered(run: Run[DubRequest], study: Study, rendered: Sequence[Reel]) -> None:
    """Say how much of each film was pasted and encoded in this run; all else was found finished."""
    run.ledger.add_rendered(rendered)
    for language in study.dubs:
        made = [reel for reel in rendered if reel.language == language]
        shots = [shot.index for shot in study.shots if any(reel.first_frame < shot.end_frame and reel.end_frame > shot.first_frame for reel in made)]
        num_frames = sum(reel.end_frame - reel.first_frame for reel in made)
        named = "all" if len(shots) == len(study.shots) else ", ".join(map(str, shots)) or "none"
        text = f"rendered {num_frames} of {study.film.num_frames} frames of {language}; shots: {named}"
        logger.info("%s", text)
        progress.tell(progress.Said(text))


def finish(run: Run[DubRequest], study: Study, takes: Takes, reels: dict[str, list[Reel]], into: Path) -> Finished:
    """Each language's film as one file under `into`, with its dub and the film's other streams, verified against the source; and the previews."""
    films, previews = run.side_by_side((steps.ASSEMBLE, _assemble_calls(run, study, reels, into)), (steps.PREVIEW, preview_calls(run, study, takes)))
    return Finished(tuple(steps.results_of(films)), previews_of(takes, previews))


def _assemble_calls(run: Run[DubRequest], study: Study, reels: dict[str, list[Reel]], into: Path) -> list[Call]:
    return [
        Call(
            {
                "store": run.store,
                "film": study.film,
                "reels": tuple(reels[language]),
                "dub": dub,
                "episode_id": run.request.episode_id,
                "language": language,
                "codec": run.request.codec,
                "into": into,
            },
            megapixels(study.film),
        )
        for language, dub in study.dubs.items()
    ]
