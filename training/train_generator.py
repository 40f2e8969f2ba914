"""What the lip generator learns: the true picture, the experts' opinion, and, if the recipe says so, to pass for a photograph."""

import copy
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training import dataset, losses, recipes
from training.clip_source import ClipSource
from training.evaluate import MIN_CLIPS
from training.evaluate_generator import evaluate_generator, picture_strip
from training.processes import World
from training.train_expert import NUM_VALIDATION_BATCHES, VALIDATION
from training.trainer import Batch, Moment, Part
from wav2lip_core.discriminator import QualityDiscriminator
from wav2lip_core.face_crop import mouth_mask
from wav2lip_core.generator import LipGenerator
from wav2lip_core.mel import SILENCE
from wav2lip_core.reference import carried, motion, rest_scores
from wav2lip_core.sync_expert import NUM_FRAMES, SyncExpert

NUM_DISTRACTORS = 8
MIN_REFERENCE_GAP = 5  # frames between the dubbed frames and their reference, where it is any frame
RESTING_SHARE, BETTER_HALF = 0.2, 0.5  # a reference at rest is one of the fifth most at rest, or
BETTER_HALF_OFTEN = 0.15  # this often of the better half: a shot that never pauses has nothing better
SOFT_OFTEN = 0.3  # of the samples are soft, as an actor out of focus is
RestOf = Callable[[dataset.Clip], np.ndarray]  # rest scores (n,) of a clip's frames; see wav2lip_core.reference


def generator_batch(clips: list[dataset.Clip], recipe: recipes.GeneratorRecipe, seed: tuple[int, ...], rest_of: RestOf) -> Batch:
    """mel (B, 5, 1, 80, 16), face (B, 6, 5, S, S), truth (B, 3, 5, S, S), sounds (B, 1 + distractors, 80, 16)."""
    rng = np.random.default_rng(seed)
    sampler = dataset.PersonSampler(clips, rng)
    samples = [_sample(sampler.draw(), rng, recipe, rest_of) for _ in range(recipe.num_clips)]
    stacked = (torch.from_numpy(np.stack(parts)) for parts in zip(*samples, strict=True))
    return dict(zip(("mel", "face", "truth", "sounds"), stacked, strict=True))


