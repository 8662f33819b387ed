"""Master keys: made once however many ask, changed in time, kept, and never shown."""

from __future__ import annotations

import base64
import logging
import os
import secrets
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import msgspec
import pytest
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap_with_padding

from engine.config.document import Config, Encryption
from engine.recordings.keys import KeyDamaged, KeyMissing, KeyRefused, KeysUnavailable, MasterKeys, keys_of

ROOT = Path(__file__).parents[3]
DAY_S = 86_400.0


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "keys"


def opened(folder: Path, clock: Callable[[], float], rotation_s: float = DAY_S) -> MasterKeys:
    return MasterKeys(folder, rotation_s=rotation_s, now=clock, random=secrets.token_bytes)


def key_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.key"))


def raw_key(folder: Path, key_id: str) -> bytes:
    return base64.b64decode(msgspec.json.decode((folder / f"{key_id}.key").read_bytes())["key"])


def test_a_wrapped_key_comes_back_also_for_a_later_process(folder: Path, clock: Clock) -> None:
    data_key = os.urandom(32)
    key_id, wrapped = opened(folder, clock).wrap(data_key)
    assert opened(folder, clock).unwrap(key_id, wrapped) == data_key
    assert data_key not in wrapped
    assert aes_key_unwrap_with_padding(raw_key(folder, key_id), wrapped) == data_key
    assert len(raw_key(folder, key_id)) == 32


def test_nothing_is_made_before_it_is_needed(folder: Path, clock: Clock) -> None:
    keys = opened(folder, clock)
    assert keys.ids() == []
    with pytest.raises(KeyMissing):
        keys.unwrap("00" * 16, b"x" * 40)
    assert not folder.exists()


def test_only_the_owner_can_read(folder: Path, clock: Clock) -> None:
    before = os.umask(0)
    try:
        keys = opened(folder, clock)
        keys.wrap(b"k" * 32)
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()] == [0o600, 0o600]
    assert keys.problems() == []
    key_files(folder)[0].chmod(0o640)
    assert [problem.endswith("others than its owner have rights to it") for problem in keys.problems()] == [True]


