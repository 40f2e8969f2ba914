"""What a policy makes of a take's measures: findings, each with a code, a severity and plain words; and which take is the best."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from infra.record_keys import canonical_json
from tasks.policy import Code, Policy
from tasks.types import Override, SelfTest, Severity, ShotMeasures, ShotPatches, ShotTrial

SEVERITIES: tuple[Severity, ...] = ("ok", "fyi", "issue", "blocker")
IN_SYNC = "in_sync"
APPROVED = "approved"
MOST_REASONS = 3


@dataclass(frozen=True)
class Pooled:
    """An offset found together with the same face's neighbours."""

    offset_frames: int
    shots: tuple[int, ...]  # all that took part, this one among them


@dataclass(frozen=True)
class Judged:
    """What is said of one take, or of a shot that keeps its picture. Codes are the policy's, the casting's, or in_sync and approved."""

    code: str
    severity: Severity
    reason: str  # plain words
    pooled: Pooled | None = None

    @property
    def verdict(self) -> Literal["pass", "review"]:
        return "review" if self.severity in ("issue", "blocker") else "pass"


def take_digest(patches: ShotPatches) -> str:
    """Names a take by its pictures: sha256 over the canonical JSON of its patches' digests."""
    return sha256(canonical_json([patch.patch.sha256 for patch in patches.patches]).encode()).hexdigest()


def judge_take(policy: Policy, measures: ShotMeasures, self_test: SelfTest, pooled: Pooled | None) -> Judged:
    """The verdict on a take that has been measured. The worst finding names it; what else was found follows in its words."""
    found: dict[Code, str] = {"scorer_untrusted": f"cannot be judged by its score: {self_test.reason}"}
    if self_test.trusted:
        found = _scores(policy, measures, pooled)
    found |= _picture(policy, measures)
    order = list(policy.severity)
    ranked: list[Code] = sorted(found, key=lambda code: (-SEVERITIES.index(policy.severity[code]), order.index(code)))
    if not ranked:
        return Judged(IN_SYNC, "ok", "in sync", pooled)
    worst = policy.severity[ranked[0]]
    words = [found[code] for code in ranked[:MOST_REASONS]]
    if worst in ("ok", "fyi"):
        words = ["in sync", *words]
    return Judged(ranked[0], worst, "; ".join(words), pooled)


def approved(judged: Judged) -> Judged:
    """The same take once a person has said yes to it."""
    return Judged(APPROVED, "ok", "approved by a reviewer", judged.pooled)


def judge_kept(policy: Policy, code: Code, reason: str) -> Judged:
    """The verdict on a shot that keeps its picture although something was tried."""
    return Judged(code, policy.severity[code], reason)


def choose_take(policy: Policy, trial: ShotTrial, judged: Sequence[Judged]) -> int | None:
    """Which try is the best, by severity and then by LSE-C; None: the original picture is to stay.

    An approved take comes before all; rejected ones do not count; a best take of a kind that the policy would rather leave out does not either.
    """
    override = trial.override or Override(shot=trial.shot.index, language=trial.language)
    digests = [take_digest(each.patches) for each in trial.tries]
    if override.keep_original == "yes":
        return None
    if override.approved_take in digests:
        return digests.index(override.approved_take)
    usable = [i for i, each in enumerate(trial.tries) if each.patches.patches and digests[i] not in override.rejected_takes]
    if not usable:
        return None
    best = max(usable, key=lambda i: (-SEVERITIES.index(judged[i].severity), trial.tries[i].measures.after.confidence or 0.0, -i))
    return None if judged[best].code in policy.ladder.keep_original_when else best


def _scores(policy: Policy, measures: ShotMeasures, pooled: Pooled | None) -> dict[Code, str]:
    rules, before, undubbed, after = policy.sync, measures.before, measures.undubbed, measures.after
    offset = after.offset_frames if pooled is None else pooled.offset_frames
    if offset is None:
        return {"not_scored": f"synced, not scored: {after.reason}"}
    found: dict[Code, str] = {}
    with_neighbours = f", found together with shots {', '.join(map(str, pooled.shots))}" if pooled is not None else ""
    if abs(offset) > rules.max_offset_frames:
        if pooled is None and (after.offset_agreement or 0) < rules.min_offset_agreement:
            found["not_scored"] = "synced, but too faint to tell whether the lips are in time"
        else:
            way = "behind" if offset > 0 else "ahead of"
            found["offset"] = f"lips are {abs(offset)} frames of 40 ms {way} the dub{with_neighbours}"
    elif pooled is not None:
        found["pooled"] = f"too short or faint to be judged alone{with_neighbours}"
    if after.confidence is None:
        return found
    if undubbed.confidence is not None and after.confidence <= undubbed.confidence:
        found["worse_than_undubbed"] = "the dubbed picture scores no better than the undubbed one"
    elif before.confidence is not None and after.confidence < rules.min_share_of_original * before.confidence:
        timing = "in sync, but only" if "offset" not in found else "only"
        found["far_below_original"] = f"{timing} {after.confidence / before.confidence:.0%} of the original's own score"
    return found


def _picture(policy: Policy, measures: ShotMeasures) -> dict[Code, str]:
    rules, checks = policy.picture, measures.checks
    found: dict[Code, str] = {}
    if checks.identity is not None and checks.identity < rules.min_identity:
        found["identity"] = f"the lower face hardly resembles the original's ({checks.identity:.2f})"
    if checks.seam_error is not None and checks.seam_error > rules.max_seam_error:
        found["seam"] = f"the patch's edge may show ({checks.seam_error:.1f} grey levels)"
    if checks.flicker_ratio is not None and checks.flicker_ratio > rules.max_flicker_ratio:
        found["flicker"] = f"the patch flickers ({checks.flicker_ratio:.1f} times the original's unrest)"
    if checks.leak_share is not None and checks.leak_share > rules.max_leak_share:
        found["leak"] = f"{checks.leak_share:.0%} of the mouth's motion stays when the generator hears silence"
    if checks.sharpness_ratio is not None and checks.sharpness_ratio < rules.min_sharpness_ratio:
        found["soft"] = f"the mouth is softer than it was ({checks.sharpness_ratio:.0%} of its sharpness)"
    if checks.generated_per_face_pixel is not None and checks.generated_per_face_pixel < rules.min_generated_per_face_pixel:
        found["upscaled"] = f"the face is {1 / checks.generated_per_face_pixel:.1f} times as wide as what is generated"
    return found
