"""When a challenger may replace the champion: better beyond the interval where it counts, worse nowhere that matters. The numbers are policy.

Both are measured on the same frozen clips, each figure with its 95 % bootstrap interval over clips.
- Better: the challenger's value lies outside the champion's interval, and the champion's outside the challenger's. One main figure must be.
- Worse: a main or guarded figure is behind by more than its slack. The slacks are what a viewer would not notice, and about what two trainings
  that differ only in their seed differ by; no figure may use its slack to cross its limit, which no model in production may be beyond.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tasks.types import Record

Figures = Mapping[str, Mapping[str, float]]  # key -> {"value", "low", "high"}


@dataclass(frozen=True)
class Figure:
    """How one figure of the evaluation counts."""

    key: str
    good: Literal["high", "low"]
    slack: float  # in the figure's own units
    limit: float | None = None  # the challenger's value must not be on the wrong side, unless the champion's is further there


@dataclass(frozen=True)
class Policy:
    """main: one of them must be better beyond the interval, none worse. guarded: none worse."""

    main: tuple[Figure, ...]
    guarded: tuple[Figure, ...]


POLICIES: dict[str, Policy] = {
    "sync_expert": Policy(
        main=(Figure("two_way_accuracy", "high", slack=0.005),),
        guarded=(Figure("offset_within_1_3s", "high", slack=0.02), Figure("offset_within_1_1s", "high", slack=0.02)),
    ),
    "generator": Policy(
        main=(
            Figure("lse_c_share_of_real", "high", slack=0.03),
            Figure("psnr_lower", "high", slack=0.2),  # dB
        ),
        guarded=(
            Figure("ssim_lower", "high", slack=0.01),
            Figure("l1_lower", "low", slack=0.002),
            Figure("offset_within_1", "high", slack=0.03, limit=0.9),
            Figure("silence_motion_share", "low", slack=0.03, limit=0.25),
            Figure("identity_similarity", "high", slack=0.01),
        ),
    ),
}


class Comparison(Record):
    """One figure of both models and what it says."""

    key: str
    role: Literal["main", "guarded"]
    champion: float | None
    champion_low: float | None = None
    champion_high: float | None = None
    challenger: float | None
    challenger_low: float | None = None
    challenger_high: float | None = None
    finding: Literal["better", "alike", "worse", "missing"]
    words: str


class PromotionVerdict(Record):
    """reasons: why not, in numbers; or what is better."""

    decision: Literal["promote", "refuse"]
    reasons: tuple[str, ...]
    comparisons: tuple[Comparison, ...]


def judge_promotion(kind: str, champion: Figures, challenger: Figures) -> PromotionVerdict:
    """Compare two evaluations on the same clips. A figure that is missing or not a number counts against the challenger."""
    policy = POLICIES[kind]
    comparisons = [_compare(figure, "main", champion, challenger) for figure in policy.main]
    comparisons += [_compare(figure, "guarded", champion, challenger) for figure in policy.guarded]
    against = [found.words for found in comparisons if found.finding in ("worse", "missing")]
    better = [found.words for found in comparisons if found.role == "main" and found.finding == "better"]
    if not better:
        not_better = (found.words for found in comparisons if found.role == "main" and found.finding == "alike")
        against += [f"not better beyond the interval: {words}" for words in not_better]
    decision: Literal["promote", "refuse"] = "promote" if better and not against else "refuse"
    return PromotionVerdict(decision=decision, reasons=tuple(better if decision == "promote" else against), comparisons=tuple(comparisons))


def _compare(figure: Figure, role: Literal["main", "guarded"], champion: Figures, challenger: Figures) -> Comparison:
    old, new = ({name: _number(side.get(figure.key, {}), name) for name in ("value", "low", "high")} for side in (champion, challenger))
    finding, words = _find(figure, old, new)
    return Comparison(
        key=figure.key, role=role, finding=finding, words=words,
        champion=old["value"], champion_low=old["low"], champion_high=old["high"],
        challenger=new["value"], challenger_low=new["low"], challenger_high=new["high"],
    )  # fmt: skip


def _find(figure: Figure, old: dict[str, float | None], new: dict[str, float | None]) -> tuple[Literal["better", "alike", "worse", "missing"], str]:
    if None in old.values() or None in new.values():
        side = "challenger" if None in new.values() else "champion"
        return "missing", f"{figure.key} of the {side} is not a number"
    sign = 1 if figure.good == "high" else -1
    was, now = ({name: sign * (value or 0.0) for name, value in side.items()} for side in (old, new))
    champion_best = max(was["low"], was["high"])
    challenger_worst = min(now["low"], now["high"])
    shown = f"{figure.key} {_shown(new)} against {_shown(old)}"
    if figure.limit is not None and now["value"] < min(sign * figure.limit, was["value"]):
        return "worse", f"{shown}: beyond the limit of {figure.limit:g}"
    if now["value"] < was["value"] - figure.slack:
        return "worse", f"{shown}: worse by {was['value'] - now['value']:.4g}, more than {figure.slack:g}"
    if now["value"] > champion_best and was["value"] < challenger_worst:
        return "better", f"{shown}: better by {now['value'] - was['value']:.4g}"
    return "alike", shown


def _number(side: Mapping[str, float], name: str) -> float | None:
    value = side.get(name)
    return float(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _shown(side: Mapping[str, float | None]) -> str:
    return f"{side['value']:.4g} [{side['low']:.4g}, {side['high']:.4g}]"
