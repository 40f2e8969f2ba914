"""Addresses for a page that is opened by a presigned link: relative ones would lose the signature, so each file's own is written into the page."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlsplit

from infra.storage import Storage


@dataclass(frozen=True)
class PageLinks:
    """Presigned addresses by path under OUT/ID, and until when they hold. Secrets: for the page, never for a log. Empty: paths are enough."""

    urls: Mapping[str, str] = field(default_factory=dict, repr=False)
    until: str = ""

    def href(self, path: str) -> str:
        """What a link of the overview page leads to."""
        return self.urls.get(path) or quote(path)

    def below(self, folder: str) -> dict[str, str]:
        """The addresses of what lies in a language's folder, by the path from there."""
        return {path.removeprefix(f"{folder}/"): url for path, url in self.urls.items() if path.startswith(f"{folder}/")}

    @property
    def notice(self) -> str:
        """What the reader of a page should know of its links; empty where there is nothing to know."""
        return self.until and f"The links on this page hold until {self.until}. After that, make the report again: what is finished is found."

    @property
    def origins(self) -> list[str]:
        """The servers that the addresses lead to, as a content security policy names them."""
        parts = {urlsplit(url)[:2] for url in self.urls.values()}
        return sorted(f"{scheme}://{place}" for scheme, place in parts)


NO_LINKS = PageLinks()


@dataclass(frozen=True)
class LinkMaker:
    """Makes links to what is published under a prefix of a store. Holds no secret; picklable."""

    storage: Storage
    prefix: str  # OUT/ID/ as a key
    hours: float

    def links_to(self, paths: Iterable[str]) -> PageLinks:
        """Links to these paths, which need not be there yet. None are made where the store has no addresses: a folder."""
        until = datetime.now(UTC) + timedelta(hours=self.hours)
        urls = {path: self.storage.link(self.prefix + path, self.hours * 3600) for path in paths}
        found = {path: url for path, url in urls.items() if url}
        return PageLinks(found, until.strftime("%Y-%m-%d %H:%M UTC")) if found else NO_LINKS
