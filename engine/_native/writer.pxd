"""The writer's C interface: its blocks for the media thread, its recordings for whoever opens them."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "writer.h" nogil:
    enum: WRITER_BLOCK_BYTES, WRITER_TRACKS_MAX, WRITER_OUTPUTS_MAX
    enum: WRITER_PCM, WRITER_PAYLOAD, WRITER_OPUS, WRITER_PACKETS, WRITER_END
    enum: WRITER_WAV_PCM16, WRITER_WAV_ULAW, WRITER_WAV_ALAW, WRITER_OGG_OPUS, WRITER_PCAP
    enum: WRITER_FINISHED, WRITER_FAILED, WRITER_RESUMED, WRITER_BEHIND
    enum: WRITER_WAV_HEADER_MAX

    ctypedef struct writer_state "struct writer":
        pass
    ctypedef struct writer_block "struct writer_block":
        uint32_t recording, generation
        uint8_t track, kind
        uint16_t used
        uint32_t samples
        int64_t position
        uint8_t *bytes
    writer_block *writer_take(writer_state *w)
    void writer_give(writer_state *w, writer_block *block)
    void writer_return(writer_state *w, writer_block *block)
    uint32_t writer_waiting(const writer_state *w)

    ctypedef struct writer_output_plan "struct writer_output_plan":
        int32_t fd
        uint8_t format, channels
        uint8_t *tracks
        uint32_t serial
    ctypedef struct writer_plan "struct writer_plan":
        uint32_t rate_hz, outputs
        writer_output_plan *output
    ctypedef struct writer_event "struct writer_event":
        uint32_t recording, generation
        uint8_t kind, output
        int32_t error
        int64_t value
    ctypedef struct writer_result_row "struct writer_result":
        int64_t bytes, frames, lost, late
        int32_t error
        uint32_t failures
    ctypedef struct writer_counts "struct writer_counts":
        uint64_t refused, stale, malformed, blocks, bytes, writes, rounds
    ctypedef struct writer_disk "struct writer_disk":
        void *context
        ptrdiff_t (*write)(void *context, int fd, const void *bytes, size_t count, int64_t offset) noexcept nogil
        ptrdiff_t (*read)(void *context, int fd, void *bytes, size_t count, int64_t offset) noexcept nogil
        int (*truncate)(void *context, int fd, int64_t length) noexcept nogil

    size_t writer_bytes(uint32_t blocks, uint32_t recordings)
    size_t writer_dense_bytes(uint32_t blocks, uint32_t recordings)
    writer_state *writer_init(void *memory, uint32_t blocks, uint32_t recordings, int wake_fd, int event_fd, const writer_disk *disk)
    int writer_open(writer_state *w, const writer_plan *plan, uint32_t *recording, uint32_t *generation)
    int writer_add(writer_state *w, uint32_t recording, uint32_t generation, const writer_output_plan *output)
    int writer_close(writer_state *w, uint32_t recording, uint32_t generation)
    int writer_event_next(writer_state *w, writer_event *event)
    int writer_result(const writer_state *w, uint32_t recording, uint32_t generation, uint32_t output, writer_result_row *result)
    int writer_release(writer_state *w, uint32_t recording, uint32_t generation)
    void writer_count(const writer_state *w, writer_counts *counts)
    uint32_t writer_round(writer_state *w, int64_t now_ns)
    void writer_run(writer_state *w)
    void writer_stop(writer_state *w)
    uint32_t writer_wav_header(uint8_t *target, uint8_t format, uint32_t channels, uint32_t rate_hz, int64_t frames)


cdef class Writer:
    cdef writer_state *handle  # the media thread takes blocks from it; nobody else may then call append and its like
    cdef size_t bytes_lent
    cdef int wake_fd, events_fd
    cdef bint started
    cdef unsigned long thread
    cdef object disk
    cdef writer_block *_take(self, uint64_t recording, uint8_t track, uint8_t kind) noexcept
