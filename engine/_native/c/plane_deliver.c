/* The media plane's middle: packets in order become samples on a timeline, and go to the recorder, to Python and into a mix. */
#include <string.h>

#include "g711.h"
#include "plane.h"

#define FLUSH_NS 130000000         /* a block that is not full goes to the writer after this long */
#define FLUSH_SHORT_NS 2000000000  /* and where blocks are short */
#define FIFO_MASK (PLANE_FIFO_SAMPLES - 1)
#define FIFO_SLACK_MS 60           /* more than this and a step in the fifo of a mix is dropped */
#define JOINT_SAMPLES_MAX 960      /* 20 ms at 48 kHz: plc.c joins in less */
#define PIECE 4800                 /* samples filled at once */

/* ---- recorder ---- */

void plane_flush_block(struct plane *p, struct plane_track *t) {
    if (!t->block) return;
    if (t->block->used) writer_give(p->writer, t->block);
    else writer_return(p->writer, t->block);
    t->block = NULL;
}

static struct writer_block *track_block(struct plane *p, struct plane_track *t, int64_t now_ns) {
    if (t->block) return t->block;
    struct writer_block *b = p->writer ? writer_take(p->writer) : NULL;
    if (!b) return NULL;
    b->recording = t->recording;
    b->generation = t->generation;
    b->track = t->track;
    b->kind = t->kind;
    b->used = 0;
    b->samples = 0;
    b->position = t->position;
    t->block_since_ns = now_ns;
    return t->block = b;
}

static void track_missed(struct plane *p, struct plane_stream *s, uint32_t samples, int64_t now_ns) {
    struct plane_track *t = &s->track;
    if (!t->missed_samples) plane_event_of(p, PLANE_RECORD_BEHIND, s, samples, 0, now_ns);
    t->missed_samples += samples;
    t->position += samples;
}

/* Writes samples (or the bytes of samples, `width` 1) into blocks; `bytes` NULL writes `fill`. */
static void track_write(struct plane *p, struct plane_stream *s, const uint8_t *bytes, uint32_t samples, uint32_t width, int fill, int64_t now_ns) {
    struct plane_track *t = &s->track;
    if (t->position < 0) { /* before the recording began */
        uint32_t skip = (uint64_t)-t->position < samples ? (uint32_t)-t->position : samples;
        t->position += skip;
        samples -= skip;
        if (bytes) bytes += (size_t)skip * width;
    }
    while (samples) {
        struct writer_block *b = track_block(p, t, now_ns);
        if (!b) {
            track_missed(p, s, samples, now_ns);
            return;
        }
        uint32_t room = (WRITER_BLOCK_BYTES - b->used) / width, now = samples < room ? samples : room;
        if (bytes) memcpy(b->bytes + b->used, bytes, (size_t)now * width);
        else memset(b->bytes + b->used, fill, (size_t)now * width);
        b->used += (uint16_t)(now * width);
        b->samples += now;
        t->position += now;
        t->written_samples += now;
        samples -= now;
        if (bytes) bytes += (size_t)now * width;
        if ((uint32_t)b->used + width > WRITER_BLOCK_BYTES) plane_flush_block(p, t);
    }
}

static void record_pcm(struct plane *p, struct plane_stream *s, const int16_t *pcm, uint32_t samples, int64_t now_ns) {
    struct plane_track *t = &s->track;
    if (t->rate_hz != s->rate_hz) {
        int made = resample_run(&s->side->track, pcm, samples, p->resampled, (uint32_t)(sizeof p->resampled / sizeof *p->resampled));
        if (made <= 0) return;
        pcm = p->resampled;
        samples = (uint32_t)made;
    }
    track_write(p, s, t->shut ? NULL : (const uint8_t *)pcm, samples, 2, 0, now_ns);
}

/* What a resampler holds back still is the end of the recording. */
void plane_end_resampling(struct plane *p, struct plane_stream *s, int64_t now_ns) {
    if (s->track.kind != WRITER_PCM || s->track.rate_hz == s->rate_hz || !s->track.rate_hz) return;
    uint32_t samples = (uint32_t)((uint64_t)resample_delay(&s->side->track) * s->rate_hz / s->track.rate_hz);
    memset(p->scratch, 0, samples * sizeof *p->scratch);
    record_pcm(p, s, p->scratch, samples, now_ns);
}

static int law_silence(const struct plane_track *t) { return t->law == G711_ALAW ? G711_ALAW_SILENCE : G711_ULAW_SILENCE; }

