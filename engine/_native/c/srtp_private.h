/* What the files of the SRTP kernel share: keys, sources, and a packet on its way through a batch. Nothing here is for callers. */
#ifndef TRUNKLINE_SRTP_PRIVATE_H
#define TRUNKLINE_SRTP_PRIVATE_H

#include <openssl/evp.h>
#include <openssl/modes.h>
#include <string.h>

#include "srtp.h"

#define SRTP_CHUNK_MAX 64        /* packets worked on together */
#define SRTP_SCRATCH_BLOCKS 1024 /* keystream of a chunk, in AES blocks */
#define SRTP_PACKET_MAX 65535
#define SRTP_MAC_BYTES 20
#define SRTP_GCM_TAG_BYTES 16
#define SRTP_NO_JOB 255

#define SRTP_INDEX_MAX ((1ull << 48) - 1)         /* RFC 3711 3.3.1: 32 bits of ROC, 16 of sequence number */
#define SRTP_CONTROL_INDEX_MAX ((1ull << 31) - 1) /* 3.4 */

TL_INLINE uint32_t srtp_read_32(const uint8_t *at) {
    uint32_t value;
    memcpy(&value, at, 4);
    return __builtin_bswap32(value);
}
TL_INLINE uint64_t srtp_read_64(const uint8_t *at) {
    uint64_t value;
    memcpy(&value, at, 8);
    return __builtin_bswap64(value);
}
TL_INLINE void srtp_write_32(uint8_t *at, uint32_t value) {
    value = __builtin_bswap32(value);
    memcpy(at, &value, 4);
}
TL_INLINE void srtp_write_64(uint8_t *at, uint64_t value) {
    value = __builtin_bswap64(value);
    memcpy(at, &value, 8);
}

/* ---- keys ---- */

/* SHA-1 after the block that holds the key, which is the same for every packet (RFC 2104): the inner hash and the outer. */
struct srtp_hmac { uint32_t inner[5], outer[5]; };

/* The session keys of SRTP, or those of SRTCP. The salt is kept as two numbers, placed as it stands in a counter block. */
struct srtp_cipher {
    uint64_t salt_high, salt_low;
    EVP_CIPHER_CTX *ecb;
    uint64_t packets, packets_max;
    uint8_t is_gcm, last_job;  /* of the chunk being worked on; SRTP_NO_JOB between chunks */
    struct srtp_hmac hmac;     /* counter mode */
    GCM128_CONTEXT *ghash;     /* GCM */
    uint8_t ghash_block[16];   /* what libcrypto's GHASH is given for an encrypted block (srtp_gcm.c) */
};

struct srtp_suite_facts { uint8_t key_length, salt_length, tag_length, control_tag_length, is_gcm; };

/* ---- sources ---- */

enum srtp_track_state {
    SRTP_TRACK_EMPTY = 0,
    SRTP_TRACK_ROC_ONLY,  /* told its ROC; no packet yet */
    SRTP_TRACK_INHERITED, /* where it had come to under the key before; nothing yet under this one */
    SRTP_TRACK_RUNNING
};

/* How far one SSRC's SRTP, or its SRTCP, has come under one key, and which of the last indices were taken. */
struct srtp_track { uint64_t highest; uint64_t *seen; uint32_t state; };
struct srtp_source { uint64_t used_at; uint32_t ssrc, in_use; struct srtp_track tracks[2]; /* SRTP, SRTCP */ };

struct srtp_key {
    struct srtp_cipher ciphers[2]; /* SRTP, SRTCP */
    struct srtp_suite_facts suite;
    uint32_t window, words;        /* of a replay bitmap: packets it must remember, and its words, a power of two */
    uint32_t mki_length;
    uint64_t clock;                /* packets taken; tells which source has been silent longest */
    size_t size;
    struct srtp_source sources[SRTP_SOURCES_MAX];
    uint8_t mki[SRTP_MKI_MAX];
    uint64_t seen[];               /* two bitmaps a source */
};

struct srtp {
    struct srtp_key *keys[SRTP_KEYS_MAX]; /* the sending one first, then from new to old */
    uint32_t key_count;
    struct srtp_counts counts;
};

/* Session keys in place of those derived; nonzero: no memory. */
int srtp_cipher_set(struct srtp_cipher *cipher, const struct srtp_suite_facts *suite, const uint8_t *key, const uint8_t *salt, const uint8_t *authentication);
void srtp_cipher_clear(struct srtp_cipher *cipher);
struct srtp_key *srtp_key_new(const struct srtp_settings *settings);
void srtp_key_free(struct srtp_key *key);
/* A new key goes on where the one before has come to: neither ROC nor SRTCP index begin anew (RFC 3711 3.3.1, 3.2.1). */
void srtp_key_inherit(struct srtp_key *key, const struct srtp_key *before);

