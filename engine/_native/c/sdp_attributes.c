/* SDP attributes but rtpmap and fmtp: direction and times (RFC 8866 section 6), keys (RFC 4568, RFC 8122),
   ICE (RFC 8839), DTLS roles (RFC 8842), RTCP (RFC 3605, RFC 5761, RFC 8858), BUNDLE (RFC 9143), labels and
   recording (RFC 4574, RFC 7866). Attribute names are case sensitive. */
#include "sdp_lines.h"

/* ---- ptime, maxptime, rtcp ---- */

/* Milliseconds; a fraction is cut off. 0 and what cannot be read are defects. */
static uint16_t read_time(struct sdp_reader *r, const uint8_t *at, const uint8_t *stop) {
    struct sdp_words words = sdp_words_of(r, at, stop);
    const struct sdp_word word = sdp_next(r, &words);
    const uint8_t *point = word.from;
    while (point < word.to && *point != '.') point++;
    const int64_t value = sdp_decimal(r, word.from, point);
    const int whole = point == word.to || sdp_decimal(r, point + 1, word.to) >= 0;
    if (value < 1 || value > UINT16_MAX || !whole) r->level.flags |= SDP_PTIME_BAD;
    return value < 0 ? 0 : value > UINT16_MAX ? UINT16_MAX : (uint16_t)value;
}

static void take_time(struct sdp_reader *r, const uint8_t *at, const uint8_t *stop, uint8_t seen,
                      uint16_t *target) {
    const uint16_t value = read_time(r, at, stop);
    if (!(r->level.seen & seen)) *target = value;
    else if (value != *target) r->level.flags |= SDP_PTIME_REPEATED;
    r->level.seen |= seen;
}

static void take_rtcp(struct sdp_reader *r, const uint8_t *at, const uint8_t *stop) {
    struct sdp_words words = sdp_words_of(r, at, stop);
    const struct sdp_word word = sdp_next(r, &words);
    const int64_t port = sdp_decimal(r, word.from, word.to);
    if (port < 0 || port > 65535) r->level.flags |= SDP_PORT_BAD;
    else if (!(r->level.traits & SDP_RTCP)) r->media->rtcp_port = (uint16_t)port;
    r->level.traits |= SDP_RTCP;
}

static void take_direction(struct sdp_reader *r, uint8_t direction) {
    if (r->level.direction && r->level.direction != direction) r->level.flags |= SDP_DIRECTION_REPEATED;
    if (!r->level.direction) r->level.direction = direction;
}

/* ---- crypto (RFC 4568 section 9.1) ---- */

/* Names of the suites and characters of a whole key with salt in base64, without padding. */
static const struct { const char *name; uint8_t length, suite, key; } suites[] = {
    {"aes_cm_128_hmac_sha1_80", 23, SDP_AES_CM_128_SHA1_80, 40},
    {"aes_cm_128_hmac_sha1_32", 23, SDP_AES_CM_128_SHA1_32, 40},
    {"f8_128_hmac_sha1_80", 19, SDP_F8_128_SHA1_80, 40},
    {"aes_192_cm_hmac_sha1_80", 23, SDP_AES_192_CM_SHA1_80, 51},
    {"aes_192_cm_hmac_sha1_32", 23, SDP_AES_192_CM_SHA1_32, 51},
    {"aes_256_cm_hmac_sha1_80", 23, SDP_AES_256_CM_SHA1_80, 62},
    {"aes_256_cm_hmac_sha1_32", 23, SDP_AES_256_CM_SHA1_32, 62},
    {"aes_cm_256_hmac_sha1_80", 23, SDP_AES_256_CM_SHA1_80, 62}, /* the name before RFC 6188 */
    {"aes_cm_256_hmac_sha1_32", 23, SDP_AES_256_CM_SHA1_32, 62},
    {"aead_aes_128_gcm", 16, SDP_AEAD_AES_128_GCM, 38},
    {"aead_aes_256_gcm", 16, SDP_AEAD_AES_256_GCM, 59},
    {"null_hmac_sha1_80", 17, SDP_NULL_SHA1_80, 40}};

/* <lifetime>: packets, also as 2^n; at most 2^48 (RFC 4568 section 6.1). */
static int lifetime_is_sound(const struct sdp_reader *r, const uint8_t *at, const uint8_t *stop) {
    if (stop - at > 2 && at[0] == '2' && at[1] == '^') {
        const int64_t power = sdp_decimal(r, at + 2, stop);
        return power >= 0 && power <= 48;
    }
    const int64_t packets = sdp_decimal(r, at, stop);
    return packets > 0 && packets <= (int64_t)1 << 48;
}

