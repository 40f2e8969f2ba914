"""The flow, from request to published episode, with real Prefect, real faces and random networks."""

import json
from pathlib import Path

import av
import numpy as np
import pandas as pd
import pytest

from infra.errors import InputError, OurTroubleError, TransientError
from tasks.shot_table import COLUMNS
from tests.small_film import DURATION_S, NUM_FRAMES, make_silent_track, make_small_film, make_track

pytestmark = pytest.mark.usefixtures("settings_of_test")


def request_for(small, out, **fields):
    from tasks.types import DubRequest

    defaults = {"film": str(small.film), "audio": {"fr": str(small.dub)}, "out": str(out), "episode_id": "small"}
    return DubRequest.model_validate(defaults | {"model": "tiny", "speaker": "only-face"} | fields)


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as film:
        return [frame.to_ndarray(format="yuv420p") for frame in film.decode(video=0)]


def task_run_names(prefect_api: str, flow_name: str) -> list[str]:
    """Names of the task runs of the latest run of a flow, as the server knows them."""
    import time

    from prefect import get_client
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName
    from prefect.client.schemas.sorting import FlowRunSort

    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=[flow_name])), sort=FlowRunSort.START_TIME_DESC, limit=1)
        deadline, names = time.monotonic() + 60, []
        while time.monotonic() < deadline and "publish small/manifest.json" not in names:  # states reach the server a little later
            names = [run.name for run in client.read_task_runs() if run.flow_run_id == runs[0].id]
            time.sleep(0.5)
    return names


def test_an_episode_comes_out_whole_in_every_language_and_shows_its_shots_in_prefect(small, prefect_api, tmp_path):
    from flows.dub_episode import dub_episode

    german = make_track(tmp_path / "de.wav", pitch_hz=240.0)
    audio = {"fr": str(small.dub), "de": str(german)}
    result = dub_episode(request_for(small, tmp_path / "out", audio=audio, codec="ffv1", work=str(tmp_path / "work")))
    folder = tmp_path / "out" / "small"

    keys = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    films = {"fr/small.fr.mkv", "de/small.de.mkv"}
    beside = {f"{language}/{name}" for language in ("fr", "de") for name in ("report.html", "timeline.otio", f"small.{language}.edl")}
    whole = {"shots.parquet", "shots.csv", "report.html", "report.json", "report.schema.json", "summary.md", "manifest.json"}
    assert {key for key in keys if "/previews/" not in key} == films | beside | whole
    table = pd.read_parquet(folder / "shots.parquet")
    assert list(table.columns) == list(COLUMNS)
    assert list(zip(table["shot"], table["language"], strict=True)) == [(shot, language) for shot in range(3) for language in ("de", "fr")]
    assert set(table["outcome"][table["shot"] == 1]) == {"kept_original"}
    assert set(table["outcome"][table["shot"] != 1]) == {"synced"}
    assert set(table["reason"][table["shot"] == 1]) == {"no_face"}

    manifest = json.loads((folder / "manifest.json").read_text())
    assert set(manifest["outputs"]) == keys - {"manifest.json"}
    from infra.durable import sha256_of_file

    assert all(sha256_of_file(folder / key) == output["sha256"] for key, output in manifest["outputs"].items())
    assert {patch["shot_index"] for patch in manifest["patches"]} == {0, 2}
    assert result.steps["sync_lips"].made == 4

    source, made = decoded(small.film), decoded(folder / "fr/small.fr.mkv")
    assert len(source) == len(made) == len(decoded(folder / "de/small.de.mkv")) == NUM_FRAMES
    first_of_2, first_of_1 = table["first_frame"][table["shot"] == 2].iloc[0], table["first_frame"][table["shot"] == 1].iloc[0]
    assert all(np.array_equal(source[n], made[n]) for n in range(first_of_1, first_of_2))  # the shot without a face
    assert not np.array_equal(source[5], made[5])  # a shot with one

    names = task_run_names(prefect_api, "dub-episode")
    assert {"sync shot-00000 fr", "sync shot-00002 de", "judge shot-00001 fr", "inspect film", "assemble de"} <= set(names)
    assert not any(name.startswith("faces ") for name in names)  # the first look has found them all


