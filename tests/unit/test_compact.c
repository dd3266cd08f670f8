/* test_compact.c - a log gives its dead bytes back, and nothing else, whatever
 * is done to the store meanwhile. */
#include "checkpoint.h"
#include "faulty_fixture.h"
#include "index_file.h"

#include <pthread.h>

static void assert_sound(struct fixture *self, uint64_t keys) {
    toon_check_report report;
    close_store(self);
    assert_ok(toon_check(self->dir, NULL, NULL, NULL, &report));
    assert_int_equal(report.live_keys, keys);
    assert_int_equal(report.torn_bytes, 0);
    assert_false(file_exists(self, TOON_COMPACT_NAME));
    reopen(self);
}

static void print_finding(void *arg, int64_t offset, const char *text) {
    (void)arg;
    print_message("%lld: %s\n", (long long)offset, text);
}

static toon_stats stats_of(struct fixture *self) {
    toon_stats stats;
    toon_stat(self->store, &stats);
    return stats;
}

static void append(struct fixture *self, const char *key, const char *bytes) {
    assert_ok(toon_append(self->store, toon_str(key), toon_str(bytes), NULL));
}

static void delete (struct fixture *self, const char *key) {
    assert_ok(toon_delete(self->store, toon_str(key), 0, NULL));
}

static toon_meta meta_of(struct fixture *self, const char *key) {
    toon_key_stat stat;
    assert_ok(toon_stat_key(self->store, toon_str(key), &stat));
    return stat.meta;
}

/* ------------------------------------------------------------ what is kept */

static void one_whole_record_a_key_is_left(void **state) {
    struct fixture *self = *state;
    toon_set_options options = {.flags = TOON_SET_MODE,
                                .mode = 0755,
                                .written_ms = 1732300000000,
                                .expires_ms = 4102444800000};
    put(self, "a", "old");
    put(self, "a", "new");
    put(self, "gone", "x");
    delete (self, "gone");
    append(self, "log", "one ");
    append(self, "log", "two ");
    append(self, "log", "three");
    assert_ok(
        toon_set(self->store, toon_str("m"), toon_str("\xff\xfe"), &options));
    put(self, "from", "carried");
    assert_ok(toon_rename(self->store, toon_str("from"), toon_str("to"), 0));
    assert_ok(toon_batch_begin(self->store));
    put(self, "b1", "1");
    put(self, "b2", "2");
    assert_ok(toon_batch_commit(self->store));
    assert_ok(toon_compact(self->store, NULL, NULL));

    for (int i = 0; i < 2; i++) {
        toon_stats stats = stats_of(self);
        assert_int_equal(stats.keys, 6);
        assert_int_equal(stats.rows, 6);
        assert_value(self, "a", "new");
        assert_absent(self, "gone");
        assert_absent(self, "from");
        assert_value(self, "log", "one two three");
        assert_value(self, "m", "\xff\xfe");
        assert_value(self, "to", "carried");
        assert_value(self, "b1", "1");
        toon_meta meta = meta_of(self, "m");
        assert_int_equal(meta.mode, 0755);
        assert_int_equal(meta.written_ms, 1732300000000);
        assert_int_equal(meta.expires_ms, 4102444800000);
        assert_sound(self, 6);
    }
    size_t size;
    char *log = slurp(self, "db.toon", &size);
    assert_null(memmem(log, size, "old", 3));
    assert_null(memmem(log, size, "gone", 4));
    free(log);
}

static void an_empty_store_can_be_compacted(void **state) {
    struct fixture *self = *state;
    assert_ok(toon_compact(self->store, NULL, NULL));
    put(self, "a", "1");
    delete (self, "a");
    assert_ok(toon_compact(self->store, NULL, NULL));
    assert_ok(toon_compact(self->store, NULL, NULL));
    assert_int_equal(stats_of(self).rows, 0);
    assert_int_equal(stats_of(self).compactions, 3);
    put(self, "b", "2");
    assert_sound(self, 1);
}

