"""What a decoded frame says beside its picture, read so that the frame is free when it is let go."""

from typing import Any

from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation

_TWIN_PX = 16


def side_data_of(frame: VideoFrame) -> dict[str, bytes]:
    """The bytes of each kind, by FFmpeg's name without its prefix, as DISPLAYMATRIX.

    A frame of PyAV and the view of its side data hold each other until Python looks for garbage, and one frame holds all pictures of its decoder in
    memory. Therefore a tiny twin is asked, which says the same.
    """
    said: Any = _twin(frame).side_data  # a mapping that is passed through by values
    return {data.type.name: bytes(data) for data in said}


def _twin(frame: VideoFrame) -> VideoFrame:
    try:
        return frame.reformat(width=_TWIN_PX, height=_TWIN_PX, interpolation=Interpolation.POINT, threads=1)
    except (FFmpegError, ValueError):  # a layout that cannot be scaled; it is refused later, and in clear words
        return frame
