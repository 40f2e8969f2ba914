"""In which arithmetic the generator runs: what was asked for, what this machine is good at, and what exactly computes, for records and keys."""

from importlib.metadata import PackageNotFoundError, version
from typing import Literal

import torch

Precision = Literal["float32", "bf16", "int8"]


class PrecisionError(ValueError):
    """This machine cannot compute in the wanted precision; the text says what to do."""


def pick_device(wanted: Literal["auto", "cpu", "cuda"]) -> str:
    """`auto` is CUDA where torch finds a device, else the processor."""
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return wanted


def pick_precision(wanted: Literal["auto"] | Precision, device: str = "cpu") -> Precision:
    """`auto` is bf16 where the device multiplies it faster than float32 (AMX, AVX-512 BF16; CUDA from Ampere on), else float32.

    int8 is never chosen by itself. Raises PrecisionError where it cannot be had.
    """
    if wanted == "int8" and (device != "cpu" or openvino_version() is None):
        raise PrecisionError("Precision int8 is computed by OpenVINO on the processor: pip install 'dubflow[openvino]', or take bf16.")
    if wanted != "auto":
        return wanted
    if device == "cpu":
        return "bf16" if multiplies_bf16() else "float32"
    return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"


def multiplies_bf16() -> bool:
    """Whether this processor has instructions for products of bf16."""
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))


def openvino_version() -> str | None:
    """The installed OpenVINO, or None: it is an extra."""
    try:
        return version("openvino")
    except PackageNotFoundError:
        return None


def describe_arithmetic(precision: Precision, device: str = "cpu") -> str:
    """What computes, with its version: equal words mean equal numbers on equal machines. `float32` is torch, the reference."""
    if precision == "float32":
        return precision
    openvino = openvino_version() if device == "cpu" else None
    return f"{precision} by openvino {openvino}" if openvino else f"{precision} by torch {torch.__version__}"