def _sample(clip: dataset.Clip, rng: np.random.Generator, recipe: recipes.GeneratorRecipe, rest_of: RestOf) -> tuple[np.ndarray, ...]:
    size, quiet = recipe.model.face_size, dataset.silent_columns(clip.mel)
    mel = dataset.random_voice(rng, clip.mel, strength=0.7)
    starts = rng.permutation(clip.num_windows)
    if rng.random() < recipe.silence_share:
        mel[:, quiet] = SILENCE
        starts = np.array(sorted(starts, key=lambda f: -quiet[int(f * 3.2) : int(f * 3.2) + 16].mean() + rng.random() * 0.3))
    start = int(starts[0])
    frames = clip.crops[start : start + NUM_FRAMES]
    references = _references(clip, start, rng, recipe, rest_of)
    warp = dataset.random_warp(rng, size, strength=0.8)
    both = dataset.random_light(rng, warp(np.concatenate([frames, references])), strength=0.8)
    if rng.random() < SOFT_OFTEN:
        sigma = rng.uniform(0.3, 0.9)
        both = np.stack([cv2.GaussianBlur(face, (0, 0), sigma) for face in both])
    truth, looks = both[:NUM_FRAMES], both[NUM_FRAMES:]
    hidden = truth.copy()
    hidden[:, size // 2 :] = 0
    face = np.concatenate([hidden, looks], axis=3).transpose(3, 0, 1, 2)
    indiv = dataset.mel_at(mel, np.arange(start, start + NUM_FRAMES))[:, None]
    far = starts[np.abs(starts - start) >= 3][:NUM_DISTRACTORS]
    sounds = dataset.mel_at(mel, np.concatenate([[start], far]))
    return indiv, np.ascontiguousarray(face, np.float32), np.ascontiguousarray(truth.transpose(3, 0, 1, 2), np.float32), sounds


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


class GeneratorObjective(nn.Module):
    """forward(batch, moment) -> ((1 - s - g) * L1 + s * sync + g * adversarial, figures); what was made is added to the batch as "made".

    The experts stay frozen and in eval mode, the discriminator learns elsewhere: neither is a part of this module.
    """

    def __init__(
        self, model: LipGenerator, recipe: recipes.GeneratorRecipe, experts: list[SyncExpert], discriminator: QualityDiscriminator | None
    ) -> None:
        super().__init__()
        self.model, self.recipe = model, recipe
        self._judges = (tuple(expert.eval().requires_grad_(False) for expert in experts), discriminator)
        size = recipe.model.face_size
        self.register_buffer("weights", losses.picture_weights(size, recipe.lower_half_weight), persistent=False)
        self.register_buffer("mouth", torch.from_numpy(mouth_mask(size, size).copy()), persistent=False)

    def forward(self, batch: Batch, moment: Moment) -> tuple[Tensor, dict[str, Tensor]]:
        return self.of(self.model, batch, moment)

    def of(self, model: nn.Module, batch: Batch, moment: Moment) -> tuple[Tensor, dict[str, Tensor]]:
        """The same for any generator."""
        experts, discriminator = self._judges
        made = model(batch["mel"], batch["face"]).float()
        batch["made"] = made.detach()
        assert isinstance(self.weights, Tensor)
        l1 = losses.weighted_l1(made, batch["truth"], self.weights)
        edges = losses.edge_l1(made, batch["truth"], self.weights)
        sync_weight, gan_weight = weights_at(self.recipe, moment.progress)
        figures, loss = {"l1": l1}, (1 - sync_weight - gan_weight) * (l1 + self.recipe.edge_weight * edges)
        if sync_weight or moment.is_logged:  # always in the log, with or without a weight
            with torch.set_grad_enabled(sync_weight > 0 and torch.is_grad_enabled()):
                figures["sync"], figures["unlike"] = self._opinion(experts[moment.step % len(experts)], made, batch, moment)
            loss = loss + sync_weight * figures["sync"] + (self.recipe.look_weight * figures["unlike"] if sync_weight else 0.0)
        if discriminator is not None and (gan_weight or moment.is_logged):
            with torch.set_grad_enabled(gan_weight > 0 and torch.is_grad_enabled()):
                figures["adversarial"] = _looks_real(discriminator, made, 1.0)
            loss = loss + gan_weight * figures["adversarial"]
        weights = {"sync_weight": torch.tensor(sync_weight, device=l1.device), "gan_weight": torch.tensor(gan_weight, device=l1.device)}
        return loss, {"loss": loss, **figures, **weights}

    def _opinion(self, expert: SyncExpert, made: Tensor, batch: Batch, moment: Moment) -> tuple[Tensor, Tensor]:
        """Of the picture as the film will show it: only the mouth is pasted. Truth and copy bear the same blemishes."""
        assert isinstance(self.mouth, Tensor)
        pasted = batch["truth"] + self.mouth * (made - batch["truth"])
        both = losses.blemish(torch.cat([pasted, batch["truth"]], dim=2), np.random.default_rng(moment.seed))
        return losses.expert_opinion(expert, both[:, :, :NUM_FRAMES], both[:, :, NUM_FRAMES:], batch["sounds"])


class DiscriminatorObjective(nn.Module):
    """forward(batch, moment) -> (binary cross-entropy of photographs as 1 and what the generator made as 0, figures)."""

    def __init__(self, model: QualityDiscriminator) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Batch, _moment: Moment) -> tuple[Tensor, dict[str, Tensor]]:
        real, made = self.model(batch["truth"]), self.model(batch["made"])
        loss = (_cross_entropy(real, 1.0) + _cross_entropy(made, 0.0)) / 2
        right = ((real > 0.5).float().mean() + (made <= 0.5).float().mean()) / 2
        return loss, {"discriminator": loss, "discriminator_right": right}


