/*
 * test_compact_model.c - random lives of large values beside a compaction and
 * a model: changes between its steps and in their pauses, then exact ones, of
 * which every cut of the copy must be a state that was.
 *
 * Seeds are printed; TOON_SEED in the environment chooses the first one.
 */
#include "compact.h"
#include "fixture.h"
#include "key_hash.h"
#include "store_internal.h"

enum {
    KEYS = 5,
    VALUE_MAX = 300000,
    PIECE_MAX = 30000,
    LIVES = 12,
    STATES_MAX = 400,
};

struct model_key {
    bool present;
    size_t size;
    int64_t expires_ms;
    char value[VALUE_MAX];
};

struct life {
    struct fixture *store;
    uint64_t random;
    unsigned left; /* changes that pauses may make yet */
    struct model_key now[KEYS];
    struct model_key before[KEYS]; /* the batch that goes on */
    uint64_t states[STATES_MAX];   /* digests, since the copy is exact */
    size_t state_count;
};

static uint64_t pick(struct life *life, uint64_t below) {
    life->random = life->random * 6364136223846793005u + 1442695040888963407u;
    return (life->random >> 33) % below;
}

static toon_slice name_of(uint64_t key, char name[8]) {
    (void)snprintf(name, 8, "k%d", (int)key);
    return toon_str(name);
}

/* ------------------------------------------------------------------ states */

static uint64_t digest_key(uint64_t digest, const void *value, size_t size,
                           int64_t expires_ms) {
    digest ^= toon_key_hash(toon_bytes(value, size), digest);
    return digest * 31 + (uint64_t)expires_ms;
}

static uint64_t digest_of_model(const struct life *life) {
    uint64_t digest = 1;
    for (int i = 0; i < KEYS; i++) {
        const struct model_key *key = &life->now[i];
        digest = digest * 31 + key->present;
        if (key->present)
            digest = digest_key(digest, key->value, key->size, key->expires_ms);
    }
    return digest;
}

static uint64_t digest_of_store(toon_store *store) {
    uint64_t digest = 1;
    for (uint64_t i = 0; i < KEYS; i++) {
        char name[8];
        toon_value value;
        toon_err err = toon_get(store, name_of(i, name), &value);
        digest = digest * 31 + (err == TOON_OK);
        if (err != TOON_NOT_FOUND)
            assert_ok(err);
        if (err == TOON_OK) {
            digest = digest_key(digest, value.data, value.size,
                                value.meta.expires_ms);
            toon_value_release(&value);
        }
    }
    return digest;
}

/* ----------------------------------------------------------------- changes */

/* Tiny, small, full and large; some are longer as text than as bytes. */
static size_t random_piece(struct life *life, char *out) {
    static const size_t most[] = {8,    8,    63,   200,  4000,
                                  4095, 4096, 5000, 9000, PIECE_MAX};
    static const char letters[] = "ab\"\\\n\xff";
    size_t size = 1 + pick(life, most[pick(life, 10)]);
    memset(out, letters[pick(life, sizeof letters - 1)], size);
    out[pick(life, size)] = (char)('0' + pick(life, 10));
    return size;
}

static void set_random(struct life *life, uint64_t key) {
    struct model_key *model = &life->now[key];
    char name[8];
    size_t size = pick(life, 3) == 0 ? pick(life, 100) : pick(life, 120000);
    memset(model->value, 'a' + (int)pick(life, 26), size);
    model->size = size;
    model->expires_ms = 0;
    model->present = true;
    assert_ok(toon_set(life->store->store, name_of(key, name),
                       toon_bytes(model->value, size), NULL));
}

static void append_random(struct life *life, uint64_t key) {
    struct model_key *model = &life->now[key];
    char name[8];
    char piece[PIECE_MAX];
    uint64_t times = pick(life, 6) == 0 ? pick(life, 70) : 1 + pick(life, 3);
    for (size_t size; times > 0; times--) {
        size = random_piece(life, piece);
        if (times > 5 && size > 63)
            size = 1 + size % 63;
        if (!model->present)
            *model = (struct model_key){.present = true};
        if (model->size + size > VALUE_MAX)
            return;
        memcpy(model->value + model->size, piece, size);
        model->size += size;
        assert_ok(toon_append(life->store->store, name_of(key, name),
                              toon_bytes(piece, size), NULL));
        if (life->state_count > 0 && life->state_count < STATES_MAX)
            life->states[life->state_count++] = digest_of_model(life);
    }
}

static void expire_random(struct life *life, uint64_t key) {
    char name[8];
    toon_meta meta = {.expires_ms = 4102444800000 + (int64_t)pick(life, 1000)};
    toon_err err = toon_set_meta(life->store->store, name_of(key, name),
                                 TOON_META_EXPIRES, &meta);
    assert_int_equal(err, life->now[key].present ? TOON_OK : TOON_NOT_FOUND);
    life->now[key].expires_ms = meta.expires_ms;
}

