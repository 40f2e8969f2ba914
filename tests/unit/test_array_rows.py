"""Rows of a stored array are read one at a time, and nothing but numbers is read."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from infra.array_rows import ArrayRows
from infra.artifacts import ArtifactStore
from infra.errors import CorruptArtifactError


@given(st.sampled_from(["u1", "f4", "i8", ">u2"]).flatmap(lambda dtype: arrays(dtype, array_shapes(min_dims=1, max_dims=4))))
@settings(max_examples=30, deadline=None)
def test_rows_are_those_of_the_whole_array(tmp_path_factory, array):
    store = ArtifactStore(tmp_path_factory.mktemp("rows"))
    path = store.path(store.put_arrays(faces=array, boxes=np.zeros((3, 4))))
    with ArrayRows(path, "faces") as rows:
        assert rows.shape == array.shape
        for row in reversed(range(len(array))):
            assert np.array_equal(rows[row], array[row], equal_nan=array.dtype.kind == "f")
        with pytest.raises(IndexError):
            rows[len(array)]


def test_other_forms_are_refused(tmp_path):
    np.savez_compressed(tmp_path / "compressed.npz", faces=np.zeros((2, 2)))
    np.savez(tmp_path / "columns.npz", faces=np.asfortranarray(np.zeros((3, 2))))
    np.savez(tmp_path / "objects.npz", faces=np.array([{}, {}], dtype=object))
    np.savez(tmp_path / "single.npz", faces=np.float32(1))
    (tmp_path / "text.npz").write_text("no archive")
    for name in ("compressed", "columns", "objects", "single", "text"):
        with pytest.raises(CorruptArtifactError, match="faces"):
            ArrayRows(tmp_path / f"{name}.npz", "faces")


def test_a_missing_array_is_named(tmp_path):
    np.savez(tmp_path / "patch.npz", boxes=np.zeros((2, 4)))
    with pytest.raises(CorruptArtifactError, match="faces"):
        ArrayRows(tmp_path / "patch.npz", "faces")
