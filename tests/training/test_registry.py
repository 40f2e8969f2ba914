"""What is in production changes in one step, only from what it was thought to be, never back by itself; its history only grows."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from infra.errors import InputError, OurTroubleError
from infra.storage import Storage, open_storage
from tasks.production import POINTER, current_production, fetch_model, history_key, production_named
from tests.training.people import tiny_expert
from training.registry import ProductionMovedError, Registry


@pytest.fixture(params=["folder", "swift"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """A registry's storage: a folder, and a prefix on a real S3 server whose conditional writes are not atomic."""
    if request.param == "folder":
        return open_storage(tmp_path / "registry")
    return open_storage(request.getfixturevalue("s3_bucket") + "/registry")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("weights")
    return [tiny_expert(folder / f"expert-{seed}.safetensors", seed) for seed in range(3)]


def filled(storage: Storage, weights: list[Path]) -> Registry:
    """Generations 1, 2 and 3 with the three experts."""
    registry = Registry(storage)
    for path in weights:
        registry.promote({"sync_expert": registry.register(path)}, current_production(storage), reason=f"test of {path.stem}", by="tests")
    return registry


def digest_in(storage: Storage) -> str:
    """What somebody reads who only looks at production.json."""
    return json.loads(storage.read_bytes(POINTER))["models"]["sync_expert"]["sha256"]


def test_models_are_kept_by_digest_and_production_names_the_last_one_promoted(storage, weights, tmp_path) -> None:
    registry = filled(storage, weights)
    models = [registry.register(path) for path in weights]
    assert digest_in(storage) == models[2].sha256
    assert [entry.models["sync_expert"] for entry in registry.history()] == models
    assert {model.weights_key for model in models} <= set(storage.list("models/"))
    fetched = fetch_model(storage, models[0], tmp_path / "models")
    assert fetched.read_bytes() == weights[0].read_bytes()


def test_a_rollback_is_one_step_and_two_of_them_go_back_two_steps(storage, weights) -> None:
    registry = filled(storage, weights)
    models = [registry.register(path) for path in weights]
    assert registry.rollback(reason="worse on set", by="tests").models["sync_expert"] == models[1]
    assert digest_in(storage) == models[1].sha256
    assert registry.rollback(reason="still worse", by="tests").models["sync_expert"] == models[0]
    with pytest.raises(InputError, match="cannot go back"):
        registry.rollback(reason="and again", by="tests")
    assert [entry.action for entry in registry.history()] == ["promote"] * 3 + ["rollback"] * 2


def test_who_thinks_that_production_is_something_else_changes_nothing(storage, weights) -> None:
    registry = filled(storage, weights)
    before, outdated = storage.read_bytes(POINTER), production_named(storage, "production@1")
    with pytest.raises(ProductionMovedError, match="generation 1 when this began and is generation 3 now"):
        registry.promote({"sync_expert": registry.register(weights[0])}, outdated, reason="late", by="tests")
    assert storage.read_bytes(POINTER) == before


def test_of_many_who_promote_at_once_exactly_one_does(storage, weights) -> None:
    registry = filled(storage, weights[:1])
    model, seen, start = registry.register(weights[1]), current_production(storage), threading.Barrier(4)

    def promote(name: str) -> str | None:
        start.wait()
        try:
            registry.promote({"sync_expert": model}, seen, reason="at once", by=name)
        except ProductionMovedError:
            return None
        return name

    with ThreadPoolExecutor(4) as threads:
        winners = [name for name in threads.map(promote, "abcd") if name]
    now = current_production(storage)
    assert now is not None
    assert now.generation == 2
    assert winners == [now.by]
    assert json.loads(storage.read_bytes(POINTER))["by"] == now.by


def test_a_writer_that_died_between_history_and_pointer_has_promoted(storage, weights) -> None:
    registry = filled(storage, weights)
    entries = registry.history()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Registry, "_point_to", lambda *_: None)  # dies before production.json is written
        registry.promote({"sync_expert": registry.register(weights[0])}, entries[2], reason="died", by="tests")
    assert json.loads(storage.read_bytes(POINTER))["generation"] == 3
    assert production_named(storage, "production").generation == 4
    registry.rollback(reason="goes on", by="tests")
    assert json.loads(storage.read_bytes(POINTER))["generation"] == 5


def test_a_late_writer_does_not_turn_the_pointer_back(storage, weights) -> None:
    registry = filled(storage, weights)
    registry._point_to(registry.history()[0])
    assert json.loads(storage.read_bytes(POINTER))["generation"] == 3


def test_a_history_that_was_altered_is_noticed(tmp_path, weights) -> None:
    storage = open_storage(tmp_path / "registry")
    registry = filled(storage, weights)
    entry = tmp_path / "registry" / history_key(2)
    entry.write_text(entry.read_text().replace("test of", "best of"))
    with pytest.raises(OurTroubleError, match="altered"):
        registry.history()


def test_weights_that_were_altered_in_the_store_are_not_used(tmp_path, weights) -> None:
    storage = open_storage(tmp_path / "registry")
    registry = filled(storage, weights)
    model = registry.register(weights[0])
    kept = tmp_path / "registry" / model.weights_key
    kept.write_bytes(kept.read_bytes()[:-1] + b"\x01")
    with pytest.raises(InputError, match="is damaged"):
        fetch_model(storage, model, tmp_path / "models")


def test_what_is_no_model_of_ours_or_has_no_card_is_not_registered(tmp_path, weights) -> None:
    registry = Registry(open_storage(tmp_path / "registry"))
    (tmp_path / "page.safetensors").write_bytes(b"<html></html>")
    bare = tmp_path / "bare.safetensors"
    bare.write_bytes(weights[0].read_bytes())
    for path, text in ((tmp_path / "page.safetensors", "page"), (bare, "card")):
        with pytest.raises(InputError, match=text):
            registry.register(path)
    with pytest.raises(InputError, match="needs a generator"):
        registry.promote({"generator": registry.register(weights[0])}, None, reason="", by="tests")


@pytest.mark.parametrize("storage", ["folder"], indirect=True)
def test_a_run_pins_the_generation_that_holds_at_its_start(storage, weights, tmp_path, monkeypatch) -> None:
    from infra.settings import get_settings
    from tasks.model_shelf import pin_models

    monkeypatch.setenv("DUBFLOW_REGISTRY", str(tmp_path / "registry"))
    get_settings.cache_clear()
    registry = filled(storage, weights[:1])
    pinned = pin_models(tmp_path / "shelf", "production", "expert")
    registry.promote({"sync_expert": registry.register(weights[1])}, current_production(storage), reason="meanwhile", by="tests")
    assert pinned.name == "production@1"
    assert Path(pinned.expert_path).read_bytes() == weights[0].read_bytes()
    assert pin_models(tmp_path / "shelf", "production@1", "expert") == pinned
    assert pin_models(tmp_path / "shelf", "production", "expert").expert_sha256 == registry.register(weights[1]).sha256
    with pytest.raises(InputError, match="never a generation 9"):
        pin_models(tmp_path / "shelf", "production@9", "expert")
    get_settings.cache_clear()