static void delete_random(struct life *life, uint64_t key) {
    char name[8];
    toon_err err = toon_delete(life->store->store, name_of(key, name), 0, NULL);
    assert_int_equal(err, life->now[key].present ? TOON_OK : TOON_NOT_FOUND);
    life->now[key].present = false;
}

static void rename_random(struct life *life, uint64_t from, uint64_t to) {
    static struct model_key was;
    struct model_key *a = &life->now[from];
    struct model_key *b = &life->now[to];
    char from_name[8], to_name[8];
    bool exchange = pick(life, 2) == 0;
    bool possible = a->present && (b->present || !exchange);
    toon_err err =
        toon_rename(life->store->store, name_of(from, from_name),
                    name_of(to, to_name), exchange ? TOON_RENAME_EXCHANGE : 0);
    assert_int_equal(err, possible ? TOON_OK : TOON_NOT_FOUND);
    if (!possible || from == to)
        return;
    was = *b;
    *b = *a;
    if (exchange)
        *a = was;
    else
        a->present = false;
}

static void change(struct life *life) {
    uint64_t key = pick(life, KEYS);
    uint64_t what = pick(life, 20);
    if (what < 12)
        append_random(life, pick(life, 2) == 0 ? 0 : key);
    else if (what < 15)
        expire_random(life, key);
    else if (what < 17)
        rename_random(life, key, pick(life, KEYS));
    else if (what < 18)
        delete_random(life, key);
    else
        set_random(life, key);
}

/* States within a batch are none. */
static void batch(struct life *life) {
    size_t states = life->state_count;
    life->state_count = 0;
    memcpy(life->before, life->now, sizeof life->now);
    assert_ok(toon_batch_begin(life->store->store));
    for (uint64_t left = 1 + pick(life, 4); left > 0; left--)
        change(life);
    if (pick(life, 4) > 0) {
        assert_ok(toon_batch_commit(life->store->store));
    } else {
        toon_batch_cancel(life->store->store);
        memcpy(life->now, life->before, sizeof life->now);
    }
    life->state_count = states;
}

static void change_or_batch(struct life *life) {
    if (pick(life, 5) == 0)
        batch(life);
    else
        change(life);
    if (life->state_count > 0 && life->state_count < STATES_MAX)
        life->states[life->state_count++] = digest_of_model(life);
}

static void change_in_pause(void *arg) {
    struct life *life = arg;
    for (uint64_t count = pick(life, 4); count > 0 && life->left > 0; count--) {
        life->left--;
        change_or_batch(life);
    }
}

/* ----------------------------------------------------------- a compaction */

static void copy_on(struct life *life, toon_compaction *compaction) {
    const toon_volume *volume = atomic_load(&life->store->store->volume);
    uint64_t end = atomic_load(&volume->log->written);
    while (compaction->at < end) {
        assert_ok(toon_compaction_step(compaction, end));
        change_in_pause(life);
    }
}

static void catch_up(struct life *life, toon_compaction *compaction,
                     unsigned changes) {
    compaction->exact = false;
    life->state_count = 0;
    life->left = changes;
    do {
        change_in_pause(life);
        copy_on(life, compaction);
        if (pick(life, 4) == 0)
            assert_ok(toon_compaction_sync(compaction, 0));
    } while (life->left > 0);
    copy_on(life, compaction); /* nobody changes anything meanwhile */
}

/* Returns where in the copy the exact tail begins. */
static uint64_t copy_exactly(struct life *life, toon_compaction *compaction) {
    toon_pause pause = compaction->pause;
    assert_ok(toon_compaction_sync(compaction, 0));
    uint64_t begin = toon_log_end(compaction->into->log);
    compaction->exact = true;
    compaction->pause = (toon_pause){0};
    life->states[0] = digest_of_model(life);
    life->state_count = 1;
    for (uint64_t left = 5 + pick(life, 25); left > 0; left--) {
        if (life->state_count + 100 < STATES_MAX)
            change_or_batch(life);
        if (pick(life, 2) == 0)
            copy_on(life, compaction);
    }
    copy_on(life, compaction);
    compaction->pause = pause;
    return begin;
}

static void tell_finding(void *arg, int64_t offset, const char *text) {
    if (offset >= 0) /* the index is of the old log */
        print_message("seed %llu: %lld: %s\n", *(unsigned long long *)arg,
                      (long long)offset, text);
}

static void assert_sound(struct life *life, uint64_t seed) {
    toon_check_report report;
    unsigned long long told = seed;
    toon_err err =
        toon_check(life->store->dir, tell_finding, NULL, &told, &report);
    if (err != TOON_OK)
        fail_msg("seed %llu: %s", told, toon_last_error()->text);
}

