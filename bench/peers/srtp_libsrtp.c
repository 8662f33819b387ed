/* libsrtp in the loop that ours is timed in (bench/kernels/srtp_loop.h); the same arguments, the same output. */
#include <srtp2/srtp.h>
#include <stdio.h>
#include <stdlib.h>

#include "srtp_loop.h"

struct contexts { srtp_t *senders, *receivers; };

static uint32_t pass(srtp_t *contexts, struct loop_packet *packets, srtp_err_status_t (*operation)(srtp_t, void *, int *)) {
    uint32_t well = 0;
    for (uint32_t i = 0; i < BATCH; i++) {
        int length = (int)packets[i].length;
        well += operation(contexts[packets[i].context], packets[i].bytes, &length) == srtp_err_status_ok;
        packets[i].length = (uint32_t)length;
    }
    return well;
}

static uint32_t protect(void *state, struct loop_packet *packets) { return pass(((struct contexts *)state)->senders, packets, srtp_protect); }
static uint32_t unprotect(void *state, struct loop_packet *packets) { return pass(((struct contexts *)state)->receivers, packets, srtp_unprotect); }

int main(int count, char **arguments) {
    if (count != 5) return 2;
    const int gcm = !strcmp(arguments[1], "gcm");
    struct contexts made;
    struct loop loop = {(uint32_t)atoi(arguments[2]), (uint32_t)atoi(arguments[3]), (uint32_t)atoi(arguments[4]), &made, protect, unprotect};
    made.senders = calloc(loop.contexts, sizeof *made.senders);
    made.receivers = calloc(loop.contexts, sizeof *made.receivers);
    srtp_init();
    for (uint32_t i = 0; i < loop.contexts; i++) {
        uint8_t key[30] = {(uint8_t)i, (uint8_t)(i >> 8)};
        srtp_policy_t policy;
        memset(&policy, 0, sizeof policy);
        if (gcm) srtp_crypto_policy_set_aes_gcm_128_16_auth(&policy.rtp), srtp_crypto_policy_set_aes_gcm_128_16_auth(&policy.rtcp);
        else srtp_crypto_policy_set_rtp_default(&policy.rtp), srtp_crypto_policy_set_rtcp_default(&policy.rtcp);
        policy.key = key;
        policy.window_size = 128;
        policy.ssrc.type = ssrc_any_outbound;
        if (srtp_create(&made.senders[i], &policy)) return 1;
        policy.ssrc.type = ssrc_any_inbound;
        if (srtp_create(&made.receivers[i], &policy)) return 1;
    }
    const struct loop_result result = loop_run(&loop);
    printf("%llu %llu %llu %llu\n", (unsigned long long)result.protect_ns, (unsigned long long)result.unprotect_ns, (unsigned long long)result.well,
           (unsigned long long)result.equal);
    return 0;
}
