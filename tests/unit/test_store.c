/* test_store.c - the public store: what each call promises. */
#include "fixture.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

static int64_t now_ms(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ------------------------------------------------------------- set and get */

static void what_was_set_is_read_back(void **state) {
    struct fixture *self = *state;
    put(self, "greeting", "hello");
    assert_value(self, "greeting", "hello");
    put(self, "greeting", "bye");
    assert_value(self, "greeting", "bye");
    assert_absent(self, "nothing");
}

static void empty_keys_and_values_are_legal(void **state) {
    struct fixture *self = *state;
    put(self, "", "of the empty key");
    put(self, "empty", "");
    reopen(self);
    assert_value(self, "", "of the empty key");
    assert_value(self, "empty", "");
}

static void any_bytes_survive_reopening(void **state) {
    struct fixture *self = *state;
    char all[256];
    for (int i = 0; i < 256; i++)
        all[i] = (char)i;
    assert_ok(toon_set(self->store, toon_bytes(all, 256), toon_bytes(all, 256),
                       NULL));
    reopen(self);
    toon_value value;
    assert_ok(toon_get(self->store, toon_bytes(all, 256), &value));
    assert_int_equal(value.size, 256);
    assert_memory_equal(value.data, all, 256);
    toon_value_release(&value);
}

static void a_pin_outlives_change_deletion_and_close(void **state) {
    struct fixture *self = *state;
    toon_value value;
    put(self, "k", "first");
    assert_ok(toon_get(self->store, toon_str("k"), &value));
    toon_value second;
    toon_value_share(&value, &second);
    put(self, "k", "second");
    assert_ok(toon_delete(self->store, toon_str("k"), 0, NULL));
    close_store(self);
    assert_string_equal(value.data, "first");
    toon_value_release(&value);
    assert_string_equal(second.data, "first");
    toon_value_release(&second);
    toon_value_release(&second); /* releasing twice is harmless */
}

static void read_copies_what_fits_and_tells_the_whole_size(void **state) {
    struct fixture *self = *state;
    char buffer[4] = "....";
    size_t size = 0;
    put(self, "k", "hello");
    assert_ok(toon_read(self->store, toon_str("k"), buffer, 3, &size));
    assert_int_equal(size, 5);
    assert_memory_equal(buffer, "hel.", 4);
    assert_int_equal(toon_read(self->store, toon_str("no"), buffer, 3, &size),
                     TOON_NOT_FOUND);
    assert_int_equal(size, 5);
}

static void limits_hold_at_n_and_not_at_n_plus_1(void **state) {
    struct fixture *self = *state;
    close_store(self);
    self->options.key_size_max = 10;
    self->options.value_size_max = 20;
    reopen(self);
    char bytes[21] = "aaaaaaaaaaaaaaaaaaaaa";
    toon_slice key = toon_bytes(bytes, 10);
    assert_ok(toon_set(self->store, key, toon_bytes(bytes, 20), NULL));
    assert_int_equal(toon_set(self->store, key, toon_bytes(bytes, 21), NULL),
                     TOON_TOO_LARGE);
    assert_int_equal(toon_set(self->store, toon_bytes(bytes, 11),
                              toon_bytes(bytes, 1), NULL),
                     TOON_TOO_LARGE);
    assert_int_equal(toon_append(self->store, key, toon_bytes(bytes, 1), NULL),
                     TOON_TOO_LARGE);
    toon_key_stat stat;
    assert_ok(toon_stat_key(self->store, key, &stat));
    assert_int_equal(stat.size, 20);
}

static void a_key_of_64_kib_works_and_one_byte_more_does_not(void **state) {
    struct fixture *self = *state;
    size_t limit = TOON_KEY_SIZE_LIMIT;
    char *bytes = malloc(limit + 1);
    memset(bytes, 0x01, limit + 1); /* the longest escapes */
    assert_ok(
        toon_set(self->store, toon_bytes(bytes, limit), toon_str("v"), NULL));
    assert_int_equal(toon_set(self->store, toon_bytes(bytes, limit + 1),
                              toon_str("v"), NULL),
                     TOON_TOO_LARGE);
    reopen(self);
    toon_key_stat stat;
    assert_ok(toon_stat_key(self->store, toon_bytes(bytes, limit), &stat));
    free(bytes);
}

static void a_value_longer_than_a_slot_can_say_is_found(void **state) {
    struct fixture *self = *state;
    size_t size = (9u << 20) + 5;
    char *bytes = malloc(size);
    memset(bytes, 'x', size);
    assert_ok(
        toon_set(self->store, toon_str("big"), toon_bytes(bytes, size), NULL));
    put(self, "small", "s");
    reopen(self);
    assert_value_bytes(self, "big", bytes, size);
    assert_value(self, "small", "s");
    put(self, "big", "short now");
    assert_value(self, "big", "short now");
    free(bytes);
}

/* -------------------------------------------------------------- conditions */

static void conditions_of_set(void **state) {
    struct fixture *self = *state;
    toon_store *s = self->store;
    toon_set_options absent = {.flags = TOON_SET_IF_ABSENT};
    toon_set_options present = {.flags = TOON_SET_IF_PRESENT};
    toon_slice k = toon_str("k");
    assert_int_equal(toon_set(s, k, toon_str("1"), &present), TOON_NOT_FOUND);
    assert_ok(toon_set(s, k, toon_str("1"), &absent));
    assert_int_equal(toon_set(s, k, toon_str("2"), &absent), TOON_EXISTS);
    assert_value(self, "k", "1");
    assert_ok(toon_set(s, k, toon_str("3"), &present));
    assert_value(self, "k", "3");
}

static void if_version_sees_every_change(void **state) {
    struct fixture *self = *state;
    toon_value value;
    put(self, "k", "1");
    assert_ok(toon_get(self->store, toon_str("k"), &value));
    toon_set_options options = {.if_version = value.meta.version};
    toon_value_release(&value);
    put(self, "k", "1"); /* the same bytes, another version */
    assert_int_equal(
        toon_set(self->store, toon_str("k"), toon_str("2"), &options),
        TOON_CONFLICT);
    assert_int_equal(
        toon_delete(self->store, toon_str("k"), options.if_version, NULL),
        TOON_CONFLICT);
    assert_ok(toon_get(self->store, toon_str("k"), &value));
    options.if_version = value.meta.version;
    toon_value_release(&value);
    assert_ok(toon_set(self->store, toon_str("k"), toon_str("2"), &options));
    assert_value(self, "k", "2");
}

static void the_value_before_is_handed_out(void **state) {
    struct fixture *self = *state;
    toon_value old;
    toon_set_options options = {.old = &old};
    assert_ok(toon_set(self->store, toon_str("k"), toon_str("1"), &options));
    assert_null(old.pin);
    assert_ok(toon_set(self->store, toon_str("k"), toon_str("2"), &options));
    assert_string_equal(old.data, "1");
    toon_value_release(&old);
    options.flags = TOON_SET_IF_ABSENT;
    assert_int_equal(
        toon_set(self->store, toon_str("k"), toon_str("3"), &options),
        TOON_EXISTS);
    assert_string_equal(old.data, "2");
    toon_value_release(&old);
    assert_ok(toon_delete(self->store, toon_str("k"), 0, &old));
    assert_string_equal(old.data, "2");
    toon_value_release(&old);
    assert_int_equal(toon_delete(self->store, toon_str("k"), 0, &old),
                     TOON_NOT_FOUND);
}

/* ------------------------------------------------------------------ append */

static void appends_add_up_and_survive(void **state) {
    struct fixture *self = *state;
    char *expected = malloc(9000 * 7 + 1);
    size_t size = 0;
    for (int i = 0; i < 9000; i++) {
        char piece[16];
        int count = snprintf(piece, sizeof piece, "%d\n", i);
        size_t told;
        memcpy(expected + size, piece, (size_t)count);
        size += (size_t)count;
        assert_ok(toon_append(self->store, toon_str("log"),
                              toon_bytes(piece, (size_t)count), &told));
        assert_int_equal(told, size);
        if (i % 3000 == 77)
            assert_value_bytes(self, "log", expected, size);
    }
    toon_stats stats;
    toon_stat(self->store, &stats);
    assert_true(stats.log_bytes < 30 * size); /* each costs what it appends */
    assert_value_bytes(self, "log", expected, size);
    reopen(self);
    assert_value_bytes(self, "log", expected, size);
    remove_file(self, "db.toon.idx");
    reopen(self);
    assert_value_bytes(self, "log", expected, size);
    free(expected);
}

static void append_keeps_expiry_and_creates_what_is_absent(void **state) {
    struct fixture *self = *state;
    toon_set_options options = {
        .expires_ms = now_ms() + 100000, .flags = TOON_SET_MODE, .mode = 0755};
    toon_key_stat stat;
    assert_ok(toon_set(self->store, toon_str("k"), toon_str("a"), &options));
    assert_ok(toon_append(self->store, toon_str("k"), toon_str("b"), NULL));
    assert_ok(toon_stat_key(self->store, toon_str("k"), &stat));
    assert_int_equal(stat.meta.expires_ms, options.expires_ms);
    assert_int_equal(stat.meta.mode, 0755);
    assert_int_equal(stat.size, 2);
    assert_ok(toon_append(self->store, toon_str("new"), toon_str(""), NULL));
    assert_value(self, "new", "");
}

/* ------------------------------------------------------------------ expiry */

static void expired_keys_are_absent_and_then_removed(void **state) {
    struct fixture *self = *state;
    toon_set_options options = {.expires_ms = now_ms() - 1};
    toon_stats stats;
    assert_ok(toon_set(self->store, toon_str("gone"), toon_str("v"), &options));
    assert_absent(self, "gone");
    toon_value value;
    assert_int_equal(toon_get(self->store, toon_str("gone"), &value),
                     TOON_NOT_FOUND);
    for (int i = 0; i < 1000; i++) {
        toon_stat(self->store, &stats);
        if (stats.keys == 0)
            break;
        (void)usleep(10000);
    }
    assert_int_equal(stats.keys, 0);
    assert_int_equal(stats.keys_expired, 1);
    assert_int_equal(stats.keys_expiring, 0);
}

static void meta_changes_keep_the_value(void **state) {
    struct fixture *self = *state;
    toon_key_stat stat;
    toon_meta meta = {
        .expires_ms = now_ms() + 50000, .written_ms = 1234, .mode = 0600};
    put(self, "k", "v");
    assert_ok(toon_set_meta(
        self->store, toon_str("k"),
        TOON_META_EXPIRES | TOON_META_WRITTEN | TOON_META_MODE, &meta));
    reopen(self);
    assert_value(self, "k", "v");
    assert_ok(toon_stat_key(self->store, toon_str("k"), &stat));
    assert_int_equal(stat.meta.expires_ms, meta.expires_ms);
    assert_int_equal(stat.meta.written_ms, 1234);
    assert_int_equal(stat.meta.mode, 0600);
    toon_stats stats;
    toon_stat(self->store, &stats);
    assert_int_equal(stats.keys_expiring, 1);
    meta.expires_ms = 0;
    assert_ok(
        toon_set_meta(self->store, toon_str("k"), TOON_META_EXPIRES, &meta));
    toon_stat(self->store, &stats);
    assert_int_equal(stats.keys_expiring, 0);
    meta.expires_ms = 1; /* long ago */
    assert_ok(
        toon_set_meta(self->store, toon_str("k"), TOON_META_EXPIRES, &meta));
    assert_absent(self, "k");
    assert_int_equal(
        toon_set_meta(self->store, toon_str("k"), TOON_META_MODE, &meta),
        TOON_NOT_FOUND);
}

static void a_set_keeps_the_mode_but_not_a_symlink(void **state) {
    struct fixture *self = *state;
    toon_key_stat stat;
    toon_set_options options = {.flags = TOON_SET_MODE, .mode = 0700};
    assert_ok(toon_set(self->store, toon_str("f"), toon_str("1"), &options));
    options.mode = TOON_MODE_SYMLINK;
    assert_ok(toon_set(self->store, toon_str("l"), toon_str("to"), &options));
    put(self, "f", "2");
    put(self, "l", "2");
    assert_ok(toon_stat_key(self->store, toon_str("f"), &stat));
    assert_int_equal(stat.meta.mode, 0700);
    assert_ok(toon_stat_key(self->store, toon_str("l"), &stat));
    assert_int_equal(stat.meta.mode, 0);
}

static uint64_t keys_expiring(struct fixture *self) {
    toon_stats stats;
    toon_stat(self->store, &stats);
    return stats.keys_expiring;
}

/* Also of a key of which the cache knows all that a SET needs. */
static void a_set_keeps_the_expiry_only_if_asked(void **state) {
    struct fixture *self = *state;
    for (int cached = 0; cached < 2; cached++) {
        int64_t expires_ms = now_ms() + 100000;
        toon_key_stat stat;
        toon_set_options options = {.expires_ms = expires_ms};
        self->options.cache_policy =
            cached ? TOON_CACHE_S3FIFO : TOON_CACHE_NONE;
        reopen(self);
        assert_ok(
            toon_set(self->store, toon_str("k"), toon_str("1"), &options));
        assert_value(self, "k", "1");
        options = (toon_set_options){.flags = TOON_SET_KEEP_EXPIRY};
        assert_ok(
            toon_set(self->store, toon_str("k"), toon_str("2"), &options));
        assert_ok(toon_stat_key(self->store, toon_str("k"), &stat));
        assert_int_equal(stat.meta.expires_ms, expires_ms);
        assert_int_equal(keys_expiring(self), 1);
        put(self, "k", "3");
        assert_ok(toon_stat_key(self->store, toon_str("k"), &stat));
        assert_int_equal(stat.meta.expires_ms, 0);
        assert_int_equal(keys_expiring(self), 0);
    }
}

static void an_expired_key_is_absent_for_a_set(void **state) {
    struct fixture *self = *state;
    for (int cached = 0; cached < 2; cached++) {
        toon_key_stat stat;
        toon_set_options options = {
            .expires_ms = now_ms() + 2, .flags = TOON_SET_MODE, .mode = 0700};
        self->options.cache_policy =
            cached ? TOON_CACHE_S3FIFO : TOON_CACHE_NONE;
        reopen(self);
        assert_ok(
            toon_set(self->store, toon_str("k"), toon_str("1"), &options));
        while (now_ms() <= options.expires_ms)
            continue;
        options = (toon_set_options){.flags = TOON_SET_IF_PRESENT};
        assert_int_equal(
            toon_set(self->store, toon_str("k"), toon_str("2"), &options),
            TOON_NOT_FOUND);
        assert_int_equal(toon_delete(self->store, toon_str("k"), 0, NULL),
                         TOON_NOT_FOUND);
        options.flags = TOON_SET_IF_ABSENT;
        assert_ok(
            toon_set(self->store, toon_str("k"), toon_str("3"), &options));
        assert_ok(toon_stat_key(self->store, toon_str("k"), &stat));
        assert_int_equal(stat.meta.mode, 0);
        assert_int_equal(stat.meta.expires_ms, 0);
        assert_ok(toon_delete(self->store, toon_str("k"), 0, NULL));
        assert_int_equal(keys_expiring(self), 0);
    }
}

/* ------------------------------------------------------------------ rename */

static void rename_carries_value_time_expiry_and_mode(void **state) {
    struct fixture *self = *state;
    toon_set_options options = {.expires_ms = now_ms() + 100000,
                                .written_ms = 5,
                                .flags = TOON_SET_MODE,
                                .mode = 0755};
    toon_key_stat stat;
    assert_ok(toon_set(self->store, toon_str("a"), toon_str("va"), &options));
    put(self, "b", "vb");
    assert_int_equal(toon_rename(self->store, toon_str("a"), toon_str("b"),
                                 TOON_RENAME_NO_REPLACE),
                     TOON_EXISTS);
    assert_ok(toon_rename(self->store, toon_str("a"), toon_str("b"), 0));
    assert_absent(self, "a");
    reopen(self);
    assert_absent(self, "a");
    assert_value(self, "b", "va");
    assert_ok(toon_stat_key(self->store, toon_str("b"), &stat));
    assert_int_equal(stat.meta.written_ms, 5);
    assert_int_equal(stat.meta.expires_ms, options.expires_ms);
    assert_int_equal(stat.meta.mode, 0755);
    assert_int_equal(toon_rename(self->store, toon_str("no"), toon_str("b"), 0),
                     TOON_NOT_FOUND);
    assert_ok(toon_rename(self->store, toon_str("b"), toon_str("b"), 0));
    assert_value(self, "b", "va");
}

static void exchange_swaps_and_appends_go_on(void **state) {
    struct fixture *self = *state;
    put(self, "a", "1");
    put(self, "b", "2");
    assert_int_equal(toon_rename(self->store, toon_str("a"), toon_str("c"),
                                 TOON_RENAME_EXCHANGE),
                     TOON_NOT_FOUND);
    assert_ok(toon_rename(self->store, toon_str("a"), toon_str("b"),
                          TOON_RENAME_EXCHANGE));
    assert_ok(toon_append(self->store, toon_str("a"), toon_str("x"), NULL));
    assert_ok(toon_rename(self->store, toon_str("a"), toon_str("c"), 0));
    reopen(self);
    assert_value(self, "c", "2x");
    assert_value(self, "b", "1");
}

/* -------------------------------------------------------------------- rows */

static void rows_are_numbered_and_never_used_twice(void **state) {
    struct fixture *self = *state;
    uint64_t row;
    assert_ok(toon_add(self->store, toon_str("zero"), &row));
    assert_int_equal(row, 0);
    put(self, "2", "by hand"); /* is row 1 of the log */
    assert_ok(toon_add(self->store, toon_str("three"), &row));
    assert_int_equal(row, 3);
    assert_value(self, "2", "by hand");
    assert_value(self, "3", "three");
    assert_ok(toon_delete(self->store, toon_str("3"), 0, NULL));
    reopen(self);
    uint64_t next;
    assert_ok(toon_add(self->store, toon_str("later"), &next));
    assert_true(next > row);
    assert_ok(toon_clear(self->store));
    assert_ok(toon_add(self->store, toon_str("after"), &row));
    assert_true(row > next);
}

/* ----------------------------------------------------------------- batches */

static void a_batch_is_all_or_nothing(void **state) {
    struct fixture *self = *state;
    put(self, "a", "old");
    put(self, "b", "old");
    assert_ok(toon_batch_begin(self->store));
    put(self, "a", "new");
    assert_ok(toon_delete(self->store, toon_str("b"), 0, NULL));
    put(self, "c", "new");
    assert_int_equal(toon_batch_begin(self->store), TOON_INVALID);
    assert_value(self, "a", "new"); /* the batch reads its own changes */
    toon_batch_cancel(self->store);
    assert_value(self, "a", "old");
    assert_value(self, "b", "old");
    assert_absent(self, "c");
    assert_ok(toon_batch_begin(self->store));
    put(self, "a", "newer");
    assert_ok(toon_rename(self->store, toon_str("b"), toon_str("c"), 0));
    assert_ok(toon_batch_commit(self->store));
    reopen(self);
    assert_value(self, "a", "newer");
    assert_absent(self, "b");
    assert_value(self, "c", "old");
    assert_int_equal(toon_batch_commit(self->store), TOON_INVALID);
}

/* All that would wait for the writer lock, which the batch has. */
static void a_batch_does_not_wait_for_itself(void **state) {
    struct fixture *self = *state;
    toon_gather_begin(self->store);
    assert_ok(toon_batch_begin(self->store));
    put(self, "a", "new");
    assert_ok(toon_reserve(self->store, 1000));
    toon_compact_stop(self->store);
    assert_int_equal(toon_compact_start(self->store), TOON_INVALID);
    assert_int_equal(toon_gather_end(self->store), TOON_INVALID);
    assert_ok(toon_batch_commit(self->store));
    assert_ok(toon_gather_end(self->store));
    assert_value(self, "a", "new");
}

static void a_cancelled_batch_leaves_no_trace_in_the_log(void **state) {
    struct fixture *self = *state;
    size_t before, after;
    put(self, "a", "1");
    free(slurp(self, "db.toon", &before));
    assert_ok(toon_batch_begin(self->store));
    put(self, "a", "2");
    put(self, "z", "2");
    toon_batch_cancel(self->store);
    free(slurp(self, "db.toon", &after));
    assert_int_equal(before, after);
    put(self, "a", "3");
    reopen(self);
    assert_value(self, "a", "3");
    assert_absent(self, "z");
}

/* --------------------------------------------------------------- gathering */

static void gathered_changes_are_visible_and_written_at_the_end(void **state) {
    struct fixture *self = *state;
    size_t before, during, after;
    free(slurp(self, "db.toon", &before));
    toon_gather_begin(self->store);
    put(self, "a", "1");
    assert_ok(toon_append(self->store, toon_str("a"), toon_str("2"), NULL));
    assert_ok(toon_rename(self->store, toon_str("a"), toon_str("b"), 0));
    assert_value(self, "b", "12");
    free(slurp(self, "db.toon", &during));
    assert_int_equal(before, during);
    assert_ok(toon_gather_end(self->store));
    free(slurp(self, "db.toon", &after));
    assert_true(after > before);
    reopen(self);
    assert_value(self, "b", "12");
}

/* ---------------------------------------------------------------- watching */

struct heard {
    char text[512];
};

static void hear(void *arg, const toon_change *change) {
    struct heard *heard = arg;
    size_t used = strlen(heard->text);
    (void)snprintf(
        heard->text + used, sizeof heard->text - used, "%d%s:%.*s%s ",
        (int)change->kind, change->existed ? "+" : "-", (int)change->key.size,
        change->key.data ? change->key.data : "", change->origin ? "!" : "");
}

static void watchers_hear_changes_in_order_and_once_written(void **state) {
    struct fixture *self = *state;
    struct heard heard = {""};
    uint64_t id;
    assert_ok(toon_watch(self->store, hear, &heard, &id));
    put(self, "a", "1");
    put(self, "a", "2");
    assert_ok(toon_append(self->store, toon_str("a"), toon_str("3"), NULL));
    toon_gather_begin(self->store);
    put(self, "b", "1");
    assert_string_equal(heard.text, "0-:a 0+:a 1+:a ");
    assert_ok(toon_gather_end(self->store));
    heard.text[0] = '\0';
    (void)toon_thread_origin(&heard);
    assert_ok(toon_rename(self->store, toon_str("a"), toon_str("c"), 0));
    (void)toon_thread_origin(NULL);
    assert_string_equal(heard.text, "0-:c! 3+:a! ");
    heard.text[0] = '\0';
    assert_ok(toon_clear(self->store));
    assert_string_equal(heard.text, "5+: ");
    toon_unwatch(self->store, id);
    put(self, "z", "1");
    assert_string_equal(heard.text, "5+: ");
}

/* ------------------------------------------------------- scanning, ranges */

static bool count_key(void *arg, toon_slice key, const toon_key_stat *stat) {
    unsigned char *seen = arg;
    char text[16] = "";
    (void)stat;
    memcpy(text, key.data, key.size < 15 ? key.size : 15);
    seen[atoi(text)]++;
    return true;
}

static void a_scan_visits_all_that_stays_while_others_change(void **state) {
    struct fixture *self = *state;

    enum { KEYS = 5000 };

    static unsigned char seen[KEYS * 4];
    char key[16];
    for (int i = 0; i < KEYS; i++) {
        (void)snprintf(key, sizeof key, "%d", i);
        put(self, key, "v");
    }
    memset(seen, 0, sizeof seen);
    uint64_t cursor = 0;
    int extra = KEYS;
    do {
        toon_scan_options options = {.count = 50};
        assert_ok(toon_scan(self->store, &cursor, &options, count_key, seen));
        for (int i = 0; i < 100; i++) {
            (void)snprintf(key, sizeof key, "%d", extra++ % (KEYS * 4));
            put(self, key, "new");
            (void)snprintf(key, sizeof key, "%d", (extra * 7) % KEYS);
            put(self, key, "changed");
        }
    } while (cursor != 0);
    for (int i = 0; i < KEYS; i++)
        assert_int_equal(seen[i], 1);
}

struct listed {
    char text[256];
    int left;
};

static bool list_key(void *arg, toon_slice key, const toon_key_stat *stat) {
    struct listed *listed = arg;
    size_t used = strlen(listed->text);
    (void)snprintf(listed->text + used, sizeof listed->text - used, "%.*s",
                   (int)key.size, key.data);
    if (stat != NULL) {
        used = strlen(listed->text);
        (void)snprintf(listed->text + used, sizeof listed->text - used, "=%zu",
                       stat->size);
    }
    (void)strcat(listed->text, " ");
    return --listed->left != 0;
}

static void assert_range(struct fixture *self, const char *prefix,
                         const char *from, size_t limit, const char *expected) {
    struct listed listed = {"", 0};
    toon_range_options options = {
        .prefix = toon_str(prefix), .from = toon_str(from), .limit = limit};
    assert_ok(toon_range(self->store, &options, list_key, &listed));
    assert_string_equal(listed.text, expected);
}

static void ranges_are_in_order_and_kept_up_to_date(void **state) {
    struct fixture *self = *state;
    put(self, "b/2", "x");
    put(self, "b/1", "x");
    put(self, "a", "x");
    assert_range(self, "", "", 0, "a b/1 b/2 ");
    put(self, "b/10", "x");
    put(self, "c", "x");
    assert_ok(toon_delete(self->store, toon_str("a"), 0, NULL));
    assert_range(self, "", "", 0, "b/1 b/10 b/2 c ");
    assert_range(self, "b/", "", 0, "b/1 b/10 b/2 ");
    assert_range(self, "b/", "b/1a", 0, "b/2 ");
    assert_range(self, "b/", "a", 2, "b/1 b/10 ");
    assert_range(self, "d", "", 0, "");
    toon_set_options expired = {.expires_ms = 1};
    assert_ok(toon_set(self->store, toon_str("b/3"), toon_str("x"), &expired));
    assert_range(self, "b/", "", 0, "b/1 b/10 b/2 ");
    assert_ok(toon_batch_begin(self->store));
    put(self, "aa", "x");
    assert_ok(toon_delete(self->store, toon_str("c"), 0, NULL));
    toon_batch_cancel(self->store);
    assert_range(self, "", "", 0, "b/1 b/10 b/2 c ");
    assert_ok(toon_clear(self->store));
    put(self, "n", "x");
    assert_range(self, "", "", 0, "n ");
}

/* Waits at the first key until the keeper has removed what is expired. */
static bool wait_for_keeper(void *arg, toon_slice key,
                            const toon_key_stat *stat) {
    struct fixture *self = arg;
    toon_stats stats = {.keys_expiring = 1};
    (void)stat;
    assert_memory_equal(key.data, "a", key.size);
    for (int i = 0; i < 1000 && stats.keys_expiring > 0; i++) {
        (void)usleep(10000);
        toon_stat(self->store, &stats);
    }
    assert_int_equal(stats.keys_expiring, 0);
    return true;
}

static void a_range_shows_no_key_that_expired_and_went_meanwhile(void **state) {
    struct fixture *self = *state;
    toon_set_options expired = {.expires_ms = 1};
    toon_range_options range = {0};
    put(self, "a", "x");
    assert_range(self, "", "", 0, "a ");
    assert_ok(toon_set(self->store, toon_str("b"), toon_str("x"), &expired));
    assert_ok(toon_range(self->store, &range, wait_for_keeper, self));
}

static void globs_match_by_redis_rules(void **state) {
    static const struct {
        const char *pattern, *key;
        bool match;
    } cases[] = {
        {"*", "", true},
        {"*", "any", true},
        {"", "", true},
        {"", "a", false},
        {"h?llo", "hello", true},
        {"h?llo", "hllo", false},
        {"h*llo", "heeello", true},
        {"h[ae]llo", "hallo", true},
        {"h[ae]llo", "hillo", false},
        {"h[^e]llo", "hello", false},
        {"h[^e]llo", "hbllo", true},
        {"h[a-c]llo", "hbllo", true},
        {"h[c-a]llo", "hbllo", true},
        {"h\\*llo", "h*llo", true},
        {"h\\*llo", "hello", false},
        {"[\\]]", "]", true},
        {"a*b*c", "aXbYbZc", true},
        {"a*b*c", "aXbYbZ", false},
        {"*a*a*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false},
        {"user:*", "user:1", true},
        {"[abc", "b", true},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (toon_glob_match(toon_str(cases[i].pattern),
                            toon_str(cases[i].key)) != cases[i].match)
            fail_msg("%s on %s", cases[i].pattern, cases[i].key);
    }
}

/* ----------------------------------------------------- locks and refusals */

static void a_second_opener_is_told_who_has_it(void **state) {
    struct fixture *self = *state;
    toon_store *second;
    char pid[16];
    assert_int_equal(toon_open(self->dir, NULL, &second), TOON_LOCKED);
    (void)snprintf(pid, sizeof pid, "%ld", (long)getpid());
    assert_non_null(strstr(toon_last_error()->text, pid));
    assert_non_null(strstr(toon_last_error()->text, self->dir));
}

static void a_read_only_store_refuses_changes(void **state) {
    struct fixture *self = *state;
    put(self, "k", "v");
    close_store(self);
    self->options.flags = TOON_OPEN_READ_ONLY;
    reopen(self);
    assert_value(self, "k", "v");
    assert_int_equal(toon_set(self->store, toon_str("k"), toon_str("w"), NULL),
                     TOON_READ_ONLY);
    assert_int_equal(toon_clear(self->store), TOON_READ_ONLY);
    assert_int_equal(toon_batch_begin(self->store), TOON_READ_ONLY);
    toon_store *second;
    assert_ok(toon_open(self->dir, &self->options, &second));
    assert_ok(toon_close(second));
}

static void no_create_and_bad_options_are_refused(void **state) {
    struct fixture *self = *state;
    toon_store *store;
    char path[128];
    path_of(self, "missing", path);
    toon_options options = {.flags = TOON_OPEN_NO_CREATE};
    assert_int_equal(toon_open(path, &options, &store), TOON_NOT_FOUND);
    assert_false(file_exists(self, "missing"));
    close_store(self);
    remove_files(self->dir);
    assert_int_equal(toon_open(self->dir, &options, &store), TOON_NOT_FOUND);
    assert_false(file_exists(self, "db.lock"));
    options = (toon_options){.value_size_max = TOON_VALUE_SIZE_LIMIT + 1};
    assert_int_equal(toon_open(path, &options, &store), TOON_INVALID);
}

static void the_store_size_limit_binds_but_deleting_goes_on(void **state) {
    struct fixture *self = *state;
    close_store(self);
    self->options.store_size_max = 4096;
    reopen(self);
    char value[100];
    char key[16];
    memset(value, 'v', sizeof value);
    toon_err err = TOON_OK;
    int count = 0;
    while (err == TOON_OK && count < 1000) {
        (void)snprintf(key, sizeof key, "%d", count++);
        err = toon_set(self->store, toon_str(key),
                       toon_bytes(value, sizeof value), NULL);
    }
    assert_int_equal(err, TOON_FULL);
    assert_absent(self, key);
    assert_value_bytes(self, "0", value, sizeof value);
    assert_ok(toon_delete(self->store, toon_str("0"), 0, NULL));
    self->options.store_size_max = 0;
    reopen(self);
    assert_absent(self, "0");
    assert_value_bytes(self, "1", value, sizeof value);
}

static void room_can_be_asked_for_in_time(void **state) {
    struct fixture *self = *state;
    toon_stats before, after;
    close_store(self);
    self->options.store_size_max = 64 * 1024;
    reopen(self);
    toon_stat(self->store, &before);
    assert_ok(toon_reserve(self->store, 0));
    assert_ok(toon_reserve(self->store, 40 * 1024));
    assert_int_equal(toon_reserve(self->store, 64 * 1024), TOON_FULL);
    assert_int_equal(toon_reserve(self->store, SIZE_MAX / 2), TOON_FULL);
    /* Whatever the bytes are, they fit where there was said to be room. */
    char value[40 * 1024];
    memset(value, 0xff, sizeof value);
    assert_ok(toon_set(self->store, toon_str("k"),
                       toon_bytes(value, sizeof value), NULL));
    assert_int_equal(toon_reserve(self->store, sizeof value), TOON_FULL);
    toon_stat(self->store, &after);
    assert_int_equal(after.keys, before.keys + 1);
    close_store(self);
    self->options.flags = TOON_OPEN_READ_ONLY;
    reopen(self);
    assert_int_equal(toon_reserve(self->store, 0), TOON_READ_ONLY);
}

/* ----------------------------------------------------------------- threads */

struct worker {
    struct fixture *self;
    int number;
};

static void *work(void *arg) {
    struct worker *worker = arg;
    toon_store *s = worker->self->store;
    for (int i = 0; i < 3000; i++) {
        char key[24];
        toon_value value;
        (void)snprintf(key, sizeof key, "k%d", i % 50);
        toon_slice k = toon_str(key);
        switch ((i + worker->number) % 5) {
        case 0:
            (void)toon_set(s, k, toon_str("value"), NULL);
            break;
        case 1:
            (void)toon_append(s, k, toon_str("+"), NULL);
            break;
        case 2:
            if (toon_get(s, k, &value) == TOON_OK)
                toon_value_release(&value);
            break;
        case 3:
            (void)toon_delete(s, k, 0, NULL);
            break;
        default:
            (void)toon_append(s, toon_str("all"), toon_str("."), NULL);
            break;
        }
    }
    return NULL;
}

static void threads_lose_no_append(void **state) {
    struct fixture *self = *state;

    enum { THREADS = 4 };

    pthread_t threads[THREADS];
    struct worker workers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){self, i};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]),
                         0);
    }
    for (int i = 0; i < THREADS; i++)
        (void)pthread_join(threads[i], NULL);
    toon_key_stat stat;
    assert_ok(toon_stat_key(self->store, toon_str("all"), &stat));
    assert_int_equal(stat.size, THREADS * 3000 / 5);
    reopen(self);
    assert_ok(toon_stat_key(self->store, toon_str("all"), &stat));
    assert_int_equal(stat.size, THREADS * 3000 / 5);
}

