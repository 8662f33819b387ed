"""SRTP and SRTCP in plain Python, written from RFC 3711, 6188 and 7714 and not from the kernel: one packet at a time, whole sets of indices
instead of bitmaps, one AES block after another. Tests hold the kernel's packets and refusals against it."""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

SUITES = {  # bytes of key and salt, of an SRTP tag and of an SRTCP tag
    "AES_CM_128_HMAC_SHA1_80": (16, 14, 10, 10),
    "AES_CM_128_HMAC_SHA1_32": (16, 14, 4, 10),
    "AES_192_CM_HMAC_SHA1_80": (24, 14, 10, 10),
    "AES_192_CM_HMAC_SHA1_32": (24, 14, 4, 10),
    "AES_256_CM_HMAC_SHA1_80": (32, 14, 10, 10),
    "AES_256_CM_HMAC_SHA1_32": (32, 14, 4, 10),
    "AEAD_AES_128_GCM": (16, 12, 16, 16),
    "AEAD_AES_256_GCM": (32, 12, 16, 16),
}
SOURCES = 8
E_FLAG = 1 << 31


class Refused(Exception):
    """A packet that is not taken; the argument is why, by the name the engine has for it."""


def block(key: bytes, text: bytes) -> bytes:
    """One AES block."""
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(text)


