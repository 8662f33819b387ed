/* MIME multipart splitter (RFC 2046 §5.1, RFC 5621). */
#ifndef TRUNKLINE_MIME_H
#define TRUNKLINE_MIME_H

#include "sip.h"

enum content_kind {
    CONTENT_NONE = 0, CONTENT_SDP, CONTENT_MULTIPART, CONTENT_SIPFRAG, CONTENT_DTMF_RELAY, CONTENT_DTMF,
    CONTENT_RS_METADATA, CONTENT_PIDF, CONTENT_ISUP, CONTENT_VQ_RTCPXR, CONTENT_TEXT, CONTENT_XML,
    CONTENT_JSON, CONTENT_OTHER
};

enum mime_flag { MIME_NO_BOUNDARY = 1, MIME_UNTERMINATED = 2, MIME_PART_WITHOUT_TYPE = 4,
                 MIME_NO_PARTS = 8, MIME_TOO_MANY = 16, MIME_BOUNDARY_BAD = 32 };

struct mime_part { struct sip_span headers, content_type, body; uint8_t kind; };

/* Kind of a Content-Type value (parameters ignored, any case). */
uint8_t mime_kind(const uint8_t *base, struct sip_span content_type);

/* Splits a multipart body by the boundary of its Content-Type value. Returns parts written (0 when
   there are none), never more than `capacity`; `*flags` gets enum mime_flag. */
ptrdiff_t mime_split(const uint8_t *base, struct sip_span content_type, struct sip_span body,
                     struct mime_part *parts, size_t capacity, uint32_t *flags);

#endif
