# cython: boundscheck=False, wraparound=False
"""PCM in numpy arrays: G.711, sums of legs, gains, levels and sample rates. The Python face of c/g711.h, c/mix.h and c/resample.h.

Samples are int16 in the machine's order. The GIL is let go of for what is longer than 4 KiB, and for rows of many.
"""

from collections import namedtuple

from libc.stdint cimport int16_t, int32_t, uint8_t, uint16_t, uint32_t, uint64_t

import numpy as np

cdef extern from "status.h" nogil:
    enum: STATUS_TOO_SMALL

cdef extern from "g711.h" nogil:
    enum g711_law: G711_ULAW, G711_ALAW
    enum: G711_ULAW_SILENCE, G711_ALAW_SILENCE
    void g711_decode(g711_law law, const uint8_t *bytes, int16_t *pcm, size_t samples)
    void g711_encode(g711_law law, const int16_t *pcm, uint8_t *bytes, size_t samples)
    void g711_decode_float(g711_law law, const uint8_t *bytes, float *pcm, size_t samples)
    void g711_decode_batch(g711_law law, const uint8_t **frames, int16_t **pcm, uint32_t frame_count, uint32_t samples)
    void g711_encode_batch(g711_law law, const int16_t **pcm, uint8_t **frames, uint32_t frame_count, uint32_t samples)
    uint32_t audio_ways(const char **names, uint32_t room)
    const char *audio_way()
    int audio_choose(const char *name)

cdef extern from "mix.h" nogil:
    cdef struct mix_level:
        uint64_t squares
        int32_t peak
        uint32_t clipped
    void mix_add(int32_t *sum, const int16_t *pcm, size_t samples)
    void mix_out(const int32_t *sum, const int16_t *own, int16_t *out, size_t samples)
    void mix_gain(int16_t *pcm, size_t samples, uint32_t gain_4096)
    void mix_fade(int16_t *pcm, size_t samples, uint32_t from_4096, uint32_t to_4096)
    void mix_measure(const int16_t *pcm, size_t samples, mix_level *level)
    uint8_t mix_dbov(const mix_level *level, uint64_t samples)

cdef extern from "resample.h" nogil:
    ctypedef struct resample_state "struct resample":
        uint32_t from_hz, to_hz
    int resample_start(resample_state *r, uint32_t from_hz, uint32_t to_hz)
    uint32_t resample_room(const resample_state *r, uint32_t samples)
    int resample_run(resample_state *r, const int16_t *source, uint32_t samples, int16_t *out, uint32_t room)
    uint32_t resample_delay(const resample_state *r)

cdef enum:
    WAYS_MAX = 8
    BATCH = 64
    NOGIL_BYTES = 4096

ULAW, ALAW = G711_ULAW, G711_ALAW
ULAW_SILENCE, ALAW_SILENCE = G711_ULAW_SILENCE, G711_ALAW_SILENCE
STATE_BYTES = sizeof(resample_state)
Level = namedtuple("Level", ["dbov", "peak", "clipped", "squares"])


cdef g711_law _law(law) except *:
    if law != G711_ULAW and law != G711_ALAW:
        raise ValueError(f"{law!r} is no law of G.711: ULAW is {G711_ULAW}, ALAW {G711_ALAW}")
    return <g711_law><int>law


cdef const int16_t *_samples(const int16_t[:] pcm) except? NULL:
    """Where one row of samples is. NULL for none."""
    if not pcm.shape[0]:
        return NULL
    if <size_t>&pcm[0] % sizeof(int16_t) or (pcm.strides[0] != sizeof(int16_t) and pcm.shape[0] > 1):
        raise ValueError("samples have to lie next to each other, at even addresses")
    return &pcm[0]


# ---- G.711 ----


def decode(law, payload):
    """Samples of a payload of bytes: int16, shape (bytes,). Raises ValueError for another law."""
    cdef g711_law kind = _law(law)
    cdef const uint8_t[::1] view = payload
    cdef size_t count = view.shape[0]
    found = np.empty(count, np.int16)
    cdef int16_t[::1] target = found
    if count > NOGIL_BYTES:
        with nogil:
            g711_decode(kind, &view[0], &target[0], count)
    elif count:
        g711_decode(kind, &view[0], &target[0], count)
    return found


