"""RTP packets on the wire, and what orders, places and admits them: the Python face of c/rtp_packet.h, c/jitter.h, c/timeline.h and c/latch.h."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int8_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

cdef extern from "status.h" nogil:
    enum: STATUS_MALFORMED, STATUS_TOO_SMALL

cdef extern from "rtp_packet.h" nogil:
    enum: RTP_PACKET_HEADER_BYTES, RTP_PACKET_CSRC_MAX, RTP_PACKET_EXTENSION_WORDS_MAX
    ctypedef struct rtp_packet "struct rtp_packet":
        const uint8_t *payload
        const uint8_t *extension
        uint32_t timestamp, ssrc
        uint16_t sequence, payload_length, extension_profile, extension_length
        uint8_t payload_type, marker, csrc_count, padding
    int rtp_packet_kind(const uint8_t *bytes, uint32_t length)
    int rtp_packet_read(const uint8_t *bytes, uint32_t length, rtp_packet *packet)
    uint32_t rtp_packet_read_batch(const uint8_t **bytes, const uint32_t *lengths, uint32_t count, rtp_packet *packets, int8_t *status)
    const uint8_t *rtp_packet_extension(const rtp_packet *packet, uint8_t id, uint32_t *length)
    int rtp_packet_write(const rtp_packet *packet, const uint32_t *csrc, uint8_t *bytes, uint32_t room)
    void rtp_packet_head_batch(uint8_t **bytes, uint32_t count, uint8_t payload_type, uint16_t sequence, uint32_t timestamp, uint32_t step, uint32_t ssrc)

cdef extern from "jitter.h" nogil:
    enum: JITTER_SLOTS, JITTER_NONE, JITTER_FIXED, JITTER_ADAPTIVE, JITTER_NO_HANDLE
    enum: JITTER_KEPT, JITTER_LATE, JITTER_DUPLICATE, JITTER_FULL, JITTER_NOTHING, JITTER_PACKET, JITTER_LOST
    ctypedef struct jitter_settings "struct jitter_settings":
        uint8_t mode
        uint16_t delay_min_ms, delay_max_ms
        uint32_t clock_rate_hz
    ctypedef struct jitter_slot "struct jitter_slot":
        pass
    ctypedef struct jitter_buffer "struct jitter":
        uint64_t next, highest, taken, released
        uint32_t held
        int64_t delay_ns
        uint64_t lost, late, duplicate, overflowed, restarts
        jitter_settings settings
    ctypedef struct jitter_out "struct jitter_out":
        uint64_t extended
        uint32_t handle, timestamp, lost
    void jitter_start(jitter_buffer *j, const jitter_settings *settings, jitter_slot *slots)
    int jitter_put(jitter_buffer *j, uint64_t extended, uint32_t timestamp, int marker, int64_t arrival_ns, uint32_t handle)
    int jitter_take(jitter_buffer *j, int64_t now_ns, jitter_out *out)
    int64_t jitter_due_ns(const jitter_buffer *j)
    int jitter_is_next(const jitter_buffer *j, uint64_t extended)
    void jitter_pass(jitter_buffer *j, uint64_t extended)
    uint32_t jitter_drain(jitter_buffer *j)

cdef extern from "timeline.h" nogil:
    ctypedef struct timeline "struct timeline":
        int64_t position
        uint64_t lost_samples, silent_samples, skipped_samples, late_packets
        uint32_t anchors
        double drift_ppm
        int64_t inserted_samples, dropped_samples
    ctypedef struct timeline_step "struct timeline_step":
        uint32_t conceal, silence, skip
        uint8_t anchored, drop
    void timeline_start(timeline *t, int64_t origin_ns, uint32_t clock_rate_hz, uint32_t sample_rate_hz)
    void timeline_place(timeline *t, uint32_t ssrc, uint32_t timestamp, uint32_t samples, uint32_t lost, int64_t arrival_ns, timeline_step *step)
    uint32_t timeline_idle(timeline *t, int64_t now_ns, uint32_t slack_ms)
    void timeline_clock(timeline *t, uint32_t clock_rate_hz)
    void timeline_renew(timeline *t)
    void timeline_quiet(timeline *t)

cdef extern from "latch.h" nogil:
    enum: LATCH_STRICT, LATCH_HOST, LATCH_LEARN, LATCH_ANY, LATCH_PASS, LATCH_DROP, LATCH_HELD, LATCH_MOVED
    ctypedef struct latch_address "struct latch_address":
        uint8_t ip[16]
        uint16_t port
    ctypedef struct latch "struct latch":
        uint8_t latched
        latch_address current
        uint32_t let_through
        uint64_t dropped, moved
    void latch_start(latch *l, int policy, const latch_address *signalled, uint16_t learn_ms, int64_t now_ns)
    void latch_signalled(latch *l, const latch_address *signalled, int64_t now_ns)
    int latch_judge(latch *l, const latch_address *source, uint32_t ssrc, uint16_t sequence, int authentic, int64_t now_ns)

KINDS = ("other", "rtp", "rtcp", "stun", "dtls")
SLOTS = JITTER_SLOTS
HEADER_BYTES = RTP_PACKET_HEADER_BYTES
EXTENSION_WORDS_MAX = RTP_PACKET_EXTENSION_WORDS_MAX
NONE, FIXED, ADAPTIVE = JITTER_NONE, JITTER_FIXED, JITTER_ADAPTIVE
KEPT, LATE, DUPLICATE, FULL = JITTER_KEPT, JITTER_LATE, JITTER_DUPLICATE, JITTER_FULL
STRICT, HOST, LEARN, ANY = LATCH_STRICT, LATCH_HOST, LATCH_LEARN, LATCH_ANY
PASS, DROP, HELD, MOVED = LATCH_PASS, LATCH_DROP, LATCH_HELD, LATCH_MOVED

# ---- packets ----


def kind(data):
    """What a datagram's first bytes are, one of KINDS (RFC 7983 §7, RFC 5761 §4)."""
    cdef const uint8_t[::1] view = data
    return KINDS[rtp_packet_kind(&view[0] if len(view) else NULL, <uint32_t>len(view))]


