/*
 * test_slot_map.c - the slot map against a model, under growth, with readers.
 *
 * Knows slot_map.h and epoch.h only.
 */
#include "epoch.h"
#include "slot_map.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* cmocka.h needs what stands above. */
// clang-format off
#include <cmocka.h>

// clang-format on

enum { SCAN_CAPACITY = 4096 };

/* The thread sanitizer is slow, and these numbers are not about threads. */
#ifdef __SANITIZE_THREAD__
enum { MANY = 100000, IN_ONE_HOME = 300 };
#else
enum { MANY = 1000000, IN_ONE_HOME = 1500 };
#endif

/* The linker gives us the calls of calloc: -Wl,--wrap=calloc. */
static atomic_bool memory_is_out;
void *real_calloc(size_t count, size_t size) __asm__("__real_calloc");
void *scarce_calloc(size_t count, size_t size) __asm__("__wrap_calloc");

void *scarce_calloc(size_t count, size_t size) {
    return atomic_load(&memory_is_out) ? NULL : real_calloc(count, size);
}

static const uint64_t seed = 20240607;

static uint64_t mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static uint64_t next_random(uint64_t *state) {
    return mix((*state)++);
}

static bool has(const toon_slot_map *map, uint64_t hash, uint64_t payload) {
    uint64_t found[SLOT_MAP_SAME_HASH_MAX];
    assert_true(toon_epoch_enter());
    size_t count = toon_slot_map_get(map, hash, found);
    toon_epoch_leave();
    for (size_t i = 0; i < count; i++) {
        if (found[i] == payload) {
            return true;
        }
    }
    return false;
}

static void free_map(toon_slot_map *map) {
    assert_true(toon_slot_map_check(map));
    toon_slot_map_free(map);
    toon_epoch_drain();
}

/* ------------------------------------------------------------------ basics */

static void an_empty_map_finds_and_scans_nothing(void **state) {
    (void)state;
    toon_slot_map *map = toon_slot_map_new(4, 0);
    toon_slot out[SCAN_CAPACITY];
    uint64_t found[SLOT_MAP_SAME_HASH_MAX];
    uint64_t cursor = 0;
    assert_true(toon_epoch_enter());
    assert_int_equal(toon_slot_map_get(map, 0, found), 0);
    assert_int_equal(toon_slot_map_get(map, UINT64_MAX, found), 0);
    assert_int_equal(toon_slot_map_scan(map, &cursor, 10, out, SCAN_CAPACITY),
                     0);
    toon_epoch_leave();
    assert_int_equal(cursor, 0);
    assert_int_equal(toon_slot_map_count(map), 0);
    assert_false(toon_slot_map_remove(map, 1, 1));
    assert_false(toon_slot_map_replace(map, 1, 1, 2));
    free_map(map);
    toon_slot_map_free(NULL);
}

static void the_lowest_and_the_highest_hash_are_kept(void **state) {
    (void)state;
    for (unsigned shards = 1; shards <= 1024; shards *= 32) {
        toon_slot_map *map = toon_slot_map_new(shards, 0);
        assert_true(toon_slot_map_add(map, 0, 7));
        assert_true(toon_slot_map_add(map, UINT64_MAX, 8));
        assert_true(has(map, 0, 7));
        assert_true(has(map, UINT64_MAX, 8));
        assert_false(has(map, 1, 7));
        toon_slot out[SCAN_CAPACITY];
        uint64_t cursor = 0;
        assert_true(toon_epoch_enter());
        assert_int_equal(
            toon_slot_map_scan(map, &cursor, 1, out, SCAN_CAPACITY), 1);
        assert_true(cursor > 0 && cursor <= UINT64_MAX / 2 + 1);
        assert_int_equal(out[0].payload, 7);
        assert_int_equal(
            toon_slot_map_scan(map, &cursor, 1, out, SCAN_CAPACITY), 1);
        assert_int_equal(cursor, 0);
        assert_int_equal(out[0].payload, 8);
        toon_epoch_leave();
        free_map(map);
    }
}

