"""With the same weights, every network and feature gives the published implementation's numbers. The weights are drawn by name, not downloaded."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from wav2lip_core.checkpoint import describe, load_discriminator, load_generator, load_sync_expert, load_vgg_syncnet
from wav2lip_core.lip_syncer import LipSyncer
from wav2lip_core.mel import log_mel, mel_basis, windows_at
from wav2lip_core.mfcc import mfcc
from wav2lip_core.sync_scorer import mean_distances, score


@pytest.fixture(scope="module")
def references(shared: Path):
    def load(name: str) -> SimpleNamespace:
        with np.load(shared / "fixtures" / f"reference_{name}.npz", allow_pickle=False) as arrays:
            return SimpleNamespace(**arrays)

    return load


@pytest.fixture(scope="module")
def published(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The four files as they were published: names, wrappers and containers alike, weights drawn at random."""
    spec = importlib.util.spec_from_file_location("make_state", shared / "fixtures/make_state.py")
    assert spec
    assert spec.loader
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    folder = tmp_path_factory.mktemp("published")

    def state(net: str) -> dict[str, torch.Tensor]:
        return {name: torch.from_numpy(np.asarray(value)) for name, value in maker.make_state(net, seed=7).items()}

    def wrapped(weights: dict[str, torch.Tensor]) -> dict:
        return {"state_dict": weights, "optimizer": {"state": {}, "param_groups": [{"lr": 1e-4}]}, "global_step": 258000, "global_epoch": 88}

    files = SimpleNamespace(
        generator=folder / "wav2lip_gan.pth",
        sync_expert=folder / "lipsync_expert.pth",
        discriminator=folder / "visual_quality_disc.pth",
        vgg_syncnet=folder / "syncnet_v2.model",
    )
    torch.save(wrapped({f"module.{name}": value for name, value in state("Wav2Lip").items()}), files.generator)
    torch.save(wrapped(state("SyncNet_color")), files.sync_expert)
    torch.save(wrapped(state("disc")), files.discriminator, _use_new_zipfile_serialization=False)
    bare = {name: value for name, value in state("S").items() if not name.endswith("num_batches_tracked")}
    torch.save(bare, files.vgg_syncnet, _use_new_zipfile_serialization=False)
    return files


def relative_to_norm(found: np.ndarray, wanted: np.ndarray) -> float:
    return float((np.linalg.norm(found - wanted, axis=1) / np.linalg.norm(wanted, axis=1)).max())


@pytest.mark.parametrize(
    ("kind", "num_parameters"),
    [("generator", 36_298_035), ("sync_expert", 16_435_072), ("discriminator", 14_113_793), ("vgg_syncnet", 13_631_616)],
)
def test_a_published_file_is_recognised_with_its_size(published: SimpleNamespace, kind: str, num_parameters: int) -> None:
    facts = describe(getattr(published, kind))
    assert (facts.kind, facts.num_parameters, facts.config["width"]) == (kind, num_parameters, 1.0)


@torch.inference_mode()
def test_the_generator_paints_the_published_pictures(published: SimpleNamespace, references) -> None:
    reference, generator = references("Wav2Lip"), load_generator(published.generator)
    frames = generator(torch.from_numpy(reference.mel), torch.from_numpy(reference.face))
    clips = generator(torch.from_numpy(reference.mel5), torch.from_numpy(reference.face5))
    assert not generator.training
    np.testing.assert_allclose(frames.numpy(), reference.out, rtol=0, atol=1e-4)
    np.testing.assert_allclose(clips.numpy(), reference.out5, rtol=0, atol=1e-4)


