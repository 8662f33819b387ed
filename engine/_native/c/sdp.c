/* SDP: lines to a session and its media rows (sdp.h). Attributes of media lines are in sdp_media.c. */
#include "sdp_lines.h"

static const struct { const char *name; uint32_t clock_rate_hz; int16_t payload_type; } CODECS[] = {
    {"", 0, -1},
#define X(symbol, name, clock, pt) {name, clock, pt},
    SDP_CODECS(X)
#undef X
};

const char *sdp_codec_name(int codec) { return codec > 0 && codec < SDP_CODEC_COUNT ? CODECS[codec].name : ""; }
uint32_t sdp_codec_clock_hz(int codec) { return codec > 0 && codec < SDP_CODEC_COUNT ? CODECS[codec].clock_rate_hz : 0; }

/* Codec of a static payload type (RFC 3551 table 4 and 5), OTHER when it is not assigned or not listed. */
uint8_t sdp_static_codec(uint8_t payload_type) {
    switch (payload_type) {
    case 0: return SDP_CODEC_PCMU;
    case 2: return SDP_CODEC_G721;
    case 3: return SDP_CODEC_GSM;
    case 4: return SDP_CODEC_G723;
    case 5: case 6: case 16: case 17: return SDP_CODEC_DVI4;
    case 7: return SDP_CODEC_LPC;
    case 8: return SDP_CODEC_PCMA;
    case 9: return SDP_CODEC_G722;
    case 10: case 11: return SDP_CODEC_L16;
    case 12: return SDP_CODEC_QCELP;
    case 13: case 19: return SDP_CODEC_CN;
    case 14: return SDP_CODEC_MPA;
    case 15: return SDP_CODEC_G728;
    case 18: return SDP_CODEC_G729;
    case 31: return SDP_CODEC_H261;
    case 34: return SDP_CODEC_H263;
    default: return SDP_CODEC_OTHER;
    }
}

uint32_t sdp_static_clock_hz(uint8_t payload_type) {
    switch (payload_type) {
    case 6: return 16000;
    case 10: case 11: return 44100;
    case 14: case 25: case 26: case 28: case 31: case 32: case 33: case 34: return 90000;
    case 16: return 11025;
    case 17: return 22050;
    default: return payload_type < 24 ? 8000 : 0;
    }
}

/* ---- words ---- */

struct sip_span sdp_word(const uint8_t *base, struct sip_span *rest) {
    uint32_t at = rest->offset;
    const uint32_t end = rest->offset + rest->length;
    while (at < end && (base[at] == ' ' || base[at] == '\t')) at++;
    const uint32_t from = at;
    while (at < end && base[at] != ' ' && base[at] != '\t') at++;
    *rest = (struct sip_span){at, end - at};
    return (struct sip_span){from, at - from};
}

int sdp_is(const uint8_t *base, struct sip_span word, const char *text) {
    for (uint32_t i = 0; i < word.length; i++) {
        const uint8_t c = base[word.offset + i];
        if (!text[i] || (uint8_t)(c >= 'A' && c <= 'Z' ? c | 32 : c) != (uint8_t)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] | 32 : text[i]))
            return 0;
    }
    return !text[word.length];
}

/* Unsigned decimal that is the whole word; -1 when it is not. Saturates. */
int64_t sdp_number(const uint8_t *base, struct sip_span word) {
    int64_t value = 0;
    if (!word.length) return -1;
    for (uint32_t i = 0; i < word.length; i++) {
        const uint8_t c = base[word.offset + i];
        if (c < '0' || c > '9') return -1;
        value = value > INT64_MAX / 10 - 1 ? INT64_MAX / 10 - 1 : value * 10 + (c - '0');
    }
    return value;
}

/* ---- session level ---- */

static void read_origin(const uint8_t *base, struct sip_span value, struct sdp_session *s) {
    struct sip_span rest = value, word[6];
    for (int i = 0; i < 6; i++) word[i] = sdp_word(base, &rest);
    s->origin = value;
    s->session_id = word[1];
    s->session_version = word[2];
    s->version = sdp_number(base, word[2]);
    if (!word[5].length || s->version < 0 || sdp_number(base, word[1]) < 0) s->flags |= SDP_BAD_ORIGIN;
    uint64_t hash = sip_hash(base + word[0].offset, word[0].length, 1);
    hash = sip_hash(base + word[1].offset, word[1].length, hash);
    hash = sip_hash(base + word[3].offset, word[3].length, hash);
    s->origin_hash = sip_hash(base + word[5].offset, word[5].length, hash);
    address_parse(base + word[5].offset, word[5].length, &s->origin_address);
}