/* An Opus packet as it came, for a file of such. */
static void record_packet(struct plane *p, struct plane_stream *s, const uint8_t *payload, uint32_t length, uint32_t samples, int64_t now_ns) {
    struct plane_track *t = &s->track;
    uint32_t wide = (uint32_t)((uint64_t)samples * 48000 / s->rate_hz), size = 6 + length;
    if (t->shut || size > WRITER_BLOCK_BYTES || t->position < 0) {
        t->position += wide;
        return;
    }
    if (t->block && (t->block->used + size > WRITER_BLOCK_BYTES || t->block->position + t->block->samples != t->position)) plane_flush_block(p, t);
    struct writer_block *b = track_block(p, t, now_ns);
    if (!b) {
        track_missed(p, s, wide, now_ns);
        return;
    }
    uint16_t short_length = (uint16_t)length;
    memcpy(b->bytes + b->used, &short_length, 2);
    memcpy(b->bytes + b->used + 2, &wide, 4);
    memcpy(b->bytes + b->used + 6, payload, length);
    b->used += (uint16_t)size;
    b->samples += wide;
    t->position += wide;
    t->written_samples += wide;
}

/* ---- Python ---- */

static int pcm_block(struct plane *p, struct plane_stream *s) {
    if (s->pcm_block != PLANE_NONE) return 1;
    if (!p->pcm_free_count) return 0;
    s->pcm_block = p->free_pcm[--p->pcm_free_count];
    s->pcm_filled = 0;
    return 1;
}

void plane_flush_pcm(struct plane *p, struct plane_stream *s, int64_t now_ns) {
    if (s->pcm_block == PLANE_NONE) return;
    struct plane_event *e = s->pcm_filled ? plane_tell(p, PLANE_PCM, plane_index(p, s), now_ns) : NULL;
    if (!e) {
        p->free_pcm[p->pcm_free_count++] = s->pcm_block;
        s->counts.pcm_dropped += s->pcm_filled;
    } else {
        e->a = s->pcm_block;
        e->b = s->pcm_filled;
        e->c = s->listen_rate_hz;
        e->position = s->pcm_position;
        plane_told(p);
    }
    s->pcm_position += s->pcm_filled;
    s->pcm_filled = 0;
    s->pcm_block = PLANE_NONE;
}

static void hand_to_python(struct plane *p, struct plane_stream *s, const int16_t *pcm, uint32_t samples, int64_t now_ns) {
    if (s->listen_rate_hz != s->rate_hz) {
        int made = resample_run(&s->side->listen, pcm, samples, p->resampled, (uint32_t)(sizeof p->resampled / sizeof *p->resampled));
        if (made <= 0) return;
        pcm = p->resampled;
        samples = (uint32_t)made;
    }
    while (samples) {
        if (!pcm_block(p, s)) {
            s->pcm_position += samples;
            s->counts.pcm_dropped += samples;
            return;
        }
        uint32_t room = s->listen_samples - s->pcm_filled, now = samples < room ? samples : room;
        memcpy(p->pcm + (size_t)s->pcm_block * PLANE_BLOCK_SAMPLES + s->pcm_filled, pcm, now * sizeof *pcm);
        s->pcm_filled += now;
        pcm += now;
        samples -= now;
        if (s->pcm_filled == s->listen_samples) plane_flush_pcm(p, s, now_ns);
    }
}

/* ---- a leg of a mix ---- */

static void fifo_put(struct plane *p, struct plane_stream *s, const int16_t *pcm, uint32_t samples) {
    uint32_t rate_hz = p->mixes[s->mix].rate_hz;
    if (rate_hz != s->rate_hz) {
        int made = resample_run(&s->side->mix_in, pcm, samples, p->resampled, (uint32_t)(sizeof p->resampled / sizeof *p->resampled));
        if (made <= 0) return;
        pcm = p->resampled;
        samples = (uint32_t)made;
    }
    uint32_t most = rate_hz * FIFO_SLACK_MS / 1000;
    for (uint32_t i = 0; i < samples; i++) s->fifo[(s->fifo_tail + i) & FIFO_MASK] = pcm[i];
    s->fifo_tail += samples;
    if (s->fifo_tail - s->fifo_head > most + samples) s->fifo_head = s->fifo_tail - most; /* what waited too long is not heard */
}

