"""The last step: report and manifest written, everything put under OUT/ID/, the manifest last, so that where it is all is whole."""

import importlib.metadata
import json
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from flows.episode import steps
from flows.episode.manifest import MANIFEST, record_cast, record_review
from flows.episode.previews import Key
from flows.episode.steps import Call
from flows.episode.study import Run, Study
from flows.episode.takes import Takes
from flows.run.work_store import pin_episode
from infra import ffmpeg
from infra.durable import sha256_of_file
from infra.file_state import changed
from infra.settings import get_settings
from infra.sources import pinned_object
from infra.storage import Storage
from infra.storage_keys import redact
from tasks.hand_over import HandOverFiles
from tasks.model_shelf import detector_digest
from tasks.page_links import LinkMaker
from tasks.report_data import PREVIEWS
from tasks.settled import standing_of
from tasks.types import DubbedEpisode, DubRequest, DubResult, HistoryEntry, InputDigests, Preview
from tasks.write_report import VERDICTS, ReportFiles

MANIFEST_FORMAT = 1
MEDIA_PER_BATCH = 60
_PACKAGES = (
    "dubflow",
    "torch",
    "numpy",
    "av",
    "opencv-python-headless",
    "scenedetect-headless",
    "dlib-bin",
    "webrtcvad-wheels",
    "prefect",
    "opentimelineio",
)


@dataclass(frozen=True)
class Finished:
    """The films of a run, each under its key in the folder that is to be published, and the previews for its report."""

    episodes: tuple[DubbedEpisode, ...]
    previews: dict[Key, Preview]


def check_inputs_unchanged(run: Run, study: Study) -> None:
    """Film and dubs are still the bytes that were inspected. Raises InputError: a half-old, half-new episode is never published."""
    stems = [stem for own in study.stems.values() for stem in own.values()]
    for path, sha256 in ((study.film.path, study.film.sha256), *((dub.path, dub.sha256) for dub in (*study.dubs.values(), *stems))):
        if pinned_object(path) is None and (not Path(path).is_file() or sha256_of_file(Path(path)) != sha256):
            raise changed(path)
    run.sources.check_objects()


