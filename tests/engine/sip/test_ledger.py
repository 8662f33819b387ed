"""What outlives a worker: files torn and bent at every byte, written anew, on disks that are full, and of processes that are killed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from binascii import crc32
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from engine.sip import ledger
from engine.sip.ledger import Entry, Ledger, recover
from tests.running import ROOT

BYE = b"BYE sip:b@192.0.2.1 SIP/2.0\r\nCall-ID: %d\r\nContent-Length: 0\r\n\r\n"


class Turns:
    """A loop that turns when it is told to."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def __call__(self, callback: Callable[[], None]) -> None:
        self.waiting.append(callback)

    def turn(self) -> None:
        waiting, self.waiting = self.waiting, []
        for callback in waiting:
            callback()


def entry(at: int) -> Entry:
    return Entry(f"call{at}", BYE % at, "UDP", "192.0.2.1", 5060 + at)


def record(book: Ledger, *entries: Entry) -> None:
    for told in entries:
        assert book.record(told.dialog_id, told.bye, told.transport, told.host, told.port)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "worker-0.calls"


@pytest.fixture
def turns() -> Turns:
    return Turns()


def written(path: Path, *entries: Entry) -> bytes:
    turns = Turns()
    book = Ledger(path, turns)
    record(book, *entries)
    turns.turn()
    book.close()
    return path.read_bytes()


# ---- what is kept ----


def test_there_is_nothing_where_there_is_no_file(path: Path) -> None:
    assert recover(path) == []


@pytest.mark.parametrize("odd", [
    Entry("a\r\nb\tc\0", bytes(range(256)), "TCP", "2001:db8::1", 1), Entry('"{}\\', b"\n\n", "WSS", "höst.example", 65535),
    Entry("not \udcff text", b"x", "", "", 0), Entry("", b"x" * 40_000, "TLS", "h", 5061),
])  # fmt: skip
def test_an_entry_comes_back_as_it_was(path: Path, odd: Entry) -> None:
    written(path, entry(1), odd, entry(2))
    assert recover(path) == [entry(1), odd, entry(2)]


def test_what_is_over_is_forgotten_and_the_last_word_counts(path: Path, turns: Turns) -> None:
    book = Ledger(path, turns)
    record(book, entry(1), entry(2), entry(3))
    turns.turn()
    changed = Entry("call2", b"BYE again", "TCP", "h", 7)
    record(book, changed)
    book.forget("call1")
    book.forget("never heard of")
    turns.turn()
    assert recover(path) == book.entries() == [entry(3), changed]
    record(book, entry(1))
    book.forget("call3")
    turns.turn()
    assert recover(path) == [changed, entry(1)]
    assert len(book) == 2


def test_a_turn_is_one_write(path: Path, turns: Turns, monkeypatch: pytest.MonkeyPatch) -> None:
    book = Ledger(path, turns)
    sizes: list[int] = []
    write = os.write

    def counted(file: int, data: bytes) -> int:
        sizes.append(len(data))
        return write(file, data)

    monkeypatch.setattr(os, "write", counted)
    record(book, *(entry(at) for at in range(50)))
    book.forget("call7")
    assert sizes == []
    assert len(turns.waiting) == 1
    turns.turn()
    assert sizes == [path.stat().st_size] == [book.size_bytes]
    turns.turn()
    book.flush()
    assert len(sizes) == 1


def test_a_successor_goes_on_where_it_ended(path: Path, turns: Turns) -> None:
    written(path, entry(1), entry(2))
    book = Ledger(path, turns)
    assert book.entries() == [entry(1), entry(2)]
    book.forget("call1")
    record(book, entry(3))
    book.close()
    assert recover(path) == [entry(2), entry(3)]
    record(book, entry(4))
    turns.turn()
    assert recover(path) == [entry(2), entry(3)]  # closed is closed


def test_the_file_is_its_users_alone(path: Path, turns: Turns) -> None:
    written(path, entry(1))
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("bad", [
    Entry("a", b"", "UDP", "h", 1), Entry("a", b"x" * 65_536, "UDP", "h", 1), Entry("x" * 65_536, b"x", "UDP", "h", 1),
    Entry("a", b"x", "UDP", "\udcff", 1),
])  # fmt: skip
def test_what_no_line_can_hold_is_refused(path: Path, turns: Turns, bad: Entry) -> None:
    book = Ledger(path, turns)
    assert not book.record(bad.dialog_id, bad.bye, bad.transport, bad.host, bad.port)
    assert (book.refused, len(book), turns.waiting) == (1, 0, [])


def test_there_is_an_end_to_how_many(path: Path, turns: Turns, monkeypatch: pytest.MonkeyPatch) -> None:
    book = Ledger(path, turns, entries_max=2)
    record(book, entry(1), entry(2), entry(2))
    assert not book.record("call3", b"x", "UDP", "h", 1)
    book.forget("call1")
    record(book, entry(3))
    monkeypatch.setattr(ledger, "LIVE_MAX_BYTES", book.size_bytes + 100)
    assert not book.record("call3", b"x", "UDP", "h", 1)
    assert book.refused == 2
    turns.turn()
    assert recover(path) == [entry(2), entry(3)]


# ---- files that are not as they were left ----


def test_a_file_cut_at_any_byte_gives_what_was_whole(path: Path, turns: Turns) -> None:
    entries = [entry(at) for at in range(4)]
    data = written(path, *entries)
    ends = [at + 1 for at, byte in enumerate(data) if byte == 10]
    assert len(ends) == 4
    for cut in range(len(data) + 1):
        path.write_bytes(data[:cut])
        whole = [told for told, end in zip(entries, ends, strict=True) if end <= cut]
        assert recover(path) == whole
        book = Ledger(path, turns)
        record(book, entry(9))
        book.close()
        assert recover(path) == [*whole, entry(9)]


