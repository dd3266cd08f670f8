/*
 * stall_side.h - one way to a store, for bench_stall: calls of the library, or
 * requests to tstd. Whatever fails ends the program.
 */
#ifndef TOON_BENCH_STALL_SIDE_H
#define TOON_BENCH_STALL_SIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { STALL_KEY_SIZE = 16, STALL_VALUE_SIZE = 1024 };

struct stall_state {
    uint64_t live_bytes;
    uint64_t log_bytes;
    uint64_t compactions; /* finished */
    int64_t compact_ms;   /* how long the last one took */
    bool compacting;
};

struct stall_side {
    const char *name;
    void (*start)(const char *dir);
    void (*stop)(void);

    /* A connection is one thread's. */
    void *(*connect)(void);
    void (*disconnect)(void *connection);
    void (*set)(void *connection, uint64_t key);
    void (*get)(void *connection, uint64_t key);
    /* As fast as many can be set; keys[0..count), count <= 64. */
    void (*set_many)(void *connection, const uint64_t *keys, size_t count);
    void (*state)(void *connection, struct stall_state *out);

    /* Whether compactions begin by themselves. */
    void (*tune)(void *connection, bool automatic);
    void (*compact)(void *connection); /* one; begins it */
};

extern const struct stall_side stall_library;
extern const struct stall_side stall_resp;

/* The program that stall_resp starts. */
extern const char *stall_tstd;

/* Any value: letters, never twice the same. Thread-safe by `random`. */
void stall_value(char *value, uint64_t *random);

#endif
