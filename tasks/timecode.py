"""SMPTE timecode (ST 12-1) of a frame, drop-frame where the film says so."""

import re
from fractions import Fraction

_TIMECODE = re.compile(r"(\d{2}):(\d{2}):(\d{2})([:;.])(\d{2,3})")
_DROPPED_PER_MINUTE = {30: 2, 60: 4}  # frame numbers left out each minute but every tenth


def timecode_of(frame: int, fps: Fraction, start: str | None) -> str:
    """The label of frame `frame` (counted from 0) in a film whose first frame is labelled `start` (None: 00:00:00:00).

    A ';' (or '.') before the frames of `start` means drop frame, which exists at 29.97 and 59.94 fps only; elsewhere it is read as ':'.
    Labels go round after 24 hours. Raises ValueError for a `start` that is no timecode.
    """
    nominal = max(1, round(fps))
    start_frame, is_drop = _parse(start or "00:00:00:00", nominal)
    return _label(start_frame + frame, nominal, is_drop)


def _parse(text: str, nominal: int) -> tuple[int, bool]:
    """(frames since 00:00:00:00, whether it counts with drop frame). A label beyond the rate (frame 29 at 25 fps) counts on into the next second."""
    match = _TIMECODE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no timecode")
    hours, minutes, seconds, frames = int(match[1]), int(match[2]), int(match[3]), int(match[5])
    dropped = _DROPPED_PER_MINUTE.get(nominal, 0) if match[4] in ";." else 0
    total_minutes = 60 * hours + minutes
    count = (60 * total_minutes + seconds) * nominal + frames
    return count - dropped * (total_minutes - total_minutes // 10), bool(dropped)


def _label(count: int, nominal: int, is_drop: bool) -> str:
    if is_drop:
        dropped = _DROPPED_PER_MINUTE[nominal]
        per_minute = 60 * nominal - dropped
        per_ten = 10 * per_minute + dropped
        tens, rest = divmod(count, per_ten)
        minutes_begun = max(0, (rest - dropped) // per_minute)
        count += dropped * (9 * tens + minutes_begun)
    seconds, frames = divmod(count, nominal)
    hours = seconds // 3600 % 24
    return f"{hours:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{';' if is_drop else ':'}{frames:02d}"
