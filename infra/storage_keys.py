"""Where things are kept, as text from outside: paths and URIs in, checked locations out. Keys never leave their root."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from infra.errors import InputError
from infra.scratch import is_scratch_name

_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_MAX_KEY_BYTES = 900  # S3 allows 1024 together with the prefix
_MAX_NAME_BYTES = 255


@dataclass(frozen=True)
class FolderLocation:
    path: Path  # absolute


@dataclass(frozen=True)
class S3Location:
    bucket: str
    key: str  # may be empty


def redact(text: str) -> str:
    """The text fit for messages: no user and password of a URI, no query (a presigned URL's secret is there), no control characters."""
    shown = re.sub(r"(://)[^/\s]*@", r"\1***@", text)
    if _SCHEME.match(shown):
        shown = re.sub(r"[?#].*", "?***", shown, flags=re.DOTALL)
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in shown)[:300]


def parse_location(text: str | Path) -> FolderLocation | S3Location:
    """A folder or file path, a `file:` URI or `s3://BUCKET/KEY`. Raises InputError for everything else."""
    if isinstance(text, Path):
        return FolderLocation(_absolute(text))
    _check_text(text, "A path or URI")
    if text[:5].lower() == "file:":
        return FolderLocation(_path_of_file_uri(text))
    scheme = _SCHEME.match(text)
    if scheme is None:
        return FolderLocation(_absolute(Path(text)))
    if scheme["scheme"].lower() != "s3":
        raise InputError(f"{redact(text)}: {redact(scheme['scheme'])}:// is not supported. Give a path, a file: URI or s3://BUCKET/KEY.")
    bucket, _, key = text[scheme.end() :].partition("/")
    if not _BUCKET.fullmatch(bucket) or ".." in bucket:
        raise InputError(f"{redact(text)}: this is not a bucket name. Write s3://BUCKET/KEY; credentials belong in AWS_ACCESS_KEY_ID, not here.")
    key = key.rstrip("/")
    if key:
        check_key(key)
    return S3Location(bucket, key)


def check_key(key: str) -> str:
    """The key itself if it is a plain relative path like `fr/ep1.fr.mp4`. Raises InputError when it could leave its root or cannot be a file name."""
    _check_text(key, "A key")
    parts = key.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise InputError(f"{redact(key)}: a key is a relative path without empty parts, . or .. .")
    if "\\" in key:
        raise InputError(f"{redact(key)}: a key separates its parts by /, not by a backslash.")
    if len(key.encode()) > _MAX_KEY_BYTES or any(len(part.encode()) > _MAX_NAME_BYTES for part in parts):
        raise InputError(f"{redact(key)}: this key is too long.")
    if any(is_scratch_name(part) for part in parts):
        raise InputError(f"{redact(key)}: names like this are kept for unfinished files.")
    return key


def is_key(text: str) -> bool:
    """Whether check_key would accept it."""
    try:
        check_key(text)
    except InputError:
        return False
    return True


def _check_text(text: str, what: str) -> None:
    if not text:
        raise InputError(f"{what} is empty.")
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise InputError(f"{redact(text)}: {what.lower()} must not hold control characters.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(f"{redact(text)}: {what.lower()} must be valid Unicode.") from None


def _path_of_file_uri(text: str) -> Path:
    try:
        parts = urlsplit(text)
    except ValueError:
        raise InputError(f"{redact(text)}: not a well-formed file: URI.") from None
    if parts.netloc not in ("", "localhost"):
        raise InputError(f"{redact(text)}: a file: URI names no other host. Write file:///folder/file.")
    if parts.query or parts.fragment:
        raise InputError(f"{redact(text)}: write ? as %3F and # as %23 in a file: URI.")
    path = unquote(parts.path, errors="surrogateescape")
    _check_text(path, "The path of a file: URI")
    return _absolute(Path(path))


def _absolute(path: Path) -> Path:
    try:
        return path.expanduser().absolute()
    except RuntimeError:
        raise InputError(f"{redact(str(path))}: no such user's home folder.") from None
