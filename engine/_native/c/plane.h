/* The media plane of one worker: a thread that receives, orders, decodes, records, mixes and sends, without Python. Memory is lent once and divided here into
   ports, streams, mixes, packets and blocks of PCM. Python speaks to it by a ring of commands and hears from it by a ring of events; counters may be read at any
   time. Time comes from `now_ns`, which tests may set.

   plane.c       the loop, the clock, commands
   plane_receive.c  datagrams to packets in order: demultiplexing, SRTP, latch, source, jitter buffer, relay
   plane_deliver.c  packets to samples to where they go: recorder, Python, mix
   plane_send.c  20 ms steps: digits, clips, mixes, encoding, RTCP, sending
   plane_capture.c  packets as frames of a capture file */
#ifndef TRUNKLINE_PLANE_H
#define TRUNKLINE_PLANE_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "codec.h"
#include "comfort_noise.h"
#include "jitter.h"
#include "latch.h"
#include "mix.h"
#include "plc.h"
#include "resample.h"
#include "ring.h"
#include "rtcp_session.h"
#include "rtp_packet.h"
#include "rtp_source.h"
#include "srtp.h"
#include "status.h"
#include "telephone_event.h"
#include "timeline.h"
#include "tones.h"
#include "writer.h"

#define PLANE_BATCH 64             /* datagrams a system call */
#define PLANE_PACKET_BYTES 2048    /* of a packet slot; what is longer is dropped */
#define PLANE_NONE UINT32_MAX
#define PLANE_FORMATS 8            /* payload types of a stream that mean something */
#define PLANE_WHEEL 128            /* slots of 1 ms */
#define PLANE_STEP_SAMPLES 2880    /* most samples of a step: 60 ms at 48 kHz */
#define PLANE_MIX_RATE_MAX_HZ 48000
#define PLANE_FIFO_SAMPLES 8192    /* of a leg in a mix; power of two */
#define PLANE_BLOCK_SAMPLES 9600   /* of a block for Python: 200 ms at 48 kHz */
#define PLANE_SSRC_RUN 3            /* packets in sequence that a new SSRC needs while the old one is heard */
#define PLANE_ENDS 256
#define PLANE_COALESCE_NS 500000   /* under load, datagrams are waited for this long, so that there are many a call */
#define PLANE_QUIET_REST_NS 5000000 /* the same of a plane that only listens: nothing that it does is due by the millisecond */

enum plane_format_kind { PLANE_UNKNOWN = 0, PLANE_AUDIO, PLANE_EVENT, PLANE_NOISE };

struct plane_format {
    uint8_t payload_type, kind, codec /* number in codecs[] */, channels;
    uint32_t clock_rate_hz, sample_rate_hz; /* of PCM; the stream's own rate is that of its first audio format when it was opened */
    void *decoder;                          /* state, lent; NULL: the codec needs none */
};

/* All that a negotiation says of a stream. Lent by Python with the command, copied by the plane, given back in the `done` list. */
struct plane_setup {
    struct plane_done { struct plane_done *next; uint32_t kind, stream; uint64_t tag; } done;
    uint32_t port;
    uint8_t receives, sends, format_count, latch_policy;
    struct plane_format formats[PLANE_FORMATS];
    struct latch_address signalled;          /* port 0: nobody yet */
    uint32_t signalled_ssrc;                 /* of a=ssrc; 0: not said. Tells streams of one host apart on a shared port */
    uint16_t learn_ms;
    struct jitter_settings jitter;
    uint16_t idle_slack_ms;                  /* how far silence stays behind the clock */
    uint32_t timeout_first_ms, timeout_ms;   /* without any packet; 0: never */
    uint32_t packets_per_s;                  /* expected; three times as many are heard */
    uint8_t inband_dtmf, rtcp, rtcp_mux, idle_sends /* silence goes out while there is nothing to say */, rtcp_xr;
    uint8_t opens;                           /* packets without payload keep the way to us open, whatever else is sent (RFC 6263 4.6) */
    uint8_t keeps_decoders, keeps_encoder;   /* formats, or what is sent, are those of before: their states go on */
    /* sending */
    struct sockaddr_storage remote, remote_control; /* ss_family 0: nowhere */
    uint8_t send_payload_type, send_codec, send_channels, event_payload_type /* 255: none */, noise_payload_type /* 255: none */;
    uint32_t send_clock_rate_hz, send_sample_rate_hz, event_clock_rate_hz;
    uint16_t ptime_ms;
    void *encoder;
    uint32_t ssrc;
    uint16_t first_sequence;
    uint32_t first_timestamp;
    struct srtp *send_srtp, *receive_srtp;   /* NULL: plain; a packet in the clear is dropped where there is one */
    struct srtp *old_receive_srtp;           /* the keys before these, for what is on its way still; NULL: none */
    char cname[RTCP_CNAME_MAX];
    uint8_t cname_length;
    int64_t origin_ns;                       /* of the timeline; only when the stream is opened. 0: now */
    uint64_t seed;
};

