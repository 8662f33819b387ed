/* Names of files in a folder that is held open: what a recording needs at its beginning and end, in one call each, so that whoever waits for the disk gives the
   interpreter back once and not for every name. All return 0 or an errno. Names are ended by NUL and have no '/': they are looked up in the folder alone, and no
   symbolic link is followed. */
#ifndef TRUNKLINE_FOLDER_H
#define TRUNKLINE_FOLDER_H

#include <stddef.h>
#include <stdint.h>

struct folder_plan {
    const char *spare;         /* an empty file that becomes the plan; NULL, or one that is gone or locked: a new one is made */
    const char *fresh;         /* its name until it is whole and locked */
    const char *name;          /* the name others find it by: EEXIST where there is one already */
    const void *content; size_t bytes;
    const char *const *files;  /* new and empty */
    uint32_t file_count;
};
/* Makes the plan, locked (flock(2)) before it has its name, then the files: their descriptors. With an error nothing is left of it, and `failed` is the file that could
   not be made, -1 for the plan. */
int folder_stage(int folder, const struct folder_plan *plan, int *plan_fd, int *fds, int *failed);
/* Gives a file another name and empties it. */
int folder_put_away(int folder, const char *name, const char *spare);
/* Puts bytes at the end of a file, in one write; with `spare`, of a file that is made: that one, or a new one where it is NULL or gone. */
int folder_append(int folder, const char *name, const void *content, size_t bytes, int is_new, const char *spare);

#endif