cdef tuple _fields(const uint8_t *base, const rtp_packet *p):
    cdef tuple csrc = ()
    cdef const uint8_t *at = base + RTP_PACKET_HEADER_BYTES
    if p.csrc_count:
        csrc = tuple([int.from_bytes(at[4 * k : 4 * k + 4], "big") for k in range(p.csrc_count)])
    return (
        p.payload_type, p.sequence, p.timestamp, p.ssrc, PyBytes_FromStringAndSize(<const char *>p.payload, p.payload_length),
        p.marker != 0, csrc, p.extension_profile,
        None if p.extension == NULL else PyBytes_FromStringAndSize(<const char *>p.extension, p.extension_length), p.padding,
    )


def read(data):
    """The fields of a packet: payload type, sequence, timestamp, SSRC, payload, marker, CSRCs, extension profile, extension (None: none),
    padding. None where the bytes are no RTP packet (RFC 3550 §5.1)."""
    cdef const uint8_t[::1] view = data
    cdef const uint8_t *base = &view[0] if len(view) else NULL
    cdef rtp_packet p
    if len(view) > 65535 or rtp_packet_read(base, <uint32_t>len(view), &p) != 0:
        return None
    return _fields(base, &p)


def read_batch(list packets not None):
    """`read` of each packet, which are bytes, through one call of the kernel."""
    cdef uint32_t count = <uint32_t>len(packets), k
    cdef const uint8_t **bases = <const uint8_t **>malloc((count + 1) * sizeof(uint8_t *))
    cdef uint32_t *lengths = <uint32_t *>malloc((count + 1) * sizeof(uint32_t))
    cdef rtp_packet *found = <rtp_packet *>malloc((count + 1) * sizeof(rtp_packet))
    cdef int8_t *status = <int8_t *>malloc(count + 1)
    cdef bytes data
    try:
        if bases == NULL or lengths == NULL or found == NULL or status == NULL:
            raise MemoryError("no memory for packets")
        for k in range(count):
            data = packets[k]
            bases[k] = <const uint8_t *>PyBytes_AS_STRING(data)
            lengths[k] = <uint32_t>min(len(data), 0xFFFFFFFF)
        good = rtp_packet_read_batch(bases, lengths, count, found, status)
        result = [_fields(bases[k], &found[k]) if status[k] == 0 else None for k in range(count)]
        assert good == count - result.count(None)
        return result
    finally:
        free(bases)
        free(lengths)
        free(found)
        free(status)


def extension(data, uint8_t id):
    """The bytes of one element of a packet's header extension; None where there is none (RFC 8285 §4.2, 4.3). Raises ValueError for what is no
    packet."""
    cdef const uint8_t[::1] view = data
    cdef const uint8_t *found
    cdef uint32_t length
    cdef rtp_packet p
    if not len(view) or rtp_packet_read(&view[0], <uint32_t>len(view), &p) != 0:
        raise ValueError("this is no RTP packet")
    found = rtp_packet_extension(&p, id, &length)
    return None if found == NULL else PyBytes_FromStringAndSize(<const char *>found, length)


