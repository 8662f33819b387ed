/* WAV: RIFF, and RF64 past 4 GiB (EBU Tech 3306, ITU-R BS.2088). A chunk "JUNK" in front keeps room for "ds64", so that the change is made in place.
   Samples of one round are laid side by side in memory and written as one piece; what a merged file has there already is read back first, so a track that
   lags lands beside the others. */
#include "writer_private.h"

#include <errno.h>
#include <string.h>

/* ---- header ---- */

static uint8_t *put16(uint8_t *p, uint32_t value) {
    p[0] = (uint8_t)value, p[1] = (uint8_t)(value >> 8);
    return p + 2;
}

static uint8_t *put32(uint8_t *p, uint32_t value) { return put16(put16(p, value), value >> 16); }

static uint8_t *put64(uint8_t *p, uint64_t value) { return put32(put32(p, (uint32_t)value), (uint32_t)(value >> 32)); }

static uint8_t *put_id(uint8_t *p, const char *id) {
    memcpy(p, id, 4);
    return p + 4;
}

static uint8_t *put_format(uint8_t *p, uint32_t tag, uint32_t channels, uint32_t rate_hz, uint32_t width) {
    static const uint8_t subformat_tail[14] = {0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71};
    const uint32_t is_extensible = channels > 2, extra = is_extensible ? 24 : tag == 1 ? 0 : 2;
    p = put32(put_id(p, "fmt "), 16 + extra);
    p = put32(put16(put16(p, is_extensible ? 0xfffe : tag), channels), rate_hz);
    p = put16(put16(put32(p, rate_hz * channels * width), channels * width), 8 * width);
    if (extra) p = put16(p, extra - 2);
    if (is_extensible) { /* mask 0: the channels have no places in a room */
        p = put16(put32(put16(p, 8 * width), 0), tag);
        memcpy(p, subformat_tail, sizeof subformat_tail);
        p += sizeof subformat_tail;
    }
    return p;
}

uint32_t writer_wav_header(uint8_t *target, uint8_t format, uint32_t channels, uint32_t rate_hz, int64_t frames) {
    static const uint8_t tags[] = {[WRITER_WAV_PCM16] = 1, [WRITER_WAV_ULAW] = 7, [WRITER_WAV_ALAW] = 6};
    const uint32_t width = format == WRITER_WAV_PCM16 ? 2 : 1, has_fact = format != WRITER_WAV_PCM16;
    const uint32_t format_bytes = channels > 2 ? 40 : has_fact ? 18 : 16;
    const uint32_t header = 12 + 36 + 8 + format_bytes + (has_fact ? 12 : 0) + 8;
    const uint64_t data = (uint64_t)frames * channels * width, riff = header - 8 + data + (data & 1);
    const int is_large = riff > UINT32_MAX;
    uint8_t *p = put_id(put32(put_id(target, is_large ? "RF64" : "RIFF"), is_large ? UINT32_MAX : (uint32_t)riff), "WAVE");
    p = put32(put_id(p, is_large ? "ds64" : "JUNK"), 28);
    p = put32(put64(put64(put64(p, is_large ? riff : 0), is_large ? data : 0), is_large ? (uint64_t)frames : 0), 0);
    p = put_format(p, tags[format], channels, rate_hz, width);
    if (has_fact) p = put32(put32(put_id(p, "fact"), 4), (uint64_t)frames > UINT32_MAX ? UINT32_MAX : (uint32_t)frames);
    put32(put_id(p, "data"), is_large ? UINT32_MAX : (uint32_t)data);
    return header;
}

static int header_write(struct writer *w, struct writer_slot *s, struct writer_output *out) {
    uint8_t header[WRITER_WAV_HEADER_MAX];
    const int64_t odd = out->end * out->align & 1; /* a chunk of odd length has a byte behind it, which is there at the end only */
    const int64_t frames = out->end - (s->ended ? 0 : odd);
    const int error = writer_put(w, out, header, writer_wav_header(header, out->format, out->channels, s->rate_hz, frames), 0);
    if (!error) out->told = frames;
    return error;
}

static int64_t offset_of(const struct writer_output *out, int64_t frame) { return out->header_bytes + frame * out->align; }

