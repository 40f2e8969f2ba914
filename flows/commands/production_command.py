"""What `dub models production`, `promote` and `rollback` do and print."""

from pathlib import Path

from flows.commands.data_command import registry_at
from infra.errors import InputError
from infra.settings import get_settings, user_name
from tasks.model_shelf import entries
from tasks.production import POINTER, Production, Role, current_production
from tasks.types import Record
from training.registry import Registry
from wav2lip_core.checkpoint import CheckpointError, describe


class InProduction(Record):
    """What holds now and how it came to be, newest first."""

    where: str
    current: Production | None
    history: tuple[Production, ...]


def show_what_holds(registry: str | None) -> InProduction:
    """The generation in use and all before it; the chain of digests is checked."""
    storage = registry_at(registry)
    history = tuple(reversed(Registry(storage).history()))
    return InProduction(where=storage.describe(POINTER), current=history[0] if history else None, history=history)


def promote_by_hand(model: str, role: Role | None, note: str, registry: str | None) -> InProduction:
    """Put a weights file, or weights on the shelf by name, into production without measuring them: for the first ones, and for emergencies."""
    storage = registry_at(registry)
    weights, chosen = _weights_of(model, role)
    shelf = Registry(storage)
    shelf.promote({chosen: shelf.register(weights)}, current_production(storage), reason=f"by hand: {note or 'no reason given'}", by=user_name())
    return show_what_holds(registry)


def roll_back(to: int | None, note: str, registry: str | None) -> InProduction:
    """Production as it was before."""
    Registry(registry_at(registry)).rollback(reason=f"rolled back: {note or 'no reason given'}", by=user_name(), to=to)
    return show_what_holds(registry)


def print_production(found: InProduction) -> None:
    if found.current is None:
        print(f"Nothing is in production: there is no {found.where}. Begin with: dub models promote FILE")
        return
    print(f"{found.where}: generation {found.current.generation}")
    for role, model in sorted(found.current.models.items()):
        print(f"  {role}  {model.name}  {model.sha256}")
    for entry in found.history:
        back = f" to {entry.restores}" if entry.restores else ""
        print(f"{entry.generation:>5}  {entry.at:%Y-%m-%d %H:%M}  {entry.action}{back} by {entry.by}: {entry.reason}")


def _weights_of(model: str, role: Role | None) -> tuple[Path, Role]:
    wanted = {None: None, "generator": "generator", "sync_expert": "sync_expert", "judge": "sync_expert"}[role]
    if Path(model).is_file():
        path = Path(model)
    else:
        kinds = {entry.kind: entry for entry in entries(get_settings().models_folder) if entry.name == model and wanted in (None, entry.kind)}
        if not kinds:
            raise InputError(f"{model} is neither a file nor the name of weights; see `dub models list`.")
        if len(kinds) > 1:
            raise InputError(f"{model} names {' and '.join(sorted(kinds))}; say which with --as.")
        path = Path(next(iter(kinds.values())).path)
    try:
        kind = describe(path).kind
    except CheckpointError as error:
        raise InputError(str(error)) from error
    if kind not in ("generator", "sync_expert"):
        raise InputError(f"{path} is a {kind}; production holds generators and sync experts.")
    return path, role or kind
