/* SDP media lines: m=, formats and their rtpmap and fmtp, b=, and what a section amounts to
   (RFC 8866 sections 5.14, 6.6 and 6.15; RFC 3551; RFC 3264). */
#include "sdp_lines.h"

/* The first '/' in [at, stop), or `stop`. */
TL_INLINE const uint8_t *find_slash(const struct sdp_reader *r, const uint8_t *at, const uint8_t *stop) {
    if (TL_LIKELY(stop - at <= 32 && r->end - at >= 32)) {
        const uint32_t bits = sdp_byte_bits(at, '/');
        const uint8_t *slash = at + (bits ? __builtin_ctz(bits) : 32);
        return slash < stop ? slash : stop;
    }
    while (at < stop && *at != '/') at++;
    return at;
}

/* ---- m= ---- */

static uint8_t media_of(const struct sdp_reader *r, struct sdp_word word) {
    uint32_t length;
    const uint64_t lowered = sdp_lower(sdp_key(r, word.from, word.to, ' ', &length));
    switch (lowered) {
    case SDP_KEY('a', 'u', 'd', 'i', 'o', ' ', ' ', ' '): return SDP_AUDIO;
    case SDP_KEY('v', 'i', 'd', 'e', 'o', ' ', ' ', ' '): return SDP_VIDEO;
    case SDP_KEY('i', 'm', 'a', 'g', 'e', ' ', ' ', ' '): return SDP_IMAGE;
    case SDP_KEY('t', 'e', 'x', 't', ' ', ' ', ' ', ' '): return SDP_TEXT;
    case SDP_KEY('m', 'e', 's', 's', 'a', 'g', 'e', ' '): return SDP_MESSAGE;
    case SDP_KEY('a', 'p', 'p', 'l', 'i', 'c', 'a', 't'):
        return sdp_equals(word.from + 8, word.to, "ion") ? SDP_APPLICATION : SDP_MEDIA_OTHER;
    default: return SDP_MEDIA_OTHER;
    }
}

static uint8_t proto_of(const struct sdp_reader *r, struct sdp_word word) {
    static const struct { const char *name; uint8_t length, proto; } known[] = {
        {"rtp/avp", 7, SDP_RTP_AVP}, {"rtp/savp", 8, SDP_RTP_SAVP}, {"rtp/avpf", 8, SDP_RTP_AVPF},
        {"rtp/savpf", 9, SDP_RTP_SAVPF}, {"udp/tls/rtp/savpf", 17, SDP_UDP_TLS_RTP_SAVPF},
        {"udp/tls/rtp/savp", 16, SDP_UDP_TLS_RTP_SAVP}, {"udptl", 5, SDP_UDPTL}, {"udp", 3, SDP_UDP},
        {"tcp", 3, SDP_TCP}, {"tcp/msrp", 8, SDP_TCP_MSRP}, {"tcp/tls/msrp", 12, SDP_TCP_MSRP},
        {"udp/dtls/sctp", 13, SDP_DTLS_SCTP}, {"tcp/dtls/sctp", 13, SDP_DTLS_SCTP},
        {"dtls/sctp", 9, SDP_DTLS_SCTP}, {"udp/tls/udptl", 13, SDP_TLS_UDPTL}};
    uint32_t length;
    const uint64_t usual = SDP_KEY('r', 't', 'p', '/', 'a', 'v', 'p', ' ');
    if (TL_LIKELY(sdp_lower(sdp_key(r, word.from, word.to, ' ', &length)) == usual)) return SDP_RTP_AVP;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].length == sdp_length(word) && sdp_equals(word.from, word.to, known[i].name))
            return known[i].proto;
    return SDP_PROTO_OTHER;
}

/* Formats of an RTP profile are payload types, also where what carries it is not known here
   (TCP/RTP/AVP, RFC 4571): the last part of the proto tells. */
static int carries_rtp(uint8_t proto, struct sdp_word word) {
    if (proto >= SDP_RTP_AVP && proto <= SDP_UDP_TLS_RTP_SAVPF) return 1;
    if (proto != SDP_PROTO_OTHER) return 0;
    const uint8_t *last = word.to;
    while (last > word.from && word.to - last < 6 && last[-1] != '/') last--;
    if (last == word.from || last[-1] != '/') return 0;
    return sdp_equals(last, word.to, "avp") || sdp_equals(last, word.to, "savp") ||
           sdp_equals(last, word.to, "avpf") || sdp_equals(last, word.to, "savpf");
}

