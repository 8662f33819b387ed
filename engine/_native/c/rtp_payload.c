/* What RTP payloads say: payload types and their clocks (RFC 3551 §6), telephone events (RFC 4733 §2.5),
   silence and level of G.711 (ITU-T G.711, levels as in RFC 6464). */
#include "rtp_stream.h"

#define EVENT_SHORT_MS 40.0

/* RFC 3551 tables 4 and 5. 0: not assigned. */
uint32_t payload_static_clock_hz(uint8_t payload_type, uint8_t *codec) {
    static const struct { uint8_t payload_type, codec; uint32_t clock_rate_hz; } known[] = {
        {0, SDP_CODEC_PCMU, 8000},   {2, SDP_CODEC_G721, 8000},   {3, SDP_CODEC_GSM, 8000},
        {4, SDP_CODEC_G723, 8000},   {5, SDP_CODEC_DVI4, 8000},   {6, SDP_CODEC_DVI4, 16000},
        {7, SDP_CODEC_LPC, 8000},    {8, SDP_CODEC_PCMA, 8000},   {9, SDP_CODEC_G722, 8000},
        {10, SDP_CODEC_L16, 44100},  {11, SDP_CODEC_L16, 44100},  {12, SDP_CODEC_QCELP, 8000},
        {13, SDP_CODEC_CN, 8000},    {14, SDP_CODEC_MPA, 90000},  {15, SDP_CODEC_G728, 8000},
        {16, SDP_CODEC_DVI4, 11025}, {17, SDP_CODEC_DVI4, 22050}, {18, SDP_CODEC_G729, 8000},
        {19, SDP_CODEC_CN, 8000},    {25, SDP_CODEC_OTHER, 90000}, {26, SDP_CODEC_OTHER, 90000},
        {28, SDP_CODEC_OTHER, 90000}, {31, SDP_CODEC_H261, 90000}, {32, SDP_CODEC_OTHER, 90000},
        {33, SDP_CODEC_OTHER, 90000}, {34, SDP_CODEC_H263, 90000}};
    for (size_t k = 0; k < sizeof known / sizeof *known; k++)
        if (known[k].payload_type == payload_type) {
            *codec = known[k].codec;
            return known[k].clock_rate_hz;
        }
    *codec = SDP_CODEC_OTHER;
    return 0;
}

/* ---- payload types ---- */

static struct rtp_payload *payload_find(struct rtp_stream *s, uint8_t payload_type) {
    for (uint32_t k = 0; k < s->payload_used; k++)
        if (s->payloads[k].payload_type == payload_type) return &s->payloads[k];
    return NULL;
}

void payload_apply(struct rtp_stream *s) {
    const struct rtp_payload *payload = &s->payloads[s->payload_index];
    s->ms_per_tick = payload->clock_rate_hz ? 1000.0 / payload->clock_rate_hz : 0;
    s->kind = payload->codec == SDP_CODEC_CN                ? RTP_KIND_COMFORT_NOISE
              : payload->codec == SDP_CODEC_TELEPHONE_EVENT ? RTP_KIND_EVENT
                                                            : RTP_KIND_MEDIA;
    s->law = payload->codec == SDP_CODEC_PCMU ? 1 : payload->codec == SDP_CODEC_PCMA ? 2 : 0;
    s->ptime_ms = (float)(s->steps[s->step_index].value * s->ms_per_tick);
}

void rtp_describe(struct rtp_stream *s, uint8_t payload_type, uint8_t codec, uint32_t clock_rate_hz) {
    if (payload_type > 127) return;
    struct rtp_payload *payload = payload_find(s, payload_type);
    if (!payload) {
        if (s->payload_used >= RTP_PAYLOADS - 1) return;
        payload = &s->payloads[s->payload_used++];
        payload->payload_type = payload_type;
    }
    const uint32_t before = payload->clock_rate_hz;
    payload->codec = codec;
    payload->clock_rate_hz = clock_rate_hz;
    payload->described = 1;
    if (s->payload_type != payload_type || payload != &s->payloads[s->payload_index]) return;
    payload_apply(s);
    s->flags &= ~(uint32_t)RTP_CLOCK_ESTIMATED;
    if (before == clock_rate_hz) return;
    /* what was measured in ms stays; the next difference is
       taken with the new clock, from the last packet on */
    s->state &= (uint8_t)~(RTP_MEASURING | RTP_STEADY);
    if (s->kind != RTP_KIND_MEDIA || !clock_rate_hz) return;
    s->state |= RTP_STEADY;
    s->steady_time_ns = s->last_time_ns;
    s->steady_timestamp = s->last_timestamp;
}

