/* What the packet side of the first pass shares between its files. */
#ifndef TRUNKLINE_INGEST_H
#define TRUNKLINE_INGEST_H

#include "trace.h"

/* One record of a capture; one decapsulated packet; one SIP message that a packet carries (its row or a status). */
void ingest_record(struct trace *t, const struct capture_record *record);
void ingest_packet(struct trace *t, const struct packet *p);
int64_t ingest_message(struct trace *t, const struct packet *p, uint8_t transport);

/* What a datagram is, by its first bytes and by what was announced for its target. */
enum datagram_kind { DATAGRAM_EMPTY, DATAGRAM_HEP_REPORT /* RTCP as JSON */, DATAGRAM_HEP_OTHER, DATAGRAM_UDPTL, DATAGRAM_RTP,
                     DATAGRAM_RTCP, DATAGRAM_BLANK /* a keep-alive */, DATAGRAM_SIP, DATAGRAM_OTHER };
enum datagram_kind datagram_kind(struct trace *t, const struct packet *p);

/* Adds an event row; NONE when memory ended. */
uint32_t trace_event(struct trace *t, const struct packet *p, uint8_t kind, uint8_t transport, uint32_t value);

void tls_take_segment(struct trace *t, const struct packet *p);  /* tls_flights.c */
void tls_take_datagram(struct trace *t, const struct packet *p);
void tls_finish(struct trace *t);

#endif
