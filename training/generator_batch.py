"""What a lip generator is shown in training: faces with the mouth hidden, a reference, sounds of their own and of others, all in disguise."""

from collections.abc import Callable

import cv2
import numpy as np
import torch

from training import dataset, recipes
from training.trainer import Batch
from wav2lip_core.mel import SILENCE
from wav2lip_core.reference import carried, motion
from wav2lip_core.sync_expert import NUM_FRAMES

NUM_DISTRACTORS = 8
MIN_REFERENCE_GAP = 5  # frames between the dubbed frames and their reference, where it is any frame
RESTING_SHARE, BETTER_HALF = 0.2, 0.5  # a reference at rest is one of the fifth most at rest, or
BETTER_HALF_OFTEN = 0.15  # this often of the better half: a shot that never pauses has nothing better
SOFT_OFTEN = 0.3  # of the samples are soft, as an actor out of focus is
NUM_RANGE_FRAMES = 10  # of the clip, evenly spread: what a person's mouth looks like, open and closed
RANGE_REACH = 9  # pixels, of the square around each pixel whose darkest and brightest count as what is seen there
RestOf = Callable[[dataset.Clip], np.ndarray]  # rest scores (n,) of a clip's frames; see wav2lip_core.reference


def generator_batch(
    clips: list[dataset.Clip], recipe: recipes.GeneratorRecipe, seed: tuple[int, ...], rest_of: RestOf, foreign_share: float = 0.0
) -> Batch:
    """mel (B, 5, 1, 80, 16), face (B, 6, 5, S, S), truth (B, 3, 5, S, S), range (B, 2, 3, S, S), sounds (B, 1 + distractors, 80, 16), own (B,) bool.

    own: whether the sound is that of the true picture; foreign_share of them speak another clip's, as in a dub. Of the others some hear nothing,
    and the true picture is the reference.
    """
    rng = np.random.default_rng(seed)
    sampler = dataset.PersonSampler(clips, rng)
    samples = []
    for _ in range(recipe.num_clips):
        clip = sampler.draw()
        foreign = sampler.draw() if foreign_share and rng.random() < foreign_share else None
        samples.append(_sample(clip, rng, recipe, rest_of) if foreign is None else _foreign_sample(clip, foreign, rng, recipe, rest_of))
    stacked = (torch.from_numpy(np.stack(parts)) for parts in zip(*samples, strict=True))
    return dict(zip(("mel", "face", "truth", "range", "sounds", "own"), stacked, strict=True))


def _sample(clip: dataset.Clip, rng: np.random.Generator, recipe: recipes.GeneratorRecipe, rest_of: RestOf) -> tuple[np.ndarray, ...]:
    if rng.random() < recipe.still_share:
        return _still_sample(clip, rng, recipe, rest_of)
    quiet = dataset.silent_columns(clip.mel)
    mel = dataset.random_voice(rng, clip.mel, strength=0.7)
    starts = rng.permutation(clip.num_windows)
    if rng.random() < recipe.silence_share:
        mel[:, quiet] = SILENCE
        starts = np.array(sorted(starts, key=lambda f: -quiet[int(f * 3.2) : int(f * 3.2) + 16].mean() + rng.random() * 0.3))
    indiv, sounds = _sounds(mel, starts)
    return indiv, *_pictures(clip, int(starts[0]), rng, recipe, rest_of), sounds, np.array(True)


def _still_sample(clip: dataset.Clip, rng: np.random.Generator, recipe: recipes.GeneratorRecipe, rest_of: RestOf) -> tuple[np.ndarray, ...]:
    """A face that hears digital silence: whatever its mouth does in the film, it is to rest as in the reference."""
    starts = rng.permutation(clip.num_windows)
    face, _, seen = _pictures(clip, int(starts[0]), rng, recipe, rest_of)
    indiv, sounds = _sounds(np.full_like(clip.mel, SILENCE), starts)
    return indiv, face, np.ascontiguousarray(face[3:]), seen, sounds, np.array(True)


def _foreign_sample(
    clip: dataset.Clip, other: dataset.Clip, rng: np.random.Generator, recipe: recipes.GeneratorRecipe, rest_of: RestOf
) -> tuple[np.ndarray, ...]:
    """The face of one clip, the sound of another."""
    pictures = _pictures(clip, int(rng.integers(clip.num_windows)), rng, recipe, rest_of)
    indiv, sounds = _sounds(dataset.random_voice(rng, other.mel, strength=0.7), rng.permutation(other.num_windows))
    return indiv, *pictures, sounds, np.array(False)


