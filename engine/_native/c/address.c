/* IP literals as SIP and SDP write them, and the class of an address (address.h). */
#include "address.h"

#include <string.h>

static const uint8_t MAPPED[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static int hex_value(uint8_t c) {
    if (c >= '0' && c <= '9') return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Four decimal octets of one to three digits (RFC 3261 §25.1 IPv4address). Returns the bytes they take, 0 where
   `source` does not begin with them. */
static size_t quad_prefix(const uint8_t *source, size_t count, uint8_t octets[4]) {
    size_t at = 0;
    for (int part = 0; part < 4; part++) {
        unsigned value = 0;
        const size_t first = at;
        for (unsigned digit; at < count && (digit = source[at] - (unsigned)'0') <= 9 && at - first < 3; at++)
            value = value * 10 + digit;
        if (at == first || value > 255) return 0;
        octets[part] = (uint8_t)value;
        if (part < 3 && (at == count || source[at++] != '.')) return 0;
    }
    return at;
}
static int quad_parse(const uint8_t *source, size_t count, uint8_t octets[4]) {
    return count >= 7 && count <= 15 && quad_prefix(source, count, octets) == count;
}

struct groups {
    uint16_t value[8];
    int count, gap; /* `gap`: groups before "::", or -1 */
};

/* Spreads the groups over 16 bytes, zeros where "::" stood. */
static int groups_store(const struct groups *g, uint8_t ip[16]) {
    if (g->gap < 0 ? g->count != 8 : g->count > 7) return 0;
    memset(ip, 0, 16);
    const int head = g->gap < 0 ? g->count : g->gap;
    for (int i = 0; i < g->count; i++) {
        const int at = i < head ? i : 8 - g->count + i;
        ip[2 * at] = (uint8_t)(g->value[i] >> 8);
        ip[2 * at + 1] = (uint8_t)g->value[i];
    }
    return 1;
}

/* Reads one group of one to four hex digits at `*at`. Returns 1 and moves `*at` behind it. */
static int group_parse(const uint8_t *source, size_t count, size_t *at, uint16_t *value) {
    unsigned digits = 0, sum = 0;
    while (*at < count && digits < 5) {
        const int digit = hex_value(source[*at]);
        if (digit < 0) break;
        sum = sum << 4 | (unsigned)digit;
        digits++;
        ++*at;
    }
    *value = (uint16_t)sum;
    return digits >= 1 && digits <= 4;
}

/* RFC 4291 §2.2 text without brackets and zone. A third colon after "::" is read over, as a broken
   grammar once produced it (RFC 5118 §4.10). */
static int v6_parse(const uint8_t *source, size_t count, uint8_t ip[16]) {
    struct groups g = {{0}, 0, -1};
    size_t at = 0;
    uint8_t octets[4];
    if (count < 2 || count > 46) return 0;
    if (source[0] == ':' && source[1] != ':') return 0;
    while (at < count) {
        if (source[at] == ':') {
            if (at + 1 < count && source[at + 1] == ':') {
                if (g.gap >= 0) return 0;
                g.gap = g.count;
                at += 2;
                if (at < count && source[at] == ':') at++;
                continue;
            }
            if (++at == count) return 0; /* one colon at the end */
        }
        if (g.count == 8) return 0;
        const size_t begin = at;
        if (g.count <= 6 && quad_parse(source + begin, count - begin, octets)) {
            g.value[g.count++] = (uint16_t)(octets[0] << 8 | octets[1]);
            g.value[g.count++] = (uint16_t)(octets[2] << 8 | octets[3]);
            break;
        }
        if (!group_parse(source, count, &at, &g.value[g.count])) return 0;
        g.count++;
        if (at < count && source[at] != ':') return 0;
    }
    return groups_store(&g, ip);
}

static uint8_t classify_v4(const uint8_t *ip) {
    if (ip[0] == 10) return ADDRESS_PRIVATE;                          /* RFC 1918 */
    if (ip[0] == 172 && (ip[1] & 0xf0) == 16) return ADDRESS_PRIVATE;
    if (ip[0] == 192 && ip[1] == 168) return ADDRESS_PRIVATE;
    if (ip[0] == 100 && (ip[1] & 0xc0) == 64) return ADDRESS_CGNAT;   /* RFC 6598 */
    if (ip[0] == 169 && ip[1] == 254) return ADDRESS_LINK_LOCAL;      /* RFC 3927 */
    if (ip[0] == 127) return ADDRESS_LOOPBACK;
    if ((ip[0] & 0xf0) == 224) return ADDRESS_MULTICAST;
    const int sum = ip[0] & ip[1] & ip[2] & ip[3];
    if (sum == 255) return ADDRESS_BROADCAST;
    return (ip[0] | ip[1] | ip[2] | ip[3]) == 0 ? ADDRESS_UNSPECIFIED : ADDRESS_PUBLIC;
}

uint8_t address_classify(const uint8_t ip[16], uint8_t family) {
    if (family != 4 && family != 6) return ADDRESS_NONE;
    if (family == 4 || !memcmp(ip, MAPPED, 12)) return classify_v4(ip + 12);
    if (ip[0] == 0xff) return ADDRESS_MULTICAST;
    if (ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80) return ADDRESS_LINK_LOCAL;
    if ((ip[0] & 0xfe) == 0xfc) return ADDRESS_PRIVATE; /* RFC 4193 */
    uint8_t sum = 0;
    for (int i = 0; i < 15; i++) sum |= ip[i];
    if (!sum && ip[15] == 1) return ADDRESS_LOOPBACK;
    return !sum && !ip[15] ? ADDRESS_UNSPECIFIED : ADDRESS_PUBLIC;
}

int address_under_invalid(const uint8_t *source, size_t count) {
    static const char label[] = "invalid";
    if (count && source[count - 1] == '.') count--;
    if (count < 7 || (count > 7 && source[count - 8] != '.')) return 0;
    for (size_t i = 0; i < 7; i++)
        if ((source[count - 7 + i] | 0x20) != (uint8_t)label[i]) return 0;
    return 1;
}

/* A name, or something that only looks like a literal. Bytes >= 0x80 are let through: IDN u-labels. */
static uint8_t name_kind(const uint8_t *source, size_t count) {
    int letters = 0;
    for (size_t i = 0; i < count; i++) {
        const uint8_t c = source[i];
        const uint8_t lower = c | 0x20;
        if ((lower >= 'a' && lower <= 'z') || c >= 0x80 || c == '-' || c == '_') letters = 1;
        else if (c != '.' && (c < '0' || c > '9')) return ADDRESS_INVALID;
    }
    return letters && !address_under_invalid(source, count) ? ADDRESS_NAME : ADDRESS_INVALID;
}

size_t address_v4_prefix(const uint8_t *source, size_t count, struct address *target) {
    uint8_t octets[4];
    const size_t taken = quad_prefix(source, count, octets);
    if (!taken) return 0;
    memcpy(target->ip, MAPPED, 12);
    memcpy(target->ip + 12, octets, 4);
    target->port = 0;
    target->family = 4;
    target->kind = classify_v4(octets);
    return taken;
}

void address_parse(const uint8_t *source, size_t count, struct address *target) {
    memset(target, 0, sizeof *target);
    while (count && (*source == ' ' || *source == '\t')) source++, count--;
    while (count && (source[count - 1] == ' ' || source[count - 1] == '\t')) count--;
    if (!count) return;
    target->kind = ADDRESS_INVALID;
    const int bracket = source[0] == '[';
    if (!bracket && quad_parse(source, count, target->ip + 12)) {
        memcpy(target->ip, MAPPED, 12);
        target->family = 4;
        target->kind = classify_v4(target->ip + 12);
        return;
    }
    memset(target->ip, 0, 16);
    if (!bracket && !memchr(source, ':', count < 46 ? count : 46)) {
        target->kind = name_kind(source, count);
        return;
    }
    if (bracket) {
        if (source[count - 1] != ']') return;
        source++;
        count -= 2;
    }
    const uint8_t *zone = memchr(source, '%', count);
    if (zone) count = (size_t)(zone - source); /* RFC 4007 zone id: local to the host that wrote it */
    if (v6_parse(source, count, target->ip)) {
        target->family = 6;
        target->kind = address_classify(target->ip, 6);
    } else memset(target->ip, 0, 16);
}

static size_t quad_write(const uint8_t *octets, uint8_t *target) {
    size_t at = 0;
    for (int i = 0; i < 4; i++) {
        const unsigned value = octets[i];
        if (i) target[at++] = '.';
        if (value >= 100) target[at++] = (uint8_t)('0' + value / 100);
        if (value >= 10) target[at++] = (uint8_t)('0' + value / 10 % 10);
        target[at++] = (uint8_t)('0' + value % 10);
    }
    return at;
}

/* The longest run of two or more zero groups, the first of equals (RFC 5952 §4.2). */
static int zero_run(const uint8_t ip[16], int groups, int *length) {
    int best = -1;
    *length = 1;
    for (int i = 0, run = 0; i < groups; i++) {
        run = ip[2 * i] | ip[2 * i + 1] ? 0 : run + 1;
        if (run > *length) {
            *length = run;
            best = i - run + 1;
        }
    }
    return best;
}

static size_t group_write(unsigned value, uint8_t *target) {
    static const char digits[] = "0123456789abcdef";
    size_t at = 0;
    for (int shift = 12; shift >= 0; shift -= 4)
        if (value >> shift || !shift) target[at++] = (uint8_t)digits[value >> shift & 15];
    return at;
}

static size_t v6_write(const uint8_t ip[16], uint8_t *target) {
    const int mapped = !memcmp(ip, MAPPED, 12);
    const int groups = mapped ? 6 : 8; /* the rest as dotted quad (RFC 5952 §5) */
    int length;
    const int gap = zero_run(ip, groups, &length);
    size_t at = 0;
    for (int i = 0; i < groups; i++) {
        if (i == gap) {
            target[at++] = ':';
            target[at++] = ':';
            i += length - 1;
            continue;
        }
        if (i && i != gap + length) target[at++] = ':';
        at += group_write((unsigned)(ip[2 * i] << 8 | ip[2 * i + 1]), target + at);
    }
    if (mapped) {
        if (target[at - 1] != ':') target[at++] = ':';
        at += quad_write(ip + 12, target + at);
    }
    return at;
}

ptrdiff_t address_format(const struct address *source, uint8_t *target, size_t capacity) {
    uint8_t text[48];
    size_t length = 0;
    if (source->family == 4) length = quad_write(source->ip + 12, text);
    else if (source->family == 6) length = v6_write(source->ip, text);
    if (length > capacity) return STATUS_TOO_SMALL;
    if (length) memcpy(target, text, length);
    return (ptrdiff_t)length;
}
