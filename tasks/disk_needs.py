"""How much disk a dub will take, from what the film is: measured on real episodes, rounded up."""

from typing import Literal, Protocol

from av.video.format import VideoFormat

from tasks.types import Record

# Bytes per frame of film. Crops of faces are of one size, whatever the film's; half as many faces again as there are frames.
FACES_PER_FRAME = 48_000
STILLS_PER_PIXEL = 0.3  # of the picture, per second: faces as large as in the film, once a second
LIPS_PER_FRAME = 60_000  # per language: patches, what is measured on them, previews
H264_BITS_PER_PIXEL = 0.4
FFV1_SHARE_OF_RAW = 0.6
FIXED = 8 << 20  # sounds of a short film, reports, records


class DiskNeeds(Record):
    """Bytes: in the work folder (finished steps, and the films while they are put together), and where the episode goes."""

    work: int
    out: int


class FilmSize(Protocol):
    """What the needs grow with: a film, or what its header says of it."""

    @property
    def num_frames(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def pixel_format(self) -> str: ...
    @property
    def duration_s(self) -> float: ...


def disk_needs(film: FilmSize, num_languages: int, codec: Literal["h264", "ffv1"]) -> DiskNeeds:
    """What dubbing this film will take at most, if nothing of it is finished yet."""
    pixels = film.num_frames * film.width * film.height
    bits = H264_BITS_PER_PIXEL if codec == "h264" else FFV1_SHARE_OF_RAW * VideoFormat(film.pixel_format).padded_bits_per_pixel
    sound = round(film.duration_s * 48_000 * 2 * 3)  # as delivered: stereo, 24 bit
    picture = round(pixels * bits / 8)
    lips = film.num_frames * LIPS_PER_FRAME
    faces = film.num_frames * FACES_PER_FRAME + round(film.duration_s * film.width * film.height * STILLS_PER_PIXEL)
    work = FIXED + faces + num_languages * (lips + sound + 2 * picture + sound)  # reels, and the film joined from them
    return DiskNeeds(work=work, out=FIXED + num_languages * (picture + sound + lips // 4))
