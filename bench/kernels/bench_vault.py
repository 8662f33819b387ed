"""Encryption at rest: 64 MiB sealed, read and gone to by ranges, on one core, in memory.

The limit of sealing is the bare library over the same chunks: read, AES-256-GCM, SHA-256, write; of reading: read and AES-256-GCM. The peer is `openssl enc
-aes-256-ctr`, which reads and writes the same files and authenticates nothing. Files lie in /dev/shm, so that no disk is measured.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from random import Random

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bench.measure import BUILD, Row, agree, median_s
from engine.recordings.keys import MasterKeys
from engine.recordings.record import Sealed
from engine.recordings.vault import Vault, decrypt_file

SIZES = (64 << 10, 256 << 10, 1 << 20)
PEER = "openssl aes-256-ctr"
RANGE = 65_536
KEY = bytes(32)


def bare_seal(plain: Path, out: Path, chunk_bytes: int) -> Callable[[], None]:
    """What cannot be done without: read(2), AES-256-GCM, SHA-256, write(2), chunk by chunk."""
    cipher, chunk = AESGCM(KEY), bytearray(chunk_bytes)

    def run() -> None:
        digest = hashlib.sha256()
        with plain.open("rb", buffering=0) as source, out.open("wb", buffering=0) as target:
            for number in range(plain.stat().st_size // chunk_bytes):
                source.readinto(chunk)
                sealed = cipher.encrypt(number.to_bytes(12, "big"), chunk, None)
                digest.update(sealed)
                target.write(sealed)

    return run


def bare_read(plain: Path, chunk_bytes: int) -> Callable[[], None]:
    """read(2) and AES-256-GCM."""
    cipher, chunk = AESGCM(KEY), bytearray(chunk_bytes)

    def run() -> None:
        with plain.open("rb", buffering=0) as source:
            for number in range(plain.stat().st_size // chunk_bytes):
                source.readinto(chunk)
                cipher.encrypt(number.to_bytes(12, "big"), chunk, None)

    return run


def openssl(source: Path, target: Path) -> Callable[[], None]:
    """The same file through the command."""
    command = ["openssl", "enc", "-aes-256-ctr", "-K", KEY.hex(), "-iv", "0" * 32, "-in", os.fspath(source), "-out", os.fspath(target)]

    def run() -> None:
        subprocess.run(command, check=True, capture_output=True)

    return run


def read(vault: Vault, path: Path, sealed: Sealed) -> int:
    """All of a file, piece by piece."""
    return sum(map(len, vault.open(path, sealed)))


def speed(chunk_bytes: int) -> float:
    """MB/s that `openssl speed` tells of AES-256-GCM for such a block; 0 where it is not there."""
    if not shutil.which("openssl"):
        return 0.0
    told = subprocess.run(["openssl", "speed", "-seconds", "1", "-bytes", str(chunk_bytes), "-evp", "aes-256-gcm"], capture_output=True, text=True, check=False)
    found = re.search(r"^\S*(?:aes-256-gcm|AES-256-GCM)\s+([\d.]+)k", told.stdout, re.MULTILINE)
    return float(found[1]) / 1e3 if found else 0.0


def folder_of() -> str:
    """Memory where there is some."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else os.fspath(BUILD)


def rows(quick: bool) -> Iterator[Row]:
    """MB/s of sealing and reading for three sizes of chunks, and ranges a second."""
    size, repeats = (16 << 20, 3) if quick else (64 << 20, 7)
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder_of()) as name:
        folder = Path(name)
        plain, out, back = folder / "plain", folder / "out", folder / "back"
        plain.write_bytes(Random(1).randbytes(size))
        digest = hashlib.sha256(plain.read_bytes()).hexdigest()
        keys = MasterKeys(folder / "keys", rotation_s=0, now=time.time, random=secrets.token_bytes)
        peer = size / median_s(openssl(plain, back), repeats) / 1e6 if shutil.which("openssl") else 0.0
        for chunk_bytes in SIZES:
            vault = Vault(keys, random=secrets.token_bytes, chunk_bytes=chunk_bytes)
            sealing = size / median_s(bare_seal(plain, back, chunk_bytes), repeats) / 1e6
            reading = size / median_s(bare_read(plain, chunk_bytes), repeats) / 1e6
            sealed = vault.seal(plain, out)
            text, passed = agree({"SHA-256 read back": (vault.plain_sha256(out, sealed), digest), "bytes": (decrypt_file(out, back, keys), size)})
            value = size / median_s(partial(vault.seal, plain, out), repeats) / 1e6
            kib = chunk_bytes >> 10
            yield Row(f"vault-seal-{kib}k", "MB/s", value, PEER, peer, "bare read, AES-GCM, SHA-256, write", sealing, text, passed)
            sealed = vault.seal(plain, out)
            value = size / median_s(partial(read, vault, out, sealed), repeats) / 1e6
            told = f"openssl speed: {speed(chunk_bytes):.0f} MB/s"
            yield Row(f"vault-read-{kib}k", "MB/s", value, PEER, peer, "bare read, AES-GCM", reading, told)
        yield ranges(vault_of(keys), plain, out, repeats)


def vault_of(keys: MasterKeys) -> Vault:
    """As it is by default."""
    return Vault(keys, random=secrets.token_bytes)


def ranges(vault: Vault, plain: Path, out: Path, repeats: int) -> Row:
    """Ranges of 64 KiB at random places, against pread(2) of the plain file."""
    sealed, random = vault.seal(plain, out), Random(2)
    places = [random.randrange(plain.stat().st_size - RANGE) for _ in range(200)]

    def opened() -> list[bytes]:
        return [vault.read_range(out, sealed, place, RANGE) for place in places]

    def plainly() -> list[bytes]:
        fd = os.open(plain, os.O_RDONLY)
        try:
            return [os.pread(fd, RANGE, place) for place in places]
        finally:
            os.close(fd)

    text, passed = agree({"ranges alike": (opened() == plainly(), True)})
    value, limit = (len(places) / median_s(each, repeats) for each in (opened, plainly))
    return Row("vault-range-64k", "range/s", value, limit="pread of the plain file", limit_value=limit, check=text, passed=passed)