/* <MKI>:<length>, 1 to 128 bytes. */
static int mki_is_sound(const struct sdp_reader *r, const uint8_t *at, const uint8_t *colon,
                        const uint8_t *stop) {
    const int64_t length = sdp_decimal(r, colon + 1, stop);
    return sdp_decimal(r, at, colon) >= 0 && length >= 1 && length <= 128;
}

static const uint8_t *seek(const uint8_t *at, const uint8_t *stop, uint8_t c) {
    const uint8_t *found = at < stop ? memchr(at, c, (size_t)(stop - at)) : NULL;
    return found ? found : stop;
}

/* "inline:" <key||salt> ["|" lifetime] ["|" MKI ":" length]; `letters` of the key, 0 when any number will
   do. */
static int key_is_sound(struct sdp_reader *r, const uint8_t *at, const uint8_t *stop, unsigned letters) {
    if (stop - at < 8 || !sdp_equals(at, at + 7, "inline:")) return 0;
    at += 7;
    const uint8_t *bar = seek(at, stop, '|'), *key_end = bar;
    if (!r->media->crypto_key_hash && bar > at)
        r->media->crypto_key_hash = sip_hash(at, (size_t)(bar - at), 0) | 1; /* never 0: that says no key */
    while (key_end > at && key_end[-1] == '=' && bar - key_end < 2) key_end--;
    int sound = letters ? key_end - at == letters : key_end > at;
    for (int part = 0; bar < stop; part++) {
        const uint8_t *from = bar + 1;
        bar = seek(from, stop, '|');
        const uint8_t *colon = seek(from, bar, ':');
        sound &= colon < bar ? mki_is_sound(r, from, colon, bar) : lifetime_is_sound(r, from, bar);
        sound &= part < 2;
    }
    return sound;
}

/* crypto:<tag> <crypto-suite> <key-params> [<session-params>] */
static void take_crypto(struct sdp_reader *r, const uint8_t *at, const uint8_t *stop) {
    struct sdp_media *m = r->media;
    struct sdp_words words = sdp_words_of(r, at, stop);
    const struct sdp_word tag = sdp_next(r, &words), suite = sdp_next(r, &words);
    struct sdp_word word = sdp_next(r, &words);
    unsigned bit = SDP_CRYPTO_UNKNOWN, letters = 0;
    const int64_t number = sdp_decimal(r, tag.from, tag.to);
    int sound = number >= 0 && number <= 999999999;
    if (m->crypto_count < UINT8_MAX) m->crypto_count++;
    if (word.from == word.to) {
        r->level.flags |= SDP_CRYPTO_BAD;
        return;
    }
    for (size_t i = 0; i < sizeof suites / sizeof *suites; i++)
        if (suites[i].length == sdp_length(suite) && sdp_equals(suite.from, suite.to, suites[i].name)) {
            bit = suites[i].suite;
            letters = suites[i].key;
        }
    m->crypto_suites |= (uint16_t)(1u << bit);
    for (const uint8_t *key = word.from, *end; key <= word.to; key = end + 1) {
        end = seek(key, word.to, ';');
        sound &= key_is_sound(r, key, end, letters);
    }
    if (!sound) r->level.flags |= SDP_CRYPTO_BAD;
    for (word = sdp_next(r, &words); word.from < word.to; word = sdp_next(r, &words))
        if (sdp_length(word) > 12 && sdp_equals(word.from, word.from + 12, "unencrypted_"))
            m->crypto_suites |= 1u << SDP_CRYPTO_UNENCRYPTED;
}

/* ---- candidate (RFC 8839 section 5.1) ---- */

/* What kind of address and way a candidate of RTP over UDP is; the same of RTCP would count twice. */
static uint8_t candidate_bits(struct sdp_word type, const struct address *address, struct sdp_word host) {
    uint8_t bits = 0;
    if (sdp_equals(type.from, type.to, "host")) bits = SDP_HOST;
    else if (sdp_equals(type.from, type.to, "srflx")) bits = SDP_SRFLX;
    else if (sdp_equals(type.from, type.to, "prflx")) bits = SDP_PRFLX;
    else if (sdp_equals(type.from, type.to, "relay")) bits = SDP_RELAY;
    if (bits == SDP_HOST && address->kind == ADDRESS_PUBLIC) bits |= SDP_HOST_PUBLIC;
    if (address_is_private(address->kind)) bits |= SDP_CANDIDATE_PRIVATE;
    if (address->kind == ADDRESS_NAME && sdp_length(host) > 6 && sdp_equals(host.to - 6, host.to, ".local"))
        bits |= SDP_MDNS;
    return bits;
}

