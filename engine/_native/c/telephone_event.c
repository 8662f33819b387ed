/* Digits as telephone-event packets, read and written (RFC 4733 §2.3, 2.5). */
#include "telephone_event.h"

#include "octets.h"

#define SECOND_NS 1000000000u
#define DURATION_MAX 0xFFFFu
#define ENDS 3 /* §2.5.1.4: the end is sent three times */

static const char digits[] = "0123456789*#ABCD";

char telephone_event_digit(uint8_t event) { return event < sizeof digits - 1 ? digits[event] : 0; }

int telephone_event_of_digit(char digit) {
    if (digit >= 'a' && digit <= 'd') digit = (char)(digit - 'a' + 'A');
    const char *found = digit ? strchr(digits, digit) : NULL;
    return found ? (int)(found - digits) : -1;
}

/* ---- received ---- */

void telephone_event_reader_start(struct telephone_event_reader *r, uint32_t clock_rate_hz) {
    memset(r, 0, sizeof *r);
    r->clock_rate_hz = clock_rate_hz;
}

static struct telephone_event told(const struct telephone_event_reader *r) {
    const uint64_t ms = r->clock_rate_hz ? (r->earlier_ticks + r->duration) * 1000 / r->clock_rate_hz : 0;
    return (struct telephone_event){r->event, r->volume, ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX, r->first_timestamp, 0};
}

static int end(struct telephone_event_reader *r, struct telephone_event *ended) {
    *ended = told(r);
    ended->end_lost = !r->end_seen;
    r->without_end += ended->end_lost;
    r->running = 0;
    r->ended = 1;
    return TELEPHONE_EVENT_ENDED;
}

static int is_flood(struct telephone_event_reader *r, int64_t now_ns) {
    if ((uint64_t)now_ns - (uint64_t)r->second_ns >= SECOND_NS || !r->begun) {
        r->second_ns = now_ns;
        r->this_second = 0;
    }
    if (r->this_second >= TELEPHONE_EVENTS_PER_S) return 1;
    r->this_second++;
    return 0;
}

/* A new event. One too many is remembered as if it had been told and had ended. */
static int begin(struct telephone_event_reader *r, uint8_t event, uint32_t timestamp, int64_t now_ns) {
    const int flood = is_flood(r, now_ns);
    r->begun = 1;
    r->event = event;
    r->timestamp = r->first_timestamp = timestamp;
    r->earlier_ticks = r->duration = 0;
    r->end_seen = 0;
    r->running = !flood;
    r->ended = (uint8_t)flood;
    r->flooded += (uint32_t)flood;
    r->events += !flood;
    return flood ? TELEPHONE_EVENT_NONE : TELEPHONE_EVENT_BEGUN;
}

enum place { OLD, SAME, SEGMENT, REPEAT, NEW };

/* What an event that begins `ahead` ticks behind the last one is. Two presses of a key are at least a pause apart, so what begins earlier is the
   press that goes on: in a new segment (§2.5.1.3), or from a sender that moves the timestamp with every packet. The packet that fills a segment
   may be lost. */
static enum place place_of(const struct telephone_event_reader *r, uint8_t event, uint32_t ahead, int is_end) {
    if (!r->begun) return NEW;
    if (!ahead) return SAME;
    if (-(int64_t)(int32_t)ahead > 0 && -(int64_t)(int32_t)ahead <= (int64_t)r->clock_rate_hz * TELEPHONE_EVENT_REORDER_S) return OLD;
    if (event != r->event) return NEW;
    const int joined = ahead < r->duration + (uint64_t)r->clock_rate_hz * TELEPHONE_EVENT_PAUSE_MIN_MS / 1000;
    if (r->end_seen) return joined && is_end ? REPEAT : NEW;
    return joined || ahead == DURATION_MAX ? SEGMENT : NEW;
}

int telephone_event_take(struct telephone_event_reader *r, const uint8_t *payload, uint32_t length, uint32_t timestamp, int64_t now_ns,
                         struct telephone_event *begun, struct telephone_event *ended) {
    const uint32_t ahead = timestamp - r->timestamp;
    if (length < 4 || (r->begun && !ahead && payload[0] != r->event)) {
        r->malformed++;
        return STATUS_MALFORMED;
    }
    const int is_end = payload[1] >> 7;
    int news = TELEPHONE_EVENT_NONE;
    switch (place_of(r, payload[0], ahead, is_end)) {
    case OLD: case REPEAT: return news;
    case SAME: break;
    case SEGMENT:
        r->timestamp = timestamp;
        r->earlier_ticks += ahead;
        r->duration = 0;
        break;
    case NEW:
        if (r->running) news |= end(r, ended);
        news |= begin(r, payload[0], timestamp, now_ns);
    }
    const uint16_t duration = load_be16(payload + 2);
    if (duration > r->duration) r->duration = duration;
    r->end_seen |= (uint8_t)is_end;
    if (!r->running) return news;
    r->last_ns = now_ns;
    r->volume = payload[1] & 63;
    if (news & TELEPHONE_EVENT_BEGUN) *begun = told(r);
    else if (is_end) news |= end(r, ended);
    return news;
}

