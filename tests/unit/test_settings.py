"""Settings come from DUBFLOW_* alone, wrong ones are the user's to mend, and Prefect is told to be quiet only where the user said nothing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.errors import InputError
from infra.settings import Settings, apply_environment, get_settings, prefect_environment, unknown_variables


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in [name for name in os.environ if name.upper().startswith("DUBFLOW_")]:
        monkeypatch.delenv(name)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def test_everything_has_a_default():
    settings = get_settings()
    assert settings.num_workers >= 1
    assert settings.work_folder.is_absolute()
    assert settings.artifacts_folder.parent == settings.inputs_folder.parent == settings.work_folder
    assert settings.request_checksum_calculation == "when_supported"


def test_the_work_folder_lies_in_the_users_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert get_settings().work_folder == tmp_path / "dubflow" / "work"


def test_a_variable_overrides_the_default_and_paths_become_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DUBFLOW_NUM_WORKERS", "3")
    monkeypatch.setenv("DUBFLOW_WORK_FOLDER", "here")
    monkeypatch.setenv("DUBFLOW_YUNET_PATH", "~/yunet.onnx")
    settings = get_settings()
    assert (settings.num_workers, settings.work_folder, settings.yunet_path) == (3, tmp_path / "here", Path.home() / "yunet.onnx")


def test_an_empty_variable_counts_as_unset(monkeypatch):
    monkeypatch.setenv("DUBFLOW_DETECTOR", "")
    assert get_settings().detector == "auto"


def test_a_dotenv_file_in_the_current_folder_has_no_say(monkeypatch, tmp_path):
    (tmp_path / ".env").write_text("DUBFLOW_NUM_WORKERS=77\n")
    monkeypatch.chdir(tmp_path)
    assert get_settings().num_workers != 77


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DUBFLOW_NUM_WORKERS", "0"),
        ("DUBFLOW_NUM_WORKERS", "many"),
        ("DUBFLOW_TASK_RUNNER", "fork"),
        ("DUBFLOW_DETECTOR", "haar"),
        ("DUBFLOW_REQUEST_CHECKSUM_CALCULATION", "never"),
        ("DUBFLOW_S3_ENDPOINT_URL", "localhost:9000"),
        ("DUBFLOW_S3_ENDPOINT_URL", "file:///etc/passwd"),
        ("DUBFLOW_STEP_TIMEOUT_S", "-1"),
    ],
)
def test_a_wrong_value_is_the_users_to_mend_and_its_variable_is_named(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=name):
        get_settings()


def test_a_password_in_the_endpoint_is_refused_and_not_repeated(monkeypatch):
    monkeypatch.setenv("DUBFLOW_S3_ENDPOINT_URL", "https://user:canary-secret@s3.example.org")
    with pytest.raises(InputError) as caught:
        get_settings()
    assert "canary-secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_mistyped_variable_is_reported(monkeypatch):
    monkeypatch.setenv("DUBFLOW_NUM_WORKER", "3")
    monkeypatch.setenv("DUBFLOW_NUM_WORKERS", "3")
    assert unknown_variables() == ["DUBFLOW_NUM_WORKER"]


def test_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        Settings().num_workers = 5


def test_prefect_learns_our_defaults_only_where_the_user_said_nothing(monkeypatch):
    for name in prefect_environment():
        monkeypatch.setenv(name, "restored after the test")
        monkeypatch.delenv(name)
    monkeypatch.setenv("PREFECT_LOGGING_LEVEL", "DEBUG")
    apply_environment()
    assert os.environ["PREFECT_LOGGING_LEVEL"] == "DEBUG"
    assert os.environ["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] == "120"
    assert os.environ["DO_NOT_TRACK"] == "1"


def test_prefect_understands_every_variable_that_we_set(tmp_path):
    code = (
        "import json, sys\n"
        "from infra.settings import apply_environment\n"
        "apply_environment()\n"
        "assert 'prefect' not in sys.modules\n"
        "from prefect.settings import get_current_settings as get\n"
        "s = get()\n"
        "print(json.dumps([s.server.ephemeral.startup_timeout_seconds, s.server.analytics_enabled, s.results.default_serializer,\n"
        "                  s.logging.level, s.logging.to_api.when_missing_flow]))\n"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "DUBFLOW_")) and name != "DO_NOT_TRACK"}
    environment = {**kept, "PREFECT_HOME": str(tmp_path)}
    repository = Path(__file__).parents[2]
    answer = subprocess.run([sys.executable, "-c", code], env=environment, cwd=repository, capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(answer.stdout) == [120, False, "json", "WARNING", "ignore"]
