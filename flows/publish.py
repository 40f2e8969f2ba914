"""The last step: report and manifest written, everything put under OUT/ID/, the manifest last, so that where it is all is whole."""

import importlib.metadata
import json
import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from flows import steps
from flows.manifest import MANIFEST, record_review
from flows.previews import make_previews
from flows.steps import Call
from flows.study import Run, Study
from flows.takes import Takes
from infra import ffmpeg
from infra.durable import sha256_of_file
from infra.errors import InputError
from infra.storage import Storage
from infra.storage_keys import redact
from tasks.hand_over import HandOverFiles
from tasks.model_shelf import detector_digest
from tasks.report_data import PREVIEWS
from tasks.settled import standing_of
from tasks.types import DubbedEpisode, DubRequest, DubResult, HistoryEntry, InputDigests
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


def check_inputs_unchanged(run: Run, study: Study) -> None:
    """Film and dubs are still the bytes that were inspected. Raises InputError: a half-old, half-new episode is never published."""
    for path, sha256 in ((study.film.path, study.film.sha256), *((dub.path, dub.sha256) for dub in study.dubs.values())):
        if not Path(path).is_file() or sha256_of_file(Path(path)) != sha256:
            raise InputError(
                f"{path} was changed or removed while it was being dubbed; nothing was published. Run the same command again when it is final."
            )


def publish_episode(
    run: Run[DubRequest],
    asked: DubRequest,
    study: Study,
    takes: Takes,
    episodes: Sequence[DubbedEpisode],
    history: Sequence[HistoryEntry],
    folder: Path,
) -> DubResult:
    """Write report and manifest into `folder`, where the films lie, and put all of it under OUT/ID/. Raises TransientError when the store fails.

    asked: the request as the user gave it; the run's own also holds what the history settles.
    """
    request, storage = run.request, run.inputs.storage
    assert storage is not None
    warnings = (*study.warnings, *(f"{episode.language}: {text}" for episode in episodes for text in episode.warnings))
    files: ReportFiles = run.one(
        steps.REPORT,
        store=run.store,
        film=study.film,
        request=request,
        qa=tuple(takes.episodes.values()),
        previews=make_previews(run, study, takes),
        episodes=tuple(episodes),
        models=run.inputs.models,
        warnings=warnings,
        into=folder,
    )
    local = {episode.output: folder / episode.output for episode in episodes}
    local |= {key: Path(path) for key, path in files.data.items()}
    handed: HandOverFiles = run.one(
        steps.HAND_OVER,
        store=run.store,
        film=study.film,
        request=request,
        reports=takes.reports,
        episodes=tuple(episodes),
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
    storage.delete(prefix + MANIFEST)  # of an earlier run: it would vouch for files that are being replaced
    _publish_media(run, storage, prefix, media)
    for files_of_stage in (local, pages):  # a page that can be read finds all that it shows
        run.all_of(steps.PUBLISH, [Call({"storage": storage, "path": path, "key": prefix + key}) for key, path in files_of_stage.items()])
    _remove_old_media(storage, prefix, study.dubs, media)
    run.one(steps.MANIFEST, storage=storage, path=manifest, key=prefix + MANIFEST)
    return DubResult(
        episode_id=request.episode_id,
        num_shots=len(study.shots),
        episodes=tuple(episodes),
        outputs={episode.language: storage.describe(prefix + episode.output) for episode in episodes},
        report=storage.describe(prefix + "report.html"),
        manifest=storage.describe(prefix + MANIFEST),
        verdicts={verdict: sum(report.verdict == verdict for report in takes.reports) for verdict in VERDICTS},
        steps={},
        warnings=warnings,
    )


def _publish_media(run: Run[DubRequest], storage: Storage, prefix: str, media: dict[str, Path]) -> None:
    """Previews and thumbnails, some dozens at a time: they are small and many."""
    keys = sorted(media)
    batches = [keys[first : first + MEDIA_PER_BATCH] for first in range(0, len(keys), MEDIA_PER_BATCH)]
    paths = [{prefix + key: media[key] for key in batch} for batch in batches]
    run.all_of(steps.PUBLISH_MEDIA, [Call({"storage": storage, "paths": batch, "first_key": next(iter(batch))}, len(batch)) for batch in paths])


def _remove_old_media(storage: Storage, prefix: str, languages: Iterable[str], media: dict[str, Path]) -> None:
    """Previews of an earlier run that no page shows any more."""
    for language in languages:
        for key in storage.list(f"{prefix}{language}/{PREVIEWS}/"):
            if key.removeprefix(prefix) not in media:
                storage.delete(key)


def digests_of(study: Study) -> InputDigests:
    """The bytes that a review of this film is about."""
    return InputDigests(film=study.film.sha256, audio={language: dub.sha256 for language, dub in study.dubs.items()})


def describe_run(run: Run[DubRequest], study: Study, takes: Takes, local: dict[str, Path], warnings: Sequence[str]) -> dict[str, object]:
    """The manifest: digests of all that went in and came out, and what else the result depends on."""
    request, film = run.request, study.film
    name, weights = run.inputs.detector
    return {
        "format": MANIFEST_FORMAT,
        "episode_id": request.episode_id,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "inputs": {
            "film": {"from": redact(request.film), "sha256": film.sha256, "num_frames": film.num_frames, "fps": str(film.fps)},
            "audio": {language: {"from": redact(request.audio[language]), "sha256": dub.sha256} for language, dub in study.dubs.items()},
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
