/* Unprotecting batches. Tags are computed for a whole chunk with the indices that packets would have if none of them changed anything; then
   packets are admitted in order, and one for which that was not so is done again by itself. Nothing changes before a tag has been found right. */
#include <openssl/crypto.h>

#include "srtp_private.h"

#define SINGLE_BLOCKS 128

static struct srtp_track *track_of(const struct srtp_job *job, struct srtp_source **source) {
    *source = srtp_source_find(job->key, job->ssrc);
    return *source ? &(*source)->tracks[job->control] : NULL;
}

static uint64_t index_of(const struct srtp_job *job, const struct srtp_track *track) {
    return job->control ? job->index : srtp_index_of(track, srtp_job_sequence(job));
}

/* What can be refused without a tag. */
static int check(const struct srtp_job *job, const struct srtp_track *track, uint64_t index) {
    if (index > SRTP_INDEX_MAX || job->cipher->packets >= job->cipher->packets_max) return SRTP_KEY_EXPIRED;
    return srtp_track_check(job->key, track, index);
}

static int tag_right(const struct srtp_job *job) {
    return !CRYPTO_memcmp(job->mac, job->span->bytes + job->tag_at, srtp_tag_length(job->key, job->control));
}

static void admit(struct srtp_job *job, struct srtp_source *source) {
    srtp_job_take(job, source ? source : srtp_source_take(job->key, job->ssrc, 1));
}

static void tags(struct srtp_chunk *chunk) {
    srtp_keystream(chunk, 1);
    for (uint32_t i = 0; i < chunk->count; i++)
        if (chunk->jobs[i].ready && chunk->jobs[i].cipher->is_gcm) srtp_ghash_job(chunk, &chunk->jobs[i]);
    srtp_hmac_chunk(chunk);
}

/* Takes the protection off what was admitted. */
static void open_admitted(struct srtp_chunk *chunk) {
    srtp_keystream(chunk, 0);
    for (uint32_t i = 0; i < chunk->count; i++) {
        struct srtp_job *job = &chunk->jobs[i];
        if (!job->ready || (job->span->status = srtp_job_crypt(chunk, job))) continue;
        job->span->length = job->body;
        job->span->context->counts.unprotected_packets++;
    }
}

/* ---- one by itself ---- */

static int open_with(struct srtp_chunk *chunk, uint64_t index) {
    struct srtp_job *job = &chunk->jobs[0];
    struct srtp_source *source;
    const int status = check(job, track_of(job, &source), index);
    if (status) return status;
    srtp_job_number(job, index);
    chunk->count = job->ready = 1;
    job->span->status = SRTP_OK;
    tags(chunk);
    if (job->ready && tag_right(job)) {
        admit(job, source);
        open_admitted(chunk);
    } else if (job->ready) job->span->status = SRTP_BAD_TAG;
    srtp_chunk_reset(chunk);
    return job->span->status;
}

/* Of what several keys say: that it was taken, or the refusal that says most. */
static int telling(int one, int other) {
    static const int8_t order[] = {SRTP_MALFORMED, SRTP_UNKNOWN_MKI, SRTP_BAD_TAG, SRTP_TOO_OLD, SRTP_REPLAYED, SRTP_KEY_EXPIRED, SRTP_CRYPTO, SRTP_OK};
    for (uint32_t i = sizeof order; i-- > 0;)
        if (order[i] == one || order[i] == other) return order[i];
    return one;
}

/* With every key of the context, from the new one to the old. A sender that takes a new key may begin its ROC anew, against RFC 3711 3.3.1:
   until a first packet under that key was right, both are tried. */
static int open_single(struct srtp_span *span, int control) {
    SRTP_CHUNK(chunk, 1, SINGLE_BLOCKS);
    struct srtp_job *job = &chunk.jobs[0];
    int status = SRTP_MALFORMED;
    for (uint32_t i = 0; i < span->context->key_count; i++) {
        struct srtp_source *source;
        int got = srtp_place_opened(job, span, span->context->keys[i], control);
        if (!got) {
            const struct srtp_track *track = track_of(job, &source);
            const uint64_t index = index_of(job, track), anew = srtp_job_sequence(job);
            const int twice = !control && track && track->state == SRTP_TRACK_INHERITED && index != anew;
            got = open_with(&chunk, index);
            if (got && twice) got = telling(got, open_with(&chunk, anew));
        }
        if (!got) return SRTP_OK;
        status = telling(status, got);
    }
    return status;
}

/* ---- chunks ---- */

/* Whether anything but this key and this index could open it. */
static int alone(const struct srtp_job *job, const struct srtp_track *track) {
    return job->span->context->key_count == 1 && !(track && track->state == SRTP_TRACK_INHERITED);
}

static void settle(struct srtp_job *job, int control) {
    struct srtp_span *span = job->span;
    struct srtp_source *source;
    if (job->ready) {
        const struct srtp_track *track = track_of(job, &source);
        if (index_of(job, track) == job->index && check(job, track, job->index) == SRTP_OK) {
            if (tag_right(job)) {
                admit(job, source);
                return;
            }
            if (alone(job, track)) {
                job->ready = 0;
                span->status = srtp_counted(&span->context->counts, SRTP_BAD_TAG);
                return;
            }
        }
        job->ready = 0;
    }
    span->status = srtp_counted(&span->context->counts, open_single(span, control));
}

static void unprotect_chunk(struct srtp_chunk *chunk, int control) {
    tags(chunk);
    for (uint32_t i = 0; i < chunk->count; i++) settle(&chunk->jobs[i], control);
    open_admitted(chunk);
    srtp_chunk_reset(chunk);
}

static void foresee(struct srtp_job *job, struct srtp_span *span, int control) {
    struct srtp_source *source;
    span->status = SRTP_OK;
    if (srtp_place_opened(job, span, span->context->keys[0], control)) {
        job->span = span;
        job->ready = 0;
        return;
    }
    const struct srtp_track *track = track_of(job, &source);
    const uint64_t index = index_of(job, track);
    job->ready = check(job, track, index) == SRTP_OK;
    if (job->ready) srtp_job_number(job, index);
}

static uint32_t unprotect_batch(struct srtp_span *spans, uint32_t count, int control) {
    SRTP_CHUNK(chunk, SRTP_CHUNK_MAX, SRTP_SCRATCH_BLOCKS);
    uint32_t planned = 0, opened = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct srtp_job job;
        foresee(&job, &spans[i], control);
        const uint32_t blocks = job.ready ? srtp_job_blocks(&job, chunk.capacity) : 0;
        if (chunk.count == SRTP_CHUNK_MAX || planned + blocks > chunk.capacity) unprotect_chunk(&chunk, control), planned = 0;
        chunk.jobs[chunk.count++] = job;
        planned += blocks;
    }
    unprotect_chunk(&chunk, control);
    for (uint32_t i = 0; i < count; i++) opened += spans[i].status == SRTP_OK;
    return opened;
}

uint32_t srtp_unprotect_batch(struct srtp_span *spans, uint32_t count) { return unprotect_batch(spans, count, 0); }
uint32_t srtcp_unprotect_batch(struct srtp_span *spans, uint32_t count) { return unprotect_batch(spans, count, 1); }
