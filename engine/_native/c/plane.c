/* The media plane's loop: its memory, its clock, and what Python tells it. */
#define _GNU_SOURCE
#include "plane.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define SLOT_NS 1000000
#define EVENTS_A_ROUND 256
#define WATCH_TIMER UINT64_MAX
#define WATCH_COMMANDS (UINT64_MAX - 1)
#define BUSY_DATAGRAMS 24
#define STALL_NS 100000000
#define QUIET_WAIT_MS 20
#define CLOCKS_APART_NS 1000000    /* more than a clock is slewed by between two rounds: it was set */
#define CLOCKS_READ_NS 100000      /* to read both */

/* ---- memory ---- */

static uint32_t power_of_two(uint32_t count) {
    uint32_t power = 1;
    while (power < count && power < 1u << 30) power <<= 1;
    return power;
}

struct layout { size_t ports, streams, sides, mixes, fifos, packets, lengths, arrivals, free_packets, pcm, free_pcm, keys, out, commands, events, returned, bytes; };

static size_t place(size_t *at, size_t count, size_t size) {
    size_t here = *at;
    *at = (here + count * size + 63) & ~(size_t)63;
    return here;
}

static struct layout lay_out(const struct plane_sizes *s) {
    struct layout l;
    size_t at = (sizeof(struct plane) + 63) & ~(size_t)63;
    l.ports = place(&at, s->ports, sizeof(struct plane_port));
    l.streams = place(&at, s->streams, sizeof(struct plane_stream));
    l.mixes = place(&at, s->mixes, sizeof(struct plane_mix));
    l.fifos = place(&at, (size_t)s->mixes * 16, PLANE_FIFO_SAMPLES * sizeof(int16_t));
    l.packets = place(&at, s->packets, PLANE_PACKET_BYTES);
    l.lengths = place(&at, s->packets, sizeof(uint16_t));
    l.arrivals = place(&at, s->packets, sizeof(int64_t));
    l.free_packets = place(&at, s->packets, sizeof(uint32_t));
    l.pcm = place(&at, s->pcm_blocks, PLANE_BLOCK_SAMPLES * sizeof(int16_t));
    l.free_pcm = place(&at, s->pcm_blocks, sizeof(uint32_t));
    l.keys = place(&at, power_of_two(s->streams * 8), sizeof(struct plane_key));
    l.out = place(&at, PLANE_BATCH, PLANE_PACKET_BYTES);
    l.commands = place(&at, power_of_two(s->commands), sizeof(struct plane_command));
    l.events = place(&at, power_of_two(s->events), sizeof(struct plane_event));
    l.returned = place(&at, power_of_two(s->pcm_blocks), sizeof(uint32_t));
    l.sides = place(&at, s->streams, sizeof(struct plane_side));
    l.bytes = at;
    return l;
}

size_t plane_bytes(const struct plane_sizes *s) {
    if (!s->ports || !s->streams || !s->commands || !s->events || !s->pcm_blocks || s->packets < 2 * PLANE_BATCH) return 0;
    if (s->ports > 1 << 16 || s->streams > 1 << 20 || s->mixes > 1 << 16 || s->packets > 1 << 22 || s->pcm_blocks > 1 << 16 || s->commands > 1 << 20 ||
        s->events > 1 << 20)
        return 0;
    return lay_out(s).bytes;
}

size_t plane_dense_bytes(const struct plane_sizes *s) { return lay_out(s).sides; }

struct plane *plane_start(void *memory, size_t bytes, const struct plane_sizes *s) {
    if (!plane_bytes(s) || bytes < plane_bytes(s)) return NULL;
    struct layout l = lay_out(s);
    uint8_t *base = memory;
    struct plane *p = memory;
    p->ports = (struct plane_port *)(base + l.ports), p->port_count = s->ports;
    p->streams = (struct plane_stream *)(base + l.streams), p->stream_count = s->streams;
    p->sides = (struct plane_side *)(base + l.sides);
    p->mixes = (struct plane_mix *)(base + l.mixes), p->mix_count = s->mixes;
    p->packets = base + l.packets, p->packet_count = s->packets;
    p->lengths = (uint16_t *)(base + l.lengths);
    p->arrivals_ns = (int64_t *)(base + l.arrivals);
    p->free_packets = (uint32_t *)(base + l.free_packets);
    p->pcm = (int16_t *)(base + l.pcm), p->pcm_count = s->pcm_blocks;
    p->free_pcm = (uint32_t *)(base + l.free_pcm);
    p->keys = (struct plane_key *)(base + l.keys), p->key_mask = power_of_two(s->streams * 8) - 1;
    p->out_bytes = base + l.out;
    ring_start(&p->commands, base + l.commands, power_of_two(s->commands), sizeof(struct plane_command));
    ring_start(&p->events, base + l.events, power_of_two(s->events), sizeof(struct plane_event));
    ring_start(&p->returned_pcm, base + l.returned, power_of_two(s->pcm_blocks), sizeof(uint32_t));
    atomic_init(&p->done, NULL);
    atomic_init(&p->events_armed, 1);
    for (uint32_t i = 0; i < s->packets; i++) p->free_packets[i] = s->packets - 1 - i; /* the first ones are used most, and stay in cache */
    p->free_count = s->packets;
    for (uint32_t i = 0; i < s->pcm_blocks; i++) p->free_pcm[i] = s->pcm_blocks - 1 - i;
    p->pcm_free_count = s->pcm_blocks;
    for (uint32_t i = 0; i < PLANE_BATCH; i++) p->receive_slots[i] = p->free_packets[--p->free_count];
    for (uint32_t i = 0; i < PLANE_BATCH; i++) p->out[i].bytes = p->out_bytes + (size_t)i * PLANE_PACKET_BYTES;
    for (uint32_t i = 0; i < PLANE_WHEEL; i++) p->wheel[i] = PLANE_NONE;
    for (uint32_t i = 0; i < s->ports; i++) p->ports[i].fd = p->ports[i].control_fd = -1;
    for (uint32_t i = 0; i < s->mixes; i++) p->mixes[i].fifos = (int16_t *)(base + l.fifos) + (size_t)i * 16 * PLANE_FIFO_SAMPLES;
    p->epoll_fd = p->timer_fd = p->command_fd = p->event_fd = -1;
    return p;
}

