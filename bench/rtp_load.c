/* Sends RTP streams at their pace and meters what comes back: `rtp_load PLAN STREAMS`.

   PLAN (see bench/rtp_load.py, which writes it) has sockets that the caller opened, streams, a signal, and what is to happen to which packet. All that is
   due in a step goes out by sendmmsg; what came in is drained after it, and timed by the kernel, so that it does not matter when it is read. One thread; a
   second one only watches whether the subject's core was away: it sleeps for 1 ms again and again there, before all others, and notes when it was
   kept waiting.
   A result is printed as JSON; one record a stream goes to STREAMS. Exit code 2: the plan is not one. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { STAMP = 1, GRID = 2 };
enum { SEND = 0, LOSE = 1, TWICE = 2 };
enum { BATCH = 64, PACKET_BYTES = 1500, STAMP_BYTES = 24, HEADER_BYTES = 12, CALM = 10, STEP_NS = 250000, WHEEL = 4096, PAUSES = 65536, PAUSE_NS = 500000, PAUSE_TAIL_NS = 5000000, TICK_NS = 500000 };
enum { SUB = 32, UNIT_SHIFT = 7, BUCKETS = 24 * SUB };
static const uint32_t STAMP_MARK = 0x4b4c5254;

struct plan {
    char magic[8];
    uint32_t sockets, streams, actions, signal_bytes, strangers, junk_socket;
    uint32_t interval_us, payload_bytes, packets /* a stream */, linger_ms, junk_per_s, seed, flags, batch, watch_core /* UINT32_MAX: none */;
};
struct plan_stream {
    uint32_t socket, address /* network order */, ssrc, timestamp, action_at, signal_at;
    uint16_t port, sequence;
    uint8_t payload_type, marker, unused[2];
};
struct stamp { uint32_t mark, stream; uint64_t sent_ns; uint32_t number, spare; };

struct histogram { uint64_t count, max_ns; uint32_t buckets[BUCKETS]; };
struct arrival { int64_t number, at_ns; };
struct heard {
    uint32_t ssrc;
    uint64_t sent, received, twice, reordered, damaged;
    int64_t first, highest;
    uint8_t *seen; /* a bit a packet */
    struct arrival *arrivals;
    struct histogram latency;
};
struct record { /* of the result file */
    uint32_t ssrc, spare;
    uint64_t sent, received, twice, reordered, damaged, missing;
    double p50_us, p99_us, p999_us, max_us;
};
struct pause { int64_t begin_ns, end_ns; };
struct held { uint32_t stream, number, next; };

static struct plan plan;
static const int32_t *fds;
static const struct plan_stream *streams;
static const uint32_t *actions;
static const uint8_t *signal_bytes;
static struct heard *heard;
static uint32_t heard_count, heard_capacity, hash_mask, *hash_slots;
static struct histogram lateness, latency, deviation, steady /* of what came in no pause */, away;
static atomic_int watching;
static struct pause pauses[PAUSES];
static uint32_t pause_count;
static uint64_t sent, lost, junk_sent, refused, strangers_dropped, received_all, unknown, meter_drops, off_grid;
static uint64_t packets_max;

