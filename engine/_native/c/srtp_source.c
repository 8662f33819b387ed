/* Sources of one key: packet indices from sequence numbers, and which were seen (RFC 3711 3.3.1, 3.3.2, appendix A). */
#include "srtp_private.h"

struct srtp_source *srtp_source_find(struct srtp_key *key, uint32_t ssrc) {
    for (uint32_t i = 0; i < SRTP_SOURCES_MAX; i++)
        if (key->sources[i].ssrc == ssrc && key->sources[i].in_use) return &key->sources[i];
    return NULL;
}

/* Nothing was protected for it under this key, so nothing is lost with it. */
static int unused(const struct srtp_source *source) {
    for (uint32_t i = 0; i < 2; i++)
        if (source->tracks[i].state != SRTP_TRACK_EMPTY && source->tracks[i].state != SRTP_TRACK_INHERITED) return 0;
    return 1;
}

struct srtp_source *srtp_source_take(struct srtp_key *key, uint32_t ssrc, int evict) {
    struct srtp_source *chosen = NULL;
    for (struct srtp_source *source = key->sources; source < key->sources + SRTP_SOURCES_MAX; source++) {
        if (!source->in_use) {
            chosen = source;
            break;
        }
        if ((evict || unused(source)) && (!chosen || source->used_at < chosen->used_at)) chosen = source;
    }
    if (!chosen) return NULL;
    *chosen = (struct srtp_source){.ssrc = ssrc, .in_use = 1, .used_at = key->clock};
    for (uint32_t i = 0; i < 2; i++) chosen->tracks[i].seen = &key->seen[(2 * (size_t)(chosen - key->sources) + i) * key->words];
    memset(chosen->tracks[0].seen, 0, 2 * key->words * sizeof *key->seen);
    return chosen;
}

uint64_t srtp_index_of(const struct srtp_track *track, uint16_t sequence) {
    if (!track || track->state == SRTP_TRACK_EMPTY) return sequence;
    const uint64_t roc = track->highest >> 16;
    const int32_t ahead = (int32_t)sequence - (int32_t)(track->highest & 0xffff);
    if (track->state != SRTP_TRACK_ROC_ONLY) {
        if (ahead < -32768) return (roc + 1) << 16 | sequence;
        if (ahead > 32768 && roc) return (roc - 1) << 16 | sequence;
    }
    return roc << 16 | sequence;
}

int srtp_track_check(const struct srtp_key *key, const struct srtp_track *track, uint64_t index) {
    if (!track || track->state != SRTP_TRACK_RUNNING || index > track->highest) return SRTP_OK;
    if (track->highest - index >= key->window) return SRTP_TOO_OLD;
    return track->seen[index / 64 & (key->words - 1)] >> (index & 63) & 1 ? SRTP_REPLAYED : SRTP_OK;
}

/* Bits of indices that were passed over are those of a round before, and have to go. */
void srtp_track_mark(const struct srtp_key *key, struct srtp_track *track, uint64_t index) {
    if (track->state != SRTP_TRACK_RUNNING) {
        track->state = SRTP_TRACK_RUNNING;
        track->highest = index;
        memset(track->seen, 0, key->words * sizeof *track->seen);
    }
    if (index > track->highest) {
        const uint64_t words = index / 64 - track->highest / 64;
        for (uint64_t i = 0; i < words && i < key->words; i++) track->seen[(index / 64 - i) & (key->words - 1)] = 0;
        track->highest = index;
    }
    track->seen[index / 64 & (key->words - 1)] |= 1ull << (index & 63);
}

void srtp_job_take(struct srtp_job *job, struct srtp_source *source) {
    srtp_track_mark(job->key, &source->tracks[job->control], job->index);
    source->used_at = ++job->key->clock;
    job->cipher->packets++;
}

void srtp_key_inherit(struct srtp_key *key, const struct srtp_key *before) {
    key->clock = before->clock;
    for (uint32_t i = 0; i < SRTP_SOURCES_MAX; i++) {
        const struct srtp_source *old = &before->sources[i];
        if (!old->in_use) continue;
        struct srtp_source *source = &key->sources[i];
        *source = (struct srtp_source){.ssrc = old->ssrc, .in_use = 1, .used_at = old->used_at};
        for (uint32_t j = 0; j < 2; j++) {
            const struct srtp_track *track = &old->tracks[j];
            source->tracks[j].highest = track->highest;
            source->tracks[j].state = track->state == SRTP_TRACK_RUNNING ? SRTP_TRACK_INHERITED : track->state;
            source->tracks[j].seen = &key->seen[(2 * i + j) * key->words];
        }
    }
}
