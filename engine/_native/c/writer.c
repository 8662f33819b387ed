/* Rings between the media thread, the control side and the writer; rounds; recordings from their opening to their end. */
#include "writer_private.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "WAV and PCM blocks are little-endian");

enum { COMMAND_OPEN = 1, COMMAND_ADD = 2, COMMAND_CLOSE = 3 };

/* ---- memory ---- */

static size_t rounded(size_t bytes) { return (bytes + 63) & ~(size_t)63; }

static uint32_t power_of_two(uint32_t count) {
    uint32_t value = 64;
    while (value < count) value *= 2;
    return value;
}

/* Room for what may be asked of all recordings before the writer looks, and for what may be told of them. */
static uint32_t commands_of(uint32_t recordings) { return power_of_two((WRITER_OUTPUTS_MAX + 2) * recordings + 64); }
static uint32_t events_of(uint32_t recordings) { return power_of_two(4 * recordings + 64); }

struct layout { size_t block, slot, command, event, full, empty, spare, idle, next, serving, scratch, more, total; };

static struct layout layout_of(uint32_t blocks, uint32_t recordings) {
    struct layout at;
    const size_t numbers = power_of_two(blocks) * sizeof(uint32_t);
    at.block = rounded(sizeof(struct writer));
    at.slot = at.block + rounded(blocks * sizeof(struct writer_block));
    at.command = at.slot + rounded(recordings * sizeof(struct writer_slot));
    at.event = at.command + rounded(commands_of(recordings) * sizeof(struct writer_command));
    at.full = at.event + rounded(events_of(recordings) * sizeof(struct writer_event));
    at.empty = at.full + rounded(numbers);
    at.spare = at.empty + rounded(numbers);
    at.idle = at.spare + rounded(blocks * sizeof(uint32_t));
    at.next = at.idle + rounded(recordings * sizeof(uint32_t));
    at.serving = at.next + rounded(blocks * sizeof(uint32_t));
    at.scratch = at.serving + rounded(recordings * sizeof(uint32_t));
    at.more = at.scratch + 2 * WRITER_SCRATCH_BYTES;
    at.total = at.more + rounded(recordings * sizeof(struct writer_more));
    return at;
}

size_t writer_bytes(uint32_t blocks, uint32_t recordings) { return layout_of(blocks, recordings).total; }

size_t writer_dense_bytes(uint32_t blocks, uint32_t recordings) { return layout_of(blocks, recordings).slot; }

static ptrdiff_t disk_write(void *context, int fd, const void *bytes, size_t count, int64_t offset) {
    (void)context;
    return pwrite(fd, bytes, count, offset);
}

static ptrdiff_t disk_read(void *context, int fd, void *bytes, size_t count, int64_t offset) {
    (void)context;
    return pread(fd, bytes, count, offset);
}

static int disk_truncate(void *context, int fd, int64_t length) {
    (void)context;
    return ftruncate(fd, length);
}

struct writer *writer_init(void *memory, uint32_t blocks, uint32_t recordings, int wake_fd, int event_fd, const struct writer_disk *disk) {
    const struct layout at = layout_of(blocks, recordings);
    uint8_t *base = memory;
    struct writer *w = memory;
    w->disk = disk ? *disk : (struct writer_disk){NULL, disk_write, disk_read, disk_truncate};
    w->wake_fd = wake_fd, w->event_fd = event_fd;
    w->blocks = w->spares = blocks, w->recordings = w->idles = recordings;
    w->block = (struct writer_block *)(base + at.block);
    w->slot = (struct writer_slot *)(base + at.slot);
    w->more = (struct writer_more *)(base + at.more);
    w->command = (struct writer_command *)(base + at.command);
    w->event = (struct writer_event *)(base + at.event);
    w->full.items = (uint32_t *)(base + at.full), w->empty.items = (uint32_t *)(base + at.empty);
    w->full.mask = w->empty.mask = power_of_two(blocks) - 1;
    w->commands.mask = commands_of(recordings) - 1, w->events.mask = events_of(recordings) - 1;
    w->spare = (uint32_t *)(base + at.spare), w->idle = (uint32_t *)(base + at.idle);
    w->next = (uint32_t *)(base + at.next), w->serving = (uint32_t *)(base + at.serving);
    w->scratch = base + at.scratch, w->silence = w->scratch + WRITER_SCRATCH_BYTES;
    for (uint32_t i = 0; i < blocks; i++) w->spare[i] = blocks - 1 - i;
    for (uint32_t i = 0; i < recordings; i++) w->idle[i] = recordings - 1 - i;
    return w;
}

