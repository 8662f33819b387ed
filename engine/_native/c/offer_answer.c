/* Which description is an offer and which its answer (RFC 3264, RFC 6337 table 1), a call at a time. */
#include "assemble.h"

enum { ROLE_UNKNOWN = 0, ROLE_OFFER = 1, ROLE_ANSWER = 2 };

static void set_role(struct trace *t, uint32_t row, uint8_t role) {
    const uint32_t first = t->messages.media_line[row];
    for (uint32_t k = 0; first != NONE && k < t->messages.media_count[row]; k++) t->media_lines.role[first + k] = role;
}

/* Joins line k of an offer with line k of its answer (RFC 3264 §6: the same order). */
static void join(struct trace *t, uint32_t offer, uint32_t answer) {
    const struct messages_table *m = &t->messages;
    const uint32_t from = m->media_line[offer], to = m->media_line[answer];
    set_role(t, offer, ROLE_OFFER);
    set_role(t, answer, ROLE_ANSWER);
    if (from == NONE || to == NONE) return;
    uint32_t lines = m->media_count[offer] < m->media_count[answer] ? m->media_count[offer] : m->media_count[answer];
    for (uint32_t k = 0; k < lines; k++) {
        t->media_lines.counterpart[from + k] = to + k;
        t->media_lines.counterpart[to + k] = from + k;
    }
}

/* First speech codec of the answer that the offer had as well; the answer's first one when that says nothing. */
static uint8_t agreed_codec(const struct media_lines_table *l, uint32_t offer, uint32_t answer) {
    const uint64_t both = l->codecs[offer] & l->codecs[answer];
    if (l->codec[answer] && both >> l->codec[answer] & 1) return l->codec[answer];
    return l->codec[answer] ? l->codec[answer] : l->codec[offer];
}

/* What the call agreed last: its first audio line that was not refused, else its first line. */
static void agree(struct trace *t, uint32_t call, uint32_t offer, uint32_t answer) {
    struct calls_table *c = &t->calls;
    const struct media_lines_table *l = &t->media_lines;
    const uint32_t from = t->messages.media_line[offer], to = t->messages.media_line[answer];
    if (from == NONE || to == NONE) return;
    uint32_t lines = t->messages.media_count[offer];
    if (t->messages.media_count[answer] < lines) lines = t->messages.media_count[answer];
    uint32_t chosen = NONE;
    for (uint32_t k = 0; k < lines; k++) {
        if (l->media[to + k] == SDP_IMAGE && l->port[to + k]) c->flags[call] |= CALL_T38;
        if (l->media[to + k] != SDP_AUDIO) continue;
        if (chosen == NONE || (!l->port[to + chosen] && l->port[to + k])) chosen = k;
    }
    if (chosen == NONE) chosen = 0;
    c->offer_line[call] = from + chosen;
    c->answer_line[call] = to + chosen;
    if (l->port[to + chosen]) c->codec[call] = agreed_codec(l, from + chosen, to + chosen);
    const uint8_t a = l->direction[from + chosen], b = l->direction[to + chosen];
    if (a == SDP_SENDONLY || a == SDP_INACTIVE || b == SDP_INACTIVE || l->address_kind[from + chosen] == ADDRESS_UNSPECIFIED)
        c->flags[call] |= CALL_HELD;
    if (l->crypto_count[to + chosen] || l->traits[to + chosen] & SDP_FINGERPRINT) c->flags[call] |= CALL_ENCRYPTED_MEDIA;
}

/* State of the exchange of one transaction while its messages go by. */
struct exchange { uint32_t transaction, offer, answer; };

static struct exchange *exchange_of(struct exchange *all, uint32_t *used, uint32_t transaction) {
    for (uint32_t i = *used; i-- > 0;)
        if (all[i].transaction == transaction) return &all[i];
    /* the oldest gives way: a dialog has few exchanges open at once */
    if (*used == 8) { memmove(all, all + 1, 7 * sizeof *all); (*used)--; }
    all[*used] = (struct exchange){transaction, NONE, NONE};
    return &all[(*used)++];
}

static int carries_offers(uint8_t method) {
    return method == SIP_METHOD_INVITE || method == SIP_METHOD_UPDATE || method == SIP_METHOD_ACK ||
           method == SIP_METHOD_PRACK;
}

static void take_description(struct trace *t, uint32_t call, uint32_t row, struct exchange *e) {
    const struct messages_table *m = &t->messages;
    const uint16_t status = m->status[row];
    if (!status && m->method[row] != SIP_METHOD_ACK) {
        if (e->offer == NONE) { e->offer = row; set_role(t, row, ROLE_OFFER); }
        else set_role(t, row, ROLE_OFFER); /* a repeat */
        return;
    }
    if (e->offer == NONE) { /* the request had none: the response offers (RFC 3261 §13.2.1) */
        e->offer = row;
        set_role(t, row, ROLE_OFFER);
        return;
    }
    if (status && status >= 300) return;
    const int by_answerer = status ? !m->status[e->offer] : m->status[e->offer] != 0;
    if (!by_answerer) { set_role(t, row, ROLE_OFFER); return; }
    e->answer = row;
    join(t, e->offer, row);
    if (status != 0 ? status >= 200 || m->method[row] != SIP_METHOD_INVITE : 1) agree(t, call, e->offer, row);
    else if (t->calls.answer_line[call] == NONE) agree(t, call, e->offer, row); /* early media */
}

void pair_descriptions(struct trace *t, uint32_t call, const uint32_t *rows, uint32_t count) {
    const struct messages_table *m = &t->messages;
    struct exchange open[8];
    uint32_t used = 0;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t row = rows[i];
        if (!(m->flags[row] & MESSAGE_SDP) || m->flags[row] & MESSAGE_MIRRORED) continue;
        if (!carries_offers(m->method[row]) || m->transaction[row] == NONE) continue;
        take_description(t, call, row, exchange_of(open, &used, m->transaction[row]));
    }
}
