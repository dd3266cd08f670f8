/*
 * damage.c - files with flipped bits, swapped pages, missing ends, of other
 * stores: is every damage found, and what is left of the store?
 *
 * Small stores in which every kind of record is, closed, killed and without
 * an index, are damaged in every bit and cut at every byte; larger ones, made
 * by chance, are damaged as disks, file systems and people do. What is right
 * then, damage_verdict.h says.
 *
 *   --seconds N   go on with ever new stores for about so long
 *   --seed N      the first of them
 *   --case N      this damaged copy alone, as a complaint names it
 *
 * With TOON_SMALL=1 in the environment it does a sample.
 */
#include "damage_verdict.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum {
    PAGE = 4096,
    SECTOR = 512,
    STORES = 40,  /* larger ones */
    DAMAGES = 60, /* of each */
    SAMPLE = 23,  /* of small inputs, one in so many */
};

static struct {
    char dir[64];
    uint64_t seed;
    uint64_t only; /* 0: all */
    uint64_t files, undetected;
    unsigned step;
} run = {.seed = 1, .step = 1};

/* ------------------------------------------------------------------- copies */

static file_bytes copy_of(const file_bytes *file) {
    file_bytes copy = {NULL, file->size};
    if (file->bytes == NULL)
        return copy;
    copy.bytes = malloc(file->size + 3 * PAGE);
    if (copy.bytes == NULL)
        give_up("no memory");
    memcpy(copy.bytes, file->bytes, file->size);
    return copy;
}

static damaged_copy begin(const damage_store *store) {
    return (damaged_copy){.store = store,
                          .log = copy_of(&store->log),
                          .index = copy_of(&store->index),
                          .covered = store->covered};
}

static void finish(damaged_copy *damage, const char *what, uint64_t seed) {
    char text[100];
    run.files++;
    if (run.only == 0 || run.only == run.files) {
        (void)snprintf(text, sizeof text, "%s", what);
        (void)snprintf(damage->what, sizeof damage->what,
                       "case %" PRIu64 " (seed %" PRIu64 "), %s", run.files,
                       seed, text);
        run.undetected += !judge_damage(run.dir, damage);
    }
    free(damage->log.bytes);
    free(damage->index.bytes);
}

static void __attribute__((format(printf, 2, 3)))
describe(damaged_copy *damage, const char *format, ...) {
    va_list args;
    va_start(args, format);
    (void)vsnprintf(damage->what, sizeof damage->what, format, args);
    va_end(args);
}

/* ------------------------------------------------- small stores, every bit */

static void damage_log_bits(const damage_store *store, uint64_t seed) {
    for (uint64_t bit = 0; bit < store->log.size * 8; bit += run.step) {
        char what[80];
        damaged_copy damage = begin(store);
        damage.one_byte = true;
        damage.log.bytes[bit / 8] ^= (char)(1 << bit % 8);
        (void)snprintf(what, sizeof what, "bit %d of byte %" PRIu64,
                       (int)(bit % 8), bit / 8);
        finish(&damage, what, seed);
    }
}

static void damage_log_bytes(const damage_store *store, uint64_t seed) {
    static const char values[] = {0, '\n', 'x'};
    for (uint64_t at = 0; at < store->log.size * 3; at += run.step) {
        char what[80];
        damaged_copy damage = begin(store);
        damage.one_byte = true;
        damage.log.bytes[at / 3] = values[at % 3];
        (void)snprintf(what, sizeof what, "byte %" PRIu64 " is %d", at / 3,
                       values[at % 3]);
        finish(&damage, what, seed);
    }
}

static void cut_log(const damage_store *store, uint64_t end, uint64_t seed) {
    for (uint64_t size = 0; size < end; size += run.step) {
        char what[80];
        damaged_copy damage = begin(store);
        damage.log.size = size;
        (void)snprintf(what, sizeof what, "log cut at %" PRIu64, size);
        finish(&damage, what, seed);
    }
}