def publish_episode(
    run: Run[DubRequest],
    asked: DubRequest,
    study: Study,
    takes: Takes,
    finished: Finished,
    history: Sequence[HistoryEntry],
    folder: Path,
) -> DubResult:
    """Write report and manifest into `folder`, where the films lie, and put all of it under OUT/ID/. Raises TransientError when the store fails.

    asked: the request as the user gave it; the run's own also holds what the history settles.
    """
    request, storage = run.request, run.inputs.storage
    assert storage is not None
    assert run.lease is not None
    warnings = (*study.warnings, *(f"{episode.language}: {text}" for episode in finished.episodes for text in episode.warnings))
    files: ReportFiles = run.one(
        steps.REPORT,
        store=run.store,
        film=study.film,
        request=request,
        qa=tuple(takes.episodes.values()),
        previews=finished.previews,
        episodes=finished.episodes,
        models=run.inputs.models,
        warnings=warnings,
        into=folder,
        link_maker=link_maker_of(request, storage),
    )
    local = {episode.output: folder / episode.output for episode in finished.episodes}
    local |= {key: Path(path) for key, path in files.data.items()}
    handed: HandOverFiles = run.one(
        steps.HAND_OVER,
        store=run.store,
        film=study.film,
        request=request,
        reports=takes.reports,
        episodes=finished.episodes,
        standing=standing_of(history, digests_of(study)),
        into=folder,
    )
    local |= {key: Path(path) for key, path in handed.files.items()}
    warnings += handed.warnings
    media, pages = ({key: Path(path) for key, path in some.items()} for some in (files.media, files.pages))
    manifest = folder / MANIFEST
    described = describe_run(run, study, takes, media | local | pages, warnings) | record_review(run, asked, takes, history)
    manifest.write_text(json.dumps(described, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    prefix = f"{request.episode_id}/"
    pin_episode(run.store, request.out, prefix + MANIFEST, manifest)
    fence = run.lease.fence
    run.lease.begin_publishing()
    run.sources.end()
    storage.delete(prefix + MANIFEST)  # of an earlier run: it would vouch for files that are being replaced
    _publish_media(run, storage, prefix, media)
    for files_of_stage in (local, pages):  # a page that can be read finds all that it shows
        calls = [Call({"storage": storage, "path": path, "key": prefix + key, "fence": fence}) for key, path in files_of_stage.items()]
        run.all_of(steps.PUBLISH, calls)
    _remove_old_media(run, storage, prefix, study.dubs, media)
    run.one(steps.MANIFEST, storage=storage, path=manifest, key=prefix + MANIFEST, fence=fence)
    return DubResult(
        episode_id=request.episode_id,
        num_shots=len(study.shots),
        episodes=finished.episodes,
        outputs={episode.language: storage.describe(prefix + episode.output) for episode in finished.episodes},
        report=storage.describe(prefix + "report.html"),
        manifest=storage.describe(prefix + MANIFEST),
        verdicts={verdict: sum(report.verdict == verdict for report in takes.reports) for verdict in VERDICTS},
        steps={},
        warnings=warnings,
        left_out=study.left_out,
    )


def link_maker_of(request: DubRequest, storage: Storage) -> LinkMaker | None:
    """What makes presigned links for the report, where they were asked for."""
    hours = request.link_hours or get_settings().link_hours
    return None if hours is None else LinkMaker(storage, f"{request.episode_id}/", hours)


def _publish_media(run: Run[DubRequest], storage: Storage, prefix: str, media: dict[str, Path]) -> None:
    """Previews and thumbnails, some dozens at a time: they are small and many."""
    keys = sorted(media)
    batches = [keys[first : first + MEDIA_PER_BATCH] for first in range(0, len(keys), MEDIA_PER_BATCH)]
    paths = [{prefix + key: media[key] for key in batch} for batch in batches]
    assert run.lease is not None
    common = {"storage": storage, "fence": run.lease.fence}
    run.all_of(steps.PUBLISH_MEDIA, [Call(common | {"paths": batch, "first_key": next(iter(batch))}, len(batch)) for batch in paths])


def _remove_old_media(run: Run, storage: Storage, prefix: str, languages: Iterable[str], media: dict[str, Path]) -> None:
    """Previews of an earlier run that no page shows any more."""
    assert run.lease is not None
    for language in languages:
        for key in storage.list(f"{prefix}{language}/{PREVIEWS}/"):
            if key.removeprefix(prefix) not in media:
                run.lease.fence.check()
                storage.delete(key)


def digests_of(study: Study) -> InputDigests:
    """The bytes that a review of this film is about."""
    return InputDigests(film=study.film.sha256, audio={language: dub.sha256 for language, dub in study.dubs.items()})


def describe_run(run: Run[DubRequest], study: Study, takes: Takes, local: dict[str, Path], warnings: Sequence[str]) -> dict[str, object]:
    """The manifest: digests of all that went in and came out, and what else the result depends on."""
    assert run.lease is not None
    request, film = run.request, study.film
    name, weights = run.inputs.detector
    return {
        "format": MANIFEST_FORMAT,
        "episode_id": request.episode_id,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "inputs": {
            "film": {"from": redact(request.film), "sha256": film.sha256, "num_frames": film.num_frames, "fps": str(film.fps)},
            "audio": {
                language: {"from": redact(request.audio.get(language, "the sum of its character stems")), "sha256": dub.sha256}
                for language, dub in study.dubs.items()
            },
            **record_cast(run, study),
            "original_dialogue": _original(run, study),
        },
        "parameters": request.model_dump(mode="json", include={"speaker", "model", "scorer", "codec"})
        | {"casting": {str(index): track for index, track in (run.inputs.casting or {}).items()}},
        "models": run.inputs.models.model_dump(mode="json", exclude={"generator_path", "expert_path", "vgg_path"}),
        "detector": {"name": name, "sha256": detector_digest(name, weights)},
        "shots": [[shot.first_frame, shot.end_frame] for shot in study.shots],
        "patches": [
            patch.model_dump(mode="json", exclude={"patch"}) | {"sha256": patch.patch.sha256, "num_bytes": patch.patch.num_bytes}
            for patch in takes.patches
        ],
        "outputs": {key: {"sha256": sha256_of_file(path), "num_bytes": path.stat().st_size} for key, path in local.items()},
        "warnings": list(warnings),
        "left_out": study.left_out,
        "qa": {
            language: {verdict: sum(report.verdict == verdict for report in qa.reports) for verdict in VERDICTS}
            for language, qa in takes.episodes.items()
        },
        "work": {
            "steps": {step: count.model_dump() for step, count in run.ledger.steps().items()},
            "num_rendered_frames": run.ledger.num_rendered_frames,
            "seconds": {stage: round(seconds, 3) for stage, seconds in run.ledger.seconds().items()},
        },
        "lease": run.lease.in_words(),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Of Python, FFmpeg and the packages that decide what comes out."""
    found = {"python": platform.python_version(), "ffmpeg": ffmpeg.version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed as a package"
    return found


def _original(run: Run, study: Study) -> dict[str, str] | None:
    if study.original is None:
        return None
    return {"from": redact(run.request.original_dialogue or run.request.film), "sha256": study.original.sha256}
