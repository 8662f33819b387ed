/* What the files of the media conditions share. */
#ifndef TRUNKLINE_CONDITIONS_MEDIA_H
#define TRUNKLINE_CONDITIONS_MEDIA_H

#include <string.h>
#include <strings.h>

#include "trace.h"

/* Answered, with a clock, both directions captured, and longer than `least_ms`. */
int media_talked(const struct trace *t, uint32_t call, int64_t least_ms);
/* Conditions of a call's streams that need the call's descriptions. */
void media_streams_of_call(struct trace *t, const struct call_view *c);
void t38_parameters(struct trace *t, const struct call_view *c, uint32_t offer, uint32_t answer);
void udptl_packets(struct trace *t, const struct call_view *c, uint32_t accepted_row);

#endif