static void damage_index_bits(const damage_store *store, uint64_t seed) {
    for (uint64_t bit = 0; bit < store->index.size * 8; bit += run.step) {
        char what[80];
        damaged_copy damage = begin(store);
        damage.covered = 0;
        damage.index.bytes[bit / 8] ^= (char)(1 << bit % 8);
        (void)snprintf(what, sizeof what,
                       "bit %d of byte %" PRIu64 " of the index",
                       (int)(bit % 8), bit / 8);
        finish(&damage, what, seed);
    }
    for (uint64_t size = 0; size < store->index.size; size += run.step) {
        char what[80];
        damaged_copy damage = begin(store);
        damage.covered = 0;
        damage.index.size = size;
        (void)snprintf(what, sizeof what, "index cut at %" PRIu64, size);
        finish(&damage, what, seed);
    }
}

static void damage_small_store(store_end end) {
    damage_store store;
    const store_plan plan = {.seed = 2, .value_max = 100, .end = end};
    damage_store_make(run.dir, &plan, &store);
    damage_log_bits(&store, plan.seed);
    damage_log_bytes(&store, plan.seed);
    cut_log(&store, store.log.size, plan.seed);
    damage_index_bits(&store, plan.seed);
    damage_store_free(&store);
}

/* An index that was written while keys changed leans on the log behind. */
static void damage_leaning_store(unsigned pause) {
    damage_store store;
    const store_plan plan = {
        .seed = 2, .value_max = 100, .end = ENDS_KILLED, .pause = pause};
    damage_store_make(run.dir, &plan, &store);
    damage_log_bytes(&store, plan.seed);
    cut_log(&store, store.covered, plan.seed);
    damage_store_free(&store);
}

/* ------------------------------------------------ larger ones, as it happens */

struct accident {
    uint64_t random;
    damaged_copy *damage;
    const damage_store *other; /* of another seed */
    const damage_store *twin;  /* another continuation of the same log */
};

static uint64_t place(struct accident *it) {
    return pick(&it->random, it->damage->log.size);
}

/* Where a page begins; the last one may be short. */
static uint64_t page(struct accident *it, uint64_t unit) {
    return place(it) / unit * unit;
}

static uint64_t rest_of(const damaged_copy *damage, uint64_t at,
                        uint64_t most) {
    uint64_t rest = damage->log.size - at;
    return rest < most ? rest : most;
}

static void flip_bit(struct accident *it) {
    uint64_t at = place(it);
    it->damage->log.bytes[at] ^= (char)(1 << pick(&it->random, 8));
    it->damage->one_byte = true;
    describe(it->damage, "a bit of byte %" PRIu64, at);
}

static void write_garbage(struct accident *it) {
    uint64_t at = place(it);
    uint64_t size = rest_of(it->damage, at, 1 + pick(&it->random, 64));
    for (uint64_t i = 0; i < size; i++)
        it->damage->log.bytes[at + i] = (char)pick(&it->random, 256);
    describe(it->damage, "%" PRIu64 " bytes of garbage at %" PRIu64, size, at);
}

static void flip_bits(struct accident *it) {
    uint64_t count = 2 + pick(&it->random, 4);
    for (uint64_t i = 0; i < count; i++)
        it->damage->log.bytes[place(it)] ^= (char)(1 << pick(&it->random, 8));
    describe(it->damage, "%" PRIu64 " bits", count);
}

static void zero_unit(struct accident *it) {
    uint64_t unit = pick(&it->random, 2) == 0 ? PAGE : SECTOR;
    uint64_t at = page(it, unit);
    memset(it->damage->log.bytes + at, 0, rest_of(it->damage, at, unit));
    describe(it->damage, "%" PRIu64 " bytes of zeros at %" PRIu64, unit, at);
}

static void swap_units(struct accident *it) {
    uint64_t unit = pick(&it->random, 2) == 0 ? PAGE : SECTOR;
    uint64_t a = page(it, unit), b = page(it, unit);
    uint64_t last = it->damage->log.size / unit * unit;
    if (a == last || b == last || a == b)
        return;
    for (uint64_t i = 0; i < unit; i++) {
        char *bytes = it->damage->log.bytes;
        char byte = bytes[a + i];
        bytes[a + i] = bytes[b + i];
        bytes[b + i] = byte;
    }
    describe(it->damage,
             "%" PRIu64 " bytes at %" PRIu64 " and %" PRIu64 " swapped", unit,
             a, b);
}