static int64_t now_ns(clockid_t clock) {
    struct timespec at;
    clock_gettime(clock, &at);
    return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

static void *need(size_t count, size_t size) {
    void *place = calloc(count ? count : 1, size);
    if (!place) { perror("rtp_load"); exit(1); }
    return place;
}

/* Histograms: 32 steps an octave, from 128 ns. */

static unsigned bucket_of(uint64_t ns) {
    uint64_t units = ns >> UNIT_SHIFT;
    if (units < SUB) return (unsigned)units;
    unsigned top = 63 - (unsigned)__builtin_clzll(units);
    unsigned at = (top - 4) * SUB + (unsigned)(units >> (top - 5)) - SUB;
    return at < BUCKETS ? at : BUCKETS - 1;
}

static uint64_t upper_ns(unsigned bucket) {
    if (bucket < SUB) return (uint64_t)(bucket + 1) << UNIT_SHIFT;
    unsigned top = bucket / SUB + 4;
    return ((uint64_t)(bucket % SUB + SUB + 1) << (top - 5)) << UNIT_SHIFT;
}

static void note(struct histogram *h, int64_t ns) {
    uint64_t value = ns > 0 ? (uint64_t)ns : 0;
    h->count++;
    if (value > h->max_ns) h->max_ns = value;
    h->buckets[bucket_of(value)]++;
}

static double percentile_us(const struct histogram *h, double share) {
    uint64_t want = (uint64_t)((double)h->count * share), found = 0;
    if (!h->count) return 0;
    for (unsigned at = 0; at < BUCKETS; at++) {
        found += h->buckets[at];
        if (found > want) return (double)(upper_ns(at) < h->max_ns ? upper_ns(at) : h->max_ns) / 1e3;
    }
    return (double)h->max_ns / 1e3;
}

/* Streams that are heard: those of the plan by their number, others by SSRC as they come. */

static uint32_t find(uint32_t ssrc, int add) {
    uint32_t at = (ssrc * 2654435761u) & hash_mask;
    for (; hash_slots[at]; at = (at + 1) & hash_mask)
        if (heard[hash_slots[at] - 1].ssrc == ssrc) return hash_slots[at] - 1;
    if (!add || heard_count == heard_capacity) return UINT32_MAX;
    struct heard *one = &heard[heard_count];
    one->ssrc = ssrc;
    one->first = -1;
    one->seen = need(packets_max / 8 + 1, 1);
    if (plan.flags & GRID) one->arrivals = need(packets_max, sizeof *one->arrivals);
    hash_slots[at] = ++heard_count;
    return heard_count - 1;
}

static uint32_t load32(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }
static void store32(uint8_t *p, uint32_t v) { p[0] = (uint8_t)(v >> 24); p[1] = (uint8_t)(v >> 16); p[2] = (uint8_t)(v >> 8); p[3] = (uint8_t)v; }

/* The number of a packet in its stream, from its 16-bit sequence number and the highest before (RFC 3550 A.1). */
static int64_t number_of(struct heard *one, uint16_t sequence) {
    if (one->first < 0) return one->first = one->highest = sequence + 65536;
    return one->highest + (int16_t)(sequence - (uint16_t)one->highest);
}

static void hear(const uint8_t *bytes, size_t length, int64_t at_ns) {
    struct stamp stamp;
    struct heard *one;
    int64_t number;
    received_all++;
    if (length < HEADER_BYTES || bytes[0] >> 6 != 2) { unknown++; return; }
    size_t payload = HEADER_BYTES + (bytes[0] & 15) * 4u;
    memset(&stamp, 0, sizeof stamp);
    if (plan.flags & STAMP && length >= payload + STAMP_BYTES) memcpy(&stamp, bytes + payload, sizeof stamp);
    if (plan.flags & STAMP) {
        if (stamp.mark != STAMP_MARK || stamp.stream >= plan.streams || stamp.number >= packets_max) { unknown++; return; }
        one = &heard[stamp.stream];
        number = stamp.number;
        const struct plan_stream *s = &streams[stamp.stream];
        size_t body = plan.payload_bytes - STAMP_BYTES;
        uint64_t from = (s->signal_at + (uint64_t)stamp.number * plan.payload_bytes) % plan.signal_bytes;
        if (length != payload + plan.payload_bytes || memcmp(bytes + payload + STAMP_BYTES, signal_bytes + from + STAMP_BYTES, body)) one->damaged++;
        note(&latency, at_ns - (int64_t)stamp.sent_ns);
        note(&one->latency, at_ns - (int64_t)stamp.sent_ns);
    } else {
        uint32_t index = find(load32(bytes + 8), 1);
        if (index == UINT32_MAX) { strangers_dropped++; return; }
        one = &heard[index];
        number = number_of(one, (uint16_t)(bytes[2] << 8 | bytes[3]));
    }
    if (number > one->highest || !one->received) one->highest = number;
    else one->reordered++;
    int64_t bit = plan.flags & STAMP ? number : number - one->first + 64; /* what came before the first may be a little earlier */
    if (bit < 0 || (uint64_t)bit >= packets_max) { unknown++; return; }
    if (one->seen[bit / 8] & 1 << bit % 8) { one->twice++; one->reordered -= one->reordered > 0; return; }
    one->seen[bit / 8] |= (uint8_t)(1 << bit % 8);
    if (one->arrivals) one->arrivals[one->received] = (struct arrival){number, at_ns};
    one->received++;
}

static struct mmsghdr in_messages[BATCH], out_messages[BATCH];
static struct iovec in_parts[BATCH], out_parts[BATCH];
static uint8_t in_bytes[BATCH][PACKET_BYTES], out_bytes[BATCH][PACKET_BYTES];
static char in_control[BATCH][128];
static struct sockaddr_in out_to[BATCH];
static uint32_t out_socket[BATCH], out_count;
static int64_t out_due[BATCH]; /* 0: junk */

static uint64_t drops_of(struct msghdr *header, int64_t *at_ns, uint64_t drops) {
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c)) {
        if (c->cmsg_level != SOL_SOCKET) continue;
        if (c->cmsg_type == SCM_TIMESTAMPNS) {
            struct timespec at;
            memcpy(&at, CMSG_DATA(c), sizeof at);
            *at_ns = (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
        } else if (c->cmsg_type == SO_RXQ_OVFL) {
            uint32_t told;
            memcpy(&told, CMSG_DATA(c), sizeof told);
            drops = told;
        }
    }
    return drops;
}