/* Samples to be sent, at the sending codec's rate; lent by Python, given back in the `done` list. */
struct plane_clip {
    struct plane_done done;
    uint32_t samples, played;
    uint8_t loops, flushed;
    struct plane_clip *next;
    int16_t *pcm;
};

enum plane_command_kind {
    PLANE_OPEN_PORT = 1, PLANE_CLOSE_PORT, PLANE_SETUP, PLANE_CLOSE_STREAM, PLANE_PLAY, PLANE_FLUSH, PLANE_DIGIT, PLANE_RECORD, PLANE_STOP_RECORD, PLANE_PAUSE,
    PLANE_LISTEN, PLANE_RELAY, PLANE_JOIN, PLANE_GAIN, PLANE_CAPTURE, PLANE_END_RECORDING,
    PLANE_STOP
};
struct plane_command {
    uint32_t kind, index;          /* of the port or stream */
    uint32_t a, b, c, d;
    int64_t time_ns;
    void *pointer;
};

enum plane_event_kind {
    PLANE_STARTED = 1,     /* first packet: a SSRC, b payload type, address */
    PLANE_PCM,             /* a block, b samples, position of the first */
    PLANE_DIGIT_BEGUN, PLANE_DIGIT_ENDED, /* a event, b duration_ms, c 0 by RFC 4733, 1 in band */
    PLANE_SSRC_CHANGED,    /* a the new one, b the old one */
    PLANE_MOVED,           /* the other end sends from another address now */
    PLANE_TIMED_OUT, PLANE_RESUMED, /* a 1 when nothing ever came */
    PLANE_SAID_BYE,        /* RTCP BYE: only told */
    PLANE_PLAYED_OUT,      /* nothing is left to play */
    PLANE_RECORD_BEHIND,   /* the disk is behind: a samples were not recorded */
    PLANE_STREAM_CLOSED, PLANE_PORT_CLOSED, PLANE_REPORT, /* of the other end about us: a fraction lost of 256, b jitter in clock units, position rtt in us */
    PLANE_STOPPED
};
struct plane_event {
    uint32_t kind, index, a, b, c;
    int64_t time_ns, position;
    struct latch_address address;
};

struct plane_track { /* where the samples of a stream are recorded */
    uint32_t recording, generation;
    uint8_t track, kind /* enum writer_block_kind; 0: not recorded */, paused, shut /* silence is written */, law;
    uint32_t rate_hz;
    int64_t resumed_ns;            /* what came before is silent, whenever it is read */
    int64_t position;              /* of the next sample, at rate_hz */
    int64_t block_since_ns;
    struct writer_block *block;
    uint64_t missed_samples, written_samples;
};

struct plane_counts {
    uint64_t received, received_bytes, sent, sent_bytes, not_sent;
    uint64_t malformed, oversized, wrong_type, wrong_source, flooded, bad_payload, unauthentic, replayed, strays, foreign_ssrc, no_slot;
    uint64_t delivered, lost, late, duplicate, concealed_samples, silent_samples, noise_samples;
    uint64_t control_received, control_sent, control_malformed;
    uint64_t digits, digits_refused, relayed, pcm_dropped;
    int64_t first_ns, last_ns, send_late_max_ns;
};

/* What a packet needs to be received, decoded and written lies together, up to PLANE_HOT_END: of a batch's streams it is fetched into
   the cache ahead. What steps and sending need follows. */