def decode_float(law, payload):
    """The same as float32 of -1..1 (a sample / 32768)."""
    cdef g711_law kind = _law(law)
    cdef const uint8_t[::1] view = payload
    cdef size_t count = view.shape[0]
    found = np.empty(count, np.float32)
    cdef float[::1] target = found
    if count > NOGIL_BYTES:
        with nogil:
            g711_decode_float(kind, &view[0], &target[0], count)
    elif count:
        g711_decode_float(kind, &view[0], &target[0], count)
    return found


def encode(law, const int16_t[:] pcm not None):
    """Bytes of samples. A sample's low bits (two for u-law, three for A-law) are cut off first, as Sun's g711 and Python's audioop do."""
    cdef g711_law kind = _law(law)
    cdef const int16_t *source = _samples(pcm)
    cdef size_t count = pcm.shape[0]
    found = np.empty(count, np.uint8)
    cdef uint8_t[::1] target = found
    if count * sizeof(int16_t) > NOGIL_BYTES:
        with nogil:
            g711_encode(kind, source, &target[0], count)
    elif count:
        g711_encode(kind, source, &target[0], count)
    return found.tobytes()


def decode_frames(law, const uint8_t[:, :] frames not None):
    """Many frames at once: uint8 of shape (frames, samples), rows anywhere, to int16 of the same shape."""
    cdef g711_law kind = _law(law)
    cdef Py_ssize_t rows = frames.shape[0], samples = frames.shape[1], at = 0, count, i
    if frames.strides[1] != 1 and samples > 1 or samples > 0xffffffff:
        raise ValueError("a frame's bytes have to lie next to each other")
    found = np.empty((rows, samples), np.int16)
    cdef int16_t[:, ::1] target = found
    cdef const uint8_t *sources[BATCH]
    cdef int16_t *targets[BATCH]
    if not samples:
        return found
    with nogil:
        while at < rows:
            count = min(<Py_ssize_t>BATCH, rows - at)
            for i in range(count):
                sources[i] = &frames[at + i, 0]
                targets[i] = &target[at + i, 0]
            g711_decode_batch(kind, sources, targets, <uint32_t>count, <uint32_t>samples)
            at += count
    return found


def encode_frames(law, const int16_t[:, :] frames not None):
    """Many frames at once: int16 of shape (frames, samples), rows anywhere, to uint8 of the same shape."""
    cdef g711_law kind = _law(law)
    cdef Py_ssize_t rows = frames.shape[0], samples = frames.shape[1], at = 0, count, i
    found = np.empty((rows, samples), np.uint8)
    cdef uint8_t[:, ::1] target = found
    cdef const int16_t *sources[BATCH]
    cdef uint8_t *targets[BATCH]
    if not rows or not samples:
        return found
    _samples(frames[0])
    if frames.strides[0] % sizeof(int16_t) or samples > 0xffffffff:
        raise ValueError("frames have to be at even addresses")
    with nogil:
        while at < rows:
            count = min(<Py_ssize_t>BATCH, rows - at)
            for i in range(count):
                sources[i] = &frames[at + i, 0]
                targets[i] = &target[at + i, 0]
            g711_encode_batch(kind, sources, targets, <uint32_t>count, <uint32_t>samples)
            at += count
    return found


# ---- sums, gains, levels ----


def mix(const int16_t[:, :] legs not None):
    """All legs together, saturated: int16 of shape (legs, samples) to (samples,)."""
    return _mixed(legs, False)


def mix_others(const int16_t[:, :] legs not None):
    """What each leg hears, all of the others, saturated: int16 of shape (legs, samples) to the same shape."""
    return _mixed(legs, True)


cdef _mixed(const int16_t[:, :] legs, bint others):
    cdef Py_ssize_t count = legs.shape[0], samples = legs.shape[1], i
    total = np.zeros(samples, np.int32)
    found = np.zeros((count if others else 1, samples), np.int16)
    cdef int32_t[::1] sum = total
    cdef int16_t[:, ::1] target = found
    if count and samples:
        _samples(legs[0])
        if legs.strides[0] % sizeof(int16_t):
            raise ValueError("legs have to be at even addresses")
        with nogil:
            for i in range(count):
                mix_add(&sum[0], &legs[i, 0], samples)
            for i in range(count if others else 1):
                mix_out(&sum[0], &legs[i, 0] if others else NULL, &target[i, 0], samples)
    return found if others else found[0]


