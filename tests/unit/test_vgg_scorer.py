"""The published protocol, each part against a slow and literal reading of its description."""

import gc
import importlib.util
import weakref
import zlib
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import scipy.signal
import torch

from infra.video import read_audio
from wav2lip_core import vgg_scorer
from wav2lip_core.checkpoint import load_vgg_syncnet
from wav2lip_core.face_crop import from_landmarks
from wav2lip_core.face_detector import open_detector
from wav2lip_core.mfcc import mfcc
from wav2lip_core.sync_scorer import mean_distances, score
from wav2lip_core.vgg_scorer import crop, crop_places, embed_lips, embed_sound, mfcc_windows, num_windows, score_clip, tight_boxes
from wav2lip_core.vgg_syncnet import VggSyncNet, VggSyncNetConfig

HEIGHT, WIDTH = 120, 160


def random_state(network: VggSyncNet, seed: int) -> dict[str, torch.Tensor]:
    """Weights for every name, each drawn from its own generator, of a size that keeps signals alive through the layers."""
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    state = {}
    for name, shape in shapes.items():
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        stem, leaf = name.rsplit(".", 1)
        if leaf == "num_batches_tracked":
            continue
        if leaf == "running_var" or (leaf == "weight" and f"{stem}.running_var" in shapes):
            values = rng.uniform(0.6, 1.4, shape)
        elif leaf == "weight":
            values = rng.standard_normal(shape) * (2 / np.prod(shape[1:])) ** 0.5
        else:
            values = 0.1 * rng.standard_normal(shape)
        state[name] = torch.from_numpy(values.astype(np.float32))
    return state


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def network() -> VggSyncNet:
    """A narrow one: the protocol around it is the same."""
    made = VggSyncNet(VggSyncNetConfig(width=0.07)).eval().requires_grad_(False)
    made.load_state_dict(random_state(made, 1), strict=False)
    return made


