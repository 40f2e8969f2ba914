"""The whole job on a real film with known truth: cuts, casting, untouched pixels, better sync. One lossless run serves every promise."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

from infra.artifacts import Artifact, ArtifactStore
from tasks.types import DubRequest, Override, QaReport
from wav2lip_core.face_crop import mouth_mask, pixel_rect

SYNCED = {0, 1, 3, 4, 6, 7, 8, 9}
REJECTED = {1, 8}
MIDDLE_X = 640


@pytest.fixture(scope="module")
def film_folder(shared: Path) -> Path:
    return shared / "media" / "episode_a"


@pytest.fixture(scope="module")
def dubbed(dubbed_episode_a: Path) -> Path:
    return dubbed_episode_a


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
        assert sum(packet.size > 0 for packet in film.demux(video=0)) == 725  # that all can be decoded the next test shows


def test_every_pixel_outside_the_patches_is_the_sources_own(dubbed: Path, film_folder: Path) -> None:
    touched = _touched_rects(dubbed)
    num_frames, num_changed = 0, 0
    with av.open(str(film_folder / "film.mp4")) as source, av.open(str(dubbed / "en" / "episode-a.en.mkv")) as made:
        for n, (before, after) in enumerate(zip(source.decode(video=0), made.decode(video=0), strict=True)):
            assert before.format.name == after.format.name
            num_frames += 1
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
    assert num_frames == 725
    assert num_changed > 100_000  # and inside them something did happen


@pytest.mark.long  # on a small film in test_redo_shots.py
def test_redo_with_two_shots_rejected_renders_these_two_and_leaves_every_other_frame(dubbed: Path, tmp_path: Path) -> None:
    shutil.copytree(dubbed.parent, tmp_path / "out")
    episode = tmp_path / "out" / "episode-a"
    shots = json.loads((episode / "manifest.json").read_text())["shots"]
    takes = {take["shot"]: take["take_sha256"] for take in json.loads((episode / "manifest.json").read_text())["takes"]}
    decisions = [
        {"shot": shot, "language": "en", "take_sha256": take, "decision": "reject" if shot in REJECTED else "approve", "note": ""}
        for shot, take in takes.items()
    ]
    (episode / "decisions.json").write_text(json.dumps({"format": 1, "episode_id": "episode-a", "reviewer": "Anna", "decisions": decisions}))
    command = [sys.executable, "-m", "flows.cli", "redo", str(episode), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]

    answer = json.loads(done.stdout)
    num_frames = sum(end - first for first, end in (shots[shot] for shot in REJECTED))
    assert (answer["num_applied"], answer["refused"]) == (len(takes), [])
    assert answer["num_rendered_frames"] == num_frames
    log = max((dubbed.parents[1] / "work" / "logs").glob("redo-episode-a-*.log"), key=lambda path: path.stat().st_mtime).read_text()
    assert f"rendered {num_frames} of 725 frames of en; shots: {', '.join(map(str, sorted(REJECTED)))}" in log
    assert log.count("made render_reel") == len(REJECTED)
    assert "made track_faces" not in log

    films = (folder / "en" / "episode-a.en.mkv" for folder in (dubbed, episode))
    with av.open(str(next(films))) as old, av.open(str(next(films))) as new:
        pairs = enumerate(zip(old.decode(video=0), new.decode(video=0), strict=True))
        changed = [n for n, (before, after) in pairs if not np.array_equal(before.to_ndarray(), after.to_ndarray())]
    assert {shot for shot, (first, end) in enumerate(shots) if any(first <= n < end for n in changed)} == REJECTED


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


# -- an offset that was planted, found and repaired


PLANTED_FRAMES = 3
LISTENED_TO = {0, 1, 6, 7}  # alone, and beside a listener; the other four would take as long again


@pytest.fixture(scope="module", params=[pytest.param(LISTENED_TO, id="four shots"), pytest.param(SYNCED, id="all", marks=pytest.mark.long)])
def planted(request, dubbed: Path, film_folder: Path, prefect_api: str, tmp_path_factory: pytest.TempPathFactory) -> dict[int, QaReport]:
    """What is said of these shots, by number, in a dub whose generator first hears everything three frames late: what is heard in the cinema is
    the dub as delivered, so the lips come 120 ms behind it. It finds faces and casting in the other dub's work folder, and is not rendered."""
    from flows.episode.study import begin, study_film
    from flows.episode.takes import dub_shots

    folder = tmp_path_factory.mktemp("planted")
    policy = folder / "planted.toml"
    policy.write_text(f'name = "planted"\nversion = 1\n[ladder.first]\nsound_shift = {PLANTED_FRAMES}\n')
    left = tuple(Override(shot=shot, language="en", keep_original="yes") for shot in sorted(SYNCED - request.param))
    where = {"out": str(folder), "work": str(dubbed.parents[1] / "work"), "episode_id": "planted"}
    asked = DubRequest(
        film=str(film_folder / "film.mp4"), audio={"en": str(film_folder / "dub.wav")}, policy=str(policy), overrides=left, num_workers=2, **where
    )  # fmt: skip
    with begin(asked) as run:
        reports = dub_shots(run, study_film(run)).reports
    found = {report.shot.index: report for report in reports if report.takes}
    assert set(found) == request.param
    return found


def test_three_frames_planted_are_said_of_the_first_take_of_nearly_every_shot(planted: dict[int, QaReport]) -> None:
    said = [shot.takes[0] for shot in planted.values() if shot.takes[0].code == "offset"]
    assert len(said) >= 0.75 * len(planted)  # a faint shot may go unnoticed; none is accused of another offset
    for take in said:
        assert take.settings.sound_shift_frames == PLANTED_FRAMES
        assert take.severity == "blocker"
        assert "behind the dub" in take.reason
        assert abs(int(take.reason.split()[2]) - PLANTED_FRAMES) <= 1, take.reason


def test_offset_repair_puts_the_lips_back_in_time_and_both_tries_are_on_record(planted: dict[int, QaReport]) -> None:
    for shot in (shot for shot in planted.values() if shot.takes[0].code == "offset"):
        first, repaired = shot.takes[:2]
        assert (first.settings.rung, repaired.settings.rung) == ("first", "offset-repair")
        assert abs(repaired.settings.sound_shift_frames) <= 1
        assert shot.take_sha256 != first.sha256
        assert shot.take_sha256 in {take.sha256 for take in shot.takes}
        assert shot.num_tries == len(shot.takes) >= 2
        assert shot.after.offset_frames is not None
        assert abs(shot.after.offset_frames) <= 2
        assert shot.code != "offset"


def test_the_scorer_proves_itself_on_the_films_own_shots(dubbed: Path) -> None:
    tested = json.loads((dubbed / "report.json").read_text())["languages"][0]["self_test"]
    assert tested["planted_frames"] == [-6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6]
    assert tested["num_shots"] == len(SYNCED)
    assert min(tested["num_found"]) >= len(SYNCED) - 1
    assert tested["trusted"] is True
