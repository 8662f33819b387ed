/* Keystream of many packets at once: counter blocks side by side, one AES call over all that have the same key. */
#include <openssl/crypto.h>

#include "srtp_private.h"

TL_INLINE void counters_write(uint8_t *target, const struct srtp_job *job, uint32_t first, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        srtp_write_64(target + 16 * i, job->counter_high);
        srtp_write_64(target + 16 * i + 8, job->counter_low + first + i);
    }
}

static int encrypt(struct srtp_cipher *cipher, uint8_t *blocks, uint32_t count) {
    int made = 0;
    const int bytes = (int)(16 * count);
    return EVP_EncryptUpdate(cipher->ecb, blocks, &made, blocks, bytes) == 1 && made == bytes ? SRTP_OK : SRTP_CRYPTO;
}

TL_INLINE void add(uint8_t *restrict text, const uint8_t *restrict keystream, uint32_t length) {
    uint32_t i = 0;
    for (; i + 16 <= length; i += 16) {
        uint64_t a[2], b[2];
        memcpy(a, text + i, 16);
        memcpy(b, keystream + i, 16);
        a[0] ^= b[0], a[1] ^= b[1];
        memcpy(text + i, a, 16);
    }
    for (; i < length; i++) text[i] ^= keystream[i];
}

/* In GCM the first block masks the tag. */
static uint32_t blocks_needed(const struct srtp_job *job) { return (job->text + 15) / 16 + job->cipher->is_gcm; }

uint32_t srtp_job_blocks(const struct srtp_job *job, uint32_t capacity) {
    const uint32_t blocks = blocks_needed(job);
    return blocks <= capacity ? blocks : job->cipher->is_gcm;
}

/* The jobs of one cipher, from `first` on. */
static void keystream_group(struct srtp_chunk *chunk, uint32_t first) {
    struct srtp_cipher *cipher = chunk->jobs[first].cipher;
    const uint32_t begin = chunk->blocks;
    for (uint32_t i = first; i != SRTP_NO_JOB; i = chunk->jobs[i].next) {
        struct srtp_job *job = &chunk->jobs[i];
        const uint32_t count = srtp_job_blocks(job, chunk->capacity);
        job->block = chunk->blocks;
        counters_write(chunk->scratch + 16 * chunk->blocks, job, 0, count);
        chunk->blocks += count;
    }
    if (chunk->blocks == begin || encrypt(cipher, chunk->scratch + 16 * begin, chunk->blocks - begin) == SRTP_OK) return;
    for (uint32_t i = first; i != SRTP_NO_JOB; i = chunk->jobs[i].next) chunk->jobs[i].ready = 0, chunk->jobs[i].span->status = SRTP_CRYPTO;
}

void srtp_keystream(struct srtp_chunk *chunk, int is_gcm) {
    uint8_t firsts[SRTP_CHUNK_MAX];
    uint32_t groups = 0;
    for (uint32_t i = 0; i < chunk->count; i++) {
        struct srtp_job *job = &chunk->jobs[i];
        if (!job->ready || job->cipher->is_gcm != is_gcm) continue;
        if (job->cipher->last_job == SRTP_NO_JOB) firsts[groups++] = (uint8_t)i;
        else chunk->jobs[job->cipher->last_job].next = (uint8_t)i;
        job->cipher->last_job = (uint8_t)i;
        job->next = SRTP_NO_JOB;
    }
    for (uint32_t i = 0; i < groups; i++) {
        chunk->jobs[firsts[i]].cipher->last_job = SRTP_NO_JOB;
        keystream_group(chunk, firsts[i]);
    }
}

static int crypt_in_pieces(struct srtp_job *job) {
    uint8_t piece[16 * 64];
    uint32_t counter = job->cipher->is_gcm;
    int status = SRTP_OK;
    for (uint32_t at = 0; at < job->text && !status; at += sizeof piece, counter += sizeof piece / 16) {
        const uint32_t length = job->text - at < sizeof piece ? job->text - at : (uint32_t)sizeof piece, count = (length + 15) / 16;
        counters_write(piece, job, counter, count);
        if (!(status = encrypt(job->cipher, piece, count))) add(job->span->bytes + job->begin + at, piece, length);
    }
    OPENSSL_cleanse(piece, sizeof piece);
    return status;
}

int srtp_job_crypt(const struct srtp_chunk *chunk, struct srtp_job *job) {
    if (blocks_needed(job) > chunk->capacity) return crypt_in_pieces(job);
    add(job->span->bytes + job->begin, chunk->scratch + 16 * (job->block + job->cipher->is_gcm), job->text);
    return SRTP_OK;
}

void srtp_chunk_reset(struct srtp_chunk *chunk) {
    memset(chunk->scratch, 0, 16 * chunk->blocks);
    __asm__ volatile("" : : "r"(chunk->scratch) : "memory"); /* or the compiler sees that nobody reads it */
    chunk->count = chunk->blocks = 0;
}
