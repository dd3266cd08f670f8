/*
 * test_cache.c - budgets, eviction orders, pins, and many threads at once.
 *
 * Knows cache.h and epoch.h only.
 */
#include "cache.h"
#include "epoch.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* cmocka.h needs what stands above. */
// clang-format off
#include <cmocka.h>

// clang-format on

#define MEBIBYTE ((size_t)1 << 20)

static const uint64_t seed = 20240611;

/* The linker gives us the calls of calloc: -Wl,--wrap=calloc. */
static atomic_bool memory_is_out;
void *real_calloc(size_t count, size_t size) __asm__("__real_calloc");
void *scarce_calloc(size_t count, size_t size) __asm__("__wrap_calloc");

void *scarce_calloc(size_t count, size_t size) {
    return atomic_load(&memory_is_out) ? NULL : real_calloc(count, size);
}

static uint64_t mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t next_random(uint64_t *state) {
    return mix((*state)++);
}

/* Keys are the eight bytes of a number. */
static toon_slice key_of(const uint64_t *number) {
    return toon_bytes(number, sizeof *number);
}

static toon_blob *new_blob(uint64_t number, size_t size) {
    toon_blob *blob = toon_blob_new(key_of(&number), mix(number), size);
    assert_non_null(blob);
    memset(toon_blob_data(blob), (int)(number & 0xff), size);
    return blob;
}

static void put(toon_cache *cache, uint64_t number, size_t size) {
    toon_blob *blob = new_blob(number, size);
    toon_cache_put(cache, blob);
    toon_blob_release(blob);
}

static bool always(void *arg, const toon_blob *blob) {
    (void)blob;
    ++*(int *)arg;
    return true;
}

static bool never(void *arg, const toon_blob *blob) {
    (void)blob;
    ++*(int *)arg;
    return false;
}

static bool get(toon_cache *cache, uint64_t number) {
    assert_true(toon_epoch_enter());
    toon_blob *blob = toon_cache_get(cache, mix(number), key_of(&number));
    toon_epoch_leave();
    return blob != NULL;
}

/* The size of the value, or -1. */
static long long peek(toon_cache *cache, uint64_t number) {
    assert_true(toon_epoch_enter());
    const toon_blob *blob =
        toon_cache_peek(cache, mix(number), key_of(&number));
    long long size = blob == NULL ? -1 : (long long)blob->size;
    toon_epoch_leave();
    return size;
}

static void drop(toon_cache *cache, uint64_t number) {
    toon_cache_drop(cache, mix(number), key_of(&number));
}

static toon_cache *new_cache(toon_cache_policy policy, size_t entries_max,
                             size_t bytes_max) {
    toon_cache *cache = toon_cache_new(policy, entries_max, bytes_max);
    assert_non_null(cache);
    return cache;
}

static void free_cache(toon_cache *cache) {
    assert_true(toon_cache_check(cache));
    toon_cache_free(cache);
    toon_epoch_drain();
}

static toon_cache_stats stats_of(const toon_cache *cache) {
    toon_cache_stats stats;
    toon_cache_stat(cache, &stats);
    return stats;
}

/* Tests of what both policies do are run with each. */
static toon_cache_policy policy_of(void **state) {
    return *(const toon_cache_policy *)*state;
}

/* ------------------------------------------------------------------- blobs */

static void a_blob_holds_value_nul_and_key(void **state) {
    (void)state;
    toon_blob *blob = toon_blob_new(toon_str("key"), 77, 5);
    assert_non_null(blob);
    assert_int_equal(blob->refs, 1);
    assert_int_equal(blob->hash, 77);
    assert_int_equal(blob->size, 5);
    assert_int_equal(blob->place, 0);
    assert_int_equal(blob->meta.expires_ms, 0);
    assert_int_equal(toon_blob_data(blob)[5], 0);
    assert_true(toon_slice_equal(toon_blob_key(blob), toon_str("key")));
    assert_true(toon_blob_bytes(blob) >= sizeof *blob + 5 + 1 + 3);
    toon_blob_release(blob);
    toon_blob_release(NULL);

    blob = toon_blob_new(toon_bytes(NULL, 0), 0, 0);
    assert_non_null(blob);
    assert_int_equal(toon_blob_data(blob)[0], 0);
    assert_int_equal(toon_blob_key(blob).size, 0);
    toon_blob_release(blob);
}