/* c=IN IP4 address[/ttl[/count]] (RFC 8866 §5.7); 0 when it is malformed. */
static int read_connection(const uint8_t *base, struct sip_span value, struct address *target, struct sip_span *host) {
    struct sip_span rest = value;
    const struct sip_span network = sdp_word(base, &rest), type = sdp_word(base, &rest);
    struct sip_span address = sdp_word(base, &rest);
    const uint8_t *slash = address.length ? memchr(base + address.offset, '/', address.length) : NULL;
    if (slash) address.length = (uint32_t)(slash - base) - address.offset;
    *host = address;
    address_parse(base + address.offset, address.length, target);
    const int known = sdp_is(base, network, "IN") && (sdp_is(base, type, "IP4") || sdp_is(base, type, "IP6"));
    const int agrees = target->kind == ADDRESS_NAME || (target->family == 4 && base[type.offset + type.length - 1] == '4') ||
                       (target->family == 6 && type.length && base[type.offset + type.length - 1] == '6');
    return known && address.length && target->kind != ADDRESS_INVALID && agrees && !sdp_word(base, &rest).length;
}

/* ---- one line ---- */

static const char ORDER[] = "vosiuepcbtrzka"; /* RFC 8866 §5; r, z and t may alternate */

static void check_order(struct sdp_reader *r, uint8_t type) {
    static const char MEDIA_ORDER[] = "micbka";
    const char *order = r->current ? MEDIA_ORDER : ORDER;
    const char *at = type ? strchr(order, type) : NULL;
    const int place = at ? (int)(at - order) : -1;
    if (place < 0) return;
    const int time_line = !r->current && (type == 't' || type == 'r' || type == 'z');
    if (place < r->place && !time_line) r->session->flags |= SDP_WRONG_ORDER;
    if (place > r->place) r->place = place;
}

static void take_line(struct sdp_reader *r, uint8_t type, struct sip_span value) {
    struct sdp_session *s = r->session;
    struct sip_span host;
    check_order(r, type);
    switch (type) {
    case 'v': r->seen |= 1; break;
    case 'o': r->seen |= 2; read_origin(r->base, value, s); break;
    case 's': {
        r->seen |= 4;
        s->session_name = value;
        if (!value.length) s->flags |= SDP_EMPTY_SESSION_NAME;
        break;
    }
    case 't': r->seen |= 8; break;
    case 'c':
        if (r->current) {
            if (!read_connection(r->base, value, &r->connection, &host)) r->current->flags |= SDP_BAD_CONNECTION;
            const uint16_t port = r->current->connection.port;
            r->current->connection = r->connection;
            r->current->connection.port = port;
            r->current->connection_host = host;
            r->current->traits &= (uint16_t)~SDP_SESSION_CONNECTION;
        } else {
            if (!read_connection(r->base, value, &s->connection, &host)) s->flags |= SDP_BAD_CONNECTION;
            r->session_host = host;
            r->has_session_connection = 1;
        }
        break;
    case 'm': sdp_media_begin(r, value); break;
    case 'b': sdp_bandwidth(r, value); break;
    case 'a': sdp_attribute(r, value); break;
    default: break;
    }
}

static void begin(struct sdp_reader *r, const uint8_t *base, struct sdp_session *session, struct sdp_media *media, size_t capacity) {
    memset(r, 0, sizeof *r);
    memset(session, 0, sizeof *session);
    session->version = -1;
    r->base = base;
    r->session = session;
    r->media = media;
    r->capacity = capacity;
    r->place = -1;
    r->session_traits.direction = SDP_DIRECTION_NONE;
}

/* One line without its end; a byte that is no line type or no '=' behind it is a defect, and the line is passed over. */
static void one_line(struct sdp_reader *r, uint32_t at, uint32_t length) {
    const uint8_t *line = r->base + at;
    r->session->line_count += r->session->line_count < UINT16_MAX;
    if (length < 2 || line[1] != '=' || line[0] < 'a' || line[0] > 'z') {
        r->session->flags |= SDP_BAD_LINE;
        return;
    }
    if (line[0] != 'o') r->body_hash = sip_hash(line, length, r->body_hash);
    take_line(r, line[0], (struct sip_span){at + 2, length - 2});
}

ptrdiff_t sdp_scan(const uint8_t *base, struct sip_span body, struct sdp_session *session, struct sdp_media *media, size_t capacity) {
    struct sdp_reader r;
    begin(&r, base, session, media, capacity);
    uint32_t at = body.offset, valid = 0;
    const uint32_t end = body.offset + body.length;
    while (at < end) {
        const uint8_t *lf = memchr(base + at, '\n', end - at);
        const uint32_t stop = lf ? (uint32_t)(lf - base) : end, next = lf ? stop + 1 : end;
        uint32_t length = stop - at;
        if (length && base[stop - 1] == '\r') length--;
        else if (lf) session->flags |= SDP_BARE_LF;
        if (length) {
            r.line_start = at;
            valid += length > 1 && base[at + 1] == '=' && base[at] >= 'a' && base[at] <= 'z';
            one_line(&r, at, length);
        }
        at = next;
    }
    if (!valid) return STATUS_MALFORMED;
    sdp_media_end(&r, end);
    session->flags |= (r.seen & 1 ? 0 : SDP_NO_VERSION) | (r.seen & 2 ? 0 : SDP_NO_ORIGIN) |
                      (r.seen & 4 ? 0 : SDP_NO_SESSION_NAME) | (r.seen & 8 ? 0 : SDP_NO_TIME);
    session->body_hash = r.body_hash;
    for (uint32_t i = 0; i < session->media_count; i++) session->flags |= media[i].flags;
    return session->media_count;
}
