/* Codecs: what descriptions offer, what was agreed, what is sent (rule page 3.3). */
#include <string.h>

#include "trace.h"

#define BIT(codec) (1ull << SDP_CODEC_##codec)
#define NOT_SPEECH (BIT(TELEPHONE_EVENT) | BIT(CN) | BIT(RED) | BIT(RTX) | BIT(ULPFEC) | 1ull)
#define VIDEO_CODECS (BIT(H264) | BIT(H265) | BIT(VP8) | BIT(VP9) | BIT(AV1) | BIT(H263) | BIT(H261))
#define WIDEBAND (BIT(G722) | BIT(OPUS) | BIT(AMR_WB) | BIT(EVS) | BIT(SILK) | BIT(G7221))
#define DEPRECATED (BIT(G723) | BIT(G726_16) | BIT(G726_24) | BIT(GSM_HR) | BIT(LPC) | BIT(DVI4) | BIT(SPEEX) | BIT(ILBC))
#define LOSSY (BIT(G729) | BIT(G723) | BIT(GSM) | BIT(ILBC) | BIT(OPUS) | BIT(AMR) | BIT(AMR_WB) | BIT(EVS) | BIT(SPEEX) | BIT(G726_16) | \
               BIT(G726_24) | BIT(G726_32) | BIT(G726_40) | BIT(AAL2_G726_32) | BIT(G721) | BIT(G728) | BIT(GSM_EFR) | BIT(GSM_HR) | BIT(SILK))

/* ---- parameters of one fmtp ---- */

/* Value of name=value in an fmtp, -1 when absent; non-numbers give -2. */
static int64_t parameter(const uint8_t *base, struct sip_span fmtp, const char *name) {
    struct sip_span value;
    int64_t number;
    if (!fmtp.length || !sip_param_find(base, fmtp, ';', name, &value)) {
        /* the first parameter has no ';' before it */
        const uint32_t length = (uint32_t)strlen(name);
        if (fmtp.length <= length || base[fmtp.offset + length] != '=') return -1;
        for (uint32_t i = 0; i < length; i++)
            if ((base[fmtp.offset + i] | 32) != (uint8_t)name[i]) return -1;
        value = (struct sip_span){fmtp.offset + length + 1, fmtp.length - length - 1};
    }
    return sip_number(base, value, &number) ? number : -2;
}

static int says_no(const uint8_t *base, struct sip_span fmtp) {
    for (uint32_t i = 0; i + 2 <= fmtp.length; i++)
        if ((base[fmtp.offset + i] | 32) == 'n' && (base[fmtp.offset + i + 1] | 32) == 'o' && i && base[fmtp.offset + i - 1] == '=') return 1;
    return 0;
}

static int out_of(int64_t value, int64_t low, int64_t high) { return value != -1 && (value < low || value > high); }

/* RFC 7587 §6.1: `code` is which parameter. */
static void opus_parameters(struct trace *t, const struct message_view *v, uint32_t line, const struct sdp_format *f) {
    static const char *const flags[] = {"stereo", "cbr", "useinbandfec", "usedtx", "sprop-stereo"};
    if (f->flags & SDP_FORMAT_RTPMAP && (f->channels != 2 || f->clock_rate_hz != 48000))
        sight_once(t, C_OPUS_FMTP, v->call, v->row, line, 1, f->channels);
    if (out_of(parameter(v->text, f->fmtp, "maxaveragebitrate"), 6000, 510000)) sight_once(t, C_OPUS_FMTP, v->call, v->row, line, 2, parameter(v->text, f->fmtp, "maxaveragebitrate"));
    if (out_of(parameter(v->text, f->fmtp, "maxplaybackrate"), 8000, 48000)) sight_once(t, C_OPUS_FMTP, v->call, v->row, line, 3, parameter(v->text, f->fmtp, "maxplaybackrate"));
    if (out_of(parameter(v->text, f->fmtp, "sprop-maxcapturerate"), 8000, 48000)) sight_once(t, C_OPUS_FMTP, v->call, v->row, line, 4, parameter(v->text, f->fmtp, "sprop-maxcapturerate"));
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (out_of(parameter(v->text, f->fmtp, flags[i]), 0, 1)) sight_once(t, C_OPUS_FMTP, v->call, v->row, line, 5 + (int)i, parameter(v->text, f->fmtp, flags[i]));
}