struct plane_stream {
    struct jitter jitter;
    uint8_t state /* 0 free, 1 open, 2 closing */, told_timeout, receives, source_known, waiting_count, in_noise, inband_dtmf;
    uint8_t last_payload_type, format_count, keyed /* its source is among the keys of a shared port */;
    uint16_t idle_slack_ms;
    uint32_t port, rate_hz /* of PCM */, packets_per_s;
    uint32_t lost_before;          /* given up since the last audio packet */
    uint32_t relay;                /* stream that packets go to; PLANE_NONE */
    uint32_t mix;                  /* PLANE_NONE */
    uint32_t listen_samples;       /* of a block for Python; 0: not wanted */
    uint32_t candidate_ssrc; uint16_t candidate_next; uint8_t candidate_run;
    struct plane_allowance { int64_t tokens, since_ns; } allowances[2]; /* thousandths of packets: of who is known, of strangers */
    struct srtp *receive_srtp;
    struct plane_format last_format; /* of last_payload_type */
    struct rtp_source source;
    struct timeline timeline;
    struct plane_track track;
    struct plane_counts counts;
    struct plc plc;
    struct plane_track capture;    /* of packets: only recording, generation, track, kind, block are used */
    struct latch latch;            /* its candidates come last */
    int16_t narrow[PLC_NARROW];    /* history of plc at 8 kHz */
    /* of some packets */
    uint8_t payload_index[128];    /* 255: not negotiated */
    struct plane_format formats[PLANE_FORMATS];
    uint64_t expected_before;      /* of sources that were heard before this one */
    uint32_t waiting[PLANE_SSRC_RUN]; /* packets that prove another source, or new numbers of this one: slots */
    struct srtp *old_receive_srtp;
    uint32_t signalled_ssrc;
    struct plane_side *side;       /* what few need */
    uint32_t foreign_rate_hz, tones_rate_hz, tail_samples, tail_played; /* of what is there; 0: it was not begun */
    struct comfort_noise noise;
    struct telephone_event_reader events;
    uint32_t listen_rate_hz, pcm_block, pcm_filled;
    int64_t pcm_position;
    uint8_t lively;                /* it counts among those */
    uint8_t relayed;               /* packets of another stream leave here: it says nothing of its own */
    uint8_t relay_map[128];        /* payload type of theirs to ours; 255: the same */
    int16_t *fifo;                 /* of a leg in a mix, lent by the mix */
    uint32_t fifo_head, fifo_tail, fifo_primed;
    /* steps */
    uint32_t next, previous;       /* in the wheel: PLANE_NONE ends */
    uint32_t slot;
    uint8_t sends, began_sending, rtcp, rtcp_mux, idle_sends, rtcp_xr, opens;
    int64_t next_open_ns;
    uint32_t timeout_first_ms, timeout_ms;
    int64_t opened_ns, next_step_ns, ptime_ns;
    struct rtcp_session session;
    /* sending */
    uint32_t gain_4096;
    struct sockaddr_storage remote, remote_control;
    uint8_t send_payload_type, send_codec, send_channels, event_payload_type, noise_payload_type, marker;
    uint32_t send_clock_rate_hz, send_sample_rate_hz, step_samples;
    uint16_t ptime_ms, sequence;
    uint32_t timestamp, ssrc;
    void *encoder;
    struct srtp *send_srtp;
    uint32_t event_clock_rate_hz;
    struct plane_clip *clips, *last_clip;
    struct rtcp_sent sent;
};

/* What few streams need: most have their packets in order, and neither send nor are resampled. Its memory is touched by those alone, and each part is begun before it is used. */
struct plane_side {
    struct jitter_slot slots[JITTER_SLOTS]; /* of packets that wait */
    struct resample foreign;       /* from a format with another rate than the first */
    struct resample track, listen, mix_in, mix_out;
    struct dtmf_reader tones;
    struct telephone_event_writer digits;
    struct dtx dtx;
    int16_t tail[480];             /* the faded rest of what was flushed */
    int16_t history[PLC_HISTORY];  /* for concealment above 8 kHz */
};
#define PLANE_HOT_END (offsetof(struct plane_stream, latch) + offsetof(struct latch, seen))

