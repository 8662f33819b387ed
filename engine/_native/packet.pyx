# cython: auto_pickle=False
"""Test-facing door to the packet path: capture records, decapsulation, reassembly, HEP and WebSocket."""

cimport cython
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.unicode cimport PyUnicode_FromString
from libc.stddef cimport ptrdiff_t, size_t
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset


cdef extern from "packet.h" nogil:
    enum:
        PROBLEM_COUNT
        STATUS_MALFORMED
        STATUS_INCOMPLETE
        PACKET_FRAGMENT
        IP_TCP
    struct problems:
        uint64_t *count
        uint64_t *first_offset
    struct address:
        uint8_t *ip
        uint16_t port
        uint8_t family, kind
    struct packet:
        int64_t time_ns
        uint64_t file_offset
        const uint8_t *payload
        uint32_t payload_length, wire_length, number
        address source, target
        uint32_t tcp_sequence, tcp_acknowledgement, fragment_id
        uint16_t fragment_offset, flags, tunnels
        uint8_t more_fragments, protocol, tcp_flags, icmp_type, icmp_code, dscp, ttl, hep_protocol
        uint16_t vlan
        uint64_t flow_tag
        const uint8_t *hep_correlation
        uint32_t hep_correlation_length
    struct capture_interface:
        uint32_t snap_length
        uint16_t link_type
        uint8_t fcs_length
        uint64_t ticks_per_second
        int64_t offset_s
        uint64_t drops
    struct capture:
        uint64_t position
        uint32_t number
        uint8_t format, swapped
        uint32_t interface_count
        uint64_t secrets_offset, secrets_length, comment_count
        int64_t last_time_ns
        capture_interface *interfaces
    struct capture_record:
        int64_t time_ns
        uint64_t offset
        const uint8_t *bytes
        uint32_t captured, original, number
        uint16_t link_type, interface
    struct fragments:
        pass
    struct tcp:
        pass
    struct websocket_frame:
        uint8_t opcode, final, masked, reserved
        uint64_t length
        uint32_t header_length
        uint8_t *mask
    enum tcp_event:
        TCP_MESSAGE
    ctypedef void (*tcp_sink)(void *context, tcp_event event, const packet *p, uint8_t transport) noexcept nogil

    int capture_open(capture *c, const uint8_t *source, size_t count)
    int capture_next(capture *c, const uint8_t *source, size_t count, capture_record *record, problems *found)
    uint64_t capture_boundary(const capture *c, const uint8_t *source, size_t count, uint64_t start)
    int link_decode(const capture_record *record, packet *p, problems *found)
    int link_decode_ip(const uint8_t *source, size_t count, packet *p, problems *found)
    size_t fragments_size(uint32_t datagrams)
    fragments *fragments_init(void *memory, size_t size, uint32_t datagrams)
    int fragments_push(fragments *f, const packet *fragment, packet *whole, problems *found)
    int fragments_drain(fragments *f, int64_t before_ns, packet *whole, problems *found)
    void fragments_finish(fragments *f, problems *found)
    size_t tcp_size(uint32_t connections, uint32_t buffers)
    tcp *tcp_init(void *memory, size_t size, uint32_t connections, uint32_t buffers)
    void tcp_push(tcp *t, const packet *segment, tcp_sink sink, void *context, problems *found)
    void tcp_finish(tcp *t, tcp_sink sink, void *context, problems *found)
    ptrdiff_t hep_decode(const uint8_t *source, size_t count, packet *p, problems *found)
    ptrdiff_t websocket_header(const uint8_t *source, size_t count, websocket_frame *frame)
    void websocket_unmask(const uint8_t *source, size_t count, const uint8_t *mask, uint64_t position,
                          uint8_t *target)
    const char *problem_text(int kind)


cdef extern from *:
    """
    #include "packet.h"
    static const char *const problem_symbols[] = {
    #define X(symbol, text) #symbol,
        PROBLEMS(X)
    #undef X
    };
    """
    const char *problem_symbols[1]


cdef dict problems_found(const problems *found):
    return {
        problem_symbols[kind].decode(): (found.count[kind], found.first_offset[kind])
        for kind in range(PROBLEM_COUNT) if found.count[kind]
    }


def problem_sentences():
    """Symbol and sentence of every problem kind, in order."""
    return {problem_symbols[kind].decode(): PyUnicode_FromString(problem_text(kind)) for kind in range(PROBLEM_COUNT)}


cdef tuple endpoint(const address *a):
    if a.family == 4:
        return f"{a.ip[12]}.{a.ip[13]}.{a.ip[14]}.{a.ip[15]}", a.port, a.kind
    if a.family == 6:
        return (<const uint8_t *>a.ip)[:16].hex(":", 2), a.port, a.kind
    return "", a.port, a.kind


