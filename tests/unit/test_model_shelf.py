"""Weights on the shelf: kept by digest, found by name, pinned for a run, and never trusted after they changed."""

import shutil
from pathlib import Path

import pytest

from infra.errors import InputError
from tasks.model_shelf import entries, find_damage, import_model, pin_models
from tests.small_film import make_random_weights


@pytest.fixture
def weights(tmp_path: Path) -> tuple[Path, Path]:
    return make_random_weights(tmp_path / "weights")


def imported(folder: Path) -> list:
    return [entry for entry in entries(folder) if entry.source != "package"]


def test_weights_of_one_name_are_pinned_together(weights, tmp_path):
    generator, expert = (import_model(tmp_path / "models", file) for file in weights)
    models = pin_models(tmp_path / "models", "tiny", "expert")
    assert (models.generator_sha256, models.expert_sha256) == (generator.sha256, expert.sha256)
    assert Path(models.generator_path).read_bytes() == weights[0].read_bytes()


def test_a_run_pins_the_precision_it_is_made_in(weights, tmp_path, monkeypatch):
    from infra.settings import get_settings
    from wav2lip_core import precision

    for file in weights:
        import_model(tmp_path / "models", file)
    assert pin_models(tmp_path / "models", "tiny", "expert", "bf16").precision == "bf16"
    monkeypatch.setenv("DUBFLOW_PRECISION", "float32")
    get_settings.cache_clear()
    assert pin_models(tmp_path / "models", "tiny", "expert").precision == "float32"
    get_settings.cache_clear()
    monkeypatch.setattr(precision, "openvino_version", lambda: None)
    with pytest.raises(InputError, match="dubflow\\[openvino\\]"):
        pin_models(tmp_path / "models", "tiny", "expert", "int8")


def test_importing_twice_changes_nothing(weights, tmp_path):
    assert import_model(tmp_path / "models", weights[0]).sha256 == import_model(tmp_path / "models", weights[0]).sha256
    assert len(imported(tmp_path / "models")) == 1


def test_a_name_belongs_to_the_weights_that_have_it(weights, tmp_path):
    import torch

    from wav2lip_core.checkpoint import save_model
    from wav2lip_core.generator import GeneratorConfig, LipGenerator
    from wav2lip_core.model_card import ModelCard

    import_model(tmp_path / "models", weights[0])
    torch.manual_seed(1)
    other = tmp_path / "other.safetensors"
    card = ModelCard(name="tiny", kind="generator", data="nothing", licence="none", attribution="the tests")
    save_model(other, LipGenerator(GeneratorConfig(width=0.125)), card)
    with pytest.raises(InputError, match="--name"):
        import_model(tmp_path / "models", other)
    assert import_model(tmp_path / "models", other, "other").name == "other"
    assert {entry.name for entry in imported(tmp_path / "models")} == {"tiny", "other"}


@pytest.mark.parametrize("name", ["../x", "A", "", "dubflow-lite"])
def test_a_name_that_is_none_or_the_packages_own_is_refused(weights, tmp_path, name):
    if name == "":
        bare = tmp_path / "___.safetensors"
        shutil.copy(weights[0], bare)
        assert import_model(tmp_path / "models", bare).name == "tiny"  # of its card
        return
    with pytest.raises(InputError, match="name"):
        import_model(tmp_path / "models", weights[0], name)
    assert imported(tmp_path / "models") == []


def test_changed_weights_are_found_damaged_and_not_used(weights, tmp_path):
    for file in weights:
        import_model(tmp_path / "models", file)
    entry = next(entry for entry in imported(tmp_path / "models") if entry.kind == "generator")
    assert find_damage(entry) is None
    data = bytearray(Path(entry.path).read_bytes())
    data[-1] ^= 1
    Path(entry.path).write_bytes(data)
    assert "differ" in (find_damage(entry) or "")
    with pytest.raises(InputError, match="damaged"):
        pin_models(tmp_path / "models", "tiny", "expert")
    import_model(tmp_path / "models", weights[0])
    assert pin_models(tmp_path / "models", "tiny", "expert").generator_sha256 == entry.sha256


def test_the_whole_shelf_may_be_moved(weights, tmp_path):
    for file in weights:
        import_model(tmp_path / "models", file)
    (tmp_path / "models").rename(tmp_path / "elsewhere")
    models = pin_models(tmp_path / "elsewhere", "tiny", "expert")
    assert Path(models.expert_path).is_file()


def test_an_unfinished_import_counts_for_nothing(weights, tmp_path):
    entry = import_model(tmp_path / "models", weights[0])
    (tmp_path / "models" / entry.sha256 / "entry.json").write_text("{half a rec")
    assert imported(tmp_path / "models") == []
    with pytest.raises(InputError, match="no model named 'tiny'"):
        pin_models(tmp_path / "models", "tiny", "expert")


def test_the_published_scorer_must_have_been_imported(weights, tmp_path):
    for file in weights:
        import_model(tmp_path / "models", file)
    with pytest.raises(InputError, match=r"dub models import syncnet_v2\.model"):
        pin_models(tmp_path / "models", "tiny", "vgg")
