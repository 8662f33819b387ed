/* The second pass: messages grouped by call, paired into transactions, calls given their outcome and times. */
#include "assemble.h"

/* ---- grouping: a counting sort by call keeps arrival order; times out of order are put right a call ---- */

static void sort_by_time(const struct trace *t, uint32_t *rows, uint32_t count) {
    const int64_t *time = t->messages.time_ns;
    for (uint32_t i = 1; i < count; i++) {
        const uint32_t row = rows[i];
        uint32_t k = i;
        /* inputs are nearly sorted; a bound keeps hostile ones linear, they stay in arrival order */
        while (k > 0 && i - k < 64 && time[rows[k - 1]] > time[row]) { rows[k] = rows[k - 1]; k--; }
        rows[k] = row;
    }
}

static int group_messages(struct trace *t) {
    const uint32_t count = t->messages.head.count, calls = t->calls.head.count;
    t->call_messages = t->lender->lend(((size_t)count + 1) * sizeof(uint32_t));
    uint32_t *next = t->lender->lend(((size_t)calls + 1) * sizeof(uint32_t));
    if (!t->call_messages || !next) {
        if (next) t->lender->take_back(next);
        return STATUS_TOO_SMALL;
    }
    uint32_t at = 0;
    for (uint32_t c = 0; c < calls; c++) {
        t->calls.first_message[c] = next[c] = at;
        at += t->calls.message_count[c];
    }
    for (uint32_t row = 0; row < count; row++) t->call_messages[next[t->messages.call[row]]++] = row;
    t->lender->take_back(next);
    if (!t->no_time)
        for (uint32_t c = 0; c < calls; c++)
            sort_by_time(t, t->call_messages + t->calls.first_message[c], t->calls.message_count[c]);
    return 0;
}

/* ---- scratch index of one call: key -> row, emptied by a generation stamp ---- */

int scratch_init(struct scratch *s, const struct lender *lender, uint32_t keys) {
    uint32_t size = 64;
    while (size < keys * 2 && size < (1u << 30)) size *= 2;
    s->slots = lender->lend((size_t)size * sizeof *s->slots);
    s->size = size;
    s->generation = 0;
    return s->slots ? 0 : STATUS_TOO_SMALL;
}

void scratch_begin(struct scratch *s, uint32_t keys) {
    s->generation++;
    uint32_t size = 16;
    while (size < keys * 2) size *= 2;
    s->mask = (size < s->size ? size : s->size) - 1;
}

uint32_t *scratch_find(struct scratch *s, uint64_t key) {
    uint32_t place = (uint32_t)(key ^ key >> 32) & s->mask;
    for (;; place = (place + 1) & s->mask) {
        struct scratch_slot *slot = &s->slots[place];
        if (slot->generation != s->generation) {
            slot->generation = s->generation;
            slot->key = key;
            slot->row = NONE;
            return &slot->row;
        }
        if (slot->key == key) return &slot->row;
    }
}

static uint64_t mix(uint64_t a, uint64_t b) {
    uint64_t h = (a ^ b * 0x9E3779B97F4A7C15ull) * 0xBF58476D1CE4E5B9ull;
    return h ^ h >> 31;
}

/* ---- repeats ---- */

/* A repeat has everything that identifies it: branch, CSeq, what it is, who sent it and, for responses, the To tag.
   Two copies within 50 ms, or with one IP identification within a second, are one packet seen twice. */