static void row_begin(struct sdp_media *m) {
    memset(&m->connection, 0, sizeof m->connection);
    m->connection_host = m->label = m->mid = (struct sip_span){0, 0};
    m->port_count = 1;
    m->direction = m->setup = m->format_count = m->crypto_count = m->candidates = 0;
    m->ptime_ms = m->maxptime_ms = m->rtcp_port = m->format_total = 0;
    m->crypto_suites = m->candidate_count = m->traits = 0;
    m->codecs = m->codecs_hash = m->crypto_key_hash = m->fingerprint_hash = 0;
    m->bandwidth_kbps = m->flags = 0;
}

/* <port>[/<number of ports>] */
static void read_port(struct sdp_reader *r, struct sdp_word word) {
    const uint8_t *slash = find_slash(r, word.from, word.to);
    const int64_t port = sdp_decimal(r, word.from, slash);
    if (port < 0 || port > 65535) r->level.flags |= SDP_PORT_BAD;
    else r->media->connection.port = (uint16_t)port;
    if (slash == word.to) return;
    const int64_t count = sdp_decimal(r, slash + 1, word.to);
    if (count < 1 || count > 65535) r->level.flags |= SDP_PORT_BAD;
    else r->media->port_count = (uint16_t)count;
}

static void payload_type_add(struct sdp_reader *r, struct sdp_word word) {
    struct sdp_media *m = r->media;
    const int64_t number = sdp_decimal(r, word.from, word.to);
    if (number < 0 || number > 127) {
        r->level.flags |= SDP_PT_RANGE;
        return;
    }
    if (r->listed[number >> 6] >> (number & 63) & 1) return; /* said before: it has its row */
    r->listed[number >> 6] |= 1ull << (number & 63);
    r->row_of[number] = m->format_count < SDP_FORMATS_MAX ? m->format_count : SDP_NO_ROW;
    if (m->format_count == SDP_FORMATS_MAX) return;
    struct sdp_format *f = &m->formats[m->format_count++];
    *f = (struct sdp_format){.payload_type = (uint8_t)number, .channels = 1};
    if (number >= SDP_STATIC_COUNT || !sdp_static_types[number].clock_rate_hz) return;
    f->codec = sdp_static_types[number].codec;
    f->channels = sdp_static_types[number].channels;
    f->clock_rate_hz = sdp_static_types[number].clock_rate_hz;
}

static void read_formats(struct sdp_reader *r, struct sdp_words *words) {
    struct sdp_media *m = r->media;
    struct sdp_word word = sdp_next(r, words);
    const uint8_t *const first = word.from;
    if (word.from == word.to) r->level.flags |= SDP_BAD_MEDIA;
    for (; word.from < word.to; word = sdp_next(r, words)) {
        if (m->format_total < UINT16_MAX) m->format_total++;
        if (r->carries_rtp) payload_type_add(r, word);
        else if (sdp_equals(word.from, word.to, "t38")) m->codecs |= 1ull << SDP_CODEC_T38;
    }
    /* without payload types their text is what an offer and an answer can be compared by */
    if (!r->carries_rtp && m->format_total)
        m->codecs_hash = sip_hash(first, (size_t)(words->stop - first), 0);
}

/* m=<media> <port>[/<number>] <proto> <fmt> ... (RFC 8866 section 5.14) */
void sdp_media_begin(struct sdp_reader *r, const uint8_t *line, const uint8_t *stop) {
    struct sdp_session *s = r->session;
    sdp_media_end(r, line);
    if (!r->in_media) r->outer = r->level;
    r->in_media = 1;
    r->level = (struct sdp_level){0};
    r->listed[0] = r->listed[1] = 0;
    r->media = NULL;
    if (s->media_total < UINT16_MAX) s->media_total++;
    if (s->media_count >= r->capacity) {
        r->level.flags = SDP_TOO_MANY;
        return;
    }
    struct sdp_words words = sdp_words_of(r, line + 2, stop);
    struct sdp_media *m = r->media = &r->rows[s->media_count++];
    row_begin(m);
    m->section.offset = (uint32_t)(line - r->base);
    const struct sdp_word media = sdp_next(r, &words), port = sdp_next(r, &words);
    const struct sdp_word proto = sdp_next(r, &words);
    m->media = media_of(r, media);
    m->proto = proto_of(r, proto);
    r->carries_rtp = (uint8_t)carries_rtp(m->proto, proto);
    if (port.from == port.to) r->level.flags |= SDP_BAD_MEDIA;
    else read_port(r, port);
    read_formats(r, &words);
}

