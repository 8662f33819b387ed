/* Media lines of a description and their attributes (RFC 8866 §5.14, 6; RFC 4568; RFC 8839; RFC 8842). */
#include "sdp_lines.h"

static uint8_t media_type(const uint8_t *base, struct sip_span word) {
    static const char *const names[] = {"", "audio", "video", "image", "application", "text", "message"};
    for (uint8_t i = 1; i < sizeof names / sizeof *names; i++)
        if (sdp_is(base, word, names[i])) return i;
    return SDP_MEDIA_OTHER;
}

static uint8_t media_proto(const uint8_t *base, struct sip_span word) {
    static const struct { const char *name; uint8_t id; } names[] = {
        {"RTP/AVP", SDP_RTP_AVP}, {"RTP/SAVP", SDP_RTP_SAVP}, {"RTP/AVPF", SDP_RTP_AVPF}, {"RTP/SAVPF", SDP_RTP_SAVPF},
        {"UDP/TLS/RTP/SAVPF", SDP_UDP_TLS_RTP_SAVPF}, {"UDP/TLS/RTP/SAVP", SDP_UDP_TLS_RTP_SAVP}, {"udptl", SDP_UDPTL}, {"udp", SDP_UDP},
        {"TCP", SDP_TCP}, {"TCP/MSRP", SDP_TCP_MSRP}, {"TCP/TLS/MSRP", SDP_TCP_MSRP}, {"UDP/DTLS/SCTP", SDP_DTLS_SCTP},
        {"DTLS/SCTP", SDP_DTLS_SCTP}, {"UDP/TLS/UDPTL", SDP_TLS_UDPTL}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (sdp_is(base, word, names[i].name)) return names[i].id;
    return SDP_PROTO_OTHER;
}

/* ---- formats ---- */

static struct sdp_format *format_of(struct sdp_reader *r, int64_t payload_type) {
    if (payload_type < 0 || payload_type > 127 || !r->row_of[payload_type]) return NULL;
    return &r->current->formats[r->row_of[payload_type] - 1];
}

static void add_format(struct sdp_reader *r, int64_t payload_type) {
    struct sdp_media *m = r->current;
    m->format_total += m->format_total < UINT16_MAX;
    if (payload_type < 0 || payload_type > 127) { m->flags |= SDP_PT_RANGE; return; }
    if (r->row_of[payload_type] || m->format_count == SDP_FORMATS_MAX) {
        if (m->format_count == SDP_FORMATS_MAX) m->flags |= SDP_TOO_MANY;
        return;
    }
    struct sdp_format *f = &m->formats[m->format_count++];
    memset(f, 0, sizeof *f);
    f->payload_type = (uint8_t)payload_type;
    f->channels = 1;
    f->codec = sdp_static_codec(f->payload_type);
    f->clock_rate_hz = sdp_static_clock_hz(f->payload_type);
    r->row_of[payload_type] = m->format_count;
}

static int carries_rtp(uint8_t proto) {
    return proto >= SDP_RTP_AVP && proto <= SDP_UDP_TLS_RTP_SAVPF;
}

void sdp_media_begin(struct sdp_reader *r, struct sip_span value) {
    struct sdp_session *s = r->session;
    sdp_media_end(r, r->line_start);
    r->in_media = 1;
    r->place = 0;
    s->media_total += s->media_total < UINT16_MAX;
    if (s->media_count >= r->capacity) { s->flags |= SDP_TOO_MANY; r->current = NULL; return; }
    struct sdp_media *m = r->current = &r->media[s->media_count++];
    memset(m, 0, offsetof(struct sdp_media, formats));
    memset(r->row_of, 0, sizeof r->row_of);
    r->has_direction = r->has_ptime = 0;
    struct sip_span rest = value;
    const struct sip_span media = sdp_word(r->base, &rest);
    struct sip_span port = sdp_word(r->base, &rest);
    const struct sip_span proto = sdp_word(r->base, &rest);
    m->section.offset = r->line_start;
    m->media = media_type(r->base, media);
    m->proto = media_proto(r->base, proto);
    m->port_count = 1;
    m->connection = s->connection;
    m->connection_host = r->session_host;
    m->traits = r->session_traits.traits | (r->has_session_connection ? SDP_SESSION_CONNECTION : 0);
    m->direction = r->session_traits.direction;
    if (m->direction) m->traits |= SDP_SESSION_DIRECTION;
    m->setup = r->session_traits.setup;
    m->fingerprint_hash = r->session_traits.fingerprint_hash;
    const uint8_t *slash = port.length ? memchr(r->base + port.offset, '/', port.length) : NULL;
    if (slash) {
        const uint32_t at = (uint32_t)(slash - r->base);
        const int64_t count = sdp_number(r->base, (struct sip_span){at + 1, port.offset + port.length - at - 1});
        m->port_count = count < 0 || count > UINT16_MAX ? 1 : (uint16_t)count;
        port.length = at - port.offset;
    }
    const int64_t number = sdp_number(r->base, port);
    if (number < 0 || number > 65535) m->flags |= SDP_PORT_BAD;
    m->connection.port = number < 0 || number > 65535 ? 0 : (uint16_t)number;
    if (!proto.length || !media.length) { m->flags |= SDP_BAD_MEDIA; return; }
    struct sip_span format = sdp_word(r->base, &rest);
    if (!format.length) m->flags |= SDP_BAD_MEDIA;
    for (; format.length; format = sdp_word(r->base, &rest)) {
        if (carries_rtp(m->proto) || m->proto == SDP_PROTO_OTHER) add_format(r, sdp_number(r->base, format));
        else {
            m->format_total += m->format_total < UINT16_MAX;
            if (sdp_is(r->base, format, "t38")) m->codecs |= 1ull << SDP_CODEC_T38;
        }
    }
    if (m->proto == SDP_PROTO_OTHER) m->flags &= ~(uint32_t)SDP_PT_RANGE;
}

/* Settles the media line before: defaults, what its formats are, what is missing. */
void sdp_media_end(struct sdp_reader *r, uint32_t end) {
    struct sdp_media *m = r->current;
    if (!m) return;
    m->section.length = end - m->section.offset;
    if (!m->direction) m->direction = SDP_SENDRECV;
    if (!r->has_session_connection && !m->connection.kind) m->flags |= SDP_NO_CONNECTION;
    uint64_t hash = 0;
    for (int i = 0; i < m->format_count; i++) {
        struct sdp_format *f = &m->formats[i];
        m->codecs |= 1ull << f->codec;
        if (f->payload_type >= 96 && !(f->flags & SDP_FORMAT_RTPMAP)) m->flags |= SDP_PT_UNMAPPED;
        hash = (hash ^ ((uint64_t)f->payload_type << 40 | (uint64_t)f->codec << 32 | f->clock_rate_hz)) * 0x9E3779B97F4A7C15ull;
    }
    m->codecs_hash = hash;
    r->current = NULL;
}

void sdp_bandwidth(struct sdp_reader *r, struct sip_span value) {
    const uint8_t *colon = value.length ? memchr(r->base + value.offset, ':', value.length) : NULL;
    if (!colon || !r->current) return;
    const uint32_t at = (uint32_t)(colon - r->base);
    const struct sip_span name = {value.offset, at - value.offset};
    const int64_t number = sdp_number(r->base, (struct sip_span){at + 1, value.offset + value.length - at - 1});
    if (number < 0) return;
    const int64_t kbps = sdp_is(r->base, name, "TIAS") ? number / 1000 : sdp_is(r->base, name, "AS") ? number : -1;
    if (kbps >= 0) r->current->bandwidth_kbps = kbps > UINT32_MAX ? UINT32_MAX : (uint32_t)kbps;
}

/* ---- attributes ---- */

static uint8_t codec_of(const uint8_t *base, struct sip_span name) {
    static const char *const names[] = {"",
#define X(symbol, name, clock, pt) name,
        SDP_CODECS(X)
#undef X
    };
    if (!name.length) return SDP_CODEC_OTHER;
    const uint8_t first = base[name.offset] | 32;
    for (uint8_t i = 1; i < SDP_CODEC_COUNT; i++)
        if (((uint8_t)names[i][0] | 32) == first && sdp_is(base, name, names[i])) return i;
    if (sdp_is(base, name, "AMRWB")) return SDP_CODEC_AMR_WB;
    if (sdp_is(base, name, "G729A") || sdp_is(base, name, "G729B") || sdp_is(base, name, "G729AB")) return SDP_CODEC_G729;
    return SDP_CODEC_OTHER;
}

/* a=rtpmap:<payload type> <name>/<clock>[/<channels>] */
static void rtpmap(struct sdp_reader *r, struct sip_span rest) {
    struct sdp_media *m = r->current;
    const int64_t payload_type = sdp_number(r->base, sdp_word(r->base, &rest));
    const struct sip_span encoding = sdp_word(r->base, &rest);
    const uint8_t *slash = encoding.length ? memchr(r->base + encoding.offset, '/', encoding.length) : NULL;
    if (payload_type < 0 || payload_type > 127 || !slash) { m->flags |= SDP_RTPMAP_BAD; return; }
    const uint32_t at = (uint32_t)(slash - r->base), end = encoding.offset + encoding.length;
    const struct sip_span name = {encoding.offset, at - encoding.offset};
    const uint8_t *second = memchr(r->base + at + 1, '/', end - at - 1);
    const uint32_t clock_end = second ? (uint32_t)(second - r->base) : end;
    const int64_t clock = sdp_number(r->base, (struct sip_span){at + 1, clock_end - at - 1});
    const int64_t channels = second ? sdp_number(r->base, (struct sip_span){clock_end + 1, end - clock_end - 1}) : 1;
    if (clock <= 0 || clock > UINT32_MAX || channels <= 0 || channels > 255 || !name.length) { m->flags |= SDP_RTPMAP_BAD; return; }
    struct sdp_format *f = format_of(r, payload_type);
    if (!f) return;
    const uint8_t codec = codec_of(r->base, name), fixed = sdp_static_codec((uint8_t)payload_type);
    if (f->flags & SDP_FORMAT_RTPMAP && f->codec != codec) m->flags |= SDP_PT_REPEATED;
    if (payload_type < 35 && fixed && codec != fixed && !(fixed == SDP_CODEC_G721 && codec == SDP_CODEC_G726_32)) m->flags |= SDP_STATIC_REDEFINED;
    f->codec = codec;
    f->name = name;
    f->clock_rate_hz = (uint32_t)clock;
    f->channels = (uint8_t)channels;
    f->flags |= SDP_FORMAT_RTPMAP;
    const uint32_t legal = sdp_codec_clock_hz(codec);
    if (legal && (uint32_t)clock != legal && codec != SDP_CODEC_EVS) f->flags |= SDP_FORMAT_CLOCK_BAD;
}

static void fmtp(struct sdp_reader *r, struct sip_span rest) {
    const int64_t payload_type = sdp_number(r->base, sdp_word(r->base, &rest));
    while (rest.length && r->base[rest.offset] == ' ') { rest.offset++; rest.length--; }
    struct sdp_format *f = format_of(r, payload_type);
    if (payload_type < 0 || payload_type > 127 || !rest.length) r->current->flags |= SDP_FMTP_BAD;
    else if (f) f->fmtp = rest;
    else if (r->current->format_count < SDP_FORMATS_MAX && carries_rtp(r->current->proto)) r->current->flags |= SDP_FMTP_BAD;
}

static uint16_t milliseconds(struct sdp_reader *r, struct sip_span value) {
    struct sip_span rest = value;
    struct sip_span word = sdp_word(r->base, &rest);
    const uint8_t *dot = word.length ? memchr(r->base + word.offset, '.', word.length) : NULL;
    if (dot) word.length = (uint32_t)(dot - r->base) - word.offset; /* 2.5 ms of opus counts as 2 */
    const int64_t number = sdp_number(r->base, word);
    if (number <= 0 || number > 65535) r->current->flags |= SDP_PTIME_BAD;
    return number < 0 ? 0 : number > 65535 ? 65535 : (uint16_t)number;
}

static void crypto(struct sdp_reader *r, struct sip_span rest) {
    static const char *const suites[] = {"AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32", "F8_128_HMAC_SHA1_80",
                                         "AES_192_CM_HMAC_SHA1_80", "AES_192_CM_HMAC_SHA1_32", "AES_256_CM_HMAC_SHA1_80",
                                         "AES_256_CM_HMAC_SHA1_32", "AEAD_AES_128_GCM", "AEAD_AES_256_GCM", "NULL_HMAC_SHA1_80"};
    struct sdp_media *m = r->current;
    const int64_t tag = sdp_number(r->base, sdp_word(r->base, &rest));
    const struct sip_span suite = sdp_word(r->base, &rest), key = sdp_word(r->base, &rest);
    m->crypto_count += m->crypto_count < 255;
    if (tag < 0 || !key.length) { m->flags |= SDP_CRYPTO_BAD; return; }
    uint8_t bit = SDP_CRYPTO_UNKNOWN;
    for (uint8_t i = 0; i < sizeof suites / sizeof *suites; i++)
        if (sdp_is(r->base, suite, suites[i])) bit = i;
    m->crypto_suites |= (uint16_t)(1u << bit);
    if (key.length > 7 && sdp_is(r->base, (struct sip_span){key.offset, 7}, "inline:")) {
        uint32_t length = 0;
        while (7 + length < key.length && r->base[key.offset + 7 + length] != '|') length++;
        if (length < 32) m->flags |= SDP_CRYPTO_BAD;
        if (!m->crypto_key_hash && length) m->crypto_key_hash = sip_hash(r->base + key.offset + 7, length, 7) | 1;
    } else m->flags |= SDP_CRYPTO_BAD;
    for (struct sip_span word = sdp_word(r->base, &rest); word.length; word = sdp_word(r->base, &rest))
        if (word.length > 11 && sdp_is(r->base, (struct sip_span){word.offset, 11}, "UNENCRYPTED")) m->crypto_suites |= 1u << SDP_CRYPTO_UNENCRYPTED;
}

/* a=candidate:<foundation> <component> <transport> <priority> <address> <port> typ <type> (RFC 8839 §5.1) */
static void candidate(struct sdp_reader *r, struct sip_span rest) {
    struct sdp_media *m = r->current;
    struct sip_span word[8];
    for (int i = 0; i < 8; i++) word[i] = sdp_word(r->base, &rest);
    m->candidate_count += m->candidate_count < UINT16_MAX;
    m->traits |= SDP_ICE;
    const int64_t component = sdp_number(r->base, word[1]), port = sdp_number(r->base, word[5]);
    if (!word[7].length || component < 1 || component > 256 || port < 0 || port > 65535 || !sdp_is(r->base, word[6], "typ") || word[0].length > 32) {
        m->flags |= SDP_CANDIDATE_BAD;
        return;
    }
    if (component != 1 || !sdp_is(r->base, word[2], "UDP")) return;
    struct address a;
    address_parse(r->base + word[4].offset, word[4].length, &a);
    if (a.kind == ADDRESS_NAME) m->candidates |= SDP_MDNS;
    if (address_is_private(a.kind)) m->candidates |= SDP_CANDIDATE_PRIVATE;
    if (sdp_is(r->base, word[7], "host")) m->candidates |= a.kind == ADDRESS_PUBLIC ? SDP_HOST | SDP_HOST_PUBLIC : SDP_HOST;
    else if (sdp_is(r->base, word[7], "srflx")) m->candidates |= SDP_SRFLX;
    else if (sdp_is(r->base, word[7], "prflx")) m->candidates |= SDP_PRFLX;
    else if (sdp_is(r->base, word[7], "relay")) m->candidates |= SDP_RELAY;
}

static uint8_t direction_of(const uint8_t *base, struct sip_span name) {
    if (name.length == 8 && sdp_is(base, name, "sendrecv")) return SDP_SENDRECV;
    if (name.length == 8 && sdp_is(base, name, "sendonly")) return SDP_SENDONLY;
    if (name.length == 8 && sdp_is(base, name, "recvonly")) return SDP_RECVONLY;
    if (name.length == 8 && sdp_is(base, name, "inactive")) return SDP_INACTIVE;
    return SDP_DIRECTION_NONE;
}

static uint8_t setup_of(const uint8_t *base, struct sip_span value) {
    static const char *const names[] = {"", "active", "passive", "actpass", "holdconn"};
    for (uint8_t i = 1; i < 5; i++)
        if (sdp_is(base, value, names[i])) return i;
    return SDP_SETUP_NONE;
}

/* Attributes that stand at either level; 1 when it was one. */
static int either_level(struct sdp_reader *r, struct sip_span name, struct sip_span value) {
    struct sdp_media *m = r->current;
    const uint8_t *base = r->base;
    const uint8_t first = name.length ? base[name.offset] | 32 : 0;
    if (first != 's' && first != 'r' && first != 'i' && first != 'f' && first != 'g') return 0;
    const uint8_t direction = direction_of(base, name);
    uint16_t trait = 0;
    if (direction) {
        if (m && r->has_direction && m->direction != direction) m->flags |= SDP_DIRECTION_REPEATED;
        if (m) {
            m->direction = direction;
            m->traits &= (uint16_t)~SDP_SESSION_DIRECTION;
            r->has_direction = 1;
        } else r->session_traits.direction = direction;
        return 1;
    }
    if (sdp_is(base, name, "setup")) {
        if (m) m->setup = setup_of(base, value);
        else r->session_traits.setup = setup_of(base, value);
        return 1;
    }
    if (sdp_is(base, name, "fingerprint")) {
        const uint64_t hash = sip_hash_folded(base + value.offset, value.length, 9);
        if (m) m->fingerprint_hash = hash;
        else r->session_traits.fingerprint_hash = hash;
        trait = SDP_FINGERPRINT;
    } else if (sdp_is(base, name, "ice-ufrag")) trait = SDP_ICE;
    else if (sdp_is(base, name, "ice-lite")) trait = SDP_ICE_LITE;
    else if (sdp_is(base, name, "ice-mismatch")) trait = SDP_ICE_MISMATCH;
    else if (sdp_is(base, name, "record")) trait = SDP_RECORD;
    else if (sdp_is(base, name, "group") && value.length >= 6 && sdp_is(base, (struct sip_span){value.offset, 6}, "BUNDLE")) trait = SDP_BUNDLED;
    if (trait && m) m->traits |= trait;
    else if (trait) r->session_traits.traits |= trait;
    return trait != 0;
}

static void media_level(struct sdp_reader *r, struct sip_span name, struct sip_span value) {
    struct sdp_media *m = r->current;
    const uint8_t *base = r->base;
    /* every name below begins with one of these: most other attributes end here */
    const uint8_t first = name.length ? base[name.offset] | 32 : 0;
    if (first != 'p' && first != 'm' && first != 'r' && first != 'c' && first != 'l' && first != 'a') return;
    if (sdp_is(base, name, "ptime")) {
        const uint16_t ms = milliseconds(r, value);
        if (r->has_ptime && m->ptime_ms != ms) m->flags |= SDP_PTIME_REPEATED;
        m->ptime_ms = ms;
        r->has_ptime = 1;
    } else if (sdp_is(base, name, "maxptime")) m->maxptime_ms = milliseconds(r, value);
    else if (sdp_is(base, name, "rtcp-mux")) m->traits |= SDP_RTCP_MUX;
    else if (sdp_is(base, name, "rtcp-mux-only")) m->traits |= SDP_RTCP_MUX_ONLY | SDP_RTCP_MUX;
    else if (sdp_is(base, name, "rtcp-rsize")) m->traits |= SDP_RTCP_RSIZE;
    else if (sdp_is(base, name, "rtcp")) {
        const int64_t port = sdp_number(base, sdp_word(base, &value));
        m->traits |= SDP_RTCP;
        if (port < 0 || port > 65535) m->flags |= SDP_PORT_BAD;
        else m->rtcp_port = (uint16_t)port;
    } else if (sdp_is(base, name, "crypto")) crypto(r, value);
    else if (sdp_is(base, name, "candidate")) candidate(r, value);
    else if (sdp_is(base, name, "label")) { m->label = value; m->traits |= SDP_LABEL; }
    else if (sdp_is(base, name, "mid")) { m->mid = value; m->traits |= SDP_MID; }
    else if (sdp_is(base, name, "altc")) m->traits |= SDP_ALTC;
}

void sdp_attribute(struct sdp_reader *r, struct sip_span line) {
    const uint8_t *colon = line.length ? memchr(r->base + line.offset, ':', line.length < 40 ? line.length : 40) : NULL;
    struct sip_span name = line, value = {line.offset + line.length, 0};
    if (colon) {
        const uint32_t at = (uint32_t)(colon - r->base);
        name.length = at - line.offset;
        value = (struct sip_span){at + 1, line.offset + line.length - at - 1};
    }
    /* a media line beyond the capacity has attributes of its own: they are nobody's here */
    if (r->in_media && !r->current) return;
    if (r->current && name.length == 6 && sdp_is(r->base, name, "rtpmap")) { rtpmap(r, value); return; }
    if (r->current && name.length == 4 && sdp_is(r->base, name, "fmtp")) { fmtp(r, value); return; }
    if (either_level(r, name, value)) return;
    if (r->current) media_level(r, name, value);
}
