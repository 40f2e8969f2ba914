"""What a weights file really is, told from its bytes. Nothing is unpickled, inflated or run here, so any file may be asked about."""

import hashlib
import json
import pickletools
import stat
import struct
import zipfile
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import BinaryIO, Literal

Container = Literal["safetensors", "torch zip", "torch legacy"]

MAX_FILE_BYTES = 4 * 1024**3  # ten times the largest published checkpoint
MAX_HEADER_BYTES = 16 * 1024**2
MAX_PICKLE_BYTES = 64 * 1024**2
MAX_MEMBERS = 50_000
MAX_TUPLES = 20_000  # a published checkpoint with its optimiser has 5,000; each could nest the one before, and Python hashes tuples recursively

_ZIP, _ZIP_END = b"PK\x03\x04", b"PK\x05\x06"
_TORCH_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save's magic number before version 1.6, itself a pickle
_PLAIN_OPCODES = frozenset({  # what torch's own restricted unpickler knows, less making objects of a class
    "PROTO", "STOP", "GLOBAL", "REDUCE", "BUILD", "BINPERSID", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2",
    "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING", "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND",
    "APPENDS", "EMPTY_DICT", "SETITEM", "SETITEMS", "EMPTY_SET", "BINGET", "LONG_BINGET", "BINPUT", "LONG_BINPUT",
})  # fmt: skip
_PLAIN_GLOBALS = frozenset(
    ["collections OrderedDict", "torch Size", "torch device"]
    + [f"torch._utils {name}" for name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter")]
    + [f"torch {name}Storage" for name in ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")]
)
_SAVE_WEIGHTS_ONLY = "If you trust where it came from, open it there and save only the weights: torch.save(model.state_dict(), 'weights.pth')"
_TORCHSCRIPT = (
    "is a TorchScript archive: a program with its weights, which dubflow does not run. If you trust where it came from, convert it: "
    "torch.save(torch.jit.load(FILE, map_location='cpu').state_dict(), 'weights.pth')"
)


class CheckpointError(ValueError):
    """A weights file that cannot be used. The message names the file, says what it is, and what to do."""


def recognise(path: Path) -> Container:
    """Which of the three containers a file is, after every check that needs no unpickling. Raises CheckpointError for anything else.

    A torch file passes only if its pickle builds nothing but tensors and plain containers, and (zip) if its members are stored
    uncompressed, are no larger together than the file, and match their checksums.
    """
    num_bytes = _size(path)
    with _opened(path) as file:
        head = file.read(1024)
        if head.startswith(_ZIP):
            _check_zip(path, file, num_bytes)
            return "torch zip"
        if head.startswith(_TORCH_LEGACY):
            file.seek(0)
            beginning = BytesIO(file.read(MAX_PICKLE_BYTES))  # in memory a length that lies cannot ask for more than is there
            for _ in range(5):  # magic number, protocol version, machine, the object, storage keys; then raw numbers
                check_pickle(path, beginning)
            return "torch legacy"
        if head[8:9] == b"{":
            _check_safetensors(path, file, num_bytes)
            return "safetensors"
    raise CheckpointError(f"{path} {_what_else(head, num_bytes)}")


def check_pickle(path: Path, stream: BytesIO) -> None:
    """Read one pickle's instructions up to its end without obeying them. Raises CheckpointError if they are damaged or do more than hold weights."""
    num_tuples = 0
    try:
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name == "GLOBAL" and argument not in _PLAIN_GLOBALS:
                asked = str(argument).replace(" ", ".")
                raise CheckpointError(
                    f"{path} asks to import {asked!r} while loading; only plain tensors are accepted and nothing was run. {_SAVE_WEIGHTS_ONLY}"
                )
            if opcode.name not in _PLAIN_OPCODES:
                raise CheckpointError(
                    f"{path} uses pickle instruction {opcode.name}, which weights do not need; nothing was run. {_SAVE_WEIGHTS_ONLY}"
                )
            num_tuples += opcode.name.startswith("TUPLE")
            if num_tuples > MAX_TUPLES:
                raise CheckpointError(f"{path} holds more than {MAX_TUPLES} tuples in one pickle: no weights file does")
    except CheckpointError:
        raise
    except (ValueError, IndexError, OverflowError, struct.error) as error:
        raise CheckpointError(f"{path} is damaged or truncated: {error}. Download it again") from error


def safetensors_metadata(path: Path) -> dict[str, str]:
    """The text entries of a checked safetensors file's header."""
    with path.open("rb") as file:
        (num_header_bytes,) = struct.unpack("<Q", file.read(8))
        metadata = json.loads(file.read(num_header_bytes)).get("__metadata__") or {}
    if not isinstance(metadata, dict):
        raise CheckpointError(f"{path} has a safetensors header whose metadata is no table")
    return metadata


def sha256_of(path: str | PathLike[str]) -> str:
    """Digest of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _size(path: Path) -> int:
    try:
        facts = path.stat()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be opened: {error.strerror}") from error
    if not stat.S_ISREG(facts.st_mode):
        raise CheckpointError(f"{path} is not a file")
    if not facts.st_size:
        raise CheckpointError(f"{path} is empty (0 bytes). Download it again")
    if facts.st_size > MAX_FILE_BYTES:
        raise CheckpointError(f"{path} has {facts.st_size} bytes; no network of dubflow's needs more than {MAX_FILE_BYTES}")
    return facts.st_size


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise CheckpointError(f"{path} cannot be opened: {error.strerror}") from error


def _check_zip(path: Path, file: BinaryIO, num_bytes: int) -> None:
    file.seek(max(0, num_bytes - 22))
    end = file.read()
    if not end.startswith(_ZIP_END) or end[20:] != b"\0\0":  # a comment or trailing bytes would let two readers see two archives
        raise CheckpointError(f"{path} begins as a torch (zip) checkpoint but is truncated or damaged at {num_bytes} bytes. Download it again")
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            _check_members(path, members, num_bytes)
            damaged = archive.testzip()
            if damaged:
                raise CheckpointError(f"{path} is damaged: member {damaged} does not match its checksum. Download it again")
            pickled = next(member for member in members if member.filename.partition("/")[2] == "data.pkl")
            if pickled.file_size > MAX_PICKLE_BYTES:
                raise CheckpointError(f"{path} has a table of contents of {pickled.file_size} bytes: no weights file does")
            check_pickle(path, BytesIO(archive.read(pickled)))
    except CheckpointError:
        raise
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError, struct.error, OSError) as error:
        raise CheckpointError(f"{path} is a damaged zip archive: {error}. Download it again") from error


def _check_members(path: Path, members: list[zipfile.ZipInfo], num_bytes: int) -> None:
    names = [member.filename for member in members]
    inner = [name.partition("/")[2] for name in names]
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        raise CheckpointError(f"{path} {_TORCHSCRIPT}")
    if "data.pkl" not in inner:
        shown = ", ".join(names[:3]) or "nothing"
        raise CheckpointError(f"{path} is a zip archive, but not of weights (it holds {shown}). If the weights are inside, unpack it first")
    if len(members) > MAX_MEMBERS:
        raise CheckpointError(f"{path} is a zip archive of {len(members)} members: no weights file has so many")
    packed = [member for member in members if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size]
    if packed or sum(member.file_size for member in members) > num_bytes:
        raise CheckpointError(f"{path} claims to hold more than its own {num_bytes} bytes (a zip bomb): torch never compresses weights")
    roots = {name.partition("/")[0] for name in names}
    if len({name.lower() for name in names}) < len(names) or len(roots) > 1 or min(member.header_offset for member in members):
        raise CheckpointError(f"{path} is damaged, or a zip archive that torch did not write: its members' names or places do not fit together")


def _check_safetensors(path: Path, file: BinaryIO, num_bytes: int) -> None:
    """The header's own shape; that tensors fill the file without gap or overlap is checked by the safetensors library."""
    file.seek(0)
    (num_header_bytes,) = struct.unpack("<Q", file.read(8))
    if num_header_bytes > MAX_HEADER_BYTES or num_header_bytes + 8 > num_bytes:
        raise CheckpointError(
            f"{path} looks like safetensors but is truncated or damaged: its header claims {num_header_bytes} of {num_bytes} bytes. Download it again"
        )

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len(dict(pairs)) < len(pairs):
            raise CheckpointError(f"{path} names a tensor twice in its safetensors header")
        return dict(pairs)

    try:
        header = json.loads(file.read(num_header_bytes), object_pairs_hook=unique)
    except CheckpointError:
        raise
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} has a damaged safetensors header: {error}. Download it again") from error
    ends = [entry["data_offsets"][1] for entry in header.values() if _has_offsets(entry)] if isinstance(header, dict) else []
    if max(ends, default=0) > num_bytes - 8 - num_header_bytes:
        raise CheckpointError(
            f"{path} is truncated: its header describes {8 + num_header_bytes + max(ends)} bytes, it has {num_bytes}. Download it again"
        )


def _has_offsets(entry: object) -> bool:
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    return isinstance(offsets, list) and len(offsets) == 2 and all(isinstance(offset, int) for offset in offsets)


def _what_else(head: bytes, num_bytes: int) -> str:
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<error")):
        return f"is a web page or server message of {num_bytes} bytes, not weights. Use the direct download link ('resolve' or 'raw', not 'blob')"
    if text.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer, not the weights. Run: git lfs pull"
    if head.startswith(b"\x80"):
        return f"is a Python pickle that torch did not write; it was not opened. {_SAVE_WEIGHTS_ONLY}"
    if head.startswith(b"\x1f\x8b"):
        return "is a gzip archive. Unpack it first"
    if head.startswith(_ZIP_END):
        return "is an empty zip archive"
    if all(byte >= 32 or byte in b"\t\r\n" for byte in head):
        return f"is a text of {num_bytes} bytes, not weights: {head[:60].decode('utf-8', 'replace')!r}"
    return f"is no weights file that dubflow knows (safetensors or torch.save); it begins with {head[:8].hex(' ')}"
