"""Python's door to the trace kernel: memory for the tables, feeding inputs, columns out as numpy views."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset, strlen

import os

import numpy as np

from engine._native.trace cimport *

TABLE_NAMES = ("messages", "transactions", "calls", "media_lines", "endpoints", "strings", "sightings", "events",
               "streams")
_TRANSPORTS = {"UDP": 1, "TCP": 2, "TLS": 3, "SCTP": 4, "WS": 5, "WSS": 6}
_NUMPY_KINDS = {"u": "u", "i": "i", "f": "f"}


# Tests let lending fail behind a number of lends, to see that every path survives it; below 0 it never does.
cdef int _lends_left = -1


cdef void *_lend(size_t count) noexcept nogil:
    global _lends_left
    if _lends_left == 0:
        return NULL
    if _lends_left > 0:
        _lends_left -= 1
    return calloc(1, count if count else 1)


def fail_lends_behind(int count):
    """For tests: memory ends behind `count` more lends; a negative count ends that."""
    global _lends_left
    _lends_left = count


cdef void _take_back(void *block) noexcept nogil:
    free(block)


cdef lender LENDER
LENDER.lend = _lend
LENDER.take_back = _take_back


def condition_names():
    return [condition_id(number).decode() for number in range(CONDITION_COUNT)]


def method_names():
    return tuple(sip_method_name(number).decode() for number in range(SIP_METHOD_COUNT))


def codec_names():
    return tuple(sdp_codec_name(number).decode() for number in range(SDP_CODEC_COUNT))


def _places():
    cdef const column *columns
    places = {}
    for number, name in enumerate(TABLE_NAMES):
        count = table_columns(number, &columns)
        places[name] = {columns[i].name.decode(): i for i in range(count)}
    return places


# by table: column names and their places
COLUMN_PLACES = _places()


cdef class _Input:
    """Holds an input's buffer for as long as rows point into it."""

    cdef Py_buffer view
    cdef bint held

    def __cinit__(self, source):
        PyObject_GetBuffer(source, &self.view, PyBUF_SIMPLE)
        self.held = True

    def __dealloc__(self):
        if self.held:
            PyBuffer_Release(&self.view)


cdef class _Memory:
    """Keeps the trace alive while an array over its memory lives."""

    cdef Trace owner
    cdef void *place
    cdef Py_ssize_t count
    cdef Py_ssize_t shape[1]
    cdef Py_ssize_t strides[1]

    def __getbuffer__(self, Py_buffer *buffer, int flags):
        self.shape[0] = self.count
        self.strides[0] = 1
        buffer.buf = self.place
        buffer.obj = self
        buffer.len = self.count
        buffer.itemsize = 1
        buffer.ndim = 1
        buffer.format = b"B"
        buffer.shape = self.shape
        buffer.strides = self.strides
        buffer.suboffsets = NULL
        buffer.readonly = 1
        buffer.internal = NULL


class PartConflict(Exception):
    """Parts cannot give what one thread would: the input is to be read again from its start, without parts."""


