"""What the sync expert learns: which of these sounds belongs to these five mouths?"""

import copy

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training import dataset, recipes
from training.clip_source import ClipSource
from training.evaluate_expert import evaluate_expert
from training.processes import World
from training.trainer import STEADY, Batch, Moment, Part
from wav2lip_core.sync_expert import NUM_FRAMES, SyncExpert

FIRST_SCALE, MAX_SCALE = 15.0, 40.0  # of cosine similarities before the softmax
SCALE_RATE = 1e-2
SURE = 1e-6  # probabilities stay this far from 0 and 1
NUM_VALIDATION_BATCHES = 4
VALIDATION = 1 << 40  # stands where a step stands in the seeds of batches that are for validation


def expert_batch(clips: list[dataset.Clip], recipe: recipes.ExpertRecipe, seed: tuple[int, ...], strength: float) -> Batch:
    """mel (C, A, 80, 16), mouths (C, W, 15, S / 2, S) as the expert takes them. Of a clip's A sounds the first W are those of its W windows.

    choice (C, W): for the paired objective, the sound shown with each window, its own one half of the time.
    """
    rng = np.random.default_rng(seed)
    sampler = dataset.PersonSampler(clips, rng)
    mels, mouths = [], []
    for _ in range(recipe.num_clips):
        clip = sampler.draw()
        starts = _spread(rng, clip.num_windows, recipe.num_windows + recipe.num_distractors)
        mel = dataset.random_voice(rng, clip.mel, strength)
        mels.append(dataset.mel_at(mel, starts))
        warp = dataset.random_warp(rng, recipe.model.face_size, strength).lower_half
        light = int(rng.integers(1 << 31))
        for start in starts[: recipe.num_windows]:
            window = warp(clip.crops[start : start + NUM_FRAMES])
            looks = np.random.default_rng(light)  # the same for all windows of a clip: no sound is known by the light it is shown in
            window = dataset.random_skin(looks, dataset.random_light(looks, window, strength), strength)
            window = dataset.random_blemish(rng, dataset.random_distance(rng, window, strength), strength)
            mouths.append(window.transpose(0, 3, 1, 2).reshape(-1, *window.shape[1:3]))  # frame-major
    own = np.tile(np.arange(recipe.num_windows), (recipe.num_clips, 1))
    others = (own + rng.integers(1, recipe.num_windows + recipe.num_distractors, own.shape)) % (recipe.num_windows + recipe.num_distractors)
    return {
        "mel": torch.from_numpy(np.stack(mels)),
        "mouths": torch.from_numpy(np.stack(mouths)).unflatten(0, (recipe.num_clips, recipe.num_windows)),
        "choice": torch.from_numpy(np.where(rng.random(own.shape) < 0.5, own, others)),
    }