static void a_row_number_is_never_used_twice(void **state) {
    struct fixture *self = *state;
    uint64_t last = 0;
    for (int round = 0; round < 12; round++) {
        for (int i = 0; i < 3; i++) {
            uint64_t row;
            char key[24];
            assert_ok(toon_add(self->store, toon_str("row"), &row));
            assert_true(row > last || (round == 0 && i == 0));
            last = row;
            (void)snprintf(key, sizeof key, "%llu", (unsigned long long)row);
            delete (self, key);
        }
        assert_ok(toon_compact(self->store, NULL, NULL));
        if (round % 4 == 3)
            reopen(self);
    }
    assert_sound(self, 0);
}

enum { LARGE = 700 << 10 }; /* of two, the copy is written at once */

/* A disk on which rows come and go once while a log is compacted: when its
 * copy is made; or when what was written since its beginning is copied. */
static struct {
    toon_store *store;
    const char *large;
    bool late;
    bool done;
    int fd;        /* of the copy */
    int writes;    /* of it */
    uint64_t last; /* row number that was given then */
} passing;

static void *set_large(void *arg) {
    (void)arg;
    for (int i = 0; i < 2; i++)
        assert_ok(toon_set(passing.store, toon_str(i == 0 ? "x" : "y"),
                           toon_bytes(passing.large, LARGE), NULL));
    return NULL;
}

static void *add_and_delete(void *arg) {
    char key[24];
    (void)arg;
    for (int i = 0; i < 9; i++) {
        assert_ok(toon_add(passing.store, toon_str("row"), &passing.last));
        (void)snprintf(key, sizeof key, "%llu",
                       (unsigned long long)passing.last);
        assert_ok(toon_delete(passing.store, toon_str(key), 0, NULL));
    }
    return NULL;
}

