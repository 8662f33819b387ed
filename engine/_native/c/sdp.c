/* SDP: lines, and what stands at session level (sdp.h). Media lines and their formats are in sdp_media.c,
   attributes in sdp_attributes.c, encoding names in sdp_codecs.c. */
#include "sdp_lines.h"

int sdp_equals(const uint8_t *from, const uint8_t *to, const char *text) {
    for (; from < to; from++, text++) {
        const uint8_t c = *from >= 'A' && *from <= 'Z' ? *from | 0x20 : *from;
        if (!*text || c != (uint8_t)*text) return 0;
    }
    return !*text;
}

/* ---- words and numbers ---- */

uint32_t sdp_text_bits_near_end(const struct sdp_reader *r, const uint8_t *window, const uint8_t *stop) {
    const size_t left = (size_t)(stop - window), behind = (size_t)(r->end - window);
    uint32_t text;
    if (!left) return 0;
    if ((size_t)(r->end - r->start) >= 32) text = sdp_text_bits(r->end - 32) >> (32 - behind);
    else {
        uint8_t copy[32] = {0};
        memcpy(copy, window, left);
        text = sdp_text_bits(copy);
    }
    return text & (((uint32_t)1 << left) - 1);
}

struct sdp_word sdp_next_far(const struct sdp_reader *r, struct sdp_words *w, const uint8_t *from) {
    while (w->stop - w->window > 32) {
        w->window += 32;
        sdp_words_fill(r, w);
        const uint32_t blanks = ~w->text; /* at `stop` too: what is cut off there counts as blank */
        if (!from) {
            if (w->text) return sdp_next(r, w);
        } else if (blanks) {
            const unsigned end = (unsigned)__builtin_ctz(blanks);
            w->text &= ~(uint32_t)0 << end;
            return (struct sdp_word){from, w->window + end};
        }
    }
    w->text = 0;
    return (struct sdp_word){from ? from : w->stop, w->stop};
}

int64_t sdp_decimal_long(const struct sdp_reader *r, const uint8_t *from, const uint8_t *to) {
    int64_t value = 0;
    if (from >= to) return -1;
    if (to - from > 8 && to - from <= 16 && from - r->start >= 8) { /* session ids are often NTP seconds */
        const int64_t head = sdp_digits(to - 8, (size_t)(to - from) - 8), tail = sdp_digits(to, 8);
        return head < 0 || tail < 0 ? -1 : head * 100000000 + tail;
    }
    for (; from < to; from++) {
        const unsigned digit = (unsigned)*from - '0';
        if (digit > 9) return -1;
        value = value > (INT64_MAX - (int)digit) / 10 ? INT64_MAX : value * 10 + digit;
    }
    return value;
}

/* ---- v=, o=, s=, c= ---- */

/* "IN" and "IP4" or "IP6" that agrees with what the address is. A name may be of either family. */
static int network_is_sound(struct sdp_word network, struct sdp_word type, const struct address *address) {
    const uint8_t *n = network.from, *t = type.from;
    if (sdp_length(network) != 2 || (n[0] | 0x20) != 'i' || (n[1] | 0x20) != 'n') return 0;
    if (sdp_length(type) != 3 || (t[0] | 0x20) != 'i' || (t[1] | 0x20) != 'p') return 0;
    const int v4 = t[2] == '4', v6 = t[2] == '6';
    if (address->kind == ADDRESS_NAME) return v4 || v6;
    return (v4 && address->family == 4) || (v6 && address->family == 6);
}

static int same_text(const uint8_t *a, const uint8_t *a_end, const uint8_t *b, const uint8_t *b_end) {
    return a && a_end - a == b_end - b && !memcmp(a, b, (size_t)(b_end - b));
}

/* Shifts the words behind the sixth into `word`. Returns how many there were. */
static unsigned keep_last_six(const struct sdp_reader *r, struct sdp_words *words, struct sdp_word word[6]) {
    unsigned count = 0;
    for (struct sdp_word w = sdp_next(r, words); w.from < w.to; w = sdp_next(r, words), count++) {
        memmove(word, word + 1, 5 * sizeof *word);
        word[5] = w;
    }
    return count;
}

