/* RTCP packets (RFC 3550 §6, RFC 3611, RFC 5506): what rtcp.c reads, and what its callers may ask. */
#ifndef TRUNKLINE_RTCP_H
#define TRUNKLINE_RTCP_H

#include "rtp.h"

enum rtcp_type { RTCP_SR = 200, RTCP_RR = 201, RTCP_SDES = 202, RTCP_BYE = 203, RTCP_APP = 204,
                 RTCP_RTPFB = 205, RTCP_PSFB = 206, RTCP_XR = 207 };
enum rtcp_xr_block { RTCP_XR_RRTR = 4, RTCP_XR_DLRR = 5, RTCP_XR_VOIP_METRICS = 7 };

#define RTCP_LOSSY_FRACTION 13 /* of 256: 5 % */

/* Steps over the packets of a compound. Returns how many, or STATUS_MALFORMED when their lengths do not add
   up to `count` (what follows the first header is then likely encrypted, RFC 3711 §3.4). */
int rtcp_walk(const uint8_t *payload, uint32_t count);

#endif
