"""Recordings in an S3 store over a real socket: what is told to be there is there as it was, and nothing that goes wrong goes unnoticed."""

from __future__ import annotations

import hashlib
import logging
import threading
import traceback
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from engine.config.document import S3, RecordingStorage
from engine.recordings.record import Location
from engine.recordings.storage import (
    BadKey,
    Changed,
    Denied,
    Elsewhere,
    Locked,
    Misconfigured,
    NoBucket,
    NoRoom,
    Overloaded,
    Refused,
    StorageError,
    Unreachable,
    WrongContent,
    backend_for,
    key_of,
)
from engine.recordings.storage.s3 import Limits, S3Backend
from tests.s3 import ACCESS_KEY, SECRET_KEY, Store, store

pytestmark = pytest.mark.slow  # a whole server
QUICK = Limits(connect_s=5.0, read_s=15.0, attempts=2)
PART = 5 << 20  # the least that S3 takes
NOW = 1_700_000_000.0


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with store(tmp_path_factory.mktemp("s3") / "log") as running:
        yield running


@pytest.fixture
def bucket(s3: Store, request: pytest.FixtureRequest, operator: Any) -> str:
    name = f"b{hashlib.sha256(request.node.name.encode()).hexdigest()[:20]}"
    operator.create_bucket(Bucket=name)
    return name


@pytest.fixture(scope="module")
def operator(s3: Store) -> Iterator[Any]:
    client = s3.client()
    yield client
    client.close()


@pytest.fixture
def backend(s3: Store, bucket: str) -> Iterator[S3Backend]:
    made = S3Backend(s3.settings(bucket, prefix="calls/2026"), now=lambda: NOW, limits=QUICK, part_bytes=PART)
    yield made
    made.close()


def file_of(tmp_path: Path, content: bytes, name: str = "a.wav") -> tuple[Path, str]:
    (tmp_path / name).write_bytes(content)
    return tmp_path / name, hashlib.sha256(content).hexdigest()


def noise(count: int) -> bytes:
    return Random(count).randbytes(count)


def versions_of(operator: Any, bucket: str) -> list[Any]:
    told = operator.list_object_versions(Bucket=bucket)
    return [*told.get("Versions", ()), *told.get("DeleteMarkers", ())]


@pytest.mark.parametrize("size", [0, 1, 100_000, PART, PART + 1, 2 * PART + 77])
def test_a_file_goes_there_and_comes_back(backend: S3Backend, s3: Store, bucket: str, operator: Any, tmp_path: Path, size: int) -> None:
    content = noise(size)
    path, sha256 = file_of(tmp_path, content)
    location = backend.put(path, "rec-1/leg0.wav", sha256=sha256)
    assert location.url == f"s3://{bucket}/calls/2026/rec-1/leg0.wav?endpoint={s3.url.removeprefix('http://')}"
    assert (location.bytes, location.sha256, location.at, bool(location.etag), '"' in location.etag) == (size, sha256, NOW, True, False)
    assert b"".join(backend.get(location)) == content
    there = operator.get_object(Bucket=bucket, Key="calls/2026/rec-1/leg0.wav")
    assert there["Body"].read() == content
    assert there["Metadata"] == {"sha256": sha256}
    assert backend.exists(location)
    assert backend.delete(location)
    assert not backend.exists(location)
    assert not backend.delete(location)
    assert "Contents" not in operator.list_objects_v2(Bucket=bucket)
    backend.check()


def test_the_store_gets_the_checksum_and_no_illegal_header(backend: S3Backend, s3: Store, tmp_path: Path, bucket: str, operator: Any) -> None:
    sent: list[bytes] = []
    s3.line.there = lambda piece: sent.append(piece) or piece  # type: ignore[func-returns-value]
    try:
        for size in (10, PART + 10):
            path, sha256 = file_of(tmp_path, noise(size))
            backend.put(path, "a", sha256=sha256)
    finally:
        s3.line.there = bytes
    heads = [part.split(b"\r\n\r\n")[0].lower() for part in b"".join(sent).split(b"HTTP/1.1\r\n")[1:]]
    names = {line.partition(b":")[0] for head in heads for line in head.split(b"\r\n")}
    assert b"x-amz-checksum-sha256" in names
    assert b"x-amz-meta-sha256" in names
    assert [name for name in names if name.startswith(b"x-amz-meta-") and b"-" in name.removeprefix(b"x-amz-meta-")] == []
    assert "aws-chunked" not in str(sent[:3])


