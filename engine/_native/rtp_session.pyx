"""Python's door to RTP's session kernels: statistics of a sender, RTCP and telephone-event, each one way at a time."""

from time import perf_counter

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from "status.h" nogil:
    enum: STATUS_MALFORMED, STATUS_TOO_SMALL, STATUS_END

cdef extern from "rtp_source.h" nogil:
    enum: RTP_SOURCE_VALID, RTP_SOURCE_RESTART, RTP_SOURCE_STRAY
    cdef struct rtp_source:
        uint32_t ssrc, clock_rate_hz
        uint64_t extended_highest, base, received, payload_bytes
        uint32_t restarts, strays
        int64_t first_ns, last_ns
        uint32_t first_timestamp, last_timestamp
        double jitter, jitter_max
        uint64_t expected_prior, received_prior
    void rtp_source_start(rtp_source *s, uint32_t ssrc, uint32_t clock_rate_hz)
    int rtp_source_take(rtp_source *s, uint16_t sequence, uint32_t timestamp, uint32_t payload_bytes, int64_t arrival_ns, uint64_t *extended)
    void rtp_source_clock(rtp_source *s, uint32_t clock_rate_hz)
    uint64_t rtp_source_expected(const rtp_source *s)
    int64_t rtp_source_lost(const rtp_source *s)

cdef extern from "rtcp_session.h" nogil:
    enum: RTCP_CNAME_MAX, RTCP_PACKET_MAX, RTCP_MARKS
    enum: RTCP_NEWS_SR, RTCP_NEWS_REPORT, RTCP_NEWS_BYE, RTCP_NEWS_XR, RTCP_NEWS_COLLISION
    cdef struct rtcp_sent:
        uint32_t ssrc, packets, octets, last_timestamp
        int64_t last_ns
        uint32_t clock_rate_hz
    cdef struct rtcp_quality:
        uint8_t loss, discard, r_factor, mos_lq, mos_cq
        uint16_t delay_ms, jitter_delay_ms, jitter_delay_max_ms
    cdef struct rtcp_session:
        uint8_t said_bye, heard_bye, reduced, voip_metrics
        int64_t next_ns, last_sent_ns, last_heard_ns, interval_ns
        uint64_t sr_ntp
        uint32_t sr_timestamp, sr_packets, sr_octets, sr_ssrc
        int64_t sr_arrival_ns
        uint32_t their_fraction, their_highest, their_jitter
        int32_t their_lost
        int64_t their_report_ns
        double rtt_ms, rtt_max_ms
        uint8_t xr_loss, xr_discard, xr_r_factor, xr_mos_lq, xr_mos_cq, xr_seen
        uint64_t rrtr_ntp
        int64_t rrtr_arrival_ns
        uint32_t heard, malformed, foreign, collisions, rrtr_ssrc
    void rtcp_session_start(rtcp_session *r, const char *cname, uint32_t cname_length, int64_t now_ns, uint64_t seed)
    int rtcp_session_take(rtcp_session *r, const uint8_t *bytes, uint32_t length, uint32_t local_ssrc, const rtp_source *remote, int64_t now_ns)
    int rtcp_session_report(rtcp_session *r, const rtcp_sent *sent, rtp_source *remote, const rtcp_quality *quality,
                            int64_t now_ns, int64_t wall_ns, uint8_t *bytes, uint32_t room)
    int rtcp_session_bye_because(rtcp_session *r, const rtcp_sent *sent, rtp_source *remote, const char *reason, uint32_t reason_length,
                                 int64_t now_ns, int64_t wall_ns, uint8_t *bytes, uint32_t room)
    int64_t rtcp_session_wall_ns(const rtcp_session *r, uint32_t timestamp, uint32_t clock_rate_hz)

