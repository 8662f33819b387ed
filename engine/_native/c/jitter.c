/* The jitter buffer: what is due when. Due times of what is held never fall from one sequence number to the next, so that the first is always the
   one to ask about. */
#include "jitter.h"

#include <string.h>

#define NS_PER_MS 1000000
#define NS_PER_S 1000000000
/* The anchor follows the earliest packets of each window: a clock that is 200 ppm off moves by 0.4 ms in one. */
#define WINDOW_NS (2 * (int64_t)NS_PER_S)
/* Timestamps this far from the clock are another count, not delay. */
#define RESTART_NS (2 * (int64_t)NS_PER_S)
#define PEAK_DECAY 8 /* a window takes away an eighth of the highest lateness: half is gone in 10 s */
#define SPURT_MIN_MS 40

/* ---- settings and the anchor ---- */

static int64_t ms(uint32_t value) { return (int64_t)value * NS_PER_MS; }

static int64_t delay_max_ns(const struct jitter *j) {
    return ms(j->settings.delay_max_ms > j->settings.delay_min_ms ? j->settings.delay_max_ms : j->settings.delay_min_ms);
}

/* The settings are others than those in use: the first of all, or changed by the caller. */
static __attribute__((noinline)) void adopt(struct jitter *j) {
    const uint32_t clock = j->settings.clock_rate_hz ? j->settings.clock_rate_hz : 8000;
    j->settings_now = j->settings;
    j->ns_per_unit = (double)NS_PER_S / clock;
    j->delay_ns = j->settings.mode == JITTER_NONE ? 0 : ms(j->settings.delay_min_ms);
    j->anchored = 0;
}

TL_INLINE int adopted(const struct jitter *j) {
    const struct jitter_settings *a = &j->settings, *b = &j->settings_now;
    return a->mode == b->mode && a->delay_min_ms == b->delay_min_ms && a->delay_max_ms == b->delay_max_ms && a->clock_rate_hz == b->clock_rate_hz;
}

void jitter_start(struct jitter *j, const struct jitter_settings *settings, struct jitter_slot *slots) {
    const struct jitter_settings wanted = *settings; /* may be the buffer's own */
    memset(j, 0, sizeof *j);
    j->settings = wanted;
    j->slots = slots;
    adopt(j);
}

static void begin_window(struct jitter *j, int64_t arrival_ns) {
    j->window_end_ns = arrival_ns + WINDOW_NS;
    j->lateness_min_ns = INT64_MAX;
    j->lateness_max_ns = 0;
}

static void anchor(struct jitter *j, uint32_t timestamp, int64_t arrival_ns) {
    j->anchored = 1;
    j->anchor_ns = arrival_ns;
    j->anchor_timestamp = timestamp;
    begin_window(j, arrival_ns);
}

/* A window is over: the anchor goes up to its earliest packet, and on to this timestamp in whole seconds, which is exact. */
static __attribute__((noinline)) void end_window(struct jitter *j, uint32_t timestamp, int64_t arrival_ns) {
    const uint32_t clock = j->settings.clock_rate_hz ? j->settings.clock_rate_hz : 8000;
    const int32_t units = (int32_t)(timestamp - j->anchor_timestamp);
    j->anchor_ns += j->lateness_min_ns;
    if (units > 0) {
        const uint32_t seconds = (uint32_t)units / clock;
        j->anchor_timestamp += seconds * clock;
        j->anchor_ns += (int64_t)seconds * NS_PER_S;
    }
    j->lateness_peak_ns -= j->lateness_peak_ns / PEAK_DECAY;
    if (j->lateness_max_ns > j->lateness_peak_ns) j->lateness_peak_ns = j->lateness_max_ns;
    begin_window(j, arrival_ns);
}

/* How much later than the anchor says this packet came. What came earlier is the anchor from then on. */
TL_INLINE int64_t lateness(struct jitter *j, uint32_t timestamp, int64_t arrival_ns) {
    if (TL_UNLIKELY(!j->anchored)) anchor(j, timestamp, arrival_ns);
    const int32_t units = (int32_t)(timestamp - j->anchor_timestamp);
    int64_t late_ns = arrival_ns - j->anchor_ns - (int64_t)((double)units * j->ns_per_unit);
    if (TL_UNLIKELY(late_ns > RESTART_NS || late_ns < -RESTART_NS)) {
        j->restarts++;
        anchor(j, timestamp, arrival_ns);
        late_ns = 0;
    } else if (late_ns < 0) {
        j->anchor_ns += late_ns;
        late_ns = 0;
    }
    if (late_ns < j->lateness_min_ns) j->lateness_min_ns = late_ns;
    if (late_ns > j->lateness_max_ns) j->lateness_max_ns = late_ns;
    if (TL_UNLIKELY(arrival_ns >= j->window_end_ns)) end_window(j, timestamp, arrival_ns);
    return late_ns;
}

