/* What this machine allows a program that handles datagrams on one core: loops that do nothing else. Processes of their own, because they are loaded by
   bench/rtp_load.c from the other core. All ask for real-time scheduling, as our media thread does: what else the machine does is not to decide.

       media_limits count SOCKETS BATCH REST_US    receives and counts; prints its ports first. Rests that long before it reads, so that more is there to be read
       media_limits relay CALLS REST_US            two sockets a call; what comes on one leaves by the other, to the ports on standard input, one a socket
       media_limits play STREAMS STALL_MS FIRST    a packet of every stream each 20 ms by a timerfd, to the ports on standard input; a second thread that
                                                   computes for STALL_MS out of 1.5 STALL_MS (0: none) on the same core; FIRST says what the sending thread
                                                   asks of the scheduler: 0 nothing, 1 a short slice, 2 nice -19, 3 SCHED_FIFO
       media_limits timer SECONDS                  lateness of a timerfd at 1 ms

   On SIGTERM they print what they did as JSON and end. */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { BATCH_MAX = 64, PACKET_BYTES = 2048, RECEIVE_BYTES = 8 << 20, FRAME_BYTES = 160 };

static volatile sig_atomic_t stopped;
static int *fds;
static uint16_t *peers;
static struct mmsghdr messages[BATCH_MAX];
static struct iovec parts[BATCH_MAX];
static struct sockaddr_in to;
static uint8_t bytes[BATCH_MAX][PACKET_BYTES];
static char control[BATCH_MAX][64];

static void stop(int number) { (void)number; stopped = 1; }

static int64_t now_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

static void open_sockets(int count) {
    fds = calloc((size_t)count, sizeof *fds);
    for (int i = 0; i < count; i++) {
        struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t length = sizeof here;
        int on = 1, size = count > 64 ? RECEIVE_BYTES / 16 : RECEIVE_BYTES;
        fds[i] = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        if (fds[i] < 0 || bind(fds[i], (struct sockaddr *)&here, sizeof here) || getsockname(fds[i], (struct sockaddr *)&here, &length)) {
            perror("media_limits");
            exit(1);
        }
        if (setsockopt(fds[i], SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size)) setsockopt(fds[i], SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
        setsockopt(fds[i], SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof on);
        printf("%d ", ntohs(here.sin_port));
    }
    printf("\n");
    fflush(stdout);
}

static void read_peers(int count) {
    peers = calloc((size_t)count, sizeof *peers);
    for (int i = 0; i < count; i++)
        if (scanf("%hu", &peers[i]) != 1) { fprintf(stderr, "media_limits: a port a line\n"); exit(1); }
}

static uint32_t overflow(struct msghdr *header, uint32_t before) {
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c; c = CMSG_NXTHDR(header, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL) memcpy(&before, CMSG_DATA(c), sizeof before);
    return before;
}

static uint64_t packets, payload, reads, sent;
static uint32_t *dropped;

/* One read of a socket, and with `relay` one send by its partner; how many datagrams there were. */
static int take(uint32_t here, int batch, int relay) {
    for (int i = 0; i < batch; i++) {
        messages[i].msg_hdr.msg_name = NULL;
        messages[i].msg_hdr.msg_control = control[i];
        messages[i].msg_hdr.msg_controllen = sizeof control[i];
        parts[i].iov_len = PACKET_BYTES;
    }
    int got = recvmmsg(fds[here], messages, (unsigned)batch, MSG_DONTWAIT, NULL);
    reads++;
    for (int i = 0; i < got; i++) {
        payload += messages[i].msg_len;
        dropped[here] = overflow(&messages[i].msg_hdr, dropped[here]);
    }
    if (got <= 0) return 0;
    packets += (uint64_t)got;
    if (!relay) return got;
    to.sin_port = htons(peers[here ^ 1]);
    for (int i = 0; i < got; i++) {
        messages[i].msg_hdr.msg_name = &to;
        messages[i].msg_hdr.msg_namelen = sizeof to;
        messages[i].msg_hdr.msg_control = NULL;
        messages[i].msg_hdr.msg_controllen = 0;
        parts[i].iov_len = messages[i].msg_len;
    }
    int done = sendmmsg(fds[here ^ 1], messages, (unsigned)got, 0);
    if (done > 0) sent += (uint64_t)done;
    return got;
}

/* Receives from whichever sockets have something; with `relay`, what came on socket 2n goes out by 2n + 1, and the other way. */
static void serve(int count, int batch, int rest_us, int relay) {
    uint64_t drops = 0;
    struct epoll_event ready[256];
    struct timespec rest = {0, rest_us * 1000};
    int epoll = epoll_create1(0);
    dropped = calloc((size_t)count, sizeof *dropped);
    prctl(PR_SET_TIMERSLACK, 1ul);
    for (int i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &event);
    }
    while (!stopped) {
        int found = epoll_wait(epoll, ready, 256, 100);
        if (rest_us && found > 0 && found < 256) { /* more would be there already otherwise */
            clock_nanosleep(CLOCK_MONOTONIC, 0, &rest, NULL);
            found = epoll_wait(epoll, ready, 256, 0);
        }
        for (int at = 0; at < found; at++)
            while (take(ready[at].data.u32, batch, relay) == batch) continue;
    }
    for (int i = 0; i < count; i++) drops += dropped[i];
    printf("{\"packets\":%llu,\"bytes\":%llu,\"reads\":%llu,\"sent\":%llu,\"drops\":%llu}\n", (unsigned long long)packets, (unsigned long long)payload,
           (unsigned long long)reads, (unsigned long long)sent, (unsigned long long)drops);
}