static void shards_follow_the_top_bits_of_the_hash(void **state) {
    (void)state;
    toon_slot_map *map = toon_slot_map_new(1024, 0);
    assert_int_equal(toon_slot_map_shard(map, 0), 0);
    assert_int_equal(toon_slot_map_shard(map, (UINT64_C(1) << 54) - 1), 0);
    assert_int_equal(toon_slot_map_shard(map, UINT64_C(1) << 54), 1);
    assert_int_equal(toon_slot_map_shard(map, UINT64_MAX), 1023);
    free_map(map);
    map = toon_slot_map_new(1, 0);
    assert_int_equal(toon_slot_map_shard(map, UINT64_MAX), 0);
    free_map(map);
}

static void one_hash_has_eight_slots_and_no_ninth(void **state) {
    (void)state;
    toon_slot_map *map = toon_slot_map_new(2, 0);
    uint64_t hash = mix(1);
    for (uint64_t i = 1; i <= SLOT_MAP_SAME_HASH_MAX; i++) {
        assert_true(toon_slot_map_add(map, hash, i));
    }
    assert_false(toon_slot_map_add(map, hash, 99));
    assert_true(toon_slot_map_reserve(map, hash, 1));
    assert_false(toon_slot_map_add(map, hash, 99));
    assert_int_equal(toon_slot_map_count(map), SLOT_MAP_SAME_HASH_MAX);
    for (uint64_t i = 1; i <= SLOT_MAP_SAME_HASH_MAX; i++) {
        assert_true(has(map, hash, i));
    }
    assert_true(toon_slot_map_remove(map, hash, 3));
    assert_false(toon_slot_map_remove(map, hash, 3));
    assert_true(toon_slot_map_add(map, hash, 99));
    assert_true(has(map, hash, 99));
    assert_false(has(map, hash, 3));
    free_map(map);
}

static void replace_changes_one_payload_in_place(void **state) {
    (void)state;
    toon_slot_map *map = toon_slot_map_new(1, 0);
    assert_true(toon_slot_map_add(map, 5, 1));
    assert_true(toon_slot_map_add(map, 5, 2));
    assert_true(toon_slot_map_replace(map, 5, 2, 3));
    assert_false(toon_slot_map_replace(map, 5, 2, 4));
    assert_false(toon_slot_map_replace(map, 6, 1, 4));
    assert_true(has(map, 5, 1));
    assert_true(has(map, 5, 3));
    assert_false(has(map, 5, 2));
    assert_int_equal(toon_slot_map_count(map), 2);
    free_map(map);
}

/* At any number, not at some: also where the tables have just grown. */
static void a_slot_takes_at_most_30_bytes_at_any_number(void **state) {
    (void)state;
    const unsigned shards = MANY > 500000 ? 256 : 32;
    toon_slot_map *map = toon_slot_map_new(shards, 0);
    uint64_t state_of = seed;
    size_t most = 0;
    for (uint64_t i = 1; i <= MANY; i++) {
        assert_true(toon_slot_map_add(map, next_random(&state_of), i));
        if (i >= MANY / 2 && i % 512 == 0) {
            size_t each = toon_slot_map_bytes(map) / i;
            most = each > most ? each : most;
        }
    }
    assert_int_equal(toon_slot_map_count(map), MANY);
    assert_in_range(most, 16, 30);
    free_map(map);
}

static void expected_slots_need_no_growth(void **state) {
    (void)state;
    toon_slot_map *map = toon_slot_map_new(4, 10000);
    size_t bytes = toon_slot_map_bytes(map);
    for (uint64_t i = 1; i <= 10000; i++) {
        /* Evenly over the hashes, as much as that is possible. */
        assert_true(toon_slot_map_add(map, i * (UINT64_MAX / 10001), i));
    }
    assert_int_equal(toon_slot_map_bytes(map), bytes);
    free_map(map);
}

