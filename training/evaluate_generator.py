"""How well a generator dubs people who were not in training: picture, sync, silence and looks, always together."""

import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch

from training import dataset, measures
from training.measures import Figure, interval, ratio
from wav2lip_core.checkpoint import load_sync_expert
from wav2lip_core.generator import LipGenerator
from wav2lip_core.likeness import lower_looks
from wav2lip_core.lip_syncer import BUNDLED_GENERATOR
from wav2lip_core.mel import NUM_BANDS, SILENCE, WINDOW_COLUMNS
from wav2lip_core.reference import held_still, references_for, rest_scores
from wav2lip_core.sync_embedder import embed_faces
from wav2lip_core.sync_expert import SyncExpert

MAX_FRECHET_BOOTSTRAP = 100
NUM_SOUNDS = 3  # that every clip is dubbed with: one alone says as much of itself as of the generator


def bundled_expert() -> Path:
    """The package's own sync expert."""
    return BUNDLED_GENERATOR.with_name("expert.safetensors")


def references_in_use(model: LipGenerator, faces: np.ndarray) -> np.ndarray:
    """The reference face of every frame as a dub chooses it for this generator, of a whole clip: uint8 (n, S, S, 3) -> the same."""
    if model.config.reference == "same_frame":
        return faces
    expert = _resting_expert()
    return references_for(faces, rest_scores(expert, _resized(faces, expert.config.face_size)))


@lru_cache(maxsize=1)
def _resting_expert() -> SyncExpert:
    return load_sync_expert(bundled_expert())


