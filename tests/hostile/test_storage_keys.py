"""Keys and URIs are text from outside: whatever it is, nothing is read or written outside the root, and no secret is repeated."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from infra.errors import InputError
from infra.scratch import new_scratch_name
from infra.storage import fetch, open_storage
from infra.storage_keys import FolderLocation, S3Location, check_key, parse_location, redact

ESCAPES = [
    "",
    ".",
    "..",
    "../x",
    "a/../../x",
    "a/..",
    "./a",
    "/etc/passwd",
    "//etc/passwd",
    "a//b",
    "a/",
    "a\\..\\b",
    "a\x00b",
    "a\nb",
    "a\x7fb",
    "\udc80",
    "x" * 256,
    "/".join(["x" * 100] * 10),
]

_pieces = st.sampled_from(["..", ".", "/", "\\", "a", "b.mp4", "~", "%2e", "\x00", "\n", " ", "s3:", "file:", "//", "é", "\u202e", "-", "\ud800"])
hostile_text = st.one_of(st.text(max_size=40), st.lists(_pieces, max_size=8).map("".join))


@pytest.fixture
def outside(tmp_path) -> Path:
    """A file that nobody may reach, beside the root."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "canary").write_bytes(b"canary")
    return tmp_path / "outside"


@pytest.mark.parametrize(
    "key", [*ESCAPES, pytest.param(new_scratch_name(), id="scratch"), pytest.param(f"a/{new_scratch_name()}", id="scratch below")]
)
def test_a_key_that_could_leave_its_root_is_refused_by_every_entry(tmp_path, s3_bucket, key):
    (tmp_path / "file").write_bytes(b"x")
    for storage in (open_storage(tmp_path / "root"), open_storage(s3_bucket)):
        entries = [
            lambda storage=storage: storage.put(tmp_path / "file", key),
            lambda storage=storage: storage.put_if_absent(tmp_path / "file", key),
            lambda storage=storage: storage.get(key, tmp_path / "back"),
            lambda storage=storage: storage.read_bytes(key),
            lambda storage=storage: storage.size(key),
            lambda storage=storage: storage.delete(key),
        ]
        for entry in entries:
            with pytest.raises(InputError):
                entry()
    assert not (tmp_path / "root").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


@given(hostile_text)
@example("a/../../outside/canary")
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_text_is_refused_or_stays_in_the_root(tmp_path, text):
    root = tmp_path / "root"
    source = tmp_path / "source"
    source.write_bytes(b"x")
    storage = open_storage(root)
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(root)}
    try:
        storage.put(source, text)
    except InputError:
        assert not root.exists() or storage.list() == []
    else:
        assert storage.list() == [text]
        assert storage.read_bytes(text) == b"x"
        assert (root / text).resolve().is_relative_to(root.resolve())
        storage.delete(text)
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(root)} == before


@given(hostile_text)
@settings(max_examples=500)
def test_any_text_is_a_location_or_the_users_to_mend(text):
    try:
        location = parse_location(text)
    except InputError:
        return
    if isinstance(location, S3Location):
        assert text[:5].lower() == "s3://"
        assert location.key == "" or check_key(location.key)
    else:
        assert location.path.is_absolute()
        assert "\x00" not in str(location.path)


@pytest.mark.parametrize(
    "uri",
    [
        "http://169.254.169.254/latest/meta-data",
        "https://bucket.s3.amazonaws.com/film.mp4",
        "ftp://host/film.mp4",
        "gopher://host/",
        "subfile://x",
        "concat://a|b",
        "S4://bucket/key",
        "file://evil.example.org/share/film.mp4",
        "file:///film.mp4?x=1",
        "file:///film.mp4#part",
        "file:///a%00b",
        "file:///a%0ab",
        "file:",
        "s3://",
        "s3:///key",
        "s3://UPPER/key",
        "s3://a/key",
        "s3://bucket/../other/key",
        "s3://bucket//key",
        "s3://bucket/a\nb",
        "s3://bucket..dots/key",
        "s3://user:canary-secret@bucket/key",
        "",
        "film.mp4\x00.txt",
        "film\n.mp4",
    ],
)
def test_uris_of_other_kinds_are_refused_as_input_and_as_output(tmp_path, uri):
    for attempt in (lambda: fetch(uri, tmp_path / "inputs"), lambda: open_storage(uri)):
        with pytest.raises(InputError) as caught:
            attempt()
        assert "canary-secret" not in str(caught.value)
        assert str(caught.value).isprintable()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["concat:a|b", "-i", "|cmd", "$(touch x)", "%d.png", "data:text/plain,x", "subfile,,start,0,,:x"])
