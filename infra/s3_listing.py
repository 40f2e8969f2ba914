"""What lies in a bucket: its objects, and uploads that were begun and never finished."""

import time
from collections.abc import Iterator
from typing import Any

from infra.storage_keys import is_key
from infra.stored_object import StoredObject


def objects_below(client: Any, bucket: str, root: str, prefix: str) -> list[StoredObject]:
    """Objects whose keys begin with root + prefix, sorted, by their key without the root. What is no key of ours is left out."""
    found = []
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=root + prefix):
        for entry in page.get("Contents", ()):
            key, modified = entry["Key"].removeprefix(root), entry["LastModified"].timestamp()
            if is_key(key):
                found.append(StoredObject(key, entry["Size"], modified, entry["ETag"].strip('"')))
    return sorted(found, key=lambda stored: stored.key)


def uploads_below(client: Any, bucket: str, root: str, older_than_s: float) -> Iterator[tuple[str, str]]:
    """(upload id, key without the root) of multipart uploads begun before then."""
    for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=root):
        for upload in page.get("Uploads", ()):
            if time.time() - upload["Initiated"].timestamp() >= older_than_s:
                yield upload["UploadId"], upload["Key"].removeprefix(root)