/* ---- the adaptive delay ---- */

static void grow(struct jitter *j, int64_t late_ns) {
    const int64_t most = delay_max_ns(j);
    if (late_ns > j->delay_ns) j->delay_ns = late_ns < most ? late_ns : most;
}

static void shrink(struct jitter *j) {
    const int64_t least = ms(j->settings.delay_min_ms);
    int64_t wanted = j->lateness_peak_ns > j->lateness_max_ns ? j->lateness_peak_ns : j->lateness_max_ns;
    if (wanted < least) wanted = least;
    if (wanted < j->delay_ns) j->delay_ns = wanted;
}

/* Whether a talk spurt begins with the packet behind `highest`. */
static int begins_spurt(const struct jitter *j, uint64_t extended, uint32_t timestamp, int marker) {
    if (marker) return 1;
    const uint32_t step = timestamp - j->last_timestamp;
    return extended == j->highest + 1 && j->last_step && step < INT32_MAX && step / 2 > j->last_step && (double)step * j->ns_per_unit > SPURT_MIN_MS * 1e6;
}

/* ---- slots ---- */

TL_INLINE uint32_t slot_of(uint64_t extended) { return (uint32_t)extended & (JITTER_SLOTS - 1); }

/* Occupied slots from `first` on, as bits from 0 up. */
TL_INLINE uint64_t from(const struct jitter *j, uint64_t first) {
    const uint32_t turn = slot_of(first);
    return j->occupied >> turn | j->occupied << (-turn & 63);
}

/* When the packet is due: no later than what is held behind it; and what is held before it no later than this one. */
static __attribute__((noinline)) int64_t fit_due(struct jitter *j, uint64_t extended, int64_t due_ns) {
    const uint64_t above = extended < j->highest ? from(j, extended) & (UINT64_MAX >> (63 - (j->highest - extended))) : 0;
    if (above) {
        const struct jitter_slot *behind = &j->slots[slot_of(extended + (uint64_t)__builtin_ctzll(above))];
        if (behind->due_ns < due_ns) due_ns = behind->due_ns;
    } else {
        j->tail_due_ns = due_ns;
    }
    for (uint64_t before = extended; before > j->next;) {
        struct jitter_slot *slot = &j->slots[slot_of(--before)];
        if (!(j->occupied >> slot_of(before) & 1)) continue;
        if (slot->due_ns <= due_ns) break;
        slot->due_ns = due_ns;
    }
    return due_ns;
}

TL_INLINE void hold(struct jitter *j, uint64_t extended, uint32_t timestamp, int64_t due_ns, uint32_t handle) {
    if (TL_LIKELY(extended > j->highest || !j->held) && (!j->held || due_ns >= j->tail_due_ns)) j->tail_due_ns = due_ns;
    else due_ns = fit_due(j, extended, due_ns);
    const uint32_t at = slot_of(extended);
    j->slots[at] = (struct jitter_slot){due_ns, handle, timestamp};
    j->occupied |= (uint64_t)1 << at;
    j->held++;
    j->taken++;
}

/* A packet from below `next`: it may still come first while nothing has come out; else it is too late, or came before. */
static __attribute__((noinline)) int put_below(struct jitter *j, uint64_t extended, uint32_t timestamp, int64_t arrival_ns) {
    const uint64_t back = j->next - extended;
    if (j->lowered && j->highest - extended < JITTER_SLOTS) {
        j->next = extended;
        return JITTER_KEPT;
    }
    if (back <= 64 && j->history >> (back - 1) & 1) {
        j->duplicate++;
        return JITTER_DUPLICATE;
    }
    j->late++;
    if (j->settings.mode == JITTER_ADAPTIVE && j->anchored) {
        const int32_t units = (int32_t)(timestamp - j->anchor_timestamp);
        const int64_t late_ns = arrival_ns - j->anchor_ns - (int64_t)((double)units * j->ns_per_unit);
        if (late_ns <= RESTART_NS) {
            grow(j, late_ns);
            if (late_ns > j->lateness_max_ns) j->lateness_max_ns = late_ns;
        }
    }
    return JITTER_LATE;
}

static __attribute__((noinline)) void begin(struct jitter *j, uint64_t extended, uint32_t timestamp) {
    j->begun = j->lowered = 1;
    j->next = j->highest = extended;
    j->last_timestamp = timestamp;
}