static void mark_repeats(struct trace *t, uint32_t *rows, uint32_t count, struct scratch *s, uint32_t call) {
    struct messages_table *m = &t->messages;
    scratch_begin(s, count);
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t row = rows[i];
        uint64_t key = mix((uint64_t)m->branch_hash[row] << 32 | m->cseq[row],
                           (uint64_t)m->status[row] << 8 | m->method[row]);
        key = mix(key, (uint64_t)m->source[row] << 32 | m->target[row]);
        key = mix(key, (uint64_t)m->to_tag_hash[row] << 32 | (uint32_t)m->rseq[row]);
        /* without a top Via nothing says that two look-alikes are one: compare bodies' lengths too */
        if (!m->branch_hash[row]) key = mix(key, m->text_length[row]);
        uint32_t *seen = scratch_find(s, key);
        if (*seen == NONE) { *seen = row; continue; }
        const uint32_t first = *seen;
        m->retransmission_of[row] = first;
        const uint32_t before = i ? rows[i - 1] : first;
        const int64_t apart = m->time_ns[row] - m->time_ns[before >= first ? before : first];
        const int64_t since = m->time_ns[row] - m->time_ns[first];
        const int same_packet = m->ip_id[row] && m->ip_id[row] == m->ip_id[first] && since < 1000000000;
        if (!t->no_time && (same_packet || (since < 50000000 && apart >= 0 && !(m->flags[row] & MESSAGE_LOGGED_RETRANSMISSION)))) {
            m->flags[row] |= MESSAGE_MIRRORED;
            t->calls.flags[call] |= CALL_MIRRORED;
            t->mirrored_packets++;
        } else {
            m->flags[row] |= MESSAGE_RETRANSMISSION;
            if (t->calls.retransmissions[call] < UINT16_MAX) t->calls.retransmissions[call]++;
        }
    }
}

/* ---- transactions ---- */

static uint32_t transaction_add(struct trace *t, uint32_t call, uint32_t row) {
    struct transactions_table *x = &t->transactions;
    const struct messages_table *m = &t->messages;
    if (table_reserve(t->lender, TABLE_transactions, &x->head, 1)) { t->failed = 1; return NONE; }
    const uint32_t at = x->head.count++;
    x->call[at] = call;
    x->first[at] = x->last[at] = x->provisional[at] = x->ringing[at] = x->final[at] = NONE;
    x->last_final[at] = x->ack[at] = x->cancel[at] = x->retry_of[at] = NONE;
    x->cseq[at] = m->cseq[row];
    x->method[at] = m->cseq_method[row] ? m->cseq_method[row] : m->method[row];
    if (m->status[row]) {
        x->flags[at] = TRANSACTION_NO_REQUEST;
        x->source[at] = m->target[row];
        x->target[at] = m->source[row];
    } else {
        x->source[at] = m->source[row];
        x->target[at] = m->target[row];
    }
    if (m->transport[row] != SIP_UDP && m->transport[row] != SIP_TRANSPORT_NONE) x->flags[at] |= TRANSACTION_RELIABLE;
    return at;
}

static void take_request(struct trace *t, uint32_t at, uint32_t row) {
    struct transactions_table *x = &t->transactions;
    const struct messages_table *m = &t->messages;
    if (x->first[at] == NONE) {
        x->first[at] = row;
        x->flags[at] &= (uint8_t)~TRANSACTION_NO_REQUEST;
        x->source[at] = m->source[row];
        x->target[at] = m->target[row];
    }
    x->last[at] = row;
    if (x->requests[at] < UINT16_MAX) x->requests[at]++;
    if (m->flags[row] & MESSAGE_IN_DIALOG) x->flags[at] |= TRANSACTION_IN_DIALOG;
    if (m->flags[row] & MESSAGE_CREDENTIALS) x->flags[at] |= TRANSACTION_CREDENTIALS;
    if (m->flags[row] & MESSAGE_SDP) x->flags[at] |= TRANSACTION_OFFER;
}

static void take_response(struct trace *t, uint32_t at, uint32_t row) {
    struct transactions_table *x = &t->transactions;
    const struct messages_table *m = &t->messages;
    const uint16_t status = m->status[row];
    if (status < 200) {
        if (x->provisional[at] == NONE) x->provisional[at] = row;
        if (status > 100 && x->ringing[at] == NONE) x->ringing[at] = row;
        if (x->provisionals[at] < UINT16_MAX) x->provisionals[at]++;
        return;
    }
    if (x->final[at] == NONE) {
        x->final[at] = row;
        x->status[at] = status;
    } else if (m->to_tag_hash[row] != m->to_tag_hash[x->final[at]]) {
        x->flags[at] |= TRANSACTION_FORKED;
        if (status / 100 == 2 && x->status[at] / 100 != 2) { x->final[at] = row; x->status[at] = status; }
    }
    x->last_final[at] = row;
    if (x->finals[at] < UINT16_MAX) x->finals[at]++;
    if (status == 401 || status == 407) x->flags[at] |= TRANSACTION_CHALLENGED;
}

