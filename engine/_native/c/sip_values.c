/* Typed access to header values: lists, parameters, numbers, URIs, addresses, Via; and hashes.
   RFC 3261 §25.1 unless a line says otherwise. Everything works on spans of the message. */
#include "sip_scan.h"

TL_INLINE uint8_t lower(uint8_t c) { return c >= 'A' && c <= 'Z' ? c | 0x20 : c; }

static int equals(const uint8_t *source, struct sip_span span, const char *text) {
    uint32_t i = 0;
    for (; i < span.length; i++)
        if (!text[i] || lower(source[span.offset + i]) != (uint8_t)text[i]) return 0;
    return !text[i];
}

static struct sip_span between(uint32_t from, uint32_t to) {
    return (struct sip_span){from, to > from ? to - from : 0};
}

static struct sip_span trimmed(const uint8_t *base, uint32_t from, uint32_t to) {
    while (from < to && sip_is_white(base[from])) from++;
    while (to > from && sip_is_white(base[to - 1])) to--;
    return between(from, to);
}

/* Offset of `c` in [from, to), or `to`. */
static uint32_t seek(const uint8_t *base, uint32_t from, uint32_t to, char c) {
    if (from >= to) return to;
    const uint8_t *found = memchr(base + from, c, to - from);
    return found ? (uint32_t)(found - base) : to;
}

/* `at` stands on a '"': offset behind the closing one, or `to`, and then `*open` is set. */
static uint32_t quoted_end(const uint8_t *base, uint32_t at, uint32_t to, int *open) {
    for (at++; at < to; at++) {
        if (base[at] == '\\') at++;
        else if (base[at] == '"') return at + 1;
    }
    *open = 1;
    return to;
}

/* ---- lists, parameters, numbers ---- */

int sip_list_next(const uint8_t *base, struct sip_span value, uint32_t *cursor, struct sip_span *element) {
    if (!value.length || *cursor > value.length) return 0;
    const uint32_t start = value.offset + *cursor, end = value.offset + value.length;
    uint32_t at = start;
    int open = 0;
    while (at < end && base[at] != ',') {
        if (base[at] == '"') at = quoted_end(base, at, end, &open);
        else if (base[at] == '<') at = seek(base, at, end, '>');
        else at++;
    }
    *element = trimmed(base, start, at);
    *cursor = at - value.offset + 1;
    return 1;
}

/* One "name = value" of a parameter list. */
struct parameter { struct sip_span name, value; };

/* Where the quick look at a ';' list stops: at a separator (1), at '=' (2), at what needs the long look (3). */
static const uint8_t PARAMETER_STOPS[256] = {
    [';'] = 1, ['='] = 2, ['"'] = 3, [' '] = 3, ['\t'] = 3, ['\r'] = 3, ['\n'] = 3};

/* The parameter at `*at` where it has neither quotes nor white space. Returns 0 where it takes a longer look. */
TL_INLINE int parameter_plain(const uint8_t *base, uint32_t *at, uint32_t end, struct parameter *p) {
    const uint32_t from = *at;
    uint32_t i = from;
    while (i < end && !PARAMETER_STOPS[base[i]]) i++;
    p->name = between(from, i);
    if (i < end && base[i] == '=' && i > from) {
        const uint32_t value = ++i;
        while (i < end && !(PARAMETER_STOPS[base[i]] & 1)) i++; /* a value may hold more '=' */
        p->value = between(value, i);
    } else p->value = between(i, i);
    *at = i + 1;
    return i == end || base[i] == ';';
}

/* Reads the parameter at `*at` and steps behind its separator. Returns 0 at the end. In comma lists
   the first name may stand behind an auth-scheme (RFC 3261 §25.1 challenge). */
