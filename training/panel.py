"""Several sync experts as one whose opinion is their mean: they err on different people, so together they know strangers better.

python -m training.panel --member A.safetensors --member B.safetensors --out PANEL.safetensors
"""

import argparse
from dataclasses import replace
from pathlib import Path

from infra.errors import InputError
from training.lineage import MEMBERS, ancestry
from wav2lip_core.checkpoint import CheckpointError, ModelCard, describe, load_sync_expert, read_card, save_model
from wav2lip_core.sync_expert import SyncExpert

FEWEST = 2


def make_panel(members: list[Path], out: Path) -> ModelCard:
    """Write OUT.safetensors with its card; returns the card. Raises InputError for fewer than two members, members of different size or kind, and
    weights without a card."""
    cards, experts = [], []
    for path in members:
        try:
            card = read_card(path)
            experts += load_sync_expert(path).members()
        except (CheckpointError, OSError) as error:
            raise InputError(f"{path} can be no member of a panel: {error}") from error
        if card is None:
            raise InputError(f"{path} has no card, so nobody knows what a panel with it may be used for.")
        cards.append(card)
    return save_model(out, _joined(experts), _card(cards, sorted(set().union(*map(ancestry, members)))))


def _joined(experts: list[SyncExpert]) -> SyncExpert:
    configs = {expert.config for expert in experts}
    if len(experts) < FEWEST or len(configs) > 1:
        sizes = ", ".join(f"width {config.width}, {config.face_size} px" for config in configs)
        raise InputError(f"A panel needs at least {FEWEST} experts of one size; here are {len(experts)}, of {sizes or 'none'}.")
    panel = SyncExpert(replace(experts[0].config, num_members=len(experts)))
    for own, expert in zip(panel.members(), experts, strict=True):
        own.load_state_dict(expert.state_dict())
    return panel


def _card(cards: list[ModelCard], digests: list[str]) -> ModelCard:
    """What is true of the panel because it is true of its members; it has not been measured itself."""

    def all_of(texts: list[str]) -> str:
        return "; ".join(dict.fromkeys(texts))

    people = {str(person) for card in cards for person in _people(card)}
    return ModelCard(
        name="expert-panel",
        kind="sync_expert",
        data=f"{len(cards)} experts, averaged: " + all_of([card.data for card in cards]),
        licence=all_of([card.licence for card in cards]),
        attribution=all_of([part for card in cards for part in card.attribution.split("; ")]),
        run={MEMBERS: list(digests), "people": sorted(people)},
    )


def _people(card: ModelCard) -> list:
    people = card.run.get("people")
    return people if isinstance(people, list) else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--member", type=Path, action="append", required=True, help="an expert; at least two")
    parser.add_argument("--out", type=Path, required=True, help="NAME.safetensors")
    options = parser.parse_args()
    make_panel(options.member, options.out)
    print(describe(options.out))


if __name__ == "__main__":
    main()
