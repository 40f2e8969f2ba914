"""A season: every episode in every language from one table, most urgent first; what fails fails alone; run again does what is missing or changed."""

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from tests.small_season import BROKEN, EPISODES, FRAMES_PER_SHOT, LANGUAGES, NUM_FRAMES, ODD, SmallSeason, make_small_season


@dataclass(frozen=True)
class Place:
    """A season that was run once, and where."""

    season: SmallSeason
    out: Path
    work: Path

    def request(self, **fields):
        from tasks.types import SeasonRequest

        defaults = {"manifest": str(self.season.manifest), "out": str(self.out), "season_id": "season-1", "work": str(self.work)}
        return SeasonRequest.model_validate(defaults | {"model": "tiny", "speaker": "only-face", "machine_rate_per_hour": 3.6} | fields)

    def again(self, **fields):
        from flows.dub_season import dub_season

        return dub_season(self.request(**fields))


@pytest.fixture(scope="module")
def settings_of_season(small, prefect_api: str) -> Iterator[None]:
    from infra.settings import get_settings

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DUBFLOW_MODELS_FOLDER", str(small.models_folder))
        patch.setenv("DUBFLOW_NUM_WORKERS", "2")
        get_settings.cache_clear()
        yield
    get_settings.cache_clear()


@pytest.fixture(scope="module")
def place(settings_of_season: None, tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("season")
    return Place(make_small_season(folder / "in"), folder / "out", folder / "work")


@pytest.fixture(scope="module")
def first(place: Place):
    """The season's first run, two episodes at once."""
    return place.again(at_once=2)


def rows_of(result) -> dict:
    return {(row.episode_id, row.language): row for row in result.rows}


def runs_of(flow_name: str) -> list:
    """Every run of a flow that the server knows, the oldest first."""
    from prefect import get_client
    from prefect.client.schemas.filters import FlowFilter, FlowFilterName
    from prefect.client.schemas.sorting import FlowRunSort

    with get_client(sync_client=True) as client:
        named = FlowFilter(name=FlowFilterName(any_=[flow_name]))
        return client.read_flow_runs(flow_filter=named, sort=FlowRunSort.START_TIME_ASC)


def test_every_episode_comes_out_in_every_language_and_the_broken_film_fails_alone_with_its_reason(first, place):
    rows = rows_of(first)
    assert set(rows) == {(episode, language) for episode in EPISODES for language in LANGUAGES}
    for (episode, language), row in rows.items():
        if episode == BROKEN:
            assert (row.state, row.trouble) == ("failed", "input")
            assert f"truncated: declares {NUM_FRAMES} frames" in row.reason
        elif (episode, language) != (ODD, "de"):
            assert (row.state, row.progress, row.reason) == ("done", 1.0, "")
            assert Path(row.output) == place.out / episode / language / f"{episode}.{language}.mp4"
            assert Path(row.output).is_file()
            assert (row.num_pass or 0) + (row.num_review or 0) + (row.num_kept_original or 0) == 3
    assert first.status == "failed"
    assert not (place.out / BROKEN / "manifest.json").exists()


def test_a_bad_track_fails_its_language_alone(first, place):
    rows = rows_of(first)
    assert (rows[ODD, "de"].state, rows[ODD, "de"].trouble) == ("failed", "input")
    assert "HTML page" in rows[ODD, "de"].reason
    assert rows[ODD, "fr"].state == "done"
    assert json.loads((place.out / ODD / "manifest.json").read_text())["left_out"].keys() == {"de"}


def test_the_most_urgent_air_date_comes_first(first):
    assert [row.episode_id for row in first.rows[::2]] == ["ep-6", BROKEN, "ep-3", "ep-2", "ep-1", ODD]


def test_the_picture_is_analysed_once_for_all_languages(first):
    ran = [episode for episode in first.episodes if episode.how == "ran"]
    num_made = {step: sum(episode.steps[step].made for episode in ran) for step in ("inspect_film", "split_shots", "track_faces")}
    assert num_made == {"inspect_film": 1, "split_shots": 1, "track_faces": 3}  # the episodes share one film of shots 0 to 2
    for episode in ran:
        num_languages = 1 if episode.episode_id == ODD else 2
        assert episode.steps["sync_lips"].made + episode.steps["sync_lips"].reused == 2 * num_languages  # shots 0 and 2


def test_the_table_lies_in_out_for_everybody_and_tells_time_and_cost(first, place):
    told = json.loads((place.out / "season-season-1.json").read_text())
    assert told["status"] == "failed"
    assert [(row["episode_id"], row["state"]) for row in told["rows"]] == [(row.episode_id, row.state) for row in first.rows]
    table = pd.read_csv(place.out / "season-season-1.csv")
    assert list(table["state"]) == [row.state for row in first.rows]
    done = table[table["state"] == "done"]
    assert (done["seconds"] > 0).all()
    assert done["cost"].sum() == pytest.approx(done["seconds"].sum() / 1000, abs=0.01)  # 3.60 an hour
    assert first.cost == pytest.approx(sum(episode.seconds for episode in first.episodes) / 1000)
    page = (place.out / "index.html").read_text()
    assert all(episode in page for episode in EPISODES if episode != BROKEN)


def test_prefect_shows_the_same_table_and_the_episodes_below_the_season(first):
    from prefect import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    with get_client(sync_client=True) as client:
        shown = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["season-season-1"])))
    run = next(run for run in runs_of("dub-season") if run.name == "season season-1")
    mine = [each for each in shown if each.flow_run_id == run.id]
    assert len(mine) == 1  # updated, not made anew
    rows = json.loads(str(mine[0].data)) if isinstance(mine[0].data, str) else mine[0].data
    assert [row["state"] for row in rows] == [row.state for row in first.rows]
    episodes = {run.name: run for run in runs_of("dub-episode")}
    assert set(EPISODES) <= set(episodes)
    assert all(episodes[episode].parent_task_run_id is not None for episode in EPISODES)
    assert len({episodes[episode].parent_task_run_id for episode in EPISODES}) == len(EPISODES)