/* candidate:<foundation> <component> <transport> <priority> <address> <port> typ <type> ... */
static void take_candidate(struct sdp_reader *r, const uint8_t *at, const uint8_t *stop) {
    struct sdp_media *m = r->media;
    struct sdp_word word[8];
    struct address address;
    struct sdp_words words = sdp_words_of(r, at, stop);
    for (int i = 0; i < 8; i++) word[i] = sdp_next(r, &words);
    if (m->candidate_count < UINT16_MAX) m->candidate_count++;
    r->level.traits |= SDP_ICE;
    const int64_t component = sdp_decimal(r, word[1].from, word[1].to);
    const int64_t port = sdp_decimal(r, word[5].from, word[5].to);
    const int64_t priority = sdp_decimal(r, word[3].from, word[3].to);
    if (word[7].from == word[7].to || sdp_length(word[0]) > 32 || component < 1 || component > 256 ||
        priority < 1 || priority > INT32_MAX || port < 1 || port > 65535 ||
        !sdp_equals(word[6].from, word[6].to, "typ")) {
        r->level.flags |= SDP_CANDIDATE_BAD;
        return;
    }
    if (component != 1 || !sdp_equals(word[2].from, word[2].to, "udp")) return;
    address_parse(word[4].from, sdp_length(word[4]), &address);
    if (address.kind == ADDRESS_INVALID) r->level.flags |= SDP_CANDIDATE_BAD;
    else m->candidates |= candidate_bits(word[7], &address, word[4]);
}

/* ---- setup, fingerprint, group ---- */

static void take_setup(struct sdp_reader *r, const uint8_t *at, const uint8_t *stop) {
    if (r->level.setup) return;
    if (sdp_equals(at, stop, "actpass")) r->level.setup = SDP_ACTPASS;
    else if (sdp_equals(at, stop, "active")) r->level.setup = SDP_ACTIVE;
    else if (sdp_equals(at, stop, "passive")) r->level.setup = SDP_PASSIVE;
    else if (sdp_equals(at, stop, "holdconn")) r->level.setup = SDP_HOLDCONN;
}

/* The first of a level counts. Hexadecimal digits and hash names compare in any case (RFC 8122 section 5). */
static void take_fingerprint(struct sdp_reader *r, const uint8_t *at, const uint8_t *stop) {
    if (at == stop || r->level.traits & SDP_FINGERPRINT) return;
    r->level.traits |= SDP_FINGERPRINT;
    r->level.fingerprint_hash = sip_hash_folded(at, (size_t)(stop - at), 0) | 1;
}

/* group:BUNDLE <mid> ... (RFC 5888, RFC 9143), a session-level attribute. */
static void take_group(struct sdp_reader *r, const uint8_t *at, const uint8_t *stop) {
    struct sdp_words words = sdp_words_of(r, at, stop);
    struct sdp_word word = sdp_next(r, &words);
    if (r->in_media || !sdp_equals(word.from, word.to, "bundle")) return;
    for (word = sdp_next(r, &words); word.from < word.to; word = sdp_next(r, &words))
        if (r->bundle_count < SDP_BUNDLE_MAX) r->bundle[r->bundle_count++] = sdp_span(r, word.from, word.to);
}

/* ---- dispatch ---- */

static void take_name(struct sdp_reader *r, const uint8_t *at, const uint8_t *stop, uint16_t trait,
                      struct sip_span *target) {
    if (r->level.traits & trait) return;
    r->level.traits |= trait;
    *target = sdp_span(r, at, stop);
}

/* An attribute whose name starts with the eight letters in front of `rest` has this name. `*value` is then
   what stands behind the colon. */
static int is_long(const uint8_t *rest, const uint8_t *stop, const char *tail, size_t length,
                   const uint8_t **value) {
    if ((size_t)(stop - rest) < length || memcmp(rest, tail, length)) return 0;
    rest += length;
    if (rest < stop && *rest != ':') return 0;
    *value = rest < stop ? rest + 1 : stop;
    return 1;
}

#define NAME(a, b, c, d, e, f, g, h) case SDP_KEY(a, b, c, d, e, f, g, h)

