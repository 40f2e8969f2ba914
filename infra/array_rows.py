"""Reads an array of an .npz file row by row, so that memory stays flat however long a shot is."""

import os
import struct
import zipfile
from pathlib import Path
from types import TracebackType

import numpy as np

from infra.array_headers import read_header_safely
from infra.errors import CorruptArtifactError

_LOCAL_HEADER = struct.Struct("<26x2H")  # a zip member's: the lengths of its name and of its extra field, at the end


class ArrayRows:
    """The rows (first axis) of one array of an uncompressed .npz, each read when asked for; close() it, or use it with `with`.

    shape: of the whole array. Only plain numbers are read, nothing is unpickled. Raises CorruptArtifactError when there is no such array or it has
    another form.
    """

    def __init__(self, path: Path, name: str):
        try:
            with zipfile.ZipFile(path) as archive:
                member = archive.getinfo(f"{name}.npy")
                if member.compress_type != zipfile.ZIP_STORED:
                    raise ValueError("it is compressed")
            self._file = path.open("rb")
        except (KeyError, ValueError, zipfile.BadZipFile) as error:
            raise CorruptArtifactError(f"{path}: array {name!r} cannot be read: {error}") from error
        try:
            self._file.seek(member.header_offset)
            name_length, extra_length = _LOCAL_HEADER.unpack(self._file.read(_LOCAL_HEADER.size))
            self._file.seek(name_length + extra_length, os.SEEK_CUR)
            self._begins = self._file.tell()
            self.shape, is_fortran, self._dtype = read_header_safely(self._header)
            if is_fortran or self._dtype.hasobject or not self.shape:
                raise ValueError("it is no C-ordered array of numbers")
            self._row_bytes = int(np.prod(self.shape[1:], dtype=np.int64)) * self._dtype.itemsize
            self._start = self._file.tell()
        except (ValueError, struct.error) as error:
            self._file.close()
            raise CorruptArtifactError(f"{path}: array {name!r} cannot be read: {error}") from error

    def _header(self) -> tuple[tuple[int, ...], bool, np.dtype]:
        self._file.seek(self._begins)
        version = np.lib.format.read_magic(self._file)
        return (np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0)(self._file)

    def __enter__(self) -> "ArrayRows":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()

    def __getitem__(self, row: int) -> np.ndarray:
        """Row `row` (0 <= row < shape[0]), a copy."""
        if not 0 <= row < self.shape[0]:
            raise IndexError(f"row {row} of {self.shape[0]}")
        self._file.seek(self._start + row * self._row_bytes)
        data = self._file.read(self._row_bytes)
        return np.frombuffer(data, self._dtype).reshape(self.shape[1:]).copy()