static void sizes_that_overflow_make_no_blob(void **state) {
    (void)state;
    assert_null(toon_blob_new(toon_str("k"), 0, SIZE_MAX));
    assert_null(toon_blob_new(toon_str("k"), 0, SIZE_MAX - sizeof(toon_blob)));
    assert_null(toon_blob_new(toon_str("k"), 0, SIZE_MAX / 2));
    char *key = malloc(TOON_KEY_SIZE_LIMIT + 1);
    memset(key, 'k', TOON_KEY_SIZE_LIMIT + 1);
    toon_blob *blob = toon_blob_new(toon_bytes(key, TOON_KEY_SIZE_LIMIT), 0, 0);
    assert_non_null(blob);
    toon_blob_release(blob);
    assert_null(toon_blob_new(toon_bytes(key, TOON_KEY_SIZE_LIMIT + 1), 0, 0));
    free(key);
}

static void a_blob_without_references_is_not_shared_again(void **state) {
    (void)state;
    toon_blob blob = {.refs = 0};
    assert_false(toon_blob_try_share(&blob));
    assert_int_equal(blob.refs, 0);
    blob.refs = 1;
    assert_true(toon_blob_try_share(&blob));
    assert_int_equal(blob.refs, 2);
}

/* ----------------------------------------------------------- get, put, drop */

static void what_was_put_is_found_until_it_is_dropped(void **state) {
    const toon_cache_policy policy = policy_of(state);
    toon_cache *cache = new_cache(policy, 0, MEBIBYTE);
    assert_false(get(cache, 1));
    put(cache, 1, 10);
    put(cache, 2, 0);
    assert_true(get(cache, 1));
    assert_int_equal(peek(cache, 1), 10);
    assert_int_equal(peek(cache, 2), 0);
    put(cache, 1, 11);
    assert_int_equal(peek(cache, 1), 11);
    drop(cache, 1);
    drop(cache, 1);
    assert_int_equal(peek(cache, 1), -1);
    assert_int_equal(peek(cache, 2), 0);
    toon_cache_stats stats = stats_of(cache);
    assert_int_equal(stats.hits, 1);
    assert_int_equal(stats.misses, 1);
    assert_int_equal(stats.insertions, 3);
    assert_int_equal(stats.evictions, 0);
    assert_int_equal(stats.entries, 1);
    free_cache(cache);
    toon_cache_free(NULL);
}

static void keys_of_one_hash_are_told_apart(void **state) {
    const toon_cache_policy policy = policy_of(state);
    toon_cache *cache = new_cache(policy, 0, MEBIBYTE);
    for (uint64_t i = 0; i < 9; i++) {
        toon_blob *blob = toon_blob_new(key_of(&i), 42, (size_t)i);
        toon_cache_put(cache, blob);
        toon_blob_release(blob);
    }
    assert_true(toon_epoch_enter());
    for (uint64_t i = 0; i < 8; i++) {
        const toon_blob *found = toon_cache_peek(cache, 42, key_of(&i));
        assert_non_null(found);
        assert_int_equal(found->size, i);
    }
    uint64_t ninth = 8;
    assert_null(toon_cache_peek(cache, 42, key_of(&ninth)));
    toon_epoch_leave();
    uint64_t third = 3;
    toon_cache_drop(cache, 42, key_of(&third));
    assert_int_equal(stats_of(cache).entries, 7);
    free_cache(cache);
}

static void without_memory_nothing_is_kept_and_nothing_breaks(void **state) {
    const toon_cache_policy policy = policy_of(state);
    toon_cache *cache = new_cache(policy, 0, MEBIBYTE);
    put(cache, 0, 1);
    atomic_store(&memory_is_out, true);
    assert_null(toon_cache_new(policy, 0, MEBIBYTE));
    for (uint64_t i = 1; i < 1000; i++) {
        put(cache, i, 1);
    }
    put(cache, 0, 2);
    atomic_store(&memory_is_out, false);
    assert_int_equal(peek(cache, 0), 2);
    assert_int_equal(peek(cache, 999), -1);
    assert_true(toon_cache_check(cache));
    put(cache, 999, 1);
    assert_int_equal(peek(cache, 999), 1);
    free_cache(cache);
}

static void a_blob_is_in_one_cache_at_a_time(void **state) {
    const toon_cache_policy policy = policy_of(state);
    toon_cache *one = new_cache(policy, 0, MEBIBYTE);
    toon_cache *other = new_cache(policy, 0, MEBIBYTE);
    put(other, 1, 5);
    toon_blob *blob = new_blob(1, 10);
    toon_cache_put(one, blob);
    toon_cache_put(one, blob);
    assert_int_equal(stats_of(one).insertions, 1);
    toon_cache_put(other, blob);
    assert_int_equal(peek(one, 1), 10);
    assert_int_equal(peek(other, 1), -1); /* and never the old value */
    drop(one, 1);
    toon_cache_put(other, blob);
    assert_int_equal(peek(other, 1), 10);
    toon_blob_release(blob);
    free_cache(one);
    free_cache(other);
}

