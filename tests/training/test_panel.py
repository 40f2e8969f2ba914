"""A panel of experts says the mean of what its members say, is loaded, trained and judged like any expert, and hides none of its members."""

import numpy as np
import pytest
import torch

from infra.errors import InputError
from tests.training.people import TINY_EXPERT, TINY_GENERATOR, tiny_expert
from training.clip_source import held_out_clips
from training.evaluate_expert import evaluate_expert
from training.lineage import refuse_partial_judge
from training.panel import make_panel
from training.train import train
from wav2lip_core.checkpoint import CheckpointError, ModelCard, load_sync_expert, read_card, save_model, sha256_of
from wav2lip_core.fast_expert import Bf16Expert
from wav2lip_core.generator import GeneratorConfig, LipGenerator
from wav2lip_core.sync_embedder import embed_faces, embed_mel
from wav2lip_core.sync_expert import ExpertConfig, SyncExpert


@pytest.fixture
def members(tmp_path):
    return [tiny_expert(tmp_path / f"{seed}.safetensors", seed) for seed in (1, 2)]


@pytest.fixture
def panel(tmp_path, members):
    make_panel(members, tmp_path / "panel.safetensors")
    return tmp_path / "panel.safetensors"


def _seen_and_heard(num_frames: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (num_frames, 96, 96, 3), np.uint8), rng.normal(0, 2, (num_frames, 80, 16)).astype(np.float32)


def _cosines(expert) -> np.ndarray:
    faces, windows = _seen_and_heard()
    lips, sounds = embed_faces(expert, faces), embed_mel(expert, windows)
    for rows in (lips, sounds):
        assert rows.shape[1] == expert.num_features
        assert np.linalg.norm(rows, axis=1) == pytest.approx(1.0, abs=1e-5)
    return lips @ sounds.T


def test_its_cosine_is_the_mean_of_its_members(members, panel) -> None:
    own = [_cosines(load_sync_expert(path)) for path in members]
    assert np.abs(own[0] - own[1]).max() > 0.01
    np.testing.assert_allclose(_cosines(load_sync_expert(panel)), np.mean(own, axis=0), atol=1e-5)
    for member, wanted in zip(load_sync_expert(panel).members(), own, strict=True):
        np.testing.assert_allclose(_cosines(member), wanted, atol=1e-5)


def test_in_bf16_it_says_the_same(panel) -> None:
    exact = load_sync_expert(panel)
    assert np.abs(_cosines(Bf16Expert(exact)) - _cosines(exact)).max() < 0.01


def test_it_is_known_by_its_tensors_alone(tmp_path, panel) -> None:
    torch.save({"state_dict": load_sync_expert(panel).state_dict()}, tmp_path / "foreign.pth")
    assert load_sync_expert(tmp_path / "foreign.pth").config == load_sync_expert(panel).config == ExpertConfig(0.125, 96, 2)


def test_a_file_that_claims_a_crowd_of_members_is_refused_before_they_are_built(tmp_path, panel) -> None:
    state = load_sync_expert(panel).state_dict()
    crowd = {f"others.{n}.anything": torch.zeros(1) for n in range(3_000)}
    torch.save({"state_dict": state | crowd}, tmp_path / "crowd.pth")
    with pytest.raises(CheckpointError, match=r"1 to 16 members, not 3001"):
        load_sync_expert(tmp_path / "crowd.pth")
    card = {"name": "crowd", "kind": "sync_expert", "data": "none", "licence": "CC0", "attribution": "none"}
    save_model(tmp_path / "crowd.safetensors", load_sync_expert(panel), ModelCard.model_validate(card))
    beside = tmp_path / "crowd.json"
    beside.write_text(beside.read_text().replace('"num_members": 2', '"num_members": 1000'))
    with pytest.raises(CheckpointError, match="1 to 16 members, not 1000"):
        load_sync_expert(tmp_path / "crowd.safetensors")


def test_it_is_trained_on_like_any_expert_and_both_members_learn(tmp_path, data, panel) -> None:
    made = train(TINY_EXPERT, data, tmp_path / "run", start=panel)
    before, after = load_sync_expert(panel), load_sync_expert(made.weights)
    assert after.config == before.config
    for old, new in zip(before.members(), after.members(), strict=True):
        for tower in ("face_encoder", "audio_encoder"):
            assert any(
                not torch.equal(a, b) for a, b in zip(old.get_submodule(tower).parameters(), new.get_submodule(tower).parameters(), strict=True)
            )


def test_none_of_its_members_judges_a_generator_that_it_taught(tmp_path, data, members, panel) -> None:
    made = train(TINY_GENERATOR, data, tmp_path / "run", experts=(panel,))
    for judge in (panel, *members):
        with pytest.raises(InputError, match=r"trained .* and cannot judge it"):
            refuse_partial_judge(made.weights, judge)
    refuse_partial_judge(made.weights, tiny_expert(tmp_path / "other.safetensors", 5))


def test_a_panel_does_not_judge_what_one_of_its_members_taught(tmp_path, members, panel) -> None:
    card = ModelCard(name="g", kind="generator", data="none", licence="CC0", attribution="none", trained_by=(sha256_of(members[0]),))
    save_model(tmp_path / "g.safetensors", LipGenerator(GeneratorConfig(0.125)), card)
    with pytest.raises(InputError, match=r"trained .* and cannot judge it"):
        refuse_partial_judge(tmp_path / "g.safetensors", panel)


def test_its_card_tells_whose_work_it_is(members, panel) -> None:
    card, own = read_card(panel), read_card(members[0])
    assert card is not None
    assert own is not None
    assert (card.licence, card.attribution) == (own.licence, own.attribution)
    known = card.run["members"]
    assert isinstance(known, list)
    assert all(sha256_of(path) in known for path in members)


@pytest.mark.parametrize("case", ["one alone", "another size", "no card"])
def test_what_makes_no_panel_is_refused(tmp_path, members, case) -> None:
    other = members[1]
    if case == "another size":
        other = tmp_path / "wide.safetensors"
        card = ModelCard(name="wide", kind="sync_expert", data="none", licence="CC0", attribution="none")
        save_model(other, SyncExpert(ExpertConfig(0.25)), card)
    if case == "no card":
        other = tmp_path / "bare.pth"
        torch.save(load_sync_expert(members[1]).state_dict(), other)
    given = members[:1] if case == "one alone" else [members[0], other]
    with pytest.raises(InputError, match="at least 2 experts of one size" if case != "no card" else "has no card"):
        make_panel(given, tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_it_is_measured_on_people_that_no_member_knows_and_on_nobody_else(tmp_path, data) -> None:
    members = [tiny_expert(tmp_path / f"{seed}.safetensors", seed, run={"people": ["ann", "bob"]}) for seed in (1, 2)]
    card = make_panel(members, tmp_path / "panel.safetensors", data, ["cy", "dee"])
    assert card.evaluation["people"] == ["cy", "dee"]
    found = evaluate_expert(load_sync_expert(tmp_path / "panel.safetensors"), held_out_clips(data, frozenset({"cy", "dee"})))
    assert {name: card.evaluation[name] for name in ("two_way_accuracy", "margin")} == {name: found[name] for name in ("two_way_accuracy", "margin")}
    with pytest.raises(InputError, match="bob: a member was trained on them"):
        make_panel(members, tmp_path / "other.safetensors", data, ["bob", "cy"])