static void formats(struct trace *t, const struct message_view *v, uint32_t line, const struct sdp_media *s) {
    for (int i = 0; i < s->format_count; i++) {
        const struct sdp_format *f = &s->formats[i];
        if (f->flags & SDP_FORMAT_CLOCK_BAD) sight_once(t, C_RTPMAP_CLOCK_WRONG, v->call, v->row, line, f->codec, f->clock_rate_hz);
        if (f->codec == SDP_CODEC_OPUS) opus_parameters(t, v, line, f);
        if (f->codec == SDP_CODEC_TELEPHONE_EVENT) {
            const uint8_t *p = v->text + f->fmtp.offset;
            const int sixteen = f->fmtp.length >= 4 && !memcmp(p, "0-1", 3) && (p[3] == '6' || p[3] > '6');
            if (!sixteen) sight_once(t, C_TELEPHONE_EVENT_EVENTS, v->call, v->row, line, f->fmtp.length != 0, f->payload_type);
        }
        if (s->traits & SDP_RTCP_MUX && f->payload_type >= 72 && f->payload_type <= 76)
            sight_once(t, C_PT_OUT_OF_RANGE, v->call, v->row, line, 2, f->payload_type);
    }
    if (s->flags & SDP_PT_RANGE) sight_once(t, C_PT_OUT_OF_RANGE, v->call, v->row, line, 1, 0);
    if (s->flags & SDP_STATIC_REDEFINED) sight_once(t, C_PT_STATIC_CONFLICT, v->call, v->row, line, 0, 0);
    if (s->flags & SDP_PT_UNMAPPED) sight_once(t, C_PT_MISSING_RTPMAP, v->call, v->row, line, 0, 0);
    if (s->flags & SDP_PT_REPEATED) sight_once(t, C_PT_DYNAMIC_CONFLICT, v->call, v->row, line, 1, 0);
}

/* Kilobits a second that a codec needs with IPv4, UDP and RTP headers at 20 ms. */
static uint32_t needed_kbps(uint8_t codec) {
    switch (codec) {
    case SDP_CODEC_PCMU: case SDP_CODEC_PCMA: case SDP_CODEC_G722: return 80;
    case SDP_CODEC_G729: return 24;
    case SDP_CODEC_G723: return 17;
    case SDP_CODEC_GSM: return 29;
    case SDP_CODEC_ILBC: return 28;
    case SDP_CODEC_G726_32: case SDP_CODEC_G721: return 48;
    default: return 0;
    }
}

void codec_message(struct trace *t, const struct message_view *v) {
    if (TL_LIKELY(!v->session)) return;
    uint32_t total = 0;
    for (uint32_t i = 0; i < v->session->media_count; i++) {
        const struct sdp_media *s = &v->media[i];
        const uint32_t line = t->messages.media_line[v->row] + i;
        total += s->format_total;
        formats(t, v, line, s);
        const uint32_t need = needed_kbps(t->media_lines.codec[line]);
        if (s->bandwidth_kbps && need && s->bandwidth_kbps < need - 16) /* TIAS counts no headers */
            sight_once(t, C_CODEC_BANDWIDTH, v->call, v->row, line, (int)need, s->bandwidth_kbps);
    }
    if (total > 30 || v->message->body_length > 3000) sight_once(t, C_SDP_SIZE, v->call, v->row, NONE, (int)(total > 65535 ? 65535 : total), v->message->body_length);
}

/* ---- offer and answer ---- */

struct described { const uint8_t *text; struct sdp_session session; struct sdp_media media; };

static int describe(const struct trace *t, uint32_t line, struct described *d) {
    uint32_t length;
    d->text = trace_text(t, t->media_lines.message[line], &length);
    const struct sip_span section = {t->media_lines.section_offset[line], t->media_lines.section_length[line]};
    return section.length && (uint64_t)section.offset + section.length <= length && sdp_scan(d->text, section, &d->session, &d->media, 1) == 1;
}

static const struct sdp_format *format_with(const struct sdp_media *s, uint8_t codec) {
    for (int i = 0; i < s->format_count; i++)
        if (s->formats[i].codec == codec) return &s->formats[i];
    return NULL;
}