static void *compute(void *given) {
    int64_t stall_ns = (int64_t)(intptr_t)given * 1000000;
    while (!stopped) {
        int64_t until = now_ns() + stall_ns;
        while (now_ns() < until && !stopped) continue;
        struct timespec rest = {0, stall_ns / 2};
        nanosleep(&rest, NULL);
    }
    return NULL;
}

static int every(int64_t interval_ns, int64_t *first_ns) {
    int fd = timerfd_create(CLOCK_MONOTONIC, 0);
    *first_ns = now_ns() + interval_ns;
    struct itimerspec spec = {.it_interval = {interval_ns / 1000000000, interval_ns % 1000000000}, .it_value = {*first_ns / 1000000000, *first_ns % 1000000000}};
    prctl(PR_SET_TIMERSLACK, 1ul);
    timerfd_settime(fd, TFD_TIMER_ABSTIME, &spec, NULL);
    return fd;
}

/* Needed because a thread that wakes waits for the end of another's slice (some milliseconds) otherwise. A short slice needs no privilege (Linux 6.12). */
static void come_first(int how) {
    struct { uint32_t size, policy; uint64_t flags; int32_t nice; uint32_t priority; uint64_t runtime_ns, deadline_ns, period_ns; } wanted = {.size = 48};
    if (how == 1) wanted.runtime_ns = 100000;
    if (how == 2) wanted.nice = -19;
    if (how == 3) wanted.policy = SCHED_FIFO, wanted.priority = 1;
    if (how && syscall(SYS_sched_setattr, 0, &wanted, 0)) perror("media_limits: scheduler");
}

static void play(int streams, int stall_ms, int first) {
    pthread_t other;
    uint64_t ticks = 0, expired;
    int64_t first_ns;
    if (stall_ms) pthread_create(&other, NULL, compute, (void *)(intptr_t)stall_ms);
    come_first(first);
    int timer = every(20000000, &first_ns);
    while (!stopped) {
        if (read(timer, &expired, sizeof expired) != sizeof expired) continue;
        for (; expired && !stopped; expired--, ticks++)
            for (int at = 0; at < streams; at++) {
                uint8_t *p = bytes[0];
                uint32_t timestamp = htonl((uint32_t)ticks * FRAME_BYTES), ssrc = htonl(0x10000u + (uint32_t)at);
                uint16_t sequence = htons((uint16_t)ticks);
                p[0] = 0x80, p[1] = 0;
                memcpy(p + 2, &sequence, 2), memcpy(p + 4, &timestamp, 4), memcpy(p + 8, &ssrc, 4);
                memset(p + 12, (int)ticks, FRAME_BYTES);
                to.sin_port = htons(peers[at]);
                parts[0].iov_len = 12 + FRAME_BYTES;
                messages[0].msg_hdr.msg_name = &to;
                messages[0].msg_hdr.msg_namelen = sizeof to;
                sent += sendmmsg(fds[at], messages, 1, 0) == 1; /* a socket a stream: one datagram a call */
            }
    }
    if (stall_ms) pthread_join(other, NULL);
    printf("{\"ticks\":%llu,\"sent\":%llu}\n", (unsigned long long)ticks, (unsigned long long)sent);
}

static int by_size(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void timer_lateness(int seconds) {
    size_t count = 0, most = (size_t)seconds * 1000;
    int64_t first_ns, *late = calloc(most + 1, sizeof *late);
    uint64_t expired, passed = 0;
    int timer = every(1000000, &first_ns);
    while (count < most && !stopped) {
        if (read(timer, &expired, sizeof expired) != sizeof expired) continue;
        passed += expired;
        late[count++] = now_ns() - first_ns - (int64_t)(passed - 1) * 1000000;
        if (passed >= most) break;
    }
    qsort(late, count, sizeof *late, by_size);
    printf("{\"wakes\":%zu,\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f}\n", count, (double)late[count / 2] / 1e3,
           (double)late[count * 99 / 100] / 1e3, (double)late[count * 999 / 1000] / 1e3, (double)late[count - 1] / 1e3);
}

int main(int argc, char **argv) {
    struct sigaction action = {.sa_handler = stop};
    if (argc < 3) return 2;
    int count = atoi(argv[2]), more = argc > 3 ? atoi(argv[3]) : 0;
    sigaction(SIGTERM, &action, NULL);
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    for (int i = 0; i < BATCH_MAX; i++) {
        parts[i] = (struct iovec){bytes[i], PACKET_BYTES};
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    if (strcmp(argv[1], "play")) come_first(3);
    if (!strcmp(argv[1], "count") && more > 0 && more <= BATCH_MAX) {
        open_sockets(count);
        serve(count, more, argc > 4 ? atoi(argv[4]) : 0, 0);
    } else if (!strcmp(argv[1], "relay")) {
        read_peers(2 * count);
        open_sockets(2 * count);
        serve(2 * count, BATCH_MAX, more, 1);
    } else if (!strcmp(argv[1], "play")) {
        read_peers(count);
        open_sockets(count);
        play(count, more, argc > 4 ? atoi(argv[4]) : 0);
    } else if (!strcmp(argv[1], "timer")) {
        timer_lateness(count);
    } else {
        return 2;
    }
    return 0;
}
