"""What goes wrong with a store is either the user's to mend, and says how, or may pass; and no secret is ever shown."""

import os
import traceback

import pytest

from infra.errors import CorruptArtifactError, InputError, OurTroubleError, TransientError
from infra.s3_answers import trouble_of_answer
from infra.s3_client import MAX_PARTS, transfer_config
from infra.storage import fetch, open_storage
from tests.fault_proxy import fault_proxy, refusing_server
from tests.swift_server import ACCESS_KEY, point_at

GIB = 1 << 30


def everything_shown(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def test_a_missing_bucket_is_the_users_to_mend(s3_bucket, tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    storage = open_storage(f"{s3_bucket}-mistyped")
    attempts = [
        lambda: storage.put(tmp_path / "file", "a"),
        lambda: storage.put_if_absent(tmp_path / "file", "a"),
        lambda: storage.get("a", tmp_path / "b"),
        lambda: storage.exists("a"),
        lambda: storage.list(),
    ]
    for attempt in attempts:
        with pytest.raises(InputError, match="bucket"):
            attempt()


@pytest.mark.parametrize(("access_key", "secret_key"), [(ACCESS_KEY, "canary-secret"), ("nobody:here", "canary-secret")])
def test_wrong_keys_are_the_users_to_mend_and_the_secret_is_not_shown(s3_bucket, swift, monkeypatch, tmp_path, access_key, secret_key):
    point_at(monkeypatch, swift.endpoint_url, access_key, secret_key)
    (tmp_path / "file").write_bytes(b"x")
    storage = open_storage(s3_bucket)
    for attempt in (lambda: storage.list(), lambda: storage.exists("a"), lambda: storage.put(tmp_path / "file", "a")):
        with pytest.raises(InputError) as caught:
            attempt()
        assert "canary-secret" not in everything_shown(caught.value)


def test_no_keys_at_all_is_the_users_to_mend(s3_bucket, monkeypatch, tmp_path):
    from infra.s3_client import forget_clients

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    forget_clients()
    with pytest.raises(InputError, match="AWS_ACCESS_KEY_ID"):
        open_storage(s3_bucket).list()
    forget_clients()


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("ExpiredToken", 400, InputError),
        ("ExpiredToken", 403, InputError),
        ("RequestTimeTooSkewed", 403, InputError),
        ("InvalidAccessKeyId", 403, InputError),
        ("AccessDenied", 403, InputError),
        ("PermanentRedirect", 301, InputError),
        ("SlowDown", 503, TransientError),
        ("InternalError", 500, TransientError),
        ("BadDigest", 400, TransientError),
        ("", 502, TransientError),
        ("NotImplemented", 501, OurTroubleError),
        ("SomethingNew", 400, OurTroubleError),
    ],
)
def test_every_refusal_has_its_class_through_the_real_client_and_its_text_is_not_shown(monkeypatch, tmp_path, code, status, kind):
    monkeypatch.setenv("DUBFLOW_S3_MAX_ATTEMPTS", "1")
    (tmp_path / "file").write_bytes(b"x")
    with refusing_server(code, status, num_refusals=99) as server:
        point_at(monkeypatch, server.url, secret_key="another-canary")
        storage = open_storage("s3://bucket/prefix")
        for attempt in (lambda: storage.list(), lambda: storage.put(tmp_path / "file", "key")):
            with pytest.raises(kind) as caught:
                attempt()
            assert type(caught.value) is kind
            assert "s3://bucket/prefix" in str(caught.value)
            assert "canary" not in everything_shown(caught.value)


def test_a_hostile_error_code_is_not_repeated():
    assert "<script>" not in str(trouble_of_answer("<script>", 400, "s3://bucket/key"))


def test_a_short_trouble_of_the_server_is_absorbed(monkeypatch):
    with refusing_server("SlowDown", 503, num_refusals=2) as server:
        point_at(monkeypatch, server.url)
        assert open_storage("s3://bucket").read_bytes("key") == b""
        assert server.num_requests == 4  # HEAD refused twice, HEAD, GET


def test_a_lasting_trouble_ends_after_the_attempts_that_were_asked_for(monkeypatch):
    monkeypatch.setenv("DUBFLOW_S3_MAX_ATTEMPTS", "2")
    with refusing_server("SlowDown", 503, num_refusals=99) as server:
        point_at(monkeypatch, server.url)
        with pytest.raises(TransientError, match="SlowDown"):
            open_storage("s3://bucket").list()
        assert server.num_requests == 2


def test_a_server_that_is_not_there_may_come_back(monkeypatch, tmp_path):
    monkeypatch.setenv("DUBFLOW_S3_MAX_ATTEMPTS", "1")
    point_at(monkeypatch, "http://127.0.0.1:9")
    (tmp_path / "file").write_bytes(b"x")
    storage = open_storage("s3://bucket")
    for attempt in (lambda: storage.list(), lambda: storage.put(tmp_path / "file", "a"), lambda: storage.get("a", tmp_path / "b")):
        with pytest.raises(TransientError, match=r"127\.0\.0\.1:9"):
            attempt()