static void memory_comes_back_after_deleting(void **state) {
    (void)state;
    toon_slot_map *map = toon_slot_map_new(8, 0);
    const uint64_t many = 200000;
    for (uint64_t i = 1; i <= many; i++) {
        assert_true(toon_slot_map_add(map, mix(i), i));
    }
    size_t full = toon_slot_map_bytes(map);
    for (uint64_t i = 1; i <= many; i++) {
        assert_true(toon_slot_map_remove(map, mix(i), i));
        if (i % 10000 == 0) {
            assert_true(toon_slot_map_check(map));
            assert_true(i == many || has(map, mix(i + 1), i + 1));
        }
    }
    assert_int_equal(toon_slot_map_count(map), 0);
    assert_true(toon_slot_map_bytes(map) < full / 50);
    free_map(map);
}

/* ----------------------------------------------------- homes that are hit */

static void any_number_of_hashes_in_one_home_is_kept(void **state) {
    (void)state;
    /* The last home of a shard, the first, and all but equal hashes. */
    const uint64_t firsts[] = {UINT64_MAX - 5000, UINT64_C(1) << 63, 1};
    for (size_t k = 0; k < sizeof firsts / sizeof *firsts; k++) {
        toon_slot_map *map = toon_slot_map_new(2, 0);
        for (uint64_t i = 0; i < IN_ONE_HOME; i++) {
            /* In an order that is neither up nor down. */
            uint64_t hash = firsts[k] + i * 799 % IN_ONE_HOME;
            assert_true(toon_slot_map_add(map, hash, i + 1));
        }
        assert_true(toon_slot_map_check(map));
        for (uint64_t i = 0; i < IN_ONE_HOME; i++) {
            assert_true(has(map, firsts[k] + i * 799 % IN_ONE_HOME, i + 1));
        }
        assert_true(toon_slot_map_bytes(map) < 1000000);
        for (uint64_t i = 0; i < IN_ONE_HOME; i++) {
            uint64_t hash = firsts[k] + i * 799 % IN_ONE_HOME;
            assert_true(toon_slot_map_remove(map, hash, i + 1));
        }
        assert_int_equal(toon_slot_map_count(map), 0);
        free_map(map);
    }
}

static void reserved_adds_need_no_memory(void **state) {
    (void)state;
    for (size_t count = 1; count <= 4096; count *= 8) {
        toon_slot_map *map = toon_slot_map_new(1, 0);
        for (uint64_t i = 1; i <= 100; i++) {
            assert_true(toon_slot_map_add(map, mix(i), i));
        }
        assert_true(toon_slot_map_reserve(map, 0, count));
        atomic_store(&memory_is_out, true);
        /* The worst there is: all of them belong at the very end. */
        for (uint64_t i = 0; i < count; i++) {
            assert_true(toon_slot_map_add(map, UINT64_MAX - i, i + 1));
        }
        atomic_store(&memory_is_out, false);
        assert_int_equal(toon_slot_map_count(map), 100 + count);
        free_map(map);
    }
}

static void shrinking_keeps_what_was_reserved(void **state) {
    (void)state;
    toon_slot_map *map = toon_slot_map_new(1, 0);
    for (uint64_t i = 1; i <= 10000; i++) {
        assert_true(toon_slot_map_add(map, mix(i), i));
    }
    for (uint64_t i = 1; i <= 100; i++) {
        assert_true(toon_slot_map_add(map, UINT64_MAX - i, i));
    }
    assert_true(toon_slot_map_reserve(map, 0, 1000));
    size_t bytes = toon_slot_map_bytes(map);
    for (uint64_t i = 1; i <= 10000; i++) {
        assert_true(toon_slot_map_remove(map, mix(i), i));
    }
    assert_true(toon_slot_map_bytes(map) < bytes / 4);
    atomic_store(&memory_is_out, true);
    for (uint64_t i = 0; i < 1000; i++) {
        assert_true(toon_slot_map_add(map, UINT64_MAX - 101 - i, i + 1));
    }
    atomic_store(&memory_is_out, false);
    free_map(map);
}