/* o=<username> <sess-id> <sess-version> <nettype> <addrtype> <unicast-address> (RFC 8866 section 5.2).
   Words are taken from the right: a username with blanks, though forbidden, then costs nothing else. */
static void read_origin(struct sdp_reader *r, const uint8_t *at, const uint8_t *stop) {
    struct sdp_session *s = r->session;
    struct sdp_word word[6];
    unsigned count = 0;
    s->origin = sdp_span(r, at, stop);
    struct sdp_words words = sdp_words_of(r, at, stop);
    for (; count < 6; count++) {
        word[count] = sdp_next(r, &words);
        if (word[count].from == word[count].to) break;
    }
    if (count == 6) count += keep_last_six(r, &words, word);
    if (count != 6) r->level.flags |= SDP_BAD_ORIGIN;
    if (count < 5) {
        s->origin_hash = sip_hash(at, (size_t)(stop - at), 0);
        return;
    }
    const struct sdp_word *last = word + (count < 6 ? count : 6);
    const struct sdp_word id = last[-5], version = last[-4], network = last[-3], host = last[-1];
    s->session_id = sdp_span(r, id.from, id.to);
    s->session_version = sdp_span(r, version.from, version.to);
    s->version = sdp_decimal(r, version.from, version.to);
    address_parse(host.from, sdp_length(host), &s->origin_address);
    r->origin_host = host.from;
    r->origin_host_end = host.to;
    if (s->version < 0 || sdp_decimal(r, id.from, id.to) < 0 ||
        !network_is_sound(network, last[-2], &s->origin_address))
        r->level.flags |= SDP_BAD_ORIGIN;
    const uint64_t head = sip_hash(at, (size_t)(id.to - at), 0);
    s->origin_hash = sip_hash(network.from, (size_t)(host.to - network.from), head);
}

/* What stands behind the slash of a multicast address: /ttl[/count] for IPv4, /count for IPv6. */
static int multicast_is_sound(const struct sdp_reader *r, const uint8_t *slash, const uint8_t *stop,
                              const struct address *address) {
    if (address->kind != ADDRESS_MULTICAST) return slash == stop;
    if (slash == stop) return address->family == 6; /* an IPv4 group needs its TTL */
    const uint8_t *second = memchr(slash + 1, '/', (size_t)(stop - slash - 1));
    if (address->family == 6) return !second && sdp_decimal(r, slash + 1, stop) > 0;
    const int64_t ttl = sdp_decimal(r, slash + 1, second ? second : stop);
    return ttl >= 0 && ttl <= 255 && (!second || sdp_decimal(r, second + 1, stop) > 0);
}

/* c=<nettype> <addrtype> <connection-address> (RFC 8866 section 5.7). The first one of a level counts. */
static void read_connection(struct sdp_reader *r, const uint8_t *at, const uint8_t *stop) {
    struct sdp_level *level = &r->level;
    struct sdp_words words = sdp_words_of(r, at, stop);
    const struct sdp_word network = sdp_next(r, &words), type = sdp_next(r, &words);
    const struct sdp_word whole = sdp_next(r, &words), behind = sdp_next(r, &words);
    const uint8_t *slash = whole.from < whole.to ? memchr(whole.from, '/', sdp_length(whole)) : NULL;
    const uint8_t *host_end = slash ? slash : whole.to;
    struct address address;
    if (same_text(r->origin_host, r->origin_host_end, whole.from, host_end))
        address = r->session->origin_address;
    else if (r->in_media && same_text(r->outer.host, r->outer.host_end, whole.from, host_end))
        address = r->outer.connection;
    else address_parse(whole.from, (size_t)(host_end - whole.from), &address);
    if (!network_is_sound(network, type, &address) || behind.from < behind.to ||
        !multicast_is_sound(r, host_end, whole.to, &address))
        level->flags |= SDP_BAD_CONNECTION;
    if (level->seen & SDP_SEEN_CONNECTION) return;
    level->seen |= SDP_SEEN_CONNECTION;
    level->connection = address;
    level->host = whole.from;
    level->host_end = host_end;
}

/* ---- lines ---- */