def write(int payload_type, int sequence, int64_t timestamp, int64_t ssrc, payload, *, bint marker=False, csrc=(), int extension_profile=0,
          extension=None, int padding=0, room=None):
    """A packet's bytes (RFC 3550 §5.1). Raises ValueError for numbers that no packet can have, BufferError where `room` bytes are too few."""
    cdef const uint8_t[::1] body = payload
    cdef const uint8_t[::1] extra
    cdef uint32_t words[RTP_PACKET_CSRC_MAX]
    cdef rtp_packet p
    cdef uint8_t *target
    cdef int length
    cdef uint32_t limit = 65535 if room is None else min(max(room, 0), 65535)
    csrc = tuple(csrc)
    if not (0 <= payload_type < 128 and 0 <= sequence < 65536 and 0 <= timestamp < 2**32 and 0 <= ssrc < 2**32):
        raise ValueError("a field of the header is out of range")
    if len(csrc) > RTP_PACKET_CSRC_MAX or len(body) > 65535 or not (0 <= padding < 256 and 0 <= extension_profile < 65536):
        raise ValueError("more than a packet can hold")
    for k, word in enumerate(csrc):
        words[k] = word
    p.payload_type, p.sequence, p.timestamp, p.ssrc, p.marker = payload_type, sequence, <uint32_t>timestamp, <uint32_t>ssrc, marker
    p.payload, p.payload_length = (&body[0] if len(body) else NULL), <uint16_t>len(body)
    p.csrc_count, p.padding, p.extension_profile = <uint8_t>len(csrc), padding, extension_profile
    p.extension, p.extension_length = NULL, 0
    if extension is not None:
        extra = extension
        if len(extra) > 65535:
            raise ValueError("more than a packet can hold")
        p.extension, p.extension_length = (&extra[0] if len(extra) else <const uint8_t *>b""), <uint16_t>len(extra)
    target = <uint8_t *>malloc(limit + 1)
    if target == NULL:
        raise MemoryError("no memory for a packet")
    try:
        length = rtp_packet_write(&p, words, target, limit)
        if length == STATUS_TOO_SMALL:
            raise BufferError(f"{limit} bytes are too few")
        if length < 0:
            raise ValueError("no packet can be like this")
        return PyBytes_FromStringAndSize(<const char *>target, length)
    finally:
        free(target)


def head_batch(list packets not None, uint8_t payload_type, uint16_t sequence, uint32_t timestamp, uint32_t step, uint32_t ssrc):
    """Writes the 12-byte heads of packets that follow each other into bytearrays."""
    cdef uint32_t count = <uint32_t>len(packets), k, held = 0
    cdef Py_buffer *views = <Py_buffer *>malloc((count + 1) * sizeof(Py_buffer))
    cdef uint8_t **bases = <uint8_t **>malloc((count + 1) * sizeof(uint8_t *))
    try:
        if views == NULL or bases == NULL:
            raise MemoryError("no memory for packets")
        for k in range(count):
            PyObject_GetBuffer(packets[k], &views[k], PyBUF_SIMPLE | PyBUF_WRITABLE)
            held += 1
            if views[k].len < RTP_PACKET_HEADER_BYTES:
                raise ValueError("a packet has 12 bytes and more")
            bases[k] = <uint8_t *>views[k].buf
        rtp_packet_head_batch(bases, count, payload_type, sequence, timestamp, step, ssrc)
    finally:
        for k in range(held):
            PyBuffer_Release(&views[k])
        free(views)
        free(bases)


# ---- order ----


cdef class JitterBuffer:
    """A jitter buffer over numbers instead of packets: handles go in and come out in order. Times are nanoseconds of one clock."""

    cdef jitter_buffer buffer
    cdef jitter_slot slots[JITTER_SLOTS]

    def __cinit__(self, *, uint8_t mode, uint16_t delay_min_ms=0, uint16_t delay_max_ms=0, uint32_t clock_rate_hz=8000):
        cdef jitter_settings settings
        settings.mode = mode
        settings.delay_min_ms, settings.delay_max_ms = delay_min_ms, delay_max_ms
        settings.clock_rate_hz = clock_rate_hz
        jitter_start(&self.buffer, &settings, self.slots)

    def put(self, uint64_t extended, uint32_t timestamp, int64_t arrival_ns, uint32_t handle, *, bint marker=False):
        """KEPT, LATE, DUPLICATE or FULL; only what is kept belongs to the buffer."""
        return jitter_put(&self.buffer, extended, timestamp, marker, arrival_ns, handle)

    def take(self, int64_t now_ns):
        """What is due: (extended, handle, timestamp) of a packet, (extended, None, count) of packets given up, None."""
        cdef jitter_out out
        cdef int found = jitter_take(&self.buffer, now_ns, &out)
        if found == JITTER_PACKET:
            return out.extended, out.handle, out.timestamp
        return (out.extended, None, out.lost) if found == JITTER_LOST else None

    def is_next(self, uint64_t extended):
        return bool(jitter_is_next(&self.buffer, extended))

    def pass_by(self, uint64_t extended):
        """Counts a packet that is next and goes past the buffer."""
        jitter_pass(&self.buffer, extended)

    def drain(self):
        """The handle of the first packet that is held, None at the end."""
        cdef uint32_t handle = jitter_drain(&self.buffer)
        return None if handle == JITTER_NO_HANDLE else handle

    def set(self, *, uint8_t mode, uint16_t delay_min_ms, uint16_t delay_max_ms, uint32_t clock_rate_hz):
        """Other settings from the next packet on."""
        self.buffer.settings.mode = mode
        self.buffer.settings.delay_min_ms, self.buffer.settings.delay_max_ms = delay_min_ms, delay_max_ms
        self.buffer.settings.clock_rate_hz = clock_rate_hz

    @property
    def due_ns(self):
        """When something will be due; -2**63: it is already, 2**63-1: nothing is held."""
        return jitter_due_ns(&self.buffer)

    @property
    def delay_ns(self):
        return self.buffer.delay_ns

    @property
    def held(self):
        return self.buffer.held

    @property
    def counts(self):
        cdef jitter_buffer *j = &self.buffer
        return {
            "taken": j.taken, "released": j.released, "lost": j.lost, "late": j.late, "duplicate": j.duplicate,
            "overflowed": j.overflowed, "restarts": j.restarts,
        }