def test_a_key_is_on_the_disk_before_anything_is_wrapped_by_it(folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[set[str]] = []
    fsync = os.fsync

    def watched(fd: int) -> None:
        synced.append({path.suffix for path in folder.iterdir()})
        fsync(fd)

    monkeypatch.setattr(os, "fsync", watched)
    opened(folder, clock).wrap(b"k" * 32)
    assert synced == [{"", ".part"}, {"", ".key"}]  # its content under another name, then its name


def test_a_new_key_is_made_when_the_time_has_come_and_old_ones_stay(folder: Path, clock: Clock) -> None:
    keys = opened(folder, clock)
    first = keys.wrap(b"a" * 32)
    clock.now += DAY_S - 1
    assert keys.current() == first[0]
    clock.now += 1
    second = keys.wrap(b"b" * 32)
    assert second[0] != first[0]
    assert opened(folder, clock).current() == second[0]
    assert keys.unwrap(*first) == b"a" * 32
    assert keys.unwrap(*second) == b"b" * 32
    assert keys.ids() == sorted([first[0], second[0]])


def test_without_a_rotation_time_a_key_stays_for_ever(folder: Path, clock: Clock) -> None:
    keys = opened(folder, clock, 0)
    first = keys.current()
    clock.now += 100 * 365 * DAY_S
    assert keys.current() == first == opened(folder, clock, 0).current()


def test_a_key_of_tomorrow_does_not_stop_rotation(folder: Path, clock: Clock) -> None:
    clock.now += 365 * DAY_S
    tomorrow = opened(folder, clock).current()
    clock.now -= 365 * DAY_S
    keys = opened(folder, clock)
    today = keys.current()
    assert today != tomorrow
    clock.now += DAY_S
    assert keys.current() not in (today, tomorrow)
    assert len(keys.ids()) == 3


def test_however_many_ask_at_once_one_key_is_made(folder: Path, clock: Clock) -> None:
    with ThreadPoolExecutor(16) as pool:
        found = set(pool.map(lambda _: opened(folder, clock).current(), range(64)))
    assert len(found) == 1
    assert len(key_files(folder)) == 1


def test_processes_share_a_folder(folder: Path) -> None:
    program = (
        "import secrets, sys, pathlib\nfrom engine.recordings.keys import MasterKeys\n"
        "keys = MasterKeys(pathlib.Path(sys.argv[1]), rotation_s=60, now=lambda: 1e9, random=secrets.token_bytes)\n"
        "key_id, wrapped = keys.wrap(b'k' * 32)\nprint(key_id, wrapped.hex())"
    )
    running = [subprocess.Popen([sys.executable, "-c", program, folder], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    told = [process.communicate(timeout=60)[0].split() for process in running]
    assert len({key_id for key_id, _ in told}) == 1
    keys = opened(folder, lambda: 1e9)
    assert {keys.unwrap(key_id, bytes.fromhex(wrapped)) for key_id, wrapped in told} == {b"k" * 32}


def test_what_a_process_left_that_died_while_it_made_a_key_is_no_key(folder: Path, clock: Clock) -> None:
    folder.mkdir(parents=True)
    (folder / f".{'ab' * 16}.part").write_bytes(b'{"version":1')
    (folder / f"{'cd' * 15}.key").write_bytes(b"short name")
    (folder / ".lock").touch()
    keys = opened(folder, clock)
    assert keys.ids() == []
    made = keys.current()
    assert keys.ids() == [made]


def test_a_key_that_cannot_be_made_leaves_nothing_half_made(folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "link", failing)
        with pytest.raises(KeysUnavailable, match="No space left") as told:
            opened(folder, clock).wrap(b"k" * 32)
        assert told.value.code == "keys.unavailable"
    assert [path.name for path in folder.iterdir()] == [".lock"]
    opened(folder, clock).wrap(b"k" * 32)


def test_every_missing_and_damaged_key_has_an_error_of_its_own(folder: Path, clock: Clock) -> None:
    keys = opened(folder, clock)
    key_id, wrapped = keys.wrap(b"k" * 32)
    path = folder / f"{key_id}.key"
    whole = path.read_bytes()
    other, _ = opened(folder, lambda: clock.now + 2 * DAY_S).wrap(b"k" * 32)

    with pytest.raises(KeyRefused) as refused:
        keys.unwrap(other, wrapped)
    with pytest.raises(KeyRefused):
        keys.unwrap(key_id, wrapped[:-1] + bytes([wrapped[-1] ^ 1]))
    with pytest.raises(KeyRefused):
        keys.unwrap(key_id, b"")
    path.unlink()
    with pytest.raises(KeyMissing, match=key_id) as missing:
        keys.unwrap(key_id, wrapped)
    for damaged in (b"", whole[:-2], whole.replace(b'"version":1', b'"version":2'), b"\xff" * 100, b"{}", whole + b"x" * 5000, whole.replace(key_id.encode(), other.encode())):
        path.write_bytes(damaged)
        with pytest.raises(KeyDamaged, match=path.name) as told:
            keys.unwrap(key_id, wrapped)
        assert str(told.value) in keys.problems()
    assert (refused.value.code, missing.value.code, told.value.code) == ("keys.refused", "keys.missing", "keys.damaged")
    path.write_bytes(whole)
    assert keys.unwrap(key_id, wrapped) == b"k" * 32


def test_every_flipped_bit_of_a_key_file_is_found_or_changes_nothing(folder: Path, clock: Clock) -> None:
    keys = opened(folder, clock)
    key_id, wrapped = keys.wrap(b"k" * 32)
    path = folder / f"{key_id}.key"
    whole = path.read_bytes()
    found = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            assert keys.unwrap(key_id, wrapped) == b"k" * 32
        except KeyDamaged:
            found += 1
    assert found >= len(whole) - 1  # the newline at the end may be another space


@pytest.mark.parametrize("key_id", ["", "..", "../../etc/passwd", "AB" * 16, "0" * 31, "0" * 33, "0" * 31 + "/", "\0" * 32, "é" * 32])
def test_an_id_is_never_a_path(folder: Path, clock: Clock, key_id: str) -> None:
    with pytest.raises(KeyMissing, match="32 hexadecimal digits"):
        opened(folder, clock).unwrap(key_id, b"x" * 40)


def test_a_link_in_place_of_a_key_is_not_followed(folder: Path, clock: Clock, tmp_path: Path) -> None:
    keys = opened(folder, clock)
    key_id, wrapped = keys.wrap(b"k" * 32)
    (folder / f"{key_id}.key").rename(tmp_path / "elsewhere")
    (folder / f"{key_id}.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeysUnavailable):
        keys.unwrap(key_id, wrapped)


def test_a_damaged_key_does_not_stop_new_recordings(folder: Path, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    broken = opened(folder, clock).current()
    (folder / f"{broken}.key").write_bytes(b"broken")
    clock.now += 1
    assert opened(folder, clock).current() != broken
    assert broken in caplog.text


def test_a_volume_that_went_away_is_no_place_for_a_first_key(folder: Path, clock: Clock) -> None:
    keys = opened(folder, clock)
    keys.wrap(b"k" * 32)
    folder.rename(folder.with_name("away"))
    folder.mkdir()
    with pytest.raises(KeyMissing, match="lost its master keys"):
        keys.wrap(b"k" * 32)
    assert key_files(folder) == []
    folder.rmdir()
    folder.with_name("away").rename(folder)
    keys.wrap(b"k" * 32)
    assert len(key_files(folder)) == 1


def test_nothing_is_wrapped_by_a_key_that_was_taken_away(folder: Path, clock: Clock) -> None:
    keys = opened(folder, clock)
    first = keys.current()
    clock.now += DAY_S
    second = keys.current()
    (folder / f"{second}.key").unlink()
    third = keys.current()
    assert third not in (first, second)
    assert third in keys.ids()


def test_no_key_is_shown(folder: Path, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    keys = opened(folder, clock)
    data_key = os.urandom(32)
    key_id, wrapped = keys.wrap(data_key)
    shown = [repr(keys), repr(keys._current), str(keys._current), caplog.text]
    path = folder / f"{key_id}.key"
    whole = path.read_bytes()
    for damaged in (whole[:-3], whole.replace(b'"made_at"', b'"made_by"'), whole.replace(b'"key":"', b'"key":"?')):
        path.write_bytes(damaged)
        with pytest.raises(KeyDamaged) as told:
            keys.unwrap(key_id, wrapped)
        shown += [repr(told.value), str(told.value), repr(told.value.__cause__)]
    secret = base64.b64decode(msgspec.json.decode(whole)["key"])
    assert key_id in caplog.text  # what is looked through is not empty
    for text in shown:
        for form in (secret.hex(), base64.b64encode(secret).decode().rstrip("=")[:20], repr(secret)[2:20], data_key.hex()):
            assert form not in text


def test_ids_and_keys_are_what_random_gives(folder: Path, clock: Clock) -> None:
    random = Random(7)
    drawn: list[bytes] = []

    def bytes_of(count: int) -> bytes:
        drawn.append(random.randbytes(count))
        return drawn[-1]

    key_id = MasterKeys(folder, rotation_s=0, now=clock, random=bytes_of).current()
    assert [len(each) for each in drawn] == [16, 32]
    assert (key_id, raw_key(folder, key_id)) == (drawn[0].hex(), drawn[1])


@pytest.mark.parametrize("path", ["keys", "", " "])
def test_it_works_without_any_setting(tmp_path: Path, path: str) -> None:
    assert Config().encryption.master_key_path == "keys"
    data = tmp_path / "data"
    keys = keys_of(Encryption(master_key_path=path), data, now=lambda: 1e9, random=secrets.token_bytes)
    keys.wrap(b"k" * 32)
    assert len(key_files(data / "keys")) == 1


def test_a_folder_elsewhere_is_used_as_it_is(tmp_path: Path) -> None:
    keys = keys_of(Encryption(master_key_path=str(tmp_path / "hsm")), tmp_path / "data", now=lambda: 1e9, random=secrets.token_bytes)
    keys.wrap(b"k" * 32)
    assert len(key_files(tmp_path / "hsm")) == 1
    assert not (tmp_path / "data").exists()


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no working copy")
def test_there_is_no_key_in_the_tree() -> None:
    names = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    assert len(names) > 100
    assert [name for name in names if name.endswith((".key", ".pem", ".p12", ".pfx"))] == []
    found = []
    for name in filter(None, names):
        path = ROOT / name
        if path.is_file() and path.stat().st_size <= 4096 and path.read_bytes().lstrip().startswith(b"{"):
            found += [name for field in (b'"made_at"', b'"key"') if field in path.read_bytes()]
    assert found == []