static void *read_and_scan(void *arg) {
    struct fixture *self = arg;
    static unsigned char seen[100];
    for (int i = 0; i < 3000; i++) {
        char key[16];
        toon_value value;
        uint64_t cursor = 0;
        toon_scan_options options = {.count = 100};
        toon_range_options range = {.limit = 3, .with_stat = true};
        (void)snprintf(key, sizeof key, "%d", i % 100);
        toon_err err = toon_get(self->store, toon_str(key), &value);
        if (err == TOON_OK)
            toon_value_release(&value);
        else if (err != TOON_NOT_FOUND)
            return self;
        if (i % 50 == 0 &&
            (toon_scan(self->store, &cursor, &options, count_key, seen) !=
                 TOON_OK ||
             toon_range(self->store, &range, count_key, seen) != TOON_OK))
            return self;
    }
    return NULL;
}

static void clearing_disturbs_no_reader(void **state) {
    struct fixture *self = *state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, read_and_scan, self), 0);
    for (int i = 0; i < 40; i++) {
        for (int k = 0; k < 100; k++) {
            char key[16];
            (void)snprintf(key, sizeof key, "%d", k);
            put(self, key, "value");
        }
        assert_ok(toon_clear(self->store));
    }
    void *failed;
    (void)pthread_join(thread, &failed);
    assert_null(failed);
    toon_stats stats;
    toon_stat(self->store, &stats);
    assert_int_equal(stats.keys, 0);
    assert_int_equal(stats.live_bytes, 0);
}

