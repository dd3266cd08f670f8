/*
 * bench_append.c - what appending costs: time, and bytes of the log.
 *
 * Knows the library by its header; must never know its insides.
 *
 * For each kind of piece one key grows from nothing, and is read back beside
 * the same bytes set whole. Then one large value, of which little is asked.
 */
#include "toonstore.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* What the rows below ask of a value that is large. */
#define LARGE_SIZE ((size_t)200 << 20)

enum { TIMES = 5 };

struct kind {
    const char *name;
    size_t size, count;
    uint32_t mode;
    bool binary;
};

static void expect_ok(toon_err err, const char *what) {
    if (err == TOON_OK)
        return;
    (void)fprintf(stderr, "bench_append: %s: %s\n", what,
                  toon_last_error()->text);
    exit(1);
}

static double now_s(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static uint64_t log_bytes(toon_store *store) {
    toon_stats stats;
    toon_stat(store, &stats);
    return stats.log_bytes;
}

/* Lines of text that end in LF, or bytes at random. */
static void fill(char *out, size_t size, size_t line, bool binary) {
    static uint64_t random = UINT64_C(0x9e3779b97f4a7c15);
    for (size_t i = 0; i < size; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        char letter = (char)('a' + (random >> 33) % 26);
        out[i] = binary ? (char)(random >> 33) : letter;
        if (!binary && i % line == line - 1)
            out[i] = '\n';
    }
}

static double get_us(toon_store *store, toon_slice key) {
    double best = 1e9;
    for (int i = 0; i < TIMES; i++) {
        toon_value value;
        double begun = now_s();
        expect_ok(toon_get(store, key, &value), "get");
        double took = now_s() - begun;
        toon_value_release(&value);
        if (took < best)
            best = took;
    }
    return best * 1e6;
}

static void grow(toon_store *store, const struct kind *kind) {
    toon_slice key = toon_str("log");
    toon_slice whole = toon_str("whole");
    toon_value value;
    char *bytes = malloc(kind->size);
    if (bytes == NULL)
        exit(1);
    toon_set_options options = {.flags = TOON_SET_MODE, .mode = kind->mode};
    expect_ok(toon_set(store, key, toon_str(""), &options), "set");
    fill(bytes, kind->size, kind->size, kind->binary);
    uint64_t before = log_bytes(store);
    double begun = now_s();
    for (size_t i = 0; i < kind->count; i++)
        expect_ok(toon_append(store, key, toon_bytes(bytes, kind->size), NULL),
                  "append");
    double took = now_s() - begun;
    uint64_t grown = log_bytes(store) - before;
    double pieces_us = get_us(store, key);
    expect_ok(toon_get(store, key, &value), "get");
    expect_ok(toon_set(store, whole, toon_bytes(value.data, value.size), NULL),
              "set");
    toon_value_release(&value);
    (void)printf("%-22s %8zu x %6zu  %9.2f us each  %5.2f bytes a byte  "
                 "read %8.0f us, whole %8.0f us\n",
                 kind->name, kind->size, kind->count,
                 took * 1e6 / (double)kind->count,
                 (double)grown / (double)(kind->size * kind->count), pieces_us,
                 get_us(store, whole));
    expect_ok(toon_clear(store), "clear");
    free(bytes);
}

enum deed { APPEND, STAT, TOUCH, GET, REMOVE };

static double do_us(toon_store *store, toon_slice key, enum deed deed) {
    toon_key_stat stat;
    toon_value value = {0};
    toon_meta meta = {.written_ms = (int64_t)(now_s() * 1e6)};
    toon_err err = TOON_OK;
    double begun = now_s();
    switch (deed) {
    case APPEND:
        err = toon_append(store, key, toon_str("one more line\n"), NULL);
        break;
    case STAT:
        err = toon_stat_key(store, key, &stat);
        break;
    case TOUCH:
        err = toon_set_meta(store, key, TOON_META_WRITTEN, &meta);
        break;
    case GET:
        err = toon_get(store, key, &value);
        break;
    case REMOVE:
        err = toon_delete(store, key, 0, NULL);
        break;
    }
    double took = now_s() - begun;
    expect_ok(err, "a large value");
    toon_value_release(&value);
    return took * 1e6;
}

static void ask_large(toon_store *store, const char *name, size_t line,
                      bool binary) {
    static const struct {
        const char *name;
        enum deed deed;
    } rows[] = {
        {"stat", STAT},     {"append", APPEND}, {"stat, appended", STAT},
        {"touch", TOUCH},   {"get", GET},       {"append again", APPEND},
        {"delete", REMOVE},
    };

    toon_slice key = toon_str("large");
    char *bytes = malloc(LARGE_SIZE);
    if (bytes == NULL)
        exit(1);
    fill(bytes, LARGE_SIZE, line, binary);
    expect_ok(toon_set(store, key, toon_bytes(bytes, LARGE_SIZE), NULL), "set");
    free(bytes);
    (void)printf("%zu MiB, %s:\n", LARGE_SIZE >> 20, name);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        double first = do_us(store, key, rows[i].deed);
        double then = first;
        for (int k = 0; k < TIMES && rows[i].deed != REMOVE; k++)
            then = do_us(store, key, rows[i].deed);
        (void)printf("  %-18s first %10.1f us, then %10.1f us\n", rows[i].name,
                     first, then);
    }
    expect_ok(toon_clear(store), "clear");
}

int main(int count, char **words) {
    static const struct kind kinds[] = {
        {"lines", 1, 10000, 0, false},
        {"lines", 10, 10000, 0, false},
        {"lines", 100, 10000, 0, false},
        {"lines of a script", 100, 10000, 0755, false},
        {"binary", 100, 10000, 0, true},
        {"lines", 100, 100000, 0, false},
        {"lines", 1000, 10000, 0, false},
        {"binary", 1000, 10000, 0, true},
        {"lines", 100000, 200, 0, false},
        {"lines", 10000000, 20, 0, false},
    };
    char made[] = "/tmp/bench-append-XXXXXX";
    const char *where = count > 1 ? words[1] : mkdtemp(made);
    toon_options options = {.sync = TOON_SYNC_NO,
                            .cache_policy = TOON_CACHE_NONE,
                            .compact_garbage = 100};
    toon_store *store;
    if (where == NULL) {
        (void)fprintf(stderr, "bench_append: %s\n", strerrordesc_np(errno));
        return 1;
    }
    expect_ok(toon_open(where, &options, &store), "open");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        grow(store, &kinds[i]);
    ask_large(store, "lines of 100 bytes", 100, false);
    ask_large(store, "one line", LARGE_SIZE, false);
    ask_large(store, "binary", 1, true);
    expect_ok(toon_close(store), "close");
    if (count == 1) {
        static const char *const names[] = {"db.toon", "db.toon.idx",
                                            "db.lock"};
        for (size_t i = 0; i < 3; i++) {
            char path[64];
            (void)snprintf(path, sizeof path, "%s/%s", where, names[i]);
            (void)unlink(path);
        }
        (void)rmdir(where);
    }
    return 0;
}