cdef dict described(const packet *p):
    return {
        "time_ns": p.time_ns, "file_offset": p.file_offset, "number": p.number,
        "payload": p.payload[:p.payload_length] if p.payload_length else b"",
        "wire_length": p.wire_length,
        "source": endpoint(&p.source), "target": endpoint(&p.target),
        "tcp_sequence": p.tcp_sequence, "tcp_acknowledgement": p.tcp_acknowledgement, "tcp_flags": p.tcp_flags,
        "fragment_id": p.fragment_id, "fragment_offset": p.fragment_offset * 8,
        "more_fragments": bool(p.more_fragments), "flags": p.flags, "tunnels": p.tunnels,
        "protocol": p.protocol, "icmp": (p.icmp_type, p.icmp_code), "dscp": p.dscp, "ttl": p.ttl,
        "hep_protocol": p.hep_protocol, "vlan": p.vlan, "flow_tag": p.flow_tag,
        "hep_correlation": p.hep_correlation[:p.hep_correlation_length] if p.hep_correlation != NULL else None,
    }


@cython.final
cdef class Capture:
    """One capture file in memory: iterate for its records, read `problems` afterwards."""
    cdef capture state
    cdef problems found
    cdef bytes keep

    def __cinit__(self, bytes source):
        self.keep = source
        memset(&self.found, 0, sizeof(problems))
        if capture_open(&self.state, self.start(), len(source)) < 0:
            raise ValueError("no capture format that is read")

    cdef const uint8_t *start(self):
        return <const uint8_t *><const char *>self.keep

    def __iter__(self):
        return self

    def __next__(self):
        cdef capture_record r
        memset(&r, 0, sizeof(r))
        if capture_next(&self.state, self.start(), len(self.keep), &r, &self.found) < 0:
            raise StopIteration
        return (r.time_ns, r.offset, r.bytes[:r.captured], r.original, r.number, r.link_type, r.interface)

    def packets(self):
        """Status and packet of every record left."""
        cdef capture_record r
        cdef packet p
        cdef int status
        result = []
        while capture_next(&self.state, self.start(), len(self.keep), &r, &self.found) == 0:
            status = link_decode(&r, &p, &self.found)
            result.append((status, described(&p)))
        return result

    def boundary(self, uint64_t start):
        """First record boundary at or behind `start`."""
        return capture_boundary(&self.state, self.start(), len(self.keep), start)

    def walk(self):
        """Decodes everything left without making Python objects: (records, decoded packets, payload bytes)."""
        cdef capture_record r
        cdef packet p
        cdef uint64_t records = 0, decoded = 0, octets = 0
        cdef const uint8_t *source = self.start()
        cdef size_t count = len(self.keep)
        with nogil:
            while capture_next(&self.state, source, count, &r, &self.found) == 0:
                records += 1
                if link_decode(&r, &p, &self.found) == 0:
                    decoded += 1
                    octets += p.payload_length
        return records, decoded, octets

    @property
    def position(self):
        return self.state.position

    @position.setter
    def position(self, uint64_t value):
        self.state.position = value

    @property
    def format(self):
        return ("unknown", "pcap", "pcapng", "hep")[self.state.format]

    @property
    def problems(self):
        return problems_found(&self.found)

    @property
    def interfaces(self):
        """(link type, snap length, ticks a second, offset in seconds, frame check bytes, drops) of each."""
        cdef capture_interface *i
        rows = []
        for at in range(min(self.state.interface_count, 256)):
            i = &self.state.interfaces[at]
            rows.append((i.link_type, i.snap_length, i.ticks_per_second, i.offset_s, i.fcs_length, i.drops))
        return rows

    @property
    def secrets(self):
        return self.keep[self.state.secrets_offset:self.state.secrets_offset + self.state.secrets_length]

    @property
    def comment_count(self):
        return self.state.comment_count


cdef int read_frame(bytes frame, int link_type, int64_t time_ns, original, uint32_t number, packet *p,
                    problems *found):
    cdef capture_record r
    memset(&r, 0, sizeof(r))
    r.time_ns = time_ns
    r.offset = number
    r.bytes = <const uint8_t *><const char *>frame
    r.captured = <uint32_t>len(frame)
    r.original = r.captured if original is None else original
    r.number = number
    r.link_type = <uint16_t>link_type
    return link_decode(&r, p, found)


def decode(bytes frame, int link_type=1, int64_t time_ns=0, original=None):
    """Decapsulates one captured frame: (status, packet, problems)."""
    cdef packet p
    cdef problems found
    memset(&found, 0, sizeof(found))
    status = read_frame(frame, link_type, time_ns, original, 1, &p, &found)
    return status, described(&p), problems_found(&found)


def decode_ip(bytes datagram):
    """Decodes a bare IP packet: (status, packet, problems)."""
    cdef packet p
    cdef problems found
    memset(&found, 0, sizeof(found))
    status = link_decode_ip(<const uint8_t *><const char *>datagram, len(datagram), &p, &found)
    return status, described(&p), problems_found(&found)