/* A dynamic type nobody described, with the shape of a telephone event: four bytes, an event of the DTMF
   range, the reserved bit clear (RFC 4733 §2.3). */
static int shaped_like_event(const struct rtp_header *h, const uint8_t *content, uint32_t available) {
    return h->payload_type >= 96 && h->payload_length == 4 && available >= 4 && content[0] <= 16 &&
           !(content[1] & 0x40);
}

/* A place for a payload type seen for the first time: seen ones stand in front in their order. */
static uint8_t payload_place(struct rtp_stream *s, const struct rtp_header *h, const uint8_t *content,
                             uint32_t available) {
    struct rtp_payload *known = payload_find(s, h->payload_type);
    if (s->payload_seen >= RTP_PAYLOADS - 1) return RTP_PAYLOADS - 1;
    struct rtp_payload *place = &s->payloads[s->payload_seen];
    if (known) {
        const struct rtp_payload swapped = *place;
        *place = *known;
        *known = swapped;
    } else {
        if (s->payload_used < RTP_PAYLOADS - 1) s->payloads[s->payload_used++] = *place;
        *place = (struct rtp_payload){.payload_type = h->payload_type};
        place->clock_rate_hz = payload_static_clock_hz(h->payload_type, &place->codec);
        if (shaped_like_event(h, content, available)) {
            place->codec = SDP_CODEC_TELEPHONE_EVENT;
            place->clock_rate_hz =
                s->payload_seen && s->payloads[0].clock_rate_hz ? s->payloads[0].clock_rate_hz : 8000;
        }
    }
    return s->payload_seen++;
}

void payload_switch(struct rtp_stream *s, const struct rtp_header *h, const uint8_t *content,
                    uint32_t available) {
    const uint8_t type = h->payload_type;
    const double before = s->ms_per_tick;
    if (s->payload_type != RTP_NO_PAYLOAD_TYPE) s->payload_type_changes++;
    if (s->payload_types[type >> 6] >> (type & 63) & 1) {
        const struct rtp_payload *known = payload_find(s, type);
        s->payload_index = known ? (uint8_t)(known - s->payloads) : RTP_PAYLOADS - 1;
    } else {
        s->payload_types[type >> 6] |= 1ull << (type & 63);
        s->payload_index = payload_place(s, h, content, available);
    }
    s->payload_type = type;
    payload_apply(s);
    if (s->payload_index == RTP_PAYLOADS - 1) { /* no place: the clock of a static type is still known */
        uint8_t codec;
        const uint32_t clock = payload_static_clock_hz(type, &codec);
        s->ms_per_tick = clock ? 1000.0 / clock : 0;
        s->ptime_ms = (float)(s->steps[s->step_index].value * s->ms_per_tick);
    }
    if (s->kind == RTP_KIND_EVENT) s->event_payload_type = type;
    if (before != s->ms_per_tick)
        s->state = (uint8_t)((s->state & ~(RTP_MEASURING | RTP_STEADY)) | RTP_TIMING_BROKEN);
}

void payload_size(struct rtp_stream *s, uint32_t size) {
    for (uint32_t k = 0; k < s->size_count; k++)
        if (s->sizes[k] == size) {
            s->size_counts[k]++;
            s->size_index = (uint8_t)k;
            return;
        }
    if (!s->size_count || size < s->size_min) s->size_min = (uint16_t)size;
    if (!s->size_count || size > s->size_max) s->size_max = (uint16_t)size;
    if (s->size_count == RTP_SIZES) return; /* no place: only the extremes are kept */
    s->size_index = s->size_count++;
    s->sizes[s->size_index] = (uint16_t)size;
    s->size_counts[s->size_index] = 1;
}

/* ---- telephone-event ---- */

enum event_mark { EVENT_SHRANK = 1, EVENT_SPLIT_UP = 2 };

void payload_close_event(struct rtp_stream *s) {
    if (!(s->state & RTP_EVENT_OPEN)) return;
    s->state &= (uint8_t)~RTP_EVENT_OPEN;
    int flawed = s->event_marks != 0;
    const double ms = s->event_duration * (s->event_ms_per_tick > 0 ? s->event_ms_per_tick : 0.125);
    if (s->event_ends == 0) { count16(&s->event_no_end); flawed = 1; }
    else if (s->event_ends < 3) { count16(&s->event_few_ends); flawed = 1; }
    if (s->event_duration == 0) {
        count16(&s->event_zero);
        flawed = 1;
    } else if (ms < EVENT_SHORT_MS && !(s->event_marks & EVENT_SPLIT_UP)) {
        count16(&s->event_short);
        flawed = 1;
    }
    if (s->event_marks & EVENT_SHRANK) count16(&s->event_shrinking);
    if (s->event_marks & EVENT_SPLIT_UP) count16(&s->event_split);
    if (flawed) count16(&s->event_flaws);
}