/* Batches that overwrite a key, go on for a while and are cancelled: their
 * offsets are used again by others. */
static void *cancel_batches(void *arg) {
    struct fixture *self = arg;
    for (int i = 0; i < 1500; i++) {
        char key[16];
        if (toon_batch_begin(self->store) != TOON_OK)
            return self;
        (void)toon_set(self->store, toon_str("1"), toon_str("never"), NULL);
        for (int k = 2; k < 12; k++) {
            (void)snprintf(key, sizeof key, "%d", k);
            (void)toon_set(self->store, toon_str(key), toon_str("n"), NULL);
        }
        toon_batch_cancel(self->store);
        (void)snprintf(key, sizeof key, "%d", 20 + i % 7);
        (void)toon_set(self->store, toon_str(key), toon_str("kept"), NULL);
    }
    return NULL;
}

static void cancelled_batches_disturb_no_reader(void **state) {
    struct fixture *self = *state;
    pthread_t thread;
    void *failed = self;
    put(self, "1", "always");
    assert_int_equal(pthread_create(&thread, NULL, cancel_batches, self), 0);
    while (pthread_tryjoin_np(thread, &failed) == EBUSY) {
        unsigned char seen[100] = {0};
        uint64_t cursor = 0;
        toon_scan_options options = {.count = 100};
        toon_key_stat stat;
        do
            assert_ok(
                toon_scan(self->store, &cursor, &options, count_key, seen));
        while (cursor != 0);
        assert_int_equal(seen[1], 1);
        assert_ok(toon_stat_key(self->store, toon_str("1"), &stat));
    }
    assert_null(failed);
    assert_value(self, "1", "always");
}