static void without_memory_the_map_stays_whole(void **state) {
    (void)state;
    toon_slot_map *map = toon_slot_map_new(1, 0);
    for (uint64_t i = 1; i <= 1000; i++) {
        assert_true(toon_slot_map_add(map, mix(i), i));
    }
    atomic_store(&memory_is_out, true);
    assert_null(toon_slot_map_new(4, 0));
    assert_false(toon_slot_map_reserve(map, 0, 100000));
    uint64_t added = 0;
    while (toon_slot_map_add(map, mix(2000 + added), 2000 + added)) {
        added++;
    }
    for (uint64_t i = 1; i <= 1000; i++) {
        assert_true(has(map, mix(i), i));
    }
    assert_true(toon_slot_map_check(map));
    /* Shrinking is put off, not an error. */
    for (uint64_t i = 1; i <= 1000; i++) {
        assert_true(toon_slot_map_remove(map, mix(i), i));
    }
    atomic_store(&memory_is_out, false);
    assert_int_equal(toon_slot_map_count(map), added);
    assert_true(toon_slot_map_add(map, mix(1), 1));
    free_map(map);
}

/* --------------------------------------------------------- against a model */

typedef struct model {
    toon_slot *slots;
    size_t count, capacity;
} model;

static size_t same_in_model(const model *m, uint64_t hash) {
    size_t same = 0;
    for (size_t i = 0; i < m->count; i++) {
        same += m->slots[i].hash == hash;
    }
    return same;
}

static void one_random_step(toon_slot_map *map, model *m, uint64_t *random,
                            uint64_t hash) {
    uint64_t what = next_random(random) % 100;
    uint64_t payload = next_random(random) | 1;
    bool full = m->count == m->capacity;
    if (m->count == 0 || (what < 55 && !full)) {
        bool fits = same_in_model(m, hash) < SLOT_MAP_SAME_HASH_MAX;
        assert_int_equal(toon_slot_map_add(map, hash, payload), fits);
        if (fits) {
            m->slots[m->count++] = (toon_slot){hash, payload};
        }
        return;
    }
    size_t at = (size_t)(next_random(random) % m->count);
    toon_slot *victim = &m->slots[at];
    assert_true(has(map, victim->hash, victim->payload));
    if (what < 65) {
        assert_true(
            toon_slot_map_replace(map, victim->hash, victim->payload, payload));
        victim->payload = payload;
        return;
    }
    assert_true(toon_slot_map_remove(map, victim->hash, victim->payload));
    assert_false(has(map, victim->hash, victim->payload));
    *victim = m->slots[--m->count];
}

/* `mask`: the bits of the hashes that are kept. The fewer, the more collide. */
static void agrees_with_a_model(unsigned shards, uint64_t mask) {
    toon_slot_map *map = toon_slot_map_new(shards, 0);
    toon_slot slots[700];
    model m = {.slots = slots, .capacity = 700};
    uint64_t random = seed;
    for (unsigned step = 0; step < 6000; step++) {
        one_random_step(map, &m, &random, next_random(&random) & mask);
        assert_int_equal(toon_slot_map_count(map), m.count);
        assert_true(step % 64 != 0 || toon_slot_map_check(map));
    }
    for (size_t i = 0; i < m.count; i++) {
        assert_true(has(map, m.slots[i].hash, m.slots[i].payload));
    }
    free_map(map);
}

static void random_changes_agree_with_a_model(void **state) {
    (void)state;
    printf("seed %llu\n", (unsigned long long)seed);
    agrees_with_a_model(1, UINT64_MAX);
    agrees_with_a_model(4, UINT64_C(0xff) << 56);
    agrees_with_a_model(16, UINT64_C(0xff00000000000007));
    agrees_with_a_model(64, UINT64_C(0x80000000000003ff));
    agrees_with_a_model(1, 0x3f);
}

