"""Film and dubs are looked at while a run is on: one that is replaced ends the run soon, not when all is done."""

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

from infra.errors import DubflowError
from infra.file_state import changed, refuse_changed, state_of
from infra.storage import open_storage
from infra.storage_keys import S3Location, parse_location, redact
from tasks.types import Film, Stem

LOOK_S = 1.0  # how often files are looked at, at most
LOOK_FAR_S = 30.0  # and objects in a bucket
logger = logging.getLogger(__name__)


@dataclass
class SourceWatch:
    """What a run reads, as it was when its bytes were hashed."""

    files: dict[str, tuple[str, str]] = field(default_factory=dict)  # path -> (digest, state)
    objects: dict[str, str] = field(default_factory=dict)  # s3:// URI -> version
    _looked: float = float("-inf")
    _looked_far: float = float("-inf")

    @classmethod
    def of(cls, *named: str) -> Self:
        """Of inputs as a request names them. Only objects in a bucket are looked at by name; files once they were read."""
        return cls(objects={text: version for text in named if (version := _version(text))})

    def add_film(self, film: Film) -> None:
        self.files[film.path] = (film.sha256, film.state)

    def add_stems(self, stems: Iterable[Stem]) -> None:
        for stem in stems:
            self.files.setdefault(stem.path, (stem.sha256, state_of(stem.path)))

    def check(self) -> None:
        """Raises InputError when anything of it is another by now. Cheap: may be called after every step."""
        now = time.monotonic()
        if now - self._looked >= LOOK_S:
            self.check_files()
        if now - self._looked_far >= LOOK_FAR_S:
            self.check_objects()
            self._looked_far = now

    def check_files(self) -> None:
        """Raises InputError when a file was replaced, however short a time ago the last look was: for the beginning of a stage."""
        for path, (sha256, state) in self.files.items():
            refuse_changed(path, sha256, state)
        self._looked = time.monotonic()

    def end(self) -> None:
        """Look no more: for when all is made and published files begin to be replaced. Ending there would leave half an episode in the store."""
        self.files.clear()
        self.objects.clear()

    def check_objects(self) -> None:
        """Raises InputError when an object was replaced. A store that does not answer is no reason to stop: publishing tells."""
        for text, before in self.objects.items():
            try:
                version = _version(text)
            except DubflowError as error:
                logger.warning("could not look whether %s is still the same: %s", redact(text), error)
                continue
            if version != before:
                raise changed(redact(text))


def _version(text: str) -> str:
    """Of an object in a bucket; empty where there is none, or for a file."""
    location = parse_location(text)
    if not isinstance(location, S3Location):
        return ""
    found = open_storage(f"s3://{location.bucket}").find(location.key)
    return found.version if found is not None else ""