static void copy_unit(struct accident *it) {
    uint64_t unit = pick(&it->random, 2) == 0 ? PAGE : SECTOR;
    uint64_t to = page(it, unit);
    const file_bytes *from =
        pick(&it->random, 2) == 0 ? &it->other->log : &it->damage->store->log;
    uint64_t at = pick(&it->random, from->size) / unit * unit;
    uint64_t size = rest_of(it->damage, to, unit);
    if (from->size - at < size)
        size = from->size - at;
    memcpy(it->damage->log.bytes + to, from->bytes + at, size);
    describe(it->damage,
             "%" PRIu64 " bytes of %s at %" PRIu64 " where those at %" PRIu64
             " were",
             size, from == &it->other->log ? "another log" : "the log", at, to);
}

static void cut_somewhere(struct accident *it) {
    it->damage->log.size =
        pick(&it->random, 4) == 0 ? page(it, PAGE) : place(it);
    describe(it->damage, "log cut at %zu", it->damage->log.size);
}

static void cut_out(struct accident *it) {
    uint64_t at = place(it);
    uint64_t size = rest_of(it->damage, at, 1 + pick(&it->random, 300));
    file_bytes *log = &it->damage->log;
    memmove(log->bytes + at, log->bytes + at + size, log->size - at - size);
    log->size -= size;
    describe(it->damage, "%" PRIu64 " bytes cut out at %" PRIu64, size, at);
}

static void double_some(struct accident *it) {
    uint64_t at = place(it);
    uint64_t size = rest_of(it->damage, at, 1 + pick(&it->random, 300));
    file_bytes *log = &it->damage->log;
    memmove(log->bytes + at + size, log->bytes + at, log->size - at);
    log->size += size;
    describe(it->damage, "%" PRIu64 " bytes twice at %" PRIu64, size, at);
}

static void add_to_end(struct accident *it) {
    file_bytes *log = &it->damage->log;
    uint64_t size = 1 + pick(&it->random, PAGE);
    bool zeros = pick(&it->random, 2) == 0;
    for (uint64_t i = 0; i < size; i++)
        log->bytes[log->size + i] =
            zeros ? (char)0 : (char)pick(&it->random, 256);
    log->size += size;
    describe(it->damage, "%" PRIu64 " bytes of %s added", size,
             zeros ? "zeros" : "garbage");
}

/* -------------------------------------------------------- of the other file */

static void replace_index(struct accident *it, const file_bytes *index,
                          uint64_t covered) {
    free(it->damage->index.bytes);
    it->damage->index = copy_of(index);
    it->damage->covered = covered;
}

static void damage_index(struct accident *it) {
    file_bytes *index = &it->damage->index;
    if (index->bytes == NULL)
        return;
    uint64_t at = pick(&it->random, index->size);
    uint64_t size = 1 + pick(&it->random, 40);
    for (uint64_t i = at; i < at + size && i < index->size; i++)
        index->bytes[i] ^= (char)(1 + pick(&it->random, 255));
    it->damage->covered = 0;
    describe(it->damage, "%" PRIu64 " bytes of the index from %" PRIu64, size,
             at);
}

static void take_index_away(struct accident *it) {
    const file_bytes none = {NULL, 0};
    replace_index(it, &none, 0);
    flip_bit(it);
}

static void use_old_index(struct accident *it) {
    if (it->damage->store->old_index.bytes == NULL)
        return;
    replace_index(it, &it->damage->store->old_index,
                  it->damage->store->old_covered);
    describe(it->damage, "an index from the past");
}

static void use_other_index(struct accident *it) {
    replace_index(it, &it->other->index, 0);
    describe(it->damage, "an index of another store");
}

/* Of the future or of another one: opening may refuse, or not believe it. */
static void use_twin_index(struct accident *it) {
    if (it->twin->index.bytes == NULL)
        return;
    replace_index(it, &it->twin->index, it->twin->covered);
    it->damage->must_find = true;
    describe(it->damage, "an index of another continuation");
}