/* A watcher that reads what another thread's batch still holds back. */
struct slow_watcher {
    toon_store *store;
    atomic_bool heard;
};

static void read_in_watch(void *arg, const toon_change *change) {
    struct slow_watcher *watcher = arg;
    toon_value value;
    (void)change;
    atomic_store(&watcher->heard, true);
    (void)usleep(50000);
    if (toon_get(watcher->store, toon_str("batched"), &value) == TOON_OK)
        toon_value_release(&value);
}

static void *set_other(void *arg) {
    struct slow_watcher *watcher = arg;
    (void)toon_set(watcher->store, toon_str("other"), toon_str("v"), NULL);
    return NULL;
}

static void a_sync_inside_a_batch_waits_for_no_watcher(void **state) {
    struct fixture *self = *state;
    struct slow_watcher watcher = {.store = self->store};
    pthread_t thread;
    uint64_t id;
    close_store(self);
    self->options.cache_policy = TOON_CACHE_NONE;
    reopen(self);
    watcher.store = self->store;
    assert_ok(toon_watch(self->store, read_in_watch, &watcher, &id));
    assert_int_equal(pthread_create(&thread, NULL, set_other, &watcher), 0);
    while (!atomic_load(&watcher.heard))
        (void)usleep(100);
    assert_ok(toon_batch_begin(self->store));
    put(self, "batched", "v");
    assert_ok(toon_sync(self->store));
    assert_ok(toon_batch_commit(self->store));
    (void)pthread_join(thread, NULL);
    toon_unwatch(self->store, id);
}

