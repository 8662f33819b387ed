/* What the parts of the writer share: its memory, and one file's state. The media thread and the control side touch the rings and counters only. */
#ifndef TRUNKLINE_WRITER_PRIVATE_H
#define TRUNKLINE_WRITER_PRIVATE_H

#include "writer.h"

#define WRITER_NONE 0xffffffffu
#define WRITER_SCRATCH_BYTES (128 * 1024)
#define WRITER_HOLE_BYTES (1024 * 1024)         /* of silence that is not zero bytes, written to one file in one round */
#define WRITER_RETRY_NS INT64_C(1000000000)     /* between two tries of a file that the disk refused */
#define WRITER_ROUND_NS INT64_C(20000000)
#define WRITER_ROUND_BLOCKS 1024                /* then they are given back, and headers are made true */
#define WRITER_OWN_WINDOW_S 1                   /* how far a track's later samples may rewrite its earlier ones */
#define WRITER_MERGED_WINDOW_S 2                /* how far behind the fastest track samples still land in a merged file */
#define WRITER_JUMP_S 86400                     /* how far a block may lie beyond the end of its recording */
#define WRITER_FEW 3                            /* outputs and tracks that a recording has room for by itself: two legs and both in one file */
#define WRITER_POSITION_MAX (INT64_C(1) << 42)  /* 17 years at 8 kHz; no product with it overflows */
#define WRITER_OPUS_RATE_HZ 48000

/* One producer, one consumer; `items` has room for mask + 1. */
struct writer_ring {
    uint32_t *items;
    uint32_t mask;
    _Alignas(64) uint32_t head; /* the consumer's */
    _Alignas(64) uint32_t tail; /* the producer's */
};

struct writer_command {
    uint32_t kind, recording, generation, rate_hz;
    struct writer_output_plan output;
};

struct writer_ogg {
    int64_t granule;    /* samples at 48 kHz behind the last packet */
    int64_t last_page;  /* where it begins */
    uint32_t last_page_bytes, sequence;
};

struct writer_output {
    int32_t fd, error;  /* errno while the disk refuses */
    uint8_t number, format, kind, channels, align, silence, closed, touched;
    uint8_t channel_of[WRITER_TRACKS_MAX]; /* 0xff: not in this file */
    uint32_t header_bytes, serial, failures;
    int32_t last_error;
    int64_t end;        /* WAV: frames; pcap: records */
    int64_t file_end;   /* bytes */
    int64_t told;       /* WAV: frames that the header in the file has; -1: there is none */
    int64_t hole_from, hole_to; /* frames whose silence is still to be written */
    int64_t retry_ns, lost, lost_before, late;
    struct writer_ogg ogg;
};

struct writer_track { int64_t end[2], late[2]; }; /* PCM, payload */

/* What few recordings need; its memory is not touched by the others. */
struct writer_more {
    struct writer_output output[WRITER_OUTPUTS_MAX - WRITER_FEW];
    struct writer_track track[WRITER_TRACKS_MAX - WRITER_FEW];
};

struct writer_slot {
    uint32_t generation;             /* control's */
    uint32_t planned, is_open;       /* control's */
    uint32_t finished;               /* the last generation whose files are closed */
    uint32_t live;                   /* the writer's: generation, 0: not running */
    uint32_t rate_hz, outputs;
    uint8_t ended, served, closing;
    uint32_t close_at;               /* place in the ring of blocks that a close has to wait for */
    uint32_t first_block, last_block;
    int64_t end;                     /* of the recording: samples */
    uint32_t tracks;                 /* of which something is known */
    struct writer_track track[WRITER_FEW];
    struct writer_output output[WRITER_FEW];
};

struct writer {
    struct writer_disk disk;
    int32_t wake_fd, event_fd;
    uint32_t blocks, recordings;
    struct writer_block *block;
    struct writer_slot *slot;
    struct writer_more *more;                 /* of each recording */
    struct writer_command *command;
    struct writer_event *event;
    struct writer_ring full, empty;           /* of block numbers */
    struct writer_ring commands, events;      /* without items: places in `command` and `event` */
    /* The media thread's. */
    _Alignas(64) uint32_t *spare;
    uint32_t spares;
    uint64_t refused;
    /* Control's. */
    _Alignas(64) uint32_t *idle;
    uint32_t idles;
    /* The writer's. */
    _Alignas(64) uint32_t sleeping, stopping;
    uint32_t *next;                           /* of each block: of the same recording, in this round */
    uint32_t *serving;                        /* recordings with something to do */
    uint32_t serves, has_news, read;          /* `read`: place in the ring of blocks behind this round's */
    uint64_t told_refused;
    int64_t told_ns, now_ns;
    struct writer_counts counts;
    uint8_t *scratch, *silence;               /* WRITER_SCRATCH_BYTES each */
};

TL_INLINE uint32_t writer_load(const uint32_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
TL_INLINE void writer_store(uint32_t *word, uint32_t value) { __atomic_store_n(word, value, __ATOMIC_RELEASE); }
TL_INLINE uint64_t writer_load_count(const uint64_t *word) { return __atomic_load_n(word, __ATOMIC_RELAXED); }
TL_INLINE void writer_add_count(uint64_t *word, uint64_t value) { /* one thread adds, others read */
    __atomic_store_n(word, __atomic_load_n(word, __ATOMIC_RELAXED) + value, __ATOMIC_RELAXED);
}

TL_INLINE struct writer_output *writer_output(const struct writer *w, struct writer_slot *s, uint32_t number) {
    return number < WRITER_FEW ? &s->output[number] : &w->more[s - w->slot].output[number - WRITER_FEW];
}

/* writer.c: all of it at this place, or an errno. */
int writer_put(struct writer *w, struct writer_output *out, const uint8_t *bytes, size_t count, int64_t offset);
void writer_refuse(struct writer *w, struct writer_slot *s, struct writer_output *out, int error); /* the disk did */
void writer_accept(struct writer *w, struct writer_slot *s, struct writer_output *out);            /* it does again */
/* What is given for an output that waits for its next try is lost. */
TL_INLINE int writer_waits(const struct writer *w, const struct writer_output *out) { return out->error && w->now_ns < out->retry_ns; }

/* A file's own ways: begun, the blocks of a round taken, the recording at its end: 1 when nothing is left to do. */
int writer_wav_start(struct writer *w, struct writer_slot *s, struct writer_output *out);
void writer_wav_take(struct writer *w, struct writer_slot *s, struct writer_output *out);
int writer_wav_close(struct writer *w, struct writer_slot *s, struct writer_output *out);
int writer_wav_fill(struct writer *w, struct writer_slot *s, struct writer_output *out); /* pays for a hole: 1 when none is left */
int64_t writer_ogg_samples(const struct writer_block *b); /* of all its packets, at 48 kHz; STATUS_MALFORMED */
int writer_ogg_start(struct writer *w, struct writer_slot *s, struct writer_output *out);
void writer_ogg_take(struct writer *w, struct writer_slot *s, struct writer_output *out);
void writer_ogg_close(struct writer *w, struct writer_slot *s, struct writer_output *out);
int writer_pcap_start(struct writer *w, struct writer_slot *s, struct writer_output *out);
void writer_pcap_take(struct writer *w, struct writer_slot *s, struct writer_output *out);

#endif