def test_names_that_mean_something_to_ffmpeg_or_a_shell_are_only_names(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        fetch(name, tmp_path / "inputs")
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_bytes(b"x")
    assert fetch(name, tmp_path / "inputs") == tmp_path / name, "an absolute path cannot be taken for an option or a protocol"


def test_a_device_or_a_pipe_is_not_an_input(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(InputError, match="not a regular file"):
            fetch(path, tmp_path / "inputs")


def test_the_local_name_of_an_s3_input_is_ours(s3_bucket, swift, tmp_path):
    bucket = s3_bucket.removeprefix("s3://")
    for key in ("-y", "a/%d.mp4", "x.ffconcat;rm -rf", "film.m p4", "concat:a|b.mp4"):
        swift.client().put_object(Bucket=bucket, Key=key, Body=b"x")
        local = fetch(f"{s3_bucket}/{key}", tmp_path / "inputs")
        assert local.parent == tmp_path / "inputs"
        assert local.stem.isalnum()
        assert local.suffix in ("", ".mp4")


def test_a_link_in_the_root_that_leads_out_is_not_followed(tmp_path, outside):
    root = tmp_path / "root"
    root.mkdir()
    (root / "door").symlink_to(outside)
    (root / "peephole").symlink_to(outside / "canary")
    (tmp_path / "file").write_bytes(b"x")
    storage = open_storage(root)
    for attempt in (
        lambda: storage.put(tmp_path / "file", "door/new"),
        lambda: storage.put_if_absent(tmp_path / "file", "door/new"),
        lambda: storage.get("door/canary", tmp_path / "back"),
        lambda: storage.read_bytes("peephole"),
        lambda: storage.delete("door/canary"),
    ):
        with pytest.raises(InputError, match="leads out"):
            attempt()
    assert storage.list() == []
    storage.put(tmp_path / "file", "peephole")
    assert not (root / "peephole").is_symlink(), "the link is replaced, not written through"
    assert [path.read_bytes() for path in outside.iterdir()] == [b"canary"]


def test_a_root_that_is_itself_a_link_is_fine(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "file").write_bytes(b"x")
    storage = open_storage(tmp_path / "link")
    storage.put(tmp_path / "file", "a/b")
    assert storage.list() == ["a/b"]
    assert (tmp_path / "real" / "a" / "b").read_bytes() == b"x"


def test_a_file_where_a_folder_is_needed_is_the_users_to_mend(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(InputError, match="is a file"):
        open_storage(tmp_path / "file")


def test_a_listing_cannot_name_what_a_key_cannot(s3_bucket, swift):
    bucket = s3_bucket.removeprefix("s3://")
    for key in ("a//b", "../x", "folder/", "fine"):
        swift.client().put_object(Bucket=bucket, Key=key, Body=b"x")
    assert open_storage(s3_bucket).list() == ["fine"]


@given(st.text(st.characters(categories=["L", "N"]), min_size=12, max_size=30), st.sampled_from(["https", "s3", "file", "ftp"]))
def test_no_message_repeats_a_password_or_a_signature(secret, scheme):
    secret = f"K{secret}"
    for uri in (f"{scheme}://user:{secret}@host/film.mp4", f"{scheme}://host/film.mp4?X-Amz-Signature={secret}", f"{scheme}://{secret}@bucket"):
        assert secret not in redact(uri)


def test_a_plain_path_is_a_plain_path():
    assert parse_location("/films/a?b#c.mp4") == FolderLocation(Path("/films/a?b#c.mp4"))
    assert parse_location("file:/films/a%20b.mp4") == FolderLocation(Path("/films/a b.mp4"))
    assert parse_location("s3://bucket/out/") == S3Location("bucket", "out")
    assert parse_location("s3://bucket") == S3Location("bucket", "")