static int parameter_next(const uint8_t *base, uint32_t *at, uint32_t end, char separator,
                          struct parameter *p) {
    uint32_t from = *at, equal = 0, i;
    int open = 0, named = 0;
    if (from >= end) return 0;
    if (separator == ';') {
        uint32_t behind = from;
        if (TL_LIKELY(parameter_plain(base, &behind, end, p))) {
            *at = behind;
            return 1;
        }
    }
    for (i = from; i < end && base[i] != (uint8_t)separator;) {
        const uint8_t c = base[i];
        if (c == '"') {
            i = quoted_end(base, i, end, &open);
            continue;
        }
        if (c == '=' && !equal) equal = i;
        if (separator == ',' && !equal) {
            if (sip_is_white(c)) named |= i > from ? 1 : 0;
            else if (named) from = i, named = 0;
        }
        i++;
    }
    p->name = trimmed(base, from, equal ? equal : i);
    p->value = equal ? trimmed(base, equal + 1, i) : between(i, i);
    if (p->value.length && base[p->value.offset] == '"') {
        const uint32_t close = p->value.offset + p->value.length;
        open = 0;
        const uint32_t behind = quoted_end(base, p->value.offset, close, &open);
        p->value = between(p->value.offset + 1, behind - (open ? 0 : 1));
    }
    *at = i + 1;
    return 1;
}

int sip_param_find(const uint8_t *base, struct sip_span parameters, char separator, const char *name,
                   struct sip_span *value) {
    uint32_t at = parameters.offset;
    struct parameter p;
    while (parameter_next(base, &at, parameters.offset + parameters.length, separator, &p)) {
        if (!p.name.length || lower(base[p.name.offset]) != lower((uint8_t)name[0])) continue;
        uint32_t i = 1;
        while (i < p.name.length && name[i] && lower(base[p.name.offset + i]) == lower((uint8_t)name[i])) i++;
        if (i != p.name.length || name[i]) continue;
        *value = p.value;
        return 1;
    }
    *value = between(0, 0);
    return 0;
}

size_t sip_number(const uint8_t *base, struct sip_span value, int64_t *target) {
    const uint32_t end = value.offset + value.length;
    uint32_t at = value.offset;
    int64_t sum = 0;
    while (at < end && sip_is_white(base[at])) at++;
    const uint32_t first = at;
    for (; at < end && base[at] >= '0' && base[at] <= '9'; at++) {
        const int digit = base[at] - '0';
        sum = sum > (INT64_MAX - digit) / 10 ? INT64_MAX : sum * 10 + digit;
    }
    *target = sum;
    return at - first;
}

int sip_cseq_parse(const uint8_t *base, struct sip_span value, int64_t *number, struct sip_span *method) {
    const struct sip_span whole = trimmed(base, value.offset, value.offset + value.length);
    const uint32_t end = whole.offset + whole.length;
    const size_t digits = sip_number(base, whole, number);
    const uint32_t behind = whole.offset + (uint32_t)digits;
    *method = trimmed(base, behind, end);
    return digits && method->offset > behind && sip_is_token(base + method->offset, method->length);
}

/* ---- URI ---- */

/* Port text to a port: 65535 and 0 returned where it is no number of 1 to 65535. */
static int port_parse(const uint8_t *base, struct sip_span text, uint16_t *port) {
    int64_t value;
    const size_t digits = sip_number(base, text, &value);
    if (!digits || digits != text.length || value < 1 || value > 65535) {
        *port = 65535;
        return 0;
    }
    *port = (uint16_t)value;
    return 1;
}

enum host_flag { HOST_PORT_BAD = 1, HOST_UNBRACKETED_V6 = 2 };

/* host [ ":" port ]. An IPv6 address without brackets is taken whole: no port can be told from it
   (RFC 5118 §4.2). */
static int host_parse(const uint8_t *base, struct sip_span text, struct sip_span *host, uint16_t *port,
                      struct address *address) {
    const uint32_t end = text.offset + text.length;
    uint32_t colon;
    int flags = 0;
    *port = 0;
    if (text.length && base[text.offset] == '[') {
        const uint32_t close = seek(base, text.offset, end, ']');
        colon = seek(base, close, end, ':');
        *host = trimmed(base, text.offset, close < end ? close + 1 : end);
        if (colon == end && close + 1 < end) flags = HOST_PORT_BAD; /* bytes behind the bracket */
    } else {
        colon = seek(base, text.offset, end, ':');
        if (colon < end && seek(base, colon + 1, end, ':') < end) {
            address_parse(base + text.offset, text.length, address);
            if (address->family == 6) {
                *host = text;
                return HOST_UNBRACKETED_V6;
            }
        }
        *host = trimmed(base, text.offset, colon);
    }
    address_parse(base + host->offset, host->length, address);
    if (colon < end && !port_parse(base, trimmed(base, colon + 1, end), port)) flags = HOST_PORT_BAD;
    if (flags) *port = 65535;
    return flags;
}

