"""The `dub` command: every bad input gives a clear message, exit code 2 and nothing half-written; good input gives one result."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.flows.command_process import children_of, command_line, wait_for_end, wait_for_text
from tests.media import remux, truncated
from tests.small_film import DURATION_S, make_random_weights, make_small_film, make_track

HTML = b"<!doctype html><html><body>404 Not Found</body></html>"


@pytest.fixture
def dub(settings_of_test, small, tmp_path: Path):
    """Call the command in this process; film, dub and out are given unless named."""

    def call(*words: str, film: object = small.film, audio: str | None = None, out: object = tmp_path / "out", command: str = "episode") -> Result:
        from flows.cli import app

        given = [command, str(film), *(["--out", str(out)] if command == "episode" else []), "--audio", audio or f"fr={small.dub}"]
        return CliRunner().invoke(app, [*given, "--model", "tiny", *words])

    return call


def refused(result: Result, *texts: str) -> None:
    """It ended with exit code 2 and one clear message, without a trace of Python."""
    assert result.exit_code == 2, result.output
    shown = " ".join(result.stderr.split())
    for text in texts:
        assert text in shown
    assert "Traceback" not in result.output
    assert result.stdout == ""


# -- words that do not fit: told at once, before anything is read


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--audio", "french.wav"], "--audio french.wav: write LANG=TRACK"),
        (["--audio", "fr=other.wav"], "fr is given twice"),
        (["--id", "../x"], "--id ../x: an episode's id is small letters, digits and dashes"),
        (["--id", "Film"], "--id Film"),
        (["--model", "nonesuch"], "There is no model named 'nonesuch'"),
        (["--scorer", "vgg"], "dub models import syncnet_v2.model"),
        (["--detector", "yunet"], "DUBFLOW_YUNET_PATH"),
        (["--speaker", "/nowhere/cast.json"], "/nowhere/cast.json does not exist"),
        (["--original-dialogue", "/nowhere/voices.wav"], "/nowhere/voices.wav does not exist"),
        (["--work", "s3://bucket/work"], "give a local folder"),
    ],
)
def test_an_option_that_does_not_fit_is_refused(dub, tmp_path, words, text):
    refused(dub(*words), text)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("tag", ["xx", "english", "und", "fr_FR", "../fr"])
def test_an_unknown_language_tag_is_refused(dub, small, tmp_path, tag):
    refused(dub(audio=f"{tag}={small.dub}"), tag, "ISO 639")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("film", ["/nowhere/film.mp4", "http://127.0.0.1/film.mp4", "s3://", "-"])
def test_a_film_that_is_not_there_is_refused(dub, tmp_path, film):
    refused(dub(film=film), film.removesuffix("-"))
    assert not (tmp_path / "out").exists()


def test_out_is_never_an_input_nor_inside_one_nor_around_one(dub, small, tmp_path):
    refused(dub(out=small.film), "written over or into an input")
    refused(dub(out=small.film / "deeper"), "written over or into an input")
    refused(dub("--id", small.film.parent.name, out=small.film.parent.parent), "written over or into an input")
    link = tmp_path / "link"
    link.symlink_to(small.film)
    refused(dub(out=link), "written over or into an input")


def test_everything_that_is_wrong_is_told_at_once(dub):
    result = dub("--id", "no good", "--workers", "3", audio="xx=/nowhere/a.wav", film="/nowhere/film.mp4")
    refused(result, "--id no good")
    result = dub("--model", "nonesuch", "--speaker", "/nowhere/c.json", audio="xx=/nowhere/a.wav", film="/nowhere/film.mp4")
    refused(result, "5 things are wrong", "'xx'", "nonesuch", "/nowhere/film.mp4", "/nowhere/a.wav", "/nowhere/c.json")


def test_usage_errors_are_exit_code_2_too(small):
    from flows.cli import app

    for words in ([], ["episode", str(small.film)], ["episode", str(small.film), "--out", "x", "--workers", "0"], ["nonesuch"]):
        assert CliRunner().invoke(app, words).exit_code == 2


def test_with_json_a_refusal_is_one_object_on_stdout(dub):
    result = dub("--json", film="/nowhere/film.mp4")
    answer = json.loads(result.stdout)
    assert result.exit_code == 2
    assert (answer["status"], answer["exit_code"], answer["kind"]) == ("failed", 2, "input")
    assert "/nowhere/film.mp4" in answer["message"]


# -- files that are not what they should be


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        ("zero.mp4", b"", "zero.mp4"),
        ("text.mp4", b"just some words\n" * 50, "text.mp4"),
        ("page.mp4", HTML, "page.mp4"),
        ("list.mp4", b"#EXTM3U\n#EXTINF:1,\nfile.ts\n#EXT-X-ENDLIST\n", "list.mp4"),
        ("concat.mp4", b"ffconcat version 1.0\nfile ok.mp4\n", "concat.mp4"),
    ],
)
def test_a_file_that_is_no_film_is_refused(dub, tmp_path, name, content, text):
    (tmp_path / name).write_bytes(content)
    refused(dub("--id", "x", film=tmp_path / name), text)
    assert not (tmp_path / "out").exists()


def test_a_truncated_film_is_refused_with_both_counts(dub, small, tmp_path):
    film = truncated(remux(small.film, tmp_path / "whole.mkv"), tmp_path / "half.mkv")
    result = dub(film=film)
    refused(result, "declares 52 frames", "decode")
    assert not (tmp_path / "out").exists()


def test_a_sound_file_is_no_film_and_a_page_is_no_sound(dub, small, tmp_path):
    refused(dub("--id", "x", film=small.dub), small.dub.name)
    (tmp_path / "page.wav").write_bytes(HTML)
    refused(dub(audio=f"fr={tmp_path / 'page.wav'}"), "page.wav")
    assert not (tmp_path / "out").exists()


def test_a_film_without_sound_offers_the_ways_out(dub, tmp_path):
    refused(dub(film=make_small_film(tmp_path / "mute.mp4", None)), "--original-dialogue STEM", "--speaker only-face")
    assert not (tmp_path / "out").exists()


def test_a_dub_too_short_is_refused_with_both_durations(dub, tmp_path):
    short = make_track(tmp_path / "short.wav", DURATION_S - 1.5)
    refused(dub("--speaker", "only-face", audio=f"fr={short}"), f"{DURATION_S - 1.5:.2f} s", f"{DURATION_S:.2f} s")
    assert not (tmp_path / "out").exists()


def test_a_dub_a_little_short_is_padded_with_a_warning(dub, small, tmp_path):
    short = make_track(tmp_path / "short.wav", DURATION_S - 0.5)
    result = dub("--speaker", "only-face", "--json", audio=f"fr={short}")
    assert result.exit_code == 0
    assert any("0.50 s shorter" in text for text in json.loads(result.stdout)["warnings"])


# -- results


def test_an_episode_ends_with_one_json_object_or_a_summary(dub, tmp_path):
    result = dub("--speaker", "only-face", "--json", "--id", "ep-1")
    assert result.exit_code == 0, result.stderr
    answer = json.loads(result.stdout)
    assert answer["status"] == "done"
    assert Path(answer["outputs"]["fr"]) == tmp_path / "out" / "ep-1" / "fr" / "ep-1.fr.mp4"
    assert Path(answer["outputs"]["fr"]).is_file()
    assert "shots 1/1" in result.stderr
    again = dub("--speaker", "only-face", "--id", "ep-1")
    assert again.exit_code == 0
    assert "sync_lips 0 made 2 reused" in again.stdout
    assert "sync: 2 done, 2 of them found finished" in again.stderr


def test_a_plan_says_shot_by_shot_what_would_be_done(dub):
    result = dub("--speaker", "only-face", command="plan")
    assert result.exit_code == 0, result.stderr
    assert "no_face" in result.stdout
    assert "A dub would take about" in result.stdout
    answer = json.loads(dub("--speaker", "only-face", "--json", command="plan").stdout)
    assert [shot["would_sync"]["fr"] for shot in answer["shots"]] == [True, False, True]


def test_an_unexpected_failure_is_our_trouble_and_says_how_to_go_on(dub, monkeypatch, warm_work):
    from flows.episode import publish

    def fail(*_args):
        raise ZeroDivisionError("half a frame")

    monkeypatch.setattr(publish, "describe_run", fail)
    result = dub("--speaker", "only-face")
    assert result.exit_code == 1
    assert "ZeroDivisionError: half a frame" in result.stderr
    assert "the same command goes on" in result.stderr
    assert "Traceback" not in result.output
    log = max((warm_work / "logs").glob("small-*.log"), key=lambda path: path.stat().st_mtime)
    assert "Traceback" in log.read_text()


# -- models


def test_weights_are_imported_listed_and_verified(settings_of_test, tmp_path, monkeypatch):
    from flows.cli import app
    from infra.settings import get_settings

    monkeypatch.setenv("DUBFLOW_MODELS_FOLDER", str(tmp_path / "models"))
    get_settings.cache_clear()
    generator, _ = make_random_weights(tmp_path / "weights", "mine")
    imported = CliRunner().invoke(app, ["models", "import", str(generator)])
    assert imported.exit_code == 0
    assert "--model mine" in imported.stdout
    listed = json.loads(CliRunner().invoke(app, ["models", "list", "--json"]).stdout)
    mine = next(model for model in listed["models"] if model["name"] == "mine")
    assert mine["kind"] == "generator"
    assert CliRunner().invoke(app, ["models", "verify"]).exit_code == 0
    kept = Path(mine["path"])
    kept.chmod(0o644)
    kept.write_bytes(kept.read_bytes()[:-1] + b"\x01")
    verified = CliRunner().invoke(app, ["models", "verify"])
    assert verified.exit_code == 1
    assert str(kept) in verified.stdout


@pytest.mark.parametrize("content", [b"", HTML, b"PK\x03\x04 not a zip"])
def test_a_file_that_is_no_weights_is_not_imported(settings_of_test, tmp_path, monkeypatch, content):
    from flows.cli import app
    from infra.settings import get_settings

    monkeypatch.setenv("DUBFLOW_MODELS_FOLDER", str(tmp_path / "models"))
    get_settings.cache_clear()
    (tmp_path / "weights.pth").write_bytes(content)
    refused(CliRunner().invoke(app, ["models", "import", str(tmp_path / "weights.pth")]), "weights.pth")
    assert not (tmp_path / "models").exists()


def test_the_doctor_finds_what_is_here_and_what_is_wrong(settings_of_test, monkeypatch):
    from flows.cli import app

    answer = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)
    levels = {finding["what"]: finding["level"] for finding in answer["findings"]}
    assert levels["torch"] == levels["ffmpeg"] == levels["detector dlib"] == levels["prefect"] == "ok"
    monkeypatch.setenv("DUBFLOW_WORKERS", "3")
    examined = CliRunner().invoke(app, ["doctor"])
    assert examined.exit_code == 1
    assert "DUBFLOW_WORKERS" in examined.stdout


# -- the real thing, in processes of its own


@pytest.fixture
def running(small, environment, tmp_path) -> Iterator[tuple[subprocess.Popen, set[int]]]:
    """The command, at work on faces with its own Prefect server, and the process ids of its children."""
    with open(tmp_path / "stderr", "wb") as stderr:
        process = subprocess.Popen(command_line(small, tmp_path / "out"), stdout=subprocess.DEVNULL, stderr=stderr, env=environment)
    try:
        wait_for_text(tmp_path / "stderr", "shots 1/1", process)
        yield process, children_of(process.pid)
    finally:
        process.kill()
        process.wait()


def test_ctrl_c_ends_cleanly_says_how_to_go_on_and_leaves_no_process_behind(running, tmp_path):
    process, children = running
    assert children
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 130
    said = (tmp_path / "stderr").read_text()
    assert "Ctrl-C again stops at once" in said
    assert "the same command goes on from there: dub episode" in said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()
    wait_for_end(children)


def test_a_second_ctrl_c_stops_at_once_and_leaves_no_process_behind(running, tmp_path):
    process, children = running
    process.send_signal(signal.SIGINT)
    wait_for_text(tmp_path / "stderr", "Ctrl-C again stops at once", process)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    wait_for_end(children)


HEAVY = ("torch", "prefect", "numpy", "scipy", "pandas", "av", "cv2", "boto3", "rich", "jinja2", "httpx")
SHOW_HELP = """
import contextlib, io, sys
from typer.main import get_command
from flows.cli import app