/* The INVITE transaction that an ACK of its own branch (RFC 3261 §13.2.2.4) answers: same CSeq, 2xx, same hop first. */
static uint32_t acknowledged(const struct trace *t, uint32_t first, uint32_t row) {
    const struct transactions_table *x = &t->transactions;
    const struct messages_table *m = &t->messages;
    uint32_t best = NONE;
    int best_score = -1;
    const uint32_t end = x->head.count, from = end - first > 256 ? end - 256 : first;
    for (uint32_t at = from; at < end; at++) {
        if (x->method[at] != SIP_METHOD_INVITE || x->cseq[at] != m->cseq[row]) continue;
        if (x->status[at] && x->status[at] / 100 != 2) continue;
        int score = host_of(t, x->source[at]) == host_of(t, m->source[row]) ? 2 : 0;
        score += host_of(t, x->target[at]) == host_of(t, m->target[row]) ? 1 : 0;
        if (score > best_score) { best_score = score; best = at; }
    }
    return best;
}

static void take_ack(struct trace *t, uint32_t at, uint32_t row) {
    struct transactions_table *x = &t->transactions;
    t->messages.transaction[row] = at;
    if (x->ack[at] == NONE) x->ack[at] = row;
    if (x->acks[at] < UINT16_MAX) x->acks[at]++;
}

static uint64_t transaction_key(const struct trace *t, uint32_t row, uint8_t method) {
    const struct messages_table *m = &t->messages;
    uint64_t who = 0;
    if (!(m->flags[row] & MESSAGE_COOKIE)) { /* RFC 2543 matching: tags and the hop take the branch's place */
        const uint32_t client = m->status[row] ? m->target[row] : m->source[row];
        who = (uint64_t)m->from_tag_hash[row] << 32 | client;
    }
    return mix(mix((uint64_t)m->branch_hash[row] << 32 | m->cseq[row], method), who);
}

static void build_transactions(struct trace *t, uint32_t call, const uint32_t *rows, uint32_t count, struct scratch *s) {
    struct messages_table *m = &t->messages;
    struct transactions_table *x = &t->transactions;
    const uint32_t first = x->head.count;
    t->calls.first_transaction[call] = first;
    scratch_begin(s, count * 2);
    for (uint32_t i = 0; i < count && !t->failed; i++) {
        const uint32_t row = rows[i];
        if (m->flags[row] & MESSAGE_MIRRORED) continue;
        const uint8_t method = m->cseq_method[row] ? m->cseq_method[row] : m->method[row];
        if (!m->status[row] && m->method[row] == SIP_METHOD_ACK) {
            uint32_t at = *scratch_find(s, transaction_key(t, row, SIP_METHOD_INVITE));
            if (at == NONE) at = acknowledged(t, first, row);
            if (at != NONE) take_ack(t, at, row);
            continue;
        }
        uint32_t *slot = scratch_find(s, transaction_key(t, row, method));
        if (*slot == NONE) {
            *slot = transaction_add(t, call, row);
            if (*slot == NONE) return;
        }
        m->transaction[row] = *slot;
        if (m->status[row]) { take_response(t, *slot, row); continue; }
        take_request(t, *slot, row);
        if (m->method[row] == SIP_METHOD_CANCEL) {
            const uint32_t invite = *scratch_find(s, transaction_key(t, row, SIP_METHOD_INVITE));
            if (invite != NONE && x->cancel[invite] == NONE) x->cancel[invite] = row;
        }
    }
    t->calls.transaction_count[call] = x->head.count - first;
}

/* A request with a higher CSeq after 401, 407, 422 or 423 to the same method from the same client repeats it. */
static void link_retries(struct trace *t, uint32_t call) {
    struct transactions_table *x = &t->transactions;
    const uint32_t first = t->calls.first_transaction[call], end = first + t->calls.transaction_count[call];
    uint32_t challenged[SIP_METHOD_COUNT];
    memset(challenged, 0xff, sizeof challenged);
    for (uint32_t at = first; at < end; at++) {
        const uint8_t method = x->method[at];
        const uint32_t before = challenged[method];
        if (before != NONE && x->first[at] != NONE && x->source[before] == x->source[at]) x->retry_of[at] = before;
        const uint16_t status = x->status[at];
        challenged[method] = status == 401 || status == 407 || status == 422 || status == 423 || status == 491 ? at : NONE;
    }
}