static uint8_t transport_id(const uint8_t *base, struct sip_span name) {
    if (name.length == 3 && !memcmp(base + name.offset, "UDP", 3)) return SIP_UDP;
    static const char names[][8] = {"", "udp", "tcp", "tls", "sctp", "ws", "wss"};
    if (!name.length) return SIP_TRANSPORT_NONE;
    for (uint8_t id = SIP_UDP; id <= SIP_WSS; id++)
        if (equals(base, name, names[id])) return id;
    return SIP_TRANSPORT_OTHER;
}

/* `text` letter by letter, as nearly everybody writes it, or in another case. */
TL_INLINE int names(const uint8_t *base, struct sip_span span, const char *text, uint32_t length) {
    return span.length == length && (!memcmp(base + span.offset, text, length) || equals(base, span, text));
}

static void uri_parameter(const uint8_t *base, struct sip_uri *u, const struct parameter *p) {
    switch (p->name.length ? lower(base[p->name.offset]) : 0) {
    case 't':
        if (!u->transport && names(base, p->name, "transport", 9)) {
            u->transport = transport_id(base, p->value);
            if (!u->transport) u->transport = SIP_TRANSPORT_OTHER;
        }
        break;
    case 'l': if (equals(base, p->name, "lr")) u->flags |= SIP_URI_LR; break;
    case 'o': if (equals(base, p->name, "ob")) u->flags |= SIP_URI_OB; break; /* RFC 5626 */
    case 'g': if (equals(base, p->name, "gr")) u->flags |= SIP_URI_GR; break; /* RFC 5627 */
    case 'u':
        if (names(base, p->name, "user", 4) && names(base, p->value, "phone", 5)) u->flags |= SIP_URI_USER_PHONE;
        break;
    case 'p': if (equals(base, p->name, "phone-context")) u->flags |= SIP_URI_PHONE_CONTEXT; break;
    default: break;
    }
}

static void uri_parameters(const uint8_t *base, struct sip_uri *u) {
    uint32_t at = u->parameters.offset;
    struct parameter p;
    while (parameter_next(base, &at, u->parameters.offset + u->parameters.length, ';', &p)) uri_parameter(base, u, &p);
}

static int is_hex(uint8_t c) { return (c >= '0' && c <= '9') || ((c |= 0x20) >= 'a' && c <= 'f'); }

/* What a URI must not hold, and '%', which needs a second look. */
static const uint8_t URI_BYTES[256] = {
    [0 ... ' '] = 1, ['"'] = 1, ['<'] = 1, ['>'] = 1, [0x7f] = 1, ['%'] = 2};

/* One look at every byte: escapes and what a URI must not hold. */
static uint16_t uri_bytes(const uint8_t *base, uint32_t from, uint32_t end) {
    uint16_t flags = 0;
    for (uint32_t i = from; i < end; i++) {
        const uint8_t kind = URI_BYTES[base[i]];
        if (TL_LIKELY(!kind)) continue;
        if (kind == 1) flags |= SIP_URI_BAD_CHARACTER;
        else if (end - i < 3 || !is_hex(base[i + 1]) || !is_hex(base[i + 2])) flags |= SIP_URI_BAD_ESCAPE;
    }
    return flags;
}

static void scheme_parse(const uint8_t *base, uint32_t from, uint32_t end, struct sip_uri *u) {
    static const char names[][8] = {"", "sip", "sips", "tel", "urn"};
    uint32_t at = from;
    if (from >= end || lower(base[from]) < 'a' || lower(base[from]) > 'z') return;
    while (at < end && (sip_token_bytes[base[at]] && base[at] != '%')) at++;
    if (at == end || base[at] != ':') return;
    u->scheme = between(from, at);
    for (uint8_t id = SIP_SCHEME_SIP; id <= SIP_SCHEME_URN; id++)
        if (equals(base, u->scheme, names[id])) u->scheme_id = id;
}

/* Where userinfo ends: the last '@' in front of any ';' or '?' that follows the first one. A user part
   may itself hold ';' and '?' (RFC 3261 §25.1 user-unreserved). Returns `end` without '@'. */