static void drain(int epoll, uint64_t *drops) {
    struct epoll_event ready[64];
    for (int round = 0; round < 64; round++) {
        int count = epoll_wait(epoll, ready, 64, 0);
        if (count <= 0) return;
        for (int at = 0; at < count; at++) {
            uint32_t index = ready[at].data.u32;
            for (int i = 0; i < BATCH; i++) in_messages[i].msg_hdr.msg_controllen = sizeof in_control[i];
            int got = recvmmsg(fds[index], in_messages, BATCH, MSG_DONTWAIT, NULL);
            for (int i = 0; i < got; i++) {
                int64_t at_ns = 0;
                drops[index] = drops_of(&in_messages[i].msg_hdr, &at_ns, drops[index]);
                hear(in_bytes[i], in_messages[i].msg_len, at_ns);
            }
        }
    }
}

static void flush(void) {
    for (uint32_t at = 0; at < out_count;) {
        uint32_t end = at + 1;
        while (end < out_count && end - at < plan.batch && out_socket[end] == out_socket[at]) end++;
        uint64_t stamp_ns = (uint64_t)now_ns(CLOCK_REALTIME);
        int64_t now = now_ns(CLOCK_MONOTONIC);
        for (uint32_t i = at; i < end; i++) {
            if (!out_due[i]) continue;
            note(&lateness, now - out_due[i]);
            if (plan.flags & STAMP) memcpy(out_bytes[i] + HEADER_BYTES + offsetof(struct stamp, sent_ns), &stamp_ns, 8);
        }
        while (at < end) {
            int done = sendmmsg(fds[out_socket[at]], out_messages + at, end - at, 0);
            if (done <= 0) { refused++; done = 1; } /* this one could not be sent; the rest may */
            at += (uint32_t)done;
        }
    }
    out_count = 0;
}

static uint8_t *slot(uint32_t socket, const struct plan_stream *to, size_t length, int64_t due) {
    if (out_count == BATCH) flush();
    out_to[out_count].sin_addr.s_addr = to->address;
    out_to[out_count].sin_port = htons(to->port);
    out_parts[out_count].iov_len = length;
    out_socket[out_count] = socket;
    out_due[out_count] = due;
    return out_bytes[out_count++];
}

static void send_packet(uint32_t index, uint32_t number, int64_t due) {
    const struct plan_stream *s = &streams[index];
    uint8_t *p = slot(s->socket, s, HEADER_BYTES + plan.payload_bytes, due);
    uint16_t sequence = (uint16_t)(s->sequence + number);
    p[0] = 0x80;
    p[1] = (uint8_t)(s->payload_type | (s->marker && !number ? 0x80 : 0));
    p[2] = (uint8_t)(sequence >> 8);
    p[3] = (uint8_t)sequence;
    store32(p + 4, s->timestamp + number * plan.payload_bytes); /* G.711: a byte a sample */
    store32(p + 8, s->ssrc);
    memcpy(p + HEADER_BYTES, signal_bytes + (s->signal_at + (uint64_t)number * plan.payload_bytes) % plan.signal_bytes, plan.payload_bytes);
    if (plan.flags & STAMP) {
        struct stamp stamp = {STAMP_MARK, index, 0, number, 0};
        memcpy(p + HEADER_BYTES, &stamp, sizeof stamp);
    }
    sent++;
    if (index < heard_count) heard[index].sent++;
}

