"""The Python door: batches in place, what is refused before the kernel, and keys that show nowhere."""

from __future__ import annotations

import ctypes
import gc
import pickle
from array import array

import numpy as np
import pytest

from engine.errors import EngineError
from engine.srtp import (
    SUITES,
    TRAILER_MAX,
    SrtpContext,
    SrtpCounts,
    SrtpError,
    SrtpKey,
    SrtpKeyError,
    Status,
    functions_address,
)
from tests.engine.srtp.packets import SSRC, batch, key, protect, refusal, report, rtp, unprotect

MASTER = key()


def test_batches_are_changed_where_they_are() -> None:
    """numpy rows, a bytearray and a memoryview of one are all the same buffer."""
    packets = [rtp(at, bytes([at]) * 100) for at in range(130)]
    expected = [packet for _, packet in batch(SrtpContext(MASTER), "protect", packets)]
    stride = 112 + TRAILER_MAX
    for target in (np.zeros((130, stride), np.uint8), bytearray(130 * stride), memoryview(bytearray(130 * stride))):
        view = memoryview(target).cast("B")
        for at, packet in enumerate(packets):
            view[at * stride : at * stride + len(packet)] = packet
        lengths, statuses = np.full(130, 112, np.uint32), np.full(130, 9, np.int32)
        assert SrtpContext(MASTER).protect_batch(target, stride, lengths, statuses) == 130
        assert not statuses.any() and (lengths == 122).all()
        assert [bytes(view[at * stride : at * stride + 122]) for at in range(130)] == expected


def test_what_stands_behind_a_packet_is_left_alone() -> None:
    buffer = bytearray(rtp(1)) + bytearray(b"\xee" * 60)
    length = SrtpContext(MASTER).protect(buffer, 172)
    assert length == 182 and buffer[182:] == b"\xee" * 50


def test_an_empty_batch_is_nothing() -> None:
    context = SrtpContext(MASTER)
    assert context.protect_batch(bytearray(), 200, array("I"), array("i")) == 0
    assert context.counts == SrtpCounts(0, 0, 0, 0, 0, 0, 0, 0)


def test_lengths_above_the_stride_are_refused_and_no_row_touches_another() -> None:
    context = SrtpContext(MASTER)
    buffer = bytearray(rtp(1) + bytes(28) + rtp(2) + bytes(28))
    before, lengths, statuses = bytes(buffer), array("I", [201, 172]), array("i", [0, 0])
    assert context.protect_batch(buffer, 200, lengths, statuses) == 1
    assert list(statuses) == [Status.MALFORMED, Status.OK] and list(lengths) == [201, 182]
    assert buffer[:200] == before[:200]
    assert context.protect_batch(buffer, 0, array("I", [0]), array("i", [0])) == 0


def test_without_room_for_the_trailer_nothing_is_done() -> None:
    context = SrtpContext(MASTER)
    for room in range(172, 182):
        buffer = bytearray(rtp(1)) + bytearray(room - 172)
        with pytest.raises(SrtpError) as caught:
            context.protect(buffer, 172)
        assert caught.value.status == Status.TOO_SMALL
        assert buffer[:172] == rtp(1)
    assert context.protect(bytearray(rtp(1)) + bytearray(10), 172) == 182


def test_batches_that_do_not_fit_together_are_refused() -> None:
    context, one = SrtpContext(MASTER), array("I", [12])
    for call in (
        lambda: context.protect_batch(bytearray(100), 200, one, array("i", [0])),
        lambda: context.protect_batch(bytearray(400), 200, one, array("i", [0, 0])),
        lambda: context.protect_batch(bytearray(400), -1, one, array("i", [0])),
        lambda: context.protect(bytearray(20), 21),
        lambda: context.protect(bytearray(20), -1),
    ):
        with pytest.raises(ValueError):
            call()
    for read_only in (lambda: context.protect(bytes(200), 12), lambda: context.protect_batch(bytes(200), 200, one, array("i", [0]))):
        with pytest.raises(BufferError):
            read_only()


def test_keys_that_cannot_be_are_refused() -> None:
    for fields in (
        {"suite": "AES_CM_128_HMAC_MD5", "key": bytes(30)},
        {"suite": "AES_CM_128_HMAC_SHA1_80", "key": bytes(29)},
        {"suite": "AEAD_AES_256_GCM", "key": bytes(46)},
        {"suite": "AEAD_AES_256_GCM", "key": bytes(44), "mki": 256, "mki_bytes": 1},
        {"suite": "AEAD_AES_256_GCM", "key": bytes(44), "mki": -1, "mki_bytes": 1},
        {"suite": "AEAD_AES_256_GCM", "key": bytes(44), "mki": 1},
        {"suite": "AEAD_AES_256_GCM", "key": bytes(44), "mki_bytes": 129},
        {"suite": "AEAD_AES_256_GCM", "key": bytes(44), "lifetime": 2**48 + 1},
    ):
        with pytest.raises(SrtpKeyError):
            SrtpKey(**fields)  # type: ignore[arg-type]
    for window in (0, 63, 65, 100, 1025, 1088, -64, 2**32 + 64):
        with pytest.raises(SrtpKeyError):
            SrtpContext(MASTER, window=window)