static uint32_t at_sign(const uint8_t *base, uint32_t from, uint32_t end) {
    uint32_t found = seek(base, from, end, '@');
    for (uint32_t i = found + 1; i < end && base[i] != ';' && base[i] != '?' && base[i] != '>'; i++)
        if (base[i] == '@') found = i;
    return found;
}

static void userinfo_parse(const uint8_t *base, uint32_t from, uint32_t end, struct sip_uri *u) {
    const uint32_t colon = seek(base, from, end, ':');
    u->user = between(from, colon);
    if (colon < end) u->password = between(colon + 1, end);
    uint32_t at = seek(base, from, colon, ';');
    struct parameter p;
    while (parameter_next(base, &at, colon, ';', &p)) /* telephone-subscriber as user part (§19.1.6) */
        if (equals(base, p.name, "phone-context")) u->flags |= SIP_URI_PHONE_CONTEXT;
}

/* What ends a part of a usual URI: '@' (1), ':' (2), ';' (3), and what is not usual (4). */
static const uint8_t URI_STOPS[256] = {
    ['@'] = 1, [':'] = 2, [';'] = 3, [0 ... ' '] = 4, ['"'] = 4, ['<'] = 4, ['>'] = 4, [0x7f] = 4, ['%'] = 4,
    ['?'] = 4, ['['] = 4, [']'] = 4};

/* Digits at `*at` as a port; 0 where it is none of 1 to 65535 or something else follows. */
TL_INLINE uint16_t port_plain(const uint8_t *base, uint32_t *at, uint32_t end) {
    uint32_t port = 0, i = *at;
    for (; i < end && i - *at < 5 && base[i] >= '0' && base[i] <= '9'; i++) port = port * 10 + (base[i] - '0');
    if (i == *at || port > 65535 || (i < end && base[i] != ';')) return 0;
    *at = i;
    return (uint16_t)port;
}

/* Where the host at `from` ends, its address parsed. */
TL_INLINE uint32_t host_end(const uint8_t *base, uint32_t from, uint32_t end, struct address *address) {
    const uint32_t taken = (uint32_t)address_v4_prefix(base + from, end - from, address);
    if (taken && (from + taken == end || URI_STOPS[base[from + taken]])) return from + taken;
    uint32_t at = from;
    while (at < end && !URI_STOPS[base[at]]) at++;
    address_parse(base + from, at - from, address);
    return at;
}

/* sip:[user@]host[:port][;parameters] with nothing unusual in it, in one pass; most URIs are. Returns 0, and
   has touched nothing but `*target`, where it takes a longer look. */
static int uri_parse_plain(const uint8_t *base, struct sip_span value, struct sip_uri *target) {
    const uint32_t end = value.offset + value.length;
    uint32_t at = value.offset;
    if (value.length < 5) return 0;
    const uint8_t *name = base + at;
    if ((name[0] | 0x20) != 's' || (name[1] | 0x20) != 'i' || (name[2] | 0x20) != 'p') return 0;
    memset(target, 0, sizeof *target);
    const uint32_t scheme = name[3] == ':' ? 3 : 4;
    if (scheme == 4 && ((name[3] | 0x20) != 's' || name[4] != ':')) return 0;
    target->scheme = (struct sip_span){at, scheme};
    target->scheme_id = scheme == 3 ? SIP_SCHEME_SIP : SIP_SCHEME_SIPS;
    uint32_t host = at += scheme + 1;
    while (at < end && !URI_STOPS[base[at]]) at++;
    int with_user = 0;
    if (at < end && base[at] == '@') {
        with_user = 1;
        target->user = between(host, at);
        host = ++at;
    }
    if (with_user || (at < end && base[at] == ':')) at = host_end(base, host, end, &target->address);
    else address_parse(base + host, at - host, &target->address);
    target->host = between(host, at);
    if (!target->host.length) return 0;
    if (at < end && base[at] == ':') {
        at++;
        target->port = port_plain(base, &at, end);
        if (!target->port) return 0;
    }
    target->address.port = target->port;
    if (at < end) {
        if (base[at] != ';') return 0;
        target->parameters = between(at + 1, end);
        if (end - at == 11 && !memcmp(base + at + 1, "user=phone", 10)) {
            target->flags = SIP_URI_USER_PHONE;
            return 1;
        }
        for (uint32_t i = at + 1; i < end; i++)
            if (URI_STOPS[base[i]] == 4 || (URI_STOPS[base[i]] == 1 && !with_user)) return 0;
        struct parameter p;
        for (at++; at < end;) {
            parameter_plain(base, &at, end, &p); /* no quotes, no white space: that was looked for */
            uri_parameter(base, target, &p);
        }
    }
    return 1;
}