uint32_t plane_fifo_take(struct plane_stream *s, int16_t *pcm, uint32_t samples) {
    uint32_t there = s->fifo_tail - s->fifo_head;
    if (!s->fifo_primed && there < samples) return 0;
    s->fifo_primed = there >= samples;
    uint32_t now = there < samples ? there : samples;
    for (uint32_t i = 0; i < now; i++) pcm[i] = s->fifo[(s->fifo_head + i) & FIFO_MASK];
    s->fifo_head += now;
    memset(pcm + now, 0, (samples - now) * sizeof *pcm);
    return now;
}

/* ---- digits ---- */

static void tell_digit(struct plane *p, struct plane_stream *s, uint32_t kind, uint32_t event, uint32_t duration_ms, uint32_t in_band, int64_t now_ns) {
    struct plane_event *e = plane_tell(p, kind, plane_index(p, s), now_ns);
    if (!e) return;
    e->a = event;
    e->b = duration_ms;
    e->c = in_band;
    e->position = s->timeline.position;
    plane_told(p);
}

static void take_event(struct plane *p, struct plane_stream *s, const struct rtp_packet *packet, int64_t now_ns) {
    struct telephone_event begun, ended;
    int news = telephone_event_take(&s->events, packet->payload, packet->payload_length, packet->timestamp, now_ns, &begun, &ended);
    if (news < 0) {
        s->counts.bad_payload++;
        return;
    }
    if (news & TELEPHONE_EVENT_ENDED) tell_digit(p, s, PLANE_DIGIT_ENDED, ended.event, ended.duration_ms, 0, now_ns);
    if (news & TELEPHONE_EVENT_BEGUN) {
        s->counts.digits++;
        tell_digit(p, s, PLANE_DIGIT_BEGUN, begun.event, 0, 0, now_ns);
    }
}

static void find_tones(struct plane *p, struct plane_stream *s, const int16_t *pcm, uint32_t samples, int64_t now_ns) {
    struct dtmf_found found[8];
    uint32_t count = dtmf_reader_take(&s->side->tones, pcm, samples, found, 8);
    for (uint32_t i = 0; i < count; i++) {
        int event = telephone_event_of_digit(found[i].digit);
        if (event < 0 || s->events.events) continue; /* who sends telephone-event is believed there, not twice */
        s->counts.digits += !found[i].ended;
        tell_digit(p, s, found[i].ended ? PLANE_DIGIT_ENDED : PLANE_DIGIT_BEGUN, (uint32_t)event, found[i].duration_ms, 1, now_ns);
    }
}

/* ---- samples ---- */

/* Samples of the timeline, in order, to all who want them. `heard`: they are speech or its stand-in, not the silence that fills a pause (of
   which a mix has enough of its own). */
static void give_samples(struct plane *p, struct plane_stream *s, const int16_t *pcm, uint32_t samples, int heard, int64_t now_ns) {
    if (s->track.kind == WRITER_PCM) record_pcm(p, s, pcm, samples, now_ns);
    if (s->listen_samples) hand_to_python(p, s, pcm, samples, now_ns);
    if (heard && s->mix != PLANE_NONE) fifo_put(p, s, pcm, samples);
    if (s->inband_dtmf) find_tones(p, s, pcm, samples, now_ns);
}

/* Whether anybody wants samples: a file of untouched payload does not. */
static int wants_pcm(const struct plane_stream *s) { return s->track.kind == WRITER_PCM || s->listen_samples || s->mix != PLANE_NONE || s->inband_dtmf; }

static void fill_silence(struct plane *p, struct plane_stream *s, uint32_t samples, int64_t now_ns) {
    s->counts.silent_samples += samples;
    if (s->track.kind == WRITER_PAYLOAD) track_write(p, s, NULL, samples, 1, law_silence(&s->track), now_ns);
    else if (s->track.kind == WRITER_OPUS) s->track.position += (int64_t)((uint64_t)samples * 48000 / s->rate_hz);
    if (!wants_pcm(s)) return;
    while (samples) {
        uint32_t now = samples < PIECE ? samples : PIECE;
        if (s->in_noise && s->noise.known) {
            comfort_noise_make(&s->noise, p->scratch, now);
            s->counts.noise_samples += now;
        } else {
            memset(p->scratch, 0, now * sizeof *p->scratch);
        }
        give_samples(p, s, p->scratch, now, s->in_noise, now_ns);
        samples -= now;
    }
}