static void signal_fd(int fd) {
    const uint64_t one = 1;
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR) {}
}

static void quieten_fd(int fd) {
    uint64_t count;
    while (read(fd, &count, sizeof count) < 0 && errno == EINTR) {}
}

/* ---- the media thread's side ---- */

/* Blocks come back into a stack, so that the ones in use are few and warm. */
struct writer_block *writer_take(struct writer *w) {
    const uint32_t tail = writer_load(&w->empty.tail);
    uint32_t head = w->empty.head;
    if (head != tail) {
        while (head != tail) w->spare[w->spares++] = w->empty.items[head++ & w->empty.mask];
        writer_store(&w->empty.head, head);
    }
    if (TL_UNLIKELY(!w->spares)) {
        writer_add_count(&w->refused, 1);
        return NULL;
    }
    return &w->block[w->spare[--w->spares]];
}

void writer_give(struct writer *w, struct writer_block *block) {
    const uint32_t tail = w->full.tail;
    w->full.items[tail & w->full.mask] = (uint32_t)(block - w->block);
    writer_store(&w->full.tail, tail + 1);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* either it sees the block before it sleeps, or we see that it sleeps */
    if (writer_load(&w->sleeping) && __atomic_exchange_n(&w->sleeping, 0, __ATOMIC_ACQ_REL)) signal_fd(w->wake_fd);
}

void writer_return(struct writer *w, struct writer_block *block) { w->spare[w->spares++] = (uint32_t)(block - w->block); }

int writer_is_short(const struct writer *w) { return w->spares < w->blocks / 2; }

uint32_t writer_waiting(const struct writer *w) { return writer_load(&w->full.tail) - writer_load(&w->full.head); }

/* ---- the control side ---- */

static int plan_status(const struct writer_output_plan *plan) {
    uint32_t seen = 0;
    if (plan->fd < 0) return STATUS_MALFORMED;
    if (plan->format == WRITER_PCAP) return plan->channels ? STATUS_MALFORMED : 0;
    if (plan->format == WRITER_OGG_OPUS)
        return plan->channels < 1 || plan->channels > 2 ? STATUS_UNSUPPORTED : plan->tracks[0] >= WRITER_TRACKS_MAX ? STATUS_MALFORMED : 0;
    if (plan->format < WRITER_WAV_PCM16 || plan->format > WRITER_WAV_ALAW) return STATUS_UNSUPPORTED;
    if (plan->channels < 1 || plan->channels > WRITER_TRACKS_MAX) return STATUS_MALFORMED;
    for (uint32_t i = 0; i < plan->channels; i++) {
        if (plan->tracks[i] >= WRITER_TRACKS_MAX || seen >> plan->tracks[i] & 1) return STATUS_MALFORMED;
        seen |= 1u << plan->tracks[i];
    }
    return 0;
}

static struct writer_track *track_of(const struct writer *w, struct writer_slot *s, uint32_t track) {
    return track < WRITER_FEW ? &s->track[track] : &w->more[s - w->slot].track[track - WRITER_FEW];
}

static struct writer_slot *running(struct writer *w, uint32_t recording, uint32_t generation) {
    if (recording >= w->recordings) return NULL;
    struct writer_slot *s = &w->slot[recording];
    return s->is_open && s->generation == generation ? s : NULL;
}

static int has_room(const struct writer *w, uint32_t commands) {
    return w->commands.tail + commands - writer_load(&w->commands.head) <= w->commands.mask + 1;
}

/* The `ahead`th of commands that the writer is to see together; command_tell shows them. */
static struct writer_command *command_put(struct writer *w, uint32_t ahead, uint32_t kind, uint32_t recording) {
    struct writer_command *c = &w->command[(w->commands.tail + ahead) & w->commands.mask];
    c->kind = kind, c->recording = recording, c->generation = w->slot[recording].generation;
    return c;
}