/* ---- addresses of messages whose input had none ---- */

/* One Via everywhere means one hop: two ends, told apart by the tags (RFC 3261 §12.1). */
static void settle_two_ends(struct trace *t, uint32_t call, const uint32_t *rows, uint32_t count) {
    struct messages_table *m = &t->messages;
    const uint32_t opening = rows[0];
    const uint32_t caller = m->source[opening], callee = m->target[opening];
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t row = rows[i];
        if (!(m->flags[row] & MESSAGE_ADDRESS_INFERRED)) continue;
        const int by_caller = (m->from_tag_hash[row] == m->from_tag_hash[opening]) == !m->status[row];
        m->source[row] = by_caller ? caller : callee;
        m->target[row] = by_caller ? callee : caller;
    }
    (void)call;
}

static void settle_addresses(struct trace *t, uint32_t call, const uint32_t *rows, uint32_t count) {
    struct messages_table *m = &t->messages;
    int inferred = 0, one_hop = !m->status[rows[0]];
    for (uint32_t i = 0; i < count; i++) {
        if (m->flags[rows[i]] & MESSAGE_ADDRESS_INFERRED) inferred = 1;
        else one_hop = 0;
        if (m->via_count[rows[i]] > 1) one_hop = 0;
    }
    if (!inferred) return;
    if (one_hop) { settle_two_ends(t, call, rows, count); return; }
    const struct transactions_table *x = &t->transactions;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t row = rows[i], at = m->transaction[row];
        if (!(m->flags[row] & MESSAGE_ADDRESS_INFERRED) || !m->status[row] || at == NONE || x->first[at] == NONE) continue;
        m->source[row] = m->target[x->first[at]];
        m->target[row] = m->source[x->first[at]];
    }
}

/* ---- the call ---- */

static uint8_t kind_of(const struct trace *t, uint32_t call, uint32_t opening) {
    if (t->calls.invite_row[call] != NONE) return CALL_INVITE;
    if (t->messages.status[opening] || t->messages.flags[opening] & MESSAGE_IN_DIALOG) return CALL_STRAY;
    switch (t->messages.method[opening]) {
    case SIP_METHOD_REGISTER: return CALL_REGISTER;
    case SIP_METHOD_OPTIONS: return CALL_OPTIONS;
    case SIP_METHOD_SUBSCRIBE: case SIP_METHOD_NOTIFY: return CALL_SUBSCRIBE;
    case SIP_METHOD_MESSAGE: return CALL_MESSAGE;
    case SIP_METHOD_PUBLISH: return CALL_PUBLISH;
    default: return CALL_OTHER;
    }
}

static uint8_t outcome_of(const struct trace *t, uint32_t call, uint16_t status) {
    const struct calls_table *c = &t->calls;
    if (c->kind[call] != CALL_INVITE) {
        if (!status) return OUTCOME_NO_RESPONSE;
        return status < 300 ? OUTCOME_DONE : status == 401 || status == 407 ? OUTCOME_CHALLENGED : OUTCOME_REJECTED;
    }
    if (c->answer_row[call] != NONE) return OUTCOME_ANSWERED;
    if (!status) {
        if (c->progress_row[call] != NONE || c->trying_ms[call] >= 0) return OUTCOME_PENDING;
        return OUTCOME_NO_RESPONSE;
    }
    if (status < 400) return OUTCOME_REDIRECTED;
    if (status == 401 || status == 407) return OUTCOME_CHALLENGED;
    if (status == 486 || status == 600) return OUTCOME_BUSY;
    if (status == 487) return OUTCOME_CANCELLED;
    if (status == 480 || (status == 408 && c->progress_row[call] != NONE)) return OUTCOME_NO_ANSWER;
    if (status == 403 || status == 404 || status == 603 || status == 607 || status == 608 || status == 484 ||
        status == 410 || status == 604)
        return OUTCOME_REJECTED;
    return OUTCOME_FAILED;
}