/* ---- time ---- */

int64_t plane_clock_ns(const struct plane *p) {
    if (p->now_ns) return p->now_ns(p->clock);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* ---- what Python hears ---- */

struct plane_event *plane_tell(struct plane *p, uint32_t kind, uint32_t index, int64_t now_ns) {
    struct plane_event *e = ring_room(&p->events, 0);
    if (!e) {
        p->events_lost++;
        return NULL;
    }
    memset(e, 0, sizeof *e);
    e->kind = kind;
    e->index = index;
    e->time_ns = now_ns;
    return e;
}

void plane_told(struct plane *p) {
    ring_push(&p->events, 1);
    p->told = 1;
}

void plane_event_of(struct plane *p, uint32_t kind, const struct plane_stream *s, uint32_t a, uint32_t b, int64_t now_ns) {
    struct plane_event *e = plane_tell(p, kind, plane_index(p, s), now_ns);
    if (!e) return;
    e->a = a;
    e->b = b;
    e->address = s->latch.current;
    e->position = s->timeline.position;
    plane_told(p);
}

/* Wakes the loop of Python where it sleeps. */
static void wake(struct plane *p) {
    if (!p->told) return;
    p->told = 0;
    atomic_thread_fence(memory_order_seq_cst);
    if (p->event_fd < 0 || !atomic_exchange(&p->events_armed, 0)) return;
    uint64_t one = 1;
    if (write(p->event_fd, &one, sizeof one) < 0) atomic_store(&p->events_armed, 1);
    p->wakeups++;
}

void plane_give_back(struct plane *p, struct plane_done *done) {
    done->next = atomic_load_explicit(&p->done, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&p->done, &done->next, done, memory_order_release, memory_order_relaxed)) {}
    p->told = 1;
}

/* ---- the wheel ---- */

static void wheel_out(struct plane *p, struct plane_stream *s) {
    if (s->slot == PLANE_NONE) return;
    if (s->next != PLANE_NONE) p->streams[s->next].previous = s->previous;
    if (s->previous != PLANE_NONE) p->streams[s->previous].next = s->next;
    else p->wheel[s->slot] = s->next;
    s->slot = PLANE_NONE;
}

static void wheel_in(struct plane *p, struct plane_stream *s) {
    int64_t ahead = (s->next_step_ns - p->wheel_ns + SLOT_NS - 1) / SLOT_NS;
    if (ahead < 0) ahead = 0;
    if (ahead >= PLANE_WHEEL) ahead = PLANE_WHEEL - 1;
    s->slot = (uint32_t)((p->wheel_ns / SLOT_NS + ahead) & (PLANE_WHEEL - 1));
    s->previous = PLANE_NONE;
    s->next = p->wheel[s->slot];
    if (s->next != PLANE_NONE) p->streams[s->next].previous = plane_index(p, s);
    p->wheel[s->slot] = plane_index(p, s);
}

/* Whether a stream has something to do in each packet time: it sends, or plays out at its time. */
static int has_steps(const struct plane_stream *s) { return s->sends || s->mix != PLANE_NONE || s->jitter.settings.mode != JITTER_NONE; }

/* Whether others wait for what a stream does: that, or it hands on. */
static void count_lively(struct plane *p, struct plane_stream *s) {
    uint8_t lively = s->state == 1 && (has_steps(s) || s->relay != PLANE_NONE);
    p->lively_streams += (uint32_t)lively - s->lively;
    s->lively = lively;
}

static int is_quiet_plane(const struct plane *p) { return !p->lively_streams && !p->shared_ports; }

