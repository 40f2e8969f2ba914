"""Faces to learn from in whole films: every usable track of every shot, as the dubbing itself would find them."""

from pathlib import Path

import numpy as np

from infra.artifacts import ArtifactStore
from infra.scan import VideoFacts
from tasks.inspect_film import inspect_film
from tasks.split_shots import split_shots
from tasks.track_faces import track_faces
from training.clips import FaceRun, FindFaces


def find_film_faces(store: ArtifactStore, detector: str) -> FindFaces:
    """A finder of faces for prepare_clips: the film is cut into shots, each shot's people are followed; finished work is found in the store."""

    def find(path: Path, _facts: VideoFacts) -> list[FaceRun]:
        film = inspect_film(store, path)
        pts = store.load_arrays(film.timing)["pts"]
        times_s = (pts - pts[0]) * float(film.time_base)
        runs = []
        for shot in split_shots(store, film):
            for track in track_faces(store, film, shot, detector, None).tracks:
                if track.usable:
                    boxes = store.load_arrays(track.geometry)["boxes"].astype(np.float64)
                    runs.append(FaceRun(times_s[track.first_frame : track.end_frame], boxes))
        return runs

    return find