static int32_t ms_or_none(const struct trace *t, uint32_t from, uint32_t to) {
    if (from == NONE || to == NONE || t->no_time) return -1;
    const int64_t ms = ms_between(t, from, to);
    return ms < 0 ? -1 : ms > INT32_MAX ? INT32_MAX : (int32_t)ms;
}

/* The first INVITE transaction without a To tag at its first hop, and the last of the retries that follow it. */
static uint32_t deciding_transaction(const struct trace *t, uint32_t call, uint8_t method) {
    const struct transactions_table *x = &t->transactions;
    const uint32_t first = t->calls.first_transaction[call], end = first + t->calls.transaction_count[call];
    uint32_t chosen = NONE;
    for (uint32_t at = first; at < end; at++) {
        if (x->method[at] != method || x->flags[at] & TRANSACTION_IN_DIALOG) continue;
        if (chosen == NONE || (x->source[at] == x->source[chosen] && x->target[at] == x->target[chosen] &&
                               x->status[chosen] / 100 != 2) || x->retry_of[at] == chosen)
            chosen = at;
    }
    return chosen;
}

/* To tags of responses to the initial INVITE, counted without keeping more than eight. */
static void count_tags(struct trace *t, uint32_t call, const uint32_t *rows, uint32_t count) {
    const struct messages_table *m = &t->messages;
    uint32_t early[8], answered[8];
    uint8_t n_early = 0, n_answered = 0;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t row = rows[i];
        const uint16_t status = m->status[row];
        if (status <= 100 || status >= 300 || m->method[row] != SIP_METHOD_INVITE || !m->to_tag_hash[row]) continue;
        const uint32_t at = m->transaction[row];
        if (at != NONE && t->transactions.flags[at] & TRANSACTION_IN_DIALOG) continue;
        uint32_t *tags = status < 200 ? early : answered;
        uint8_t *n = status < 200 ? &n_early : &n_answered;
        uint8_t k = 0;
        while (k < *n && tags[k] != m->to_tag_hash[row]) k++;
        if (k == *n && *n < 8) tags[(*n)++] = m->to_tag_hash[row];
    }
    t->calls.early_tags[call] = n_early;
    t->calls.answer_tags[call] = n_answered;
    if (n_early > 1 || n_answered > 1) t->calls.flags[call] |= CALL_FORKED;
}

static void find_rows(struct trace *t, uint32_t call, const uint32_t *rows, uint32_t count) {
    struct calls_table *c = &t->calls;
    const struct messages_table *m = &t->messages;
    c->invite_row[call] = c->progress_row[call] = c->answer_row[call] = c->final_row[call] = NONE;
    c->ack_row[call] = c->bye_row[call] = c->cancel_row[call] = NONE;
    c->q850_cause[call] = -1;
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t row = rows[i];
        if (m->flags[row] & MESSAGE_MIRRORED) continue;
        if (!m->status[row]) {
            if (m->method[row] == SIP_METHOD_INVITE && !(m->flags[row] & MESSAGE_IN_DIALOG)) {
                if (c->invite_row[call] == NONE) c->invite_row[call] = row;
            } else if (m->method[row] == SIP_METHOD_BYE) {
                if (c->bye_row[call] == NONE) c->bye_row[call] = row;
            } else if (m->method[row] == SIP_METHOD_CANCEL && c->cancel_row[call] == NONE) c->cancel_row[call] = row;
        }
        if (m->q850_cause[row] >= 0 && (c->q850_cause[call] < 0 || m->method[row] == SIP_METHOD_BYE))
            c->q850_cause[call] = m->q850_cause[row];
        c->flags[call] |= m->flags[row] & MESSAGE_SNAPPED ? CALL_SNAPPED : 0;
    }
}

