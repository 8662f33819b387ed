/* Runs a program and tells its cost: `launch RESULT SECONDS PROGRAM ARGUMENT...` writes to RESULT nanoseconds by the
   clock, nanoseconds of processor time, peak resident KiB and wait status. A process of its own, because the peak
   that the kernel reports of a child starts at the size of the process that forked it. */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static volatile pid_t child;

static void give_up(int number) {
    (void)number;
    if (child > 0) kill(child, SIGKILL);
}

static uint64_t now_ns(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

static uint64_t nanoseconds(struct timeval spent) {
    return (uint64_t)spent.tv_sec * 1000000000u + (uint64_t)spent.tv_usec * 1000u;
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    signal(SIGALRM, give_up);
    uint64_t begin = now_ns();
    child = fork();
    if (child < 0) return 1;
    if (!child) {
        execvp(argv[3], argv + 3);
        _exit(127);
    }
    alarm((unsigned)atoi(argv[2]));
    struct rusage used;
    int status;
    while (wait4(child, &status, 0, &used) < 0) continue; /* the alarm interrupts the wait */
    uint64_t taken = now_ns() - begin;
    FILE *result = fopen(argv[1], "w");
    if (!result) return 1;
    fprintf(result, "%llu %llu %ld %d\n", (unsigned long long)taken,
            (unsigned long long)(nanoseconds(used.ru_utime) + nanoseconds(used.ru_stime)), used.ru_maxrss, status);
    return fclose(result) ? 1 : 0;
}