int writer_wav_start(struct writer *w, struct writer_slot *s, struct writer_output *out) {
    uint8_t header[WRITER_WAV_HEADER_MAX];
    out->align = (uint8_t)(out->channels * (out->format == WRITER_WAV_PCM16 ? 2 : 1));
    out->silence = out->format == WRITER_WAV_ULAW ? 0xff : out->format == WRITER_WAV_ALAW ? 0xd5 : 0;
    out->header_bytes = writer_wav_header(header, out->format, out->channels, s->rate_hz, 0);
    out->file_end = out->header_bytes;
    out->told = -1;
    return header_write(w, s, out);
}

/* ---- silence that has to be written ---- */

/* A part of it; 0 or an errno. */
static int hole_pay(struct writer *w, struct writer_output *out) {
    const int64_t piece_max = WRITER_SCRATCH_BYTES / out->align;
    if (out->hole_from < out->hole_to) memset(w->silence, out->silence, WRITER_SCRATCH_BYTES);
    for (int64_t bytes = WRITER_HOLE_BYTES; out->hole_from < out->hole_to && bytes > 0;) {
        const int64_t left = out->hole_to - out->hole_from, frames = left < piece_max ? left : piece_max;
        const int error = writer_put(w, out, w->silence, (size_t)(frames * out->align), offset_of(out, out->hole_from));
        if (error) return error;
        out->hole_from += frames, bytes -= frames * out->align;
    }
    if (out->hole_from == out->hole_to) out->hole_from = out->hole_to = 0;
    return 0;
}

int writer_wav_fill(struct writer *w, struct writer_slot *s, struct writer_output *out) {
    if (out->hole_from == out->hole_to) return 1;
    if (writer_waits(w, out)) return 0;
    const int error = hole_pay(w, out);
    if (error) writer_refuse(w, s, out, error);
    else writer_accept(w, s, out);
    return out->hole_from == out->hole_to;
}

/* ---- samples ---- */

struct region { int64_t first; uint32_t frames, room; }; /* frames that lie in scratch */

/* Silence that is not zero bytes has to be written between the file's end and here: now, or, where it is much, a piece a round. EAGAIN: much is to be
   written already; two such places at once are not kept. */
static int hole_begin(struct writer *w, struct writer_output *out, int64_t until) {
    if (!out->silence || until <= out->end) return 0;
    int error = hole_pay(w, out);
    if (error || out->hole_from < out->hole_to) return error ? error : EAGAIN;
    out->hole_from = out->end, out->hole_to = until;
    error = hole_pay(w, out);
    if (error) out->hole_from = out->hole_to = 0;
    return error;
}

static void region_write(struct writer *w, struct writer_slot *s, struct writer_output *out, struct region *r) {
    if (!r->frames) return;
    int error = writer_waits(w, out) ? EAGAIN : hole_begin(w, out, r->first);
    if (!error) error = writer_put(w, out, w->scratch, (size_t)r->frames * out->align, offset_of(out, r->first));
    if (error) {
        if (error != EAGAIN) writer_refuse(w, s, out, error);
        out->lost += r->frames;
    } else {
        if (r->first + r->frames > out->end) out->end = r->first + r->frames;
        out->touched = 1;
    }
    r->frames = 0;
}

/* Frames up to `until`: what the file has, else silence. */
static void region_extend(struct writer *w, struct writer_output *out, struct region *r, uint32_t until) {
    const int64_t from = r->first + r->frames;
    uint8_t *target = w->scratch + (size_t)r->frames * out->align;
    const size_t wanted = (size_t)(until - r->frames) * out->align;
    size_t have = 0;
    if (out->channels > 1 && from < out->end) {
        const size_t there = (size_t)(out->end - from) * out->align, most = there < wanted ? there : wanted;
        const ptrdiff_t got = w->disk.read(w->disk.context, out->fd, target, most, offset_of(out, from));
        if (got > 0) have = (size_t)got - (size_t)got % out->align;
    }
    memset(target + have, out->silence, wanted - have);
    r->frames = until;
}

static void samples_lay(struct writer *w, const struct writer_output *out, uint32_t at, uint32_t channel, const uint8_t *source, uint32_t count) {
    const uint32_t align = out->align;
    if (out->format == WRITER_WAV_PCM16) {
        uint8_t *target = w->scratch + (size_t)at * align + 2 * channel;
        if (align == 2) memcpy(target, source, 2 * (size_t)count);
        else for (uint32_t i = 0; i < count; i++) memcpy(target + (size_t)i * align, source + 2 * (size_t)i, 2);
        return;
    }
    uint8_t *target = w->scratch + (size_t)at * align + channel;
    if (align == 1) memcpy(target, source, count);
    else for (uint32_t i = 0; i < count; i++) target[(size_t)i * align] = source[i];
}

