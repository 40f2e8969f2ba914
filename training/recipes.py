"""A training run is a named function that returns a complete, frozen config."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import KW_ONLY, asdict, dataclass, replace
from typing import Literal

from infra.errors import InputError
from wav2lip_core.discriminator import DiscriminatorConfig
from wav2lip_core.generator import GeneratorConfig
from wav2lip_core.sync_expert import ExpertConfig

LICENCE = "Apache-2.0"
ATTRIBUTION = (
    "Trained on clips of the GRID audio-visual sentence corpus by M. Cooke, J. Barker, S. Cunningham and X. Shao (2006), "
    "licensed CC BY 4.0, doi:10.5281/zenodo.3625687; clips were cropped, resampled and augmented."
)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What both kinds of run have in common. A step is `num_slices` small batches whose gradients are averaged: gradient accumulation in
    one process, spread over the processes in several. Batch norm sees one slice at a time, so that both are the same training."""

    num_steps: int = 20000
    num_slices: int = 1
    num_warmup_steps: int = 200
    final_rate: float = 0.02  # of the learning rate, where its cosine ends
    max_minutes: float | None = None  # wall clock; where it comes before num_steps, the rate falls towards it. Not repeatable to the bit
    precision: Literal["auto", "float32", "bf16"] = "auto"  # auto: bf16 on a GPU and on processors with AMX or AVX-512 BF16
    max_gradient: float = 1.0  # norm; a longer one is cut
    ema_decay: float = 0.998
    save_every: int = 500  # steps
    log_every: int = 20
    evaluate_every: int = 2000  # on people kept aside
    num_clips_in_memory: int = 2000  # the shuffle buffer; larger sets are streamed through it
    refill_every: int = 500  # steps between two fillings of a buffer that cannot hold all
    seed: int = 1


@dataclass(frozen=True)
class ExpertRecipe(Schedule):
    """Which sound belongs to these mouths? multiway: pick it among others of the same clip, by cross-entropy over cosine similarities.
    pairs: the paper's objective, binary cross-entropy of the cosine of one pair that belongs together or does not."""

    name: str
    model: ExpertConfig
    _: KW_ONLY
    objective: Literal["multiway", "pairs"] = "multiway"
    num_clips: int = 6  # per slice
    num_windows: int = 8  # per clip, each with its own sound as the right answer
    num_distractors: int = 8  # further sounds of the clip
    num_gentle_steps: int = 1500  # over which the augmentation grows to its full strength
    learning_rate: float = 6e-4
    weight_decay: float = 0.02


@dataclass(frozen=True)
class GeneratorRecipe(Schedule):
    """(1 - sync_weight - gan_weight) * L1 + sync_weight * sync + gan_weight * adversarial, where L1 holds edge_weight of the L1 of edges.
    The sync term, and with it look_weight of the expert's features matched to those of the true mouth, enters at sync_from of the run and
    reaches its weight at sync_from + sync_ramp; its true value is always logged. range_weight is on from the first step. A foreign sample has a sync
    term and a range term only."""

    name: str
    model: GeneratorConfig
    _: KW_ONLY
    num_clips: int = 8  # per slice, five consecutive frames each
    learning_rate: float = 4e-4
    weight_decay: float = 0.01
    lower_half_weight: float = 3.0
    edge_weight: float = 0.5
    look_weight: float = 0.03
    sync_weight: float = 0.01  # 0.02 was seen to paint dark corners of the mouth that the expert likes
    sync_from: float = 0.4
    sync_ramp: float = 0.0
    silence_share: float = 0.2  # of the steps' clips come with their quiet parts digitally silent
    still_share: float = 0.0  # of the samples that are not foreign hear digital silence throughout and are to look as the reference does
    foreign_share: float = 0.0  # of the samples speak another clip's sound, as in a dub, once there is a sync term: they have no true picture
    range_weight: float = 0.0  # of what is painted darker or brighter than the person ever is thereabouts: the holes and specks that experts like
    gan_weight: float = 0.0
    gan_from: float = 0.0
    discriminator: DiscriminatorConfig | None = None
    discriminator_rate: float = 1e-4
    num_warmup_steps: int = 100
    final_rate: float = 0.03
    ema_decay: float = 0.98  # short runs: a longer memory drags the first steps along


Recipe = ExpertRecipe | GeneratorRecipe


