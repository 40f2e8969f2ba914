"""Whether the scorer can be trusted on a film: offsets planted in the film's own real shots, and found or not.

A planted offset moves the original sound by whole windows of 40 ms, so every embedding is a real one of the film. What is tried is the scorer's
power on these faces and voices: where it cannot tell a real shot's timing, the planted offset is lost in the noise.
"""

from collections.abc import Sequence

import numpy as np

from tasks.policy import SelfTestRules
from tasks.sync_evidence import MAX_PLANTED, MIN_SPEECH_WINDOWS
from tasks.types import SelfTest
from wav2lip_core.sync_interval import middle_columns, offset_of, weighted_curve

PLANTED = tuple(k for k in range(-MAX_PLANTED, MAX_PLANTED + 1) if k)
MAX_OWN_OFFSET = 2  # frames that a film's own sound may be off


def try_scorer(rows: Sequence[np.ndarray], weights: Sequence[np.ndarray], rules: SelfTestRules) -> SelfTest:
    """rows: per real shot float32 (n, 43), distances to the original voice; weights (n,): speech. Found means within one frame.

    A sound that is a little off throughout the film is the film's own, not the scorer's: offsets count from the shots' median.
    """
    shots = [(row, weight) for row, weight in zip(rows, weights, strict=True) if weight.sum() >= MIN_SPEECH_WINDOWS]
    if len(shots) < rules.min_shots:
        return SelfTest(num_shots=len(shots), reason=_too_few(len(shots), rules))
    own = round(float(np.median([offset_of(weighted_curve(middle_columns(row), weight)) for row, weight in shots])))
    num_found = []
    for planted in PLANTED:
        heard = [offset_of(weighted_curve(middle_columns(row, shift=planted), weight)) for row, weight in shots]
        num_found.append(sum(abs(offset - own - planted) <= 1 for offset in heard))
    share = sum(num_found) / (len(PLANTED) * len(shots))
    trusted = share >= rules.min_found_share and abs(own) <= MAX_OWN_OFFSET
    reason = f"{share:.0%} of the offsets planted in {len(shots)} real shots were found"
    if abs(own) > MAX_OWN_OFFSET:
        reason += f", but the film's own sound seems {abs(own)} frames of 40 ms {'early' if own > 0 else 'late'}"
    elif not trusted:
        reason += f"; {rules.min_found_share:.0%} are needed, so the scorer cannot be trusted on this film"
    return SelfTest(planted_frames=PLANTED, num_found=tuple(num_found), num_shots=len(shots), trusted=trusted, reason=reason)


def _too_few(num_shots: int, rules: SelfTestRules) -> str:
    shots = "1 real shot" if num_shots == 1 else f"{num_shots or 'no'} real shots"
    return f"the film has {shots} with speech to try the scorer on; {rules.min_shots} are needed"