static void time_call(struct trace *t, uint32_t call, uint32_t deciding) {
    struct calls_table *c = &t->calls;
    const struct transactions_table *x = &t->transactions;
    const struct messages_table *m = &t->messages;
    c->invite_ns[call] = c->answer_ns[call] = c->release_ns[call] = -1;
    c->pdd_ms[call] = c->trying_ms[call] = c->setup_ms[call] = c->ring_ms[call] = c->ack_ms[call] = -1;
    c->talk_ms[call] = -1;
    if (deciding == NONE) return;
    const uint32_t request = x->first[deciding], opening = c->invite_row[call] != NONE ? c->invite_row[call] : request;
    c->progress_row[call] = x->ringing[deciding];
    c->final_row[call] = x->final[deciding];
    c->final_status[call] = x->status[deciding];
    if (x->status[deciding] / 100 == 2 && x->method[deciding] == SIP_METHOD_INVITE) {
        c->answer_row[call] = x->final[deciding];
        c->ack_row[call] = x->ack[deciding];
    }
    uint32_t reply = x->provisional[deciding] != NONE ? x->provisional[deciding] : x->final[deciding];
    c->trying_ms[call] = ms_or_none(t, request, reply);
    reply = c->progress_row[call] != NONE ? c->progress_row[call] : c->final_row[call];
    c->pdd_ms[call] = ms_or_none(t, opening, reply);
    c->setup_ms[call] = ms_or_none(t, opening, c->answer_row[call]);
    c->ring_ms[call] = ms_or_none(t, c->progress_row[call], c->final_row[call]);
    c->ack_ms[call] = ms_or_none(t, c->answer_row[call], c->ack_row[call]);
    if (t->no_time) return;
    if (opening != NONE) c->invite_ns[call] = m->time_ns[opening];
    if (c->answer_row[call] != NONE) c->answer_ns[call] = m->time_ns[c->answer_row[call]];
    if (c->bye_row[call] != NONE) c->release_ns[call] = m->time_ns[c->bye_row[call]];
    if (c->answer_ns[call] >= 0 && c->release_ns[call] >= c->answer_ns[call])
        c->talk_ms[call] = (c->release_ns[call] - c->answer_ns[call]) / 1000000;
}

/* The capture's ends, its directions and its clock: what absence rules must know. */
static void guard_call(struct trace *t, uint32_t call, const uint32_t *rows, uint32_t count) {
    struct calls_table *c = &t->calls;
    const struct messages_table *m = &t->messages;
    if (t->no_time) c->flags[call] |= CALL_NO_TIME;
    if (c->kind[call] == CALL_STRAY || m->flags[rows[0]] & MESSAGE_IN_DIALOG || m->status[rows[0]])
        c->flags[call] |= CALL_PARTIAL_START;
    const int over = c->bye_row[call] != NONE ||
                     (c->final_row[call] != NONE && c->answer_row[call] == NONE) || c->kind[call] != CALL_INVITE;
    if (!over && t->last_time_ns - c->end_ns[call] < 32000000000ll) c->flags[call] |= CALL_PARTIAL_END;
    if (c->answer_row[call] != NONE && c->ack_row[call] != NONE) c->flags[call] |= CALL_CONFIRMED;
    (void)count;
}

static void describe_call(struct trace *t, uint32_t call, const uint32_t *rows, uint32_t count) {
    struct calls_table *c = &t->calls;
    const struct messages_table *m = &t->messages;
    const struct transactions_table *x = &t->transactions;
    const uint32_t opening = rows[0];
    c->start_ns[call] = m->time_ns[opening];
    c->end_ns[call] = m->time_ns[rows[count - 1]];
    find_rows(t, call, rows, count);
    c->kind[call] = kind_of(t, call, opening);
    const uint8_t method = c->kind[call] == CALL_INVITE ? SIP_METHOD_INVITE : m->method[opening];
    const uint32_t deciding = deciding_transaction(t, call, method);
    time_call(t, call, deciding);
    c->outcome[call] = outcome_of(t, call, c->final_status[call]);
    const uint32_t first = c->invite_row[call] != NONE ? c->invite_row[call] : opening;
    const int turned = m->status[first] != 0;
    c->caller[call] = turned ? m->target[first] : m->source[first];
    c->callee[call] = turned ? m->source[first] : m->target[first];
    c->from_user_hash[call] = m->from_user_hash[first];
    c->to_user_hash[call] = m->to_user_hash[first];
    c->user_agent[call] = m->status[first] ? NONE : m->user_agent[first];
    c->server[call] = NONE;
    for (uint32_t at = c->first_transaction[call]; at < c->first_transaction[call] + c->transaction_count[call]; at++) {
        const uint32_t reply = x->final[at] != NONE ? x->final[at] : x->ringing[at];
        if (reply != NONE && m->user_agent[reply] != NONE && x->source[at] == c->caller[call]) {
            c->server[call] = m->user_agent[reply];
            break;
        }
    }
    if (c->bye_row[call] != NONE)
        c->released_by[call] = m->from_tag_hash[c->bye_row[call]] == m->from_tag_hash[first] ? 1 : 2;
    c->group[call] = call;
    c->offer_line[call] = c->answer_line[call] = NONE;
    count_tags(t, call, rows, count);
    guard_call(t, call, rows, count);
}

