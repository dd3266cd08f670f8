/*
 * bench_open.c - how long opening a store takes.
 *
 * usage: bench_open [--quick] [DIRECTORY]
 *
 * 1,000,000 keys with values of 1 KiB, then 10,000,000 with values of 16
 * bytes: opened after a clean close, and after kill -9 at a random moment
 * while a process overwrites random keys as fast as it can. Five times each,
 * every time in a new process; the time is toon_open()'s, the files are in
 * the page cache. After a kill, the tail is what of the log the index does not
 * cover: it is read. Each opened store answers for some keys.
 *
 * --quick: a tenth of the keys. DIRECTORY, else $TMPDIR, else /dev/shm, needs
 * about 3 GiB.
 */
#include "bench_tools.h"
#include "toonstore.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    RUNS = 5,
    KEY_SIZE = 16,
    VALUE_SIZE_MAX = 1024,
    LOOKS = 1000,
    WRITING_MS_MIN = 500, /* before the kill */
    WRITING_MS_SPAN = 2500,
};

struct work {
    const char *dir;
    uint64_t keys;
    size_t value_size;
    uint64_t random;
};

/* What a measuring process found; shared with it. */
struct opened {
    double seconds;
    uint64_t tail_bytes;
    uint64_t keys;
};

static struct opened *opened;

static void check(toon_err err, const char *what) {
    if (err == TOON_OK)
        return;
    (void)fprintf(stderr, "bench_open: %s: %s\n", what,
                  toon_last_error()->text);
    exit(1);
}

static toon_store *open_store(const struct work *work) {
    toon_store *store;
    check(toon_open(work->dir, NULL, &store), "open");
    return store;
}

static void set_key(toon_store *store, const struct work *work, uint64_t number,
                    uint64_t random) {
    char key[KEY_SIZE];
    char value[VALUE_SIZE_MAX];
    bench_key(key, sizeof key, number);
    memset(value, 'a' + (int)(random % 26), work->value_size);
    check(toon_set(store, toon_bytes(key, sizeof key),
                   toon_bytes(value, work->value_size), NULL),
          "set");
}

/* ---------------------------------------------------- what the processes do */

static void fill(struct work *work) {
    toon_store *store = open_store(work);
    for (uint64_t i = 0; i < work->keys; i++)
        set_key(store, work, i, i);
    check(toon_close(store), "close");
}

static void close_cleanly(struct work *work) {
    check(toon_close(open_store(work)), "close");
}

static void overwrite(struct work *work) {
    toon_store *store = open_store(work);
    for (;;) {
        uint64_t random = bench_random(&work->random);
        set_key(store, work, random % work->keys, random);
    }
}

static void look_at_some(toon_store *store, struct work *work) {
    for (int i = 0; i < LOOKS; i++) {
        char key[KEY_SIZE];
        toon_value value;
        bench_key(key, sizeof key, bench_random(&work->random) % work->keys);
        check(toon_get(store, toon_bytes(key, sizeof key), &value), "get");
        if (value.size != work->value_size)
            bench_fail("a value of another size");
        toon_value_release(&value);
    }
}

/* Leaves the files as they are: the next one to open finds the same. */
static void measure(struct work *work) {
    toon_stats stats;
    double start = bench_now_s();
    toon_store *store = open_store(work);
    opened->seconds = bench_now_s() - start;
    toon_stat(store, &stats);
    opened->tail_bytes = stats.log_bytes - stats.indexed_bytes;
    opened->keys = stats.keys;
    look_at_some(store, work);
    _exit(0);
}

/* ------------------------------------------------------------------ the runs */

typedef void job_fn(struct work *work);

static pid_t begin_process(job_fn *job, struct work *work) {
    (void)fflush(stdout);
    pid_t child = fork();
    if (child < 0)
        bench_fail("fork");
    if (child == 0) {
        job(work);
        _exit(0);
    }
    return child;
}

static void run_process(job_fn *job, struct work *work) {
    int status = 0;
    if (waitpid(begin_process(job, work), &status, 0) < 0 || status != 0) {
        errno = 0;
        bench_fail("a process failed");
    }
}

static void kill_while_writing(struct work *work) {
    uint64_t ms =
        WRITING_MS_MIN + bench_random(&work->random) % WRITING_MS_SPAN;
    pid_t child = begin_process(overwrite, work);
    int status = 0;
    (void)usleep((useconds_t)ms * 1000);
    if (kill(child, SIGKILL) != 0 || waitpid(child, &status, 0) != child ||
        !WIFSIGNALED(status)) {
        errno = 0;
        bench_fail("the writing process ended by itself");
    }
}

static int compare(const void *a, const void *b) {
    double first = ((const struct opened *)a)->seconds;
    double second = ((const struct opened *)b)->seconds;
    return (first > second) - (first < second);
}

static void measure_runs(struct work *work, const char *name, job_fn *before) {
    struct opened runs[RUNS];
    for (int i = 0; i < RUNS; i++) {
        before(work);
        run_process(measure, work);
        runs[i] = *opened;
        if (opened->keys != work->keys)
            bench_fail("keys are missing");
    }
    qsort(runs, RUNS, sizeof runs[0], compare);
    uint64_t tail = 0;
    for (int i = 0; i < RUNS; i++)
        tail = runs[i].tail_bytes > tail ? runs[i].tail_bytes : tail;
    (void)printf("%9" PRIu64 " %5zu  %-24s %8.3f %8.3f %8.3f %9.1f\n",
                 work->keys, work->value_size, name, runs[RUNS / 2].seconds,
                 runs[0].seconds, runs[RUNS - 1].seconds,
                 (double)tail / 1048576.0);
    (void)fflush(stdout);
}

static void close_in_a_process(struct work *work) {
    run_process(close_cleanly, work);
}

static void measure_work(struct work *work) {
    run_process(fill, work);
    measure_runs(work, "after a clean close", close_in_a_process);
    measure_runs(work, "after kill -9, writing", kill_while_writing);
    bench_empty_directory(work->dir);
}

int main(int argc, char **argv) {
    bool quick = argc > 1 && strcmp(argv[1], "--quick") == 0;
    const char *parent = argc > 1 + quick ? argv[1 + quick] : NULL;
    uint64_t part = quick ? 10 : 1;
    struct work works[] = {
        {NULL, 1000000 / part, VALUE_SIZE_MAX, 88172645463325252u},
        {NULL, 10000000 / part, 16, 2463534242u},
    };
    opened = mmap(NULL, sizeof *opened, PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (opened == MAP_FAILED)
        bench_fail("mmap");
    const char *dir = bench_make_directory(parent);
    (void)printf("%9s %5s  %-24s %8s %8s %8s %9s\n", "keys", "value",
                 "seconds to open", "median", "least", "most", "tail MiB");
    for (size_t i = 0; i < sizeof works / sizeof works[0]; i++) {
        works[i].dir = dir;
        measure_work(&works[i]);
    }
    return 0;
}
