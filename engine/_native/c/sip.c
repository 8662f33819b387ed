/* The message around the walk: where it starts, its start line, what its bytes break, where it ends. */
#include "sip_scan.h"

static int is_version(const uint8_t *source) { /* four bytes, "SIP/" in any case (RFC 3261 §7.1) */
    return (source[0] | 0x20) == 's' && (source[1] | 0x20) == 'i' && (source[2] | 0x20) == 'p' &&
           source[3] == '/';
}

static void version_check(struct sip_walk *w, uint32_t start, uint32_t end) {
    const uint8_t *at = w->source + start;
    w->message->version = (struct sip_span){start, end - start};
    if (end - start != 7 || !is_version(at) || at[4] != '2' || at[5] != '.' || at[6] != '0')
        sip_defect(w->message, SIP_VERSION_BAD, start);
}

/* Moves `at` over white space; what is not exactly one SP is flagged (RFC 3261 §25.1 Request-Line). */
static uint32_t separator(struct sip_walk *w, uint32_t at, uint32_t end) {
    const uint32_t start = at;
    while (at < end && sip_is_space(w->source[at])) at++;
    if (at - start > 1) sip_defect(w->message, SIP_START_LINE_SPACES, start + 1);
    else if (at > start && w->source[start] != ' ') sip_defect(w->message, SIP_START_LINE_SPACES, start);
    return at;
}

/* Status-Line: SIP-Version SP Status-Code SP Reason-Phrase. */
static int status_line(struct sip_walk *w, uint32_t start, uint32_t end) {
    struct sip_message *m = w->message;
    const uint8_t *source = w->source;
    uint32_t at = start, value = 0, numeric = 1;
    m->is_response = 1;
    while (at < end && !sip_is_space(source[at])) at++;
    version_check(w, start, at);
    const uint32_t code = separator(w, at, end);
    for (at = code; at < end && !sip_is_space(source[at]); at++) {
        if (source[at] < '0' || source[at] > '9') numeric = 0;
        else if (value <= UINT16_MAX) value = value * 10 + (uint32_t)(source[at] - '0');
    }
    if (at - code != 3 || !numeric) {
        if (m->flags & SIP_VERSION_BAD) return STATUS_MALFORMED;
        sip_defect(m, SIP_STATUS_BAD, code);
    }
    if (!numeric || at == code) value = 0;
    else if (value < 100 || value > 699) sip_defect(m, SIP_STATUS_RANGE, code);
    m->status = (uint16_t)(value > UINT16_MAX ? UINT16_MAX : value);
    if (at == end) sip_defect(m, SIP_REASON_MISSING, end);
    at = separator(w, at, end);
    while (end > at && sip_is_white(source[end - 1])) end--;
    m->reason = (struct sip_span){at, end - at};
    return 0;
}

/* Start of the last "SIP/" behind white space in [start, end), or `end`. */
static uint32_t version_find(const uint8_t *source, uint32_t start, uint32_t end) {
    for (uint32_t at = end; at > start; at--)
        if (end - at >= 4 && sip_is_space(source[at - 1]) && is_version(source + at)) return at;
    return end;
}

/* Request-Line: Method SP Request-URI SP SIP-Version. */
static int request_line(struct sip_walk *w, uint32_t start, uint32_t end) {
    struct sip_message *m = w->message;
    const uint8_t *source = w->source;
    uint32_t trimmed = end;
    while (trimmed > start && sip_is_white(source[trimmed - 1])) trimmed--;
    const uint32_t version = version_find(source, start, trimmed);
    if (version == trimmed) return STATUS_MALFORMED;
    if (trimmed < end && sip_is_space(source[trimmed])) sip_defect(m, SIP_START_LINE_SPACES, trimmed);
    uint32_t at = start;
    while (!sip_is_space(source[at])) at++; /* ends in front of `version` at the latest */
    m->method_name = (struct sip_span){start, at - start};
    m->method = sip_method_id(source + start, at - start);
    if (!m->method && !sip_is_token(source + start, at - start)) sip_defect(m, SIP_METHOD_BAD, start);
    const uint32_t uri = separator(w, at, version);
    uint32_t uri_end = version;
    while (uri_end > uri && sip_is_space(source[uri_end - 1])) uri_end--;
    if (uri_end > uri) separator(w, uri_end, version);
    m->request_uri = (struct sip_span){uri, uri_end - uri};
    for (uint32_t i = uri; i < uri_end; i++)
        if (sip_is_space(source[i])) {
            sip_defect(m, SIP_URI_SPACES, i);
            break;
        }
    version_check(w, version, trimmed);
    return 0;
}

