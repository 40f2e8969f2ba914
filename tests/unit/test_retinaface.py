"""Our RetinaFace against slow and simple versions of its parts, against its published files, and against the PyPI package."""

import subprocess
from math import ceil
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from wav2lip_core import retinaface
from wav2lip_core.anchors import anchors, decode_boxes, decode_landmarks, nms
from wav2lip_core.checkpoint import CheckpointError
from wav2lip_core.retinaface import RetinaFace, from_state_dict, load_retinaface, mobilenet_retinaface, prepare, resnet50_retinaface

ROOT = Path(__file__).parents[2]
REFERENCE_PYTHON = ROOT / ".venv-retinaface/bin/python"
SIDES = ((16, 32), (64, 128), (256, 512))


def astronaut_bgr(height: int = 512, width: int = 512) -> np.ndarray:
    """uint8 (height, width, 3): a portrait, shipped with scikit-image."""
    return np.ascontiguousarray(skimage.data.astronaut()[:height, :width, ::-1])


def with_random_weights(network: RetinaFace, seed: int = 0) -> RetinaFace:
    """The network with weights from a seed, and batch-norm statistics as if it had been trained on photographs."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        spread = 1 / parameter[0].numel() ** 0.5 if parameter.ndim == 4 else 0.2
        mean = 1.0 if parameter.ndim == 1 and name.endswith("weight") else 0.0  # batch norms keep the scale
        parameter.data = torch.randn(parameter.shape, generator=generator) * spread + mean
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # plain average over the one batch below
    photographs = np.stack([astronaut_bgr()[:192, :192], astronaut_bgr()[256:448, 256:448], skimage.data.coffee()[:192, :192, ::-1]])
    network.train()
    with torch.no_grad():
        network(prepare(photographs, network.variant.input_range))
    return network.eval()


def naive_anchors(height: int, width: int) -> list[list[float]]:
    answer = []
    for stride, sides in zip((8, 16, 32), SIDES, strict=True):
        for row in range(ceil(height / stride)):
            for column in range(ceil(width / stride)):
                for side in sides:
                    answer.append([(column + 0.5) * stride, (row + 0.5) * stride, side, side])
    return answer


def naive_nms(boxes: list[list[float]], scores: list[float], threshold: float) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        x0, y0, x1, y1 = boxes[i]
        for j in kept:
            a0, b0, a1, b1 = boxes[j]
            overlap = max(0, min(x1, a1) - max(x0, a0)) * max(0, min(y1, b1) - max(y0, b0))
            if overlap > threshold * ((x1 - x0) * (y1 - y0) + (a1 - a0) * (b1 - b0) - overlap):
                break
        else:
            kept.append(i)
    return kept


@pytest.mark.parametrize(("height", "width"), [(360, 640), (97, 41), (32, 32), (1, 700)])
def test_anchors_are_those_of_a_slow_loop(height: int, width: int) -> None:
    np.testing.assert_array_equal(anchors(height, width, SIDES).numpy(), np.array(naive_anchors(height, width), np.float32))


def test_there_is_one_answer_per_anchor_at_odd_sizes() -> None:
    network = with_random_weights(mobilenet_retinaface())
    with torch.inference_mode():
        for height, width in ((101, 77), (64, 33)):
            boxes, logits, landmarks = network(torch.zeros(1, 3, height, width))
            num_anchors = len(anchors(height, width, SIDES))
            assert (boxes.shape, logits.shape, landmarks.shape) == ((1, num_anchors, 4), (1, num_anchors, 2), (1, num_anchors, 10))


def test_an_offset_of_nothing_is_the_anchor_itself_and_offsets_count_in_anchor_sizes() -> None:
    priors = torch.tensor([[100.0, 50.0, 32.0, 16.0]])
    assert decode_boxes(torch.zeros(1, 4), priors).tolist() == [[84, 42, 116, 58]]
    assert decode_landmarks(torch.zeros(1, 10), priors).tolist() == [[[100, 50]] * 5]
    moved = decode_boxes(torch.tensor([[10.0, -5.0, np.log(2) / 0.2, 0.0]], dtype=torch.float32), priors)
    np.testing.assert_allclose(moved.numpy(), [[100, 34, 164, 50]], atol=1e-4)
    np.testing.assert_allclose(decode_landmarks(torch.ones(1, 10), priors).numpy()[0], [[103.2, 51.6]] * 5, atol=1e-4)


@pytest.mark.parametrize("seed", range(12))
def test_nms_keeps_what_the_greedy_loop_keeps(seed: int) -> None:
    rng = np.random.default_rng(seed)
    num_boxes, crowd = int(rng.integers(1, 150)), float(rng.uniform(5, 300))
    corner, size = rng.uniform(0, crowd, (num_boxes, 2)), rng.uniform(10, 60, (num_boxes, 2))
    boxes, scores = np.concatenate([corner, corner + size], axis=1), rng.permutation(num_boxes) / num_boxes
    for threshold in (0.1, 0.4, 0.7):
        kept = nms(torch.tensor(boxes), torch.tensor(scores), threshold)
        assert kept.tolist() == naive_nms(boxes.tolist(), scores.tolist(), threshold)


def test_nms_lets_a_box_live_whose_only_rival_was_itself_beaten() -> None:
    chain = torch.tensor([[0.0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10], [12, 0, 22, 10]])
    assert nms(chain, torch.tensor([0.9, 0.8, 0.7, 0.6]), 0.3).tolist() == [0, 2]


def test_nms_of_nothing_is_nothing() -> None:
    assert nms(torch.zeros(0, 4), torch.zeros(0), 0.4).tolist() == []


@pytest.mark.parametrize("make", [mobilenet_retinaface, resnet50_retinaface])
def test_three_pictures_at_once_give_what_they_give_one_by_one(make) -> None:
    network = with_random_weights(make())
    pictures = prepare(np.stack([astronaut_bgr()[y : y + 96, 150:310] for y in (0, 60, 200)]), network.variant.input_range)
    with torch.inference_mode():
        together = network(pictures)
        for i in range(3):
            for whole, one in zip(together, network(pictures[i : i + 1]), strict=True):
                torch.testing.assert_close(whole[i], one[0], rtol=1e-4, atol=1e-4)


def test_the_same_weights_give_the_same_numbers_in_a_network_made_anew() -> None:
    network, picture = with_random_weights(mobilenet_retinaface(), seed=3), torch.zeros(1, 3, 64, 64)
    again = from_state_dict(network.state_dict(), "a copy")
    with torch.inference_mode():
        for a, b in zip(network(picture), again(picture), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("make", "variant"),
    [
        (mobilenet_retinaface, retinaface.FACE_DETECTOR_1MB),
        (mobilenet_retinaface, retinaface.PYTORCH_RETINAFACE_MOBILE),
        (resnet50_retinaface, retinaface.TERNAUS),
        (resnet50_retinaface, retinaface.PYTORCH_RETINAFACE_LARGE),
    ],
)
def test_a_file_says_by_its_statistics_which_variant_it_was_trained_as(make, variant: retinaface.Variant) -> None:
    state = with_random_weights(make(variant), seed=1).state_dict()
    without_counters = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    assert from_state_dict(without_counters, "a file").variant == variant


def test_a_file_of_something_else_is_refused_by_name() -> None:
    with pytest.raises(CheckpointError, match=r"cats\.pth holds no RetinaFace network"):
        from_state_dict({"layer.weight": torch.zeros(1)}, "cats.pth")


def test_a_file_with_a_missing_a_foreign_or_a_misshapen_tensor_is_refused() -> None:
    state = mobilenet_retinaface().state_dict()
    with pytest.raises(CheckpointError, match=r"missing .*ssh2"):
        from_state_dict({key: value for key, value in state.items() if key != "ssh2.conv3X3.0.weight"}, "a file")
    with pytest.raises(CheckpointError, match=r"unknown .*stranger"):
        from_state_dict({**state, "stranger": torch.zeros(1)}, "a file")
    with pytest.raises(CheckpointError, match="another size"):
        from_state_dict({**state, "fpn.output1.0.weight": torch.zeros(32, 64, 1, 1)}, "a file")


def test_the_published_mobilenet_file_is_known_for_what_it_is(shared: Path) -> None:
    network = load_retinaface(shared / "weights/retinaface_mobilenet0.25.pth")
    assert network.variant == retinaface.FACE_DETECTOR_1MB
    assert not network.training


def packages_answer(network: RetinaFace, picture_bgr: np.ndarray, folder: Path) -> dict[str, np.ndarray]:
    if not REFERENCE_PYTHON.exists():
        pytest.skip("retinaface-pytorch is absent: tests/make_retinaface_venv.sh makes .venv-retinaface (71 MB)")
    save_file(network.state_dict(), folder / "weights.safetensors")
    np.save(folder / "picture.npy", picture_bgr[..., ::-1])
    script = [str(REFERENCE_PYTHON), str(ROOT / "tests/retinaface_reference.py")]
    subprocess.run([*script, *(str(folder / name) for name in ("weights.safetensors", "picture.npy", "answer.npz"))], check=True, timeout=300)
    return dict(np.load(folder / "answer.npz"))


def test_raw_answers_are_those_of_retinaface_pytorch_on_shared_random_weights(tmp_path: Path) -> None:
    height, width = 203, 171
    network, picture = with_random_weights(resnet50_retinaface(), seed=7), astronaut_bgr(height, width)
    theirs = packages_answer(network, picture, tmp_path)
    with torch.inference_mode():
        offsets, logits, landmark_offsets = (answer[0] for answer in network(torch.from_numpy(theirs["pixels"])[None]))
    priors = anchors(height, width, network.variant.anchor_sides_px)
    ours: dict[str, Tensor] = {"pixels": prepare(picture[None], network.variant.input_range)[0], "scores": logits.softmax(dim=-1)[:, 1]}
    ours |= {"boxes": decode_boxes(offsets, priors), "landmarks": decode_landmarks(landmark_offsets, priors)}
    assert np.ptp(theirs["scores"]) > 0.2, "the comparison would say little"
    for name, tolerance in (("pixels", 1e-5), ("scores", 1e-5), ("boxes", 5e-3), ("landmarks", 5e-3)):
        assert ours[name].shape == theirs[name].shape
        difference = float(np.abs(ours[name].numpy() - theirs[name]).max())
        print(f"{name}: largest difference {difference:.2g} in {np.abs(theirs[name]).max():.4g}")
        assert difference <= tolerance, name