void sip_uri_parse(const uint8_t *base, struct sip_span value, struct sip_uri *target) {
    if (TL_LIKELY(uri_parse_plain(base, value, target))) return;
    const struct sip_span whole = trimmed(base, value.offset, value.offset + value.length);
    const uint32_t end = whole.offset + whole.length;
    memset(target, 0, sizeof *target);
    target->flags = uri_bytes(base, whole.offset, end);
    scheme_parse(base, whole.offset, end, target);
    uint32_t from = target->scheme.length ? target->scheme.offset + target->scheme.length + 1 : whole.offset;
    const uint32_t at = at_sign(base, from, end);
    const int hosted = target->scheme_id == SIP_SCHEME_SIP || target->scheme_id == SIP_SCHEME_SIPS;
    const int opaque = at == end && target->scheme.length && !hosted;
    if (at < end) {
        userinfo_parse(base, from, at, target);
        from = at + 1;
    }
    uint32_t query = from, semicolon = from;
    while (semicolon < end && base[semicolon] != ';' && base[semicolon] != '?') semicolon++;
    query = seek(base, semicolon, end, '?');
    if (semicolon < query) target->parameters = between(semicolon + 1, query);
    if (query < end) target->headers = between(query + 1, end);
    uri_parameters(base, target);
    if (opaque) { /* RFC 3966 number, RFC 5031 service name: there is no host */
        target->user = between(from, semicolon);
        return;
    }
    const struct sip_span hostport = between(from, semicolon);
    const int flags = host_parse(base, hostport, &target->host, &target->port, &target->address);
    if (flags & HOST_PORT_BAD) target->flags |= SIP_URI_PORT_BAD;
    if (flags & HOST_UNBRACKETED_V6) target->flags |= SIP_URI_UNBRACKETED_V6;
    if (!target->host.length) target->flags |= SIP_URI_EMPTY_HOST;
    target->address.port = target->port;
}

/* ---- From, To, Contact, Route, ... ---- */

/* An addr-spec with parameters in front of `bracket`: the '<' stands in one of their quoted values, as
   in `sip:a@b;+sip.instance="<urn:uuid:...>"`. */
static int is_bare(const uint8_t *base, uint32_t start, uint32_t bracket) {
    uint32_t at = start;
    while (at < bracket && sip_token_bytes[base[at]]) at++;
    return at > start && at < bracket && base[at] == ':' && seek(base, at, bracket, ';') < bracket;
}

/* The display name in front of `end`; `*start` moves behind it. */
static void display_parse(const uint8_t *base, uint32_t *start, uint32_t end, struct sip_address *t) {
    if (base[*start] == '"') {
        int open = 0;
        const uint32_t behind = quoted_end(base, *start, end, &open);
        t->flags |= SIP_ADDRESS_QUOTED;
        if (!open) {
            t->display = between(*start + 1, behind - 1);
            *start = behind;
            return;
        }
        t->flags |= SIP_ADDRESS_UNBALANCED; /* what stands in front of '<' is still the name */
        ++*start;
    }
    const uint32_t bracket = seek(base, *start, end, '<');
    if (bracket == end || is_bare(base, *start, bracket)) return;
    t->display = trimmed(base, *start, bracket);
    *start = bracket;
    if (t->flags & SIP_ADDRESS_QUOTED) return;
    for (uint32_t i = 0; i < t->display.length; i++) {
        const uint8_t c = base[t->display.offset + i];
        if (!sip_token_bytes[c] && !sip_is_white(c)) t->flags |= SIP_ADDRESS_DISPLAY_UNQUOTED;
    }
}

/* An addr-spec that stands bare must not hold ',', '?' or ';' (RFC 3261 §20): a first parameter that
   only a URI has tells that it did. */
