"""The whole job on a real film with known truth: cuts, casting, untouched pixels, better sync. One lossless run serves every promise."""

import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

from infra.artifacts import Artifact, ArtifactStore
from wav2lip_core.face_crop import mouth_mask, pixel_rect

SYNCED = {0, 1, 3, 4, 6, 7, 8, 9}
MIDDLE_X = 640


@pytest.fixture(scope="module")
def film_folder(shared: Path) -> Path:
    return shared / "media" / "episode_a"


@pytest.fixture(scope="module")
def dubbed(film_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OUT of `dub episode` with the embedded defaults and --lossless; the work folder lies beside it."""
    folder = tmp_path_factory.mktemp("episode-a")
    command = [sys.executable, "-m", "flows.cli", "episode", str(film_folder / "film.mp4"), "--audio", f"en={film_folder / 'dub.wav'}"]
    command += ["--out", str(folder / "out"), "--work", str(folder / "work"), "--id", "episode-a", "--lossless", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    json.loads(done.stdout)
    return folder / "out" / "episode-a"


@pytest.fixture(scope="module")
def table(dubbed: Path) -> pd.DataFrame:
    return pd.read_parquet(dubbed / "shots.parquet").set_index("shot")


def test_shot_boundaries_equal_the_truth(table: pd.DataFrame, film_folder: Path) -> None:
    truth = json.loads((film_folder / "truth.json").read_text())["shots"]
    assert [(r.first_frame, r.end_frame) for r in table.itertuples()] == [(s["first_frame"], s["end_frame"]) for s in truth]


def test_the_right_shots_are_synced_and_the_others_say_why_not(table: pd.DataFrame) -> None:
    assert set(table.index[table.outcome == "synced"]) == SYNCED
    assert table.reason[2] == "no_face"
    assert table.reason[5] == "off_screen"
    assert (table.verdict[[2, 5]] == "kept_original").all()


def test_in_two_face_shots_the_speaker_moves_and_not_the_listener(table: pd.DataFrame) -> None:
    middle = {shot: (table.face_box[shot][0] + table.face_box[shot][2]) / 2 for shot in (3, 7)}
    assert middle[3] < MIDDLE_X < middle[7]
    assert (table.num_faces[[3, 7]] == 2).all()


def test_every_synced_shot_fits_the_dub_better_than_the_undubbed_picture(table: pd.DataFrame) -> None:
    synced = table[table.outcome == "synced"]
    assert (synced.lse_c_after > synced.lse_c_undubbed).all(), synced[["lse_c_undubbed", "lse_c_after"]]
    assert synced.closed_share.notna().all()
    assert (synced.offset_before.abs() <= 2).all()


def test_725_frames_go_in_and_725_come_out_with_sound_and_the_same_rate(dubbed: Path) -> None:
    with av.open(str(dubbed / "en" / "episode-a.en.mkv")) as film:
        assert film.streams.video[0].average_rate == 25
        assert len(film.streams.audio) == 2  # the dub, then the original
        assert sum(1 for _ in film.decode(video=0)) == 725


def test_every_pixel_outside_the_patches_is_the_sources_own(dubbed: Path, film_folder: Path) -> None:
    touched = _touched_rects(dubbed)
    num_changed = 0
    with av.open(str(film_folder / "film.mp4")) as source, av.open(str(dubbed / "en" / "episode-a.en.mkv")) as made:
        for n, (before, after) in enumerate(zip(source.decode(video=0), made.decode(video=0), strict=True)):
            assert before.format.name == after.format.name
            a, b = before.to_ndarray(), after.to_ndarray()
            if n not in touched:
                assert np.array_equal(a, b), f"frame {n} was not to be touched"
                continue
            changed = np.argwhere(a[:720] != b[:720])
            num_changed += len(changed)
            x0, y0, x1, y1 = touched[n]
            assert (changed >= (y0, x0)).all(), f"frame {n}"
            assert (changed < (y1, x1)).all(), f"frame {n}"
            chroma_a, chroma_b = a[720:].reshape(2, 360, 640), b[720:].reshape(2, 360, 640)
            chroma = np.argwhere((chroma_a != chroma_b).any(axis=0))
            assert (chroma >= (y0 // 2, x0 // 2)).all(), f"frame {n}"
            assert (chroma < ((y1 + 1) // 2, (x1 + 1) // 2)).all(), f"frame {n}"
    assert num_changed > 100_000  # and inside them something did happen


def _touched_rects(dubbed: Path) -> dict[int, tuple[int, int, int, int]]:
    """Frame -> the mouth's rectangle of its patch, from the patches that the manifest names."""
    store = ArtifactStore(dubbed.parents[1] / "work" / "artifacts")
    rects = {}
    for patch in json.loads((dubbed / "manifest.json").read_text())["patches"]:
        arrays = store.load_arrays(Artifact(sha256=patch["sha256"], num_bytes=patch["num_bytes"], media_type="application/x-npz"))
        for n, box in zip(range(patch["first_frame"], patch["end_frame"]), arrays["boxes"], strict=True):
            x0, y0, x1, y1 = pixel_rect(box)
            rows, columns = (np.flatnonzero(mouth_mask(x1 - x0, y1 - y0).any(axis=axis)) for axis in (1, 0))
            rects[n] = (x0 + columns[0], y0 + rows[0], x0 + columns[-1] + 1, y0 + rows[-1] + 1)
    return rects
