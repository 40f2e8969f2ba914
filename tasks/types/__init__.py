"""The nouns: frozen records that travel between steps. Pixels and sound travel as Artifacts, never inside a record."""

from infra.artifacts import Artifact
from tasks.types.faces import Casting, FaceTrack, Reason, ShotFaces, SpeakingSpan
from tasks.types.film import AudioStream, Film, Shot, ShotList, Stem
from tasks.types.lips import DubbedEpisode, LipPatch, Models, Reel, ShotPatches
from tasks.types.record import Box, EpisodeId, Rational, Record
from tasks.types.requests import BUNDLED_MODEL, DubRequest, DubResult, EpisodeRequest, PlanRequest, StepCount
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

__all__ = [
    "BUNDLED_MODEL",
    "Artifact",
    "AudioStream",
    "Box",
    "Casting",
    "Decision",
    "Decisions",
    "DubRequest",
    "DubResult",
    "DubbedEpisode",
    "EpisodeId",
    "EpisodeQa",
    "EpisodeRequest",
    "FaceTrack",
    "Film",
    "LipPatch",
    "Models",
    "Override",
    "Person",
    "PictureChecks",
    "PlanRequest",
    "QaReport",
    "Rational",
    "Reason",
    "Record",
    "Reel",
    "SelfTest",
    "Severity",
    "Shot",
    "ShotFaces",
    "ShotList",
    "ShotPatches",
    "SpeakingSpan",
    "Stem",
    "StepCount",
    "SyncScore",
    "Take",
    "TakeSettings",
    "Verdict",
]
