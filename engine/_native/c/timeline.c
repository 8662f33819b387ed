/* Positions of samples by timestamps; what to do where these, the sequence numbers and the clock disagree. */
#include "timeline.h"

#include <string.h>

#define BY_CLOCK 1   /* renew: the clock rate changed, what comes may go on where the stream was */
#define BY_MOMENT 2  /* renew: the moment counts, where the timestamps do not agree with it */
#define NS_PER_S 1000000000
#define RATE_MAX_HZ 1000000
#define CONCEAL_MAX_MS 200
#define LOST_MAX 65536       /* packets; more is told of jumps, not of loss */
#define LAG_MS 40            /* of lagging packets at the pace of the clock: their timestamps stood still */
#define CLOCK_CHANGE_MS 100  /* what may be jitter where the clock rate changes */
#define WINDOW_NS (30 * (int64_t)NS_PER_S)
#define WINDOW_PACKETS 20    /* fewer may all have been late */
#define DRIFT_MAX_MS 40
#define DRIFT_MAX_PPM 1000   /* more is a step, not a clock */

static int64_t lesser(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t greater(int64_t a, int64_t b) { return a > b ? a : b; }

/* floor(value * to / of), without overflow for rates up to 1 MHz. */
static int64_t scale(int64_t value, int64_t to, int64_t of) {
    int64_t whole = value / of, rest = value % of;
    if (rest < 0) whole--, rest += of;
    return whole * to + rest * to / of;
}

static int64_t samples_of_ms(const struct timeline *t, int64_t ms) { return (int64_t)t->sample_rate_hz * ms / 1000; }

/* The sample that belongs to a moment. */
static int64_t wall_at(const struct timeline *t, int64_t moment_ns) {
    return scale((int64_t)((uint64_t)moment_ns - (uint64_t)t->origin_ns), t->sample_rate_hz, NS_PER_S);
}

static uint32_t rate_of(uint32_t rate_hz) { return rate_hz == 0 ? 8000 : rate_hz < RATE_MAX_HZ ? rate_hz : RATE_MAX_HZ; }

void timeline_start(struct timeline *t, int64_t origin_ns, uint32_t clock_rate_hz, uint32_t sample_rate_hz) {
    memset(t, 0, sizeof *t);
    t->origin_ns = origin_ns;
    t->clock_rate_hz = rate_of(clock_rate_hz);
    t->sample_rate_hz = rate_of(sample_rate_hz);
}

void timeline_clock(struct timeline *t, uint32_t clock_rate_hz) {
    const uint32_t rate_hz = rate_of(clock_rate_hz);
    if (rate_hz == t->clock_rate_hz) return;
    t->clock_rate_hz = rate_hz;
    t->renew |= BY_CLOCK;
}

void timeline_quiet(struct timeline *t) { t->quiet = 1; }

/* ---- drift ---- */

/* Moves all that is still to come. */
static void shift(struct timeline *t, int64_t samples) {
    t->anchor_position += samples;
    t->window_lead += samples;
    t->last_lead += samples;
    t->corrected += samples;
    if (samples > 0) t->inserted_samples += samples;
    else t->dropped_samples -= samples;
}

static void end_window(struct timeline *t, int64_t arrival_ns) {
    const int64_t lead = t->window_lead, begin_ns = t->window_begin_ns;
    const double step_s = (double)(begin_ns - t->last_window_ns) / NS_PER_S;
    const double step_ppm = step_s > 0 ? (double)(lead - t->last_lead) / t->sample_rate_hz / step_s * 1e6 : 0;
    if (t->windows == 0 || step_ppm > DRIFT_MAX_PPM || step_ppm < -DRIFT_MAX_PPM) {
        t->slope_lead = lead;
        t->slope_ns = begin_ns;
        t->corrected = 0;
    } else {
        const double seconds = (double)(begin_ns - t->slope_ns) / NS_PER_S;
        if (seconds > 0) t->drift_ppm = (double)(lead - t->corrected - t->slope_lead) / t->sample_rate_hz / seconds * 1e6;
    }
    const int64_t most = samples_of_ms(t, DRIFT_MAX_MS);
    t->correction = lead > most || lead < -most ? -lead : 0;
    t->windows++;
    t->last_lead = lead;
    t->last_window_ns = begin_ns;
    t->window_packets = 0;
    t->window_begin_ns = arrival_ns;
}

/* The earliest packets of a window tell the clocks apart: what came later was delayed. */
static void watch_drift(struct timeline *t, int64_t lead, int64_t arrival_ns) {
    if (t->window_packets >= WINDOW_PACKETS && arrival_ns - t->window_begin_ns >= WINDOW_NS) end_window(t, arrival_ns);
    if (t->window_packets++ == 0) {
        t->window_begin_ns = arrival_ns;
        t->window_lead = lead;
    }
    t->window_lead = greater(t->window_lead, lead);
}

/* What of a correction can be made in front of this packet: as much as is silent there, and half of the packet where that is quiet. */
static int64_t correct(struct timeline *t, int64_t gap, int64_t lead, uint32_t samples, uint32_t lost, int quiet) {
    const int pause = gap > 0 && lost == 0;
    int64_t now = t->correction;
    if (now == 0 || gap < 0 || !(pause || quiet)) return 0;
    if (now > 0) now = greater(0, lesser(now, (int64_t)t->sample_rate_hz - lead));
    else now = greater(now, -((pause ? gap : 0) + (quiet ? (int64_t)samples / 2 : 0)));
    t->correction -= now;
    shift(t, now);
    return now;
}

/* ---- where a packet lies ---- */

static void drop(struct timeline *t, uint32_t samples, struct timeline_step *step) {
    step->drop = 1;
    step->skip = samples;
    t->skipped_samples += samples;
}

static void remember(struct timeline *t, uint32_t timestamp, int64_t timestamp64, uint32_t samples, int64_t arrival_ns) {
    t->last_timestamp = timestamp;
    t->last_end_timestamp = timestamp64 + scale(samples, t->clock_rate_hz, t->sample_rate_hz);
    t->last_ns = arrival_ns;
    t->last_samples = samples;
    t->lag_run = 0;
}

/* Begins anew with this packet, by the clock. A sender that is too fast for it loses the packet. */
static void anchor(struct timeline *t, uint32_t ssrc, uint32_t timestamp, uint32_t samples, int64_t wall, int64_t arrival_ns, struct timeline_step *step) {
    const int goes_on = t->renew == BY_CLOCK && t->ssrc == ssrc && wall - t->position <= samples_of_ms(t, CLOCK_CHANGE_MS);
    const int64_t at = goes_on ? t->position : greater(t->position, wall);
    const int early = at - wall > (int64_t)t->sample_rate_hz;
    step->anchored = 1;
    t->begun = 1;
    t->renew = 0;
    t->anchors++;
    t->ssrc = ssrc;
    t->anchor_timestamp = timestamp;
    t->anchor_position = early ? at - samples : at;
    t->anchor_ns = arrival_ns;
    t->windows = t->window_packets = 0;
    t->correction = t->corrected = 0;
    remember(t, timestamp, timestamp, samples, arrival_ns);
    if (early) {
        drop(t, samples, step);
        return;
    }
    step->silence = (uint32_t)lesser(at - t->position, UINT32_MAX);
    t->silent_samples += step->silence;
    t->position += (int64_t)step->silence + samples;
    watch_drift(t, at - wall, arrival_ns);
}

/* A packet for a time that is over. A burst catches up with the clock, and lies where it says. What keeps the clock's pace does not: its timestamps stood still,
   or began again lower. */
static int stood_still(struct timeline *t, int64_t target, int64_t wall) {
    const int64_t media = target - t->lag_target, elapsed = wall - t->lag_wall;
    const int decided = t->lag_run && media >= samples_of_ms(t, LAG_MS) && media <= (int64_t)t->sample_rate_hz;
    if (decided && elapsed * 2 >= media) return 1;
    if (t->lag_run == 0 || decided || media <= 0 || media > (int64_t)t->sample_rate_hz) {
        t->lag_run = 0;
        t->lag_target = target;
        t->lag_wall = wall;
    }
    t->lag_run++;
    return 0;
}

/* Fills the gap in front of a packet that lies at or behind the position. */
static void fill(struct timeline *t, int64_t gap, uint32_t samples, uint32_t lost, struct timeline_step *step) {
    const int64_t of_loss = lesser(gap, lesser(lost, LOST_MAX) * (t->last_samples ? t->last_samples : samples));
    const int64_t conceal = lesser(of_loss, samples_of_ms(t, CONCEAL_MAX_MS));
    const int64_t silence = lesser(gap - conceal, UINT32_MAX);
    step->conceal = (uint32_t)conceal;
    step->silence = (uint32_t)silence;
    t->lost_samples += (uint64_t)of_loss;
    t->silent_samples += (uint64_t)(conceal + silence > of_loss ? conceal + silence - of_loss : 0);
}

static int near(const struct timeline *t, int64_t target, int64_t wall) {
    const int64_t apart = target - wall, bound = samples_of_ms(t, CLOCK_CHANGE_MS);
    return apart <= bound && apart >= -bound;
}

void timeline_place(struct timeline *t, uint32_t ssrc, uint32_t timestamp, uint32_t samples, uint32_t lost, int64_t arrival_ns, struct timeline_step *step) {
    memset(step, 0, sizeof *step);
    if (samples == 0) {
        step->drop = 1;
        return;
    }
    const int quiet = t->quiet;
    t->quiet = 0;
    const int64_t wall = wall_at(t, arrival_ns), second = t->sample_rate_hz;
    const int64_t timestamp64 = t->last_end_timestamp + (int32_t)(timestamp - (uint32_t)t->last_end_timestamp);
    int64_t target = t->anchor_position + scale(timestamp64 - t->anchor_timestamp, t->sample_rate_hz, t->clock_rate_hz);
    const int past = target + samples <= t->position, lags = past || wall - target > second;
    if (t->renew == BY_MOMENT && ssrc == t->ssrc && near(t, target, wall)) t->renew = 0; /* the timestamps went on rightly */
    if (!t->begun || t->renew || ssrc != t->ssrc || target - wall > second || (lags && stood_still(t, target, wall))) {
        anchor(t, ssrc, timestamp, samples, wall, arrival_ns, step);
        return;
    }
    if (past) {
        t->late_packets++;
        drop(t, samples, step);
        return;
    }
    watch_drift(t, target - wall, arrival_ns);
    target += correct(t, target - t->position, target - wall, samples, lost, quiet);
    const int64_t gap = target - t->position;
    if (gap < 0) {
        step->skip = (uint32_t)-gap;
        t->skipped_samples += step->skip;
    } else if (gap) {
        fill(t, gap, samples, lost, step);
    }
    t->position += (int64_t)step->conceal + step->silence + samples - step->skip;
    const uint32_t run = t->lag_run;
    remember(t, timestamp, timestamp64, samples, arrival_ns);
    if (lags) t->lag_run = run;
}

uint32_t timeline_idle(struct timeline *t, int64_t now_ns, uint32_t slack_ms) {
    const int64_t slack_ns = (int64_t)slack_ms * (NS_PER_S / 1000), wall = wall_at(t, now_ns);
    if (t->begun && now_ns - t->last_ns < slack_ns) return 0;
    const int64_t short_of = wall_at(t, now_ns - slack_ns) - t->position;
    if (short_of <= 0) return 0;
    const int64_t silence = lesser(short_of, t->sample_rate_hz);
    t->position += silence;
    t->silent_samples += (uint64_t)silence;
    /* A slow sender's next packet lies behind the clock by what it lost so far: this silence makes up for it. */
    const int64_t lead = t->windows ? t->last_lead : t->window_lead, beyond = t->position - wall - lead;
    if (t->begun && t->windows + t->window_packets && beyond > 0) shift(t, beyond);
    return (uint32_t)silence;
}

void timeline_renew(struct timeline *t) {
    if (t->begun) t->renew |= BY_MOMENT;
}