/* The two lines as nearly everyone writes them; HT cannot be in them, as no odd byte was seen. Returns 0
   where a closer look is needed. */
static int line_is_plain(struct sip_walk *w, uint32_t start, uint32_t end) {
    struct sip_message *m = w->message;
    const uint8_t *at = w->source + start;
    const uint32_t length = end - start;
    if (w->odd || length < 13 || at[length - 1] == ' ') return 0;
    if (!memcmp(at, "SIP/2.0 ", 8)) {
        const unsigned a = at[8] - '0', b = at[9] - '0', c = at[10] - '0';
        if (a - 1 > 5 || b > 9 || c > 9 || at[11] != ' ' || at[12] <= ' ') return 0;
        m->is_response = 1;
        m->status = (uint16_t)(100 * a + 10 * b + c);
        m->version = (struct sip_span){start, 7};
        m->reason = (struct sip_span){start + 12, length - 12};
        return 1;
    }
    if (memcmp(at + length - 8, " SIP/2.0", 8) || *at == ' ') return 0;
    const uint32_t method = (uint32_t)((const uint8_t *)memchr(at, ' ', length) - at);
    if (method + 9 >= length) return 0;
    if (memchr(at + method + 1, ' ', length - method - 1) != at + length - 8) return 0;
    m->method = sip_method_id(at, method);
    if (!m->method && !sip_is_token(at, method)) return 0;
    m->method_name = (struct sip_span){start, method};
    m->request_uri = (struct sip_span){start + method + 1, length - method - 9};
    m->version = (struct sip_span){end - 7, 7};
    return 1;
}

int sip_start_line(struct sip_walk *w, uint32_t start, uint32_t end) {
    uint32_t at = start;
    if (TL_LIKELY(line_is_plain(w, start, end))) return 0;
    while (at < end && sip_is_space(w->source[at])) at++;
    if (at > start) sip_defect(w->message, SIP_START_LINE_SPACES, start);
    if (end - at >= 4 && is_version(w->source + at)) return status_line(w, at, end);
    return request_line(w, at, end);
}

/* ---- Content-Length ---- */

/* RFC 3261 §20.14: 1*DIGIT and nothing else. Returns the value, or -2 where it is none or overflows. */
static int64_t length_parse(const uint8_t *source, uint32_t count) {
    int64_t value = 0;
    for (uint32_t i = 0; i < count; i++) {
        const int digit = source[i] - '0';
        if (digit < 0 || digit > 9 || (i >= 18 && value > (INT64_MAX - digit) / 10)) return -2;
        value = value * 10 + digit;
    }
    return count ? value : -2;
}

void sip_length_note(struct sip_walk *w, uint32_t offset, uint32_t length) {
    struct sip_message *m = w->message;
    const int64_t value = length_parse(w->source + offset, length);
    if (value < 0) sip_defect(m, SIP_LENGTH_INVALID, offset);
    if (w->length_seen) {
        sip_defect(m, SIP_LENGTH_REPEATED, offset);
        if (value != m->content_length) sip_defect(m, SIP_LENGTH_CONFLICT, offset);
    } else m->content_length = value;
    w->length_seen = 1;
}