static uint64_t random_state;
static uint64_t next_random(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    return random_state ^= random_state << 17;
}

/* Bytes that are no packet of any stream: noise, RTP of nobody, a header cut short, a STUN request that is none. */
static void send_junk(void) {
    uint64_t r = next_random();
    size_t length = (r >> 8) % 400;
    uint8_t *p = slot(plan.junk_socket, &streams[(r >> 20) % plan.streams], length, 0);
    for (size_t at = 0; at < length; at += 8) {
        uint64_t word = next_random();
        memcpy(p + at, &word, 8);
    }
    if (r % 4 == 1) p[0] = 0x80, p[1] = (uint8_t)(r >> 40 & 1 ? 0 : 8);
    if (r % 4 == 2) p[0] = 0x80, out_parts[out_count - 1].iov_len = (r >> 40) % HEADER_BYTES;
    if (r % 4 == 3) p[0] = 0, p[1] = 1, memcpy(p + 4, "\x21\x12\xa4\x42", 4);
    junk_sent++;
}

/* Packets that are to go later than their slot. */
static struct held *pool;
static uint32_t pool_free, pool_size, wheel[WHEEL];
static int64_t wheel_at, wheel_held;

static void hold(uint32_t stream, uint32_t number, int64_t at_ns) {
    int64_t tick = at_ns / TICK_NS;
    if (tick <= wheel_at) tick = wheel_at + 1;
    if (!pool_free || tick - wheel_at >= WHEEL) { fprintf(stderr, "rtp_load: delay too long\n"); exit(1); }
    uint32_t place = pool_free, *head = &wheel[tick % WHEEL];
    pool_free = pool[place].next;
    pool[place] = (struct held){stream, number, *head};
    *head = place;
    wheel_held++;
}

static void release(int64_t now) {
    for (; wheel_at < now / TICK_NS; ) {
        wheel_at++;
        uint32_t place = wheel[wheel_at % WHEEL];
        wheel[wheel_at % WHEEL] = 0;
        while (place) {
            uint32_t next = pool[place].next;
            send_packet(pool[place].stream, pool[place].number, wheel_at * TICK_NS);
            pool[place].next = pool_free;
            pool_free = place;
            place = next;
            wheel_held--;
        }
    }
}

/* The first and the last packets of a stream are left alone, so that each that is lost leaves a gap. */
static void due(uint32_t stream, uint32_t number, int64_t at_ns) {
    int calm = number < CALM || number + CALM >= plan.packets || !plan.actions;
    uint32_t action = !calm ? actions[(streams[stream].action_at + number) % plan.actions] : SEND;
    uint32_t kind = action & 255, delay_us = action >> 8;
    if (kind == LOSE) { lost++; return; }
    if (delay_us) hold(stream, number, at_ns + delay_us * 1000ll);
    else send_packet(stream, number, at_ns);
    if (kind == TWICE) send_packet(stream, number, at_ns);
}