int telephone_event_expire(struct telephone_event_reader *r, int64_t now_ns, struct telephone_event *ended) {
    if (!r->running || (int64_t)((uint64_t)now_ns - (uint64_t)r->last_ns) < TELEPHONE_EVENT_SILENCE_NS) return TELEPHONE_EVENT_NONE;
    return end(r, ended);
}

/* ---- sent ---- */

void telephone_event_writer_start(struct telephone_event_writer *w, uint32_t clock_rate_hz) {
    memset(w, 0, sizeof *w);
    w->clock_rate_hz = clock_rate_hz;
}

int telephone_event_queue(struct telephone_event_writer *w, uint8_t event, uint8_t volume, uint16_t duration_ms, uint16_t pause_ms) {
    if (duration_ms < TELEPHONE_EVENT_DURATION_MIN_MS || duration_ms > TELEPHONE_EVENT_DURATION_MAX_MS) return STATUS_MALFORMED;
    if (pause_ms < TELEPHONE_EVENT_PAUSE_MIN_MS || volume > TELEPHONE_EVENT_VOLUME_MAX) return STATUS_MALFORMED;
    if (w->tail - w->head == TELEPHONE_EVENT_QUEUE) return STATUS_TOO_SMALL;
    const uint32_t place = w->tail++ % TELEPHONE_EVENT_QUEUE;
    w->queue[place].event = event;
    w->queue[place].volume = volume;
    w->queue[place].duration_ms = duration_ms;
    w->queue[place].pause_ms = pause_ms;
    return 0;
}

static uint32_t ticks_of(const struct telephone_event_writer *w, uint32_t ms) {
    const uint64_t ticks = (uint64_t)ms * w->clock_rate_hz / 1000;
    return ticks < UINT32_MAX / 2 ? (uint32_t)ticks : UINT32_MAX / 2;
}

static int put_packet(struct telephone_event_writer *w, uint32_t duration, int is_end, struct telephone_event_packet *packet) {
    const uint32_t place = w->head % TELEPHONE_EVENT_QUEUE;
    packet->payload[0] = w->queue[place].event;
    packet->payload[1] = (uint8_t)((is_end ? 0x80 : 0) | w->queue[place].volume);
    packet->payload[2] = (uint8_t)(duration >> 8);
    packet->payload[3] = (uint8_t)duration;
    packet->timestamp = w->timestamp + w->segment_ticks;
    packet->marker = w->first;
    w->first = 0;
    return 1;
}

static void pass_pause(struct telephone_event_writer *w, uint32_t ptime_ms) {
    w->pause_left_ms = (uint16_t)(ptime_ms < w->pause_left_ms ? w->pause_left_ms - ptime_ms : 0);
}

/* One step of the event itself. A full segment is told without an end, and the next step goes on behind it. */
static int step(struct telephone_event_writer *w, uint32_t ptime_ms, struct telephone_event_packet *packet) {
    const uint32_t place = w->head % TELEPHONE_EVENT_QUEUE;
    const uint32_t whole = ticks_of(w, w->queue[place].duration_ms), passed = ticks_of(w, ptime_ms);
    const uint32_t ticks = passed ? passed : 1; /* or an event would not end */
    const int was_over = w->sent_ticks == whole; /* the end waited behind a full segment */
    w->sent_ticks = ticks < whole - w->sent_ticks ? w->sent_ticks + ticks : whole;
    const uint32_t duration = w->sent_ticks - w->segment_ticks;
    const int over = w->sent_ticks == whole;
    if (was_over) pass_pause(w, ptime_ms);
    else if (over) w->pause_left_ms = w->queue[place].pause_ms;
    if (duration > DURATION_MAX) {
        put_packet(w, DURATION_MAX, 0, packet);
        w->segment_ticks += DURATION_MAX;
        return 1;
    }
    if (over) {
        w->running = 0;
        w->ends_left = ENDS - 1;
    }
    return put_packet(w, duration, over, packet);
}

static int repeat_end(struct telephone_event_writer *w, uint32_t ptime_ms, struct telephone_event_packet *packet) {
    pass_pause(w, ptime_ms);
    put_packet(w, w->sent_ticks - w->segment_ticks, 1, packet);
    if (!--w->ends_left) w->head++;
    return 1;
}

int telephone_event_next(struct telephone_event_writer *w, uint32_t timestamp, uint32_t ptime_ms, struct telephone_event_packet *packet) {
    if (w->running) return step(w, ptime_ms, packet);
    if (w->ends_left) return repeat_end(w, ptime_ms, packet);
    if (w->pause_left_ms) {
        pass_pause(w, ptime_ms);
        return 2;
    }
    if (w->head == w->tail) return 0;
    w->running = w->first = 1;
    w->timestamp = timestamp;
    w->sent_ticks = w->segment_ticks = 0;
    return step(w, ptime_ms, packet);
}
