"""Crops cut from a film's own planes show what crops of the picture in colours show, in every pixel format and turn."""

import numpy as np
import pytest

from infra.planes import has_planes
from infra.video import upright_bgr
from tasks.track_crops import cut_crop
from tests.film_clips import noisy_frame
from tests.unit.test_paste_patches import BOX, frame_of, natural
from wav2lip_core import face_crop


@pytest.mark.parametrize("box", [BOX, BOX - 60, BOX + np.float32(90), BOX * 0.4], ids=["inside", "top left", "bottom right", "small"])
@pytest.mark.parametrize("rotation_degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuvj420p", "yuv422p10le", "yuv444p", "gbrp", "gray", "nv12", "rgb24"])
def test_a_crop_shows_what_the_picture_shows(pixel_format, rotation_degrees, box):
    frame = frame_of(natural(grain=2), pixel_format)
    picture = upright_bgr(frame, rotation_degrees)
    difference = np.abs(cut_crop(frame, rotation_degrees, box).astype(int) - face_crop.crop(picture, box))
    assert np.ptp(picture) > 80
    assert difference.mean() < 0.8
    assert difference.max() <= 6


def test_only_planar_layouts_are_cut_from_as_they_are():
    is_planar = {
        name: has_planes(noisy_frame(name)) for name in ("yuv420p", "yuvj422p", "yuv420p10le", "gray", "gbrp", "nv12", "rgb24", "p010le", "pal8")
    }
    assert [name for name, there in is_planar.items() if there] == ["yuv420p", "yuvj422p", "yuv420p10le", "gray", "gbrp"]