# ---- place ----


cdef class Timeline:
    """The timeline of one stream. `origin_ns`: the moment of sample 0."""

    cdef timeline line

    def __cinit__(self, *, int64_t origin_ns=0, uint32_t clock_rate_hz=8000, uint32_t sample_rate_hz=8000):
        timeline_start(&self.line, origin_ns, clock_rate_hz, sample_rate_hz)

    def place(self, uint32_t timestamp, uint32_t samples, int64_t arrival_ns, *, uint32_t ssrc=0, uint32_t lost=0):
        """(conceal, silence, skip, anchored, drop): what to write before a packet, in samples, and what of it."""
        cdef timeline_step step
        timeline_place(&self.line, ssrc, timestamp, samples, lost, arrival_ns, &step)
        return step.conceal, step.silence, step.skip, step.anchored != 0, step.drop != 0

    def idle(self, int64_t now_ns, uint32_t slack_ms):
        """Samples of silence to write because nothing came."""
        return timeline_idle(&self.line, now_ns, slack_ms)

    def clock(self, uint32_t clock_rate_hz):
        """The clock rate of timestamps is another one from the next packet on."""
        timeline_clock(&self.line, clock_rate_hz)

    def renew(self):
        """The next packet is placed by its moment, as the first one was."""
        timeline_renew(&self.line)

    def quiet(self):
        """The next packet is quiet: drift may be corrected in it."""
        timeline_quiet(&self.line)

    @property
    def position(self):
        return self.line.position

    @property
    def drift_ppm(self):
        return self.line.drift_ppm

    @property
    def counts(self):
        cdef timeline *t = &self.line
        return {
            "lost_samples": t.lost_samples, "silent_samples": t.silent_samples, "skipped_samples": t.skipped_samples,
            "late_packets": t.late_packets, "anchors": t.anchors, "inserted_samples": t.inserted_samples,
            "dropped_samples": t.dropped_samples,
        }


# ---- admittance ----


cdef int _address(latch_address *target, source) except -1:
    ip, port = source
    cdef const uint8_t[::1] view = ip
    if len(view) != 16:
        raise ValueError("an address is 16 bytes; IPv4 as ::ffff:a.b.c.d")
    memcpy(target.ip, &view[0], 16)
    target.port = port
    return 0


cdef class Latch:
    """Whom one stream listens to. An address is (16 bytes, port)."""

    cdef latch state

    def __cinit__(self, int policy, signalled=None, *, uint16_t learn_ms=2000, int64_t now_ns=0):
        cdef latch_address address
        if signalled is not None:
            _address(&address, signalled)
        latch_start(&self.state, policy, NULL if signalled is None else &address, learn_ms, now_ns)

    def signalled(self, address, int64_t now_ns):
        """A new offer or answer names this address; None: none."""
        cdef latch_address found
        if address is not None:
            _address(&found, address)
        latch_signalled(&self.state, NULL if address is None else &found, now_ns)

    def judge(self, source, uint32_t ssrc, uint16_t sequence, int64_t now_ns, *, bint authentic=False):
        """PASS, DROP, HELD or MOVED."""
        cdef latch_address address
        _address(&address, source)
        return latch_judge(&self.state, &address, ssrc, sequence, authentic, now_ns)

    @property
    def current(self):
        """Where to send to."""
        return bytes(self.state.current.ip[:16]), self.state.current.port

    @property
    def latched(self):
        return bool(self.state.latched)

    @property
    def counts(self):
        return {"dropped": self.state.dropped, "moved": self.state.moved, "let_through": self.state.let_through}