static void bare_check(const uint8_t *base, struct sip_address *t) {
    static const char names[][10] = {"transport", "lr", "maddr", "user", "ttl", "method", "ob", "gr"};
    uint32_t at = t->parameters.offset;
    struct parameter p;
    if (seek(base, t->uri.offset, t->uri.offset + t->uri.length, '?') < t->uri.offset + t->uri.length ||
        seek(base, t->uri.offset, t->uri.offset + t->uri.length, ',') < t->uri.offset + t->uri.length)
        t->flags |= SIP_ADDRESS_BARE_QUERY;
    if (!parameter_next(base, &at, t->parameters.offset + t->parameters.length, ';', &p)) return;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (equals(base, p.name, names[i])) t->flags |= SIP_ADDRESS_BARE_QUERY;
}

/* ["name" | name] <uri>[;tag=...] with nothing unusual in it. Returns 0, and has touched nothing but `*target`,
   where it takes a longer look. */
static int address_parse_plain(const uint8_t *base, struct sip_span value, struct sip_address *target) {
    const uint32_t start = value.offset, end = value.offset + value.length;
    uint32_t at = start;
    if (value.length < 8 || sip_is_white(base[start]) || sip_is_white(base[end - 1])) return 0;
    memset(target, 0, sizeof *target);
    if (base[at] == '"') {
        for (at++; at < end && base[at] != '"'; at++)
            if (base[at] == '\\') return 0;
        if (at == end) return 0;
        target->flags = SIP_ADDRESS_QUOTED;
        target->display = between(start + 1, at);
        for (at++; at < end && sip_is_white(base[at]); at++) {}
    } else if (base[at] != '<') {
        while (at < end && (sip_token_bytes[base[at]] || base[at] == ' ')) at++;
        target->display = trimmed(base, start, at);
    }
    if (at == end || base[at] != '<') return 0;
    const uint32_t close = seek(base, at, end, '>');
    if (close == end || close < at + 6 || sip_is_white(base[at + 1]) || sip_is_white(base[close - 1])) return 0;
    target->flags |= SIP_ADDRESS_BRACKETS;
    target->uri = between(at + 1, close);
    if (close + 1 < end) {
        at = close + 1;
        if (base[at] != ';') return 0;
        target->parameters = between(++at, end);
        struct parameter p;
        while (at < end) {
            if (!parameter_plain(base, &at, end, &p)) return 0;
            if (p.name.length == 3 && equals(base, p.name, "tag")) {
                target->tag = p.value;
                target->flags |= SIP_ADDRESS_HAS_TAG;
                break;
            }
        }
    }
    sip_uri_parse(base, target->uri, &target->parsed);
    return 1;
}

void sip_address_parse(const uint8_t *base, struct sip_span value, struct sip_address *target) {
    if (TL_LIKELY(address_parse_plain(base, value, target))) return;
    const struct sip_span whole = trimmed(base, value.offset, value.offset + value.length);
    const uint32_t end = whole.offset + whole.length;
    uint32_t start = whole.offset, semicolon;
    memset(target, 0, sizeof *target);
    if (!whole.length) return;
    if (base[start] == '*' && whole.length == 1) {
        target->flags = SIP_ADDRESS_STAR;
        return;
    }
    display_parse(base, &start, end, target);
    while (start < end && sip_is_white(base[start])) start++;
    if (start < end && base[start] == '<') {
        const uint32_t close = seek(base, start, end, '>');
        target->flags |= SIP_ADDRESS_BRACKETS;
        if (close == end) target->flags |= SIP_ADDRESS_UNBALANCED;
        target->uri = trimmed(base, start + 1, close);
        semicolon = seek(base, close, end, ';');
    } else {
        semicolon = seek(base, start, end, ';');
        target->uri = trimmed(base, start, semicolon);
    }
    if (semicolon < end) target->parameters = between(semicolon + 1, end);
    if (!(target->flags & SIP_ADDRESS_BRACKETS)) bare_check(base, target);
    if (target->parameters.length && sip_param_find(base, target->parameters, ';', "tag", &target->tag))
        target->flags |= SIP_ADDRESS_HAS_TAG;
    sip_uri_parse(base, target->uri, &target->parsed);
    /* white space inside the brackets is no part of an addr-spec (RFC 4475 §3.1.2.14) */
    const uint32_t behind = target->uri.offset + target->uri.length;
    const uint8_t closed = target->flags & (SIP_ADDRESS_BRACKETS | SIP_ADDRESS_UNBALANCED);
    if (closed == SIP_ADDRESS_BRACKETS && target->uri.length &&
        (target->uri.offset > start + 1 || sip_is_white(base[behind])))
        target->parsed.flags |= SIP_URI_BAD_CHARACTER;
}