def test_a_file_that_is_not_the_one_its_checksum_is_of_does_not_stay(backend: S3Backend, bucket: str, operator: Any, tmp_path: Path) -> None:
    for size in (100, PART + 1):
        path, _ = file_of(tmp_path, noise(size))
        with pytest.raises(Changed, match=r"a\.wav is not the file") as told:
            backend.put(path, "a", sha256="0" * 64)
        assert not told.value.temporary
    assert versions_of(operator, bucket) == []
    assert "Uploads" not in operator.list_multipart_uploads(Bucket=bucket)


def test_the_local_file_stays_whatever_happens(backend: S3Backend, s3: Store, tmp_path: Path) -> None:
    path, sha256 = file_of(tmp_path, b"x" * 1000)
    with s3.away(), pytest.raises(Unreachable):
        backend.put(path, "a", sha256=sha256)
    assert path.read_bytes() == b"x" * 1000
    with pytest.raises(FileNotFoundError):
        backend.put(tmp_path / "nothing", "a", sha256=sha256)


# ---- a store that has, or says, something else ----


class Renamed:
    """Header names that the store does not know: a store that keeps no checksums."""

    def __call__(self, piece: bytes) -> bytes:
        return piece.replace(b"-checksum-", b"-chexxsum-").replace(b"-CHECKSUM-", b"-CHEXXSUM-")


@pytest.mark.parametrize("size", [1000, PART + 1000])
def test_a_store_without_checksums_is_read_back(backend: S3Backend, s3: Store, tmp_path: Path, size: int) -> None:
    content = noise(size)
    path, sha256 = file_of(tmp_path, content)
    asked: list[bytes] = []
    s3.line.there = lambda piece: asked.append(piece) or Renamed()(piece)  # type: ignore[func-returns-value]
    try:
        location = backend.put(path, "a", sha256=sha256)
    finally:
        s3.line.there = bytes
    assert any(piece.startswith(b"GET ") for piece in asked)
    assert b"".join(backend.get(location)) == content


def test_a_store_that_refuses_checksums_gets_md5(backend: S3Backend, s3: Store, tmp_path: Path) -> None:
    path, sha256 = file_of(tmp_path, noise(1000))
    answer = answer_of(400, "InvalidArgument")
    refused, md5 = [False], [False]

    def there(piece: bytes) -> bytes:
        refused[0] = b"x-amz-checksum-sha256" in piece.lower()
        md5[0] = md5[0] or b"content-md5" in piece.lower()
        return piece

    s3.line.there = there
    s3.line.back = lambda piece: answer if refused[0] else piece
    try:
        location = backend.put(path, "a", sha256=sha256)
    finally:
        s3.line.there = s3.line.back = bytes
    assert md5[0]
    assert backend.exists(location)


def test_bytes_that_change_on_their_way_are_found_and_taken_away(backend: S3Backend, s3: Store, bucket: str, operator: Any, tmp_path: Path) -> None:
    path, sha256 = file_of(tmp_path, b"A" * 5000)
    s3.line.there = lambda piece: Renamed()(piece).replace(b"AAAAAAAAAA", b"AAAAABAAAA")
    try:
        with pytest.raises(WrongContent) as told:
            backend.put(path, "a", sha256=sha256)
    finally:
        s3.line.there = bytes
    assert told.value.temporary
    assert versions_of(operator, bucket) == []


