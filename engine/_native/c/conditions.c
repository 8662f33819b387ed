/* Noting sightings, and empty halves for categories that have none of a hook. */
#include "absorb.h"

static void keep(struct trace *t, int condition, uint32_t call, uint32_t row, uint32_t other, int code, int64_t value) {
    struct sightings_table *s = &t->sightings;
    if (table_reserve(t->lender, TABLE_sightings, &s->head, 1)) { t->failed = 1; return; }
    const uint32_t at = s->head.count++;
    s->condition[at] = (uint16_t)condition;
    s->call[at] = call;
    s->row[at] = row;
    s->other[at] = other;
    s->code[at] = (uint16_t)code;
    s->value[at] = value;
}

void sight(struct trace *t, int condition, uint32_t call, uint32_t row, uint32_t other, int code, int64_t value) {
    t->condition_count[condition]++;
    if (call != NONE)
        t->call_conditions[(size_t)call * CONDITION_WORDS + (size_t)(condition >> 6)] |= 1ull << (condition & 63);
    keep(t, condition, call, row, other, code, value);
}

void sight_once(struct trace *t, int condition, uint32_t call, uint32_t row, uint32_t other, int code, int64_t value) {
    t->condition_count[condition]++;
    if (call != NONE) {
        uint64_t *word = &t->call_conditions[(size_t)call * CONDITION_WORDS + (size_t)(condition >> 6)];
        const uint64_t bit = 1ull << (condition & 63);
        if (*word & bit) return;
        *word |= bit;
    }
    keep(t, t->part ? condition | SIGHTED_ONCE : condition, call, row, other, code, value);
}

/* A category's file replaces what it defines. */
#define X(category) \
    __attribute__((weak)) void category##_message(struct trace *t, const struct message_view *v) { (void)t; (void)v; } \
    __attribute__((weak)) void category##_call(struct trace *t, const struct call_view *c) { (void)t; (void)c; } \
    __attribute__((weak)) void category##_trace(struct trace *t) { (void)t; }
CONDITION_CATEGORIES(X)
#undef X
