"""A picture to look at: people in the film, and under each the same moments dubbed with another clip's sound."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from infra.durable import disk_errors, publish
from infra.scratch import new_scratch_name
from training import dataset
from training.evaluate_generator import generate, other_clips, references_in_use
from wav2lip_core.face_crop import mouth_mask
from wav2lip_core.generator import LipGenerator

matplotlib.use("Agg")

MAX_PEOPLE, NUM_MOMENTS = 6, 8
SHOWN_SIZE = 96  # pixels of a face at least; smaller ones are scaled up
GAP = 8  # pixels between two people
_DPI, _LEFT, _TOP = 100, 1.5, 0.35  # inches for labels


def draw_strip(model: LipGenerator, clips: Sequence[dataset.Clip], path: Path) -> Path:
    """PNG of up to six people: real frames on top, under them the same frames dubbed with another person's sound and pasted as a film shows
    them (the mouth alone). Rows bear names, columns the moment in the clip. Raises TransientError when the disk is full."""
    people = _six(clips)
    last = min(clip.num_windows for clip in people) - 1
    moments = np.linspace(0.15 * last, 0.85 * last, NUM_MOMENTS).round().astype(int)
    pairs = [(faces[moments], _dubbed(model, clip, faces, other_clips(clips, clip)[-1], moments)) for clip, faces in _with_faces(model, people)]
    size = max(SHOWN_SIZE, model.config.face_size)
    rows, places = [], []
    for real, dubbed in pairs:
        top = sum(map(len, rows))
        rows += [_row(real, size), _row(dubbed, size), np.full((GAP, NUM_MOMENTS * size, 3), 255, np.uint8)]
        places += [top + size // 2, top + size + size // 2]
    labels = [f"{clip.person}\n{what}" for clip in people for what in ("real", "dubbed")]
    _draw(np.concatenate(rows[:-1]), places, labels, [f"{moment / dataset.FPS:.1f} s" for moment in moments], size, path)
    return path


def _six(clips: Sequence[dataset.Clip]) -> list[dataset.Clip]:
    """One clip of each person, spread evenly where there are more people than fit."""
    firsts: dict[str, dataset.Clip] = {}
    for clip in clips:
        firsts.setdefault(clip.person, clip)
    people = [firsts[person] for person in sorted(firsts)]
    picked = np.linspace(0, len(people) - 1, min(MAX_PEOPLE, len(people))).round().astype(int)
    return [people[i] for i in picked]


def _with_faces(model: LipGenerator, people: list[dataset.Clip]) -> list[tuple[dataset.Clip, np.ndarray]]:
    return [(clip, dataset.plain_crop(clip.crops, model.config.face_size)) for clip in people]


def _dubbed(model: LipGenerator, clip: dataset.Clip, faces: np.ndarray, other: dataset.Clip, moments: np.ndarray) -> np.ndarray:
    sound = dataset.mel_at(other.mel, np.minimum(moments, other.num_windows - 1))
    made = generate(model, faces[moments], references_in_use(model, faces)[moments], sound)
    mask = mouth_mask(faces.shape[2], faces.shape[1])[..., None]
    return (faces[moments] + mask * (made.astype(np.float32) - faces[moments])).round().astype(np.uint8)


def _row(faces: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([cv2.resize(face, (size, size), interpolation=cv2.INTER_CUBIC) for face in faces], axis=1)


def _draw(mosaic: np.ndarray, places: list[int], labels: list[str], times: list[str], size: int, path: Path) -> None:
    """One picture element of the mosaic is one of the file."""
    height, width = mosaic.shape[0] / _DPI, mosaic.shape[1] / _DPI
    figure = Figure(figsize=(width + _LEFT, height + _TOP), dpi=_DPI)
    axes = figure.add_axes((_LEFT / (width + _LEFT), 0.0, width / (width + _LEFT), height / (height + _TOP)))
    axes.imshow(cv2.cvtColor(mosaic, cv2.COLOR_BGR2RGB), interpolation="nearest", aspect="auto")
    axes.set_yticks(places, labels, fontsize=9)
    axes.set_xticks([size * (k + 0.5) for k in range(NUM_MOMENTS)], times, fontsize=9)
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    temporary = path.with_name(new_scratch_name())
    with disk_errors("drawing faces", path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            figure.savefig(temporary, format="png", dpi=_DPI)
            publish(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
