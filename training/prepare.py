"""Raw films of people speaking -> prepared clips that training can trust: sound in place, nothing twice, everybody's licence and consent kept."""

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path, PurePosixPath

import numpy as np
from pydantic import BaseModel, ConfigDict

from infra.durable import disk_errors, sha256_of_file
from infra.errors import DubflowError, InputError, TransientError
from infra.storage import open_storage
from infra.storage_keys import FolderLocation, parse_location
from training import dataset, shards
from training.clips import SUFFIXES, FindFaces, PreparedClip, UnusableClipError, find_one_face, prepare_film
from training.fingerprint import KnownRecordings, fingerprint
from training.measures import best_offset, similarities
from training.rights import RIGHTS, Rights, Table, read_rights, refuse_unknown, rights_of
from wav2lip_core.checkpoint import CheckpointError, load_sync_expert
from wav2lip_core.face_detector import open_detector
from wav2lip_core.likeness import group, looks
from wav2lip_core.mel import log_mel
from wav2lip_core.speech import FRAMES_PER_S, speech_activity
from wav2lip_core.sync_expert import SyncExpert

logger = logging.getLogger(__name__)

REPORT = "report.json"
MAX_OFFSET = 6  # frames; sound further off was cut or dubbed, not merely late
TOLERATED_OFFSET = 1  # the expert's own error: moving the sound by it would do no good
MIN_MARGIN = 0.13  # of the expert. Measured on GRID: own sound 0.16 and up, another clip's sound 0.10 in the median, 0.19 at most in 19 of 20
MIN_USABLE = 2  # clips; fewer teach nothing
MIN_SPEECH_S = 0.4
SAME_PERSON = 0.8  # likeness from which two faces without a label are one person: rather one too few than one too many
NUM_LOOKS = 9


class PrepareReport(BaseModel):
    """What became of raw clips. refused: file (or file@seconds) -> why; corrected: file -> frames its sound was moved by."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_usable: int
    refused: dict[str, str]
    people: dict[str, int]  # number of clips
    shards: dict[str, str]  # file name -> sha256
    digest: str  # of all clips together
    speech_s: float
    corrected: dict[str, int]
    licence: str
    consent: str


def prepare_clips(
    source: str | Path,
    out: Path,
    *,
    expert: Path | None,
    licence: str,
    consent: str,
    find_faces: FindFaces | None = None,
    min_usable: int = MIN_USABLE,
) -> PrepareReport:
    """Prepare PERSON/film.* under a folder or S3 prefix into shards in `out`, with an index and report.json.

    expert: looks whether sound and lips agree: sound that is off by up to six frames is moved into place, other clips are refused; None takes the
    clips as they are. Films that lie in no person's folder get people by likeness. find_faces: where the faces are; by default one face from
    beginning to end. licence, consent: of every clip that a rights.csv beside the clips does not name. Raises InputError when fewer than
    `min_usable` clips are usable, with the reasons, and leaves `out` as it was.
    """
    if not licence.strip() or not consent.strip():
        raise InputError("State the clips' licence and how the people in them agreed: both are kept with every clip.")
    finder = find_faces or find_one_face(open_detector("dlib"))
    judge = None if expert is None else _expert(expert)
    work = _Preparation(judge, Rights(licence, consent), read_rights(open_storage(source)))
    with disk_errors("preparing clips", out):
        writer = shards.ShardWriter(out)
    try:
        for name, path in _films(source):
            work.take_film(name, path, finder, writer)
        if len(work.entries) < min_usable:
            raise InputError(_too_little(source, len(work.entries), work.refused, min_usable))
        entries = work.with_people()
        writer.close(entries)
    except BaseException:
        writer.abandon()
        raise
    return _reported(out, entries, work, licence, consent)


class _Preparation:
    """What is known so far. Clips are written as they come; which of them are kept is known at the end."""

    def __init__(self, judge: SyncExpert | None, otherwise: Rights, rights: Table) -> None:
        self.judge, self.otherwise, self.rights = judge, otherwise, rights
        self.refused: dict[str, str] = {}
        self.corrected: dict[str, int] = {}
        self.speech_s: dict[str, float] = {}
        self.looks: dict[str, np.ndarray] = {}
        self.names: dict[str, str] = {}
        self.entries: list[shards.Entry] = []
        self._films: dict[str, str] = {}
        self._recordings = KnownRecordings()

    def take_film(self, name: str, path: Path, find_faces: FindFaces, writer: shards.ShardWriter) -> None:
        """Write the film's usable clips; note why others are not."""
        digest = sha256_of_file(path)
        if digest in self._films:
            self.refused[name] = f"the same file as {self._films[digest]}"
            return
        self._films[digest] = name
        try:
            for clip in prepare_film(path, find_faces):
                where = name if clip.start_s == 0 else f"{name}@{clip.start_s:.2f}"
                try:
                    self._take_clip(where, name, digest, clip, writer)
                except UnusableClipError as error:
                    self.refused[where] = str(error)
        except TransientError:
            raise
        except (DubflowError, UnusableClipError) as error:
            self.refused[name] = str(error).replace(str(path), name)

    def _take_clip(self, where: str, name: str, digest: str, clip: PreparedClip, writer: shards.ShardWriter) -> None:
        if not np.any(clip.voice):
            raise UnusableClipError("its sound is silent from beginning to end")
        speech_s = float(speech_activity(clip.voice).sum()) / FRAMES_PER_S
        if speech_s < MIN_SPEECH_S:
            raise UnusableClipError(f"only {speech_s:.1f} s of speech")
        voice, offset, margin = clip.voice, None, None
        if self.judge is not None:
            voice, offset, margin = in_sync(self.judge, clip)
        pictures, sound = shards.encode_clip(clip.crops, voice)
        words = fingerprint(voice)
        known = self._recordings.find(words)
        if known is not None:
            raise UnusableClipError(f"the same recording as {self.names[known]}")
        (folder, _, _), terms = name.rpartition("/"), rights_of(self.rights, name, self.otherwise)
        entry = writer.add(
            pictures, sound, person=folder.split("/")[0] or "", num_frames=len(clip.crops),
            num_windows=shards.count_windows(len(clip.crops), len(voice)), source=name, source_sha256=digest, start_s=round(clip.start_s, 3),
            licence=terms.licence, consent=terms.consent, offset_frames=offset, margin=margin,
            fingerprint=words.astype("<u2").tobytes().hex(),
        )  # fmt: skip
        self.entries.append(entry)
        self._recordings.add(entry.key, words)
        self.names[entry.key], self.speech_s[entry.key] = where, speech_s
        if offset is not None and abs(offset) > TOLERATED_OFFSET:
            self.corrected[where] = offset
        if not entry.person:
            picked = np.linspace(0, len(clip.crops) - 1, NUM_LOOKS).round().astype(int)
            self.looks[entry.key] = looks(dataset.plain_crop(clip.crops[picked]))

    def with_people(self) -> tuple[shards.Entry, ...]:
        """All entries, those without a label with a person found by likeness."""
        unnamed = [entry.key for entry in self.entries if not entry.person]
        numbers = group(np.stack([self.looks[key] for key in unnamed]), SAME_PERSON) if unnamed else []
        people = {key: f"face-{number + 1:03d}" for key, number in zip(unnamed, numbers, strict=True)}
        return tuple(entry.model_copy(update={"person": entry.person or people[entry.key]}) for entry in self.entries)


