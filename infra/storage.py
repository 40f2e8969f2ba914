"""Where films come from and episodes go to: a folder or an S3 bucket behind one protocol. The only module that knows boto3."""

import hashlib
import logging
import mimetypes
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from boto3.s3.transfer import TransferConfig
from boto3.session import Session
from botocore import exceptions as aws
from botocore.config import Config
from s3transfer.exceptions import RetriesExceededError, S3DownloadFailedError
from s3transfer.manager import TransferManager

from infra.durable import disk_errors, publish, sha256_of_file, sync_file
from infra.errors import CorruptArtifactError, InputError, OurTroubleError, TransientError
from infra.folder_storage import FolderStorage
from infra.s3_answers import trouble_of_answer
from infra.s3_conditions import honours_if_match, put_if_match
from infra.s3_connection import S3Connection, connection_of
from infra.scratch import new_scratch_name, sweep_dead_scratch
from infra.settings import get_settings
from infra.storage_keys import FolderLocation, check_key, is_key, parse_location, redact

logger = logging.getLogger(__name__)

_MIB = 1 << 20
_MIN_PART_BYTES = 16 * _MIB
_MAX_PARTS = 9000  # S3 allows 10 000
_NUM_TRANSFER_THREADS = 4
_DIGEST = "sha256"  # name of our metadata entry

_NO_CREDENTIALS = (aws.NoCredentialsError, aws.PartialCredentialsError, aws.CredentialRetrievalError, aws.TokenRetrievalError, aws.ProfileNotFound)
_NO_ANSWER = (
    aws.HTTPClientError,
    aws.ConnectionError,
    aws.ResponseStreamingError,
    aws.IncompleteReadError,
    RetriesExceededError,
    S3DownloadFailedError,
)


class Storage(Protocol):
    """Files by key (a relative path). A key that can be read is whole. Errors: InputError (yours), TransientError (worth another try)."""

    def put(self, path: Path, key: str) -> None: ...
    def put_if_absent(self, path: Path, key: str) -> bool: ...
    def put_if_same(self, path: Path, key: str, sha256: str) -> bool: ...
    def decides_races(self) -> bool: ...
    def get(self, key: str, path: Path) -> None: ...
    def read_bytes(self, key: str) -> bytes: ...
    def exists(self, key: str) -> bool: ...
    def size(self, key: str) -> int: ...
    def list(self, prefix: str = "") -> list[str]: ...
    def delete(self, key: str) -> None: ...
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
    if not local.is_file():
        try:
            storage.get(location.key, local)
        except CorruptArtifactError as error:
            raise InputError(f"{error} Upload it again.") from None
    return local


