"""Offset, LSE-D and LSE-C: exact on cases with known truth, stable in precision, and honest at the edges."""

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wav2lip_core.sync_scorer import margin, mean_distances, score, score_in_context

MAX_SHIFT = 15
SPEECH = np.random.default_rng(1).standard_normal((400, 32)).astype(np.float32)


def picture_of(first: int, num_windows: int, noise: float = 0.3) -> np.ndarray:
    """Lips that belong to SPEECH from window `first` on, imperfectly."""
    return SPEECH[first : first + num_windows] + noise * np.random.default_rng(2).standard_normal((num_windows, 32)).astype(np.float32)


def in_context(first: int, num_windows: int) -> np.ndarray:
    return SPEECH[first - MAX_SHIFT : first + num_windows + MAX_SHIFT]


def torch_mean_distances(lip: np.ndarray, audio: np.ndarray, max_shift: int) -> list[float]:
    padded = np.pad(audio, ((max_shift, max_shift), (0, 0)))
    shifted = (torch.tensor(padded[k : k + len(lip)]) for k in range(2 * max_shift + 1))
    return [torch.nn.functional.pairwise_distance(torch.tensor(lip), rows).mean().item() for rows in shifted]


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 16), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_distances_equal_the_published_formula_at_every_length_and_shift(num_windows: int, size: int, max_shift: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    lip, audio = rng.standard_normal((num_windows, size)), rng.standard_normal((num_windows, size))
    np.testing.assert_allclose(mean_distances(lip, audio, max_shift), torch_mean_distances(lip, audio, max_shift), rtol=1e-10)


@pytest.mark.parametrize("windows_early", [-15, -7, 0, 1, 4, 15])
def test_sound_that_comes_early_has_a_positive_offset_in_each_measure(windows_early: int) -> None:
    lip = picture_of(200, 60)
    early = in_context(200 + windows_early, 60)  # what belongs to a picture is heard that many windows before it
    assert score(lip, early[MAX_SHIFT:-MAX_SHIFT]).offset == windows_early
    assert score_in_context(lip, early).offset == windows_early
    assert margin(lip, early).offset == windows_early


def test_the_result_unpacks_as_offset_distance_confidence() -> None:
    offset, lse_d, lse_c = score(picture_of(100, 50), SPEECH[100:150])
    distances = mean_distances(picture_of(100, 50), SPEECH[100:150])
    assert isinstance(offset, int)
    assert lse_d == distances.min() == distances[15 - offset]
    assert lse_c == np.sort(distances)[15] - distances.min()


def test_zero_sound_beyond_the_ends_changes_the_published_score_but_real_neighbours_give_a_short_clip_the_long_one_s_numbers() -> None:
    long, short = score_in_context(picture_of(100, 200), in_context(100, 200)), score_in_context(picture_of(150, 12), in_context(150, 12))
    padded = score(picture_of(150, 12), SPEECH[150:162])
    assert short.lse_c == pytest.approx(long.lse_c, rel=0.1)
    assert abs(padded.lse_c - long.lse_c) > 0.2 * long.lse_c


def test_context_of_zeros_is_the_published_score() -> None:
    lip, audio = picture_of(100, 40), SPEECH[103:143]
    assert score_in_context(lip, np.pad(audio, ((MAX_SHIFT, MAX_SHIFT), (0, 0)))) == pytest.approx(score(lip, audio), rel=1e-12)


def test_windows_of_weight_zero_do_not_count() -> None:
    lip, audio = picture_of(100, 30), in_context(100, 30)
    spoilt = lip.copy()
    spoilt[20:] = 50.0
    weights = np.r_[np.full(20, 2.0), np.zeros(10)]
    assert score_in_context(spoilt, audio, weights) == pytest.approx(score_in_context(lip[:20], audio[:50]), rel=1e-9)
    assert margin(spoilt, audio, weights) == pytest.approx(margin(lip[:20], audio[:50]), rel=1e-9)


def test_a_speaker_stands_out_and_a_listener_does_not() -> None:
    speaker, listener = margin(picture_of(100, 40), in_context(100, 40)), margin(SPEECH[300:340], in_context(100, 40))
    assert speaker.margin > 0.8
    assert listener.margin < 0.15
    assert speaker.similarity == pytest.approx(speaker.margin, abs=0.1)


def test_margin_does_not_depend_on_the_length_of_the_vectors() -> None:
    lip, audio = picture_of(100, 40), in_context(100, 40)
    assert margin(lip * 7, audio * 0.01) == pytest.approx(margin(lip, audio), rel=1e-5)
    assert margin(np.zeros_like(lip), audio) == (0.0, MAX_SHIFT, 0.0)


def test_one_window_is_scored() -> None:
    assert score_in_context(picture_of(100, 1), in_context(100, 1)).offset == 0
    assert np.isfinite(score(picture_of(100, 1), SPEECH[100:101])).all()


def test_single_and_double_precision_agree_far_from_the_origin() -> None:
    lip, audio = picture_of(100, 60) + 1000, SPEECH[100:160] + 1000
    single, double = score(lip, audio), score(lip.astype(np.float64), audio.astype(np.float64))
    assert single == pytest.approx(double, rel=1e-9)


def test_an_hour_of_windows_is_scored_without_an_array_for_all_shifts_at_once() -> None:
    lip = np.zeros((90_000, 16), np.float32)
    tracemalloc.start()
    score(lip, lip)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 31 * lip.nbytes / 10


MISFITS = [((10, 8), (11, 8)), ((10, 8), (10, 7)), ((0, 8), (0, 8)), ((10,), (10,)), ((10, 0), (10, 0)), ((2, 3, 4), (2, 3, 4))]


@pytest.mark.parametrize(("lip_shape", "audio_shape"), MISFITS)
def test_shapes_that_do_not_fit_are_refused_by_name(lip_shape: tuple[int, ...], audio_shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"shape") as error:
        score(np.zeros(lip_shape), np.zeros(audio_shape))
    assert str(lip_shape) in str(error.value)
    assert str(audio_shape) in str(error.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_are_refused_on_either_side(bad: float) -> None:
    good, spoilt = picture_of(100, 20), SPEECH[100:120].copy()
    spoilt[3, 5] = bad
    with pytest.raises(ValueError, match=r"audio embeddings .* NaN or infinity"):
        score(good, spoilt)
    with pytest.raises(ValueError, match=r"lip embeddings .* NaN or infinity"):
        score(spoilt, good)


def test_context_of_the_wrong_length_is_refused() -> None:
    with pytest.raises(ValueError, match="20 lip windows need 50 audio windows"):
        score_in_context(picture_of(100, 20), SPEECH[100:120])


@pytest.mark.parametrize("weights", [np.ones(19), np.zeros(20), -np.ones(20), np.full(20, np.nan)])
def test_senseless_weights_are_refused(weights: np.ndarray) -> None:
    with pytest.raises(ValueError, match="weights"):
        score_in_context(picture_of(100, 20), in_context(100, 20), weights)


def test_integers_and_negative_shifts_are_refused() -> None:
    with pytest.raises(ValueError, match="must be floats"):
        score(np.zeros((5, 4), np.uint8), np.zeros((5, 4), np.uint8))
    with pytest.raises(ValueError, match="max_shift"):
        score(picture_of(100, 20), SPEECH[100:120], max_shift=-1)