static void command_tell(struct writer *w, uint32_t commands) {
    writer_store(&w->commands.tail, w->commands.tail + commands);
    signal_fd(w->wake_fd);
}

int writer_open(struct writer *w, const struct writer_plan *plan, uint32_t *recording, uint32_t *generation) {
    if (plan->outputs > WRITER_OUTPUTS_MAX || plan->rate_hz < 1 || plan->rate_hz > 384000) return STATUS_MALFORMED;
    for (uint32_t i = 0; i < plan->outputs; i++) {
        const int status = plan_status(&plan->output[i]);
        if (status) return status;
    }
    if (!w->idles || !has_room(w, 1 + plan->outputs)) return STATUS_TOO_SMALL;
    const uint32_t index = w->idle[--w->idles];
    struct writer_slot *s = &w->slot[index];
    s->generation += s->generation == UINT32_MAX ? 2 : 1; /* 0 is nobody's */
    s->planned = plan->outputs;
    s->is_open = 1;
    command_put(w, 0, COMMAND_OPEN, index)->rate_hz = plan->rate_hz;
    for (uint32_t i = 0; i < plan->outputs; i++) command_put(w, 1 + i, COMMAND_ADD, index)->output = plan->output[i];
    command_tell(w, 1 + plan->outputs);
    *recording = index, *generation = s->generation;
    return 0;
}

int writer_add(struct writer *w, uint32_t recording, uint32_t generation, const struct writer_output_plan *output) {
    struct writer_slot *s = running(w, recording, generation);
    if (!s) return STATUS_MALFORMED;
    const int status = plan_status(output);
    if (status) return status;
    if (s->planned == WRITER_OUTPUTS_MAX || !has_room(w, 1)) return STATUS_TOO_SMALL;
    command_put(w, 0, COMMAND_ADD, recording)->output = *output;
    command_tell(w, 1);
    return (int)s->planned++;
}

int writer_close(struct writer *w, uint32_t recording, uint32_t generation) {
    if (!running(w, recording, generation)) return STATUS_MALFORMED;
    if (!has_room(w, 1)) return STATUS_TOO_SMALL;
    command_put(w, 0, COMMAND_CLOSE, recording);
    command_tell(w, 1);
    return 0;
}

int writer_event_next(struct writer *w, struct writer_event *event) {
    const uint32_t head = w->events.head;
    if (head == writer_load(&w->events.tail)) {
        quieten_fd(w->event_fd);
        if (head == writer_load(&w->events.tail)) return 0;
    }
    *event = w->event[head & w->events.mask];
    writer_store(&w->events.head, head + 1);
    return 1;
}

int writer_result(const struct writer *w, uint32_t recording, uint32_t generation, uint32_t output, struct writer_result *result) {
    if (recording >= w->recordings || writer_load(&w->slot[recording].finished) != generation || output >= w->slot[recording].outputs) return STATUS_MALFORMED;
    struct writer_slot *s = &w->slot[recording];
    const struct writer_output *out = writer_output(w, s, output);
    const int64_t frames = out->format == WRITER_OGG_OPUS ? out->ogg.granule : out->end;
    int64_t late = out->late;
    for (uint32_t i = 0; out->kind <= WRITER_PAYLOAD && i < s->tracks; i++)
        if (out->channel_of[i] != 0xff) late += track_of(w, s, i)->late[out->kind - WRITER_PCM];
    *result = (struct writer_result){out->file_end, frames, out->lost, late, out->last_error, out->failures};
    return 0;
}

int writer_release(struct writer *w, uint32_t recording, uint32_t generation) {
    struct writer_slot *s = running(w, recording, generation);
    if (!s || writer_load(&s->finished) != generation) return STATUS_MALFORMED;
    s->is_open = 0;
    w->idle[w->idles++] = recording;
    return 0;
}

void writer_count(const struct writer *w, struct writer_counts *counts) {
    counts->refused = writer_load_count(&w->refused);
    counts->stale = writer_load_count(&w->counts.stale);
    counts->malformed = writer_load_count(&w->counts.malformed);
    counts->blocks = writer_load_count(&w->counts.blocks);
    counts->bytes = writer_load_count(&w->counts.bytes);
    counts->writes = writer_load_count(&w->counts.writes);
    counts->rounds = writer_load_count(&w->counts.rounds);
}

