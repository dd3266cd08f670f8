/*
 * bench_core.c - the library beside the ancestor's method, in one run.
 *
 * Knows both by their headers; must never know their insides.
 *
 * Both sides do the same work with the same values on the same disk, one
 * after the other, round after round; what counts is the ratio of the medians.
 * What either acknowledges survives kill -9, and no more is asked of them.
 * Every value that comes back is looked at: its size, first and last bytes,
 * and all of every sixteenth.
 */
#include "ancestor.h"
#include "toonstore.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum {
    KEY_SIZE = 16,
    VALUE_SIZE_MAX = 1024,
    ROWS = 10000,
    GETS = 200000,
    MIXED = 20000,
    ROWS_MAX = ROWS + MIXED,
    CACHED_GETS = 2000000,
    CACHE_ENTRIES = 2 * ROWS,
    THREADS_MAX = 2,
    ROUNDS_MAX = 99,
};

/* One side's row store behind one face; a row is its number. */
struct side {
    void *(*open)(const char *where, bool cached);
    void (*close)(void *store);
    void (*put)(void *store, uint32_t row, const char *value);
    size_t (*get)(void *store, uint32_t row, char *value); /* its size */
};

static void fail(const char *what) {
    (void)fprintf(stderr, "bench_core: %s: %s\n", what, strerrordesc_np(errno));
    exit(1);
}