cdef class Trace:
    cdef trace_state *state
    cdef capture_state *capture
    cdef capture_state *scout
    cdef bint split
    cdef list inputs
    cdef uint64_t seed
    cdef bint finished
    cdef uint32_t *by_condition
    cdef uint32_t condition_starts[CONDITION_COUNT + 1]

    def __cinit__(self, uint64_t expected_bytes=0, seed=None):
        self.inputs = [None]
        self.seed = int.from_bytes(os.urandom(8), "little") if seed is None else seed
        self.state = <trace_state *>calloc(1, sizeof(trace_state))
        if self.state == NULL or trace_init(self.state, &LENDER, self.seed, expected_bytes) != 0:
            raise MemoryError("no memory for the tables of a trace")

    def __dealloc__(self):
        if self.state != NULL:
            trace_release(self.state)
            free(self.state)
        free(self.capture)
        free(self.scout)
        free(self.by_condition)

    def open_input(self, source):
        cdef _Input held = _Input(source)
        cdef trace_state *t = self.state
        cdef const uint8_t **larger
        cdef uint32_t wanted = len(self.inputs)
        if self.finished:
            raise ValueError("the trace is finished")
        if wanted >= 65535:
            raise ValueError("at most 65,534 inputs in one trace")
        if wanted >= t.store_capacity:
            larger = <const uint8_t **>calloc(max(16, wanted * 2), sizeof(uint8_t *))
            if larger == NULL:
                raise MemoryError("no memory for one more input")
            if t.stores != NULL:
                memcpy(larger, t.stores, t.store_capacity * sizeof(uint8_t *))
                free(t.stores)
            t.stores = larger
            t.store_capacity = max(16, wanted * 2)
        self.inputs.append(held)
        t.stores[wanted] = <const uint8_t *>held.view.buf
        t.file = wanted
        t.text = <const uint8_t *>held.view.buf
        t.text_count = held.view.len
        return wanted

    def read_capture(self, progress=None, uint64_t step=400_000):
        cdef trace_state *t = self.state
        cdef capture_state *capture = <capture_state *>calloc(1, sizeof(capture_state))
        cdef ptrdiff_t read = 1
        if capture == NULL:
            raise MemoryError("no memory to read a capture")
        try:
            if capture_open(capture, t.text, t.text_count) != 0:
                return False
            while read > 0:
                with nogil:
                    read = trace_capture(t, capture, t.text, t.text_count, step)
                if progress is not None:
                    progress(capture.position)
            if t.failed:
                raise MemoryError("the tables of the trace did not fit into memory")
            with nogil:
                trace_capture_end(t)
            t.bytes += t.text_count
            return True
        finally:
            free(capture)

    def open_split(self):
        """Begins to read the open input in parts; False where its format cannot be split."""
        cdef trace_state *t = self.state
        if self.finished or t.file == 0:
            raise ValueError("no input is open")
        if self.capture == NULL:
            self.capture = <capture_state *>calloc(1, sizeof(capture_state))
            self.scout = <capture_state *>calloc(1, sizeof(capture_state))
            if self.capture == NULL or self.scout == NULL:
                raise MemoryError("no memory to read a capture")
        self.split = split_open(self.capture, self.scout, t.text, t.text_count) == 0
        return self.split

    def read_until(self, uint64_t until):
        """Reads on in this thread up to the first record at or behind `until`; the position reached."""
        cdef trace_state *t = self.state
        cdef int status
        self._need_split()
        with nogil:
            status = trace_read_until(t, self.capture, t.text, t.text_count, until)
        if status != 0:
            raise MemoryError("the tables of the trace did not fit into memory")
        return self.capture.position

    def absorb(self, Part part not None):
        """Appends a part; False when it does not begin where this trace stands, then nothing happened."""
        cdef int status
        self._need_split()
        if part.whole is not self or part.reading or part.file != self.state.file:
            raise ValueError("no part of the input that is read")
        with nogil:
            status = trace_absorb(self.state, self.capture, self.scout, part.state)
        if status == STATUS_UNSUPPORTED:
            raise PartConflict("parts of the input hang together in a way that cannot be joined")
        if status < 0:
            raise MemoryError("the tables of the trace did not fit into memory")
        return status == 1

    def play(self, Part part not None, uint32_t share, uint32_t shares):
        """Gives the RTP packets of an absorbed part to their streams. Several threads may each play a share."""
        if part.whole is not self or share >= shares:
            raise ValueError("no share of a part of this trace")
        with nogil:
            trace_play(self.state, part.state, share, shares)

    def close_split(self):
        """Ends reading in parts."""
        self._need_split()
        with nogil:
            trace_capture_end(self.state)
        if self.state.failed:
            raise MemoryError("the tables of the trace did not fit into memory")
        self.state.bytes += self.state.text_count
        self.split = False

    cdef int _need_split(self) except -1:
        if not self.split or self.finished:
            raise ValueError("the trace does not read an input in parts")
        return 0

    def add_message(self, const uint8_t[::1] text, time_ns, source, target, transport, int direction,
                    uint64_t offset, uint32_t number, correlation, bint retransmission, bint in_input):
        """One framed message; the row, or a negative status. `in_input`: the text lies in the open input at `offset`."""
        cdef framed f
        cdef bytes source_name, target_name, key
        memset(&f, 0, sizeof(f))
        if text.shape[0] == 0:
            return -1
        if in_input:
            if offset + <uint64_t>text.shape[0] > self.state.text_count:
                raise ValueError("the message does not lie in the input")
            f.text = self.state.text + offset
            f.in_store = 1
        else:
            f.text = &text[0]
        f.length = text.shape[0]
        f.offset = offset
        f.number = number
        f.has_time = time_ns is not None
        if time_ns is not None:
            f.time_ns = time_ns
        if source is not None:
            source_name = source.encode()
            _place(source_name, &f.source, &f.source_name, &f.source_name_length)
        if target is not None:
            target_name = target.encode()
            _place(target_name, &f.target, &f.target_name, &f.target_name_length)
        f.transport = _TRANSPORTS.get(transport, 0)
        f.direction = direction
        f.dscp = 255
        if retransmission:
            f.message_flags = MESSAGE_LOGGED_RETRANSMISSION
        if correlation is not None:
            key = correlation.encode()
            f.correlation_hash = sip_hash(key, len(key), self.seed)
        return trace_message(self.state, &f)

    def add_packet(self, const uint8_t[::1] packet, int64_t time_ns, uint16_t link_type, uint64_t offset):
        """One link-layer packet from a hex dump. Its bytes need not outlive the call."""
        if packet.shape[0]:
            return trace_packet_bytes(self.state, &packet[0], packet.shape[0], time_ns, link_type, offset)
        return -1

    def add_bytes(self, uint64_t count):
        self.state.bytes += count

    def finish(self):
        cdef int status
        if not self.finished:
            with nogil:
                status = trace_finish(self.state)
            if status != 0 or self.state.failed:
                raise MemoryError("the tables of the trace did not fit into memory")
            self.finished = True

    cdef object _array(self, void *place, str kind, size_t size, size_t count):
        if count == 0 or place == NULL:
            return np.empty(0, dtype=f"{kind}{size}")
        cdef _Memory memory = _Memory.__new__(_Memory)
        memory.owner = self
        memory.place = place
        memory.count = size * count
        return np.frombuffer(memory, dtype=f"{kind}{size}")

    cdef table_head *_head(self, int number):
        cdef trace_state *t = self.state
        cdef table_head *heads[9]
        heads[0] = &t.messages.head
        heads[1] = &t.transactions.head
        heads[2] = &t.calls.head
        heads[3] = <table_head *>&t.media_lines
        heads[4] = &t.endpoints.head
        heads[5] = &t.strings.head
        heads[6] = <table_head *>&t.sightings
        heads[7] = <table_head *>&t.events
        heads[8] = <table_head *>&t.streams
        return heads[number]

    def rows(self, name):
        """Rows of a table."""
        return self._head(TABLE_NAMES.index(name)).count

    def column(self, name, column_name):
        """One column of a table as an array over native memory; KeyError when there is none of that name."""
        cdef int number = TABLE_NAMES.index(name)
        cdef int place = COLUMN_PLACES[name][column_name]
        cdef table_head *head = self._head(number)
        cdef const column *columns
        table_columns(number, &columns)
        return self._array((<void **>(head + 1))[place], chr(columns[place].kind), columns[place].size, head.count)

    def table(self, name):
        """(rows, {column: array}) of a table."""
        cdef int number = TABLE_NAMES.index(name)
        cdef table_head *head = self._head(number)
        cdef const column *columns
        cdef size_t count = table_columns(number, &columns)
        cdef void **pointers = <void **>(head + 1)
        built = {}
        for i in range(count):
            built[columns[i].name.decode()] = self._array(pointers[i], chr(columns[i].kind), columns[i].size, head.count)
        return head.count, built

    def call_messages(self):
        return self._array(self.state.call_messages, "u", 4, self.state.messages.head.count if self.finished else 0)

    def call_streams(self):
        return self._array(self.state.call_streams, "u", 4, self._head(8).count if self.finished else 0)

    def call_conditions(self):
        """uint64 words by call: which conditions each has."""
        count = self.state.calls.head.count
        return self._array(self.state.call_conditions, "u", 8, count * CONDITION_WORDS).reshape(count, CONDITION_WORDS)

    def condition_count(self, int number):
        if not 0 <= number < CONDITION_COUNT:
            raise IndexError(number)
        return self.state.condition_count[number]

    def condition_counts(self):
        return {number: self.state.condition_count[number] for number in range(CONDITION_COUNT)
                if self.state.condition_count[number]}

    cdef int _sort_sightings(self) except -1:
        """Rows of the sightings table by condition, each condition's in their order: a counting sort."""
        cdef sightings_table *s = &self.state.sightings
        cdef uint32_t count = s.head.count, row
        cdef int number
        cdef uint32_t next_place[CONDITION_COUNT]
        self.by_condition = <uint32_t *>malloc((<size_t>count + 1) * sizeof(uint32_t))
        if self.by_condition == NULL:
            raise MemoryError("no memory to sort the sightings")
        memset(self.condition_starts, 0, sizeof(self.condition_starts))
        for row in range(count):
            self.condition_starts[s.condition[row] + 1] += 1
        for number in range(CONDITION_COUNT):
            self.condition_starts[number + 1] += self.condition_starts[number]
            next_place[number] = self.condition_starts[number]
        for row in range(count):
            self.by_condition[next_place[s.condition[row]]] = row
            next_place[s.condition[row]] += 1
        return 0

    def sightings_of(self, int number):
        cdef sightings_table *s = &self.state.sightings
        cdef uint32_t first, count, i, row
        if not 0 <= number < CONDITION_COUNT:
            raise IndexError(number)
        if not self.finished:
            raise ValueError("the trace is not finished")
        if self.by_condition == NULL:
            self._sort_sightings()
        first = self.condition_starts[number]
        count = self.condition_starts[number + 1] - first
        calls, rows, others = np.empty(count, np.uint32), np.empty(count, np.uint32), np.empty(count, np.uint32)
        codes, values = np.empty(count, np.uint16), np.empty(count, np.int64)
        cdef uint32_t[::1] call = calls, message = rows, other = others
        cdef uint16_t[::1] code = codes
        cdef int64_t[::1] value = values
        for i in range(count):
            row = self.by_condition[first + i]
            call[i] = s.call[row]
            message[i] = s.row[row]
            other[i] = s.other[row]
            code[i] = s.code[row]
            value[i] = s.value[row]
        return calls, rows, others, codes, values

    def text(self, uint32_t row):
        cdef uint32_t length
        cdef const uint8_t *text
        if row >= self.state.messages.head.count:
            raise IndexError(f"no message row {row}")
        text = trace_text(self.state, row, &length)
        return text[:length]

    def string(self, uint32_t row):
        cdef const uint8_t *text
        if row >= self.state.strings.head.count:
            raise IndexError(f"no strings row {row}")
        text = self.state.arena + self.state.strings.offset[row]
        return text[:self.state.strings.length[row]]

    def call_id(self, uint32_t call):
        cdef const uint8_t *text
        cdef calls_table *c = &self.state.calls
        if call >= c.head.count:
            raise IndexError(f"no calls row {call}")
        text = self.state.stores[c.call_id_store[call]] if c.call_id_store[call] else self.state.arena
        text += c.call_id_offset[call]
        return text[:c.call_id_length[call]]

    def endpoint_host(self, uint32_t row):
        cdef endpoints_table *e = &self.state.endpoints
        cdef address a
        cdef uint8_t text[64]
        cdef ptrdiff_t count
        if row >= e.head.count:
            raise IndexError(f"no endpoints row {row}")
        if e.family[row] == 0:
            return self.string(e.name[row]).decode("utf-8", "replace") if e.name[row] != 0xFFFFFFFF else "unknown"
        memset(&a, 0, sizeof(a))
        for i in range(8):
            a.ip[i] = (e.ip_high[row] >> (56 - 8 * i)) & 255
            a.ip[8 + i] = (e.ip_low[row] >> (56 - 8 * i)) & 255
        a.family = e.family[row]
        count = address_format(&a, text, 64)
        return text[:count].decode() if count > 0 else "unknown"

    def endpoint_address(self, uint32_t row):
        """ "ip:port", "[v6]:port", or the host alone where the port is 0. """
        cdef str host = self.endpoint_host(row)
        cdef unsigned port = self.state.endpoints.port[row]
        if port == 0:
            return host
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def host_row(self, uint32_t row):
        if row >= self.state.endpoints.head.count:
            raise IndexError(f"no endpoints row {row}")
        return self.state.endpoints.host[row]

    def said(self, uint32_t row):
        cdef messages_table *m = &self.state.messages
        if row >= m.head.count:
            raise IndexError(f"no message row {row}")
        return m.status[row], m.method[row], m.source[row], m.target[row]

    def arena_bytes(self, uint64_t offset, uint32_t length):
        """Bytes that the trace kept: handshakes by events.bytes_offset and bytes_length."""
        if offset + length > self.state.arena_length:
            raise IndexError("not in the arena")
        return self.state.arena[offset:offset + length]

    def problems(self):
        """[(name, text, count, first offset)] of what could not be read."""
        cdef problems_counts *p = &self.state.problems
        return [(problem_name(kind).decode().lower().replace("_", "-"), problem_text(kind).decode(), p.count[kind],
                 p.first_offset[kind])
                for kind in range(PROBLEM_COUNT) if p.count[kind]]

    def note_problem(self, int kind, uint64_t offset):
        if 0 <= kind < PROBLEM_COUNT:
            if self.state.problems.count[kind] == 0:
                self.state.problems.first_offset[kind] = offset
            self.state.problems.count[kind] += 1

    def tunnel_packets(self):
        """Packets by encapsulation, in the order of enum packet_tunnel."""
        return [self.state.tunnel_packets[i] for i in range(14)]

    @property
    def no_time(self): return bool(self.state.no_time)
    @property
    def first_time_ns(self): return self.state.first_time_ns
    @property
    def last_time_ns(self): return self.state.last_time_ns
    @property
    def packets(self): return self.state.packets
    @property
    def bytes_read(self): return self.state.bytes
    @property
    def rtp_packets(self): return self.state.rtp_packets
    @property
    def rtcp_packets(self): return self.state.rtcp_packets
    @property
    def mirrored_packets(self): return self.state.mirrored_packets
    @property
    def other_packets(self): return self.state.other_packets