/* ---- the disk, and what it refuses ---- */

int writer_put(struct writer *w, struct writer_output *out, const uint8_t *bytes, size_t count, int64_t offset) {
    while (count) {
        const ptrdiff_t written = w->disk.write(w->disk.context, out->fd, bytes, count, offset);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return written ? errno : EIO;
        writer_add_count(&w->counts.writes, 1);
        writer_add_count(&w->counts.bytes, (uint64_t)written);
        bytes += written, count -= (size_t)written, offset += written;
    }
    return 0;
}

/* Events that say how a file fares give way when nobody reads them; the end of a recording does not. */
static int event_push(struct writer *w, const struct writer_event *event, uint32_t kept_free) {
    const uint32_t tail = w->events.tail;
    if (tail - writer_load(&w->events.head) + kept_free > w->events.mask) return 0;
    w->event[tail & w->events.mask] = *event;
    writer_store(&w->events.tail, tail + 1);
    w->has_news = 1;
    return 1;
}

static void tell(struct writer *w, const struct writer_slot *s, const struct writer_output *out, uint8_t kind, int64_t value) {
    event_push(w, &(struct writer_event){(uint32_t)(s - w->slot), s->live, kind, out->number, out->error, value}, w->recordings);
}

void writer_refuse(struct writer *w, struct writer_slot *s, struct writer_output *out, int error) {
    out->retry_ns = w->now_ns + WRITER_RETRY_NS;
    if (out->error) return;
    out->error = out->last_error = error;
    out->failures++;
    out->lost_before = out->lost;
    tell(w, s, out, WRITER_FAILED, 0);
}

void writer_accept(struct writer *w, struct writer_slot *s, struct writer_output *out) {
    if (TL_LIKELY(!out->error)) return;
    out->error = 0;
    tell(w, s, out, WRITER_RESUMED, out->lost - out->lost_before);
}

/* ---- recordings ---- */

static void serve_later(struct writer *w, struct writer_slot *s) {
    if (s->served) return;
    s->served = 1;
    w->serving[w->serves++] = (uint32_t)(s - w->slot);
}

static void output_start(struct writer *w, struct writer_slot *s, const struct writer_output_plan *plan) {
    static const uint8_t kinds[] = {[WRITER_WAV_PCM16] = WRITER_PCM, [WRITER_WAV_ULAW] = WRITER_PAYLOAD, [WRITER_WAV_ALAW] = WRITER_PAYLOAD,
                                    [WRITER_OGG_OPUS] = WRITER_OPUS, [WRITER_PCAP] = WRITER_PACKETS};
    struct writer_output *out = writer_output(w, s, s->outputs);
    memset(out, 0, sizeof *out);
    out->number = (uint8_t)s->outputs++;
    memset(out->channel_of, 0xff, sizeof out->channel_of);
    out->fd = plan->fd, out->format = plan->format, out->kind = kinds[plan->format], out->channels = plan->channels, out->serial = plan->serial;
    const uint32_t tracks = plan->format == WRITER_PCAP ? 0 : plan->format == WRITER_OGG_OPUS ? 1 : plan->channels;
    for (uint32_t i = 0; i < tracks; i++) out->channel_of[plan->tracks[i]] = (uint8_t)i;
    const int error = out->format == WRITER_PCAP       ? writer_pcap_start(w, s, out)
                      : out->format == WRITER_OGG_OPUS ? writer_ogg_start(w, s, out)
                                                       : writer_wav_start(w, s, out);
    if (error) writer_refuse(w, s, out, error);
}

static void recording_start(struct writer_slot *s, uint32_t rate_hz) {
    s->live = rate_hz ? s->generation : 0;
    s->rate_hz = rate_hz;
    s->outputs = s->tracks = 0, s->ended = s->closing = 0, s->end = 0;
    s->first_block = s->last_block = WRITER_NONE;
}