static void what_was_begun_and_not_ended_is_harmless(void **state) {
    struct fixture *self = *state;
    toon_batch_cancel(self->store); /* there is none */
    toon_gather_begin(self->store);
    put(self, "a", "1");
    reopen(self); /* perhaps at the same address */
    put(self, "b", "2");
    size_t size;
    char *log = slurp(self, "db.toon", &size);
    assert_non_null(strstr(log + 16, "b[4]"));
    free(log);
    assert_value(self, "a", "1");
}

/* A pair of keys is set in batches; readers must never see them differ. */
static void *set_pairs(void *arg) {
    struct fixture *self = arg;
    for (int i = 0; i < 2000; i++) {
        char text[16];
        (void)snprintf(text, sizeof text, "%d", i);
        if (toon_batch_begin(self->store) != TOON_OK)
            return self;
        (void)toon_set(self->store, toon_str("x"), toon_str(text), NULL);
        (void)toon_set(self->store, toon_str("y"), toon_str(text), NULL);
        if (toon_batch_commit(self->store) != TOON_OK)
            return self;
    }
    return NULL;
}

struct pair {
    toon_store *store;
    char x[16], y[16];
    toon_err err;
};

static void read_pair(void *arg) {
    struct pair *pair = arg;
    size_t size;
    memset(pair->x, 0, sizeof pair->x);
    memset(pair->y, 0, sizeof pair->y);
    pair->err = toon_read(pair->store, toon_str("x"), pair->x, 15, &size);
    if (pair->err == TOON_OK)
        pair->err = toon_read(pair->store, toon_str("y"), pair->y, 15, &size);
}