@dataclass(frozen=True)
class S3Storage:
    """Objects under s3://bucket/prefix. Each carries its sha256 as metadata; put and get check it. Picklable."""

    bucket: str
    prefix: str
    connection: S3Connection

    def put(self, path: Path, key: str) -> None:
        """Upload a file to `key`, replacing what is there; then look whether it arrived."""
        with self._errors(key):
            digest = sha256_of_file(path)
            num_bytes = self._upload(_client(self.connection), path, key, digest)
            head = self._head(key)
            if head is None or head["ContentLength"] != num_bytes or head["Metadata"].get(_DIGEST) != digest:
                raise TransientError(f"{self.describe(key)} is not what was just uploaded ({num_bytes} bytes).")

    def put_if_absent(self, path: Path, key: str) -> bool:
        """Upload a file to `key` unless something else is there. True: the key now holds these bytes (also if it did before).

        An answer may be lost after the server stored the object; the retry then meets our own bytes, and that is success.
        Of several at once one wins where the server decides at the end of the write (Amazon S3); OpenStack Swift decides at its start,
        so there the last of those that began together may win, and the others may have been told True before.
        """
        with self._errors(key):
            digest = sha256_of_file(path)
            if self._head(key) is None:
                try:
                    self._upload(_conditional_client(self.connection), path, key, digest)
                except aws.ClientError as error:
                    if _status(error) not in (409, 412):  # somebody else is writing, or has written
                        raise
            return self._holds(key, digest, path.stat().st_size)

    def put_if_same(self, path: Path, key: str, sha256: str) -> bool:
        """Replace `key` by a small file if it still holds the bytes of this digest. True: the key now holds the file's bytes.

        Two at once: one is refused where the server decides (see decides_races); elsewhere the later one wins.
        """
        with self._errors(key):
            digest, head = sha256_of_file(path), self._head(key)
            if head is not None and head["Metadata"].get(_DIGEST) == sha256:
                extra = {"Metadata": {_DIGEST: digest}, "ContentType": mimetypes.guess_type(key)[0] or "application/octet-stream"}
                etag = head["ETag"] if self.decides_races() else None
                put_if_match(_client(self.connection), self.bucket, self._full(key), path.read_bytes(), etag, extra)
            return head is not None and self._holds(key, digest, path.stat().st_size)

    def decides_races(self) -> bool:
        """Whether of several conditional writes at once exactly one wins: Amazon S3 does, OpenStack Swift does not. Tried out once."""
        with self._errors(""):
            return _decides_races(self.connection, self.bucket, self.prefix)

    def get(self, key: str, path: Path) -> None:
        """Download `key` to a local file, whole or not at all. Raises CorruptArtifactError when it differs from its digest."""
        with self._errors(key), disk_errors("downloading", path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            sweep_dead_scratch(path.parent)
            head = self._need(key)
            temporary = path.parent / new_scratch_name()
            try:
                with TransferManager(_client(self.connection), _transfer_config(head["ContentLength"])) as manager:
                    manager.download(self.bucket, self._full(key), str(temporary)).result()
                if temporary.stat().st_size != head["ContentLength"]:
                    raise TransientError(f"{self.describe(key)} changed while it was read.")
                self._check_digest(key, head, sha256_of_file(temporary))
                sync_file(temporary)
                publish(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)

    def read_bytes(self, key: str) -> bytes:
        """The bytes of a small object. Raises InputError if it is not there, CorruptArtifactError when it differs from its digest."""
        with self._errors(key):
            self._need(key)
            answer = _client(self.connection).get_object(Bucket=self.bucket, Key=self._full(key))
            data = answer["Body"].read()
            self._check_digest(key, answer, hashlib.sha256(data).hexdigest())
            return data

    def exists(self, key: str) -> bool:
        """Whether `key` is there. Raises InputError when the bucket is not."""
        with self._errors(key):
            return self._head(key) is not None

    def size(self, key: str) -> int:
        """Bytes of `key`. Raises InputError if it is not there."""
        with self._errors(key):
            return self._need(key)["ContentLength"]

    def list(self, prefix: str = "") -> list[str]:
        """All keys that begin with this text, sorted."""
        if prefix:
            check_key(prefix.removesuffix("/"))
        root = f"{self.prefix}/" if self.prefix else ""
        with self._errors(""):
            pages = _client(self.connection).get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=root + prefix)
            keys = [entry["Key"].removeprefix(root) for page in pages for entry in page.get("Contents", ())]
        return sorted(key for key in keys if is_key(key))

    def delete(self, key: str) -> None:
        """Remove `key`; nothing happens if it is not there."""
        with self._errors(key):
            _client(self.connection).delete_object(Bucket=self.bucket, Key=self._full(key))

    def describe(self, key: str) -> str:
        """The URI, for people."""
        return f"s3://{self.bucket}/{self._full(key)}" if key else f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def local_name(self, key: str) -> str:
        """A file name of ours for this version of the object: another version gets another name; of theirs only a plain ending is kept."""
        with self._errors(key):
            head = self._need(key)
        version = "\n".join((str(self.connection.endpoint_url), self.describe(key), head["ETag"], str(head["ContentLength"])))
        ending = re.search(r"\.[A-Za-z0-9]{1,8}$", key)
        return hashlib.sha256(version.encode()).hexdigest()[:32] + (ending[0] if ending else "")

    def _full(self, key: str) -> str:
        check_key(key)
        return f"{self.prefix}/{key}" if self.prefix else key

    def _head(self, key: str) -> Any:
        """The object's head, or None if it is not there."""
        try:
            return _client(self.connection).head_object(Bucket=self.bucket, Key=self._full(key))
        except aws.ClientError as error:
            if _status(error) != 404:
                raise
        _client(self.connection).head_bucket(Bucket=self.bucket)  # a HEAD's bare 404 does not tell a missing bucket from a missing key
        return None

    def _need(self, key: str) -> Any:
        head = self._head(key)
        if head is None:
            raise InputError(f"There is no object {self.describe(key)}. Check the spelling and that the upload has finished.")
        return head

    def _upload(self, client: Any, path: Path, key: str, digest: str) -> int:
        before = path.stat()
        media_type = mimetypes.guess_type(key)[0] or "application/octet-stream"
        with TransferManager(client, _transfer_config(before.st_size)) as manager:
            extra = {"Metadata": {_DIGEST: digest}, "ContentType": media_type}
            manager.upload(str(path), self.bucket, self._full(key), extra_args=extra).result()
        after = path.stat()
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise OurTroubleError(f"{path} changed while it was uploaded to {self.describe(key)}.")
        return before.st_size

    def _holds(self, key: str, digest: str, num_bytes: int) -> bool:
        head = self._head(key)
        if head is None:
            raise TransientError(f"Somebody else is writing or deleting {self.describe(key)} at this moment.")
        if head["ContentLength"] != num_bytes:
            return False
        if _DIGEST in head["Metadata"]:
            return head["Metadata"][_DIGEST] == digest
        body = _client(self.connection).get_object(Bucket=self.bucket, Key=self._full(key))["Body"]
        stored = hashlib.sha256()
        for chunk in body.iter_chunks(_MIB):
            stored.update(chunk)
        return stored.hexdigest() == digest

    def _check_digest(self, key: str, head: Any, digest: str) -> None:
        promised = head["Metadata"].get(_DIGEST, digest)
        if promised != digest:
            raise CorruptArtifactError(f"{self.describe(key)} is damaged: its bytes differ from the digest it was stored with.")

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        """Every boto3 error as one of ours. Nothing of theirs is quoted or chained: it may hold headers or signed URLs."""
        where = self.describe(key)
        try:
            yield
        except aws.ClientError as error:
            raise trouble_of_answer(str(error.response.get("Error", {}).get("Code", "")), _status(error), where) from None
        except _NO_CREDENTIALS:
            raise InputError(f"No usable credentials for {where}. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.") from None
        except _NO_ANSWER as error:
            server = self.connection.endpoint_url or "Amazon S3"
            raise TransientError(f"No full answer from {server} for {where} ({type(error).__name__}). Is the server up, the address right?") from None
        except aws.BotoCoreError as error:
            raise OurTroubleError(f"The S3 client failed for {where} ({type(error).__name__}).") from None