/* --------------------------------------------------------------------- fill */

static void a_fill_that_is_no_longer_current_keeps_nothing(void **state) {
    const toon_cache_policy policy = policy_of(state);
    toon_cache *cache = new_cache(policy, 0, MEBIBYTE);
    toon_blob *blob = new_blob(1, 10);
    int asked = 0;
    toon_cache_fill(cache, blob, never, &asked);
    assert_int_equal(asked, 1);
    assert_int_equal(peek(cache, 1), -1);
    assert_int_equal(blob->refs, 1);
    toon_cache_fill(cache, blob, always, &asked);
    assert_int_equal(asked, 2);
    assert_int_equal(peek(cache, 1), 10);
    assert_int_equal(blob->refs, 2);
    toon_blob_release(blob);
    free_cache(cache);
}

static void a_fill_never_replaces(void **state) {
    const toon_cache_policy policy = policy_of(state);
    toon_cache *cache = new_cache(policy, 0, MEBIBYTE);
    put(cache, 1, 10);
    toon_blob *old = new_blob(1, 9);
    int asked = 0;
    toon_cache_fill(cache, old, always, &asked);
    assert_int_equal(peek(cache, 1), 10);
    assert_int_equal(old->refs, 1);
    toon_blob_release(old);
    free_cache(cache);
}

/* ------------------------------------------------------------------ budgets */

static void the_entries_budget_holds_at_n_and_at_n_plus_one(void **state) {
    const toon_cache_policy policy = policy_of(state);
    const size_t limits[] = {1, 2, 10, 4095};
    for (size_t k = 0; k < 4; k++) {
        toon_cache *cache = new_cache(policy, limits[k], 1u << 30);
        for (uint64_t i = 0; i < limits[k]; i++) {
            put(cache, i, 1);
        }
        assert_int_equal(stats_of(cache).entries, limits[k]);
        assert_int_equal(stats_of(cache).evictions, 0);
        put(cache, limits[k], 1);
        assert_int_equal(stats_of(cache).entries, limits[k]);
        assert_int_equal(stats_of(cache).evictions, 1);
        assert_int_equal(peek(cache, limits[k]), 1);
        free_cache(cache);
    }
}

static void the_bytes_budget_holds_at_n_and_at_n_plus_one(void **state) {
    const toon_cache_policy policy = policy_of(state);
    toon_blob *sample = new_blob(1, 100);
    size_t bytes = toon_blob_bytes(sample);
    toon_blob_release(sample);
    toon_cache *cache = new_cache(policy, 0, bytes * 5);
    for (uint64_t i = 0; i < 5; i++) {
        put(cache, i, 100);
    }
    assert_int_equal(stats_of(cache).bytes, bytes * 5);
    assert_int_equal(stats_of(cache).entries, 5);
    put(cache, 5, 100);
    assert_int_equal(stats_of(cache).entries, 5);
    free_cache(cache);

    cache = new_cache(policy, 0, bytes * 5 - 1);
    for (uint64_t i = 0; i < 5; i++) {
        put(cache, i, 100);
    }
    assert_int_equal(stats_of(cache).entries, 4);
    free_cache(cache);
}

static void a_blob_over_the_budget_goes_and_takes_the_old_along(void **state) {
    const toon_cache_policy policy = policy_of(state);
    toon_blob *sample = new_blob(1, 1000);
    size_t bytes = toon_blob_bytes(sample);
    toon_blob_release(sample);
    toon_cache *cache = new_cache(policy, 0, bytes);
    put(cache, 1, 100);
    put(cache, 2, 100);
    put(cache, 1, 1000);
    assert_int_equal(peek(cache, 1), 1000);
    assert_int_equal(peek(cache, 2), -1);
    put(cache, 2, 10);
    put(cache, 2, 2000);
    assert_int_equal(peek(cache, 2), -1);
    int asked = 0;
    toon_blob *huge = new_blob(3, 2000);
    toon_cache_fill(cache, huge, always, &asked);
    toon_blob_release(huge);
    assert_int_equal(peek(cache, 3), -1);
    free_cache(cache);

    cache = new_cache(policy, 1, 1);
    put(cache, 1, 0);
    assert_int_equal(stats_of(cache).entries, 0);
    free_cache(cache);
}

static size_t random_size(uint64_t *random) {
    uint64_t kind = next_random(random) % 100;
    if (kind < 90) {
        return (size_t)(next_random(random) % 300);
    }
    return (size_t)(next_random(random) % (kind < 99 ? 20000 : 300000));
}