static void commands_obey(struct writer *w) {
    uint32_t head = w->commands.head;
    const uint32_t tail = writer_load(&w->commands.tail);
    for (; head != tail; head++) {
        const struct writer_command *c = &w->command[head & w->commands.mask];
        struct writer_slot *s = &w->slot[c->recording];
        if (c->kind == COMMAND_OPEN) {
            recording_start(s, c->rate_hz);
        } else if (s->live == c->generation && !s->ended) {
            if (c->kind == COMMAND_ADD) output_start(w, s, &c->output);
            else s->closing = 1, s->close_at = writer_load(&w->full.tail), serve_later(w, s);
        }
        writer_store(&w->commands.head, head + 1);
    }
}

/* Cuts what a block says anew about times that are too far gone. 0: nothing is left of it. */
static int block_trim(struct writer *w, struct writer_slot *s, struct writer_block *b) {
    for (; s->tracks <= b->track; s->tracks++) *track_of(w, s, s->tracks) = (struct writer_track){0};
    struct writer_track *track = track_of(w, s, b->track);
    int64_t *end = &track->end[b->kind - WRITER_PCM];
    const int64_t floor = *end - (int64_t)WRITER_OWN_WINDOW_S * s->rate_hz;
    if (b->position < floor) {
        const int64_t cut = floor - b->position < b->samples ? floor - b->position : b->samples;
        track->late[b->kind - WRITER_PCM] += cut;
        b->position += cut, b->samples -= (uint32_t)cut;
    }
    if (b->samples && b->position + b->samples > *end) *end = b->position + b->samples;
    return b->samples != 0;
}

/* Where a block ends on the recording's timeline, 0 where it has no place there; negative where it cannot be true. */
static int64_t block_end(const struct writer_slot *s, const struct writer_block *b) {
    if (b->kind < WRITER_PCM || b->kind > WRITER_END || b->track >= WRITER_TRACKS_MAX || b->used > WRITER_BLOCK_BYTES) return STATUS_MALFORMED;
    if (b->kind >= WRITER_PACKETS) return 0;
    if (b->position < 0 || b->position > WRITER_POSITION_MAX) return STATUS_MALFORMED;
    int64_t begin = b->position, samples = b->samples;
    if (b->kind == WRITER_PCM && (b->used % 2 || b->samples > b->used / 2u)) return STATUS_MALFORMED;
    if (b->kind == WRITER_PAYLOAD && b->samples > b->used) return STATUS_MALFORMED;
    if (b->kind == WRITER_OPUS) {
        samples = writer_ogg_samples(b);
        if (samples < 0) return samples;
        begin = begin * s->rate_hz / WRITER_OPUS_RATE_HZ, samples = samples * s->rate_hz / WRITER_OPUS_RATE_HZ;
    }
    return begin > s->end + (int64_t)WRITER_JUMP_S * s->rate_hz ? STATUS_MALFORMED : begin + samples;
}

static void block_sort(struct writer *w, uint32_t number) {
    struct writer_block *b = &w->block[number];
    struct writer_slot *s = b->recording < w->recordings ? &w->slot[b->recording] : NULL;
    if (!s || !s->live || s->live != b->generation || s->ended) {
        writer_add_count(&w->counts.stale, 1);
        return;
    }
    const int64_t end = block_end(s, b);
    if (end < 0) {
        writer_add_count(&w->counts.malformed, 1);
        return;
    }
    serve_later(w, s);
    if (b->kind == WRITER_END) {
        s->ended = 1;
        return;
    }
    if (b->kind <= WRITER_PAYLOAD && !block_trim(w, s, b)) return;
    if (end > s->end) s->end = end;
    w->next[number] = WRITER_NONE;
    if (s->first_block == WRITER_NONE) s->first_block = number;
    else w->next[s->last_block] = number;
    s->last_block = number;
}

/* 1: it needs another round. */
static int output_serve(struct writer *w, struct writer_slot *s, struct writer_output *out) {
    if (out->closed) return 0;
    if (out->format == WRITER_OGG_OPUS) {
        writer_ogg_take(w, s, out);
    } else if (out->format == WRITER_PCAP) {
        writer_pcap_take(w, s, out);
    } else {
        writer_wav_take(w, s, out);
        if (!s->ended) return !writer_wav_fill(w, s, out);
    }
    if (!s->ended) return 0;
    if (out->format == WRITER_OGG_OPUS) writer_ogg_close(w, s, out);
    else if (out->format != WRITER_PCAP && !writer_wav_close(w, s, out)) return 1;
    if (out->failures) w->disk.truncate(w->disk.context, out->fd, out->file_end); /* what was half written behind it */
    out->closed = 1;
    return 0;
}