static void run(int epoll, uint64_t *drops) {
    uint64_t total = (uint64_t)plan.packets * plan.streams, at = 0, junk = 0;
    int64_t interval_ns = plan.interval_us * 1000ll, start = now_ns(CLOCK_MONOTONIC) + 20000000, wake = start;
    int64_t sending_ns = interval_ns * plan.packets, end = start + sending_ns + plan.linger_ms * 1000000ll;
    uint64_t junk_total = plan.streams ? plan.junk_per_s * (uint64_t)(sending_ns / 1000) / 1000000 : 0;
    wheel_at = start / TICK_NS;
    for (;;) {
        int64_t now = now_ns(CLOCK_MONOTONIC);
        if (now >= end && at == total && !wheel_held) break;
        if (!total) note(&lateness, now - wake); /* it has nothing to send, and is not to be away either */
        for (int burst = 0; at < total && burst < 2048; at++, burst++) {
            uint64_t stream = at % plan.streams, number = at / plan.streams;
            int64_t slot_ns = start + (int64_t)number * interval_ns + (int64_t)(stream * (uint64_t)interval_ns / plan.streams);
            if (slot_ns > now) break;
            due((uint32_t)stream, (uint32_t)number, slot_ns);
        }
        if (wheel_held) release(now);
        else wheel_at = now / TICK_NS;
        while (junk < junk_total && start + (int64_t)(junk * 1000000000 / plan.junk_per_s) <= now) send_junk(), junk++;
        flush();
        drain(epoll, drops);
        wake += STEP_NS;
        if (wake <= now) wake = now + 1;
        struct timespec until = {wake / 1000000000, wake % 1000000000};
        if (wake > now_ns(CLOCK_MONOTONIC)) clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    }
}

static void *watch(void *unused) {
    struct sched_param param = {.sched_priority = 10};
    pthread_setschedparam(pthread_self(), SCHED_FIFO, &param); /* where it may not, it says more than there was */
    prctl(PR_SET_TIMERSLACK, 1ul);
    while (atomic_load_explicit(&watching, memory_order_relaxed)) {
        int64_t wake = now_ns(CLOCK_MONOTONIC) + 1000000;
        struct timespec until = {wake / 1000000000, wake % 1000000000};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        int64_t late_ns = now_ns(CLOCK_MONOTONIC) - wake, now = now_ns(CLOCK_REALTIME);
        note(&away, late_ns);
        if (late_ns > PAUSE_NS && pause_count < PAUSES) pauses[pause_count++] = (struct pause){now - late_ns, now + PAUSE_TAIL_NS};
    }
    return unused;
}

/* Takes away what came before the kernel notes the times of packets, which it begins to do some time after it was asked: until a datagram to ourselves, read
   20 ms later, has the time at which it was sent. */
static int forget(void) {
    struct sockaddr_in here;
    socklen_t length = sizeof here;
    struct timespec pause = {0, 20000000};
    if (!plan.sockets || getsockname(fds[0], (struct sockaddr *)&here, &length)) return 0;
    for (int round = 0; round < 100; round++) {
        int noted = 0, got;
        int64_t sent_ns = now_ns(CLOCK_REALTIME);
        sendto(fds[0], "", 1, 0, (struct sockaddr *)&here, length);
        nanosleep(&pause, NULL);
        for (uint32_t at = 0; at < plan.sockets; at++) {
            do {
                for (int i = 0; i < BATCH; i++) in_messages[i].msg_hdr.msg_controllen = sizeof in_control[i];
                got = recvmmsg(fds[at], in_messages, BATCH, MSG_DONTWAIT, NULL);
                for (int i = 0; i < got; i++) {
                    int64_t at_ns = 0;
                    drops_of(&in_messages[i].msg_hdr, &at_ns, 0);
                    noted |= in_messages[i].msg_len == 1 && at_ns - sent_ns < pause.tv_nsec / 2;
                }
            } while (got > 0);
        }
        if (noted) return 1;
    }
    fprintf(stderr, "rtp_load: the kernel notes no times\n");
    return 0;
}

static int by_origin(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Whether the machine itself kept everybody waiting then. */
static int in_pause(int64_t at_ns) {
    uint32_t low = 0, high = pause_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (pauses[middle].end_ns < at_ns) low = middle + 1;
        else high = middle;
    }
    return low < pause_count && pauses[low].begin_ns <= at_ns;
}