static void random_changes_keep_the_budgets(toon_cache *cache,
                                            size_t entries_max,
                                            size_t bytes_max, unsigned steps) {
    uint64_t random = seed;
    for (unsigned step = 0; step < steps; step++) {
        uint64_t number = next_random(&random) % 20000;
        number = next_random(&random) % (number + 1);
        uint64_t what = next_random(&random) % 10;
        if (what < 6) {
            put(cache, number, random_size(&random));
        } else if (what < 9) {
            get(cache, number);
        } else {
            drop(cache, number);
        }
        toon_cache_stats stats = stats_of(cache);
        assert_true(stats.bytes <= bytes_max);
        assert_true(entries_max == 0 || stats.entries <= entries_max);
        if (step % 1024 == 0) {
            assert_true(toon_cache_check(cache));
        }
    }
    assert_true(stats_of(cache).evictions > 0);
}

static void budgets_hold_after_every_change(void **state) {
    const toon_cache_policy policy = policy_of(state);
    printf("seed %llu\n", (unsigned long long)seed);
    const size_t budgets[][2] = {
        {1, 1000000},
        {0, 5000},
        {50, 100000},
        {1000, 500000},
        {8192, 8 * MEBIBYTE},
        {0, 8 * MEBIBYTE},
        {8193, 8 * MEBIBYTE + 7},
    };
    for (size_t i = 0; i < sizeof budgets / sizeof *budgets; i++) {
        toon_cache *cache = new_cache(policy, budgets[i][0], budgets[i][1]);
        random_changes_keep_the_budgets(cache, budgets[i][0], budgets[i][1],
                                        20000);
        free_cache(cache);
    }
}

static void a_large_cache_fills_its_budget(void **state) {
    const toon_cache_policy policy = policy_of(state);
    toon_cache *cache = new_cache(policy, 0, 64 * MEBIBYTE);
    for (uint64_t i = 0; i < 100000; i++) {
        put(cache, i, 1000);
    }
    toon_cache_stats stats = stats_of(cache);
    assert_true(stats.bytes <= 64 * MEBIBYTE);
    assert_true(stats.bytes > 63 * MEBIBYTE);
    free_cache(cache);
}

/* ------------------------------------------------------------------ pinning */

static toon_blob *pin(toon_cache *cache, uint64_t number) {
    assert_true(toon_epoch_enter());
    toon_blob *blob = toon_cache_get(cache, mix(number), key_of(&number));
    assert_non_null(blob);
    assert_true(toon_blob_try_share(blob));
    toon_epoch_leave();
    return blob;
}

static void assert_intact(toon_blob *blob, uint64_t number) {
    for (size_t i = 0; i < blob->size; i++) {
        assert_int_equal((unsigned char)toon_blob_data(blob)[i], number & 0xff);
    }
    assert_true(toon_slice_equal(toon_blob_key(blob), key_of(&number)));
}

static void
pins_outlive_eviction_replacing_clearing_and_the_cache(void **state) {
    const toon_cache_policy policy = policy_of(state);
    toon_cache *cache = new_cache(policy, 10, MEBIBYTE);
    toon_blob *pins[4];
    for (uint64_t i = 0; i < 4; i++) {
        put(cache, i, 1000);
        pins[i] = pin(cache, i);
    }
    put(cache, 0, 5);
    drop(cache, 1);
    for (uint64_t i = 100; i < 200; i++) {
        put(cache, i, 10);
        get(cache, i);
        get(cache, i);
    }
    toon_cache_clear(cache);
    assert_int_equal(stats_of(cache).entries, 0);
    assert_int_equal(stats_of(cache).bytes, 0);
    put(cache, 3, 1000);
    toon_blob *last = pin(cache, 3);
    free_cache(cache);
    for (uint64_t i = 0; i < 4; i++) {
        assert_int_equal(pins[i]->refs, 1);
        assert_intact(pins[i], i);
        toon_blob_release(pins[i]);
    }
    assert_int_equal(last->refs, 1);
    assert_intact(last, 3);
    toon_blob_release(last);
}

static void a_found_blob_stays_readable_inside_the_epoch(void **state) {
    const toon_cache_policy policy = policy_of(state);
    toon_cache *cache = new_cache(policy, 5, MEBIBYTE);
    put(cache, 7, 500);
    uint64_t number = 7;
    assert_true(toon_epoch_enter());
    toon_blob *blob = toon_cache_get(cache, mix(number), key_of(&number));
    assert_non_null(blob);
    drop(cache, 7);
    for (uint64_t i = 100; i < 300; i++) {
        put(cache, i, 500);
    }
    assert_intact(blob, 7);
    toon_epoch_leave();
    free_cache(cache);
}