static double now_s(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* ------------------------------------------------------------------- values */

static char
    pattern[2 * VALUE_SIZE_MAX]; /* letters; a value is a window of it */
static char keys[ROWS_MAX][KEY_SIZE];
static size_t value_size; /* in the work under way */

static uint32_t random_number(uint64_t *seed, uint32_t below) {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return (uint32_t)((*seed >> 32) * below >> 32);
}

static void make_pattern(void) {
    uint64_t seed = UINT64_C(0x9e3779b97f4a7c15);
    for (size_t i = 0; i < sizeof pattern; i++) {
        pattern[i] = (char)('a' + random_number(&seed, 26));
    }
}

/* Made beforehand: who has a key does not print it first. */
static void make_keys(void) {
    for (uint32_t row = 0; row < ROWS_MAX; row++) {
        char text[KEY_SIZE + 1];
        (void)snprintf(text, sizeof text, "row:%012" PRIu32, row);
        memcpy(keys[row], text, KEY_SIZE);
    }
}

static const char *body_of(uint32_t row) {
    return pattern + row % VALUE_SIZE_MAX;
}

static void make_value(char value[VALUE_SIZE_MAX], uint32_t row) {
    memcpy(value, keys[row], KEY_SIZE);
    memcpy(value + KEY_SIZE, body_of(row), value_size - KEY_SIZE);
}

static void expect_value(const char *value, size_t size, uint32_t row,
                         bool all) {
    const size_t skip = all ? 0 : value_size - 2 * (size_t)KEY_SIZE;
    if (size != value_size || memcmp(value, keys[row], KEY_SIZE) != 0 ||
        memcmp(value + KEY_SIZE + skip, body_of(row) + skip,
               value_size - KEY_SIZE - skip) != 0) {
        (void)fprintf(stderr, "bench_core: row %u came back wrong\n", row);
        exit(1);
    }
}

/* ---------------------------------------------------------------- two sides */

static void *open_ancestor(const char *where, bool cached) {
    ancestor *store = ancestor_open(where, cached ? CACHE_ENTRIES : 0);
    if (store == NULL) {
        fail("the ancestor's files");
    }
    return store;
}

static void close_ancestor(void *store) {
    ancestor_close(store);
}

static void put_ancestor(void *store, uint32_t row, const char *value) {
    (void)row; /* rows are numbered as they come */
    if (!ancestor_put(store, value, value_size)) {
        fail("the ancestor's put");
    }
}

static size_t get_ancestor(void *store, uint32_t row, char *value) {
    size_t size;
    if (!ancestor_get(store, row, value, value_size, &size)) {
        fail("the ancestor's get");
    }
    return size;
}

static void *open_library(const char *where, bool cached) {
    toon_options options = {
        .sync = TOON_SYNC_NO,
        .cache_policy = cached ? TOON_CACHE_S3FIFO : TOON_CACHE_NONE,
    };
    toon_store *store;
    if (toon_open(where, &options, &store) != TOON_OK) {
        fail(toon_last_error()->text);
    }
    return store;
}

static void close_library(void *store) {
    if (toon_close(store) != TOON_OK) {
        fail(toon_last_error()->text);
    }
}

static void put_library(void *store, uint32_t row, const char *value) {
    toon_err err = toon_set(store, toon_bytes(keys[row], KEY_SIZE),
                            toon_bytes(value, value_size), NULL);
    if (err != TOON_OK) {
        fail(toon_strerror(err));
    }
}

static size_t get_library(void *store, uint32_t row, char *value) {
    size_t size;
    toon_err err = toon_read(store, toon_bytes(keys[row], KEY_SIZE), value,
                             value_size, &size);
    if (err != TOON_OK) {
        fail(toon_strerror(err));
    }
    return size;
}

static const struct side sides[2] = {
    {open_ancestor, close_ancestor, put_ancestor, get_ancestor},
    {open_library, close_library, put_library, get_library},
};

/* --------------------------------------------------------------------- work */

static void put_row(const struct side *side, void *store, uint32_t row) {
    char value[VALUE_SIZE_MAX];
    make_value(value, row);
    side->put(store, row, value);
}

static void get_row(const struct side *side, void *store, uint32_t row,
                    bool all) {
    char value[VALUE_SIZE_MAX];
    size_t size = side->get(store, row, value);
    expect_value(value, size, row, all);
}

static void *open_filled(const struct side *side, const char *where,
                         bool cached) {
    void *store = side->open(where, cached);
    for (uint32_t row = 0; row < ROWS; row++) {
        put_row(side, store, row);
    }
    return store;
}

/* Each kind of work returns operations a second. */

static double work_put(const struct side *side, const char *where) {
    void *store = side->open(where, false);
    double start = now_s();
    for (uint32_t row = 0; row < ROWS; row++) {
        put_row(side, store, row);
    }
    double spent = now_s() - start;
    side->close(store);
    return ROWS / spent;
}

static double work_get(const struct side *side, const char *where) {
    void *store = open_filled(side, where, false);
    uint64_t seed = 12345;
    double start = now_s();
    for (uint32_t i = 0; i < GETS; i++) {
        get_row(side, store, random_number(&seed, ROWS), i % 16 == 0);
    }
    double spent = now_s() - start;
    side->close(store);
    return GETS / spent;
}

/* Half of them put a new row, half get one of those that are there. */
static double work_mixed(const struct side *side, const char *where) {
    void *store = open_filled(side, where, false);
    uint64_t seed = 12345;
    uint32_t rows = ROWS;
    double start = now_s();
    for (uint32_t i = 0; i < MIXED; i++) {
        if (random_number(&seed, 2) == 0) {
            put_row(side, store, rows++);
        } else {
            get_row(side, store, random_number(&seed, rows), i % 16 == 0);
        }
    }
    double spent = now_s() - start;
    side->close(store);
    return MIXED / spent;
}

typedef struct reader {
    const struct side *side;
    void *store;
    uint64_t seed;
    pthread_barrier_t *together;
    double spent;
} reader;

static void *read_cached(void *arg) {
    reader *self = arg;
    for (uint32_t row = 0; row < ROWS; row++) {
        get_row(self->side, self->store, row, true);
    }
    (void)pthread_barrier_wait(self->together);
    double start = now_s();
    for (uint32_t i = 0; i < CACHED_GETS; i++) {
        get_row(self->side, self->store, random_number(&self->seed, ROWS),
                i % 16 == 0);
    }
    self->spent = now_s() - start;
    return NULL;
}

static double work_cached(const struct side *side, const char *where,
                          unsigned threads) {
    void *store = open_filled(side, where, true);
    pthread_barrier_t together;
    pthread_t ids[THREADS_MAX];
    reader readers[THREADS_MAX];
    double slowest = 0;
    (void)pthread_barrier_init(&together, NULL, threads);
    for (unsigned i = 0; i < threads; i++) {
        readers[i] = (reader){side, store, 12345 + i, &together, 0};
        errno = pthread_create(&ids[i], NULL, read_cached, &readers[i]);
        if (errno != 0) {
            fail("a thread");
        }
    }
    for (unsigned i = 0; i < threads; i++) {
        (void)pthread_join(ids[i], NULL);
        slowest = readers[i].spent > slowest ? readers[i].spent : slowest;
    }
    (void)pthread_barrier_destroy(&together);
    side->close(store);
    return (double)CACHED_GETS * threads / slowest;
}

static double work_cached_1(const struct side *side, const char *where) {
    return work_cached(side, where, 1);
}

static double work_cached_2(const struct side *side, const char *where) {
    return work_cached(side, where, 2);
}

static const struct {
    const char *name;
    double goal; /* times the ancestor's */
    size_t value_size;
    double (*run)(const struct side *side, const char *where);
} works[] = {
    {"PUT 1 KB, 10,000 rows", 3, 1024, work_put},
    {"GET from storage, random, 1 KB", 3, 1024, work_get},
    {"cached GET, 100 B, 1 thread", 2, 100, work_cached_1},
    {"cached GET, 100 B, 2 threads", 5, 100, work_cached_2},
    {"cached GET, 1 KB, 1 thread", 2, 1024, work_cached_1},
    {"cached GET, 1 KB, 2 threads", 5, 1024, work_cached_2},
    {"mixed 50/50 from storage, 1 KB", 2.5, 1024, work_mixed},
};

/* ------------------------------------------------------------------- rounds */

typedef struct summary {
    double low, median, high;
} summary;

static int compare_rates(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static summary summarise(double *rates, size_t count) {
    qsort(rates, count, sizeof rates[0], compare_rates);
    return (summary){
        rates[0],
        (rates[(count - 1) / 2] + rates[count / 2]) / 2,
        rates[count - 1],
    };
}

static char dir[1024]; /* made for this run */

static void remove_files(void) {
    static const char *const names[] = {
        "ancestor.toon", "ancestor.toon.idx", "db.toon",
        "db.toon.idx",   "db.toon.tail",      "db.lock",
    };
    char path[sizeof dir + 32];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        (void)unlink(path);
    }
}

static void remove_dir(void) {
    remove_files();
    (void)rmdir(dir);
}

static void run_work(size_t work, size_t rounds) {
    double rates[2][ROUNDS_MAX];
    summary sums[2];
    value_size = works[work].value_size;
    for (size_t i = 0; i < 2 * rounds; i++) {
        /* Who begins changes from round to round. */
        size_t round = i / 2, which = (i + round) % 2;
        rates[which][round] = works[work].run(&sides[which], dir);
        remove_files();
    }
    (void)printf("| %-32s |", works[work].name);
    for (size_t i = 0; i < 2; i++) {
        sums[i] = summarise(rates[i], rounds);
        (void)printf(" %8.0f (%.0f to %.0f) |", sums[i].median / 1000,
                     sums[i].low / 1000, sums[i].high / 1000);
    }
    (void)printf(" %5.2f | %3.1f |\n", sums[1].median / sums[0].median,
                 works[work].goal);
    (void)fflush(stdout);
}

int main(int argc, char **argv) {
    long rounds = argc > 1 ? strtol(argv[1], NULL, 10) : 7;
    const char *parent = argc > 2 ? argv[2] : "/tmp";
    if (rounds < 1 || rounds > ROUNDS_MAX || argc > 3) {
        (void)fprintf(stderr, "Usage: bench_core [ROUNDS [DIRECTORY]]\n");
        return 2;
    }
    (void)snprintf(dir, sizeof dir, "%s/bench_core.XXXXXX", parent);
    if (mkdtemp(dir) == NULL) {
        fail(dir);
    }
    (void)atexit(remove_dir);
    make_pattern();
    make_keys();
    (void)printf("Thousand operations a second, median (lowest to highest) of "
                 "%ld rounds.\n\n"
                 "| work | ancestor's method | toonstore | ratio | goal |\n"
                 "|---|---|---|---|---|\n",
                 rounds);
    for (size_t i = 0; i < sizeof works / sizeof works[0]; i++) {
        run_work(i, (size_t)rounds);
    }
    return 0;
}
