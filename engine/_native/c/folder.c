#define _GNU_SOURCE
#include "folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#define NEW (O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC)
#define THERE (O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK)

static int write_all(int fd, const void *content, size_t bytes) {
    const char *at = content;
    while (bytes) {
        const ssize_t written = write(fd, at, bytes);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return errno;
        at += written;
        bytes -= (size_t)written;
    }
    return 0;
}

/* Opens and locks what will be the plan; the name it has so far. */
static int open_plan(int folder, const struct folder_plan *plan, int *fd, const char **named) {
    if (plan->spare && (*fd = openat(folder, plan->spare, THERE)) >= 0) {
        *named = plan->spare;
        if (!flock(*fd, LOCK_EX | LOCK_NB)) return 0;
        close(*fd);
    }
    unlinkat(folder, plan->fresh, 0); /* of a process that ended right here */
    if ((*fd = openat(folder, plan->fresh, NEW, 0600)) < 0) return errno;
    *named = plan->fresh;
    return flock(*fd, LOCK_EX) ? errno : 0;
}

static int make_files(int folder, const struct folder_plan *plan, int *fds, int *failed) {
    for (uint32_t i = 0; i < plan->file_count; i++) {
        if ((fds[i] = openat(folder, plan->files[i], NEW, 0600)) >= 0) continue;
        const int error = errno;
        *failed = (int)i;
        while (i--) {
            unlinkat(folder, plan->files[i], 0);
            close(fds[i]);
        }
        return error;
    }
    return 0;
}

int folder_stage(int folder, const struct folder_plan *plan, int *plan_fd, int *fds, int *failed) {
    const char *named = NULL;
    *failed = -1;
    int error = open_plan(folder, plan, plan_fd, &named);
    if (*plan_fd < 0) return error;
    if (!error) error = write_all(*plan_fd, plan->content, plan->bytes);
    const int linked = !error && !linkat(folder, named, folder, plan->name, 0);
    if (!error && !linked) error = errno;
    if (linked || named == plan->fresh) unlinkat(folder, named, 0);
    else if (ftruncate(*plan_fd, 0)) error = errno; /* the spare is one again */
    if (!error && (error = make_files(folder, plan, fds, failed))) unlinkat(folder, plan->name, 0);
    if (error) close(*plan_fd);
    return error;
}

int folder_put_away(int folder, const char *name, const char *spare) {
    if (renameat(folder, name, folder, spare)) return errno;
    const int fd = openat(folder, spare, THERE);
    if (fd < 0) return errno;
    const int error = ftruncate(fd, 0) ? errno : 0;
    close(fd);
    return error;
}

int folder_append(int folder, const char *name, const void *content, size_t bytes, int is_new, const char *spare) {
    int fd = -1;
    if (is_new && spare && !linkat(folder, spare, folder, name, 0)) {
        unlinkat(folder, spare, 0);
        is_new = 0;
    }
    fd = openat(folder, name, (is_new ? NEW : THERE) | O_APPEND, 0600);
    if (fd < 0) return errno;
    const int error = write_all(fd, content, bytes);
    close(fd);
    return error;
}
