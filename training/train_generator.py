"""Train the lip generator: the true picture first, then also the expert's opinion.

python -m training.train_generator --clips FOLDER --experts FILE [FILE ...] --out FILE.safetensors [--without PERSON ...] [--minutes 35]
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from training import dataset, losses, recipes
from training.evaluate import evaluate_generator, picture_strip
from training.train_expert import prefetch
from wav2lip_core.checkpoint import ModelCard, load_generator, load_sync_expert, save_model
from wav2lip_core.generator import LipGenerator
from wav2lip_core.mel import SILENCE
from wav2lip_core.sync_expert import NUM_FRAMES, SyncExpert

NUM_DISTRACTORS = 8
LOG_EVERY = 20
MIN_REFERENCE_GAP = 5  # frames between the dubbed frames and their reference

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def generator_batches(clips: list[dataset.Clip], recipe: recipes.GeneratorRecipe) -> Iterator[Batch]:
    """Endless (mel (B, 5, 1, 80, 16), face (B, 6, 5, S, S), truth (B, 3, 5, S, S), sounds (B, 1 + distractors, 80, 16))."""
    rng = np.random.default_rng(recipe.seed)
    sampler = dataset.PersonSampler(clips, rng)
    while True:
        samples = [_sample(sampler.draw(), rng, recipe) for _ in range(recipe.num_clips)]
        yield tuple(torch.from_numpy(np.stack(parts)) for parts in zip(*samples, strict=True))  # type: ignore[misc]


def _sample(clip: dataset.Clip, rng: np.random.Generator, recipe: recipes.GeneratorRecipe) -> tuple[np.ndarray, ...]:
    size, quiet = recipe.model.face_size, dataset.silent_columns(clip.mel)
    mel = dataset.random_voice(rng, clip.mel, strength=0.7)
    starts = rng.permutation(clip.num_windows)
    if rng.random() < recipe.silence_share:
        mel[:, quiet] = SILENCE
        starts = np.array(sorted(starts, key=lambda f: -quiet[int(f * 3.2) : int(f * 3.2) + 16].mean() + rng.random() * 0.3))
    start = int(starts[0])
    others = [f for f in range(len(clip.crops)) if f < start - MIN_REFERENCE_GAP or f >= start + NUM_FRAMES + MIN_REFERENCE_GAP]
    reference = int(rng.choice(others))
    warp = dataset.random_warp(rng, size, strength=0.8)
    frames = warp(clip.crops[[*range(start, start + NUM_FRAMES), reference]])
    frames = dataset.random_light(rng, frames, strength=0.8).transpose(3, 0, 1, 2)
    truth = np.ascontiguousarray(frames[:, :NUM_FRAMES])
    hidden = truth.copy()
    hidden[:, :, size // 2 :] = 0
    face = np.concatenate([hidden, np.repeat(frames[:, NUM_FRAMES:], NUM_FRAMES, axis=1)])
    indiv = dataset.mel_at(mel, np.arange(start, start + NUM_FRAMES))[:, None]
    far = starts[np.abs(starts - start) >= 3][:NUM_DISTRACTORS]
    sounds = dataset.mel_at(mel, np.concatenate([[start], far]))
    return indiv, face, truth, sounds


def train(
    recipe: recipes.GeneratorRecipe,
    clips: list[dataset.Clip],
    held_out: list[dataset.Clip],
    experts: list[SyncExpert],
    start: LipGenerator | None,
    log: Path,
) -> LipGenerator:
    """Train for the recipe's minutes; returns the averaged weights, in eval mode. The experts stay frozen and in eval mode."""
    torch.manual_seed(recipe.seed)
    model = LipGenerator(recipe.model) if start is None else start
    model = model.train().requires_grad_(True).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for expert in experts:
        expert.eval().requires_grad_(False)
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(recipe.ema_decay), use_buffers=True)
    optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=0.01, betas=(0.9, 0.98))
    weights = losses.picture_weights(recipe.model.face_size, recipe.lower_half_weight)
    batches, rng = prefetch(generator_batches(clips, recipe)), np.random.default_rng(recipe.seed + 1)
    started, step, next_eval = time.monotonic(), 0, 0.1
    while (done := (time.monotonic() - started) / 60 / recipe.max_minutes) < 1:
        optimiser.param_groups[0]["lr"] = recipe.learning_rate * min(1, (step + 1) / 100) * max(0.03, 0.5 * (1 + np.cos(np.pi * done)))
        mel, face, truth, sounds = next(batches)
        sync_weight = recipe.sync_weight if done >= recipe.sync_from else 0.0
        sync = torch.zeros(())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            made = model(mel, face).float()
            if sync_weight or step % LOG_EVERY == LOG_EVERY - 1:  # always in the log, with or without a weight
                with torch.set_grad_enabled(sync_weight > 0):
                    sync = losses.sync_loss(experts[step % len(experts)], losses.blemish(made, rng), sounds)
        l1 = losses.weighted_l1(made, truth, weights)
        loss = (1 - sync_weight) * l1 + sync_weight * sync
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        average.update_parameters(model)
        step += 1
        row: dict = {"step": step, "minutes": round(done * recipe.max_minutes, 2), "l1": l1.item(), "sync": sync.item(), "sync_weight": sync_weight}
        if done > next_eval and held_out:
            next_eval += 0.1
            row["held_out"] = evaluate_generator(_generator(average), held_out, experts[0], num_bootstrap=0)
            picture_strip(_generator(average), held_out, log.with_suffix(f".{step:05d}.png"))
        if step % LOG_EVERY == 0 or "held_out" in row:
            with log.open("a") as file:
                file.write(json.dumps(row) + "\n")
    return _generator(average)


def _generator(average: torch.optim.swa_utils.AveragedModel) -> LipGenerator:
    model = average.module.eval()
    assert isinstance(model, LipGenerator)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--experts", type=Path, nargs="+", required=True, help="that train; keep another one for judging")
    parser.add_argument("--judge", type=Path, help="expert that only judges the result")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--without", nargs="*", default=[], help="people kept aside for the measurement")
    parser.add_argument("--start", type=Path, help="go on from these weights")
    parser.add_argument("--sync-from", type=float, default=0.4, help="share of the time after which the sync term counts")
    parser.add_argument("--minutes", type=float, default=35)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recipe = replace(recipes.generator_lite(), max_minutes=args.minutes, seed=args.seed, sync_from=args.sync_from)
    aside = frozenset(args.without)
    clips = dataset.load_clips(args.clips, without=aside)
    held_out = dataset.load_clips(args.clips, only=aside) if aside else []
    experts = [load_sync_expert(path) for path in args.experts]
    start = load_generator(args.start) if args.start else None
    model = train(recipe, clips, held_out, experts, start, args.out.with_suffix(".log"))
    evaluation: dict = {}
    if held_out:
        judge = load_sync_expert(args.judge) if args.judge else experts[0]
        evaluation = {"people": sorted(aside), **evaluate_generator(model, held_out, judge)}
    card = ModelCard(
        name=args.out.stem,
        kind="generator",
        data=f"{len(clips)} clips of {len({c.person for c in clips})} people; recipe {recipe.name}, {args.minutes:g} minutes, seed {args.seed}",
        licence=recipes.LICENCE,
        attribution=recipes.ATTRIBUTION,
        evaluation=evaluation,
    )
    save_model(args.out, model, card)
    print(json.dumps(evaluation, indent=1))


if __name__ == "__main__":
    main()
