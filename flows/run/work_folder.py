"""Which folder a run works in."""

from pathlib import Path

from infra.errors import InputError
from infra.settings import get_settings
from infra.storage_keys import FolderLocation, parse_location, redact
from tasks.types import EpisodeRequest, SeasonRequest


def work_folder_of(request: EpisodeRequest | SeasonRequest) -> Path:
    """The folder for artifacts, fetched inputs and logs: as asked, else as the settings say. Raises InputError for what can be none."""
    if request.work is None:
        return get_settings().work_folder
    location = parse_location(request.work)
    if not isinstance(location, FolderLocation):
        raise InputError(f"--work {redact(request.work)}: give a local folder.")
    if location.path.exists() and not location.path.is_dir():
        raise InputError(f"--work {location.path} is a file; a folder is needed here.")
    return location.path
