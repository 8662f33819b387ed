/* One capture file read by several threads. A part is a trace of its own that reads a stretch of the file: it makes rows of
   its SIP datagrams and writes down everything whose meaning hangs on what came before (RTP, RTCP, TCP, fragments, events).
   The whole trace absorbs its parts in the order of the file and does the rest; what comes of it is what one thread makes. */
#ifndef TRUNKLINE_ABSORB_H
#define TRUNKLINE_ABSORB_H

#include "trace.h"

/* Set in sightings.condition of a part where sight_once kept the row: a call that has the condition drops it. */
#define SIGHTED_ONCE 0x8000

/* Makes a trace a part: it is never finished, only absorbed. 0 or STATUS_TOO_SMALL. */
int part_init(struct trace *t);
void part_release(struct trace *t);
/* What a part does with a packet, in place of the passes (ingest.c). */
void part_take(struct trace *t, const struct packet *p);
/* Reads the records that begin in [first, until) of a capture; what the part held before is forgotten. `scout` is opened on
   the same file and has read one record. 0 or STATUS_TOO_SMALL. */
int part_read(struct trace *t, const struct capture *scout, const uint8_t *source, size_t count, uint64_t first, uint64_t until);

/* Opens a capture and a scout on it. 0, or STATUS_UNSUPPORTED where the format cannot be split. */
int split_open(struct capture *capture, struct capture *scout, const uint8_t *source, size_t count);
/* Reads on in `whole` itself, up to the first record at or behind `until`. 0 or STATUS_TOO_SMALL. */
int trace_read_until(struct trace *whole, struct capture *capture, const uint8_t *source, size_t count, uint64_t until);
/* Appends a part that begins where `capture` stands. 1 when it was taken; 0 when it does not fit there, nothing happened and
   the stretch is to be read by trace_read_until; STATUS_UNSUPPORTED when parts cannot give what one thread would (both are
   useless then: read from the start without parts); STATUS_TOO_SMALL. Behind it, trace_play must run for every share before
   the next call. */
int trace_absorb(struct trace *whole, struct capture *capture, const struct capture *scout, struct trace *part);
/* Gives the RTP packets of an absorbed part to their streams; the shares may run in threads at the same time. */
void trace_play(const struct trace *whole, const struct trace *part, uint32_t share, uint32_t shares);

#endif
