/* Where things stand in SRTP and SRTCP packets (RFC 3711 3.1, 3.4; RFC 7714 8, 9). */
#include "srtp_private.h"

#define RTP_HEADER_BYTES 12
#define RTCP_HEADER_BYTES 8
#define WORD_BYTES 4
#define ENCRYPTED 0x80000000u /* the E flag */

/* Bytes before the payload: CSRCs and the header extension stay in clear. 0: they do not fit. */
static uint32_t rtp_header_length(const uint8_t *bytes, uint32_t length) {
    if (length < RTP_HEADER_BYTES || bytes[0] >> 6 != 2) return 0;
    uint32_t at = RTP_HEADER_BYTES + 4 * (bytes[0] & 15u);
    if (bytes[0] & 0x10) {
        if (length < at + 4) return 0;
        at += 4 + 4 * ((uint32_t)bytes[at + 2] << 8 | bytes[at + 3]);
    }
    return at <= length ? at : 0;
}

static uint32_t header_length(const uint8_t *bytes, uint32_t length, int control) {
    if (!control) return rtp_header_length(bytes, length);
    return length >= RTCP_HEADER_BYTES && bytes[0] >> 6 == 2 ? RTCP_HEADER_BYTES : 0;
}

uint32_t srtp_tag_length(const struct srtp_key *key, int control) { return control ? key->suite.control_tag_length : key->suite.tag_length; }

static uint32_t trailer_length(const struct srtp_key *key, int control) {
    return srtp_tag_length(key, control) + key->mki_length + (control ? WORD_BYTES : 0);
}

/* In counter mode the tag is last; in GCM it belongs to the ciphertext, and what follows is not covered by its place. */
static void place(struct srtp_job *job, struct srtp_span *span, struct srtp_key *key, int control, uint32_t body) {
    const uint32_t word = control ? WORD_BYTES : 0;
    job->span = span;
    job->key = key;
    job->cipher = &key->ciphers[control];
    job->control = (uint8_t)control;
    job->ready = 0;
    job->body = body;
    if (key->suite.is_gcm) {
        job->tag_at = body;
        job->word_at = body + SRTP_GCM_TAG_BYTES;
        job->mki_at = job->word_at + word;
    } else {
        job->word_at = body;
        job->mki_at = body + word;
        job->tag_at = job->mki_at + key->mki_length;
    }
    job->total = body + trailer_length(key, control);
    job->ssrc = srtp_read_32(span->bytes + (control ? 4 : 8));
    job->text = body - job->begin;
}

int srtp_place_sealed(struct srtp_job *job, struct srtp_span *span, struct srtp_key *key, int control) {
    if (span->length > SRTP_PACKET_MAX || !(job->begin = header_length(span->bytes, span->length, control))) return SRTP_MALFORMED;
    place(job, span, key, control, span->length);
    return job->total <= span->room ? SRTP_OK : SRTP_TOO_SMALL;
}

int srtp_place_opened(struct srtp_job *job, struct srtp_span *span, struct srtp_key *key, int control) {
    const uint32_t trailer = trailer_length(key, control);
    if (span->length > SRTP_PACKET_MAX + trailer || span->length < trailer) return SRTP_MALFORMED;
    if (!(job->begin = header_length(span->bytes, span->length - trailer, control))) return SRTP_MALFORMED;
    place(job, span, key, control, span->length - trailer);
    if (key->mki_length && memcmp(span->bytes + job->mki_at, key->mki, key->mki_length)) return SRTP_UNKNOWN_MKI;
    if (!control) return SRTP_OK;
    const uint32_t word = srtp_read_32(span->bytes + job->word_at);
    if (!(word & ENCRYPTED)) job->begin = job->body, job->text = 0;
    srtp_job_number(job, word & ~ENCRYPTED);
    return SRTP_OK;
}

uint16_t srtp_job_sequence(const struct srtp_job *job) { return (uint16_t)(job->span->bytes[2] << 8 | job->span->bytes[3]); }

/* The first counter block: RFC 3711 4.1.1, where the SSRC begins at byte 4, the index at byte 8 and the counter at byte 14 from 0; RFC 7714 8.1
   and 9.1, where they are at 2, 6 and 12, from 1. */
void srtp_job_number(struct srtp_job *job, uint64_t index) {
    const struct srtp_cipher *cipher = job->cipher;
    job->index = index;
    if (cipher->is_gcm) {
        job->counter_high = cipher->salt_high ^ (uint64_t)job->ssrc << 16 ^ index >> 32;
        job->counter_low = cipher->salt_low ^ (index << 32 | 1);
    } else {
        job->counter_high = cipher->salt_high ^ job->ssrc;
        job->counter_low = cipher->salt_low ^ index << 16;
    }
}