/* Modes that both sides must have alike. Looked at only when such a codec was agreed. */
static void compare_modes(struct trace *t, uint32_t call, uint32_t offer, uint32_t answer, uint8_t codec) {
    static const char *const amr[] = {"octet-align", "crc", "interleaving", "mode-change-period", "robust-sorting"};
    struct described a, b;
    if (!describe(t, offer, &a) || !describe(t, answer, &b)) return;
    const struct sdp_format *x = format_with(&a.media, codec), *y = format_with(&b.media, codec);
    if (!x || !y) return;
    const uint32_t row = t->media_lines.message[answer], other = t->media_lines.message[offer];
    if (codec == SDP_CODEC_AMR || codec == SDP_CODEC_AMR_WB) {
        for (size_t i = 0; i < sizeof amr / sizeof *amr; i++) {
            int64_t p = parameter(a.text, x->fmtp, amr[i]), q = parameter(b.text, y->fmtp, amr[i]);
            if ((p < 0 ? 0 : p) != (q < 0 ? 0 : q)) { sight_once(t, C_AMR_FMTP_MISMATCH, call, row, other, (int)i, q); return; }
        }
    } else if (codec == SDP_CODEC_G729) {
        if (says_no(a.text, x->fmtp) != says_no(b.text, y->fmtp)) sight_once(t, C_G729_ANNEXB, call, row, other, 0, 0);
    } else if (codec == SDP_CODEC_G723) {
        if (says_no(a.text, x->fmtp) != says_no(b.text, y->fmtp)) sight_once(t, C_G7231_ANNEXA, call, row, other, 0, 0);
    } else if (codec == SDP_CODEC_ILBC) {
        const int64_t p = parameter(a.text, x->fmtp, "mode"), q = parameter(b.text, y->fmtp, "mode");
        const int64_t offered = p < 0 ? 30 : p, answered = q < 0 ? 30 : q;
        if (answered < offered) sight_once(t, C_ILBC_MODE, call, row, other, (int)offered, answered);
    }
}

static void judge_pair(struct trace *t, uint32_t call, uint32_t offer, uint32_t answer) {
    const struct media_lines_table *l = &t->media_lines;
    const uint64_t offered = l->codecs[offer], answered = l->codecs[answer] & ~NOT_SPEECH;
    const uint32_t row = l->message[answer], other = l->message[offer];
    const uint8_t codec = l->codec[answer];
    if (!l->port[answer]) {
        if (l->media[answer] == SDP_AUDIO && l->port[offer] && t->calls.answer_row[call] != NONE) sight_once(t, C_MEDIA_REJECTED, call, row, other, 0, 0);
        if (l->media[answer] == SDP_VIDEO && l->port[offer]) sight_once(t, C_VIDEO_REJECT, call, row, other, 0, 0);
        return;
    }
    if (l->media[answer] != SDP_AUDIO || !codec) return;
    const uint64_t bit = 1ull << codec;
    if (__builtin_popcountll(answered & ~VIDEO_CODECS) > 1) sight_once(t, C_CODEC_MULTIPLE_IN_ANSWER, call, row, other, codec, (int64_t)answered);
    if (l->codec[offer] != codec && offered & bit) sight_once(t, C_CODEC_ORDER_IGNORED, call, row, other, codec, l->codec[offer]);
    if (bit & DEPRECATED) sight_once(t, C_CODEC_DEPRECATED, call, row, other, codec, 0);
    if (!(bit & WIDEBAND) && offered & answered & WIDEBAND) sight_once(t, C_CODEC_WIDEBAND_LOST, call, row, other, codec, (int64_t)(offered & answered & WIDEBAND));
    if (bit & (BIT(AMR) | BIT(AMR_WB) | BIT(G729) | BIT(G723) | BIT(ILBC))) compare_modes(t, call, offer, answer, codec);
    const uint64_t adpcm = BIT(G726_32) | BIT(AAL2_G726_32) | BIT(G721);
    if (bit & adpcm && (offered | answered) & adpcm & ~bit) sight_once(t, C_G726_PACKING, call, row, other, codec, 0);
}

