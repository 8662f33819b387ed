/* Our SRTP in the loop. Arguments: "cm" or "gcm", contexts, bytes of a packet, batches. Prints nanoseconds of protecting and of unprotecting, how
   many operations went well, and how many packets came out as they went in. */
#include <stdio.h>
#include <stdlib.h>

#include "srtp.h"
#include "srtp_loop.h"

struct contexts { struct srtp **senders, **receivers; };

static uint32_t pass(struct srtp **contexts, struct loop_packet *packets, uint32_t (*operation)(struct srtp_span *, uint32_t)) {
    struct srtp_span spans[BATCH];
    for (uint32_t i = 0; i < BATCH; i++) spans[i] = (struct srtp_span){contexts[packets[i].context], packets[i].bytes, packets[i].length, STRIDE, 0};
    const uint32_t well = operation(spans, BATCH);
    for (uint32_t i = 0; i < BATCH; i++) packets[i].length = spans[i].length;
    return well;
}

static uint32_t protect(void *state, struct loop_packet *packets) { return pass(((struct contexts *)state)->senders, packets, srtp_protect_batch); }
static uint32_t unprotect(void *state, struct loop_packet *packets) { return pass(((struct contexts *)state)->receivers, packets, srtp_unprotect_batch); }

int main(int count, char **arguments) {
    if (count != 5) return 2;
    const int gcm = !strcmp(arguments[1], "gcm");
    struct contexts made;
    struct loop loop = {(uint32_t)atoi(arguments[2]), (uint32_t)atoi(arguments[3]), (uint32_t)atoi(arguments[4]), &made, protect, unprotect};
    made.senders = calloc(loop.contexts, sizeof *made.senders);
    made.receivers = calloc(loop.contexts, sizeof *made.receivers);
    for (uint32_t i = 0; i < loop.contexts; i++) {
        uint8_t key[30] = {(uint8_t)i, (uint8_t)(i >> 8)};
        const struct srtp_settings settings = {.suite = gcm ? SRTP_AEAD_AES_128_GCM : SRTP_AES_CM_128_HMAC_SHA1_80, .key = key, .key_length = gcm ? 28 : 30};
        made.senders[i] = srtp_new(&settings);
        made.receivers[i] = srtp_new(&settings);
        if (!made.senders[i] || !made.receivers[i]) return 1;
    }
    const struct loop_result result = loop_run(&loop);
    printf("%llu %llu %llu %llu\n", (unsigned long long)result.protect_ns, (unsigned long long)result.unprotect_ns, (unsigned long long)result.well,
           (unsigned long long)result.equal);
    return 0;
}