def weights_at(recipe: recipes.GeneratorRecipe, progress: float) -> tuple[float, float]:
    """Weights of the sync and the adversarial term. They follow from where the run is alone, so a resumed run has them at once."""
    since = progress - recipe.sync_from
    ramp = 0.0 if since < 0 else 1.0 if recipe.sync_ramp == 0 else min(1.0, since / recipe.sync_ramp)
    return recipe.sync_weight * ramp, recipe.gan_weight if progress >= recipe.gan_from else 0.0


def _looks_real(discriminator: QualityDiscriminator, faces: Tensor, truth: float) -> Tensor:
    """The discriminator's cross-entropy, with a gradient for the faces and none for its weights."""
    parameters = [parameter for parameter in discriminator.parameters() if parameter.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        return _cross_entropy(discriminator(faces), truth)
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def _cross_entropy(probability: Tensor, truth: float) -> Tensor:
    with torch.autocast(probability.device.type, enabled=False):
        return F.binary_cross_entropy(probability.float(), torch.full_like(probability, truth, dtype=torch.float32))


class GeneratorTask:
    """A lip generator in training; see trainer.Task."""

    def __init__(
        self,
        recipe: recipes.GeneratorRecipe,
        model: LipGenerator,
        experts: list[SyncExpert],
        source: ClipSource,
        held_out: list[dataset.Clip],
        strips: Path,
        world: World,
    ) -> None:
        self.recipe, self.source, self.held_out, self.strips, self.world = recipe, source, held_out, strips, world
        self.model = model.to(world.device).requires_grad_(True).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.experts = [expert.to(world.device) for expert in experts]
        self._resting, self._rest = copy.deepcopy(experts[0]).float().cpu().eval(), dict[str, np.ndarray]()
        discriminator = None if recipe.discriminator is None else QualityDiscriminator(recipe.discriminator).to(world.device)
        self.objective = GeneratorObjective(self.model, recipe, self.experts, discriminator)
        optimiser = torch.optim.AdamW(self.model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, betas=(0.9, 0.98))
        self.parts = [Part("generator", self.objective, optimiser)]
        if discriminator is not None:
            # The paper's moments for a game of two networks.
            optimiser = torch.optim.Adam(discriminator.parameters(), lr=recipe.discriminator_rate, betas=(0.5, 0.999))
            self.parts.append(Part("discriminator", DiscriminatorObjective(discriminator), optimiser))

    def batch(self, step: int, slice_index: int) -> Batch:
        return generator_batch(self.source.at(step), self.recipe, (self.recipe.seed, step, slice_index), self._rest_of)

    def _rest_of(self, clip: dataset.Clip) -> np.ndarray:
        """By the first expert, once for every clip."""
        if clip.name not in self._rest:
            with torch.autocast("cpu", enabled=False):
                self._rest[clip.name] = rest_scores(self._resting, dataset.plain_crop(clip.crops, self._resting.config.face_size))
        return self._rest[clip.name]

    def validate(self, average: nn.Module, moment: Moment) -> dict:
        """Loss terms on people kept aside, what they say of the generator in use as seen by its own trainer, and a strip of pictures."""
        clips = [clip for clip in self.held_out if clip.num_windows >= recipes.min_windows(self.recipe)]
        if not clips:
            return {}
        figures: dict[str, list[float]] = {}
        for number in range(NUM_VALIDATION_BATCHES):
            batch = generator_batch(clips, self.recipe, (self.recipe.seed, VALIDATION, number), self._rest_of)
            _, row = self.objective.of(average, {name: tensor.to(self.world.device) for name, tensor in batch.items()}, moment)
            for name in ("loss", "l1", "sync"):
                figures.setdefault(f"validation_{name}", []).append(row[name].item())
        return {name: float(np.mean(values)) for name, values in figures.items()} | {"held_out": self._in_use(average, moment.step)}

    def _in_use(self, average: nn.Module, step: int) -> dict:
        model, expert = copy.deepcopy(average).float().cpu().eval(), copy.deepcopy(self.experts[0]).cpu()
        assert isinstance(model, LipGenerator)
        with torch.autocast("cpu", enabled=False):
            picture_strip(model, self.held_out, self.strips / f"strip-{step:08d}.png")
            return evaluate_generator(model, self.held_out, expert, num_bootstrap=0) if len(self.held_out) >= MIN_CLIPS else {}
