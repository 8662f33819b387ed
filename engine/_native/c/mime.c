/* MIME kinds and the multipart splitter (mime.h). */
#include "mime.h"

#include <string.h>

static int same(const uint8_t *s, uint32_t n, const char *word) {
    if (strlen(word) != n) return 0;
    for (uint32_t i = 0; i < n; i++)
        if ((s[i] >= 'A' && s[i] <= 'Z' ? s[i] | 32 : s[i]) != (uint8_t)word[i]) return 0;
    return 1;
}

static int starts(const uint8_t *s, uint32_t n, const char *word) {
    const uint32_t length = (uint32_t)strlen(word);
    return n >= length && same(s, length, word);
}

static int ends(const uint8_t *s, uint32_t n, const char *word) {
    const uint32_t length = (uint32_t)strlen(word);
    return n >= length && same(s + n - length, length, word);
}

uint8_t mime_kind(const uint8_t *base, struct sip_span content_type) {
    static const struct { const char *type; uint8_t kind; } known[] = {
        {"application/sdp", CONTENT_SDP}, {"message/sipfrag", CONTENT_SIPFRAG}, {"application/dtmf-relay", CONTENT_DTMF_RELAY},
        {"application/dtmf", CONTENT_DTMF}, {"application/rs-metadata+xml", CONTENT_RS_METADATA},
        {"application/rs-metadata", CONTENT_RS_METADATA}, {"application/pidf+xml", CONTENT_PIDF},
        {"application/isup", CONTENT_ISUP}, {"application/vq-rtcpxr", CONTENT_VQ_RTCPXR}, {"text/plain", CONTENT_TEXT},
        {"application/json", CONTENT_JSON}};
    const uint8_t *s = base + content_type.offset;
    uint32_t n = 0;
    while (n < content_type.length && s[n] != ';' && s[n] != ',' && s[n] != ' ' && s[n] != '\t' && s[n] != '\r' && s[n] != '\n') n++;
    if (!n) return CONTENT_NONE;
    if (starts(s, n, "multipart/")) return CONTENT_MULTIPART;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (same(s, n, known[i].type)) return known[i].kind;
    if (ends(s, n, "+xml") || ends(s, n, "/xml")) return CONTENT_XML;
    if (ends(s, n, "+json")) return CONTENT_JSON;
    return starts(s, n, "text/") ? CONTENT_TEXT : CONTENT_OTHER;
}

/* Where the line that begins at `at` ends: its bytes without CR and LF in `*length`; returns the next line's start. */
static uint32_t line_at(const uint8_t *s, uint32_t at, uint32_t n, uint32_t *length) {
    const uint8_t *lf = memchr(s + at, '\n', n - at);
    const uint32_t end = lf ? (uint32_t)(lf - s) : n;
    *length = end - at;
    if (*length && s[end - 1] == '\r') (*length)--;
    return lf ? end + 1 : n;
}

/* 0 no delimiter, 1 delimiter, 2 close delimiter (RFC 2046 §5.1.1: white space may pad it). */
static int delimiter(const uint8_t *line, uint32_t n, const uint8_t *boundary, uint32_t length) {
    if (n < length + 2 || line[0] != '-' || line[1] != '-' || memcmp(line + 2, boundary, length)) return 0;
    uint32_t at = length + 2;
    int closing = 1;
    if (n >= at + 2 && line[at] == '-' && line[at + 1] == '-') { closing = 2; at += 2; }
    while (at < n && (line[at] == ' ' || line[at] == '\t')) at++;
    return at == n ? closing : 0;
}

static void read_part(const uint8_t *base, uint32_t from, uint32_t to, struct mime_part *part, uint32_t *flags) {
    uint32_t at = from, length;
    memset(part, 0, sizeof *part);
    part->headers.offset = from;
    while (at < to) {
        const uint32_t next = line_at(base, at, to, &length);
        if (!length) { part->headers.length = at - from; at = next; break; }
        if (length > 13 && starts(base + at, length, "content-type")) {
            uint32_t value = at + 12;
            while (value < at + length && (base[value] == ' ' || base[value] == '\t')) value++;
            if (value < at + length && base[value] == ':') {
                value++;
                while (value < at + length && (base[value] == ' ' || base[value] == '\t')) value++;
                part->content_type = (struct sip_span){value, at + length - value};
            }
        }
        at = next;
        part->headers.length = at - from;
    }
    part->body = (struct sip_span){at, to - at};
    part->kind = part->content_type.length ? mime_kind(base, part->content_type) : CONTENT_NONE;
    if (!part->content_type.length) *flags |= MIME_PART_WITHOUT_TYPE;
}

static int boundary_of(const uint8_t *base, struct sip_span content_type, struct sip_span *boundary, uint32_t *flags) {
    const uint8_t *semicolon = memchr(base + content_type.offset, ';', content_type.length);
    struct sip_span parameters = {0, 0};
    if (semicolon) {
        parameters.offset = (uint32_t)(semicolon - base);
        parameters.length = content_type.offset + content_type.length - parameters.offset;
    }
    if (!parameters.length || !sip_param_find(base, parameters, ';', "boundary", boundary) || !boundary->length) {
        *flags |= MIME_NO_BOUNDARY;
        return 0;
    }
    if (boundary->length > 70) *flags |= MIME_BOUNDARY_BAD;
    for (uint32_t i = 0; i < boundary->length; i++) {
        const uint8_t c = base[boundary->offset + i];
        if (c < 32 || c > 126) { *flags |= MIME_BOUNDARY_BAD; return 0; }
    }
    return boundary->length <= 1024;
}

ptrdiff_t mime_split(const uint8_t *base, struct sip_span content_type, struct sip_span body, struct mime_part *parts,
                     size_t capacity, uint32_t *flags) {
    struct sip_span boundary;
    *flags = 0;
    if (!boundary_of(base, content_type, &boundary, flags)) return 0;
    const uint32_t end = body.offset + body.length;
    uint32_t at = body.offset, open = UINT32_MAX, length;
    size_t count = 0;
    int closed = 0;
    while (at < end && !closed) {
        const uint32_t next = line_at(base, at, end, &length);
        const int kind = delimiter(base + at, length, base + boundary.offset, boundary.length);
        if (kind) {
            if (open != UINT32_MAX) {
                /* the line end before a delimiter belongs to it */
                uint32_t to = at;
                if (to > open && base[to - 1] == '\n') to--;
                if (to > open && base[to - 1] == '\r') to--;
                if (count < capacity) read_part(base, open, to, &parts[count++], flags);
                else *flags |= MIME_TOO_MANY;
            }
            open = next;
            closed = kind == 2;
        }
        at = next;
    }
    if (!closed) {
        *flags |= MIME_UNTERMINATED;
        if (open != UINT32_MAX && open < end && count < capacity) read_part(base, open, end, &parts[count++], flags);
    }
    if (!count) *flags |= MIME_NO_PARTS;
    return (ptrdiff_t)count;
}
