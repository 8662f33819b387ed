/* Names to ids and back: header fields by one perfect hash and a few word compares, methods by length. */
#include "sip_scan.h"

const struct sip_entry sip_entries[SIP_HEADER_COUNT] = {
#define X(symbol, name, letter) [SIP_HEADER_##symbol] = {"\0\0\0\0\0\0\0\0" name, sizeof name - 1, letter},
    SIP_HEADER_TABLE(X)
#undef X
};

#define X(symbol, name, letter) _Static_assert(sizeof name - 1 <= SIP_NAME_LONGEST, "name fits an entry");
SIP_HEADER_TABLE(X)
#undef X

#define X(symbol, name, letter) | (uint64_t)(letter && SIP_HEADER_##symbol >> 6 == WORD) << (SIP_HEADER_##symbol & 63)
const uint64_t sip_compact_headers[SIP_HEADER_WORDS] = {
#define WORD 0
    0 SIP_HEADER_TABLE(X),
#undef WORD
#define WORD 1
    0 SIP_HEADER_TABLE(X),
#undef WORD
#define WORD 2
    0 SIP_HEADER_TABLE(X),
#undef WORD
#define WORD 3
    0 SIP_HEADER_TABLE(X),
#undef WORD
};
#undef X

const uint8_t sip_slots[1 << SIP_SLOT_BITS] = {SIP_SLOT_ROWS};

/* Headers whose grammar has a quoted-string (RFC 3261 §25.1 and the header's own RFC). In the others, as
   Subject, User-Agent and Call-ID, a '"' is a byte like any other. */
#define QUOTED(Q, word) \
    Q(FROM, word) Q(TO, word) Q(CONTACT, word) Q(VIA, word) Q(ROUTE, word) Q(RECORD_ROUTE, word) \
    Q(DIVERSION, word) Q(P_ASSERTED_IDENTITY, word) Q(P_PREFERRED_IDENTITY, word) Q(REMOTE_PARTY_ID, word) \
    Q(HISTORY_INFO, word) Q(REFER_TO, word) Q(REFERRED_BY, word) Q(REPLY_TO, word) Q(PATH, word) \
    Q(SERVICE_ROUTE, word) Q(P_ASSOCIATED_URI, word) Q(P_CALLED_PARTY_ID, word) Q(P_SERVED_USER, word) \
    Q(AUTHORIZATION, word) Q(PROXY_AUTHORIZATION, word) Q(WWW_AUTHENTICATE, word) \
    Q(PROXY_AUTHENTICATE, word) Q(AUTHENTICATION_INFO, word) Q(WARNING, word) Q(REASON, word) \
    Q(ALERT_INFO, word) Q(CALL_INFO, word) Q(ERROR_INFO, word) Q(GEOLOCATION, word) \
    Q(ACCEPT_CONTACT, word) Q(REJECT_CONTACT, word) Q(CONTENT_TYPE, word) Q(CONTENT_DISPOSITION, word) \
    Q(IDENTITY, word) Q(FEATURE_CAPS, word) Q(SECURITY_CLIENT, word) Q(SECURITY_SERVER, word) \
    Q(SECURITY_VERIFY, word) Q(P_ACCESS_NETWORK_INFO, word) Q(P_CHARGING_VECTOR, word) \
    Q(P_CHARGE_INFO, word)
#define BIT(symbol, word) | (uint64_t)(SIP_HEADER_##symbol >> 6 == (word)) << (SIP_HEADER_##symbol & 63)

const uint64_t sip_quoted_headers[SIP_HEADER_WORDS] = {
    0 QUOTED(BIT, 0), 0 QUOTED(BIT, 1), 0 QUOTED(BIT, 2), 0 QUOTED(BIT, 3)};

#define T(first, last) [first ... last] = 1
const uint8_t sip_token_bytes[256] = {
    T('0', '9'), T('A', 'Z'), T('a', 'z'), ['-'] = 1, ['.'] = 1, ['!'] = 1, ['%'] = 1, ['*'] = 1,
    ['_'] = 1, ['+'] = 1, ['`'] = 1, ['\''] = 1, ['~'] = 1};
#undef T

uint8_t sip_header_id(const uint8_t *name, size_t length) {
    uint8_t copy[8 + 2 * SIP_NAME_LONGEST] = {0};
    if (!length || length > SIP_NAME_LONGEST) return SIP_HEADER_OTHER;
    memcpy(copy + 8, name, length);
    return sip_match(copy + 8, (uint32_t)length);
}

const char *sip_header_name(int id) {
    return id > SIP_HEADER_OTHER && id < SIP_HEADER_COUNT ? sip_entries[id].text + 8 : "";
}

static const char METHODS[SIP_METHOD_COUNT][16] = {
    [SIP_METHOD_INVITE] = "INVITE",       [SIP_METHOD_ACK] = "ACK",
    [SIP_METHOD_BYE] = "BYE",             [SIP_METHOD_CANCEL] = "CANCEL",
    [SIP_METHOD_OPTIONS] = "OPTIONS",     [SIP_METHOD_REGISTER] = "REGISTER",
    [SIP_METHOD_PRACK] = "PRACK",         [SIP_METHOD_UPDATE] = "UPDATE",
    [SIP_METHOD_INFO] = "INFO",           [SIP_METHOD_SUBSCRIBE] = "SUBSCRIBE",
    [SIP_METHOD_NOTIFY] = "NOTIFY",       [SIP_METHOD_REFER] = "REFER",
    [SIP_METHOD_MESSAGE] = "MESSAGE",     [SIP_METHOD_PUBLISH] = "PUBLISH",
};

const char *sip_method_name(int method) {
    return method > SIP_METHOD_OTHER && method < SIP_METHOD_COUNT ? METHODS[method] : "";
}

/* Two letters tell the known methods apart; the one that is left is compared whole. */
uint8_t sip_method_id(const uint8_t *name, size_t length) {
    uint8_t id = SIP_METHOD_OTHER;
    if (length < 3 || length > 9) return SIP_METHOD_OTHER;
    switch (name[0] << 8 | name[2]) {
    case 'I' << 8 | 'V': id = SIP_METHOD_INVITE; break;
    case 'A' << 8 | 'K': id = SIP_METHOD_ACK; break;
    case 'B' << 8 | 'E': id = SIP_METHOD_BYE; break;
    case 'C' << 8 | 'N': id = SIP_METHOD_CANCEL; break;
    case 'O' << 8 | 'T': id = SIP_METHOD_OPTIONS; break;
    case 'R' << 8 | 'G': id = SIP_METHOD_REGISTER; break;
    case 'P' << 8 | 'A': id = SIP_METHOD_PRACK; break;
    case 'U' << 8 | 'D': id = SIP_METHOD_UPDATE; break;
    case 'I' << 8 | 'F': id = SIP_METHOD_INFO; break;
    case 'S' << 8 | 'B': id = SIP_METHOD_SUBSCRIBE; break;
    case 'N' << 8 | 'T': id = SIP_METHOD_NOTIFY; break;
    case 'R' << 8 | 'F': id = SIP_METHOD_REFER; break;
    case 'M' << 8 | 'S': id = SIP_METHOD_MESSAGE; break;
    case 'P' << 8 | 'B': id = SIP_METHOD_PUBLISH; break;
    default: return SIP_METHOD_OTHER;
    }
    /* The terminator is compared too: a longer known name is no match. */
    return !memcmp(name, METHODS[id], length) && !METHODS[id][length] ? id : SIP_METHOD_OTHER;
}
