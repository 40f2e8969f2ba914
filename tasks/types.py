"""The nouns: frozen records that travel between steps. Pixels and sound travel as Artifacts, never inside a record."""

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, StringConstraints

from infra.artifacts import Artifact as Artifact


def _to_fraction(value: object) -> Fraction:
    return value if isinstance(value, Fraction) else Fraction(str(value))


Rational = Annotated[Fraction, BeforeValidator(_to_fraction), PlainSerializer(str, return_type=str)]
EpisodeId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
BUNDLED_MODEL = "dubflow-lite"  # the weights that come with the package
Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels of the upright film


class Record(BaseModel):
    """Frozen, closed, and the same after a JSON round trip."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class AudioStream(Record):
    index: int  # among the container's audio streams
    codec: str
    sample_rate_hz: int
    num_channels: int
    language: str | None = None


class Film(Record):
    """A film as inspected. Sizes are upright (after rotation); frame n is the n-th in presentation order."""

    path: str  # local, absolute
    sha256: str
    timing: Artifact  # .npz: pts (num_frames,) int64 in time_base units, is_keyframe (num_frames,) bool
    time_base: Rational  # seconds per pts unit
    fps: Rational  # average for VFR
    num_frames: int = Field(ge=1)
    width: int
    height: int
    rotation_degrees: Literal[0, 90, 180, 270] = 0  # clockwise turn that makes the coded picture upright
    pixel_format: str  # FFmpeg's name
    video_codec: str
    sample_aspect_ratio: Rational = Fraction(1)
    color_range: int = 0  # FFmpeg's enum numbers, as tagged in the file
    color_primaries: int = 2
    color_transfer: int = 2
    color_space: int = 2
    start_timecode: str | None = None  # SMPTE, ';' before the frames when drop frame
    is_vfr: bool = False
    is_interlaced: bool = False
    audio_streams: tuple[AudioStream, ...] = ()
    num_subtitle_streams: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def duration_s(self) -> float:
        return float(self.num_frames / self.fps)


class Stem(Record):
    """A sound track, prepared: 16 kHz mono float32 for analysis beside the file as delivered."""

    path: str  # the file as delivered, untouched; for `original` it may be the film itself
    sha256: str
    language: str | None = None
    role: Literal["dialogue", "mix", "original"]
    sample_rate_hz: int
    num_channels: int
    num_samples: int  # at sample_rate_hz
    analysis: Artifact  # .npy float32 (n,), 16 kHz mono in [-1, 1]; sample 0 is heard with the film's frame 0
    warnings: tuple[str, ...] = ()


class Shot(Record):
    """A half-open range of frames [first_frame, end_frame)."""

    index: int = Field(ge=0)
    first_frame: int = Field(ge=0)
    end_frame: int

    @property
    def name(self) -> str:
        return f"shot-{self.index:05d}"

    @property
    def num_frames(self) -> int:
        return self.end_frame - self.first_frame


class ShotList(Record):
    shots: tuple[Shot, ...]


class FaceTrack(Record):
    """One person's face through one shot. Boxes follow wav2lip_core.face_crop's canonical crop convention."""

    shot_index: int
    track_id: int  # stable in the shot: 0 is the leftmost at first sight
    first_frame: int  # of the film
    end_frame: int
    geometry: Artifact  # .npz: boxes (n, 4) float32 XYXY, confidence (n,) float32, detected (n,) bool, landmarks (n, 5, 2) float32 or absent
    mean_box: Box
    crops: Artifact | None = None  # .npy uint8 (n, 96, 96, 3) BGR: the canonical crops, frame by frame
    usable: bool = True
    unusable_reason: str | None = None  # too_small, profile, ...


class ShotFaces(Record):
    shot_index: int
    num_faces: int  # people seen, usable or not
    tracks: tuple[FaceTrack, ...]


class Models(Record):
    """The weights one run uses, pinned by digest at its start."""

    name: str
    generator_path: str
    generator_sha256: str
    expert_path: str
    expert_sha256: str
    vgg_path: str | None = None  # the published scorer, when the user imported and chose it
    vgg_sha256: str | None = None


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
    margins: dict[int, float] = {}  # track_id -> best minus median cosine


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


class SyncScore(Record):
    """LSE-C (higher is better), LSE-D (distance, lower is better), offset in frames of 40 ms (published sign: positive, the sound is early)."""

    offset_frames: int | None = None
    confidence: float | None = None
    distance: float | None = None
    num_windows: int = 0
    scorer_sha256: str = ""
    reason: str | None = None  # why there is no score


class QaReport(Record):
    """What a reviewer is told about one shot in one language."""

    shot: Shot
    language: str
    outcome: Literal["synced", "kept_original"]
    reason: str
    track_id: int | None = None
    face_box: Box | None = None  # XYXY at the shot's middle frame
    evidence: str = ""  # how the speaker was found, one plain sentence
    num_faces: int = 0
    before: SyncScore = SyncScore()  # original picture, original voice
    undubbed: SyncScore = SyncScore()  # original picture, dub: what a viewer has without dubflow
    after: SyncScore = SyncScore()  # patched picture, dub
    verdict: Literal["pass", "review", "kept_original"]
    num_tries: int = 0
    seconds: float = 0.0
    thumbnail: Artifact | None = None


class Reel(Record):
    """Consecutive shots, rendered and encoded as one closed-GOP segment."""

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


class EpisodeRequest(Record):
    """What is asked of a film, as the user wrote it: paths, file: or s3:// URIs. Checked as a whole before anything is read."""

    film: str
    audio: dict[str, str] = {}  # language tag -> the dubbed dialogue track
    original_dialogue: str | None = None
    speaker: str = "auto"  # auto, only-face, or a file that names the track per shot
    work: str | None = None  # folder; default: the settings' work folder
    model: str = BUNDLED_MODEL
    scorer: Literal["expert", "vgg"] = "expert"
    detector: Literal["auto", "dlib", "yunet", "retinaface"] | None = None  # None: as the settings say
    num_workers: int | None = Field(default=None, ge=1)
    task_runner: Literal["threads", "processes", "dask", "ray"] | None = None


class PlanRequest(EpisodeRequest):
    """Find out what a dub would do; nothing is rendered."""


class DubRequest(EpisodeRequest):
    """Dub a film into every language of `audio`."""

    audio: dict[str, str] = Field(min_length=1)
    out: str  # folder or s3:// URI; the episode goes to OUT/ID/
    episode_id: EpisodeId
    codec: Literal["h264", "ffv1"] = "h264"


class StepCount(Record):
    """How often a step was done in this run, and how often its earlier result was found."""

    made: int = 0
    reused: int = 0


class DubResult(Record):
    """What a finished run tells: where everything lies and how it went."""

    episode_id: EpisodeId
    num_shots: int
    episodes: tuple[DubbedEpisode, ...]
    outputs: dict[str, str]  # language -> where its film lies, for people
    report: str
    manifest: str
    verdicts: dict[str, int]  # pass, review, kept_original -> number of shots x languages
    steps: dict[str, StepCount]
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
