/*
 * error.h - how a failure is told: the code, and what people need to know.
 *
 * Knows toon_error; must never know what failed.
 */
#ifndef TOON_ERROR_H
#define TOON_ERROR_H

#include "toonstore.h"

/* Where a failure happened; all zero but offset -1 where nowhere. */
typedef struct toon_where {
    const char *path; /* NULL: no file */
    int64_t offset;   /* -1: none */
    int sys_errno;    /* 0: no system call */
} toon_where;

/* Sets this thread's toon_last_error() and returns `err`. The text is a
 * sentence; the system's text for sys_errno is added. */
toon_err toon_fail(toon_err err, toon_where where, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* For failures without a file. */
toon_err toon_fail_plain(toon_err err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The same failure once more, when what came after it overwrote it. */
toon_err toon_fail_again(const toon_error *told);

/* TOON_NO_MEMORY with its text. */
toon_err toon_fail_memory(void);

/* ENOSPC and its kin are TOON_FULL, ENOMEM is TOON_NO_MEMORY, the rest
 * TOON_IO. */
toon_err toon_err_of_errno(int sys_errno);

#endif
