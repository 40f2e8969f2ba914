"""Faster arithmetic paints the same faces: within a grey level of float32, always the same, and only where it was asked for."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from tests.small_film import make_voice
from wav2lip_core import fast_generator, openvino_generator, openvino_network, precision
from wav2lip_core.checkpoint import load_generator
from wav2lip_core.fast_generator import Bf16Generator, make_painter
from wav2lip_core.folding import folded
from wav2lip_core.generator import GeneratorConfig, LipGenerator
from wav2lip_core.int8_ranges import KEPT, input_ranges
from wav2lip_core.lip_syncer import BUNDLED_GENERATOR, LipSyncer
from wav2lip_core.mel import log_mel, windows_at
from wav2lip_core.openvino_network import import_openvino
from wav2lip_core.precision import PrecisionError, describe_arithmetic, pick_precision

BATCH = 4
LEAST_PSNR_DB = 45.0


def _faces(count: int) -> np.ndarray:
    """A portrait that moves a little, as the generator sees it."""
    portrait = cv2.cvtColor(data.astronaut(), cv2.COLOR_RGB2BGR)
    views = [portrait[50 + n : 50 + n + 150, 165 + n : 165 + n + 114] for n in range(count)]
    return np.stack([cv2.resize(view, (96, 96), interpolation=cv2.INTER_AREA) for view in views])


def _speech(count: int) -> np.ndarray:
    return windows_at(log_mel(make_voice(count / 25 + 0.5)), np.arange(count) / 25).astype(np.float32)


@pytest.fixture
def tensors() -> tuple[torch.Tensor, torch.Tensor]:
    faces = _faces(BATCH)
    pose = faces.copy()
    pose[:, 48:] = 0
    both = np.concatenate([pose, faces], axis=3).transpose(0, 3, 1, 2).astype(np.float32) / 255
    return torch.from_numpy(_speech(BATCH)[:, None]), torch.from_numpy(np.ascontiguousarray(both))


def _random_model(**config) -> LipGenerator:
    """Random weights with batch norm that has something to do."""
    torch.manual_seed(1)
    model = LipGenerator(GeneratorConfig(width=0.25, **config)).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.3)
    return model


def _psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / ((a.astype(float) - b.astype(float)) ** 2).mean()))


def _need_openvino() -> None:
    """Not by importing it: that would be the report to its vendor which import_openvino prevents."""
    if precision.openvino_version() is None:
        pytest.skip("needs OpenVINO: pip install 'dubflow[openvino]'")


def _fast(model, kind: str, monkeypatch: pytest.MonkeyPatch, folder: Path | None = None, num_at_once: int = 1) -> LipSyncer:
    """kind: bf16 by torch, bf16 by openvino, int8 by openvino."""
    if kind.endswith("torch"):
        monkeypatch.setattr(fast_generator, "openvino_version", lambda: None)
    else:
        _need_openvino()
    return LipSyncer(model, BATCH, precision=kind.split()[0], cache_folder=folder, num_at_once=num_at_once)  # type: ignore[arg-type]


KINDS = pytest.mark.parametrize("kind", ["bf16 torch", "bf16 openvino", "int8 openvino"])


@KINDS
def test_the_bundled_weights_paint_within_45_db_of_float32(kind: str, monkeypatch) -> None:
    faces, mel = _faces(12), _speech(12)
    wanted = LipSyncer(batch_size=BATCH).generate(faces, mel)
    made = _fast(None, kind, monkeypatch).generate(faces, mel)
    assert np.abs(wanted.astype(int) - faces).max() > 10  # there is something to paint
    assert _psnr_db(made, wanted) > LEAST_PSNR_DB
    assert _psnr_db(made[:, 48:], wanted[:, 48:]) > LEAST_PSNR_DB


@KINDS
def test_a_frame_is_the_same_alone_and_in_company_and_in_the_next_process(kind: str, tmp_path, monkeypatch) -> None:
    model, faces, mel = _random_model(output="edit"), _faces(9), _speech(9)
    first, again = (_fast(model, kind, monkeypatch, tmp_path) for _ in range(2))  # the second one finds the first one's cache
    together = first.generate(faces, mel)
    alone = np.concatenate([again.generate(faces[i : i + 1], mel[i : i + 1]) for i in range(9)])
    assert np.array_equal(together, alone)


@KINDS
def test_shots_side_by_side_get_the_bytes_that_they_get_alone(kind: str, monkeypatch) -> None:
    model, faces, mel = _random_model(output="edit"), _faces(30), _speech(30)
    alone = _fast(model, kind, monkeypatch).generate(faces, mel)
    shared = _fast(model, kind, monkeypatch, num_at_once=2)
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(lambda first: shared.generate(faces[first : first + 10], mel[first : first + 10]), (0, 10, 20)))
    assert np.array_equal(np.concatenate(made), alone)


@pytest.mark.parametrize(
    "config",
    [{"output": "colour"}, {"output": "edit", "articulation": 6.0}, {"output": "edit", "painted": "mouth"}, {"output": "edit", "articulation": 0.5}],
    ids=str,
)
def test_what_is_drawn_for_openvino_is_the_network(config: dict, tensors, monkeypatch) -> None:
    _need_openvino()
    monkeypatch.setattr(openvino_network, "multiplies_bf16", lambda: False)  # in float32 they must agree closely
    model = _random_model(**config)
    with torch.inference_mode():
        wanted = model(*tensors)
    found = openvino_generator.OpenVinoGenerator(model, "bf16", BATCH)(*tensors)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-4)


@torch.inference_mode()
def test_folding_batch_norm_changes_nothing(tensors) -> None:
    model = _random_model(output="edit")
    before = model(*tensors)
    torch.testing.assert_close(folded(model)(*tensors), before, rtol=0, atol=1e-5)
    assert torch.equal(model(*tensors), before)  # and the model itself is as it was


@torch.inference_mode()
def test_what_an_edit_keeps_is_kept_in_float32(tensors) -> None:
    model = _random_model(output="edit")
    model.output_block[1].bias.data[3] = -1e6  # a mask of 0
    mel, face = tensors
    assert torch.equal(Bf16Generator(model)(mel, face), face[:, 3:])


def test_float32_is_the_model_itself() -> None:
    model = _random_model()
    assert make_painter(model, "float32", BATCH) is model


def test_int8_ranges_hold_what_faces_give_and_leave_both_ends_alone(tensors) -> None:
    model = load_generator(BUNDLED_GENERATOR)
    ranges, seen = input_ranges(model), {}
    for name, module in model.named_modules():
        if name in ranges:
            module.register_forward_pre_hook(lambda _module, given, name=name: seen.__setitem__(name, float(given[0].max())))
    with torch.inference_mode():
        model(*tensors)
    assert not set(KEPT) & set(ranges)
    assert sum(seen[name] <= high for name, (_, high) in ranges.items()) >= 0.9 * len(ranges)


def test_auto_takes_bf16_only_where_the_processor_multiplies_it(monkeypatch) -> None:
    for capabilities, wanted in (({}, "float32"), ({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda capabilities=capabilities: capabilities)
        assert pick_precision("auto") == wanted
    assert pick_precision("float32") == "float32"


def test_int8_without_openvino_is_refused_with_a_way_out(monkeypatch) -> None:
    monkeypatch.setattr(precision, "openvino_version", lambda: None)
    with pytest.raises(PrecisionError, match=r"pip install 'dubflow\[openvino\]'"):
        LipSyncer(_random_model(), BATCH, precision="int8")
    assert describe_arithmetic("bf16") == f"bf16 by torch {torch.__version__}"
    assert describe_arithmetic("float32") == "float32"


def test_openvino_cannot_report_to_its_vendor() -> None:
    _need_openvino()
    import_openvino()
    assert not any(name.startswith("openvino_telemetry") and module is not None for name, module in sys.modules.items())


def test_a_batch_that_is_not_full_waits_for_other_shots() -> None:
    syncer = LipSyncer(_random_model(), batch_size=8, wait_s=60.0)
    sizes, forward = [], syncer._forward
    syncer._forward = lambda faces, *rest: sizes.append(len(faces)) or forward(faces, *rest)  # type: ignore[method-assign]
    shots = [threading.Thread(target=syncer.generate, args=(_faces(4), _speech(4))) for _ in range(2)]
    for shot in shots:
        shot.start()
    for shot in shots:
        shot.join(120)
    assert sizes == [8]
