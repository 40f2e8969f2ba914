"""The S3 client: one per connection, with what every request carries; and every error of boto3 as one of ours."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any

from boto3.s3.transfer import TransferConfig
from boto3.session import Session
from botocore import exceptions as aws
from botocore.config import Config
from s3transfer.exceptions import RetriesExceededError, S3DownloadFailedError

from infra.errors import InputError, OurTroubleError, TransientError
from infra.s3_answers import trouble_of_answer
from infra.s3_conditions import honours_if_match
from infra.s3_connection import S3Connection

ClientError = aws.ClientError
MAX_PARTS = 9000  # S3 allows 10 000
_MIB = 1 << 20
_MIN_PART_BYTES = 16 * _MIB
_NUM_TRANSFER_THREADS = 4
_WRITES = ("PutObject", "CopyObject", "CreateMultipartUpload")

_NO_CREDENTIALS = (aws.NoCredentialsError, aws.PartialCredentialsError, aws.CredentialRetrievalError, aws.TokenRetrievalError, aws.ProfileNotFound)
_NO_ANSWER = (
    aws.HTTPClientError,
    aws.ConnectionError,
    aws.ResponseStreamingError,
    aws.IncompleteReadError,
    RetriesExceededError,
    S3DownloadFailedError,
)


@cache
def client_of(connection: S3Connection) -> Any:
    """The client for this connection; every object it writes asks for the connection's encryption."""
    return _new_client(connection)


@cache
def conditional_client_of(connection: S3Connection) -> Any:
    """A client whose every write carries If-None-Match: * (s3transfer has no argument for it)."""
    client = _new_client(connection)
    for operation in ("PutObject", "CompleteMultipartUpload"):
        client.meta.events.register(f"provide-client-params.s3.{operation}", lambda params, **_: {**params, "IfNoneMatch": "*"})
    return client


@lru_cache(maxsize=16)
def fenced_client_of(connection: S3Connection, check: Callable[[], None]) -> Any:
    """A client that asks `check` before it completes a multipart upload; what that raises comes out of the upload, which is then given up."""
    client = _new_client(connection)

    def ask(**_: Any) -> None:
        check()

    client.meta.events.register("provide-client-params.s3.CompleteMultipartUpload", ask)
    return client


@cache
def decides_races(connection: S3Connection, bucket: str, prefix: str) -> bool:
    """Whether the server keeps to If-Match; tried out once."""
    return honours_if_match(client_of(connection), bucket, prefix)


def forget_clients() -> None:
    """Make new clients from now on: needed when the credentials have changed."""
    client_of.cache_clear()
    conditional_client_of.cache_clear()
    fenced_client_of.cache_clear()
    decides_races.cache_clear()


def transfer_config(num_bytes: int) -> TransferConfig:
    """Parts grow with the file, so that their number stays legal."""
    part_bytes = max(_MIN_PART_BYTES, -(-num_bytes // (MAX_PARTS * _MIB)) * _MIB)
    return TransferConfig(multipart_threshold=part_bytes, multipart_chunksize=part_bytes, max_concurrency=_NUM_TRANSFER_THREADS)


def fenced_config(num_bytes: int) -> TransferConfig:
    """As transfer_config, but always in parts, however small the file: what is in parts is seen only when it is completed."""
    config = transfer_config(num_bytes)
    config.multipart_threshold = 1
    return config


def status_of(error: aws.ClientError) -> int:
    """The HTTP status of a refusal."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


@contextmanager
def s3_errors(where: str, connection: S3Connection) -> Iterator[None]:
    """Every boto3 error as one of ours. Nothing of theirs is quoted or chained: it may hold headers or signed URLs."""
    try:
        yield
    except aws.ClientError as error:
        raise trouble_of_answer(str(error.response.get("Error", {}).get("Code", "")), status_of(error), where) from None
    except _NO_CREDENTIALS:
        raise InputError(f"No usable credentials for {where}. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.") from None
    except _NO_ANSWER as error:
        server = connection.endpoint_url or "Amazon S3"
        raise TransientError(f"No full answer from {server} for {where} ({type(error).__name__}). Is the server up, the address right?") from None
    except aws.BotoCoreError as error:
        raise OurTroubleError(f"The S3 client failed for {where} ({type(error).__name__}).") from None


def _new_client(connection: S3Connection) -> Any:
    config = Config(
        connect_timeout=connection.connect_timeout_s,
        read_timeout=connection.read_timeout_s,
        retries={"mode": "standard", "total_max_attempts": connection.max_attempts},
        s3={"addressing_style": connection.addressing_style},
        signature_version="s3v4",  # of presigned links too, which boto3 would else sign the old way in some regions
        request_checksum_calculation=connection.request_checksum_calculation,
        response_checksum_validation=connection.response_checksum_validation,
        max_pool_connections=4 * _NUM_TRANSFER_THREADS,
    )
    region = connection.region or ("us-east-1" if connection.endpoint_url else None)
    client = Session().client("s3", endpoint_url=connection.endpoint_url, region_name=region, config=config)
    encryption = connection.encryption
    if encryption:
        for operation in _WRITES:
            client.meta.events.register(f"provide-client-params.s3.{operation}", lambda params, **_: {**params, **encryption})
    return client