@pytest.mark.parametrize("suite", SUITES)
def test_no_key_shows_in_texts(suite: str) -> None:
    """3.4: neither in a repr nor in an error, and not in what could be stored."""
    secret = b"Sesame" * 10
    length = SUITES[suite].key_bytes + SUITES[suite].salt_bytes
    master = SrtpKey(suite=suite, key=secret[:length])
    context = SrtpContext(master)
    with pytest.raises(SrtpKeyError) as refused:
        SrtpKey(suite=suite, key=secret[: length + 1])
    with pytest.raises(SrtpError) as bad_tag:
        unprotect(context, rtp(1))
    texts = [repr(master), str(master), f"{[master]}", repr(context), repr(refused.value), str(bad_tag.value), repr(bad_tag.value)]
    assert all("Sesa" not in text and secret.hex()[:8] not in text for text in texts)
    assert suite in repr(master) and suite in repr(context)
    with pytest.raises(TypeError):
        pickle.dumps(context)


def test_errors_tell_their_status() -> None:
    with pytest.raises(SrtpError, match="bad tag") as caught:
        unprotect(SrtpContext(MASTER), rtp(1))
    assert isinstance(caught.value, EngineError) and caught.value.code == "srtp.refused"
    assert SrtpKeyError.code == "srtp.key"
    assert caught.value.status is Status.BAD_TAG


def test_counts_tell_packets_and_refusals_apart() -> None:
    sender, receiver = SrtpContext(MASTER), SrtpContext(MASTER)
    sent = [packet for _, packet in batch(sender, "protect", [rtp(at) for at in range(300)])]
    batch(receiver, "unprotect", sent[250:])
    batch(receiver, "unprotect", [sent[260], sent[10], rtp(301), b"\x80"])
    batch(receiver, "unprotect_control", [packet for _, packet in batch(sender, "protect_control", [report()] * 3)])
    assert sender.counts == SrtpCounts(303, 0, 0, 0, 0, 0, 0, 0)
    assert receiver.counts == SrtpCounts(0, 53, 1, 1, 1, 1, 0, 0)


def test_a_closed_context_is_refused_and_may_be_closed_again() -> None:
    context = SrtpContext(MASTER)
    context.close()
    context.close()
    for call in (
        lambda: context.protect(bytearray(200), 12), lambda: context.address, lambda: context.counts, context.forget, context.hand_over,
        lambda: context.rekey(MASTER), lambda: context.roc(1), lambda: context.set_roc(1, 2),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="closed"):
            call()


def test_a_rekeyed_context_names_its_suite() -> None:
    context = SrtpContext(MASTER)
    context.rekey(key("AEAD_AES_128_GCM"))
    assert repr(context) == "<SrtpContext AEAD_AES_128_GCM>"


# ---- the door for native code ----


class Span(ctypes.Structure):
    _fields_ = (("context", ctypes.c_void_p), ("bytes", ctypes.c_void_p), ("length", ctypes.c_uint32), ("room", ctypes.c_uint32), ("status", ctypes.c_int32))


BATCH = ctypes.CFUNCTYPE(ctypes.c_uint32, ctypes.POINTER(Span), ctypes.c_uint32)
FREE = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
COUNTS = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint64 * 8))


class Functions(ctypes.Structure):
    _fields_ = (
        ("protect", BATCH), ("unprotect", BATCH), ("protect_control", BATCH), ("unprotect_control", BATCH),
        ("free", FREE), ("counts", COUNTS), ("forget", FREE),
    )  # fmt: skip


def test_native_code_reaches_contexts_by_address() -> None:
    """One batch over many contexts and suites, as the media plane gives it; contexts that were handed over are freed there."""
    functions = Functions.from_address(functions_address())
    senders = [SrtpContext(key(suite, 3)) for suite in SUITES]
    receivers = [SrtpContext(key(suite, 3)).hand_over() for suite in SUITES]
    gc.collect()
    many = [at % len(senders) for at in range(150)]
    buffers = [(ctypes.c_uint8 * 400)(*rtp(at, bytes(range(at)))) for at in range(150)]
    spans = (Span * 150)(*(Span(senders[many[at]].address, ctypes.addressof(buffers[at]), 12 + at, 400, 9) for at in range(150)))
    assert functions.protect(spans, 150) == 150
    for at in range(150):
        assert bytes(buffers[at][: spans[at].length]) == protect(SrtpContext(key(list(SUITES)[many[at]], 3)), rtp(at, bytes(range(at))))
        spans[at].context = receivers[many[at]]
    assert functions.unprotect(spans, 150) == 150
    assert all(bytes(buffers[at][: spans[at].length]) == rtp(at, bytes(range(at))) for at in range(150))
    counts = (ctypes.c_uint64 * 8)()
    for receiver in receivers:
        functions.counts(receiver, counts)
        assert counts[1] in (18, 19)
        functions.forget(receiver)
        functions.free(receiver)


def test_control_batches_by_address() -> None:
    functions = Functions.from_address(functions_address())
    sender, receiver = SrtpContext(MASTER), SrtpContext(MASTER)
    buffer = (ctypes.c_uint8 * 100)(*report())
    span = Span(sender.address, ctypes.addressof(buffer), 28, 100, 9)
    assert functions.protect_control(span, 1) == 1 and span.length == 42
    span.context = receiver.address
    assert functions.unprotect_control(span, 1) == 1 and bytes(buffer[:28]) == report()
    assert refusal(receiver, protect(sender, rtp(1))) == Status.OK and receiver.roc(SSRC) == 0
