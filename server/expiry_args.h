/*
 * expiry_args.h - the words by which commands name a time, for SET and GETEX
 * and for all that set an expiry.
 */
#ifndef TOON_EXPIRY_ARGS_H
#define TOON_EXPIRY_ARGS_H

#include "state.h"

enum {
    ARG_EX = 1 << 0,
    ARG_PX = 1 << 1,
    ARG_EXAT = 1 << 2,
    ARG_PXAT = 1 << 3,
    ARG_KEEPTTL = 1 << 4,
    ARG_PERSIST = 1 << 5,
    ARG_NX = 1 << 6,
    ARG_XX = 1 << 7,
    ARG_GET = 1 << 8,
    ARG_TIMES = ARG_EX | ARG_PX | ARG_EXAT | ARG_PXAT,
    ARG_OF_SET = ARG_TIMES | ARG_KEEPTTL | ARG_NX | ARG_XX | ARG_GET,
    ARG_OF_GETEX = ARG_TIMES | ARG_PERSIST,
};

typedef struct set_args {
    unsigned flags;
    toon_slice time;            /* as it was written, with one of ARG_TIMES */
    int64_t now_ms, expires_ms; /* of set_args_time() */
} set_args;

/* Reads the options from argv[first] on, of those that are `allowed`. False
 * after an error reply. */
bool set_args_read(call *c, size_t first, unsigned allowed, set_args *out);

/* If there is a time, what it comes to, which must be positive. */
bool set_args_time(call *c, set_args *args);

void call_bad_expiry(call *c);

#endif
