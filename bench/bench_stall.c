/*
 * bench_stall.c - how long a client waits while a log is compacted.
 *
 * usage: bench_stall [--quick] [--library | --resp] [--seconds N]
 *                    [--tstd PROGRAM] [DIRECTORY]
 *
 * A store of 1 GiB in values of 1 KiB. One thread overwrites random keys as
 * fast as it can (by RESP: in pipelines of 16); another, the client, does a
 * GET and a SET of random keys in turn, rests a little, and notes how long
 * each took. First for some seconds alone, which tells how quiet the machine
 * is; then beside the writer without a compaction; then with those that begin
 * by themselves and at least one that is asked for. Printed: the client's
 * latencies, apart for while a compaction ran, and the longest once more
 * without the time in which the machine itself stood still (pauses.h), which
 * no store can help; how long the compactions took; and how much of the space
 * that the store may take, 2.2 times the live bytes and 128 MiB, its directory
 * took at most (by what its files hold on the disk, looked at every two
 * milliseconds).
 *
 * --quick: 128 MiB and a few seconds. Needs about 3 GiB in DIRECTORY, else
 * $TMPDIR, else /dev/shm.
 */
#include "bench_tools.h"
#include "pauses.h"
#include "stall_side.h"

#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    BUCKETS = 40, /* of times twice as long each */
    FINE = 8,     /* parts of a bucket, for percentiles */
    REST_US = 50, /* of the client, between two pairs */
    LOOK_MS = 2,  /* at the directory */
    PIPELINE = 16,
    SECONDS_DEFAULT = 20,
    SECONDS_QUICK = 4,
    LONG_NS = 1000000, /* each that took longer is noted */
    LONG_MAX = 1 << 16,
};

#define SPACE_SLACK ((uint64_t)128 << 20)

void stall_value(char *value, uint64_t *random) {
    static const char letters[] = "abcdefghijklmnop";
    uint64_t bits = 0;
    for (size_t i = 0; i < STALL_VALUE_SIZE; i++) {
        if (i % 16 == 0)
            bits = bench_random(random);
        value[i] = letters[bits & 15];
        bits >>= 4;
    }
}

/* --------------------------------------------------------------- histograms */

struct histogram {
    uint64_t counts[BUCKETS * FINE];
    uint64_t count;
    uint64_t most_ns;
};

/* Eight buckets for each doubling of the time. */
static size_t bucket_of(uint64_t ns) {
    if (ns < FINE)
        return (size_t)ns;
    unsigned power = 63 - (unsigned)__builtin_clzll(ns);
    size_t part = (size_t)(ns >> (power - 3)) & (FINE - 1);
    size_t bucket = (power - 2) * FINE + part;
    return bucket < BUCKETS * FINE ? bucket : BUCKETS * FINE - 1;
}

/* The least time that is in it. */
static uint64_t start_of(size_t bucket) {
    if (bucket < FINE)
        return bucket;
    return (FINE + bucket % FINE) << (bucket / FINE - 1);
}

static void note(struct histogram *times, uint64_t ns) {
    times->counts[bucket_of(ns)]++;
    times->count++;
    if (ns > times->most_ns)
        times->most_ns = ns;
}

static double percentile_us(const struct histogram *times, double part) {
    uint64_t wanted = (uint64_t)((double)times->count * part);
    uint64_t seen = 0;
    for (size_t i = 0; i < BUCKETS * FINE; i++) {
        seen += times->counts[i];
        if (seen > wanted)
            return (double)start_of(i + 1) / 1e3;
    }
    return (double)times->most_ns / 1e3;
}

/* ------------------------------------------------------------------ the run */

enum { GET, SET, KINDS };

enum { ALONE, BESIDE_WRITER, COMPACTING, PHASES };

struct long_one {
    uint64_t from, to;
    int phase, kind;
};

static struct run {
    const struct stall_side *side;
    const char *dir;
    uint64_t keys;
    atomic_bool stop;
    atomic_bool compacting;
    atomic_bool bounded; /* space is being looked at */
    bool writing;
    bool witnessed; /* the machine's pauses are known */
    atomic_ulong written;

    /* The client's. */
    struct histogram times[PHASES][KINDS];
    struct long_one long_ones[LONG_MAX];
    size_t long_count;

    /* The looker's. */
    double space_most; /* a part of what is allowed */
    uint64_t directory_most, allowed_then;
    uint64_t compactions;
    int64_t compact_ms_most;
} run;

static uint64_t pick(uint64_t *random) {
    return bench_random(random) % run.keys;
}

static void *write_on(void *arg) {
    uint64_t random = 88172645463325252u;
    void *connection = run.side->connect();
    (void)arg;
    while (!atomic_load(&run.stop)) {
        uint64_t keys[PIPELINE];
        for (size_t i = 0; i < PIPELINE; i++)
            keys[i] = pick(&random);
        run.side->set_many(connection, keys, PIPELINE);
        (void)atomic_fetch_add(&run.written, PIPELINE);
    }
    run.side->disconnect(connection);
    return NULL;
}

