/* TLS and DTLS handshakes as far as they are in clear: the first bytes of each direction are kept for the rules, which
   read hello messages, certificates and alerts (RFC 5246 §7, RFC 8446 §4, RFC 6347). */
#include <string.h>

#include "ingest.h"

#define FLIGHT_BYTES 12288 /* a server's first flight with its certificate chain */
#define FLIGHTS_MAX 2048

/* One direction of one connection. */
struct tls_flight { uint64_t key; uint32_t next_sequence, length, event; uint8_t closed; uint8_t bytes[FLIGHT_BYTES]; };
struct tls_flights { uint32_t used; struct tls_flight *slots[FLIGHTS_MAX * 2]; };

static uint64_t flight_key(const struct packet *p) {
    const uint64_t ports = (uint64_t)p->source.port << 16 | p->target.port;
    return (sip_hash(p->source.ip, 16, ports) ^ sip_hash(p->target.ip, 16, ports + 1)) | 1;
}

static struct tls_flight *flight_of(struct trace *t, const struct packet *p, int make) {
    struct tls_flights *all = t->tls_flights;
    if (!all) {
        if (!make) return NULL;
        all = t->tls_flights = t->lender->lend(sizeof *all);
        if (!all) { t->failed = 1; return NULL; }
    }
    const uint64_t key = flight_key(p);
    uint32_t place = (uint32_t)(key >> 20) & (FLIGHTS_MAX * 2 - 1);
    while (all->slots[place] && all->slots[place]->key != key) place = (place + 1) & (FLIGHTS_MAX * 2 - 1);
    if (all->slots[place] || !make || all->used == FLIGHTS_MAX) return all->slots[place];
    struct tls_flight *flight = t->lender->lend(sizeof *flight);
    if (!flight) { t->failed = 1; return NULL; }
    flight->key = key;
    flight->event = NONE;
    all->slots[place] = flight;
    all->used++;
    return flight;
}

static int starts_record(const uint8_t *s, uint32_t n) {
    return n >= 6 && (s[0] == 22 || s[0] == 21) && s[1] == 3 && s[2] <= 4;
}

/* In-order bytes of a TLS direction until the flight is full; what is out of order ends it. */
void tls_take_segment(struct trace *t, const struct packet *p) {
    const uint8_t *s = p->payload;
    const uint32_t n = p->payload_length;
    if (!n) return;
    struct tls_flight *flight = flight_of(t, p, starts_record(s, n));
    if (!flight || flight->closed) return;
    if (flight->event == NONE) {
        flight->event = trace_event(t, p, EVENT_TLS_HANDSHAKE, SIP_TLS, (uint32_t)s[0] << 8 | s[5]);
        if (flight->event == NONE) return;
        flight->next_sequence = p->tcp_sequence;
    }
    /* an alert of its own is worth its own event: it says why the connection ended */
    if (s[0] == 21 && n >= 7 && n <= 64 && flight->length) trace_event(t, p, EVENT_TLS_ALERT, SIP_TLS, n == 7 ? (uint32_t)s[5] << 8 | s[6] : 0);
    if (p->tcp_sequence != flight->next_sequence) { flight->closed = (int32_t)(p->tcp_sequence - flight->next_sequence) > 0; return; }
    const uint32_t room = FLIGHT_BYTES - flight->length, taken = n < room ? n : room;
    memcpy(flight->bytes + flight->length, s, taken);
    flight->length += taken;
    flight->next_sequence += n;
    if (flight->length == FLIGHT_BYTES) flight->closed = 1;
}

/* One DTLS datagram with a handshake or alert record: kept as it is. */
void tls_take_datagram(struct trace *t, const struct packet *p) {
    const uint8_t *s = p->payload;
    const uint32_t n = p->payload_length;
    const uint32_t value = (uint32_t)s[0] << 8 | (n > 13 && s[0] == 22 ? s[13] : n > 14 && s[0] == 21 ? s[14] : 0);
    const uint32_t row = trace_event(t, p, EVENT_DTLS, SIP_UDP, value);
    if (row == NONE || s[0] < 20 || s[0] > 22) return; /* application data says nothing */
    const uint32_t taken = n < 2048 ? n : 2048;
    const uint64_t offset = trace_keep(t, s, taken);
    if (offset == UINT64_MAX) return;
    t->events.bytes_offset[row] = offset;
    t->events.bytes_length[row] = taken;
}

/* Puts the collected flights behind their events and gives the memory back. */
void tls_finish(struct trace *t) {
    struct tls_flights *all = t->tls_flights;
    if (!all) return;
    for (uint32_t i = 0; i < FLIGHTS_MAX * 2; i++) {
        struct tls_flight *flight = all->slots[i];
        if (!flight) continue;
        if (flight->event != NONE) {
            const uint64_t offset = trace_keep(t, flight->bytes, flight->length);
            if (offset != UINT64_MAX) {
                t->events.bytes_offset[flight->event] = offset;
                t->events.bytes_length[flight->event] = flight->length;
            }
        }
        t->lender->take_back(flight);
    }
    t->lender->take_back(all);
    t->tls_flights = NULL;
}
