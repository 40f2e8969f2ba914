"""Put trained weights into the package: half precision, with a card that says what they were trained on and how good the recipe was
on people left out of training.

python -m training.bundle --weights ALL_PEOPLE.safetensors --measured LEFT_OUT.safetensors --name expert
"""

import argparse
from pathlib import Path

import torch

from wav2lip_core.checkpoint import describe, load_generator, load_sync_expert, read_card, save_model

PACKAGE = Path(__file__).parents[1] / "wav2lip_core" / "weights"


def bundle(weights: Path, measured: Path, name: str, into: Path = PACKAGE) -> Path:
    """Write INTO/NAME.safetensors (float16) and INTO/NAME.json. The evaluation is that of `measured`: same recipe, people kept aside."""
    card, left_out = read_card(weights), read_card(measured)
    if card is None or left_out is None or card.kind != left_out.kind:
        raise ValueError(f"{weights} and {measured} must both have cards of one kind")
    module = load_generator(weights) if card.kind == "generator" else load_sync_expert(weights)
    evaluation = {"measured_with": left_out.data, "measured_on": "people kept out of that training", **left_out.evaluation}
    into.mkdir(parents=True, exist_ok=True)
    target = into / f"{name}.safetensors"
    save_model(target, module, card.model_copy(update={"name": name, "evaluation": evaluation}), dtype=torch.float16)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="trained on everybody: what is bundled")
    parser.add_argument("--measured", type=Path, required=True, help="same recipe without some people: what was measured on them")
    parser.add_argument("--name", required=True)
    args = parser.parse_args()
    print(describe(bundle(args.weights, args.measured, args.name)))


if __name__ == "__main__":
    main()