static void time_one(void *connection, int kind, uint64_t key) {
    bool before = atomic_load(&run.compacting);
    uint64_t start = bench_now_ns();
    if (kind == GET)
        run.side->get(connection, key);
    else
        run.side->set(connection, key);
    uint64_t taken = bench_now_ns() - start;
    bool compacting = before || atomic_load(&run.compacting);
    int phase = compacting ? COMPACTING : run.writing ? BESIDE_WRITER : ALONE;
    note(&run.times[phase][kind], taken);
    if (taken > LONG_NS && run.long_count < LONG_MAX)
        run.long_ones[run.long_count++] =
            (struct long_one){start, start + taken, phase, kind};
}

static void *be_client(void *arg) {
    uint64_t random = 2463534242u;
    void *connection = run.side->connect();
    struct timespec rest = {0, REST_US * 1000L};
    (void)arg;
    while (!atomic_load(&run.stop)) {
        time_one(connection, GET, pick(&random));
        time_one(connection, SET, pick(&random));
        (void)nanosleep(&rest, NULL);
    }
    run.side->disconnect(connection);
    return NULL;
}

static void look_at_space(const struct stall_state *state) {
    uint64_t taken = bench_directory_bytes(run.dir);
    uint64_t allowed =
        state->live_bytes * 2 + state->live_bytes / 5 + SPACE_SLACK;
    double part = (double)taken / (double)allowed;
    if (taken > run.directory_most)
        run.directory_most = taken;
    if (part <= run.space_most)
        return;
    run.space_most = part;
    run.allowed_then = allowed;
}

static void *look(void *arg) {
    void *connection = run.side->connect();
    struct timespec rest = {0, LOOK_MS * 1000000L};
    struct stall_state state;
    (void)arg;
    while (!atomic_load(&run.stop)) {
        run.side->state(connection, &state);
        atomic_store(&run.compacting, state.compacting);
        if (atomic_load(&run.bounded))
            look_at_space(&state);
        if (state.compactions != run.compactions &&
            state.compact_ms > run.compact_ms_most)
            run.compact_ms_most = state.compact_ms;
        run.compactions = state.compactions;
        (void)nanosleep(&rest, NULL);
    }
    run.side->disconnect(connection);
    return NULL;
}

static void fill(void *connection) {
    uint64_t keys[PIPELINE];
    for (uint64_t i = 0; i < run.keys; i += PIPELINE) {
        for (uint64_t k = 0; k < PIPELINE; k++)
            keys[k] = (i + k) % run.keys;
        run.side->set_many(connection, keys, PIPELINE);
    }
}

static void wait_for_compaction(void *connection, uint64_t before) {
    struct timespec rest = {0, 10000000};
    struct stall_state state;
    do {
        (void)nanosleep(&rest, NULL);
        run.side->state(connection, &state);
    } while (state.compactions <= before);
}

/* Client, looker and, if told, writer, for so long. Returns the writer's pace,
 * MB/s. */
static double work(unsigned seconds, void *connection, bool writing,
                   bool compact) {
    pthread_t threads[3];
    void *(*const jobs[])(void *) = {be_client, look, write_on};
    const int count = writing ? 3 : 2;
    struct timespec time = {seconds, 0};
    struct stall_state state;
    atomic_store(&run.stop, false);
    run.writing = writing;
    unsigned long before = atomic_load(&run.written);
    double start = bench_now_s();
    for (int i = 0; i < count; i++) {
        if (pthread_create(&threads[i], NULL, jobs[i], NULL) != 0)
            bench_fail("thread");
    }
    if (compact) {
        run.side->state(connection, &state);
        run.side->compact(connection);
        wait_for_compaction(connection, state.compactions);
    }
    (void)nanosleep(&time, NULL);
    atomic_store(&run.stop, true);
    for (int i = 0; i < count; i++)
        (void)pthread_join(threads[i], NULL);
    unsigned long written = atomic_load(&run.written) - before;
    return (double)written * STALL_VALUE_SIZE / (bench_now_s() - start) / 1e6;
}

/* ----------------------------------------------------------------- printing */

/* The longest, without the machine's own pauses. */
static double longest_of_ours_ms(int phase, int kind) {
    uint64_t most = run.times[phase][kind].most_ns;
    uint64_t ours = most < LONG_NS ? most : 0;
    for (size_t i = 0; i < run.long_count; i++) {
        const struct long_one *one = &run.long_ones[i];
        uint64_t taken =
            one->to - one->from - bench_paused_ns(one->from, one->to);
        if (one->phase == phase && one->kind == kind && taken > ours)
            ours = taken;
    }
    return (double)ours / 1e6;
}

static void print_times(const char *what, int phase, int kind) {
    const struct histogram *times = &run.times[phase][kind];
    (void)printf("%-22s %9" PRIu64 " %9.0f %9.0f %9.0f %9.0f %12.2f %12.2f\n",
                 what, times->count, percentile_us(times, 0.5),
                 percentile_us(times, 0.99), percentile_us(times, 0.999),
                 percentile_us(times, 0.9999), (double)times->most_ns / 1e6,
                 longest_of_ours_ms(phase, kind));
}

