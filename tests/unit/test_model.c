/*
 * test_model.c - a long random life of a store beside a simple model of it:
 * every kind of change, batches that are kept and batches that are not,
 * reopening with and without an index, and copies as a kill would leave them.
 *
 * The seed is printed; TOON_SEED in the environment chooses another.
 */
#include "fixture.h"

enum { KEYS = 40, STEPS = 6000, VALUE_MAX = 20000, PIECE_MAX = 5000 };

struct model_key {
    bool present;
    size_t size;
    uint32_t mode;
    char value[VALUE_MAX];
};

struct life {
    struct fixture *store;
    uint64_t random;
    struct model_key now[KEYS];
    struct model_key before[KEYS]; /* the batch that goes on */
};

static uint64_t pick(struct life *life, uint64_t below) {
    life->random = life->random * 6364136223846793005u + 1442695040888963407u;
    return (life->random >> 33) % below;
}

static toon_slice name_of(uint64_t key, char name[32]) {
    static const char *const starts[] = {"k", "dir/", "\xff", "a b"};
    int size = snprintf(name, 32, "%s%d", starts[key % 4], (int)key);
    return toon_bytes(name, (size_t)size);
}

/* ------------------------------------------------------------- comparing */

static void compare_key(const struct life *life, toon_store *store,
                        uint64_t key) {
    const struct model_key *wanted = &life->now[key];
    char name[32];
    toon_value value;
    toon_err err = toon_get(store, name_of(key, name), &value);
    if (err != (wanted->present ? TOON_OK : TOON_NOT_FOUND))
        fail_msg("key %d: %s", (int)key, toon_strerror(err));
    if (err != TOON_OK)
        return;
    assert_int_equal(value.size, wanted->size);
    assert_memory_equal(value.data, wanted->value, wanted->size);
    assert_int_equal(value.meta.mode, wanted->mode);
    toon_value_release(&value);
}

static bool count_listed(void *arg, toon_slice key, const toon_key_stat *stat) {
    (void)key;
    (void)stat;
    ++*(size_t *)arg;
    return true;
}

static void compare(const struct life *life, toon_store *store) {
    size_t present = 0, listed = 0, scanned = 0;
    uint64_t cursor = 0;
    toon_range_options all = {.limit = 0};
    toon_stats stats;
    for (uint64_t key = 0; key < KEYS; key++) {
        compare_key(life, store, key);
        present += life->now[key].present;
    }
    assert_ok(toon_range(store, &all, count_listed, &listed));
    do
        assert_ok(toon_scan(store, &cursor, NULL, count_listed, &scanned));
    while (cursor != 0);
    toon_stat(store, &stats);
    assert_int_equal(listed, present);
    assert_int_equal(scanned, present);
    assert_int_equal(stats.keys, present);
    assert_true(stats.live_bytes <= stats.log_bytes);
}

/* --------------------------------------------------------------- changing */

static void fill_random(struct life *life, char *out, size_t size) {
    static const char text[] = "abcdefgh\n\",\\: 0123";
    bool binary = pick(life, 4) == 0;
    for (size_t i = 0; i < size; i++)
        out[i] =
            binary ? (char)pick(life, 256) : text[pick(life, sizeof text - 1)];
}

static size_t random_bytes(struct life *life, char *out) {
    size_t size = pick(life, 10) == 0 ? pick(life, 900) : pick(life, 30);
    fill_random(life, out, size);
    return size;
}

static void set_random(struct life *life, uint64_t key) {
    struct model_key *model = &life->now[key];
    char name[32];
    toon_set_options options = {0};
    if (pick(life, 5) == 0) {
        options.flags = TOON_SET_MODE;
        options.mode = 0700 + (uint32_t)pick(life, 8);
    }
    model->mode = options.flags != 0 ? options.mode
                  : model->present   ? model->mode
                                     : 0;
    model->size = random_bytes(life, model->value);
    model->present = true;
    assert_ok(toon_set(life->store->store, name_of(key, name),
                       toon_bytes(model->value, model->size), &options));
}

static void append_bytes(struct life *life, uint64_t key, size_t size) {
    struct model_key *model = &life->now[key];
    char name[32], bytes[PIECE_MAX];
    size_t told;
    if (!model->present) {
        model->size = 0;
        model->mode = 0;
    }
    if (model->size + size > VALUE_MAX)
        return;
    fill_random(life, bytes, size);
    memcpy(model->value + model->size, bytes, size);
    model->size += size;
    model->present = true;
    assert_ok(toon_append(life->store->store, name_of(key, name),
                          toon_bytes(bytes, size), &told));
    assert_int_equal(told, model->size);
}

/* One piece, or so many of about one size that they are merged. */
static void append_random(struct life *life, uint64_t key) {
    static const size_t sizes[] = {3, 70, 200, 4097, PIECE_MAX};
    bool one = pick(life, 12) > 0;
    size_t most = one ? 31 : sizes[pick(life, 5)];
    for (uint64_t left = one ? 1 : 1 + pick(life, 80); left > 0; left--)
        append_bytes(life, key,
                     pick(life, 20) == 0 ? pick(life, PIECE_MAX + 1)
                                         : pick(life, most));
}

static void delete_random(struct life *life, uint64_t key) {
    char name[32];
    toon_err err = toon_delete(life->store->store, name_of(key, name), 0, NULL);
    assert_int_equal(err, life->now[key].present ? TOON_OK : TOON_NOT_FOUND);
    life->now[key].present = false;
}