/* ----------------------------------------------------------------- scanning */

enum { STAYING = 20000, PASSING = 200000 };

/* Payloads: 1 to STAYING stay; those above come and go. */
static void scan_piece(const toon_slot_map *map, uint64_t *cursor, size_t want,
                       unsigned char *seen) {
    toon_slot out[SCAN_CAPACITY];
    assert_true(toon_epoch_enter());
    size_t count = toon_slot_map_scan(map, cursor, want, out, SCAN_CAPACITY);
    toon_epoch_leave();
    assert_true(count <= SCAN_CAPACITY);
    assert_true(count >= want || *cursor == 0 || want > SCAN_CAPACITY - 8);
    assert_true(count < want + SLOT_MAP_SAME_HASH_MAX);
    for (size_t i = 0; i < count; i++) {
        assert_true(i == 0 || out[i - 1].hash <= out[i].hash);
        if (out[i].payload <= STAYING) {
            assert_int_equal(seen[out[i].payload], 0);
            seen[out[i].payload] = 1;
        }
    }
}

static void assert_all_seen(const unsigned char *seen) {
    for (size_t i = 1; i <= STAYING; i++) {
        assert_int_equal(seen[i], 1);
    }
}

static uint64_t staying_hash(uint64_t i) {
    return mix(i / 3); /* three of each */
}

static toon_slot_map *new_map_of_staying(unsigned shards) {
    toon_slot_map *map = toon_slot_map_new(shards, 0);
    for (uint64_t i = 1; i <= STAYING; i++) {
        assert_true(toon_slot_map_add(map, staying_hash(i), i));
    }
    return map;
}

static void a_scan_returns_each_slot_once(void **state) {
    (void)state;
    const size_t wants[] = {0, 1, 10, 63, 64, 65, 1000, 4088, 100000};
    unsigned char *seen = malloc(STAYING + 1);
    for (size_t k = 0; k < sizeof wants / sizeof *wants; k++) {
        toon_slot_map *map = new_map_of_staying(1u << k);
        memset(seen, 0, STAYING + 1);
        uint64_t cursor = 0;
        do {
            scan_piece(map, &cursor, wants[k] == 0 ? 1 : wants[k], seen);
        } while (cursor != 0);
        assert_all_seen(seen);
        free_map(map);
    }
    free(seen);
}

static void a_scan_survives_growing_and_shrinking(void **state) {
    (void)state;
    unsigned char *seen = calloc(1, STAYING + 1);
    toon_slot_map *map = new_map_of_staying(4);
    uint64_t cursor = 0;
    uint64_t added = 0;
    uint64_t removed = 0;
    size_t bytes_most = 0;
    do {
        scan_piece(map, &cursor, 20, seen);
        for (int i = 0; i < 400 && added < PASSING; i++, added++) {
            uint64_t hash = mix(seed + added);
            assert_true(toon_slot_map_add(map, hash, STAYING + 1 + added));
        }
        if (toon_slot_map_bytes(map) > bytes_most) {
            bytes_most = toon_slot_map_bytes(map);
        }
        for (int i = 0; added == PASSING && i < 900 && removed < PASSING; i++) {
            uint64_t hash = mix(seed + removed);
            assert_true(toon_slot_map_remove(map, hash, STAYING + 1 + removed));
            removed++;
        }
    } while (cursor != 0);
    assert_int_equal(removed, PASSING);
    assert_true(toon_slot_map_bytes(map) < bytes_most / 4 * 3);
    assert_all_seen(seen);
    free(seen);
    free_map(map);
}

