"""What the lip generator learns: the true picture, the experts' opinion, and, if the recipe says so, to pass for a photograph."""

import copy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training import dataset, losses, recipes
from training.clip_source import ClipSource
from training.evaluate import MIN_CLIPS
from training.evaluate_generator import evaluate_generator, picture_strip
from training.generator_batch import generator_batch
from training.processes import World
from training.train_expert import NUM_VALIDATION_BATCHES, VALIDATION
from training.trainer import Batch, Moment, Part
from wav2lip_core.discriminator import QualityDiscriminator
from wav2lip_core.face_crop import mouth_mask
from wav2lip_core.generator import LipGenerator
from wav2lip_core.reference import rest_scores
from wav2lip_core.sync_expert import NUM_FRAMES, SyncExpert


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
        own = batch["own"]
        l1 = losses.weighted_l1(made[own], batch["truth"][own], self.weights) if own.any() else made.new_zeros(())
        edges = losses.edge_l1(made[own], batch["truth"][own], self.weights) if own.any() else made.new_zeros(())
        sync_weight, gan_weight = weights_at(self.recipe, moment.progress)
        figures, loss = {"l1": l1}, (1 - sync_weight - gan_weight) * (l1 + self.recipe.edge_weight * edges)
        if self.recipe.range_weight:
            figures["beyond"] = losses.beyond(made, batch["range"])
            loss = loss + self.recipe.range_weight * figures["beyond"]
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
        return losses.expert_opinion(expert, both[:, :, :NUM_FRAMES], both[:, :, NUM_FRAMES:], batch["sounds"], batch["own"])


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
        judged = step >= self.recipe.sync_from * self.recipe.num_steps  # before, a foreign sound has nobody to teach it
        share = self.recipe.foreign_share if judged else 0.0
        return generator_batch(self.source.at(step), self.recipe, (self.recipe.seed, step, slice_index), self._rest_of, share)

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
