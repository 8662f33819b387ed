/* The loop that ours is timed in (bench/kernels/srtp_loop.h), over any srtp_protect and srtp_unprotect and contexts that are already there. */
#include "srtp_loop.h"

typedef int (*call)(void *context, void *packet, int *length);
struct calls { void **contexts[2]; call calls[2]; };

static uint32_t pass(const struct calls *calls, int which, struct loop_packet *packets) {
    uint32_t well = 0;
    for (uint32_t i = 0; i < BATCH; i++) {
        int length = (int)packets[i].length;
        well += calls->calls[which](calls->contexts[which][packets[i].context], packets[i].bytes, &length) == 0;
        packets[i].length = (uint32_t)length;
    }
    return well;
}

static uint32_t protect(void *state, struct loop_packet *packets) { return pass(state, 0, packets); }
static uint32_t unprotect(void *state, struct loop_packet *packets) { return pass(state, 1, packets); }

struct loop_result run_calls(call protects, call unprotects, void **senders, void **receivers, uint32_t contexts, uint32_t packet_length, uint32_t batches) {
    struct calls calls = {{senders, receivers}, {protects, unprotects}};
    const struct loop loop = {contexts, packet_length, batches, &calls, protect, unprotect};
    return loop_run(&loop);
}
