"""A shot too short or too faint to be judged alone is judged with others that were made the same way, its own face's first."""

from pathlib import Path

import numpy as np
import pytest

from infra.artifacts import ArtifactStore
from tasks.policy import package_policy
from tasks.pooling import pool_offsets
from tasks.types import Person, Shot, ShotTrial, SyncScore, TakeSettings
from tests.unit.test_verdicts import trial
from wav2lip_core.sync_interval import bootstrap, distance_rows, middle_columns

RULES = package_policy().sync
SPEECH = np.random.default_rng(1).standard_normal((900, 32)).astype(np.float32)


def shot(store: ArtifactStore, index: int, num_windows: int, early: int, noise: float = 0.5, shift: float = 0.0) -> ShotTrial:
    """A take whose lips are `early` frames behind the dub; much noise makes them faint."""
    first = 50 + 90 * index
    lips = SPEECH[first : first + num_windows] + noise * np.random.default_rng(index).standard_normal((num_windows, 32)).astype(np.float32)
    rows = distance_rows(lips, SPEECH[first + early - 21 : first + early + num_windows + 21])
    evidence = store.put_arrays(after_rows=rows, after_weights=np.ones(num_windows))
    agreement = bootstrap(middle_columns(rows), np.ones(num_windows)).agreement
    made = trial(0.3)
    tried = made.tries[0]
    after = SyncScore(offset_frames=0, confidence=0.3, offset_agreement=agreement, num_windows=num_windows)
    measures = tried.measures.model_copy(update={"after": after, "evidence": evidence})
    settings = TakeSettings(sound_shift_frames=shift)
    tries = (tried.model_copy(update={"measures": measures, "settings": settings}),)
    return made.model_copy(update={"shot": Shot(index=index, first_frame=0, end_frame=9), "tries": tries})


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path)


def test_a_short_shot_is_pooled_with_its_own_faces_neighbours_and_a_long_clear_one_is_not(store: ArtifactStore) -> None:
    trials = [shot(store, 0, 60, early=4), shot(store, 1, 60, early=0), shot(store, 2, 9, early=4)]
    pooled = pool_offsets(store, trials, [Person(index=0, shots=(0, 2)), Person(index=1, shots=(1,))], RULES)
    assert list(pooled) == [(2, 0)]
    assert (pooled[2, 0].offset_frames, pooled[2, 0].shots) == (4, (0, 2))


def test_only_so_many_neighbours_on_either_side_are_asked(store: ArtifactStore) -> None:
    trials = [shot(store, index, 10 if index == 4 else 40, early=3) for index in range(9)]
    pooled = pool_offsets(store, trials, [Person(index=0, shots=tuple(range(9)))], RULES)
    assert pooled[4, 0].shots == (2, 3, 4, 5, 6)


def test_what_was_made_another_way_does_not_help(store: ArtifactStore) -> None:
    trials = [shot(store, 0, 60, early=0, shift=0.0), shot(store, 1, 9, early=3, shift=3.0)]
    assert pool_offsets(store, trials, [Person(index=0, shots=(0, 1))], RULES) == {}


def test_where_the_face_has_no_neighbours_that_tell_the_nearest_shots_do(store: ArtifactStore) -> None:
    trials = [shot(store, 0, 60, early=3), shot(store, 1, 9, early=3), shot(store, 2, 60, early=3)]
    alone = [Person(index=index, shots=(index,)) for index in range(3)]
    assert pool_offsets(store, trials, alone, RULES)[1, 0].shots == (0, 1, 2)


def test_noise_with_noise_gives_no_offset(store: ArtifactStore) -> None:
    trials = [shot(store, index, 12, early=3, noise=40.0) for index in range(3)]
    assert pool_offsets(store, trials, [Person(index=0, shots=(0, 1, 2))], RULES) == {}
