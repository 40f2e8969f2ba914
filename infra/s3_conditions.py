"""Conditional writes on S3: replace an object only where it is still the one that was read, and find out whether a server keeps to that."""

import uuid
from typing import Any

TEMPORARY = "tmp/"  # under a store's prefix; of no use after a day, so that a bucket's lifecycle rule may remove it
NO_SUCH_ETAG = '"00000000000000000000000000000000"'
_REFUSED = {404, 409, 412}  # gone; somebody else is writing; somebody else has written
_NOT_KNOWN = {400, 501}  # servers that do not know the header, Swift among them


def put_if_match(client: Any, bucket: str, key: str, data: bytes, etag: str | None, extra: dict[str, Any]) -> bool:
    """Replace a small object if it still has this ETag; None: whatever it has. False: the server refused. A server may ignore it."""
    condition = {} if etag is None else {"IfMatch": etag}
    try:
        client.put_object(Bucket=bucket, Key=key, Body=data, **condition, **extra)
    except client.exceptions.ClientError as error:
        if _status(error) not in _REFUSED:
            raise
        return False
    return True


def honours_if_match(client: Any, bucket: str, prefix: str) -> bool:
    """Whether this server refuses a write whose condition does not hold. Tried with an object of our own, which is removed again."""
    name = f"{TEMPORARY}condition-{uuid.uuid4().hex}"
    key = f"{prefix}/{name}" if prefix else name
    try:
        was_written = put_if_match(client, bucket, key, b"", NO_SUCH_ETAG, {})
    except client.exceptions.ClientError as error:
        if _status(error) not in _NOT_KNOWN:
            raise
        return False
    if was_written:
        client.delete_object(Bucket=bucket, Key=key)
    return not was_written


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
