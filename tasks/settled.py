"""What the history of decisions settles for each shot: what a dub must honour, and what stands in the film."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tasks.types import Decision, HistoryEntry, InputDigests, Override, Record, Remake

Key = tuple[int, str]  # shot index, language


class Standing(Record):
    """The last word on a shot in one language."""

    shot: int
    language: str
    decision: str  # approve, reject, ask, keep_original
    take_sha256: str | None  # what it was said of
    note: str
    reviewer: str
    at: str


@dataclass
class _Settled:
    keep_original: bool = False
    rejected: list[str] = field(default_factory=list)
    approved: str | None = None
    model: str | None = None
    note: str = ""


def overrides_of(entries: Sequence[HistoryEntry], inputs: InputDigests) -> tuple[Override, ...]:
    """What a dub of these inputs must honour, by shot and language. The later word holds; words on other bytes do not count."""
    settled: dict[Key, _Settled] = {}
    for entry in entries:
        for said in _valid(entry, inputs):
            _settle(settled.setdefault((said.shot, said.language), _Settled()), said)
    overrides = (_override(key, state) for key, state in sorted(settled.items()))
    return tuple(override for override in overrides if override.model_copy(update={"note": ""}) != _nothing(override))


def standing_of(entries: Sequence[HistoryEntry], inputs: InputDigests) -> tuple[Standing, ...]:
    """The last decision on each shot that anybody decided about, by shot and language."""
    found: dict[Key, Standing] = {}
    for entry in entries:
        for said in _valid(entry, inputs):
            is_decision = isinstance(said, Decision)
            found[said.shot, said.language] = Standing(
                shot=said.shot,
                language=said.language,
                decision=said.decision if is_decision else "reject",
                take_sha256=said.take_sha256,
                note=said.note if is_decision else f"made again{f' with {said.model}' if said.model else ''}",
                reviewer=entry.reviewer,
                at=entry.at,
            )
    return tuple(standing for _, standing in sorted(found.items()))


def _valid(entry: HistoryEntry, inputs: InputDigests) -> Iterator[Decision | Remake]:
    """What an entry says of exactly these bytes of film and dub."""
    if entry.kind != "decided" or entry.inputs.film != inputs.film:
        return
    for said in (*entry.decisions, *entry.remakes):
        if said.language in inputs.audio and entry.inputs.audio.get(said.language) == inputs.audio[said.language]:
            yield said


def _settle(state: _Settled, said: Decision | Remake) -> None:
    if isinstance(said, Remake):
        state.keep_original, state.approved = False, None
        if said.model is not None:
            state.model = said.model
        else:
            _reject(state, said.take_sha256)
        return
    state.note = said.note or state.note
    if said.decision == "keep_original":
        state.keep_original, state.approved = True, None
    elif said.decision == "reject":
        state.keep_original = False
        _reject(state, said.take_sha256)
    elif said.decision == "approve" and said.take_sha256 is not None:
        state.keep_original, state.approved = False, said.take_sha256
        state.rejected = [take for take in state.rejected if take != said.take_sha256]


def _reject(state: _Settled, take: str | None) -> None:
    if state.approved == take:
        state.approved = None
    if take is not None and take not in state.rejected:
        state.rejected.append(take)


def _override(key: Key, state: _Settled) -> Override:
    return Override(
        shot=key[0],
        language=key[1],
        keep_original="yes" if state.keep_original else "no",
        rejected_takes=tuple(state.rejected),
        approved_take=state.approved,
        model=state.model,
        note=state.note,
    )


def _nothing(override: Override) -> Override:
    return Override(shot=override.shot, language=override.language)
