"""What this machine and this user prefer, read once from DUBFLOW_* environment variables. The only module that looks at the environment."""

import getpass
import os
import sys
from functools import cache
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, NonNegativeFloat, PositiveFloat, PositiveInt, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from infra.errors import InputError

PREFIX = "DUBFLOW_"
ChecksumMode = Literal["when_supported", "when_required"]
AbsolutePath = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]


def _cache_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".cache") / "dubflow"


def num_cpus() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def user_name() -> str:
    """Who runs this, for histories; a number in a container that knows no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


class Settings(BaseSettings):
    """Every preference with its default. S3 credentials are not here: boto3 finds them in its own usual places."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=None, frozen=True, extra="forbid", env_ignore_empty=True, validate_default=True)

    work_folder: AbsolutePath = Field(default_factory=lambda: _cache_folder() / "work", description="artifacts, scratch and fetched inputs")
    models_folder: AbsolutePath = Field(default_factory=lambda: _cache_folder() / "models", description="imported weights and their cards")

    artifacts: str | None = Field(default=None, description="folder or s3:// URI that machines share finished steps by; default: none")
    work_limit_gb: PositiveFloat | None = Field(default=None, description="artifacts and fetched inputs are kept below this; default: no limit")
    film_cache_gb: PositiveFloat = Field(default=20.0, description="pieces of films in S3 kept on this disk, at most")
    link_hours: PositiveFloat | None = Field(default=None, le=168, description="how long presigned links in reports hold; default: none are made")

    registry: str | None = Field(default=None, description="folder or s3:// URI of models and data drops; default: MODELS_FOLDER/registry")

    num_workers: PositiveInt = Field(default_factory=num_cpus, description="shots worked on at the same time")
    task_runner: Literal["threads", "processes", "dask", "ray"] = "threads"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["auto", "float32", "bf16", "int8"] = Field(default="auto", description="of the generator; auto: bf16 where it is faster")
    torch_threads: PositiveInt | None = Field(default=None, description="threads of one network call; default: processors / workers")
    batch_size: PositiveInt = Field(default=64, description="frames or windows in one network call")
    detector_batch_size: PositiveInt = Field(default=8, description="pictures in one face detector call")

    detector: Literal["auto", "dlib", "yunet", "retinaface"] = "auto"
    yunet_path: AbsolutePath | None = None
    retinaface_path: AbsolutePath | None = None

    step_timeout_s: PositiveFloat = Field(default=6 * 3600.0, description="no step may take longer")

    machine_rate_per_hour: NonNegativeFloat | None = Field(default=None, description="what an hour of one machine costs, for a season's table")
    gpu_rate_per_hour: NonNegativeFloat | None = Field(default=None, description="what an hour of GPU work costs on top of it")
    currency: str = Field(default="EUR", max_length=12, description="of these rates")

    disk_check: Literal["refuse", "warn"] = Field(default="refuse", description="what to do where a dub is not expected to fit on the disk")
    lease_s: PositiveFloat = Field(default=60.0, le=3600, description="a run not heard of for so long loses its episode to one that waits for it")

    gpu_slot: str | None = Field(default=None, description="Prefect's global concurrency limit to hold a slot of; on a GPU dubflow-gpu if not given")
    notify: str | None = Field(default=None, description="Prefect blocks to tell of finish, failure and review: TYPE/NAME, with commas between")

    s3_endpoint_url: str | None = Field(default=None, description="for a server that is not Amazon's")
    s3_region: str | None = None
    s3_addressing_style: Literal["auto", "path", "virtual"] = "auto"
    request_checksum_calculation: ChecksumMode = "when_supported"
    response_checksum_validation: ChecksumMode = "when_supported"
    s3_sse: Literal["none", "AES256", "aws:kms"] = Field(default="none", description="encryption asked for with every write")
    s3_sse_kms_key_id: str | None = Field(default=None, description="key for aws:kms; default: the account's own")
    s3_max_attempts: PositiveInt = 5
    s3_connect_timeout_s: PositiveFloat = 10.0
    s3_read_timeout_s: PositiveFloat = 60.0

    @field_validator("s3_endpoint_url")
    @classmethod
    def _is_plain_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must look like https://HOST[:PORT]")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("must hold no user, password, query or fragment; credentials belong in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        return value

    @property
    def artifacts_folder(self) -> Path:
        return self.work_folder / "artifacts"

    @property
    def shared_store(self) -> str | None:
        """Where machines share finished steps: an absolute folder or an s3:// URI."""
        if self.artifacts is None or ":" in self.artifacts.partition("/")[0]:
            return self.artifacts
        return str(Path(self.artifacts).expanduser().absolute())

    @property
    def registry_place(self) -> str:
        """Where models, data drops and production.json are kept: a folder or an s3:// URI."""
        return self.registry or str(self.models_folder / "registry")

    @property
    def inputs_folder(self) -> Path:
        """Where inputs fetched from S3 are kept."""
        return self.work_folder / "inputs"

    @property
    def threads_per_worker(self) -> int:
        return self.torch_threads or max(1, num_cpus() // self.num_workers)


@cache
def get_settings() -> Settings:
    """The settings of this process, read at the first call. Raises InputError naming the variable that does not fit (never its value)."""
    try:
        return Settings()
    except ValidationError as error:
        wrong = "; ".join(f"{_variable(item['loc'])}: {item['msg']}" for item in error.errors(include_input=False, include_context=False))
        raise InputError(f"The environment holds settings that cannot be used. {wrong}.") from None


def unknown_variables() -> list[str]:
    """DUBFLOW_* variables that name no setting: likely typing errors."""
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    return sorted(name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() not in known)


def prefect_environment() -> dict[str, str]:
    """How Prefect should behave when the user said nothing: patient start, no telemetry, results as JSON (never pickle), quiet."""
    return {
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # 20 s is too short for the first start on a busy machine
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_INTERNAL_LOGGING_LEVEL": "CRITICAL",  # it writes past every log to the terminal, an event a line, when its server is gone
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    }


def local_server_environment() -> dict[str, str]:
    """How Prefect's server works where it is a run's own: it keeps runs, states, logs and artifacts, some task states at a time. Events, which
    nobody reads there, are passed on to automations and not kept."""
    return {
        "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_ENABLED": "false",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "50",
        "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "2",  # seconds
    }


def numpy_environment() -> dict[str, str]:
    """How NumPy should compute: what we give its linear algebra is small, and threads that wait for more of it would keep a processor busy."""
    return {"OPENBLAS_NUM_THREADS": "1"}


def apply_environment(**more: str) -> None:
    """Set what prefect_environment() and numpy_environment() say, and more, where the user did not. To be called before Prefect is imported."""
    is_numpy_ours = not numpy_environment().keys() & os.environ.keys()
    for name, value in (prefect_environment() | numpy_environment() | more).items():
        os.environ.setdefault(name, value)
    if is_numpy_ours and "numpy" in sys.modules:  # it has read its variables already
        from threadpoolctl import threadpool_limits

        threadpool_limits(1, user_api="blas")


def ask_for_large_pages() -> bool:
    """Have what is started from here take its memory in pages of 2 MB, which glibc can from 2.35 on. False where the user has tuned glibc, or that is
    so already."""
    if "GLIBC_TUNABLES" in os.environ:
        return False
    os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
    return True


def _variable(location: tuple[int | str, ...]) -> str:
    return f"{PREFIX}{location[0]}".upper() if location else "settings"
