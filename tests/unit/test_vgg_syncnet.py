"""The original SyncNet's two towers: one row out for each window in, whatever the batch, and wrong windows refused by shape."""

import numpy as np
import pytest
import torch

from wav2lip_core.vgg_syncnet import VggSyncNet, VggSyncNetConfig


@pytest.fixture(scope="module")
def network() -> VggSyncNet:
    torch.manual_seed(0)
    return VggSyncNet(VggSyncNetConfig(width=0.05)).eval()


@torch.inference_mode()
def test_a_window_s_embedding_does_not_depend_on_its_batch(network: VggSyncNet) -> None:
    rng = np.random.default_rng(0)
    mfcc, frames = rng.standard_normal((3, 1, 13, 20)), rng.integers(0, 256, (3, 3, 5, 224, 224), dtype=np.uint8)
    for embed, windows in ((network.embed_audio, mfcc), (network.embed_lips, frames)):
        together = embed(windows)
        assert together.shape == (3, 52)
        assert together.dtype == torch.float32
        np.testing.assert_allclose(together, torch.cat([embed(windows[i : i + 1]) for i in range(3)]), atol=1e-5)


@torch.inference_mode()
def test_every_frame_of_a_lip_window_counts_and_their_order_too(network: VggSyncNet) -> None:
    frames = torch.rand(1, 3, 5, 224, 224) * 255
    whole = network.embed_lips(frames)
    assert not torch.allclose(network.embed_lips(frames.flip(2)), whole)
    for frame in range(5):
        changed = frames.clone()
        changed[:, :, frame] = 0
        assert not torch.allclose(network.embed_lips(changed), whole)


def test_windows_of_another_shape_are_refused_by_name(network: VggSyncNet) -> None:
    with pytest.raises(ValueError, match=r"\(N, 1, 13, 20\), got \(2, 13, 20\)"):
        network.embed_audio(torch.zeros(2, 13, 20))
    with pytest.raises(ValueError, match=r"got \(1, 3, 5, 96, 96\)"):
        network.embed_lips(torch.zeros(1, 3, 5, 96, 96))
