"""The demo film holds what it claims, and dubbing it with the bundled weights comes out as its script says."""

from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest
import skimage

from flows.demo.dub_demo import DemoResult, dub_demo
from flows.demo.script import HEIGHT, SCRIPT, WIDTH
from flows.demo.stills import STILLS, Still, load_portrait, load_still, look
from wav2lip_core.face_detector import open_detector

STILL_FOLDER = Path(skimage.__file__).parent / "data"
PORTRAITS = ("captain", "colleague")
SPEAKING = [n for n, shot in enumerate(SCRIPT) if shot.line and shot.line.speaker in {panel.still for panel in shot.panels}]
FACELESS = [n for n, shot in enumerate(SCRIPT) if not {panel.still for panel in shot.panels} & set(PORTRAITS)]
LISTENING = [n for n in range(len(SCRIPT)) if n not in SPEAKING and n not in FACELESS]


@pytest.mark.parametrize("name", STILLS)
def test_every_still_comes_with_the_package_and_has_the_faces_it_should(name: str) -> None:
    faces = open_detector("dlib").detect([load_still(name, STILL_FOLDER).picture])[0]
    assert len(faces) == (name in PORTRAITS)


def test_the_script_has_every_kind_of_shot() -> None:
    assert len(SCRIPT) >= 4
    assert len(SPEAKING) >= 2
    assert any(SCRIPT[n].line for n in LISTENING)
    assert any(SCRIPT[n].line is None for n in FACELESS)
    assert any(len(shot.panels) == 2 for shot in SCRIPT)


@pytest.mark.parametrize("shot", SCRIPT, ids=lambda shot: shot.title)
def test_the_camera_stays_on_the_still_sideways_and_below(shot) -> None:
    for panel in shot.panels:
        height, width = load_still(panel.still, STILL_FOLDER).picture.shape[:2]
        for view in (panel.start, panel.end):
            view_height = view.width * HEIGHT / (WIDTH // len(shot.panels))
            assert view.x - view.width / 2 >= 0
            assert view.x + view.width / 2 <= width / 4
            assert view.y + view_height / 2 <= height / 4


def test_a_new_mouth_changes_nothing_but_the_face() -> None:
    still: Still = load_portrait("captain", STILL_FOLDER, open_detector("dlib"))
    dark = np.zeros((96, 96, 3), np.uint8)
    changed = (still.speaking(dark) != still.picture).any(axis=2)
    x0, y0, x1, y1 = np.rint(still.box).astype(int)  # type: ignore[arg-type]
    assert changed.any()
    changed[y0:y1, x0:x1] = False
    assert not changed.any()


def test_the_camera_begins_and_ends_where_the_script_says() -> None:
    still = load_still("coffee", STILL_FOLDER)
    panel = SCRIPT[1].panels[0]
    first, last = (look(still.picture, panel.start, panel.end, progress, WIDTH, HEIGHT) for progress in (0, 1))
    assert (first == look(still.picture, panel.start, panel.start, 0.5, WIDTH, HEIGHT)).all()
    assert (last == look(still.picture, panel.end, panel.end, 0.5, WIDTH, HEIGHT)).all()
    assert (first != last).any()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoResult:
    return dub_demo(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def table(demo: DemoResult) -> pd.DataFrame:
    return pd.read_parquet(demo.table).set_index("shot")


@pytest.mark.long
def test_the_demo_film_is_cut_where_it_was_put_together(demo: DemoResult, table: pd.DataFrame) -> None:
    assert list(zip(table.first_frame, table.end_frame, strict=True)) == list(demo.cuts)


@pytest.mark.long
def test_whoever_speaks_on_screen_gets_new_lips_and_nobody_else(table: pd.DataFrame) -> None:
    assert table.index[table.outcome == "synced"].tolist() == SPEAKING
    assert (table.reason[FACELESS] == "no_face").all()
    assert (table.reason[LISTENING] == "off_screen").all()


@pytest.mark.long
def test_in_the_two_face_shot_the_captain_on_the_left_speaks(table: pd.DataFrame) -> None:
    (pair,) = (n for n, shot in enumerate(SCRIPT) if len(shot.panels) == 2)
    assert table.num_faces[pair] == 2
    assert table.face_box[pair][2] < WIDTH / 2


@pytest.mark.long
def test_the_dubbed_demo_fits_its_voice_better_than_the_undubbed_picture(table: pd.DataFrame) -> None:
    assert (table.lse_c_after[SPEAKING] > table.lse_c_undubbed[SPEAKING]).all()


@pytest.mark.long
def test_the_dubbed_demo_is_as_long_as_the_film_and_its_report_is_there(demo: DemoResult) -> None:
    num_frames = [sum(1 for _ in av.open(str(path)).decode(video=0)) for path in (demo.film, *demo.outputs.values())]
    assert num_frames == [demo.cuts[-1][1]] * 2
    assert demo.report.stat().st_size > 0
