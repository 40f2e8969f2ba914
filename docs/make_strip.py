"""Makes the before/after strip of README: the speaker's face in the film above, in the dubbed film below, at the same frames.

python docs/make_strip.py FILM DUBBED SHOTS.parquet STRIP.png [--shot N] [--frames N]
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from infra.video import FrameReader, scan

TILE = 240  # pixels
MARGIN = 1.25  # of the face box, shown around it


def make_strip(film: Path, dubbed: Path, table: Path, shot: int | None, num_tiles: int) -> np.ndarray:
    """uint8 (2 * TILE, num_tiles * TILE, 3) BGR. The shot is the first synced one if not given."""
    rows = pd.read_parquet(table)
    row = rows[rows.outcome == "synced"].iloc[0] if shot is None else rows[rows.shot == shot].iloc[0]
    if row.face_box is None:
        raise SystemExit(f"Nobody speaks in shot {row.shot}; choose another with --shot.")
    first, end = int(row.first_frame), int(row.end_frame)
    numbers = np.linspace(first, end - 1, num_tiles + 2)[1:-1].round().astype(int).tolist()
    return np.vstack([np.hstack([_tile(picture, row.face_box) for picture in _pictures(path, first, end, numbers)]) for path in (film, dubbed)])


def _pictures(path: Path, first: int, end: int, numbers: list[int]) -> list[np.ndarray]:
    facts = scan(path)
    reader = FrameReader(str(path), facts.pts, facts.time_base, facts.is_keyframe, facts.rotation_degrees)
    return [picture for n, picture in reader.pictures(first, end) if n in numbers]


def _tile(picture: np.ndarray, box: list[float]) -> np.ndarray:
    """The square around a face box (XYXY), scaled to TILE."""
    x0, y0, x1, y1 = box
    half = MARGIN * max(x1 - x0, y1 - y0) / 2
    scale = TILE / (2 * half)
    to_tile = np.array([[scale, 0, scale * (half - (x0 + x1) / 2)], [0, scale, scale * (half - (y0 + y1) / 2)]])
    return cv2.warpAffine(picture, to_tile, (TILE, TILE), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("film", "dubbed", "table", "strip"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--shot", type=int)
    parser.add_argument("--frames", type=int, default=6)
    options = parser.parse_args()
    strip = make_strip(options.film, options.dubbed, options.table, options.shot, options.frames)
    if not cv2.imwrite(str(options.strip), strip):
        parser.error(f"{options.strip} cannot be written")


if __name__ == "__main__":
    main()