#define LETTER(c) (1u << ((c) - 'a'))

/* Place of a line type, from 1 on (RFC 8866 section 9); t, r and z form groups that repeat. */
static const int8_t ranks[2][26] = {
    {['v' - 'a'] = 1, ['o' - 'a'] = 2, ['s' - 'a'] = 3, ['i' - 'a'] = 4, ['u' - 'a'] = 5, ['e' - 'a'] = 6,
     ['p' - 'a'] = 7, ['c' - 'a'] = 8, ['b' - 'a'] = 9, ['t' - 'a'] = 10, ['r' - 'a'] = 10, ['z' - 'a'] = 10,
     ['k' - 'a'] = 11, ['a' - 'a'] = 12, ['m' - 'a'] = 13},
    {['m' - 'a'] = 1, ['i' - 'a'] = 2, ['c' - 'a'] = 3, ['b' - 'a'] = 4, ['k' - 'a'] = 5, ['a' - 'a'] = 6}};
/* At most one of these at a level. */
#define SINGLE (LETTER('v') | LETTER('o') | LETTER('s') | LETTER('i') | LETTER('u') | LETTER('k'))
#define KNOWN (SINGLE | LETTER('e') | LETTER('p') | LETTER('c') | LETTER('b') | LETTER('t') | LETTER('r') | \
               LETTER('z') | LETTER('a') | LETTER('m'))

TL_INLINE void check_order(struct sdp_reader *r, unsigned letter) {
    const int8_t rank = ranks[r->in_media][letter];
    if (rank < r->rank + (int)(SINGLE >> letter & 1)) r->level.flags |= SDP_WRONG_ORDER;
    else r->rank = rank; /* one line out of place is one defect: those behind it keep theirs */
}

/* Lines that stand once at session level. At a media line v, o, s and t are out of order and no more. */
static void session_line(struct sdp_reader *r, const uint8_t *line, const uint8_t *stop,
                         const uint8_t *next) {
    struct sdp_session *s = r->session;
    const uint32_t bit = LETTER(line[0]);
    if (r->types & bit) return; /* the first one counts */
    if (line[0] == 'v') {
        if (stop - line != 3 || line[2] != '0') return; /* RFC 8866 section 5.1 knows version 0 only */
    } else if (line[0] == 'o') {
        read_origin(r, line + 2, stop);
        r->origin = line;
        r->origin_end = next;
    } else if (line[0] == 's') {
        s->session_name = sdp_span(r, line + 2, stop);
        if (stop - line == 2) r->level.flags |= SDP_EMPTY_SESSION_NAME;
    }
    r->types |= bit;
}

/* One line [line, stop) without its end; the next one starts at `next`. */
static void read_line(struct sdp_reader *r, const uint8_t *line, const uint8_t *stop, const uint8_t *next) {
    uint32_t bare = 0;
    if (stop > line && stop[-1] == '\r') stop--;
    else if (next > stop) bare = SDP_BARE_LF;
    if (stop == line) {
        r->blank = 1; /* no defect where only empty lines follow */
        r->level.flags |= bare;
        return;
    }
    if (TL_UNLIKELY(r->blank)) {
        r->level.flags |= SDP_BAD_LINE;
        r->blank = 0;
    }
    if (r->session->line_count < UINT16_MAX) r->session->line_count++;
    const unsigned letter = (unsigned)line[0] - 'a';
    if (stop - line < 2 || line[1] != '=' || letter > 25 || !(KNOWN >> letter & 1)) {
        r->level.flags |= SDP_BAD_LINE | bare;
        return;
    }
    r->valid++;
    if (letter == 'm' - 'a') {
        sdp_media_begin(r, line, stop);
        r->level.flags |= bare;
        r->rank = 1;
        return;
    }
    r->level.flags |= bare;
    check_order(r, letter);
    switch (line[0]) {
    case 'a': sdp_attribute(r, line + 2, stop); break;
    case 'b': sdp_bandwidth(r, line + 2, stop); break;
    case 'c': read_connection(r, line + 2, stop); break;
    case 'v': case 'o': case 's': case 't': session_line(r, line, stop, next); break;
    default: break;
    }
}

