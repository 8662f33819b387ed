"""Names in a folder: all of a plan or nothing of it, nothing outside the folder, and spares that are nobody's."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine._native import folder as native
from tests.descriptors import open_in


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def names(path: Path) -> dict[str, bytes]:
    return {one.name: one.read_bytes() for one in path.iterdir()}


def stage(folder: int, *files: str, spare: str = "", name: str = "plan", content: bytes = b"what") -> list[int]:
    return native.stage(folder, spare, "fresh", name, content, files)


def close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def test_a_plan_is_locked_and_its_files_are_there(tmp_path: Path, folder: int) -> None:
    plan, *fds = stage(folder, "a", "b")
    assert names(tmp_path) == {"plan": b"what", "a": b"", "b": b""} and len(fds) == 2
    with open(tmp_path / "plan") as other, pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.write(fds[1], b"x")
    assert (tmp_path / "b").read_bytes() == b"x" and os.get_inheritable(plan) is False
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in ("plan", "a")} == {0o600}
    close([plan, *fds])


def test_a_spare_becomes_the_plan(tmp_path: Path, folder: int) -> None:
    (tmp_path / "spare").write_bytes(b"")
    inode = (tmp_path / "spare").stat().st_ino
    close(stage(folder, "a", spare="spare"))
    assert names(tmp_path) == {"plan": b"what", "a": b""} and (tmp_path / "plan").stat().st_ino == inode


def test_a_spare_that_is_locked_or_gone_is_none(tmp_path: Path, folder: int) -> None:
    (tmp_path / "spare").write_bytes(b"")
    with open(tmp_path / "spare") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        close(stage(folder, spare="spare"))
        assert names(tmp_path) == {"plan": b"what", "spare": b""}
    close(stage(folder, spare="gone", name="second"))
    assert set(names(tmp_path)) == {"plan", "second", "spare"}


@pytest.mark.parametrize("spare", ["", "spare"])
@pytest.mark.parametrize("taken", ["plan", "b"])
def test_with_an_error_nothing_is_left_of_it(tmp_path: Path, folder: int, taken: str, spare: str) -> None:
    (tmp_path / taken).write_bytes(b"somebody's")
    if spare:
        (tmp_path / spare).write_bytes(b"")
    before, there = open_in(tmp_path), names(tmp_path)
    with pytest.raises(FileExistsError) as told:
        stage(folder, "a", "b", "c", spare=spare)
    assert told.value.filename == taken
    left = names(tmp_path)
    if taken == "b":
        left.setdefault("spare", b"") if spare else None  # it had become the plan, and went with it
    assert left == there and open_in(tmp_path) == before


def test_what_a_process_left_that_ended_right_there_is_no_hindrance(tmp_path: Path, folder: int) -> None:
    (tmp_path / "fresh").write_bytes(b"half")
    close(stage(folder))
    assert names(tmp_path) == {"plan": b"what"}


def test_names_lead_nowhere_else(tmp_path: Path, folder: int) -> None:
    for name in ("../x", "a/b", "", "a\0b", "/etc/x"):
        with pytest.raises(ValueError):
            stage(folder, name)
        with pytest.raises(ValueError):
            native.append(folder, name, b"x", is_new=True)
    outside = tmp_path.parent / "outside"
    outside.write_bytes(b"")
    (tmp_path / "link").symlink_to(outside)
    with pytest.raises(OSError):
        native.append(folder, "link", b"x")
    close(stage(folder, spare="link"))
    assert outside.read_bytes() == b""


def test_bytes_go_behind_the_others(tmp_path: Path, folder: int) -> None:
    (tmp_path / "spare").write_bytes(b"")
    native.append(folder, "a", b"one", is_new=True, spare="spare")
    native.append(folder, "a", b"two")
    native.append(folder, "b", b"", is_new=True, spare="spare")
    assert names(tmp_path) == {"a": b"onetwo", "b": b""}
    with pytest.raises(FileExistsError):
        native.append(folder, "a", b"x", is_new=True)
    with pytest.raises(FileNotFoundError):
        native.append(folder, "c", b"x")


def test_a_file_that_is_put_away_is_empty(tmp_path: Path, folder: int) -> None:
    (tmp_path / "a").write_bytes(b"secret")
    native.put_away(folder, "a", "spare")
    assert names(tmp_path) == {"spare": b""}
    with pytest.raises(FileNotFoundError):
        native.put_away(folder, "a", "spare")