def _sounds(mel: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Windows of the five frames from starts[0] on (5, 1, 80, 16); that of the first and distractors well away from it (1 + distractors, 80, 16)."""
    start = int(starts[0])
    far = starts[np.abs(starts - start) >= 3][:NUM_DISTRACTORS]
    return dataset.mel_at(mel, np.arange(start, start + NUM_FRAMES))[:, None], dataset.mel_at(mel, np.concatenate([[start], far]))


def _pictures(
    clip: dataset.Clip, start: int, rng: np.random.Generator, recipe: recipes.GeneratorRecipe, rest_of: RestOf
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """In one disguise, float32 in [0, 1]: what the generator is shown (6, 5, S, S), the true pictures (3, 5, S, S), and the darkest and the
    brightest of each pixel's surroundings in the clip (2, 3, S, S)."""
    size = recipe.model.face_size
    frames = clip.crops[start : start + NUM_FRAMES]
    references = _references(clip, start, rng, recipe, rest_of)
    others = clip.crops[np.linspace(0, len(clip.crops) - 1, NUM_RANGE_FRAMES if recipe.range_weight else 0).astype(int)]
    warp = dataset.random_warp(rng, size, strength=0.8)
    lit = dataset.random_light(rng, warp(np.concatenate([frames, references, others])), strength=0.8)
    seen = _range_of(lit)
    both = lit[: 2 * NUM_FRAMES]
    if rng.random() < SOFT_OFTEN:
        sigma = rng.uniform(0.3, 0.9)
        both = np.stack([cv2.GaussianBlur(face, (0, 0), sigma) for face in both])
    truth, looks = both[:NUM_FRAMES], both[NUM_FRAMES:]
    hidden = truth.copy()
    hidden[:, size // 2 :] = 0
    face = np.concatenate([hidden, looks], axis=3).transpose(3, 0, 1, 2)
    return np.ascontiguousarray(face, np.float32), np.ascontiguousarray(truth.transpose(3, 0, 1, 2), np.float32), seen


def _range_of(faces: np.ndarray) -> np.ndarray:
    """Darkest and brightest value of each pixel's surroundings over all faces (n, S, S, 3), by colour: float32 (2, 3, S, S)."""
    square = np.ones((RANGE_REACH, RANGE_REACH), np.uint8)
    darkest, brightest = cv2.erode(faces.min(axis=0), square), cv2.dilate(faces.max(axis=0), square)
    return np.stack([darkest, brightest]).transpose(0, 3, 1, 2).astype(np.float32)


def _references(clip: dataset.Clip, start: int, rng: np.random.Generator, recipe: recipes.GeneratorRecipe, rest_of: RestOf) -> np.ndarray:
    """What the generator is given to edit, as prepared crops (5, 144, 144, 3): one face at rest moved to each frame's head, or one from elsewhere."""
    if recipe.model.reference == "resting":
        order = np.argsort(-rest_of(clip), kind="stable")
        share = BETTER_HALF if rng.random() < BETTER_HALF_OFTEN else RESTING_SHARE
        chosen = clip.crops[int(rng.choice(order[: max(3, round(share * len(order)))]))]
        return np.stack([_moved(chosen, frame) for frame in clip.crops[start : start + NUM_FRAMES]])
    others = [f for f in range(len(clip.crops)) if f < start - MIN_REFERENCE_GAP or f >= start + NUM_FRAMES + MIN_REFERENCE_GAP]
    return np.repeat(clip.crops[[int(rng.choice(others))]], NUM_FRAMES, axis=0)


def _moved(reference: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """A prepared crop with its head where that of another is; the motion is read in the canonical part, as in use."""
    edge = round(len(frame) * dataset.MARGIN / (1 + 2 * dataset.MARGIN))
    inner = slice(edge, len(frame) - edge)
    by = motion(np.ascontiguousarray(frame[inner, inner]), np.ascontiguousarray(reference[inner, inner]))
    by[:, 2] += edge - by[:, :2].sum(axis=1) * edge
    return carried(reference, by)
