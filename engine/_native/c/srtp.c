/* Contexts, and protecting batches. A batch goes through in chunks: packets are numbered in order, then all keystream is made, then all tags. */
#include <openssl/crypto.h>

#include "srtp_private.h"

#define ENCRYPTED 0x80000000u /* SRTCP's E flag */

struct srtp *srtp_new(const struct srtp_settings *settings) {
    struct srtp *context = OPENSSL_zalloc(sizeof *context);
    if (!context) return NULL;
    if (srtp_rekey(context, settings) == SRTP_OK) return context;
    srtp_free(context);
    return NULL;
}

void srtp_free(struct srtp *context) {
    if (!context) return;
    for (uint32_t i = 0; i < context->key_count; i++) srtp_key_free(context->keys[i]);
    OPENSSL_free(context);
}

int srtp_rekey(struct srtp *context, const struct srtp_settings *settings) {
    struct srtp_key *key = srtp_key_new(settings);
    if (!key) return SRTP_CRYPTO;
    if (context->key_count) srtp_key_inherit(key, context->keys[0]);
    if (context->key_count == SRTP_KEYS_MAX) srtp_key_free(context->keys[--context->key_count]);
    memmove(context->keys + 1, context->keys, context->key_count * sizeof *context->keys);
    context->keys[0] = key;
    context->key_count++;
    return SRTP_OK;
}

void srtp_forget(struct srtp *context) {
    while (context->key_count > 1) srtp_key_free(context->keys[--context->key_count]);
}

void srtp_set_roc(struct srtp *context, uint32_t ssrc, uint32_t roc) {
    struct srtp_source *source = srtp_source_find(context->keys[0], ssrc);
    if (!source) source = srtp_source_take(context->keys[0], ssrc, 1);
    struct srtp_track *track = &source->tracks[0];
    track->highest = (uint64_t)roc << 16 | (track->highest & 0xffff);
    track->state = SRTP_TRACK_ROC_ONLY;
}

int srtp_get_roc(const struct srtp *context, uint32_t ssrc, uint32_t *roc) {
    const struct srtp_source *source = srtp_source_find(context->keys[0], ssrc);
    if (!source || source->tracks[0].state == SRTP_TRACK_EMPTY) return SRTP_NO_ROOM;
    *roc = (uint32_t)(source->tracks[0].highest >> 16);
    return SRTP_OK;
}

void srtp_counts(const struct srtp *context, struct srtp_counts *counts) { *counts = context->counts; }

int32_t srtp_counted(struct srtp_counts *counts, int32_t status) {
    switch (status) {
    case SRTP_BAD_TAG: counts->bad_tag++; break;
    case SRTP_REPLAYED: counts->replayed++; break;
    case SRTP_TOO_OLD: counts->too_old++; break;
    case SRTP_MALFORMED: counts->malformed++; break;
    case SRTP_KEY_EXPIRED: counts->expired++; break;
    case SRTP_UNKNOWN_MKI: counts->unknown_mki++; break;
    default: break;
    }
    return status;
}

/* ---- protecting ---- */

/* The index a packet is sent with. No index is used twice: two packets with the same keystream give away each other's content. */
static int number(struct srtp_job *job) {
    struct srtp_key *key = job->key;
    struct srtp_source *source = srtp_source_find(key, job->ssrc);
    struct srtp_track *track = source ? &source->tracks[job->control] : NULL;
    uint64_t index;
    if (!job->control) index = srtp_index_of(track, srtp_job_sequence(job));
    else index = track && track->state != SRTP_TRACK_EMPTY ? track->highest + 1 : 0;
    if (index > (job->control ? SRTP_CONTROL_INDEX_MAX : SRTP_INDEX_MAX) || job->cipher->packets >= job->cipher->packets_max) return SRTP_KEY_EXPIRED;
    const int status = srtp_track_check(key, track, index);
    if (status) return status;
    if (!source && !(source = srtp_source_take(key, job->ssrc, 0))) return SRTP_NO_ROOM;
    srtp_job_number(job, index);
    srtp_job_take(job, source);
    return SRTP_OK;
}