/* ---- the end of a section ---- */

/* The group holds for every line but those whose mid it does not name (RFC 9143 section 7). A line without
   mid cannot be named: that it stands beside a group is what a reader has to know. */
static int is_bundled(const struct sdp_reader *r, struct sip_span mid) {
    if (!mid.length) return r->bundle_count > 0;
    for (unsigned i = 0; i < r->bundle_count; i++)
        if (r->bundle[i].length == mid.length &&
            !memcmp(r->base + r->bundle[i].offset, r->base + mid.offset, mid.length))
            return 1;
    return 0;
}

static void fold_connection(struct sdp_reader *r, struct sdp_media *m) {
    const struct sdp_level *from = &r->level;
    if (!(r->level.seen & SDP_SEEN_CONNECTION) && r->outer.seen & SDP_SEEN_CONNECTION) {
        from = &r->outer;
        m->traits |= SDP_SESSION_CONNECTION;
    }
    if (!(from->seen & SDP_SEEN_CONNECTION)) {
        /* a refused line needs no address (RFC 3264 section 6) */
        if (m->connection.port) r->level.flags |= SDP_NO_CONNECTION;
        return;
    }
    const uint16_t port = m->connection.port;
    m->connection = from->connection;
    m->connection.port = port;
    m->connection_host = sdp_span(r, from->host, from->host_end);
}

static void fold_formats(struct sdp_reader *r, struct sdp_media *m) {
    uint64_t codecs = 0, hash = 0;
    for (unsigned i = 0; i < m->format_count; i++) {
        const struct sdp_format *f = &m->formats[i];
        if (f->clock_rate_hz || f->flags & SDP_FORMAT_RTPMAP) codecs |= 1ull << f->codec;
        else if (m->connection.port) r->level.flags |= SDP_PT_UNMAPPED;
        hash ^= (uint64_t)f->payload_type << 40 | (uint64_t)f->codec << 32 | f->clock_rate_hz;
        hash *= 0x9e3779b97f4a7c15u;
        hash ^= hash >> 32;
    }
    m->codecs = codecs;
    m->codecs_hash = hash;
}

void sdp_media_end(struct sdp_reader *r, const uint8_t *end) {
    struct sdp_media *m = r->media;
    if (m) {
        m->section.length = (uint32_t)(end - r->base) - m->section.offset;
        m->traits |= r->level.traits | (r->outer.traits & (SDP_ICE | SDP_ICE_LITE | SDP_ICE_MISMATCH |
                                                           SDP_FINGERPRINT | SDP_RECORD));
        fold_connection(r, m);
        if (r->carries_rtp) fold_formats(r, m);
        m->direction = r->level.direction;
        if (!m->direction && r->outer.direction) {
            m->direction = r->outer.direction;
            m->traits |= SDP_SESSION_DIRECTION;
        }
        if (!m->direction) m->direction = SDP_SENDRECV; /* RFC 8866 section 6.7 */
        m->setup = r->level.setup ? r->level.setup : r->outer.setup;
        m->fingerprint_hash = r->level.traits & SDP_FINGERPRINT ? r->level.fingerprint_hash
                                                                : r->outer.fingerprint_hash;
        if (m->maxptime_ms && m->maxptime_ms < m->ptime_ms) r->level.flags |= SDP_PTIME_BAD;
        if (is_bundled(r, m->mid)) m->traits |= SDP_BUNDLED;
        m->flags = r->level.flags;
    }
    if (r->in_media) r->session->flags |= r->level.flags;
}

/* b=<bwtype>:<bandwidth> (RFC 8866 section 5.8; TIAS: RFC 3890, bit/s). Of the whole session it says
   nothing about one line. */