def test_a_store_that_tells_another_checksum_is_not_believed(backend: S3Backend, s3: Store, bucket: str, operator: Any, tmp_path: Path) -> None:
    path, sha256 = file_of(tmp_path, b"A" * 5000)
    other = b"x-amz-checksum-sha256: " + b"B" * 43 + b"="

    def back(piece: bytes) -> bytes:
        head, mark, value = piece.partition(b"x-amz-checksum-sha256: ")
        return head + other + value[44:] if mark else piece

    s3.line.back = back
    try:
        with pytest.raises(WrongContent, match="checksum is of other bytes"):
            backend.put(path, "a", sha256=sha256)
    finally:
        s3.line.back = bytes
    assert versions_of(operator, bucket) == []


def test_a_copy_that_was_changed_there_is_found_when_it_is_read(backend: S3Backend, bucket: str, operator: Any, tmp_path: Path) -> None:
    path, sha256 = file_of(tmp_path, noise(1000))
    location = backend.put(path, "a", sha256=sha256)
    for content in (noise(999), noise(1001), b"", bytes(1000)):
        operator.put_object(Bucket=bucket, Key="calls/2026/a", Body=content)
        with pytest.raises(WrongContent):
            list(backend.get(location))


# ---- a store that is away ----


def test_a_store_out_of_reach_and_back(backend: S3Backend, s3: Store, tmp_path: Path) -> None:
    path, sha256 = file_of(tmp_path, noise(1000))
    location = backend.put(path, "a", sha256=sha256)
    with s3.away():
        for call in (
            backend.check, lambda: backend.put(path, "b", sha256=sha256), lambda: backend.exists(location), lambda: backend.delete(location),
            lambda: list(backend.get(location)),
        ):  # fmt: skip
            with pytest.raises(Unreachable) as told:
                call()
            assert (told.value.code, told.value.temporary) == ("storage.unreachable", True)
    backend.check()
    assert b"".join(backend.get(location)) == noise(1000)
    assert backend.exists(backend.put(path, "b", sha256=sha256))


def test_a_bucket_that_is_gone_and_back(s3: Store, operator: Any, tmp_path: Path) -> None:
    backend = S3Backend(s3.settings("comes-and-goes"), now=lambda: NOW, limits=QUICK)
    path, sha256 = file_of(tmp_path, b"x")
    there = Location(url=f"s3://comes-and-goes/a?endpoint={s3.url.removeprefix('http://')}", bytes=1, sha256=sha256)
    for call in (backend.check, lambda: backend.put(path, "a", sha256=sha256), lambda: backend.exists(there), lambda: backend.delete(there)):
        with pytest.raises(NoBucket, match="comes-and-goes") as told:
            call()
        assert told.value.temporary
    operator.create_bucket(Bucket="comes-and-goes")
    backend.check()
    assert backend.exists(backend.put(path, "a", sha256=sha256))
    backend.close()


def test_a_store_that_does_not_answer_holds_nobody_up_for_ever(s3: Store, bucket: str, tmp_path: Path) -> None:
    path, sha256 = file_of(tmp_path, b"x")
    backend = S3Backend(s3.settings(bucket), now=lambda: NOW, limits=Limits(connect_s=5.0, read_s=0.2, attempts=1))
    go_on = threading.Event()
    s3.line.back = lambda piece: piece if go_on.wait(30) else None
    try:
        with pytest.raises(Unreachable, match="ReadTimeoutError"):
            backend.put(path, "a", sha256=sha256)
    finally:
        go_on.set()
        s3.line.back = bytes
        backend.close()


def answer_of(status: int, code: str) -> bytes:
    body = b"<Error><Code>%s</Code><Message>m</Message></Error>" % code.encode() if code else b""
    return b"HTTP/1.1 %d X\r\nContent-Type: application/xml\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % (status, len(body)) + body


