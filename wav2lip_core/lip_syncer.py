"""Runs the generator over faces: numpy in, numpy out, in full batches even when many short shots ask at once."""

import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from wav2lip_core.checkpoint import load_generator
from wav2lip_core.fast_generator import make_painter
from wav2lip_core.generator import LipGenerator
from wav2lip_core.mel import NUM_BANDS, WINDOW_COLUMNS
from wav2lip_core.precision import Precision

BUNDLED_GENERATOR = Path(__file__).parent / "weights" / "generator.safetensors"


@dataclass(eq=False)
class _Request:
    """One caller's frames; `taken` of them are in a batch already, `num_done` are back."""

    faces: np.ndarray
    references: np.ndarray
    mel: np.ndarray
    out: np.ndarray
    taken: int = 0
    num_done: int = 0
    error: Exception | None = None
    finished: threading.Event = field(default_factory=threading.Event)


class LipSyncer:
    """Generates speaking faces with one model; safe to call from many threads.

    model: a LipGenerator in eval mode, a file for `load_generator`, or None for the bundled one. Frames of all callers share
    batches of `batch_size`, so a short shot never runs alone on a wide device. Batches always have the full size (the last one is
    padded): a frame's result does not depend on what else was in its batch. A batch that is not full waits up to wait_s for more frames.
    num_at_once batches are computed side by side, each by the thread that waits for frames: one for a card, several for several processors.
    precision: float32 is the reference; the others are within a grey level of it and faster (see make_painter, for cache_folder too).
    """

    def __init__(
        self,
        model: LipGenerator | str | Path | None = None,
        batch_size: int = 16,
        device: str = "cpu",
        precision: Precision = "float32",
        cache_folder: Path | None = None,
        wait_s: float = 0.0,
        num_at_once: int = 1,
    ) -> None:
        if not isinstance(model, LipGenerator):
            model = load_generator(BUNDLED_GENERATOR if model is None else Path(model))
        self.model = model.eval().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.batch_size, self.device, self.wait_s = batch_size, device, wait_s
        self._paint = make_painter(self.model, precision, batch_size, device, cache_folder, num_at_once)
        self._pending: list[_Request] = []
        self._pending_lock, self._at_work = threading.Lock(), threading.BoundedSemaphore(num_at_once)
        self._arrived = threading.Condition(self._pending_lock)

    def generate(self, faces: np.ndarray, mel: np.ndarray, references: np.ndarray | None = None) -> np.ndarray:
        """faces uint8 (N, S, S, 3) BGR canonical crops, mel float32 (N, 80, 16) in [-4, 4] -> uint8 (N, S, S, 3) BGR.

        references: the faces whose looks to take, uint8 like faces; by default the faces themselves, as in the published inference.
        Raises ValueError for wrong shapes or types and for NaN in mel.
        """
        references = faces if references is None else references
        self._check(faces, mel, references)
        if len(faces) == 0:
            return faces.copy()
        request = _Request(faces, references, mel, np.empty_like(faces))
        with self._arrived:
            self._pending.append(request)
            self._arrived.notify()
        while not request.finished.is_set():
            with self._at_work:
                parts = [] if request.finished.is_set() else self._take()
                if parts:
                    self._run_batch(parts)
            if not parts:  # others compute what is left of it
                request.finished.wait()
        if request.error is not None:
            raise request.error
        return request.out

    def _check(self, faces: np.ndarray, mel: np.ndarray, references: np.ndarray) -> None:
        size = self.model.config.face_size
        for name, images in (("faces", faces), ("references", references)):
            if images.dtype != np.uint8 or images.shape != (len(mel), size, size, 3):
                raise ValueError(f"{name} must be uint8 ({len(mel)}, {size}, {size}, 3), got {images.dtype} {images.shape}")
        if mel.shape[1:] != (NUM_BANDS, WINDOW_COLUMNS):
            raise ValueError(f"mel must be (N, {NUM_BANDS}, {WINDOW_COLUMNS}), got {mel.shape}")
        if not np.isfinite(mel).all():
            raise ValueError("mel holds NaN or infinity")

    def _take(self) -> list[tuple[_Request, int, int]]:
        """The next frames in order of arrival, up to a full batch: (request, first, end)."""
        taken, room = [], self.batch_size
        with self._arrived:
            if self.wait_s:
                self._arrived.wait_for(self._fill_a_batch, self.wait_s)
            for request in self._pending:
                count = min(room, len(request.faces) - request.taken)
                taken.append((request, request.taken, request.taken + count))
                request.taken += count
                room -= count
                if room == 0:
                    break
            self._pending = [r for r in self._pending if r.taken < len(r.faces)]
        return taken

    def _fill_a_batch(self) -> bool:
        return sum(len(request.faces) - request.taken for request in self._pending) >= self.batch_size

    def _run_batch(self, parts: list[tuple[_Request, int, int]]) -> None:
        try:
            made = self._forward(*(np.concatenate([getattr(r, name)[a:b] for r, a, b in parts]) for name in ("faces", "references", "mel")))
        except Exception as error:
            with self._pending_lock:
                self._pending = [r for r in self._pending if all(r is not failed for failed, _, _ in parts)]
            for request, _, _ in parts:
                request.error = error
                request.finished.set()
            return
        position = 0
        for request, first, end in parts:
            request.out[first:end] = made[position : position + end - first]
            position += end - first
            with self._pending_lock:
                request.num_done += end - first
            if request.num_done == len(request.faces):
                request.finished.set()

    def _forward(self, faces: np.ndarray, references: np.ndarray, mel: np.ndarray) -> np.ndarray:
        num_frames, size = len(faces), self.model.config.face_size
        batch = np.zeros((self.batch_size, size, size, 6), np.uint8)
        batch[:num_frames, : size // 2, :, :3] = faces[:, : size // 2]
        batch[:num_frames, ..., 3:] = references
        sound = np.zeros((self.batch_size, 1, NUM_BANDS, WINDOW_COLUMNS), np.float32)
        sound[:num_frames, 0] = mel
        with torch.inference_mode():
            face = torch.from_numpy(batch).to(self.device).permute(0, 3, 1, 2).float().div_(255)
            made = self._paint(torch.from_numpy(sound).to(self.device), face)
            if not torch.isfinite(made).all():
                raise ValueError("the generator returned NaN: its weights or its input are broken")
            return made.mul_(255).round_().clamp_(0, 255).byte().permute(0, 2, 3, 1)[:num_frames].cpu().numpy()
