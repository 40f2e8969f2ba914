"""CMX 3600 edit decision lists as text: one event per shot, a locator where somebody should look.

Written here rather than by OpenTimelineIO's adapter, which knows no FCM line, no start timecode and no 29.97 fps without drop frame; what is written
is read back with it before it is handed over.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import opentimelineio as otio

from tasks.plain_text import ascii_line
from tasks.timecode import timecode_of

LONGEST_TEXT = 120


@dataclass(frozen=True)
class Locator:
    """A mark at an event's first frame."""

    color: str  # as Avid names them: RED, GREEN, BLUE, CYAN, MAGENTA, YELLOW, BLACK, WHITE
    text: str


@dataclass(frozen=True)
class Event:
    """Frames [first_frame, end_frame), counted from the film's first, at the same place in source and record."""

    name: str
    first_frame: int
    end_frame: int
    locator: Locator | None = None


def edl_of(title: str, reel: str, file_name: str, events: Sequence[Event], fps: Fraction, start: str | None) -> str:
    """The list as text in ASCII. start: timecode of the film's first frame; with a ';' labels are dropped as at 29.97 and 59.94 fps."""
    name = re.sub(r"[^A-Z0-9]", "", ascii_line(reel).upper())[:8] or "AX"
    lines = [f"TITLE: {ascii_line(title)}", f"FCM: {'DROP FRAME' if start and ';' in start else 'NON-DROP FRAME'}", ""]
    for number, event in enumerate(events, 1):
        span = f"{timecode_of(event.first_frame, fps, start)} {timecode_of(event.end_frame, fps, start)}"
        lines += [f"{number:03d}  {name:8} {'V':5} C        {span} {span}", f"* FROM CLIP NAME:  {ascii_line(event.name)}"]
        lines += [f"* SOURCE FILE: {ascii_line(file_name)}"]
        if event.locator is not None:
            text = ascii_line(event.locator.text)[:LONGEST_TEXT].rstrip()
            lines.append(f"* LOC: {timecode_of(event.first_frame, fps, start)} {event.locator.color:7} {text}")
    return "\n".join(lines) + "\n"


def why_no_edl(fps: Fraction, is_vfr: bool) -> str | None:
    """Why an edit list cannot say where this film's shots lie; None when it can."""
    if is_vfr:
        return "an EDL counts frames of one constant rate, the film's varies"
    if not otio.opentime.RationalTime.is_smpte_timecode_rate(float(fps)):
        return f"there is no timecode at {float(fps):.3f} fps"
    return None


def ranges_in_edl(text: str, fps: Fraction, start: str | None) -> list[tuple[int, int]]:
    """(first, end) frames of each event, counted from the film's first, as OpenTimelineIO reads them. Raises ValueError for what it does not read."""
    rate = float(fps)
    try:
        timeline = otio.adapters.read_from_string(text, "cmx_3600", rate=rate)
        zero = otio.opentime.from_timecode(timecode_of(0, fps, start), rate).to_frames()
        clips = [clip.source_range for track in timeline.tracks for clip in track if isinstance(clip, otio.schema.Clip)]
    except (otio.exceptions.OTIOError, ValueError) as error:
        raise ValueError(str(error)) from None
    return [(clip.start_time.to_frames() - zero, clip.end_time_exclusive().to_frames() - zero) for clip in clips]
