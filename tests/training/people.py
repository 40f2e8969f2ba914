"""People made for training: a face whose mouth opens with the loudness of a hum, each with a look, a voice and a rhythm of its own."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from tests.media import Sound, write_film
from training import recipes, shards
from training.clips import PreparedClip
from training.dataset import PREPARED_SIZE
from training.fingerprint import fingerprint
from wav2lip_core.checkpoint import ModelCard, save_model
from wav2lip_core.sync_expert import ExpertConfig, SyncExpert

TINY_EXPERT = replace(recipes.smoke(), num_steps=6, save_every=2, evaluate_every=6, num_clips=1, num_windows=3, num_distractors=2, num_gentle_steps=2)
TINY_GENERATOR = replace(recipes.smoke_generator(), num_steps=4, save_every=2, evaluate_every=4, num_clips=1)


def loudness(seed: int, num_frames: int) -> np.ndarray:
    """How loud the person speaks at each frame, in [0, 1]."""
    rng = np.random.default_rng(seed)
    return np.clip(np.interp(np.arange(num_frames), np.arange(0, num_frames + 4, 4), rng.random(len(range(0, num_frames + 4, 4)))), 0.02, 1)


def voice(seed: int, num_frames: int, rate: int = 16000) -> np.ndarray:
    """A hum whose colour changes all the time, float32 (n,), of the loudness that the mouth shows."""
    rng = np.random.default_rng(seed + 1000)
    time = np.arange(num_frames * rate // 25) / rate
    pitch, knots = 100 + 120 * rng.random(), np.arange(0, num_frames + 4, 4)
    parts = np.stack([np.sin(2 * np.pi * k * pitch * time + rng.uniform(0, 6)) for k in range(1, 25)])
    colour = np.stack([np.interp(time * 25, knots, 10 ** rng.uniform(-1.5, 0, len(knots))) / k**0.5 for k in range(1, 25)])
    hum = (parts * colour).sum(axis=0) / np.sqrt((colour**2).sum(axis=0))
    return (np.interp(time, np.arange(num_frames) / 25, loudness(seed, num_frames)) * 0.15 * hum).astype(np.float32)


def crops(seed: int, num_frames: int) -> np.ndarray:
    """uint8 (n, 144, 144, 3): a disc for a mouth."""
    y, x = np.mgrid[0:PREPARED_SIZE, 0:PREPARED_SIZE]
    shade = np.random.default_rng(seed).integers(90, 200, 3)
    out = np.empty((num_frames, PREPARED_SIZE, PREPARED_SIZE, 3), np.uint8)
    out[:] = shade
    for crop, level in zip(out, loudness(seed, num_frames), strict=True):
        crop[((x - 72) / 25) ** 2 + ((y - 100) / (2 + 16 * level)) ** 2 < 1] = 20
    return out


def prepared(seed: int, num_frames: int = 40) -> PreparedClip:
    return PreparedClip(crops(seed, num_frames), voice(seed, num_frames), 0.0)


def write_shards(folder: Path, people: dict[str, list[int]], *, num_frames: int = 40, shard_bytes: int = shards.SHARD_BYTES) -> Path:
    """Prepared clips of these people, one for each seed."""
    writer, entries = shards.ShardWriter(folder, shard_bytes), []
    for person, seeds in people.items():
        for seed in seeds:
            clip = prepared(seed, num_frames)
            facts = {"num_windows": shards.count_windows(num_frames, len(clip.voice)), "licence": "CC0", "consent": "made up"}
            facts |= {"source": f"{person}/{seed}.mp4", "source_sha256": f"{seed:064d}"}
            words = fingerprint(clip.voice).astype("<u2").tobytes().hex()
            encoded = shards.encode_clip(clip.crops, clip.voice)
            entries.append(writer.add(*encoded, person=person, num_frames=num_frames, fingerprint=words, **facts))
    writer.close(entries)
    return folder


def tiny_expert(path: Path, seed: int = 0, **card) -> Path:
    """An untrained expert's weights with a card."""
    import torch

    torch.manual_seed(seed)
    facts = {"name": path.stem, "kind": "sync_expert", "data": "none", "licence": "CC0", "attribution": "none"}
    save_model(path, SyncExpert(ExpertConfig(0.125)), ModelCard.model_validate(facts | card))
    return path


def write_talking_film(path: Path, picture: np.ndarray, num_frames: int = 25, *, fps: Fraction = Fraction(25), sound: Sound | None) -> Path:
    """The same picture over and over, with this sound."""
    return write_film(path, (picture for _ in range(num_frames)), fps=fps, sound=sound)