struct plane_port {
    int fd, control_fd;            /* -1: none */
    uint8_t state /* 0 free, 1 open, 2 closing */, shared, watched, busy /* the last call filled all it had room for */;
    uint32_t stream;               /* of a port that is not shared */
    uint32_t streams;
    struct sockaddr_storage local;
    uint64_t datagrams, unknown;
    int64_t search_ns; uint32_t searches; /* of streams for strangers, this second */
};

struct plane_mix {
    uint8_t state;
    uint32_t rate_hz, legs;
    uint32_t leg[16];
    int16_t *fifos;                /* 16 of PLANE_FIFO_SAMPLES, lent */
    int64_t next_ns;
    int32_t sum[PLANE_STEP_SAMPLES];
    int16_t own[16 * PLANE_STEP_SAMPLES / 3]; /* 20 ms of each leg */
    uint64_t underruns;
};

#define PLANE_QUIET_STEP_NS 60000000 /* between two looks at a stream that says nothing and waits for nothing */

/* Where a source was last taken to; 64 bits of a hash with a secret seed stand for it. Whoever is found that way is judged as everybody is. */
struct plane_key { uint64_t hash; uint32_t stream, used; };

/* What leaves: filled by the steps, sent together. */
struct plane_out { uint32_t stream; int fd; uint16_t length; uint8_t control; struct sockaddr_storage to; uint32_t to_length; uint8_t *bytes; };

struct plane {
    /* lent */
    struct plane_port *ports; uint32_t port_count;
    struct plane_stream *streams; uint32_t stream_count;
    struct plane_side *sides;                   /* of each stream */
    struct plane_mix *mixes; uint32_t mix_count;
    uint8_t *packets; uint16_t *lengths; int64_t *arrivals_ns; uint32_t *free_packets; uint32_t packet_count, free_count;
    int16_t *pcm; uint32_t *free_pcm; uint32_t pcm_count, pcm_free_count;
    struct plane_key *keys; uint32_t key_mask;  /* of shared ports */
    uint8_t *out_bytes;                         /* PLANE_BATCH of PLANE_PACKET_BYTES */
    struct ring commands, events, returned_pcm;
    _Atomic(struct plane_done *) done;          /* what Python may free */
    struct writer *writer;
    const struct srtp_functions *srtp;
    int epoll_fd, timer_fd, command_fd, event_fd;
    int stamp_fd;                               /* keeps the kernel stamping packets: it begins to a moment after the first socket asks for it */
    int64_t (*now_ns)(void *clock);             /* NULL: CLOCK_MONOTONIC */
    void *clock;
    int64_t wall_offset_ns;                     /* to add for nanoseconds since 1970 */
    uint64_t seed;
    /* own */
    int64_t wheel_ns;                           /* start of the slot that comes next */
    uint32_t wheel[PLANE_WHEEL];
    uint32_t open_streams, open_mixes, untold /* ends that found no room among the events */, out_count, stopping, ticking;
    uint32_t lively_streams;                    /* that say something, or hand on what they hear without delay: they need the clock of 1 ms */
    uint32_t shared_ports;                      /* one buffer of the kernel for many streams: not to be left alone for long */
    uint32_t unread;                            /* a port has more than what was read of it this round */
    int64_t stamp_offset_ns;                    /* from the clock of the kernel's timestamps to ours */
    uint32_t stamps_known;                      /* that offset stood still since the round before */
    _Atomic uint32_t events_armed;              /* Python sleeps: wake it */
    uint8_t told;                               /* an event was pushed since the last wake-up */
    struct plane_out out[PLANE_BATCH];
    uint32_t receive_slots[PLANE_BATCH];
    struct { uint32_t recording, generation; } ends[PLANE_ENDS]; /* of recordings, for which there was no block yet */
    uint32_t end_count;
    /* counters */
    uint64_t loops, ticks, late_ticks, datagrams, events_lost, ends_lost, commands_done, receive_calls, send_calls, wakeups;
    int64_t tick_late_max_ns;
    int16_t scratch[CODEC_FRAME_SAMPLES_MAX * 2], converted[CODEC_FRAME_SAMPLES_MAX * 6 + 64], resampled[CODEC_FRAME_SAMPLES_MAX * 6 + 64];
};

