/* error.c - the text of errors, and each thread's last one. */
#include "error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static _Thread_local toon_error last_error = {.offset = -1};

const char *toon_strerror(toon_err err) {
    static const char *const texts[] = {
#define TOON_ERROR_TEXT(name, text) text,
        TOON_ERRORS(TOON_ERROR_TEXT)
#undef TOON_ERROR_TEXT
    };
    size_t count = sizeof texts / sizeof texts[0];
    return (size_t)err < count ? texts[err] : "unknown error";
}

const toon_error *toon_last_error(void) {
    return &last_error;
}

static void add_sys_text(toon_error *error) {
    size_t used = strlen(error->text);
    char sys_text[128];
    const char *text = strerror_r(error->sys_errno, sys_text, sizeof sys_text);
    (void)snprintf(error->text + used, sizeof error->text - used, ": %s", text);
}

static toon_err __attribute__((format(printf, 3, 0)))
fail_va(toon_err err, toon_where where, const char *format, va_list args) {
    toon_error *error = &last_error;
    error->err = err;
    error->sys_errno = where.sys_errno;
    error->offset = where.offset;
    (void)snprintf(error->path, sizeof error->path, "%s",
                   where.path ? where.path : "");
    (void)vsnprintf(error->text, sizeof error->text, format, args);
    if (where.sys_errno != 0)
        add_sys_text(error);
    return err;
}

toon_err toon_fail(toon_err err, toon_where where, const char *format, ...) {
    va_list args;
    va_start(args, format);
    toon_err result = fail_va(err, where, format, args);
    va_end(args);
    return result;
}

toon_err toon_fail_plain(toon_err err, const char *format, ...) {
    va_list args;
    va_start(args, format);
    toon_err result = fail_va(err, (toon_where){.offset = -1}, format, args);
    va_end(args);
    return result;
}

toon_err toon_fail_again(const toon_error *told) {
    last_error = *told;
    return told->err;
}

toon_err toon_fail_memory(void) {
    return toon_fail_plain(TOON_NO_MEMORY, "out of memory");
}

toon_err toon_err_of_errno(int sys_errno) {
    switch (sys_errno) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return TOON_FULL;
    case ENOMEM:
        return TOON_NO_MEMORY;
    default:
        return TOON_IO;
    }
}
