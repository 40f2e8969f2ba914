"""A generator that paints the mouth alone leaves the rest of its reference as it is, at every face size."""

import pytest
import torch

from wav2lip_core.face_crop import mouth_mask
from wav2lip_core.generator import GeneratorConfig, LipGenerator, mouth_window

SIZES = [96, 128, 192]


def made_by(config: GeneratorConfig) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(5)
    model = LipGenerator(config).eval()
    face = torch.rand(2, 6, config.face_size, config.face_size)
    with torch.inference_mode():
        return model(torch.randn(2, 1, 80, 16), face), face[:, 3:]


@pytest.mark.parametrize("size", SIZES)
def test_outside_the_mouths_window_the_reference_is_untouched(size):
    made, reference = made_by(GeneratorConfig(0.125, size, "edit", "mouth"))
    rows, columns = mouth_window(size, size)
    changed = (made != reference).any(dim=1)
    assert changed[:, rows, columns].float().mean() > 0.9
    changed[:, rows, columns] = False
    assert not changed.any()


@pytest.mark.parametrize("size", SIZES)
def test_the_window_holds_all_that_is_ever_pasted(size):
    rows, columns = mouth_window(size, size)
    mask = mouth_mask(size, size).copy()
    mask[rows, columns] = 0
    assert mask.max() < 0.02


def test_a_generator_that_gives_whole_faces_cannot_paint_the_mouth_alone():
    with pytest.raises(ValueError, match="edit"):
        LipGenerator(GeneratorConfig(0.125, 96, "colour", "mouth"))


@pytest.mark.parametrize("painted", ["all", "mouth"])
@pytest.mark.parametrize("articulation", [0.5, 1.5, 8.0])
def test_articulation_exaggerates_what_is_changed_of_the_reference_and_stays_a_picture(painted, articulation):
    plain, reference = made_by(GeneratorConfig(0.125, 96, "edit", painted))
    made, _ = made_by(GeneratorConfig(0.125, 96, "edit", painted, articulation=articulation))
    wanted = (reference + articulation * (plain - reference)).clamp(0, 1)
    torch.testing.assert_close(made, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("output", "articulation"), [("colour", 1.2), ("edit", 0.0), ("edit", -1.0)])
def test_an_articulation_that_means_nothing_is_refused(output, articulation):
    with pytest.raises(ValueError, match="articulation"):
        LipGenerator(GeneratorConfig(0.125, 96, output, articulation=articulation))
