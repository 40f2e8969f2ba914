"""A challenger is promoted when it is better beyond the interval and worse nowhere that matters; a refusal says why in numbers."""

import pytest

from training.promotion import POLICIES, judge_promotion

EXPERT = {"two_way_accuracy": (0.80, 0.78, 0.82), "offset_within_1_3s": (0.97, 0.95, 0.99), "offset_within_1_1s": (0.91, 0.88, 0.94)}
GENERATOR = {
    "lse_c_share_of_real": (0.80, 0.76, 0.84),
    "psnr_lower": (27.0, 26.5, 27.5),
    "ssim_lower": (0.85, 0.84, 0.86),
    "l1_lower": (0.03, 0.028, 0.032),
    "offset_within_1": (0.95, 0.9, 1.0),
    "silence_motion_share": (0.2, 0.15, 0.25),
    "identity_similarity": (0.98, 0.97, 0.99),
}


def figures(table: dict, **changes: tuple[float, float, float]) -> dict:
    return {key: dict(zip(("value", "low", "high"), row, strict=True)) for key, row in (table | changes).items()}


def test_better_beyond_the_interval_is_promoted() -> None:
    verdict = judge_promotion("sync_expert", figures(EXPERT), figures(EXPERT, two_way_accuracy=(0.85, 0.83, 0.87)))
    assert verdict.decision == "promote"
    assert verdict.reasons == ("two_way_accuracy 0.85 [0.83, 0.87] against 0.8 [0.78, 0.82]: better by 0.05",)


@pytest.mark.parametrize("row", [(0.80, 0.78, 0.82), (0.815, 0.80, 0.83), (0.83, 0.79, 0.87)], ids=["equal", "inside", "uncertain"])
def test_better_within_the_interval_is_refused_with_the_numbers(row) -> None:
    verdict = judge_promotion("sync_expert", figures(EXPERT), figures(EXPERT, two_way_accuracy=row))
    assert verdict.decision == "refuse"
    assert "not better beyond the interval: two_way_accuracy" in verdict.reasons[0]
    assert "0.8 [0.78, 0.82]" in verdict.reasons[0]


@pytest.mark.parametrize(
    ("key", "row"),
    [
        ("psnr_lower", (26.7, 26.2, 27.2)),
        ("ssim_lower", (0.83, 0.82, 0.84)),
        ("l1_lower", (0.033, 0.031, 0.035)),
        ("offset_within_1", (0.91, 0.85, 0.97)),
        ("silence_motion_share", (0.26, 0.2, 0.3)),
        ("identity_similarity", (0.96, 0.95, 0.97)),
    ],
)
def test_better_lips_do_not_pay_for_anything_worse(key, row) -> None:
    better = {"lse_c_share_of_real": (0.9, 0.87, 0.93)}
    assert judge_promotion("generator", figures(GENERATOR), figures(GENERATOR, **better)).decision == "promote"
    verdict = judge_promotion("generator", figures(GENERATOR), figures(GENERATOR, **better, **{key: row}))
    assert verdict.decision == "refuse"
    assert [reason.split()[0] for reason in verdict.reasons] == [key]


def test_a_slack_does_not_lead_over_a_limit() -> None:
    champion = figures(GENERATOR, silence_motion_share=(0.24, 0.2, 0.28))
    challenger = figures(GENERATOR, silence_motion_share=(0.26, 0.22, 0.3), psnr_lower=(29.0, 28.5, 29.5))
    verdict = judge_promotion("generator", champion, challenger)
    assert verdict.decision == "refuse"
    assert "beyond the limit of 0.25" in verdict.reasons[0]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_a_figure_that_is_no_number_is_never_better(value) -> None:
    challenger = figures(EXPERT, two_way_accuracy=(value, 0.9, 0.95))
    verdict = judge_promotion("sync_expert", figures(EXPERT), challenger)
    assert verdict.decision == "refuse"
    assert "two_way_accuracy of the challenger is not a number" in verdict.reasons[0]


def test_every_policy_judges_what_the_evaluation_measures() -> None:
    keys = {kind: {figure.key for figure in (*policy.main, *policy.guarded)} for kind, policy in POLICIES.items()}
    assert keys["sync_expert"] == set(EXPERT)
    assert keys["generator"] == set(GENERATOR)
