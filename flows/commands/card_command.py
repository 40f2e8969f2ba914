"""What `dub models card` does: the card of weights as a page for people."""

import shutil
from pathlib import Path

from flows.commands.training_command import Kind, find_weights
from infra.durable import disk_errors, publish, write_synced
from infra.errors import InputError
from infra.scratch import new_scratch_name
from tasks.types import Record
from training.card_page import card_page
from wav2lip_core.checkpoint import CheckpointError, describe


class CardPage(Record):
    """out, strip: where page and picture were written; None: nowhere."""

    sha256: str
    markdown: str
    out: str | None
    strip: str | None


def make_card_page(kind: Kind, model: str, strip: Path | None, out: Path | None) -> CardPage:
    """The page of weights by name or file. strip: a picture of faces; by default the .png that lies beside the weights, where one does. With `out`
    both are written, the picture beside the page. Raises InputError for weights or a picture that are not there."""
    weights = find_weights(kind, model)
    beside = weights.with_suffix(".png")
    picture = strip or (beside if beside.is_file() else None)
    if picture is not None and not picture.is_file():
        raise InputError(f"{picture} does not exist. Draw one: dub evaluate generator --model {model} --data FOLDER --strip {picture}")
    try:
        facts = describe(weights)
    except CheckpointError as error:
        raise InputError(str(error)) from error
    if out is None:
        return CardPage(sha256=facts.sha256, markdown=card_page(facts, str(picture) if picture else None), out=None, strip=None)
    shown = out.with_suffix(".png") if picture else None
    page = card_page(facts, shown.name if shown else None)
    with disk_errors("writing the card", out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
        if picture and shown and picture.resolve() != shown.resolve():
            shutil.copyfile(picture, shown)
        temporary = out.with_name(new_scratch_name())
        write_synced(temporary, page.encode())
        publish(temporary, out)
    return CardPage(sha256=facts.sha256, markdown=page, out=str(out), strip=str(shown) if shown else None)


def show_card_page(page: CardPage) -> None:
    print(f"{page.out}{f' with {page.strip}' if page.strip else ''}" if page.out else page.markdown)