static void readers_of_several_keys_see_whole_batches(void **state) {
    struct fixture *self = *state;
    struct pair pair = {.store = self->store};
    pthread_t thread;
    put(self, "x", "0");
    put(self, "y", "0");
    assert_int_equal(pthread_create(&thread, NULL, set_pairs, self), 0);
    while (strncmp(pair.x, "1999", 4) != 0) {
        toon_read_together(self->store, read_pair, &pair);
        assert_ok(pair.err);
        assert_string_equal(pair.x, pair.y);
    }
    void *failed;
    (void)pthread_join(thread, &failed);
    assert_null(failed);
}

/* Each call is disturbed by a batch, and it ends all the same. */
static void disturb(void *arg) {
    struct pair *pair = arg;
    pthread_t thread;
    struct fixture self = {.store = pair->store};
    pair->x[0]++;
    if (pair->x[0] > 4)
        return; /* now batches are kept out */
    assert_int_equal(pthread_create(&thread, NULL, set_pairs, &self), 0);
    (void)pthread_join(thread, NULL);
}

static void reading_together_ends_under_endless_batches(void **state) {
    struct fixture *self = *state;
    struct pair pair = {.store = self->store};
    toon_read_together(self->store, disturb, &pair);
    assert_int_equal(pair.x[0], 5);
}