@pytest.mark.parametrize(
    ("status", "code", "kind", "temporary"),
    [
        (403, "AccessDenied", Denied, True), (403, "InvalidAccessKeyId", Denied, True), (400, "ExpiredToken", Denied, True), (503, "SlowDown", Overloaded, True),
        (500, "InternalError", Overloaded, True), (502, "", Overloaded, True), (507, "XMinioStorageFull", NoRoom, True), (400, "BadDigest", WrongContent, True),
        (404, "NoSuchBucket", NoBucket, True), (400, "RequestTimeout", Unreachable, True), (400, "AuthorizationHeaderMalformed", Misconfigured, False),
        (400, "EntityTooLarge", Refused, False), (418, "", Refused, False), (501, "NotImplemented", Refused, False),
    ],
)  # fmt: skip
def test_what_a_store_answers_says_whether_to_try_again(
    s3: Store, bucket: str, tmp_path: Path, status: int, code: str, kind: type[StorageError], temporary: bool
) -> None:
    path, sha256 = file_of(tmp_path, b"x")
    backend = S3Backend(s3.settings(bucket), now=lambda: NOW, limits=Limits(attempts=1))
    s3.line.back = lambda _: answer_of(status, code)
    try:
        with pytest.raises(kind, match=str(status)) as told:
            backend.put(path, "a", sha256=sha256)
    finally:
        s3.line.back = bytes
        backend.close()
    assert told.value.temporary == temporary
    assert path.exists()


def cut_at(place: int, times: int = 1) -> Any:
    """Breaks a connection once so many bytes went through, so often."""
    state = {"bytes": 0, "left": times}

    def change(piece: bytes) -> bytes | None:
        state["bytes"] += len(piece)
        if state["left"] and state["bytes"] > place:
            state["left"] -= 1
            state["bytes"] = 0
            return None
        return piece

    return change