/* How far packets came from the grid of their stream: its origin is the median, so that nobody's word is needed for it. */
static void judge_grid(void) {
    int64_t interval_ns = plan.interval_us * 1000ll, *origins = need(packets_max, sizeof *origins);
    for (uint32_t index = 0; index < heard_count; index++) {
        struct heard *one = &heard[index];
        if (one->received < 2) continue;
        for (uint64_t i = 0; i < one->received; i++) origins[i] = one->arrivals[i].at_ns - one->arrivals[i].number * interval_ns;
        qsort(origins, one->received, sizeof *origins, by_origin);
        int64_t origin = origins[one->received / 2];
        for (uint64_t i = 0; i < one->received; i++) {
            int64_t off = llabs(one->arrivals[i].at_ns - one->arrivals[i].number * interval_ns - origin);
            note(&deviation, off);
            if (!in_pause(one->arrivals[i].at_ns)) note(&steady, off);
            note(&one->latency, off);
            off_grid += off > 1000000;
        }
    }
    free(origins);
}

static void told(const char *name, const struct histogram *h) {
    printf("\"%s\":{\"count\":%llu,\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f},", name, (unsigned long long)h->count,
           percentile_us(h, .5), percentile_us(h, .99), percentile_us(h, .999), (double)h->max_ns / 1e3);
}

static void tell(const char *path, double wall_s, int64_t clock_step_ns) {
    uint64_t received = 0, missing = 0, twice = 0, reordered = 0, damaged = 0;
    FILE *out = fopen(path, "wb");
    if (!out) { perror(path); exit(1); }
    for (uint32_t index = 0; index < heard_count; index++) {
        struct heard *h = &heard[index];
        uint64_t expected = h->sent;
        if (!(plan.flags & STAMP)) { /* from what is heard alone; for a stream of the plan that nobody answers, nothing */
            int64_t lowest = h->highest;
            for (uint64_t bit = 0; bit < packets_max; bit++)
                if (h->seen[bit / 8] & 1 << bit % 8) { lowest = h->first - 64 + (int64_t)bit; break; }
            expected = h->received ? (uint64_t)(h->highest - lowest + 1) : 0;
        }
        struct record r = {h->ssrc, 0, h->sent, h->received, h->twice, h->reordered, h->damaged, expected > h->received ? expected - h->received : 0,
                           percentile_us(&h->latency, .5), percentile_us(&h->latency, .99), percentile_us(&h->latency, .999), (double)h->latency.max_ns / 1e3};
        received += r.received; missing += r.missing; twice += r.twice; reordered += r.reordered; damaged += r.damaged;
        fwrite(&r, sizeof r, 1, out);
    }
    if (fclose(out)) { perror(path); exit(1); }
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    double cpu_s = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
    printf("{");
    told("lateness", &lateness);
    told("latency", &latency);
    told("deviation", &deviation);
    told("steady", &steady);
    told("away", &away);
    printf("\"sent\":%llu,\"lost_on_purpose\":%llu,\"junk\":%llu,\"refused\":%llu,\"received\":%llu,\"missing\":%llu,\"twice\":%llu,\"reordered\":%llu,"
           "\"damaged\":%llu,\"unknown\":%llu,\"meter_drops\":%llu,\"off_grid\":%llu,\"heard\":%u,\"pauses\":%u,\"cpu_s\":%.4f,\"wall_s\":%.4f,\"clock_step_us\":%.1f}\n",
           (unsigned long long)sent, (unsigned long long)lost, (unsigned long long)junk_sent, (unsigned long long)refused, (unsigned long long)received,
           (unsigned long long)missing, (unsigned long long)twice, (unsigned long long)reordered, (unsigned long long)damaged,
           (unsigned long long)(unknown + strangers_dropped), (unsigned long long)meter_drops, (unsigned long long)off_grid, heard_count, pause_count, cpu_s, wall_s,
           (double)clock_step_ns / 1e3);
}

