/* SRTP and SRTCP (RFC 3711, 6188, 7714), in place in the caller's buffers, in batches. AES, GHASH and SHA-1 are OpenSSL's (SHA-1 of many packets at once is
   ours, where the processor has AVX-512); keys, indices, replay windows and the shape of packets are here. A context is used by one thread at a time. Memory
   is taken where contexts and keys are made, never for a packet. */
#ifndef TRUNKLINE_SRTP_H
#define TRUNKLINE_SRTP_H

#include "status.h"

#define SRTP_TRAILER_MAX 148 /* bytes a packet may grow by: tag, MKI of up to 128 bytes, SRTCP index */
#define SRTP_SOURCES_MAX 8   /* SSRCs kept per key; in receiving, the one longest silent makes room for a ninth */
#define SRTP_KEYS_MAX 4      /* master keys a context reads: the one that sends and those before it */
#define SRTP_MKI_MAX 128     /* bytes */

enum srtp_suite {
    SRTP_AES_CM_128_HMAC_SHA1_80 = 0, SRTP_AES_CM_128_HMAC_SHA1_32, SRTP_AES_192_CM_HMAC_SHA1_80, SRTP_AES_192_CM_HMAC_SHA1_32, SRTP_AES_256_CM_HMAC_SHA1_80,
    SRTP_AES_256_CM_HMAC_SHA1_32, SRTP_AEAD_AES_128_GCM, SRTP_AEAD_AES_256_GCM, SRTP_SUITE_COUNT
};
enum srtp_status { SRTP_OK = 0, SRTP_MALFORMED = -1, SRTP_TOO_SMALL = -3, SRTP_BAD_TAG = -10, SRTP_REPLAYED = -11, SRTP_TOO_OLD = -12, SRTP_KEY_EXPIRED = -13,
                   SRTP_UNKNOWN_MKI = -14, SRTP_NO_ROOM = -15, SRTP_CRYPTO = -16 };

struct srtp; /* one direction of one stream: one master key, or several told apart by their MKI */

struct srtp_settings {
    uint8_t suite;
    const uint8_t *key; uint32_t key_length;     /* master key and salt in one, as a=crypto has them */
    const uint8_t *mki; uint32_t mki_length;     /* 0: none */
    uint64_t lifetime;                           /* packets; 0: 2^48 for SRTP and 2^31 for SRTCP */
    uint32_t window;                             /* replay window in packets, 64..1024, a multiple of 64; 0: 128 */
};
struct srtp *srtp_new(const struct srtp_settings *settings);   /* NULL: settings that cannot be, or no memory */
void srtp_free(struct srtp *context);
/* The new key sends at once; the old ones are still read until srtp_forget. Nonzero: as srtp_new, and nothing changed. ROC and SRTCP index go on (RFC 3711
   3.3.1, 3.4); a sender that begins anew with its new key is followed too, as long as no packet under that key has been taken. */
int srtp_rekey(struct srtp *context, const struct srtp_settings *settings);
void srtp_forget(struct srtp *context);
void srtp_set_roc(struct srtp *context, uint32_t ssrc, uint32_t roc); /* for one who joins late; the next packet is taken to have this ROC */
int srtp_get_roc(const struct srtp *context, uint32_t ssrc, uint32_t *roc); /* nonzero: nothing is known of this SSRC */

/* In protecting, SRTP_REPLAYED and SRTP_TOO_OLD say that the index was used before, or may have been; SRTP_NO_ROOM that this is a ninth SSRC to send from
   under one key: had one been forgotten and come back, its keystream would be used twice. A packet that is not authentic changes nothing but counts. */
/* One packet of a batch. length is updated; with a status below 0 the bytes are as they were (unprotect) and are not to be sent (protect). */
struct srtp_span { struct srtp *context; uint8_t *bytes; uint32_t length, room; int32_t status; };
/* Return how many are SRTP_OK. */
uint32_t srtp_protect_batch(struct srtp_span *spans, uint32_t count);
uint32_t srtp_unprotect_batch(struct srtp_span *spans, uint32_t count);
uint32_t srtcp_protect_batch(struct srtp_span *spans, uint32_t count);
uint32_t srtcp_unprotect_batch(struct srtp_span *spans, uint32_t count);

/* The same for packets that begin `stride` bytes apart, all of one context. A length above the stride is SRTP_MALFORMED. */
enum srtp_operation { SRTP_PROTECT = 0, SRTP_UNPROTECT, SRTCP_PROTECT, SRTCP_UNPROTECT };
uint32_t srtp_rows(struct srtp *context, enum srtp_operation operation, uint8_t *bytes, uint32_t stride, uint32_t *lengths, int32_t *statuses,
                   uint32_t count);

struct srtp_counts { uint64_t protected_packets, unprotected_packets, bad_tag, replayed, too_old, malformed, expired, unknown_mki; };
void srtp_counts(const struct srtp *context, struct srtp_counts *counts);

/* What the media plane calls: it is not linked with OpenSSL, and gets this table from the module that is. */
struct srtp_functions {
    uint32_t (*protect)(struct srtp_span *, uint32_t), (*unprotect)(struct srtp_span *, uint32_t);
    uint32_t (*protect_control)(struct srtp_span *, uint32_t), (*unprotect_control)(struct srtp_span *, uint32_t);
    void (*free)(struct srtp *);
    void (*counts)(const struct srtp *, struct srtp_counts *);
    void (*forget)(struct srtp *);
};
extern const struct srtp_functions srtp_functions;
uintptr_t srtp_functions_address(void);

#endif
