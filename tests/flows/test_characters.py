"""With a cast file each character's stem goes to that character's face: two people in one shot each get their own voice."""

import json
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from infra.errors import InputError
from tests.two_people import TOGETHER, make_cast, make_film_of_two, make_spoken, spoken

pytestmark = pytest.mark.usefixtures("settings_of_test")


@dataclass(frozen=True)
class Two:
    """ANNA (left) and BEN (right) in shot 0, BEN alone in shot 1; high and low: stems that overlap in time."""

    film: Path
    cast: Path
    high: Path
    low: Path


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Two:
    folder = tmp_path_factory.mktemp("two")
    film = make_film_of_two(folder / "two.mp4", spoken((0.0, 1.0), (1.4, 1.9), pitch_hz=120.0))
    high = make_spoken(folder / "high.wav", (0.1, 1.0), pitch_hz=240.0)
    low = make_spoken(folder / "low.wav", (0.6, 1.2), (1.4, 1.9), pitch_hz=110.0)
    return Two(film, make_cast(folder), high, low)


def request_for(two: Two, out: Path, **fields):
    from tasks.types import DubRequest

    defaults = {"film": str(two.film), "cast": str(two.cast), "out": str(out), "episode_id": "two", "model": "tiny", "speaker": "only-face"}
    return DubRequest.model_validate(defaults | fields)


def dubbed(two: Two, out: Path, **fields) -> tuple[dict[tuple[int, int], list[tuple]], dict]:
    """((shot, track) -> its patches as (first frame, end frame, digest), the manifest)."""
    from flows.dub_episode import dub_episode

    result = dub_episode(request_for(two, out, **fields))
    manifest = json.loads((out / "two" / "manifest.json").read_text())
    patches: dict[tuple[int, int], list[tuple]] = {}
    for patch in manifest["patches"]:
        patches.setdefault((patch["shot_index"], patch["track_id"]), []).append((patch["first_frame"], patch["end_frame"], patch["sha256"]))
    return patches, manifest | {"result": result}


def stems(anna: Path, ben: Path) -> dict:
    return {"stems": {"fr": {"ANNA": str(anna), "BEN": str(ben)}}}


def test_two_people_in_one_shot_each_get_the_lips_of_their_own_stem_and_swapped_stems_swap_the_lips(two, tmp_path):
    own, _ = dubbed(two, tmp_path / "own", **stems(two.high, two.low))
    swapped, _ = dubbed(two, tmp_path / "swapped", **stems(two.low, two.high))
    alike, _ = dubbed(two, tmp_path / "alike", **stems(two.low, two.low))
    assert {(0, 0), (0, 1), (1, 0)} == set(own)
    assert own[0, 0] != swapped[0, 0]
    assert own[0, 1] != swapped[0, 1]
    assert swapped[0, 0] == alike[0, 0]  # what ANNA's lips do is decided by what ANNA says, to the bit
    assert own[0, 1] == alike[0, 1]
    (first_a, end_a, _), (first_b, end_b, _) = own[0, 0][0], own[0, 1][0]
    assert max(first_a, first_b) < min(end_a, end_b)  # for a while both speak at once
    assert end_a < TOGETHER


def test_without_a_mix_the_sum_of_the_stems_is_the_dub_and_table_and_manifest_say_who_is_who(two, tmp_path):
    _, manifest = dubbed(two, tmp_path / "out", **stems(two.high, two.low))
    assert any("the sum of the stems of ANNA, BEN" in text for text in manifest["warnings"])
    assert manifest["inputs"]["faces"] == {"0": {"0": "ANNA", "1": "BEN"}, "1": {"0": "BEN"}}
    assert set(manifest["inputs"]["stems"]["fr"]) == {"ANNA", "BEN"}
    table = pd.read_parquet(tmp_path / "out" / "two" / "shots.parquet").set_index("shot")
    assert set(table.loc[0, "character"].split(", ")) == {"ANNA", "BEN"}
    assert table.loc[1, "character"] == "BEN"
    report = json.loads((tmp_path / "out" / "two" / "report.json").read_text())
    shot = report["languages"][0]["shots"][0]
    assert {voice["character"]: voice["track_id"] for voice in shot["voices"]} == {"ANNA": 0, "BEN": 1}
    assert "ANNA is face 0 and speaks" in shot["evidence"]


def test_a_changed_line_redoes_the_shots_where_its_character_is_and_nobody_gets_the_words_of_who_stands_beside(two, tmp_path):
    before, _ = dubbed(two, tmp_path / "out", **stems(two.high, two.low))
    silent = make_spoken(tmp_path / "silent.wav")
    after, manifest = dubbed(two, tmp_path / "out", **stems(silent, two.low))  # the sum, the dub as it is heard, changes with it
    assert manifest["result"].steps["sync_lips"].made == 1
    assert manifest["result"].steps["judge_shot"].made == 1
    assert (0, 0) in before
    assert after == {key: before[key] for key in ((0, 1), (1, 0))}
    assert "ANNA is face 0 and is silent" in (tmp_path / "out" / "two" / "report.json").read_text()