def _status(error: aws.ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _transfer_config(num_bytes: int) -> TransferConfig:
    """Parts grow with the file, so that their number stays legal."""
    part_bytes = max(_MIN_PART_BYTES, -(-num_bytes // (_MAX_PARTS * _MIB)) * _MIB)
    return TransferConfig(multipart_threshold=part_bytes, multipart_chunksize=part_bytes, max_concurrency=_NUM_TRANSFER_THREADS)


@cache
def _client(connection: S3Connection) -> Any:
    return _new_client(connection)


@cache
def _conditional_client(connection: S3Connection) -> Any:
    """A client whose every write carries If-None-Match: * (s3transfer has no argument for it)."""
    client = _new_client(connection)
    for operation in ("PutObject", "CompleteMultipartUpload"):
        client.meta.events.register(f"provide-client-params.s3.{operation}", lambda params, **_: {**params, "IfNoneMatch": "*"})
    return client


@cache
def _decides_races(connection: S3Connection, bucket: str, prefix: str) -> bool:
    return honours_if_match(_client(connection), bucket, prefix)


def forget_clients() -> None:
    """Make new clients from now on: needed when the credentials have changed."""
    _client.cache_clear()
    _conditional_client.cache_clear()
    _decides_races.cache_clear()


def _new_client(connection: S3Connection) -> Any:
    config = Config(
        connect_timeout=connection.connect_timeout_s,
        read_timeout=connection.read_timeout_s,
        retries={"mode": "standard", "total_max_attempts": connection.max_attempts},
        s3={"addressing_style": connection.addressing_style},
        request_checksum_calculation=connection.request_checksum_calculation,
        response_checksum_validation=connection.response_checksum_validation,
        max_pool_connections=4 * _NUM_TRANSFER_THREADS,
    )
    region = connection.region or ("us-east-1" if connection.endpoint_url else None)
    return Session().client("s3", endpoint_url=connection.endpoint_url, region_name=region, config=config)
