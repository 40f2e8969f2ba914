"""LSE-D and LSE-C as they were published: SyncNet's own 224 px crop, MFCC and windows. numpy in, numpy out.

The published weights, syncnet_v2.model, were not at hand: what is known to be right is every number with weights drawn at random.
"""

from collections.abc import Iterable

import cv2
import numpy as np
import torch
from scipy.ndimage import median_filter

from wav2lip_core.face_crop import EYE_ROW, HEIGHT_IN_EM
from wav2lip_core.mfcc import FRAME, HOP, SAMPLE_RATE_HZ, mfcc
from wav2lip_core.sync_scorer import LipSync, score
from wav2lip_core.vgg_syncnet import FRAME_SIZE, NUM_FRAMES, NUM_STEPS, VggSyncNet

FEWEST_WINDOWS = 6
SAMPLES_PER_FRAME = SAMPLE_RATE_HZ // 25  # the published protocol knows no other frame rate
_ROWS_PER_FRAME = SAMPLES_PER_FRAME // HOP
_BATCH = 20
_SOUND_BLOCK = 50 * _BATCH  # windows whose MFCC are in memory together

# A tight face box, from above the brows to under the chin, as S3FD, RetinaFace and YuNet give it (all trained on WIDER FACE), in `em` of face_crop.
TIGHT_HEIGHT_IN_EM = 2.81
TIGHT_WIDTH_IN_EM = 1.96
TIGHT_EYE_ROW = 0.376

CROP_SCALE = 0.40  # of the box, added around it
_MEDIAN_KERNEL = 13
_PADDING_GREY = 110


def tight_boxes(canonical: np.ndarray) -> np.ndarray:
    """The raw boxes that a face detector would give, float64 (n, 4) XYXY, from canonical boxes (n, 4) of face_crop.

    With em = canonical height / 2.9 the eyes lie 0.37 * 2.9 em below the canonical top. The tight box has the same eyes and the same
    middle, is 2.81 em high and 1.96 em wide, and has the eyes at 0.376 of its height: it begins 0.016 em lower and ends 0.074 em higher.
    """
    x0, y0, x1, y1 = np.asarray(canonical, np.float64).T
    em = (y1 - y0) / HEIGHT_IN_EM
    middle, top = (x0 + x1) / 2, y0 + (EYE_ROW * HEIGHT_IN_EM - TIGHT_EYE_ROW * TIGHT_HEIGHT_IN_EM) * em
    half_width = TIGHT_WIDTH_IN_EM / 2 * em
    return np.stack([middle - half_width, top, middle + half_width, top + TIGHT_HEIGHT_IN_EM * em], axis=1)


def crop_places(tight: np.ndarray) -> np.ndarray:
    """Where the published crop lies in each frame at 25 fps: tight boxes (n, 4) -> float64 (n, 3), half side s, centre x, centre y, in pixels.

    s is half the box's longer side. Each is median-filtered over 13 frames with zeros beyond the ends, as in the published pipeline: the first
    and the last six lean towards the smallest values near them. Raises ValueError below 7 frames, which the zeros would outvote.
    """
    if len(tight) <= _MEDIAN_KERNEL // 2:
        raise ValueError(f"the published crop needs a track of {_MEDIAN_KERNEL // 2 + 1} frames at 25 fps or more, not {len(tight)}")
    x0, y0, x1, y1 = np.asarray(tight, np.float64).T
    raw = np.maximum(y1 - y0, x1 - x0) / 2, (x0 + x1) / 2, (y0 + y1) / 2
    return np.stack([median_filter(values, _MEDIAN_KERNEL, mode="constant", cval=0.0) for values in raw], axis=1)