static void a_sparse_map_is_scanned_to_its_end(void **state) {
    (void)state;
    toon_slot_map *map = toon_slot_map_new(1, 100000);
    assert_true(toon_slot_map_add(map, 1, 1));
    assert_true(toon_slot_map_add(map, UINT64_MAX / 2, 2));
    assert_true(toon_slot_map_add(map, UINT64_MAX - 1, 3));
    toon_slot out[SCAN_CAPACITY];
    uint64_t cursor = 0;
    assert_true(toon_epoch_enter());
    assert_int_equal(toon_slot_map_scan(map, &cursor, 100, out, SCAN_CAPACITY),
                     3);
    toon_epoch_leave();
    assert_int_equal(cursor, 0);
    assert_int_equal(out[2].payload, 3);
    free_map(map);
}

/* What is empty is passed over in pieces: wherever the next one starts, a slot
 * right behind is not missed. */
static void a_scan_misses_no_slot_behind_a_gap(void **state) {
    (void)state;

    enum { ABOUT = 4000, OTHERS = 1000 };

    toon_slot_map *map = toon_slot_map_new(1, ABOUT);
    toon_slot out[SCAN_CAPACITY];
    /* At the end, and so many that the table does not shrink. */
    for (uint64_t i = 1; i <= OTHERS; i++) {
        assert_true(toon_slot_map_add(map, UINT64_MAX - i, i));
    }
    assert_true(toon_epoch_enter());
    for (uint64_t i = 1; i < ABOUT; i++) {
        uint64_t hash = i * (UINT64_MAX / 2 / ABOUT);
        uint64_t cursor = 0;
        assert_true(toon_slot_map_add(map, hash, i));
        assert_int_equal(
            toon_slot_map_scan(map, &cursor, 1, out, SCAN_CAPACITY), 1);
        assert_int_equal(out[0].hash, hash);
        assert_true(toon_slot_map_remove(map, hash, i));
    }
    toon_epoch_leave();
    free_map(map);
}

/* ------------------------------------------------- readers beside a writer */

typedef struct stage {
    toon_slot_map *map;
    atomic_bool over;
    atomic_bool failed;
    _Atomic uint64_t rounds;
} stage;

static void *look_up_all(void *arg) {
    stage *on = arg;
    uint64_t found[SLOT_MAP_SAME_HASH_MAX];
    uint64_t random = seed;
    while (!atomic_load(&on->over)) {
        uint64_t i = next_random(&random) % STAYING + 1;
        bool there = false;
        if (!toon_epoch_enter()) {
            atomic_store(&on->failed, true);
            return NULL;
        }
        size_t count = toon_slot_map_get(on->map, staying_hash(i), found);
        toon_epoch_leave();
        for (size_t k = 0; k < count; k++) {
            there |= found[k] == i;
        }
        if (!there || count > 3) {
            atomic_store(&on->failed, true);
        }
        atomic_fetch_add_explicit(&on->rounds, 1, memory_order_relaxed);
    }
    return NULL;
}

/* How many that stay were in one piece of the scan; -1: one came twice. */
static long scan_some(const toon_slot_map *map, uint64_t *cursor,
                      unsigned char *seen) {
    toon_slot out[SCAN_CAPACITY];
    if (!toon_epoch_enter()) {
        return -1;
    }
    size_t count = toon_slot_map_scan(map, cursor, 100, out, SCAN_CAPACITY);
    toon_epoch_leave();
    long found = 0;
    for (size_t i = 0; i < count; i++) {
        if (out[i].payload > STAYING) {
            continue;
        }
        if (seen[out[i].payload]++ != 0) {
            return -1;
        }
        found++;
    }
    return found;
}

static bool scan_once(stage *on, unsigned char *seen) {
    memset(seen, 0, STAYING + 1);
    uint64_t cursor = 0;
    long total = 0;
    do {
        long found = scan_some(on->map, &cursor, seen);
        if (found < 0) {
            return false;
        }
        total += found;
    } while (cursor != 0);
    return total == STAYING;
}