void sip_rows_index(struct sip_walk *w) {
    struct sip_message *m = w->message;
    uint64_t present[SIP_HEADER_WORDS] = {0};
    if (w->indexed) return;
    w->indexed = 1;
    for (uint32_t row = m->header_count; row-- > 0;) { /* backwards, so that the first row stays */
        const uint8_t id = w->headers[row].id;
        present[id >> 6] |= (uint64_t)1 << (id & 63);
        m->first[id] = (uint16_t)row;
        m->repeats[id] = 0;
    }
    for (uint32_t row = 0; row < m->header_count; row++) m->repeats[w->headers[row].id]++;
    memcpy(m->present, present, sizeof present);
    if (!sip_has(m, SIP_HEADER_CONTENT_LENGTH)) return;
    uint32_t row = m->first[SIP_HEADER_CONTENT_LENGTH];
    for (uint32_t left = m->repeats[SIP_HEADER_CONTENT_LENGTH]; left; row++) {
        if (w->headers[row].id != SIP_HEADER_CONTENT_LENGTH) continue;
        sip_length_note(w, w->headers[row].value_offset, w->headers[row].value_length);
        left--;
    }
}

/* ---- bytes that should not be there ---- */

/* Bytes of the UTF-8 sequence at `source` (RFC 3629 §4), or 0 where it is none. */
static uint32_t utf8_length(const uint8_t *source, uint32_t count) {
    const uint8_t lead = source[0];
    uint8_t low = 0x80, high = 0xbf;
    if (lead < 0xc2 || lead > 0xf4) return 0;
    const uint32_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (count < length) return 0;
    if (lead == 0xe0) low = 0xa0;
    if (lead == 0xed) high = 0x9f;
    if (lead == 0xf0) low = 0x90;
    if (lead == 0xf4) high = 0x8f;
    if (source[1] < low || source[1] > high) return 0;
    for (uint32_t i = 2; i < length; i++)
        if ((source[i] & 0xc0) != 0x80) return 0;
    return length;
}

static int is_control(uint8_t c) { return (c < 0x20 && c != '\t' && c != '\r' && c != '\n') || c == 0x7f; }

static void mark_controls(struct sip_walk *w) {
    for (uint32_t row = 0; row < w->message->header_count; row++) {
        struct sip_header *header = &w->headers[row];
        const uint8_t *value = w->source + header->value_offset;
        for (uint32_t i = 0; i < header->value_length; i++) {
            const int lone_return = value[i] == '\r' && value[i + 1] != '\n'; /* CR is never the last byte */
            if (is_control(value[i]) || lone_return) {
                header->flags |= SIP_HEADER_CONTROL;
                break;
            }
        }
    }
}

/* Second look at start line and headers, taken only where the structural pass saw an odd byte. */
static void inspect(struct sip_walk *w, uint32_t end) {
    struct sip_message *m = w->message;
    const uint8_t *source = w->source;
    int controls = 0;
    for (uint32_t i = m->start_offset; i < end; i++) {
        const uint8_t c = source[i];
        if (c >= 0x80) {
            const uint32_t length = utf8_length(source + i, end - i);
            if (length) i += length - 1;
            else sip_defect(m, SIP_NON_UTF8, i);
        } else if (c == '\r' && (i + 1 >= w->count || source[i + 1] != '\n')) {
            sip_defect(m, SIP_BARE_CR, i);
            controls = 1;
        } else if (is_control(c)) {
            sip_defect(m, SIP_CONTROL_BYTE, i);
            controls = 1;
        }
    }
    if (controls) mark_controls(w);
}

/* ---- the message ---- */

/* Whether a header that has a compact form was written long. Rows with anything unusual in them have said
   so themselves; only where both forms are about, the rows are looked through. */
static void forms_note(struct sip_walk *w) {
    struct sip_message *m = w->message;
    uint64_t both = 0;
    for (int i = 0; i < SIP_HEADER_WORDS; i++) both |= m->present[i] & sip_compact_headers[i];
    if (!both || m->flags & SIP_LONG) return;
    if (!(m->flags & SIP_COMPACT)) {
        m->flags |= SIP_LONG;
        return;
    }
    for (uint32_t row = 0; row < m->header_count; row++) {
        const struct sip_header *header = &w->headers[row];
        if (header->name_length > 1 && sip_has_bit(sip_compact_headers, header->id)) m->flags |= SIP_LONG;
    }
}

