"""How much memory encoders take, so that large pictures are not encoded side by side until it is full."""

from infra.video_write import Encoding, PictureFacts

X264_FRAMES, FFV1_FRAMES = 54, 4  # pictures' worth of memory; x264 measured as video_write sets it up: 43 at 3840x2160 with ten bits, 54 at 1920x1080


def encoder_bytes(film: PictureFacts, encoding: Encoding) -> int:
    """About what the encoder of one segment takes."""
    samples = 3.0 if "444" in encoding.pixel_format else 1.5
    num_frames = X264_FRAMES if encoding.codec == "h264" else FFV1_FRAMES
    return round(film.width * film.height * samples * (2 if "10" in encoding.pixel_format else 1) * num_frames)
