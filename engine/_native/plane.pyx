"""Python's door to the media plane: its memory and thread, commands in, events and blocks of PCM out. Never a packet."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.errno cimport errno
from libc.stdint cimport int16_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset
from posix.unistd cimport close as close_fd
from posix.unistd cimport usleep

from engine._native.writer cimport Writer

import os
import socket
import struct

import numpy as np


cdef extern from "<pthread.h>" nogil:
    ctypedef unsigned long pthread_t
    int pthread_join(pthread_t thread, void **value)

cdef extern from "<sys/mman.h>" nogil:
    void *mmap(void *address, size_t length, int protection, int flags, int fd, long offset)
    int munmap(void *address, size_t length)
    int madvise(void *address, size_t length, int advice)
    enum: MADV_HUGEPAGE
    enum: PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_ANONYMOUS
    void *MAP_FAILED

cdef extern from "<sys/socket.h>" nogil:
    cdef struct sockaddr_storage:
        unsigned short ss_family

cdef extern from "codec.h" nogil:
    cdef struct codec:
        const char *name
        uint32_t clock_rate_hz
        uint32_t sample_rate_hz
        uint32_t decoder_bytes
        uint32_t encoder_bytes
        int (*decoder_start)(void *state, uint32_t rate_hz, uint8_t channels)
        int (*encoder_start)(void *state, uint32_t rate_hz, uint8_t channels, uint32_t bit_rate)
        void (*decoder_end)(void *state)
        void (*encoder_end)(void *state)
    const codec *codecs[]
    int codec_by_name(const char *name, uint32_t length)
    cdef struct opus_functions:
        pass
    int codec_opus_bind(const opus_functions *functions)

cdef extern from "writer.h" nogil:
    cdef struct writer:
        pass
    enum: WRITER_PCM, WRITER_PAYLOAD, WRITER_OPUS, WRITER_PACKETS

cdef extern from "srtp.h" nogil:
    cdef struct srtp:
        pass
    ctypedef struct srtp_table "struct srtp_functions":
        pass

cdef extern from "latch.h" nogil:
    cdef struct latch_address:
        uint8_t ip[16]
        uint16_t port
    cdef struct latch:
        uint8_t latched
        latch_address current

cdef extern from "jitter.h" nogil:
    cdef struct jitter_settings:
        uint8_t mode
        uint16_t delay_min_ms
        uint16_t delay_max_ms
        uint32_t clock_rate_hz
    cdef struct jitter:
        int64_t delay_ns
        uint64_t lost, late, duplicate

cdef extern from "rtp_source.h" nogil:
    cdef struct rtp_source:
        uint32_t ssrc
        uint32_t clock_rate_hz
        uint64_t received
        double jitter
        double jitter_max
        uint32_t restarts
    uint64_t rtp_source_expected(const rtp_source *s)

cdef extern from "rtcp_session.h" nogil:
    cdef struct rtcp_session:
        double rtt_ms
        double rtt_max_ms
        uint32_t their_fraction
        uint32_t their_jitter

cdef extern from "timeline.h" nogil:
    cdef struct timeline:
        uint32_t sample_rate_hz
        int64_t origin_ns, position
        uint32_t anchors
        double drift_ppm

cdef extern from "ring.h" nogil:
    cdef struct ring:
        pass
    void *ring_room(ring *r, uint32_t ahead)
    void ring_push(ring *r, uint32_t count)
    void *ring_next(ring *r)
    void ring_pop(ring *r)

cdef extern from "plane.h" nogil:
    enum: PLANE_NONE, PLANE_BATCH, PLANE_FORMATS, PLANE_BLOCK_SAMPLES, PLANE_AUDIO, PLANE_EVENT, PLANE_NOISE
    enum: PLANE_OPEN_PORT, PLANE_CLOSE_PORT, PLANE_SETUP, PLANE_CLOSE_STREAM, PLANE_PLAY, PLANE_FLUSH, PLANE_DIGIT, PLANE_RECORD, PLANE_STOP_RECORD
    enum: PLANE_PAUSE, PLANE_LISTEN, PLANE_RELAY, PLANE_JOIN, PLANE_GAIN, PLANE_CAPTURE, PLANE_END_RECORDING, PLANE_STOP
    enum: PLANE_STARTED, PLANE_PCM, PLANE_DIGIT_BEGUN, PLANE_DIGIT_ENDED, PLANE_SSRC_CHANGED, PLANE_MOVED, PLANE_TIMED_OUT, PLANE_RESUMED, PLANE_SAID_BYE
    enum: PLANE_PLAYED_OUT, PLANE_RECORD_BEHIND, PLANE_STREAM_CLOSED, PLANE_PORT_CLOSED, PLANE_REPORT, PLANE_STOPPED
    cdef struct plane_done:
        plane_done *next
        uint32_t kind
        uint32_t stream
        uint64_t tag
    cdef struct plane_format:
        uint8_t payload_type, kind, codec, channels
        uint32_t clock_rate_hz, sample_rate_hz
        void *decoder
    cdef struct plane_setup:
        plane_done done
        uint32_t port
        uint8_t receives, sends, format_count, latch_policy
        plane_format formats[8]
        latch_address signalled
        uint32_t signalled_ssrc
        uint16_t learn_ms
        jitter_settings jitter
        uint16_t idle_slack_ms
        uint32_t timeout_first_ms, timeout_ms, packets_per_s
        uint8_t inband_dtmf, rtcp, rtcp_mux, idle_sends, rtcp_xr, opens, keeps_decoders, keeps_encoder
        sockaddr_storage remote, remote_control
        uint8_t send_payload_type, send_codec, send_channels, event_payload_type, noise_payload_type
        uint32_t send_clock_rate_hz, send_sample_rate_hz, event_clock_rate_hz
        uint16_t ptime_ms
        void *encoder
        uint32_t ssrc
        uint16_t first_sequence
        uint32_t first_timestamp
        srtp *send_srtp
        srtp *receive_srtp
        srtp *old_receive_srtp
        char cname[64]
        uint8_t cname_length
        int64_t origin_ns
        uint64_t seed
    cdef struct plane_clip:
        plane_done done
        uint32_t samples, played
        uint8_t loops, flushed
        int16_t *pcm
    cdef struct plane_command:
        uint32_t kind, index, a, b, c, d
        int64_t time_ns
        void *pointer
    cdef struct plane_event:
        uint32_t kind, index, a, b, c
        int64_t time_ns, position
        latch_address address
    cdef struct plane_track:
        uint64_t missed_samples, written_samples
    cdef struct plane_counts:
        uint64_t received, received_bytes, sent, sent_bytes, not_sent
        uint64_t malformed, oversized, wrong_type, wrong_source, flooded, bad_payload, unauthentic, replayed, strays, foreign_ssrc, no_slot
        uint64_t delivered, lost, late, duplicate, concealed_samples, silent_samples, noise_samples
        uint64_t control_received, control_sent, control_malformed
        uint64_t digits, digits_refused, relayed, pcm_dropped
        int64_t first_ns, last_ns, send_late_max_ns
    cdef struct plane_stream:
        uint8_t state, source_known
        latch latch
        rtp_source source
        uint64_t expected_before
        jitter jitter
        timeline timeline
        rtcp_session session
        plane_track track
        plane_track capture
        uint32_t ssrc
        plane_counts counts
    cdef struct plane_port:
        uint8_t state
        uint32_t streams
        uint64_t datagrams, unknown
    cdef struct plane_mix:
        uint8_t state
        uint64_t underruns
    cdef struct plane:
        plane_port *ports
        plane_stream *streams
        plane_mix *mixes
        int16_t *pcm
        uint32_t packet_count, free_count, pcm_free_count, open_streams
        uint32_t receive_slots[64]
        ring commands, events, returned_pcm
        writer *writer
        const srtp_table *srtp
        int epoll_fd, timer_fd, command_fd, event_fd, stamp_fd
        int64_t (*now_ns)(void *clock) noexcept nogil
        void *clock
        int64_t wall_offset_ns
        uint64_t seed
        uint64_t loops, ticks, late_ticks, datagrams, events_lost, ends_lost, commands_done, receive_calls, send_calls, wakeups
        int64_t tick_late_max_ns
    cdef struct plane_sizes:
        uint32_t ports, streams, mixes, packets, pcm_blocks, commands, events
    size_t plane_bytes(const plane_sizes *sizes)
    size_t plane_dense_bytes(const plane_sizes *sizes)
    plane *plane_start(void *memory, size_t bytes, const plane_sizes *sizes)
    int plane_round(plane *p, int wait)
    int64_t plane_clock_ns(const plane *p)

cdef extern from *:
    """
    #include <pthread.h>
    #include <sched.h>
    #include <signal.h>
    #include <stdatomic.h>
    #include <stdlib.h>
    #include <sys/epoll.h>
    #include <sys/eventfd.h>
    #include <sys/prctl.h>
    #include <sys/socket.h>
    #include <sys/syscall.h>
    #include <sys/timerfd.h>
    #include <time.h>
    #include "plane.h"
    #include "scheduling.h"

    static int64_t set_clock(void *clock) { return *(int64_t *)clock; }
    static int64_t offset_of_wall(void) {
        struct timespec wall, steady;
        clock_gettime(CLOCK_MONOTONIC, &steady);
        clock_gettime(CLOCK_REALTIME, &wall);
        return (int64_t)(wall.tv_sec - steady.tv_sec) * 1000000000 + wall.tv_nsec - steady.tv_nsec;
    }
    static int open_descriptors(struct plane *p) {
        p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        p->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
        p->command_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        p->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        p->stamp_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        int on = 1;
        if (p->stamp_fd >= 0) setsockopt(p->stamp_fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
        return p->epoll_fd < 0 || p->timer_fd < 0 || p->command_fd < 0 || p->event_fd < 0 || p->stamp_fd < 0 ? -1 : 0;
    }
    #define MEDIA_SLICE_NS 100000 /* a core that is shared with a busy thread must be had within a fraction of a millisecond */
    struct thread_start { struct plane *plane; int priority; _Atomic int ready; };
    static void *thread_main(void *given) {
        struct thread_start *start = given;
        struct plane *plane = start->plane;
        prctl(PR_SET_NAME, "media", 0, 0, 0);
        prctl(PR_SET_TIMERSLACK, 1000, 0, 0, 0);
        start->priority = come_first(start->priority, MEDIA_SLICE_NS);
        atomic_store(&start->ready, 1);
        plane_run(plane);
        return NULL;
    }
    /* `priority` becomes 0 where real-time scheduling is not allowed. Signals go to the interpreter's threads. */
    static int start_thread(struct plane *p, pthread_t *thread, int *priority) {
        struct thread_start start = {.plane = p, .priority = *priority, .ready = 0};
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        int fault = pthread_create(thread, NULL, thread_main, &start);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        while (!fault && !atomic_load(&start.ready)) sched_yield();
        *priority = start.priority;
        return fault;
    }
    static void wake_plane(struct plane *p) {
        uint64_t one = 1;
        if (write(p->command_fd, &one, sizeof one) < 0) return; /* it is as awake as can be */
    }
    static void arm(struct plane *p) { atomic_store(&p->events_armed, 1); }
    static struct plane_done *take_done(struct plane *p) { return atomic_exchange(&p->done, (struct plane_done *)NULL); }
    static void *state_new(uint32_t bytes) {
        void *state = NULL;
        if (posix_memalign(&state, CODEC_STATE_ALIGN, (bytes + CODEC_STATE_ALIGN - 1) & ~(CODEC_STATE_ALIGN - 1))) return NULL;
        memset(state, 0, bytes);
        return state;
    }
    """
    int64_t set_clock(void *clock) noexcept nogil
    int64_t offset_of_wall() nogil
    int open_descriptors(plane *p) nogil
    int start_thread(plane *p, pthread_t *thread, int *priority) nogil
    void wake_plane(plane *p) nogil
    void arm(plane *p) nogil
    plane_done *take_done(plane *p) nogil
    void *state_new(uint32_t bytes) nogil

cdef enum:
    DONE_SETUP = 1
    DONE_CLIP = 2

EVENTS = {
    PLANE_STARTED: "started", PLANE_PCM: "pcm", PLANE_DIGIT_BEGUN: "digit-begun", PLANE_DIGIT_ENDED: "digit-ended", PLANE_SSRC_CHANGED: "ssrc-changed",
    PLANE_MOVED: "moved", PLANE_TIMED_OUT: "timed-out", PLANE_RESUMED: "resumed", PLANE_SAID_BYE: "said-bye", PLANE_PLAYED_OUT: "played-out",
    PLANE_RECORD_BEHIND: "record-behind", PLANE_STREAM_CLOSED: "stream-closed", PLANE_PORT_CLOSED: "port-closed", PLANE_REPORT: "report", PLANE_STOPPED: "stopped",
}
KINDS = {"pcm": WRITER_PCM, "payload": WRITER_PAYLOAD, "opus": WRITER_OPUS}
_FORMAT_KINDS = {"audio": PLANE_AUDIO, "event": PLANE_EVENT, "noise": PLANE_NOISE}
_POLICIES = {"strict": 0, "host": 1, "learn": 2, "any": 3}
_MODES = {"none": 0, "fixed": 1, "adaptive": 2}
BLOCK_SAMPLES_MAX = PLANE_BLOCK_SAMPLES
FORMATS_MAX = PLANE_FORMATS
NO_STREAM = <uint32_t>PLANE_NONE


def bind_opus(addresses):
    """Gives the plane the functions of libopus, as `engine.codecs.opus.addresses` has them. Raises ValueError where they do not fit."""
    cdef bytes packed = struct.pack(f"{len(addresses)}P", *addresses)
    if <size_t>PyBytes_GET_SIZE(packed) != sizeof(opus_functions) or codec_opus_bind(<opus_functions *>PyBytes_AS_STRING(packed)):
        raise ValueError("libopus has not the functions that are needed")


cdef int _codec(str name) except -1:
    cdef bytes text = name.encode()
    cdef int found = codec_by_name(text, <uint32_t>len(text))
    if found < 0:
        raise ValueError(f"{name[:64]!r} is no codec of the media plane")
    return found


@cython.final
@cython.auto_pickle(False)
cdef class _States:
    """Memory of codecs."""

    cdef list owned  # (address, number of the codec, whether it is an encoder)

    def __cinit__(self):
        self.owned = []

    cdef void *add(self, int number, bint encoder, uint32_t rate_hz, uint8_t channels, uint32_t bit_rate) except? NULL:
        cdef const codec *one = codecs[number]
        cdef uint32_t size = one.encoder_bytes if encoder else one.decoder_bytes
        cdef void *state = NULL
        cdef int fault = 0
        if size:
            state = state_new(size)
            if state == NULL:
                raise MemoryError
        if encoder:
            fault = one.encoder_start(state, rate_hz, channels, bit_rate) if one.encoder_start != NULL else 0
        else:
            fault = one.decoder_start(state, rate_hz, channels) if one.decoder_start != NULL else 0
        if fault:
            free(state)
            raise ValueError(f"{one.name.decode()} has no samples at {rate_hz} Hz with {channels} channels, or its library is missing")
        if state != NULL:
            self.owned.append((<uintptr_t>state, number, encoder))
        return state

    def __dealloc__(self):
        cdef const codec *one
        cdef void *state
        for address, number, encoder in self.owned or ():
            one = codecs[<int>number]
            state = <void *><uintptr_t>address
            if encoder and one.encoder_end != NULL:
                one.encoder_end(state)
            if not encoder and one.decoder_end != NULL:
                one.decoder_end(state)
            free(state)


cdef _fill_address(latch_address *target, str host, int port):
    """An address of the network, IPv4 mapped into IPv6. Raises ValueError for a name."""
    memset(target, 0, sizeof(latch_address))
    cdef bytes packed
    try:
        packed = socket.inet_pton(socket.AF_INET6, host) if ":" in host else bytes(10) + b"\xff\xff" + socket.inet_pton(socket.AF_INET, host)
    except OSError:
        raise ValueError(f"{host[:255]!r} is no address") from None
    memcpy(target.ip, PyBytes_AS_STRING(packed), 16)
    target.port = <uint16_t>port


cdef _fill_sockaddr(sockaddr_storage *target, str host, int port):
    memset(target, 0, sizeof(sockaddr_storage))
    if not host or not port:
        return
    cdef latch_address address
    _fill_address(&address, host, port)
    cdef bytes packed
    if ":" in host:
        packed = struct.pack("=HHI16sI", socket.AF_INET6, socket.htons(port), 0, bytes(address.ip[:16]), 0)
    else:
        packed = struct.pack("=HH4s8x", socket.AF_INET, socket.htons(port), bytes(address.ip[12:16]))
    memcpy(target, PyBytes_AS_STRING(packed), PyBytes_GET_SIZE(packed))


cdef _address(const latch_address *address):
    """(host, port), None where there is none."""
    cdef bytes packed = bytes(address.ip[:16])
    if not address.port:
        return None
    if packed[:12] == bytes(10) + b"\xff\xff":
        return socket.inet_ntop(socket.AF_INET, packed[12:]), address.port
    return socket.inet_ntop(socket.AF_INET6, packed), address.port


@cython.final
@cython.auto_pickle(False)
cdef class Plane:
    """The plane: `start` runs its thread; without it `round` does one round, which tests use with a clock of their own.

    Used by one thread of Python. `fd` becomes readable when there are events; `drain` has them. Ports and streams are numbers below what was asked for at the begin;
    whoever calls keeps account of which are free. Raises MemoryError, OSError, and ValueError for sizes that cannot be.
    """

    cdef plane *own
    cdef void *memory
    cdef size_t bytes
    cdef pthread_t thread
    cdef bint running, stopped
    cdef int64_t clock_ns
    cdef readonly int priority
    cdef dict setups  # address -> (decoders, encoder, what else must live)
    cdef dict states  # index -> the same, as the plane uses it
    cdef set closing  # indices
    cdef dict newest  # index -> (settings, decoders, encoder) of the last command
    cdef dict clips  # address -> (array, index, tag)
    cdef dict locals
    cdef Writer files
    cdef uint32_t unpublished
    cdef public object on_first  # called with the first command after a `publish`

    def __cinit__(
        self, *, uint32_t ports=256, uint32_t streams=256, uint32_t mixes=64, uint32_t packets=4096, uint32_t pcm_blocks=512, uint32_t commands=4096,
        uint32_t events=4096, uint64_t seed=0, clock_ns=None,
    ):
        cdef plane_sizes sizes = plane_sizes(
            ports=ports, streams=streams, mixes=mixes, packets=packets, pcm_blocks=pcm_blocks, commands=commands, events=events
        )
        self.bytes = plane_bytes(&sizes)
        if not self.bytes:
            raise ValueError("a media plane cannot have these sizes")
        self.memory = mmap(NULL, self.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        if self.memory == MAP_FAILED:
            self.memory = NULL
            raise MemoryError
        madvise(self.memory, plane_dense_bytes(&sizes), MADV_HUGEPAGE)  # each packet touches another stream: small pages cost a walk each
        self.own = plane_start(self.memory, self.bytes, &sizes)
        self.own.seed = seed
        self.own.wall_offset_ns = offset_of_wall()
        self.setups = {}
        self.states = {}
        self.newest = {}
        self.closing = set()
        self.clips = {}
        self.locals = {}
        if clock_ns is not None:
            self.clock_ns = clock_ns
            self.own.clock = &self.clock_ns
            self.own.now_ns = set_clock
        if open_descriptors(self.own):
            raise OSError(errno, os.strerror(errno))

    def __dealloc__(self):
        if self.running:
            self._stop()
        if self.own != NULL:
            for fd in (self.own.epoll_fd, self.own.timer_fd, self.own.command_fd, self.own.event_fd, self.own.stamp_fd):
                if fd >= 0:
                    close_fd(fd)
        if self.own != NULL:
            self._free_done()
        if self.memory != NULL:
            munmap(self.memory, self.bytes)

    # ---- the thread ----

    def start(self, int priority=0):
        """Starts the thread, with real-time scheduling of `priority` (0: none) where that is allowed; `priority` tells what became of it."""
        cdef int fault
        if self.running or self.stopped:
            raise RuntimeError("the media plane was started before")
        fault = start_thread(self.own, &self.thread, &priority)
        if fault:
            raise OSError(fault, os.strerror(fault))
        self.priority = priority
        self.running = True

    cdef _stop(self):
        self._command(PLANE_STOP, 0)
        self.publish()
        with nogil:
            pthread_join(self.thread, NULL)
        self.running = False
        self.stopped = True

    def stop(self):
        """Closes all streams and ports and ends the thread; `drain` has what it said last."""
        if self.running:
            self._stop()

    def round(self, *, bint wait=False):
        """One round in the caller's thread."""
        if self.running:
            raise RuntimeError("the media plane has a thread of its own")
        self.publish()
        cdef int over
        cdef int waits = wait
        with nogil:
            over = plane_round(self.own, waits)
        return over == 0

    def set_clock(self, int64_t now_ns):
        """Moves the clock of tests."""
        self.clock_ns = now_ns

    @property
    def fd(self):
        """Readable when there are events and none were there at the last `drain`."""
        return self.own.event_fd

    def use_writer(self, Writer files not None):
        """The writer that recordings go to. From now on this plane is its producer, and nobody else."""
        self.own.writer = <writer *>files.handle
        self.files = files

    def use_srtp(self, uintptr_t functions):
        """The functions of SRTP, by the address of their table."""
        self.own.srtp = <const srtp_table *>functions

    # ---- commands ----

    cdef _command(self, uint32_t kind, uint32_t index, uint32_t a=0, uint32_t b=0, uint32_t c=0, uint32_t d=0, int64_t time_ns=0, void *pointer=NULL):
        cdef plane_command *command
        cdef int tries = 0
        if self.stopped:
            raise RuntimeError("the media plane has ended")
        command = <plane_command *>ring_room(&self.own.commands, self.unpublished)
        while command == NULL:
            if not self.running or tries > 1000:
                raise RuntimeError("the media plane takes no commands")
            tries += 1
            self.publish()
            with nogil:
                usleep(1000)
            command = <plane_command *>ring_room(&self.own.commands, 0)
        command.kind, command.index = kind, index
        command.a, command.b, command.c, command.d = a, b, c, d
        command.time_ns = time_ns
        command.pointer = pointer
        self.unpublished += 1
        if self.unpublished == 1 and self.on_first is not None:
            self.on_first()

    def publish(self):
        """Hands over the commands since the last time. The plane sees them all at once: nothing is received between them."""
        if self.unpublished:
            ring_push(&self.own.commands, self.unpublished)
            self.unpublished = 0
            if self.running:
                wake_plane(self.own)

    def open_port(self, uint32_t index, int fd, int control_fd, str host, int port, *, bint shared=False):
        """Listens on bound sockets that do not block; they are the caller's again behind "port-closed"."""
        cdef sockaddr_storage *local = <sockaddr_storage *>calloc(1, sizeof(sockaddr_storage))
        if local == NULL:
            raise MemoryError
        _fill_sockaddr(local, host, port)
        old = self.locals.get(index)
        if old is not None:
            free(<void *><uintptr_t>old)
        self.locals[index] = <uintptr_t>local
        self._command(PLANE_OPEN_PORT, index, <uint32_t>fd, <uint32_t>control_fd, shared, 0, 0, local)

    def close_port(self, uint32_t index):
        self._command(PLANE_CLOSE_PORT, index)

    def set_up(self, uint32_t index, uint32_t port, settings, kept=None):
        """Opens a stream, or changes an open one, as `settings` (engine.media.settings.StreamSettings) says. Raises ValueError for what the plane cannot do, RuntimeError
        for a number whose stream is being closed; `kept` lives as long as it holds."""
        if index in self.closing:
            raise RuntimeError(f"stream {index} is being closed")
        cdef plane_setup *setup = <plane_setup *>calloc(1, sizeof(plane_setup))
        cdef _States decoders, encoder
        if setup == NULL:
            raise MemoryError
        # A refreshed session goes on with the states that its codecs have come to.
        before, decoders, encoder = self.newest.get(index, (None, None, None))
        try:
            setup.keeps_decoders = before is not None and before.formats == settings.formats
            setup.keeps_encoder = before is not None and (before.send, before.bit_rate) == (settings.send, settings.bit_rate)
            decoders = decoders if setup.keeps_decoders else _States()
            encoder = encoder if setup.keeps_encoder else _States()
            if before is None:  # what is asked of it before the plane has opened it is not of the one that had its number before; no thread looks at it now
                memset(&self.own.streams[index], 0, sizeof(plane_stream))
            self._fill(setup, decoders, encoder, settings)
        except BaseException:
            free(setup)
            raise
        setup.port = port
        setup.done.kind = DONE_SETUP
        setup.done.stream = index
        newest = self.newest.get(index)
        self.setups[<uintptr_t>setup] = (decoders, encoder, kept)
        self.newest[index] = (settings, decoders, encoder)
        try:
            self._command(PLANE_SETUP, index, 0, 0, 0, 0, 0, setup)
        except BaseException:
            del self.setups[<uintptr_t>setup]
            del self.newest[index]
            if newest is not None:
                self.newest[index] = newest
            free(setup)
            raise

    cdef _fill(self, plane_setup *setup, _States decoders, _States encoder, settings):
        cdef plane_format *target
        cdef bytes cname = settings.cname.encode()[:64]
        if not 0 < len(settings.formats) <= PLANE_FORMATS:
            raise ValueError(f"{len(settings.formats)} formats are not 1 to {PLANE_FORMATS}")
        if settings.formats[0].kind != "audio":
            raise ValueError("the first format is not audio")
        for at, one in enumerate(settings.formats):
            target = &setup.formats[at]
            target.payload_type = one.payload_type
            target.kind = _FORMAT_KINDS[one.kind]
            target.channels = one.channels
            target.clock_rate_hz = one.clock_rate_hz
            target.sample_rate_hz = one.sample_rate_hz or one.clock_rate_hz
            if one.kind == "audio":
                target.codec = _codec(one.codec)
                if not setup.keeps_decoders:
                    target.decoder = decoders.add(target.codec, False, target.sample_rate_hz, target.channels, 0)
        setup.format_count = len(settings.formats)
        setup.receives, setup.sends = settings.receives, settings.sends
        setup.latch_policy = _POLICIES[settings.policy]
        if settings.remote_host and settings.remote_port:
            _fill_address(&setup.signalled, settings.remote_host, settings.remote_port)
            _fill_sockaddr(&setup.remote, settings.remote_host, settings.remote_port)
            _fill_sockaddr(&setup.remote_control, settings.remote_control_host or settings.remote_host, settings.remote_control_port)
        setup.signalled_ssrc = settings.remote_ssrc
        setup.learn_ms = settings.learn_ms
        setup.jitter.mode = _MODES[settings.jitter]
        setup.jitter.delay_min_ms, setup.jitter.delay_max_ms = settings.delay_min_ms, settings.delay_max_ms
        setup.jitter.clock_rate_hz = settings.formats[0].clock_rate_hz
        setup.idle_slack_ms = settings.idle_slack_ms
        setup.timeout_first_ms, setup.timeout_ms = settings.timeout_first_ms, settings.timeout_ms
        setup.packets_per_s = settings.packets_per_s
        setup.opens = settings.opens
        setup.inband_dtmf, setup.rtcp, setup.rtcp_mux, setup.idle_sends = settings.inband_dtmf, settings.rtcp, settings.rtcp_mux, settings.idle_sends
        setup.event_payload_type = setup.noise_payload_type = 255
        setup.ptime_ms = settings.ptime_ms
        if settings.send is not None:
            one = settings.send
            setup.send_payload_type = one.payload_type
            setup.send_codec = _codec(one.codec)
            setup.send_channels = one.channels
            setup.send_clock_rate_hz = one.clock_rate_hz
            setup.send_sample_rate_hz = one.sample_rate_hz or one.clock_rate_hz
            if not setup.keeps_encoder:
                setup.encoder = encoder.add(setup.send_codec, True, setup.send_sample_rate_hz, setup.send_channels, settings.bit_rate)
            setup.event_clock_rate_hz = one.clock_rate_hz
        if settings.send_event is not None:
            setup.event_payload_type = settings.send_event.payload_type
            setup.event_clock_rate_hz = settings.send_event.clock_rate_hz
        if settings.send_noise is not None:
            setup.noise_payload_type = settings.send_noise.payload_type
        setup.ssrc, setup.first_sequence, setup.first_timestamp = settings.ssrc, settings.first_sequence, settings.first_timestamp
        setup.send_srtp = <srtp *><uintptr_t>settings.send_srtp
        setup.receive_srtp = <srtp *><uintptr_t>settings.receive_srtp
        setup.old_receive_srtp = <srtp *><uintptr_t>settings.old_receive_srtp
        setup.rtcp_xr = settings.rtcp_xr
        memcpy(setup.cname, PyBytes_AS_STRING(cname), len(cname))
        setup.cname_length = len(cname)
        setup.origin_ns = settings.origin_ns
        setup.seed = settings.seed

    def close_stream(self, uint32_t index):
        """Ends a stream: what it holds is delivered, its blocks go to the writer. "stream-closed" tells that the number is free again."""
        self._command(PLANE_CLOSE_STREAM, index)
        if index in self.newest:
            self.closing.add(index)

    def play(self, uint32_t index, samples, uint64_t tag, *, bint loops=False):
        """Queues int16 samples at the sending codec's rate. They are read where they lie; the event "clip" gives them back."""
        cdef int16_t[::1] view = samples
        cdef plane_clip *clip
        if not view.shape[0]:
            raise ValueError("there are no samples to play")
        clip = <plane_clip *>calloc(1, sizeof(plane_clip))
        if clip == NULL:
            raise MemoryError
        clip.pcm = &view[0]
        clip.samples = <uint32_t>view.shape[0]
        clip.loops = loops
        clip.done.kind = DONE_CLIP
        clip.done.stream = index
        clip.done.tag = tag
        self.clips[<uintptr_t>clip] = samples
        try:
            self._command(PLANE_PLAY, index, 0, 0, 0, 0, 0, clip)
        except BaseException:
            del self.clips[<uintptr_t>clip]
            free(clip)
            raise

    def flush(self, uint32_t index):
        """Forgets what was not played yet."""
        self._command(PLANE_FLUSH, index)

    def digit(self, uint32_t index, int event, *, int volume=10, int duration_ms=120, int pause_ms=80):
        self._command(PLANE_DIGIT, index, event, volume, duration_ms, pause_ms)

    def record(self, uint32_t index, uint64_t recording, int track, str kind, uint32_t rate_hz, int64_t origin_ns, *, int law=0):
        """Writes the stream's samples ("pcm"), G.711 bytes ("payload", `law` 0 mu, 1 A) or Opus packets ("opus") to a track of a recording of the writer that
        began at `origin_ns`."""
        self._command(PLANE_RECORD, index, <uint32_t>recording, <uint32_t>(recording >> 32), track | <int>KINDS[kind] << 8 | law << 16, rate_hz, origin_ns)

    def stop_recording(self, uint32_t index):
        self._command(PLANE_STOP_RECORD, index)

    def pause(self, uint32_t index, bint paused):
        """While paused, silence is recorded. What comes until it goes on is silent, whenever it is read."""
        self._command(PLANE_PAUSE, index, paused, 0, 0, 0, plane_clock_ns(self.own))

    def end_recording(self, uint64_t recording):
        """Nothing follows: behind all that its streams have written until now, the writer closes its files."""
        self._command(PLANE_END_RECORDING, 0, <uint32_t>recording, <uint32_t>(recording >> 32))

    def capture(self, uint32_t index, uint64_t recording, int track):
        """Writes the stream's packets, as they are on the wire, to a capture."""
        self._command(PLANE_CAPTURE, index, <uint32_t>recording, <uint32_t>(recording >> 32), track)

    def stop_capture(self, uint32_t index):
        self._command(PLANE_STOP_RECORD, index, 1)

    def hear(self, uint32_t index, uint32_t block_ms, uint32_t rate_hz=0):
        """Events "pcm" with blocks of this length; 0 ends them."""
        self._command(PLANE_LISTEN, index, block_ms, rate_hz)

    def relay(self, uint32_t index, uint32_t other):
        """Sends what comes in here on to the other end of another stream; NO_STREAM ends it."""
        self._command(PLANE_RELAY, index, other)

    def join(self, uint32_t index, uint32_t mix, uint32_t rate_hz):
        """Puts a stream into a mix; NO_STREAM takes it out."""
        self._command(PLANE_JOIN, index, mix, rate_hz)

    def gain(self, uint32_t index, uint32_t gain_4096):
        self._command(PLANE_GAIN, index, gain_4096)

    # ---- events ----

    cdef _free_done(self):
        """Takes back what the plane does not need any more. Returns the clips among it."""
        cdef plane_done *done = take_done(self.own)
        cdef plane_done *next
        cdef plane_clip *clip
        cdef list found = []
        while done != NULL:
            next = done.next
            if done.kind == DONE_SETUP:
                self.states[done.stream] = self.setups.pop(<uintptr_t>done)  # what was before is let go
            else:
                clip = <plane_clip *>done
                del self.clips[<uintptr_t>clip]
                found.append(("clip", done.stream, done.tag, clip.flushed, 0, 0, 0, None))
            free(done)
            done = next
        found.reverse()
        return found

    cdef _take(self, const plane_event *e):
        cdef uint32_t block
        cdef uint32_t *returned
        cdef int16_t[::1] target
        subject = _address(&e.address)
        kind = EVENTS.get(e.kind, "")
        if e.kind == PLANE_PCM:
            subject = np.empty(e.b, np.int16)
            target = subject
            block = e.a
            memcpy(&target[0], self.own.pcm + <size_t>block * PLANE_BLOCK_SAMPLES, e.b * sizeof(int16_t))
            returned = <uint32_t *>ring_room(&self.own.returned_pcm, 0)
            returned[0] = block  # there is always room: it has as many places as there are blocks
            ring_push(&self.own.returned_pcm, 1)
        elif e.kind == PLANE_STREAM_CLOSED:
            self.states.pop(e.index, None)
            self.newest.pop(e.index, None)
            self.closing.discard(e.index)
        elif e.kind == PLANE_PORT_CLOSED:
            local = self.locals.pop(e.index, None)
            if local is not None:
                free(<void *><uintptr_t>local)
        return kind, e.index, e.a, e.b, e.c, e.time_ns, e.position, subject

    def drain(self):
        """What happened: tuples of (name, index, a, b, c, time_ns, position, subject), where the subject is an address (host, port), a block of PCM
        or None. What a, b and c are stands in c/plane.h at enum plane_event_kind; a "clip" has its tag and whether it was flushed."""
        cdef plane_event *e
        cdef uint64_t heard
        cdef list found = []
        cdef int armed = 0
        try:
            os.read(self.own.event_fd, 8)
        except BlockingIOError:
            pass
        while True:
            e = <plane_event *>ring_next(&self.own.events)
            if e != NULL:
                found.append(self._take(e))
                ring_pop(&self.own.events)
                continue
            found.extend(self._free_done())
            if armed:
                return found
            arm(self.own)  # and one look more, for what came between
            armed = 1

    # ---- numbers ----

    def counts(self, uint32_t index):
        """Counters of a stream; they are read while it runs."""
        cdef plane_stream *s = &self.own.streams[index]
        cdef dict found = s.counts
        found["ssrc"] = s.ssrc
        found["remote_ssrc"] = s.source.ssrc if s.source_known else 0
        found["expected"] = s.expected_before + (rtp_source_expected(&s.source) if s.source_known else 0)
        found["jitter_ms"] = s.source.jitter * 1000 / s.source.clock_rate_hz if s.source.clock_rate_hz else 0.0
        found["jitter_max_ms"] = s.source.jitter_max * 1000 / s.source.clock_rate_hz if s.source.clock_rate_hz else 0.0
        found["delay_ms"] = s.jitter.delay_ns / 1e6
        found["restarts"] = s.source.restarts
        found["rtt_ms"] = s.session.rtt_ms
        found["position"] = s.timeline.position
        cdef uint32_t rate_hz = max(s.timeline.sample_rate_hz, 1)  # 0 until the plane has opened it
        found["heard_until_ns"] = s.timeline.origin_ns + <int64_t>(<double>s.timeline.position * 1e9 / rate_hz)
        found["anchors"] = s.timeline.anchors
        found["drift_ppm"] = s.timeline.drift_ppm
        found["recorded_samples"] = s.track.written_samples
        found["missed_samples"] = s.track.missed_samples
        found["captured"] = s.capture.written_samples
        found["source"] = _address(&s.latch.current)
        return found

    def port_counts(self, uint32_t index):
        return {"datagrams": self.own.ports[index].datagrams, "unknown": self.own.ports[index].unknown, "streams": self.own.ports[index].streams}

    cdef uint32_t _held(self):
        cdef uint32_t held = self.own.packet_count - self.own.free_count
        cdef int i
        for i in range(PLANE_BATCH):
            held -= self.own.receive_slots[i] != <uint32_t>PLANE_NONE
        return held

    def numbers(self):
        """Counters of the plane. `held_packets` are those that jitter buffers keep."""
        cdef plane *p = self.own
        return {
            "streams": p.open_streams, "loops": p.loops, "ticks": p.ticks, "late_ticks": p.late_ticks, "datagrams": p.datagrams, "events_lost": p.events_lost, "ends_lost": p.ends_lost,
            "commands": p.commands_done, "receive_calls": p.receive_calls, "send_calls": p.send_calls, "wakeups": p.wakeups,
            "tick_late_max_ns": p.tick_late_max_ns, "held_packets": self._held(), "free_pcm_blocks": p.pcm_free_count, "bytes": self.bytes,
        }
