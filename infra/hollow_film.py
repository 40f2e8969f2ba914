"""A film in a bucket on this disk without its pictures: what is needed to carry over its other streams, its chapters and its labels."""

from pathlib import Path

from av.container import InputContainer

from infra.container import open_container
from infra.declared import pick_video_stream
from infra.durable import disk_errors
from infra.ranged_file import RangedFile
from infra.sources import PinnedObject, local_copy, pinned_object

NUM_KEPT = 64  # coded pictures at the beginning: FFmpeg looks at some to know what it has
COPY_BYTES = 1 << 20


def without_pictures(source: str, folder: Path) -> Path:
    """A local file with everything of the film but the coded pictures of its film stream, which are holes; a local film is given as it is.

    For MP4 and MOV, which say where each picture lies. Of other formats the whole film is fetched (see local_copy). Errors as of RangedFile.
    """
    pinned = pinned_object(source)
    if pinned is None:
        return Path(source)
    with open_container(source) as container:
        if "mp4" not in container.format.name:
            return local_copy(source)
        holes = _pictures(container, source)
    path = folder / f"hollow{Path(pinned.key).suffix}"
    with disk_errors("copying the film's other streams", folder):
        _write_around(path, pinned, holes)
    return path


def _pictures(container: InputContainer, source: str) -> list[tuple[int, int]]:
    """(first byte, end) of the film stream's coded pictures, in the order of the file; only those that the index names."""
    entries = list(pick_video_stream(container, source).index_entries)[NUM_KEPT:]
    return sorted((entry.pos, entry.pos + entry.size) for entry in entries if entry.size > 0)


def _write_around(path: Path, pinned: PinnedObject, holes: list[tuple[int, int]]) -> None:
    reader, at = RangedFile(pinned), 0
    with open(path, "xb") as file:
        file.truncate(pinned.num_bytes)
        for first, end in [*holes, (pinned.num_bytes, pinned.num_bytes)]:
            while at < first:
                reader.seek(at)
                file.seek(at)
                at += file.write(reader.read(min(COPY_BYTES, first - at)))
            at = max(at, end)