/* One dynamic payload type, two codecs within the dialog (RFC 3264 §8.3.2), judged a sender at a time. */
static void remapped_types(struct trace *t, uint32_t call, uint32_t before, uint32_t line) {
    const struct media_lines_table *l = &t->media_lines;
    if (l->formats_hash[before] == l->formats_hash[line] || !(l->payload_types_high[before] & l->payload_types_high[line])) return;
    struct described a, b;
    if (!describe(t, before, &a) || !describe(t, line, &b)) return;
    for (int i = 0; i < a.media.format_count; i++) {
        const struct sdp_format *f = &a.media.formats[i];
        if (f->payload_type < 96) continue;
        for (int k = 0; k < b.media.format_count; k++)
            if (b.media.formats[k].payload_type == f->payload_type && b.media.formats[k].codec != f->codec) {
                sight_once(t, C_PT_DYNAMIC_CONFLICT, call, l->message[line], l->message[before], 2, f->payload_type);
                return;
            }
    }
}

/* Agreed pairs in order: the codec's changes, and every pair on its own. */
static void walk_pairs(struct trace *t, const struct call_view *c) {
    const struct media_lines_table *l = &t->media_lines;
    const struct messages_table *m = &t->messages;
    uint8_t codec = 0;
    uint32_t changes = 0, changed_row = NONE, changed_from = NONE;
    struct { uint32_t endpoint, line; } last[4];
    uint32_t senders = 0;
    for (uint32_t i = 0; i < c->count; i++) {
        const uint32_t row = c->rows[i], first = m->media_line[row];
        if (first == NONE || m->retransmission_of[row] != NONE) continue;
        for (uint32_t k = 0; k < m->media_count[row]; k++) {
            const uint32_t line = first + k, offer = l->counterpart[line];
            if (l->role[line] != 2 || offer == NONE) continue;
            judge_pair(t, c->call, offer, line);
            if (l->media[line] != SDP_AUDIO || !l->port[line] || !l->codec[line] || (m->status[row] && m->status[row] < 200)) continue;
            if (codec && l->codec[line] != codec) { changes++; changed_row = row; changed_from = codec; }
            codec = l->codec[line];
        }
        if (l->media[first] != SDP_AUDIO) continue;
        uint32_t k = 0;
        while (k < senders && last[k].endpoint != m->source[row]) k++;
        if (k < senders) { remapped_types(t, c->call, last[k].line, first); last[k].line = first; }
        else if (senders < 4) { last[senders].endpoint = m->source[row]; last[senders++].line = first; }
    }
    if (changes) sight_once(t, C_CODEC_CHANGED_MID_CALL, c->call, changed_row, NONE, (int)(changes > 65535 ? 65535 : changes), (int64_t)changed_from << 8 | codec);
    if (codec) sight_once(t, C_CODEC_LIST, c->call, t->media_lines.message[t->calls.answer_line[c->call] == NONE ? m->media_line[c->rows[0]] : t->calls.answer_line[c->call]], NONE, codec, 0);
}

/* Codecs that a host has ever named, gathered over the trace: for 488 without a common one. */
static uint64_t known_codecs(const struct trace *t, uint32_t host) {
    return t->host_codecs && host != NONE ? t->host_codecs[host] : 0;
}

static void refused_offer(struct trace *t, const struct call_view *c) {
    const struct transactions_table *x = &t->transactions;
    for (uint32_t i = 0; i < c->transaction_count; i++) {
        const uint32_t at = c->first_transaction + i, request = x->first[at];
        const int refused = x->status[at] == 488 || x->status[at] == 606;
        if (!refused || request == NONE || t->messages.media_line[request] == NONE) continue;
        const uint32_t line = t->messages.media_line[request];
        const uint64_t offered = t->media_lines.codecs[line] & ~NOT_SPEECH;
        const uint64_t known = known_codecs(t, host_of(t, t->messages.source[x->final[at]])) & ~NOT_SPEECH;
        if (known && !(known & offered)) sight_once(t, C_NO_COMMON_CODEC, c->call, x->final[at], request, x->status[at], (int64_t)known);
        else sight_once(t, C_CODEC_REJECTED_488, c->call, x->final[at], request, x->status[at], (int64_t)(known & offered));
    }
    const uint32_t offer = t->calls.offer_line[c->call], answer = t->calls.answer_line[c->call];
    if (offer == NONE || answer == NONE || t->media_lines.port[answer] || t->media_lines.media[answer] != SDP_AUDIO || t->calls.answer_row[c->call] == NONE) return;
    const uint64_t known = known_codecs(t, host_of(t, t->messages.source[t->media_lines.message[answer]])) & ~NOT_SPEECH;
    if (known && !(known & t->media_lines.codecs[offer] & ~NOT_SPEECH))
        sight_once(t, C_NO_COMMON_CODEC, c->call, t->media_lines.message[answer], t->media_lines.message[offer], 200, (int64_t)known);
}

