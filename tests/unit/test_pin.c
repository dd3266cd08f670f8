/*
 * test_pin.c - pinned values: what was there when they were pinned, whatever
 * happens to the key, the log or the store, and no old log is kept for them.
 */
#include "fixture.h"
#include "store_internal.h"

#include <pthread.h>

#define BIG ((size_t)300000)

static char *big_value(char letter) {
    char *value = malloc(BIG + 1);
    assert_non_null(value);
    memset(value, letter, BIG);
    value[BIG] = '\0';
    value[BIG / 2] = '"'; /* text that is not what stands in the log */
    return value;
}

static void put_big(struct fixture *self, const char *key, char letter) {
    char *value = big_value(letter);
    put(self, key, value);
    free(value);
}

static toon_pinned pin(struct fixture *self, const char *key) {
    toon_pinned pinned;
    assert_ok(toon_pin_value(self->store, toon_str(key), &pinned));
    return pinned;
}

static void assert_big(const toon_pinned *pinned, char letter) {
    toon_value value;
    char *wanted = big_value(letter);
    assert_int_equal(pinned->size, BIG);
    assert_ok(toon_pinned_get(pinned, &value));
    assert_int_equal(value.size, BIG);
    assert_memory_equal(value.data, wanted, BIG + 1);
    assert_int_equal(value.meta.version, pinned->meta.version);
    toon_value_release(&value);
    free(wanted);
}

/* Whether it lies in a log still. */
static bool is_lying(struct fixture *self) {
    const toon_log *log = atomic_load(&self->store->volume)->log;
    return atomic_load(&log->sharers) > 0;
}

/* Without a cache, or what was just set would be there. */
static int setup(void **state) {
    if (fixture_setup(state) != 0)
        return -1;
    struct fixture *self = *state;
    self->options.cache_policy = TOON_CACHE_NONE;
    reopen(self);
    return 0;
}

static void is_what_was_there(void **state) {
    struct fixture *self = *state;
    put_big(self, "key", 'a');
    toon_pinned pinned = pin(self, "key");
    assert_true(is_lying(self));
    put_big(self, "key", 'b');
    assert_big(&pinned, 'a');
    assert_false(is_lying(self));
    assert_big(&pinned, 'a');
    toon_pinned_release(&pinned);
    toon_pinned_release(&pinned);
}

static void a_key_that_is_removed_or_renamed_does_not_matter(void **state) {
    struct fixture *self = *state;
    put_big(self, "gone", 'g');
    put_big(self, "moved", 'm');
    toon_pinned gone = pin(self, "gone");
    toon_pinned moved = pin(self, "moved");
    assert_ok(toon_delete(self->store, toon_str("gone"), 0, NULL));
    assert_ok(toon_rename(self->store, toon_str("moved"), toon_str("here"), 0));
    toon_pinned here = pin(self, "here"); /* a record that refers to it */
    assert_big(&gone, 'g');
    assert_big(&moved, 'm');
    assert_big(&here, 'm');
    toon_pinned_release(&gone);
    toon_pinned_release(&moved);
    toon_pinned_release(&here);
}

static void one_that_nobody_reads_costs_no_memory_and_no_log(void **state) {
    struct fixture *self = *state;
    put_big(self, "key", 'k');
    toon_pinned pinned = pin(self, "key");
    assert_true(is_lying(self));
    toon_pinned_release(&pinned);
    assert_false(is_lying(self));
}

static void short_values_and_appended_ones_are_read_at_once(void **state) {
    struct fixture *self = *state;
    put(self, "short", "value");
    put_big(self, "appended", 'p');
    assert_ok(
        toon_append(self->store, toon_str("appended"), toon_str("more"), NULL));
    toon_pinned brief = pin(self, "short");
    toon_pinned appended = pin(self, "appended");
    assert_int_equal(appended.size, BIG + 4);
    assert_ok(toon_clear(self->store));
    toon_value value;
    assert_ok(toon_pinned_get(&brief, &value));
    assert_string_equal(value.data, "value");
    toon_value_release(&value);
    assert_ok(toon_pinned_get(&appended, &value));
    assert_string_equal(value.data + BIG, "more");
    toon_value_release(&value);
    toon_pinned_release(&brief);
    toon_pinned_release(&appended);
}

static void what_is_not_there_cannot_be_pinned(void **state) {
    struct fixture *self = *state;
    toon_pinned pinned;
    assert_int_equal(toon_pin_value(self->store, toon_str("none"), &pinned),
                     TOON_NOT_FOUND);
    toon_set_options expired = {.expires_ms = 1};
    assert_ok(toon_set(self->store, toon_str("old"), toon_str("x"), &expired));
    assert_int_equal(toon_pin_value(self->store, toon_str("old"), &pinned),
                     TOON_NOT_FOUND);
}