@pytest.mark.long
def test_a_redo_finds_cast_and_stems_again_and_refuses_others(two, tmp_path):
    from flows.redo_shots import redo_shots
    from tasks.types import RedoRequest

    changing = tmp_path / "changing.wav"
    changing.write_bytes(two.high.read_bytes())
    dubbed(two, tmp_path / "out", **stems(changing, two.low))
    redone = redo_shots(RedoRequest(out=str(tmp_path / "out"), episode_id="two", shots=(1,)))
    assert redone.num_applied == 1
    changing.write_bytes(two.low.read_bytes())
    with pytest.raises(InputError, match=r"changing\.wav is another file now"):
        redo_shots(RedoRequest(out=str(tmp_path / "out"), episode_id="two", shots=(1,)))


def test_a_plan_says_who_is_who_and_of_whom_it_cannot_tell(two, tmp_path, capsys):
    from flows.plan_episode import plan_episode
    from flows.run.show import show_plan
    from tasks.types import PlanRequest

    only_anna = two.cast.parent / "anna.toml"
    only_anna.write_text('[[character]]\nname = "ANNA"\npictures = ["anna.png"]\n')
    given = {"film": str(two.film), "stems": {"fr": {"anna": str(two.high)}}, "cast": str(only_anna), "model": "tiny", "speaker": "only-face"}
    plan = plan_episode(PlanRequest.model_validate(given))
    anna, ben = plan.shots[0].faces
    assert (anna.character, anna.speaks) == ("ANNA", True)
    assert (ben.character, ben.speaks) == (None, False)
    assert ben.likeness is not None
    assert ben.likeness < 0.85
    assert any("shot 0 face 1 (most like ANNA, but only 0." in text for text in plan.warnings)
    show_plan(plan)
    shown = capsys.readouterr().out
    assert "2: ANNA, ?" in shown
    assert "face 0 ANNA" in shown


def test_all_that_is_wrong_with_cast_and_stems_is_told_at_once_and_nothing_is_written(two, tmp_path):
    from flows.dub_episode import dub_episode

    cast = tmp_path / "cast.toml"
    cast.write_text('[[character]]\nname = "ANNA"\npictures = ["no-face.png", "absent.png"]\n')
    import cv2
    import numpy as np

    cv2.imwrite(str(tmp_path / "no-face.png"), np.full((200, 200, 3), 90, np.uint8))
    with pytest.raises(InputError) as refusal:
        dub_episode(request_for(two, tmp_path / "out", cast=str(cast), stems={"fr": {"CAROL": str(two.low)}, "xx": {"ANNA": "/nowhere/anna.wav"}}))
    said = str(refusal.value)
    for text in ("picture no-face.png: no face", "picture absent.png: there is no file", "fr:CAROL", "only ANNA", "'xx'", "/nowhere/anna.wav"):
        assert text in said
    with pytest.raises(InputError, match="need a cast file"):
        dub_episode(request_for(two, tmp_path / "out", cast=None, **stems(two.high, two.low)))
    assert not (tmp_path / "out").exists()


def test_a_cast_file_that_names_a_face_the_film_does_not_show_is_refused(two, tmp_path):
    from flows.dub_episode import dub_episode

    cast = tmp_path / "cast.toml"
    cast.write_text('[[character]]\nname = "ANNA"\ntracks = { 0 = 5, 9 = 0 }\n')
    with pytest.raises(InputError, match=r"(?s)names face 5 in shot 0, which has: 0, 1.*names shot 9"):
        dub_episode(request_for(two, tmp_path / "out", cast=str(cast), stems={"fr": {"ANNA": str(two.high)}}))


@pytest.mark.long
def test_a_cast_file_without_stems_changes_no_step_of_the_dub(two, tmp_path):
    from flows.dub_episode import dub_episode

    plain = {"audio": {"fr": str(two.low)}}
    first = dub_episode(request_for(two, tmp_path / "plain", cast=None, **plain))
    again = dub_episode(request_for(two, tmp_path / "cast", **plain))
    assert again.steps["sync_lips"].made == again.steps["judge_shot"].made == 0
    assert first.episodes[0].sha256 == again.episodes[0].sha256


@pytest.mark.long
def test_a_cast_file_in_a_bucket_finds_its_pictures_beside_it(two, s3_bucket, tmp_path):
    from flows.episode.cast_inputs import gather_cast
    from infra.storage import open_storage

    store = open_storage(s3_bucket)
    for name in ("cast.toml", "anna.png", "ben.png"):
        store.put(two.cast.parent / name, f"season/{name}")
    store.put(two.high, "season/anna.wav")
    stems = {"fr": {"ANNA": f"{s3_bucket}/season/anna.wav"}}
    request = request_for(two, tmp_path / "out", cast=f"{s3_bucket}/season/cast.toml", stems=stems)
    cast = gather_cast(request, tmp_path / "inputs", ("dlib", None), lambda check: check())
    assert cast is not None
    assert {name: len(looks) for name, looks in cast.pictures.items()} == {"ANNA": 1, "BEN": 1}
    assert cast.stems["fr"]["ANNA"].read_bytes() == two.high.read_bytes()
