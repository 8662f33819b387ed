"""Files of recordings and captures: opened here, written by a native thread of their own; the Python face of c/writer.h."""

cimport cython
from libc.errno cimport EAGAIN, EINVAL, EOPNOTSUPP
from libc.string cimport memcpy, memset
from posix.unistd cimport close

import os
from typing import NamedTuple

cdef extern from "status.h" nogil:
    enum: STATUS_MALFORMED, STATUS_TOO_SMALL, STATUS_UNSUPPORTED

cdef extern from *:
    """
    #include "scheduling.h"
    #include "writer.h"
    #include <errno.h>
    #include <pthread.h>
    #include <signal.h>
    #include <sys/mman.h>
    #include <time.h>
    #include <unistd.h>

    static void *writer_thread(void *w) {
        pthread_setname_np(pthread_self(), "trunkline-files");
        come_first(0, 1000000); /* what waits for it is lost with the process */
        writer_run(w);
        return NULL;
    }
    /* Signals go to the interpreter's threads. */
    static int writer_thread_start(struct writer *w, unsigned long *thread) {
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        const int error = pthread_create((pthread_t *)thread, NULL, writer_thread, w);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return error;
    }
    static void writer_thread_join(unsigned long thread) { pthread_join((pthread_t)thread, NULL); }
    static void *writer_lend(size_t bytes, size_t dense_bytes) {
        void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) return NULL;
        madvise(memory, dense_bytes, MADV_HUGEPAGE); /* small pages would cost a walk each */
        return memory;
    }

    /* A disk with faults, for tests. A header, at the beginning of a page, is written or is not. */
    struct faults { long long room; int error, gate; };
    static ptrdiff_t faulty_write(void *context, int fd, const void *bytes, size_t count, int64_t offset) {
        struct faults *f = context;
        const long long room = __atomic_load_n(&f->room, __ATOMIC_RELAXED);
        const int gate = __atomic_load_n(&f->gate, __ATOMIC_RELAXED);
        char token;
        if (gate >= 0) while (read(gate, &token, 1) < 0 && errno == EINTR) {}
        if (room >= 0 && room < (long long)count) count = offset ? (size_t)room : 0;
        if (!count) { errno = __atomic_load_n(&f->error, __ATOMIC_RELAXED); return -1; }
        const ptrdiff_t written = pwrite(fd, bytes, count, offset);
        if (written > 0 && room >= 0) __atomic_fetch_sub(&f->room, written, __ATOMIC_RELAXED);
        return written;
    }
    static ptrdiff_t faulty_read(void *context, int fd, void *bytes, size_t count, int64_t offset) { (void)context; return pread(fd, bytes, count, offset); }
    static int faulty_truncate(void *context, int fd, int64_t length) { (void)context; return ftruncate(fd, length); }
    static void faults_set(struct faults *f, long long room, int error, int gate) {
        __atomic_store_n(&f->error, error, __ATOMIC_RELAXED);
        __atomic_store_n(&f->gate, gate, __ATOMIC_RELAXED);
        __atomic_store_n(&f->room, room, __ATOMIC_RELAXED);
    }
    static struct writer_disk faulty_disk(struct faults *f) { return (struct writer_disk){f, faulty_write, faulty_read, faulty_truncate}; }
    """
    ctypedef struct disk_faults "struct faults":
        long long room
        int error, gate
    int writer_thread_start(writer_state *w, unsigned long *thread) nogil
    void writer_thread_join(unsigned long thread) nogil
    void *writer_lend(size_t bytes, size_t dense_bytes) nogil
    int munmap(void *memory, size_t bytes) nogil
    void faults_set(disk_faults *f, long long room, int error, int gate) nogil
    writer_disk faulty_disk(disk_faults *f) nogil

PCM, PAYLOAD, OPUS, PACKETS = WRITER_PCM, WRITER_PAYLOAD, WRITER_OPUS, WRITER_PACKETS
WAV_PCM16, WAV_ULAW, WAV_ALAW, OGG_OPUS, PCAP = WRITER_WAV_PCM16, WRITER_WAV_ULAW, WRITER_WAV_ALAW, WRITER_OGG_OPUS, WRITER_PCAP
FINISHED, FAILED, RESUMED, BEHIND = WRITER_FINISHED, WRITER_FAILED, WRITER_RESUMED, WRITER_BEHIND
BLOCK_BYTES, TRACKS_MAX, OUTPUTS_MAX = WRITER_BLOCK_BYTES, WRITER_TRACKS_MAX, WRITER_OUTPUTS_MAX


class Output(NamedTuple):
    """A file to be written: an empty one open for reading and writing, which must stay open until the recording is finished."""

    fd: int
    format: int
    tracks: tuple[int, ...] = ()
    opus_channels: int = 1
    serial: int = 0


class Event(NamedTuple):
    """What the writer told: `recording` is 0 for BEHIND; `error` is an errno."""

    kind: int
    recording: int
    output: int
    error: int
    value: int


