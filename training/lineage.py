"""Which weights had a part in which others, by the digests on their cards."""

from pathlib import Path

from infra.errors import InputError
from wav2lip_core.checkpoint import ModelCard, read_card, sha256_of

MEMBERS = "members"  # of a panel, in its card's run: the digests by which those that it was made of are known


def refuse_partial_judge(generator: Path, judge: Path) -> None:
    """Raise InputError if the judge, or weights it was made from or on from, trained the generator, or if the generator's card does not say who
    did. Weights without a card come from elsewhere, where ours had no part."""
    card = _card(generator)
    if card is None:
        return
    if not card.trained_by:
        raise InputError(f"The card of {generator} does not say which experts it was trained towards, so nobody can tell a fair judge for it.")
    partial = ancestry(judge) & set(card.trained_by)
    if partial:
        raise InputError(f"{judge} ({min(partial)[:12]}…) trained {generator} and cannot judge it. Give another expert with --judge.")


def ancestry(weights: Path) -> set[str]:
    """Digests these weights go by: their own, of what they were converted or joined from, and of what they were trained on from."""
    card = _card(weights)
    known = {sha256_of(weights)} | member_digests(weights)
    if card is not None:
        known |= {str(digest) for digest in (card.parent, card.run.get("made_from")) if digest}
    return known


def member_digests(weights: Path) -> set[str]:
    """Of a panel, every digest its members go by; of other weights none."""
    card = _card(weights)
    members = card.run.get(MEMBERS) if card is not None else None
    return {str(digest) for digest in members} if isinstance(members, list) else set()


def _card(path: Path) -> ModelCard | None:
    return read_card(path) if path.suffix == ".safetensors" else None