/* ---------------------------------------------------------------------- LRU */

static void lru_evicts_in_order_for_thousands_of_evictions(void **state) {
    (void)state;
    toon_cache *cache = new_cache(TOON_CACHE_LRU, 100, MEBIBYTE);
    for (uint64_t i = 0; i < 10000; i++) {
        put(cache, i, 1);
        if (i >= 100) {
            assert_int_equal(peek(cache, i - 100), -1);
            assert_int_equal(peek(cache, i - 99), 1);
        }
    }
    assert_int_equal(stats_of(cache).evictions, 9900);
    /* Now the oldest is used before each insertion: the second oldest goes. */
    for (uint64_t i = 10000; i < 20000; i++) {
        assert_true(get(cache, 9900));
        put(cache, i, 1);
        assert_int_equal(peek(cache, 9900), 1);
        assert_int_equal(peek(cache, i - 99), -1);
        assert_int_equal(peek(cache, i - 98), 1);
    }
    free_cache(cache);
}

enum { MODEL_KEYS = 60, MODEL_ENTRIES = 20 };

/* Numbers in the order of their use, the newest last. */
typedef struct model {
    uint64_t order[MODEL_ENTRIES];
    size_t count;
} model;

static bool forget(model *m, uint64_t number) {
    for (size_t i = 0; i < m->count; i++) {
        if (m->order[i] == number) {
            memmove(&m->order[i], &m->order[i + 1],
                    (--m->count - i) * sizeof *m->order);
            return true;
        }
    }
    return false;
}

static void use(model *m, uint64_t number) {
    if (!forget(m, number) && m->count == MODEL_ENTRIES) {
        forget(m, m->order[0]);
    }
    m->order[m->count++] = number;
}

static void assert_same(toon_cache *cache, const model *m) {
    size_t found = 0;
    for (uint64_t number = 0; number < MODEL_KEYS; number++) {
        found += peek(cache, number) >= 0;
    }
    assert_int_equal(found, m->count);
    for (size_t i = 0; i < m->count; i++) {
        assert_true(peek(cache, m->order[i]) >= 0);
    }
}

static void one_random_step(toon_cache *cache, model *m, uint64_t *random) {
    uint64_t number = next_random(random) % MODEL_KEYS;
    uint64_t what = next_random(random) % 20;
    if (what == 0) {
        drop(cache, number);
        forget(m, number);
        return;
    }
    if (what < 10) {
        put(cache, number, (size_t)(next_random(random) % 50));
        use(m, number);
        return;
    }
    bool there = forget(m, number);
    assert_int_equal(get(cache, number), there);
    if (there) {
        use(m, number);
    }
}

static void lru_agrees_with_a_model(void **state) {
    (void)state;
    toon_cache *cache = new_cache(TOON_CACHE_LRU, MODEL_ENTRIES, MEBIBYTE);
    model m = {.count = 0};
    uint64_t random = seed;
    for (unsigned step = 0; step < 30000; step++) {
        one_random_step(cache, &m, &random);
        assert_same(cache, &m);
    }
    free_cache(cache);
}

/* ------------------------------------------------------------------ S3-FIFO */

static void s3fifo_without_hits_is_first_in_first_out(void **state) {
    (void)state;
    toon_cache *cache = new_cache(TOON_CACHE_S3FIFO, 100, MEBIBYTE);
    for (uint64_t i = 0; i < 10000; i++) {
        put(cache, i, 1);
        if (i >= 100) {
            assert_int_equal(peek(cache, i - 100), -1);
            assert_int_equal(peek(cache, i - 99), 1);
        }
    }
    free_cache(cache);
}

static void one_hit_wonders_do_not_push_out_hot_values(void **state) {
    (void)state;
    toon_cache *cache = new_cache(TOON_CACHE_S3FIFO, 1000, 64 * MEBIBYTE);
    for (uint64_t i = 0; i < 800; i++) {
        put(cache, i, 100);
        get(cache, i);
        get(cache, i);
    }
    /* A scan of fifty times the cache, in which nothing is read again. */
    for (uint64_t i = 100000; i < 150000; i++) {
        put(cache, i, 100);
        get(cache, i);
    }
    for (uint64_t i = 0; i < 800; i++) {
        assert_int_equal(peek(cache, i), 100);
    }
    free_cache(cache);
}

