/* How soon a thread gets a core that others want too. */
#ifndef TRUNKLINE_SCHEDULING_H
#define TRUNKLINE_SCHEDULING_H

#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Real-time scheduling of `priority` (0: none) where that is allowed: what became of it. Else a short slice, which does most of it (sched_setattr(2); kernels before
   6.12 take no notice): who asks for less at a time is chosen sooner. */
static inline int come_first(int priority, uint64_t slice_ns) {
    const struct sched_param wanted = {.sched_priority = priority};
    if (priority && !pthread_setschedparam(pthread_self(), SCHED_FIFO | SCHED_RESET_ON_FORK, &wanted)) return priority;
    struct { uint32_t size, policy; uint64_t flags; int32_t nice; uint32_t priority; uint64_t runtime, deadline, period; } slice = {
        .size = 48, .policy = SCHED_OTHER, .runtime = slice_ns};
    syscall(SYS_sched_setattr, 0, &slice, 0);
    return 0;
}

#endif
