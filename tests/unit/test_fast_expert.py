"""The sync expert in bf16 hears and sees what it does in float32, and a score made with the one is never taken for one made with the other."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from skimage import data

from tasks import sync_evidence
from tasks.sync_evidence import expert_inputs, shared_expert
from tasks.types import Models
from tests.small_film import make_voice
from training.evaluate_generator import bundled_expert
from wav2lip_core import fast_expert, precision, sync_scorer
from wav2lip_core.checkpoint import load_sync_expert
from wav2lip_core.fast_expert import Bf16Expert
from wav2lip_core.mel import log_mel, windows_at
from wav2lip_core.openvino_expert import BATCH, OpenVinoExpert
from wav2lip_core.sync_embedder import embed_faces, embed_mel
from wav2lip_core.sync_expert import SyncExpert

LARGEST_COSINE_ERROR = 0.005
NUM_FRAMES = 60
needs_openvino = pytest.mark.skipif(precision.openvino_version() is None, reason="needs OpenVINO: pip install 'dubflow[openvino]'")


def _moving_face() -> np.ndarray:
    """A portrait whose mouth opens and shuts, uint8 (n, 96, 96, 3) BGR."""
    portrait = np.ascontiguousarray(data.astronaut()[10:202, 130:322, ::-1][::2, ::2])
    faces = np.repeat(portrait[None], NUM_FRAMES, axis=0)
    for n, face in enumerate(faces):
        gap = 1 + round(5 * abs(np.sin(n / 3)))
        face[70 - gap : 70 + gap, 36:60] //= 3
    return faces


@pytest.mark.parametrize("likeness", [Bf16Expert, pytest.param(OpenVinoExpert, marks=needs_openvino)])
def test_embeddings_and_scores_are_those_of_float32_to_within_what_is_told(likeness: Callable[[SyncExpert], SyncExpert]) -> None:
    exact = load_sync_expert(bundled_expert())
    faces, mel = _moving_face(), log_mel(make_voice(4.0))
    windows = windows_at(mel, np.arange(-15, NUM_FRAMES + 11) / 25)
    lips, sound = ((embed_faces(expert, faces), embed_mel(expert, windows)) for expert in (exact, likeness(exact)))
    for wanted, found in zip(lips, sound, strict=True):
        assert found.dtype == np.float32
        assert np.linalg.norm(found, axis=1) == pytest.approx(1.0, abs=1e-5)
        assert (wanted * found).sum(axis=1).min() > 1 - LARGEST_COSINE_ERROR
    scores = [sync_scorer.score_in_context(rows, heard) for rows, heard in (lips, sound)]
    assert scores[0].offset == scores[1].offset
    assert scores[1].lse_c == pytest.approx(scores[0].lse_c, abs=0.01)
    assert scores[1].lse_d == pytest.approx(scores[0].lse_d, abs=0.01)


@needs_openvino
def test_windows_are_embedded_alike_whichever_stand_beside_them() -> None:
    faces = _moving_face()
    expert = OpenVinoExpert(load_sync_expert(bundled_expert()))
    together = embed_faces(expert, faces)
    for first, count in ((0, 1), (3, BATCH), (BATCH + 1, BATCH + 2)):
        assert np.array_equal(embed_faces(expert, faces[first : first + count + 4]), together[first : first + count])


@needs_openvino
def test_threads_share_an_expert() -> None:
    faces = _moving_face()
    expert = OpenVinoExpert(load_sync_expert(bundled_expert()), num_at_once=2)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: embed_faces(expert, faces), range(4)))
    assert all(np.array_equal(each, found[0]) for each in found)


@pytest.mark.parametrize("multiplies", [True, False])
@pytest.mark.parametrize("has_openvino", [pytest.param(True, marks=needs_openvino), False])
def test_the_key_says_bf16_where_bf16_computes(monkeypatch: pytest.MonkeyPatch, multiplies: bool, has_openvino: bool) -> None:
    monkeypatch.setattr(sync_evidence, "multiplies_bf16", lambda: multiplies)
    sync_evidence._loaded.cache_clear()
    if not has_openvino:
        for module in (fast_expert, precision):
            monkeypatch.setattr(module, "openvino_version", lambda: None)
    path = str(bundled_expert())
    models = Models(name="any", generator_path=path, generator_sha256="0" * 64, expert_path=path, expert_sha256="1" * 64, precision="float32")
    assert expert_inputs(models) == {"expert": "1" * 64}
    assert type(shared_expert(models)) is SyncExpert
    for wanted in ("bf16", "int8"):
        fast = models.model_copy(update={"precision": wanted})
        assert isinstance(shared_expert(fast), (OpenVinoExpert if has_openvino else Bf16Expert) if multiplies else SyncExpert)
        told = expert_inputs(fast).get("expert_arithmetic", "float32")
        assert told.startswith(("bf16 by openvino" if has_openvino else "bf16 by torch") if multiplies else "float32")
    sync_evidence._loaded.cache_clear()
