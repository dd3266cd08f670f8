/*
 * bench_memory.c - anonymous memory that a store needs for a key.
 *
 * usage: bench_memory [--quick] [DIRECTORY]
 *
 * For 1,000,000 and 10,000,000 keys of 16 and of 200 bytes, with no cache:
 * what a process has in memory that is of no file (the log's mapping is), less
 * what it had with an empty store, divided by the number of keys. After each
 * filling, at its worst while filling (from half of the keys on, looked at a
 * hundred times), with the index just loaded, and, to compare, with the
 * ordered index built too. Beside it the longest that one SET took, which
 * tells whether growing the table is a pause.
 *
 * --quick: 100,000 and 1,000,000 keys. A process of its own for each line.
 */
#include "bench_tools.h"
#include "toonstore.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KEY_SIZE_MAX = 200, LOOKS = 100 };

static void check(toon_err err, const char *what) {
    if (err == TOON_OK)
        return;
    (void)fprintf(stderr, "bench_memory: %s: %s\n", what,
                  toon_last_error()->text);
    exit(1);
}

static toon_store *open_store(const char *dir) {
    toon_options options = {.sync = TOON_SYNC_NO,
                            .cache_policy = TOON_CACHE_NONE,
                            .compact_garbage = 100};
    toon_store *store;
    check(toon_open(dir, &options, &store), "open");
    return store;
}

struct filling {
    double most;         /* bytes a key */
    uint64_t longest_ns; /* of one SET */
};

static double bytes_a_key(uint64_t before, uint64_t keys) {
    uint64_t now = bench_anonymous_bytes();
    return now > before ? (double)(now - before) / (double)keys : 0;
}

static struct filling fill(toon_store *store, uint64_t keys, size_t key_size,
                           uint64_t before) {
    struct filling filling = {0};
    char key[KEY_SIZE_MAX];
    for (uint64_t i = 0; i < keys; i++) {
        bench_key(key, key_size, i);
        uint64_t start = bench_now_ns();
        check(toon_set(store, toon_bytes(key, key_size), toon_str("a value"),
                       NULL),
              "set");
        uint64_t taken = bench_now_ns() - start;
        if (taken > filling.longest_ns)
            filling.longest_ns = taken;
        if (i < keys / 2 || i % (keys / LOOKS) != 0)
            continue;
        double now = bytes_a_key(before, i + 1);
        if (now > filling.most)
            filling.most = now;
    }
    return filling;
}

static bool stop_at_first(void *arg, toon_slice key,
                          const toon_key_stat *stat) {
    (void)arg;
    (void)key;
    (void)stat;
    return false;
}

static void measure(const char *dir, uint64_t keys, size_t key_size) {
    toon_stats stats;
    toon_range_options range = {.limit = 1};
    check(toon_close(open_store(dir)), "close"); /* what is loaded once */
    toon_store *store = open_store(dir);
    uint64_t before = bench_anonymous_bytes();
    struct filling filling = fill(store, keys, key_size, before);
    double filled = bytes_a_key(before, keys);
    toon_stat(store, &stats);
    check(toon_close(store), "close");
    store = open_store(dir);
    double loaded = bytes_a_key(before, keys);
    check(toon_range(store, &range, stop_at_first, NULL), "range");
    double ordered = bytes_a_key(before, keys);
    check(toon_close(store), "close");
    (void)printf("%10" PRIu64 " %5zu %10.1f %10.1f %10.1f %10.1f %10.1f "
                 "%12.2f\n",
                 keys, key_size, filled, filling.most, loaded,
                 (double)stats.table_bytes / (double)keys, ordered,
                 (double)filling.longest_ns / 1e6);
    (void)fflush(stdout);
}

/* What one line's memory leaves behind must not be counted in the next. */
static void measure_apart(const char *dir, uint64_t keys, size_t key_size) {
    int status = 0;
    (void)fflush(stdout);
    pid_t child = fork();
    if (child < 0)
        bench_fail("fork");
    if (child == 0) {
        measure(dir, keys, key_size);
        _exit(0);
    }
    if (waitpid(child, &status, 0) < 0 || status != 0) {
        errno = 0;
        bench_fail("a measurement failed");
    }
    bench_empty_directory(dir);
}

int main(int argc, char **argv) {
    static const size_t key_sizes[] = {16, 200};
    bool quick = argc > 1 && strcmp(argv[1], "--quick") == 0;
    const char *parent = argc > 1 + quick ? argv[1 + quick] : NULL;
    const char *dir = bench_make_directory(parent);
    uint64_t keys = quick ? 100000 : 1000000;
    (void)printf("anonymous bytes a key\n%10s %5s %10s %10s %10s %10s %10s "
                 "%12s\n",
                 "keys", "size", "filled", "at worst", "loaded", "(table)",
                 "+ order", "longest ms");
    for (int i = 0; i < 2; i++, keys *= 10) {
        for (int k = 0; k < 2; k++)
            measure_apart(dir, keys, key_sizes[k]);
    }
    return 0;
}