static void rename_random(struct life *life, uint64_t from, uint64_t to) {
    struct model_key *a = &life->now[from];
    struct model_key *b = &life->now[to];
    char from_name[32], to_name[32];
    bool exchange = pick(life, 2) == 0;
    bool possible = a->present && (b->present || !exchange);
    toon_err err =
        toon_rename(life->store->store, name_of(from, from_name),
                    name_of(to, to_name), exchange ? TOON_RENAME_EXCHANGE : 0);
    assert_int_equal(err, possible ? TOON_OK : TOON_NOT_FOUND);
    if (!possible || from == to)
        return;
    struct model_key was = *b;
    *b = *a;
    if (exchange)
        *a = was;
    else
        a->present = false;
}

static void chmod_random(struct life *life, uint64_t key) {
    char name[32];
    toon_meta meta = {.mode = (uint32_t)pick(life, 2) * 0600};
    toon_err err = toon_set_meta(life->store->store, name_of(key, name),
                                 TOON_META_MODE, &meta);
    assert_int_equal(err, life->now[key].present ? TOON_OK : TOON_NOT_FOUND);
    life->now[key].mode = meta.mode;
}

static void change(struct life *life) {
    uint64_t key = pick(life, KEYS);
    switch (pick(life, 8)) {
    case 0:
    case 1:
        set_random(life, key);
        break;
    case 2:
    case 3:
    case 4:
        append_random(life, key % 7); /* so that values grow long */
        break;
    case 5:
        delete_random(life, key);
        break;
    case 6:
        rename_random(life, key, pick(life, KEYS));
        break;
    default:
        chmod_random(life, key);
        break;
    }
}

static void batch(struct life *life) {
    uint64_t changes = pick(life, 12);
    memcpy(life->before, life->now, sizeof life->now);
    assert_ok(toon_batch_begin(life->store->store));
    while (changes-- > 0)
        change(life);
    if (pick(life, 2) == 0) {
        assert_ok(toon_batch_commit(life->store->store));
        return;
    }
    toon_batch_cancel(life->store->store);
    memcpy(life->now, life->before, sizeof life->now);
}

static void gather(struct life *life) {
    uint64_t changes = pick(life, 20);
    toon_gather_begin(life->store->store);
    while (changes-- > 0) {
        if (pick(life, 10) == 0)
            batch(life);
        else
            change(life);
    }
    assert_ok(toon_gather_end(life->store->store));
}

/* ------------------------------------------------------------ life's turns */

static void print_finding(void *arg, int64_t offset, const char *text) {
    (void)arg;
    print_message("%lld: %s\n", (long long)offset, text);
}

/* The files as a kill leaves them, opened elsewhere. */
static void compare_killed(struct life *life) {
    struct fixture copy = {.options = life->store->options};
    static const char *const names[] = {"db.toon", "db.toon.idx"};
    (void)snprintf(copy.dir, sizeof copy.dir, "/tmp/toon-unit-XXXXXX");
    assert_non_null(mkdtemp(copy.dir));
    for (size_t i = 0; i < 2; i++) {
        size_t size;
        if (!file_exists(life->store, names[i]) ||
            (i == 1 && pick(life, 2) == 0))
            continue;
        char *bytes = slurp(life->store, names[i], &size);
        spill(&copy, names[i], bytes, size);
        free(bytes);
    }
    assert_ok(toon_open(copy.dir, &copy.options, &copy.store));
    compare(life, copy.store);
    assert_ok(toon_close(copy.store));
    toon_check_report report;
    assert_ok(toon_check(copy.dir, print_finding, NULL, NULL, &report));
    remove_files(copy.dir);
    (void)rmdir(copy.dir);
}

static void turn(struct life *life) {
    switch (pick(life, 60)) {
    case 0:
        close_store(life->store);
        if (pick(life, 2) == 0)
            remove_file(life->store, "db.toon.idx");
        reopen(life->store);
        compare(life, life->store->store);
        break;
    case 1:
        compare_killed(life);
        break;
    case 2:
        assert_ok(toon_sync(life->store->store));
        break;
    case 3:
    case 4:
        batch(life);
        break;
    case 5:
        gather(life);
        break;
    case 6:
        if (pick(life, 8) == 0) {
            assert_ok(toon_clear(life->store->store));
            memset(life->now, 0, sizeof life->now);
        }
        break;
    default:
        change(life);
        break;
    }
}

static void live_beside_a_model(struct fixture *self, toon_cache_policy policy,
                                uint64_t seed) {
    struct life *life = calloc(1, sizeof *life);
    assert_non_null(life);
    life->store = self;
    life->random = seed;
    print_message("seed %llu\n", (unsigned long long)seed);
    self->options.cache_policy = policy;
    self->options.cache_entries_max = 20;
    reopen(self);
    for (int step = 0; step < STEPS; step++) {
        turn(life);
        if (step % 500 == 0)
            compare(life, self->store);
    }
    compare(life, self->store);
    free(life);
}

static uint64_t chosen_seed(uint64_t seed) {
    const char *text = getenv("TOON_SEED");
    return text != NULL ? strtoull(text, NULL, 10) : seed;
}

static void a_store_is_what_its_model_says(void **state) {
    live_beside_a_model(*state, TOON_CACHE_S3FIFO, chosen_seed(1));
}

static void and_with_the_lru_policy(void **state) {
    live_beside_a_model(*state, TOON_CACHE_LRU, chosen_seed(2));
}

static void and_without_a_cache(void **state) {
    live_beside_a_model(*state, TOON_CACHE_NONE, chosen_seed(3));
}

int main(void) {
#define MODEL_TEST(name)                                                       \
    cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        MODEL_TEST(a_store_is_what_its_model_says),
        MODEL_TEST(and_with_the_lru_policy),
        MODEL_TEST(and_without_a_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
