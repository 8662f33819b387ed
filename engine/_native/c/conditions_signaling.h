/* Signaling conditions: what one call's rules share, and the parts they are split into. */
#ifndef TRUNKLINE_CONDITIONS_SIGNALING_H
#define TRUNKLINE_CONDITIONS_SIGNALING_H

#include <string.h>

#include "trace.h"

#define METHOD_BIT(method) (1u << (method))

/* Timers of RFC 3261 §17, in ms: what has not come by then will not come. */
enum { T1_MS = 500, TIMER_B_MS = 32000, TIMER_B_SENDS_MS = 31000, TIMER_C_MS = 180000 };

/* One look over a call's messages decides which rules need a closer one. */
struct call_digest {
    uint32_t methods;         /* bit a method: requests of the call */
    uint32_t dialog_methods;  /* bit a method: requests with a To tag */
    uint32_t flags;           /* every message's flags together */
    uint32_t reliable;        /* provisional responses that want a PRACK */
    uint32_t described;       /* messages with SDP */
    uint32_t stray_acks;      /* ACKs that answer no INVITE that was seen */
    /* looks over the whole call that are still allowed: keeps hostile ones linear */
    uint32_t scans;
    uint32_t glares, first_glare, glare_without_retry;
    uint32_t redirects, first_redirect, redirect_again;
    uint32_t timer_row;       /* last 2xx that set a session timer, NONE */
};

/* True while the call may be looked over once more. */
TL_INLINE int digest_scan(struct call_digest *d) { return d->scans && d->scans--; }

TL_INLINE int signaling_visible(const struct trace *t, uint32_t call) {
    return !(t->calls.flags[call] & (CALL_NO_TIME | CALL_ONE_SIDED | CALL_SNAPPED));
}
/* A log that shortens messages shows no body, or none of its length: what is not there proves nothing. */
TL_INLINE int signaling_lost_body(const struct trace *t, uint32_t row) {
    return (t->messages.defects[row] & (SIP_BODY_SHORT | SIP_LENGTH_MISSING | SIP_NO_BLANK_LINE)) != 0;
}
TL_INLINE int is_final_ok(uint16_t status) { return status >= 200 && status < 300; }

/* A message read again from its text, for headers that have no column. */
struct reread { const uint8_t *text; struct sip_message message; struct sip_header headers[96]; };
int signaling_reread(const struct trace *t, uint32_t row, struct reread *r);
/* True when a comma-joined header of the message names the token (any case). */
int signaling_lists(const struct trace *t, uint32_t row, int header, const char *token);

void signaling_transaction(struct trace *t, const struct call_view *c, uint32_t at, struct call_digest *d);
void signaling_failure(struct trace *t, const struct call_view *c, uint32_t at, struct call_digest *d);
void signaling_dialog(struct trace *t, const struct call_view *c, struct call_digest *d);
void signaling_acknowledged(struct trace *t, const struct call_view *c, uint32_t at, struct call_digest *d);
void signaling_events(struct trace *t, const struct call_view *c, struct call_digest *d);
void signaling_offers(struct trace *t, const struct call_view *c, struct call_digest *d);
void signaling_timing(struct trace *t, const struct call_view *c);

#endif
