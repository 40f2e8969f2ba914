"""Several sync experts as one whose opinion is their mean: they err on different people, so together they know strangers better.

python -m training.panel --member A.safetensors --member B.safetensors --out PANEL.safetensors [--data PREPARED --person NAME ...]

With --data and --person the panel is measured on these people, whom none of its members may have been trained on, and its card says how good it is.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import JsonValue

from infra.errors import InputError
from training.clip_source import held_out_clips
from training.evaluate_expert import evaluate_expert
from training.lineage import MEMBERS, ancestry
from wav2lip_core.checkpoint import CheckpointError, ModelCard, describe, load_sync_expert, read_card, save_model
from wav2lip_core.sync_expert import SyncExpert

FEWEST = 2


def make_panel(members: list[Path], out: Path, data: str | Path = "", people: Sequence[str] = ()) -> ModelCard:
    """Write OUT.safetensors with its card; returns the card. data, people: prepared clips of people that no member knows; the panel is measured on
    them. Raises InputError for fewer than two members, members of different size or kind, people whom one knows, and weights without a card."""
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
    card = _card(cards, sorted(set().union(*map(ancestry, members))))
    if people and not all(_list_in(each, "people") for each in cards):
        raise InputError("A member's card does not say who it was trained on, so nobody can tell who is a stranger to the panel.")
    known = sorted(set(people) & set(map(str, _list_in(card, "people"))))
    if known:
        raise InputError(f"{', '.join(known)}: a member was trained on them, so they say nothing of how well the panel knows strangers.")
    panel = _joined(experts)
    if people:
        figures = evaluate_expert(panel, held_out_clips(data, frozenset(people)))
        card = card.model_copy(update={"evaluation": {"people": sorted(people)} | figures})
    return save_model(out, panel, card)


def _joined(experts: list[SyncExpert]) -> SyncExpert:
    configs = {expert.config for expert in experts}
    if len(experts) < FEWEST or len(configs) > 1:
        sizes = ", ".join(f"width {config.width}, {config.face_size} px" for config in configs)
        raise InputError(f"A panel needs at least {FEWEST} experts of one size; here are {len(experts)}, of {sizes or 'none'}.")
    panel = SyncExpert(replace(experts[0].config, num_members=len(experts)))
    for own, expert in zip(panel.members(), experts, strict=True):
        own.load_state_dict(expert.state_dict())
    return panel.eval()


def _card(cards: list[ModelCard], digests: list[str]) -> ModelCard:
    """What is true of the panel because it is true of its members."""

    def all_of(texts: list[str]) -> str:
        return "; ".join(dict.fromkeys(texts))

    people = {str(person) for card in cards for person in _list_in(card, "people")}
    return ModelCard(
        name="expert-panel",
        kind="sync_expert",
        data=f"{len(cards)} experts, averaged: " + all_of([card.data for card in cards]),
        licence=all_of([card.licence for card in cards]),
        attribution=all_of([part for card in cards for part in card.attribution.split("; ")]),
        run={MEMBERS: list[JsonValue](digests), "people": list[JsonValue](sorted(people))},
    )


def _list_in(card: ModelCard, name: str) -> list:
    found = card.run.get(name)
    return found if isinstance(found, list) else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--member", type=Path, action="append", required=True, help="an expert; at least two")
    parser.add_argument("--out", type=Path, required=True, help="NAME.safetensors")
    parser.add_argument("--data", default="", help="prepared clips of people kept aside")
    parser.add_argument("--person", action="append", default=[], help="one of them; may be repeated")
    options = parser.parse_args()
    make_panel(options.member, options.out, options.data, options.person)
    print(describe(options.out))


if __name__ == "__main__":
    main()