def test_a_second_run_starts_nothing_but_what_failed(first, place):
    before = len(runs_of("dub-episode"))
    again = place.again()
    assert {episode.episode_id: episode.how for episode in again.episodes} == {
        episode: "failed" if episode == BROKEN else "found" for episode in EPISODES
    }
    assert len(runs_of("dub-episode")) == before + 1  # the broken film, in case somebody has mended it
    assert [(row.state, row.reason, row.output, row.num_review) for row in again.rows] == [
        (row.state, row.reason, row.output, row.num_review) for row in first.rows
    ]
    assert rows_of(again)["ep-1", "fr"].seconds == rows_of(first)["ep-1", "fr"].seconds  # what it took when it was done


def test_a_changed_line_of_one_dub_renders_one_shot_and_nothing_else(first, place):
    place.season.change_last_line("ep-2", "de")
    again = place.again()
    ran = [episode for episode in again.episodes if episode.how == "ran"]
    assert [episode.episode_id for episode in ran] == ["ep-2"]
    made = {step: count.made for step, count in ran[0].steps.items()}
    assert made["inspect_film"] == made["split_shots"] == made["track_faces"] == 0
    assert made["sync_lips"] == made["render_reel"] == 1
    assert made["judge_shot"] <= 2  # the shot beside it hears the line, too, and shows nobody
    assert ran[0].num_rendered_frames == FRAMES_PER_SHOT[2]


def test_a_mended_film_is_dubbed_by_the_next_run(first, place):
    shutil.copy(place.season.folder / "whole.mkv", place.season.folder / "broken.mkv")
    again = place.again()
    assert {row.state for row in again.rows if row.episode_id == BROKEN} == {"done"}
    assert [episode.episode_id for episode in again.episodes if episode.how == "ran"] == [BROKEN]


def test_a_row_whose_files_are_not_there_yet_can_wait_for_them(first, place, tmp_path):
    manifest = tmp_path / "later.csv"
    film = place.season.folder / "film.mp4"
    manifest.write_text(f"episode,film,language,track\nep-9,{film},fr,{place.season.track('ep-1', 'fr')}\nep-9,{film},de,not-there-yet.wav\n")
    result = place.again(manifest=str(manifest), season_id="later", missing="skip")
    rows = rows_of(result)
    assert (rows["ep-9", "fr"].state, rows["ep-9", "de"].state) == ("done", "skipped")
    assert "not-there-yet.wav does not exist" in rows["ep-9", "de"].reason
    assert result.status == "done"


def test_an_episode_can_be_handed_to_worker_processes(place, monkeypatch, tmp_path):
    """All of its run that travels, and no step: that is in test_season_runners.py."""
    import cloudpickle
    from prefect import flow

    from flows.runners.remote_calls import context_of_run
    from flows.runners.task_runner import make_runner
    from flows.season import here
    from flows.season.board import SeasonBoard
    from flows.season.costs import Prices
    from flows.season.read import read_season

    arrived = []

    @flow(name="handed-over", persist_result=False)
    def hand_over(request):
        with make_runner("processes", 1):
            arrived.append(cloudpickle.loads(cloudpickle.dumps(context_of_run()))["flow_run_context"])

    monkeypatch.setattr(here, "dub_episode", hand_over)
    season = read_season(place.request(out=str(tmp_path / "out")))
    board = SeasonBoard(season.request, season.storage, season.jobs, Prices.of(season.request))
    episodes = here.Here(board, None, threading.Event())
    assert [episodes.run(job)[1] for job in season.jobs[:2]] == [None, None]  # the second begins although the first one's hook went on a journey
    assert [bool(run) for run in arrived] == [True, True]


def test_a_table_that_is_wrong_starts_nothing(place, tmp_path):
    from infra.errors import InputError

    manifest = tmp_path / "wrong.csv"
    manifest.write_text("episode,film,language,track\nep-1,film.mp4,fr,fr.wav\n")
    before = len(runs_of("dub-episode"))
    with pytest.raises(InputError, match=r"row 2, column film: .*film\.mp4 does not exist"):
        place.again(manifest=str(manifest), season_id="wrong")
    assert len(runs_of("dub-episode")) == before
    assert not (place.out / "season-wrong.json").exists()
