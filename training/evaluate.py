"""How good weights are on people who were not in training, with bootstrap intervals over clips."""

import tempfile
import time
from functools import lru_cache
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch

from infra.errors import DubflowError, InputError
from infra.storage import open_storage
from training import dataset, measures, shards
from training.clips import SUFFIXES, UnusableClipError, find_one_face, prepare_film
from training.measures import Figure, best_offset, interval, ratio, similarities, two_way
from wav2lip_core.checkpoint import CheckpointError, ModelCard, load_generator, load_sync_expert, read_card, sha256_of
from wav2lip_core.face_detector import open_detector
from wav2lip_core.generator import LipGenerator
from wav2lip_core.likeness import lower_looks
from wav2lip_core.lip_syncer import BUNDLED_GENERATOR
from wav2lip_core.mel import SILENCE, log_mel
from wav2lip_core.reference import references_for, rest_scores
from wav2lip_core.sync_embedder import embed_faces, embed_mel
from wav2lip_core.sync_expert import SyncExpert

__all__ = ["best_offset", "evaluate_expert", "evaluate_generator", "evaluate_model", "interval", "similarities", "two_way"]

LONG = 75  # frames of a three-second stretch
SECOND = 25
SPEECH_SHARE = 0.6  # of a stretch's columns, for it to be one with speech
PLANTED = range(-6, 7)
DETECTION_THRESHOLD = 0.5
MAX_FRECHET_BOOTSTRAP = 100
MIN_CLIPS = 2


def bundled_expert() -> Path:
    """The package's own sync expert."""
    return BUNDLED_GENERATOR.with_name("expert.safetensors")


def bundled_judge() -> Path:
    """The expert that only judges, where the package has one; otherwise its expert."""
    judge = BUNDLED_GENERATOR.with_name("judge.safetensors")
    return judge if judge.is_file() else bundled_expert()


def evaluate_model(
    kind: Literal["expert", "generator"], weights: Path, data: str | Path, *, judge: Path | None = None, num_bootstrap: int = 1000
) -> dict[str, Figure]:
    """Figures of weights on clips, each {"value", "low", "high"}. data: prepared clips, or a folder of PERSON/clip.* (taken as they are).

    judge: for a generator, the expert that scores its sync; the bundled one if None. Raises InputError for weights that are not of that kind, a
    judge that took part in the generator's training or may have, and for fewer than two usable clips, with the reasons.
    """
    try:
        if kind == "expert":
            return evaluate_expert(load_sync_expert(weights), load_evaluation_clips(data), num_bootstrap)
        judge = judge or bundled_judge()
        model, expert = load_generator(weights), load_sync_expert(judge)
        refuse_partial_judge(weights, judge)
    except (CheckpointError, OSError) as error:
        raise InputError(f"{error}. Give weights of the right kind.") from error
    return evaluate_generator(model, load_evaluation_clips(data), expert, num_bootstrap)


def refuse_partial_judge(generator: Path, judge: Path) -> None:
    """Raise InputError if the judge, or weights it was made from or on from, trained the generator, or if the generator's card does not say who
    did. Weights without a card come from elsewhere, where ours had no part."""
    card = _card(generator)
    if card is None:
        return
    if not card.trained_by:
        raise InputError(f"The card of {generator} does not say which experts it was trained towards, so nobody can tell a fair judge for it.")
    partial = ancestry(judge) & set(card.trained_by)
    if partial:
        raise InputError(f"{judge} ({min(partial)[:12]}…) trained {generator} and cannot judge it. Give another expert with --judge.")


def ancestry(weights: Path) -> set[str]:
    """Digests these weights go by: their own, of what they were converted from, and of what they were trained on from."""
    card = _card(weights)
    known = {sha256_of(weights)}
    if card is not None:
        known |= {str(digest) for digest in (card.parent, card.run.get("made_from")) if digest}
    return known


def _card(path: Path) -> ModelCard | None:
    return read_card(path) if path.suffix == ".safetensors" else None


