"""What people see of weights: a strip of faces, real and dubbed, and a card that says where they come from."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from flows.cli import app
from infra.errors import InputError
from tests.training.people import prepared, tiny_expert
from training.dataset import Clip
from training.evaluate import evaluate_model
from training.face_strip import GAP, NUM_MOMENTS, SHOWN_SIZE, draw_strip
from wav2lip_core.checkpoint import ModelCard, save_model
from wav2lip_core.face_crop import mouth_mask
from wav2lip_core.generator import GeneratorConfig, LipGenerator
from wav2lip_core.mel import log_mel

TEACHER = "ab" * 32


def clip(seed: int, person: str) -> Clip:
    made = prepared(seed, 40)
    return Clip(person, f"{person}/{seed}", made.crops, log_mel(made.voice))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    card = ModelCard(
        name="painter", kind="generator", data="2 clips <b>of</b> | ann", licence="CC0", attribution="Clips by Ann, CC BY 4.0", trained_by=(TEACHER,),
        evaluation={"people": ["zoe"], "psnr_lower": {"value": 25.25, "low": 24.0, "high": 26.5}}, run={"data_digest": "cd" * 32, "minutes": 3.5},
    )  # fmt: skip
    path = tmp_path_factory.mktemp("weights") / "painter.safetensors"
    save_model(path, LipGenerator(GeneratorConfig(0.125, output="edit")), card)
    return path


def test_a_strip_shows_six_people_real_above_and_only_the_mouth_dubbed_below(weights, tmp_path) -> None:
    from wav2lip_core.checkpoint import load_generator

    clips = [clip(seed, f"p{seed % 8} Žofie") for seed in range(9)]
    picture = cv2.imread(str(draw_strip(load_generator(weights), clips, tmp_path / "new" / "strip.png")))
    rows = 12 * SHOWN_SIZE + 5 * GAP  # six of the eight
    mosaic = picture[len(picture) - rows :, picture.shape[1] - NUM_MOMENTS * SHOWN_SIZE :].astype(int)
    change = np.abs(mosaic[:SHOWN_SIZE, :SHOWN_SIZE] - mosaic[SHOWN_SIZE : 2 * SHOWN_SIZE, :SHOWN_SIZE]).max(axis=2)
    mouth = mouth_mask(SHOWN_SIZE, SHOWN_SIZE)
    assert change[mouth == 0].max() <= 1
    assert change[mouth > 0.9].mean() > 5  # random weights paint something else
    assert np.all(mosaic[2 * SHOWN_SIZE : 2 * SHOWN_SIZE + GAP] == 255)
    assert (picture[:, : picture.shape[1] - NUM_MOMENTS * SHOWN_SIZE] < 128).any()  # names stand beside the rows


def test_a_strip_of_an_expert_is_refused_and_a_champion_is_measured_beside(data, tmp_path) -> None:
    one, other = (tiny_expert(tmp_path / f"{seed}.safetensors", seed) for seed in (0, 1))
    with pytest.raises(InputError, match="paints no faces"):
        evaluate_model("expert", one, data, strip=tmp_path / "x.png")
    both = evaluate_model("expert", one, data, champion=other, num_bootstrap=5)
    alone = evaluate_model("expert", other, data, num_bootstrap=5)
    names = alone.keys() - {"frames_per_second"}
    assert {name: both[f"champion_{name}"] for name in names} == {name: alone[name] for name in names}
    assert both["margin"] != both["champion_margin"]
    assert both["num_parameters"]["value"] == both["champion_num_parameters"]["value"] > 10_000
    assert both["frames_per_second"]["value"] > 0


def test_the_card_names_teachers_data_figures_and_attribution_and_carries_the_strip(weights, tmp_path) -> None:
    cv2.imwrite(str(tmp_path / "strip.png"), np.zeros((4, 4, 3), np.uint8))
    words = ["models", "card", str(weights), "--strip", str(tmp_path / "strip.png"), "--out", str(tmp_path / "cards" / "my card.md"), "--json"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.stderr
    page = (tmp_path / "cards" / "my card.md").read_text()
    assert json.loads(done.stdout)["markdown"] == page
    assert (tmp_path / "cards" / "my card.png").read_bytes() == (tmp_path / "strip.png").read_bytes()
    assert "![Real people, and under each the same moments dubbed](<my card.png>)" in page
    for text in (TEACHER, "cd" * 32, "| `psnr_lower` | 25.25 | 24 to 26.5 |", "Weights: CC0.", "Clips by Ann, CC BY 4.0", "- people: zoe"):
        assert text in page
    assert "<b>" not in page


def test_a_picture_that_is_not_there_says_how_to_draw_one(weights) -> None:
    done = CliRunner().invoke(app, ["models", "card", str(weights), "--strip", "gone.png"])
    assert done.exit_code == 2
    assert "gone.png does not exist. Draw one: dub evaluate generator" in done.stderr


def test_bundled_weights_bring_their_strip_teachers_and_the_figures_of_people_kept_aside(weights, tmp_path) -> None:
    from training.bundle import bundle

    cv2.imwrite(str(tmp_path / "strip.png"), np.zeros((4, 4, 3), np.uint8))
    target = bundle(weights, weights, "generator", tmp_path / "package", strip=tmp_path / "strip.png")
    done = CliRunner().invoke(app, ["models", "card", str(target), "--json"])
    assert done.exit_code == 0, done.stderr
    page = json.loads(done.stdout)["markdown"]
    for text in (f"({target.with_suffix('.png')})", TEACHER, "people kept out of that training", "GRID audio-visual sentence corpus"):
        assert text in page