/* A stream that only listens, and has nothing in its buffer, is looked at less often. */
static int is_quiet(const struct plane_stream *s) {
    return !has_steps(s) && !s->jitter.held && !s->events.running;
}

/* Behind a stall that no jitter buffer bears there is no burst of what should have been sent: its time has passed, for timestamps too. */
static void skip_steps(struct plane_stream *s, int64_t now_ns) {
    uint64_t steps = (uint64_t)((now_ns - s->next_step_ns) / s->ptime_ns);
    s->next_step_ns += (int64_t)steps * s->ptime_ns;
    s->timestamp += (uint32_t)(steps * s->send_clock_rate_hz * s->ptime_ms / 1000);
    s->marker = 1;
}

static void run_slot(struct plane *p, uint32_t slot, int64_t now_ns) {
    uint32_t index = p->wheel[slot];
    p->wheel[slot] = PLANE_NONE;
    while (index != PLANE_NONE) {
        struct plane_stream *s = &p->streams[index];
        index = s->next;
        s->slot = PLANE_NONE;
        if (s->state != 1) continue;
        if (s->next_step_ns > now_ns) { /* further ahead than the wheel goes round */
            wheel_in(p, s);
            continue;
        }
        plane_release_due(p, s, now_ns, now_ns);
        plane_idle(p, s, now_ns);
        plane_step(p, s, now_ns);
        s->next_step_ns += is_quiet(s) ? PLANE_QUIET_STEP_NS : s->ptime_ns;
        if (now_ns - s->next_step_ns > STALL_NS) skip_steps(s, now_ns);
        wheel_in(p, s);
    }
}

static void tick(struct plane *p, int64_t now_ns) {
    if (now_ns - p->wheel_ns > 1000000000) p->wheel_ns = now_ns - now_ns % SLOT_NS - (PLANE_WHEEL - 1) * (int64_t)SLOT_NS;
    while (p->wheel_ns <= now_ns) {
        int64_t late_ns = now_ns - p->wheel_ns;
        uint32_t slot = (uint32_t)(p->wheel_ns / SLOT_NS) & (PLANE_WHEEL - 1);
        p->ticks++;
        if (p->ticking) { /* else nobody waits for this slot */
            p->late_ticks += late_ns > SLOT_NS;
            if (late_ns > p->tick_late_max_ns) p->tick_late_max_ns = late_ns;
        }
        p->wheel_ns += SLOT_NS;
        run_slot(p, slot, now_ns);
    }
    for (uint32_t i = 0, left = p->open_mixes; left && i < p->mix_count; i++)
        if (p->mixes[i].state == 1) plane_mix_step(p, &p->mixes[i], now_ns), left--;
}

/* ---- commands ---- */

static void watch(struct plane *p, int fd, uint64_t what) {
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = what};
    epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

/* A port of one stream is read while that is there: what came before waits in the socket for it. */
static void watch_port(struct plane *p, struct plane_port *port) {
    if (port->watched) return;
    uint64_t what = (uint64_t)(port - p->ports) << 1;
    watch(p, port->fd, what);
    if (port->control_fd >= 0) watch(p, port->control_fd, what | 1);
    port->watched = 1;
}

static void unwatch_port(struct plane *p, struct plane_port *port) {
    if (!port->watched) return;
    epoll_ctl(p->epoll_fd, EPOLL_CTL_DEL, port->fd, NULL);
    if (port->control_fd >= 0) epoll_ctl(p->epoll_fd, EPOLL_CTL_DEL, port->control_fd, NULL);
    port->watched = 0;
}

