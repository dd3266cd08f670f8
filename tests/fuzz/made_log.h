/*
 * made_log.h - a log whose lines are all well-formed, made by a script of
 * bytes: what stands in it is as wild as the script, how it is written is not.
 *
 * Knows the log's lines; must never know what opening makes of them.
 */
#ifndef TOON_FUZZ_MADE_LOG_H
#define TOON_FUZZ_MADE_LOG_H

#include "common.h"

enum { MADE_RECORDS_MAX = 256, MADE_KEYS = 16 };

#define MADE_FAR_FUTURE_MS INT64_C(253402300799000)

typedef struct made_log {
    toon_buf bytes; /* owned */
    uint32_t salt;
    uint64_t offsets[MADE_RECORDS_MAX]; /* of the records, the oldest first */
    size_t count;
} made_log;

/* Header and headline. */
void made_log_begin(made_log *log);

/* Adds what the next few bytes of the script ask for: mostly one record. */
void made_log_add(made_log *log, fuzz_input *script);

/* One in which all is well, with a record of every type. */
void made_log_sound(made_log *log);

void made_log_free(made_log *log);

/* Keys of every kind of writing. */
toon_slice made_key(unsigned number);

#endif