/* Bytes of memory that plane_start divides; 0 for numbers that cannot be. Counts of packets, keys, commands and events are rounded up to powers of two. */
struct plane_sizes { uint32_t ports, streams, mixes, packets, pcm_blocks, commands, events; };
size_t plane_bytes(const struct plane_sizes *sizes);
/* Of these the first so many are used densely; the rest is touched by few streams. */
size_t plane_dense_bytes(const struct plane_sizes *sizes);
/* Divides `memory` (zeroed, aligned to 64). The file descriptors, writer, srtp and clock are set by the caller afterwards, before the first round. */
struct plane *plane_start(void *memory, size_t bytes, const struct plane_sizes *sizes);

/* One round: waits for something at most until the clock's next slot (or `wait` 0: not at all), then does all of it. Returns 0, or 1 once stopped. */
int plane_round(struct plane *p, int wait);
void plane_run(struct plane *p);                 /* rounds until PLANE_STOP */

/* ---- among the files of the plane ---- */
TL_INLINE uint8_t *plane_packet(const struct plane *p, uint32_t slot) { return p->packets + (size_t)slot * PLANE_PACKET_BYTES; }
int64_t plane_clock_ns(const struct plane *p);
struct plane_event *plane_tell(struct plane *p, uint32_t kind, uint32_t index, int64_t now_ns); /* NULL: full, counted. plane_told hands it over */
void plane_told(struct plane *p);
void plane_give_back(struct plane *p, struct plane_done *done);
void plane_event_of(struct plane *p, uint32_t kind, const struct plane_stream *s, uint32_t a, uint32_t b, int64_t now_ns);
TL_INLINE uint32_t plane_index(const struct plane *p, const struct plane_stream *s) { return (uint32_t)(s - p->streams); }

void plane_obey(struct plane *p, int64_t now_ns);  /* all that Python has said until now */
void plane_receive(struct plane *p, struct plane_port *port, int control);
void plane_release_due(struct plane *p, struct plane_stream *s, int64_t due_ns, int64_t now_ns); /* what is due at due_ns, heard now */
void plane_drop_held(struct plane *p, struct plane_stream *s);
void plane_key_forget(struct plane *p, uint32_t stream);
void plane_key_signalled(struct plane *p, uint32_t stream);

void plane_forget_heard(struct plane_stream *s); /* what a stand-in for a loss would be made of */
void plane_deliver(struct plane *p, struct plane_stream *s, const struct rtp_packet *packet, int64_t arrival_ns, int64_t now_ns);
void plane_expire_digit(struct plane *p, struct plane_stream *s, int64_t until_ns, int64_t now_ns);
void plane_end_resampling(struct plane *p, struct plane_stream *s, int64_t now_ns);
void plane_idle(struct plane *p, struct plane_stream *s, int64_t now_ns);
void plane_flush_block(struct plane *p, struct plane_track *track);
void plane_flush_pcm(struct plane *p, struct plane_stream *s, int64_t now_ns);
uint32_t plane_fifo_take(struct plane_stream *s, int16_t *pcm, uint32_t samples);

void plane_step(struct plane *p, struct plane_stream *s, int64_t now_ns);   /* one ptime of a stream that is in no mix */
void plane_mix_step(struct plane *p, struct plane_mix *m, int64_t now_ns);
void plane_report(struct plane *p, struct plane_stream *s, int64_t now_ns, int bye);
void plane_send(struct plane *p);                /* all that is in `out` */
uint8_t *plane_out_room(struct plane *p, struct plane_stream *s, int control, struct plane_out **out);
void plane_flush_clips(struct plane *p, struct plane_stream *s);
void plane_relay(struct plane *p, struct plane_stream *to, const struct rtp_packet *packet, const uint8_t *bytes, uint32_t length, int64_t now_ns);

void plane_capture(struct plane *p, struct plane_stream *s, const struct sockaddr_storage *from, const struct sockaddr_storage *to, const uint8_t *bytes,
                   uint32_t length, int64_t now_ns);

#endif
