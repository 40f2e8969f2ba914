"""What an S3 server's refusal means to us: your input, or trouble that may pass. Only its code and status are shown; its text may hold secrets."""

import re

from infra.errors import DubflowError, InputError, OurTroubleError, TransientError

_EXPIRED = "the credentials have expired; get new ones and run the same command again: finished work is kept"
_ELSEWHERE = "the bucket is in another region; set DUBFLOW_S3_REGION"

_YOURS = {
    "NoSuchBucket": "there is no such bucket",
    "InvalidBucketName": "this is not a bucket name",
    "NoSuchKey": "there is no such object",
    "InvalidAccessKeyId": "the server does not know this access key",
    "SignatureDoesNotMatch": "the secret key does not fit the access key",
    "ExpiredToken": _EXPIRED,
    "ExpiredTokenException": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "InvalidToken": "the session token is not valid",
    "RequestTimeTooSkewed": "this machine's clock differs from the server's by more than it allows; set the clock",
    "PermanentRedirect": _ELSEWHERE,
    "AuthorizationHeaderMalformed": _ELSEWHERE,
    "QuotaExceeded": "the bucket's quota is used up",
    "InvalidObjectState": "the object is archived; restore it first",
}
_YOURS_BY_STATUS = {
    301: _ELSEWHERE,
    401: "the server refuses these credentials",
    403: "access is denied; the credentials may be wrong or expired, or lack this permission",
    404: "there is no such bucket or object",
}
_MAY_PASS = {
    "SlowDown",
    "RequestTimeout",
    "BadDigest",
    "InternalError",
    "ServiceUnavailable",
    "Throttling",
    "ThrottlingException",
    "OperationAborted",
}
_MAY_PASS_STATUS = {408, 409, 412, 429}
_NOT_IMPLEMENTED = 501


def trouble_of_answer(code: str, status: int, where: str) -> DubflowError:
    """The error to raise for an answer with this S3 error code (may be empty) and HTTP status about `where`."""
    shown = f"({code if re.fullmatch(r'[A-Za-z0-9.]{1,64}', code) else 'no code'}, HTTP {status})"
    if code in _YOURS:
        return InputError(f"{where}: {_YOURS[code]} {shown}.")
    if code in _MAY_PASS or status in _MAY_PASS_STATUS or (status >= 500 and status != _NOT_IMPLEMENTED):
        return TransientError(f"The S3 server is in trouble with {where} {shown}, also after retries.")
    if status in _YOURS_BY_STATUS:
        return InputError(f"{where}: {_YOURS_BY_STATUS[status]} {shown}.")
    return OurTroubleError(f"The S3 server refused what was asked of it for {where} {shown}.")
