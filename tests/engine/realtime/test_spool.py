"""The spool: what it took is there again, whatever happened to the process or the file."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.realtime.errors import SpoolTaken
from engine.realtime.spool import HEAD, MAGIC, RECORD_MAX_BYTES, SEGMENTS_MIN, TIDY_BYTES, Spool, is_void

MIB = 1 << 20


def everything(spool: Spool) -> list[tuple[int, bytes]]:
    found = []
    while part := spool.read():
        found += part
    return found


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.spool"))


def left_open(spool: Spool) -> None:
    """As a process that ended leaves it: nothing synced, nothing tidied."""
    for segment in spool._segments:
        if segment.fd >= 0:
            os.close(segment.fd)
    os.close(spool._mark)
    os.close(spool._lock)


def test_records_come_back_in_their_order_once_each(tmp_path: Path) -> None:
    chance = random.Random(1)
    spool = Spool(tmp_path, 64 * MIB)
    contents = [bytes([1 + n % 255]) * chance.randrange(1, 3000) for n in range(6000)]
    numbers = [spool.append(content) for content in contents]
    assert numbers == list(range(1, 6001))
    assert len(files(tmp_path)) > 1
    assert everything(spool) == list(zip(numbers, contents, strict=True))
    assert spool.read() == []
    number = spool.append(b"more")
    assert spool.read() == [(number, b"more")]
    spool.close()


def test_what_is_done_does_not_come_back(tmp_path: Path) -> None:
    spool = Spool(tmp_path, MIB)
    for n in range(100):
        spool.append(b"%d" % n)
    spool.release(60)
    assert spool.count_after(60) == 40
    left_open(spool)
    again = Spool(tmp_path, MIB)
    assert [number for number, _ in everything(again)] == list(range(61, 101))
    assert again.append(b"next") == 101
    again.release(101)
    again.close()
    assert files(tmp_path) == []
    last = Spool(tmp_path, MIB)
    assert last.append(b"after") == 102
    last.close()


def test_files_go_when_all_of_them_is_done_and_little_lies_there_at_rest(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 64 * MIB)
    before = len(os.listdir("/proc/self/fd"))
    for n in range(20_000):
        number = spool.append(bytes([1]) * 1000)
        if n % 10 == 0:
            spool.release(number)
            assert spool.bytes <= TIDY_BYTES + 20_000
    assert len(files(tmp_path)) <= 1
    assert len(os.listdir("/proc/self/fd")) <= before + 1
    spool.close()


@pytest.mark.parametrize("cut", [1, HEAD.size - 1, HEAD.size, HEAD.size + 3, 40])
def test_a_record_that_was_cut_off_is_left_out(tmp_path: Path, cut: int) -> None:
    spool = Spool(tmp_path, MIB)
    for n in range(10):
        spool.append(b"record %02d" % n * 3)
    left_open(spool)
    path = files(tmp_path)[0]
    os.truncate(path, path.stat().st_size - cut)
    lost = -(-cut // (HEAD.size + 27))
    again = Spool(tmp_path, MIB)
    assert [number for number, _ in everything(again)] == list(range(1, 11 - lost))
    number = again.append(b"new")
    assert number == 11 - lost
    assert again.read() == [(number, b"new")]
    again.close()


def test_one_damaged_record_takes_no_other_along(tmp_path: Path) -> None:
    spool = Spool(tmp_path, MIB)
    for n in range(10):
        spool.append(b"record %02d" % n)
    left_open(spool)
    path = files(tmp_path)[0]
    content = bytearray(path.read_bytes())
    content[content.index(b"record 04") + 3] ^= 1
    path.write_bytes(content)
    again = Spool(tmp_path, MIB)
    assert again.damaged == 1
    assert [number for number, _ in everything(again)] == [1, 2, 3, 4, 6, 7, 8, 9, 10]
    again.close()


@pytest.mark.parametrize("content", [b"", b"x", MAGIC[:4], b"not a spool at all" * 100, MAGIC + b"\xff" * 50, MAGIC + bytes(4096)])
def test_files_that_are_none_are_no_trouble(tmp_path: Path, content: bytes) -> None:
    (tmp_path / f"{5:016x}.spool").write_bytes(content)
    (tmp_path / "mark").write_bytes(b"12")
    (tmp_path / "something else.spool").write_bytes(b"mine")
    spool = Spool(tmp_path, MIB)
    assert everything(spool) == []
    numbers = [spool.append(b"%d" % n) for n in range(10)]
    assert [number for number, _ in everything(spool)] == numbers
    spool.close()
    assert (tmp_path / "something else.spool").read_bytes() == b"mine"


def test_files_of_any_content_never_bring_back_what_was_not_written(tmp_path: Path) -> None:
    chance = random.Random(3)
    for turn in range(200):
        folder = tmp_path / str(turn)
        spool = Spool(folder, MIB)
        written = {spool.append(chance.randbytes(chance.randrange(1, 200)) + b"."): None for _ in range(20)}
        told = dict(everything(spool))
        left_open(spool)
        path = files(folder)[0]
        content = bytearray(path.read_bytes())
        for _ in range(chance.randrange(1, 6)):
            at = chance.randrange(len(content))
            how = chance.randrange(3)
            if how == 0:
                content[at] ^= 1 << chance.randrange(8)
            elif how == 1:
                del content[at : at + chance.randrange(1, 40)]
            else:
                content[at:at] = chance.randbytes(chance.randrange(1, 40))
        path.write_bytes(content)
        again = Spool(folder, MIB)
        for number, found in everything(again):
            assert told[number] == found
        assert len(written) == 20
        number = again.append(b"after all")
        assert everything(again)[-1:] == [(number, b"after all")]
        again.close()


def test_beyond_its_size_the_oldest_go_and_are_counted(tmp_path: Path) -> None:
    size = 256 << 10
    spool = Spool(tmp_path, size)
    lost = 0
    for n in range(5000):
        content = b"%05d" % n + b"x" * 200
        lost += spool.make_room(len(content))
        spool.append(content)
        assert spool.bytes <= size
    assert sum(path.stat().st_size for path in files(tmp_path)) <= size
    found = everything(spool)
    assert lost + len(found) == 5000
    assert [number for number, _ in found] == list(range(lost + 1, 5001))
    assert spool.bytes > size - 2 * size // SEGMENTS_MIN
    left_open(spool)
    again = Spool(tmp_path, size)
    assert len(everything(again)) == len(found)
    again.close()


def test_a_record_as_long_as_allowed_comes_back_and_a_longer_one_is_refused(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 64 * MIB)
    spool.append(b"a")
    number = spool.append(b"x" * RECORD_MAX_BYTES)
    spool.append(b"b")
    assert [len(content) for _, content in everything(spool)] == [1, RECORD_MAX_BYTES, 1]
    assert number == 2
    for content in (b"", b"x" * (RECORD_MAX_BYTES + 1)):
        with pytest.raises(ValueError, match="1 to"):
            spool.append(content)
    spool.close()


def test_what_is_forgotten_is_nowhere_in_any_file_and_all_else_is(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 64 * MIB)
    for n in range(3000):
        spool.append(b"call-%d:secret-%d:" % (n % 3, n % 3) + b"y" * 2000)
    spool.release(1000)
    assert spool.forget(lambda content: content.startswith(b"call-1:")) >= 600
    assert all(b"secret-1" not in path.read_bytes() for path in files(tmp_path))
    expected = [n + 1 for n in range(1000, 3000) if n % 3 != 1]
    assert [number for number, _ in everything(spool)] == expected
    number = spool.append(b"call-1: again")
    assert spool.read() == [(number, b"call-1: again")]
    left_open(spool)
    again = Spool(tmp_path, 64 * MIB)
    assert again.damaged == 0
    assert [one for one, _ in everything(again)] == [*expected, number]
    again.close()


def test_a_void_is_no_content() -> None:
    assert is_void(bytes(10))
    assert not is_void(b"\0\0x")


def test_one_process_at_a_time(tmp_path: Path) -> None:
    spool = Spool(tmp_path, MIB)
    with pytest.raises(SpoolTaken):
        Spool(tmp_path, MIB)
    spool.close()
    Spool(tmp_path, MIB).close()


def test_a_disk_that_is_full_leaves_what_was_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, MIB)
    spool.append(b"before")
    whole = os.write

    def full(fd: int, data: bytes) -> int:
        if len(data) < 10:
            raise OSError(28, "No space left on device")
        return whole(fd, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        spool.append(b"x" * 500)
    monkeypatch.undo()
    spool.append(b"after")
    assert [content for _, content in everything(spool)] == [b"before", b"after"]
    left_open(spool)
    again = Spool(tmp_path, MIB)
    assert [content for _, content in everything(again)] == [b"before", b"after"]
    again.close()


WRITER = """
import sys
from pathlib import Path
from engine.realtime.spool import Spool
spool = Spool(Path(sys.argv[1]), 64 << 20)
while True:
    number = spool.append(b"z" * 700)
    sys.stdout.buffer.write(b"%d\\n" % number)
    sys.stdout.buffer.flush()
"""


@pytest.mark.slow
def test_what_was_taken_outlasts_a_killed_process(tmp_path: Path) -> None:
    for turn in range(5):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        told = 0
        for _ in range(200 * (turn + 1)):
            told = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
        process.wait()
        process.stdout.close()
        told = int(rest[-1]) if rest else told
        spool = Spool(tmp_path, 64 * MIB)
        assert [number for number, _ in everything(spool)][:told] == list(range(1, told + 1))
        left_open(spool)
