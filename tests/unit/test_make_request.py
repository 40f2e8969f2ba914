"""From words to a request: what fits becomes a record, what does not is told all at once."""

import pytest

from flows.episode.make_request import id_of_film, make_request
from infra.errors import InputError
from tasks.types import DubRequest, PlanRequest


@pytest.mark.parametrize(
    ("film", "episode_id"),
    [
        ("/films/Ep 01 (final).mov", "ep-01-final"),
        ("s3://bucket/season/E02.mxf", "e02"),
        ("film", "film"),
        ("/films/Épisode.mp4", "pisode"),
        ("/films/第一集.mp4", ""),
        ("x" * 100 + ".mp4", "x" * 64),
    ],
)
def test_an_episode_id_is_made_from_the_films_name(film, episode_id):
    assert id_of_film(film) == episode_id


def test_words_become_a_request():
    request = make_request(DubRequest, "film.mp4", ["fr=a.wav", "pt-BR=s3://b/c=d.wav"], out="out", episode_id=None)
    assert request.audio == {"fr": "a.wav", "pt-BR": "s3://b/c=d.wav"}
    assert request.episode_id == "film"
    assert make_request(PlanRequest, "film.mp4", []).audio == {}


def test_all_that_is_wrong_is_told_at_once():
    with pytest.raises(InputError) as refusal:
        make_request(DubRequest, "film.mp4", [], out="out", episode_id="../x", num_workers=0)
    assert all(text in str(refusal.value) for text in ("3 things", "--audio LANG=TRACK", "--id ../x", "--workers"))


def test_secrets_in_what_was_typed_are_not_repeated():
    with pytest.raises(InputError) as refusal:
        make_request(DubRequest, "film.mp4", ["https://user:secret@host/a.wav?X-Amz-Signature=topsecret"], out="o", episode_id="a")
    assert "secret" not in str(refusal.value)


def test_a_film_whose_name_gives_no_id_needs_one():
    with pytest.raises(InputError, match="--id"):
        make_request(DubRequest, "第一集.mp4", ["fr=a.wav"], out="out", episode_id=None)


def test_characters_become_stems_by_language_and_need_no_mix():
    words = ["fr:ANNA=anna.wav", "fr: BEN =s3://b/k=ben.wav", "de:DR. NO: II=no.wav"]
    request = make_request(DubRequest, "film.mp4", [], words, out="out", episode_id=None, cast="cast.toml")
    assert request.stems == {"fr": {"ANNA": "anna.wav", "BEN": "s3://b/k=ben.wav"}, "de": {"DR. NO: II": "no.wav"}}
    assert (request.audio, request.cast) == ({}, "cast.toml")


def test_characters_that_are_not_written_so_are_told_all_at_once():
    words = ["anna.wav", "ANNA=anna.wav", "fr:=a.wav", "fr:ANNA=", "fr:BEN=a.wav", "fr:BEN=b.wav"]
    with pytest.raises(InputError) as refusal:
        make_request(DubRequest, "film.mp4", ["fr=a.wav"], words, out="out", episode_id=None)
    said = str(refusal.value)
    assert all(f"--character {text}: write LANG:NAME=STEM" in said for text in words[:4])
    assert "fr:BEN is given twice" in said
