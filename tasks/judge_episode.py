"""What is said of one language's film as a whole: the scorer tried on the film itself, people found, short shots pooled, every shot's verdict."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from infra.artifacts import Artifact, ArtifactStore
from tasks.likeness import people_among
from tasks.policy import Policy
from tasks.pooling import pool_offsets
from tasks.self_test import try_scorer
from tasks.types import EpisodeGround, EpisodeQa, Person, QaReport, ShotMeasures, ShotTrial, Take
from tasks.verdicts import Judged, approved, choose_take, judge_kept, judge_take, take_digest

GROUND_VERSION = 1
VERSION = 1


def study_ground(store: ArtifactStore, language: str, measures: tuple[ShotMeasures, ...], policy: Policy) -> EpisodeGround:
    """What the film's own real shots tell: whether the scorer can be trusted, their scores, and who is who. measures: one take of each shot."""

    def make() -> EpisodeGround:
        cast = [each for each in measures if each.evidence is not None]
        arrays = [store.load_arrays(each.evidence) for each in cast if each.evidence is not None]
        tested = try_scorer([each["before_rows"] for each in arrays], [each["before_weights"] for each in arrays], policy.self_test)
        people = people_among([each["looks"] for each in arrays])
        return EpisodeGround(
            self_test=tested,
            real_confidences=tuple(sorted(each.before.confidence for each in cast if each.before.confidence is not None)),
            people=tuple(
                _person(store, number, [each for each, who in zip(cast, people, strict=True) if who == number]) for number in sorted(set(people))
            ),
        )

    inputs = {"language": language, "measures": measures, "rules": policy.self_test}
    return store.get_or_make("study_ground", GROUND_VERSION, inputs, EpisodeGround, make)


def judge_episode(store: ArtifactStore, language: str, trials: tuple[ShotTrial, ...], ground: EpisodeGround, policy: Policy) -> EpisodeQa:
    """The QA of one language: a report per shot, in order."""

    def make() -> EpisodeQa:
        reports = tuple(
            _report(policy, trial, assessment, ground)
            for trial, assessment in zip(trials, assess(store, trials, ground, policy), strict=True)
        )  # fmt: skip
        return EpisodeQa(
            language=language,
            policy_name=policy.name,
            policy_version=policy.version,
            policy_sha256=policy.sha256,
            reports=reports,
            self_test=ground.self_test,
            people=tuple(_with_delta(person, reports) for person in ground.people),
            real_confidences=ground.real_confidences,
        )

    inputs = {"language": language, "trials": trials, "ground": ground, "policy": policy}
    return store.get_or_make("judge_episode", VERSION, inputs, EpisodeQa, make)


@dataclass(frozen=True)
class Assessment:
    """What is said of every try at a shot, which of them is in the film (None: the original picture), and the verdict on that."""

    tries: tuple[Judged, ...]
    chosen: int | None
    final: Judged


def assess(store: ArtifactStore, trials: Sequence[ShotTrial], ground: EpisodeGround, policy: Policy) -> list[Assessment]:
    """Judge every try of every shot of one language; short shots with the help of their neighbours."""
    pooled = pool_offsets(store, trials, ground.people, policy.sync) if ground.self_test.trusted else {}
    out = []
    for number, trial in enumerate(trials):
        judged = [judge_take(policy, each.measures, ground.self_test, pooled.get((number, i))) for i, each in enumerate(trial.tries)]
        best = choose_take(policy, trial, judged)
        out.append(Assessment(tuple(judged), best, _final(policy, trial, judged, best)))
    return out


def _final(policy: Policy, trial: ShotTrial, judged: list[Judged], best: int | None) -> Judged:
    override = trial.override
    if override is not None and override.keep_original == "yes":
        return Judged("refused", "ok", "refused: a reviewer kept the original picture")
    if trial.trouble:
        return judge_kept(policy, "failed", f"failed: {trial.trouble}")
    if best is not None:
        is_approved = override is not None and override.approved_take == take_digest(trial.tries[best].patches)
        return approved(judged[best]) if is_approved else judged[best]
    made = [i for i, each in enumerate(trial.tries) if each.patches.patches]
    if not made:
        return _left(policy, trial)
    rejected = override.rejected_takes if override is not None else ()
    usable = [i for i in made if take_digest(trial.tries[i].patches) not in rejected]
    if not usable:
        return judge_kept(policy, "takes_rejected", "a reviewer rejected every take; the original picture is kept")
    tries = "the one take was" if len(usable) == 1 else f"none of {len(usable)} takes was"
    words = "no better" if len(usable) == 1 else "better"
    return judge_kept(policy, "no_better_take", f"{tries} {words} than the undubbed picture, which is kept")