assert "pydantic" not in sys.modules  # typer itself loads it to write help
command, shown = get_command(app), io.StringIO()
with contextlib.redirect_stdout(shown):
    for words in ([], *([name] for name in command.commands)):
        command.main([*words, "--help"], standalone_mode=False)
print(shown.getvalue(), *sorted(sys.modules), sep="\\n")
"""


LOAD_A_LONG_COMMAND = """
import sys
from flows import cli
sys.argv = ["dub", "episode"]
cli.app = lambda: None
cli.main()
import flows.commands.run_command
"""
LOAD_A_FLOW_AFTER_NUMPY = "import numpy"
TELL_THREADS = """
import flows.dub_episode
from threadpoolctl import threadpool_info
print(*sorted({library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}))
"""


@pytest.mark.parametrize("beginning", [LOAD_A_LONG_COMMAND, LOAD_A_FLOW_AFTER_NUMPY])
def test_numpys_linear_algebra_waits_with_no_second_thread(beginning):
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")} | {"GLIBC_TUNABLES": ""}
    done = subprocess.run([sys.executable, "-c", beginning + TELL_THREADS], env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["1"]


def test_help_is_there_for_every_command_without_anything_heavy():
    done = subprocess.run([sys.executable, "-c", SHOW_HELP], capture_output=True, text=True, timeout=120, check=True)
    lines = done.stdout.splitlines()
    assert not set(HEAVY) & set(lines)
    assert "typer" in lines
    assert all(any(line.startswith(f"  {command} ") for line in lines) for command in ("episode", "plan", "season", "models", "doctor", "demo"))
