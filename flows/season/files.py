"""Where the files of a season's table lie, and whether they are there: looked up once each, and folder by folder where they are in a bucket."""

import posixpath
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from infra.errors import InputError
from infra.storage import open_storage
from infra.storage_keys import FolderLocation, S3Location, parse_location, redact

FEW = 3  # so many objects of one folder are asked for one by one; of more, the folder is listed


@dataclass
class FileFinder:
    """base: the folder or s3:// prefix that paths in the table start from."""

    base: str
    _troubles: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def beside(manifest: str) -> "FileFinder":
        """Paths start from where the manifest lies. Raises InputError."""
        location = parse_location(manifest)
        if isinstance(location, FolderLocation):
            return FileFinder(str(location.path.parent))
        return FileFinder(f"s3://{location.bucket}/{posixpath.dirname(location.key)}".rstrip("/"))

    def resolve(self, text: str) -> str:
        """A cell as an absolute path or URI. Raises InputError for what can be neither."""
        if "://" in text or text[:5].lower() == "file:" or Path(text).is_absolute() or text.startswith("~"):
            location = parse_location(text)
            return str(location.path) if isinstance(location, FolderLocation) else text
        base = parse_location(self.base)
        if isinstance(base, FolderLocation):
            return str(parse_location(posixpath.normpath(f"{base.path}/{text}")).path)  # type: ignore[union-attr]
        key = posixpath.normpath(posixpath.join(base.key, text))
        if key == ".." or key.startswith("../"):
            raise InputError(f"{redact(text)} leads out of the bucket.")
        parse_location(f"s3://{base.bucket}/{key}")
        return f"s3://{base.bucket}/{key}"

    def look_for(self, paths: Iterable[str]) -> None:
        """Find out about many at once; trouble_with() then knows."""
        in_buckets: dict[tuple[str, str], set[str]] = defaultdict(set)
        for path in set(paths) - self._troubles.keys():
            location = parse_location(path)
            if isinstance(location, S3Location):
                folder, _, name = location.key.rpartition("/")
                in_buckets[location.bucket, folder].add(name)
            elif location.path.is_file():
                self._troubles[path] = ""
            else:
                self._troubles[path] = f"{redact(path)} {'is not a regular file' if location.path.exists() else 'does not exist'}."
        for (bucket, folder), names in in_buckets.items():
            self._look_in_bucket(f"s3://{bucket}/{folder}".rstrip("/"), names)

    def trouble_with(self, path: str) -> str:
        """Why this file cannot be used, or an empty text."""
        if path not in self._troubles:
            self.look_for([path])
        return self._troubles[path]

    def _look_in_bucket(self, folder: str, names: set[str]) -> None:
        try:
            storage = open_storage(folder)
            there = {name for name in names if storage.exists(name)} if len(names) <= FEW else names & set(storage.list())
        except InputError as error:
            self._troubles |= {f"{folder}/{name}": str(error) for name in names}
            return
        for name in names:
            path = f"{folder}/{name}"
            self._troubles[path] = "" if name in there else f"There is no object {redact(path)}."
