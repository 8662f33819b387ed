/* What sdp.c and sdp_media.c share: the state of one description being read. */
#ifndef TRUNKLINE_SDP_LINES_H
#define TRUNKLINE_SDP_LINES_H

#include <string.h>

#include "sdp.h"

/* Session-level attributes that hold for every media line that does not say otherwise. */
struct sdp_defaults { uint16_t traits; uint8_t direction, setup; uint64_t fingerprint_hash; };

struct sdp_reader {
    const uint8_t *base;
    struct sdp_session *session;
    struct sdp_media *media, *current; /* current: NULL before the first m= and for lines beyond capacity */
    size_t capacity;
    struct sdp_defaults session_traits;
    struct address connection;
    struct sip_span session_host;
    uint64_t body_hash;
    uint32_t line_start, seen;
    int place;
    uint8_t has_session_connection, in_media, has_direction, has_ptime;
    uint8_t row_of[128];               /* format row + 1 by payload type, of the current media line */
};

struct sip_span sdp_word(const uint8_t *base, struct sip_span *rest);
int sdp_is(const uint8_t *base, struct sip_span word, const char *text);
int64_t sdp_number(const uint8_t *base, struct sip_span word);
uint8_t sdp_static_codec(uint8_t payload_type);
uint32_t sdp_static_clock_hz(uint8_t payload_type);

void sdp_media_begin(struct sdp_reader *r, struct sip_span value);
void sdp_media_end(struct sdp_reader *r, uint32_t end);
void sdp_bandwidth(struct sdp_reader *r, struct sip_span value);
void sdp_attribute(struct sdp_reader *r, struct sip_span value);

#endif