static void what_comes_back_as_a_ghost_stays(void **state) {
    (void)state;
    const size_t size = 10000;
    toon_blob *sample = new_blob(1, size);
    size_t budget = toon_blob_bytes(sample) * 100;
    toon_blob_release(sample);
    toon_cache *cache = new_cache(TOON_CACHE_S3FIFO, 0, budget);
    for (uint64_t i = 0; i < 110; i++) {
        put(cache, i, size);
    }
    assert_int_equal(peek(cache, 5), -1);
    put(cache, 5, size); /* its ghost is known: into the main queue */
    assert_int_equal(peek(cache, 10), -1);
    for (uint64_t i = 1000; i < 1500; i++) {
        put(cache, i, size);
    }
    assert_true(peek(cache, 5) >= 0);
    put(cache, 10, size); /* too old a ghost does not count */
    for (uint64_t i = 2000; i < 2500; i++) {
        put(cache, i, size);
    }
    assert_int_equal(peek(cache, 10), -1);
    assert_true(peek(cache, 5) >= 0);
    free_cache(cache);
}

static void a_value_hit_256_times_is_hot(void **state) {
    (void)state;
    toon_cache *cache = new_cache(TOON_CACHE_S3FIFO, 100, MEBIBYTE);
    put(cache, 1, 1);
    for (int i = 0; i < 256; i++) {
        assert_true(get(cache, 1));
    }
    for (uint64_t i = 100; i < 300; i++) {
        put(cache, i, 1);
    }
    assert_int_equal(peek(cache, 1), 1);
    free_cache(cache);
}

static void one_eviction_passes_on_at_most_4096_values(void **state) {
    (void)state;
    toon_cache *cache = new_cache(TOON_CACHE_S3FIFO, 6000, 4 * MEBIBYTE);
    for (uint64_t i = 0; i < 6000; i++) {
        put(cache, i, 1);
        get(cache, i);
        get(cache, i);
    }
    put(cache, 6000, 1);
    assert_int_equal(peek(cache, 0), 1);
    assert_int_equal(peek(cache, 4095), 1);
    assert_int_equal(peek(cache, 4096), -1);
    assert_int_equal(peek(cache, 4097), 1);
    free_cache(cache);
}

static void a_hot_value_keeps_its_rank_when_it_is_replaced(void **state) {
    (void)state;
    toon_cache *cache = new_cache(TOON_CACHE_S3FIFO, 100, MEBIBYTE);
    put(cache, 1, 1);
    get(cache, 1);
    get(cache, 1);
    for (uint64_t i = 100; i < 300; i++) {
        put(cache, i, 1);
    }
    put(cache, 1, 2);
    for (uint64_t i = 300; i < 1000; i++) {
        put(cache, i, 1);
    }
    assert_int_equal(peek(cache, 1), 2);
    free_cache(cache);
}

static void a_cache_full_of_hot_values_still_takes_new_ones(void **state) {
    const toon_cache_policy policy = policy_of(state);
    toon_cache *cache = new_cache(policy, 4000, 64 * MEBIBYTE);
    for (uint64_t i = 0; i < 4000; i++) {
        put(cache, i, 1);
        get(cache, i);
        get(cache, i);
        get(cache, i);
    }
    for (uint64_t i = 4000; i < 4100; i++) {
        put(cache, i, 1);
        assert_int_equal(peek(cache, i), 1);
    }
    assert_int_equal(stats_of(cache).entries, 4000);
    free_cache(cache);
}

enum { ZIPF_KEYS = 20000 };