int jitter_put(struct jitter *j, uint64_t extended, uint32_t timestamp, int marker, int64_t arrival_ns, uint32_t handle) {
    if (TL_UNLIKELY(!j->begun)) begin(j, extended, timestamp);
    if (TL_UNLIKELY(!adopted(j))) adopt(j);
    if (TL_UNLIKELY(extended < j->next)) {
        const int refused = put_below(j, extended, timestamp, arrival_ns);
        if (refused) return refused;
    }
    if (TL_UNLIKELY(extended - j->next >= JITTER_SLOTS)) {
        j->run_out_to = extended - (JITTER_SLOTS - 1);
        j->overflowed++;
        return JITTER_FULL;
    }
    if (TL_UNLIKELY(j->occupied >> slot_of(extended) & 1)) {
        j->duplicate++;
        return JITTER_DUPLICATE;
    }
    int64_t due_ns;
    if (j->settings.mode == JITTER_NONE) {
        due_ns = arrival_ns + delay_max_ns(j);
    } else {
        const int64_t late_ns = lateness(j, timestamp, arrival_ns);
        if (j->settings.mode == JITTER_ADAPTIVE) {
            if (extended > j->highest && begins_spurt(j, extended, timestamp, marker)) shrink(j);
            if (late_ns > j->delay_ns) grow(j, late_ns);
        }
        due_ns = arrival_ns - late_ns + j->delay_ns;
    }
    hold(j, extended, timestamp, due_ns, handle);
    if (TL_LIKELY(extended > j->highest)) {
        if (extended == j->highest + 1) j->last_step = timestamp - j->last_timestamp;
        j->last_timestamp = timestamp;
        j->highest = extended;
    }
    return JITTER_KEPT;
}

/* ---- out ---- */

static int give_up(struct jitter *j, uint64_t count, struct jitter_out *out) {
    const uint32_t now = count > UINT32_MAX ? UINT32_MAX : (uint32_t)count;
    out->extended = j->next;
    out->handle = JITTER_NO_HANDLE;
    out->lost = now;
    j->next += now;
    j->history = now < 64 ? j->history << now : 0;
    j->lost += now;
    return JITTER_LOST;
}

/* With nothing held, or far behind a packet that did not fit. */
static __attribute__((noinline)) int take_empty(struct jitter *j, struct jitter_out *out) {
    return j->run_out_to > j->next ? give_up(j, j->run_out_to - j->next, out) : JITTER_NOTHING;
}

TL_INLINE void release(struct jitter *j, struct jitter_out *out) {
    const uint32_t at = slot_of(j->next);
    out->extended = j->next;
    out->handle = j->slots[at].handle;
    out->timestamp = j->slots[at].timestamp;
    out->lost = 0;
    j->occupied &= ~((uint64_t)1 << at);
    j->held--;
    j->next++;
    j->history = j->history << 1 | 1;
    j->lowered = 0;
    j->released++;
}

int jitter_take(struct jitter *j, int64_t now_ns, struct jitter_out *out) {
    out->timestamp = out->lost = 0;
    if (!j->held) return take_empty(j, out);
    const uint32_t gap = (uint32_t)__builtin_ctzll(from(j, j->next));
    const int due = j->slots[slot_of(j->next + gap)].due_ns <= now_ns;
    if (TL_LIKELY(gap == 0)) {
        if (!due && j->settings.mode != JITTER_NONE && j->next >= j->run_out_to) return JITTER_NOTHING;
        release(j, out);
        return JITTER_PACKET;
    }
    if (due) return give_up(j, gap, out);
    if (j->run_out_to <= j->next) return JITTER_NOTHING;
    return give_up(j, j->run_out_to - j->next < gap ? j->run_out_to - j->next : gap, out);
}

int64_t jitter_due_ns(const struct jitter *j) {
    if (j->run_out_to > j->next) return INT64_MIN;
    if (!j->held) return INT64_MAX;
    const uint32_t gap = (uint32_t)__builtin_ctzll(from(j, j->next));
    if (gap == 0 && j->settings.mode == JITTER_NONE) return INT64_MIN;
    return j->slots[slot_of(j->next + gap)].due_ns;
}

uint32_t jitter_drain(struct jitter *j) {
    struct jitter_out out;
    if (!j->held) return JITTER_NO_HANDLE;
    const uint32_t gap = (uint32_t)__builtin_ctzll(from(j, j->next));
    if (gap) give_up(j, gap, &out);
    release(j, &out);
    return out.handle;
}
