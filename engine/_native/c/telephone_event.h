/* Digits as telephone-event packets (RFC 4733 §2), received and sent, at any clock rate. */
#ifndef TRUNKLINE_TELEPHONE_EVENT_H
#define TRUNKLINE_TELEPHONE_EVENT_H

#include "status.h"

#define TELEPHONE_EVENTS_PER_S 25 /* more are counted and not told: no keypad is as fast */

/* ---- received ---- */
struct telephone_event_reader {
    uint32_t timestamp;         /* of the running event */
    uint32_t clock_rate_hz;
    uint16_t duration;
    uint8_t event, volume, running, ended;
    int64_t last_ns, second_ns;
    uint32_t this_second;
    uint32_t events, flooded, malformed, without_end;
    /* private to telephone_event.c from here */
    uint32_t first_timestamp;   /* where the first segment of the running event began */
    uint64_t earlier_ticks;     /* of the segments before this one */
    uint8_t begun;              /* `timestamp` and `event` are of some event */
    uint8_t end_seen;           /* of that event, told or not */
};

#define TELEPHONE_EVENT_SILENCE_NS 100000000 /* an event of which nothing comes for so long is over */
#define TELEPHONE_EVENT_REORDER_S 5 /* an event that began at most so long before the last one is an old one, not a new one */
enum telephone_event_news { TELEPHONE_EVENT_NONE = 0, TELEPHONE_EVENT_BEGUN = 1, TELEPHONE_EVENT_ENDED = 2 };
struct telephone_event { uint8_t event, volume; uint32_t duration_ms; uint32_t timestamp; uint8_t end_lost; };
void telephone_event_reader_start(struct telephone_event_reader *r, uint32_t clock_rate_hz);
/* Takes a payload of one packet. Returns bits of telephone_event_news, or STATUS_MALFORMED (under four bytes; another event with the timestamp of the
   last one, which no sender can mean). Repeats of an end, and packets of an event that has ended or was followed by another, say nothing. An
   event whose begin was lost is begun by what does come, also by its end: then the next repeat ends it, or expiry, without `end_lost`. One whose
   end was lost ends when the next begins, or by telephone_event_expire. With ENDED and BEGUN in one call, `ended` has the older and `begun` the
   newer. Segments of a long event (§2.5.1.3) are one event. A duration that goes back is passed over. `begun` and `ended` are written only
   with their bit. */
int telephone_event_take(struct telephone_event_reader *r, const uint8_t *payload, uint32_t length, uint32_t timestamp, int64_t now_ns,
                         struct telephone_event *begun, struct telephone_event *ended);
/* Ends an event of which nothing came for 100 ms or more. Returns TELEPHONE_EVENT_ENDED or NONE. */
int telephone_event_expire(struct telephone_event_reader *r, int64_t now_ns, struct telephone_event *ended);

/* ---- sent ---- */
#define TELEPHONE_EVENT_QUEUE 64
struct telephone_event_writer {
    struct { uint8_t event, volume; uint16_t duration_ms, pause_ms; } queue[TELEPHONE_EVENT_QUEUE];
    uint32_t head, tail;
    uint32_t clock_rate_hz, timestamp /* of the running event */, sent_ticks, segment_ticks /* of the segments that are over */;
    uint16_t pause_left_ms;
    uint8_t running, ends_left, first;
};
void telephone_event_writer_start(struct telephone_event_writer *w, uint32_t clock_rate_hz);
#define TELEPHONE_EVENT_DURATION_MIN_MS 40
#define TELEPHONE_EVENT_DURATION_MAX_MS 6000
#define TELEPHONE_EVENT_PAUSE_MIN_MS 40
#define TELEPHONE_EVENT_VOLUME_MAX 63
/* 0, STATUS_TOO_SMALL: the queue is full, or STATUS_MALFORMED: duration_ms is not 40..6000, pause_ms below 40 or volume (in -dBm0) above 63. */
int telephone_event_queue(struct telephone_event_writer *w, uint8_t event, uint8_t volume, uint16_t duration_ms, uint16_t pause_ms);
struct telephone_event_packet { uint8_t payload[4]; uint32_t timestamp; uint8_t marker; };
/* One step of the sender's clock, `ptime_ms` long (1 at least), whose audio would have `timestamp`. Returns 1 and a packet to send instead of audio; 0: send
   audio; 2: send nothing (the pause between digits). A packet tells the duration up to the end of its step. The end is sent three times, a step
   apart; the pause counts from the first of them, and it is kept behind the last event too. An event longer than the duration field can say
   goes on in a new segment (RFC 4733 §2.5.1.3). Marker: the very first packet of an event only. */
int telephone_event_next(struct telephone_event_writer *w, uint32_t timestamp, uint32_t ptime_ms, struct telephone_event_packet *packet);
TL_INLINE int telephone_event_is_busy(const struct telephone_event_writer *w) { return w->running || w->ends_left || w->pause_left_ms || w->head != w->tail; }

/* Text of an event 0..15 ("0".."9", '*', '#', 'A'..'D'); 0 for others, and back: -1. */
char telephone_event_digit(uint8_t event);
int telephone_event_of_digit(char digit);

#endif
