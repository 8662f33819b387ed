"""Tones, lost packets and comfort noise: the Python face of c/tones.h, c/plc.h and c/comfort_noise.h. PCM is int16, one channel."""

from libc.stdint cimport int16_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

import numpy as np


cdef extern from "tones.h" nogil:
    ctypedef struct reader_state "struct dtmf_reader":
        uint32_t rate_hz
    ctypedef struct found_digit "struct dtmf_found":
        char digit
        uint8_t ended
        uint32_t duration_ms
        uint64_t position
    int dtmf_reader_start(reader_state *d, uint32_t rate_hz)
    uint32_t dtmf_reader_take(reader_state *d, const int16_t *pcm, uint32_t samples, found_digit *found, uint32_t room)
    ctypedef struct tone_state "struct tone":
        uint32_t left
    void tone_start(tone_state *t, uint32_t rate_hz, double first_hz, double second_hz, double level_dbov, uint32_t duration_ms)
    int tone_start_digit(tone_state *t, uint32_t rate_hz, char digit, double level_dbov, uint32_t duration_ms)
    uint32_t tone_add(tone_state *t, int16_t *pcm, uint32_t samples)

cdef extern from "plc.h" nogil:
    enum: PLC_HISTORY
    ctypedef struct plc_state "struct plc":
        uint32_t rate_hz, period, lost_samples
    void plc_start(plc_state *p, uint32_t rate_hz, int16_t *history)
    void plc_good(plc_state *p, int16_t *pcm, uint32_t samples)
    void plc_lost(plc_state *p, int16_t *pcm, uint32_t samples)

cdef extern from "comfort_noise.h" nogil:
    enum: COMFORT_NOISE_BYTES
    ctypedef struct noise_state "struct comfort_noise":
        uint8_t known
    void comfort_noise_start(noise_state *c, uint64_t seed)
    int comfort_noise_take(noise_state *c, const uint8_t *payload, uint32_t length)
    void comfort_noise_make(noise_state *c, int16_t *pcm, uint32_t samples)
    int comfort_noise_measure(const int16_t *pcm, uint32_t samples, uint8_t *payload, uint32_t room)
    ctypedef struct dtx_state "struct dtx":
        float noise_floor
    void dtx_start(dtx_state *d, uint32_t rate_hz)
    int dtx_decide(dtx_state *d, const int16_t *pcm, uint32_t samples)


SEND_NOTHING, SEND_AUDIO, SEND_SID = 0, 1, 2


cdef class DtmfReader:
    """Digits in the audio of one stream at 8, 16, 24, 32 or 48 kHz. Raises ValueError for another rate."""

    cdef reader_state state

    def __cinit__(self, uint32_t sample_rate_hz):
        if dtmf_reader_start(&self.state, sample_rate_hz):
            raise ValueError(f"digits are not looked for at {sample_rate_hz} Hz")

    def take(self, pcm, room=None):
        """What began and ended in these samples: (digit, ended, duration in ms, position in samples since the reader began).

        `room` is how many are kept at most; None is all.
        """
        cdef const int16_t[::1] view = pcm
        cdef uint32_t samples = <uint32_t>len(view), count
        cdef uint32_t capacity = samples // (self.state.rate_hz // 100) + 2 if room is None else room
        cdef found_digit *found = <found_digit *>malloc((capacity + 1) * sizeof(found_digit))
        if found == NULL:
            raise MemoryError("no memory for digits")
        with nogil:
            count = dtmf_reader_take(&self.state, &view[0] if samples else NULL, samples, found, capacity)
        result = [(chr(found[k].digit), bool(found[k].ended), found[k].duration_ms, found[k].position) for k in range(count)]
        free(found)
        return result


