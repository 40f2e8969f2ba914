"""The generator's runner: right shapes, and a frame's result does not depend on its company."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from wav2lip_core.generator import GeneratorConfig, LipGenerator
from wav2lip_core.lip_syncer import LipSyncer


def _model(output: str = "edit") -> LipGenerator:
    torch.manual_seed(0)
    return LipGenerator(GeneratorConfig(width=0.125, output=output)).eval()  # type: ignore[arg-type]


def _input(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, 96, 96, 3), dtype=np.uint8), rng.uniform(-4, 4, (n, 80, 16)).astype(np.float32)


@pytest.mark.parametrize("n", [0, 1, 8, 21])
def test_as_many_faces_come_out_as_went_in(n: int) -> None:
    faces, mel = _input(n)
    made = LipSyncer(model=_model(), batch_size=8).generate(faces, mel)
    assert made.shape == faces.shape
    assert made.dtype == np.uint8


def test_a_frame_does_not_depend_on_the_others_in_its_batch() -> None:
    syncer = LipSyncer(model=_model("colour"), batch_size=8)
    faces, mel = _input(21)
    together = syncer.generate(faces, mel)
    alone = np.concatenate([syncer.generate(faces[i : i + 1], mel[i : i + 1]) for i in range(len(faces))])
    assert np.array_equal(together, alone)


def test_many_threads_share_batches_and_each_gets_its_own_frames_back() -> None:
    model, num_batches = _model(), 0
    syncer = LipSyncer(model=model, batch_size=16)
    expected = [LipSyncer(model=model, batch_size=16).generate(*_input(5, seed)) for seed in range(8)]
    forward = syncer._forward

    def counted(*args: np.ndarray) -> np.ndarray:
        nonlocal num_batches
        num_batches += 1
        return forward(*args)

    syncer._forward = counted  # type: ignore[method-assign]
    results: dict[int, np.ndarray] = {}
    ready = threading.Barrier(8)

    def work(seed: int) -> None:
        ready.wait()
        results[seed] = syncer.generate(*_input(5, seed))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert all(np.array_equal(results[seed], expected[seed]) for seed in range(8))
    assert num_batches < 8  # 40 frames of eight callers do not take eight batches of their own


def test_two_callers_are_served_side_by_side_where_there_are_two_processors() -> None:
    model = _model()
    expected = [LipSyncer(model=model, batch_size=4).generate(*_input(9, seed)) for seed in range(2)]
    syncer = LipSyncer(model=model, batch_size=4, num_at_once=2)
    forward, both = syncer._forward, threading.Barrier(2, timeout=60)
    is_first = threading.local()

    def met(*args: np.ndarray) -> np.ndarray:
        if not hasattr(is_first, "done"):
            is_first.done = both.wait()  # breaks, and so fails, where one has to wait for the other's end
        return forward(*args)

    syncer._forward = met  # type: ignore[method-assign]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda seed: syncer.generate(*_input(9, seed)), range(2)))
    assert all(np.array_equal(result, wanted) for result, wanted in zip(results, expected, strict=True))


def test_wrong_shapes_and_nan_are_named() -> None:
    syncer = LipSyncer(model=_model())
    faces, mel = _input(3)
    with pytest.raises(ValueError, match="faces must be uint8"):
        syncer.generate(faces.astype(np.float32), mel)
    with pytest.raises(ValueError, match="mel must be"):
        syncer.generate(faces, mel[:, :, :8])
    with pytest.raises(ValueError, match="NaN"):
        syncer.generate(faces, np.full_like(mel, np.nan))
    assert syncer.generate(faces, mel).shape == faces.shape  # and it still works afterwards


def test_an_edit_generator_starts_close_to_its_reference() -> None:
    faces, mel = _input(2)
    made = LipSyncer(model=_model("edit")).generate(np.zeros_like(faces), mel, references=faces)
    assert np.corrcoef(made.ravel(), faces.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("face_size", [96, 128, 192])
def test_larger_faces_share_the_code(face_size: int) -> None:
    model = LipGenerator(GeneratorConfig(width=0.125, face_size=face_size)).eval()
    faces = np.zeros((2, face_size, face_size, 3), np.uint8)
    assert LipSyncer(model=model).generate(faces, np.zeros((2, 80, 16), np.float32)).shape == faces.shape