/* Names of at least eight letters. */
static void long_attribute(struct sdp_reader *r, uint64_t key, const uint8_t *at, const uint8_t *stop) {
    const uint8_t *rest = at + 8, *value = stop;
    const int plain = is_long(rest, stop, "", 0, &value);
    const uint8_t *from = value;
    while (from < stop && sdp_is_blank(*from)) from++;
    switch (key) {
    NAME('s', 'e', 'n', 'd', 'r', 'e', 'c', 'v'): if (plain) take_direction(r, SDP_SENDRECV); break;
    NAME('s', 'e', 'n', 'd', 'o', 'n', 'l', 'y'): if (plain) take_direction(r, SDP_SENDONLY); break;
    NAME('r', 'e', 'c', 'v', 'o', 'n', 'l', 'y'): if (plain) take_direction(r, SDP_RECVONLY); break;
    NAME('i', 'n', 'a', 'c', 't', 'i', 'v', 'e'): if (plain) take_direction(r, SDP_INACTIVE); break;
    NAME('r', 't', 'c', 'p', '-', 'm', 'u', 'x'):
        if (plain) r->level.traits |= SDP_RTCP_MUX;
        else if (is_long(rest, stop, "-only", 5, &value)) r->level.traits |= SDP_RTCP_MUX | SDP_RTCP_MUX_ONLY;
        break;
    NAME('r', 't', 'c', 'p', '-', 'r', 's', 'i'):
        if (is_long(rest, stop, "ze", 2, &value)) r->level.traits |= SDP_RTCP_RSIZE;
        break;
    NAME('c', 'a', 'n', 'd', 'i', 'd', 'a', 't'):
        if (r->media && is_long(rest, stop, "e", 1, &value)) take_candidate(r, value, stop);
        break;
    NAME('i', 'c', 'e', '-', 'l', 'i', 't', 'e'): if (plain) r->level.traits |= SDP_ICE_LITE; break;
    NAME('i', 'c', 'e', '-', 'u', 'f', 'r', 'a'):
        if (is_long(rest, stop, "g", 1, &value)) r->level.traits |= SDP_ICE;
        break;
    NAME('i', 'c', 'e', '-', 'm', 'i', 's', 'm'):
        if (is_long(rest, stop, "atch", 4, &value)) r->level.traits |= SDP_ICE_MISMATCH;
        break;
    NAME('f', 'i', 'n', 'g', 'e', 'r', 'p', 'r'):
        if (is_long(rest, stop, "int", 3, &value)) {
            while (value < stop && sdp_is_blank(*value)) value++;
            take_fingerprint(r, value, stop);
        }
        break;
    NAME('m', 'a', 'x', 'p', 't', 'i', 'm', 'e'):
        if (plain && r->media) take_time(r, from, stop, SDP_SEEN_MAXPTIME, &r->media->maxptime_ms);
        break;
    default: break;
    }
}

void sdp_attribute(struct sdp_reader *r, const uint8_t *at, const uint8_t *stop) {
    uint32_t length;
    while (stop > at && sdp_is_blank(stop[-1])) stop--;
    const uint64_t key = sdp_key(r, at, stop, ':', &length);
    if (length == 8) {
        long_attribute(r, key, at, stop);
        return;
    }
    const uint8_t *value = at + length < stop ? at + length + 1 : stop;
    while (value < stop && sdp_is_blank(*value)) value++;
    struct sdp_media *m = r->media;
    switch (key) {
    NAME('r', 't', 'p', 'm', 'a', 'p', ':', ':'): if (m) sdp_rtpmap(r, value, stop); break;
    NAME('f', 'm', 't', 'p', ':', ':', ':', ':'): if (m) sdp_fmtp(r, value, stop); break;
    NAME('p', 't', 'i', 'm', 'e', ':', ':', ':'):
        if (m) take_time(r, value, stop, SDP_SEEN_PTIME, &m->ptime_ms);
        break;
    NAME('r', 't', 'c', 'p', ':', ':', ':', ':'): if (m) take_rtcp(r, value, stop); break;
    NAME('c', 'r', 'y', 'p', 't', 'o', ':', ':'):
        if (m) take_crypto(r, value, stop);
        else if (!r->in_media) r->level.flags |= SDP_CRYPTO_BAD; /* of media only, RFC 4568 section 5.1 */
        break;
    NAME('s', 'e', 't', 'u', 'p', ':', ':', ':'): take_setup(r, value, stop); break;
    NAME('m', 'i', 'd', ':', ':', ':', ':', ':'): if (m) take_name(r, value, stop, SDP_MID, &m->mid); break;
    NAME('l', 'a', 'b', 'e', 'l', ':', ':', ':'):
        if (m) take_name(r, value, stop, SDP_LABEL, &m->label);
        break;
    NAME('g', 'r', 'o', 'u', 'p', ':', ':', ':'): take_group(r, value, stop); break;
    NAME('r', 'e', 'c', 'o', 'r', 'd', ':', ':'): r->level.traits |= SDP_RECORD; break;
    NAME('a', 'l', 't', 'c', ':', ':', ':', ':'): r->level.traits |= SDP_ALTC; break;
    default: break;
    }
}