def test_a_server_that_never_answers_does_not_hold_us_for_ever(monkeypatch):
    import socket

    monkeypatch.setenv("DUBFLOW_S3_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("DUBFLOW_S3_READ_TIMEOUT_S", "0.3")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        point_at(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(TransientError, match="No full answer"):
            open_storage("s3://bucket").list()


def test_an_answer_lost_on_the_way_is_still_a_success(s3_bucket, swift, monkeypatch, tmp_path):
    """The server stored the object, the client never heard of it: its retry meets If-None-Match, and finds its own bytes."""
    (tmp_path / "file").write_bytes(b"z" * 100_000)
    with fault_proxy(swift.port, "PUT", "lose_answer", num_faults=1) as proxy:
        point_at(monkeypatch, proxy.url)
        assert open_storage(s3_bucket).put_if_absent(tmp_path / "file", "a") is True
        assert proxy.num_done == 1
        (tmp_path / "file").write_bytes(b"y" * 100_000)
        assert open_storage(s3_bucket).put_if_absent(tmp_path / "file", "a") is False
    point_at(monkeypatch, swift.endpoint_url)
    assert open_storage(s3_bucket).read_bytes("a") == b"z" * 100_000


def test_a_line_cut_in_the_middle_of_an_upload_leaves_no_short_object(s3_bucket, swift, monkeypatch, tmp_path):
    (tmp_path / "file").write_bytes(os.urandom(1 << 20))
    monkeypatch.setenv("DUBFLOW_S3_MAX_ATTEMPTS", "2")
    with fault_proxy(swift.port, "PUT", "cut_request", num_faults=2) as proxy:
        point_at(monkeypatch, proxy.url)
        with pytest.raises(TransientError):
            open_storage(s3_bucket).put(tmp_path / "file", "a")
        assert open_storage(s3_bucket).list() == []
        open_storage(s3_bucket).put(tmp_path / "file", "a")
        assert open_storage(s3_bucket).size("a") == 1 << 20


def test_a_line_cut_in_the_middle_of_a_download_is_mended(s3_bucket, swift, monkeypatch, tmp_path):
    data = os.urandom(1 << 20)
    (tmp_path / "file").write_bytes(data)
    open_storage(s3_bucket).put(tmp_path / "file", "a")
    with fault_proxy(swift.port, "GET", "cut_answer", num_faults=2) as proxy:
        point_at(monkeypatch, proxy.url)
        open_storage(s3_bucket).get("a", tmp_path / "back" / "file")
        assert proxy.num_done == 2
    assert (tmp_path / "back" / "file").read_bytes() == data


def test_a_line_that_is_always_cut_leaves_nothing_on_the_disk(s3_bucket, swift, monkeypatch, tmp_path):
    (tmp_path / "file").write_bytes(os.urandom(1 << 20))
    open_storage(s3_bucket).put(tmp_path / "file", "a")
    with fault_proxy(swift.port, "GET", "cut_answer", num_faults=999) as proxy:
        point_at(monkeypatch, proxy.url)
        with pytest.raises(TransientError):
            open_storage(s3_bucket).get("a", tmp_path / "back" / "file")
    assert list((tmp_path / "back").iterdir()) == []


def test_a_damaged_object_is_noticed_and_nothing_is_left_on_the_disk(s3_bucket, swift, tmp_path):
    bucket = s3_bucket.removeprefix("s3://")
    (tmp_path / "file").write_bytes(b"as it was")
    storage = open_storage(s3_bucket)
    storage.put(tmp_path / "file", "film.mp4")
    promised = swift.client().head_object(Bucket=bucket, Key="film.mp4")["Metadata"]
    swift.client().put_object(Bucket=bucket, Key="film.mp4", Body=b"as it is.", Metadata=promised)
    with pytest.raises(CorruptArtifactError, match="damaged"):
        storage.get("film.mp4", tmp_path / "back" / "film.mp4")
    with pytest.raises(CorruptArtifactError, match="damaged"):
        storage.read_bytes("film.mp4")
    with pytest.raises(InputError, match="Upload it again"):
        fetch(f"{s3_bucket}/film.mp4", tmp_path / "back")
    assert list((tmp_path / "back").iterdir()) == []


def test_a_disk_that_fills_up_is_said_so_and_leaves_nothing_half_written(s3_bucket, tmp_path, tiny_disk):
    (tmp_path / "file").write_bytes(os.urandom(1 << 20))
    storage = open_storage(s3_bucket)
    storage.put(tmp_path / "file", "film.mp4")
    with pytest.raises(TransientError, match="Disk full"):
        fetch(f"{s3_bucket}/film.mp4", tiny_disk / "inputs")
    with pytest.raises(TransientError, match="Disk full"):
        open_storage(tiny_disk / "out").put(tmp_path / "file", "fr/film.mp4")
    assert [path for path in tiny_disk.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("num_bytes", [0, 1, 16 << 20, GIB, 300 * GIB, 5 << 40])
def test_parts_stay_legal_for_any_file_that_s3_can_hold(num_bytes):
    part_bytes = transfer_config(num_bytes).multipart_chunksize
    assert 5 << 20 <= part_bytes <= 5 * GIB
    assert -(-num_bytes // part_bytes) <= MAX_PARTS < 10_000
