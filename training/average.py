"""A generator part of the way between two: back from what was trained on towards what it was trained on from. Some of what a leg of training
gained is given up for some of what it cost.

python -m training.average --start A.safetensors --end B.safetensors --share 0.7 --out OUT.safetensors

Source of the idea: Wortsman et al., Robust Fine-Tuning of Zero-Shot Models, CVPR 2022 (arXiv 2109.01903).
"""

import argparse
from dataclasses import replace
from pathlib import Path

from infra.errors import InputError
from wav2lip_core.checkpoint import CheckpointError, ModelCard, describe, load_generator, read_card, save_model
from wav2lip_core.generator import LipGenerator


def average(start: Path, end: Path, share: float, out: Path, articulation: float | None = None) -> ModelCard:
    """Write OUT.safetensors, (1 - share) * start + share * end, with its card; returns the card. share: in (0, 1). articulation: how far the
    painted change is exaggerated in use; that of the end if not given.

    Every tensor counts, the batch norms' statistics too. Raises InputError for generators of different size,
    weights without a card and a share out of range.
    """
    if not 0 < share < 1:
        raise InputError(f"The share of {end} is {share}; it must lie between 0 and 1.")
    (first, card), (last, last_card) = _opened(start), _opened(end)
    if replace(first.config, articulation=last.config.articulation) != last.config:
        raise InputError(f"{start} and {end} are of different size or kind ({first.config}; {last.config}): between them there is nothing.")
    before, after = first.state_dict(), last.state_dict()
    for name, tensor in after.items():
        if tensor.is_floating_point():
            tensor.copy_((1 - share) * before[name].double() + share * tensor.double())
    try:
        between = LipGenerator(last.config if articulation is None else replace(last.config, articulation=articulation))
    except ValueError as error:
        raise InputError(str(error)) from error
    between.load_state_dict(after)
    facts = {
        "data": f"{last_card.data}; {1 - share:.0%} of what it was trained on from ({card.weights_sha256[:12]}) is kept",
        "evaluation": {},
        "parent": last_card.weights_sha256,
        "trained_by": tuple(sorted({*card.trained_by, *last_card.trained_by})),
        "run": {**last_card.run, "averaged": {card.weights_sha256: 1 - share, last_card.weights_sha256: share}},
    }
    return save_model(out, between, last_card.model_copy(update=facts))


def _opened(path: Path) -> tuple[LipGenerator, ModelCard]:
    try:
        card = read_card(path)
        model = load_generator(path)
    except (CheckpointError, OSError) as error:
        raise InputError(f"{path} cannot be averaged: {error}") from error
    if card is None or not card.trained_by:
        raise InputError(f"{path} has no card that says which experts trained it, so nobody could tell a fair judge for what is made of it.")
    return model, card


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", type=Path, required=True, help="a generator")
    parser.add_argument("--end", type=Path, required=True, help="what was trained on from it")
    parser.add_argument("--share", type=float, required=True, help="of the way from start to end")
    parser.add_argument("--out", type=Path, required=True, help="NAME.safetensors")
    parser.add_argument("--articulation", type=float, help="of the result, instead of the end's")
    options = parser.parse_args()
    try:
        average(options.start, options.end, options.share, options.out, options.articulation)
    except InputError as error:
        parser.error(str(error))
    print(describe(options.out))


if __name__ == "__main__":
    main()