class Result(NamedTuple):
    """How a file ended: its bytes and frames (Ogg: samples at 48 kHz; pcap: records), what the disk refused and what came too late."""

    bytes: int
    frames: int
    lost: int
    late: int
    error: int
    failures: int


class Counts(NamedTuple):
    """Since the writer began: takes without a block, blocks of recordings that are over, blocks that could not be read, and what was written."""

    refused: int
    stale: int
    malformed: int
    blocks: int
    bytes: int
    writes: int
    rounds: int


@cython.final
@cython.auto_pickle(False)
cdef class Disk:
    """A disk with faults, for tests: an errno once `room_bytes` more were written (-1: never), and a pipe that a byte is read from before each write."""

    cdef disk_faults faults

    def __cinit__(self):
        faults_set(&self.faults, -1, 0, -1)

    def be(self, *, long long room_bytes=-1, int error=28, int gate=-1):
        faults_set(&self.faults, room_bytes, error, gate)


def wav_header(uint8_t format, uint32_t channels, uint32_t rate_hz, int64_t frames):
    """Header of a WAV file with so many sample frames: RIFF, or RF64 where it is past 4 GiB."""
    cdef uint8_t header[WRITER_WAV_HEADER_MAX]
    if not WRITER_WAV_PCM16 <= format <= WRITER_WAV_ALAW or not 0 < channels <= WRITER_TRACKS_MAX or not rate_hz or not 0 <= frames < 1 << 58:
        raise ValueError("no WAV file is like that")
    return header[:writer_wav_header(header, format, channels, rate_hz, frames)]


cdef int _plan(writer_output_plan *plan, output) except -1:
    cdef int i
    memset(plan, 0, sizeof(plan[0]))
    tracks = output.tracks
    if len(tracks) > WRITER_TRACKS_MAX:
        raise ValueError(f"{len(tracks)} tracks in one file; {WRITER_TRACKS_MAX} are the most")
    plan.fd, plan.format, plan.serial = output.fd, output.format, output.serial
    plan.channels = output.opus_channels if output.format == WRITER_OGG_OPUS else len(tracks)
    if output.format == WRITER_OGG_OPUS and len(tracks) != 1:
        raise ValueError("an Ogg file has one track")
    for i in range(len(tracks)):
        plan.tracks[i] = tracks[i]
    return 0


cdef int _checked(int status) except -1:
    if status == STATUS_TOO_SMALL:
        raise BlockingIOError(EAGAIN, "the writer has no room for more recordings or files")
    if status == STATUS_UNSUPPORTED:
        raise OSError(EOPNOTSUPP, "the writer cannot write such a file")
    if status < 0:
        raise OSError(EINVAL, "no such recording, or a file that cannot be")
    return status