static uint64_t zipf(const double *sums, uint64_t *random) {
    double at = (double)(next_random(random) >> 11) / 9007199254740992.0 *
                sums[ZIPF_KEYS - 1];
    size_t low = 0;
    size_t high = ZIPF_KEYS - 1;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (sums[middle] < at) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Hits of a thousand reads. With scans, every tenth read is of a new key. */
static double hits_on_zipf(toon_cache_policy policy, const double *sums,
                           bool scans) {
    toon_cache *cache = new_cache(policy, ZIPF_KEYS / 20, 64 * MEBIBYTE);
    uint64_t random = seed;
    for (uint64_t i = 0; i < 200000; i++) {
        uint64_t number = zipf(sums, &random);
        if (scans && i % 10 == 0) {
            number = ZIPF_KEYS + i;
        }
        if (!get(cache, number)) {
            put(cache, number, 10);
        }
    }
    toon_cache_stats stats = stats_of(cache);
    assert_int_equal(stats.hits + stats.misses, 200000);
    free_cache(cache);
    return 1000.0 * (double)stats.hits / 200000;
}

static void s3fifo_hits_more_than_lru_on_zipf(void **state) {
    (void)state;
    double *sums = malloc(ZIPF_KEYS * sizeof *sums);
    double sum = 0;
    for (int i = 0; i < ZIPF_KEYS; i++) {
        sum += 1.0 / (double)(i + 1);
        sums[i] = sum;
    }
    for (int scans = 0; scans <= 1; scans++) {
        double of_lru = hits_on_zipf(TOON_CACHE_LRU, sums, scans);
        double of_s3fifo = hits_on_zipf(TOON_CACHE_S3FIFO, sums, scans);
        printf("zipf%s: lru %.0f, s3fifo %.0f of 1000\n",
               scans ? " with scans" : "", of_lru, of_s3fifo);
        assert_true(of_s3fifo > of_lru + 20);
    }
    free(sums);
}

/* ------------------------------------------------------------- many threads */

static void sleep_ms(long ms) {
    const struct timespec time = {.tv_nsec = ms * 1000000};
    nanosleep(&time, NULL);
}

typedef struct crowd {
    toon_cache *cache;
    atomic_bool over, failed;
    _Atomic uint64_t reads;
    pthread_barrier_t all_there;
} crowd;

static bool is_intact(toon_blob *blob, uint64_t number) {
    for (size_t i = 0; i < blob->size; i += 97) {
        if ((unsigned char)toon_blob_data(blob)[i] != (number & 0xff)) {
            return false;
        }
    }
    return toon_slice_equal(toon_blob_key(blob), key_of(&number));
}

static bool still_half_of_the_time(void *arg, const toon_blob *blob) {
    (void)blob;
    return *(uint64_t *)arg % 2 == 0;
}

static void read_one(crowd *on, uint64_t number, uint64_t salt) {
    if (!toon_epoch_enter()) {
        atomic_store(&on->failed, true);
        return;
    }
    toon_blob *blob = toon_cache_get(on->cache, mix(number), key_of(&number));
    atomic_fetch_add_explicit(&on->reads, 1, memory_order_relaxed);
    bool intact = blob == NULL || is_intact(blob, number);
    bool pinned = blob != NULL && toon_blob_try_share(blob);
    toon_epoch_leave();
    if (pinned) {
        intact = intact && is_intact(blob, number);
        toon_blob_release(blob);
    }
    if (blob == NULL) {
        blob = new_blob(number, (size_t)(salt % 700));
        toon_cache_fill(on->cache, blob, still_half_of_the_time, &salt);
        toon_blob_release(blob);
    }
    if (!intact) {
        atomic_store(&on->failed, true);
    }
}

static void *read_and_fill(void *arg) {
    crowd *on = arg;
    uint64_t random = seed + (uint64_t)(uintptr_t)&random;
    while (!atomic_load(&on->over)) {
        uint64_t number = next_random(&random) % 3000;
        read_one(on, number, next_random(&random));
    }
    return NULL;
}

static void *put_and_drop(void *arg) {
    crowd *on = arg;
    uint64_t random = seed;
    while (!atomic_load(&on->over)) {
        uint64_t number = next_random(&random) % 3000;
        uint64_t what = next_random(&random) % 1000;
        if (what < 700) {
            put(on->cache, number, (size_t)(what * 2));
        } else if (what < 999) {
            drop(on->cache, number);
        } else {
            toon_cache_clear(on->cache);
        }
    }
    return NULL;
}

static void crowd_around(toon_cache *cache) {
    crowd on = {.cache = cache};
    pthread_t threads[3];
    void *(*const roles[])(void *) = {read_and_fill, read_and_fill,
                                      put_and_drop};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, roles[i], &on), 0);
    }
    for (int i = 0; i < 20; i++) {
        sleep_ms(25);
        assert_true(toon_cache_check(cache));
    }
    atomic_store(&on.over, true);
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_false(atomic_load(&on.failed));
    toon_cache_stats stats = stats_of(cache);
    assert_int_equal(stats.hits + stats.misses, on.reads);
    assert_true(stats.hits > 0 && stats.misses > 0);
}

static void threads_that_read_fill_put_and_drop_get_along(void **state) {
    const toon_cache_policy policy = policy_of(state);
    toon_cache *cache = new_cache(policy, 500, MEBIBYTE);
    crowd_around(cache);
    free_cache(cache);
    cache = new_cache(policy, 0, 16 * MEBIBYTE);
    crowd_around(cache);
    free_cache(cache);
}

enum { MANY_THREADS = 80, READS_EACH = 1000 };

