/* test_faults.c - a disk that refuses: every refusal is told, and the store is
 * as it was. */
#include "faulty_fixture.h"

static toon_err set(struct fixture *self, const char *key, const char *value) {
    return toon_set(self->store, toon_str(key), toon_str(value), NULL);
}

/* Closes whatever the store says of itself, and opens it on a good disk. */
static toon_err close_and_reopen(struct fixture *self) {
    memset(&faulty, 0, sizeof faulty);
    toon_err err = toon_close(self->store);
    assert_ok(toon_open(self->dir, &self->options, &self->store));
    return err;
}

static void interrupted_and_short_calls_go_on(void **state) {
    struct fixture *self = *state;
    faulty.transfer_max = 3;
    faulty.interrupts = 5;
    put(self, "k", "a value of some length");
    assert_value(self, "k", "a value of some length");
    assert_ok(close_and_reopen(self));
    assert_value(self, "k", "a value of some length");
}

static void a_failed_write_changes_nothing(void **state) {
    struct fixture *self = *state;
    put(self, "kept", "old");
    put(self, "gone", "old");
    for (size_t torn = 0; torn < 30; torn += 7) {
        faulty.write_errno = EIO;
        faulty.write_at_most = torn;
        assert_int_equal(set(self, "kept", "new"), TOON_IO);
        faulty.write_at_most = torn;
        assert_int_equal(toon_delete(self->store, toon_str("gone"), 0, NULL),
                         TOON_IO);
        faulty.write_at_most = torn;
        assert_int_equal(set(self, "new", "new"), TOON_IO);
        faulty.write_at_most = torn;
        assert_int_equal(
            toon_rename(self->store, toon_str("kept"), toon_str("new"), 0),
            TOON_IO);
        faulty.write_errno = 0;
        faulty.write_at_most = 0;
        assert_value(self, "kept", "old");
        assert_value(self, "gone", "old");
        assert_absent(self, "new");
    }
    toon_stats stats;
    toon_stat(self->store, &stats);
    assert_int_equal(stats.keys, 2);
    assert_int_equal(stats.rows, 2);
    put(self, "after", "fine");
    assert_int_equal(close_and_reopen(self), TOON_IO); /* it was told */
    assert_value(self, "kept", "old");
    assert_value(self, "after", "fine");
    toon_stat(self->store, &stats);
    assert_int_equal(stats.torn_bytes, 0);
}

static void a_failed_write_hands_nothing_out(void **state) {
    struct fixture *self = *state;
    toon_value old = {0};
    toon_set_options options = {.old = &old};
    size_t size = 77;
    put(self, "k", "v");
    faulty.write_errno = EIO;
    assert_int_equal(
        toon_set(self->store, toon_str("k"), toon_str("w"), &options), TOON_IO);
    assert_null(old.pin);
    assert_int_equal(toon_delete(self->store, toon_str("k"), 0, &old), TOON_IO);
    assert_null(old.pin);
    assert_int_equal(
        toon_append(self->store, toon_str("k"), toon_str("w"), &size), TOON_IO);
    assert_int_equal(size, 77);
}

static void a_failed_write_undoes_the_whole_gathering(void **state) {
    struct fixture *self = *state;
    put(self, "a", "old");
    toon_gather_begin(self->store);
    put(self, "a", "new");
    put(self, "b", "new");
    assert_ok(toon_delete(self->store, toon_str("a"), 0, NULL));
    faulty.write_errno = ENOSPC;
    assert_int_equal(toon_gather_end(self->store), TOON_FULL);
    faulty.write_errno = 0;
    assert_value(self, "a", "old");
    assert_absent(self, "b");
    assert_ok(close_and_reopen(self)); /* nothing is wrong with the disk */
    assert_value(self, "a", "old");
    assert_absent(self, "b");
}

/* Another thread's change writes what this thread gathered; if that fails,
 * gather_end must say so. */
static void a_gathering_hears_of_a_write_that_failed_for_another(void **state) {
    struct fixture *self = *state;
    toon_gather_begin(self->store);
    put(self, "mine", "1");
    faulty.write_errno = EIO;
    assert_int_equal(toon_sync(self->store), TOON_IO);
    faulty.write_errno = 0;
    assert_int_not_equal(toon_gather_end(self->store), TOON_OK);
    assert_absent(self, "mine");
}

