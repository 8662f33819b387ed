/* Names to ids and back: header fields by one perfect hash and a few word compares, methods by length. */
#include "sip_scan.h"

const struct sip_entry sip_entries[SIP_HEADER_COUNT] = {SIP_ENTRY_ROWS};
const uint8_t sip_slots[1 << SIP_SLOT_BITS] = {SIP_SLOT_ROWS};

static const char *const NAMES[SIP_HEADER_COUNT] = {
    [SIP_HEADER_OTHER] = "",
#define X(symbol, name, letter) [SIP_HEADER_##symbol] = name,
    SIP_HEADER_TABLE(X)
#undef X
};

#define X(symbol, name, letter) _Static_assert(sizeof name - 1 <= SIP_NAME_LONGEST, "name fits an entry");
SIP_HEADER_TABLE(X)
#undef X

static const uint8_t COMPACT[26] = {
#define X(symbol, letter) [letter - 'a'] = SIP_HEADER_##symbol,
    SIP_COMPACT_TABLE(X)
#undef X
};

#define IN_WORD(word, symbol) | (uint64_t)(SIP_HEADER_##symbol >> 6 == (word)) << (SIP_HEADER_##symbol & 63)

const uint64_t sip_compact_headers[SIP_HEADER_WORDS] = {
#define X(symbol, letter) IN_WORD(0, symbol)
    0 SIP_COMPACT_TABLE(X),
#undef X
#define X(symbol, letter) IN_WORD(1, symbol)
    0 SIP_COMPACT_TABLE(X),
#undef X
#define X(symbol, letter) IN_WORD(2, symbol)
    0 SIP_COMPACT_TABLE(X),
#undef X
};
_Static_assert(SIP_HEADER_COUNT <= 192, "the fourth word of the bit sets is empty");

/* Headers whose grammar has a quoted-string (RFC 3261 §25.1 and the header's own RFC). In the others, as
   Subject, User-Agent and Call-ID, a '"' is a byte like any other. */
#define QUOTED(Q, word) \
    Q(word, FROM) Q(word, TO) Q(word, CONTACT) Q(word, VIA) Q(word, ROUTE) Q(word, RECORD_ROUTE) \
    Q(word, DIVERSION) Q(word, P_ASSERTED_IDENTITY) Q(word, P_PREFERRED_IDENTITY) Q(word, REMOTE_PARTY_ID) \
    Q(word, HISTORY_INFO) Q(word, REFER_TO) Q(word, REFERRED_BY) Q(word, REPLY_TO) Q(word, PATH) \
    Q(word, SERVICE_ROUTE) Q(word, P_ASSOCIATED_URI) Q(word, P_CALLED_PARTY_ID) Q(word, P_SERVED_USER) \
    Q(word, AUTHORIZATION) Q(word, PROXY_AUTHORIZATION) Q(word, WWW_AUTHENTICATE) \
    Q(word, PROXY_AUTHENTICATE) Q(word, AUTHENTICATION_INFO) Q(word, WARNING) Q(word, REASON) \
    Q(word, ALERT_INFO) Q(word, CALL_INFO) Q(word, ERROR_INFO) Q(word, GEOLOCATION) \
    Q(word, ACCEPT_CONTACT) Q(word, REJECT_CONTACT) Q(word, CONTENT_TYPE) Q(word, CONTENT_DISPOSITION) \
    Q(word, IDENTITY) Q(word, FEATURE_CAPS) Q(word, SECURITY_CLIENT) Q(word, SECURITY_SERVER) \
    Q(word, SECURITY_VERIFY) Q(word, P_ACCESS_NETWORK_INFO) Q(word, P_CHARGING_VECTOR) \
    Q(word, P_CHARGE_INFO)
const uint64_t sip_quoted_headers[SIP_HEADER_WORDS] = {0 QUOTED(IN_WORD, 0), 0 QUOTED(IN_WORD, 1),
                                                       0 QUOTED(IN_WORD, 2)};

