"""The sync expert in bf16 hears and sees what it does in float32, and a score made with the one is never taken for one made with the other."""

import numpy as np
import pytest
from skimage import data

from tasks import sync_evidence
from tasks.sync_evidence import expert_inputs, shared_expert
from tasks.types import Models
from tests.small_film import make_voice
from training.evaluate_generator import bundled_expert
from wav2lip_core import sync_scorer
from wav2lip_core.checkpoint import load_sync_expert
from wav2lip_core.fast_expert import Bf16Expert
from wav2lip_core.mel import log_mel, windows_at
from wav2lip_core.sync_embedder import embed_faces, embed_mel

LARGEST_COSINE_ERROR = 0.005
NUM_FRAMES = 60


def _moving_face() -> np.ndarray:
    """A portrait whose mouth opens and shuts, uint8 (n, 96, 96, 3) BGR."""
    portrait = np.ascontiguousarray(data.astronaut()[10:202, 130:322, ::-1][::2, ::2])
    faces = np.repeat(portrait[None], NUM_FRAMES, axis=0)
    for n, face in enumerate(faces):
        gap = 1 + round(5 * abs(np.sin(n / 3)))
        face[70 - gap : 70 + gap, 36:60] //= 3
    return faces


def test_embeddings_and_scores_are_those_of_float32_to_within_what_is_told() -> None:
    exact = load_sync_expert(bundled_expert())
    faces, mel = _moving_face(), log_mel(make_voice(4.0))
    windows = windows_at(mel, np.arange(-15, NUM_FRAMES + 11) / 25)
    lips, sound = ((embed_faces(expert, faces), embed_mel(expert, windows)) for expert in (exact, Bf16Expert(exact)))
    for wanted, found in zip(lips, sound, strict=True):
        assert found.dtype == np.float32
        assert np.linalg.norm(found, axis=1) == pytest.approx(1.0, abs=1e-5)
        assert (wanted * found).sum(axis=1).min() > 1 - LARGEST_COSINE_ERROR
    scores = [sync_scorer.score_in_context(rows, heard) for rows, heard in (lips, sound)]
    assert scores[0].offset == scores[1].offset
    assert scores[1].lse_c == pytest.approx(scores[0].lse_c, abs=0.01)
    assert scores[1].lse_d == pytest.approx(scores[0].lse_d, abs=0.01)


@pytest.mark.parametrize("multiplies", [True, False])
def test_the_key_says_bf16_where_bf16_computes(monkeypatch: pytest.MonkeyPatch, multiplies: bool) -> None:
    monkeypatch.setattr(sync_evidence, "multiplies_bf16", lambda: multiplies)
    path = str(bundled_expert())
    models = Models(name="any", generator_path=path, generator_sha256="0" * 64, expert_path=path, expert_sha256="1" * 64, precision="float32")
    assert expert_inputs(models) == {"expert": "1" * 64}
    assert not isinstance(shared_expert(models), Bf16Expert)
    for precision in ("bf16", "int8"):
        fast = models.model_copy(update={"precision": precision})
        assert ("expert_arithmetic" in expert_inputs(fast)) == isinstance(shared_expert(fast), Bf16Expert) == multiplies
