"""Files encrypted at rest, in chunks that are read one by one: AES-256-GCM (NIST SP 800-38D), each file with a key of its own.

A file is a header and chunks. All numbers are big-endian.

    header   magic `TLKVAULT`, version (2 bytes), its own length (2), plain bytes of a chunk (4), id of the file (16), id of the master key (16),
             the file's key wrapped by that (2 bytes of length, then it), tag (16)
    chunk    the encrypted bytes, as many as the header says but in the last one, and a tag (16)

A nonce is 7 bytes of the file's id, the number of the chunk (4 bytes), and 1 for the last chunk, 0 for others (the STREAM construction of Hoang,
Reyhanitabar, Rogaway, Vizár, 2015); the header's, which encrypts nothing and authenticates all before its tag, ends with 2. Every chunk has the header's
tag as its associated data. So chunks that were changed, moved, taken from another file or taken away at the end are found by their tags. There is always a
last chunk, which may be empty: without it a file is cut.
"""

from __future__ import annotations

import base64
import hashlib
import os
import struct
from collections.abc import Callable, Iterator
from io import FileIO
from itertools import chain
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from engine.errors import EngineError
from engine.recordings.keys import KEY_BYTES, KeyRefused, MasterKeys
from engine.recordings.record import Sealed
from engine.recordings.replacing import replacing, write_all

ALGORITHM: Final = "AES-256-GCM"
MAGIC: Final = b"TLKVAULT"
VERSION: Final = 1
FIXED: Final = struct.Struct(">8sHHI16s16sH")
TAG_BYTES: Final = 16
ID_BYTES: Final = 16
NONCE_ID_BYTES: Final = 7
CHUNK_BYTES: Final = 64 << 10  # the fastest to write, to read and to read a range of (bench/kernels/bench_vault.py)
CHUNK_MIN, CHUNK_MAX = 64 << 10, 1 << 20
WRAPPED_MAX: Final = 512
CHUNKS_MAX: Final = 2**32
MORE, LAST, HEADER = 0, 1, 2
NO_CHUNKS: Final = "the file ends after its header"


class VaultError(EngineError):
    """Base of what goes wrong with encrypted files."""

    code = "vault.error"


class NotEncrypted(VaultError):
    """The file does not begin as one of ours does, or is of a version that is not read."""

    code = "vault.not_encrypted"


class Damaged(VaultError):
    """The file is not as it was written: changed, or cut in the middle of a chunk."""

    code = "vault.damaged"


class Cut(Damaged):
    """The end of the file is missing; what is there is as it was written."""

    code = "vault.cut"


class TooLarge(VaultError):
    """A file of more chunks than can be counted."""

    code = "vault.too_large"