def load_evaluation_clips(data: str | Path) -> list[dataset.Clip]:
    """All clips of prepared data or, as they are, of a folder of PERSON/clip.*; raises InputError for fewer than two usable, saying why."""
    films = [key for key in open_storage(data).list() if Path(key).suffix.lower() in SUFFIXES]
    if not films:
        entries = shards.list_entries(data)
        people = {entry.key: entry.person for entry in entries}
        clips = [clip for name in sorted({entry.shard for entry in entries}) for clip in shards.read_shard(data, name, people)]
        unusable: dict[str, str] = {}
    else:
        clips, unusable = _raw_clips(data, films)
    clips = [clip for clip in clips if clip.num_windows >= 1]
    if len(clips) < MIN_CLIPS:
        reasons = "".join(f"\n{name}: {reason}" for name, reason in list(unusable.items())[:12])
        raise InputError(f"{len(clips)} clips in {data} can be measured on, at least {MIN_CLIPS} are needed.{reasons}")
    return clips


def _raw_clips(data: str | Path, films: list[str]) -> tuple[list[dataset.Clip], dict[str, str]]:
    storage, finder = open_storage(data), find_one_face(open_detector("dlib"))
    clips, unusable = [], {}
    with tempfile.TemporaryDirectory(prefix="dubflow-film-") as folder:
        for number, name in enumerate(films):
            path = Path(folder) / f"{number}{Path(name).suffix.lower()}"
            storage.get(name, path)
            try:
                clips += [dataset.Clip(name.split("/")[0], name, clip.crops, log_mel(clip.voice)) for clip in prepare_film(path, finder)]
            except (DubflowError, UnusableClipError) as error:
                unusable[name] = str(error).replace(str(path), name)
            path.unlink()
    return clips, unusable


# -- expert


def evaluate_expert(expert: SyncExpert, clips: list[dataset.Clip], num_bootstrap: int = 1000) -> dict[str, Figure]:
    """Two-way accuracy per single window; detection at threshold 0.5; offset found within one frame on stretches of three seconds, as they are and
    with the sound moved by -6 to +6 frames, and on one-second stretches with speech; margin of the best offset over the median one."""
    table = np.array([_judge_expert(expert, clip) for clip in clips], float)
    share = {name: ratio(table[:, 2 * k], table[:, 2 * k + 1], num_bootstrap) for k, name in enumerate(_EXPERT_SHARES)}
    return share | {"margin": interval(table[:, -1], np.ones(len(table)), num_bootstrap)}


_EXPERT_SHARES = (
    "two_way_accuracy", "off_sync_detection", "in_sync_detection", "detection_accuracy", "offset_within_1_3s", "offset_within_1_1s",
    "planted_offset_within_1_3s",
)  # fmt: skip


