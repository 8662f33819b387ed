/* Files of recordings and captures, written by a thread of their own out of blocks that the media thread fills. One producer, one writer; no lock on the
   producer's side, no allocation, no wait: without a free block there is none, which is counted, and the place stays silent.

   A recording has tracks (legs); an output is a file with some of the tracks of one recording, in an order of its own. Headers of files are true after every round. */
#ifndef TRUNKLINE_WRITER_H
#define TRUNKLINE_WRITER_H

#include "status.h"

#define WRITER_BLOCK_BYTES 4032
#define WRITER_TRACKS_MAX 16
#define WRITER_OUTPUTS_MAX 18    /* of one recording: each leg, merged, capture */

enum writer_block_kind {
    WRITER_PCM = 1,      /* int16 samples of a track, at the recording's rate */
    WRITER_PAYLOAD = 2,  /* G.711 bytes of a track, untouched, a sample a byte */
    WRITER_OPUS = 3,     /* packets of a track: uint16 length, uint32 samples at 48 kHz, bytes, again and again */
    WRITER_PACKETS = 4,  /* of a capture: int64 wall ns, uint16 length, uint8 flags, bytes of the record (Ethernet frame made by the producer), again and again */
    WRITER_END = 5       /* of a recording: nothing follows; its files are padded to one length, closed with true headers and told as finished */
};

struct writer_block {
    uint32_t recording, generation; /* which recording; a stale generation is passed over */
    uint8_t track, kind;
    uint16_t used;                  /* bytes */
    uint32_t samples;               /* of WRITER_PCM and WRITER_PAYLOAD and WRITER_OPUS */
    int64_t position;               /* of the first sample on the recording's timeline, at the recording's rate; WRITER_OPUS: at 48 kHz, whatever that is */
    _Alignas(16) uint8_t bytes[WRITER_BLOCK_BYTES];
};

struct writer;

/* The media thread's side. */
struct writer_block *writer_take(struct writer *w);                   /* NULL: the disk is behind (counted) */
void writer_give(struct writer *w, struct writer_block *block);       /* in order; wakes the writer at most once a round */
void writer_return(struct writer *w, struct writer_block *block);     /* unused after all */
int writer_is_short(const struct writer *w);                         /* more than half of the blocks are on their way: what is half full may wait */
uint32_t writer_waiting(const struct writer *w);                      /* blocks that are full and not written yet */

/* The control side: one thread at a time, not the media thread. */
enum writer_format { WRITER_WAV_PCM16 = 1, WRITER_WAV_ULAW = 2, WRITER_WAV_ALAW = 3, WRITER_OGG_OPUS = 4, WRITER_PCAP = 5 };

struct writer_output_plan {
    int32_t fd;       /* empty, open for reading and writing; stays the caller's, who closes it after WRITER_FINISHED */
    uint8_t format;
    uint8_t channels; /* WAV: one a track, 1..WRITER_TRACKS_MAX; Ogg: 1 or 2, of one track; pcap: 0 */
    uint8_t tracks[WRITER_TRACKS_MAX];
    uint32_t serial;  /* of the Ogg stream (RFC 3533), random */
};
struct writer_plan {
    uint32_t rate_hz; /* of the timeline and of all WAV outputs, 1..384000 */
    uint32_t outputs;
    struct writer_output_plan output[WRITER_OUTPUTS_MAX];
};

enum writer_event_kind {
    WRITER_FINISHED = 1, /* all files of a recording are closed; writer_result, then writer_release */
    WRITER_FAILED = 2,   /* an output cannot be written (`error`: errno); tried again each second, silent in between */
    WRITER_RESUMED = 3,  /* and can again; `value`: frames (pcap: records) lost in between */
    WRITER_BEHIND = 4    /* writer_take had no block; `value`: times since the writer began. At most one a second */
};
struct writer_event { uint32_t recording, generation; uint8_t kind, output; int32_t error; int64_t value; };
struct writer_result {
    int64_t bytes, frames;      /* of the file; its sample frames (Ogg: at 48 kHz; pcap: records) */
    int64_t lost, late;         /* frames not written for want of a disk; samples that came too late for this file */
    int32_t error;              /* the last errno, 0: none ever */
    uint32_t failures;          /* times the disk refused */
};
struct writer_counts { uint64_t refused, stale, malformed, blocks, bytes, writes, rounds; };

/* What the disk does; tests put a slow or a full one in its place. As pwrite(2), pread(2), ftruncate(2): -1 and errno. */
struct writer_disk {
    void *context;
    ptrdiff_t (*write)(void *context, int fd, const void *bytes, size_t count, int64_t offset);
    ptrdiff_t (*read)(void *context, int fd, void *bytes, size_t count, int64_t offset);
    int (*truncate)(void *context, int fd, int64_t length);
};

/* Bytes that a writer needs, and where it begins in them (64-byte aligned, zeroed). Both eventfds are non-blocking and the caller's: the first wakes the
   writer, the second says that there are events. `disk` NULL: the system's own. */
size_t writer_bytes(uint32_t blocks, uint32_t recordings);
size_t writer_dense_bytes(uint32_t blocks, uint32_t recordings); /* of which the first so many are the blocks, that go round: worth large pages */
struct writer *writer_init(void *memory, uint32_t blocks, uint32_t recordings, int wake_fd, int event_fd, const struct writer_disk *disk);

/* 0, STATUS_MALFORMED, STATUS_UNSUPPORTED, or STATUS_TOO_SMALL: no recording is free. */
int writer_open(struct writer *w, const struct writer_plan *plan, uint32_t *recording, uint32_t *generation);
/* Another file of a running recording; what comes from now on is in it, silence in front. Its number, or a negative status. */
int writer_add(struct writer *w, uint32_t recording, uint32_t generation, const struct writer_output_plan *output);
/* As WRITER_END, for recordings the media thread has nothing to do with (any more). */
int writer_close(struct writer *w, uint32_t recording, uint32_t generation);
int writer_event_next(struct writer *w, struct writer_event *event); /* 1, or 0: none */
/* After WRITER_FINISHED; 0, or STATUS_MALFORMED where there is no such recording or file, or it is not finished. */
int writer_result(const struct writer *w, uint32_t recording, uint32_t generation, uint32_t output, struct writer_result *result);
int writer_release(struct writer *w, uint32_t recording, uint32_t generation);
void writer_count(const struct writer *w, struct writer_counts *counts);

/* The writer's thread. One round: commands, blocks, headers; how many blocks were written, plus one where work is left over. */
uint32_t writer_round(struct writer *w, int64_t now_ns);
void writer_run(struct writer *w);  /* rounds at least 20 ms apart, asleep while nothing waits; until writer_stop and all that was given is written */
void writer_stop(struct writer *w); /* from any thread */

/* Header of a WAV file with so many frames (RIFF; RF64 where it is past 4 GiB), at most WRITER_WAV_HEADER_MAX bytes; its length. */
#define WRITER_WAV_HEADER_MAX 128
uint32_t writer_wav_header(uint8_t *target, uint8_t format, uint32_t channels, uint32_t rate_hz, int64_t frames);

#endif
