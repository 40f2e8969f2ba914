"""For a generator that edits a face at rest: such a face for every frame of a track, found in the track itself and kept by content."""

import numpy as np

from infra.artifacts import Artifact, ArtifactStore
from tasks.sync_evidence import expert_inputs, lips_of, shared_expert
from tasks.timeline import frame_times_s, ticks_of
from tasks.types import FaceTrack, Film, Models, Record
from wav2lip_core.reference import references_for, rest_of_lips

VERSION = 1
STRETCH_S = 2.0  # one resting face serves so long
REACH_S = 6.0  # and may be found so far from the stretch's middle


class RestingFaces(Record):
    """A face at rest for every frame of a track."""

    faces: Artifact  # .npy uint8 (n, 96, 96, 3) BGR


def resting_faces(store: ArtifactStore, film: Film, track: FaceTrack, models: Models) -> np.ndarray:
    """uint8 (n, 96, 96, 3) BGR, one for each frame of the track, with its head where the frame's is."""
    inputs = {"film": film.sha256, "timing": film.timing.sha256, "track": track} | expert_inputs(models)
    return store.load_array(store.get_or_make("rest_faces", VERSION, inputs, RestingFaces, lambda: _make(store, film, track, models)).faces)


def _make(store: ArtifactStore, film: Film, track: FaceTrack, models: Models) -> RestingFaces:
    assert track.crops is not None
    crops, fps = store.load_array(track.crops), float(film.fps)
    with store.scratch() as folder:
        out = np.lib.format.open_memmap(folder / "faces.npy", mode="w+", dtype=np.uint8, shape=crops.shape)
        references_for(crops, _rest(store, film, track, models), round(STRETCH_S * fps), round(REACH_S * fps), out)
        out.flush()
        del out
        return RestingFaces(faces=store.put_file(folder / "faces.npy", "application/x-npy"))


def _rest(store: ArtifactStore, film: Film, track: FaceTrack, models: Models) -> np.ndarray:
    """How much the mouth looks like silence, for each frame of the track: float32 (n,); all 0 where the track is too short to tell."""
    times = frame_times_s(store, film)
    ticks = ticks_of(times, track.first_frame, track.end_frame, float(film.fps))
    num_frames = track.end_frame - track.first_frame
    if ticks.num_windows == 0:
        return np.zeros(num_frames, np.float32)
    assert track.crops is not None
    at_ticks = rest_of_lips(shared_expert(models), lips_of(store, track.crops, ticks, models))
    nearest = np.searchsorted(ticks.times_s, times[track.first_frame : track.end_frame] - 1e-6)
    return at_ticks[np.clip(nearest, 0, len(at_ticks) - 1)]
