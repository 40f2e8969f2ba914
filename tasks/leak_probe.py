"""How much of the mouth's motion does not come from the sound: the generator hears digital silence and its mouth should rest.

What still moves was taken from the picture: the original's own words shine through.
"""

import numpy as np

from infra.artifacts import ArtifactStore
from tasks.lip_making import generate
from tasks.types import FaceTrack, Film, LipPatch, Models, TakeSettings
from wav2lip_core.face_crop import mouth_mask
from wav2lip_core.mel import NUM_BANDS, SILENCE, WINDOW_COLUMNS
from wav2lip_core.reference import held_still

NUM_SAMPLES = 16  # one batch of the generator
STEP = 2  # every second frame: the samples span more than a second
LEAST_MOTION = 0.5  # grey levels under which the mouth does not move under the dub either, and there is nothing to compare with


def leak_share(store: ArtifactStore, film: Film, track: FaceTrack, patch: LipPatch, models: Models, settings: TakeSettings) -> float | None:
    """Mouth motion under silence / mouth motion under the dub, over the same 16 frames, the head held still in both: where it goes, its mouth goes
    under any sound. 0 is best. None where the dub's mouth hardly moves."""
    made = store.load_arrays(patch.patch)["faces"]
    picked = pick_frames(made)
    if len(picked) < 2:
        return None
    mel = np.full((len(picked), NUM_BANDS, WINDOW_COLUMNS), SILENCE, np.float32)
    crops, silent = generate(store, film, track, patch.first_frame + picked, mel, models, settings)
    spoken = motion(held_still(made[picked], crops))
    return float(motion(held_still(silent, crops)) / spoken) if spoken >= LEAST_MOTION else None


def pick_frames(faces: np.ndarray) -> np.ndarray:
    """The run of NUM_SAMPLES frames, STEP apart, in which the mouth moves most; fewer where the patch is shorter. int64 (m,), ascending."""
    length = min(len(faces), NUM_SAMPLES * STEP)
    inside = mouth_mask(faces.shape[2], faces.shape[1]) > 0.5
    change = np.abs(np.diff(faces[:, inside].astype(np.float32), axis=0)).mean(axis=(1, 2))
    total = np.concatenate([[0.0], np.cumsum(change)])
    first = int(np.argmax(total[length - 1 :] - total[: len(total) - length + 1])) if len(faces) > length else 0
    return np.arange(first, first + length, STEP)


def motion(faces: np.ndarray) -> float:
    """How much the mouth region changes over time: root mean variance of its pixels in grey levels, faces uint8 (n, S, S, 3)."""
    inside = mouth_mask(faces.shape[2], faces.shape[1]) > 0.5
    return float(np.sqrt(faces[:, inside].astype(np.float32).mean(axis=2).var(axis=0).mean()))
