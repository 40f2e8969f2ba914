"""A model card for people: what the card beside the weights says, as Markdown, with the strip of faces and the attribution that licences ask for."""

import re
from collections.abc import Iterator, Mapping

from wav2lip_core.checkpoint import Facts
from wav2lip_core.model_card import ModelCard

WHAT = {
    "generator": "Paints the mouth of a face so that it speaks the sound it is given.",
    "sync_expert": "Tells which sound belongs to which lips.",
}
MEANINGS = {  # in the order of the page
    "two_way_accuracy": "own sound preferred to one five or more frames off, per window of five frames",
    "off_sync_detection": "off-sync windows known as such at threshold 0.5",
    "in_sync_detection": "in-sync windows known as such at threshold 0.5",
    "detection_accuracy": "both together",
    "offset_within_1_3s": "offset found within a frame, three-second clips",
    "offset_within_1_1s": "the same, one-second stretches with speech",
    "planted_offset_within_1_3s": "the same with planted offsets of -6 to +6 frames",
    "margin": "cosine of the best offset above the median one",
    "psnr_lower": "lower half of the face against the truth, dB; same sound, reference from elsewhere",
    "copy_psnr_lower": "the same of copying the reference",
    "ssim_lower": "structural similarity of the lower half",
    "copy_ssim_lower": "the same of copying the reference",
    "l1_lower": "mean absolute difference of the lower half, 0 to 1",
    "copy_l1_lower": "the same of copying the reference",
    "lse_c_share_of_real": "LSE-C dubbed with another's sound, as a share of the real clip's own",
    "lse_c": "LSE-C dubbed",
    "lse_c_real": "LSE-C of the real clip",
    "lse_c_undubbed": "LSE-C of the real picture with the other's sound",
    "lse_d": "LSE-D dubbed; lower is better",
    "lse_d_real": "LSE-D of the real clip",
    "offset_within_1": "clips dubbed with another's sound whose offset is 0 or ±1 frame",
    "silence_motion_share": "mouth motion under silence as a share of that under speech",
    "identity_similarity": "cosine of how the lower face looks, dubbed and real; our own measure, no trained network",
    "frechet_lip_distance": "Fréchet distance of the judge's lip embeddings, dubbed and real; stands in for FID, whose network is not at hand",
    "frames_per_second": "frames a second where this was measured",
    "num_parameters": "parameters",
}
_DIGEST = re.compile(r"[0-9a-f]{64}")


def card_page(facts: Facts, strip: str | None) -> str:
    """Markdown of weights as described. strip: what the page calls the picture of faces by, or None where there is none."""
    card = facts.card
    lines = [f"# {_text(card.name if card else 'Weights without a card')}", "", WHAT.get(facts.kind, facts.title), ""]
    if strip is not None:
        lines += [f"![Real people, and under each the same moments dubbed]({_address(strip)})", ""]
        lines += ["*Above real frames, below the same frames dubbed with another person's sound.*", ""]
    lines += ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in _facts(facts)), ""]
    if card is None:
        return "\n".join([*lines, "These weights came without a card: who made them of what, and what may be done with them, is not known.", ""])
    lines += ["## How good", "", *_figures(card.evaluation)]
    lines += ["## Made of", "", _text(card.data) + ".", "", *(f"- {name}: {value}" for name, value in _run(card)), ""]
    lines += ["## Licence and attribution", "", f"Weights: {_text(card.licence)}.", "", _text(card.attribution), ""]
    return "\n".join(lines)


def _facts(facts: Facts) -> Iterator[tuple[str, str]]:
    yield "network", _text(facts.title)
    yield "config", _text(", ".join(f"{name} {value}" for name, value in facts.config.items()))
    yield "size", f"{facts.num_parameters / 1e6:.1f} M parameters, {facts.num_bytes / 1e6:.1f} MB"
    yield "sha256", f"`{facts.sha256}`"
    if facts.card is not None:
        yield "made", f"{facts.card.created:%Y-%m-%d}"


def _figures(evaluation: Mapping[str, object]) -> list[str]:
    """A table of what was measured, with what else the card says of the measurement."""
    measured = {name: figure for name, figure in evaluation.items() if isinstance(figure, dict) and "value" in figure}
    if not measured:
        return ["Nothing was measured.", ""]
    said = [f"- {_words(name)}: {_plain(value)}" for name, value in evaluation.items() if name not in measured]
    order = [name for name in MEANINGS if name in measured] + sorted(measured.keys() - MEANINGS.keys())
    rows = [
        f"| `{name}` | {_number(measured[name])} | {'' if name == 'num_parameters' else _interval(measured[name])} | {MEANINGS.get(name, '')} |"
        for name in order
    ]
    return [*said, *([""] if said else []), "| figure | value | 95 % interval | |", "|---|---|---|---|", *rows, ""]


def _run(card: ModelCard) -> Iterator[tuple[str, str]]:
    if card.parent:
        yield "gone on from", f"`{card.parent}`"
    for digest in card.trained_by:
        yield "trained towards the opinion of the expert", f"`{digest}`, which therefore cannot judge it"
    for name, value in card.run.items():
        if name == "recipe" and isinstance(value, dict):
            yield "recipe", f"{_text(str(value.get('name')))}, seed {value.get('seed')}"
        else:
            yield _words(name), _plain(value)


def _words(name: str) -> str:
    return _text(name.replace("_", " "))


def _plain(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value)) or "none"
    return f"`{value}`" if isinstance(value, str) and _DIGEST.fullmatch(value) else _text(str(value))


def _number(figure: Mapping[str, float]) -> str:
    return f"{figure['value']:,.0f}" if abs(figure["value"]) >= 1000 else f"{figure['value']:.4g}"


def _interval(figure: Mapping[str, float]) -> str:
    return f"{figure['low']:.4g} to {figure['high']:.4g}" if "low" in figure else ""


def _address(path: str) -> str:
    return f"<{path}>" if " " in path else path


def _text(words: str) -> str:
    """Words from a file, with nothing in them that Markdown or HTML would run."""
    one_line = " ".join(words.split())
    return one_line.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("[", "\\[").replace("`", "'")