cdef extern from "telephone_event.h" nogil:
    enum: TELEPHONE_EVENTS_PER_S, TELEPHONE_EVENT_QUEUE
    enum: TELEPHONE_EVENT_NONE, TELEPHONE_EVENT_BEGUN, TELEPHONE_EVENT_ENDED
    cdef struct telephone_event_reader:
        uint32_t clock_rate_hz
        uint8_t running
        uint32_t events, flooded, malformed, without_end
    cdef struct telephone_event:
        uint8_t event, volume
        uint32_t duration_ms, timestamp
        uint8_t end_lost
    cdef struct telephone_event_writer:
        uint32_t clock_rate_hz
    cdef struct telephone_event_packet:
        uint8_t payload[4]
        uint32_t timestamp
        uint8_t marker
    void telephone_event_reader_start(telephone_event_reader *r, uint32_t clock_rate_hz)
    int telephone_event_take(telephone_event_reader *r, const uint8_t *payload, uint32_t length, uint32_t timestamp, int64_t now_ns,
                             telephone_event *begun, telephone_event *ended)
    int telephone_event_expire(telephone_event_reader *r, int64_t now_ns, telephone_event *ended)
    void telephone_event_writer_start(telephone_event_writer *w, uint32_t clock_rate_hz)
    int telephone_event_queue(telephone_event_writer *w, uint8_t event, uint8_t volume, uint16_t duration_ms, uint16_t pause_ms)
    int telephone_event_next(telephone_event_writer *w, uint32_t timestamp, uint32_t ptime_ms, telephone_event_packet *packet)
    int telephone_event_is_busy(const telephone_event_writer *w)
    char telephone_event_digit(uint8_t event)
    int telephone_event_of_digit(char digit)

MALFORMED = STATUS_MALFORMED
TOO_SMALL = STATUS_TOO_SMALL
VALID = RTP_SOURCE_VALID
RESTART = RTP_SOURCE_RESTART
STRAY = RTP_SOURCE_STRAY
CNAME_MAX = RTCP_CNAME_MAX
PACKET_MAX = RTCP_PACKET_MAX
MARKS = RTCP_MARKS
SOURCE_BYTES = sizeof(rtp_source)
SESSION_BYTES = sizeof(rtcp_session)
NEWS_SR = RTCP_NEWS_SR
NEWS_REPORT = RTCP_NEWS_REPORT
NEWS_BYE = RTCP_NEWS_BYE
NEWS_XR = RTCP_NEWS_XR
NEWS_COLLISION = RTCP_NEWS_COLLISION
EVENTS_PER_S = TELEPHONE_EVENTS_PER_S
EVENT_QUEUE = TELEPHONE_EVENT_QUEUE
NONE = TELEPHONE_EVENT_NONE
BEGUN = TELEPHONE_EVENT_BEGUN
ENDED = TELEPHONE_EVENT_ENDED


cdef class Source:
    """One sender of RTP as its receiver sees it (RFC 3550 A.1, A.3, A.8)."""

    cdef rtp_source s

    def __init__(self, uint32_t ssrc, uint32_t clock_rate_hz):
        rtp_source_start(&self.s, ssrc, clock_rate_hz)

    def take(self, uint16_t sequence, uint32_t timestamp, uint32_t payload_bytes, int64_t arrival_ns):
        """Takes the header of a packet. Its verdict, and its extended sequence number, 0 for a stray."""
        cdef uint64_t extended = 0
        cdef int verdict = rtp_source_take(&self.s, sequence, timestamp, payload_bytes, arrival_ns, &extended)
        return verdict, extended

    def clock(self, uint32_t clock_rate_hz):
        """The clock is another from now on (RFC 7160): jitter begins anew."""
        rtp_source_clock(&self.s, clock_rate_hz)

    def facts(self):
        """All that is known, by the names of the C fields; `jitter` in clock units."""
        facts = self.s
        return {**facts, "expected": rtp_source_expected(&self.s), "lost": rtp_source_lost(&self.s)}

    def bench_take(self, uint32_t count):
        """Seconds to take `count` packets of 20 ms one after the other, without the GIL."""
        cdef uint64_t extended = 0
        cdef uint32_t k
        begin = perf_counter()
        with nogil:
            for k in range(count):
                rtp_source_take(&self.s, <uint16_t>k, k * 160, 160, <int64_t>k * 20000000 + (k * 40503 & 0xFFFF), &extended)
        return perf_counter() - begin