def in_sync(expert: SyncExpert, clip: PreparedClip) -> tuple[np.ndarray, int, float]:
    """The clip's voice moved to where its lips are, the offset found (frames, positive: the sound came early), and the expert's margin.

    Raises UnusableClipError where the offset is more than six frames or the expert sees no speaker.
    """
    similarity = similarities(expert, dataset.plain_crop(clip.crops, expert.config.face_size), log_mel(clip.voice))
    offset, margin = best_offset(similarity)
    if margin < MIN_MARGIN:
        raise UnusableClipError(f"lips and sound do not belong together (margin {margin:.2f}, {MIN_MARGIN} is needed)")
    if abs(offset) > MAX_OFFSET:
        raise UnusableClipError(f"the sound is {abs(offset)} frames {'early' if offset > 0 else 'late'}, more than {MAX_OFFSET}")
    if abs(offset) <= TOLERATED_OFFSET:
        return clip.voice, offset, round(margin, 4)
    return moved(clip.voice, offset), offset, round(margin, 4)


def moved(voice: np.ndarray, offset: int) -> np.ndarray:
    """The voice `offset` frames later (earlier if negative), of the same length; silence comes in."""
    by = offset * (16000 // dataset.FPS)
    return np.pad(voice, (max(0, by), max(0, -by)))[max(0, -by) : max(0, -by) + len(voice)]


def _expert(path: Path) -> SyncExpert:
    try:
        return load_sync_expert(path)
    except (CheckpointError, OSError) as error:
        raise InputError(f"{path} is no sync expert: {error}") from error


def _films(source: str | Path) -> Iterator[tuple[str, Path]]:
    """(name under the source, local file) of every film, in order; fetched ones are removed after their turn."""
    storage = open_storage(source)
    names = [key for key in storage.list() if PurePosixPath(key).suffix.lower() in SUFFIXES]
    if not names:
        raise InputError(f"{source} holds no films ({', '.join(sorted(SUFFIXES))}). Lay them out as PERSON/clip.mp4.")
    location = parse_location(source)
    refuse_unknown(read_rights(storage), names, storage.describe(RIGHTS))
    for name in names:
        if isinstance(location, FolderLocation):
            yield name, location.path / name
        else:
            with _fetched(source, name) as path:
                yield name, path


@contextmanager
def _fetched(source: str | Path, name: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dubflow-film-") as folder:
        path = Path(folder) / f"film{PurePosixPath(name).suffix.lower()}"
        open_storage(source).get(name, path)
        yield path


def _too_little(source: str | Path, num_usable: int, refused: dict[str, str], min_usable: int) -> str:
    shown = [f"{name}: {reason}" for name, reason in list(refused.items())[:12]]
    more = [f"and {len(refused) - 12} more"] if len(refused) > 12 else []
    return "\n".join([f"{num_usable} of {num_usable + len(refused)} clips in {source} are usable, at least {min_usable} are needed:", *shown, *more])


def _reported(out: Path, entries: tuple[shards.Entry, ...], work: _Preparation, licence: str, consent: str) -> PrepareReport:
    people: dict[str, int] = {}
    for entry in entries:
        people[entry.person] = people.get(entry.person, 0) + 1
    report = PrepareReport(
        num_usable=len(entries),
        refused=work.refused,
        people=dict(sorted(people.items())),
        shards={name: sha256_of_file(out / name) for name in sorted({entry.shard for entry in entries})},
        digest=sha256("\n".join(sorted(entry.sha256 for entry in entries)).encode()).hexdigest(),
        speech_s=round(sum(work.speech_s[entry.key] for entry in entries), 2),
        corrected=work.corrected,
        licence=licence,
        consent=consent,
    )
    with disk_errors("writing the report", out):
        (out / REPORT).write_text(report.model_dump_json(indent=1) + "\n", encoding="utf-8")
    logger.info("%d clips of %d people usable, %d refused", report.num_usable, len(people), len(report.refused))
    return report
