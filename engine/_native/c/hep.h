/* What link, capture and stream decoding need of HEP beyond the contract. */
#ifndef TRUNKLINE_HEP_H
#define TRUNKLINE_HEP_H

#include "packet.h"

/* Time of a HEP3 packet without decoding the rest; `fallback` when it carries none. */
int64_t hep_time(const uint8_t *source, size_t count, int64_t fallback);

#endif
