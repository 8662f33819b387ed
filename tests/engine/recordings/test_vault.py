"""Encrypted files: they come back as they were, in whole and in part, and nothing that was done to them goes unnoticed."""

from __future__ import annotations

import base64
import errno
import gc
import hashlib
import os
import resource
import secrets
import struct
import threading
import tracemalloc
from pathlib import Path
from random import Random

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from engine.recordings.keys import KeyMissing, KeyRefused, MasterKeys
from engine.recordings.record import Sealed
from engine.recordings.replacing import replacing, write_all
from engine.recordings.vault import CHUNK_BYTES, Cut, Damaged, NotEncrypted, Vault, decrypt_file

CHUNK = 64 << 10
HEADER = 8 + 2 + 2 + 4 + 16 + 16 + 2 + 40 + 16
STRIDE = CHUNK + 16
SIZES = (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 17)


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(tmp_path: Path, clock: Clock) -> MasterKeys:
    return MasterKeys(tmp_path / "keys", rotation_s=86_400, now=clock, random=secrets.token_bytes)


@pytest.fixture
def vault(keys: MasterKeys) -> Vault:
    return Vault(keys, random=secrets.token_bytes, chunk_bytes=CHUNK)


def sealed_file(vault: Vault, tmp_path: Path, content: bytes, name: str = "a") -> tuple[Path, Sealed]:
    plain, target = tmp_path / f"{name}.wav", tmp_path / f"{name}.wav.vault"
    plain.write_bytes(content)
    return target, vault.seal(plain, target)


def noise(count: int, seed: int = 1) -> bytes:
    return Random(seed).randbytes(count)


