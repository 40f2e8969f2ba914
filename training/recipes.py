"""A training run is a named function that returns a complete, frozen config."""

from dataclasses import dataclass, replace

from wav2lip_core.generator import GeneratorConfig
from wav2lip_core.sync_expert import ExpertConfig

LICENCE = "Apache-2.0"
ATTRIBUTION = (
    "Trained on clips of the GRID audio-visual sentence corpus by M. Cooke, J. Barker, S. Cunningham and X. Shao (2006), "
    "licensed CC BY 4.0, doi:10.5281/zenodo.3625687; clips were cropped, resampled and augmented."
)


@dataclass(frozen=True)
class ExpertRecipe:
    """Pick the right sound among others of the same clip: cross-entropy over cosine similarities."""

    name: str
    model: ExpertConfig
    num_clips: int = 6  # per step
    num_windows: int = 8  # per clip, each with its own sound as the right answer
    num_distractors: int = 8  # further sounds of the clip
    num_gentle_steps: int = 1500  # over which the augmentation grows to its full strength
    learning_rate: float = 6e-4
    weight_decay: float = 0.02
    ema_decay: float = 0.998
    max_minutes: float = 30
    seed: int = 1


@dataclass(frozen=True)
class GeneratorRecipe:
    """(1 - sync_weight) * L1 + sync_weight * sync; the sync term enters at sync_from of the time and is always logged."""

    name: str
    model: GeneratorConfig
    num_clips: int = 8  # per step, five consecutive frames each
    learning_rate: float = 4e-4
    lower_half_weight: float = 3.0
    mask_weight: float = 0.002
    sync_weight: float = 0.01  # 0.02 was seen to paint dark corners of the mouth that the expert likes
    sync_from: float = 0.4
    silence_share: float = 0.15  # of the steps' clips come with their quiet parts digitally silent
    ema_decay: float = 0.98  # short runs: a longer memory drags the first steps along
    max_minutes: float = 35
    seed: int = 1


def expert_lite() -> ExpertRecipe:
    """Half width, for two CPU cores."""
    return ExpertRecipe("expert_lite", ExpertConfig(width=0.5))


def generator_lite() -> GeneratorRecipe:
    """Half width, edits the reference, for two CPU cores."""
    return GeneratorRecipe("generator_lite", GeneratorConfig(width=0.5, output="edit"))


def smoke() -> ExpertRecipe:
    """Seconds, to see that everything runs."""
    return replace(expert_lite(), name="smoke", model=ExpertConfig(width=0.125), num_clips=2, num_windows=4, num_distractors=2, max_minutes=0.1)
