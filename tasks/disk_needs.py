"""How much disk a dub will take, from what the film is: measured on real episodes, rounded up."""

from typing import Literal

from av.video.format import VideoFormat

from tasks.types import Film, Record

# Bytes per frame of film. Crops of faces are of one size, whatever the film's; half as many faces again as there are frames.
FACES_PER_FRAME = 48_000
LIPS_PER_FRAME = 60_000  # per language: patches, what is measured on them, previews
H264_BITS_PER_PIXEL = 0.25
FFV1_SHARE_OF_RAW = 0.6
FIXED = 8 << 20  # sounds of a short film, reports, records


class DiskNeeds(Record):
    """Bytes: in the work folder (finished steps, and the films while they are put together), and where the episode goes."""

    work: int
    out: int


def disk_needs(film: Film, num_languages: int, codec: Literal["h264", "ffv1"]) -> DiskNeeds:
    """What dubbing this film will take at most, if nothing of it is finished yet."""
    pixels = film.num_frames * film.width * film.height
    bits = H264_BITS_PER_PIXEL if codec == "h264" else FFV1_SHARE_OF_RAW * VideoFormat(film.pixel_format).padded_bits_per_pixel
    sound = round(film.duration_s * 48_000 * 2 * 3)  # as delivered: stereo, 24 bit
    picture = round(pixels * bits / 8)
    lips = film.num_frames * LIPS_PER_FRAME
    work = FIXED + film.num_frames * FACES_PER_FRAME + num_languages * (lips + sound + 2 * picture + sound)  # reels, and the film joined from them
    return DiskNeeds(work=work, out=FIXED + num_languages * (picture + sound + lips // 4))