void plane_forget_heard(struct plane_stream *s) { plc_start(&s->plc, s->rate_hz, plc_room(s->rate_hz) <= PLC_NARROW ? s->narrow : s->side->history); }

static void fill_lost(struct plane *p, struct plane_stream *s, const struct plane_format *f, const struct rtp_packet *next, uint32_t samples, int64_t now_ns) {
    s->counts.concealed_samples += samples;
    if (s->track.kind == WRITER_PAYLOAD) track_write(p, s, NULL, samples, 1, law_silence(&s->track), now_ns);
    else if (s->track.kind == WRITER_OPUS) s->track.position += (int64_t)((uint64_t)samples * 48000 / s->rate_hz);
    if (!wants_pcm(s)) return;
    const struct codec *codec = codecs[f->codec];
    while (samples) {
        uint32_t now = samples < PIECE ? samples : PIECE;
        int made = codec->conceal ? codec->conceal(f->decoder, next->payload, next->payload_length, p->scratch, now) : STATUS_UNSUPPORTED;
        if (made <= 0 || (uint32_t)made > now) {
            plc_lost(&s->plc, p->scratch, now);
            made = (int)now;
        }
        give_samples(p, s, p->scratch, (uint32_t)made, 1, now_ns);
        samples -= (uint32_t)made;
    }
}

static void mix_down(int16_t *pcm, uint32_t samples) {
    for (uint32_t i = 0; i < samples; i++) pcm[i] = (int16_t)((pcm[2 * i] + pcm[2 * i + 1]) / 2);
}

/* What was heard, for the next hole. The joint behind one smooths what people hear in a mix; a recording has what came, to the sample. */
static void remember(struct plane_stream *s, int16_t *pcm, uint32_t samples) {
    int16_t came[JOINT_SAMPLES_MAX];
    uint32_t joint = s->plc.lost_samples && s->mix == PLANE_NONE ? (samples < JOINT_SAMPLES_MAX ? samples : JOINT_SAMPLES_MAX) : 0;
    memcpy(came, pcm, joint * sizeof *pcm);
    plc_good(&s->plc, pcm, samples);
    memcpy(pcm, came, joint * sizeof *pcm);
}

/* Exactly `samples` at the stream's rate, whatever the decoder makes of it: it must not move the timeline. */
static const int16_t *decode(struct plane *p, struct plane_stream *s, const struct plane_format *f, const struct rtp_packet *packet, int own, int samples) {
    const struct codec *codec = codecs[f->codec];
    int made = codec->decode(f->decoder, packet->payload, packet->payload_length, p->scratch, CODEC_FRAME_SAMPLES_MAX);
    if (made <= 0) { /* counted, and its place is silent */
        s->counts.bad_payload++;
        memset(p->scratch, 0, (size_t)own * f->channels * sizeof *p->scratch);
        made = own;
    }
    if (f->channels == 2) mix_down(p->scratch, (uint32_t)made);
    int16_t *pcm = p->scratch;
    if (f->sample_rate_hz != s->rate_hz) { /* another format than the first, with another rate */
        if (s->foreign_rate_hz != f->sample_rate_hz) resample_start(&s->side->foreign, f->sample_rate_hz, s->rate_hz), s->foreign_rate_hz = f->sample_rate_hz;
        made = resample_run(&s->side->foreign, p->scratch, (uint32_t)made, p->converted, (uint32_t)(sizeof p->converted / sizeof *p->converted));
        if (made < 0) made = 0;
        pcm = p->converted;
    }
    if (made < samples) memset(pcm + made, 0, (size_t)(samples - made) * sizeof *pcm);
    if (!codec->conceal) remember(s, pcm, (uint32_t)samples);
    return pcm;
}

