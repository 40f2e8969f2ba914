"""Prepared clips as files that stream: WebDataset tars of JPEG crops and FLAC voice, an index beside them; or single .npz files.

What the encoding loses: crops are JPEG of quality 97 without chroma subsampling (46 dB on real faces against the crops that were cut), the voice
is 16 bits a sample (96 dB). Both are below what augmentation adds. A minute of one face is about 20 MB instead of 100 MB.
"""

import io
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
import soundfile
from pydantic import BaseModel, ConfigDict, ValidationError
from webdataset.tariterators import group_by_keys, tar_file_expander
from webdataset.writer import TarWriter

from infra.durable import disk_errors, publish, sha256_of_file, sync_file
from infra.errors import InputError
from infra.scratch import new_scratch_name, sweep_dead_scratch
from infra.storage import open_storage
from infra.storage_keys import FolderLocation, parse_location
from training.dataset import FPS, PREPARED_SIZE, Clip
from wav2lip_core.mel import COLUMNS_PER_S, HOP, SAMPLE_RATE_HZ, WINDOW_COLUMNS, log_mel

INDEX = "index.jsonl"
JPEG_QUALITY = 97
SHARD_BYTES = 256 << 20
MAX_FRAMES = 100_000
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]


class Entry(BaseModel):
    """One clip of the index: who, where it lies, where it comes from and what may be done with it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str  # begins the sha256
    sha256: str  # of the crops and the voice as encoded
    shard: str  # file name
    person: str
    num_frames: int  # at 25 fps
    num_windows: int
    source: str  # file name under the folder it was prepared from
    source_sha256: str
    start_s: float = 0.0  # of the clip in its source
    licence: str
    consent: str
    offset_frames: int | None = None  # of the sound, found and removed; None: nobody looked
    margin: float | None = None  # how sure the expert was
    fingerprint: str = ""  # hex of training.fingerprint's words, to know the recording again

    def words(self) -> np.ndarray:
        """The fingerprint, uint16 (m,)."""
        return np.frombuffer(bytes.fromhex(self.fingerprint), "<u2")


def count_windows(num_frames: int, num_samples: int) -> int:
    """Start frames for which five frames and sixteen mel columns exist."""
    num_columns = 1 + num_samples // HOP
    return min(num_frames - 5, int((num_columns - WINDOW_COLUMNS) * FPS / COLUMNS_PER_S)) + 1


# -- one clip


def encode_clip(crops: np.ndarray, voice: np.ndarray) -> tuple[bytes, bytes]:
    """crops uint8 (n, 144, 144, 3) BGR and voice float32 (m,) at 16 kHz -> JPEGs behind a table of their lengths, FLAC."""
    pictures = [cv2.imencode(".jpg", crop, _JPEG)[1].tobytes() for crop in crops]
    lengths = np.array([len(pictures), *map(len, pictures)], "<u4").tobytes()
    sound = io.BytesIO()
    soundfile.write(sound, np.clip(voice, -1, 1), SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    return lengths + b"".join(pictures), sound.getvalue()


def decode_clip(pictures: bytes, sound: bytes) -> tuple[np.ndarray, np.ndarray]:
    """The other way round. Raises ValueError for bytes that encode_clip did not write."""
    num_frames = int(np.frombuffer(pictures, "<u4", 1)[0])
    if num_frames > MAX_FRAMES:
        raise ValueError(f"{num_frames} pictures in one clip")
    lengths = np.frombuffer(pictures, "<u4", num_frames, 4)
    ends = 4 + 4 * num_frames + np.cumsum(lengths, dtype=np.int64)
    if len(pictures) != ends[-1]:
        raise ValueError("the pictures are cut short")
    parts = (np.frombuffer(pictures, np.uint8, length, end - length) for length, end in zip(lengths.tolist(), ends.tolist(), strict=True))
    crops = [crop for part in parts if (crop := cv2.imdecode(part, cv2.IMREAD_COLOR)) is not None]
    if len(crops) != num_frames or any(crop.shape != (PREPARED_SIZE, PREPARED_SIZE, 3) for crop in crops):
        raise ValueError("a picture is damaged")
    voice, rate = soundfile.read(io.BytesIO(sound), dtype="float32")
    if rate != SAMPLE_RATE_HZ or voice.ndim != 1:
        raise ValueError(f"the voice is {rate} Hz with {voice.ndim} dimensions")
    return np.stack(crops), voice


# -- writing


class ShardWriter:
    """Writes clips into FOLDER/clips-00000.tar, ... and FOLDER/index.jsonl. Nothing is seen before `close`; equal clips make equal files."""

    def __init__(self, folder: Path, shard_bytes: int = SHARD_BYTES) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        sweep_dead_scratch(folder)
        self.folder, self.shard_bytes = folder, shard_bytes
        self._scratch = folder / new_scratch_name()
        self._scratch.mkdir()
        self._names: list[str] = []
        self._tar: TarWriter | None = None
        self._num_bytes = 0

    def add(self, pictures: bytes, sound: bytes, **facts) -> Entry:
        """One encoded clip with the facts of its Entry."""
        digest = clip_digest(pictures, sound)
        if self._tar is None or self._num_bytes + len(pictures) + len(sound) > self.shard_bytes:
            self._next_shard()
        assert self._tar is not None
        entry = Entry(key=digest[:16], sha256=digest, shard=self._names[-1], **facts)
        self._tar.write({"__key__": entry.key, "json": entry.model_dump_json().encode(), "jpgs": pictures, "flac": sound})
        self._num_bytes += len(pictures) + len(sound)
        return entry

    def _next_shard(self) -> None:
        if self._tar is not None:
            self._tar.close()
        self._names.append(f"clips-{len(self._names):05d}.tar")
        self._tar, self._num_bytes = TarWriter(str(self._scratch / self._names[-1]), encoder=False, mtime=0), 0

    def close(self, entries: Iterable[Entry]) -> None:
        """Give the shards their names, and last write the index, which says what counts. Raises TransientError when the disk is full."""
        with disk_errors("writing prepared clips", self.folder):
            if self._tar is not None:
                self._tar.close()
            index = self._scratch / INDEX
            index.write_text("".join(entry.model_dump_json() + "\n" for entry in entries), encoding="utf-8")
            for name in (*self._names, INDEX):
                sync_file(self._scratch / name)
                publish(self._scratch / name, self.folder / name)
            self._scratch.rmdir()
            for path in self.folder.glob("clips-*.tar"):
                if path.name not in self._names:  # of an earlier, larger set
                    path.unlink()

    def abandon(self) -> None:
        """Leave the folder as it was."""
        if self._tar is not None:
            self._tar.close()
        shutil.rmtree(self._scratch, ignore_errors=True)


def clip_digest(pictures: bytes, sound: bytes) -> str:
    """What a clip is known by: sha256 of its encoded pictures and voice."""
    return sha256(sha256(pictures).digest() + sha256(sound).digest()).hexdigest()


# -- reading


def list_entries(data: str | Path) -> tuple[Entry, ...]:
    """All clips of prepared data, a folder or an S3 prefix. Raises InputError where there are none or the index is damaged."""
    storage = open_storage(data)
    if not storage.exists(INDEX):
        entries = _npz_entries(data)
        if not entries:
            raise InputError(f"{data} holds no prepared clips (no {INDEX}, no .npz). Run: dub data prepare FOLDER --out {data}")
        return entries
    try:
        return tuple(Entry.model_validate_json(line) for line in storage.read_bytes(INDEX).decode().splitlines())
    except (ValidationError, UnicodeDecodeError) as error:
        raise InputError(f"{storage.describe(INDEX)} is damaged: {str(error).splitlines()[0]}. Prepare the clips again.") from error


def read_shard(data: str | Path, name: str, people: Mapping[str, str]) -> Iterator[Clip]:
    """The clips of a shard whose key is in `people` (key -> person), one in memory at a time. Raises InputError if it is gone or damaged."""
    with _local(data, name) as path:
        if name.endswith(".npz"):
            if path.stem in people:
                yield _npz_clip(path)
            return
        # WebDataset's own opener would run what a name tells it to; here it gets an open file.
        with path.open("rb") as stream:
            try:
                for sample in group_by_keys(tar_file_expander(iter([{"url": name, "stream": stream}]))):
                    if sample["__key__"] in people:
                        crops, voice = decode_clip(sample["jpgs"], sample["flac"])
                        yield Clip(people[sample["__key__"]], sample["__key__"], crops, log_mel(voice))
            except (ValueError, KeyError, OSError, EOFError, tarfile.TarError, soundfile.SoundFileError) as error:
                raise InputError(f"{data}/{name} is damaged: {error}. Prepare the clips again.") from error


@contextmanager
def _local(data: str | Path, name: str) -> Iterator[Path]:
    """The shard as a local file; one that had to be fetched is removed afterwards."""
    location = parse_location(data)
    if isinstance(location, FolderLocation):
        path = location.path / name
        if not path.is_file():
            raise InputError(f"{path} is missing, though the index names it. Prepare the clips again.")
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="dubflow-shard-") as folder:
        open_storage(data).get(name, Path(folder) / name)
        yield Path(folder) / name


def _npz_entries(data: str | Path) -> tuple[Entry, ...]:
    location = parse_location(data)
    paths = sorted(location.path.glob("*.npz")) if isinstance(location, FolderLocation) else []
    return tuple(_npz_entry(path, path.stat().st_mtime_ns) for path in paths)


@lru_cache(maxsize=100_000)
def _npz_entry(path: Path, _changed: int) -> Entry:
    shapes = _npz_shapes(path)
    digest, num_frames = sha256_of_file(path), shapes["crops"][0]
    return Entry(
        key=path.stem,
        sha256=digest,
        shard=path.name,
        person=path.name.split("__")[0],
        num_frames=num_frames,
        num_windows=count_windows(num_frames, shapes["audio"][0]),
        source=path.name,
        source_sha256=digest,
        licence="",
        consent="",
    )


def _npz_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of an .npz file's arrays, read without them."""
    shapes = {}
    try:
        with zipfile.ZipFile(path) as archive:
            for name in ("crops", "audio"):
                with archive.open(f"{name}.npy") as member:
                    version = np.lib.format.read_magic(member)
                    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                    shapes[name] = read(member)[0]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} is no prepared clip: {error}. Remove it, or prepare it again.") from error
    return shapes


def _npz_clip(path: Path) -> Clip:
    with np.load(path, allow_pickle=False) as arrays:
        return Clip(path.name.split("__")[0], path.stem, arrays["crops"], log_mel(arrays["audio"]))
