"""Names of files in a folder that is held open, several in one call: the Python face of c/folder.h."""

import os

from libc.stdint cimport uint32_t
from libc.stdlib cimport free, malloc

cdef extern from "folder.h" nogil:
    struct folder_plan:
        const char *spare
        const char *fresh
        const char *name
        const void *content
        size_t bytes
        const char *const *files
        uint32_t file_count
    int folder_stage(int folder, const folder_plan *plan, int *plan_fd, int *fds, int *failed)
    int folder_put_away(int folder, const char *name, const char *spare)
    int folder_append(int folder, const char *name, const void *content, size_t bytes, int is_new, const char *spare)


cdef bytes _name(str name):
    """As the kernel has it. Raises ValueError for what would lead elsewhere."""
    encoded = os.fsencode(name)
    if not encoded or b"/" in encoded or b"\0" in encoded:
        raise ValueError(f"{name[:100]!r} is no name in a folder")
    return encoded


cdef _raise(int error, str name):
    raise OSError(error, os.strerror(error), name)


cdef const char **_table(list encoded) except NULL:
    cdef const char **names = <const char **>malloc(max(len(encoded), 1) * sizeof(char *))
    cdef uint32_t i
    if names == NULL:
        raise MemoryError
    for i in range(len(encoded)):
        names[i] = <bytes>encoded[i]
    return names


def stage(int folder, str spare, str fresh, str name, const unsigned char[::1] content, files):
    """Descriptors of a plan with this content, locked, and of new empty files. `spare` is an empty file that becomes the plan, or "". Raises FileExistsError
    where there is such a plan or such a file, which it names, OSError; then nothing is left of it."""
    cdef folder_plan plan
    cdef list encoded = [_name(each) for each in files]
    cdef bytes spare_name = _name(spare) if spare else b"", fresh_name = _name(fresh), plan_name = _name(name)
    cdef const char **table = _table(encoded)
    cdef int plan_fd = -1, failed = -1, error
    cdef int *fds = <int *>malloc(max(len(encoded), 1) * sizeof(int))
    if fds == NULL:
        free(table)
        raise MemoryError
    try:
        plan.spare = <const char *>spare_name if spare else NULL
        plan.fresh, plan.name = fresh_name, plan_name
        plan.content = &content[0] if content.shape[0] else NULL
        plan.bytes = content.shape[0]
        plan.files, plan.file_count = table, <uint32_t>len(encoded)
        with nogil:
            error = folder_stage(folder, &plan, &plan_fd, fds, &failed)
        if error:
            _raise(error, name if failed < 0 else files[failed])
        return [plan_fd, *[fds[i] for i in range(len(encoded))]]
    finally:
        free(table)
        free(fds)


def put_away(int folder, str name, str spare):
    """Gives a file another name and empties it. Raises FileNotFoundError, OSError."""
    cdef bytes old = _name(name), new = _name(spare)
    cdef const char *old_name = old
    cdef const char *new_name = new
    cdef int error
    with nogil:
        error = folder_put_away(folder, old_name, new_name)
    if error:
        _raise(error, name)


def append(int folder, str name, const unsigned char[::1] content, *, bint is_new=False, str spare=""):
    """Puts bytes at the end of a file, in one write; where it `is_new`, it is made, of `spare` where that is one. Raises FileExistsError, FileNotFoundError, OSError."""
    cdef bytes encoded = _name(name), spare_name = _name(spare) if spare else b""
    cdef const char *file = encoded
    cdef const char *other = <const char *>spare_name if spare else NULL
    cdef const unsigned char *first = &content[0] if content.shape[0] else NULL
    cdef size_t bytes_given = content.shape[0]
    cdef int error
    with nogil:
        error = folder_append(folder, file, first, bytes_given, is_new, other)
    if error:
        _raise(error, name)