static void take_audio(struct plane *p, struct plane_stream *s, const struct plane_format *f, const struct rtp_packet *packet, int64_t arrival_ns, int64_t now_ns) {
    const struct codec *codec = codecs[f->codec];
    int own = codec->samples(packet->payload, packet->payload_length, f->sample_rate_hz, f->channels);
    if (own <= 0 || own > CODEC_FRAME_SAMPLES_MAX) {
        s->counts.bad_payload++;
        return;
    }
    int samples = f->sample_rate_hz == s->rate_hz ? own : (int)((uint64_t)own * s->rate_hz / f->sample_rate_hz);
    if (f->clock_rate_hz != s->timeline.clock_rate_hz) timeline_clock(&s->timeline, f->clock_rate_hz);
    struct timeline_step step;
    timeline_place(&s->timeline, packet->ssrc, packet->timestamp, (uint32_t)samples, s->lost_before, arrival_ns, &step);
    s->lost_before = 0;
    int shut = s->track.paused || arrival_ns < s->track.resumed_ns, opens = s->track.shut && !shut;
    if (step.conceal) fill_lost(p, s, f, packet, step.conceal, now_ns);
    if (step.silence) fill_silence(p, s, step.silence, now_ns);
    s->in_noise = 0;
    s->track.shut = (uint8_t)shut; /* only now: what stands in for a loss behind a pause would be made of it */
    if (opens) plane_forget_heard(s);
    if (step.drop || step.skip >= (uint32_t)samples) return;
    s->counts.delivered++;
    if (s->track.kind == WRITER_PAYLOAD) {
        if (codec->is_lossless_by_sample && own == samples && own == packet->payload_length)
            track_write(p, s, s->track.shut ? NULL : packet->payload + step.skip, (uint32_t)samples - step.skip, 1, law_silence(&s->track), now_ns);
        else s->track.position += samples - (int)step.skip;
    } else if (s->track.kind == WRITER_OPUS) {
        record_packet(p, s, packet->payload, packet->payload_length, (uint32_t)samples, now_ns);
    }
    if (!wants_pcm(s)) return;
    const int16_t *pcm = decode(p, s, f, packet, own, samples);
    give_samples(p, s, pcm + step.skip, (uint32_t)samples - step.skip, 1, now_ns);
}

void plane_deliver(struct plane *p, struct plane_stream *s, const struct rtp_packet *packet, int64_t arrival_ns, int64_t now_ns) {
    const struct plane_format *f = &s->last_format;
    if (packet->payload_type != f->payload_type) { /* held while another came, or negotiated away meanwhile */
        uint8_t index = s->payload_index[packet->payload_type];
        if (index >= s->format_count) return;
        f = &s->formats[index];
    }
    if (f->kind == PLANE_AUDIO) {
        take_audio(p, s, f, packet, arrival_ns, now_ns);
    } else if (f->kind == PLANE_EVENT) {
        take_event(p, s, packet, now_ns);
    } else if (f->kind == PLANE_NOISE) {
        if (comfort_noise_take(&s->noise, packet->payload, packet->payload_length) < 0) s->counts.bad_payload++;
        else s->in_noise = 1;
    }
}

void plane_expire_digit(struct plane *p, struct plane_stream *s, int64_t until_ns, int64_t now_ns) {
    struct telephone_event ended;
    if (s->events.running && telephone_event_expire(&s->events, until_ns, &ended) == TELEPHONE_EVENT_ENDED)
        tell_digit(p, s, PLANE_DIGIT_ENDED, ended.event, ended.duration_ms, 0, now_ns);
}

/* A block that is not full goes to the writer soon, so that little is lost with the process. Where the disk stands still, blocks go full: they last longer. */
static void flush_old(struct plane *p, struct plane_track *t, int64_t now_ns) {
    if (!t->block || now_ns - t->block_since_ns <= FLUSH_NS) return;
    if (writer_is_short(p->writer) && now_ns - t->block_since_ns <= FLUSH_SHORT_NS) return;
    plane_flush_block(p, t);
}

void plane_idle(struct plane *p, struct plane_stream *s, int64_t now_ns) {
    plane_expire_digit(p, s, now_ns, now_ns);
    if (s->idle_slack_ms && !s->jitter.held && (s->track.kind || s->listen_samples)) {
        uint32_t silence = timeline_idle(&s->timeline, now_ns, s->idle_slack_ms);
        if (silence) fill_silence(p, s, silence, now_ns);
    }
    flush_old(p, &s->track, now_ns);
    flush_old(p, &s->capture, now_ns);
    int64_t last_ns = s->counts.last_ns ? s->counts.last_ns : s->opened_ns;
    if (s->session.last_heard_ns > last_ns) last_ns = s->session.last_heard_ns; /* RTCP is a sign of life */
    uint32_t limit_ms = s->counts.last_ns ? s->timeout_ms : s->timeout_first_ms;
    if (limit_ms && s->receives && !s->told_timeout && now_ns - last_ns > (int64_t)limit_ms * 1000000) {
        s->told_timeout = 1;
        plane_event_of(p, PLANE_TIMED_OUT, s, s->counts.last_ns == 0, 0, now_ns);
    }
}