static void *read_with_all_others(void *arg) {
    crowd *on = arg;
    for (uint64_t i = 0; i < READS_EACH; i++) {
        get(on->cache, i % 2);
        if (i == 0) {
            pthread_barrier_wait(&on->all_there);
        }
    }
    return NULL;
}

static void reads_of_many_threads_are_all_counted(void **state) {
    (void)state;
    crowd on = {.cache = new_cache(TOON_CACHE_S3FIFO, 0, MEBIBYTE)};
    put(on.cache, 1, 1);
    pthread_t threads[MANY_THREADS];
    pthread_barrier_init(&on.all_there, NULL, MANY_THREADS);
    for (int i = 0; i < MANY_THREADS; i++) {
        assert_int_equal(
            pthread_create(&threads[i], NULL, read_with_all_others, &on), 0);
    }
    for (int i = 0; i < MANY_THREADS; i++) {
        pthread_join(threads[i], NULL);
    }
    pthread_barrier_destroy(&on.all_there);
    toon_cache_stats stats = stats_of(on.cache);
    assert_int_equal(stats.hits, MANY_THREADS / 2 * READS_EACH);
    assert_int_equal(stats.misses, MANY_THREADS / 2 * READS_EACH);
    free_cache(on.cache);
}

static void the_figures_add_up(void **state) {
    const toon_cache_policy policy = policy_of(state);
    toon_cache *cache = new_cache(policy, 300, MEBIBYTE);
    uint64_t random = seed;
    uint64_t left = 0;
    uint64_t insertions = 0;
    for (unsigned step = 0; step < 20000; step++) {
        uint64_t number = next_random(&random) % 1000;
        bool there = peek(cache, number) >= 0;
        left += there;
        if (next_random(&random) % 3 == 0) {
            drop(cache, number);
            continue;
        }
        put(cache, number, 20);
        insertions++;
    }
    toon_cache_stats stats = stats_of(cache);
    assert_int_equal(stats.insertions, insertions);
    assert_int_equal(stats.insertions - stats.evictions - left, stats.entries);
    assert_true(stats.evictions > 0);
    free_cache(cache);
}

static toon_cache_policy s3fifo = TOON_CACHE_S3FIFO;
static toon_cache_policy lru = TOON_CACHE_LRU;

#define WITH(policy, test)                                                     \
    { #test " (" #policy ")", test, NULL, NULL, &(policy) }
#define WITH_BOTH(test) WITH(s3fifo, test), WITH(lru, test)

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_blob_holds_value_nul_and_key),
        cmocka_unit_test(sizes_that_overflow_make_no_blob),
        cmocka_unit_test(a_blob_without_references_is_not_shared_again),
        WITH_BOTH(what_was_put_is_found_until_it_is_dropped),
        WITH_BOTH(keys_of_one_hash_are_told_apart),
        WITH_BOTH(without_memory_nothing_is_kept_and_nothing_breaks),
        WITH_BOTH(a_blob_is_in_one_cache_at_a_time),
        WITH_BOTH(a_fill_that_is_no_longer_current_keeps_nothing),
        WITH_BOTH(a_fill_never_replaces),
        WITH_BOTH(the_entries_budget_holds_at_n_and_at_n_plus_one),
        WITH_BOTH(the_bytes_budget_holds_at_n_and_at_n_plus_one),
        WITH_BOTH(a_blob_over_the_budget_goes_and_takes_the_old_along),
        WITH_BOTH(budgets_hold_after_every_change),
        WITH_BOTH(a_large_cache_fills_its_budget),
        WITH_BOTH(pins_outlive_eviction_replacing_clearing_and_the_cache),
        WITH_BOTH(a_found_blob_stays_readable_inside_the_epoch),
        cmocka_unit_test(lru_evicts_in_order_for_thousands_of_evictions),
        cmocka_unit_test(lru_agrees_with_a_model),
        cmocka_unit_test(s3fifo_without_hits_is_first_in_first_out),
        cmocka_unit_test(one_hit_wonders_do_not_push_out_hot_values),
        cmocka_unit_test(what_comes_back_as_a_ghost_stays),
        cmocka_unit_test(a_value_hit_256_times_is_hot),
        cmocka_unit_test(one_eviction_passes_on_at_most_4096_values),
        cmocka_unit_test(a_hot_value_keeps_its_rank_when_it_is_replaced),
        WITH_BOTH(a_cache_full_of_hot_values_still_takes_new_ones),
        cmocka_unit_test(s3fifo_hits_more_than_lru_on_zipf),
        WITH_BOTH(threads_that_read_fill_put_and_drop_get_along),
        cmocka_unit_test(reads_of_many_threads_are_all_counted),
        WITH_BOTH(the_figures_add_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
