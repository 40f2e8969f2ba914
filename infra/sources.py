"""Where a film lies, as text that other machines understand: a local path, or an object in a bucket named with its version.

Reading an object of a version never gives bytes of another: see RangedFile.
"""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import quote, unquote

from infra.durable import sha256_of_file
from infra.errors import CorruptArtifactError, InputError
from infra.s3_connection import connection_of
from infra.s3_storage import S3Storage
from infra.settings import get_settings
from infra.storage import fetch
from infra.storage_keys import S3Location, parse_location

_PINNED = re.compile(r"s3://(?P<bucket>[^/]+)/(?P<key>.+)#bytes=(?P<num_bytes>\d+)&version=(?P<version>[A-Za-z0-9%._~-]+)", re.DOTALL)


@dataclass(frozen=True)
class PinnedObject:
    """An object of a bucket in one version."""

    bucket: str
    key: str
    num_bytes: int
    version: str

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}#bytes={self.num_bytes}&version={quote(self.version, safe='')}"

    @property
    def uri(self) -> str:
        """For people, and for looking at the object as it is now."""
        return f"s3://{self.bucket}/{self.key}"

    @property
    def storage(self) -> S3Storage:
        return S3Storage(self.bucket, "", connection_of(get_settings()))


def pinned_object(source: str | Path) -> PinnedObject | None:
    """The object that this text names; None for a local path."""
    match = _PINNED.fullmatch(source) if isinstance(source, str) else None
    if match is None:
        return None
    return PinnedObject(match["bucket"], match["key"], int(match["num_bytes"]), unquote(match["version"]))


def find_source(uri_or_path: str | Path, into: Path) -> str:
    """Where an input lies: the absolute path of a local file, or an object as it is now. Nothing is fetched. Raises InputError as fetch() does."""
    location = parse_location(uri_or_path)
    if not isinstance(location, S3Location) or not location.key:
        return str(fetch(uri_or_path, into))
    found = S3Storage(location.bucket, "", connection_of(get_settings())).find(location.key)
    if found is None:
        raise InputError(f"There is no object s3://{location.bucket}/{location.key}. Check the spelling and that the upload has finished.")
    return str(PinnedObject(location.bucket, location.key, found.num_bytes, found.version))


def name_of(source: str | Path) -> str:
    """The file's own name."""
    pinned = pinned_object(source)
    return PurePosixPath(pinned.key).name if pinned else Path(source).name


def local_copy(source: str | Path) -> Path:
    """The whole file on this machine: where it lies, or fetched once per version. For what cannot read an object in pieces.

    Raises InputError when it is not this version any more, or damaged.
    """
    pinned = pinned_object(source)
    if pinned is None:
        return Path(source)
    try:
        path = fetch(pinned.uri, get_settings().inputs_folder)
    except CorruptArtifactError as error:
        raise InputError(f"{error} Upload it again.") from None
    now = pinned.storage.find(pinned.key)
    if now is None or now.version != pinned.version:
        raise replaced(pinned)
    return path


def refuse_damaged(pinned: PinnedObject, sha256: str) -> None:
    """Raises InputError when the bytes that were read are not those that were put there, as far as the bucket knows, or not that version's."""
    now = pinned.storage.find(pinned.key)
    if now is None or now.version != pinned.version:
        raise replaced(pinned)
    if now.sha256 not in (None, sha256):
        raise InputError(f"{pinned.uri} is damaged: its bytes differ from the digest it was stored with. Upload it again.")


def replaced(pinned: PinnedObject) -> InputError:
    """What to tell of an object that is another one now."""
    return InputError(f"{pinned.uri} was replaced while it was being used. Run the same command again when it is final.")


def digest_of(source: str | Path) -> str:
    """The sha256 of a film as it lies there now. Of an object that somebody else uploaded all bytes are read."""
    pinned = pinned_object(source)
    if pinned is None:
        return sha256_of_file(Path(source))
    now = pinned.storage.find(pinned.key)
    return now.sha256 if now is not None and now.sha256 is not None else sha256_of_file(local_copy(source))