/* Bit i: byte i of 64 is LF. */
TL_INLINE uint64_t line_feeds(const uint8_t *source) {
    uint64_t mask = 0;
#if defined(__x86_64__) && !defined(SDP_SCALAR)
    const __m128i feed = _mm_set1_epi8('\n'); /* SSE2 is part of x86-64: nothing to choose at run time */
    for (int i = 0; i < 4; i++) {
        const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(source + 16 * i));
        mask |= (uint64_t)(uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, feed)) << 16 * i;
    }
#else
    for (int i = 0; i < 64; i++) mask |= (uint64_t)(source[i] == '\n') << i;
#endif
    return mask;
}

/* Line feeds of the block at `block`, of which `left` bytes belong to the body that starts at `start`. */
static uint64_t block_feeds(const uint8_t *start, const uint8_t *block, size_t left) {
    if (TL_LIKELY(left >= 64)) return line_feeds(block);
    if ((size_t)(block - start) + left >= 64) return line_feeds(block + left - 64) >> (64 - left);
    uint8_t copy[64] = {0};
    memcpy(copy, block, left);
    return line_feeds(copy);
}

static void read_lines(struct sdp_reader *r, const uint8_t *start) {
    const uint8_t *line = start;
    for (const uint8_t *block = start; block < r->end; block += 64) {
        const size_t left = (size_t)(r->end - block);
        for (uint64_t feeds = block_feeds(start, block, left); feeds; feeds &= feeds - 1) {
            const uint8_t *feed = block + __builtin_ctzll(feeds);
            read_line(r, line, feed, feed + 1);
            line = feed + 1;
        }
        if (left <= 64) break;
    }
    if (line < r->end) read_line(r, line, r->end, r->end);
}

/* ---- the whole ---- */

static void begin(struct sdp_reader *r) {
    struct sdp_session *s = r->session;
    s->origin = s->session_id = s->session_version = s->session_name = (struct sip_span){0, 0};
    s->origin_hash = s->body_hash = 0;
    s->version = -1;
    s->origin_address = s->connection = (struct address){{0}, 0, 0, 0};
    s->flags = 0;
    s->media_count = s->media_total = s->line_count = 0;
    r->level = (struct sdp_level){0};
    r->media = NULL;
    r->origin = r->origin_end = r->origin_host = r->origin_host_end = NULL;
    r->valid = r->types = 0;
    r->rank = 0;
    r->in_media = r->carries_rtp = r->blank = r->bundle_count = 0;
}

/* Everything but the o= line, which changes with every version. */
static uint64_t body_hash(const struct sdp_reader *r, const uint8_t *start) {
    const uint8_t *from = r->origin ? r->origin : r->end, *to = r->origin ? r->origin_end : r->end;
    const uint64_t head = sip_hash(start, (size_t)(from - start), 0);
    return sip_hash(to, (size_t)(r->end - to), head);
}

ptrdiff_t sdp_scan(const uint8_t *base, struct sip_span body, struct sdp_session *session,
                   struct sdp_media *media, size_t capacity) {
    struct sdp_reader r; /* set field by field: its arrays need no values */
    const uint8_t *start = base + body.offset;
    r.base = base;
    r.start = start;
    r.end = start + body.length;
    r.session = session;
    r.rows = media;
    r.capacity = capacity < UINT16_MAX ? capacity : UINT16_MAX;
    begin(&r);
    read_lines(&r, start);
    if (!r.valid) return STATUS_MALFORMED;
    sdp_media_end(&r, r.end);
    if (!r.in_media) r.outer = r.level;
    if (r.outer.seen & SDP_SEEN_CONNECTION) session->connection = r.outer.connection;
    session->flags |= r.outer.flags | (r.types & LETTER('v') ? 0 : SDP_NO_VERSION) |
                      (r.types & LETTER('o') ? 0 : SDP_NO_ORIGIN) |
                      (r.types & LETTER('s') ? 0 : SDP_NO_SESSION_NAME) |
                      (r.types & LETTER('t') ? 0 : SDP_NO_TIME);
    session->body_hash = body_hash(&r, start);
    return session->media_count;
}
