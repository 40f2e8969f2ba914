"""The nouns: frozen records that travel between steps. Pixels and sound travel as Artifacts, never inside a record."""

from infra.artifacts import Artifact
from tasks.types.faces import Casting, FaceTrack, Reason, ShotFaces, SpeakingSpan
from tasks.types.film import AudioStream, Film, Shot, ShotList, Stem
from tasks.types.history import NO_ENTRY, HistoryEntry, InputDigests, Remake
from tasks.types.lips import DubbedEpisode, LipPatch, Models, Reel, ShotPatches
from tasks.types.previews import Clip, MouthPoint, Preview
from tasks.types.record import Box, EpisodeId, Rational, Record
from tasks.types.requests import BUNDLED_MODEL, DubRequest, DubResult, EpisodeRequest, PlanRequest, RedoRequest, RedoResult, StepCount
from tasks.types.review import (
    Decision,
    Decisions,
    EpisodeQa,
    Override,
    Person,
    PictureChecks,
    QaReport,
    SelfTest,
    Severity,
    SyncScore,
    Take,
    TakeSettings,
    Verdict,
)
from tasks.types.trials import EpisodeGround, ShotMeasures, ShotTrial, Try

__all__ = [
    "BUNDLED_MODEL",
    "NO_ENTRY",
    "Artifact",
    "AudioStream",
    "Box",
    "Casting",
    "Clip",
    "Decision",
    "Decisions",
    "DubRequest",
    "DubResult",
    "DubbedEpisode",
    "EpisodeGround",
    "EpisodeId",
    "EpisodeQa",
    "EpisodeRequest",
    "FaceTrack",
    "Film",
    "HistoryEntry",
    "InputDigests",
    "LipPatch",
    "Models",
    "MouthPoint",
    "Override",
    "Person",
    "PictureChecks",
    "PlanRequest",
    "Preview",
    "QaReport",
    "Rational",
    "Reason",
    "Record",
    "RedoRequest",
    "RedoResult",
    "Reel",
    "Remake",
    "SelfTest",
    "Severity",
    "Shot",
    "ShotFaces",
    "ShotList",
    "ShotMeasures",
    "ShotPatches",
    "ShotTrial",
    "SpeakingSpan",
    "Stem",
    "StepCount",
    "SyncScore",
    "Take",
    "TakeSettings",
    "Try",
    "Verdict",
]