def crop(image_bgr: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The published crop at a place (s, x, y): uint8 (224, 224, 3) BGR from an upright uint8 (H, W, 3) BGR picture.

    It reaches from s above the centre to 1.8 s below, and 1.4 s to either side; beyond the picture there is grey 110.
    """
    half, x, y = (float(value) for value in place)
    below, beside = half * (1 + 2 * CROP_SCALE), half * (1 + CROP_SCALE)
    margin = int(below)  # whole pixels are counted in the padded picture, where no coordinate is negative
    top, bottom = int(y + margin - half) - margin, int(y + margin + below) - margin
    left, right = int(x + margin - beside) - margin, int(x + margin + beside) - margin
    face = np.full((bottom - top, right - left, 3), _PADDING_GREY, np.uint8)
    y0, y1 = np.clip((top, bottom), 0, image_bgr.shape[0])
    x0, x1 = np.clip((left, right), 0, image_bgr.shape[1])
    face[y0 - top : y1 - top, x0 - left : x1 - left] = image_bgr[y0:y1, x0:x1]
    return cv2.resize(face, (FRAME_SIZE, FRAME_SIZE), interpolation=cv2.INTER_LINEAR)


def num_windows(num_frames: int, num_samples: int) -> int:
    """Windows that the published evaluation uses of so many frames at 25 fps and samples at 16 kHz: one less than there are."""
    return max(0, min(num_frames, num_samples // SAMPLES_PER_FRAME) - NUM_FRAMES)


class LipEmbedder:
    """Embeds a face crop by crop, so that memory stays flat however long the track: 24 crops at a time."""

    def __init__(self, network: VggSyncNet) -> None:
        self._network = network
        self._crops: list[np.ndarray] = []
        self._rows = [np.zeros((0, network.netfclip[-1].out_features), np.float32)]  # pyright: ignore[reportArgumentType, reportCallIssue]

    def add(self, crop_bgr: np.ndarray) -> None:
        """The crop of the next moment at 25 fps: uint8 (224, 224, 3) BGR."""
        if crop_bgr.dtype != np.uint8 or crop_bgr.shape != (FRAME_SIZE, FRAME_SIZE, 3):
            raise ValueError(f"the published scorer wants crops uint8 ({FRAME_SIZE}, {FRAME_SIZE}, 3), got {crop_bgr.dtype} {crop_bgr.shape}")
        self._crops.append(crop_bgr)
        if len(self._crops) == _BATCH + NUM_FRAMES - 1:
            self._embed()

    def finish(self) -> np.ndarray:
        """float32 (n - 4, 1024) for n crops added, row v for the five crops from v on; (0, 1024) below five."""
        if len(self._crops) >= NUM_FRAMES:
            self._embed()
        return np.concatenate(self._rows)

    def _embed(self) -> None:
        windows = np.lib.stride_tricks.sliding_window_view(np.stack(self._crops), NUM_FRAMES, axis=0)  # (m, 224, 224, 3, 5)
        with torch.inference_mode():
            frames = np.ascontiguousarray(windows.transpose(0, 3, 4, 1, 2))
            self._rows.append(self._network.embed_lips(frames).cpu().numpy())
        self._crops = self._crops[len(windows) :]


def embed_lips(network: VggSyncNet, crops: Iterable[np.ndarray]) -> np.ndarray:
    """Crops uint8 (224, 224, 3) BGR at 25 fps -> float32 (n - 4, 1024); read one by one."""
    embedder = LipEmbedder(network)
    for picture in crops:
        embedder.add(picture)
    return embedder.finish()


def embed_sound(network: VggSyncNet, samples_int16: np.ndarray, num_windows: int) -> np.ndarray:
    """Mono int16 samples at 16 kHz, sample 0 heard with frame 0 -> float32 (num_windows, 1024), row v for the 200 ms from frame v on.

    Raises ValueError where the sound ends before the last window does.
    """
    rows = [np.zeros((0, network.netfcaud[-1].out_features), np.float32)]  # pyright: ignore[reportArgumentType, reportCallIssue]
    for block in range(0, num_windows, _SOUND_BLOCK):
        windows = mfcc_windows(samples_int16, block, min(_SOUND_BLOCK, num_windows - block))
        for first in range(0, len(windows), _BATCH):
            with torch.inference_mode():
                rows.append(network.embed_audio(windows[first : first + _BATCH, None].astype(np.float32)).cpu().numpy())
    return np.concatenate(rows)


def mfcc_windows(samples_int16: np.ndarray, first: int, count: int) -> np.ndarray:
    """The MFCC (count, 13, 20) float64 of windows first ... first + count - 1; equal to those cut from the MFCC of all samples."""
    lead = min(1, first)  # a row more before: the first sample of what mfcc is given goes without pre-emphasis
    start = (first * _ROWS_PER_FRAME - lead) * HOP
    end = ((first + count - 1) * _ROWS_PER_FRAME + NUM_STEPS - 1) * HOP + FRAME
    if end > len(samples_int16):
        raise ValueError(f"windows {first} to {first + count - 1} need {end} samples; there are {len(samples_int16)}")
    rows = mfcc(samples_int16[start:end])[lead:]
    return np.lib.stride_tricks.sliding_window_view(rows, NUM_STEPS, axis=0)[::_ROWS_PER_FRAME]


def score_clip(network: VggSyncNet, crops: Iterable[np.ndarray], samples_int16: np.ndarray) -> LipSync:
    """Published LSE-D, LSE-C and offset of one face: crops uint8 (224, 224, 3) BGR at 25 fps, mono int16 sound at 16 kHz from the same moment.

    Unlike the published tools it writes no lossy files (JPEG, XVID) on the way. Raises ValueError for fewer than 6 windows (11 frames, 0.44 s).
    Source: run_pipeline and evaluate of the SyncNet release; Chung and Zisserman, ACCV 2016 workshops.
    """
    lips = embed_lips(network, crops)
    count = num_windows(len(lips) + NUM_FRAMES - 1, len(samples_int16))
    if count < FEWEST_WINDOWS:
        raise ValueError(f"the published score needs {FEWEST_WINDOWS} windows or more; this clip has {count}")
    return score(lips[:count], embed_sound(network, samples_int16, count))
