/* HMAC-SHA1 (RFC 2104) of packets: the key's own block is hashed once a key, not once a packet. */
#define OPENSSL_SUPPRESS_DEPRECATED /* SHA1_* are the one way to begin from a state that is already there */
#include <openssl/crypto.h>
#include <openssl/sha.h>

#include "srtp_private.h"

#define OUTER_BITS (8 * (64 + SRTP_MAC_BYTES)) /* what the outer hash is of */

TL_INLINE void state_get(const SHA_CTX *sha, uint32_t state[5]) {
    state[0] = sha->h0, state[1] = sha->h1, state[2] = sha->h2, state[3] = sha->h3, state[4] = sha->h4;
}

TL_INLINE void state_set(SHA_CTX *sha, const uint32_t state[5]) {
    sha->h0 = state[0], sha->h1 = state[1], sha->h2 = state[2], sha->h3 = state[3], sha->h4 = state[4];
    sha->Nl = sha->Nh = sha->num = 0;
}

void srtp_hmac_key(struct srtp_hmac *hmac, const uint8_t key[SRTP_MAC_BYTES]) {
    SHA_CTX sha;
    uint8_t block[64];
    const uint8_t pads[2] = {0x36, 0x5c};
    uint32_t *states[2] = {hmac->inner, hmac->outer};
    for (uint32_t i = 0; i < 2; i++) {
        memset(block, pads[i], sizeof block);
        for (uint32_t j = 0; j < SRTP_MAC_BYTES; j++) block[j] ^= key[j];
        SHA1_Init(&sha);
        SHA1_Transform(&sha, block);
        state_get(&sha, states[i]);
    }
    OPENSSL_cleanse(block, sizeof block);
    OPENSSL_cleanse(&sha, sizeof sha);
}

/* RFC 3711 4.2: an SRTP tag covers the packet and the ROC, an SRTCP tag the packet and the word behind it. */
TL_INLINE uint32_t signed_length(const struct srtp_job *job) { return job->control ? job->mki_at : job->body; }
TL_INLINE uint32_t suffix_length(const struct srtp_job *job) { return job->control ? 0 : 4; }

/* What remains of a message behind its whole blocks stands in the target: the ROC and the padding of SHA-1 follow. Bytes: one block or two. */
TL_INLINE uint32_t tail_end(uint8_t target[128], const struct srtp_job *job) {
    const uint32_t length = signed_length(job), rest = length % 64, used = rest + suffix_length(job), size = used + 9 <= 64 ? 64 : 128;
    if (!job->control) srtp_write_32(target + rest, (uint32_t)(job->index >> 16));
    target[used] = 0x80;
    srtp_write_64(target + size - 8, 8ull * (64 + length + suffix_length(job)));
    return size;
}

static void hmac_job(struct srtp_job *job) {
    SHA_CTX sha;
    uint8_t tail[128];
    uint32_t state[5];
    state_set(&sha, job->cipher->hmac.inner);
    memset(tail, 0, sizeof tail);
    memcpy(tail, job->span->bytes + (signed_length(job) & ~63u), signed_length(job) % 64);
    SHA1_Update(&sha, job->span->bytes, signed_length(job) & ~63u);
    SHA1_Update(&sha, tail, tail_end(tail, job));
    state_get(&sha, state);
    memset(tail, 0, 64);
    for (uint32_t i = 0; i < 5; i++) srtp_write_32(tail + 4 * i, state[i]);
    tail[SRTP_MAC_BYTES] = 0x80;
    srtp_write_64(tail + 56, OUTER_BITS);
    state_set(&sha, job->cipher->hmac.outer);
    SHA1_Transform(&sha, tail);
    state_get(&sha, state);
    for (uint32_t i = 0; i < 5; i++) srtp_write_32(job->mac + 4 * i, state[i]);
}

void srtp_hmac_chunk(struct srtp_chunk *chunk) {
    for (uint32_t i = 0; i < chunk->count; i++)
        if (chunk->jobs[i].ready && !chunk->jobs[i].cipher->is_gcm) hmac_job(&chunk->jobs[i]);
}
