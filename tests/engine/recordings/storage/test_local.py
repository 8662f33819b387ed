"""A folder on another volume as a store."""

from __future__ import annotations

import hashlib
import os
import resource
from pathlib import Path
from random import Random

import msgspec
import pytest

from engine.recordings.record import Location
from engine.recordings.storage import (
    BadKey,
    Changed,
    Denied,
    Elsewhere,
    NoBucket,
    NoRoom,
    NotStored,
    Unreachable,
    WrongContent,
)
from engine.recordings.storage.local import LocalBackend

NOW = 1_700_000_000.0
SIZES = (0, 1, 1 << 18, (1 << 20) + 5)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    (tmp_path / "vol ume").mkdir()
    return tmp_path / "vol ume"


@pytest.fixture
def backend(volume: Path) -> LocalBackend:
    return LocalBackend(volume, now=lambda: NOW)


def file_of(tmp_path: Path, content: bytes) -> tuple[Path, str]:
    (tmp_path / "a.wav").write_bytes(content)
    return tmp_path / "a.wav", hashlib.sha256(content).hexdigest()


def names(volume: Path) -> list[str]:
    return sorted(str(path.relative_to(volume)) for path in volume.rglob("*"))


@pytest.mark.parametrize("size", SIZES)
def test_a_file_goes_there_and_comes_back(backend: LocalBackend, volume: Path, tmp_path: Path, size: int) -> None:
    content = Random(size).randbytes(size)
    path, sha256 = file_of(tmp_path, content)
    location = backend.put(path, "2026/rec/leg0.wav", sha256=sha256)
    assert location == Location(url=f"file://{tmp_path}/vol%20ume/2026/rec/leg0.wav", bytes=size, sha256=sha256, at=NOW)
    assert names(volume) == ["2026", "2026/rec", "2026/rec/leg0.wav"]
    assert b"".join(backend.get(location)) == content
    assert backend.exists(location)
    assert backend.owns(location.url)
    assert backend.delete(location)
    assert names(volume) == []
    assert not backend.delete(location)
    assert not backend.exists(location)
    with pytest.raises(NotStored):
        list(backend.get(location))
    backend.check()


def test_a_file_is_replaced_whole(backend: LocalBackend, volume: Path, tmp_path: Path) -> None:
    path, sha256 = file_of(tmp_path, b"first")
    backend.put(path, "a", sha256=sha256)
    path, sha256 = file_of(tmp_path, b"second")
    with pytest.raises(Changed):
        backend.put(path, "a", sha256="0" * 64)
    assert (volume / "a").read_bytes() == b"first"
    location = backend.put(path, "a", sha256=sha256)
    assert b"".join(backend.get(location)) == b"second"
    assert names(volume) == ["a"]


def test_a_volume_that_is_not_mounted_is_not_written_beside(backend: LocalBackend, volume: Path, tmp_path: Path) -> None:
    path, sha256 = file_of(tmp_path, b"x")
    location = backend.put(path, "a", sha256=sha256)
    volume.rename(tmp_path / "away")
    for call in (backend.check, lambda: backend.put(path, "b", sha256=sha256), lambda: backend.delete(location), lambda: backend.exists(location)):
        with pytest.raises(NoBucket, match="not mounted") as told:
            call()
        assert told.value.temporary
    assert not volume.exists()
    (tmp_path / "away").rename(volume)
    assert backend.exists(location)


def test_a_full_volume_says_so_and_keeps_nothing_half(backend: LocalBackend, volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, sha256 = file_of(tmp_path, bytes(100_000))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(Unreachable, match="File too large"):
            backend.put(path, "a", sha256=sha256)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert names(volume) == []

    def full(fd: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NoRoom):
        backend.put(path, "a", sha256=sha256)
    assert names(volume) == []


def test_a_folder_that_may_not_be_written_says_so(tmp_path: Path) -> None:
    """One that nobody may write to, not even root, whom permissions do not keep out."""
    path, sha256 = file_of(tmp_path, b"x")
    with pytest.raises(Denied):
        LocalBackend(Path("/sys/kernel"), now=lambda: NOW).put(path, "a", sha256=sha256)


def test_a_copy_that_was_changed_is_found_when_it_is_read(backend: LocalBackend, volume: Path, tmp_path: Path) -> None:
    path, sha256 = file_of(tmp_path, b"content")
    location = backend.put(path, "a", sha256=sha256)
    for changed in (b"c0ntent", b"conten", b"content!", b""):
        (volume / "a").write_bytes(changed)
        with pytest.raises(WrongContent):
            list(backend.get(location))


@pytest.mark.parametrize("key", ["../a", "/a", "a/../b", ".a", "a//b", "", "a/", "a\0", "é", "a b"])
def test_a_key_is_never_a_way_out(backend: LocalBackend, volume: Path, tmp_path: Path, key: str) -> None:
    path, sha256 = file_of(tmp_path, b"x")
    with pytest.raises(BadKey):
        backend.put(path, key, sha256=sha256)
    assert names(volume) == []


def test_no_url_leads_out_of_the_folder(backend: LocalBackend, volume: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"x")
    true = Location(url=f"file://{tmp_path}/vol%20ume/a", bytes=1, sha256="0" * 64)
    urls = [
        f"file://{tmp_path}/precious", f"file://{tmp_path}/vol%20ume/../precious", f"file://{tmp_path}/vol%20ume/%2e%2e/precious", f"file://{tmp_path}/vol%20ume",
        f"file://host{tmp_path}/vol%20ume/a", f"file://{tmp_path}/vol%20ume2/a", "file:///", "s3://bucket/a", "", f"{tmp_path}/vol ume/a",
    ]  # fmt: skip
    assert backend.owns(true.url)
    for url in urls:
        location = msgspec.structs.replace(true, url=url)
        assert not backend.owns(url)
        for call in (backend.delete, backend.exists, lambda location: list(backend.get(location))):
            with pytest.raises(Elsewhere):
                call(location)
    assert (tmp_path / "precious").exists()


def test_a_link_in_the_folder_is_not_followed(backend: LocalBackend, volume: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"x")
    (volume / "a").symlink_to(tmp_path / "precious")
    location = Location(url=f"file://{tmp_path}/vol%20ume/a", bytes=1, sha256=hashlib.sha256(b"x").hexdigest())
    assert not backend.exists(location)
    with pytest.raises(NotStored):
        list(backend.get(location))
    assert backend.delete(location)
    assert (tmp_path / "precious").read_bytes() == b"x"
