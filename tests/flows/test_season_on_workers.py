"""A season from one command, dubbed by two worker processes on PostgreSQL and S3; and what is left of it when any part is killed in the middle."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.postgres_server import Postgres, PrefectServer, Service, postgres, prefect_server
from tests.season_media import BROKEN, EPISODES, FRAMES_PER_SHOT, LANGUAGES, NUM_FRAMES, NUM_SHOTS, make_media_season
from tests.studio import GOOD_ENOUGH, Studio, open_studio, wait_until
from tests.swift_server import SwiftServer, point_at

__all__ = ["postgres", "prefect_server"]
pytestmark = pytest.mark.long
GOOD = tuple(episode for episode in EPISODES if episode != BROKEN)
NUM_TAKES = NUM_SHOTS * len(LANGUAGES)  # of one episode
NUM_REELS = (NUM_SHOTS + 1) * len(LANGUAGES)  # a shot without a face lies between the two


@pytest.fixture(scope="module")
def fresh_studio(shared, small, postgres: Postgres, prefect_server: PrefectServer, swift: SwiftServer, tmp_path_factory: pytest.TempPathFactory):
    """Gives a function that opens a studio with an empty store; the workers of one before go, since all work for one server."""
    before: list[Studio] = []

    @contextmanager
    def opened() -> Iterator[Studio]:
        for each in before:
            for worker in each.workers:
                worker.kill()
        with open_studio(tmp_path_factory.mktemp("studio"), postgres, prefect_server, swift, season, small.models_folder) as fresh:
            before.append(fresh)
            yield fresh

    season = make_media_season(shared, tmp_path_factory.mktemp("season"))
    with pytest.MonkeyPatch.context() as patch:
        point_at(patch, swift.endpoint_url)
        yield opened


@pytest.fixture(scope="module")
def studio(fresh_studio) -> Iterator[Studio]:
    with fresh_studio() as opened:
        yield opened


@pytest.fixture(scope="module")
def first(studio: Studio) -> dict:
    return studio.dub_season()


def rows_of(result: dict) -> dict[tuple[str, str], dict]:
    return {(row["episode_id"], row["language"]): row for row in result["rows"]}


def how_of(result: dict) -> dict[str, str]:
    return {episode["episode_id"]: episode["how"] for episode in result["episodes"]}


def test_one_command_dubs_the_season_and_the_broken_film_fails_alone_with_its_reason(studio: Studio, first: dict) -> None:
    rows = rows_of(first)
    assert set(rows) == {(episode, language) for episode in EPISODES for language in LANGUAGES}
    for (episode, _), row in rows.items():
        if episode == BROKEN:
            assert (row["state"], row["trouble"]) == ("failed", "input")
            assert f"{BROKEN}.mkv" in row["reason"]
        else:
            assert row["state"] == "done", row["reason"]
    assert how_of(first) == {episode: "failed" if episode == BROKEN else "ran" for episode in EPISODES}


def test_both_workers_had_their_part_and_every_film_is_whole_in_the_bucket(studio: Studio, first: dict, tmp_path) -> None:
    import av

    assert all(list((studio.folder / worker.name / "artifacts" / "records" / "inspect_film").iterdir()) for worker in studio.workers)
    for episode in GOOD:
        assert studio.steps_of(episode)["sync_lips"] == {"made": NUM_TAKES, "reused": 0}
        for language in LANGUAGES:
            studio.storage.get(f"out/{episode}/{language}/{episode}.{language}.mp4", tmp_path / "film.mp4")
            with av.open(str(tmp_path / "film.mp4")) as film:
                assert sum(1 for _ in film.decode(video=0)) == NUM_FRAMES


def test_a_second_run_does_nothing(studio: Studio, first: dict) -> None:
    num_before = len(studio.runs("dub-episode"))
    again = studio.dub_season()
    assert how_of(again) == {episode: "failed" if episode == BROKEN else "found" for episode in EPISODES}
    assert len(studio.runs("dub-episode")) == num_before + 1  # the broken film is looked at anew


def test_changing_one_dub_line_renders_one_shot_again(studio: Studio, first: dict) -> None:
    studio.season.change_last_line("ep-2", "fr")
    again = studio.dub_season()
    assert how_of(again) == {episode: {BROKEN: "failed", "ep-2": "ran"}.get(episode, "found") for episode in EPISODES}
    steps = studio.steps_of("ep-2")
    assert steps["sync_lips"] == {"made": 1, "reused": NUM_TAKES - 1}
    assert steps["render_reel"] == {"made": 1, "reused": NUM_REELS - 1}
    assert steps["track_faces"]["made"] == 0
    assert {episode["episode_id"]: episode["num_rendered_frames"] for episode in again["episodes"]}["ep-2"] == FRAMES_PER_SHOT


KILLS = {
    "worker": lambda studio: max(studio.workers, key=studio.num_takes_of),  # one that has something to lose
    "Prefect server": lambda studio: studio.server,
    "PostgreSQL": lambda studio: studio.postgres,
}


@pytest.mark.parametrize("name", KILLS)
def test_after_kill_9_nothing_is_lost_and_no_finished_shot_is_done_again(fresh_studio, name: str) -> None:
    episodes = GOOD[:3]
    with fresh_studio() as studio:
        studio.shorten_season(episodes)
        season = studio.begin_season()
        wait_until(lambda: len(studio.finished_steps("sync_lips")) >= 2 or season.poll() is not None, "two takes")
        assert season.poll() is None, (studio.folder / "season.log").read_text()
        victim: Service = KILLS[name](studio)
        victim.kill()
        before = set(studio.finished_steps("sync_lips"))
        victim.start()
        finish(studio, season)
        counts = [studio.steps_of(episode) for episode in episodes]
        after = set(studio.finished_steps("sync_lips"))
        assert before <= after
        assert len(after) == NUM_TAKES * len(episodes)
        assert all(count["sync_lips"]["made"] + count["sync_lips"]["reused"] == NUM_TAKES for count in counts)
        # Takes that the published runs made themselves, and those finished by a run that was killed: together no more than there are.
        num_found = sum(count["sync_lips"]["reused"] for count in counts)
        assert sum(count["sync_lips"]["made"] for count in counts) + num_found == len(after)
        restarted = [count for count in counts if count["sync_lips"]["reused"]]
        assert all(count["track_faces"] == {"made": 0, "reused": NUM_SHOTS + 1} for count in restarted)  # all finished before the first take
        runs = {run.name: run.run_count for run in studio.runs("dub-episode")}
        print(f"kill -9 of {name}: {len(before)} of {len(after)} takes were finished; {num_found} of them found by a later run; runs: {runs}")
        if name == "worker":
            assert restarted


def finish(studio: Studio, season: subprocess.Popen) -> None:
    """Wait for the season; starting dead workers again as a studio's machines do, and run the command again as a coordinator does."""

    def has_ended() -> bool:
        for worker in studio.workers:
            if not worker.is_alive():
                worker.start()
        return season.poll() is not None

    try:
        wait_until(has_ended, "the season's end")
    finally:
        if season.poll() is None:
            season.kill()
            season.wait()
    log = (studio.folder / "season.log").read_text()
    result = studio.dub_season() if season.returncode not in GOOD_ENOUGH else None
    rows = rows_of(result) if result else {}
    assert all(row["state"] == "done" or episode == BROKEN for (episode, _), row in rows.items()), log[-3000:]