static void a_compaction_or_a_clear_leaves_no_log_behind(void **state) {
    struct fixture *self = *state;
    put_big(self, "key", 'a');
    put_big(self, "other", 'o');
    toon_pinned first = pin(self, "key");
    toon_pinned second = pin(self, "other");
    const toon_log *log = atomic_load(&self->store->volume)->log;
    assert_int_equal(atomic_load(&log->sharers), 2);
    toon_log *old = toon_log_share(atomic_load(&self->store->volume)->log);
    assert_ok(toon_compact(self->store, NULL, NULL));
    assert_int_equal(atomic_load(&old->sharers), 0); /* but for this one */
    toon_log_free(old);
    assert_big(&first, 'a');
    toon_pinned third = pin(self, "key");
    assert_true(is_lying(self));
    old = toon_log_share(atomic_load(&self->store->volume)->log);
    assert_ok(toon_clear(self->store));
    assert_int_equal(atomic_load(&old->sharers), 0);
    toon_log_free(old);
    assert_big(&second, 'o');
    assert_big(&third, 'a');
    toon_pinned_release(&first);
    toon_pinned_release(&second);
    toon_pinned_release(&third);
}

static void it_outlives_the_store_and_harms_no_later_one(void **state) {
    struct fixture *self = *state;
    put_big(self, "key", 'a');
    toon_pinned pinned = pin(self, "key");
    reopen(self);
    put_big(self, "later", 'l');
    assert_big(&pinned, 'a');
    toon_pinned_release(&pinned);
    toon_pinned unread = pin(self, "key");
    reopen(self);
    put_big(self, "later", 'm');
    toon_pinned_release(&unread); /* nothing is cut off */
    reopen(self);
    toon_pinned later = pin(self, "later");
    assert_big(&later, 'm');
    toon_pinned_release(&later);
}

static void damage_is_told_by_who_reads_it(void **state) {
    struct fixture *self = *state;
    char path[128];
    toon_value value;
    put_big(self, "key", 'a');
    toon_pinned pinned = pin(self, "key");
    path_of(self, "db.toon", path);
    int file = open(path, O_WRONLY);
    assert_int_equal(pwrite(file, "Z", 1, 1000), 1);
    (void)close(file);
    assert_int_equal(toon_pinned_get(&pinned, &value), TOON_CORRUPT);
    assert_non_null(strstr(toon_last_error()->text, "offset"));
    toon_pinned_release(&pinned);
}

struct crowd {
    struct fixture *self;
    atomic_bool stop;
    atomic_uint wrong;
};

static void *pin_and_read(void *arg) {
    struct crowd *crowd = arg;
    while (!atomic_load(&crowd->stop)) {
        toon_pinned pinned;
        toon_value value;
        if (toon_pin_value(crowd->self->store, toon_str("key"), &pinned) !=
            TOON_OK)
            continue; /* cleared */
        if (toon_pinned_get(&pinned, &value) != TOON_OK) {
            (void)atomic_fetch_add(&crowd->wrong, 1);
        } else {
            if (value.size != BIG || value.data[0] != value.data[BIG - 1])
                (void)atomic_fetch_add(&crowd->wrong, 1);
            toon_value_release(&value);
        }
        toon_pinned_release(&pinned);
    }
    return NULL;
}

static void pins_beside_compactions_and_clears(void **state) {
    enum { READERS = 2, ROUNDS = 20 };
    struct crowd crowd = {.self = *state};
    pthread_t readers[READERS];
    put_big(crowd.self, "key", 'a');
    for (int i = 0; i < READERS; i++)
        assert_int_equal(
            pthread_create(&readers[i], NULL, pin_and_read, &crowd), 0);
    for (int i = 0; i < ROUNDS; i++) {
        put_big(crowd.self, "key", (char)('a' + i));
        if (i % 5 == 4)
            assert_ok(toon_clear(crowd.self->store));
        else
            assert_ok(toon_compact(crowd.self->store, NULL, NULL));
    }
    atomic_store(&crowd.stop, true);
    for (int i = 0; i < READERS; i++)
        (void)pthread_join(readers[i], NULL);
    assert_int_equal(atomic_load(&crowd.wrong), 0);
}

#define TEST(name)                                                             \
    cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(is_what_was_there),
        TEST(a_key_that_is_removed_or_renamed_does_not_matter),
        TEST(one_that_nobody_reads_costs_no_memory_and_no_log),
        TEST(short_values_and_appended_ones_are_read_at_once),
        TEST(what_is_not_there_cannot_be_pinned),
        TEST(a_compaction_or_a_clear_leaves_no_log_behind),
        TEST(it_outlives_the_store_and_harms_no_later_one),
        TEST(damage_is_told_by_who_reads_it),
        TEST(pins_beside_compactions_and_clears),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
