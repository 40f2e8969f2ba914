"""Where films come from and episodes go to: a folder or an S3 bucket behind one protocol."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from infra.errors import CorruptArtifactError, InputError
from infra.fence import Fence
from infra.folder_storage import FolderStorage
from infra.s3_connection import connection_of
from infra.s3_storage import S3Storage
from infra.settings import get_settings
from infra.storage_keys import FolderLocation, parse_location, redact
from infra.stored_object import StoredObject


class Storage(Protocol):
    """Files by key (a relative path). A key that can be read is whole. Errors: InputError (yours), TransientError (worth another try)."""

    def put(self, path: Path, key: str) -> None: ...
    def put_fenced(self, path: Path, key: str, fence: Fence) -> None: ...
    def discard_unfinished(self, unfinished: str, prefix: str) -> None: ...
    def prune(self, prefix: str) -> None: ...
    def put_if_absent(self, path: Path, key: str) -> bool: ...
    def put_if_same(self, path: Path, key: str, sha256: str) -> bool: ...
    def decides_races(self) -> bool: ...
    def get(self, key: str, path: Path) -> None: ...
    def read_bytes(self, key: str) -> bytes: ...
    def read_range(self, key: str, first: int, num_bytes: int, version: str) -> bytes: ...
    def exists(self, key: str) -> bool: ...
    def size(self, key: str) -> int: ...
    def find(self, key: str) -> StoredObject | None: ...
    def list(self, prefix: str = "") -> list[str]: ...
    def walk(self, prefix: str = "") -> Iterator[StoredObject]: ...
    def delete(self, key: str) -> None: ...
    def link(self, key: str, valid_s: float) -> str | None: ...
    def unfinished(self, older_than_s: float) -> dict[str, str]: ...
    def abort(self, upload_id: str, key: str) -> None: ...
    def describe(self, key: str) -> str: ...


def open_storage(uri_or_path: str | Path) -> Storage:
    """The storage at a folder path, a `file:` URI or `s3://BUCKET[/PREFIX]`. Nothing is read or written yet. Raises InputError."""
    location = parse_location(uri_or_path)
    if isinstance(location, FolderLocation):
        if location.path.exists() and not location.path.is_dir():
            raise InputError(f"{location.path} is a file; a folder is needed here.")
        return FolderStorage(location.path)
    return S3Storage(location.bucket, location.key, connection_of(get_settings()))


def fetch(uri_or_path: str | Path, into: Path) -> Path:
    """A local, absolute path of an input. A local file is used where it lies; an S3 object is downloaded into the folder `into` once per version.

    Raises InputError when it is missing, not a regular file, not readable, or damaged.
    """
    location = parse_location(uri_or_path)
    if isinstance(location, FolderLocation):
        if location.path.is_file():
            return location.path
        trouble = "is not a regular file" if location.path.exists() else "does not exist"
        raise InputError(f"{redact(str(location.path))} {trouble}. Give the path of a film or sound file.")
    if not location.key:
        raise InputError(f"s3://{location.bucket} names a bucket; write s3://BUCKET/KEY of one object.")
    storage = S3Storage(location.bucket, "", connection_of(get_settings()))
    local = into / storage.local_name(location.key)
    if local.is_file():
        os.utime(local, ns=(time.time_ns(), local.stat().st_mtime_ns))  # the least recently used go first when the disk is tidied
    else:
        try:
            storage.get(location.key, local)
        except CorruptArtifactError as error:
            raise InputError(f"{error} Upload it again.") from None
    return local