static void no_room_is_full_and_reads_go_on(void **state) {
    struct fixture *self = *state;
    static char big[4 << 20];
    memset(big, 'x', sizeof big);
    put(self, "k", "v");
    faulty.allocate_errno = ENOSPC;
    assert_int_equal(toon_set(self->store, toon_str("big"),
                              toon_bytes(big, sizeof big), NULL),
                     TOON_FULL);
    assert_non_null(strstr(toon_last_error()->text, "no space"));
    assert_value(self, "k", "v");
    assert_absent(self, "big");
    assert_ok(toon_delete(self->store, toon_str("k"), 0, NULL));
    faulty.allocate_errno = 0;
    put(self, "k", "again");
    assert_ok(close_and_reopen(self));
    assert_value(self, "k", "again");
}

static void a_failed_sync_makes_the_store_read_only(void **state) {
    struct fixture *self = *state;
    put(self, "k", "v");
    faulty.sync_errno = EIO;
    assert_int_equal(toon_sync(self->store), TOON_IO);
    faulty.sync_errno = 0;
    assert_int_equal(toon_sync(self->store), TOON_IO); /* never retried */
    assert_int_equal(set(self, "k", "w"), TOON_READ_ONLY);
    assert_value(self, "k", "v");
    toon_stats stats;
    toon_stat(self->store, &stats);
    assert_true(stats.read_only);
    assert_int_equal(stats.failure, TOON_IO);
    assert_int_equal(close_and_reopen(self), TOON_IO);
    assert_value(self, "k", "v");
    put(self, "k", "w");
}

static void a_sync_without_space_has_failed_like_any_other(void **state) {
    struct fixture *self = *state;
    put(self, "k", "v");
    faulty.sync_errno = ENOSPC;
    assert_int_equal(toon_sync(self->store), TOON_IO);
    assert_int_equal(toon_last_error()->err, TOON_IO);
    assert_int_equal(toon_last_error()->sys_errno, ENOSPC);
}

static void under_always_a_failed_sync_is_the_changes_error(void **state) {
    struct fixture *self = *state;
    assert_ok(toon_close(self->store));
    self->options.sync = TOON_SYNC_ALWAYS;
    assert_ok(toon_open_on(&io, self->dir, &self->options, &self->store));
    int before = faulty.syncs;
    put(self, "k", "v");
    assert_int_equal(faulty.syncs, before + 1);
    toon_gather_begin(self->store);
    put(self, "a", "v");
    put(self, "b", "v");
    assert_ok(toon_gather_end(self->store));
    assert_int_equal(faulty.syncs, before + 2); /* one for both */
    faulty.sync_errno = EIO;
    assert_int_equal(set(self, "k", "w"), TOON_IO);
    assert_int_equal(close_and_reopen(self), TOON_IO);
}

static toon_err set_new(struct fixture *self) {
    return set(self, "k", "new");
}

static toon_err append_new(struct fixture *self) {
    size_t size = 77;
    toon_err err =
        toon_append(self->store, toon_str("k"), toon_str("ew"), &size);
    assert_int_equal(size, 77); /* nothing is handed out */
    return err;
}

static toon_err rename_new(struct fixture *self) {
    return toon_rename(self->store, toon_str("from"), toon_str("k"), 0);
}

static toon_err commit_new(struct fixture *self) {
    assert_ok(toon_batch_begin(self->store));
    put(self, "k", "newer");
    put(self, "k", "new");
    return toon_batch_commit(self->store);
}

static toon_err gather_new(struct fixture *self) {
    toon_gather_begin(self->store);
    put(self, "k", "newer");
    put(self, "k", "new");
    return toon_gather_end(self->store);
}

static void count_changes(void *arg, const toon_change *change) {
    unsigned *count = arg;
    *count += toon_slice_equal(change->key, toon_str("k"));
}

static void under_always_what_could_not_be_synced_stays_visible(void **state) {
    static toon_err (*const changes[])(struct fixture *) = {
        set_new, append_new, rename_new, commit_new, gather_new,
    };
    struct fixture *self = *state;
    toon_stats stats;
    uint64_t id;
    self->options.sync = TOON_SYNC_ALWAYS;
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        unsigned heard = 0;
        (void)toon_close(self->store);
        assert_ok(toon_open_on(&io, self->dir, &self->options, &self->store));
        put(self, "k", "n");
        put(self, "from", "new");
        assert_ok(toon_watch(self->store, count_changes, &heard, &id));
        faulty.sync_errno = EIO;
        assert_int_equal(changes[i](self), TOON_IO);
        faulty.sync_errno = 0;
        assert_value(self, "k", "new");
        assert_true(heard > 0);
        toon_stat(self->store, &stats);
        assert_true(stats.read_only);
        assert_int_equal(set(self, "k", "newest"), TOON_READ_ONLY);
        assert_value(self, "k", "new");
    }
    assert_int_equal(close_and_reopen(self), TOON_IO);
    assert_value(self, "k", "new"); /* the power stayed on */
}

