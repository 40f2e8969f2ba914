"""What an episode would be made from, as one digest: every file by its bytes, every model by its weights, and whatever else changes the film."""

import json
import logging
import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from flows.episode.request_checks import choose_detector
from flows.season.files import FileFinder
from infra.durable import disk_errors, publish, sha256_of_file, write_synced
from infra.errors import InputError
from infra.record_keys import canonical_json
from infra.scratch import new_scratch_name
from infra.settings import get_settings
from infra.storage import fetch, open_storage
from infra.storage_keys import FolderLocation, parse_location
from tasks.cast_file import read_cast_file
from tasks.model_shelf import detector_digest, pin_models
from tasks.policy import read_policy
from tasks.types import DubRequest

logger = logging.getLogger(__name__)
FORMAT = 1
# Fields of a request that name no file and do not change the film, or are looked at in another way below.
_LOOKED_AT = {"film", "audio", "original_dialogue", "speaker", "policy", "model", "precision", "detector", "cast", "stems"}
_NO_MATTER = {"out", "episode_id", "work", "num_workers", "task_runner", "if_busy", "review", "bad_tracks", "inputs_digest"}
SAVE_EVERY = 20


class FileDigests:
    """Digests of local files, remembered in WORK/digests.json for as long as a file's inode and times stay the same. Safe among threads."""

    def __init__(self, work_folder: Path) -> None:
        self._file = work_folder / "digests.json"
        self._lock = threading.Lock()
        self._num_new = 0
        try:
            self._known: dict[str, list] = json.loads(self._file.read_bytes())
        except (OSError, ValueError):
            self._known = {}
        if not isinstance(self._known, dict):
            self._known = {}

    def sha256_of(self, path: Path) -> str:
        """Raises InputError when the file is not there."""
        with disk_errors("reading", path):
            try:
                status = path.stat()
            except FileNotFoundError:
                raise InputError(f"{path} does not exist.") from None
            seen = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
            known = self._known.get(str(path))
            if isinstance(known, list) and known[:-1] == seen:
                return str(known[-1])
            digest = sha256_of_file(path)
        with self._lock:
            self._known[str(path)] = [*seen, digest]
            self._num_new += 1
            is_due = self._num_new % SAVE_EVERY == 0
        if is_due:
            self.save()
        return digest

    def save(self) -> None:
        """Keep what was found for the next run; without it everything is read again."""
        with self._lock:
            data = json.dumps(self._known).encode()
        temporary = self._file.with_name(new_scratch_name())
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_synced(temporary, data)
            publish(temporary, self._file)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            logger.warning("%s was not written: %s", self._file, error)


class InputDigests:
    """Digests of requests. What many episodes share, models and policy above all, is looked at once."""

    def __init__(self, work_folder: Path) -> None:
        self.files = FileDigests(work_folder)
        self._into = work_folder / "inputs"
        self._shared: dict[tuple[str, ...], Any] = {}
        self._lock = threading.Lock()

    def token_of(self, text: str) -> str:
        """A file by its bytes: their sha256; of an object in a bucket that tells none, its version. Raises InputError when it is not there."""
        location = parse_location(text)
        if isinstance(location, FolderLocation):
            return self.files.sha256_of(location.path)
        folder, _, name = location.key.rpartition("/")
        found = open_storage(f"s3://{location.bucket}/{folder}".rstrip("/")).find(name)
        if found is None:
            raise InputError(f"There is no object {text}.")
        return found.sha256 or f"version {found.version} of {found.num_bytes} bytes"

    def digest_of(self, request: DubRequest) -> str | None:
        """None where something cannot be looked at now; the run will say what."""
        try:
            return sha256(canonical_json(self._described(request)).encode()).hexdigest()
        except InputError as error:
            logger.info("%s: its inputs cannot be looked at: %s", request.episode_id, error)
            return None

    def _described(self, request: DubRequest) -> dict[str, Any]:
        given = request.model_dump(mode="json", exclude=_LOOKED_AT | _NO_MATTER)
        named = files_of(request) | (self._pictures_of(request.cast) if request.cast else {})
        files = {name: self.token_of(path) for name, path in named.items()}
        models = self._once(("models", request.model, request.scorer, request.precision or ""), lambda: self._models(request))
        policy = self._once(("policy", request.policy or ""), lambda: self._policy(request.policy))
        detector = self._once(("detector", request.detector or ""), lambda: detector_digest(*choose_detector(request.detector)))
        speaker = request.speaker if request.speaker in ("auto", "only-face") else "as a file says"
        return {"format": FORMAT, "given": given, "files": files, "models": models, "policy": policy, "detector": detector, "speaker": speaker}

    def _pictures_of(self, cast: str) -> dict[str, str]:
        """What to call it -> path or URI, of every picture that a cast file names."""
        finder = FileFinder.beside(cast)
        pictures = sorted({picture for character in read_cast_file(fetch(cast, self._into)) for picture in character.pictures})
        return {f"picture {picture}": finder.resolve(picture) for picture in pictures}

    def _models(self, request: DubRequest) -> list[str | None]:
        pinned = pin_models(get_settings().models_folder, request.model, request.scorer, request.precision)
        return [pinned.generator_sha256, pinned.expert_sha256, pinned.vgg_sha256, pinned.precision]

    def _policy(self, policy: str | None) -> str:
        return read_policy(None if policy is None else fetch(policy, self._into)).sha256

    def _once(self, key: tuple[str, ...], look: Callable[[], Any]) -> Any:
        with self._lock:
            if key not in self._shared:
                self._shared[key] = look()
            return self._shared[key]


def files_of(request: DubRequest) -> dict[str, str]:
    """What to call it -> path or URI, of every file that the film depends on, but the policy, which counts by what it says."""
    files = {"film": request.film} | {f"audio {language}": track for language, track in request.audio.items()}
    if request.original_dialogue:
        files["original_dialogue"] = request.original_dialogue
    if request.speaker not in ("auto", "only-face"):
        files["speaker"] = request.speaker
    files |= {f"stem {language} {name}": track for language, stems in request.stems.items() for name, track in stems.items()}
    return files if request.cast is None else files | {"cast": request.cast}