def _spread(rng: np.random.Generator, num_windows: int, count: int) -> np.ndarray:
    """`count` start frames at least two apart (neighbours are no fair distractors), in random order."""
    slots = rng.permutation(num_windows // 2)[:count] * 2 + rng.integers(0, 2)
    return np.minimum(slots, num_windows - 1)


def multiway_loss(audio: Tensor, face: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """audio (C, A, D), face (C, W, D), unit length -> cross-entropy both ways, and the share picked right among A."""
    logits = scale * torch.einsum("cwd,cad->cwa", face, audio)
    num_clips, num_windows, _ = logits.shape
    target = torch.arange(num_windows, device=logits.device).repeat(num_clips)
    to_audio = F.cross_entropy(logits.flatten(0, 1), target, label_smoothing=0.05)
    to_face = F.cross_entropy(logits[:, :, :num_windows].transpose(1, 2).flatten(0, 1), target, label_smoothing=0.05)
    return to_audio + 0.5 * to_face, (logits.flatten(0, 1).argmax(1) == target).float().mean()


def pairs_loss(audio: Tensor, face: Tensor, choice: Tensor) -> tuple[Tensor, Tensor]:
    """The paper's: audio (C, A, D), face (C, W, D), unit length and >= 0; choice (C, W) says with which sound each window is shown.

    -> binary cross-entropy of the cosine, taken as the probability that the two belong together; the share on the right side of 0.5.
    Source: Prajwal et al., ACM MM 2020, section 3.1.
    """
    shown = audio.gather(1, choice.unsqueeze(2).expand(-1, -1, audio.shape[2]))
    cosine = (shown * face).sum(2)
    together = (choice == torch.arange(choice.shape[1], device=choice.device)).to(cosine.dtype)
    with torch.autocast(cosine.device.type, enabled=False):
        loss = F.binary_cross_entropy(cosine.float().clamp(SURE, 1 - SURE), together.float())
    return loss, ((cosine > 0.5) == (together > 0.5)).float().mean()


class ExpertObjective(nn.Module):
    """forward(batch, moment) -> (loss, figures) of the recipe's objective."""

    def __init__(self, model: SyncExpert, recipe: recipes.ExpertRecipe) -> None:
        super().__init__()
        self.model, self.objective = model, recipe.objective
        if recipe.objective == "multiway":
            self.log_scale = nn.Parameter(torch.tensor(FIRST_SCALE).log())

    def forward(self, batch: Batch, _moment: Moment) -> tuple[Tensor, dict[str, Tensor]]:
        return self.of(self.model, batch)

    def of(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """The same for any expert."""
        assert isinstance(model, SyncExpert)
        mel, mouths = batch["mel"], batch["mouths"]
        stacked = mouths.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        audio = model.embed_audio(mel.flatten(0, 1).unsqueeze(1)).float().unflatten(0, mel.shape[:2])
        face = model.embed_face(stacked).float().unflatten(0, mouths.shape[:2])
        if self.objective == "pairs":
            loss, right = pairs_loss(audio, face, batch["choice"])
            return loss, {"loss": loss, "right": right}
        scale = self.log_scale.exp().clamp(max=MAX_SCALE)
        loss, right = multiway_loss(audio, face, scale)
        return loss, {"loss": loss, "right": right, "scale": scale}


class ExpertTask:
    """A sync expert in training; see trainer.Task."""

    def __init__(self, recipe: recipes.ExpertRecipe, model: SyncExpert, source: ClipSource, held_out: list[dataset.Clip], world: World) -> None:
        self.recipe, self.source, self.held_out, self.world = recipe, source, held_out, world
        self.model = model.to(world.device).requires_grad_(True).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.objective = ExpertObjective(self.model, recipe).to(world.device)
        groups = [{"params": list(self.model.parameters())}]
        if recipe.objective == "multiway":
            groups.append({"params": [self.objective.log_scale], "lr": SCALE_RATE, "weight_decay": 0.0, STEADY: True})  # type: ignore[dict-item]
        optimiser = torch.optim.AdamW(groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, betas=(0.9, 0.98))
        self.parts = [Part("expert", self.objective, optimiser)]

    def batch(self, step: int, slice_index: int) -> Batch:
        strength = min(1.0, 0.3 + 0.7 * step / max(1, self.recipe.num_gentle_steps))
        return expert_batch(self.source.at(step), self.recipe, (self.recipe.seed, step, slice_index), strength)

    def validate(self, average: nn.Module, moment: Moment) -> dict:
        """Loss and choice on people kept aside, and what they say of the expert in use."""
        clips = [clip for clip in self.held_out if clip.num_windows >= recipes.min_windows(self.recipe)]
        if not clips:
            return {}
        figures: dict[str, list[float]] = {}
        for number in range(NUM_VALIDATION_BATCHES):
            batch = expert_batch(clips, self.recipe, (self.recipe.seed, VALIDATION, number), strength=0.0)
            _, row = self.objective.of(average, {name: tensor.to(self.world.device) for name, tensor in batch.items()})
            for name in ("loss", "right"):
                figures.setdefault(f"validation_{name}", []).append(row[name].item())
        return {name: float(np.mean(values)) for name, values in figures.items()} | {"held_out": self._in_use(average)}

    def _in_use(self, average: nn.Module) -> dict:
        expert = copy.deepcopy(average).float().cpu().eval()
        assert isinstance(expert, SyncExpert)
        with torch.autocast("cpu", enabled=False):
            return evaluate_expert(expert, self.held_out, num_bootstrap=0)