/* Its bytes, to be freed; the store is closed. */
static char *take_place(struct life *life, toon_compaction *compaction,
                        size_t *size, uint64_t *live_bytes) {
    toon_volume *volume;
    size_t all;
    assert_ok(toon_compaction_write(compaction));
    assert_ok(toon_compaction_install(compaction, &volume));
    *size = (size_t)atomic_load(&volume->log->written);
    *live_bytes = atomic_load(&volume->live_bytes);
    toon_volume_free(volume);
    toon_compaction_end(compaction);
    close_store(life->store);
    return slurp(life->store, "db.toon", &all);
}

/* A store of so many bytes of the log, as a power cut may leave it. The states
 * must come in their order, from the one before *at back. */
static void assert_was(struct life *life, uint64_t seed, size_t cut,
                       size_t *at) {
    static const toon_options reading = {.flags = TOON_OPEN_READ_ONLY,
                                         .cache_policy = TOON_CACHE_NONE};
    char path[128];
    toon_store *store;
    path_of(life->store, "db.toon", path);
    assert_int_equal(truncate(path, (off_t)cut), 0);
    toon_err err = toon_open(life->store->dir, &reading, &store);
    if (err != TOON_OK)
        fail_msg("seed %llu: cut at %zu: %s", (unsigned long long)seed, cut,
                 toon_last_error()->text);
    uint64_t digest = digest_of_store(store);
    assert_ok(toon_close(store));
    while (*at > 0 && life->states[*at - 1] != digest)
        --*at;
    if (*at == 0)
        fail_msg("seed %llu: cut at %zu: a state that never was",
                 (unsigned long long)seed, cut);
}

/* At line ends and within lines: a part of a line is cut off as none. */
static void cut_everywhere(struct life *life, uint64_t seed, const char *bytes,
                           size_t begin, size_t size) {
    size_t at = life->state_count;
    size_t end = size;
    while (end > begin) { /* behind a line */
        size_t start = end - 1;
        while (start > begin && bytes[start - 1] != '\n')
            start--;
        assert_was(life, seed, end, &at);
        assert_was(life, seed, start + pick(life, end - start), &at);
        end = start;
    }
}

static void live(struct life *life, uint64_t seed) {
    toon_pause pause = {.end = change_in_pause, .arg = life};
    toon_compaction compaction;
    toon_stats stats;
    size_t size;
    uint64_t live_bytes;
    memset(life->now, 0, sizeof life->now);
    life->random = seed;
    life->left = 0;
    life->state_count = 0;
    for (int i = 0; i < 15; i++)
        change_or_batch(life);
    assert_ok(toon_compaction_begin(&compaction, &life->store->store->dir,
                                    atomic_load(&life->store->store->volume), 0,
                                    &pause));
    catch_up(life, &compaction, 60);
    if (pick(life, 3) == 0) { /* somebody synced, and it was not swapped */
        (void)copy_exactly(life, &compaction);
        catch_up(life, &compaction, 20);
    }
    uint64_t begin = copy_exactly(life, &compaction);
    uint64_t digest = digest_of_model(life);
    char *bytes = take_place(life, &compaction, &size, &live_bytes);
    assert_sound(life, seed);
    remove_file(life->store, "db.toon.idx");
    reopen(life->store);
    if (digest_of_store(life->store->store) != digest)
        fail_msg("seed %llu: another state", (unsigned long long)seed);
    toon_stat(life->store->store, &stats);
    assert_int_equal(stats.live_bytes, live_bytes);
    close_store(life->store);
    remove_files(life->store->dir);
    spill(life->store, "db.toon", bytes, size);
    cut_everywhere(life, seed, bytes, (size_t)begin, size);
    free(bytes);
    remove_files(life->store->dir);
    reopen(life->store);
}

static void a_copy_is_what_the_model_says_wherever_it_is_cut(void **state) {
    struct life *life = calloc(1, sizeof *life);
    const char *first = getenv("TOON_SEED");
    const char *count = getenv("TOON_LIVES");
    uint64_t seed = first != NULL ? strtoull(first, NULL, 10) : 1;
    uint64_t lives = count != NULL ? strtoull(count, NULL, 10) : LIVES;
    assert_non_null(life);
    life->store = *state;
    life->store->options.cache_policy = TOON_CACHE_NONE;
    life->store->options.compact_garbage = 100;
    reopen(life->store);
    print_message("seeds %llu and the next %llu\n", (unsigned long long)seed,
                  (unsigned long long)lives);
    for (uint64_t i = 0; i < lives; i++)
        live(life, seed + i);
    free(life);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            a_copy_is_what_the_model_says_wherever_it_is_cut, fixture_setup,
            fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
