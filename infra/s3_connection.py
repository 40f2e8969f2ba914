"""How an S3 server is reached."""

from dataclasses import dataclass

from infra.settings import Settings


@dataclass(frozen=True)
class S3Connection:
    """How to reach a server; holds no secret. boto3 finds the credentials in its own usual places."""

    endpoint_url: str | None
    region: str | None
    addressing_style: str
    request_checksum_calculation: str
    response_checksum_validation: str
    max_attempts: int
    connect_timeout_s: float
    read_timeout_s: float
    sse: str = "none"  # none: as the bucket is set up
    sse_kms_key_id: str | None = None

    @property
    def encryption(self) -> dict[str, str]:
        """What every write asks for: how the server is to encrypt the object."""
        asked = {} if self.sse == "none" else {"ServerSideEncryption": self.sse}
        return asked | ({"SSEKMSKeyId": self.sse_kms_key_id} if self.sse_kms_key_id else {})


def connection_of(settings: Settings) -> S3Connection:
    """The connection that the settings describe."""
    return S3Connection(
        endpoint_url=settings.s3_endpoint_url,
        region=settings.s3_region,
        addressing_style=settings.s3_addressing_style,
        request_checksum_calculation=settings.request_checksum_calculation,
        response_checksum_validation=settings.response_checksum_validation,
        max_attempts=settings.s3_max_attempts,
        connect_timeout_s=settings.s3_connect_timeout_s,
        read_timeout_s=settings.s3_read_timeout_s,
        sse=settings.s3_sse,
        sse_kms_key_id=settings.s3_sse_kms_key_id,
    )
