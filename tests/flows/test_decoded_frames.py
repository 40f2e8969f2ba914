"""A dub decodes its film twice: once to look at it, once to render it. Everything else is made of what those two readings left."""

import pytest

from infra import decoded_frames
from tests.small_film import make_small_film, make_track, make_voice

pytestmark = pytest.mark.usefixtures("settings_of_test")
FRAMES_PER_SHOT = (36, 24, 36)  # their cuts fall on the film's keyframes: no frame is decoded only to get to another


def test_a_dub_decodes_each_frame_of_its_film_twice_and_what_it_publishes_is_whole(small, prefect_api, tmp_path):
    from flows.dub_episode import dub_episode
    from tasks.types import DubRequest

    num_frames = sum(FRAMES_PER_SHOT)
    film = make_small_film(tmp_path / "film.mp4", make_voice(num_frames / 25), FRAMES_PER_SHOT)
    dub = make_track(tmp_path / "dub.wav", num_frames / 25)
    asked = {"film": str(film), "audio": {"fr": str(dub)}, "out": str(tmp_path / "out"), "episode_id": "small", "work": str(tmp_path / "work")}
    result = dub_episode(DubRequest.model_validate(asked | {"model": "tiny", "speaker": "only-face"}))

    assert result.steps["sync_lips"].made == result.steps["check_take"].made == 2
    assert len(list((tmp_path / "out/small/fr/previews").glob("*.mp4"))) == 4
    num_decoded = decoded_frames.counts()[str(film)]
    assert num_frames < num_decoded <= 2.2 * num_frames