/* Distinct host pairs that the initial INVITE crossed, at most 8 told apart. */
static void count_hops(struct trace *t, uint32_t call) {
    const struct transactions_table *x = &t->transactions;
    const uint32_t first = t->calls.first_transaction[call], end = first + t->calls.transaction_count[call];
    uint64_t pairs[8];
    uint8_t n = 0;
    for (uint32_t at = first; at < end; at++) {
        if (x->method[at] != SIP_METHOD_INVITE || x->flags[at] & TRANSACTION_IN_DIALOG) continue;
        const uint64_t pair = (uint64_t)host_of(t, x->source[at]) << 32 | host_of(t, x->target[at]);
        uint8_t k = 0;
        while (k < n && pairs[k] != pair) k++;
        if (k == n && n < 8) pairs[n++] = pair;
    }
    t->calls.hops[call] = n;
}

static int assemble_call(struct trace *t, uint32_t call, struct scratch *s) {
    uint32_t *rows = t->call_messages + t->calls.first_message[call];
    uint32_t count = t->calls.message_count[call];
    if (count > CALL_MESSAGES_MAX) {
        count = CALL_MESSAGES_MAX;
        t->calls.flags[call] |= CALL_OVERSIZE;
    }
    mark_repeats(t, rows, count, s, call);
    build_transactions(t, call, rows, count, s);
    if (t->failed) return STATUS_TOO_SMALL;
    settle_addresses(t, call, rows, count);
    link_retries(t, call);
    describe_call(t, call, rows, count);
    count_hops(t, call);
    pair_descriptions(t, call, rows, count);
    return 0;
}

/* One direction of the first hop never seen, while the other shows more than one request: the mirror is half. */
static void mark_one_sided(struct trace *t) {
    const struct transactions_table *x = &t->transactions;
    for (uint32_t call = 0; call < t->calls.head.count; call++) {
        const uint32_t caller = t->calls.caller[call], callee = t->calls.callee[call];
        if (caller == NONE || callee == NONE || t->calls.kind[call] != CALL_INVITE) continue;
        /* an ACK, a BYE or a retry that could only follow a response nobody saw */
        if (t->calls.trying_ms[call] < 0 && t->calls.final_row[call] == NONE && t->calls.transaction_count[call]) {
            const uint32_t at = t->calls.first_transaction[call];
            if (x->ack[at] != NONE || t->calls.bye_row[call] != NONE || x->cancel[at] != NONE)
                t->calls.flags[call] |= CALL_ONE_SIDED;
        }
    }
}

int trace_assemble(struct trace *t) {
    int status = group_messages(t);
    if (status) return status;
    uint32_t largest = 1;
    for (uint32_t call = 0; call < t->calls.head.count; call++)
        if (t->calls.message_count[call] > largest) largest = t->calls.message_count[call];
    if (largest > CALL_MESSAGES_MAX) largest = CALL_MESSAGES_MAX;
    struct scratch s;
    if (scratch_init(&s, t->lender, largest * 3)) return STATUS_TOO_SMALL;
    for (uint32_t call = 0; call < t->calls.head.count && !status; call++) status = assemble_call(t, call, &s);
    t->lender->take_back(s.slots);
    if (!status) mark_one_sided(t);
    return status;
}