static void open_port(struct plane *p, const struct plane_command *c) {
    struct plane_port *port = &p->ports[c->index];
    const struct sockaddr_storage *local = c->pointer;
    memset(port, 0, sizeof *port);
    port->fd = (int)c->a;
    port->control_fd = (int)c->b;
    port->shared = (uint8_t)c->c;
    port->stream = PLANE_NONE;
    port->state = 1;
    if (local) port->local = *local;
    int on = 1;
    setsockopt(port->fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
    if (port->shared) p->shared_ports++, watch_port(p, port);
}

/* An end is told for certain: where there is no room for it among the events now, `tell_again` finds it by its state. */
static void tell_end(struct plane *p, uint32_t kind, uint32_t index, uint8_t *state, int64_t now_ns) {
    struct plane_event *e = plane_tell(p, kind, index, now_ns);
    *state = e ? 0 : 2;
    if (e) plane_told(p);
    else p->untold++;
}

static void close_port(struct plane *p, uint32_t index, int64_t now_ns) {
    struct plane_port *port = &p->ports[index];
    if (port->state != 1) return;
    p->shared_ports -= port->shared;
    unwatch_port(p, port);
    tell_end(p, PLANE_PORT_CLOSED, index, &port->state, now_ns);
}

static void leave_mix(struct plane *p, struct plane_stream *s) {
    if (s->mix == PLANE_NONE) return;
    struct plane_mix *m = &p->mixes[s->mix];
    uint32_t index = plane_index(p, s), last = m->legs - 1;
    for (uint32_t i = 0; i < m->legs; i++)
        if (m->leg[i] == index) {
            m->leg[i] = m->leg[last];
            m->legs = last;
            break;
        }
    if (!m->legs) m->state = 0, p->open_mixes--;
    s->mix = PLANE_NONE;
    s->fifo = NULL;
}

static int16_t *free_fifo(struct plane *p, const struct plane_mix *m) {
    for (uint32_t i = 0; i < 16; i++) {
        int16_t *fifo = m->fifos + (size_t)i * PLANE_FIFO_SAMPLES;
        int used = 0;
        for (uint32_t k = 0; k < m->legs; k++) used |= p->streams[m->leg[k]].fifo == fifo;
        if (!used) return fifo;
    }
    return NULL;
}

/* Packets of a leg are as long as the steps of its mix. */
static void keep_mix_time(struct plane_stream *s) {
    s->ptime_ms = 20;
    s->ptime_ns = 20000000;
    s->step_samples = s->send_sample_rate_hz / 50;
}

static void join_mix(struct plane *p, struct plane_stream *s, uint32_t mix, uint32_t rate_hz) {
    struct resample probe;
    leave_mix(p, s);
    if (mix >= p->mix_count) return;
    struct plane_mix *m = &p->mixes[mix];
    if (m->state == 1) rate_hz = m->rate_hz;
    if (rate_hz > PLANE_MIX_RATE_MAX_HZ || resample_start(&probe, s->rate_hz, rate_hz) ||
        (s->send_sample_rate_hz && resample_start(&probe, rate_hz, s->send_sample_rate_hz)))
        return;
    if (m->state != 1) m->state = 1, m->legs = 0, m->rate_hz = rate_hz, m->next_ns = 0, p->open_mixes++;
    int16_t *fifo = m->legs < 16 ? free_fifo(p, m) : NULL;
    if (!fifo) return;
    s->fifo = fifo;
    s->fifo_head = s->fifo_tail = s->fifo_primed = 0;
    s->mix = mix;
    resample_start(&s->side->mix_in, s->rate_hz, m->rate_hz);
    resample_start(&s->side->mix_out, m->rate_hz, s->send_sample_rate_hz ? s->send_sample_rate_hz : m->rate_hz);
    m->leg[m->legs++] = plane_index(p, s);
    keep_mix_time(s);
}

static void start_formats(struct plane_stream *s, const struct plane_setup *setup) {
    if (setup->keeps_decoders) return;
    s->last_payload_type = s->last_format.payload_type = 255; /* looked up anew: the decoder that it has is not there any more */
    memset(s->payload_index, 255, sizeof s->payload_index);
    s->format_count = setup->format_count > PLANE_FORMATS ? PLANE_FORMATS : setup->format_count;
    memcpy(s->formats, setup->formats, sizeof s->formats);
    for (uint8_t i = s->format_count; i-- > 0;) {
        const struct plane_format *f = &s->formats[i];
        s->payload_index[f->payload_type & 127] = i;
        if (f->kind == PLANE_EVENT) s->events.clock_rate_hz = f->clock_rate_hz;
    }
    if (s->format_count && !s->rate_hz) s->rate_hz = s->formats[0].sample_rate_hz; /* for good: what comes later at another rate is resampled */
}

static void start_sending(struct plane_stream *s, const struct plane_setup *setup, int fresh, uint32_t phase, int64_t now_ns) {
    s->remote = setup->remote;
    s->remote_control = setup->remote_control;
    int begins = setup->sends && (!s->began_sending || s->send_clock_rate_hz != setup->send_clock_rate_hz);
    if (begins) telephone_event_writer_start(&s->side->digits, setup->event_clock_rate_hz), s->began_sending = 1;
    s->send_payload_type = setup->send_payload_type;
    s->send_codec = setup->send_codec;
    s->send_channels = setup->send_channels ? setup->send_channels : 1;
    s->event_payload_type = setup->event_payload_type;
    s->noise_payload_type = setup->noise_payload_type;
    s->send_clock_rate_hz = setup->send_clock_rate_hz;
    s->send_sample_rate_hz = setup->send_sample_rate_hz;
    s->event_clock_rate_hz = setup->event_clock_rate_hz;
    if (!setup->keeps_encoder) s->encoder = setup->encoder;
    s->send_srtp = setup->send_srtp;
    s->ptime_ms = setup->ptime_ms ? setup->ptime_ms : 20;
    s->ptime_ns = (int64_t)s->ptime_ms * 1000000;
    s->step_samples = (uint32_t)((uint64_t)s->send_sample_rate_hz * s->ptime_ms / 1000);
    if (s->step_samples > PLANE_STEP_SAMPLES || s->step_samples * s->send_channels > CODEC_FRAME_SAMPLES_MAX) s->step_samples = 0;
    if (setup->sends && setup->noise_payload_type != 255 && s->send_sample_rate_hz) dtx_start(&s->side->dtx, s->send_sample_rate_hz);
    if (s->mix != PLANE_NONE) {
        keep_mix_time(s);
        resample_start(&s->side->mix_out, s->side->mix_out.from_hz, s->send_sample_rate_hz);
    }
    s->sends = setup->sends && s->step_samples;
    s->idle_sends = setup->idle_sends;
    s->opens = setup->opens;
    s->next_open_ns = now_ns; /* their address may be another */
    s->sent.clock_rate_hz = setup->send_clock_rate_hz;
    if (!fresh) return;
    s->ssrc = s->sent.ssrc = setup->ssrc;
    s->sequence = setup->first_sequence;
    s->timestamp = setup->first_timestamp;
    s->marker = 1;
    /* Streams are spread over the milliseconds of a packet time, so that no slot of the clock has many more than the others. */
    s->next_step_ns = now_ns - now_ns % 1000000 + s->ptime_ns + (int64_t)(phase % s->ptime_ms) * 1000000;
}

static void set_up(struct plane *p, uint32_t index, const struct plane_setup *setup, int64_t now_ns) {
    struct plane_stream *s = &p->streams[index];
    int fresh = s->state != 1;
    if (fresh) {
        memset(s, 0, sizeof *s);
        s->slot = s->port = s->relay = s->mix = s->pcm_block = PLANE_NONE;
        s->side = &p->sides[index];
        s->gain_4096 = 4096;
        s->opened_ns = s->allowances[0].since_ns = s->allowances[1].since_ns = now_ns;
        s->allowances[0].tokens = s->allowances[1].tokens = 50000;
        s->state = 1;
        s->session.rtt_ms = -1;
        telephone_event_reader_start(&s->events, 8000);
        comfort_noise_start(&s->noise, setup->seed ^ p->seed);
        p->open_streams++;
    }
    start_formats(s, setup);
    if (setup->receives && !s->receives) timeline_renew(&s->timeline); /* behind a hold */
    s->receives = setup->receives;
    s->idle_slack_ms = setup->idle_slack_ms;
    s->timeout_first_ms = setup->timeout_first_ms;
    s->timeout_ms = setup->timeout_ms;
    s->packets_per_s = setup->packets_per_s ? setup->packets_per_s : 50;
    s->rtcp = setup->rtcp;
    s->rtcp_mux = setup->rtcp_mux;
    s->receive_srtp = setup->receive_srtp;
    s->old_receive_srtp = setup->old_receive_srtp;
    s->rtcp_xr = setup->rtcp_xr;
    if (!fresh) plane_key_forget(p, index); /* by what was signalled before */
    s->signalled_ssrc = setup->signalled_ssrc;
    if (fresh) {
        uint32_t clock = s->format_count ? s->formats[0].clock_rate_hz : 8000;
        timeline_start(&s->timeline, setup->origin_ns ? setup->origin_ns : now_ns, clock, s->rate_hz ? s->rate_hz : 8000);
        latch_start(&s->latch, setup->latch_policy, setup->signalled.port ? &setup->signalled : NULL, setup->learn_ms, now_ns);
        s->jitter.settings = setup->jitter;
        plane_forget_heard(s);
        rtcp_session_start(&s->session, setup->cname, setup->cname_length, now_ns, setup->seed ^ p->seed);
        s->session.voip_metrics = setup->rtcp_xr;
    } else {
        if (setup->signalled.port) latch_signalled(&s->latch, &setup->signalled, now_ns);
        s->jitter.settings = setup->jitter;
    }
    if (setup->inband_dtmf && s->rate_hz && !s->tones_rate_hz && !dtmf_reader_start(&s->side->tones, s->rate_hz)) s->tones_rate_hz = s->rate_hz;
    s->inband_dtmf = setup->inband_dtmf && s->tones_rate_hz;
    start_sending(s, setup, fresh, index, now_ns);
    if (s->port != setup->port && setup->port < p->port_count) {
        if (s->port != PLANE_NONE) plane_key_forget(p, index), p->ports[s->port].streams--;
        s->port = setup->port;
        p->ports[s->port].streams++;
    }
    if (s->port != PLANE_NONE && !p->ports[s->port].shared) {
        p->ports[s->port].stream = index;
        if (p->ports[s->port].state == 1) watch_port(p, &p->ports[s->port]);
    }
    if (s->port != PLANE_NONE && p->ports[s->port].shared) plane_key_signalled(p, index);
    if (!fresh) wheel_out(p, s);
    wheel_in(p, s);
    count_lively(p, s);
}

static void end_track(struct plane *p, struct plane_track *track) {
    plane_flush_block(p, track);
    track->kind = 0;
}

static void end_recording(struct plane *p, struct plane_stream *s, int64_t now_ns) {
    plane_end_resampling(p, s, now_ns);
    end_track(p, &s->track);
}

static void close_stream(struct plane *p, struct plane_stream *s, int64_t now_ns) {
    if (s->state != 1) return;
    wheel_out(p, s);
    plane_release_due(p, s, INT64_MAX, now_ns); /* what is held is heard still */
    plane_drop_held(p, s);
    plane_expire_digit(p, s, INT64_MAX, now_ns);
    plane_flush_pcm(p, s, now_ns);
    end_recording(p, s, now_ns);
    end_track(p, &s->capture);
    if (s->rtcp && s->sends) plane_report(p, s, now_ns, 1);
    plane_send(p);
    leave_mix(p, s);
    if (s->relay != PLANE_NONE) p->streams[s->relay].relayed = 0;
    for (uint32_t i = 0; s->relayed && i < p->stream_count; i++)
        if (p->streams[i].state == 1 && p->streams[i].relay == plane_index(p, s)) p->streams[i].relay = PLANE_NONE;
    plane_flush_clips(p, s);
    plane_key_forget(p, plane_index(p, s));
    if (s->port != PLANE_NONE) {
        p->ports[s->port].streams--;
        if (p->ports[s->port].stream == plane_index(p, s)) {
            p->ports[s->port].stream = PLANE_NONE;
            unwatch_port(p, &p->ports[s->port]);
        }
    }
    p->open_streams--;
    p->lively_streams -= s->lively;
    s->lively = 0;
    tell_end(p, PLANE_STREAM_CLOSED, plane_index(p, s), &s->state, now_ns);
}

static void add_clip(struct plane *p, struct plane_stream *s, struct plane_clip *clip) {
    clip->next = NULL;
    if (s->state != 1) {
        clip->flushed = 1;
        plane_give_back(p, &clip->done);
        return;
    }
    if (s->last_clip) s->last_clip->next = clip;
    else s->clips = clip;
    s->last_clip = clip;
}

static void record(struct plane *p, struct plane_stream *s, const struct plane_command *c, int64_t now_ns) {
    struct plane_track *t = &s->track;
    end_recording(p, s, now_ns);
    t->recording = c->a;
    t->generation = c->b;
    t->track = (uint8_t)(c->c & 255);
    t->kind = (uint8_t)(c->c >> 8);
    t->law = (uint8_t)(c->c >> 16);
    t->rate_hz = c->d;
    t->paused = t->shut = 0;
    if (!s->rate_hz || !t->rate_hz || (t->kind == WRITER_PCM && t->rate_hz != s->rate_hz && resample_start(&s->side->track, s->rate_hz, t->rate_hz))) {
        t->kind = 0;
        return;
    }
    /* The moment of the stream's next sample, on the clock of the recording that began at time_ns. */
    double next_ns = (double)(s->timeline.origin_ns - c->time_ns) + (double)s->timeline.position * 1e9 / s->rate_hz;
    double at = next_ns * t->rate_hz / 1e9;
    t->position = (int64_t)(at < 0 ? at - 0.5 : at + 0.5);
    if (t->kind == WRITER_PCM && t->rate_hz != s->rate_hz) t->position -= resample_delay(&s->side->track); /* what comes out first is older than what goes in */
}

static void listen_to(struct plane *p, struct plane_stream *s, const struct plane_command *c, int64_t now_ns) {
    plane_flush_pcm(p, s, now_ns);
    s->listen_samples = 0;
    if (!c->a || !s->rate_hz) return;
    s->listen_rate_hz = c->b ? c->b : s->rate_hz;
    uint64_t samples = (uint64_t)s->listen_rate_hz * c->a / 1000;
    if (!samples || samples > PLANE_BLOCK_SAMPLES || (s->listen_rate_hz != s->rate_hz && resample_start(&s->side->listen, s->rate_hz, s->listen_rate_hz))) return;
    s->listen_samples = (uint32_t)samples;
    s->pcm_position = (int64_t)((double)s->timeline.position * s->listen_rate_hz / s->rate_hz);
}

/* Payload types are the same on both sides, but for those that name the same format by another number. */
static void map_payload_types(struct plane_stream *to, const struct plane_stream *from) {
    memset(to->relay_map, 255, sizeof to->relay_map);
    for (uint8_t i = 0; i < from->format_count; i++)
        for (uint8_t k = 0; k < to->format_count; k++) {
            const struct plane_format *a = &from->formats[i], *b = &to->formats[k];
            if (a->kind == b->kind && a->codec == b->codec && a->clock_rate_hz == b->clock_rate_hz && a->channels == b->channels) {
                to->relay_map[a->payload_type & 127] = b->payload_type;
                break;
            }
        }
}

static void relay_to(struct plane *p, struct plane_stream *s, const struct plane_command *c) {
    if (s->relay != PLANE_NONE) p->streams[s->relay].relayed = 0;
    s->relay = c->a < p->stream_count && p->streams[c->a].state == 1 ? c->a : PLANE_NONE;
    if (s->relay == PLANE_NONE) return;
    p->streams[s->relay].relayed = 1;
    map_payload_types(&p->streams[s->relay], s);
}

/* What comes while it is paused stays silent, also what waits in the socket when that ends: the first packet that came later opens the track. */
static void pause_track(struct plane_track *t, const struct plane_command *c) {
    if (c->a) t->shut = 1;
    else if (t->paused) t->resumed_ns = c->time_ns;
    t->paused = (uint8_t)c->a;
}

static void command_of_stream(struct plane *p, struct plane_stream *s, const struct plane_command *c, int64_t now_ns) {
    switch (c->kind) {
    case PLANE_CLOSE_STREAM: close_stream(p, s, now_ns); break;
    case PLANE_FLUSH: plane_flush_clips(p, s); break;
    case PLANE_DIGIT:
        if (!s->began_sending || telephone_event_queue(&s->side->digits, (uint8_t)c->a, (uint8_t)c->b, (uint16_t)c->c, (uint16_t)c->d)) s->counts.digits_refused++;
        break;
    case PLANE_RECORD: record(p, s, c, now_ns); break;
    case PLANE_STOP_RECORD:
        if (c->a) end_track(p, &s->capture);
        else end_recording(p, s, now_ns);
        break;
    case PLANE_PAUSE: pause_track(&s->track, c); break;
    case PLANE_LISTEN: listen_to(p, s, c, now_ns); break;
    case PLANE_RELAY: relay_to(p, s, c), count_lively(p, s); break;
    case PLANE_JOIN: join_mix(p, s, c->a, c->b), count_lively(p, s); break;
    case PLANE_GAIN: s->gain_4096 = c->a; break;
    case PLANE_CAPTURE:
        end_track(p, &s->capture);
        s->capture.recording = c->a;
        s->capture.generation = c->b;
        s->capture.track = (uint8_t)c->c;
        s->capture.kind = WRITER_PACKETS;
        break;
    default: break;
    }
}

/* Says behind the last block of a recording that nothing follows; later, where the disk is behind. */
static void end_recordings(struct plane *p) {
    while (p->end_count) {
        struct writer_block *b = p->writer ? writer_take(p->writer) : NULL;
        if (!b) return;
        b->recording = p->ends[p->end_count - 1].recording;
        b->generation = p->ends[p->end_count - 1].generation;
        b->kind = WRITER_END;
        b->track = 0;
        b->used = 0;
        b->samples = 0;
        b->position = 0;
        writer_give(p->writer, b);
        p->end_count--;
    }
}

static void obey(struct plane *p, const struct plane_command *c, int64_t now_ns) {
    p->commands_done++;
    switch (c->kind) {
    case PLANE_STOP: p->stopping = 1; return;
    case PLANE_OPEN_PORT: if (c->index < p->port_count) open_port(p, c); return;
    case PLANE_CLOSE_PORT: if (c->index < p->port_count) close_port(p, c->index, now_ns); return;
    case PLANE_SETUP: {
        struct plane_setup *setup = c->pointer;
        if (c->index < p->stream_count) set_up(p, c->index, setup, now_ns);
        plane_give_back(p, &setup->done);
        return;
    }
    case PLANE_END_RECORDING:
        if (p->end_count == PLANE_ENDS) p->ends_lost++;
        else p->ends[p->end_count].recording = c->a, p->ends[p->end_count++].generation = c->b;
        end_recordings(p);
        return;
    case PLANE_PLAY: if (c->index < p->stream_count) add_clip(p, &p->streams[c->index], c->pointer); return;
    default:
        if (c->index < p->stream_count && p->streams[c->index].state == 1) command_of_stream(p, &p->streams[c->index], c, now_ns);
    }
}

void plane_obey(struct plane *p, int64_t now_ns) {
    const struct plane_command *c;
    while ((c = ring_next(&p->commands)) != NULL) {
        obey(p, c, now_ns);
        ring_pop(&p->commands);
    }
    const uint32_t *block;
    while ((block = ring_next(&p->returned_pcm)) != NULL) {
        if (*block < p->pcm_count && p->pcm_free_count < p->pcm_count) p->free_pcm[p->pcm_free_count++] = *block;
        ring_pop(&p->returned_pcm);
    }
}

/* Ends that could not be told because the ring of events was full. */
static void tell_again(struct plane *p, int64_t now_ns) {
    p->untold = 0;
    for (uint32_t i = 0; i < p->stream_count; i++)
        if (p->streams[i].state == 2) tell_end(p, PLANE_STREAM_CLOSED, i, &p->streams[i].state, now_ns);
    for (uint32_t i = 0; i < p->port_count; i++)
        if (p->ports[i].state == 2) tell_end(p, PLANE_PORT_CLOSED, i, &p->ports[i].state, now_ns);
}

/* ---- the loop ---- */

/* The timer runs while something is due by the millisecond. */
static void keep_time(struct plane *p) {
    uint32_t wanted = p->open_streams && !is_quiet_plane(p);
    if (wanted == p->ticking || p->timer_fd < 0) return;
    struct itimerspec every = {{0, wanted ? SLOT_NS : 0}, {p->wheel_ns / 1000000000, p->wheel_ns % 1000000000}};
    if (!wanted) memset(&every, 0, sizeof every);
    if (!timerfd_settime(p->timer_fd, TFD_TIMER_ABSTIME, &every, NULL)) p->ticking = wanted;
}

static int wait_ms(const struct plane *p, int64_t now_ns) {
    if (!p->open_streams) return 1000;
    if (is_quiet_plane(p)) return QUIET_WAIT_MS;
    return p->wheel_ns <= now_ns ? 0 : 1 + (int)((p->wheel_ns - now_ns) / SLOT_NS);
}

/* Under load datagrams come one by one between two calls; a short rest makes many of them one call. The clock's next slot ends it. A plane that only listens rests behind
   each call, and for longer: whoever shares its core runs on with warm caches meanwhile, and when a packet came is what the kernel says. */
static void rest(const struct plane *p, int64_t now_ns, uint64_t datagrams) {
    int quiet = p->open_streams && is_quiet_plane(p);
    if (!quiet && datagrams < BUSY_DATAGRAMS) return;
    int64_t until_ns = now_ns + (quiet ? PLANE_QUIET_REST_NS : PLANE_COALESCE_NS);
    if (p->open_streams && !quiet && until_ns > p->wheel_ns) until_ns = p->wheel_ns;
    if (until_ns <= now_ns + 20000) return;
    struct timespec until = {until_ns / 1000000000, until_ns % 1000000000};
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

/* Packets are stamped by the clock of the wall. Where that was set since the last round, the stamps of this one say nothing. */
static void compare_clocks(struct plane *p) {
    struct timespec wall;
    if (p->now_ns) return;
    for (int tries = 0; tries < 3; tries++) {
        const int64_t before_ns = plane_clock_ns(p);
        clock_gettime(CLOCK_REALTIME, &wall);
        if (plane_clock_ns(p) - before_ns > CLOCKS_READ_NS) continue; /* this thread stood still between the two: that says nothing of them */
        const int64_t offset_ns = before_ns - ((int64_t)wall.tv_sec * 1000000000 + wall.tv_nsec), moved_ns = offset_ns - p->stamp_offset_ns;
        p->stamps_known = moved_ns < CLOCKS_APART_NS && moved_ns > -CLOCKS_APART_NS;
        p->stamp_offset_ns = offset_ns;
        return;
    }
}

int plane_round(struct plane *p, int wait) {
    struct epoll_event ready[EVENTS_A_ROUND];
    uint64_t before = p->datagrams, heard;
    int64_t now_ns = plane_clock_ns(p);
    if (!p->open_streams) p->wheel_ns = now_ns - now_ns % SLOT_NS; /* nothing hangs in the wheel */
    plane_obey(p, now_ns);
    keep_time(p);
    int count = epoll_wait(p->epoll_fd, ready, EVENTS_A_ROUND, wait ? wait_ms(p, now_ns) : 0);
    p->loops++;
    now_ns = plane_clock_ns(p);
    if (!p->open_streams) p->wheel_ns = now_ns - now_ns % SLOT_NS;
    plane_obey(p, now_ns); /* what was said meanwhile holds for what came meanwhile */
    p->unread = 0;
    compare_clocks(p);
    for (int i = 0; i < count; i++) {
        uint64_t what = ready[i].data.u64;
        if (what == WATCH_TIMER || what == WATCH_COMMANDS) {
            if (read(what == WATCH_TIMER ? p->timer_fd : p->command_fd, &heard, sizeof heard) < 0 && errno != EAGAIN) p->stopping = 1;
        } else if (p->ports[what >> 1].state == 1) {
            plane_receive(p, &p->ports[what >> 1], (int)(what & 1));
        }
    }
    now_ns = plane_clock_ns(p);
    if (p->open_streams && now_ns >= p->wheel_ns) tick(p, now_ns);
    plane_send(p);
    if (p->untold) tell_again(p, now_ns);
    if (p->end_count) end_recordings(p);
    wake(p);
    if (wait && count < EVENTS_A_ROUND && !p->unread) rest(p, now_ns, p->datagrams - before);
    return p->stopping != 0;
}

void plane_run(struct plane *p) {
    watch(p, p->timer_fd, WATCH_TIMER);
    watch(p, p->command_fd, WATCH_COMMANDS);
    while (!plane_round(p, 1)) {}
    int64_t now_ns = plane_clock_ns(p);
    plane_obey(p, now_ns);
    for (uint32_t i = 0; i < p->stream_count; i++) close_stream(p, &p->streams[i], now_ns);
    for (uint32_t i = 0; i < p->port_count; i++) close_port(p, i, now_ns);
    struct plane_event *e = plane_tell(p, PLANE_STOPPED, 0, now_ns);
    if (e) plane_told(p);
    wake(p);
}
