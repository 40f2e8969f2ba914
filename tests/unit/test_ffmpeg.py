"""The ffmpeg program: it fails loudly, and it ends."""

from pathlib import Path

import pytest

from infra import ffmpeg
from infra.errors import OurTroubleError
from tests import media


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    return media.numbered_film(tmp_path_factory.mktemp("film") / "film.mp4", 60, sound=media.Sound(media.tone(2.4)))


def test_ffmpeg_failing_says_why_and_what_was_run(tmp_path):
    with pytest.raises(OurTroubleError, match=r"absent\.mp4"):
        ffmpeg.run(["-i", str(tmp_path / "absent.mp4"), str(tmp_path / "out.mp4")], timeout_s=30)


def test_ffmpeg_that_does_not_end_is_ended(tmp_path):
    with pytest.raises(OurTroubleError, match="not done after 1 s"):
        ffmpeg.run(["-re", "-f", "lavfi", "-i", "sine", "-t", "600", str(tmp_path / "out.wav")], timeout_s=1)


def test_a_truncated_input_fails_ffmpeg_instead_of_passing_quietly(film, tmp_path):
    broken = media.truncated(media.faststart(film, tmp_path / "fast.mp4"), tmp_path / "cut.mp4")
    with pytest.raises(OurTroubleError):
        ffmpeg.run(["-y", *ffmpeg.input_options(broken), str(tmp_path / "out.mkv")], timeout_s=60)
