"""Protecting and unprotecting packets in the caller's own buffers (RFC 3711)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from typing_extensions import Buffer

from engine._native._srtp import ffi, lib
from engine.srtp.errors import SrtpError, SrtpKeyError, Status
from engine.srtp.key import SUITES, SrtpKey

TRAILER_MAX: Final = lib.SRTP_TRAILER_MAX  # bytes a packet may grow by
SOURCES_MAX: Final = lib.SRTP_SOURCES_MAX
WINDOW_DEFAULT: Final = 128


class SrtpCounts(msgspec.Struct, frozen=True):
    """What a context has done: packets made and taken, and packets refused by reason."""

    protected_packets: int
    unprotected_packets: int
    bad_tag: int
    replayed: int
    too_old: int
    malformed: int
    expired: int
    unknown_mki: int


def functions_address() -> int:
    """Address of `struct srtp_functions` (`c/srtp.h`), for native code that is not linked with OpenSSL."""
    return lib.srtp_functions_address()


def _with_settings(key: SrtpKey, window: int, use: Callable[[Any], Any]) -> Any:
    """Calls with `struct srtp_settings`; the key is read where it is."""
    secret, mki = ffi.from_buffer("uint8_t[]", key.key), ffi.from_buffer("uint8_t[]", key.mki.to_bytes(key.mki_bytes, "big"))
    names = ("suite", "key", "key_length", "mki", "mki_length", "lifetime", "window")
    values = (SUITES[key.suite].number, secret, len(key.key), mki, key.mki_bytes, key.lifetime, window)
    return use(ffi.new("struct srtp_settings *", dict(zip(names, values, strict=True))))


class SrtpContext:
    """One direction of one stream: its keys, packet indices and replay windows. For one thread at a time.

    `window` is the replay window in packets, 64 to 1,024 in steps of 64. Raises SrtpKeyError where there can be no such context.

    A batch is one writable buffer with packets `stride` bytes apart, and two writable buffers with one number a packet: `lengths` in bytes,
    unsigned 32-bit, and `statuses`, signed 32-bit. Packets are changed where they are; those to be sent need TRAILER_MAX bytes of room. A packet
    taken in whose status is not OK is as it was; one to be sent must not be sent. Batches return how many are OK. Single packets raise SrtpError.
    """

    def __init__(self, key: SrtpKey, *, window: int = WINDOW_DEFAULT) -> None:
        self._suite = key.suite
        self._window = window
        made = _with_settings(key, window, lib.srtp_new) if 64 <= window <= 1024 else ffi.NULL
        if made == ffi.NULL:
            raise SrtpKeyError(f"no SRTP context for {key.suite} with a window of {window}")
        self._context = ffi.gc(made, lib.srtp_free)
        self._length, self._status = ffi.new("uint32_t[1]"), ffi.new("int32_t[1]")

    def __repr__(self) -> str:
        return f"<SrtpContext {self._suite}>"

    @property
    def address(self) -> int:
        """Of `struct srtp`, which stays ours. ValueError after `close` or `hand_over`."""
        return int(ffi.cast("uintptr_t", self._open()))

    def hand_over(self) -> int:
        """Gives the context away: who gets this address of `struct srtp` ends it, by `srtp_functions.free`."""
        address = self.address
        ffi.gc(self._context, None)
        self._context = ffi.NULL
        return address

    def close(self) -> None:
        """Ends the context and wipes its keys. May be called again."""
        if self._context != ffi.NULL:
            ffi.release(self._context)
            self._context = ffi.NULL

    def rekey(self, key: SrtpKey) -> None:
        """Sends with a new key at once; the keys before, three at most, are still read until `forget`. Indices go on (RFC 3711 3.3.1)."""
        if _with_settings(key, self._window, lambda settings: lib.srtp_rekey(self._open(), settings)):
            raise SrtpKeyError(f"no key for {key.suite}")
        self._suite = key.suite

    def forget(self) -> None:
        """Drops every key but the newest."""
        lib.srtp_forget(self._open())

    def set_roc(self, ssrc: int, roc: int) -> None:
        """The rollover counter of an SSRC whose beginning was not heard (RFC 3711 3.3.1)."""
        lib.srtp_set_roc(self._open(), ssrc, roc)

    def roc(self, ssrc: int) -> int | None:
        """The rollover counter an SSRC has come to; None for one without a packet."""
        roc = ffi.new("uint32_t *")
        return None if lib.srtp_get_roc(self._open(), ssrc, roc) else int(roc[0])

    @property
    def counts(self) -> SrtpCounts:
        """Since the beginning, over all keys."""
        counts = ffi.new("struct srtp_counts *")
        lib.srtp_counts(self._open(), counts)
        return SrtpCounts(*(int(getattr(counts, name)) for name in SrtpCounts.__struct_fields__))

    def protect(self, packet: Buffer, length: int) -> int:
        """One RTP packet, in the first `length` bytes of the buffer; returns its new length."""
        return self._one(lib.SRTP_PROTECT, packet, length)

    def unprotect(self, packet: Buffer, length: int) -> int:
        """One SRTP packet; returns its new length."""
        return self._one(lib.SRTP_UNPROTECT, packet, length)

    def protect_control(self, packet: Buffer, length: int) -> int:
        """One compound RTCP packet; returns its new length."""
        return self._one(lib.SRTCP_PROTECT, packet, length)

    def unprotect_control(self, packet: Buffer, length: int) -> int:
        """One SRTCP packet; returns its new length."""
        return self._one(lib.SRTCP_UNPROTECT, packet, length)

    def protect_batch(self, packets: Buffer, stride: int, lengths: Buffer, statuses: Buffer) -> int:
        """RTP packets."""
        return self._batch(lib.SRTP_PROTECT, packets, stride, lengths, statuses)

    def unprotect_batch(self, packets: Buffer, stride: int, lengths: Buffer, statuses: Buffer) -> int:
        """SRTP packets."""
        return self._batch(lib.SRTP_UNPROTECT, packets, stride, lengths, statuses)

    def protect_control_batch(self, packets: Buffer, stride: int, lengths: Buffer, statuses: Buffer) -> int:
        """Compound RTCP packets."""
        return self._batch(lib.SRTCP_PROTECT, packets, stride, lengths, statuses)

    def unprotect_control_batch(self, packets: Buffer, stride: int, lengths: Buffer, statuses: Buffer) -> int:
        """SRTCP packets."""
        return self._batch(lib.SRTCP_UNPROTECT, packets, stride, lengths, statuses)

    def _open(self) -> Any:
        if self._context == ffi.NULL:
            raise ValueError("the SRTP context is closed")
        return self._context

    def _one(self, operation: int, packet: Buffer, length: int) -> int:
        view = ffi.from_buffer("uint8_t[]", packet, require_writable=True)
        if not 0 <= length <= len(view):
            raise ValueError(f"{length} bytes in a buffer of {len(view)}")
        self._length[0] = length
        if not lib.srtp_rows(self._open(), operation, view, len(view), self._length, self._status, 1):
            raise SrtpError(Status(self._status[0]))
        return int(self._length[0])

    def _batch(self, operation: int, packets: Buffer, stride: int, lengths: Buffer, statuses: Buffer) -> int:
        bytes_view = ffi.from_buffer("uint8_t[]", packets, require_writable=True)
        length_view = ffi.from_buffer("uint32_t[]", lengths, require_writable=True)
        status_view = ffi.from_buffer("int32_t[]", statuses, require_writable=True)
        count = len(length_view)
        if len(status_view) != count or stride < 0 or stride * count > len(bytes_view):
            raise ValueError(f"{count} lengths, {len(status_view)} statuses and {len(bytes_view)} bytes do not make a batch of stride {stride}")
        return lib.srtp_rows(self._open(), operation, bytes_view, stride, length_view, status_view, count)


__all__ = ["SOURCES_MAX", "TRAILER_MAX", "WINDOW_DEFAULT", "SrtpContext", "SrtpCounts", "functions_address"]
