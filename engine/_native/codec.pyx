"""Voice codecs for work off the media thread: the Python face of c/codec.h, with states in memory of the objects' own."""

from libc.stdint cimport int16_t, int32_t, uint8_t, uint32_t
from libc.stdlib cimport free
from libc.string cimport memset

import numpy as np


cdef extern from "stdlib.h" nogil:
    void *aligned_alloc(size_t alignment, size_t size)

cdef extern from "status.h" nogil:
    enum: STATUS_MALFORMED, STATUS_TOO_SMALL, STATUS_UNSUPPORTED

cdef extern from "codec.h" nogil:
    enum: CODEC_FRAME_SAMPLES_MAX, CODEC_STATE_ALIGN
    ctypedef struct codec_row "struct codec":
        const char *name
        uint32_t clock_rate_hz, sample_rate_hz
        uint8_t static_payload_type, channels_max, is_lossless_by_sample
        uint32_t decoder_bytes, encoder_bytes
        int (*decoder_start)(void *state, uint32_t sample_rate_hz, uint8_t channels) noexcept nogil
        int (*encoder_start)(void *state, uint32_t sample_rate_hz, uint8_t channels, uint32_t bit_rate) noexcept nogil
        int (*decode)(void *state, const uint8_t *payload, uint32_t length, int16_t *pcm, uint32_t room_samples) noexcept nogil
        int (*conceal)(void *state, const uint8_t *next, uint32_t next_length, int16_t *pcm, uint32_t samples) noexcept nogil
        int (*samples)(const uint8_t *payload, uint32_t length, uint32_t sample_rate_hz, uint8_t channels) noexcept nogil
        int (*encode)(void *state, const int16_t *pcm, uint32_t samples, uint8_t *payload, uint32_t room_bytes) noexcept nogil
        void (*decoder_end)(void *state) noexcept nogil
        void (*encoder_end)(void *state) noexcept nogil
    const codec_row *codecs[]
    uint32_t codec_count
    int codec_by_name(const char *name, uint32_t length)
    cdef struct opus_functions:
        pass
    cdef struct opus_settings:
        uint32_t bit_rate
        uint8_t complexity, has_fec, loss_percent, has_dtx
    int codec_opus_bind(const opus_functions *functions)
    int codec_opus_set(void *encoder_state, const opus_settings *settings)

cdef extern from *:
    """
    #define OPUS_FUNCTION_COUNT (sizeof(struct opus_functions) / sizeof(void (*)(void)))
    """
    enum: OPUS_FUNCTION_COUNT


MALFORMED, TOO_SMALL, UNSUPPORTED = STATUS_MALFORMED, STATUS_TOO_SMALL, STATUS_UNSUPPORTED
FRAME_SAMPLES_MAX = CODEC_FRAME_SAMPLES_MAX
CODECS = tuple([codecs[number].name.decode() for number in range(codec_count)])


def bind_opus(addresses):
    """Gives the kernel libopus's functions, by address and in the order of `struct opus_functions`.

    Raises ValueError for another number of them, and for a library whose states are larger than ours may be.
    """
    cdef size_t[OPUS_FUNCTION_COUNT] table
    given = tuple(addresses)
    if len(given) != OPUS_FUNCTION_COUNT:
        raise ValueError(f"libopus is bound by {OPUS_FUNCTION_COUNT} functions, not {len(given)}")
    for k in range(OPUS_FUNCTION_COUNT):
        table[k] = given[k]
    if codec_opus_bind(<const opus_functions *>table):
        raise ValueError("a function of libopus is missing, or its states are larger than this build allows")


def facts(str name not None):
    """What the kernel says of a codec: clock rate and sample rate in Hz, static payload type (255: none), channels at most, lossless by sample."""
    cdef const codec_row *row = codecs[_number(name)]
    return row.clock_rate_hz, row.sample_rate_hz, row.static_payload_type, row.channels_max, bool(row.is_lossless_by_sample)


cdef int _number(str name) except -1:
    cdef bytes raw = name.encode()
    cdef int number = codec_by_name(raw, <uint32_t>len(raw))
    if number < 0:
        raise ValueError(f"no codec is named {name[:64]!r}")
    return number


cdef void *_state(uint32_t count) except? NULL:
    """Zeroed memory for a state, aligned as the kernels want it; NULL for a codec without one."""
    cdef size_t whole = (count + CODEC_STATE_ALIGN - 1) // CODEC_STATE_ALIGN * CODEC_STATE_ALIGN
    cdef void *memory
    if not count:
        return NULL
    memory = aligned_alloc(CODEC_STATE_ALIGN, whole)
    if memory == NULL:
        raise MemoryError("no memory for a codec's state")
    memset(memory, 0, whole)
    return memory


cdef class _Coder:
    cdef const codec_row *row
    cdef void *state
    cdef bint is_started
    cdef readonly str name
    cdef readonly uint32_t sample_rate_hz
    cdef readonly uint8_t channels

    cdef int _choose(self, str name, uint32_t sample_rate_hz, channels, uint32_t clock_rate_hz) except -1:
        self.row = codecs[_number(name)]
        self.name = self.row.name.decode()
        self.sample_rate_hz = sample_rate_hz or self.row.sample_rate_hz or self.row.clock_rate_hz or clock_rate_hz
        if not 1 <= channels <= self.row.channels_max:
            raise ValueError(f"{self.name} has no {channels} channels")
        self.channels = channels
        return 0

    cdef object _refused(self):
        return ValueError(f"{self.name} has no PCM of {self.sample_rate_hz} Hz with {self.channels} channels")

    cdef object _shaped(self, flat, samples):
        return flat[: samples * self.channels].reshape(samples, self.channels) if self.channels > 1 else flat[:samples]