def faces(num_frames: int, seed: int = 0) -> np.ndarray:
    """Smooth pictures, each unlike the last: uint8 (n, 224, 224, 3)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (num_frames, 6, 6, 3), np.uint8)
    return np.stack([cv2.resize(picture, (224, 224), interpolation=cv2.INTER_CUBIC) for picture in coarse])


def noise(num_samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 3000, num_samples).astype(np.int16)


# -- the crop


def literal_crops(pictures: list[np.ndarray], boxes: np.ndarray) -> list[np.ndarray]:
    """Section by section as it is described: smooth s, x and y; pad the whole picture; cut; resize."""
    s, x, y = [], [], []
    for x0, y0, x1, y1 in boxes:
        s.append(max(y1 - y0, x1 - x0) / 2)
        x.append((x0 + x1) / 2)
        y.append((y0 + y1) / 2)
    s, x, y = (scipy.signal.medfilt(values, kernel_size=13) for values in (s, x, y))
    crops = []
    for k, picture in enumerate(pictures):
        margin = int(s[k] * (1 + 2 * 0.4))
        padded = np.pad(picture, [(margin, margin), (margin, margin), (0, 0)], constant_values=110)
        my, mx = y[k] + margin, x[k] + margin
        rows = slice(int(my - s[k]), int(my + s[k] * 1.8))
        columns = slice(int(mx - s[k] * 1.4), int(mx + s[k] * 1.4))
        crops.append(cv2.resize(padded[rows, columns], (224, 224)))
    return crops


@pytest.mark.parametrize("where", [(0.5, 0.5), (0.05, 0.1), (0.95, 0.9), (0.0, 1.0), (1.0, 0.0), (0.4, 0.15), (0.6, 0.97)])
def test_crops_are_the_published_ones_to_the_pixel_also_where_the_face_leaves_the_picture(where: tuple[float, float]) -> None:
    rng = np.random.default_rng(round(100 * sum(where)))
    pictures = list(rng.integers(0, 256, (20, HEIGHT, WIDTH, 3), np.uint8))
    centres = np.clip(where * np.array([WIDTH, HEIGHT]) + rng.normal(0, 2, (20, 2)), 0.5, (WIDTH - 1, HEIGHT - 1))
    sizes = rng.uniform((15, 20), (70, 90)) + rng.normal(0, 1, (20, 2))
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], axis=1)
    found = [crop(picture, place) for picture, place in zip(pictures, crop_places(boxes), strict=True)]
    np.testing.assert_array_equal(found, literal_crops(pictures, boxes))


def test_a_crop_wholly_off_the_picture_is_grey() -> None:
    picture = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for centre in ((-500, 50), (700, 50), (50, -500), (50, 700)):
        assert (crop(picture, np.array([20.0, *centre])) == 110).all()


def test_places_outlast_a_stray_box_and_lean_to_the_smallest_value_at_the_ends() -> None:
    boxes = np.tile([50.0, 40.0, 90.0, 100.0], (30, 1))
    boxes[15] += 25
    boxes[:, 2:] += np.arange(30)[:, None]
    places = crop_places(boxes)
    np.testing.assert_allclose(places[6:24, 0], 30 + np.arange(6, 24) / 2, atol=0.51)
    assert places[0, 0] == 30
    assert places[29, 0] == 30 + 23 / 2


@pytest.mark.filterwarnings("error")
def test_a_track_shorter_than_the_median_s_reach_has_places_and_one_that_zeros_outvote_is_refused() -> None:
    boxes = np.tile([50.0, 40.0, 90.0, 100.0], (11, 1))
    np.testing.assert_array_equal(crop_places(boxes), np.tile([30.0, 70.0, 70.0], (11, 1)))
    with pytest.raises(ValueError, match="7 frames"):
        crop_places(boxes[:6])


def test_the_tight_box_has_its_size_and_its_eyes_where_detectors_put_them() -> None:
    landmarks = np.array([[90, 60], [130, 60], [110, 80], [95, 100], [125, 100]], np.float32)
    em, (x0, y0, x1, y1) = 40, tight_boxes(from_landmarks(landmarks)[None])[0]
    assert y1 - y0 == pytest.approx(2.81 * em, rel=1e-5)
    assert x1 - x0 == pytest.approx(1.96 * em, rel=1e-5)
    assert (x0 + x1) / 2 == pytest.approx(110, abs=1e-3)
    assert y0 + 0.376 * (y1 - y0) == pytest.approx(60, abs=1e-3)


@pytest.mark.parametrize(("name", "file"), [("yunet", "yunet_2026may.onnx"), ("retinaface", "retinaface_mobilenet0.25.pth")])
def test_the_tight_box_is_near_the_raw_box_of_a_detector_that_was_trained_on_such(shared: Path, name: str, file: str) -> None:
    detector = open_detector(name, shared / "weights" / file)
    overlaps = []
    for person in ("s1", "s31_f", "spkQ_m"):
        (face, *_), = detector.detect([grid_pictures(shared, person, 30, 31)[0]])  # fmt: skip
        overlaps.append(overlap(tight_boxes(np.array([face.box]))[0], np.array(face.raw_box)))
    assert np.mean(overlaps) > 0.85
    assert min(overlaps) > 0.75


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    inside = np.prod(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]))
    return float(inside / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - inside))


# -- windows, embeddings, score


def test_one_window_less_than_there_are_is_used_and_the_shorter_of_picture_and_sound_decides() -> None:
    assert num_windows(75, 75 * 640) == 70
    assert num_windows(75, 60 * 640 + 639) == 55
    assert num_windows(60, 75 * 640) == 55
    assert num_windows(3, 75 * 640) == 0


def test_windows_of_mfcc_cut_in_blocks_are_those_of_the_whole_sound() -> None:
    samples = noise(640 * 90)
    rows = mfcc(samples).T
    whole = np.stack([rows[:, 4 * v : 4 * v + 20] for v in range(85)])
    np.testing.assert_allclose(mfcc_windows(samples, 0, 85), whole, rtol=1e-9, atol=1e-9)
    for first, count in ((0, 1), (1, 3), (40, 45), (84, 1)):
        np.testing.assert_allclose(mfcc_windows(samples, first, count), whole[first : first + count], rtol=1e-9, atol=1e-9)


def test_sound_embedded_in_blocks_is_sound_embedded_at_once(network: VggSyncNet, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = noise(640 * 70)
    at_once = embed_sound(network, samples, 65)
    monkeypatch.setattr(vgg_scorer, "_SOUND_BLOCK", 20)
    np.testing.assert_allclose(embed_sound(network, samples, 65), at_once, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="samples"):
        embed_sound(network, samples, 70)


def test_lips_embedded_crop_by_crop_are_lips_embedded_at_once(network: VggSyncNet) -> None:
    pictures = faces(47)
    windows = np.stack([pictures[v : v + 5].transpose(3, 0, 1, 2) for v in range(43)])
    at_once = network.embed_lips(windows).numpy()
    found = embed_lips(network, iter(pictures))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, at_once, rtol=1e-4, atol=1e-4)
    assert np.linalg.norm(found[0] - found[1]) > 0.01 * np.linalg.norm(found[0])  # the network tells windows apart


@pytest.mark.parametrize("num_frames", [0, 4, 5, 24, 25])
def test_each_five_crops_make_a_row(network: VggSyncNet, num_frames: int) -> None:
    pictures = np.zeros((num_frames, 224, 224, 3), np.uint8)
    assert embed_lips(network, pictures).shape == (max(0, num_frames - 4), network.netfclip[-1].out_features)


def test_no_more_than_a_batch_of_crops_is_kept_however_long_the_track(network: VggSyncNet) -> None:
    alive: list[weakref.ref] = []
    most = 0

    def one_by_one():
        nonlocal most
        for n in range(90):
            picture = np.full((224, 224, 3), n, np.uint8)
            alive.append(weakref.ref(picture))
            yield picture
            del picture
            gc.collect(0)
            most = max(most, sum(kept() is not None for kept in alive))

    assert len(embed_lips(network, one_by_one())) == 86
    assert most <= 25


def test_crops_of_another_size_or_type_are_refused(network: VggSyncNet) -> None:
    for wrong in (np.zeros((224, 223, 3), np.uint8), np.zeros((224, 224, 3), np.float32)):
        with pytest.raises(ValueError, match="224, 224, 3"):
            embed_lips(network, [wrong])


@torch.inference_mode()
def literal_score(network: VggSyncNet, pictures: np.ndarray, samples: np.ndarray) -> tuple[int, float, float]:
    """Window by window, shift by shift, in torch."""
    coefficients = torch.from_numpy(mfcc(samples).T[None, None]).float()
    length = min(len(pictures), len(samples) // 640)
    frames = torch.from_numpy(pictures).float().permute(3, 0, 1, 2)[None]
    lips = torch.cat([network.embed_lips(frames[:, :, v : v + 5]) for v in range(length - 5)])
    sound = torch.cat([network.embed_audio(coefficients[..., 4 * v : 4 * v + 20]) for v in range(length - 5)])
    padded = torch.nn.functional.pad(sound, (0, 0, 15, 15))
    table = torch.stack([torch.nn.functional.pairwise_distance(lips[[v]].expand(31, -1), padded[v : v + 31]) for v in range(len(lips))], 1)
    means = table.mean(1)
    least, index = torch.min(means, 0)
    return 15 - int(index), float(least), float(torch.median(means) - least)


@pytest.mark.parametrize("num_frames", [11, 40])
def test_the_score_is_the_published_one_and_that_of_the_embeddings(network: VggSyncNet, num_frames: int) -> None:
    pictures, samples = faces(num_frames, 3), noise(640 * num_frames + 100, 3)
    found = score_clip(network, pictures, samples)
    count = num_frames - 5
    assert found == score(embed_lips(network, pictures)[:count], embed_sound(network, samples, count))
    offset, lse_d, lse_c = literal_score(network, pictures, samples)
    assert found.offset == offset
    assert found.lse_d == pytest.approx(lse_d, abs=1e-3)
    assert found.lse_c == pytest.approx(lse_c, abs=1e-3)


@pytest.mark.parametrize(("num_frames", "num_samples"), [(10, 640 * 30), (30, 640 * 11 - 1), (0, 640 * 30), (4, 0)])
def test_fewer_than_six_windows_are_not_scored(network: VggSyncNet, num_frames: int, num_samples: int) -> None:
    with pytest.raises(ValueError, match="needs 6 windows"):
        score_clip(network, np.zeros((num_frames, 224, 224, 3), np.uint8), noise(num_samples))


# -- a real clip


def grid_pictures(shared: Path, person: str, first: int, end: int) -> list[np.ndarray]:
    path = sorted((shared / "media" / "grid" / person).iterdir())[0]
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="bgr24") for n, frame in zip(range(end), container.decode(video=0), strict=False) if n >= first]


@pytest.fixture(scope="module")
def published_network(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> VggSyncNet:
    """The published width, from a file such as syncnet_v2.model, its weights drawn by name."""
    spec = importlib.util.spec_from_file_location("make_state", shared / "fixtures" / "make_state.py")
    assert spec
    assert spec.loader
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    path = tmp_path_factory.mktemp("vgg") / "syncnet_v2.model"
    torch.save({name: torch.from_numpy(np.asarray(value)) for name, value in maker.make_state("S", seed=7).items()}, path)
    return load_vgg_syncnet(path)


def test_a_real_face_and_voice_are_scored_at_the_published_width_and_the_same_each_time(shared: Path, published_network: VggSyncNet) -> None:
    num_frames = 16
    pictures = grid_pictures(shared, "s1", 30, 30 + num_frames)
    samples, rate_hz, _ = read_audio(sorted((shared / "media" / "grid" / "s1").iterdir())[0])
    wave = scipy.signal.resample_poly(samples.mean(axis=1), 16000, rate_hz)[30 * 640 : (30 + num_frames) * 640]
    sound = (wave * 32767).astype(np.int16)
    (face, *_), = open_detector("dlib").detect(pictures[:1])  # fmt: skip
    places = crop_places(tight_boxes(np.repeat([face.box], num_frames, axis=0)))
    crops = [crop(picture, place) for picture, place in zip(pictures, places, strict=True)]
    lips, heard = embed_lips(published_network, crops)[:-1], embed_sound(published_network, sound, num_frames - 5)
    distances = mean_distances(lips, heard)
    assert lips.shape == heard.shape == (num_frames - 5, 1024)
    assert distances.shape == (31,)
    assert np.isfinite(distances).all()
    again = score_clip(published_network, crops, sound)
    assert again == score(lips, heard)
    assert again.lse_d == distances.min() == distances[15 - again.offset]
