"""Clips as they arrive, PERSON/clip.* in a folder or under an S3 prefix: which of them can be learnt from, and why not the others."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import numpy as np
import soxr
from pydantic import Field

from infra.artifacts import ArtifactStore
from infra.durable import sha256_of_file
from infra.errors import InputError
from infra.scan import scan
from infra.storage import Storage, open_storage
from infra.storage_keys import FolderLocation, check_key, is_key, parse_location, redact
from infra.video import read_audio
from tasks.types import Record
from training.clips import MIN_FRAMES, SUFFIXES
from training.fingerprint import SURE_WORDS, WORDS_PER_S, fingerprint
from training.rights import RIGHTS, Rights, read_rights, refuse_unknown, rights_of, write_rights
from wav2lip_core.mel import SAMPLE_RATE_HZ

QUIET = 1e-3  # root mean square of a voice in [-1, 1]; -60 dB is silence
MAX_CLIPS = 100_000
NUM_PHASES = 4  # a fingerprint has a word every 12.5 ms; a copy that was cut lies anywhere between


class RawClip(Record):
    """A clip that can be learnt from, as it was given. Its bytes lie in the registry under clips/."""

    person: str
    name: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    num_bytes: int
    duration_s: float
    licence: str = ""  # its own, where rights.csv names it; else that of all
    consent: str = ""
    recording: tuple[str, ...]  # fingerprints of its sound, uint16 words in base 85; each begins 3 ms after the one before

    @property
    def key(self) -> str:
        return f"clips/{self.sha256}{Path(self.name).suffix.lower()}"

    @property
    def label(self) -> str:
        return f"{self.person}/{self.name}"

    def fingerprints(self) -> list[np.ndarray]:
        """uint16 (n,) for each phase."""
        return [np.frombuffer(base64.b85decode(text), "<u2").astype(np.uint16) for text in self.recording]

    def why_unknowable(self) -> str | None:
        """Why a copy of it could not be known for one, in words; None where it could."""
        num_heard = int(np.count_nonzero(self.fingerprints()[0]))
        if num_heard >= SURE_WORDS:
            return None
        return f"it holds {num_heard / WORDS_PER_S:.1f} s of sound to know it by, {SURE_WORDS / WORDS_PER_S:.1f} s are needed"


class Intake(Record):
    """What was found. refused: PERSON/clip -> why."""

    clips: tuple[RawClip, ...]
    refused: dict[str, str]

    @property
    def duration_s(self) -> float:
        return sum(clip.duration_s for clip in self.clips)

    @property
    def people(self) -> tuple[str, ...]:
        return tuple(sorted({clip.person for clip in self.clips}))

    def describe(self) -> str:
        """How many, how long, whose; and the first reasons why not the others."""
        first = "; ".join(f"{label}: {why}" for label, why in list(self.refused.items())[:4])
        more = f"; and {len(self.refused) - 4} more" if len(self.refused) > 4 else ""
        usable = f"{len(self.clips)} clips of {len(self.people)} people usable, {self.duration_s:.1f} s"
        return f"{usable}, {len(self.refused)} not" + (f" ({first}{more})" if first else "")


@contextmanager
def clips_at(place: str, work_folder: Path) -> Iterator[Path]:
    """A local folder with what lies at a folder or s3:// prefix; downloaded clips are removed in the end. Raises InputError if there is none."""
    location = parse_location(place)
    if isinstance(location, FolderLocation):
        if not location.path.is_dir():
            raise InputError(f"{redact(place)} is no folder. Give a folder or s3:// prefix that holds PERSON/clip.mp4 and the like.")
        yield location.path
        return
    storage = open_storage(place)
    store = ArtifactStore(work_folder / "artifacts")
    store.root.mkdir(parents=True, exist_ok=True)
    with store.scratch() as folder:
        for key in (*clip_keys(storage), *((RIGHTS,) if storage.exists(RIGHTS) else ())):
            storage.get(key, folder / key)
        yield folder


def clip_keys(storage: Storage) -> list[str]:
    """The keys PERSON/clip.* in a storage, sorted."""
    keys = [key for key in storage.list() if key.count("/") == 1 and Path(key).suffix.lower() in SUFFIXES]
    if len(keys) > MAX_CLIPS:
        raise InputError(f"{storage.describe('')} holds {len(keys)} clips; at most {MAX_CLIPS} come in at once. Split it.")
    return keys


