"""Is there room? Asked before a film is fetched and before it is dubbed, so that a disk that is too small is told at once and not in the night."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.run import progress
from infra.container import container_length_s, open_container
from infra.declared import declared_rate, pick_video_stream
from infra.errors import InputError
from infra.s3_storage import S3Storage
from infra.settings import get_settings
from infra.storage import fetch, open_storage
from infra.storage_keys import FolderLocation, S3Location, parse_location, redact
from tasks.disk_needs import DiskNeeds, disk_needs
from tasks.types import DubRequest, Film


def fetch_if_room(text: str, into: Path) -> Path:
    """As infra.storage.fetch. Raises InputError before anything is fetched that does not fit."""
    location = parse_location(text)
    if isinstance(location, S3Location) and location.key:
        storage = open_storage(f"s3://{location.bucket}")
        assert isinstance(storage, S3Storage)
        stored = storage.find(location.key)
        free = _free(into)
        if stored is not None and stored.num_bytes > free and not (into / storage.local_name(location.key)).is_file():
            raise InputError(f"{redact(text)} takes {_gb(stored.num_bytes)}, but only {_gb(free)} are free for {into}. {_WHAT_TO_DO}")
    return fetch(text, into)


def refuse_without_room(request: DubRequest, film: Film, num_languages: int, artifacts: Path) -> None:
    """Raises InputError where what the dub will take does not fit. What of it is finished already is not counted again."""
    needs = disk_needs(film, num_languages, request.codec)
    for short in _too_small(request, needs, artifacts):
        needed = short.needed
        if artifacts in short.folders:
            needed -= min(finished_bytes(artifacts, film.sha256), needs.work)
        if needed > short.free:
            _tell(
                f"This dub is expected to take {_gb(needed)} in {' and '.join(map(str, short.folders))}, "
                f"but only {_gb(short.free)} are free there. {_WHAT_TO_DO}"
            )


def seems_to_fit(request: DubRequest, film: str, num_languages: int, artifacts: Path) -> bool:
    """Whether there is room for the dub by what the film's header says; also where it says nothing, or there is no film: that is told later."""
    try:
        with open_container(film) as container:
            stream = pick_video_stream(container, film)
            duration_s = container_length_s(container)
            fps = float(declared_rate(stream) or 25)
            pixel_format = stream.codec_context.pix_fmt or "yuv420p"
            declared = _Declared(stream.frames or round(duration_s * fps), stream.width, stream.height, pixel_format, duration_s)
    except InputError:
        return True
    return not list(_too_small(request, disk_needs(declared, num_languages, request.codec), artifacts))


@dataclass(frozen=True)
class _Declared:
    """A film's size in its header's words."""

    num_frames: int
    width: int
    height: int
    pixel_format: str
    duration_s: float


@dataclass(frozen=True)
class _Shortage:
    """Folders of one disk, and bytes there."""

    folders: tuple[Path, ...]
    needed: int
    free: int


def _too_small(request: DubRequest, needs: DiskNeeds, artifacts: Path) -> Iterator[_Shortage]:
    """The disks that a dub does not fit on, if nothing of it is finished."""
    out = parse_location(request.out)
    folders = {artifacts: needs.work}
    if isinstance(out, FolderLocation):
        folders[out.path] = needs.out
    for device, needed in _by_device(folders).items():
        here = tuple(folder for folder in folders if _device(folder) == device)
        if needed > (free := _free(here[0])):
            yield _Shortage(here, needed, free)


def finished_bytes(artifacts: Path, film_sha256: str) -> int:
    """Bytes of all that was made from this film and is kept."""
    found: dict[str, int] = {}
    for path in (artifacts / "records").glob("*/*.json"):
        try:
            text = path.read_text(encoding="utf-8")
            if film_sha256 in text:
                found.update(_artifacts(json.loads(text)))
        except (OSError, ValueError):  # removed at this moment, or damaged: it does not count
            continue
    return sum(found.values())


_WHAT_TO_DO = "Free some space, or choose other folders with --work and --out. DUBFLOW_DISK_CHECK=warn goes on all the same."


def _tell(text: str) -> None:
    if get_settings().disk_check == "refuse":
        raise InputError(text)
    progress.tell(progress.Said(text, is_warning=True))


def _artifacts(value: Any) -> Iterator[tuple[str, int]]:
    """(digest, bytes) of every artifact named in a JSON value."""
    if isinstance(value, dict):
        if {"sha256", "num_bytes", "media_type"} <= value.keys():
            yield str(value["sha256"]), int(value["num_bytes"])
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _artifacts(each)


def _by_device(folders: dict[Path, int]) -> dict[int, int]:
    needed: dict[int, int] = {}
    for folder, num_bytes in folders.items():
        needed[_device(folder)] = needed.get(_device(folder), 0) + num_bytes
    return needed


def _existing(folder: Path) -> Path:
    return next(each for each in (folder, *folder.parents) if each.exists())


def _device(folder: Path) -> int:
    return os.stat(_existing(folder)).st_dev


def _free(folder: Path) -> int:
    """Bytes that may still be written there."""
    return shutil.disk_usage(_existing(folder)).free


def _gb(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e8 else f"{num_bytes / 1e6:.1f} MB"
