"""Work on every frame asks the system for no new memory: arrays are used again, each thread its own."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from wav2lip_core import face_crop
from wav2lip_core.workspace import Workspace


def test_an_array_is_the_same_memory_again_in_any_shape_that_fits() -> None:
    workspace = Workspace()
    first = workspace.take("change", 40, 30, 3)
    assert (first.shape, first.dtype, first.flags.c_contiguous) == ((40, 30, 3), np.float32, True)
    assert np.shares_memory(first, workspace.take("change", 20, 10))
    assert not np.shares_memory(first, workspace.take("other", 20, 10))
    assert workspace.take("change", 100, 100).shape == (100, 100)


def test_threads_do_not_see_each_others_arrays() -> None:
    workspace = Workspace()
    own = workspace.take("change", 8)
    with ThreadPoolExecutor(1) as pool:
        assert not np.shares_memory(own, pool.submit(workspace.take, "change", 8).result())


def test_faces_pasted_side_by_side_come_out_as_one_by_one() -> None:
    rng = np.random.default_rng(3)
    picture = rng.integers(0, 256, (300, 400, 3), dtype=np.uint8)
    boxes = [np.array([x, y, x + 90 + 9 * i, y + 120 + 12 * i], np.float32) for i, (x, y) in enumerate(rng.integers(-40, 260, (16, 2)))]
    faces = rng.integers(0, 256, (16, 96, 96, 3), dtype=np.uint8)
    alone = [face_crop.paste_delta(picture, box, face) for box, face in zip(boxes, faces, strict=True)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(face_crop.paste_delta, [picture] * 16, boxes, faces))
    for one, other in zip(alone, together, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert one[0] == other[0]
            assert np.array_equal(one[1], other[1])
