"""What training sees and is told, on clips made so that mouth and sound truly belong together."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from training import dataset, losses, recipes
from training.generator_batch import _foreign_sample, _references, _sample, generator_batch
from training.measures import best_offset, interval, two_way
from training.train_expert import expert_batch, multiway_loss
from training.train_generator import GeneratorObjective
from training.trainer import Moment
from wav2lip_core.generator import GeneratorConfig, LipGenerator
from wav2lip_core.mel import SILENCE, log_mel
from wav2lip_core.sync_expert import ExpertConfig, SyncExpert


def _clip(person: str = "ann", seed: int = 0, num_frames: int = 75) -> dataset.Clip:
    """A disc that opens with the loudness of a hum."""
    rng = np.random.default_rng(seed)
    loud = np.clip(np.interp(np.arange(num_frames), np.arange(0, num_frames + 5, 5), rng.random(num_frames // 5 + 1)), 0.02, 1)
    crops = np.full((num_frames, dataset.PREPARED_SIZE, dataset.PREPARED_SIZE, 3), 150, np.uint8)
    y, x = np.mgrid[0 : dataset.PREPARED_SIZE, 0 : dataset.PREPARED_SIZE]
    for crop, level in zip(crops, loud, strict=True):
        crop[((x - 72) / 25) ** 2 + ((y - 100) / (2 + 16 * level)) ** 2 < 1] = 20
    time = np.arange(num_frames * 640) / 16000
    wave = np.interp(time, np.arange(num_frames) / 25, loud) * 0.3 * np.sin(2 * np.pi * 220 * time) * np.sign(np.sin(2 * np.pi * 110 * time))
    return dataset.Clip(person, f"{person}{seed}", crops, log_mel(wave.astype(np.float32)))


TINY_EXPERT = replace(recipes.smoke(), model=ExpertConfig(width=0.125), num_clips=3, num_windows=4, num_distractors=4)
TINY_GENERATOR = replace(recipes.generator_lite(), model=GeneratorConfig(width=0.125, output="edit"), num_clips=2)


def test_people_with_many_clips_do_not_drown_the_others() -> None:
    clips = [_clip("many", seed) for seed in range(20)] + [_clip("one", 99)]
    sampler = dataset.PersonSampler(clips, np.random.default_rng(0))
    share = np.mean([sampler.draw().person == "one" for _ in range(400)])
    assert 0.15 < share < 0.4  # 1 in 21 by clips


def test_each_window_comes_with_its_own_sound_first_in_line() -> None:
    clip = _clip()
    batch = expert_batch([clip], TINY_EXPERT, (1, 0), strength=0.3)
    mel, mouths = batch["mel"], batch["mouths"]
    assert mel.shape == (3, 8, 80, 16)
    assert mouths.shape == (3, 4, 15, 48, 96)
    assert 0 <= float(mouths.min()) <= float(mouths.max()) <= 1
    loud = mel.mean(dim=(2, 3))[:, :4]
    dark = -mouths.mean(dim=(2, 3, 4))
    assert np.mean([np.corrcoef(loud[i], dark[i])[0, 1] for i in range(3)]) > 0.5  # louder sound, wider mouth


def test_the_multiway_loss_is_lowest_for_the_right_pairing() -> None:
    rows = torch.nn.functional.normalize(torch.randn(2, 6, 32, generator=torch.Generator().manual_seed(0)), dim=2)
    right, accuracy = multiway_loss(rows, rows[:, :4], torch.tensor(10.0))
    wrong, _ = multiway_loss(rows, rows[:, :4].flip(1), torch.tensor(10.0))
    assert accuracy == 1
    assert right < wrong


def test_an_expert_learns_what_belongs_together() -> None:
    torch.manual_seed(0)
    clips = [_clip(str(seed), seed) for seed in range(4)]
    model = SyncExpert(TINY_EXPERT.model)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    history = []
    for step in range(60):
        batch = expert_batch(clips, TINY_EXPERT, (1, step), strength=0.3)
        mel, mouths = batch["mel"], batch["mouths"]
        audio, face = model(mel.flatten(0, 1).unsqueeze(1), mouths.flatten(0, 1))
        loss, _ = multiway_loss(audio.unflatten(0, (3, 8)), face.unflatten(0, (3, 4)), torch.tensor(12.0))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        history.append(loss.item())
    assert np.mean(history[-10:]) < np.mean(history[:10]) - 0.25


def _never_at_rest(clip: dataset.Clip) -> np.ndarray:
    return np.zeros(len(clip.crops), np.float32)


def test_a_generator_that_edits_a_face_at_rest_is_trained_with_one() -> None:
    num_frames = 75
    numbered = np.tile(np.arange(num_frames, dtype=np.uint8)[:, None, None, None], (1, dataset.PREPARED_SIZE, dataset.PREPARED_SIZE, 3))
    clip = dataset.Clip("ann", "ann", numbered, _clip().mel)
    order = np.random.default_rng(5).permutation(num_frames)  # the frames, most at rest first
    rest = np.empty(num_frames, np.float32)
    rest[order] = np.linspace(1, 0, num_frames)
    recipe = replace(TINY_GENERATOR, model=replace(TINY_GENERATOR.model, reference="resting"))
    drawn = [int(_references(clip, 12, np.random.default_rng(seed), recipe, lambda _: rest)[0, 0, 0, 0]) for seed in range(200)]
    places = np.array([int(np.argwhere(order == frame)[0, 0]) for frame in drawn])
    assert places.max() < num_frames / 2
    assert (places < 0.2 * num_frames).mean() > 0.8
    assert len(set(drawn)) > 10


def test_a_generator_sample_hides_the_mouth_and_takes_its_reference_from_elsewhere() -> None:
    rng = np.random.default_rng(0)
    mel, face, truth, _, sounds, own = _sample(_clip(), rng, replace(TINY_GENERATOR, silence_share=0), _never_at_rest)
    assert mel.shape == (5, 1, 80, 16)
    assert face.shape == (6, 5, 96, 96)
    assert sounds.shape == (9, 80, 16)
    assert (face[:3, :, 48:] == 0).all()
    assert np.array_equal(face[:3, :, :48], truth[:, :, :48])
    assert not np.array_equal(face[3:, :, 48:], truth[:, :, 48:])
    assert np.allclose(sounds[0], mel[0, 0])
    assert own


def test_a_foreign_sound_is_taught_by_the_expert_alone() -> None:
    face, voice = _clip(seed=1), _clip(seed=2)
    recipe = replace(TINY_GENERATOR, sync_from=0.0, sync_weight=0.5)
    torch.manual_seed(0)
    expert = SyncExpert(ExpertConfig(width=0.125))
    objective = GeneratorObjective(LipGenerator(recipe.model), recipe, [expert], None)
    for share, told in ((0.0, True), (1.0, False)):
        batch = generator_batch([face, voice], recipe, (1, 2, 3), _never_at_rest, share)
        assert (batch["own"] == told).all()
        loss, figures = objective(batch, Moment(step=0, progress=0.5, seed=(1,), is_logged=True))
        loss.backward()
        assert (figures["l1"] > 0) == told
        assert (figures["unlike"] > 0) == told
        assert figures["sync"] > 0


def test_a_foreign_sample_pairs_one_clips_face_with_anothers_sound() -> None:
    face, voice = _clip(seed=1), _clip(seed=2)
    voice = dataset.Clip(voice.person, voice.name, voice.crops, np.full_like(voice.mel, SILENCE))
    mel, pictures, truth, _, sounds, own = _foreign_sample(face, voice, np.random.default_rng(0), TINY_GENERATOR, _never_at_rest)
    assert not own
    assert mel.max() < 0
    assert np.allclose(sounds[0], mel[0, 0])
    assert np.array_equal(pictures[:3, :, :48], truth[:, :, :48])


def test_a_hole_darker_than_the_person_ever_is_costs_and_an_open_mouth_does_not() -> None:
    clip = _clip()
    _, _, truth, seen, *_ = _sample(clip, np.random.default_rng(0), replace(TINY_GENERATOR, range_weight=10.0), _never_at_rest)
    made, ranges = torch.from_numpy(truth)[None], torch.from_numpy(seen)[None]
    assert losses.beyond(made, ranges) < 1e-3
    hole = made.clone()
    hole[:, :, :, 10:16, 40:56] = 0  # on the forehead, where nothing is dark
    assert losses.beyond(hole, ranges) > 1e-3
    dark = made.clone()
    dark[:, :, :, 64:70, 44:52] = made[:, :, :, 60:80, 40:56].min()  # as dark as the open mouth is
    assert losses.beyond(dark, ranges) < 1e-3


def test_silent_examples_are_digitally_silent_where_nobody_speaks() -> None:
    clip = _clip()
    quiet = np.zeros_like(clip.mel)
    quiet[:, :60] = -3.9
    clip = dataset.Clip(clip.person, clip.name, clip.crops, np.where(quiet < 0, quiet, clip.mel + 3).astype(np.float32))
    mel, *_ = _sample(clip, np.random.default_rng(1), replace(TINY_GENERATOR, silence_share=1), _never_at_rest)
    assert (mel[0] == SILENCE).any()


def test_a_still_sample_hears_nothing_and_is_to_look_as_its_reference_does() -> None:
    recipe = replace(TINY_GENERATOR, still_share=1.0)
    mel, face, truth, _, sounds, own = _sample(_clip(), np.random.default_rng(0), recipe, _never_at_rest)
    assert own
    assert (mel == SILENCE).all()
    assert (sounds == SILENCE).all()
    assert np.array_equal(truth, face[3:])
    silent = torch.from_numpy(sounds)[None]
    expert = SyncExpert(ExpertConfig(width=0.125)).eval().requires_grad_(False)
    made = torch.rand(1, 3, 5, 96, 96, requires_grad=True)
    losses.expert_opinion(expert, made, torch.from_numpy(truth)[None], silent, torch.tensor([True]))[0].backward()
    assert made.grad is not None
    assert made.grad.abs().max() < 1e-6  # one silence is like another: no expert pulls at a mouth that rests


def test_the_expert_sees_only_blemished_copies_and_the_gradient_still_arrives() -> None:
    faces = torch.rand(2, 3, 5, 96, 96, requires_grad=True)
    rng = np.random.default_rng(0)
    first, second = losses.blemish(faces, rng), losses.blemish(faces, rng)
    assert not torch.equal(first, second)
    expert = SyncExpert(ExpertConfig(width=0.125)).eval().requires_grad_(False)
    picked, unlike = losses.expert_opinion(expert, first, second.detach(), torch.randn(2, 4, 80, 16), torch.tensor([True, False]))
    (picked + unlike).backward()
    assert faces.grad is not None
    assert faces.grad.abs().sum() > 0


def test_soft_edges_cost_where_the_mean_picture_is_right() -> None:
    stripes = (torch.arange(96) % 8 < 4).float().expand(1, 3, 5, 96, 96)
    soft = torch.nn.functional.avg_pool2d(stripes.flatten(0, 2)[:, None], 9, 1, 4).view_as(stripes)
    weights = losses.picture_weights(96, 3.0)
    assert losses.edge_l1(stripes, stripes, weights) == 0
    assert losses.edge_l1(stripes + 0.1, stripes, weights) < 1e-6  # a shade is not an edge
    assert losses.edge_l1(soft, stripes, weights) > 0.05


def test_grain_stays_on_a_face_so_that_motion_cannot_hide_in_it() -> None:
    same = torch.rand(1, 3, 1, 96, 96).expand(-1, -1, 5, -1, -1)
    seen = losses.blemish(same, np.random.default_rng(3))
    assert torch.allclose(seen[:, :, 0], seen[:, :, 4], atol=1e-5)


def test_no_single_pixel_pulls_harder_than_a_few_times_the_mean() -> None:
    x = torch.zeros(1, 3, 1, 8, 8, requires_grad=True)
    pull = torch.ones_like(x)
    pull[0, 0, 0, 0, 0] = 1e4
    losses._ClipGradient.apply(x).backward(pull)
    assert x.grad is not None
    assert x.grad.max() <= losses.MAX_INPUT_GRADIENT * pull.mean() + 1e-3


def test_offsets_and_two_way_accuracy_are_read_off_a_similarity_table_rightly() -> None:
    similarity = np.full((40, 40), 0.2)
    for shift in (0, 3):
        table = similarity.copy()
        rows = np.arange(0, 40 - shift)
        table[rows, rows + shift] = 0.9
        assert best_offset(table)[0] == -shift  # the sound comes late: the published sign is negative
    assert two_way(np.eye(40))[0] == 1
    assert two_way(np.full((40, 40), 0.5))[0] == 0.5
    assert interval(np.array([1.0, 1.0]), np.ones(2)) == {"value": 1.0, "low": 1.0, "high": 1.0}


def test_an_empty_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no prepared clips"):
        dataset.load_clips(tmp_path)