cdef uint32_t _gain(double gain) except? 1:
    if not 0 <= gain <= 65535 / 4096:
        raise ValueError(f"a gain is between 0 and {65535 / 4096:.3f}, not {gain}")
    return <uint32_t>(gain * 4096 + 0.5)


def gain(int16_t[:] pcm not None, double factor):
    """Multiplies samples in place, to the nearest and saturated. `factor` goes in steps of 1/4096; ValueError unless 0 <= factor < 16."""
    cdef uint32_t wanted = _gain(factor)
    cdef int16_t *place = <int16_t *>_samples(pcm)
    cdef size_t count = pcm.shape[0]
    if count * sizeof(int16_t) > NOGIL_BYTES:
        with nogil:
            mix_gain(place, count, wanted)
    else:
        mix_gain(place, count, wanted)


def fade(int16_t[:] pcm not None, double start, double end):
    """Multiplies samples in place by a factor that goes from `start` at the first to `end` behind the last, linearly. Raises as `gain`."""
    cdef uint32_t first = _gain(start), last = _gain(end)
    cdef int16_t *place = <int16_t *>_samples(pcm)
    cdef size_t count = pcm.shape[0]
    if count * sizeof(int16_t) > NOGIL_BYTES:
        with nogil:
            mix_fade(place, count, first, last)
    else:
        mix_fade(place, count, first, last)


def level(const int16_t[:] pcm not None):
    """Level of samples: -dBov as RFC 6464 has it (0 loudest, 127 silence), the largest absolute sample, how many are at either end, sum of squares."""
    cdef const int16_t *source = _samples(pcm)
    cdef size_t count = pcm.shape[0]
    cdef mix_level found = mix_level(0, 0, 0)
    if count * sizeof(int16_t) > NOGIL_BYTES:
        with nogil:
            mix_measure(source, count, &found)
    else:
        mix_measure(source, count, &found)
    return Level(mix_dbov(&found, count), found.peak, found.clipped, found.squares)


# ---- rates ----


cdef class Resampler:
    """One stream from one sample rate to another, among 8000, 16000, 24000, 32000 and 48000 Hz; ValueError for others.

    However a stream is cut into blocks, the samples that come out are the same.
    """

    cdef resample_state state

    def __cinit__(self, uint32_t from_hz, uint32_t to_hz):
        if resample_start(&self.state, from_hz, to_hz):
            raise ValueError(f"there is no way from {from_hz} to {to_hz} Hz")

    @property
    def from_hz(self):
        return self.state.from_hz

    @property
    def to_hz(self):
        return self.state.to_hz

    @property
    def delay(self):
        """Samples at the output rate that a sample comes out later by."""
        return resample_delay(&self.state)

    def room(self, uint32_t samples):
        """How many samples the next `samples` will give."""
        return resample_room(&self.state, samples)

    def run(self, const int16_t[:] pcm not None):
        """The samples that these give, int16. Raises ValueError for a block that gives more than 2**31 - 1."""
        cdef const int16_t *source = _samples(pcm)
        cdef size_t count = pcm.shape[0]
        cdef uint32_t room
        cdef int result
        if count > 0x7fffffff:
            raise ValueError("a block has at most 2**31 - 1 samples")
        room = resample_room(&self.state, <uint32_t>count)
        found = np.empty(room, np.int16)
        cdef int16_t[::1] target = found
        cdef int16_t *place = &target[0] if room else NULL
        if count * sizeof(int16_t) > NOGIL_BYTES:
            with nogil:
                result = resample_run(&self.state, source, <uint32_t>count, place, room)
        else:
            result = resample_run(&self.state, source, <uint32_t>count, place, room)
        if result == STATUS_TOO_SMALL:
            raise ValueError("a block gives at most 2**31 - 1 samples")
        return found


# ---- ways ----


def ways():
    """Sets of instructions that this processor has, "scalar" first and the best last. All give the same."""
    cdef const char *names[WAYS_MAX]
    return tuple([names[i].decode() for i in range(audio_ways(names, WAYS_MAX))])


def way():
    """The one in use: the best, or what the environment's TRUNKLINE_AUDIO_WAY names."""
    return audio_way().decode()


def choose_way(str name not None):
    """Uses another one in this module, for all threads. Raises ValueError for one that this processor does not have."""
    if audio_choose(name.encode()):
        raise ValueError(f"{name!r} is none of {', '.join(ways())}")
