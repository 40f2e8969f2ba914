"""Work on every frame asks the system for no new memory: arrays are used again, each thread its own, and what is freed stays with the process."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

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


CHURN = """
import resource, sys
import numpy as np
from infra.kept_memory import keep_freed_memory

def churn():
    kept = [np.ones(9_000_000, np.float32) for _ in range(3)]
    kept.clear()

if sys.argv[1] == "keep":
    assert keep_freed_memory()
churn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    churn()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is arranged on Linux only")
def test_freed_memory_is_not_asked_for_anew() -> None:
    def num_pages(how: str) -> int:
        return int(subprocess.run([sys.executable, "-c", CHURN, how], capture_output=True, text=True, check=True, timeout=120).stdout)

    assert num_pages("keep") < num_pages("as it is") / 10