cdef class Tone:
    """One or two frequencies (0 Hz for none) of `level_dbov` each, with ramps of 2 ms."""

    cdef tone_state state

    def __cinit__(self, uint32_t sample_rate_hz, double first_hz, double second_hz, double level_dbov, uint32_t duration_ms):
        tone_start(&self.state, sample_rate_hz, first_hz, second_hz, level_dbov, duration_ms)

    @staticmethod
    def digit(uint32_t sample_rate_hz, str digit not None, double level_dbov, uint32_t duration_ms):
        """The tone of a DTMF digit. Raises ValueError for what is none."""
        cdef Tone made = Tone(sample_rate_hz, 0, 0, level_dbov, duration_ms)
        if len(digit) != 1 or not digit.isascii() or tone_start_digit(&made.state, sample_rate_hz, ord(digit), level_dbov, duration_ms):
            raise ValueError(f"{digit[:8]!r} is no digit")
        return made

    def add(self, pcm):
        """Adds to an array, in place; returns how many samples the tone still had for it."""
        cdef int16_t[::1] view = pcm
        return tone_add(&self.state, &view[0], <uint32_t>len(view)) if len(view) else 0

    @property
    def left(self):
        """Samples to come."""
        return self.state.left


cdef class Concealer:
    """What is heard instead of a stream's lost packets."""

    cdef plc_state state
    cdef int16_t history[PLC_HISTORY]

    def __cinit__(self, uint32_t sample_rate_hz):
        plc_start(&self.state, sample_rate_hz, self.history)

    def good(self, pcm):
        """Samples that came, as they are to be heard: joined to those made up before."""
        heard = np.array(pcm, np.int16)
        cdef int16_t[::1] view = heard
        if len(view):
            plc_good(&self.state, &view[0], <uint32_t>len(view))
        return heard

    def lost(self, uint32_t samples):
        """Samples made up."""
        made = np.empty(samples, np.int16)
        cdef int16_t[::1] view = made
        if samples:
            plc_lost(&self.state, &view[0], samples)
        return made

    @property
    def period(self):
        """The pitch period of the last loss, in samples."""
        return self.state.period


cdef class ComfortNoise:
    """Noise as SID payloads (RFC 3389) describe it."""

    cdef noise_state state

    def __cinit__(self, uint64_t seed=0):
        comfort_noise_start(&self.state, seed)

    def take(self, payload):
        """A SID payload. Raises ValueError for an empty one."""
        cdef const uint8_t[::1] view = payload
        if comfort_noise_take(&self.state, &view[0] if len(view) else NULL, <uint32_t>len(view)):
            raise ValueError("an empty payload says nothing of noise")

    def make(self, uint32_t samples):
        """Samples of noise; silence before the first SID."""
        made = np.empty(samples, np.int16)
        cdef int16_t[::1] view = made
        if samples:
            comfort_noise_make(&self.state, &view[0], samples)
        return made


def measure_noise(pcm, room=COMFORT_NOISE_BYTES):
    """A SID payload of at most `room` bytes for a block of background noise. Raises ValueError for no room at all."""
    cdef const int16_t[::1] view = pcm
    cdef uint8_t[COMFORT_NOISE_BYTES] payload
    cdef int count = comfort_noise_measure(&view[0] if len(view) else NULL, <uint32_t>len(view), payload, min(room, COMFORT_NOISE_BYTES))
    if count < 0:
        raise ValueError("a SID payload has one byte at least")
    return bytes(payload[:count])


cdef class Dtx:
    """Which blocks of a stream are to be sent."""

    cdef dtx_state state

    def __cinit__(self, uint32_t sample_rate_hz):
        dtx_start(&self.state, sample_rate_hz)

    def decide(self, pcm):
        """SEND_AUDIO, SEND_NOTHING or SEND_SID for the next block."""
        cdef const int16_t[::1] view = pcm
        return dtx_decide(&self.state, &view[0] if len(view) else NULL, <uint32_t>len(view))

    @property
    def noise_floor_dbov(self):
        """What the noise is taken to be."""
        return self.state.noise_floor
