"""Which store it is, under which key, and what is told of it: without any store."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engine.config.document import S3, RecordingStorage
from engine.recordings.storage import (
    BACKENDS,
    Elsewhere,
    Misconfigured,
    StorageError,
    backend_for,
    backend_of,
    key_of,
)
from engine.recordings.storage.local import LocalBackend
from engine.recordings.storage.s3 import S3Backend

NOW = 1_700_000_000.0
HOSTILE = ["../../etc/passwd", "..", ".", "/", "", "a/b", "é" * 50, "x" * 5000, "a\r\nx-amz-acl: public-read", "\0", "a@[::1]", "-rf", "\udcff", "a?versionId=1#x"]


def test_any_name_becomes_a_legal_key_of_its_own() -> None:
    keys = [key_of("calls", name) for name in HOSTILE]
    assert len(set(keys)) == len(HOSTILE)
    for key in keys:
        assert key.count("/") == 1
        assert key.startswith("calls/")
        assert set(key) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/")
        assert key.split("/")[1][0] not in ".-"
        assert len(key) < 250
    assert key_of("2026", "rec_1-leg0.wav") == "2026/rec_1-leg0.wav"


def test_the_configuration_chooses_the_store(tmp_path: Path) -> None:
    bucket = S3(enabled=True, bucket="bucket")
    assert backend_of(RecordingStorage(s3=bucket), tmp_path) is None
    chosen = backend_of(RecordingStorage(enabled=True, s3=bucket, folder="f"), tmp_path)
    assert chosen is not None
    assert chosen.name == "s3"
    assert chosen.owns("s3://bucket/a")
    with pytest.raises(Misconfigured, match="neither a bucket nor a folder"):
        backend_of(RecordingStorage(enabled=True), tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        {"bucket": ""}, {"bucket": "a/b"}, {"bucket": "x", "endpoint": "http://user:pass@host"}, {"bucket": "x", "endpoint": "ftp://host"},
        {"bucket": "x", "endpoint": "http://host/path"}, {"bucket": "x", "endpoint": "http://[::1"}, {"bucket": "x", "endpoint": "http://host:port"},
        {"bucket": "x", "prefix": "../up"}, {"bucket": "x", "access_key": "only"},
    ],
)  # fmt: skip
def test_settings_that_cannot_work_are_refused_at_once(settings: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(Misconfigured) as told:
        backend_of(RecordingStorage(enabled=True, s3=S3(enabled=True, **settings)), tmp_path)
    assert "pass" not in str(told.value)
    assert told.value.code == "storage.misconfigured"


@pytest.mark.parametrize(("endpoint", "place"), [("https://minio:9000/", "minio:9000"), ("minio.example", "minio.example"), ("http://[::1]:9", "[::1]:9")])
def test_endpoints_are_told_apart_by_host_and_port(endpoint: str, place: str) -> None:
    backend = S3Backend(S3(bucket="bbb", endpoint=endpoint), now=lambda: NOW)
    assert backend.owns(f"s3://bbb/a?endpoint={place}")
    assert not backend.owns("s3://bbb/a")


def test_every_error_has_a_code_of_its_own() -> None:
    kinds = StorageError.__subclasses__()
    codes = [kind.code for kind in kinds if not kind.__name__.startswith("_")]
    assert len(codes) == len(set(codes)) > 10
    assert all(code.startswith("storage.") for code in codes)


@pytest.mark.parametrize("url", ["gs://b/a", "gcs://b/a", "azure://b/a", "S3://b/a", "s3", "", "b/a", "http://b/a", "s3a://b/a"])
def test_a_url_of_another_kind_is_never_taken_for_nothing(url: str, tmp_path: Path) -> None:
    storage = RecordingStorage(enabled=True, folder="f", s3=S3(bucket="bucket", endpoint="http://minio:9000"))
    with pytest.raises(Elsewhere):
        backend_for(url, storage, tmp_path)


def test_each_kind_finds_its_own_urls(tmp_path: Path) -> None:
    storage = RecordingStorage(folder="f", s3=S3(bucket="bucket"))
    assert isinstance(backend_for("s3://bucket/a", storage, tmp_path), S3Backend)
    assert isinstance(backend_for(f"file://{tmp_path}/f/a", storage, tmp_path), LocalBackend)
    assert len({kind.scheme for kind in BACKENDS}) == len(BACKENDS)


def test_a_folder_is_used_where_no_bucket_is(tmp_path: Path) -> None:
    chosen = backend_of(RecordingStorage(enabled=True, folder="elsewhere", s3=S3(bucket="bucket")), tmp_path)
    assert isinstance(chosen, LocalBackend)
    assert chosen.folder == tmp_path / "elsewhere"
    chosen = backend_of(RecordingStorage(enabled=True, folder="/mnt/volume"), tmp_path)
    assert isinstance(chosen, LocalBackend)
    assert chosen.folder == Path("/mnt/volume")


def test_a_server_without_a_bucket_loads_no_boto3() -> None:
    program = "import sys, engine.recordings.storage; print([name for name in sys.modules if name.startswith('boto')])"
    told = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[4], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"