@pytest.mark.parametrize("size", SIZES)
def test_a_file_comes_back(vault: Vault, keys: MasterKeys, tmp_path: Path, size: int) -> None:
    content = noise(size)
    path, sealed = sealed_file(vault, tmp_path, content)
    assert (tmp_path / "a.wav").read_bytes() == content
    assert b"".join(vault.open(path, sealed)) == content
    assert b"".join(vault.open(path)) == content  # by the key in its own header
    assert decrypt_file(path, tmp_path / "again.wav", keys) == size
    assert (tmp_path / "again.wav").read_bytes() == content
    assert path.stat().st_size == HEADER + size + 16 * max(-(-size // CHUNK), 1)
    assert (sealed.algorithm, sealed.chunk_bytes, sealed.key_id) == ("AES-256-GCM", CHUNK, keys.current())
    assert sealed.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    found = vault.recover(path, tmp_path / "recovered", sealed)
    assert (found.bytes, found.is_whole, (tmp_path / "recovered").read_bytes() == content) == (size, True, True)


@pytest.mark.parametrize(
    ("content", "digest"),
    [
        (b"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (b"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"),
        (b"a" * 1_000_000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
    ],
    ids=len,
)
def test_checksums_are_those_of_fips_180(vault: Vault, tmp_path: Path, content: bytes, digest: str) -> None:
    path, sealed = sealed_file(vault, tmp_path, content)
    assert vault.plain_sha256(path, sealed) == digest


def test_any_range_is_what_the_plain_file_has_there(vault: Vault, tmp_path: Path) -> None:
    content, random = noise(5 * CHUNK + 1234), Random(2)
    path, sealed = sealed_file(vault, tmp_path, content)
    edges = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 5 * CHUNK, len(content) - 1, len(content), len(content) + 1, 2**40]
    for offset in (*edges, *(random.randrange(len(content)) for _ in range(40))):
        for length in (0, 1, 17, CHUNK, 2 * CHUNK + 5, 2**40):
            assert vault.read_range(path, sealed, offset, length) == content[offset : offset + length]
        assert b"".join(vault.open(path, sealed, offset)) == content[offset:]
    with pytest.raises(ValueError, match="counted from 0"):
        vault.read_range(path, sealed, -1, 5)
    with pytest.raises(ValueError, match="counted from 0"):
        vault.read_range(path, sealed, 0, -1)


def test_a_range_needs_only_its_chunks(vault: Vault, tmp_path: Path) -> None:
    content = noise(4 * CHUNK)
    path, sealed = sealed_file(vault, tmp_path, content)
    for damaged in (0, 1, 3):
        flip(path, HEADER + damaged * STRIDE + 5)
    assert vault.read_range(path, sealed, 2 * CHUNK, CHUNK) == content[2 * CHUNK : 3 * CHUNK]
    with pytest.raises(Damaged, match="chunk 1 of 4"):
        vault.read_range(path, sealed, 2 * CHUNK - 1, CHUNK)


def flip(path: Path, place: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))


def test_every_file_has_a_key_and_an_id_of_its_own(vault: Vault, tmp_path: Path) -> None:
    content = noise(1000)
    made = [sealed_file(vault, tmp_path, content, str(number)) for number in range(8)]
    assert len({sealed.wrapped_key for _, sealed in made}) == 8
    assert len({path.read_bytes()[16:32] for path, _ in made}) == 8
    assert len({path.read_bytes()[-500:] for path, _ in made}) == 8
    assert all(content[:32] not in path.read_bytes() for path, _ in made)


def test_the_format_is_the_one_that_is_written_down(vault: Vault, keys: MasterKeys, tmp_path: Path) -> None:
    content = noise(CHUNK + 10)
    path, sealed = sealed_file(vault, tmp_path, content)
    raw = path.read_bytes()
    magic, version, header_bytes, chunk_bytes, file_id, key_id, wrapped_bytes = struct.unpack(">8sHHI16s16sH", raw[:50])
    assert (magic, version, header_bytes, chunk_bytes, wrapped_bytes) == (b"TLKVAULT", 1, HEADER, CHUNK, 40)
    assert key_id.hex() == sealed.key_id
    assert base64.b64encode(raw[50:90]).decode() == sealed.wrapped_key
    cipher = AESGCM(keys.unwrap(sealed.key_id, raw[50:90]))
    tag = raw[90:106]
    assert cipher.encrypt(file_id[:7] + bytes(4) + b"\2", b"", raw[:90]) == tag
    assert cipher.encrypt(file_id[:7] + bytes(4) + b"\0", content[:CHUNK], tag) == raw[106 : 106 + STRIDE]
    assert cipher.encrypt(file_id[:7] + b"\0\0\0\1" + b"\1", content[CHUNK:], tag) == raw[106 + STRIDE :]


# ---- what is done to a file ----


def test_chunks_that_changed_places_are_found(vault: Vault, tmp_path: Path) -> None:
    path, sealed = sealed_file(vault, tmp_path, noise(4 * CHUNK))
    raw = path.read_bytes()
    header, chunks = raw[:HEADER], [raw[at : at + STRIDE] for at in range(HEADER, len(raw), STRIDE)]
    for order in ((1, 0, 2, 3), (0, 2, 1, 3), (0, 1, 3, 2), (0, 0, 2, 3), (1, 2, 3), (0, 2, 3), (0, 1, 2, 3, 3), (3,)):
        path.write_bytes(header + b"".join(chunks[number] for number in order))
        with pytest.raises(Damaged):
            list(vault.open(path, sealed))


def test_chunks_and_headers_of_other_files_are_found(vault: Vault, tmp_path: Path) -> None:
    content = noise(2 * CHUNK)
    (one, sealed), (two, other) = (sealed_file(vault, tmp_path, content, name) for name in "ab")
    first, second = one.read_bytes(), two.read_bytes()
    for mixed in (
        first[: HEADER + STRIDE] + second[HEADER + STRIDE :],
        second[:HEADER] + first[HEADER:],
        first[:16] + second[16:32] + first[32:],  # the id of the other
        first[:90] + second[90:106] + first[106:],  # its tag
    ):
        one.write_bytes(mixed)
        with pytest.raises(Damaged):
            list(vault.open(one, sealed))
        with pytest.raises((Damaged, KeyRefused)):
            list(vault.open(one))
    with pytest.raises(Damaged, match="another file"):
        list(vault.open(two, sealed))
    assert b"".join(vault.open(two, other)) == content


def test_a_file_that_ends_early_is_cut_and_what_is_whole_is_recovered(vault: Vault, tmp_path: Path) -> None:
    content = noise(3 * CHUNK + 100)
    path, sealed = sealed_file(vault, tmp_path, content)
    raw = path.read_bytes()
    for chunks, more in ((0, 0), (0, 1), (0, STRIDE - 1), (1, 0), (1, 15), (1, 17), (2, 5000), (3, 0), (3, 16), (3, 115)):
        path.write_bytes(raw[: HEADER + chunks * STRIDE + more])
        with pytest.raises(Damaged) as told:
            list(vault.open(path, sealed))
        assert isinstance(told.value, Cut) == (more == 0)
        found = vault.recover(path, tmp_path / "recovered", sealed)
        assert (found.bytes, found.is_whole) == (chunks * CHUNK, False)
        assert (tmp_path / "recovered").read_bytes() == content[: found.bytes]
        assert "the file" in found.problem


def test_damage_in_the_middle_ends_recovery_there(vault: Vault, tmp_path: Path) -> None:
    content = noise(3 * CHUNK)
    path, sealed = sealed_file(vault, tmp_path, content)
    flip(path, HEADER + STRIDE + 9)
    found = vault.recover(path, tmp_path / "recovered", sealed)
    assert (found.bytes, found.problem) == (CHUNK, "chunk 1 of 3 is not as it was written: it was changed")
    assert (tmp_path / "recovered").read_bytes() == content[:CHUNK]


def test_what_is_no_such_file_is_told_apart(vault: Vault, tmp_path: Path) -> None:
    path, _ = sealed_file(vault, tmp_path, b"x")
    raw = path.read_bytes()
    cases = {
        b"": NotEncrypted, b"RIFF" + raw: NotEncrypted, raw[:8] + b"\0\2" + raw[10:]: NotEncrypted, raw[:5]: Cut, raw[:40]: Cut, raw[: HEADER - 1]: Cut,
        raw[:12] + b"\xff\xff\xff\xff" + raw[16:]: Damaged, raw[:48] + b"\xff\xff" + raw[50:]: Damaged,
    }  # fmt: skip
    for content, error in cases.items():
        path.write_bytes(content)
        with pytest.raises(error):
            list(vault.open(path))
        with pytest.raises(error):
            vault.recover(path, tmp_path / "recovered")
        assert not (tmp_path / "recovered").exists()
    codes = {kind.code for kind in (NotEncrypted, Cut, Damaged)}
    assert codes == {"vault.not_encrypted", "vault.cut", "vault.damaged"}


def test_nothing_is_given_out_that_is_not_authentic(vault: Vault, tmp_path: Path) -> None:
    content = noise(3 * CHUNK)
    path, sealed = sealed_file(vault, tmp_path, content)
    flip(path, HEADER + 2 * STRIDE)
    given = []
    with pytest.raises(Damaged):
        for piece in vault.open(path, sealed):
            given.append(piece)
    assert b"".join(given) == content[: 2 * CHUNK]


def test_a_target_is_whole_or_not_there(vault: Vault, keys: MasterKeys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = sealed_file(vault, tmp_path, noise(3 * CHUNK))
    flip(path, HEADER + 2 * STRIDE)
    before = set(tmp_path.iterdir())
    with pytest.raises(Damaged):
        decrypt_file(path, tmp_path / "out.wav", keys)
    assert set(tmp_path.iterdir()) == before

    def failing(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(OSError, match="Input/output"):
        vault.seal(tmp_path / "a.wav", tmp_path / "b.vault")
    assert set(tmp_path.iterdir()) == before


def test_a_full_disk_leaves_what_was_there(vault: Vault, tmp_path: Path) -> None:
    path, _ = sealed_file(vault, tmp_path, b"first")
    before = path.read_bytes()
    (tmp_path / "a.wav").write_bytes(noise(3 * CHUNK))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * CHUNK, hard))  # writes are cut short, then fail
    try:
        with pytest.raises(OSError, match="File too large"):
            vault.seal(tmp_path / "a.wav", path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert not (tmp_path / ".a.wav.vault.part").exists()


def test_a_target_that_others_write_now_is_left_alone(vault: Vault, tmp_path: Path) -> None:
    target = tmp_path / "a.wav.vault"
    with replacing(target) as file:
        write_all(file, b"another's")
        with pytest.raises(BlockingIOError):
            sealed_file(vault, tmp_path, b"x")
    assert target.read_bytes() == b"another's"


def test_what_a_process_left_that_died_is_taken_over(vault: Vault, tmp_path: Path) -> None:
    (tmp_path / ".a.wav.vault.part").write_bytes(b"left over" * 10_000)
    path, sealed = sealed_file(vault, tmp_path, b"x")
    assert b"".join(vault.open(path, sealed)) == b"x"
    assert not (tmp_path / ".a.wav.vault.part").exists()


def test_a_link_in_place_of_the_dot_file_is_not_followed(vault: Vault, tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / ".a.wav.vault.part").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic links"):
        sealed_file(vault, tmp_path, b"x")
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_names_may_be_as_long_as_names_can_be(vault: Vault, tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"x")
    target = tmp_path / ("n" * 255)
    vault.seal(tmp_path / "a.wav", target)
    assert b"".join(vault.open(target)) == b"x"


# ---- keys ----


def test_rewrapping_changes_the_key_and_not_the_file(vault: Vault, keys: MasterKeys, tmp_path: Path, clock: Clock) -> None:
    content = noise(CHUNK + 5)
    path, first = sealed_file(vault, tmp_path, content)
    raw = path.read_bytes()
    assert vault.rewrap(first) is first
    clock.now += 86_400
    second = vault.rewrap(first)
    assert second == msgspec.structs.replace(first, key_id=keys.current(), wrapped_key=second.wrapped_key)
    assert second.key_id != first.key_id
    assert path.read_bytes() == raw
    for sealed in (first, second, None):
        assert b"".join(vault.open(path, sealed)) == content
    (keys.folder / f"{first.key_id}.key").unlink()
    assert b"".join(vault.open(path, second)) == content
    for sealed in (first, None):
        with pytest.raises(KeyMissing):
            list(vault.open(path, sealed))


def test_a_record_with_a_broken_key_says_so(vault: Vault, tmp_path: Path, clock: Clock) -> None:
    path, sealed = sealed_file(vault, tmp_path, b"x")
    for wrapped in ("", "!", "AAAA", sealed.wrapped_key[4:], sealed.wrapped_key + "AAAA", "é"):
        with pytest.raises(KeyRefused):
            list(vault.open(path, msgspec.structs.replace(sealed, wrapped_key=wrapped)))
    clock.now += 86_400
    with pytest.raises(KeyRefused):
        vault.rewrap(msgspec.structs.replace(sealed, wrapped_key="AAAA"))


def test_a_record_of_another_algorithm_is_refused(vault: Vault, tmp_path: Path) -> None:
    path, sealed = sealed_file(vault, tmp_path, b"x")
    with pytest.raises(NotEncrypted, match="another algorithm"):
        list(vault.open(path, msgspec.structs.replace(sealed, algorithm="ChaCha20-Poly1305")))


def test_a_key_of_another_length_is_refused(vault: Vault, keys: MasterKeys, tmp_path: Path) -> None:
    path, sealed = sealed_file(vault, tmp_path, b"x")
    key_id, wrapped = keys.wrap(b"k" * 16)
    with pytest.raises(Damaged, match="another length"):
        list(vault.open(path, msgspec.structs.replace(sealed, key_id=key_id, wrapped_key=base64.b64encode(wrapped).decode())))


# ---- memory, threads ----


def test_memory_is_the_same_for_any_size(keys: MasterKeys, tmp_path: Path) -> None:
    vault = Vault(keys, random=secrets.token_bytes)

    def most(size: int) -> int:
        (tmp_path / "big").write_bytes(bytes(size))
        gc.collect()
        tracemalloc.start()
        try:
            sealed = vault.seal(tmp_path / "big", tmp_path / "big.vault")
            vault.plain_sha256(tmp_path / "big.vault", sealed)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    most(0)
    assert most(16 << 20) < 10 * CHUNK_BYTES
    assert abs(most(16 << 20) - most(4 << 20)) < CHUNK_BYTES


def test_a_growing_file_is_encrypted_up_to_where_it_ended_then(vault: Vault, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    content = noise(2 * CHUNK)

    def write() -> None:
        with (tmp_path / "pipe").open("wb", buffering=0) as pipe:
            for at in range(0, len(content), 1000):  # short reads
                pipe.write(content[at : at + 1000])

    writer = threading.Thread(target=write)
    writer.start()
    sealed = vault.seal(tmp_path / "pipe", tmp_path / "out")
    writer.join()
    assert b"".join(vault.open(tmp_path / "out", sealed)) == content


def test_threads_share_a_vault(vault: Vault, tmp_path: Path) -> None:
    path, sealed = sealed_file(vault, tmp_path, noise(3 * CHUNK))
    digest, found = hashlib.sha256(noise(3 * CHUNK)).hexdigest(), []
    threads = [threading.Thread(target=lambda: found.append(vault.plain_sha256(path, sealed))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [digest] * 8


@pytest.mark.parametrize("chunk_bytes", [0, CHUNK - 1, (1 << 20) + 1])
def test_chunks_have_a_size_that_can_be_read(keys: MasterKeys, chunk_bytes: int) -> None:
    with pytest.raises(ValueError, match="a chunk has"):
        Vault(keys, random=secrets.token_bytes, chunk_bytes=chunk_bytes)