static void a_cut_that_fails_makes_the_store_read_only(void **state) {
    struct fixture *self = *state;
    put(self, "k", "v");
    faulty.write_errno = EIO;
    faulty.write_at_most = 20;
    faulty.truncate_errno = EIO;
    assert_int_equal(set(self, "k", "w"), TOON_IO);
    memset(&faulty, 0, sizeof faulty);
    assert_int_equal(set(self, "k", "x"), TOON_READ_ONLY);
    assert_value(self, "k", "v");
    assert_int_equal(close_and_reopen(self), TOON_IO);
    assert_value(self, "k", "v");
}

/* After a sync that succeeded, and before the next one is believed. */
static void a_mark_that_can_neither_be_written_nor_cut_is_told(void **state) {
    struct fixture *self = *state;
    toon_stats stats;
    put(self, "k", "v");
    faulty.write_errno = EIO;
    faulty.sync_errno = EIO;
    faulty.syncs_before = 1;
    assert_int_equal(toon_sync(self->store), TOON_IO);
    memset(&faulty, 0, sizeof faulty);
    toon_stat(self->store, &stats);
    assert_true(stats.read_only);
    assert_int_equal(set(self, "k", "w"), TOON_READ_ONLY);
    assert_int_equal(close_and_reopen(self), TOON_IO);
    assert_value(self, "k", "v");
}

static void a_mark_that_cannot_be_written_does_no_harm(void **state) {
    struct fixture *self = *state;
    put(self, "k", "v");
    faulty.write_errno = ENOSPC;
    assert_ok(toon_sync(self->store));
    faulty.write_errno = 0;
    put(self, "k", "w");
    assert_ok(close_and_reopen(self));
    assert_value(self, "k", "w");
}

static void
the_reason_for_reading_only_is_the_failure_that_made_it(void **state) {
    struct fixture *self = *state;
    toon_stats stats;
    put(self, "k", "v");
    faulty.write_errno = ENOSPC; /* undone: nothing has happened */
    assert_int_equal(set(self, "k", "w"), TOON_FULL);
    memset(&faulty, 0, sizeof faulty);
    put(self, "k", "w");
    toon_stat(self->store, &stats);
    assert_int_equal(stats.failure, TOON_OK);
    faulty.sync_errno = EIO;
    assert_int_equal(toon_sync(self->store), TOON_IO);
    faulty.sync_errno = 0;
    toon_stat(self->store, &stats);
    assert_int_equal(stats.failure, TOON_IO);
    assert_int_equal(set(self, "k", "x"), TOON_READ_ONLY);
    assert_null(strstr(toon_last_error()->text, "no space"));
}

static void a_clear_that_cannot_rename_clears_nothing(void **state) {
    struct fixture *self = *state;
    put(self, "k", "v");
    faulty.rename_errno = EIO;
    assert_int_equal(toon_clear(self->store), TOON_IO);
    faulty.rename_errno = 0;
    assert_value(self, "k", "v");
    put(self, "l", "w");
    assert_ok(close_and_reopen(self));
    assert_value(self, "k", "v");
    assert_value(self, "l", "w");
}

static void a_clear_whose_rename_may_not_last_ends_in_read_only(void **state) {
    struct fixture *self = *state;
    put(self, "k", "v");
    faulty.dir_sync_errno = EIO;
    assert_int_equal(toon_clear(self->store), TOON_IO);
    faulty.dir_sync_errno = 0;
    assert_int_equal(set(self, "l", "w"), TOON_READ_ONLY);
    assert_value(self, "k", "v");
}

static void a_gathering_hears_of_a_sync_that_failed(void **state) {
    struct fixture *self = *state;
    toon_gather_begin(self->store);
    put(self, "k", "v");
    faulty.sync_errno = EIO;
    assert_int_equal(toon_sync(self->store), TOON_IO);
    faulty.sync_errno = 0;
    assert_int_not_equal(toon_gather_end(self->store), TOON_OK);
}

/* The disk cannot be read while the store is opened: nothing is cut. */
static void a_read_error_at_opening_is_no_torn_end(void **state) {
    struct fixture *self = *state;
    char value[900];
    struct stat before, after;
    char path[128];
    memset(value, 'v', sizeof value);
    for (int i = 0; i < 20; i++) {
        char key[8];
        (void)snprintf(key, sizeof key, "k%d", i);
        assert_ok(toon_set(self->store, toon_str(key),
                           toon_bytes(value, sizeof value), NULL));
    }
    assert_ok(toon_close(self->store));
    self->store = NULL;
    remove_file(self, "db.toon.idx");
    path_of(self, "db.toon", path);
    assert_int_equal(stat(path, &before), 0);
    faulty.map_fails = true;
    faulty.read_errno = EIO;
    assert_int_equal(toon_open_on(&io, self->dir, &self->options, &self->store),
                     TOON_IO);
    assert_int_equal(stat(path, &after), 0);
    assert_int_equal(after.st_size, before.st_size);
    assert_false(file_exists(self, "db.toon.torn-1"));
    faulty.read_errno = 0; /* it can be read, the mapping stays wrong */
    assert_int_equal(toon_open_on(&io, self->dir, &self->options, &self->store),
                     TOON_IO);
    memset(&faulty, 0, sizeof faulty);
    assert_ok(toon_open(self->dir, &self->options, &self->store));
    assert_value_bytes(self, "k19", value, sizeof value);
}

