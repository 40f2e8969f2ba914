"""Licence and consent are kept clip by clip: a table beside the clips is laid over what was said of all; a table that is wrong stops everything."""

from pathlib import Path

import pytest

from infra.errors import InputError
from infra.storage import open_storage
from tests.speaking_clips import write_drop
from tests.training.test_prepare import whole_picture
from training import shards
from training.drops import add_drop, fetch_drop
from training.intake import take_in
from training.prepare import prepare_clips
from training.rights import RIGHTS, Rights, read_rights

ALL = {"licence": "CC0", "consent": "made up"}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_drop(tmp_path_factory.mktemp("clips"), {"ann": 0, "bob": 1}, 2, num_frames=52)
    rows = 'clip,licence,consent\r\nbob,CC BY 4.0 (Bob),contract 7\r\nbob/clip 1.mp4,CC BY-SA 4.0,"contract 8, page 2"\r\n'
    (folder / RIGHTS).write_bytes(b"\xef\xbb\xbf" + rows.encode())  # as a spreadsheet writes it
    return folder


def test_each_clip_keeps_its_own_terms_from_the_drop_to_the_shard(clips, tmp_path) -> None:
    storage = open_storage(tmp_path / "registry")
    drop, _ = add_drop(storage, clips, (), source="here", **ALL)
    fetched = fetch_drop(storage, drop, tmp_path / "back")
    prepare_clips(fetched, tmp_path / "out", expert=None, find_faces=whole_picture, **ALL)
    kept = {entry.source: Rights(entry.licence, entry.consent) for entry in shards.list_entries(tmp_path / "out")}
    assert kept == {
        "ann/clip 0.mp4": Rights("CC0", "made up"), "ann/clip 1.mp4": Rights("CC0", "made up"),
        "bob/clip 0.mp4": Rights("CC BY 4.0 (Bob)", "contract 7"), "bob/clip 1.mp4": Rights("CC BY-SA 4.0", "contract 8, page 2"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clip,licence\nann,CC0\n", "first line must name the columns clip, licence, consent"),
        ("clip,licence,consent\nann,CC0,\n", "line 2: a clip .* its licence and the person's consent are needed"),
        ("clip,licence,consent\nann,CC0,yes\nann,CC0,no\n", "line 3: ann was named before"),
        ("clip,licence,consent\nanne,CC0,yes\n", "there is no clip and nobody called anne"),
        ("clip,licence,consent\nann,CC0,yes,more\n", "line 2"),
    ],
)
def test_a_table_that_is_wrong_is_refused_with_its_line(tmp_path, text, message) -> None:
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "x.mp4").write_bytes(b"never looked at")
    (tmp_path / RIGHTS).write_text(text)
    with pytest.raises(InputError, match=message):
        take_in(tmp_path)
    with pytest.raises(InputError, match=message):
        prepare_clips(tmp_path, tmp_path / "out", expert=None, find_faces=whole_picture, **ALL)


def test_a_table_that_is_no_text_is_refused(tmp_path) -> None:
    (tmp_path / RIGHTS).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="no UTF-8 table"):
        read_rights(open_storage(tmp_path))