static void open_event(struct rtp_stream *s, uint8_t event, uint32_t timestamp) {
    payload_close_event(s);
    s->state |= RTP_EVENT_OPEN;
    if (s->events++ == 0) s->first_event_timestamp = timestamp;
    s->event_code = event;
    s->event_ends = 0;
    s->event_marks = 0;
    s->event_ms_per_tick = (float)s->ms_per_tick;
    if (event < 16 && s->digit_count < 32) {
        s->digits[s->digit_count >> 4] |= (uint64_t)event << ((s->digit_count & 15) * 4);
        s->digit_count++;
    }
}

void payload_event(struct rtp_stream *s, const struct rtp_header *h, const uint8_t *content) {
    const uint8_t event = content[0];
    const uint16_t duration = (uint16_t)(content[2] << 8 | content[3]);
    const int open = s->state & RTP_EVENT_OPEN;
    if (!open || h->timestamp != s->event_timestamp || event != s->event_code) {
        const int unended = open && event == s->event_code && !h->marker && s->event_ends == 0;
        if (!unended) {
            open_event(s, event, h->timestamp);
        } else if (h->timestamp - s->event_timestamp != s->event_duration || s->event_duration < 0xF000) {
            s->event_marks |= EVENT_SPLIT_UP;
        } /* else a segment of a long event (RFC 4733 §2.5.1.3) */
        s->event_timestamp = h->timestamp;
    } else if (duration < s->event_duration) {
        s->event_marks |= EVENT_SHRANK;
    }
    s->event_duration = duration;
    if (content[1] & 0x80 && s->event_ends < UINT8_MAX) s->event_ends++;
}

/* ---- G.711 ---- */

/* Magnitude of a mu-law code (already inverted) in the
   14-bit scale, and of an A-law code in the 13-bit scale. */
#define MU(m) (uint16_t)(((((m) & 15) * 2 + 33) << ((m) >> 4)) - 33)
#define A(m) (uint16_t)((m) >> 4 ? (((m) & 15) * 2 + 33) << (((m) >> 4) - 1) : ((m) & 15) * 2 + 1)
#define FOUR(F, m) F(m), F((m) + 1), F((m) + 2), F((m) + 3)
#define SIXTEEN(F, m) FOUR(F, m), FOUR(F, (m) + 4), FOUR(F, (m) + 8), FOUR(F, (m) + 12)
#define SIXTY_FOUR(F, m) SIXTEEN(F, m), SIXTEEN(F, (m) + 16), SIXTEEN(F, (m) + 32), SIXTEEN(F, (m) + 48)
#define ALL(F) SIXTY_FOUR(F, 0), SIXTY_FOUR(F, 64)
static const uint16_t magnitudes[2][128] = {{ALL(MU)}, {ALL(A)}};

static int all_one_value(const uint8_t *content, uint32_t count) {
    const uint64_t pattern = content[0] * 0x0101010101010101ull;
    uint32_t at = 0;
    for (uint64_t word; at + 8 <= count; at += 8) {
        memcpy(&word, content + at, 8);
        if (word != pattern) return 0;
    }
    for (; at < count; at++)
        if (content[at] != content[0]) return 0;
    return 1;
}

static void level_take(struct rtp_stream *s, const uint8_t *content, uint32_t count) {
    const uint16_t *magnitude = magnitudes[s->law - 1];
    const uint8_t invert = s->law == 1 ? 0x7F : 0x55;
    uint64_t squares = 0;
    uint32_t clipped = 0;
    uint8_t loudest = 0;
    for (uint32_t k = 0; k < count; k++) {
        const uint8_t code = (content[k] ^ invert) & 0x7F;
        const uint32_t m = magnitude[code];
        squares += m * m;
        clipped += code == 127;
        loudest = code > loudest ? code : loudest;
    }
    const uint32_t shift = s->law == 1 ? 2 : 3; /* to 16 bits */
    s->level_squares += squares << (2 * shift);
    s->level_samples += count;
    s->clipped_samples += clipped;
    const uint16_t peak = (uint16_t)(magnitude[loudest] << shift);
    if (peak > s->level_peak) s->level_peak = peak;
}

void payload_inspect(struct rtp_stream *s, const uint8_t *content, uint32_t count) {
    if (!count) return;
    s->inspected_packets++;
    if (all_one_value(content, count)) s->silent_packets++;
    else if ((s->inspected_packets & 7) == 1) level_take(s, content, count);
}