cdef class Decoder(_Coder):
    """A stream's payloads to PCM of 16 bit, shaped (samples,), or (samples, channels) for more than one channel.

    A rate of 0 is the codec's usual one. Raises ValueError for a codec, a rate or a number of channels that there is not.
    """

    def __cinit__(self, str name not None, uint32_t sample_rate_hz=0, channels=1, uint32_t clock_rate_hz=0):
        self._choose(name, sample_rate_hz, channels, clock_rate_hz)
        self.state = _state(self.row.decoder_bytes)
        if self.row.decoder_start(self.state, self.sample_rate_hz, self.channels):
            raise self._refused()
        self.is_started = True

    def __dealloc__(self):
        if self.is_started and self.row.decoder_end != NULL:
            self.row.decoder_end(self.state)
        free(self.state)

    def samples(self, payload):
        """Samples a channel that a payload will decode to; below 0 is a status."""
        cdef const uint8_t[::1] view = payload
        return self.row.samples(&view[0] if len(view) else NULL, <uint32_t>len(view), self.sample_rate_hz, self.channels)

    def decode_into(self, payload, pcm):
        """Decodes into an array of int16 that is as large as it is; returns samples a channel, or a status below 0."""
        cdef const uint8_t[::1] view = payload
        cdef int16_t[::1] target = pcm
        cdef const uint8_t *source = &view[0] if len(view) else NULL
        cdef int16_t *place = &target[0] if len(target) else NULL
        cdef uint32_t length = <uint32_t>len(view), room = <uint32_t>(len(target) // self.channels)
        cdef int result
        with nogil:
            result = self.row.decode(self.state, source, length, place, room)
        return result

    def decode(self, payload):
        """PCM of one payload. Raises ValueError for one that cannot be decoded."""
        cdef int samples = self.samples(payload)
        if samples >= 0:
            flat = np.empty(samples * self.channels, np.int16)
            samples = self.decode_into(payload, flat)
        if samples < 0:
            raise ValueError(f"{len(payload)} bytes are no payload of {self.name}")
        return self._shaped(flat, samples)

    def conceal(self, uint32_t samples, next=None):
        """PCM for `samples` that were lost; `next` is the payload behind the hole where it came. None where the codec leaves that to others."""
        cdef const uint8_t[::1] view = next if next is not None else b""
        if self.row.conceal == NULL:
            return None
        flat = np.empty(max(1, samples * self.channels), np.int16)
        cdef int16_t[::1] target = flat
        cdef int result = self.row.conceal(self.state, &view[0] if len(view) else NULL, <uint32_t>len(view), &target[0], samples)
        return self._shaped(flat, result) if result >= 0 else None


cdef class Encoder(_Coder):
    """PCM of 16 bit, shaped as a Decoder gives it, to payloads.

    A rate or bit rate of 0 is the codec's usual one. Raises ValueError for a codec, a rate or a number of channels that there is not.
    """

    def __cinit__(self, str name not None, uint32_t sample_rate_hz=0, channels=1, uint32_t clock_rate_hz=0, uint32_t bit_rate=0):
        self._choose(name, sample_rate_hz, channels, clock_rate_hz)
        self.state = _state(self.row.encoder_bytes)
        if self.row.encoder_start(self.state, self.sample_rate_hz, self.channels, bit_rate):
            raise self._refused()
        self.is_started = True

    def __dealloc__(self):
        if self.is_started and self.row.encoder_end != NULL:
            self.row.encoder_end(self.state)
        free(self.state)

    def set_opus(self, uint32_t bit_rate, uint8_t complexity, bint has_fec, uint8_t loss_percent, bint has_dtx):
        """How an Opus encoder works from the next frame on: `struct opus_settings`. Raises ValueError for what it cannot do."""
        cdef opus_settings settings = opus_settings(bit_rate, complexity, has_fec, loss_percent, has_dtx)
        if self.row != codecs[codec_by_name(b"opus", 4)] or codec_opus_set(self.state, &settings):
            raise ValueError(f"{self.name} cannot be set to {bit_rate} bit/s, complexity {complexity} and {loss_percent} % loss")

    def encode_into(self, pcm, payload):
        """Encodes int16 samples into a buffer that is as large as it is; returns bytes, or a status below 0."""
        cdef const int16_t[::1] view = np.ascontiguousarray(pcm).reshape(-1)
        cdef uint8_t[::1] target = payload
        cdef const int16_t *source = &view[0] if len(view) else NULL
        cdef uint8_t *place = &target[0] if len(target) else NULL
        cdef uint32_t samples = <uint32_t>(len(view) // self.channels), room = <uint32_t>len(target)
        cdef int result
        with nogil:
            result = self.row.encode(self.state, source, samples, place, room)
        return result

    def encode(self, pcm):
        """One payload. Raises ValueError for a number of samples that makes no frame."""
        room = bytearray(2 * np.size(pcm) + 8192)
        cdef int count = self.encode_into(pcm, room)
        if count < 0:
            raise ValueError(f"{np.size(pcm) // self.channels} samples make no frame of {self.name}")
        return bytes(memoryview(room)[:count])
