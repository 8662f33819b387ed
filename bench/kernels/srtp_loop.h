/* The loop that SRTP implementations are timed in: batches of packets protected and unprotected in place, in turn, round the contexts. What
   comes out is compared with what went in. */
#include <stdint.h>
#include <string.h>
#include <time.h>

enum { BATCH = 64, STRIDE = 512 };

struct loop_packet { uint32_t context, length; uint8_t *bytes; };
struct loop {
    uint32_t contexts, packet_length, batches;
    void *state;
    uint32_t (*protect)(void *state, struct loop_packet *packets); /* a batch; how many went well */
    uint32_t (*unprotect)(void *state, struct loop_packet *packets);
};
struct loop_result { uint64_t protect_ns, unprotect_ns, well, equal; };

/* Processor time, as openssl speed counts: what others do on the machine in between is not ours. */
static uint64_t loop_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void loop_fill(uint8_t *bytes, uint32_t length, uint32_t sequence, uint32_t context) {
    const uint8_t header[12] = {0x80, 0, (uint8_t)(sequence >> 8), (uint8_t)sequence, (uint8_t)(sequence >> 16), 0, 0, 0,
                                0x5e, (uint8_t)(context >> 16), (uint8_t)(context >> 8), (uint8_t)context};
    memcpy(bytes, header, sizeof header);
    for (uint32_t i = sizeof header; i < length; i++) bytes[i] = (uint8_t)(i * 7 + sequence);
}

static struct loop_result loop_run(const struct loop *loop) {
    static uint8_t bytes[BATCH][STRIDE], before[STRIDE];
    struct loop_packet packets[BATCH];
    struct loop_result result = {0, 0, 0, 0};
    uint64_t number = 0;
    for (uint32_t batch = 0; batch < loop->batches; batch++) {
        for (uint32_t i = 0; i < BATCH; i++, number++) {
            packets[i] = (struct loop_packet){(uint32_t)(number % loop->contexts), loop->packet_length, bytes[i]};
            loop_fill(bytes[i], loop->packet_length, (uint32_t)(number / loop->contexts), packets[i].context);
        }
        const uint64_t begin = loop_clock();
        result.well += loop->protect(loop->state, packets);
        const uint64_t middle = loop_clock();
        result.well += loop->unprotect(loop->state, packets);
        result.unprotect_ns += loop_clock() - middle;
        result.protect_ns += middle - begin;
        for (uint32_t i = 0; i < BATCH; i++) {
            const uint64_t own = number - BATCH + i;
            loop_fill(before, loop->packet_length, (uint32_t)(own / loop->contexts), packets[i].context);
            result.equal += packets[i].length == loop->packet_length && !memcmp(before, bytes[i], loop->packet_length);
        }
    }
    return result;
}
