"""Who is seen in a shot, and who of them speaks."""

from typing import Literal

from pydantic import Field

from infra.artifacts import Artifact
from tasks.types.record import Box, Record


class FaceTrack(Record):
    """One person's face through one shot. Boxes follow wav2lip_core.face_crop's canonical crop convention."""

    shot_index: int
    track_id: int  # stable in the shot: 0 is the leftmost at first sight
    first_frame: int  # of the film
    end_frame: int
    geometry: Artifact  # .npz: boxes (n, 4) float32 XYXY, confidence (n,) float32, detected (n,) bool, landmarks (n, 5, 2) float32 or absent
    mean_box: Box
    crops: Artifact | None = None  # .npy uint8 (n, 96, 96, 3) BGR: the canonical crops, frame by frame
    stills: Artifact | None = None  # .npz: the face as large as in the film, now and then; see tasks.face_stills
    usable: bool = True
    unusable_reason: str | None = None  # too_small, profile, ...


class ShotFaces(Record):
    shot_index: int
    num_faces: int  # people seen, usable or not
    tracks: tuple[FaceTrack, ...]


class SpeakingSpan(Record):
    track_id: int
    first_frame: int
    end_frame: int


Reason = Literal["no_face", "off_screen", "listener", "too_small", "profile", "occluded", "silent", "refused", "too_short", "ambiguous"]


class Casting(Record):
    """Who speaks in a shot and when, or why nobody does."""

    shot_index: int
    spans: tuple[SpeakingSpan, ...] = ()
    reason: Reason | None = None  # set when spans is empty
    evidence: str  # one plain sentence: how this was decided
    margins: dict[int, float] = Field(default_factory=dict)  # track_id -> best minus median cosine