static void *scan_all(void *arg) {
    stage *on = arg;
    unsigned char *seen = malloc(STAYING + 1);
    do {
        if (!scan_once(on, seen)) {
            atomic_store(&on->failed, true);
        }
        atomic_fetch_add_explicit(&on->rounds, 1, memory_order_relaxed);
    } while (!atomic_load(&on->over));
    free(seen);
    return NULL;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void readers_beside_a_writer_miss_nothing(void **state) {
    (void)state;
    stage on = {.map = new_map_of_staying(2)};
    pthread_t readers[2];
    assert_int_equal(pthread_create(&readers[0], NULL, look_up_all, &on), 0);
    assert_int_equal(pthread_create(&readers[1], NULL, scan_all, &on), 0);
    double end = seconds() + 1.0;
    while (seconds() < end) {
        /* Up and down over several doublings and halvings. */
        for (uint64_t i = 0; i < PASSING / 2; i++) {
            toon_slot_map_add(on.map, mix(seed + i), STAYING + 1 + i);
        }
        for (uint64_t i = 0; i < PASSING / 2; i++) {
            toon_slot_map_remove(on.map, mix(seed + i), STAYING + 1 + i);
        }
    }
    atomic_store(&on.over, true);
    pthread_join(readers[0], NULL);
    pthread_join(readers[1], NULL);
    assert_false(atomic_load(&on.failed));
    assert_true(atomic_load(&on.rounds) > 0);
    assert_int_equal(toon_slot_map_count(on.map), STAYING);
    free_map(on.map);
}

typedef struct half {
    toon_slot_map *map;
    uint64_t first_hash;
} half;

static void *fill_half(void *arg) {
    const half *mine = arg;
    for (uint64_t i = 1; i <= 50000; i++) {
        toon_slot_map_add(mine->map, mine->first_hash | mix(i) >> 1, i);
    }
    for (uint64_t i = 1; i <= 40000; i++) {
        toon_slot_map_remove(mine->map, mine->first_hash | mix(i) >> 1, i);
    }
    return NULL;
}

static void writers_of_different_shards_do_not_meet(void **state) {
    (void)state;
    toon_slot_map *map = toon_slot_map_new(2, 0);
    half halves[2] = {{map, 0}, {map, UINT64_C(1) << 63}};
    pthread_t writers[2];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(
            pthread_create(&writers[i], NULL, fill_half, &halves[i]), 0);
    }
    for (int i = 0; i < 2; i++) {
        pthread_join(writers[i], NULL);
    }
    assert_int_equal(toon_slot_map_count(map), 20000);
    free_map(map);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_map_finds_and_scans_nothing),
        cmocka_unit_test(the_lowest_and_the_highest_hash_are_kept),
        cmocka_unit_test(shards_follow_the_top_bits_of_the_hash),
        cmocka_unit_test(one_hash_has_eight_slots_and_no_ninth),
        cmocka_unit_test(replace_changes_one_payload_in_place),
        cmocka_unit_test(a_slot_takes_at_most_30_bytes_at_any_number),
        cmocka_unit_test(expected_slots_need_no_growth),
        cmocka_unit_test(memory_comes_back_after_deleting),
        cmocka_unit_test(any_number_of_hashes_in_one_home_is_kept),
        cmocka_unit_test(reserved_adds_need_no_memory),
        cmocka_unit_test(shrinking_keeps_what_was_reserved),
        cmocka_unit_test(without_memory_the_map_stays_whole),
        cmocka_unit_test(random_changes_agree_with_a_model),
        cmocka_unit_test(a_scan_returns_each_slot_once),
        cmocka_unit_test(a_scan_survives_growing_and_shrinking),
        cmocka_unit_test(a_sparse_map_is_scanned_to_its_end),
        cmocka_unit_test(a_scan_misses_no_slot_behind_a_gap),
        cmocka_unit_test(readers_beside_a_writer_miss_nothing),
        cmocka_unit_test(writers_of_different_shards_do_not_meet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