static void block_lay(struct writer *w, struct writer_slot *s, struct writer_output *out, struct region *r, const struct writer_block *b, uint32_t channel) {
    const uint32_t width = b->kind == WRITER_PCM ? 2 : 1;
    const uint8_t *source = b->bytes + (b->used - b->samples * width);
    int64_t position = b->position, floor = out->end - (int64_t)WRITER_MERGED_WINDOW_S * s->rate_hz;
    uint32_t samples = b->samples;
    if (floor < out->hole_to) floor = out->hole_to;
    if (position < floor) {
        const uint32_t cut = floor - position < samples ? (uint32_t)(floor - position) : samples;
        out->late += cut;
        position += cut, samples -= cut, source += (size_t)cut * width;
    }
    while (samples) {
        if (r->frames && (position < r->first || position > r->first + r->frames || position - r->first >= r->room)) region_write(w, s, out, r);
        if (!r->frames) r->first = position;
        const uint32_t at = (uint32_t)(position - r->first), room = r->room - at, count = samples < room ? samples : room;
        if (at + count > r->frames) region_extend(w, out, r, at + count);
        samples_lay(w, out, at, channel, source, count);
        position += count, samples -= count, source += (size_t)count * width;
    }
}

static int64_t samples_given(const struct writer *w, const struct writer_slot *s, const struct writer_output *out) {
    int64_t samples = 0;
    for (uint32_t i = s->first_block; i != WRITER_NONE; i = w->next[i]) {
        const struct writer_block *b = &w->block[i];
        if (b->kind == out->kind && out->channel_of[b->track] != 0xff) samples += b->samples;
    }
    return samples / out->channels;
}

void writer_wav_take(struct writer *w, struct writer_slot *s, struct writer_output *out) {
    struct region r = {0, 0, WRITER_SCRATCH_BYTES / out->align};
    if (s->first_block == WRITER_NONE) return;
    if (out->told < 0 && !writer_waits(w, out)) { /* never samples without a header */
        const int error = header_write(w, s, out);
        if (error) writer_refuse(w, s, out, error);
    }
    if (writer_waits(w, out)) {
        out->lost += samples_given(w, s, out);
        return;
    }
    for (uint32_t i = s->first_block; i != WRITER_NONE; i = w->next[i]) {
        const struct writer_block *b = &w->block[i];
        if (b->kind == out->kind && out->channel_of[b->track] != 0xff) block_lay(w, s, out, &r, b, out->channel_of[b->track]);
    }
    region_write(w, s, out, &r);
    if (!out->touched || writer_waits(w, out)) return;
    const int error = header_write(w, s, out);
    if (error) {
        writer_refuse(w, s, out, error);
        return;
    }
    out->touched = 0;
    out->file_end = offset_of(out, out->end);
    writer_accept(w, s, out);
}

/* ---- the end ---- */

static int pad(struct writer *w, struct writer_slot *s, struct writer_output *out) {
    int error = hole_begin(w, out, s->end);
    if (!error && !out->silence) error = w->disk.truncate(w->disk.context, out->fd, offset_of(out, s->end)) ? errno : 0;
    if (!error) out->end = s->end;
    return error;
}

int writer_wav_close(struct writer *w, struct writer_slot *s, struct writer_output *out) {
    static const uint8_t zero;
    int error = hole_pay(w, out);
    if (!error && out->hole_from < out->hole_to) return 0;
    if (!error && out->end < s->end) error = pad(w, s, out);
    if (!error && out->hole_from < out->hole_to) return 0;
    out->file_end = offset_of(out, out->end);
    if (!error && out->file_end % 2) error = writer_put(w, out, &zero, 1, out->file_end);
    if (!error) error = header_write(w, s, out);
    if (error) {
        out->end = out->told < 0 ? 0 : out->told;
        out->file_end = out->told < 0 ? 0 : offset_of(out, out->told);
        writer_refuse(w, s, out, error);
        return 1;
    }
    out->file_end += out->file_end % 2;
    writer_accept(w, s, out);
    return 1;
}