static void seal(struct srtp_job *job) {
    struct srtp_span *span = job->span;
    uint8_t *bytes = span->bytes;
    memcpy(bytes + job->mki_at, job->key->mki, job->key->mki_length);
    memcpy(bytes + job->tag_at, job->mac, srtp_tag_length(job->key, job->control));
    span->length = job->total;
    span->status = SRTP_OK;
    span->context->counts.protected_packets++;
}

static uint32_t protect_chunk(struct srtp_chunk *chunk) {
    uint32_t sealed = 0;
    srtp_keystream(chunk, 0);
    srtp_keystream(chunk, 1);
    for (uint32_t i = 0; i < chunk->count; i++) {
        struct srtp_job *job = &chunk->jobs[i];
        if (!job->ready) continue;
        if (job->control) srtp_write_32(job->span->bytes + job->word_at, (uint32_t)job->index | ENCRYPTED);
        if ((job->span->status = srtp_job_crypt(chunk, job))) job->ready = 0;
        else if (job->cipher->is_gcm) srtp_ghash_job(chunk, job);
    }
    srtp_hmac_chunk(chunk);
    for (uint32_t i = 0; i < chunk->count; i++)
        if (chunk->jobs[i].ready) seal(&chunk->jobs[i]), sealed++;
    srtp_chunk_reset(chunk);
    return sealed;
}

static uint32_t protect_batch(struct srtp_span *spans, uint32_t count, int control) {
    SRTP_CHUNK(chunk, SRTP_CHUNK_MAX, SRTP_SCRATCH_BLOCKS);
    uint32_t sealed = 0, planned = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct srtp_span *span = &spans[i];
        struct srtp_job job;
        if (!(span->status = srtp_place_sealed(&job, span, span->context->keys[0], control))) span->status = number(&job);
        if (srtp_counted(&span->context->counts, span->status)) continue;
        const uint32_t blocks = srtp_job_blocks(&job, chunk.capacity);
        if (chunk.count == SRTP_CHUNK_MAX || planned + blocks > chunk.capacity) sealed += protect_chunk(&chunk), planned = 0;
        job.ready = 1;
        chunk.jobs[chunk.count++] = job;
        planned += blocks;
    }
    return sealed + protect_chunk(&chunk);
}

uint32_t srtp_protect_batch(struct srtp_span *spans, uint32_t count) { return protect_batch(spans, count, 0); }
uint32_t srtcp_protect_batch(struct srtp_span *spans, uint32_t count) { return protect_batch(spans, count, 1); }

uint32_t srtp_rows(struct srtp *context, enum srtp_operation operation, uint8_t *bytes, uint32_t stride, uint32_t *lengths, int32_t *statuses,
                   uint32_t count) {
    uint32_t (*const batches[])(struct srtp_span *, uint32_t) = {srtp_protect_batch, srtp_unprotect_batch, srtcp_protect_batch, srtcp_unprotect_batch};
    struct srtp_span spans[SRTP_CHUNK_MAX];
    uint32_t well = 0, taken;
    for (uint32_t row = 0; row < count; row += taken) {
        taken = count - row < SRTP_CHUNK_MAX ? count - row : SRTP_CHUNK_MAX;
        for (uint32_t i = 0; i < taken; i++) {
            const uint32_t length = lengths[row + i] <= stride ? lengths[row + i] : 0; /* of none, nothing is read */
            spans[i] = (struct srtp_span){context, bytes + (size_t)stride * (row + i), length, stride, 0};
        }
        well += batches[operation](spans, taken);
        for (uint32_t i = 0; i < taken; i++) {
            if (!(statuses[row + i] = spans[i].status)) lengths[row + i] = spans[i].length;
        }
    }
    return well;
}

const struct srtp_functions srtp_functions = {
    .protect = srtp_protect_batch,
    .unprotect = srtp_unprotect_batch,
    .protect_control = srtcp_protect_batch,
    .unprotect_control = srtcp_unprotect_batch,
    .free = srtp_free,
    .counts = srtp_counts,
    .forget = srtp_forget,
};

uintptr_t srtp_functions_address(void) { return (uintptr_t)&srtp_functions; }