cdef class Part:
    cdef trace_state *state
    cdef Trace whole
    cdef uint16_t file
    cdef bint reading

    def __cinit__(self, Trace whole not None, uint64_t expected_bytes=0):
        cdef trace_state *t
        whole._need_split()
        self.whole = whole
        self.file = whole.state.file
        self.state = t = <trace_state *>calloc(1, sizeof(trace_state))
        if t == NULL or trace_init(t, &LENDER, whole.seed, expected_bytes) != 0 or part_init(t) != 0:
            raise MemoryError("no memory for the tables of a part")
        t.file = self.file
        t.text = whole.state.text
        t.text_count = whole.state.text_count

    def __dealloc__(self):
        if self.state != NULL:
            trace_release(self.state)
            free(self.state)

    def read(self, uint64_t first, uint64_t until):
        """Reads the records that begin in [first, until); what the part held before is forgotten."""
        cdef trace_state *t = self.state
        cdef int status
        self.whole._need_split()
        if self.reading:
            raise ValueError("the part is being read")
        self.reading = True
        with nogil:
            status = part_read(t, self.whole.scout, t.text, t.text_count, first, until)
        self.reading = False
        if status != 0:
            raise MemoryError("the tables of a part did not fit into memory")


cdef int _place(bytes name, address *where, const uint8_t **text, uint32_t *length) except -1:
    """ "ip:port", "[v6]:port", "ip" or a name with or without port. """
    cdef const uint8_t *p = name
    cdef Py_ssize_t n = len(name), host = n
    cdef Py_ssize_t colon = name.rfind(b":")
    cdef int port = 0
    if colon > 0 and (name.count(b":") == 1 or name[colon - 1:colon] == b"]") and name[colon + 1:].isdigit():
        port = min(int(name[colon + 1:]), 65535)
        host = colon
    address_parse(p, host, where)
    where.port = port
    text[0] = p
    length[0] = host
    return 0
