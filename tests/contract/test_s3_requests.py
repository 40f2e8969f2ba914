"""What really goes over the line to an S3 server: encryption asked for with every object, no parts left behind, temporary things in one place."""

import os
import time
from contextlib import suppress

import pytest

from infra.errors import OurTroubleError, TransientError
from infra.s3_client import client_of, conditional_client_of, fenced_client_of
from infra.s3_conditions import TEMPORARY
from infra.s3_connection import connection_of
from infra.settings import get_settings
from infra.storage import open_storage
from infra.tidy import tidy_unfinished
from tests.fault_proxy import fault_proxy
from tests.swift_server import point_at


class OpenFence:
    unfinished = "unfinished"

    def check(self) -> None:
        pass


FENCE = OpenFence()
MIB = 1 << 20
SSE, KEY = "x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id"


@pytest.fixture
def sent(monkeypatch):
    """sent(setting=value, ...) -> a list that fills with (method, path and query, headers) of every request, as signed and about to leave."""

    def record(**named: str) -> list[tuple[str, str, dict[str, str]]]:
        for name, value in named.items():
            monkeypatch.setenv(f"DUBFLOW_{name.upper()}", value)
        get_settings.cache_clear()
        seen: list[tuple[str, str, dict[str, str]]] = []

        def note(request, **_) -> None:
            headers = {name.lower(): value.decode() if isinstance(value, bytes) else str(value) for name, value in request.headers.items()}
            seen.append((request.method, request.url.split("/", 3)[3], headers))

        connection = connection_of(get_settings())
        for client in (client_of(connection), conditional_client_of(connection), fenced_client_of(connection, FENCE.check)):
            client.meta.events.register("before-send.s3", note)
        return seen

    yield record
    get_settings.cache_clear()


def writes(seen) -> list[dict[str, str]]:
    """Headers of the requests that make an object: whole ones, and the beginning of one in parts."""
    return [headers for method, path, headers in seen if (method == "PUT" and "partNumber" not in path) or (method == "POST" and "uploads" in path)]


def put_all_ways(s3_bucket: str, tmp_path) -> None:
    storage = open_storage(f"{s3_bucket}/out")
    (tmp_path / "small").write_bytes(b"x")
    (tmp_path / "large").write_bytes(os.urandom(17 * MIB))
    for number, name in enumerate(("small", "large")):
        for put in (storage.put, storage.put_if_absent):
            with suppress(OurTroubleError):  # Swift knows no encryption and says so (501); what was sent to it is what counts here
                put(tmp_path / name, f"{name}{number}{put.__name__}")
    with suppress(OurTroubleError):
        storage.put_fenced(tmp_path / "small", "fenced", FENCE)


def test_every_write_asks_for_the_encryption_that_the_settings_name(s3_bucket, sent, tmp_path):
    seen = sent(s3_sse="aws:kms", s3_sse_kms_key_id="alias/films")
    put_all_ways(s3_bucket, tmp_path)
    assert len(writes(seen)) >= 5
    for headers in writes(seen):
        assert headers[SSE] == "aws:kms"
        assert headers[KEY] == "alias/films"
        assert SSE in headers["authorization"], "it is signed, so that nobody takes it out on the way"


def test_encryption_by_the_servers_own_key(s3_bucket, sent, tmp_path):
    seen = sent(s3_sse="AES256")
    put_all_ways(s3_bucket, tmp_path)
    assert {headers.get(SSE) for headers in writes(seen)} == {"AES256"}
    assert not any(KEY in headers for headers in writes(seen))


def test_without_the_setting_the_bucket_decides(s3_bucket, sent, tmp_path):
    seen = sent()
    put_all_ways(s3_bucket, tmp_path)
    assert len(writes(seen)) >= 5
    assert not any(SSE in headers for headers in writes(seen))


def test_the_probe_of_a_store_lies_under_the_temporary_prefix_and_goes_again(s3_bucket, sent):
    seen = sent()
    storage = open_storage(f"{s3_bucket}/out")
    storage.decides_races()
    probes = [path for method, path, _ in seen if method == "PUT"]
    assert probes
    assert all(f"/out/{TEMPORARY}" in path for path in probes)
    assert storage.list() == []


def test_an_upload_that_fails_in_its_middle_leaves_no_parts(s3_bucket, swift, monkeypatch, tmp_path):
    (tmp_path / "large").write_bytes(os.urandom(33 * MIB))
    monkeypatch.setenv("DUBFLOW_S3_MAX_ATTEMPTS", "1")
    with fault_proxy(swift.port, "PUT", "cut_request", num_faults=1) as proxy:
        point_at(monkeypatch, proxy.url)
        with pytest.raises(TransientError):
            open_storage(s3_bucket).put(tmp_path / "large", "film.mkv")
        assert proxy.num_done == 1
    assert "Uploads" not in swift.client().list_multipart_uploads(Bucket=s3_bucket.removeprefix("s3://"))
    assert open_storage(s3_bucket).list() == []


def test_what_a_killed_process_left_half_uploaded_is_given_up_after_a_while_and_not_before(s3_bucket, swift):
    client, bucket = swift.client(), s3_bucket.removeprefix("s3://")
    for key in ("out/film.mkv", "elsewhere/film.mkv"):
        upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=bytes(5 * MIB))
    storage = open_storage(f"{s3_bucket}/out")
    assert tidy_unfinished(storage, dry_run=False)[0] == 0, "it may still be under way"
    time.sleep(2.5)  # servers tell the time in whole seconds, up or down
    assert tidy_unfinished(storage, dry_run=True, older_than_s=1)[0] == 1
    assert tidy_unfinished(storage, dry_run=False, older_than_s=1)[0] == 1
    left = client.list_multipart_uploads(Bucket=bucket)["Uploads"]
    assert [upload["Key"] for upload in left] == ["elsewhere/film.mkv"], "what lies outside OUT is somebody else's"
