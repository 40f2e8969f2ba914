"""Where clips to learn from may lie: PERSON/clip.* in a folder or under an S3 prefix, or in the approved shots of a finished episode."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from infra.settings import apply_environment
from infra.storage import open_storage
from infra.storage_keys import FolderLocation, parse_location
from training.intake import clips_at

MANIFEST = "manifest.json"  # flows.episode.manifest's, which needs Prefect and all of a dub to be imported


@dataclass(frozen=True)
class Clips:
    """folder: holds PERSON/clip.*; left_out: what of an episode is not in it -> why."""

    folder: Path
    left_out: dict[str, str] = field(default_factory=dict)


@contextmanager
def clips_of(place: str, work_folder: Path) -> Iterator[Clips]:
    """A local folder with the clips of a place; what was fetched or written for it is removed in the end. Raises InputError if there is none."""
    if not is_episode(place):
        with clips_at(place, work_folder) as folder:
            yield Clips(folder)
        return
    apply_environment()
    from flows.learning.reviewed_shots import write_reviewed_clips
    from flows.run.work_store import work_store

    with work_store(work_folder) as store, store.scratch() as folder:
        yield Clips(folder, write_reviewed_clips(place, store, work_folder / "inputs", folder).left_out)


def is_episode(place: str) -> bool:
    """Whether this is OUT/ID of a published episode."""
    location = parse_location(place)
    if isinstance(location, FolderLocation) and not location.path.is_dir():
        return False
    storage = open_storage(place)
    return storage.exists(MANIFEST) and b'"episode_id"' in storage.read_bytes(MANIFEST)