void sdp_bandwidth(struct sdp_reader *r, const uint8_t *at, const uint8_t *stop) {
    const uint8_t *colon = at;
    if (!r->media) return;
    while (colon < stop && *colon != ':') colon++;
    if (colon == stop) return;
    const int as = sdp_equals(at, colon, "as"), tias = sdp_equals(at, colon, "tias");
    while (stop > colon && sdp_is_blank(stop[-1])) stop--;
    const int64_t number = sdp_decimal(r, colon + 1, stop);
    if (number < 0 || !(as || tias) || r->level.seen & SDP_SEEN_AS) return;
    if (as) r->level.seen |= SDP_SEEN_AS;
    else if (r->media->bandwidth_kbps) return;
    const int64_t kbps = as ? number : number / 1000;
    r->media->bandwidth_kbps = kbps < UINT32_MAX ? (uint32_t)kbps : UINT32_MAX;
}

/* ---- rtpmap, fmtp ---- */

/* The row of a payload type, or NULL. */
static struct sdp_format *row_of(struct sdp_reader *r, int64_t number) {
    if (!(r->listed[number >> 6] >> (number & 63) & 1) || r->row_of[number] == SDP_NO_ROW) return NULL;
    return &r->media->formats[r->row_of[number]];
}

/* What an rtpmap gives to a payload type. */
struct sdp_mapping { const uint8_t *name, *name_end; uint32_t clock_rate_hz; uint8_t codec, channels; };

/* The three parts of an rtpmap: words, and the slashes of the second (its end where there is none). */
struct sdp_mapping_text {
    struct sdp_word type, encoding;
    const uint8_t *slash, *second;
    int behind; /* a third word follows */
};

static void mapping_words(const struct sdp_reader *r, const uint8_t *at, const uint8_t *stop,
                          struct sdp_mapping_text *t) {
    struct sdp_words words = sdp_words_of(r, at, stop);
    t->type = sdp_next(r, &words);
    t->encoding = sdp_next(r, &words);
    const struct sdp_word behind = sdp_next(r, &words);
    t->behind = behind.from < behind.to;
    t->slash = find_slash(r, t->encoding.from, t->encoding.to);
    t->second = t->slash < t->encoding.to ? find_slash(r, t->slash + 1, t->encoding.to) : t->encoding.to;
}

/* The same for a value of at most 31 bytes that starts with no blank, from two masks of one load; 0 when it
   is another one or has not exactly two words. */
TL_INLINE int mapping_words_near(const struct sdp_reader *r, const uint8_t *at, const uint8_t *stop,
                                 struct sdp_mapping_text *t) {
    const size_t length = (size_t)(stop - at);
    if (TL_UNLIKELY(length - 1 > 30 || r->end - at < 32)) return 0;
    const uint32_t text = sdp_text_bits(at) & (((uint32_t)1 << length) - 1);
    const uint32_t behind_type = text & (text + 1); /* without the run of ones at the bottom */
    const uint32_t carried = behind_type + (behind_type & -behind_type);
    if (TL_UNLIKELY(!(text & 1) || !behind_type || carried & behind_type)) return 0;
    const unsigned from = (unsigned)__builtin_ctz(behind_type);
    const uint8_t *const end = at + __builtin_ctz(carried);
    const uint32_t slashes = sdp_byte_bits(at, '/') & behind_type, more = slashes & (slashes - 1);
    t->type = (struct sdp_word){at, at + __builtin_ctz(~text)};
    t->encoding = (struct sdp_word){at + from, end};
    t->slash = slashes ? at + __builtin_ctz(slashes) : end;
    t->second = more ? at + __builtin_ctz(more) : end;
    t->behind = 0;
    return 1;
}

/* <encoding name>/<clock rate>[/<channels>]; 0 when any part of it is not legal. What cannot be read is
   0 Hz or one channel. */
static int read_mapping(const struct sdp_reader *r, const struct sdp_mapping_text *text,
                        struct sdp_mapping *t) {
    const struct sdp_word word = text->encoding;
    *t = (struct sdp_mapping){word.from, text->slash, 0, sdp_codec_of(r, word.from, text->slash), 1};
    if (text->slash == word.to) return 0;
    const int64_t clock = sdp_decimal(r, text->slash + 1, text->second);
    const int sound = text->slash > word.from && clock > 0 && clock <= UINT32_MAX;
    if (clock > 0 && clock <= UINT32_MAX) t->clock_rate_hz = (uint32_t)clock;
    if (text->second == word.to) return sound;
    const int64_t channels = sdp_decimal(r, text->second + 1, word.to);
    if (channels < 1 || channels > 255) return 0;
    t->channels = (uint8_t)channels;
    return sound;
}

