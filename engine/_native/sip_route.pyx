"""Call-IDs of messages that are not tokenized, and their keyed hash: the Python face of c/sip_route.h."""

from time import perf_counter

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint32_t, uint64_t


cdef extern from "sip_route.h" nogil:
    enum: SIP_ROUTE_KEY_BYTES
    ctypedef struct sip_span "struct sip_span":
        uint32_t offset, length
    int sip_call_id_find(const uint8_t *source, size_t count, sip_span *value)
    int sip_call_id_find_scalar(const uint8_t *source, size_t count, sip_span *value)
    uint64_t sip_call_id_hash(const uint8_t *value, size_t count, const uint8_t *key)


KEY_BYTES = SIP_ROUTE_KEY_BYTES


cdef const uint8_t *_key(bytes key) except NULL:
    if key is None or PyBytes_GET_SIZE(key) != SIP_ROUTE_KEY_BYTES:
        raise ValueError("a key has 16 bytes")
    return <const uint8_t *>PyBytes_AS_STRING(key)


cdef int _of_message(object data, const uint8_t *key, bint scalar, uint64_t *target) except -1:
    """Whether the message has a Call-ID; then `target` is its hash."""
    cdef Py_buffer view
    cdef const uint8_t *base
    cdef size_t count
    cdef sip_span value
    cdef int found, held = not PyBytes_CheckExact(data)
    if held:
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        base, count = <const uint8_t *>view.buf, view.len
    else:
        base, count = <const uint8_t *>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data)
    found = (sip_call_id_find_scalar if scalar else sip_call_id_find)(base, count, &value)
    found = found and value.length
    if found:
        target[0] = sip_call_id_hash(base + value.offset, value.length, key)
    if held:
        PyBuffer_Release(&view)
    return found


def call_id_hash(data, bytes key, *, bint scalar=False):
    """64-bit keyed hash of a message's first Call-ID, None where it has none or an empty one."""
    cdef uint64_t found
    return found if _of_message(data, _key(key), scalar, &found) else None


def call_id_owner(data, bytes key, uint32_t count):
    """Which of `count` workers a message belongs to: its hash modulo `count`; -1 for a message without Call-ID."""
    cdef uint64_t found
    if not count:
        raise ValueError("there is at least one worker")
    return <long>(found % count) if _of_message(data, _key(key), False, &found) else -1


def hash_of(bytes call_id not None, bytes key):
    """The same hash of a Call-ID alone."""
    return sip_call_id_hash(<const uint8_t *>PyBytes_AS_STRING(call_id), PyBytes_GET_SIZE(call_id), _key(key))


def bench_call_id_hash(bytes data not None, bytes key, int repeat=1):
    """Seconds to find and hash the Call-ID of a message `repeat` times, without the GIL."""
    cdef const uint8_t *base = <const uint8_t *>PyBytes_AS_STRING(data)
    cdef const uint8_t *secret = _key(key)
    cdef size_t count = PyBytes_GET_SIZE(data)
    cdef sip_span value
    cdef int round
    begin = perf_counter()
    with nogil:
        for round in range(repeat):
            if sip_call_id_find(base, count, &value):
                sip_call_id_hash(base + value.offset, value.length, secret)
    return perf_counter() - begin