static int load_plan(const char *path) {
    int fd = open(path, O_RDONLY);
    struct stat about;
    if (fd < 0 || fstat(fd, &about)) { perror(path); return 0; }
    const uint8_t *bytes = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (bytes == MAP_FAILED || (size_t)about.st_size < sizeof plan) return 0;
    memcpy(&plan, bytes, sizeof plan);
    size_t at = sizeof plan, signal_all = plan.signal_bytes + plan.payload_bytes; /* its beginning again behind its end */
    size_t want = at + plan.sockets * 4ul + plan.streams * sizeof *streams + plan.actions * 4ul + signal_all;
    if (memcmp(plan.magic, "RTPLOAD1", 8) || (size_t)about.st_size != want || plan.payload_bytes > PACKET_BYTES - HEADER_BYTES ||
        plan.payload_bytes < STAMP_BYTES || !plan.interval_us || !plan.signal_bytes || !plan.batch || plan.batch > BATCH)
        return 0;
    fds = (const int32_t *)(bytes + at);
    streams = (const struct plan_stream *)(bytes + (at += plan.sockets * 4ul));
    actions = (const uint32_t *)(bytes + (at += plan.streams * sizeof *streams));
    signal_bytes = bytes + at + plan.actions * 4ul;
    for (uint32_t i = 0; i < plan.streams; i++)
        if (streams[i].socket >= plan.sockets) return 0;
    return !plan.junk_per_s || plan.junk_socket < plan.sockets;
}

static void prepare(void) {
    packets_max = plan.packets + plan.packets / 50 + 256; /* a player that is not ours begins and ends when it likes */
    heard_capacity = plan.streams + plan.strangers;
    heard = need(heard_capacity, sizeof *heard);
    for (hash_mask = 64; hash_mask < heard_capacity * 2; hash_mask *= 2) continue;
    hash_slots = need(hash_mask--, sizeof *hash_slots);
    for (uint32_t i = 0; i < plan.streams; i++) find(streams[i].ssrc, 1);
    uint32_t longest_us = 0;
    for (uint32_t i = 0; i < plan.actions; i++)
        if (actions[i] >> 8 > longest_us) longest_us = actions[i] >> 8;
    pool_size = longest_us ? plan.streams * (longest_us / plan.interval_us + 3) + 1 : 1;
    pool = need(pool_size, sizeof *pool);
    for (uint32_t i = 1; i < pool_size; i++) pool[i].next = i + 1 < pool_size ? i + 1 : 0;
    pool_free = pool_size > 1;
    random_state = plan.seed * 0x9e3779b97f4a7c15u | 1;
    for (int i = 0; i < BATCH; i++) {
        in_parts[i] = (struct iovec){in_bytes[i], PACKET_BYTES};
        in_messages[i].msg_hdr = (struct msghdr){.msg_iov = &in_parts[i], .msg_iovlen = 1, .msg_control = in_control[i]};
        out_parts[i] = (struct iovec){out_bytes[i], 0};
        out_to[i].sin_family = AF_INET;
        out_messages[i].msg_hdr = (struct msghdr){.msg_name = &out_to[i], .msg_namelen = sizeof out_to[i], .msg_iov = &out_parts[i], .msg_iovlen = 1};
    }
}

int main(int argc, char **argv) {
    if (argc != 3 || !load_plan(argv[1])) return 2;
    prepare();
    uint64_t *drops = need(plan.sockets, sizeof *drops);
    int epoll = epoll_create1(0), on = 1;
    for (uint32_t i = 0; i < plan.sockets; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        setsockopt(fds[i], SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
        setsockopt(fds[i], SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof on);
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &event)) { perror("rtp_load: socket"); return 1; }
    }
    prctl(PR_SET_TIMERSLACK, 1ul);
    if (!forget()) return 1;
    int64_t begin = now_ns(CLOCK_MONOTONIC), offset = now_ns(CLOCK_REALTIME) - begin;
    pthread_t watcher;
    pthread_attr_t where;
    cpu_set_t core;
    CPU_ZERO(&core);
    CPU_SET(plan.watch_core % CPU_SETSIZE, &core);
    pthread_attr_init(&where);
    pthread_attr_setaffinity_np(&where, sizeof core, &core);
    watching = plan.watch_core != UINT32_MAX;
    if (watching && pthread_create(&watcher, &where, watch, NULL)) { perror("rtp_load: watch"); return 1; }
    run(epoll, drops);
    if (atomic_exchange(&watching, 0)) pthread_join(watcher, NULL);
    int64_t end = now_ns(CLOCK_MONOTONIC), step = now_ns(CLOCK_REALTIME) - end - offset;
    for (uint32_t i = 0; i < plan.sockets; i++) meter_drops += drops[i];
    if (plan.flags & GRID) judge_grid();
    tell(argv[2], (double)(end - begin) / 1e9, step);
    return 0;
}
