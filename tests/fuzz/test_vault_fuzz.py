"""Encrypted files in hostile hands: what is read is what was written, or an error says otherwise; never other bytes, another error, or a hang."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator
from pathlib import Path
from random import Random

import msgspec
import pytest

from engine.errors import EngineError
from engine.recordings.keys import KeysError, MasterKeys
from engine.recordings.record import Sealed
from engine.recordings.vault import Vault, VaultError

CHUNK = 64 << 10
PLAIN = bytes(range(37))


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Vault:
    keys = MasterKeys(tmp_path_factory.mktemp("keys"), rotation_s=0, now=lambda: 1e9, random=Random(1).randbytes)
    return Vault(keys, random=Random(2).randbytes, chunk_bytes=CHUNK)


def sealed_file(vault: Vault, folder: Path, content: bytes) -> tuple[Path, Sealed, bytes]:
    (folder / "plain").write_bytes(content)
    sealed = vault.seal(folder / "plain", folder / "file")
    return folder / "file", sealed, (folder / "file").read_bytes()


def read(vault: Vault, path: Path, sealed: Sealed | None, plain: bytes) -> bool:
    """Whether all of it was read; what was given before an error must be as it was written."""
    given = b""
    try:
        for piece in vault.open(path, sealed):
            given += piece
    except (VaultError, KeysError):
        assert plain.startswith(given)
        return False
    assert given == plain
    return True


def recovered(vault: Vault, path: Path, sealed: Sealed | None, plain: bytes) -> None:
    target = path.with_name("recovered")
    with contextlib.suppress(VaultError, KeysError):
        found = vault.recover(path, target, sealed)
        content = target.read_bytes()
        assert plain.startswith(content)
        assert len(content) == found.bytes
        assert not found.is_whole or content == plain


def test_every_flipped_bit_of_a_small_file(vault: Vault, tmp_path: Path) -> None:
    path, sealed, raw = sealed_file(vault, tmp_path, PLAIN)
    for place in range(len(raw)):
        for bit in range(8):
            path.write_bytes(raw[:place] + bytes([raw[place] ^ 1 << bit]) + raw[place + 1 :])
            assert not read(vault, path, sealed, PLAIN), (place, bit)
            assert not read(vault, path, None, PLAIN), (place, bit)
        recovered(vault, path, sealed, PLAIN)


@pytest.mark.parametrize("plain", [b"", PLAIN], ids=["empty", "small"])
def test_every_truncation_of_a_small_file(vault: Vault, tmp_path: Path, plain: bytes) -> None:
    path, sealed, raw = sealed_file(vault, tmp_path, plain)
    for length in range(len(raw)):
        path.write_bytes(raw[:length])
        assert not read(vault, path, sealed, plain), length
        assert not read(vault, path, None, plain), length
        recovered(vault, path, sealed, plain)
    path.write_bytes(raw + b"\0")
    assert not read(vault, path, sealed, plain)


def mutations(random: Random, raw: bytes) -> Iterator[bytes]:
    for _ in range(150):
        changed = bytearray(raw)
        kind = random.randrange(5)
        at, to, count = random.randrange(len(raw)), random.randrange(len(raw)), random.choice([1, 16, CHUNK, CHUNK + 16])
        if kind == 0:
            changed[at] ^= random.randrange(1, 256)
        elif kind == 1:
            del changed[at : at + count]
        elif kind == 2:
            changed[at:at] = random.randbytes(count)
        elif kind == 3:
            changed[at:at] = changed[to : to + count]
        else:
            changed[at : at + count] = changed[to : to + count]
        yield bytes(changed)


@pytest.mark.parametrize("seed", range(3))
def test_larger_files_in_which_pieces_were_changed_moved_and_removed(vault: Vault, tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    plain = random.randbytes(random.choice([2 * CHUNK, 3 * CHUNK + 11, 3 * CHUNK - 16]))
    path, sealed, raw = sealed_file(vault, tmp_path, plain)
    whole = 0
    for changed in mutations(random, raw):
        path.write_bytes(changed)
        assert read(vault, path, sealed, plain) == (changed == raw)
        recovered(vault, path, sealed, plain)
        offset, length = random.randrange(len(plain)), random.choice([1, 100, CHUNK])
        with contextlib.suppress(EngineError):
            assert vault.read_range(path, sealed, offset, length) == plain[offset : offset + length]
            whole += 1
    assert whole > 20


@pytest.mark.parametrize("seed", range(2))
def test_any_bytes_behind_the_magic(vault: Vault, tmp_path: Path, seed: int) -> None:
    random, path = Random(seed), tmp_path / "file"
    for _ in range(400):
        fixed = b"TLKVAULT\0\1" + random.choice([b"\0\x6a\0\1\0\0", random.randbytes(6)])
        path.write_bytes(fixed + random.randbytes(random.randrange(300)))
        assert not read(vault, path, None, b"")
        recovered(vault, path, None, b"")


def test_records_that_were_changed(vault: Vault, tmp_path: Path) -> None:
    path, sealed, _ = sealed_file(vault, tmp_path, PLAIN)
    random = Random(3)
    for _ in range(300):
        wrapped = bytearray(base64.b64decode(sealed.wrapped_key))
        wrapped[random.randrange(len(wrapped))] ^= random.randrange(1, 256)
        broken = msgspec.structs.replace(sealed, wrapped_key=base64.b64encode(wrapped).decode())
        assert not read(vault, path, broken, PLAIN)
        assert not read(vault, path, msgspec.structs.replace(sealed, key_id="".join(random.choices("0123456789abcdef/.", k=32))), PLAIN)
