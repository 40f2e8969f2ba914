"""Whole files to and from a bucket, in parts where they are large; a transfer that fails leaves no parts behind."""

from pathlib import Path
from typing import Any

from boto3.s3.transfer import TransferConfig
from s3transfer.manager import TransferManager

from infra.errors import OurTroubleError


def upload(client: Any, path: Path, bucket: str, key: str, extra: dict[str, Any], config: TransferConfig) -> int:
    """Upload a file; returns its bytes. Raises OurTroubleError when it changed meanwhile, else boto3's errors."""
    before = path.stat()
    with TransferManager(client, config) as manager:
        manager.upload(str(path), bucket, key, extra_args=extra).result()
    after = path.stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise OurTroubleError(f"{path} changed while it was uploaded to s3://{bucket}/{key}.")
    return before.st_size


def download(client: Any, bucket: str, key: str, path: Path, config: TransferConfig) -> int:
    """Download an object to a new file; returns its bytes. Raises boto3's errors."""
    with TransferManager(client, config) as manager:
        manager.download(bucket, key, str(path)).result()
    return path.stat().st_size