int main(void) {
#define STORE_TEST(name)                                                       \
    cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        STORE_TEST(what_was_set_is_read_back),
        STORE_TEST(empty_keys_and_values_are_legal),
        STORE_TEST(any_bytes_survive_reopening),
        STORE_TEST(a_pin_outlives_change_deletion_and_close),
        STORE_TEST(read_copies_what_fits_and_tells_the_whole_size),
        STORE_TEST(limits_hold_at_n_and_not_at_n_plus_1),
        STORE_TEST(a_key_of_64_kib_works_and_one_byte_more_does_not),
        STORE_TEST(a_value_longer_than_a_slot_can_say_is_found),
        STORE_TEST(conditions_of_set),
        STORE_TEST(if_version_sees_every_change),
        STORE_TEST(the_value_before_is_handed_out),
        STORE_TEST(appends_add_up_and_survive),
        STORE_TEST(append_keeps_expiry_and_creates_what_is_absent),
        STORE_TEST(expired_keys_are_absent_and_then_removed),
        STORE_TEST(meta_changes_keep_the_value),
        STORE_TEST(a_set_keeps_the_mode_but_not_a_symlink),
        STORE_TEST(a_set_keeps_the_expiry_only_if_asked),
        STORE_TEST(an_expired_key_is_absent_for_a_set),
        STORE_TEST(rename_carries_value_time_expiry_and_mode),
        STORE_TEST(exchange_swaps_and_appends_go_on),
        STORE_TEST(rows_are_numbered_and_never_used_twice),
        STORE_TEST(a_batch_is_all_or_nothing),
        STORE_TEST(a_batch_does_not_wait_for_itself),
        STORE_TEST(a_cancelled_batch_leaves_no_trace_in_the_log),
        STORE_TEST(gathered_changes_are_visible_and_written_at_the_end),
        STORE_TEST(watchers_hear_changes_in_order_and_once_written),
        STORE_TEST(a_scan_visits_all_that_stays_while_others_change),
        STORE_TEST(ranges_are_in_order_and_kept_up_to_date),
        STORE_TEST(a_range_shows_no_key_that_expired_and_went_meanwhile),
        STORE_TEST(globs_match_by_redis_rules),
        STORE_TEST(a_second_opener_is_told_who_has_it),
        STORE_TEST(a_read_only_store_refuses_changes),
        STORE_TEST(no_create_and_bad_options_are_refused),
        STORE_TEST(the_store_size_limit_binds_but_deleting_goes_on),
        STORE_TEST(room_can_be_asked_for_in_time),
        STORE_TEST(threads_lose_no_append),
        STORE_TEST(clearing_disturbs_no_reader),
        STORE_TEST(cancelled_batches_disturb_no_reader),
        STORE_TEST(a_sync_inside_a_batch_waits_for_no_watcher),
        STORE_TEST(what_was_begun_and_not_ended_is_harmless),
        STORE_TEST(readers_of_several_keys_see_whole_batches),
        STORE_TEST(reading_together_ends_under_endless_batches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
