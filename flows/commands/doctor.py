"""What `dub doctor` looks at: packages, FFmpeg, device, weights, detectors, store, Prefect; and what to do where something is wrong."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from infra import ffmpeg
from infra.errors import DubflowError, InputError
from infra.settings import get_settings, num_cpus, unknown_variables
from infra.storage import open_storage
from tasks.types import Record

Level = Literal["ok", "note", "wrong"]
LEAST_FREE_BYTES = 2 << 30
_PACKAGES = ("torch", "prefect", "av", "opencv-python-headless", "scenedetect-headless", "dlib-bin", "librosa", "numpy", "pandas", "boto3")
_MARKS: dict[Level, str] = {"ok": "ok   ", "note": "note ", "wrong": "WRONG"}


class Finding(Record):
    what: str
    level: Level
    text: str


class Findings(Record):
    findings: tuple[Finding, ...]

    @property
    def is_all_right(self) -> bool:
        return all(finding.level != "wrong" for finding in self.findings)


def examine() -> Findings:
    """Look at everything; nothing is changed but the work folder, which is made if it is not there."""
    checks: tuple[Callable[[], list[Finding]], ...] = (
        _packages,
        _ffmpeg,
        _settings,
        _device,
        _precision,
        _weights,
        _detectors,
        _work_folder,
        _store,
        _prefect,
    )
    findings: list[Finding] = []
    for check in checks:
        try:
            findings += check()
        except (DubflowError, ImportError, OSError, RuntimeError, ValueError) as error:
            findings.append(Finding(what=check.__name__.strip("_").replace("_", " "), level="wrong", text=f"{type(error).__name__}: {error}"))
    return Findings(findings=tuple(findings))


def show_findings(findings: Findings) -> None:
    width = max(len(finding.what) for finding in findings.findings)
    for finding in findings.findings:
        print(f"{_MARKS[finding.level]} {finding.what.ljust(width)}  {finding.text}")
    print("Everything needed is here." if findings.is_all_right else "Something is wrong; see above.")


def _packages() -> list[Finding]:
    found = [Finding(what="python", level="ok", text=f"{platform.python_version()} on {platform.platform()}, {num_cpus()} processors")]
    for name in _PACKAGES:
        try:
            found.append(Finding(what=name, level="ok", text=importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            found.append(Finding(what=name, level="wrong", text=f"not installed; run: pip install {name}"))
    for extra, module in (("dask", "prefect_dask"), ("ray", "prefect_ray")):
        if importlib.util.find_spec(module) is None:
            found.append(Finding(what=extra, level="note", text=f"not installed, only needed for --runner {extra}: pip install 'dubflow[{extra}]'"))
    return found


def _ffmpeg() -> list[Finding]:
    return [Finding(what="ffmpeg", level="ok", text=f"{ffmpeg.version()} at {ffmpeg.binary()}")]


def _settings() -> list[Finding]:
    strangers = unknown_variables()
    if strangers:
        return [Finding(what="settings", level="wrong", text=f"no setting has these names, they do nothing: {', '.join(strangers)}")]
    settings = get_settings()
    return [Finding(what="settings", level="ok", text=f"{settings.num_workers} workers on {settings.task_runner}")]


def _device() -> list[Finding]:
    import torch

    if torch.cuda.is_available():
        return [Finding(what="device", level="ok", text=f"{torch.cuda.get_device_name(0)}, CUDA {torch.version.cuda}")]
    return [Finding(what="device", level="ok", text=f"CPU, {torch.get_num_threads()} threads (no CUDA device found)")]


def _weights() -> list[Finding]:
    from tasks.model_shelf import bundled_entries, entries, find_damage

    folder = get_settings().models_folder
    bundled = bundled_entries()
    found = []
    if {entry.kind for entry in bundled} != {"generator", "sync_expert"}:
        found.append(Finding(what="bundled weights", level="wrong", text="generator or expert is missing from the package; install it again"))
    for entry in [*bundled, *(entry for entry in entries(folder) if entry.source != "package")]:
        damage = find_damage(entry)
        text = f"{entry.name}: {entry.title}, {entry.num_parameters / 1e6:.1f} M parameters, {entry.sha256[:12]}"
        found.append(Finding(what="weights", level="wrong" if damage else "ok", text=f"{text}: {damage}" if damage else text))
    return found


def _precision() -> list[Finding]:
    from wav2lip_core.precision import PrecisionError, describe_arithmetic, pick_device, pick_precision

    settings = get_settings()
    try:
        device = pick_device(settings.device)
        return [Finding(what="precision", level="ok", text=describe_arithmetic(pick_precision(settings.precision, device), device))]
    except PrecisionError as error:
        return [Finding(what="precision", level="wrong", text=str(error))]


def _detectors() -> list[Finding]:
    from wav2lip_core.face_detector import FaceDetectorError, open_detector

    settings = get_settings()
    found = []
    for name, path in (("dlib", None), ("yunet", settings.yunet_path), ("retinaface", settings.retinaface_path)):
        if name != "dlib" and path is None:
            found.append(Finding(what=f"detector {name}", level="note", text=f"no weights set up (DUBFLOW_{name.upper()}_PATH); dlib needs none"))
            continue
        try:
            open_detector(name, path)
            found.append(Finding(what=f"detector {name}", level="ok", text=str(path) if path else "embedded"))
        except FaceDetectorError as error:
            found.append(Finding(what=f"detector {name}", level="wrong", text=str(error)))
    return found


def _work_folder() -> list[Finding]:
    folder = get_settings().work_folder
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        return [Finding(what="work folder", level="wrong", text=f"{folder} is not writable; set DUBFLOW_WORK_FOLDER")]
    free = shutil.disk_usage(folder).free
    level: Level = "ok" if free >= LEAST_FREE_BYTES else "wrong"
    return [Finding(what="work folder", level=level, text=f"{folder}, {free / (1 << 30):.1f} GiB free")]


def _store() -> list[Finding]:
    settings = get_settings()
    if settings.s3_endpoint_url is None:
        return [Finding(what="store", level="ok", text="folders; s3:// goes to Amazon S3 (DUBFLOW_S3_ENDPOINT_URL names another server)")]
    try:
        open_storage("s3://dubflow-doctor-probe").exists("probe")
        answer = "answers"
    except InputError as error:
        answer = f"answers: {error}"  # no such bucket, or no right to look: the server is there
    return [Finding(what="store", level="ok", text=f"S3 server {settings.s3_endpoint_url} {answer}")]


def _prefect() -> list[Finding]:
    import prefect.server.api.server as server
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME

    assert server.create_app
    if PREFECT_API_URL.value():
        return [Finding(what="prefect", level="ok", text=f"runs go to the server {PREFECT_API_URL.value()}")]
    home = Path(PREFECT_HOME.value())
    writable = os.access(home if home.exists() else home.parent, os.W_OK)
    text = f"a local server per run, database in {home}" + ("" if writable else ", which is not writable: set PREFECT_HOME")
    return [Finding(what="prefect", level="ok" if writable else "wrong", text=text)]
