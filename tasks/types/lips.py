"""What is made: new lips for a shot, and the film they are pasted into."""

from infra.artifacts import Artifact
from tasks.types.faces import Reason
from tasks.types.record import EpisodeId, Precision, Record


class Models(Record):
    """The weights one run uses, pinned by digest at its start."""

    name: str
    generator_path: str
    generator_sha256: str
    expert_path: str
    expert_sha256: str
    vgg_path: str | None = None  # the published scorer, when the user imported and chose it
    vgg_sha256: str | None = None
    precision: Precision = "float32"  # of the generator; the expert is in float32 or bf16, see tasks.sync_evidence


class LipPatch(Record):
    """Generated faces of one shot, lossless: the film itself is never rewritten shot by shot."""

    shot_index: int
    language: str
    track_id: int
    first_frame: int
    end_frame: int
    patch: Artifact  # .npz: faces (n, S, S, 3) uint8 BGR, boxes (n, 4) float32 canonical crops; see wav2lip_core.face_crop for paste
    model_sha256: str


class ShotPatches(Record):
    """What was generated for one shot and language: a patch per speaking track, or a reason why there is none."""

    shot_index: int
    language: str
    patches: tuple[LipPatch, ...] = ()
    reason: Reason | None = None
    seconds: float = 0.0


class Reel(Record):
    """A shot, or a piece of a long one, rendered and encoded as one closed-GOP segment."""

    language: str
    first_frame: int
    end_frame: int
    segment: Artifact


class DubbedEpisode(Record):
    episode_id: EpisodeId
    language: str
    output: str  # key under OUT/ID
    sha256: str
    num_frames: int
    warnings: tuple[str, ...] = ()
