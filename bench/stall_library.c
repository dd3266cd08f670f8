/* stall_library.c - bench_stall's way by calls of the library. */
#include "bench_tools.h"
#include "stall_side.h"
#include "toonstore.h"

#include <stdio.h>
#include <stdlib.h>

static toon_store *store;

struct library_connection {
    uint64_t random;
    char value[STALL_VALUE_SIZE];
};

static void check(toon_err err, const char *what) {
    if (err == TOON_OK)
        return;
    (void)fprintf(stderr, "bench_stall: %s: %s\n", what,
                  toon_last_error()->text);
    exit(1);
}

static void library_start(const char *dir) {
    check(toon_open(dir, NULL, &store), "open");
}

static void library_stop(void) {
    check(toon_close(store), "close");
}

static void *library_connect(void) {
    struct library_connection *made = calloc(1, sizeof *made);
    if (made == NULL)
        bench_fail("memory");
    made->random = bench_now_ns() | 1;
    return made;
}

static void library_disconnect(void *connection) {
    free(connection);
}

static void library_set(void *connection, uint64_t number) {
    struct library_connection *self = connection;
    char key[STALL_KEY_SIZE];
    bench_key(key, sizeof key, number);
    stall_value(self->value, &self->random);
    check(toon_set(store, toon_bytes(key, sizeof key),
                   toon_bytes(self->value, sizeof self->value), NULL),
          "set");
}

static void library_set_many(void *connection, const uint64_t *keys,
                             size_t count) {
    for (size_t i = 0; i < count; i++)
        library_set(connection, keys[i]);
}

static void library_get(void *connection, uint64_t number) {
    char key[STALL_KEY_SIZE];
    toon_value value;
    (void)connection;
    bench_key(key, sizeof key, number);
    check(toon_get(store, toon_bytes(key, sizeof key), &value), "get");
    if (value.size != STALL_VALUE_SIZE)
        bench_fail("a value of another size");
    toon_value_release(&value);
}

static void library_state(void *connection, struct stall_state *out) {
    toon_stats stats;
    (void)connection;
    toon_stat(store, &stats);
    *out = (struct stall_state){stats.live_bytes, stats.log_bytes,
                                stats.compactions, stats.compact_ms,
                                stats.compacting};
}

static void library_tune(void *connection, bool automatic) {
    (void)connection;
    check(toon_compact_tune(store, automatic ? 0 : 100, 0), "tune");
}

static void library_compact(void *connection) {
    (void)connection;
    check(toon_compact_start(store), "compact");
}

const struct stall_side stall_library = {
    .name = "library",
    .start = library_start,
    .stop = library_stop,
    .connect = library_connect,
    .disconnect = library_disconnect,
    .set = library_set,
    .get = library_get,
    .set_many = library_set_many,
    .state = library_state,
    .tune = library_tune,
    .compact = library_compact,
};
