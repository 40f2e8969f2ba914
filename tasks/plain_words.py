"""What scores and reasons say, in sentences for people."""

from tasks.shot_table import closed_share
from tasks.types import PictureChecks, QaReport, SyncScore, TakeSettings

VERDICTS = {"pass": "in sync", "review": "please look", "kept_original": "left as it was"}
MS_PER_SCORE_FRAME = 40
NOTICED_FRAMES = 2  # offsets up to here are rarely noticed
_CODES = {  # of a shot that keeps its original picture
    "no_face": "no face in the shot",
    "off_screen": "the voice is off screen",
    "listener": "the face listens, somebody else speaks",
    "too_small": "the face is too small",
    "profile": "the face is seen from the side",
    "occluded": "the mouth is covered",
    "silent": "nobody speaks here",
    "refused": "left alone on request",
    "too_short": "too little original dialogue to tell who speaks",
    "ambiguous": "several faces and no original dialogue to tell who speaks",
}


def printable(text: object) -> str:
    """Text without control characters and writing-direction overrides, which a film's metadata may hold."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(text))


def in_plain_words(reason: str) -> str:
    """A reason for people: a code becomes its sentence; what follows the code stays."""
    code, colon, more = reason.partition(": ")
    return f"{_CODES[code]}{colon}{more}" if code in _CODES else reason


def delta(report: QaReport) -> float | None:
    """LSE-C of the dub minus that of the same shot's original picture with its original voice; None where one of them is unknown."""
    if report.after.confidence is None or report.before.confidence is None:
        return None
    return report.after.confidence - report.before.confidence


def sentences_of(report: QaReport) -> list[str]:
    """What the numbers of a shot say, most important first."""
    return [*_about_sync(report), *_about_offset(report), *_about_voices(report), *_about_picture(report.checks)]


def settings_in_words(settings: TakeSettings) -> str:
    """How a take differs from the first way of making one."""
    words = []
    if settings.sound_shift_frames:
        words.append(f"sound shifted by {settings.sound_shift_frames:+g} frames")
    if settings.padding:
        words.append(f"box wider by {settings.padding:.0%}")
    if settings.smoothing != "centred":
        words.append("box not smoothed")
    if settings.reference != "auto":
        words.append(f"looks taken from {settings.reference.replace('_', ' ')}")
    if settings.model is not None:
        words.append(f"model {settings.model}")
    return ", ".join(words) or "as usual"


def _about_sync(report: QaReport) -> list[str]:
    after, before, undubbed = report.after.confidence, report.before.confidence, report.undubbed.confidence
    if after is None:
        return [f"Not scored: {report.after.reason}."] if report.after.reason else []
    said = []
    if before is not None:
        fit = "fits its voice better than" if after > before else "fits its voice less well than" if after < before else "fits its voice as well as"
        said.append(f"The dub {fit} the original picture fits the original voice: {after:.2f} against {before:.2f}{_interval(report.after)}.")
    elif report.before.reason:
        said.append(f"The dub scores {after:.2f}{_interval(report.after)}; the original has no score: {report.before.reason}.")
    else:
        said.append(f"The dub scores {after:.2f}{_interval(report.after)}.")
    if undubbed is not None:
        share = closed_share(report)
        closed = "" if share is None or share <= 0 else f", and closes {share:.0%} of the distance to the original"
        said.append(f"It is {'better' if after > undubbed else 'no better'} than the same picture undubbed ({undubbed:.2f}){closed}.")
    if report.percentile is not None:
        said.append(f"{report.percentile:.0f}% of the film's own real shots score lower.")
    return said


def _interval(score: SyncScore) -> str:
    if score.confidence_low is None or score.confidence_high is None:
        return ""
    return f" (95% interval {score.confidence_low:.2f} to {score.confidence_high:.2f})".replace("-", "−")


def _about_offset(report: QaReport) -> list[str]:
    if report.after.offset_frames is None:
        return []
    frames = report.after.offset_frames
    if report.pooled_offset_frames is not None and report.pooled_shots:
        frames = report.pooled_offset_frames
        shots = ", ".join(str(index) for index in report.pooled_shots)
        how = f"Found together with the same face's shots {shots}: "
    else:
        how = ""
    if frames == 0:
        text = "lips and dub are at the same moment."
    else:
        side = "behind" if frames > 0 else "ahead of"
        noticed = "which few viewers notice" if abs(frames) <= NOTICED_FRAMES else "which viewers notice"
        text = f"lips are {abs(frames) * MS_PER_SCORE_FRAME} ms {side} the dub, {noticed}."
    return [how + text if how else text[0].upper() + text[1:]]


def _about_voices(report: QaReport) -> list[str]:
    """Each face's own score, where several were dubbed; the shot's is that of the one that fits least."""
    if len(report.voices) < 2:
        return []
    said = []
    for voice in report.voices:
        score = voice.after
        found = "not scored" if score.confidence is None else f"{score.confidence:.2f} at offset {score.offset_frames:+d}"
        said.append(f"{voice.character or 'somebody without a stem'} (face {voice.track_id}) {found}")
    return [f"Each face against its own voice: {', '.join(said)}."]


def _about_picture(checks: PictureChecks) -> list[str]:
    said = []
    if checks.generated_per_face_pixel is not None:
        detail = "it is enlarged" if checks.generated_per_face_pixel < 1 else "it is not enlarged"
        said.append(f"The generated face has {checks.generated_per_face_pixel:.2f} pixels for each of the film's: {detail}.")
    if checks.sharpness_ratio is not None:
        said.append(f"The patch is {checks.sharpness_ratio:.0%} as sharp as the original there.")
    if checks.seam_error is not None:
        said.append(f"At its edge the picture steps by {checks.seam_error:.1f} grey levels of 255 more than the original.")
    if checks.flicker_ratio is not None:
        said.append(f"It flickers {checks.flicker_ratio:.2f} times as much as the original.")
    if checks.identity is not None:
        said.append(f"The face is {checks.identity:.0%} like the original one.")
    if checks.leak_share is not None:
        said.append(f"Hearing silence, the mouth still moves {checks.leak_share:.0%} as much as under the dub.")
    return said
