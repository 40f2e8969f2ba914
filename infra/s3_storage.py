"""A bucket behind the Storage protocol: whole objects with their digest, conditional writes, ranges, links."""

import hashlib
import mimetypes
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra import s3_client
from infra.durable import disk_errors, publish, sha256_of_file, sync_file
from infra.errors import CorruptArtifactError, DubflowError, InputError, TransientError
from infra.fence import Fence
from infra.s3_client import client_of, status_of
from infra.s3_conditions import put_if_match
from infra.s3_connection import S3Connection
from infra.s3_listing import objects_below, uploads_below
from infra.s3_transfer import download, upload
from infra.scratch import new_scratch_name, sweep_dead_scratch
from infra.storage_keys import check_key
from infra.stored_object import StoredObject

_MIB = 1 << 20
_DIGEST = "sha256"  # name of our metadata entry
ConfigFor = Callable[[int], s3_client.TransferConfig]


@dataclass(frozen=True)
class S3Storage:
    """Objects under s3://bucket/prefix. Each carries its sha256 as metadata; put and get check it. Picklable."""

    bucket: str
    prefix: str
    connection: S3Connection

    def put(self, path: Path, key: str) -> None:
        """Upload a file to `key`, replacing what is there; then look whether it arrived."""
        with self._errors(key):
            self._put(client_of(self.connection), path, key, s3_client.transfer_config)

    def put_fenced(self, path: Path, key: str, fence: Fence) -> None:
        """As put(), but the fence is asked at the last moment. Half done, it is an upload that discard_unfinished finds: then it is never seen."""
        if path.stat().st_size == 0:  # nothing can be in no parts
            fence.check()
            self.put(path, key)
            return
        try:
            with self._errors(key):
                self._put(s3_client.fenced_client_of(self.connection, fence.check), path, key, s3_client.fenced_config)
        except DubflowError:
            fence.check()
            raise

    def discard_unfinished(self, unfinished: str, prefix: str) -> None:
        """End all uploads under this prefix that are half done, whoever began them."""
        for upload_id, key in self.unfinished(float("-inf")).items():
            if key.startswith(prefix):
                self.abort(upload_id, key)

    def prune(self, prefix: str) -> None:
        """A bucket has no folders."""

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
                    self._upload(s3_client.conditional_client_of(self.connection), path, key, digest)
                except s3_client.ClientError as error:
                    if status_of(error) not in (409, 412):  # somebody else is writing, or has written
                        raise
            return self._holds(key, digest, path.stat().st_size)

    def put_if_same(self, path: Path, key: str, sha256: str) -> bool:
        """Replace `key` by a small file if it still holds the bytes of this digest. True: the key now holds the file's bytes.

        Two at once: one is refused where the server decides (see decides_races); elsewhere the later one wins.
        """
        with self._errors(key):
            digest, head = sha256_of_file(path), self._head(key)
            if head is not None and head["Metadata"].get(_DIGEST) == sha256:
                extra = {"Metadata": {_DIGEST: digest}, "ContentType": _media_type(key)}
                etag = head["ETag"] if self.decides_races() else None
                put_if_match(client_of(self.connection), self.bucket, self._full(key), path.read_bytes(), etag, extra)
            return head is not None and self._holds(key, digest, path.stat().st_size)

    def decides_races(self) -> bool:
        """Whether of several conditional writes at once exactly one wins: Amazon S3 does, OpenStack Swift does not. Tried out once."""
        with self._errors(""):
            return s3_client.decides_races(self.connection, self.bucket, self.prefix)

    def get(self, key: str, path: Path) -> None:
        """Download `key` to a local file, whole or not at all. Raises CorruptArtifactError when it differs from its digest."""
        with self._errors(key), disk_errors("downloading", path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            sweep_dead_scratch(path.parent)
            head = self._need(key)
            temporary = path.parent / new_scratch_name()
            try:
                config = s3_client.transfer_config(head["ContentLength"])
                if download(client_of(self.connection), self.bucket, self._full(key), temporary, config) != head["ContentLength"]:
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
            answer = client_of(self.connection).get_object(Bucket=self.bucket, Key=self._full(key))
            data = answer["Body"].read()
            self._check_digest(key, answer, hashlib.sha256(data).hexdigest())
            return data

    def read_range(self, key: str, first: int, num_bytes: int, version: str) -> bytes:
        """num_bytes of `key` from byte `first` on, fewer at its end. Raises InputError when it is not this version (see find) any more."""
        with self._errors(key):
            wanted = f"bytes={first}-{first + num_bytes - 1}"
            answer = client_of(self.connection).get_object(Bucket=self.bucket, Key=self._full(key), Range=wanted)
            if answer["ETag"].strip('"') != version:
                answer["Body"].close()
                raise InputError(f"{self.describe(key)} was replaced while it was being used. Run the same command again when it is final.")
            return answer["Body"].read()

    def exists(self, key: str) -> bool:
        """Whether `key` is there. Raises InputError when the bucket is not."""
        with self._errors(key):
            return self._head(key) is not None

    def size(self, key: str) -> int:
        """Bytes of `key`. Raises InputError if it is not there."""
        with self._errors(key):
            return self._need(key)["ContentLength"]

    def find(self, key: str) -> StoredObject | None:
        """What the server tells of `key` without giving its bytes; None if it is not there. Raises InputError when the bucket is not."""
        with self._errors(key):
            head = self._head(key)
        if head is None:
            return None
        version, modified = head["ETag"].strip('"'), head["LastModified"].timestamp()
        return StoredObject(key, head["ContentLength"], modified, version, head["Metadata"].get(_DIGEST))

    def list(self, prefix: str = "") -> list[str]:
        """All keys that begin with this text, sorted."""
        return [stored.key for stored in self.walk(prefix)]

    def walk(self, prefix: str = "") -> Iterator[StoredObject]:
        """All objects whose keys begin with this text, sorted by key."""
        if prefix:
            check_key(prefix.removesuffix("/"))
        with self._errors(""):
            return iter(objects_below(client_of(self.connection), self.bucket, self._root, prefix))

    def delete(self, key: str) -> None:
        """Remove `key`; nothing happens if it is not there."""
        with self._errors(key):
            client_of(self.connection).delete_object(Bucket=self.bucket, Key=self._full(key))

    def link(self, key: str, valid_s: float) -> str:
        """An address at which anybody may read `key` for so long (at most seven days). It is a secret: for pages and people, not for logs."""
        with self._errors(key):
            params = {"Bucket": self.bucket, "Key": self._full(key)}
            return client_of(self.connection).generate_presigned_url("get_object", Params=params, ExpiresIn=max(1, round(valid_s)))

    def unfinished(self, older_than_s: float) -> dict[str, str]:
        """Multipart uploads begun before then and never finished: upload id -> key."""
        with self._errors(""):
            return dict(uploads_below(client_of(self.connection), self.bucket, self._root, older_than_s))

    def abort(self, upload_id: str, key: str) -> None:
        """End an unfinished upload; its parts are given up."""
        with self._errors(key):
            client_of(self.connection).abort_multipart_upload(Bucket=self.bucket, Key=self._full(key), UploadId=upload_id)

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

    @property
    def _root(self) -> str:
        return f"{self.prefix}/" if self.prefix else ""

    def _full(self, key: str) -> str:
        check_key(key)
        return f"{self.prefix}/{key}" if self.prefix else key

    def _errors(self, key: str) -> AbstractContextManager[None]:
        return s3_client.s3_errors(self.describe(key), self.connection)

    def _head(self, key: str) -> Any:
        """The object's head, or None if it is not there."""
        try:
            return client_of(self.connection).head_object(Bucket=self.bucket, Key=self._full(key))
        except s3_client.ClientError as error:
            if status_of(error) == 400:  # expired credentials among others: a HEAD's answer has no body that says so, a listing's has
                client_of(self.connection).list_objects_v2(Bucket=self.bucket, Prefix=self._full(key), MaxKeys=1)
            if status_of(error) != 404:
                raise
        client_of(self.connection).head_bucket(Bucket=self.bucket)  # a HEAD's bare 404 does not tell a missing bucket from a missing key
        return None

    def _need(self, key: str) -> Any:
        head = self._head(key)
        if head is None:
            raise InputError(f"There is no object {self.describe(key)}. Check the spelling and that the upload has finished.")
        return head

    def _put(self, client: Any, path: Path, key: str, config_for: ConfigFor) -> None:
        digest = sha256_of_file(path)
        num_bytes = self._upload(client, path, key, digest, config_for)
        head = self._head(key)
        if head is None or head["ContentLength"] != num_bytes or head["Metadata"].get(_DIGEST) != digest:
            raise TransientError(f"{self.describe(key)} is not what was just uploaded ({num_bytes} bytes).")

    def _upload(self, client: Any, path: Path, key: str, digest: str, config_for: ConfigFor = s3_client.transfer_config) -> int:
        extra = {"Metadata": {_DIGEST: digest}, "ContentType": _media_type(key)}
        return upload(client, path, self.bucket, self._full(key), extra, config_for(path.stat().st_size))

    def _holds(self, key: str, digest: str, num_bytes: int) -> bool:
        head = self._head(key)
        if head is None:
            raise TransientError(f"Somebody else is writing or deleting {self.describe(key)} at this moment.")
        if head["ContentLength"] != num_bytes:
            return False
        if _DIGEST in head["Metadata"]:
            return head["Metadata"][_DIGEST] == digest
        stored = hashlib.sha256()
        for chunk in client_of(self.connection).get_object(Bucket=self.bucket, Key=self._full(key))["Body"].iter_chunks(_MIB):
            stored.update(chunk)
        return stored.hexdigest() == digest

    def _check_digest(self, key: str, head: Any, digest: str) -> None:
        promised = head["Metadata"].get(_DIGEST, digest)
        if promised != digest:
            raise CorruptArtifactError(f"{self.describe(key)} is damaged: its bytes differ from the digest it was stored with.")


def _media_type(key: str) -> str:
    return mimetypes.guess_type(key)[0] or "application/octet-stream"