def _judge_expert(expert: SyncExpert, clip: dataset.Clip) -> list[float]:
    """For each share, how often and out of how many; then the margin."""
    lips = embed_faces(expert, dataset.plain_crop(clip.crops, expert.config.face_size))
    reach = max(abs(offset) for offset in PLANTED)
    sounds = embed_mel(expert, dataset.mel_at(clip.mel, np.arange(-reach, len(lips) + reach)))
    similarity = lips @ sounds[reach : reach + len(lips)].T
    n, far = len(lips), measures.far_pairs(len(lips))
    accuracy, num_pairs = two_way(similarity)
    off, near = float((similarity[far] < DETECTION_THRESHOLD).mean()) if far.any() else 0.0, np.diag(similarity) >= DETECTION_THRESHOLD
    long = _stretches(n, LONG - 4, LONG - 4)
    hits = sum(abs(best_offset(similarity, a, b)[0]) <= 1 for a, b in long)
    quiet = dataset.silent_columns(clip.mel)
    seconds = [
        (a, b)
        for a, b in _stretches(n, SECOND, SECOND // 2)
        if quiet[int(a * 3.2) : int((b + 4) * 3.2)].mean() < 1 - SPEECH_SHARE and b - a == SECOND
    ]
    hits_1s = sum(abs(best_offset(similarity, a, b)[0]) <= 1 for a, b in seconds)
    planted = 0
    for offset in PLANTED:  # the sound comes `offset` frames early: at frame f there is what belongs to f + offset
        moved = lips @ sounds[reach + offset : reach + offset + n].T
        planted += sum(abs(best_offset(moved, a, b)[0] - offset) <= 1 for a, b in long)
    num_far = float(far.sum())
    detected = (off + float(near.mean())) / 2
    return [
        accuracy * num_pairs, num_pairs, off * num_far, num_far, float(near.sum()), n, detected * n, n, hits, len(long), hits_1s, len(seconds),
        planted, len(long) * len(PLANTED), best_offset(similarity)[1],
    ]  # fmt: skip


def _stretches(num_windows: int, length: int, step: int) -> list[tuple[int, int]]:
    """Ranges of windows of this length; one of all windows where there are fewer."""
    return [(a, a + length) for a in range(0, num_windows - length + 1, step)] or [(0, num_windows)]


# -- generator


def references_in_use(model: LipGenerator, faces: np.ndarray) -> np.ndarray:
    """The reference face of every frame as a dub chooses it for this generator, of a whole clip: uint8 (n, S, S, 3) -> the same."""
    if model.config.reference == "same_frame":
        return faces
    expert = _resting_expert()
    return references_for(faces, rest_scores(expert, _resized(faces, expert.config.face_size)))


@lru_cache(maxsize=1)
def _resting_expert() -> SyncExpert:
    return load_sync_expert(bundled_expert())


def references_for_reconstruction(faces: np.ndarray) -> np.ndarray:
    """A reference for every frame that is half a clip away: it cannot hand back the mouth that is asked for."""
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
    """Same sound, reference from elsewhere in the clip: lower half against the truth, beside copying the reference. Another clip's sound: what the
    judge says of it, beside what it says of the real clip. Silence: how much the mouth moves, as a share of its motion under speech.

    identity_similarity: cosine of how the lower half looks on average (edge directions and colour, no trained network) between dubbed and real
    clip. frechet_lip_distance stands in for FID, whose network is not at hand: between the judge's lip embeddings of dubbed and real clips.
    """
    rows, made, real = [], [], []
    for i, clip in enumerate(clips):
        row, dubbed_lips, real_lips = _judge_clip(model, clip, _other(clips, i), judge)
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
    num_parameters = float(sum(parameter.numel() for parameter in model.parameters()))
    figures["num_parameters"] = dict.fromkeys(("value", "low", "high") if num_bootstrap else ("value",), num_parameters)
    return figures


def _other(clips: list[dataset.Clip], i: int) -> dataset.Clip:
    """A clip with another sound, of another person where there is one."""
    turned = [clips[(i + len(clips) // 2 + k) % len(clips)] for k in range(len(clips))]
    return next((clip for clip in turned if clip.person != clips[i].person), next(clip for clip in turned if clip is not clips[i]))


def _judge_clip(model: LipGenerator, clip: dataset.Clip, other: dataset.Clip, judge: SyncExpert) -> tuple[dict[str, float], np.ndarray, np.ndarray]:
    faces = dataset.plain_crop(clip.crops, model.config.face_size)
    seen = dataset.plain_crop(clip.crops, judge.config.face_size)
    n, half = clip.num_windows, model.config.face_size // 2
    elsewhere, own = references_for_reconstruction(faces[:n]), dataset.mel_at(clip.mel, np.arange(n))
    made = generate(model, faces[:n], elsewhere, own)
    row: dict[str, float] = {}
    for prefix, picture in (("", made), ("copy_", elsewhere)):
        pair = picture[:, half:], faces[:n, half:]
        row |= {f"{prefix}psnr_lower": measures.psnr(*pair), f"{prefix}ssim_lower": measures.ssim(*pair), f"{prefix}l1_lower": measures.l1(*pair)}
    m = min(len(faces), other.num_windows + 4)
    foreign, references = dataset.mel_at(other.mel, np.arange(m)), references_in_use(model, faces)[:m]
    started = time.perf_counter()
    dubbed = generate(model, faces[:m], references, foreign)
    seconds = time.perf_counter() - started
    silent = generate(model, faces[:m], references, np.full_like(foreign, SILENCE))
    shown = _resized(dubbed, judge.config.face_size)
    score, real = measures.lse(judge, shown, other.mel), measures.lse(judge, seen, clip.mel)
    undubbed = measures.lse(judge, seen[:m], other.mel)
    row |= {"lse_c": score.lse_c, "lse_c_real": real.lse_c, "lse_c_undubbed": undubbed.lse_c, "lse_d": score.lse_d, "lse_d_real": real.lse_d}
    row |= {
        "offset_within_1": float(abs(score.offset) <= 1),
        "silence_motion": measures.mouth_motion(silent),
        "speech_motion": measures.mouth_motion(dubbed),
    }
    row |= {"identity_similarity": float(lower_looks(_resized(dubbed, 96)) @ lower_looks(_resized(faces, 96))), "num_frames": m, "seconds": seconds}
    return row, embed_faces(judge, shown), embed_faces(judge, seen)


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
