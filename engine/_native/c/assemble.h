/* The second pass, in its steps (trace.h calls them through trace_finish). */
#ifndef TRUNKLINE_ASSEMBLE_H
#define TRUNKLINE_ASSEMBLE_H

#include <string.h>

#include "trace.h"

#define CALL_MESSAGES_MAX 65535 /* messages of one call that are paired; the rest keep their rows */

/* A small map from key to row that is emptied by counting on. */
struct scratch_slot { uint64_t key; uint32_t row, generation; };
struct scratch { struct scratch_slot *slots; uint32_t size, mask, generation; };
int scratch_init(struct scratch *s, const struct lender *lender, uint32_t keys);
void scratch_begin(struct scratch *s, uint32_t keys);
/* The row of a key; a new key gets NONE. At most the `keys` of scratch_begin may be new. */
uint32_t *scratch_find(struct scratch *s, uint64_t key);

int trace_assemble(struct trace *t);                                                        /* assemble.c */
void pair_descriptions(struct trace *t, uint32_t call, const uint32_t *rows, uint32_t count); /* offer_answer.c */
int trace_correlate(struct trace *t);                                                       /* correlate.c */
int trace_link_streams(struct trace *t);                                                    /* correlate.c */

#endif