def references_for_reconstruction(model: LipGenerator, faces: np.ndarray) -> np.ndarray:
    """A reference for every frame that cannot hand back the mouth that is asked for: at rest, or from half a clip away."""
    if model.config.reference == "resting":
        return references_in_use(model, faces)
    return faces[(np.arange(len(faces)) + len(faces) // 2) % len(faces)]


def generate(model: LipGenerator, frames: np.ndarray, reference: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """frames, reference uint8 (n, S, S, 3), mel windows (n, 80, 16) -> uint8 (n, S, S, 3)."""
    size, out = model.config.face_size, []
    hidden = frames.copy()
    hidden[:, size // 2 :] = 0
    face = np.concatenate([hidden, reference], axis=3).transpose(0, 3, 1, 2)
    with torch.inference_mode():
        for i in range(0, len(frames), 32):
            batch = torch.from_numpy(np.ascontiguousarray(face[i : i + 32])).float() / 255
            made = model(torch.from_numpy(windows[i : i + 32]).unsqueeze(1), batch)
            out.append((made * 255).round().byte().permute(0, 2, 3, 1).numpy())
    return np.concatenate(out)


def evaluate_generator(model: LipGenerator, clips: list[dataset.Clip], judge: SyncExpert, num_bootstrap: int = 1000) -> dict[str, Figure]:
    """Same sound, reference from elsewhere in the clip: lower half against the truth, beside copying the reference. Other clips' sounds, each
    equally often: what the judge says of them, beside what it says of the real clip. Silence: how much the mouth moves by itself (the head held
    still), as a share of its motion under speech.

    identity_similarity: cosine of how the lower half looks on average (edge directions and colour, no trained network) between dubbed and real
    clip. frechet_lip_distance stands in for FID, whose network is not at hand: between the judge's lip embeddings of dubbed and real clips.
    """
    rows, made, real = [], [], []
    for clip in clips:
        row, dubbed_lips, real_lips = _judge_clip(model, clip, other_clips(clips, clip), judge)
        rows.append(row)
        made.append(dubbed_lips)
        real.append(real_lips)
    table = {name: np.array([row[name] for row in rows], float) for name in rows[0]}
    ones = np.ones(len(clips))
    shares = {
        "lse_c_share_of_real": ("lse_c", "lse_c_real"),
        "silence_motion_share": ("silence_motion", "speech_motion"),
        "frames_per_second": ("num_frames", "seconds"),
    }
    apart = {name for pair in shares.values() for name in pair} - {"lse_c", "lse_c_real"}
    figures = {name: interval(values, ones, num_bootstrap) for name, values in table.items() if name not in apart}
    figures |= {name: ratio(table[above], table[below], num_bootstrap) for name, (above, below) in shares.items()}
    figures["frechet_lip_distance"] = measures.frechet(made, real, min(num_bootstrap, MAX_FRECHET_BOOTSTRAP))
    figures["num_parameters"] = measures.exact(sum(parameter.numel() for parameter in model.parameters()), num_bootstrap)
    return figures


def other_clips(clips: Sequence[dataset.Clip], clip: dataset.Clip) -> list[dataset.Clip]:
    """NUM_SOUNDS other clips, fewer where there are no more. Over all clips every one of them is taken equally often."""
    i = next(k for k, known in enumerate(clips) if known is clip)
    turns = {min(max(1, round(len(clips) * k / (NUM_SOUNDS + 1))), len(clips) - 1) for k in range(1, NUM_SOUNDS + 1)}
    return [clips[(i + turn) % len(clips)] for turn in sorted(turns)]


def _judge_clip(
    model: LipGenerator, clip: dataset.Clip, others: list[dataset.Clip], judge: SyncExpert
) -> tuple[dict[str, float], np.ndarray, np.ndarray]:
    faces = dataset.plain_crop(clip.crops, model.config.face_size)
    seen = dataset.plain_crop(clip.crops, judge.config.face_size)
    n, half = clip.num_windows, model.config.face_size // 2
    elsewhere, own = references_for_reconstruction(model, faces)[:n], dataset.mel_at(clip.mel, np.arange(n))
    made = generate(model, faces[:n], elsewhere, own)
    row: dict[str, float] = {}
    for prefix, picture in (("", made), ("copy_", elsewhere)):
        pair = picture[:, half:], faces[:n, half:]
        row |= {f"{prefix}psnr_lower": measures.psnr(*pair), f"{prefix}ssim_lower": measures.ssim(*pair), f"{prefix}l1_lower": measures.l1(*pair)}
    references, silence = references_in_use(model, faces), np.full((len(faces), NUM_BANDS, WINDOW_COLUMNS), SILENCE, np.float32)
    silent = held_still(generate(model, faces, references, silence), faces)
    dubs, lips = zip(*(_judge_dub(model, (faces, references, silent, seen), other, judge) for other in others), strict=True)
    row |= {name: float(np.mean([dub[name] for dub in dubs])) for name in dubs[0]}
    real = measures.lse(judge, seen, clip.mel)
    row |= {"lse_c_real": real.lse_c, "lse_d_real": real.lse_d}
    return row, np.concatenate(lips), embed_faces(judge, seen)


def _judge_dub(
    model: LipGenerator, clip: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], other: dataset.Clip, judge: SyncExpert
) -> tuple[dict[str, float], np.ndarray]:
    """clip: its faces, their references, the same under silence held still, and the faces in the judge's size."""
    m = min(len(clip[0]), other.num_windows + 4)
    faces, references, silent, seen = (pictures[:m] for pictures in clip)
    foreign = dataset.mel_at(other.mel, np.arange(m))
    started = time.perf_counter()
    dubbed = generate(model, faces, references, foreign)
    seconds = time.perf_counter() - started
    shown = _resized(dubbed, judge.config.face_size)
    score = measures.lse(judge, shown, other.mel)
    row = {
        "lse_c": score.lse_c,
        "lse_d": score.lse_d,
        "lse_c_undubbed": measures.lse(judge, seen, other.mel).lse_c,
        "offset_within_1": float(abs(score.offset) <= 1),
        "silence_motion": measures.mouth_motion(silent),
        "speech_motion": measures.mouth_motion(held_still(dubbed, faces)),
        "identity_similarity": float(lower_looks(_resized(dubbed, 96)) @ lower_looks(_resized(faces, 96))),
        "num_frames": m,
        "seconds": seconds,
    }
    return row, embed_faces(judge, shown)


def _resized(faces: np.ndarray, size: int) -> np.ndarray:
    return faces if faces.shape[1] == size else np.stack([cv2.resize(face, (size, size), interpolation=cv2.INTER_AREA) for face in faces])


def picture_strip(model: LipGenerator, clips: list[dataset.Clip], path: Path, num_people: int = 6) -> None:
    """PNG: per person a row of real frames and under it the same frames speaking another clip's sound."""
    people = list({clip.person: clip for clip in clips}.values())[:num_people]
    rows = []
    for i, clip in enumerate(people):
        faces = dataset.plain_crop(clip.crops, model.config.face_size)
        pick = np.linspace(0.2 * (clip.num_windows - 1), 0.8 * (clip.num_windows - 1), 10).astype(int)
        foreign = dataset.mel_at(people[(i + 1) % len(people)].mel, pick)
        made = generate(model, faces[pick], references_in_use(model, faces)[pick], foreign)
        rows += [np.concatenate(list(faces[pick]), axis=1), np.concatenate(list(made), axis=1)]
    cv2.imwrite(str(path), np.concatenate(rows))