static void a_full_disk_can_be_opened_and_cleared(void **state) {
    struct fixture *self = *state;
    put(self, "k", "v");
    assert_ok(toon_close(self->store));
    self->store = NULL;
    faulty.allocate_errno = ENOSPC;
    faulty.write_errno = ENOSPC; /* the pid cannot be written either */
    assert_ok(toon_open_on(&io, self->dir, &self->options, &self->store));
    assert_value(self, "k", "v");
    faulty.write_errno = 0;
    faulty.allocate_errno = 0;
    assert_ok(toon_clear(self->store));
    put(self, "l", "w");
}

static void what_is_derived_from_keys_follows_an_undo(void **state) {
    struct fixture *self = *state;
    toon_set_options expiring = {.expires_ms = INT64_MAX};
    toon_stats stats;
    assert_ok(toon_set(self->store, toon_str("e"), toon_str("v"), &expiring));
    assert_ok(toon_batch_begin(self->store));
    put(self, "e", "plain");
    assert_ok(toon_set(self->store, toon_str("f"), toon_str("v"), &expiring));
    toon_batch_cancel(self->store);
    toon_stat(self->store, &stats);
    assert_int_equal(stats.keys, 1);
    assert_int_equal(stats.keys_expiring, 1);
    assert_ok(close_and_reopen(self));
    toon_stat(self->store, &stats);
    assert_int_equal(stats.keys_expiring, 1);
    assert_value(self, "e", "v");
}

/* Made again, the record stands where the one stood that was undone. */
static void an_expiry_that_was_undone_counts_once(void **state) {
    struct fixture *self = *state;
    toon_set_options expiring = {.expires_ms = INT64_MAX};
    toon_stats stats;
    faulty.write_errno = EIO;
    assert_int_equal(
        toon_set(self->store, toon_str("e"), toon_str("v"), &expiring),
        TOON_IO);
    faulty.write_errno = 0;
    assert_ok(toon_set(self->store, toon_str("e"), toon_str("v"), &expiring));
    assert_int_equal(close_and_reopen(self), TOON_IO);
    toon_stat(self->store, &stats);
    assert_int_equal(stats.keys_expiring, 1);
}

int main(void) {
#define FAULT_TEST(name)                                                       \
    cmocka_unit_test_setup_teardown(name, faulty_setup, faulty_teardown)
    const struct CMUnitTest tests[] = {
        FAULT_TEST(interrupted_and_short_calls_go_on),
        FAULT_TEST(a_failed_write_changes_nothing),
        FAULT_TEST(a_failed_write_hands_nothing_out),
        FAULT_TEST(a_failed_write_undoes_the_whole_gathering),
        FAULT_TEST(a_gathering_hears_of_a_write_that_failed_for_another),
        FAULT_TEST(no_room_is_full_and_reads_go_on),
        FAULT_TEST(a_failed_sync_makes_the_store_read_only),
        FAULT_TEST(a_sync_without_space_has_failed_like_any_other),
        FAULT_TEST(under_always_a_failed_sync_is_the_changes_error),
        FAULT_TEST(under_always_what_could_not_be_synced_stays_visible),
        FAULT_TEST(a_cut_that_fails_makes_the_store_read_only),
        FAULT_TEST(a_mark_that_can_neither_be_written_nor_cut_is_told),
        FAULT_TEST(a_mark_that_cannot_be_written_does_no_harm),
        FAULT_TEST(the_reason_for_reading_only_is_the_failure_that_made_it),
        FAULT_TEST(a_clear_that_cannot_rename_clears_nothing),
        FAULT_TEST(a_clear_whose_rename_may_not_last_ends_in_read_only),
        FAULT_TEST(a_gathering_hears_of_a_sync_that_failed),
        FAULT_TEST(a_read_error_at_opening_is_no_torn_end),
        FAULT_TEST(a_full_disk_can_be_opened_and_cleared),
        FAULT_TEST(what_is_derived_from_keys_follows_an_undo),
        FAULT_TEST(an_expiry_that_was_undone_counts_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
