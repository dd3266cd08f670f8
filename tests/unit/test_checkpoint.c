/* test_checkpoint.c - an index that is written while the store changes tells,
 * with the log behind it, of all that there is. */
#include "checkpoint.h"
#include "epoch.h"
#include "fixture.h"
#include "index_file.h"
#include "store_internal.h"

/* Changes the store in one of the pauses that the checkpoint asks for. */
struct meanwhile {
    struct fixture *fixture;
    void (*change)(struct fixture *self);
    unsigned pause; /* in which one; 1: the first */
};

static bool begin_pause(void *arg) {
    struct meanwhile *meanwhile = arg;
    if (meanwhile->pause > 0 && --meanwhile->pause == 0)
        meanwhile->change(meanwhile->fixture);
    return true;
}

static void end_pause(void *arg) {
    (void)arg;
}

static bool sync_all(void *arg) {
    const struct meanwhile *meanwhile = arg;
    return toon_sync(meanwhile->fixture->store) == TOON_OK;
}

/* The index as of now, with a change in the middle of its making. False: it
 * does not take so many pauses. */
static bool checkpoint_at(struct fixture *self, unsigned pause_at,
                          void (*change)(struct fixture *self)) {
    toon_store *store = self->store;
    struct meanwhile meanwhile = {self, change, pause_at};
    toon_pause pause = {begin_pause, end_pause, &meanwhile, sync_all};
    toon_care_stop(store); /* its own thread would do the same meanwhile */
    const toon_volume *volume = atomic_load(&store->volume);
    toon_point point = toon_point_of(volume);
    assert_ok(toon_sync(store));
    assert_ok(toon_checkpoint(&store->dir, volume, &point, &pause));
    return meanwhile.pause == 0;
}

static void checkpoint(struct fixture *self,
                       void (*change)(struct fixture *self)) {
    assert_true(checkpoint_at(self, 1, change));
}

static void check(const struct fixture *self) {
    toon_check_report report;
    assert_ok(toon_check(self->dir, NULL, NULL, NULL, &report));
    assert_true(report.index_usable);
}

static void assert_sound(struct fixture *self) {
    close_store(self);
    check(self);
    reopen(self);
}

/* Ends the store's life; of its log is left what was durable. */
static void cut_power(struct fixture *self) {
    size_t log_size, index_size;
    const toon_log *log = atomic_load(&self->store->volume)->log;
    size_t durable = (size_t)atomic_load(&log->synced);
    char *bytes = slurp(self, TOON_LOG_NAME, &log_size);
    char *index = slurp(self, TOON_INDEX_NAME, &index_size);
    assert_true(durable <= log_size);
    close_store(self);
    spill(self, TOON_LOG_NAME, bytes, durable);
    spill(self, TOON_INDEX_NAME, index, index_size);
    free(bytes);
    free(index);
    check(self);
    reopen(self);
}

static void set_a(struct fixture *self) {
    put(self, "a", "new");
}

static void a_key_that_changes_meanwhile_outlives_a_power_cut(void **state) {
    struct fixture *self = *state;
    put(self, "a", "old");
    put(self, "b", "other");
    checkpoint(self, set_a);
    cut_power(self);
    assert_value(self, "a", "new");
    assert_value(self, "b", "other");
    assert_sound(self);
}

/* The store as it is on the disk now, with so many bytes of its log. */
static void cut_log(struct fixture *self, size_t size, const char *more) {
    size_t log_size, index_size;
    char *bytes = slurp(self, TOON_LOG_NAME, &log_size);
    char *index = slurp(self, TOON_INDEX_NAME, &index_size);
    assert_true(size < log_size);
    bytes = realloc(bytes, size + strlen(more));
    memcpy(bytes + size, more, strlen(more));
    close_store(self);
    spill(self, TOON_LOG_NAME, bytes, size + strlen(more));
    spill(self, TOON_INDEX_NAME, index, index_size);
    free(bytes);
    free(index);
}

/* The index leaves "a" out, and its newest record is lost. */
static void a_log_that_is_cut_behind_it_loses_no_more_than_that(void **state) {
    struct fixture *self = *state;
    toon_stats stats;
    put(self, "a", "old");
    put(self, "b", "other");
    toon_stat(self->store, &stats);
    checkpoint(self, set_a);
    cut_log(self, stats.log_bytes, "");
    reopen(self);
    assert_value(self, "a", "old");
    assert_value(self, "b", "other");
    /* Nor when other rows have come in the place of what was lost. */
    assert_false(file_exists(self, TOON_INDEX_NAME));
    put(self, "c", "more");
    assert_sound(self);
    assert_value(self, "a", "old");
}

