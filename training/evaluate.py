"""How good weights are on people who were not in training, with bootstrap intervals over clips."""

import tempfile
from pathlib import Path
from typing import Literal

from infra.errors import DubflowError, InputError
from infra.storage import open_storage
from training import dataset, shards
from training.clips import SUFFIXES, UnusableClipError, find_one_face, prepare_film
from training.evaluate_expert import evaluate_expert
from training.evaluate_generator import bundled_expert, evaluate_generator
from training.face_strip import draw_strip
from training.lineage import refuse_partial_judge
from training.measures import Figure
from wav2lip_core.checkpoint import CheckpointError, load_generator, load_sync_expert
from wav2lip_core.face_detector import open_detector
from wav2lip_core.generator import LipGenerator
from wav2lip_core.lip_syncer import BUNDLED_GENERATOR
from wav2lip_core.mel import log_mel
from wav2lip_core.sync_expert import SyncExpert

MIN_CLIPS = 2


def bundled_judge() -> Path:
    """The expert that only judges, where the package has one; otherwise its expert."""
    judge = BUNDLED_GENERATOR.with_name("judge.safetensors")
    return judge if judge.is_file() else bundled_expert()


def evaluate_model(
    kind: Literal["expert", "generator"],
    weights: Path,
    data: str | Path,
    *,
    judge: Path | None = None,
    champion: Path | None = None,
    strip: Path | None = None,
    num_bootstrap: int = 1000,
) -> dict[str, Figure]:
    """Figures of weights on clips, each {"value", "low", "high"}. data: prepared clips, or a folder of PERSON/clip.* (taken as they are).

    judge: for a generator, the expert that scores its sync; the bundled one if None. champion: weights that are measured on the same clips, as
    champion_... beside the figures. strip: where a generator's faces are drawn beside real ones. Raises InputError for weights that are not of that
    kind, a judge that took part in a generator's training or may have, and for fewer than two usable clips, with the reasons.
    """
    if strip is not None and kind == "expert":
        raise InputError("An expert paints no faces: a strip can be drawn of a generator only.")
    opened = {prefix: _open(kind, path, judge) for prefix, path in (("", weights), ("champion_", champion)) if path is not None}
    clips, figures = load_evaluation_clips(data), dict[str, Figure]()
    for prefix, (model, expert) in opened.items():
        found = evaluate_generator(model, clips, expert, num_bootstrap) if model else evaluate_expert(expert, clips, num_bootstrap)
        figures |= {prefix + name: figure for name, figure in found.items()}
    painter = opened[""][0]
    if strip is not None and painter is not None:
        draw_strip(painter, clips, strip)
    return figures


def _open(kind: Literal["expert", "generator"], weights: Path, judge: Path | None) -> tuple[LipGenerator | None, SyncExpert]:
    """(the generator, its judge), or (None, the expert)."""
    try:
        if kind == "expert":
            return None, load_sync_expert(weights)
        judge = judge or bundled_judge()
        model, expert = load_generator(weights), load_sync_expert(judge)
        refuse_partial_judge(weights, judge)
    except (CheckpointError, OSError) as error:
        raise InputError(f"{error}. Give weights of the right kind.") from error
    return model, expert


def load_evaluation_clips(data: str | Path) -> list[dataset.Clip]:
    """All clips of prepared data or, as they are, of a folder of PERSON/clip.*; raises InputError for fewer than two usable, saying why."""
    films = [key for key in open_storage(data).list() if Path(key).suffix.lower() in SUFFIXES]
    if not films:
        entries = shards.list_entries(data)
        people = {entry.key: entry.person for entry in entries}
        clips = [clip for name in sorted({entry.shard for entry in entries}) for clip in shards.read_shard(data, name, people)]
        unusable: dict[str, str] = {}
    else:
        clips, unusable = _raw_clips(data, films)
    clips = [clip for clip in clips if clip.num_windows >= 1]
    if len(clips) < MIN_CLIPS:
        reasons = "".join(f"\n{name}: {reason}" for name, reason in list(unusable.items())[:12])
        raise InputError(f"{len(clips)} clips in {data} can be measured on, at least {MIN_CLIPS} are needed.{reasons}")
    return clips


def _raw_clips(data: str | Path, films: list[str]) -> tuple[list[dataset.Clip], dict[str, str]]:
    storage, finder = open_storage(data), find_one_face(open_detector("dlib"))
    clips, unusable = [], {}
    with tempfile.TemporaryDirectory(prefix="dubflow-film-") as folder:
        for number, name in enumerate(films):
            path = Path(folder) / f"{number}{Path(name).suffix.lower()}"
            storage.get(name, path)
            try:
                clips += [dataset.Clip(name.split("/")[0], name, clip.crops, log_mel(clip.voice)) for clip in prepare_film(path, finder)]
            except (DubflowError, UnusableClipError) as error:
                unusable[name] = str(error).replace(str(path), name)
            path.unlink()
    return clips, unusable