@torch.inference_mode()
def test_the_lip_syncer_paints_what_the_generator_paints(published: SimpleNamespace, references) -> None:
    reference, generator = references("Wav2Lip"), load_generator(published.generator)
    faces = np.random.default_rng(5).integers(0, 256, (3, 96, 96, 3), dtype=np.uint8)
    mel = reference.mel[:, 0]
    pose = faces.copy()
    pose[:, 48:] = 0
    network_input = torch.from_numpy(np.concatenate([pose, faces], axis=3).transpose(0, 3, 1, 2).astype(np.float32) / 255)
    painted = generator(torch.from_numpy(reference.mel), network_input).numpy().transpose(0, 2, 3, 1) * 255
    generated = LipSyncer(model=generator).generate(faces, mel)
    assert (generated.dtype, generated.shape) == (np.uint8, (3, 96, 96, 3))
    np.testing.assert_allclose(generated, painted, rtol=0, atol=0.6)  # rounded, not truncated


@torch.inference_mode()
def test_the_sync_expert_gives_the_published_embeddings(published: SimpleNamespace, references) -> None:
    reference = references("SyncNet_color")
    audio, face = load_sync_expert(published.sync_expert)(torch.from_numpy(reference.mel), torch.from_numpy(reference.face))
    assert relative_to_norm(audio.numpy(), reference.audio_embedding) < 1e-5
    assert relative_to_norm(face.numpy(), reference.face_embedding) < 1e-5
    np.testing.assert_allclose((audio * face).sum(1).numpy(), reference.cosine, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_the_discriminator_gives_the_published_probabilities(published: SimpleNamespace, references) -> None:
    reference = references("disc")
    found = load_discriminator(published.discriminator)(torch.from_numpy(reference.x))
    np.testing.assert_allclose(found.numpy(), reference.probability_real, rtol=0, atol=1e-5)


def test_the_vgg_syncnet_gives_the_published_embeddings(published: SimpleNamespace, references) -> None:
    reference, network = references("S"), load_vgg_syncnet(published.vgg_syncnet)
    assert relative_to_norm(network.embed_audio(torch.from_numpy(reference.mfcc)).numpy(), reference.audio_embedding) < 1e-5
    assert relative_to_norm(network.embed_lips(torch.from_numpy(reference.lip)).numpy(), reference.lip_embedding) < 1e-5
    assert torch.equal(network.embed_lips(reference.lip), network.embed_lips(torch.from_numpy(reference.lip).float()))


def test_the_mel_spectrogram_is_the_published_one(references) -> None:
    reference = references("audio")
    found = log_mel(reference.wav_f32)
    assert found.shape == (80, 241)
    np.testing.assert_allclose(found, reference.mel_reflect_c64, rtol=0, atol=2e-5)
    np.testing.assert_allclose(mel_basis(), reference.mel_basis, rtol=0, atol=1e-7)


@pytest.mark.parametrize("fps", [23.976, 24.0, 25.0, 29.97, 30.0, 50.0, 60.0])
def test_mel_windows_start_where_the_published_ones_do(references, fps: float) -> None:
    starts = getattr(references("audio"), f"chunk_starts_fps{str(fps).replace('.', '_')}")[:-1]  # the last is moved back to end with the sound
    ramp = np.broadcast_to(np.arange(241, dtype=np.float32), (80, 241))
    windows = windows_at(ramp, np.arange(len(starts)) / fps)
    np.testing.assert_array_equal(windows[:, 0, 0], starts)
    np.testing.assert_array_equal(windows[:, 40, -1], starts + 15)


def test_the_mfcc_are_the_published_ones(references) -> None:
    reference = references("audio")
    found = mfcc(reference.wav_i16)
    assert found.shape == (299, 13)
    np.testing.assert_allclose(found, reference.mfcc, rtol=0, atol=1e-6)


def test_offset_distance_and_confidence_are_the_published_ones(references) -> None:
    reference = references("lse")
    offset, lse_d, lse_c = score(reference.lip_embedding, reference.audio_embedding, max_shift=15)
    assert offset == reference.offset
    assert lse_d == pytest.approx(float(reference.lse_d), abs=1e-4)
    assert lse_c == pytest.approx(float(reference.lse_c), abs=1e-4)
    np.testing.assert_allclose(mean_distances(reference.lip_embedding, reference.audio_embedding), reference.mean_distance, rtol=0, atol=1e-4)