def _left(policy: Policy, trial: ShotTrial) -> Judged:
    """Nobody seen speaking is a safe reason; a face that could not be dubbed although the dub speaks is not."""
    reason = trial.tries[0].patches.reason or "refused" if trial.tries else "refused"
    speaks = bool(trial.tries) and trial.tries[0].measures.dub_share > policy.kept.min_dub_share
    if reason in policy.kept.looked_at and speaks:
        return Judged("left_though_dub_speaks", policy.severity["left_though_dub_speaks"], reason)
    return Judged(reason, "ok", reason)


def _report(policy: Policy, trial: ShotTrial, assessment: Assessment, ground: EpisodeGround) -> QaReport:
    chosen = None if assessment.chosen is None else trial.tries[assessment.chosen]
    shown = chosen or (trial.tries[-1] if trial.tries else None)
    measures = shown.measures if shown is not None else ShotMeasures(shot_index=trial.shot.index, language=trial.language)
    final, evidence = assessment.final, trial.evidence
    if final.code == "left_though_dub_speaks":
        evidence = f"{evidence}; but the dub speaks for {measures.dub_share:.0%} of the shot"
    takes = tuple(_take(trial, i, judged) for i, judged in enumerate(assessment.tries) if trial.tries[i].patches.patches)
    in_film = {"after": measures.after, "checks": measures.checks} if chosen is not None else {}
    if chosen is not None and measures.after.confidence is not None and ground.self_test.trusted:
        in_film["percentile"] = _percentile(measures.after.confidence, ground.real_confidences)
    return QaReport(
        shot=trial.shot,
        language=trial.language,
        outcome="kept_original" if chosen is None else "synced",
        reason=final.reason,
        code=final.code,
        severity=final.severity,
        verdict="review" if final.verdict == "review" else "kept_original" if chosen is None else "pass",
        track_id=measures.track_id if takes else None,
        face_box=measures.face_box if takes else None,
        evidence=evidence,
        num_faces=trial.num_faces,
        before=measures.before,
        undubbed=measures.undubbed,
        pooled_offset_frames=final.pooled.offset_frames if final.pooled else None,
        pooled_shots=final.pooled.shots if final.pooled else (),
        person=next((person.index for person in ground.people if trial.shot.index in person.shots), None),
        takes=takes,
        take_sha256=None if chosen is None else take_digest(chosen.patches),
        num_tries=len(takes) or trial.num_attempts,
        seconds=sum(take.seconds for take in takes),
        thumbnail=measures.thumbnail if takes else None,
        character=", ".join(each.character for each in measures.voices if each.character) or None if takes else None,
        voices=measures.voices if takes else (),
        **in_film,
    )


def _take(trial: ShotTrial, index: int, judged: Judged) -> Take:
    tried = trial.tries[index]
    return Take(
        settings=tried.settings,
        sha256=take_digest(tried.patches),
        generator_sha256=tried.generator_sha256,
        after=tried.measures.after,
        checks=tried.measures.checks,
        verdict=judged.verdict,
        code=judged.code,
        reason=judged.reason,
        severity=judged.severity,
        seconds=tried.patches.seconds,
    )


def _percentile(confidence: float, real: Sequence[float]) -> float | None:
    """0 to 100: the share of the film's real shots that score less; ties count half."""
    if not real:
        return None
    return 100.0 * (sum(each < confidence for each in real) + 0.5 * sum(each == confidence for each in real)) / len(real)


def _person(store: ArtifactStore, number: int, seen: list[ShotMeasures]) -> Person:
    picture = next((each.thumbnail for each in seen if each.thumbnail is not None), None)
    return Person(index=number, shots=tuple(each.shot_index for each in seen), thumbnail=_left_half(store, picture) if picture else None)


def _left_half(store: ArtifactStore, pair: Artifact) -> Artifact:
    """The face as filmed, out of a before-and-after picture."""
    picture = cv2.imdecode(np.frombuffer(store.path(pair).read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    ok, jpeg = cv2.imencode(".jpg", picture[:, : picture.shape[1] // 2], [cv2.IMWRITE_JPEG_QUALITY, 90])
    assert ok
    return store.put_bytes(jpeg.tobytes(), "image/jpeg")


def _with_delta(person: Person, reports: Sequence[QaReport]) -> Person:
    deltas = [
        report.after.confidence - report.before.confidence
        for report in reports
        if report.shot.index in person.shots and report.after.confidence is not None and report.before.confidence is not None
    ]
    return person.model_copy(update={"mean_delta": float(np.mean(deltas)) if deltas else None})