cdef rtp_source *_remote(Source remote):
    return NULL if remote is None else &remote.s


cdef int _sent(rtcp_sent *target, sent) except -1:
    target.ssrc, target.packets, target.octets, target.last_timestamp, target.last_ns, target.clock_rate_hz = sent
    return 0


cdef int _quality(rtcp_quality *target, quality) except -1:
    target.loss, target.discard, target.r_factor, target.mos_lq, target.mos_cq = quality[:5]
    target.delay_ms, target.jitter_delay_ms, target.jitter_delay_max_ms = quality[5:]
    return 0


cdef _packet(int length, const uint8_t *written):
    if length == STATUS_TOO_SMALL:
        raise ValueError("there is no room for the packet")
    return b"" if length == STATUS_END else written[:length]


cdef class RtcpSession:
    """RTCP of one session with one sender of ours (RFC 3550 §6, 3611, 5506)."""

    cdef rtcp_session r

    def __init__(self, bytes cname not None, int64_t now_ns, uint64_t seed, *, bint reduced=False, bint voip_metrics=False):
        rtcp_session_start(&self.r, cname, <uint32_t>len(cname), now_ns, seed)
        self.r.reduced = reduced
        self.r.voip_metrics = voip_metrics

    def take(self, packet, uint32_t local_ssrc, Source remote, int64_t now_ns):
        """Takes a compound packet. Bits of what is new, or MALFORMED."""
        cdef const uint8_t[::1] view = packet
        return rtcp_session_take(&self.r, &view[0] if len(view) else NULL, <uint32_t>len(view), local_ssrc, _remote(remote), now_ns)

    def report(self, sent, Source remote, quality, int64_t now_ns, int64_t wall_ns, uint32_t room=RTCP_PACKET_MAX):
        """The report that is due; b"" after a BYE. Raises ValueError where it has more than `room` bytes."""
        cdef uint8_t written[RTCP_PACKET_MAX]
        cdef rtcp_sent ours
        cdef rtcp_quality told
        _sent(&ours, sent)
        if quality is not None:
            _quality(&told, quality)
        return _packet(rtcp_session_report(&self.r, &ours, _remote(remote), NULL if quality is None else &told, now_ns, wall_ns,
                                           written, min(room, <uint32_t>RTCP_PACKET_MAX)), written)

    def bye(self, sent, Source remote, int64_t now_ns, int64_t wall_ns, bytes reason not None=b"", uint32_t room=RTCP_PACKET_MAX):
        """A report and BYE; b"" where there is none to say. Raises ValueError where it has more than `room` bytes."""
        cdef uint8_t written[RTCP_PACKET_MAX]
        cdef rtcp_sent ours
        _sent(&ours, sent)
        return _packet(rtcp_session_bye_because(&self.r, &ours, _remote(remote), reason, <uint32_t>len(reason), now_ns, wall_ns,
                                                written, min(room, <uint32_t>RTCP_PACKET_MAX)), written)

    def wall_ns(self, uint32_t timestamp, uint32_t clock_rate_hz):
        """Nanoseconds since 1970 of an RTP timestamp, by the last SR heard; None without one."""
        cdef int64_t found = rtcp_session_wall_ns(&self.r, timestamp, clock_rate_hz)
        return None if found == -0x8000000000000000 else found

    def facts(self):
        """All that is known, by the names of the C fields."""
        return self.r

    def bench_take(self, bytes packet not None, uint32_t local_ssrc, Source remote, int repeat):
        """Seconds to take the same packet `repeat` times, without the GIL."""
        cdef const uint8_t *start = <const uint8_t *>packet
        cdef uint32_t length = <uint32_t>len(packet)
        cdef rtp_source *source = _remote(remote)
        cdef int round
        begin = perf_counter()
        with nogil:
            for round in range(repeat):
                rtcp_session_take(&self.r, start, length, local_ssrc, source, round)
        return perf_counter() - begin

    def bench_report(self, sent, Source remote, quality, int64_t wall_ns, int repeat):
        """Seconds to write `repeat` reports, without the GIL."""
        cdef uint8_t written[RTCP_PACKET_MAX]
        cdef rtcp_sent ours
        cdef rtcp_quality told
        cdef rtp_source *source = _remote(remote)
        cdef int round
        _sent(&ours, sent)
        _quality(&told, quality)
        begin = perf_counter()
        with nogil:
            for round in range(repeat):
                if source != NULL:
                    source.received_prior = 0
                ours.packets += 1
                rtcp_session_report(&self.r, &ours, source, &told, round, wall_ns + round, written, RTCP_PACKET_MAX)
        return perf_counter() - begin


