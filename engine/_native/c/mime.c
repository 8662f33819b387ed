/* MIME kinds and the multipart splitter (RFC 2046 section 5.1, RFC 5621). */
#include "mime.h"

#include <string.h>

static uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? c | 0x20 : c; }

/* Equal in any case; `word` is in lower case. */
static int same(const uint8_t *source, size_t count, const char *word) {
    size_t i = 0;
    while (i < count && word[i] && lower(source[i]) == (uint8_t)word[i]) i++;
    return i == count && !word[i];
}

static int starts(const uint8_t *source, size_t count, const char *word) {
    const size_t length = strlen(word);
    return count >= length && same(source, length, word);
}

static int ends(const uint8_t *source, size_t count, const char *word) {
    const size_t length = strlen(word);
    return count >= length && same(source + count - length, length, word);
}

static int is_white(uint8_t c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

/* ---- kinds ---- */

uint8_t mime_kind(const uint8_t *base, struct sip_span content_type) {
    static const struct { const char *type; uint8_t kind; } known[] = {
        {"application/sdp", CONTENT_SDP}, {"message/sipfrag", CONTENT_SIPFRAG},
        {"application/dtmf-relay", CONTENT_DTMF_RELAY}, {"application/dtmf", CONTENT_DTMF},
        {"application/rs-metadata+xml", CONTENT_RS_METADATA},
        {"application/rs-metadata", CONTENT_RS_METADATA},
        {"application/pidf+xml", CONTENT_PIDF}, {"application/isup", CONTENT_ISUP},
        {"application/vq-rtcpxr", CONTENT_VQ_RTCPXR}, {"application/json", CONTENT_JSON}};
    const uint8_t *source = base + content_type.offset;
    uint32_t left = content_type.length, count = 0;
    while (left && is_white(*source)) source++, left--;
    while (count < left && source[count] != ';' && source[count] != ',' && !is_white(source[count])) count++;
    if (!count) return CONTENT_NONE;
    if (starts(source, count, "multipart/")) return CONTENT_MULTIPART;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (same(source, count, known[i].type)) return known[i].kind;
    if (ends(source, count, "+xml") || ends(source, count, "/xml")) return CONTENT_XML; /* RFC 7303 */
    if (ends(source, count, "+json")) return CONTENT_JSON;                              /* RFC 6839 */
    return starts(source, count, "text/") ? CONTENT_TEXT : CONTENT_OTHER;
}

/* ---- lines ---- */

/* A line [at, end) without its line end, and where the next one starts. */
struct line { uint32_t at, end, next; };

static struct line line_at(const uint8_t *base, uint32_t at, uint32_t stop) {
    const uint8_t *feed = memchr(base + at, '\n', stop - at);
    struct line line = {at, feed ? (uint32_t)(feed - base) : stop, feed ? (uint32_t)(feed - base) + 1 : stop};
    if (line.end > at && base[line.end - 1] == '\r') line.end--;
    return line;
}

enum delimiter { NO_DELIMITER, DELIMITER, CLOSE_DELIMITER };

/* "--" boundary, for the last one "--" again, and white space that a transport may have added. */
static enum delimiter delimiter_of(const uint8_t *base, struct line line, struct sip_span boundary) {
    uint32_t at = line.at + 2 + boundary.length;
    enum delimiter found = DELIMITER;
    if (line.end - line.at < 2 + boundary.length || base[line.at] != '-' || base[line.at + 1] != '-' ||
        memcmp(base + line.at + 2, base + boundary.offset, boundary.length))
        return NO_DELIMITER;
    if (line.end - at >= 2 && base[at] == '-' && base[at + 1] == '-') {
        found = CLOSE_DELIMITER;
        at += 2;
    }
    while (at < line.end && (base[at] == ' ' || base[at] == '\t')) at++;
    return at == line.end ? found : NO_DELIMITER;
}

/* ---- parts ---- */

/* The value of a header line named Content-Type, or "c" as SIP shortens it; empty when it is another one. */
static struct sip_span type_value(const uint8_t *base, struct line line) {
    const uint8_t *colon = memchr(base + line.at, ':', line.end - line.at);
    if (!colon) return (struct sip_span){0, 0};
    uint32_t at = (uint32_t)(colon - base) + 1, name_end = at - 1;
    while (name_end > line.at && is_white(base[name_end - 1])) name_end--;
    const uint8_t *name = base + line.at;
    if (!same(name, name_end - line.at, "content-type") && !same(name, name_end - line.at, "c"))
        return (struct sip_span){0, 0};
    while (at < line.end && is_white(base[at])) at++;
    return (struct sip_span){at, line.end - at};
}

/* Headers of a part up to the empty line, its type (over folded lines) and its body. */
static void read_part(const uint8_t *base, uint32_t from, uint32_t stop, struct mime_part *part,
                      uint32_t *flags) {
    struct sip_span type = {0, 0};
    uint32_t at = from, headers_end = from;
    int open = 0; /* the line before belongs to the type */
    while (at < stop) {
        const struct line line = line_at(base, at, stop);
        at = line.next;
        if (line.at == line.end) break;
        headers_end = at;
        if (base[line.at] == ' ' || base[line.at] == '\t') {
            if (open) type.length = line.end - type.offset;
            continue;
        }
        open = 0;
        if (type.length) continue; /* the first one counts */
        type = type_value(base, line);
        open = type.length != 0;
    }
    while (type.length && is_white(base[type.offset + type.length - 1])) type.length--;
    part->headers = (struct sip_span){from, headers_end - from};
    part->content_type = type;
    part->body = (struct sip_span){at, stop - at};
    part->kind = type.length ? mime_kind(base, type) : CONTENT_TEXT; /* RFC 2046 section 5.1: text/plain */
    if (!type.length) *flags |= MIME_PART_WITHOUT_TYPE;
}

/* bcharsnospace and space of RFC 2046 section 5.1.1. */
static int is_boundary_byte(uint8_t c) {
    const uint8_t letter = lower(c);
    return (letter >= 'a' && letter <= 'z') || (c >= '0' && c <= '9') || (c && strchr("'()+_,-./:=? ", c));
}

/* The boundary parameter; 0 when there is none to split by. */
static int boundary_of(const uint8_t *base, struct sip_span content_type, struct sip_span *boundary,
                       uint32_t *flags) {
    const uint32_t end = content_type.offset + content_type.length;
    const uint8_t *semicolon = memchr(base + content_type.offset, ';', content_type.length);
    const uint32_t from = semicolon ? (uint32_t)(semicolon - base) + 1 : end;
    if (!sip_param_find(base, (struct sip_span){from, end - from}, ';', "boundary", boundary)) {
        *flags |= MIME_NO_BOUNDARY;
        return 0;
    }
    const uint32_t behind = boundary->offset + boundary->length;
    const int quoted = boundary->offset > from && base[boundary->offset - 1] == '"';
    if (quoted && (behind >= end || base[behind] != '"')) *flags |= MIME_BOUNDARY_BAD; /* it never closes */
    if (!boundary->length) {
        *flags |= MIME_NO_BOUNDARY;
        return 0;
    }
    if (boundary->length > 70 || base[behind - 1] == ' ') *flags |= MIME_BOUNDARY_BAD;
    for (uint32_t i = 0; i < boundary->length; i++)
        if (!is_boundary_byte(base[boundary->offset + i])) *flags |= MIME_BOUNDARY_BAD;
    return 1;
}

/* End of a part whose delimiter line starts at `at`: the line end in front belongs to the delimiter. */
static uint32_t part_end(const uint8_t *base, uint32_t from, uint32_t at) {
    if (at > from && base[at - 1] == '\n') at--;
    if (at > from && base[at - 1] == '\r') at--;
    return at;
}

ptrdiff_t mime_split(const uint8_t *base, struct sip_span content_type, struct sip_span body,
                     struct mime_part *parts, size_t capacity, uint32_t *flags) {
    const uint32_t end = body.offset + body.length;
    uint32_t at = body.offset, from = 0;
    struct sip_span boundary;
    enum delimiter found = NO_DELIMITER;
    size_t count = 0;
    int inside = 0; /* a part is open; before it all is preamble */
    *flags = 0;
    if (!boundary_of(base, content_type, &boundary, flags)) return 0;
    while (found != CLOSE_DELIMITER && at <= end) {
        /* the end of the body ends a part too, as if it were a delimiter */
        const struct line line = at < end ? line_at(base, at, end) : (struct line){end, end, end + 1};
        found = at < end ? delimiter_of(base, line, boundary) : NO_DELIMITER;
        at = line.next;
        if (found == NO_DELIMITER && line.at < end) continue;
        if (inside && (found != NO_DELIMITER || from < end)) {
            if (count == capacity) {
                *flags |= MIME_TOO_MANY;
                return (ptrdiff_t)count;
            }
            const uint32_t to = found == NO_DELIMITER ? end : part_end(base, from, line.at);
            read_part(base, from, to, &parts[count++], flags);
        }
        inside = found == DELIMITER;
        from = line.next;
    }
    if (found != CLOSE_DELIMITER) *flags |= MIME_UNTERMINATED;
    if (!count) *flags |= MIME_NO_PARTS;
    return (ptrdiff_t)count;
}