/* A second rtpmap of one payload type must say the same. */
static int same_mapping(const struct sdp_reader *r, const struct sdp_format *f, const struct sdp_mapping *t) {
    if (f->codec != t->codec || (t->clock_rate_hz && f->clock_rate_hz != t->clock_rate_hz)) return 0;
    if (f->codec != SDP_CODEC_OTHER) return 1;
    const size_t length = (size_t)(t->name_end - t->name);
    return f->name.length == length &&
           sip_hash_folded(r->base + f->name.offset, length, 0) == sip_hash_folded(t->name, length, 0);
}

/* A static payload type may be named, but not given to another codec. What was 2 in RFC 1890 is 32 kbit/s
   G.726 under its old name, in either packing (RFC 3551 section 4.5.4). */
static int redefines(uint8_t payload_type, uint8_t codec) {
    if (payload_type >= SDP_STATIC_COUNT || !sdp_static_types[payload_type].clock_rate_hz) return 0;
    if (payload_type == 2 && (codec == SDP_CODEC_G726_32 || codec == SDP_CODEC_AAL2_G726_32)) return 0;
    return sdp_static_types[payload_type].codec != codec;
}

/* a=rtpmap:<payload type> <encoding name>/<clock rate>[/<channels>]. The first one of a payload type
   counts; one for a payload type that the m= line does not list maps nothing. */
void sdp_rtpmap(struct sdp_reader *r, const uint8_t *at, const uint8_t *stop) {
    struct sdp_mapping_text text;
    struct sdp_mapping mapping;
    if (!mapping_words_near(r, at, stop, &text)) mapping_words(r, at, stop, &text);
    const int64_t number = sdp_decimal(r, text.type.from, text.type.to);
    if (!read_mapping(r, &text, &mapping) || text.behind) r->level.flags |= SDP_RTPMAP_BAD;
    if (number < 0 || number > 127) {
        r->level.flags |= SDP_RTPMAP_BAD;
        return;
    }
    struct sdp_format *f = row_of(r, number);
    if (!f || mapping.name == mapping.name_end) return;
    if (f->flags & SDP_FORMAT_RTPMAP) {
        if (!same_mapping(r, f, &mapping)) r->level.flags |= SDP_PT_REPEATED;
        return;
    }
    if (redefines(f->payload_type, mapping.codec)) r->level.flags |= SDP_STATIC_REDEFINED;
    const uint32_t legal = sdp_codec_clock_hz(mapping.codec);
    f->flags |= SDP_FORMAT_RTPMAP;
    if (mapping.clock_rate_hz) {
        f->clock_rate_hz = mapping.clock_rate_hz;
        if (legal && legal != mapping.clock_rate_hz) f->flags |= SDP_FORMAT_CLOCK_BAD;
    } else if (legal || f->codec != mapping.codec) f->clock_rate_hz = legal;
    f->codec = mapping.codec;
    f->channels = mapping.channels;
    f->name = sdp_span(r, mapping.name, mapping.name_end);
}

/* a=fmtp:<format> <parameters>. RFC 8866 section 6.15 allows one; of several the last counts, as for
   a receiver that sets parameters line by line. */
void sdp_fmtp(struct sdp_reader *r, const uint8_t *at, const uint8_t *stop) {
    if (!r->carries_rtp) return; /* formats there are other things than payload types */
    struct sdp_words words = sdp_words_of(r, at, stop);
    const struct sdp_word type = sdp_next(r, &words);
    const int64_t number = sdp_decimal(r, type.from, type.to);
    at = sdp_rest(&words);
    while (stop > at && sdp_is_blank(stop[-1])) stop--;
    if (number < 0 || number > 127 || !(r->listed[number >> 6] >> (number & 63) & 1) || at == stop ||
        memchr(at, 0, (size_t)(stop - at))) /* a byte-string holds no NUL (RFC 8866 section 9) */
        r->level.flags |= SDP_FMTP_BAD;
    if (number < 0 || number > 127) return;
    struct sdp_format *f = row_of(r, number);
    if (f && at < stop) f->fmtp = sdp_span(r, at, stop);
}