static int recording_serve(struct writer *w, struct writer_slot *s) {
    if (s->closing && (int32_t)(w->read - s->close_at) >= 0) s->ended = 1; /* what was given before is read */
    int again = s->closing && !s->ended;
    for (uint32_t i = 0; i < s->outputs; i++) again |= output_serve(w, s, writer_output(w, s, i));
    s->first_block = s->last_block = WRITER_NONE;
    if (again || !s->ended) return again;
    writer_store(&s->finished, s->live); /* before it is told, and harmless where it cannot be */
    if (!event_push(w, &(struct writer_event){(uint32_t)(s - w->slot), s->live, WRITER_FINISHED, 0, 0, s->end}, 0)) return 1;
    s->live = 0;
    return 0;
}

static void recordings_serve(struct writer *w) {
    const uint32_t count = w->serves;
    w->serves = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct writer_slot *s = &w->slot[w->serving[i]];
        s->served = 0;
        if (recording_serve(w, s)) serve_later(w, s);
    }
}

/* ---- rounds ---- */

static void tell_behind(struct writer *w) {
    const uint64_t refused = writer_load_count(&w->refused);
    if (refused == w->told_refused || w->now_ns - w->told_ns < WRITER_RETRY_NS) return;
    if (!event_push(w, &(struct writer_event){WRITER_NONE, 0, WRITER_BEHIND, 0, 0, (int64_t)refused}, w->recordings)) return;
    w->told_refused = refused, w->told_ns = w->now_ns;
}

uint32_t writer_round(struct writer *w, int64_t now_ns) {
    const uint32_t tail = writer_load(&w->full.tail), head = w->full.head; /* before the commands: a block's recording is known */
    const uint32_t count = tail - head < WRITER_ROUND_BLOCKS ? tail - head : WRITER_ROUND_BLOCKS;
    uint32_t given = w->empty.tail;
    w->now_ns = now_ns;
    commands_obey(w);
    for (uint32_t i = 0; i < count; i++) block_sort(w, w->full.items[(head + i) & w->full.mask]);
    w->read = head + count;
    recordings_serve(w);
    for (uint32_t i = 0; i < count; i++) w->empty.items[given++ & w->empty.mask] = w->full.items[(head + i) & w->full.mask];
    writer_store(&w->empty.tail, given);
    writer_store(&w->full.head, head + count);
    writer_add_count(&w->counts.blocks, count);
    writer_add_count(&w->counts.rounds, 1);
    tell_behind(w);
    if (w->has_news) w->has_news = 0, signal_fd(w->event_fd);
    return count + (w->serves != 0);
}

static int64_t monotonic_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static int has_work(const struct writer *w) {
    return w->serves || writer_load(&w->full.tail) != w->full.head || writer_load(&w->commands.tail) != w->commands.head;
}

static void sleep_until_woken(struct writer *w) {
    __atomic_store_n(&w->sleeping, 1, __ATOMIC_SEQ_CST);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    if (!has_work(w) && !writer_load(&w->stopping)) poll(&(struct pollfd){w->wake_fd, POLLIN, 0}, 1, -1);
    __atomic_store_n(&w->sleeping, 0, __ATOMIC_SEQ_CST);
    quieten_fd(w->wake_fd);
}

void writer_run(struct writer *w) {
    for (;;) {
        if (!has_work(w)) {
            if (writer_load(&w->stopping)) return;
            sleep_until_woken(w);
            continue;
        }
        const int64_t begin = monotonic_ns();
        if (writer_round(w, begin) >= WRITER_ROUND_BLOCKS) continue; /* a backlog */
        const int64_t rest = WRITER_ROUND_NS - (monotonic_ns() - begin);
        if (rest > 0 && !writer_load(&w->stopping)) nanosleep(&(struct timespec){0, rest}, NULL);
    }
}

void writer_stop(struct writer *w) {
    writer_store(&w->stopping, 1);
    signal_fd(w->wake_fd);
}