@cython.auto_pickle(False)
cdef class Writer:
    """`blocks` of 4 KiB between the media thread and the disk, `recordings` at once. Memory is taken when it is used."""

    def __cinit__(self, uint32_t blocks, uint32_t recordings, Disk disk=None):
        cdef writer_disk faulty
        cdef void *memory
        self.wake_fd = self.events_fd = -1
        if not 0 < blocks <= 1 << 24 or not 0 < recordings <= 1 << 16:
            raise ValueError("1 to 16,777,216 blocks, 1 to 65,536 recordings")
        self.wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.events_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.bytes_lent = writer_bytes(blocks, recordings)
        memory = writer_lend(self.bytes_lent, writer_dense_bytes(blocks, recordings))
        if memory == NULL:
            raise MemoryError("no memory for the writer's blocks")
        self.disk = disk
        if disk is not None:
            faulty = faulty_disk(&disk.faults)
        self.handle = writer_init(memory, blocks, recordings, self.wake_fd, self.events_fd, &faulty if disk is not None else NULL)

    def __dealloc__(self):
        if self.started:
            writer_stop(self.handle)
            with nogil:
                writer_thread_join(self.thread)
        if self.handle != NULL:
            munmap(self.handle, self.bytes_lent)
        if self.wake_fd >= 0:
            close(self.wake_fd)
        if self.events_fd >= 0:
            close(self.events_fd)

    def start(self):
        """Starts the thread."""
        if self.started:
            raise RuntimeError("the writer runs already")
        error = writer_thread_start(self.handle, &self.thread)
        if error:
            raise OSError(error, os.strerror(error))
        self.started = True

    def stop(self):
        """Ends the thread once all that was given is written, and waits for that. Recordings that are open stay as they are."""
        if not self.started:
            return
        writer_stop(self.handle)
        with nogil:
            writer_thread_join(self.thread)
        self.started = False

    @property
    def event_fd(self):
        """Readable when there are events."""
        return self.events_fd

    def open(self, uint32_t rate_hz, outputs):
        """Begins a recording; its number. Raises BlockingIOError when no more are possible, OSError for files that cannot be."""
        cdef writer_plan plan
        cdef uint32_t recording, generation
        if len(outputs) > WRITER_OUTPUTS_MAX:
            raise ValueError(f"{len(outputs)} files of one recording; {WRITER_OUTPUTS_MAX} are the most")
        plan.rate_hz, plan.outputs = rate_hz, len(outputs)
        for i, output in enumerate(outputs):
            _plan(&plan.output[i], output)
        _checked(writer_open(self.handle, &plan, &recording, &generation))
        return <uint64_t>generation << 32 | recording

    def add(self, uint64_t recording, output):
        """Another file of a running recording: its number. What was before is silence in it."""
        cdef writer_output_plan plan
        _plan(&plan, output)
        return _checked(writer_add(self.handle, <uint32_t>recording, recording >> 32, &plan))

    def close(self, uint64_t recording):
        """Ends a recording that the media thread has nothing to do with."""
        _checked(writer_close(self.handle, <uint32_t>recording, recording >> 32))

    def events(self):
        """What was told since the last time."""
        cdef writer_event event
        found = []
        while writer_event_next(self.handle, &event):
            recording = 0 if event.kind == WRITER_BEHIND else <uint64_t>event.generation << 32 | event.recording
            found.append(Event(event.kind, recording, event.output, event.error, event.value))
        return found

    def results(self, uint64_t recording):
        """How each file of a finished recording ended."""
        cdef writer_result_row row
        cdef uint32_t output = 0
        found = []
        while writer_result(self.handle, <uint32_t>recording, recording >> 32, output, &row) == 0:
            found.append(Result(row.bytes, row.frames, row.lost, row.late, row.error, row.failures))
            output += 1
        return found

    def release(self, uint64_t recording):
        """A finished recording is done with; its place is free for another."""
        _checked(writer_release(self.handle, <uint32_t>recording, recording >> 32))

    def counts(self):
        cdef writer_counts row
        writer_count(self.handle, &row)
        return Counts(row.refused, row.stale, row.malformed, row.blocks, row.bytes, row.writes, row.rounds)

    @property
    def waiting(self):
        """Blocks that are not written yet."""
        return writer_waiting(self.handle)

    def round(self, int64_t now_ns):
        """One round in the caller's thread, while the writer's own does not run; how many blocks, plus one where work is left over."""
        if self.started:
            raise RuntimeError("the writer's own thread runs")
        return writer_round(self.handle, now_ns)

    # ---- a producer in Python, where no media thread is one ----

    cdef writer_block *_take(self, uint64_t recording, uint8_t track, uint8_t kind) noexcept:
        cdef writer_block *block = writer_take(self.handle)
        if block != NULL:
            block.recording, block.generation = <uint32_t>recording, <uint32_t>(recording >> 32)
            block.track, block.kind, block.used, block.samples, block.position = track, kind, 0, 0, 0
        return block

    def append(self, uint64_t recording, uint8_t track, int64_t position, samples, *, uint8_t kind=WRITER_PCM):
        """Gives samples (PCM: int16, little-endian; PAYLOAD: bytes) of a track; how many were taken, fewer where the disk is behind."""
        cdef const uint8_t[::1] view = memoryview(samples).cast("B")
        cdef uint32_t width = 2 if kind == WRITER_PCM else 1
        cdef size_t done = 0, count = view.shape[0], piece
        cdef writer_block *block
        while done < count:
            block = self._take(recording, track, kind)
            if block == NULL:
                break
            piece = min(count - done, <size_t>WRITER_BLOCK_BYTES)
            memcpy(block.bytes, &view[done], piece)
            block.used, block.samples, block.position = <uint16_t>piece, <uint32_t>(piece // width), position + <int64_t>(done // width)
            writer_give(self.handle, block)
            done += piece
        return done // width

    def append_packets(self, uint64_t recording, uint8_t track, int64_t position, packets, *, uint8_t kind=WRITER_OPUS):
        """Gives Opus packets as (samples at 48 kHz, bytes), or with kind PACKETS records as (wall ns, bytes), in one block; False: there was none, or no room."""
        cdef writer_block *block = self._take(recording, track, kind)
        cdef uint32_t head = 6 if kind == WRITER_OPUS else 11, samples, used = 0
        cdef uint16_t length
        cdef int64_t time_ns
        cdef const uint8_t *source
        if block == NULL:
            return False
        for number, packet in packets:
            if used + head + len(packet) > WRITER_BLOCK_BYTES:
                writer_return(self.handle, block)
                return False
            length, source = len(packet), packet
            if kind == WRITER_OPUS:
                samples = number
                memcpy(block.bytes + used, &length, 2)
                memcpy(block.bytes + used + 2, &samples, 4)
                block.samples += samples
            else:
                time_ns = number
                memcpy(block.bytes + used, &time_ns, 8)
                memcpy(block.bytes + used + 8, &length, 2)
                block.bytes[used + 10] = 0
            memcpy(block.bytes + used + head, source, length)
            used += head + length
        block.used, block.position = <uint16_t>used, position
        writer_give(self.handle, block)
        return True

    def end(self, uint64_t recording):
        """Nothing follows; False: there was no block to say so."""
        cdef writer_block *block = self._take(recording, 0, WRITER_END)
        if block == NULL:
            return False
        writer_give(self.handle, block)
        return True