#define T(first, last) [first ... last] = 1
const uint8_t sip_token_bytes[256] = {
    T('0', '9'), T('A', 'Z'), T('a', 'z'), ['-'] = 1, ['.'] = 1, ['!'] = 1, ['%'] = 1, ['*'] = 1,
    ['_'] = 1, ['+'] = 1, ['`'] = 1, ['\''] = 1, ['~'] = 1};
#undef T

uint8_t sip_header_id(const uint8_t *name, size_t length) {
    uint8_t line[40] = {'\n'}; /* as at the beginning of a line, zeros behind */
    if (!length || length > SIP_NAME_LONGEST) return SIP_HEADER_OTHER;
    if (length == 1) {
        const unsigned letter = (name[0] | 0x20u) - 'a';
        return letter < 26 && name[0] >= 'A' ? COMPACT[letter] : SIP_HEADER_OTHER;
    }
    memcpy(line + 1, name, length);
    line[1 + length] = ':';
    const uint8_t id = sip_candidate(sip_name_head(line + 1, (uint32_t)length), line + 1, (uint32_t)length);
    const struct sip_entry *entry = &sip_entries[id];
    uint64_t difference = entry->text[length] ^ ':'; /* a name with a colon in it matches no entry */
    for (unsigned i = 0; i < 32; i += 8)
        difference |= (sip_load(line + 1 + i) ^ sip_load((const uint8_t *)entry->text + i)) &
                      sip_load((const uint8_t *)entry->mask + i);
    return difference ? SIP_HEADER_OTHER : id;
}

const char *sip_header_name(int id) {
    return id > SIP_HEADER_OTHER && id < SIP_HEADER_COUNT ? NAMES[id] : "";
}

#define METHOD(name) [SIP_METHOD_##name] = #name
static const char METHODS[SIP_METHOD_COUNT][16] = {
    METHOD(INVITE),   METHOD(ACK),    METHOD(BYE),  METHOD(CANCEL),    METHOD(OPTIONS), METHOD(REGISTER),
    METHOD(PRACK),    METHOD(UPDATE), METHOD(INFO), METHOD(SUBSCRIBE), METHOD(NOTIFY),  METHOD(REFER),
    METHOD(MESSAGE),  METHOD(PUBLISH),
};
#undef METHOD

/* Third letter and length tell the known methods apart. */
#define METHOD_SLOT(letter, length) (((letter) + 10 * (length)) & 31)
#define METHOD(name, letter) [METHOD_SLOT(letter, sizeof #name - 1)] = SIP_METHOD_##name
static const uint8_t METHOD_SLOTS[32] = {
    METHOD(INVITE, 'V'),  METHOD(ACK, 'K'),       METHOD(BYE, 'E'),    METHOD(CANCEL, 'N'),
    METHOD(OPTIONS, 'T'), METHOD(REGISTER, 'G'),  METHOD(PRACK, 'A'),  METHOD(UPDATE, 'D'),
    METHOD(INFO, 'F'),    METHOD(SUBSCRIBE, 'B'), METHOD(NOTIFY, 'T'), METHOD(REFER, 'F'),
    METHOD(MESSAGE, 'S'), METHOD(PUBLISH, 'B'),
};
#undef METHOD

const char *sip_method_name(int method) {
    return method > SIP_METHOD_OTHER && method < SIP_METHOD_COUNT ? METHODS[method] : "";
}

uint8_t sip_method_id(const uint8_t *name, size_t length) {
    uint8_t copy[16] = {0};
    if (length < 3 || length > 9) return SIP_METHOD_OTHER;
    memcpy(copy, name, length);
    const uint8_t id = METHOD_SLOTS[METHOD_SLOT(name[2], length)];
    const uint8_t *known = (const uint8_t *)METHODS[id];
    return memcmp(copy, known, sizeof copy) ? SIP_METHOD_OTHER : id;
}