def test_a_connection_that_breaks_in_the_middle_of_an_upload_is_tried_again(backend: S3Backend, s3: Store, tmp_path: Path) -> None:
    content = noise(2 * PART + 5)
    path, sha256 = file_of(tmp_path, content)
    s3.line.there = cut_at(PART + PART // 2)
    try:
        location = backend.put(path, "a", sha256=sha256)
    finally:
        s3.line.there = bytes
    assert b"".join(backend.get(location)) == content


def test_connections_that_always_break_end_it_and_leave_no_parts(backend: S3Backend, s3: Store, bucket: str, operator: Any, tmp_path: Path) -> None:
    path, sha256 = file_of(tmp_path, noise(2 * PART))
    s3.line.there = cut_at(PART // 2, 1000)
    try:
        with pytest.raises(Unreachable):
            backend.put(path, "a", sha256=sha256)
    finally:
        s3.line.there = bytes
    assert versions_of(operator, bucket) == []
    assert "Uploads" not in operator.list_multipart_uploads(Bucket=bucket)


def test_a_download_goes_on_where_it_broke(backend: S3Backend, s3: Store, tmp_path: Path) -> None:
    content = noise(PART)
    path, sha256 = file_of(tmp_path, content)
    location = backend.put(path, "a", sha256=sha256)
    asked: list[bytes] = []
    s3.line.there = lambda piece: asked.append(piece) or piece  # type: ignore[func-returns-value]
    s3.line.back = cut_at(PART // 3, 2)
    try:
        assert b"".join(backend.get(location)) == content
    finally:
        s3.line.there = s3.line.back = bytes
    assert sum(b"range: bytes=" in piece.lower() for piece in asked) == 2
    s3.line.back = cut_at(100, 1000)
    try:
        with pytest.raises(Unreachable):
            list(backend.get(location))
    finally:
        s3.line.back = bytes


def test_parts_that_a_process_left_that_died_go_when_it_is_tried_again(backend: S3Backend, bucket: str, operator: Any, tmp_path: Path) -> None:
    path, sha256 = file_of(tmp_path, noise(PART + 1))
    operator.create_multipart_upload(Bucket=bucket, Key="calls/2026/rec")
    backend.put(path, "rec", sha256=sha256)
    assert "Uploads" not in operator.list_multipart_uploads(Bucket=bucket)


# ---- erasing ----


def test_every_version_of_a_copy_is_erased_and_no_other(s3: Store, backend: S3Backend, bucket: str, operator: Any, tmp_path: Path) -> None:
    operator.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    places = []
    for number in range(3):
        path, sha256 = file_of(tmp_path, noise(100 + number))
        places.append(backend.put(path, "rec", sha256=sha256))
        backend.put(path, "rec-2", sha256=sha256)
    operator.delete_object(Bucket=bucket, Key="calls/2026/rec")
    assert len({place.version for place in places}) == 3
    assert all(place.version for place in places)
    assert b"".join(backend.get(places[0])) == noise(100)
    assert backend.exists(places[1])
    assert backend.delete(places[1])
    assert [backend.exists(place) for place in places] == [False] * 3
    assert {each["Key"] for each in versions_of(operator, bucket)} == {"calls/2026/rec-2"}
    assert len(versions_of(operator, bucket)) == 3
    assert not backend.delete(places[0])


def test_parts_of_an_upload_that_was_never_completed_are_erased(backend: S3Backend, bucket: str, operator: Any, tmp_path: Path) -> None:
    path, sha256 = file_of(tmp_path, b"x")
    location = backend.put(path, "rec", sha256=sha256)
    for key in ("calls/2026/rec", "calls/2026/rec-2"):
        upload = operator.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
        operator.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"x")
    assert backend.delete(location)
    assert [each["Key"] for each in operator.list_multipart_uploads(Bucket=bucket)["Uploads"]] == ["calls/2026/rec-2"]


def locked_backend(s3: Store, operator: Any, name: str) -> S3Backend:
    operator.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    return S3Backend(s3.settings(name), now=lambda: NOW, limits=QUICK)


def test_what_the_store_keeps_locked_is_told_as_left(s3: Store, operator: Any, tmp_path: Path) -> None:
    backend = locked_backend(s3, operator, "locked-for-a-time")
    path, sha256 = file_of(tmp_path, b"x")
    location = backend.put(path, "a", sha256=sha256)
    until = datetime.now(UTC) + timedelta(days=1)
    operator.put_object_retention(
        Bucket="locked-for-a-time", Key="a", VersionId=location.version, Retention={"Mode": "COMPLIANCE", "RetainUntilDate": until}
    )
    with pytest.raises(Locked, match=f"1 of 1 versions are left.*keeps it until {until:%Y-%m-%d}") as told:
        backend.delete(location)
    assert (told.value.code, told.value.temporary) == ("storage.locked", False)
    assert backend.exists(location)
    backend.close()


def test_a_legal_hold_of_the_store_is_told_as_left(s3: Store, operator: Any, tmp_path: Path) -> None:
    backend = locked_backend(s3, operator, "held")
    path, sha256 = file_of(tmp_path, b"x")
    location = backend.put(path, "a", sha256=sha256)
    again = backend.put(path, "a", sha256=sha256)
    operator.put_object_legal_hold(Bucket="held", Key="a", VersionId=location.version, LegalHold={"Status": "ON"})
    with pytest.raises(Locked, match=r"1 of 2 versions are left.*legal hold"):
        backend.delete(again)
    assert backend.exists(location)
    assert not backend.exists(again)  # what can go is gone
    operator.put_object_legal_hold(Bucket="held", Key="a", VersionId=location.version, LegalHold={"Status": "OFF"})
    assert backend.delete(again)
    backend.close()


# ---- secrets, names, settings ----


def test_no_secret_and_nothing_of_the_store_is_in_errors_or_logs(s3: Store, bucket: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    path, sha256 = file_of(tmp_path, b"x")
    refusal = (
        b"<Error><Code>Signature\r\nDoesNotMatch</Code><Message>%s</Message><StringToSign>%s</StringToSign></Error>" % (SECRET_KEY.encode(), ACCESS_KEY.encode())
    )
    backend = S3Backend(s3.settings(bucket), now=lambda: NOW, limits=QUICK)
    s3.line.back = lambda _: b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(refusal) + refusal
    try:
        with pytest.raises(Denied, match=r"403 SignatureDoesNotMatch$") as told:
            backend.put(path, "a", sha256=sha256)
    finally:
        s3.line.back = bytes
        backend.close()
    shown = caplog.text + repr(backend) + repr(s3.settings(bucket)) + "".join(traceback.format_exception(told.value))
    assert told.value.temporary
    assert bucket in shown
    assert SECRET_KEY not in shown
    assert ACCESS_KEY not in shown


def test_without_credentials_it_says_so(s3: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    backend = S3Backend(s3.settings("bucket", access_key="", secret_key=""), now=lambda: NOW, limits=QUICK)
    with pytest.raises(Denied, match="no credentials"):
        backend.check()
    backend.close()


def test_credentials_of_the_environment_are_used(s3: Store, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    backend = S3Backend(s3.settings(bucket, access_key="", secret_key=""), now=lambda: NOW, limits=QUICK)
    backend.check()
    backend.close()


HOSTILE = ["../../etc/passwd", "..", ".", "/", "", "a/b", "é" * 50, "x" * 5000, "a\r\nx-amz-acl: public-read", "\0", "a@[::1]", "-rf", "\udcff", "a?versionId=1#x"]


def test_names_that_were_not_made_legal_are_refused(backend: S3Backend, tmp_path: Path) -> None:
    path, sha256 = file_of(tmp_path, b"x")
    for name in HOSTILE:
        if name != "a/b":
            with pytest.raises(BadKey):
                backend.put(path, name, sha256=sha256)


def test_hostile_call_ids_go_there_and_come_back(backend: S3Backend, tmp_path: Path) -> None:
    path, sha256 = file_of(tmp_path, b"x")
    for name in HOSTILE:
        location = backend.put(path, key_of(name), sha256=sha256)
        assert b"".join(backend.get(location)) == b"x"
        assert backend.delete(location)


def test_copies_in_other_stores_are_never_looked_for_here(s3: Store, bucket: str, backend: S3Backend) -> None:
    for url in (f"s3://{bucket}/a", f"s3://{bucket}/a?endpoint=other:9000", f"gs://{bucket}/a", f"gcs://{bucket}/a", f"https://{bucket}/a", "", "file:///a"):
        location = Location(url=url, bytes=1, sha256="0" * 64)
        assert not backend.owns(url)
        for call in (backend.exists, backend.delete, lambda location: list(backend.get(location))):
            with pytest.raises(Elsewhere):
                call(location)


def test_a_location_finds_its_store_again_whatever_is_switched_on_now(s3: Store, bucket: str, backend: S3Backend, tmp_path: Path) -> None:
    path, sha256 = file_of(tmp_path, b"x")
    location = backend.put(path, "a", sha256=sha256)
    off = RecordingStorage(enabled=False, s3=s3.settings(bucket, enabled=False))
    found = backend_for(location.url, off, tmp_path)
    assert isinstance(found, S3Backend)
    assert found.delete(location)
    found.close()
    for url in ("gs://b/a", "gcs://b/a", "azure://b/a", "", "s3", "S3://b/a"):
        with pytest.raises(Elsewhere):
            backend_for(url, off, tmp_path)
    with pytest.raises(Elsewhere, match="not configured any more"):
        backend_for(location.url, RecordingStorage(s3=S3(bucket=bucket)), tmp_path)
    with pytest.raises(Elsewhere, match="no such store is configured"):
        backend_for(location.url, RecordingStorage(), tmp_path)


def test_a_hundred_megabytes_go_in_parts_with_little_memory(s3: Store, bucket: str, tmp_path: Path) -> None:
    size = 100 << 20
    with (tmp_path / "big").open("wb") as file:
        for number in range(100):
            file.write(Random(number).randbytes(1 << 20))
    with (tmp_path / "big").open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    backend = S3Backend(s3.settings(bucket), now=lambda: NOW)
    backend.check()
    tracemalloc.start()
    try:
        location = backend.put(tmp_path / "big", "big", sha256=sha256)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert location.etag.endswith("-13")
    assert most < 40 << 20
    digest, count = hashlib.sha256(), 0
    for piece in backend.get(location):
        digest.update(piece)
        count += len(piece)
    assert (count, digest.hexdigest()) == (size, sha256)
    assert msgspec.json.decode(msgspec.json.encode(location), type=Location) == location
    backend.close()