/* In a thread of its own, as others do it. */
static void do_beside(void *(*fn)(void *)) {
    pthread_t thread;
    passing.done = passing.done || fn == add_and_delete;
    assert_int_equal(pthread_create(&thread, NULL, fn, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static int passing_open(int dir_fd, const char *name, int flags, mode_t mode) {
    int fd = toon_io_system.open_at(dir_fd, name, flags, mode);
    if (strcmp(name, TOON_COMPACT_NAME) != 0)
        return fd;
    passing.fd = fd;
    if (passing.store != NULL && !passing.done && !passing.late)
        do_beside(add_and_delete);
    return fd;
}

static ssize_t passing_pwrite(int fd, const void *bytes, size_t size,
                              off_t offset) {
    if (passing.store != NULL && !passing.done && passing.late &&
        fd == passing.fd && offset > 0)
        do_beside(passing.writes++ == 0 ? set_large : add_and_delete);
    return toon_io_system.pwrite(fd, bytes, size, offset);
}

/* None of those rows is in the new log, which has few of its own. */
static void rows_that_pass_meanwhile_keep_their_numbers(void **state) {
    struct fixture *self = *state;
    static toon_io passing_io;
    char *value = malloc(LARGE);
    uint64_t row;
    assert_non_null(value);
    memset(value, 'v', LARGE);
    passing_io = toon_io_system;
    passing_io.open_at = passing_open;
    passing_io.pwrite = passing_pwrite;
    for (int round = 0; round < 2; round++) {
        close_store(self);
        remove_files(self->dir);
        memset(&passing, 0, sizeof passing);
        assert_ok(
            toon_open_on(&passing_io, self->dir, &self->options, &self->store));
        for (int i = 0; i < 3; i++)
            assert_ok(toon_add(self->store, toon_bytes(value, LARGE), &row));
        for (int i = 0; i < 30; i++) /* then no number grows by a digit */
            put(self, "k", "dead");
        passing.late = round == 1;
        passing.large = value;
        passing.store = self->store;
        assert_ok(toon_compact(self->store, NULL, NULL));
        assert_true(passing.done);
        assert_ok(toon_add(self->store, toon_str("new"), &row));
        assert_true(row > passing.last);
        reopen(self);
        assert_ok(toon_add(self->store, toon_str("newer"), &row));
        assert_true(row > passing.last + 1);
    }
    free(value);
}

static void the_expired_go_in_the_new_log_too(void **state) {
    struct fixture *self = *state;
    toon_set_options options = {.expires_ms = toon_now_ms() + 300};
    assert_ok(toon_set(self->store, toon_str("soon"), toon_str("x"), &options));
    put(self, "stays", "y");
    assert_ok(toon_compact(self->store, NULL, NULL));
    while (stats_of(self).keys_expired == 0)
        (void)usleep(10000);
    assert_absent(self, "soon");
    assert_int_equal(stats_of(self).keys_expiring, 0);
    assert_sound(self, 1);
}

/* ------------------------------------------------------- others meanwhile */

enum { KEYS = 300, WRITES = 30000 };

/* Numbered values, so that the last write of each key is known. */
struct writer {
    struct fixture *self;
    unsigned last[KEYS]; /* 0: deleted or never there */
    unsigned seed;
    bool cancels;
};

static void key_name(char key[24], unsigned i) {
    (void)snprintf(key, 24, "key:%u", i);
}

static unsigned dice(struct writer *writer, unsigned sides) {
    writer->seed = writer->seed * 1664525u + 1013904223u;
    return (writer->seed >> 8) % sides;
}

static void write_one(struct writer *writer, unsigned number) {
    char key[24];
    char value[64];
    unsigned i = dice(writer, KEYS);
    key_name(key, i);
    (void)snprintf(value, sizeof value, "%u", number);
    if (dice(writer, 4) == 0) {
        if (toon_delete(writer->self->store, toon_str(key), 0, NULL) == TOON_OK)
            assert_int_not_equal(writer->last[i], 0);
        writer->last[i] = 0;
        return;
    }
    put(writer->self, key, value);
    writer->last[i] = number;
}

/* A batch that does not count. */
static void cancel_some(struct writer *writer) {
    char key[24];
    assert_ok(toon_batch_begin(writer->self->store));
    for (int n = 0; n < 5; n++) {
        key_name(key, dice(writer, KEYS));
        if (n % 2 == 0)
            put(writer->self, key, "to be undone");
        else
            (void)toon_delete(writer->self->store, toon_str(key), 0, NULL);
    }
    toon_batch_cancel(writer->self->store);
}

static void *write_many(void *arg) {
    struct writer *writer = arg;
    for (unsigned n = 1; n <= WRITES; n++) {
        write_one(writer, n);
        if (writer->cancels && n % 7 == 0)
            cancel_some(writer);
    }
    return NULL;
}

static uint64_t assert_last_writes(const struct writer *writer) {
    uint64_t there = 0;
    for (unsigned i = 0; i < KEYS; i++) {
        char key[24];
        char value[64];
        key_name(key, i);
        (void)snprintf(value, sizeof value, "%u", writer->last[i]);
        if (writer->last[i] == 0) {
            assert_absent(writer->self, key);
            continue;
        }
        assert_value(writer->self, key, value);
        there++;
    }
    return there;
}

static void compact_beside_writes(struct fixture *self, bool cancels) {
    static struct writer writer;
    pthread_t thread;
    memset(&writer, 0, sizeof writer);
    writer.self = self;
    writer.seed = 7;
    writer.cancels = cancels;
    assert_int_equal(pthread_create(&thread, NULL, write_many, &writer), 0);
    unsigned rounds = 0;
    while (stats_of(self).changes < WRITES / 2 || rounds < 5) {
        assert_ok(toon_compact(self->store, NULL, NULL));
        rounds++;
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    uint64_t keys = assert_last_writes(&writer);
    assert_sound(self, keys);
    assert_int_equal(assert_last_writes(&writer), keys);
    assert_ok(toon_compact(self->store, NULL, NULL));
    assert_int_equal(assert_last_writes(&writer), keys);
}

static void what_is_written_meanwhile_is_there(void **state) {
    compact_beside_writes(*state, false);
}

static void what_is_undone_meanwhile_was_never_there(void **state) {
    compact_beside_writes(*state, true);
}

static void *compact_often(void *arg) {
    struct fixture *self = arg;
    for (int i = 0; i < 30; i++) {
        toon_err err = toon_compact(self->store, NULL, NULL);
        if (err != TOON_CONFLICT) /* cleared meanwhile */
            assert_ok(err);
    }
    return NULL;
}

static void clearing_ends_a_compaction(void **state) {
    struct fixture *self = *state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, compact_often, self), 0);
    for (int i = 0; i < 30; i++) {
        for (int n = 0; n < 100; n++) {
            char key[24];
            key_name(key, (unsigned)n);
            put(self, key, "v");
        }
        assert_ok(toon_clear(self->store));
        assert_int_equal(stats_of(self).keys, 0);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    put(self, "after", "fine");
    assert_sound(self, 1);
}

/* What it waited for was a length of the log that has gone. */
static void after_a_clear_garbage_counts_anew(void **state) {
    struct fixture *self = *state;
    static char value[1 << 20];
    memset(value, 'v', sizeof value);
    for (int i = 0; i < 160; i++) {
        char key[24];
        key_name(key, (unsigned)i);
        assert_ok(toon_set(self->store, toon_str(key),
                           toon_bytes(value, sizeof value), NULL));
    }
    assert_ok(toon_clear(self->store));
    uint64_t before = stats_of(self).compactions;
    for (int i = 0; i < 150 && stats_of(self).compactions == before; i++)
        assert_ok(toon_set(self->store, toon_str("k"),
                           toon_bytes(value, sizeof value), NULL));
    for (int i = 0; i < 1000 && stats_of(self).compactions == before; i++)
        (void)usleep(10000);
    assert_true(stats_of(self).compactions > before);
}

static bool count_key(void *arg, toon_slice key, const toon_key_stat *stat) {
    (void)key;
    (void)stat;
    ++*(unsigned *)arg;
    return true;
}

static void a_scan_sees_every_key_while_logs_are_swapped(void **state) {
    struct fixture *self = *state;
    pthread_t thread;
    for (unsigned i = 0; i < 2000; i++) {
        char key[24];
        key_name(key, i);
        put(self, key, "v");
    }
    assert_int_equal(pthread_create(&thread, NULL, compact_often, self), 0);
    for (int round = 0; round < 20; round++) {
        uint64_t cursor = 0;
        unsigned seen = 0;
        do
            assert_ok(toon_scan(self->store, &cursor, NULL, count_key, &seen));
        while (cursor != 0);
        assert_int_equal(seen, 2000);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
}

/* --------------------------------------------------------------- versions */

struct told {
    unsigned moved, others;
    uint64_t version;
};

static void note_change(void *arg, const toon_change *change) {
    struct told *told = arg;
    if (change->kind == TOON_CHANGE_MOVED) {
        told->moved++;
        told->version = change->version;
    } else {
        told->others++;
    }
}

static void watchers_hear_that_versions_moved(void **state) {
    struct fixture *self = *state;
    struct told told = {0};
    uint64_t id;
    put(self, "k", "v");
    uint64_t before = meta_of(self, "k").version;
    assert_true(before >= toon_version_base(self->store));
    assert_ok(toon_watch(self->store, note_change, &told, &id));
    assert_ok(toon_compact(self->store, NULL, NULL));
    uint64_t after = meta_of(self, "k").version;
    assert_int_equal(told.moved, 1);
    assert_int_equal(told.others, 0);
    assert_true(before < toon_version_base(self->store));
    assert_true(toon_version_base(self->store) <= after);
    assert_true(after <= told.version);
    put(self, "k", "v");
    assert_true(meta_of(self, "k").version > told.version);
    toon_unwatch(self->store, id);
}

/* ----------------------------------------------------------- when it fails */

static void fail_with(atomic_int *fault, int sys_errno) {
    *fault = sys_errno;
}

static void the_old_log_stays_when_the_copy_fails(void **state) {
    struct fixture *self = *state;
    static atomic_int *const faults[] = {
        &faulty.write_errno, &faulty.allocate_errno, &faulty.rename_errno};
    put(self, "a", "old");
    put(self, "a", "new");
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        fail_with(faults[i], ENOSPC);
        assert_int_equal(toon_compact(self->store, NULL, NULL), TOON_FULL);
        fail_with(faults[i], 0);
        assert_false(file_exists(self, TOON_COMPACT_NAME));
        assert_int_equal(stats_of(self).rows, 2);
        assert_int_equal(stats_of(self).compact_result, TOON_FULL);
        assert_value(self, "a", "new");
    }
    assert_ok(toon_compact(self->store, NULL, NULL));
    assert_int_equal(stats_of(self).rows, 1);
    put(self, "b", "fine");
    assert_value(self, "a", "new");
    assert_sound(self, 2);
}

/* Then nobody may be told that what the new log has is durable. */
static void a_swap_whose_rename_may_not_last_ends_in_read_only(void **state) {
    struct fixture *self = *state;
    put(self, "k", "old");
    put(self, "k", "v");
    faulty.dir_sync_errno = EIO;
    assert_int_equal(toon_compact(self->store, NULL, NULL), TOON_IO);
    assert_int_equal(toon_sync(self->store), TOON_IO);
    faulty.dir_sync_errno = 0;
    assert_int_equal(toon_sync(self->store), TOON_IO); /* never retried */
    assert_int_equal(toon_set(self->store, toon_str("k"), toon_str("w"), NULL),
                     TOON_READ_ONLY);
    assert_value(self, "k", "v");
    assert_int_equal(toon_close(self->store), TOON_IO);
    self->store = NULL;
    reopen(self);
    assert_value(self, "k", "v");
    assert_sound(self, 1);
}

static void a_damaged_record_ends_it_and_stays(void **state) {
    struct fixture *self = *state;
    put(self, "good", "1");
    put(self, "bad", "22222222");
    put(self, "last", "3");
    close_store(self);
    size_t size;
    char *log = slurp(self, "db.toon", &size);
    char *at = memmem(log, size, "2222", 4);
    assert_non_null(at);
    *at = '3';
    spill(self, "db.toon", log, size);
    free(log);
    reopen(self);
    assert_int_equal(toon_compact(self->store, NULL, NULL), TOON_CORRUPT);
    assert_value(self, "good", "1");
    toon_value value;
    assert_int_equal(toon_get(self->store, toon_str("bad"), &value),
                     TOON_CORRUPT);
    put(self, "bad", "mended");
    assert_value(self, "bad", "mended");
}

static void it_can_be_refused_and_stopped(void **state) {
    struct fixture *self = *state;
    toon_compact_stop(self->store);
    assert_ok(toon_batch_begin(self->store));
    assert_int_equal(toon_compact(self->store, NULL, NULL), TOON_INVALID);
    assert_int_equal(toon_compact_start(self->store), TOON_INVALID);
    toon_batch_cancel(self->store);
    assert_int_equal(toon_compact_tune(self->store, 101, 0), TOON_INVALID);
    assert_ok(toon_compact_start(self->store));
    toon_compact_stop(self->store);
    assert_false(stats_of(self).compacting);
    close_store(self);
    toon_options read_only = {.flags = TOON_OPEN_READ_ONLY};
    assert_ok(toon_open(self->dir, &read_only, &self->store));
    assert_int_equal(toon_compact(self->store, NULL, NULL), TOON_READ_ONLY);
}

/* ---------------------------------------------------------- by itself */

static void a_log_of_garbage_shrinks_by_itself(void **state) {
    struct fixture *self = *state;

    enum { SIZE = 1 << 20 };

    char *value = malloc(SIZE);
    assert_non_null(value);
    memset(value, 'x', SIZE);
    for (int i = 0; stats_of(self).compactions < 2 && i < 3000; i++)
        assert_ok(toon_set(self->store, toon_str("k"), toon_bytes(value, SIZE),
                           NULL));
    assert_true(stats_of(self).compactions >= 2);
    assert_value_bytes(self, "k", value, SIZE);
    free(value);
    assert_sound(self, 1);
}

static void the_index_follows_a_growing_log(void **state) {
    struct fixture *self = *state;
    char value[1001];
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    for (unsigned i = 0; stats_of(self).checkpoints < 2; i++) {
        char key[24];
        key_name(key, i % 100000);
        put(self, key, value);
        if (i % 3 == 0)
            assert_ok(toon_delete(self->store, toon_str(key), 0, NULL));
    }
    toon_stats stats = stats_of(self);
    assert_true(stats.indexed_bytes > 0);
    /* What is there without the index that closing writes. */
    size_t size;
    char *index = slurp(self, TOON_INDEX_NAME, &size);
    close_store(self);
    spill(self, TOON_INDEX_NAME, index, size);
    free(index);
    toon_check_report report;
    assert_ok(toon_check(self->dir, print_finding, NULL, NULL, &report));
    assert_true(report.index_usable);
    reopen(self);
    assert_int_equal(stats_of(self).keys, report.live_keys);
    remove_file(self, TOON_INDEX_NAME);
    uint64_t keys = stats_of(self).keys;
    uint64_t live = stats_of(self).live_bytes;
    close_store(self);
    remove_file(self, TOON_INDEX_NAME);
    reopen(self);
    assert_int_equal(stats_of(self).keys, keys);
    /* What changed while the index was written is counted twice in it. */
    assert_true(live >= stats_of(self).live_bytes);
}

#define WITH(setup, name)                                                      \
    cmocka_unit_test_setup_teardown(name, setup##_setup, setup##_teardown)

/* What is dead in one index stays dead in the next, so it must not be said too
 * early: of a key that moves on while its index is written, the record that it
 * builds on is live. */
static void rows_that_a_later_record_builds_on_are_live(void **state) {
    static const toon_pause nobody_else = {0};
    struct fixture *self = *state;
    toon_dir dir;
    put(self, "log", "one ");
    put(self, "from", "carried");
    assert_ok(toon_sync(self->store));
    const toon_volume *volume = atomic_load(&self->store->volume);
    toon_point point = toon_point_of(volume);
    append(self, "log", "two");
    assert_ok(toon_rename(self->store, toon_str("from"), toon_str("to"), 0));
    assert_ok(toon_dir_open(&toon_io_system, self->dir, false, &dir));
    assert_ok(toon_checkpoint(&dir, volume, &point, &nobody_else));
    toon_dir_close(&dir);
    assert_sound(self, 2); /* its closing writes the next index */
    assert_value(self, "log", "one two");
    assert_value(self, "to", "carried");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH(fixture, one_whole_record_a_key_is_left),
        WITH(fixture, an_empty_store_can_be_compacted),
        WITH(fixture, a_row_number_is_never_used_twice),
        WITH(fixture, rows_that_pass_meanwhile_keep_their_numbers),
        WITH(fixture, the_expired_go_in_the_new_log_too),
        WITH(fixture, what_is_written_meanwhile_is_there),
        WITH(fixture, what_is_undone_meanwhile_was_never_there),
        WITH(fixture, clearing_ends_a_compaction),
        WITH(fixture, after_a_clear_garbage_counts_anew),
        WITH(fixture, a_scan_sees_every_key_while_logs_are_swapped),
        WITH(fixture, watchers_hear_that_versions_moved),
        WITH(faulty, the_old_log_stays_when_the_copy_fails),
        WITH(faulty, a_swap_whose_rename_may_not_last_ends_in_read_only),
        WITH(fixture, a_damaged_record_ends_it_and_stays),
        WITH(fixture, it_can_be_refused_and_stopped),
        WITH(fixture, a_log_of_garbage_shrinks_by_itself),
        WITH(fixture, the_index_follows_a_growing_log),
        WITH(fixture, rows_that_a_later_record_builds_on_are_live),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