@cython.final
cdef class Fragments:
    """IP reassembly over frames; frames that are no fragments come back as they are."""
    cdef fragments *state
    cdef void *memory
    cdef problems found
    cdef uint32_t number

    def __cinit__(self, uint32_t datagrams=16):
        cdef size_t size = fragments_size(datagrams)
        self.memory = PyMem_Malloc(size)
        if self.memory == NULL:
            raise MemoryError
        self.state = fragments_init(self.memory, size, datagrams)
        memset(&self.found, 0, sizeof(problems))

    def __dealloc__(self):
        PyMem_Free(self.memory)

    def push(self, bytes frame, int link_type=1, int64_t time_ns=0, original=None):
        """The datagram this frame completes, or None."""
        cdef packet p, whole
        self.number += 1
        if read_frame(frame, link_type, time_ns, original, self.number, &p, &self.found) < 0:
            return None
        if not p.flags & PACKET_FRAGMENT:
            return described(&p)
        if fragments_push(self.state, &p, &whole, &self.found):
            return described(&whole)
        return None

    def drain(self, int64_t before_ns):
        """Leading bytes of the datagrams opened before a time."""
        cdef packet whole
        result = []
        while fragments_drain(self.state, before_ns, &whole, &self.found):
            result.append(described(&whole))
        return result

    def finish(self):
        fragments_finish(self.state, &self.found)

    @property
    def problems(self):
        return problems_found(&self.found)


EVENTS = ("", "message", "opened", "closed", "reset", "refused", "ping", "pong", "tls", "other")


cdef void collect(void *context, tcp_event event, const packet *p, uint8_t transport) noexcept with gil:
    (<list>context).append((EVENTS[<int>event], described(p), transport))


cdef void count_events(void *context, tcp_event event, const packet *p, uint8_t transport) noexcept nogil:
    (<uint64_t *>context)[<int>event] += 1


@cython.final
cdef class Tcp:
    """TCP streams over frames; `push` and `finish` return events as (name, packet, transport)."""
    cdef tcp *state
    cdef void *memory
    cdef problems found
    cdef uint32_t number

    def __cinit__(self, uint32_t connections=64, uint32_t buffers=16):
        cdef size_t size = tcp_size(connections, buffers)
        self.memory = PyMem_Malloc(size)
        if self.memory == NULL:
            raise MemoryError
        self.state = tcp_init(self.memory, size, connections, buffers)
        memset(&self.found, 0, sizeof(problems))

    def __dealloc__(self):
        PyMem_Free(self.memory)

    def push(self, bytes frame, int link_type=1, time_ns=None, original=None):
        cdef packet p
        cdef list events = []
        self.number += 1
        at = self.number * 1_000_000 if time_ns is None else time_ns
        if read_frame(frame, link_type, at, original, self.number, &p, &self.found) == 0 and p.protocol == IP_TCP:
            tcp_push(self.state, &p, collect, <void *>events, &self.found)
        return events

    def push_many(self, list frames, int times=1):
        """Pushes frames, all of them `times` times over, without making objects: how often each event came."""
        cdef packet p
        cdef uint64_t[16] counts
        memset(counts, 0, sizeof(counts))
        for _ in range(times):
            for frame in frames:
                self.number += 1
                if read_frame(frame, 1, self.number * 1000, None, self.number, &p, &self.found) == 0:
                    tcp_push(self.state, &p, count_events, counts, &self.found)
        return {EVENTS[at]: counts[at] for at in range(1, len(EVENTS)) if counts[at]}

    def finish(self):
        cdef list events = []
        tcp_finish(self.state, collect, <void *>events, &self.found)
        return events

    @property
    def problems(self):
        return problems_found(&self.found)


def hep(bytes source):
    """Decodes one HEP packet: (bytes consumed or status, packet, problems)."""
    cdef packet p
    cdef problems found
    memset(&found, 0, sizeof(found))
    memset(&p, 0, sizeof(p))
    used = hep_decode(<const uint8_t *><const char *>source, len(source), &p, &found)
    return used, described(&p), problems_found(&found)


def websocket_frame_header(bytes source):
    """(header bytes or status, opcode, final, reserved bits, mask or None, payload length)."""
    cdef websocket_frame f
    used = websocket_header(<const uint8_t *><const char *>source, len(source), &f)
    mask = (<const uint8_t *>f.mask)[:4] if f.masked else None
    return used, f.opcode, bool(f.final), f.reserved, mask, f.length


def unmask(bytes source, bytes mask, uint64_t position=0):
    """Payload bytes that start at `position` of a masked frame, in clear."""
    if len(mask) != 4:
        raise ValueError("a mask has four bytes")
    target = bytearray(len(source))
    cdef uint8_t[::1] view
    if target:
        view = target
        websocket_unmask(<const uint8_t *><const char *>source, len(source),
                         <const uint8_t *><const char *>mask, position, &view[0])
    return bytes(target)