static void print_pauses(void) {
    if (!run.witnessed)
        (void)printf("machine: pauses not looked for (not allowed)\n");
    else
        (void)printf(
            "machine: stood still %" PRIu64 " times, %.1f ms at most\n",
            bench_pauses_count(), (double)bench_pauses_longest_ns() / 1e6);
}

static uint64_t doubling(const struct histogram *times, size_t power) {
    uint64_t sum = 0;
    for (size_t part = 0; part < FINE; part++)
        sum += times->counts[power * FINE + part];
    return sum;
}

static void print_row(size_t power) {
    uint64_t sum = 0;
    for (int i = 0; i < PHASES * KINDS; i++)
        sum += doubling(&run.times[i / KINDS][i % KINDS], power);
    if (sum == 0)
        return;
    (void)printf("%9.1f", (double)start_of(power * FINE) / 1e3);
    for (int i = 0; i < PHASES * KINDS; i++)
        (void)printf(" %11" PRIu64,
                     doubling(&run.times[i / KINDS][i % KINDS], power));
    (void)printf("\n");
}

static void print_histogram(void) {
    (void)printf("%9s %11s %11s %11s %11s %11s %11s\n", "from us", "GET alone",
                 "SET alone", "GET writer", "SET writer", "GET compact",
                 "SET compact");
    for (size_t power = 0; power < BUCKETS; power++)
        print_row(power);
}

static void print_all(double pace_quiet, double pace_busy) {
    static const char *const names[PHASES][KINDS] = {
        {"GET alone", "SET alone"},
        {"GET beside the writer", "SET beside the writer"},
        {"GET while compacting", "SET while compacting"},
    };
    (void)printf("%-22s %9s %9s %9s %9s %9s %12s %12s\n", run.side->name,
                 "count", "p50 us", "p99", "p99.9", "p99.99", "longest ms",
                 "of ours ms");
    for (int i = 0; i < PHASES * KINDS; i++)
        print_times(names[i / KINDS][i % KINDS], i / KINDS, i % KINDS);
    print_pauses();
    print_histogram();
    (void)printf("compactions: %" PRIu64 ", the longest %.1f s\n",
                 run.compactions, (double)run.compact_ms_most / 1e3);
    (void)printf("writer: %.0f MB/s without, %.0f MB/s with compactions\n",
                 pace_quiet, pace_busy);
    (void)printf("directory: %.2f of the allowed 2.2 x live + 128 MiB at most "
                 "(then %.0f MiB); %.0f MiB at most\n\n",
                 run.space_most, (double)run.allowed_then / 1048576.0,
                 (double)run.directory_most / 1048576.0);
    (void)fflush(stdout);
}

static void measure(const struct stall_side *side, const char *dir,
                    uint64_t keys, unsigned seconds) {
    memset(&run, 0, sizeof run);
    run.side = side;
    run.dir = dir;
    run.keys = keys;
    side->start(dir);
    void *connection = side->connect();
    struct stall_state state;
    side->tune(connection, false);
    fill(connection);
    run.witnessed = bench_pauses_start();
    (void)work(seconds / 4 + 1, connection, false, false);
    double pace_quiet = work(seconds / 4 + 1, connection, true, false);
    side->state(connection, &state);
    side->compact(connection); /* the space of this part does not count */
    wait_for_compaction(connection, state.compactions);
    side->tune(connection, true);
    atomic_store(&run.bounded, true);
    double pace_busy = work(seconds, connection, true, true);
    if (run.witnessed)
        bench_pauses_stop();
    side->disconnect(connection);
    side->stop();
    print_all(pace_quiet, pace_busy);
    bench_empty_directory(dir);
}

int main(int argc, char **argv) {
    static const struct option words[] = {
        {"quick", no_argument, NULL, 'q'},
        {"library", no_argument, NULL, 'l'},
        {"resp", no_argument, NULL, 'r'},
        {"seconds", required_argument, NULL, 's'},
        {"tstd", required_argument, NULL, 't'},
        {NULL, 0, NULL, 0},
    };
    bool library = true;
    bool resp = true;
    uint64_t keys = 1 << 20;
    unsigned seconds = 0;
    int word;
    while ((word = getopt_long(argc, argv, "", words, NULL)) != -1) {
        if (word == 'q')
            keys = 1 << 17;
        else if (word == 'l')
            resp = false;
        else if (word == 'r')
            library = false;
        else if (word == 's')
            seconds = (unsigned)strtoul(optarg, NULL, 10);
        else if (word == 't')
            stall_tstd = optarg;
        else
            return 2;
    }
    if (seconds == 0)
        seconds = keys < 1 << 20 ? SECONDS_QUICK : SECONDS_DEFAULT;
    const char *dir = bench_make_directory(optind < argc ? argv[optind] : NULL);
    if (library)
        measure(&stall_library, dir, keys, seconds);
    if (resp)
        measure(&stall_resp, dir, keys, seconds);
    return 0;
}