def test_a_file_bent_at_any_byte_gives_the_others(path: Path) -> None:
    entries = [entry(at) for at in range(4)]
    data = written(path, *entries)
    random = Random(4)
    for at in range(len(data)):
        bent = bytearray(data)
        bent[at] ^= random.randrange(1, 256)
        path.write_bytes(bent)
        found = recover(path)
        assert len(found) >= (2 if data[at] == 10 else 3)
        assert all(told in entries for told in found)


@pytest.mark.parametrize("rubbish", [
    b"\n" * 1000, b"\0" * 200_000, b"x" * 70_000 + b"\n", b"00000000 \n", b"00000000 {}\n", b"\xff\xfe\n", b"{}\n",
])  # fmt: skip
def test_rubbish_between_lines_is_passed_over(path: Path, rubbish: bytes) -> None:
    first, second = written(path, entry(1)), written(path.with_name("other"), entry(2))
    path.write_bytes(first + rubbish * 3)
    assert recover(path) == [entry(1)]
    path.write_bytes(rubbish.rstrip(b"\n") + b"\n" + first + rubbish.rstrip(b"\n") + b"\n" + second)
    assert recover(path) == [entry(1), entry(2)]


def test_a_line_with_a_good_checksum_and_no_entry_is_passed_over(path: Path) -> None:
    texts = (b"{}", b"[]", b"", b'{"d":1}', b'{"d":"!"}', b'{"d":"","b":"x","p":"a"}', b"\xff")
    path.write_bytes(b"".join(b"%08x %s\n" % (crc32(text), text) for text in texts) + written(path, entry(1)))
    assert recover(path) == [entry(1)]


def test_random_bytes_are_no_entries(path: Path) -> None:
    random = Random(8)
    for _ in range(200):
        path.write_bytes(random.randbytes(random.randrange(3000)))
        assert recover(path) == []


def test_what_was_being_written_anew_when_the_process_died_is_no_hindrance(path: Path, turns: Turns) -> None:
    written(path, entry(1))
    path.with_name(path.name + ".new").write_bytes(b"half a file")
    assert Ledger(path, turns).entries() == [entry(1)]
    assert [found.name for found in path.parent.iterdir()] == [path.name]


# ---- size ----


def test_a_file_of_what_is_over_is_written_anew(path: Path, turns: Turns) -> None:
    book = Ledger(path, turns, slack_bytes=10_000)
    record(book, *(entry(at) for at in range(10)))
    turns.turn()
    kept, places, largest = path.stat().st_size, {path.stat().st_ino}, 0
    for at in range(1000, 4000):
        record(book, entry(at))
        turns.turn()
        book.forget(f"call{at}")
        turns.turn()
        largest = max(largest, path.stat().st_size)
        places.add(path.stat().st_ino)
        assert path.stat().st_size == book.size_bytes
    assert largest <= 10_000 + 3 * kept
    assert len(places) > 1
    assert recover(path) == [entry(at) for at in range(10)]


def test_a_file_of_what_is_not_over_is_left_alone(path: Path, turns: Turns) -> None:
    book = Ledger(path, turns, slack_bytes=1000)
    place = path.stat().st_ino
    for at in range(500):
        record(book, entry(at))
        turns.turn()
    assert path.stat().st_ino == place
    assert len(recover(path)) == 500


# ---- disks ----


def test_a_full_disk_refuses_no_call_and_is_made_up_for(path: Path, turns: Turns, monkeypatch: pytest.MonkeyPatch) -> None:
    book = Ledger(path, turns)
    record(book, entry(1))
    turns.turn()
    write = os.write

    def full(file: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        for at in (2, 3):
            record(book, entry(at))
            turns.turn()
    assert book.lost == 2
    assert recover(path) == [entry(1)]
    record(book, entry(4))
    turns.turn()
    assert recover(path) == book.entries() == [entry(at) for at in (1, 2, 3, 4)]

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda file, data: write(file, data[: len(data) // 2]))
        record(book, entry(5))
        turns.turn()
    assert recover(path) == [entry(at) for at in (1, 2, 3, 4)]
    book.forget("call1")
    turns.turn()
    assert recover(path) == [entry(at) for at in (2, 3, 4, 5)]
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_a_folder_that_is_not_there_is_told_at_once(tmp_path: Path, turns: Turns) -> None:
    with pytest.raises(FileNotFoundError):
        Ledger(tmp_path / "nowhere" / "calls", turns)


# ---- a process that is killed ----

CHILD = """
import asyncio, sys
from pathlib import Path
from engine.sip.ledger import Ledger
async def run():
    book = Ledger(Path(sys.argv[1]), slack_bytes=50_000)
    for at in range(10**9):
        book.record(f"call{at}", b"BYE %d" % at, "UDP", "192.0.2.1", 5060)
        if at >= 20:
            book.forget(f"call{at - 20}")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        print(at, flush=True)
asyncio.run(run())
"""


@pytest.mark.parametrize("after", [25, 400, 1500])
def test_what_was_written_outlives_kill_9(path: Path, after: int) -> None:
    """Killed anywhere, also while the file is written anew: all that the process told of is there, and nothing that was over."""
    with subprocess.Popen([sys.executable, "-c", CHILD, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        last = next(int(line) for line in child.stdout if int(line) >= after)
        child.send_signal(signal.SIGKILL)
        last = max([last, *(int(line) for line in child.stdout if line.endswith("\n"))])
    found = [int(told.dialog_id.removeprefix("call")) for told in recover(path)]
    assert found == sorted(found)
    newest = found[-1]
    assert newest in (last, last + 1)
    assert found in ([*range(newest - 19, newest + 1)], [*range(newest - 20, newest + 1)])