def test_a_second_run_finds_everything_finished(small, tmp_path):
    from flows.dub_episode import dub_episode

    first = dub_episode(request_for(small, tmp_path / "out"))
    again = dub_episode(request_for(small, tmp_path / "again"))
    assert all(count.made == 0 and count.reused > 0 for count in again.steps.values())
    assert first.episodes[0].sha256 == again.episodes[0].sha256


def test_what_a_plan_finds_out_the_dub_does_not_do_again(small, tmp_path):
    from flows.dub_episode import dub_episode
    from flows.plan_episode import plan_episode
    from tasks.types import PlanRequest

    work = str(tmp_path / "work")
    plan = plan_episode(PlanRequest(film=str(small.film), audio={"fr": str(small.dub)}, model="tiny", speaker="only-face", work=work))
    assert [(shot.would_sync, shot.reason) for shot in plan.shots] == [({"fr": True}, ""), ({"fr": False}, "no_face"), ({"fr": True}, "")]
    assert plan.estimated_s > 0
    assert not list((tmp_path / "work").rglob("render_reel"))
    dubbed = dub_episode(request_for(small, tmp_path / "out", work=work))
    assert all(dubbed.steps[step].made == 0 for step in ("inspect_film", "split_shots", "track_faces", "prepare_stem"))


def test_a_casting_file_names_who_speaks_and_a_shot_it_does_not_name_is_decided_by_itself(small, tmp_path):
    from flows.dub_episode import dub_episode

    casting = tmp_path / "casting.json"
    casting.write_text(json.dumps({"0": None, "2": 0}))
    dub_episode(request_for(small, tmp_path / "out", speaker=str(casting)))
    table = pd.read_parquet(tmp_path / "out" / "small" / "shots.parquet").set_index("shot")
    assert table["reason"][0].startswith("refused")
    assert table["outcome"][2] == "synced"
    assert table["reason"][1] == "no_face"


@pytest.mark.parametrize("casting", [{"7": 0}, {"0": 5}])
def test_a_casting_file_that_names_what_is_not_there_is_refused(small, tmp_path, casting):
    from flows.dub_episode import dub_episode

    path = tmp_path / "casting.json"
    path.write_text(json.dumps(casting))
    with pytest.raises(InputError, match="casting file names"):
        dub_episode(request_for(small, tmp_path / "out", speaker=str(path)))
    assert not (tmp_path / "out").exists()


def test_nobody_can_be_said_to_speak_in_a_film_without_sound(small, tmp_path):
    from flows.dub_episode import dub_episode

    mute = make_small_film(tmp_path / "mute.mp4", None)
    with pytest.raises(InputError, match=r"--original-dialogue STEM.*--speaker only-face"):
        dub_episode(request_for(small, tmp_path / "out", film=str(mute), speaker="auto"))
    assert not (tmp_path / "out").exists()


def test_in_a_film_whose_sound_is_silent_the_only_face_speaks_and_that_is_said(small, tmp_path):
    from flows.dub_episode import dub_episode

    silence = make_silent_track(tmp_path / "silence.wav")
    result = dub_episode(request_for(small, tmp_path / "out", speaker="auto", original_dialogue=str(silence)))
    assert any("only face" in warning for warning in result.warnings)
    table = pd.read_parquet(tmp_path / "out" / "small" / "shots.parquet").set_index("shot")
    assert table["outcome"][0] == "synced"
    assert "only face" in (tmp_path / "out" / "small" / "fr" / "report.html").read_text()