def expert_lite() -> ExpertRecipe:
    """Half width, for two CPU cores: about an hour."""
    return ExpertRecipe("expert_lite", ExpertConfig(width=0.5), num_steps=6000)


def expert_full() -> ExpertRecipe:
    """The published width on a GPU; 48 clips a step."""
    return ExpertRecipe("expert_full", ExpertConfig(), num_slices=4, num_clips=12, num_steps=60000, num_gentle_steps=6000, ema_decay=0.9995)


def generator_lite() -> GeneratorRecipe:
    """Half width, paints a mouth onto a face at rest, for the CPU: about two hours of one core. A generator that can change nothing but the
    mouth bears more of the experts' opinion than one that paints a whole face."""
    model = GeneratorConfig(width=0.5, output="edit", painted="mouth", reference="resting")
    return GeneratorRecipe(
        "generator_lite", model, num_steps=4000, sync_weight=0.04, look_weight=0.06, silence_share=0.3, still_share=0.15, foreign_share=0.4,
        range_weight=60.0,
    )  # fmt: skip


def generator_full() -> GeneratorRecipe:
    """The published width on a GPU, paints a mouth onto a face at rest; 64 clips a step."""
    config = GeneratorConfig(output="edit", painted="mouth", reference="resting")
    return GeneratorRecipe("generator_full", config, num_slices=4, num_clips=16, num_steps=100000, learning_rate=2e-4, ema_decay=0.999, sync_ramp=0.1)


def generator_gan() -> GeneratorRecipe:
    """generator_full with the paper's quality discriminator and its weights: 0.03 for sync, 0.07 for looks."""
    model = generator_full()
    return replace(model, name="generator_gan", sync_weight=0.03, gan_weight=0.07, gan_from=0.1, discriminator=DiscriminatorConfig())


def finetune_character() -> GeneratorRecipe:
    """A trained generator (--start) towards the people of a series: few, gentle steps, sync from the first one on."""
    return replace(
        generator_lite(), name="finetune_character", num_steps=600, learning_rate=5e-5, num_warmup_steps=50, sync_from=0.0, save_every=100,
        evaluate_every=200,
    )  # fmt: skip


def smoke() -> ExpertRecipe:
    """An expert in seconds, to see that everything runs."""
    return ExpertRecipe(
        "smoke", ExpertConfig(width=0.125), num_clips=2, num_windows=4, num_distractors=2, num_steps=12, num_slices=2, num_warmup_steps=2,
        num_gentle_steps=12, learning_rate=2e-3, ema_decay=0.8, save_every=4, log_every=1, evaluate_every=6, precision="float32",
    )  # fmt: skip


def smoke_generator() -> GeneratorRecipe:
    """A generator in seconds, with every term of the loss, to see that everything runs."""
    return GeneratorRecipe(
        "smoke_generator", GeneratorConfig(width=0.125, output="edit", painted="mouth", reference="resting"), num_clips=2, num_steps=8,
        num_slices=2, num_warmup_steps=2, sync_from=0.25, gan_weight=0.02, gan_from=0.25, discriminator=DiscriminatorConfig(width=0.125),
        foreign_share=0.5, range_weight=10.0, ema_decay=0.8, save_every=4, log_every=1, evaluate_every=8, precision="float32",
    )  # fmt: skip


RECIPES: dict[str, Callable[[], Recipe]] = {
    make.__name__: make
    for make in (expert_lite, expert_full, generator_lite, generator_full, generator_gan, finetune_character, smoke, smoke_generator)
}


def recipe_named(name: str) -> Recipe:
    """The recipe of this name. Raises InputError, naming all, where there is none."""
    if name not in RECIPES:
        raise InputError(f"There is no recipe named {name!r}. Known: {', '.join(RECIPES)}.")
    return RECIPES[name]()


def as_table(recipe: Recipe) -> dict:
    """Every field as plain values."""
    return json.loads(json.dumps(asdict(recipe)))


def digest_of(recipe: Recipe) -> str:
    """sha256 over all fields: two runs with one digest are the same training."""
    return hashlib.sha256(json.dumps(as_table(recipe), sort_keys=True).encode()).hexdigest()


def min_windows(recipe: Recipe) -> int:
    """How many start frames a clip must have for this recipe to draw its windows from it."""
    if isinstance(recipe, ExpertRecipe):
        return 2 * (recipe.num_windows + recipe.num_distractors)
    return 16  # eight distractors well away from the five frames, and a reference frame elsewhere
