"""Figures that can be believed: planted truths come out, intervals hold, a judge that took part is refused."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from infra.errors import InputError
from tests.training.people import prepared, tiny_expert
from training import measures
from training.dataset import Clip
from training.evaluate import evaluate_model
from training.evaluate_expert import evaluate_expert
from training.evaluate_generator import evaluate_generator, other_clips
from training.lineage import refuse_partial_judge
from wav2lip_core.checkpoint import ModelCard, load_sync_expert, save_model, sha256_of
from wav2lip_core.generator import GeneratorConfig, LipGenerator
from wav2lip_core.mel import log_mel
from wav2lip_core.sync_expert import ExpertConfig, SyncExpert

EXPERT_KEYS = {"two_way_accuracy", "offset_within_1_3s", "offset_within_1_1s", "off_sync_detection", "planted_offset_within_1_3s"}
GENERATOR_KEYS = {
    "psnr_lower", "ssim_lower", "l1_lower", "copy_psnr_lower", "copy_ssim_lower", "copy_l1_lower", "lse_c_share_of_real", "offset_within_1",
    "silence_motion_share", "identity_similarity", "frechet_lip_distance", "frames_per_second", "num_parameters",
}  # fmt: skip


def generator(path: Path, **card) -> Path:
    torch.manual_seed(0)
    facts = {"name": path.stem, "kind": "generator", "data": "none", "licence": "CC0", "attribution": "none"}
    save_model(path, LipGenerator(GeneratorConfig(0.125, output="edit")), ModelCard.model_validate(facts | card))
    return path


def clip(seed: int, num_frames: int = 60) -> Clip:
    made = prepared(seed, num_frames)
    return Clip(f"p{seed}", str(seed), made.crops, log_mel(made.voice))


def test_every_promised_figure_is_there_with_an_interval_around_it(data, tmp_path) -> None:
    trainer, judge = (tiny_expert(tmp_path / f"{name}.safetensors", seed) for seed, name in enumerate(("trainer", "judge")))
    weights = generator(tmp_path / "generator.safetensors", trained_by=(sha256_of(trainer),))
    for kind, path, keys in (("expert", judge, EXPERT_KEYS), ("generator", weights, GENERATOR_KEYS)):
        figures = evaluate_model(kind, path, data, judge=judge, num_bootstrap=20)  # type: ignore[arg-type]
        assert keys <= figures.keys()
        for figure in figures.values():
            assert figure.keys() == {"value", "low", "high"}
            assert all(np.isfinite(value) for value in figure.values())
            assert figure["low"] <= figure["high"]


def test_a_generator_that_keeps_the_reference_equals_the_copy_and_moves_as_much_in_silence(tmp_path) -> None:
    torch.manual_seed(0)
    model = LipGenerator(GeneratorConfig(0.125, output="edit")).eval()
    with torch.no_grad():
        model.output_block[1].bias[3] = -1000.0  # its mask is shut
    torch.manual_seed(1)
    figures = evaluate_generator(model, [clip(1), clip(2)], SyncExpert(ExpertConfig(0.125)).eval(), num_bootstrap=10)
    for name in ("psnr_lower", "ssim_lower", "l1_lower"):
        assert figures[name]["value"] == pytest.approx(figures[f"copy_{name}"]["value"], rel=1e-3)
    assert figures["silence_motion_share"]["value"] == pytest.approx(1)
    assert figures["identity_similarity"]["value"] == pytest.approx(1, abs=1e-3)
    assert figures["frechet_lip_distance"]["value"] == pytest.approx(0, abs=1e-3)


class _Seer(SyncExpert):
    """An expert that reads how wide the mouth is and how loud the sound: right about every clip of tests.training.people."""

    def __init__(self) -> None:
        super().__init__(ExpertConfig(0.125))

    def embed_face(self, face: torch.Tensor) -> torch.Tensor:
        mouth = face.unflatten(1, (5, 3))[:, :, :, 12:38, 25:71]
        return self._unit((mouth < 60 / 255).float().mean(dim=(2, 3, 4)))

    def embed_audio(self, mel: torch.Tensor) -> torch.Tensor:
        energy = 10 ** (mel[:, 0].mean(dim=1) / 1.6)
        return self._unit(torch.stack([energy[:, round(k * 3.2) : round(k * 3.2) + 4].mean(dim=1) for k in range(5)], dim=1))

    @staticmethod
    def _unit(values: torch.Tensor) -> torch.Tensor:
        centred = values - values.mean(dim=1, keepdim=True)
        rows = torch.nn.functional.normalize(centred, dim=1)
        return torch.nn.functional.pad(rows, (0, 64 - rows.shape[1]))


def test_an_expert_that_sees_is_told_from_one_that_guesses() -> None:
    clips = [clip(seed, 75) for seed in range(4)]
    seeing = evaluate_expert(_Seer().eval(), clips, num_bootstrap=50)
    torch.manual_seed(0)
    guessing = evaluate_expert(SyncExpert(ExpertConfig(0.125)).eval(), clips, num_bootstrap=50)
    assert seeing["two_way_accuracy"]["value"] > 0.75
    assert 0.3 < guessing["two_way_accuracy"]["value"] < 0.7
    for name in ("offset_within_1_3s", "planted_offset_within_1_3s"):
        assert seeing[name]["value"] == 1
        assert guessing[name]["value"] < 0.7
    assert seeing["detection_accuracy"]["value"] > 0.65
    assert guessing["detection_accuracy"]["value"] < 0.65


def test_a_judge_that_took_part_in_training_is_refused_under_every_name_it_goes_by(tmp_path) -> None:
    trainer = tiny_expert(tmp_path / "trainer.safetensors")
    digest = sha256_of(trainer)
    weights = generator(tmp_path / "generator.safetensors", trained_by=(digest,))
    halved, tuned = tmp_path / "halved.safetensors", tmp_path / "tuned.safetensors"
    card = {"kind": "sync_expert", "data": "none", "licence": "CC0", "attribution": "none"}
    save_model(halved, load_sync_expert(trainer), ModelCard.model_validate(card | {"name": "halved", "run": {"made_from": digest}}), torch.float16)
    tiny_expert(tuned, 3, parent=digest)
    for judge in (trainer, halved, tuned):
        with pytest.raises(InputError, match=r"trained .* and cannot judge it"):
            refuse_partial_judge(weights, judge)
    refuse_partial_judge(weights, tiny_expert(tmp_path / "other.safetensors", 5))


def test_a_generator_whose_card_names_no_trainer_has_no_fair_judge_but_a_foreign_file_without_a_card_has(tmp_path) -> None:
    judge = tiny_expert(tmp_path / "judge.safetensors")
    with pytest.raises(InputError, match="does not say which experts"):
        refuse_partial_judge(generator(tmp_path / "ours.safetensors"), judge)
    foreign = tmp_path / "wav2lip.pth"
    torch.save({"state_dict": LipGenerator(GeneratorConfig(0.125)).state_dict()}, foreign)
    refuse_partial_judge(foreign, judge)


def test_weights_of_the_wrong_kind_and_too_few_clips_are_told(data, tmp_path) -> None:
    expert = tiny_expert(tmp_path / "expert.safetensors")
    with pytest.raises(InputError, match="lip generator"):
        evaluate_model("generator", expert, data, judge=expert)
    (tmp_path / "raw/ann").mkdir(parents=True)
    (tmp_path / "raw/ann/x.mp4").write_text("no film")
    with pytest.raises(InputError, match=r"0 clips in .* can be measured on, at least 2 are needed.\nann/x.mp4: "):
        evaluate_model("expert", expert, tmp_path / "raw")


def test_ssim_is_that_of_scikit_image() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 256, (2, 48, 96, 3), np.uint8)
    made = np.clip(truth.astype(int) + rng.integers(-40, 40, truth.shape), 0, 255).astype(np.uint8)
    pairs = [[cv2.cvtColor(x, cv2.COLOR_BGR2GRAY) for x in pair] for pair in zip(made, truth, strict=True)]
    how = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    expected = np.mean([structural_similarity(a, b, **how) for a, b in pairs])
    assert measures.ssim(made, truth) == pytest.approx(float(expected), abs=2e-3)
    assert measures.ssim(truth, truth) == pytest.approx(1)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(200):
        values = rng.normal(3, 1, 40)
        figure = measures.interval(values, np.ones(40), num_bootstrap=300, seed=seed)
        held += figure["low"] <= 3 <= figure["high"]
    assert 0.88 < held / 200 < 0.99


def test_a_ratio_is_of_sums_not_the_mean_of_ratios() -> None:
    figure = measures.ratio(np.array([1.0, 9.0]), np.array([10.0, 10.0]))
    assert figure["value"] == 0.5
    assert (figure["low"], figure["high"]) == (0.1, 0.9)


def test_the_frechet_distance_of_known_gaussians_is_right() -> None:
    rng = np.random.default_rng(0)
    a = [rng.normal(0, 1, (4000, 3)) for _ in range(3)]
    b = [rng.normal(0, 2, (4000, 3)) + np.array([1.0, 0, 0]) for _ in range(3)]
    assert measures.frechet(a, b, 20)["value"] == pytest.approx(1 + 3 * (1 + 4 - 2 * 2), rel=0.05)
    assert measures.frechet(a, a, 5)["value"] == pytest.approx(0, abs=1e-6)


def test_motion_is_that_of_the_mouth_alone() -> None:
    still = np.full((10, 96, 96, 3), 100, np.uint8)
    brows, mouth = still.copy(), still.copy()
    brows[::2, :30], mouth[::2, 60:80, 30:66] = 200, 200
    assert measures.mouth_motion(still) == 0
    assert measures.mouth_motion(brows) == 0
    assert measures.mouth_motion(mouth) > 20


@pytest.mark.parametrize("num_clips", [2, 3, 4, 13])
def test_clips_are_dubbed_with_several_others_sounds_each_of_them_equally_often(num_clips) -> None:
    clips = [clip(seed, 30) for seed in range(num_clips)]
    taken = [other.name for mine in clips for other in other_clips(clips, mine)]
    assert all(mine is not other for mine in clips for other in other_clips(clips, mine))
    assert {taken.count(each.name) for each in clips} == {min(3, num_clips - 1)}