def test_a_dub_of_another_length_is_refused_with_both_durations(small, tmp_path):
    from flows.dub_episode import dub_episode

    long = make_track(tmp_path / "long.wav", DURATION_S + 3)
    with pytest.raises(InputError, match=rf"{DURATION_S + 3:.2f} s, the film {DURATION_S:.2f} s"):
        dub_episode(request_for(small, tmp_path / "out", audio={"fr": str(long)}))
    assert not (tmp_path / "out").exists()


def failing(step, shot_index: int, error: Exception, calls: list):
    """The step, but it fails for one shot."""
    from flows.episode.steps import as_task

    inner = step.fn.__wrapped__

    def fail_or_do(store, film, shot, faces, casting, dub, original, models):
        if shot.index == shot_index:
            calls.append(shot.index)
            raise error
        return inner(store, film, shot, faces, casting, dub, original, models)

    return as_task(fail_or_do, step.name, step.task_run_name)


def test_a_shot_that_fails_keeps_its_picture_for_review_and_the_episode_completes(small, tmp_path, monkeypatch):
    from flows.dub_episode import dub_episode
    from flows.episode import steps

    calls: list[int] = []
    monkeypatch.setattr(steps, "SYNC", failing(steps.SYNC, 2, OurTroubleError("the lips fell off"), calls))
    dub_episode(request_for(small, tmp_path / "out", codec="ffv1"))
    table = pd.read_parquet(tmp_path / "out" / "small" / "shots.parquet").set_index("shot")
    assert calls == [2]  # not retried: it would not pass by itself
    assert (table["outcome"][2], table["verdict"][2]) == ("kept_original", "review")
    assert table["reason"][2] == "failed: OurTroubleError: the lips fell off"
    assert table["outcome"][0] == "synced"
    source, made = decoded(small.film), decoded(tmp_path / "out/small/fr/small.fr.mkv")
    assert all(np.array_equal(source[n], made[n]) for n in range(table["first_frame"][2], NUM_FRAMES))


def test_trouble_that_may_pass_is_tried_again_before_the_shot_falls_back(small, tmp_path, monkeypatch):
    from flows.dub_episode import dub_episode
    from flows.episode import steps

    calls: list[int] = []
    monkeypatch.setattr(steps, "RETRY_DELAYS_S", [0.1, 0.1])
    monkeypatch.setattr(steps, "SYNC", failing(steps.SYNC, 2, TransientError("the disk is full"), calls))
    dub_episode(request_for(small, tmp_path / "out"))
    table = pd.read_parquet(tmp_path / "out" / "small" / "shots.parquet").set_index("shot")
    assert calls == [2, 2, 2]
    assert table["num_tries"][2] == 3
    assert "the disk is full" in table["reason"][2]


def test_when_every_shot_fails_it_is_not_the_shots_and_nothing_is_published(small, tmp_path, monkeypatch):
    from flows.dub_episode import dub_episode
    from flows.episode import steps

    def fail(store, film, shot, faces, casting, dub, original, models):
        raise MemoryError("no room for a single batch")

    monkeypatch.setattr(steps, "SYNC", steps.as_task(fail, "sync", "sync {shot.name} {dub.language}"))
    with pytest.raises(OurTroubleError, match=r"All 2 shots failed at sync.*no room for a single batch"):
        dub_episode(request_for(small, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_film_that_changes_while_it_is_dubbed_is_not_published(small, tmp_path, monkeypatch):
    import shutil

    from flows import dub_episode as module

    film = tmp_path / "film.mp4"
    shutil.copy(small.film, film)
    finish = module.finish

    def finish_and_replace(*args):
        made = finish(*args)
        film.write_bytes(film.read_bytes() + b"\0")
        return made

    monkeypatch.setattr(module, "finish", finish_and_replace)
    with pytest.raises(InputError, match="was changed or removed while it was being dubbed"):
        module.dub_episode(request_for(small, tmp_path / "out", film=str(film)))
    assert not (tmp_path / "out").exists()
