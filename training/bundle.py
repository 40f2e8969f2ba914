"""Put trained weights into the package: half precision, with a card that says what they were trained on and how good the recipe was
on people left out of training.

python -m training.bundle --weights ALL_PEOPLE.safetensors --measured LEFT_OUT.safetensors --name generator [--trained-by EXPERT.safetensors ...]
    [--strip FACES.png]
"""

import argparse
import shutil
from pathlib import Path

import torch

from training.recipes import ATTRIBUTION, LICENCE
from wav2lip_core.checkpoint import describe, load_generator, load_sync_expert, read_card, save_model, sha256_of

PACKAGE = Path(__file__).parents[1] / "wav2lip_core" / "weights"


def bundle(weights: Path, measured: Path, name: str, into: Path = PACKAGE, trained_by: tuple[Path, ...] = (), strip: Path | None = None) -> Path:
    """Write INTO/NAME.safetensors (float16) and INTO/NAME.json. The evaluation is that of `measured`: same recipe, people kept aside. strip: faces
    to look at, drawn by `dub evaluate generator --strip`; they become INTO/NAME.png, which `dub models card` shows.

    The card keeps the digest of `weights` as "made_from" and, for a generator whose card does not name them yet, the experts that trained it: so
    an expert is known as a trainer under its bundled name too.
    """
    card, left_out = read_card(weights), read_card(measured)
    if card is None or left_out is None or card.kind != left_out.kind:
        raise ValueError(f"{weights} and {measured} must both have cards of one kind")
    module = load_generator(weights) if card.kind == "generator" else load_sync_expert(weights)
    evaluation = {"measured_with": left_out.data, "measured_on": "people kept out of that training", **left_out.evaluation}
    facts = {"name": name, "evaluation": evaluation, "licence": LICENCE, "attribution": ATTRIBUTION}
    facts |= {"trained_by": card.trained_by or tuple(sha256_of(path) for path in trained_by), "run": {**card.run, "made_from": sha256_of(weights)}}
    into.mkdir(parents=True, exist_ok=True)
    target = into / f"{name}.safetensors"
    save_model(target, module, card.model_copy(update=facts), dtype=torch.float16)
    if strip is not None:
        shutil.copyfile(strip, target.with_suffix(".png"))
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="trained on everybody: what is bundled")
    parser.add_argument("--measured", type=Path, required=True, help="same recipe without some people: what was measured on them")
    parser.add_argument("--name", required=True)
    parser.add_argument("--trained-by", type=Path, nargs="*", default=[], help="experts that trained this generator, where its card does not say")
    parser.add_argument("--strip", type=Path, help="faces, real and dubbed, for the card")
    args = parser.parse_args()
    print(describe(bundle(args.weights, args.measured, args.name, trained_by=tuple(args.trained_by), strip=args.strip)))


if __name__ == "__main__":
    main()
