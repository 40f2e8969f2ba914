"""What a reviewer is told, and what a reviewer decides."""

from typing import Literal

from pydantic import Field

from infra.artifacts import Artifact
from tasks.types.film import Shot
from tasks.types.record import Box, EpisodeId, Record

Severity = Literal["ok", "fyi", "issue", "blocker"]
Verdict = Literal["pass", "review", "kept_original"]


class SyncScore(Record):
    """LSE-C (higher is better), LSE-D (distance, lower is better), offset in frames of 40 ms (published sign: positive, the sound is early)."""

    offset_frames: int | None = None
    confidence: float | None = None
    distance: float | None = None
    confidence_low: float | None = None  # 95 % bootstrap interval over windows
    confidence_high: float | None = None
    offset_agreement: float | None = None  # share of the bootstrap's resamples whose offset is within a frame of this one
    num_windows: int = 0
    scorer_sha256: str = ""
    reason: str | None = None  # why there is no score


class VoiceScore(Record):
    """One face's scores against the voice that drove it, where a shot has several."""

    track_id: int
    character: str | None = None  # None: dubbed from the whole track
    before: SyncScore = SyncScore()
    undubbed: SyncScore = SyncScore()
    after: SyncScore = SyncScore()


class PictureChecks(Record):
    """How the patch sits in the picture. None where it could not be measured."""

    seam_error: float | None = None  # grey levels of 255: mean step across the mask's edge beyond the original's own
    sharpness_ratio: float | None = None  # of the patch to the same region of the original; 1 is alike
    generated_per_face_pixel: float | None = None  # width of the generated face in its pixels / width in the film's; under 1 is upscaled
    flicker_ratio: float | None = None  # frame-to-frame change where nothing should move, to the original's; 1 is alike
    identity: float | None = None  # cosine of face descriptors, patched to original; 1 is the same person
    leak_share: float | None = None  # mouth motion left when the generator hears silence, to that under the dub


class TakeSettings(Record):
    """How a take is made. The default is the ladder's first rung."""

    rung: str = "first"  # the name of the rung in the policy file
    sound_shift_frames: float = 0.0  # of 40 ms; positive: the generator hears the dub earlier, so the lips come later
    padding: float = 0.0  # share of the box's height added on every side
    smoothing: Literal["centred", "none"] = "centred"  # of the face's boxes
    reference: Literal["auto", "same_frame", "middle_frame"] = "auto"  # whose looks the generator takes
    model: str | None = None  # another model's name


class Take(Record):
    """One try at a shot: how it was made and what it scored."""

    settings: TakeSettings
    sha256: str  # names the take: the digest of its patches' digests
    generator_sha256: str
    after: SyncScore
    checks: PictureChecks = PictureChecks()
    verdict: Literal["pass", "review"]
    code: str  # of the verdict's reason, as in the policy file
    reason: str  # in plain words
    severity: Severity
    seconds: float = 0.0


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
    verdict: Verdict
    code: str = ""  # of the verdict's reason: the policy's, or the casting's
    severity: Severity = "ok"
    percentile: float | None = None  # 0 to 100: where the dub's LSE-C lies among the film's own real shots
    pooled_offset_frames: int | None = None  # of a short shot: found together with the same face's neighbours
    pooled_shots: tuple[int, ...] = ()
    person: int | None = None  # the same face through the film; see EpisodeQa.people
    checks: PictureChecks = PictureChecks()
    takes: tuple[Take, ...] = ()  # every try, in order
    take_sha256: str | None = None  # the try that is in the film; None: the original picture
    num_tries: int = 0
    seconds: float = 0.0
    thumbnail: Artifact | None = None
    character: str | None = Field(default=None, exclude_if=lambda name: name is None)  # whose faces were dubbed from their own stems
    voices: tuple[VoiceScore, ...] = Field(default=(), exclude_if=lambda voices: not voices)  # each face's own scores


class SelfTest(Record):
    """Whether the scorer can be trusted on this film: known offsets planted in its own real shots, and found or not."""

    planted_frames: tuple[int, ...] = ()
    num_found: tuple[int, ...] = ()  # of num_shots, for each planted offset, found within one frame
    num_shots: int = 0
    trusted: bool = False
    reason: str = ""  # in plain words


class Person(Record):
    """One face through the film, found by likeness."""

    index: int
    shots: tuple[int, ...]
    mean_delta: float | None = None  # LSE-C of the dub minus the original's own, mean over scored shots
    thumbnail: Artifact | None = None  # JPEG


class EpisodeQa(Record):
    """What is said of one language's film as a whole."""

    language: str
    policy_name: str
    policy_version: int
    policy_sha256: str
    reports: tuple[QaReport, ...]  # by shot; verdicts final
    self_test: SelfTest = SelfTest()
    people: tuple[Person, ...] = ()
    real_confidences: tuple[float, ...] = ()  # LSE-C of the film's own real shots, sorted


class Decision(Record):
    """What a reviewer said of one shot in one language."""

    shot: int = Field(ge=0)
    language: str
    take_sha256: str | None  # what was looked at; an older take's decision is stale
    decision: Literal["approve", "reject", "ask", "keep_original"]
    note: str = Field(default="", max_length=4000)
    decided_at: str = ""  # ISO 8601, UTC
    reviewer: str = Field(default="", max_length=200)  # who, where a file holds several people's


class Decisions(Record):
    """The file decisions.json, as the page writes it."""

    format: Literal[1] = 1
    episode_id: EpisodeId
    reviewer: str = Field(default="", max_length=200)
    decisions: tuple[Decision, ...]


class Override(Record):
    """What review has settled for one shot in one language; a dub honours it."""

    shot: int
    language: str
    keep_original: Literal["yes", "no"] = "no"
    rejected_takes: tuple[str, ...] = ()  # take digests that must not be used again
    approved_take: str | None = None  # a person has approved it: verdict pass whatever the policy says
    model: str | None = None  # make this shot with another model
    note: str = ""
