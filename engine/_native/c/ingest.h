/* What the packet side of the first pass shares between its files. */
#ifndef TRUNKLINE_INGEST_H
#define TRUNKLINE_INGEST_H

#include "trace.h"

/* Adds an event row; NONE when memory ended. */
uint32_t trace_event(struct trace *t, const struct packet *p, uint8_t kind, uint8_t transport, uint32_t value);

void tls_take_segment(struct trace *t, const struct packet *p);  /* tls_flights.c */
void tls_take_datagram(struct trace *t, const struct packet *p);
void tls_finish(struct trace *t);

#endif
