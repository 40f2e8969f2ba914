"""Cuts the canonical crops of a shot's faces out of its frames, and their stills in passing; memory does not grow with the shot."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from av.video.frame import VideoFrame

from infra.artifacts import Artifact, ArtifactStore
from infra.planes import colours_of, has_planes, upright_planes
from infra.regions import upright_region
from tasks.face_stills import StillCutter
from tasks.types import Shot
from wav2lip_core import face_crop
from wav2lip_core.face_path import FacePath
from wav2lip_core.face_planes import Colours, Plane, plane_crop

CROP_PX = 96


class Frames(Protocol):
    """Where a shot's frames come from: the film, or memory. They are asked for more than once."""

    def frames(self, first: int, end: int) -> Iterator[tuple[int, VideoFrame]]:
        """(n, frame) for n in [first, end), in coded orientation and native format."""
        ...


def cut_crops(
    store: ArtifactStore, reader: Frames, rotation_degrees: int, shot: Shot, paths: dict[int, FacePath], stills: dict[int, StillCutter]
) -> dict[int, Artifact]:
    """Each path's canonical crops as one .npy, written frame by frame; the stills are cut in passing. Frames count from the shot's first."""
    if not paths:
        return {}
    with store.scratch() as folder:
        files = {i: folder / f"{i}.npy" for i in paths}
        with ExitStack() as stack:
            outs = {i: stack.enter_context(_begun_npy(files[i], len(path.boxes))) for i, path in paths.items()}
            first = min(path.first_frame for path in paths.values())
            end = max(path.end_frame for path in paths.values())
            for n, frame in reader.frames(shot.first_frame + first, shot.first_frame + end):
                here = {i: n - shot.first_frame - path.first_frame for i, path in paths.items()}
                here = {i: k for i, k in here.items() if 0 <= k < len(paths[i].boxes)}
                for i, k in here.items():
                    box = paths[i].boxes[k]
                    outs[i].write(cut_crop(frame, rotation_degrees, box).tobytes())
                    if stills[i].wants(k):
                        stills[i].see(k, *upright_region(frame, rotation_degrees, face_crop.pixel_rect(box)))
        return {i: store.put_file(path, "application/x-npy") for i, path in files.items()}


def cut_crop(frame: VideoFrame, rotation_degrees: int, box: np.ndarray) -> np.ndarray:
    """One canonical crop: uint8 (96, 96, 3) BGR, out of the frame's own planes where it has such."""
    if has_planes(frame):
        planes = [Plane(*plane) for plane in upright_planes(frame, rotation_degrees)]
        return plane_crop(planes, Colours(*colours_of(frame)), box, CROP_PX)
    picture, left, top = upright_region(frame, rotation_degrees, face_crop.pixel_rect(box))
    return face_crop.crop(picture, box - np.array([left, top, left, top], box.dtype), CROP_PX)


def _begun_npy(path: Path, num_crops: int) -> BinaryIO:
    """A .npy file with its header written; the crops are to follow. Unlike a memory map it leaves nothing in memory."""
    file = path.open("xb")
    header = {"descr": "|u1", "fortran_order": False, "shape": (num_crops, CROP_PX, CROP_PX, 3)}
    np.lib.format.write_array_header_1_0(file, header)
    return file
