"""What the policy makes of measures: each verdict has a code, plain words and a severity; the worst names it; pictures stay when takes are worse."""

from infra.artifacts import Artifact
from tasks.policy import package_policy
from tasks.types import (
    LipPatch,
    Override,
    PictureChecks,
    SelfTest,
    Shot,
    ShotMeasures,
    ShotPatches,
    ShotTrial,
    SyncScore,
    TakeSettings,
    Try,
)
from tasks.verdicts import Pooled, choose_take, judge_take, take_digest

POLICY = package_policy()
TRUSTED = SelfTest(trusted=True, reason="all found")


def score(confidence: float | None, offset: int | None = 0, agreement: float = 1.0, **more) -> SyncScore:
    return SyncScore(confidence=confidence, offset_frames=offset, offset_agreement=agreement, num_windows=60, **more)


def measures(after: SyncScore, before: float | None = 0.4, undubbed: float | None = 0.1, **checks) -> ShotMeasures:
    return ShotMeasures(
        shot_index=0, language="fr", before=score(before), undubbed=score(undubbed), after=after, checks=PictureChecks(**checks)
    )  # fmt: skip


def judged(after: SyncScore, pooled: Pooled | None = None, test: SelfTest = TRUSTED, **more) -> tuple[str, str, str]:
    found = judge_take(POLICY, measures(after, **more), test, pooled)
    return found.code, found.severity, found.reason


def test_a_shot_in_sync_passes() -> None:
    assert judged(score(0.35)) == ("in_sync", "ok", "in sync")


def test_two_frames_are_in_sync_and_three_are_not_and_the_words_say_which_way() -> None:
    assert judged(score(0.35, offset=2))[0] == "in_sync"
    assert judged(score(0.35, offset=3)) == ("offset", "blocker", "lips are 3 frames of 40 ms behind the dub")
    assert "4 frames of 40 ms ahead of the dub" in judged(score(0.35, offset=-4))[2]


def test_an_offset_on_which_the_windows_do_not_agree_is_not_claimed() -> None:
    code, severity, reason = judged(score(0.35, offset=9, agreement=0.4))
    assert (code, severity) == ("not_scored", "issue")
    assert "too faint to tell" in reason


def test_what_the_neighbours_tell_stands_for_a_short_shot() -> None:
    assert judged(score(None, offset=None, reason="too little speech to judge"))[0] == "not_scored"
    code, severity, reason = judged(score(None, offset=None), Pooled(1, (0, 3)))
    assert (code, severity) == ("pooled", "fyi")
    assert "together with shots 0, 3" in reason
    assert judged(score(0.35, offset=9, agreement=0.4), Pooled(5, (0, 3)))[0] == "offset"


def test_worse_than_undubbed_is_a_blocker_and_far_below_the_original_an_issue() -> None:
    assert judged(score(0.1), undubbed=0.1)[:2] == ("worse_than_undubbed", "blocker")
    assert judged(score(0.16)) == ("far_below_original", "issue", "in sync, but only 40% of the original's own score")
    assert judged(score(0.15), before=None)[0] == "in_sync"


def test_the_picture_has_a_say_and_the_worst_finding_comes_first() -> None:
    assert judged(score(0.35), generated_per_face_pixel=0.2) == (
        "upscaled", "fyi", "in sync; the face is 5.0 times as wide as what is generated",
    )  # fmt: skip
    code, severity, reason = judged(score(0.35), generated_per_face_pixel=0.2, seam_error=20.0)
    assert (code, severity) == ("seam", "issue")
    assert reason.startswith("the patch's edge may show (20.0 grey levels); the face is")
    assert judged(score(0.35), leak_share=0.9)[:2] == ("leak", "fyi")
    assert judged(score(0.35), flicker_ratio=3.0)[:2] == ("flicker", "issue")
    assert judged(score(0.35), identity=0.1)[:2] == ("identity", "issue")
    assert judged(score(0.35), sharpness_ratio=0.1)[:2] == ("soft", "fyi")


def test_where_the_scorer_cannot_be_trusted_every_verdict_says_so_and_no_score_decides() -> None:
    doubted = SelfTest(trusted=False, reason="3% of the offsets planted in 4 real shots were found")
    for after in (score(0.35), score(0.05), score(0.35, offset=9)):
        code, severity, reason = judged(after, test=doubted)
        assert (code, severity) == ("scorer_untrusted", "issue")
        assert "3% of the offsets planted" in reason


def trial(*confidences: float, **override) -> ShotTrial:
    """A shot with a take of each score."""
    tries = []
    for number, confidence in enumerate(confidences):
        artifact = Artifact(sha256=f"{number:064x}", num_bytes=1, media_type="application/x-npz")
        patch = LipPatch(shot_index=0, language="fr", track_id=0, first_frame=0, end_frame=9, patch=artifact, model_sha256="0" * 64)
        patches = ShotPatches(shot_index=0, language="fr", patches=(patch,))
        settings = TakeSettings(rung=f"rung-{number}" if number else "first")
        tries.append(Try(settings=settings, patches=patches, measures=measures(score(confidence)), generator_sha256="0" * 64))
    settled = Override(shot=0, language="fr", **override) if override else None
    return ShotTrial(shot=Shot(index=0, first_frame=0, end_frame=9), language="fr", tries=tuple(tries), override=settled)


def chosen(of: ShotTrial) -> int | None:
    return choose_take(POLICY, of, [judge_take(POLICY, each.measures, TRUSTED, None) for each in of.tries])


def digest(number: int) -> str:
    return take_digest(trial(*[0.3] * (number + 1)).tries[number].patches)


def test_the_best_take_is_in_the_film_the_first_of_equals() -> None:
    assert chosen(trial(0.12, 0.3, 0.2)) == 1
    assert chosen(trial(0.3, 0.3)) == 0


def test_no_take_that_is_worse_than_the_undubbed_picture_comes_into_the_film() -> None:
    assert chosen(trial(0.05, 0.09)) is None
    assert chosen(trial(0.05, 0.11)) == 1


def test_what_review_has_settled_holds() -> None:
    assert chosen(trial(0.3, keep_original="yes")) is None
    assert chosen(trial(0.3, 0.2, rejected_takes=(digest(0),))) == 1
    assert chosen(trial(0.3, 0.2, rejected_takes=(digest(0), digest(1)))) is None
    assert chosen(trial(0.3, 0.05, approved_take=digest(1))) == 1