static void take_log_away(struct accident *it) {
    if (it->damage->index.bytes == NULL)
        return;
    free(it->damage->log.bytes);
    it->damage->log = (file_bytes){NULL, 0};
    describe(it->damage, "the log is missing");
}

typedef void accident_fn(struct accident *it);

static accident_fn *const accidents[] = {
    flip_bit,       flip_bit,        write_garbage, write_garbage,
    flip_bits,      zero_unit,       zero_unit,     swap_units,
    swap_units,     copy_unit,       copy_unit,     cut_somewhere,
    cut_somewhere,  cut_out,         double_some,   add_to_end,
    damage_index,   take_index_away, use_old_index, use_other_index,
    use_twin_index, take_log_away,
};

enum { ACCIDENTS = sizeof accidents / sizeof *accidents };

static void damage_larger_store(uint64_t seed) {
    damage_store store, other, twin;
    store_plan plan = {.seed = seed,
                       .changes = 60 + (unsigned)(seed % 5) * 40,
                       .value_max = seed % 3 == 0 ? 40000 : 3000,
                       .end = (store_end)(seed % 3)};
    store_plan twin_plan = plan;
    store_plan other_plan = {seed + 1000003, 80, 1000, ENDS_CLOSED, false, 0};
    twin_plan.twin = true;
    twin_plan.end = ENDS_CLOSED;
    damage_store_make(run.dir, &plan, &store);
    damage_store_make(run.dir, &other_plan, &other);
    damage_store_make(run.dir, &twin_plan, &twin);
    for (unsigned i = 0; i < DAMAGES; i++) {
        damaged_copy damage = begin(&store);
        char what[160];
        struct accident it = {.random = seed * 1000 + i,
                              .damage = &damage,
                              .other = &other,
                              .twin = &twin};
        damage.other = &other;
        describe(&damage, "nothing");
        accidents[pick(&it.random, ACCIDENTS)](&it);
        (void)snprintf(what, sizeof what, "%s", damage.what);
        finish(&damage, what, seed);
    }
    damage_store_free(&store);
    damage_store_free(&other);
    damage_store_free(&twin);
}

/* --------------------------------------------------------------------- main */

static double now_s(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void run_all(double seconds) {
    double until = now_s() + seconds;
    uint64_t seed = run.seed;
    if (seconds == 0) {
        damage_small_store(ENDS_CLOSED);
        damage_small_store(ENDS_KILLED);
        damage_small_store(ENDS_UNINDEXED);
        damage_leaning_store(1); /* before the slots are counted, */
        damage_leaning_store(3); /* and after it */
        for (unsigned i = 0; i < STORES; i += (run.step + 3) / 4)
            damage_larger_store(seed + i);
        return;
    }
    while (now_s() < until)
        damage_larger_store(seed++);
}

/* A directory in memory, if there is one. */
static void make_directory(void) {
    (void)snprintf(run.dir, sizeof run.dir, "/dev/shm/toon-damage-XXXXXX");
    if (mkdtemp(run.dir) != NULL)
        return;
    (void)snprintf(run.dir, sizeof run.dir, "/tmp/toon-damage-XXXXXX");
    if (mkdtemp(run.dir) == NULL)
        give_up("a directory");
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"seconds", required_argument, NULL, 's'},
        {"seed", required_argument, NULL, 'i'},
        {"case", required_argument, NULL, 'c'},
        {0},
    };
    double seconds = 0;
    int letter;
    const char *small = getenv("TOON_SMALL");
    if (small != NULL && strcmp(small, "1") == 0)
        run.step = SAMPLE;
    while ((letter = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (letter == 's')
            seconds = strtod(optarg, NULL);
        else if (letter == 'i')
            run.seed = strtoull(optarg, NULL, 10);
        else if (letter == 'c')
            run.only = strtoull(optarg, NULL, 10);
        else
            return 2;
    }
    make_directory();
    run_all(seconds);
    (void)rmdir(run.dir);
    (void)printf("damaged files: %" PRIu64 ", %" PRIu64 " undetected\n",
                 run.files, run.undetected);
    return run.undetected == 0 ? 0 : 1;
}