class Recovered(msgspec.Struct, frozen=True, kw_only=True):
    """What could be read of a damaged file: `bytes` from its beginning. `problem` says what ended it, "" where nothing is missing."""

    bytes: int
    problem: str

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing."""
        return not self.problem


class _Header(msgspec.Struct, frozen=True):
    chunk_bytes: int
    file_id: bytes
    key_id: str
    wrapped: bytes
    raw: bytes  # all before the tag
    tag: bytes

    @property
    def size(self) -> int:
        return len(self.raw) + TAG_BYTES

    def __repr__(self) -> str:
        return f"_Header(file_id={self.file_id.hex()!r}, key_id={self.key_id!r})"

    def nonce(self, number: int, kind: int) -> bytes:
        return _nonce(self.file_id, number, kind)


def _nonce(file_id: bytes, number: int, kind: int) -> bytes:
    return struct.pack(">7sIB", file_id[:NONCE_ID_BYTES], number, kind)


def _filled(file: FileIO, view: memoryview) -> int:
    """Reads until the view is full or the file ends; how many bytes."""
    filled = 0
    while filled < len(view) and (count := file.readinto(view[filled:])):
        filled += count
    return filled


def _header_of(file: FileIO) -> _Header:
    """Raises NotEncrypted, Cut, Damaged."""
    fixed = file.read(FIXED.size)
    if not fixed.startswith(MAGIC):
        if fixed and MAGIC.startswith(fixed):
            raise Cut("the file ends within its header")
        raise NotEncrypted("it is no encrypted file of this product" if fixed else "it is empty")
    if len(fixed) < FIXED.size:
        raise Cut("the file ends within its header")
    _, version, header_bytes, chunk_bytes, file_id, key_id, wrapped_bytes = FIXED.unpack(fixed)
    if version != VERSION:
        raise NotEncrypted(f"it is an encrypted file of version {version}; version {VERSION} is read")
    if not CHUNK_MIN <= chunk_bytes <= CHUNK_MAX or wrapped_bytes > WRAPPED_MAX or header_bytes != FIXED.size + wrapped_bytes + TAG_BYTES:
        raise Damaged("its header was changed")
    rest = file.read(wrapped_bytes + TAG_BYTES)
    if len(rest) < wrapped_bytes + TAG_BYTES:
        raise Cut("the file ends within its header")
    wrapped, tag = rest[:wrapped_bytes], rest[wrapped_bytes:]
    return _Header(chunk_bytes, file_id, key_id.hex(), wrapped, fixed + wrapped, tag)


class _Opened:
    """An encrypted file whose header is authentic."""

    def __init__(self, file: FileIO, header: _Header, cipher: AESGCM) -> None:
        self._file = file
        self._header = header
        self._cipher = cipher
        self._stride = header.chunk_bytes + TAG_BYTES
        self._room = memoryview(bytearray(self._stride))
        body = os.fstat(file.fileno()).st_size - header.size
        self.chunks = max(-(-body // self._stride), 0)

    def chunk(self, number: int) -> bytes:
        """Its plain bytes. Raises Damaged, Cut."""
        is_last = number == self.chunks - 1
        plain = self.decrypted(number, LAST if is_last else MORE)
        if plain is not None:
            return plain
        if is_last and self.decrypted(number, MORE) is not None:
            raise Cut(f"the file ends after chunk {number}, which was not its last")
        missing = ", or the file was cut" if is_last else ""
        raise Damaged(f"chunk {number} of {self.chunks} is not as it was written: it was changed{missing}")

    def decrypted(self, number: int, kind: int) -> bytes | None:
        """The plain bytes of a chunk, None where it is no authentic one of that kind."""
        self._file.seek(self._header.size + number * self._stride)
        count = _filled(self._file, self._room)
        try:
            return self._cipher.decrypt(self._header.nonce(number, kind), self._room[:count], self._header.tag)
        except InvalidTag:
            return None

    def whole(self) -> Iterator[tuple[bytes, str]]:
        """The chunks up to the first that is damaged, each with what ends the file there, "" for nothing."""
        for number in range(self.chunks):
            try:
                yield self.chunk(number), ""
            except Cut as error:
                yield self.decrypted(number, MORE) or b"", str(error)
            except Damaged as error:
                yield b"", str(error)
                return
        if not self.chunks:
            yield b"", NO_CHUNKS

    def plain(self, offset: int, length: int | None) -> Iterator[bytes]:
        """The plain bytes from an offset on, chunk by chunk."""
        if not self.chunks:
            raise Cut(NO_CHUNKS)
        if length == 0:
            return
        size = self._header.chunk_bytes
        stop = self.chunks * size if length is None else offset + length
        first = min(offset // size, self.chunks - 1)  # whoever asks for more than there is hears whether it is the true end
        for number in range(first, min(-(-stop // size), self.chunks)):
            begin = number * size
            if piece := self.chunk(number)[max(offset - begin, 0) : stop - begin]:
                yield piece


class Vault:
    """Encrypts and reads files. What it does is done in the calling thread, with memory for a few chunks whatever the size of the file; other threads run meanwhile."""

    def __init__(self, keys: MasterKeys, *, random: Callable[[int], bytes], chunk_bytes: int = CHUNK_BYTES) -> None:
        """`random` gives so many bytes that nobody can guess."""
        if not CHUNK_MIN <= chunk_bytes <= CHUNK_MAX:
            raise ValueError(f"a chunk has {CHUNK_MIN} to {CHUNK_MAX} bytes")
        self._keys = keys
        self._random = random
        self._chunk_bytes = chunk_bytes

    def problems(self) -> list[str]:
        """What an operator should look at among the master keys. Raises KeysUnavailable."""
        return self._keys.problems()

    def seal(self, path: Path, target: Path) -> Sealed:
        """Encrypts a file into `target`, which is there whole and synced when this returns, and replaces what was there. `path` stays.

        Raises KeysError, TooLarge, OSError (BlockingIOError where another writes the same target).
        """
        data_key = self._random(KEY_BYTES)
        key_id, wrapped = self._keys.wrap(data_key)
        cipher, digest = AESGCM(data_key), hashlib.sha256()
        with open(path, "rb", buffering=0) as source, replacing(target) as file:
            header = self._new_header(cipher, key_id, wrapped)
            for piece in chain((header.raw + header.tag,), self._sealed_chunks(source, cipher, header)):
                write_all(file, piece)
                digest.update(piece)
        return Sealed(
            algorithm=ALGORITHM, key_id=key_id, wrapped_key=base64.b64encode(wrapped).decode(), chunk_bytes=self._chunk_bytes, sha256=digest.hexdigest()
        )

    def _new_header(self, cipher: AESGCM, key_id: str, wrapped: bytes) -> _Header:
        file_id = self._random(ID_BYTES)
        header_bytes = FIXED.size + len(wrapped) + TAG_BYTES
        raw = FIXED.pack(MAGIC, VERSION, header_bytes, self._chunk_bytes, file_id, bytes.fromhex(key_id), len(wrapped)) + wrapped
        return _Header(self._chunk_bytes, file_id, key_id, wrapped, raw, cipher.encrypt(_nonce(file_id, 0, HEADER), b"", raw))

    def _sealed_chunks(self, source: FileIO, cipher: AESGCM, header: _Header) -> Iterator[bytes]:
        """One chunk is read ahead, so that the last is known as such even of a file that grows."""
        now, ahead = memoryview(bytearray(self._chunk_bytes)), memoryview(bytearray(self._chunk_bytes))
        count = _filled(source, now)
        for number in range(CHUNKS_MAX):
            following = _filled(source, ahead) if count == len(now) else 0
            yield cipher.encrypt(header.nonce(number, MORE if following else LAST), now[:count], header.tag)
            if not following:
                return
            now, ahead, count = ahead, now, following
        raise TooLarge(f"a file of more than {CHUNKS_MAX} chunks of {self._chunk_bytes} bytes is not encrypted")

    def open(self, path: Path, sealed: Sealed | None = None, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """The plain bytes of a file, or some of them, in pieces of at most a chunk; each is authentic when it comes. Only the chunks asked for are read,
        the last one too where more is asked for than there is.

        `sealed` is as the record has it, with the newest master key; without it the key in the file's header is used. Raises NotEncrypted, Damaged, Cut, KeysError, OSError, all of them while it is gone through.
        """
        if offset < 0 or (length is not None and length < 0):
            raise ValueError("bytes are counted from 0")
        with open(path, "rb", buffering=0) as file:
            yield from self._opened(file, sealed).plain(offset, length)

    def read_range(self, path: Path, sealed: Sealed | None, offset: int, length: int) -> bytes:
        """Up to `length` plain bytes from an offset on; fewer at the end. Raises as `open`."""
        return b"".join(self.open(path, sealed, offset, length))

    def plain_sha256(self, path: Path, sealed: Sealed | None = None) -> str:
        """SHA-256 of the plain bytes, all of them authentic. Raises as `open`."""
        digest = hashlib.sha256()
        for piece in self.open(path, sealed):
            digest.update(piece)
        return digest.hexdigest()

    def rewrap(self, sealed: Sealed) -> Sealed:
        """The same file, its key wrapped by the master key of now; the same `sealed` where that did it already. The file is not touched.

        Its own header still names the older master key, which must stay for as long as the file is to be read without its record. Raises KeysError.
        """
        if sealed.key_id == self._keys.current():
            return sealed
        key_id, wrapped = self._keys.wrap(self._keys.unwrap(sealed.key_id, _unbased(sealed.wrapped_key)))
        return msgspec.structs.replace(sealed, key_id=key_id, wrapped_key=base64.b64encode(wrapped).decode())

    def recover(self, path: Path, target: Path, sealed: Sealed | None = None) -> Recovered:
        """Writes the whole chunks at the beginning of a file, up to the first that is damaged or missing. Raises NotEncrypted, Damaged, Cut where not even the
        header can be read, KeysError, OSError."""
        with open(path, "rb", buffering=0) as file, replacing(target) as made:
            found = Recovered(bytes=0, problem="")
            for piece, problem in self._opened(file, sealed).whole():
                write_all(made, piece)
                found = Recovered(bytes=found.bytes + len(piece), problem=problem)
        return found

    def _opened(self, file: FileIO, sealed: Sealed | None) -> _Opened:
        if sealed and sealed.algorithm != ALGORITHM:
            raise NotEncrypted(f"its record says that it is encrypted by another algorithm than {ALGORITHM}")
        header = _header_of(file)
        key_id, wrapped = (sealed.key_id, _unbased(sealed.wrapped_key)) if sealed else (header.key_id, header.wrapped)
        data_key = self._keys.unwrap(key_id, wrapped)
        if len(data_key) != KEY_BYTES:
            raise Damaged("its key has another length than AES-256's")
        cipher = AESGCM(data_key)
        try:
            cipher.decrypt(header.nonce(0, HEADER), header.tag, header.raw)
        except InvalidTag:
            raise Damaged("its header was changed, or it is another file than this key is for") from None
        return _Opened(file, header, cipher)


def _unbased(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise KeyRefused("the wrapped key is no base64") from None


def decrypt_file(path: Path, target: Path, keys: MasterKeys) -> int:
    """Decrypts a file with the folder of master keys alone; how many bytes. `target` is there whole, or not at all. Raises as `Vault.open`."""
    written = 0
    with replacing(target) as file:
        for piece in Vault(keys, random=os.urandom).open(path):
            write_all(file, piece)
            written += len(piece)
    return written


__all__ = ["ALGORITHM", "Cut", "Damaged", "NotEncrypted", "Recovered", "TooLarge", "Vault", "VaultError", "decrypt_file"]
