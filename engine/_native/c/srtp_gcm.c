/* The tag of GCM from libcrypto's GHASH, without its cipher: keystream is made for a whole batch elsewhere, so libcrypto is given an encrypted
   block of zeros where it asks for one, and a stream that does nothing. What remains is GHASH of header, ciphertext and lengths. */
#include <openssl/crypto.h>

#include "srtp_private.h"

static void block_give(const unsigned char in[16], unsigned char out[16], const void *cipher) {
    (void)in;
    memcpy(out, ((const struct srtp_cipher *)cipher)->ghash_block, 16);
}

static void stream_nothing(const unsigned char *in, unsigned char *out, size_t blocks, const void *key, const unsigned char counter[16]) {
    (void)in, (void)out, (void)blocks, (void)key, (void)counter;
}

int srtp_ghash_new(struct srtp_cipher *cipher) {
    int made = 0;
    const uint8_t zeros[16] = {0};
    if (EVP_EncryptUpdate(cipher->ecb, cipher->ghash_block, &made, zeros, 16) != 1 || made != 16) return SRTP_CRYPTO; /* GHASH's key */
    cipher->ghash = CRYPTO_gcm128_new(cipher, block_give);
    OPENSSL_cleanse(cipher->ghash_block, sizeof cipher->ghash_block);
    return cipher->ghash ? SRTP_OK : SRTP_CRYPTO;
}

/* RFC 7714 8.2, 9.2: what is in clear is covered too, and in SRTCP the word behind it. */
void srtp_ghash_job(const struct srtp_chunk *chunk, struct srtp_job *job) {
    GCM128_CONTEXT *ghash = job->cipher->ghash;
    uint8_t *bytes = job->span->bytes, zeros[12] = {0};
    const uint8_t *mask = chunk->scratch + 16 * job->block;
    CRYPTO_gcm128_setiv(ghash, zeros, sizeof zeros);
    CRYPTO_gcm128_aad(ghash, bytes, job->begin);
    if (job->control) CRYPTO_gcm128_aad(ghash, bytes + job->word_at, 4);
    if (job->text) CRYPTO_gcm128_decrypt_ctr32(ghash, bytes + job->begin, bytes + job->begin, job->text, stream_nothing);
    CRYPTO_gcm128_tag(ghash, job->mac, SRTP_GCM_TAG_BYTES);
    for (uint32_t i = 0; i < SRTP_GCM_TAG_BYTES; i++) job->mac[i] ^= mask[i];
}