def take_in(folder: Path) -> Intake:
    """Look at every PERSON/clip.* in a folder: decoded to the end once, its sound listened to. Nothing is written.

    Raises InputError for a rights.csv that says too little or names what is not there.
    """
    clips: list[RawClip] = []
    refused: dict[str, str] = {}
    seen: dict[str, str] = {}
    paths = {f"{path.parent.name}/{path.name}": path for path in sorted(folder.glob("*/*")) if path.suffix.lower() in SUFFIXES}
    table = read_rights(open_storage(folder))
    refuse_unknown(table, paths, RIGHTS)
    for label, path in paths.items():
        try:
            clip = _examine(path)
        except InputError as error:
            refused[label] = str(error).replace(str(folder), "").strip("/")
            continue
        if clip.sha256 in seen:
            refused[label] = f"the same file as {seen[clip.sha256]}"
            continue
        seen[clip.sha256] = label
        own = rights_of(table, label, Rights("", ""))
        clips.append(clip.model_copy(update={"licence": own.licence, "consent": own.consent}))
    return Intake(clips=tuple(clips), refused=refused)


def store_clips(storage: Storage, folder: Path, clips: tuple[RawClip, ...]) -> None:
    """Copy clips into the registry under their digests."""
    for clip in clips:
        storage.put_if_absent(folder / clip.person / clip.name, clip.key)


def fetch_clips(storage: Storage, clips: tuple[RawClip, ...], folder: Path) -> Path:
    """Clips as FOLDER/PERSON/NAME, each checked against its digest, with a rights.csv where some have terms of their own; what is there and right
    stays. Raises InputError for a clip that was altered."""
    own = {clip.label: Rights(clip.licence, clip.consent) for clip in clips if clip.licence}
    folder.mkdir(parents=True, exist_ok=True)
    if own:
        write_rights(folder / RIGHTS, own)
    for clip in clips:
        path = folder / check_key(clip.label)
        if path.is_file() and sha256_of_file(path) == clip.sha256:
            continue
        storage.get(clip.key, path)
        if sha256_of_file(path) != clip.sha256:
            path.unlink()
            raise InputError(f"{storage.describe(clip.key)} was altered: it is not the clip {clip.label} that was stored.")
    return folder


def digest_of_clips(clips: tuple[RawClip, ...]) -> str:
    """sha256 over whose clips these are and what is in them, whatever their order and names."""
    return sha256("\n".join(sorted(f"{clip.person}\t{clip.sha256}" for clip in clips)).encode()).hexdigest()


def _examine(path: Path) -> RawClip:
    if not is_key(f"{path.parent.name}/{path.name}"):
        raise InputError("its name cannot be kept: no control characters, at most 255 bytes")
    facts = scan(path)
    if facts.is_truncated or facts.num_damaged:
        raise InputError(f"cut short or damaged: {len(facts.pts)} frames decode, {facts.num_damaged} packets do not")
    if len(facts.pts) < MIN_FRAMES:
        raise InputError(f"only {len(facts.pts)} frames; {MIN_FRAMES} is the least")
    if not facts.audio:
        raise InputError("frames without sound")
    samples, rate_hz, _ = read_audio(path)
    if not samples.size:
        raise InputError("frames without sound: the track is empty")
    voice = samples.mean(axis=1)
    if not np.isfinite(voice).all():
        raise InputError("its sound holds values that are no numbers")
    if float(np.sqrt(np.mean(np.square(voice, dtype=np.float64)))) < QUIET:
        raise InputError("frames without sound: the track is silent")
    sound = soxr.resample(voice, rate_hz, SAMPLE_RATE_HZ).astype(np.float32)
    phase = SAMPLE_RATE_HZ // WORDS_PER_S // NUM_PHASES
    phases = [fingerprint(sound[number * phase :]) for number in range(NUM_PHASES)]
    return RawClip(
        person=path.parent.name,
        name=path.name,
        sha256=sha256_of_file(path),
        num_bytes=path.stat().st_size,
        duration_s=round(len(facts.pts) / float(facts.fps), 3),
        recording=tuple(base64.b85encode(words.astype("<u2").tobytes()).decode() for words in phases),
    )