cdef _event(const telephone_event *e):
    return e.event, e.volume, e.duration_ms, e.timestamp, bool(e.end_lost)


cdef class TelephoneEventReader:
    """Digits out of telephone-event packets (RFC 4733 §2.5.2). An event is (event, volume, duration_ms, timestamp, end_lost)."""

    cdef telephone_event_reader r

    def __init__(self, uint32_t clock_rate_hz):
        telephone_event_reader_start(&self.r, clock_rate_hz)

    def take(self, payload, uint32_t timestamp, int64_t now_ns):
        """Takes one payload: bits of what is new or MALFORMED, the event that began, the one that ended."""
        cdef const uint8_t[::1] view = payload
        cdef telephone_event begun, ended
        cdef int news = telephone_event_take(&self.r, &view[0] if len(view) else NULL, <uint32_t>len(view), timestamp, now_ns, &begun, &ended)
        return (news, _event(&begun) if news > 0 and news & TELEPHONE_EVENT_BEGUN else None,
                _event(&ended) if news > 0 and news & TELEPHONE_EVENT_ENDED else None)

    def expire(self, int64_t now_ns):
        """The event that has ended because nothing came for 100 ms, or None."""
        cdef telephone_event ended
        return _event(&ended) if telephone_event_expire(&self.r, now_ns, &ended) else None

    def facts(self):
        """The counters, and whether an event is running."""
        return self.r


cdef class TelephoneEventWriter:
    """Digits as telephone-event packets (RFC 4733 §2.5.1)."""

    cdef telephone_event_writer w

    def __init__(self, uint32_t clock_rate_hz):
        telephone_event_writer_start(&self.w, clock_rate_hz)

    def queue(self, uint8_t event, uint8_t volume, uint16_t duration_ms, uint16_t pause_ms):
        """Queues an event: 0, TOO_SMALL for a full queue, MALFORMED for numbers out of range."""
        return telephone_event_queue(&self.w, event, volume, duration_ms, pause_ms)

    def next(self, uint32_t timestamp, uint32_t ptime_ms):
        """One step of the sender's clock: (payload, timestamp, marker) to send, True for audio, False for nothing."""
        cdef telephone_event_packet p
        cdef int what = telephone_event_next(&self.w, timestamp, ptime_ms, &p)
        if what != 1:
            return what == 0
        return (<const uint8_t *>p.payload)[:4], p.timestamp, bool(p.marker)

    @property
    def busy(self):
        """Whether something is queued, running or just over."""
        return bool(telephone_event_is_busy(&self.w))


def digit(uint8_t event):
    """The digit of an event, "" for events that are none."""
    cdef char found = telephone_event_digit(event)
    return chr(found) if found else ""


def event_of(str digit not None):
    """The event of a digit; None for what is none."""
    cdef int found = telephone_event_of_digit(<char>ord(digit)) if len(digit) == 1 and digit.isascii() else -1
    return None if found < 0 else found