def keystream(key: bytes, counter: int, length: int) -> bytes:
    """RFC 3711 4.1.1: AES of a counter that grows by one a block."""
    blocks = -(-length // 16)
    return b"".join(block(key, (counter + at).to_bytes(16, "big")) for at in range(blocks))[:length]


def derive(master: bytes, salt: bytes, label: int, length: int) -> bytes:
    """RFC 3711 4.3.1 and 4.3.3, with a key derivation rate of zero; a GCM salt is filled up with zeros (RFC 7714 11)."""
    x = int.from_bytes(salt.ljust(14, b"\0"), "big") ^ label << 48
    return keystream(master, x << 16, length)


def header_length(packet: bytes) -> int:
    """RTP header, CSRCs and extension: what stays in clear."""
    if len(packet) < 12 or packet[0] >> 6 != 2:
        raise Refused("MALFORMED")
    length = 12 + 4 * (packet[0] & 15)
    if packet[0] & 16:
        if len(packet) < length + 4:
            raise Refused("MALFORMED")
        length += 4 + 4 * struct.unpack_from("!H", packet, length + 2)[0]
    if length > len(packet):
        raise Refused("MALFORMED")
    return length


@dataclass
class Track:
    """How far one SSRC has come; None before its first packet."""

    highest: int | None = None
    seen: set[int] = field(default_factory=set)

    def index(self, sequence: int) -> int:
        """RFC 3711 appendix A; there is no ROC before 0."""
        if self.highest is None:
            return sequence
        roc, last = divmod(self.highest, 1 << 16)
        if last < 32768:
            if sequence - last > 32768:
                roc = max(roc - 1, 0)
        elif last - 32768 > sequence:
            roc += 1
        return roc << 16 | sequence

    def check(self, index: int, window: int) -> None:
        if index >= 1 << 48:
            raise Refused("KEY_EXPIRED")
        if self.highest is not None and index + window <= self.highest:
            raise Refused("TOO_OLD")
        if index in self.seen:
            raise Refused("REPLAYED")

    def mark(self, index: int) -> None:
        self.seen.add(index)
        self.highest = index if self.highest is None else max(index, self.highest)


@dataclass
class Source:
    used: int = 0
    rtp: Track = field(default_factory=Track)
    control: Track = field(default_factory=Track)


class Twin:
    """One direction under one master key."""

    def __init__(self, suite: str, key: bytes, *, mki: bytes = b"", lifetime: int = 0, window: int = 128) -> None:
        key_bytes, salt_bytes, self.tag, self.control_tag = SUITES[suite]
        master, salt = key[:key_bytes], key[key_bytes:]
        self.gcm = "GCM" in suite
        self.mki, self.window = mki, window
        self.keys = [derive(master, salt, label, key_bytes) for label in (0, 3)]
        self.auth = [derive(master, salt, label, 20) for label in (1, 4)]
        self.salts = [derive(master, salt, label, salt_bytes) for label in (2, 5)]
        self.left = [min(lifetime or most, most) for most in (1 << 48, 1 << 31)]
        self.sources: dict[int, Source] = {}
        self.clock = 0

    # ---- crypto ----

    def counter(self, control: int, ssrc: int, index: int) -> int:
        """RFC 3711 4.1.1."""
        return int.from_bytes(self.salts[control], "big") << 16 ^ ssrc << 64 ^ index << 16

    def nonce(self, control: int, ssrc: int, index: int) -> bytes:
        """RFC 7714 8.1, 9.1: SSRC and index, the latter in the last six bytes."""
        return (int.from_bytes(self.salts[control], "big") ^ ssrc << 48 ^ index).to_bytes(12, "big")

    def crypt(self, control: int, ssrc: int, index: int, text: bytes) -> bytes:
        stream = keystream(self.keys[control], self.counter(control, ssrc, index), len(text))
        return bytes(one ^ other for one, other in zip(text, stream, strict=True))

    def mac(self, control: int, text: bytes) -> bytes:
        return hmac.digest(self.auth[control], text, "sha1")[: self.control_tag if control else self.tag]

    # ---- sources ----

    def source(self, ssrc: int) -> Source:
        return self.sources.get(ssrc) or Source()

    def take(self, ssrc: int, control: int, index: int, *, evict: bool) -> None:
        if ssrc not in self.sources and len(self.sources) == SOURCES:
            if not evict:
                raise Refused("NO_ROOM")
            del self.sources[min(self.sources, key=lambda other: self.sources[other].used)]
        source = self.sources.setdefault(ssrc, Source())
        self.clock += 1
        source.used = self.clock
        (source.control if control else source.rtp).mark(index)
        self.left[control] -= 1

    # ---- SRTP ----

    def protect(self, packet: bytes) -> bytes:
        begin = header_length(packet)
        sequence, ssrc = struct.unpack_from("!H", packet, 2)[0], struct.unpack_from("!I", packet, 8)[0]
        track = self.source(ssrc).rtp
        index = track.index(sequence)
        if index >= 1 << 48 or not self.left[0]:
            raise Refused("KEY_EXPIRED")
        track.check(index, self.window)
        self.take(ssrc, 0, index, evict=False)
        if self.gcm:
            return packet[:begin] + AESGCM(self.keys[0]).encrypt(self.nonce(0, ssrc, index), packet[begin:], packet[:begin]) + self.mki
        body = packet[:begin] + self.crypt(0, ssrc, index, packet[begin:])
        return body + self.mki + self.mac(0, body + (index >> 16).to_bytes(4, "big"))

    def unprotect(self, packet: bytes) -> bytes:
        if len(packet) < self.tag + len(self.mki):
            raise Refused("MALFORMED")
        if self.gcm:
            body, mki = packet[: len(packet) - len(self.mki)], packet[len(packet) - len(self.mki) :]
            begin = header_length(body[:-16])
        else:
            rest, tag = packet[: -self.tag], packet[-self.tag :]
            body, mki = rest[: len(rest) - len(self.mki)], rest[len(rest) - len(self.mki) :]
            begin = header_length(body)
        if mki != self.mki:
            raise Refused("UNKNOWN_MKI")
        sequence, ssrc = struct.unpack_from("!H", packet, 2)[0], struct.unpack_from("!I", packet, 8)[0]
        track = self.source(ssrc).rtp
        index = track.index(sequence)
        if not self.left[0]:
            raise Refused("KEY_EXPIRED")
        track.check(index, self.window)
        if self.gcm:
            text = self.open_gcm(0, ssrc, index, body[begin:], body[:begin])
        else:
            if self.mac(0, body + (index >> 16).to_bytes(4, "big")) != tag:
                raise Refused("BAD_TAG")
            text = self.crypt(0, ssrc, index, body[begin:])
        self.take(ssrc, 0, index, evict=True)
        return packet[:begin] + text

    def open_gcm(self, control: int, ssrc: int, index: int, text: bytes, clear: bytes) -> bytes:
        try:
            return AESGCM(self.keys[control]).decrypt(self.nonce(control, ssrc, index), text, clear)
        except InvalidTag:
            raise Refused("BAD_TAG") from None

    # ---- SRTCP ----

    def protect_control(self, packet: bytes) -> bytes:
        if len(packet) < 8 or packet[0] >> 6 != 2:
            raise Refused("MALFORMED")
        ssrc = struct.unpack_from("!I", packet, 4)[0]
        highest = self.source(ssrc).control.highest
        index = 0 if highest is None else highest + 1
        if index >= 1 << 31 or not self.left[1]:
            raise Refused("KEY_EXPIRED")
        self.take(ssrc, 1, index, evict=False)
        word = (E_FLAG | index).to_bytes(4, "big")
        if self.gcm:
            return packet[:8] + AESGCM(self.keys[1]).encrypt(self.nonce(1, ssrc, index), packet[8:], packet[:8] + word) + word + self.mki
        body = packet[:8] + self.crypt(1, ssrc, index, packet[8:]) + word
        return body + self.mki + self.mac(1, body)

    def unprotect_control(self, packet: bytes) -> bytes:
        tag_bytes, mki_bytes = self.control_tag, len(self.mki)
        body_bytes = len(packet) - 4 - tag_bytes - mki_bytes
        if body_bytes < 8 or packet[0] >> 6 != 2:
            raise Refused("MALFORMED")
        word_at = body_bytes + (16 if self.gcm else 0)
        mki_at = word_at + 4
        if packet[mki_at : mki_at + mki_bytes] != self.mki:
            raise Refused("UNKNOWN_MKI")
        word = packet[word_at : word_at + 4]
        index, encrypted = int.from_bytes(word, "big") & ~E_FLAG, bool(word[0] & 0x80)
        ssrc = struct.unpack_from("!I", packet, 4)[0]
        if not self.left[1]:
            raise Refused("KEY_EXPIRED")
        self.source(ssrc).control.check(index, self.window)
        begin = 8 if encrypted else body_bytes
        if self.gcm:
            text = self.open_gcm(1, ssrc, index, packet[begin:word_at], packet[:begin] + word)
        else:
            if self.mac(1, packet[:mki_at]) != packet[-tag_bytes:]:
                raise Refused("BAD_TAG")
            text = self.crypt(1, ssrc, index, packet[8:body_bytes]) if encrypted else b""
        self.take(ssrc, 1, index, evict=True)
        return packet[:begin] + text