struct srtp_source *srtp_source_find(struct srtp_key *key, uint32_t ssrc);
/* The place of a new source: a free one, or that of the source longest silent; without `evict` only of those that nothing was sent from under this key.
   NULL: there is none. */
struct srtp_source *srtp_source_take(struct srtp_key *key, uint32_t ssrc, int evict);
/* The 48-bit index of a sequence number (RFC 3711 3.3.1, appendix A); above SRTP_INDEX_MAX where the ROC would wrap. NULL: nothing seen. */
uint64_t srtp_index_of(const struct srtp_track *track, uint16_t sequence);
/* SRTP_OK, SRTP_REPLAYED or SRTP_TOO_OLD. */
int srtp_track_check(const struct srtp_key *key, const struct srtp_track *track, uint64_t index);
void srtp_track_mark(const struct srtp_key *key, struct srtp_track *track, uint64_t index);

/* ---- packets on their way ---- */

struct srtp_job {
    struct srtp_span *span;
    struct srtp_key *key;
    struct srtp_cipher *cipher;
    uint64_t index;
    uint64_t counter_high, counter_low;      /* the first counter block */
    uint32_t begin, text;                    /* what is encrypted: where, and how many bytes */
    uint32_t body;                           /* bytes before the trailer: header and payload */
    uint32_t word_at, mki_at, tag_at, total; /* the trailer: SRTCP's E flag and index, MKI, tag; and the whole packet's length */
    uint32_t ssrc;
    uint32_t block;                          /* where its keystream begins in the scratch */
    uint8_t next;                            /* the next job of the same cipher */
    uint8_t control, ready;
    uint8_t mac[SRTP_MAC_BYTES];
};

struct srtp_chunk {
    struct srtp_job *jobs;
    uint8_t *scratch;
    uint32_t count, blocks, capacity; /* of the scratch, in blocks */
};

#define SRTP_CHUNK(name, most, blocks_most)                                        \
    struct srtp_job name##_jobs[most];                                             \
    uint8_t name##_scratch[16 * (blocks_most)] __attribute__((aligned(64)));       \
    struct srtp_chunk name = {.jobs = name##_jobs, .scratch = name##_scratch, .capacity = (blocks_most)}

void srtp_chunk_reset(struct srtp_chunk *chunk); /* empty again, and no keystream left behind */

/* The packet is ours: its index is taken, and its source has spoken. */
void srtp_job_take(struct srtp_job *job, struct srtp_source *source);
int32_t srtp_counted(struct srtp_counts *counts, int32_t status); /* gives the status back */

/* srtp_packet.c: where things stand in a packet (RFC 3711 3.1, 3.4; RFC 7714 8, 9). Each fills the job; SRTP_OK or why not. */
int srtp_place_sealed(struct srtp_job *job, struct srtp_span *span, struct srtp_key *key, int control);
int srtp_place_opened(struct srtp_job *job, struct srtp_span *span, struct srtp_key *key, int control);
uint32_t srtp_tag_length(const struct srtp_key *key, int control);
uint16_t srtp_job_sequence(const struct srtp_job *job);
void srtp_job_number(struct srtp_job *job, uint64_t index);

/* srtp_keystream.c. One longer than the scratch keeps only its tag's mask there, and is worked through in pieces. */
uint32_t srtp_job_blocks(const struct srtp_job *job, uint32_t capacity);
/* The keystream of all ready jobs of a kind (is_gcm 0 or 1), in one call a cipher; those that fail get SRTP_CRYPTO and are no longer ready. */
void srtp_keystream(struct srtp_chunk *chunk, int is_gcm);
int srtp_job_crypt(const struct srtp_chunk *chunk, struct srtp_job *job); /* adds it to the text */

/* srtp_hmac.c */
void srtp_hmac_key(struct srtp_hmac *hmac, const uint8_t key[SRTP_MAC_BYTES]);
void srtp_hmac_chunk(struct srtp_chunk *chunk); /* the mac of every ready job in counter mode */

/* srtp_gcm.c */
int srtp_ghash_new(struct srtp_cipher *cipher); /* from its AES; nonzero: no memory */
void srtp_ghash_job(const struct srtp_chunk *chunk, struct srtp_job *job); /* over the ciphertext, masked by its first block of keystream */

#endif