static ptrdiff_t frame(struct sip_walk *w, int framing) {
    struct sip_message *m = w->message;
    const uint32_t available = w->count - m->body_offset;
    const int64_t promised = m->content_length;
    if (promised == -1) {
        m->flags |= SIP_LENGTH_MISSING;
        if (framing == SIP_STREAM) sip_defect(m, SIP_LENGTH_MISSING, m->body_offset); /* RFC 3261 §18.3 */
    }
    if (framing == SIP_STREAM) {
        m->body_length = promised < 0 ? 0 : promised > available ? available : (uint32_t)promised;
        if (promised > available) return STATUS_INCOMPLETE;
        return (ptrdiff_t)m->body_offset + m->body_length;
    }
    m->body_length = promised < 0 || promised > available ? available : (uint32_t)promised;
    if (promised > available) sip_defect(m, SIP_BODY_SHORT, m->body_offset);
    if (m->body_length < available) sip_defect(m, SIP_BODY_LONG, m->body_offset + m->body_length);
    return w->count;
}

/* All but `first` and `repeats`, which count only where present. In two halves that compilers turn into a
   few stores; as one they choose a string instruction that takes longer than a header. */
static void message_clear(struct sip_message *m) {
    memset(m, 0, 64);
    memset((uint8_t *)m + 64, 0, offsetof(struct sip_message, first) - 64);
    m->fault_offset = UINT32_MAX;
    m->content_length = -1;
}

ptrdiff_t sip_scan(const uint8_t *source, size_t count, int framing, struct sip_message *message,
                   struct sip_header *headers, size_t capacity) {
    struct sip_walk walk;
    struct sip_walk *w = &walk;
    message_clear(message);
    if (count > UINT32_MAX - 128) count = UINT32_MAX - 128;
    uint32_t start = 0;
    while (start < count && (source[start] == '\r' || source[start] == '\n')) start++;
    if (start) message->flags |= SIP_LEADING_CRLF;
    message->start_offset = start;
    w->source = source;
    w->count = (uint32_t)count;
    /* Rows are numbered in 16 bits. */
    w->capacity = (uint32_t)(capacity < UINT16_MAX ? capacity : UINT16_MAX);
    w->message = message;
    w->headers = headers;
    w->position = w->line_start = start;
    w->bare_line_feed = UINT32_MAX;
    w->after_return = w->after_feed = w->started = w->quoted = 0;
    w->refused = 0;
    w->ended = w->folded = w->indexed = w->length_seen = 0;
    w->odd = 0;
    if (start == count) return framing == SIP_STREAM ? STATUS_INCOMPLETE : STATUS_MALFORMED;
    const int result = sip_walk_chosen()(w, framing);
    if (result < 0) return result;
    if (w->bare_line_feed < message->body_offset) sip_defect(message, SIP_BARE_LF, w->bare_line_feed);
    message->header_total = message->header_count + w->refused;
    sip_rows_index(w);
    forms_note(w);
    if (w->odd) inspect(w, message->body_offset);
    if (!w->ended && framing == SIP_STREAM) return STATUS_INCOMPLETE;
    return frame(w, framing);
}

int sip_sniff(const uint8_t *source, size_t count) {
    size_t at = 0;
    while (at < count && (source[at] == '\r' || source[at] == '\n')) at++;
    source += at;
    count -= at;
    if (count >= 6 && !memcmp(source, "SIP/2.", 6)) return 1;
    for (at = 0; at < count && sip_token_bytes[source[at]]; at++) {}
    if (!at || at == count || source[at] != ' ') return 0;
    for (; at + 5 <= count && source[at] != '\n'; at++)
        if (source[at] == ' ' && !memcmp(source + at, " SIP/", 5)) return 1;
    return 0;
}