/* ---- what is sent ---- */

static int has_type(const struct media_lines_table *l, uint32_t line, uint8_t payload_type) {
    return payload_type < 64 ? (int)(l->payload_types_low[line] >> payload_type & 1) : (int)(l->payload_types_high[line] >> (payload_type & 63) & 1);
}

static void streams(struct trace *t, const struct call_view *c) {
    const struct streams_table *s = &t->streams;
    uint8_t codecs[3] = {0, 0, 0};
    uint32_t looked = 0, rows[3] = {NONE, NONE, NONE};
    for (uint32_t i = 0; i < c->stream_count; i++) {
        const uint32_t row = c->streams[i], line = s->media_line[row];
        const uint8_t type = s->payload_type[row];
        if (s->packets[row] < 10 || type == 255) continue;
        /* one is enough a call: looking through its messages for every stream would not be linear */
        if (line != NONE && t->media_lines.media[line] == SDP_AUDIO && !has_type(&t->media_lines, line, type) && looked++ < 64) {
            /* the description may have changed since: any of the receiver's lines in the call will do */
            int ever = 0;
            for (uint32_t k = 0; k < c->count && !ever; k++) {
                const uint32_t first = t->messages.media_line[c->rows[k]];
                if (first != NONE && t->media_lines.endpoint[first] == s->target_endpoint[row]) ever = has_type(&t->media_lines, first, type);
            }
            if (!ever) sight_once(t, C_CODEC_NOT_NEGOTIATED, c->call, row, line, type, s->packets[row]);
        }
        const uint8_t side = s->from_caller[row];
        if (side && side < 3 && s->codec[row] && (rows[side] == NONE || s->packets[row] > s->packets[rows[side]])) { codecs[side] = s->codec[row]; rows[side] = row; }
    }
    if (codecs[1] && codecs[2] && codecs[1] != codecs[2]) sight_once(t, C_CODEC_ASYMMETRIC, c->call, rows[2], rows[1], codecs[1], codecs[2]);
}

void codec_call(struct trace *t, const struct call_view *c) {
    if (t->calls.kind[c->call] != CALL_INVITE || !c->count) return;
    if (t->calls.answer_line[c->call] != NONE) walk_pairs(t, c);
    refused_offer(t, c);
    if (c->stream_count) streams(t, c);
}

/* ---- legs ---- */

/* Codecs over the legs of one call: different ones need a transcoder, two lossy ones in a row add their impairments. */
void codec_trace(struct trace *t) {
    const struct calls_table *c = &t->calls;
    const uint32_t calls = c->head.count;
    uint64_t *codecs = t->lender->lend(((size_t)calls + 1) * sizeof *codecs);
    if (!codecs) return;
    for (uint32_t call = 0; call < calls; call++)
        if (c->codec[call] && c->answer_row[call] != NONE) codecs[c->group[call]] |= 1ull << c->codec[call];
    for (uint32_t call = 0; call < calls; call++) {
        if (c->group[call] == call || !c->codec[call] || c->answer_row[call] == NONE) continue;
        const uint64_t all = codecs[c->group[call]];
        if (!(all & (all - 1))) continue;
        sight_once(t, C_TRANSCODE_RISK, call, c->answer_row[call], c->group[call], 0, (int64_t)all);
        if (__builtin_popcountll(all & LOSSY) > 1) sight_once(t, C_TRANSCODE_CHAIN, call, c->answer_row[call], c->group[call], 0, (int64_t)(all & LOSSY));
    }
    t->lender->take_back(codecs);
}
