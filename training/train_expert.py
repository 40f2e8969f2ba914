"""Train the sync expert: which of these sounds belongs to these five mouths?

python -m training.train_expert --clips FOLDER --out FILE.safetensors [--without PERSON ...] [--minutes 30] [--seed 1]
"""

import argparse
import itertools
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from queue import Queue

import numpy as np
import torch
from torch.nn import functional as F

from training import dataset, recipes
from training.evaluate import evaluate_expert
from wav2lip_core.checkpoint import ModelCard, load_sync_expert, save_model
from wav2lip_core.sync_expert import NUM_FRAMES, SyncExpert, stack_lower_half

FIRST_SCALE, MAX_SCALE = 15.0, 40.0  # of cosine similarities before the softmax


def expert_batches(clips: list[dataset.Clip], recipe: recipes.ExpertRecipe) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Endless (mel (C, A, 80, 16), faces (C, W, 3, 5, S, S)): of a clip's A sounds the first W are those of its W windows, in order."""
    rng = np.random.default_rng(recipe.seed)
    sampler = dataset.PersonSampler(clips, rng)
    size = recipe.model.face_size
    for step in itertools.count():
        strength = min(1.0, 0.3 + 0.7 * step / recipe.num_gentle_steps)
        mels, faces = [], []
        for _ in range(recipe.num_clips):
            clip = sampler.draw()
            starts = _spread(rng, clip.num_windows, recipe.num_windows + recipe.num_distractors)
            mel = dataset.random_voice(rng, clip.mel, strength)
            mels.append(dataset.mel_at(mel, starts))
            warp = dataset.random_warp(rng, size, strength)
            light = int(rng.integers(1 << 31))
            for start in starts[: recipe.num_windows]:
                window = warp(clip.crops[start : start + NUM_FRAMES])
                window = dataset.random_light(np.random.default_rng(light), window, strength)
                window = dataset.random_blemish(rng, window, strength)
                faces.append(window.transpose(3, 0, 1, 2))
        mel_batch = torch.from_numpy(np.stack(mels))
        yield mel_batch, torch.from_numpy(np.stack(faces)).unflatten(0, (recipe.num_clips, recipe.num_windows))


def _spread(rng: np.random.Generator, num_windows: int, count: int) -> np.ndarray:
    """`count` start frames at least two apart (neighbours are no fair distractors), in random order."""
    slots = rng.permutation(num_windows // 2)[:count] * 2 + rng.integers(0, 2)
    return np.minimum(slots, num_windows - 1)


def prefetch(batches: Iterator, depth: int = 4) -> Iterator:
    """The same batches, made by a thread of their own."""
    queue: Queue = Queue(depth)

    def fill() -> None:
        for batch in batches:
            queue.put(batch)

    threading.Thread(target=fill, daemon=True).start()
    while True:
        yield queue.get()


def multiway_loss(audio: torch.Tensor, face: torch.Tensor, scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """audio (C, A, D), face (C, W, D), unit length -> cross-entropy both ways, and the share picked right among A."""
    logits = scale * torch.einsum("cwd,cad->cwa", face, audio)
    num_clips, num_windows, _ = logits.shape
    target = torch.arange(num_windows).repeat(num_clips)
    to_audio = F.cross_entropy(logits.flatten(0, 1), target, label_smoothing=0.05)
    to_face = F.cross_entropy(logits[:, :, :num_windows].transpose(1, 2).flatten(0, 1), target, label_smoothing=0.05)
    return to_audio + 0.5 * to_face, (logits.flatten(0, 1).argmax(1) == target).float().mean()


def train(
    recipe: recipes.ExpertRecipe, clips: list[dataset.Clip], held_out: list[dataset.Clip], log: Path, start: SyncExpert | None = None
) -> SyncExpert:
    """Train for the recipe's minutes, from `start` if given; returns the averaged weights, in eval mode."""
    torch.manual_seed(recipe.seed)
    model = (start or SyncExpert(recipe.model)).train().requires_grad_(True).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(recipe.ema_decay), use_buffers=True)
    log_scale = torch.nn.Parameter(torch.tensor(FIRST_SCALE).log())
    groups = [{"params": model.parameters()}, {"params": [log_scale], "lr": 1e-2, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, betas=(0.9, 0.98))
    batches = prefetch(expert_batches(clips, recipe))
    started, step, next_eval = time.monotonic(), 0, 0.2
    while (done := (time.monotonic() - started) / 60 / recipe.max_minutes) < 1:
        warm = min(1, (step + 1) / 200)
        optimiser.param_groups[0]["lr"] = recipe.learning_rate * warm * max(0.02, 0.5 * (1 + np.cos(np.pi * done)))
        mel, faces = next(batches)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            stacked = stack_lower_half(faces.flatten(0, 1)).contiguous(memory_format=torch.channels_last)
            audio = model.embed_audio(mel.flatten(0, 1).unsqueeze(1))
            face = model.embed_face(stacked)
        loss, right = multiway_loss(
            audio.float().unflatten(0, mel.shape[:2]), face.float().unflatten(0, faces.shape[:2]), log_scale.exp().clamp(max=MAX_SCALE)
        )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        average.update_parameters(model)
        step += 1
        row: dict = {
            "step": step,
            "minutes": round(done * recipe.max_minutes, 2),
            "loss": loss.item(),
            "right": right.item(),
            "scale": log_scale.exp().item(),
        }
        if done > next_eval and held_out:
            next_eval += 0.2
            row["held_out"] = evaluate_expert(_expert(average), held_out, num_bootstrap=0)
        if step % 20 == 0 or "held_out" in row:
            with log.open("a") as file:
                file.write(json.dumps(row) + "\n")
    return _expert(average)


def _expert(average: torch.optim.swa_utils.AveragedModel) -> SyncExpert:
    model = average.module.eval()
    assert isinstance(model, SyncExpert)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--without", nargs="*", default=[], help="people kept aside for the measurement")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--start", type=Path, help="go on from these weights")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recipe = replace(recipes.expert_lite(), max_minutes=args.minutes, seed=args.seed)
    aside = frozenset(args.without)
    clips = dataset.load_clips(args.clips, without=aside)
    held_out = dataset.load_clips(args.clips, only=aside) if aside else []
    start = load_sync_expert(args.start) if args.start else None
    if start:
        recipe = replace(recipe, num_gentle_steps=1)
    model = train(recipe, clips, held_out, args.out.with_suffix(".log"), start)
    evaluation = {"people": sorted(aside), **evaluate_expert(model, held_out)} if held_out else {}
    card = ModelCard(
        name=args.out.stem,
        kind="sync_expert",
        data=f"{len(clips)} clips of {len({c.person for c in clips})} people; recipe {recipe.name}, {args.minutes:g} minutes, seed {args.seed}",
        licence=recipes.LICENCE,
        attribution=recipes.ATTRIBUTION,
        evaluation=evaluation,
    )
    save_model(args.out, model, card)
    print(json.dumps(evaluation, indent=1))


if __name__ == "__main__":
    main()
