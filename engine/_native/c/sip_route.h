/* Which Call-ID a message has, told without tokenizing it, and a keyed hash of it: what messages are shared out
   between processes by. No allocation, no copy of the message, no state. */
#ifndef TRUNKLINE_SIP_ROUTE_H
#define TRUNKLINE_SIP_ROUTE_H

#include "sip.h"

#define SIP_ROUTE_KEY_BYTES 16

/* Finds the first Call-ID header (RFC 3261 §20.8; long or compact name, any case, white space before the colon,
   folds) in front of the empty line. Returns 1 and its value without outer white space, folds kept, or 0. The
   value is the one that sip_scan finds wherever that takes the start line, in heads of up to 65,535 headers. Each
   byte is looked at a bounded number of times and none behind the Call-ID's line. */
int sip_call_id_find(const uint8_t *source, size_t count, struct sip_span *value);

/* The same without vector instructions. */
int sip_call_id_find_scalar(const uint8_t *source, size_t count, struct sip_span *value);

/* SipHash-2-4 of a value, each fold in it taken as one SP (RFC 3261 §7.3.1). Who does not know the key cannot
   choose values that meet. */
uint64_t sip_call_id_hash(const uint8_t *value, size_t count, const uint8_t key[SIP_ROUTE_KEY_BYTES]);

#endif