/* ---- Via ---- */

/* Text up to one of '/', white space or `end`, with white space on both sides skipped. */
static struct sip_span via_word(const uint8_t *base, uint32_t *at, uint32_t end) {
    while (*at < end && sip_is_white(base[*at])) ++*at;
    const uint32_t from = *at;
    while (*at < end && base[*at] != '/' && !sip_is_white(base[*at])) ++*at;
    const struct sip_span word = between(from, *at);
    while (*at < end && sip_is_white(base[*at])) ++*at;
    return word;
}

static void via_parameter(const uint8_t *base, struct sip_via *v, const struct parameter *p) {
    switch (p->name.length ? lower(base[p->name.offset]) : 0) {
    case 'b':
        if (v->flags & SIP_VIA_BRANCH || !names(base, p->name, "branch", 6)) break;
        v->flags |= SIP_VIA_BRANCH;
        v->branch = p->value;
        if (p->value.length >= 7 && (!memcmp(base + p->value.offset, "z9hG4bK", 7) ||
                                     equals(base, (struct sip_span){p->value.offset, 7}, "z9hg4bk")))
            v->flags |= SIP_VIA_COOKIE; /* tokens compare without case (RFC 3261 §7.3.1) */
        break;
    case 'r':
        if (equals(base, p->name, "received")) {
            v->flags |= SIP_VIA_RECEIVED;
            v->received = p->value;
            address_parse(base + p->value.offset, p->value.length, &v->received_from);
        } else if (names(base, p->name, "rport", 5)) { /* RFC 3581 */
            v->flags |= SIP_VIA_RPORT;
            if (p->value.length && !port_parse(base, p->value, &v->rport)) v->flags |= SIP_VIA_PORT_BAD;
        }
        break;
    case 'a': if (equals(base, p->name, "alias")) v->flags |= SIP_VIA_ALIAS; break; /* RFC 5923 */
    default: break;
    }
}

static void via_parameters(const uint8_t *base, struct sip_via *v) {
    uint32_t at = v->parameters.offset;
    struct parameter p;
    while (parameter_next(base, &at, v->parameters.offset + v->parameters.length, ';', &p)) via_parameter(base, v, &p);
}

/* SIP/2.0/transport host[:port][;parameters] with nothing unusual in it. Returns 0, and has touched nothing but
   `*target`, where it takes a longer look. */
static int via_parse_plain(const uint8_t *base, struct sip_span value, struct sip_via *target) {
    const uint32_t start = value.offset, end = value.offset + value.length;
    if (value.length < 14 || memcmp(base + start, "SIP/2.0/", 8) != 0 || sip_is_white(base[end - 1])) return 0;
    memset(target, 0, sizeof *target);
    target->protocol_version = (struct sip_span){start + 4, 3};
    uint32_t at = start + 8;
    while (at < end && base[at] >= 'A' && base[at] <= 'Z') at++;
    target->transport_name = between(start + 8, at);
    target->transport = transport_id(base, target->transport_name);
    if (!target->transport || at == end || base[at] != ' ') return 0;
    const uint32_t host = ++at;
    at = host_end(base, host, end, &target->sent_by);
    target->host = between(host, at);
    if (!target->host.length || target->sent_by.kind == ADDRESS_INVALID) return 0;
    target->sent_by.port = 0;
    if (at < end && base[at] == ':') {
        at++;
        target->sent_by.port = port_plain(base, &at, end);
        if (!target->sent_by.port) return 0;
    }
    if (at < end) {
        if (base[at] != ';') return 0;
        target->parameters = between(at + 1, end);
        struct parameter p;
        for (at++; at < end;) {
            if (!parameter_plain(base, &at, end, &p)) return 0;
            via_parameter(base, target, &p);
        }
    }
    return 1;
}