static void and_is_no_torn_end(void **state) {
    struct fixture *self = *state;
    toon_stats stats;
    put(self, "a", "old");
    toon_stat(self->store, &stats);
    checkpoint(self, set_a);
    cut_log(self, stats.log_bytes, "a[4]: ne");
    assert_int_equal(toon_open(self->dir, &self->options, &self->store),
                     TOON_CORRUPT);
    self->store = NULL;
}

static void append_to_a(struct fixture *self) {
    assert_ok(toon_append(self->store, toon_str("a"), toon_str("+more"), NULL));
}

static void what_grows_meanwhile_keeps_what_it_builds_on(void **state) {
    struct fixture *self = *state;
    put(self, "a", "base");
    append_to_a(self);
    checkpoint(self, append_to_a);
    assert_sound(self); /* its index is built on that one */
    assert_value(self, "a", "base+more+more");
}

static void rename_a(struct fixture *self) {
    assert_ok(toon_rename(self->store, toon_str("a"), toon_str("renamed"), 0));
}

static void what_is_renamed_meanwhile_keeps_its_value(void **state) {
    struct fixture *self = *state;
    put(self, "a", "value");
    checkpoint(self, rename_a);
    cut_power(self);
    assert_absent(self, "a");
    assert_value(self, "renamed", "value");
    assert_sound(self);
}

/* So many that the slots are copied in several pauses. */
#ifdef TOON_HOSTILE
enum { MANY = 100 };
#else
enum { MANY = 1500 };
#endif

static void rename_many(struct fixture *self, const char *from,
                        const char *to) {
    for (int i = 0; i < MANY; i++) {
        char old[32], fresh[32];
        (void)snprintf(old, sizeof old, "%s%d", from, i);
        (void)snprintf(fresh, sizeof fresh, "%s%d", to, i);
        assert_ok(toon_rename(self->store, toon_str(old), toon_str(fresh), 0));
    }
}

static void rename_all(struct fixture *self) {
    rename_many(self, "key", "renamed");
}

/* A pass over the slots meets such a key under neither of its names, if it
 * went from behind the pass to before it. */
static void what_is_renamed_past_a_checkpoint_keeps_its_row(void **state) {
    struct fixture *self = *state;
    unsigned pause = 1;
    bool met;
    for (int i = 0; i < MANY; i++) {
        char key[32];
        (void)snprintf(key, sizeof key, "key%d", i);
        put(self, key, "value");
    }
    do {
        met = checkpoint_at(self, pause++, rename_all);
        assert_sound(self);
        if (met)
            rename_many(self, "renamed", "key");
    } while (met);
    assert_true(pause > 4);
}

static void delete_a(struct fixture *self) {
    assert_ok(toon_delete(self->store, toon_str("a"), 0, NULL));
}

static void what_is_deleted_meanwhile_stays_deleted(void **state) {
    struct fixture *self = *state;
    put(self, "a", "value");
    put(self, "b", "other");
    checkpoint(self, delete_a);
    cut_power(self);
    assert_absent(self, "a");
    assert_value(self, "b", "other");
    assert_sound(self);
}

static void set_a_until_later(struct fixture *self) {
    toon_set_options options = {.expires_ms = 4102444800000};
    assert_ok(toon_set(self->store, toon_str("a"), toon_str("new"), &options));
}

static void a_change_in_any_pause_is_told_of(void **state) {
    struct fixture *self = *state;
    unsigned pause = 1;
    toon_set_options options = {.expires_ms = 4102444700000};
    for (;; pause++) {
        assert_ok(
            toon_set(self->store, toon_str("a"), toon_str("old"), &options));
        put(self, "b", "other");
        if (!checkpoint_at(self, pause, set_a_until_later))
            break;
        cut_power(self);
        assert_value(self, "a", "new");
        assert_value(self, "b", "other");
        toon_key_stat stat;
        assert_ok(toon_stat_key(self->store, toon_str("a"), &stat));
        assert_int_equal(stat.meta.expires_ms, 4102444800000);
        assert_sound(self);
    }
    assert_true(pause > 3); /* rows, slots, expiries */
}

#define TEST(name)                                                             \
    cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_key_that_changes_meanwhile_outlives_a_power_cut),
        TEST(a_log_that_is_cut_behind_it_loses_no_more_than_that),
        TEST(and_is_no_torn_end),
        TEST(what_grows_meanwhile_keeps_what_it_builds_on),
        TEST(what_is_renamed_meanwhile_keeps_its_value),
        TEST(what_is_renamed_past_a_checkpoint_keeps_its_row),
        TEST(what_is_deleted_meanwhile_stays_deleted),
        TEST(a_change_in_any_pause_is_told_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