void sip_via_parse(const uint8_t *base, struct sip_span value, struct sip_via *target) {
    if (TL_LIKELY(via_parse_plain(base, value, target))) return;
    const struct sip_span whole = trimmed(base, value.offset, value.offset + value.length);
    const uint32_t end = whole.offset + whole.length;
    uint32_t at = whole.offset;
    memset(target, 0, sizeof *target);
    const uint32_t semicolon = seek(base, at, end, ';');
    const struct sip_span protocol = via_word(base, &at, semicolon);
    int good = equals(base, protocol, "sip") && at < semicolon && base[at] == '/';
    if (good) {
        at++;
        target->protocol_version = via_word(base, &at, semicolon);
        good = equals(base, target->protocol_version, "2.0") && at < semicolon && base[at] == '/';
    }
    if (good) {
        at++;
        target->transport_name = via_word(base, &at, semicolon);
        target->transport = transport_id(base, target->transport_name);
        good = target->transport && at < semicolon && sip_is_white(base[at - 1]);
    }
    uint16_t port;
    const int flags = host_parse(base, trimmed(base, at, semicolon), &target->host, &port, &target->sent_by);
    target->sent_by.port = port;
    if (flags & HOST_PORT_BAD) target->flags |= SIP_VIA_PORT_BAD;
    if (flags & HOST_UNBRACKETED_V6) target->flags |= SIP_VIA_UNBRACKETED_V6;
    if (semicolon < end) target->parameters = between(semicolon + 1, end);
    via_parameters(base, target);
    if (!good || !target->host.length || (target->sent_by.kind == ADDRESS_INVALID
        && !address_under_invalid(base + target->host.offset, target->host.length))) /* what a browser writes is one (RFC 7118 5.2) */
        target->flags |= SIP_VIA_MALFORMED;
}

/* ---- hashes ---- */

#define HASH_A 0x9e3779b97f4a7c15u
#define HASH_B 0xd1342543de82ef95u
#define HASH_C 0xaf251af3b0f025b5u

/* 64 x 64 to 128 bits, the halves folded together. */
TL_INLINE uint64_t mix(uint64_t a, uint64_t b) {
#if defined(__SIZEOF_INT128__)
    const unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
#else
    const uint64_t al = (uint32_t)a, ah = a >> 32, bl = (uint32_t)b, bh = b >> 32;
    const uint64_t low = al * bl, first = ah * bl + (low >> 32), second = al * bh + (uint32_t)first;
    return (second << 32 | (uint32_t)low) ^ (ah * bh + (first >> 32) + (second >> 32));
#endif
}

/* 'A'..'Z' to lower case in all eight bytes, the others left alone. */
TL_INLINE uint64_t word_lower(uint64_t word) {
    const uint64_t low = word & 0x7f * SIP_ONES;
    const uint64_t from_a = low + (0x80 - 'A') * SIP_ONES, behind_z = low + (0x7f - 'Z') * SIP_ONES;
    return word | ((from_a & ~behind_z & ~word & 0x80 * SIP_ONES) >> 2);
}

TL_INLINE uint64_t load_word(const uint8_t *source, const int fold) {
    return fold ? word_lower(sip_load(source)) : sip_load(source);
}

/* One to seven bytes, zero-filled. */
TL_INLINE uint64_t load_few(const uint8_t *source, size_t count, const int fold) {
    uint8_t copy[8] = {0};
    memcpy(copy, source, count);
    return load_word(copy, fold);
}

TL_INLINE uint64_t hash(const uint8_t *source, size_t count, uint64_t seed, const int fold) {
    const size_t total = count;
    uint64_t state = mix(seed ^ HASH_A, HASH_B);
    for (; count > 16; source += 16, count -= 16)
        state = mix(load_word(source, fold) ^ HASH_C ^ state, load_word(source + 8, fold) ^ HASH_B);
    uint64_t a = 0, b = 0;
    if (count >= 8) {
        a = load_word(source, fold);
        b = load_word(source + count - 8, fold);
    } else if (count) a = load_few(source, count, fold);
    return mix(mix(a ^ HASH_C ^ state, b ^ HASH_B) ^ HASH_A, total ^ HASH_C);
}

uint64_t sip_hash(const uint8_t *source, size_t count, uint64_t seed) { return hash(source, count, seed, 0); }

uint64_t sip_hash_folded(const uint8_t *source, size_t count, uint64_t seed) {
    return hash(source, count, seed, 1);
}
