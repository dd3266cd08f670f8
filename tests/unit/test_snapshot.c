/*
 * test_snapshot.c - reading a store that another opener writes: a consistent
 * snapshot, nobody kept out, nothing written, and every race on the way.
 */
#include "dir_lock.h"
#include "faulty_io.h"
#include "fixture.h"
#include "store_internal.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

/* ----------------------------------------------- a disk with a trap in it */

/* Called before the `countdown`-th next opening of the file `name`. */
static struct {
    const char *name;
    int countdown;
    void (*spring)(void *arg);
    void *arg;
    int logs; /* openings of db.toon so far */
} trap;

static int trapped_open(int dir_fd, const char *name, int flags, mode_t mode) {
    trap.logs += strcmp(name, "db.toon") == 0;
    if (trap.spring != NULL && strcmp(name, trap.name) == 0 &&
        --trap.countdown == 0) {
        void (*spring)(void *arg) = trap.spring;
        trap.spring = NULL;
        spring(trap.arg);
    }
    return toon_io_system.open_at(dir_fd, name, flags, mode);
}

static toon_io trapped_io(void) {
    toon_io io = toon_io_system;
    io.open_at = trapped_open;
    return io;
}

static void set_trap(const char *name, int countdown, void (*spring)(void *arg),
                     void *arg) {
    trap.name = name;
    trap.countdown = countdown;
    trap.spring = spring;
    trap.arg = arg;
    trap.logs = 0;
}

/* ------------------------------------------------------------------ helpers */

static const toon_options for_reading = {.flags = TOON_OPEN_READ_ONLY};

static toon_store *snapshot(const struct fixture *self) {
    toon_store *store = NULL;
    assert_ok(toon_open(self->dir, &for_reading, &store));
    return store;
}

static void assert_in(toon_store *store, const char *key, const char *text) {
    toon_value value;
    assert_ok(toon_get(store, toon_str(key), &value));
    assert_int_equal(value.size, strlen(text));
    assert_memory_equal(value.data, text, value.size);
    toon_value_release(&value);
}

static void assert_not_in(toon_store *store, const char *key) {
    toon_key_stat stat;
    assert_int_equal(toon_stat_key(store, toon_str(key), &stat),
                     TOON_NOT_FOUND);
}

static toon_err get(toon_store *store, const char *key) {
    toon_value value = {0};
    toon_err err = toon_get(store, toon_str(key), &value);
    toon_value_release(&value);
    return err;
}

static bool count_key(void *arg, toon_slice key, const toon_key_stat *stat) {
    (void)key;
    (void)stat;
    ++*(int *)arg;
    return true;
}

static void count_messages(void *arg, toon_message_level level,
                           const char *text) {
    (void)level;
    (void)text;
    ++*(int *)arg;
}

/* ---------------------------------------------------------------- snapshots */

static void readers_and_a_writer_keep_nobody_out(void **state) {
    struct fixture *self = *state;
    put(self, "k", "v");
    toon_store *during = snapshot(self);
    close_store(self);
    toon_store *after = snapshot(self);
    reopen(self);
    put(self, "k", "w");
    assert_in(during, "k", "v");
    assert_in(after, "k", "v");
    assert_ok(toon_close(during));
    assert_ok(toon_close(after));
    assert_value(self, "k", "w");
}

static void a_snapshot_stays_what_it_was(void **state) {
    struct fixture *self = *state;
    char name[16];
    put(self, "changed", "old");
    put(self, "deleted", "old");
    put(self, "grown", "old");
    toon_store *store = snapshot(self);
    put(self, "changed", "new");
    put(self, "added", "new");
    assert_ok(toon_delete(self->store, toon_str("deleted"), 0, NULL));
    assert_ok(
        toon_append(self->store, toon_str("grown"), toon_str("er"), NULL));
    for (int i = 0; i < 1000; i++) {
        (void)snprintf(name, sizeof name, "%d", i);
        put(self, name, "new");
    }
    assert_in(store, "changed", "old");
    assert_in(store, "deleted", "old");
    assert_in(store, "grown", "old");
    assert_not_in(store, "added");
    assert_ok(toon_compact(self->store, NULL, NULL));
    assert_in(store, "grown", "old");
    assert_ok(toon_clear(self->store));
    close_store(self);
    assert_in(store, "deleted", "old");
    int count = 0;
    assert_ok(toon_range(store, &(toon_range_options){0}, count_key, &count));
    assert_int_equal(count, 3);
    assert_ok(toon_close(store));
    store = snapshot(self);
    assert_not_in(store, "deleted");
    assert_ok(toon_close(store));
}

/* A change that was acknowledged to another process is in every snapshot that
 * is opened afterwards. */
static void a_snapshot_has_all_that_was_acknowledged(void **state) {
    struct fixture *self = *state;
    char value[16];
    for (int i = 0; i < 200; i++) {
        (void)snprintf(value, sizeof value, "%d", i);
        put(self, "k", value);
        toon_store *store = snapshot(self);
        assert_in(store, "k", value);
        assert_ok(toon_close(store));
    }
}

static void what_has_only_gathered_is_not_in_a_snapshot(void **state) {
    struct fixture *self = *state;
    put(self, "k", "old");
    toon_gather_begin(self->store);
    put(self, "k", "new");
    toon_store *store = snapshot(self);
    assert_in(store, "k", "old");
    assert_ok(toon_gather_end(self->store));
    assert_in(store, "k", "old");
    assert_ok(toon_close(store));
}

static void a_read_only_opener_finds_no_store_where_one_is_made(void **state) {
    struct fixture *self = *state;
    toon_store *store;
    close_store(self);
    remove_file(self, "db.toon");
    remove_file(self, "db.toon.idx");
    spill(self, "db.toon.new", "TOON001\n", 8);
    assert_int_equal(toon_open(self->dir, &for_reading, &store),
                     TOON_NOT_FOUND);
    assert_true(file_exists(self, "db.toon.new"));
}

/* --------------------------------------------------- half written, and torn */

/* A batch of two, of which the second half is not there. */
static void append_half_a_batch(struct fixture *self) {
    char path[128];
    size_t before, size;
    free(slurp(self, "db.toon", &before));
    assert_ok(toon_batch_begin(self->store));
    put(self, "a", "new");
    put(self, "b", "new");
    assert_ok(toon_batch_commit(self->store));
    free(slurp(self, "db.toon", &size));
    path_of(self, "db.toon", path);
    assert_int_equal(truncate(path, (off_t)(before + (size - before) * 2 / 3)),
                     0);
}

static void count_places(void *arg, int64_t offset, const char *text) {
    (void)text;
    *(int *)arg += offset >= 0;
}

static void half_a_write_is_neither_shown_nor_told(void **state) {
    struct fixture *self = *state;
    int messages = 0;
    toon_store *store;
    toon_stats stats;
    toon_check_report report;
    toon_options options = for_reading;
    options.message = count_messages;
    options.message_arg = &messages;
    put(self, "a", "old");
    put(self, "b", "old");
    append_half_a_batch(self);
    assert_ok(toon_open(self->dir, &options, &store));
    assert_in(store, "a", "old");
    assert_in(store, "b", "old");
    toon_stat(store, &stats);
    assert_int_equal(stats.torn_bytes, 0);
    assert_int_equal(messages, 0);
    assert_ok(toon_close(store));
    int places = 0;
    assert_ok(toon_check(self->dir, count_places, NULL, &places, &report));
    assert_int_equal(places, 0);
    assert_int_equal(report.torn_bytes, 0);
    assert_int_equal(report.live_keys, 2);
}

static void what_a_dead_writer_left_is_told(void **state) {
    struct fixture *self = *state;
    int messages = 0;
    toon_store *store;
    toon_stats stats;
    toon_options options = for_reading;
    options.message = count_messages;
    options.message_arg = &messages;
    put(self, "a", "old");
    append_half_a_batch(self);
    /* The lock goes with the file that it is on. */
    remove_file(self, "db.lock");
    assert_ok(toon_open(self->dir, &options, &store));
    assert_in(store, "a", "old");
    toon_stat(store, &stats);
    assert_true(stats.torn_bytes > 0);
    assert_int_equal(messages, 1);
    assert_ok(toon_close(store));
}

/* ------------------------------------------------------------------- races */

static void spring_close(void *arg) {
    struct fixture *self = arg;
    put(self, "k", "new");
    put(self, "l", "new");
    close_store(self); /* writes an index of all that */
}

static void an_index_younger_than_the_look_at_the_log_is_used(void **state) {
    struct fixture *self = *state;
    toon_io io = trapped_io();
    toon_store *store;
    put(self, "k", "old");
    set_trap("db.toon.idx", 1, spring_close, self);
    assert_ok(toon_open_on(&io, self->dir, &for_reading, &store));
    assert_null(trap.spring);
    assert_int_equal(trap.logs, 2); /* one is require_log()'s */
    assert_in(store, "k", "new");
    assert_in(store, "l", "new");
    assert_ok(toon_close(store));
}

static void spring_clear(void *arg) {
    struct fixture *self = arg;
    assert_ok(toon_clear(self->store));
    put(self, "m", "new");
    close_store(self);
}

static void an_index_of_the_next_log_is_not_used(void **state) {
    struct fixture *self = *state;
    toon_io io = trapped_io();
    toon_store *store;
    put(self, "k", "old");
    set_trap("db.toon.idx", 1, spring_clear, self);
    assert_ok(toon_open_on(&io, self->dir, &for_reading, &store));
    assert_in(store, "k", "old");
    assert_not_in(store, "m");
    assert_ok(toon_close(store));
}

/* A writer whose disk takes one record of the next group, and no more. */
static toon_io faulty_disk;

static void open_on_faulty_disk(struct fixture *self) {
    close_store(self);
    memset(&faulty, 0, sizeof faulty);
    faulty_disk = faulty_io();
    assert_ok(
        toon_open_on(&faulty_disk, self->dir, &self->options, &self->store));
}

static toon_store *seen_before_the_cut;
static const struct fixture *cut_fixture;

static int look_then_truncate(int fd, off_t size) {
    if (seen_before_the_cut == NULL && cut_fixture != NULL)
        seen_before_the_cut = snapshot(cut_fixture);
    return ftruncate(fd, size);
}

/* Fails in the middle of a group of writes; a snapshot is opened after what
 * was written in vain and before it is cut off. */
static toon_store *snapshot_of_a_failing_write(struct fixture *self) {
    open_on_faulty_disk(self);
    faulty_disk.truncate = look_then_truncate;
    put(self, "first", "old");
    put(self, "second", "old");
    toon_gather_begin(self->store);
    put(self, "first", "never");
    put(self, "second", "never");
    faulty.write_errno = ENOSPC;
    faulty.write_at_most = 60; /* the first record, and not the second */
    seen_before_the_cut = NULL;
    cut_fixture = self;
    assert_int_equal(toon_gather_end(self->store), TOON_FULL);
    cut_fixture = NULL;
    faulty.write_errno = 0;
    assert_non_null(seen_before_the_cut);
    return seen_before_the_cut;
}

static void what_was_taken_back_is_an_error_and_no_other_value(void **state) {
    struct fixture *self = *state;
    toon_store *store = snapshot_of_a_failing_write(self);
    toon_key_stat stat;
    uint64_t cursor = 0;
    int count = 0;
    assert_int_equal(get(store, "first"), TOON_IO);
    put(self, "first", "neu!!"); /* a record of the same size in its place */
    put(self, "third", "new");
    assert_int_equal(get(store, "first"), TOON_IO);
    assert_int_equal(get(store, "second"), TOON_IO);
    assert_int_equal(toon_stat_key(store, toon_str("third"), &stat), TOON_IO);
    assert_int_equal(toon_scan(store, &cursor, NULL, count_key, &count),
                     TOON_IO);
    assert_int_equal(
        toon_range(store, &(toon_range_options){0}, count_key, &count),
        TOON_IO);
    assert_non_null(strstr(toon_last_error()->text, "open the store again"));
    assert_ok(toon_close(store));
    store = snapshot(self);
    assert_in(store, "first", "neu!!");
    assert_in(store, "second", "old");
    assert_ok(toon_close(store));
}

/* The same, but cut and written over while the snapshot is being opened, and
 * the last record is no other than before. */
static void put_as_ever(struct fixture *self) {
    toon_set_options options = {.written_ms = 1732300000000};
    assert_ok(toon_set(self->store, toon_str("k"), toon_str("1"), &options));
}

struct rewrite {
    struct fixture *fixture;
    size_t before; /* the log's size without what fails */
};

static void spring_rewrite(void *arg) {
    struct rewrite *rewrite = arg;
    struct fixture *self = rewrite->fixture;
    char path[128];
    path_of(self, "db.toon", path);
    close_store(self);
    remove_file(self, "db.toon.idx");
    assert_int_equal(truncate(path, (off_t)rewrite->before), 0);
    reopen(self);
    put(self, "b", "1"); /* where a stood */
    put_as_ever(self);
}

static void a_log_rewritten_while_it_is_read_is_read_again(void **state) {
    struct fixture *self = *state;
    struct rewrite rewrite = {.fixture = self};
    toon_io io = trapped_io();
    toon_store *store;
    put(self, "k", "0");
    free(slurp(self, "db.toon", &rewrite.before));
    put(self, "a", "1");
    put_as_ever(self);
    /* The second look at the lock comes behind the replay. */
    set_trap("db.lock", 2, spring_rewrite, &rewrite);
    assert_ok(toon_open_on(&io, self->dir, &for_reading, &store));
    assert_null(trap.spring);
    assert_not_in(store, "a");
    assert_in(store, "b", "1");
    assert_in(store, "k", "1");
    assert_ok(toon_close(store));
}

/* ----------------------------------------------------------- nothing written */

static int read_only_open(int dir_fd, const char *name, int flags,
                          mode_t mode) {
    assert_int_equal(flags & (O_ACCMODE | O_CREAT | O_TRUNC), O_RDONLY);
    return toon_io_system.open_at(dir_fd, name, flags, mode);
}

static int refuse_fd(int fd) {
    (void)fd;
    fail_msg("a reader syncs");
    return -1;
}

static int refuse_truncate(int fd, off_t size) {
    (void)fd;
    (void)size;
    fail_msg("a reader cuts");
    return -1;
}

static int refuse_rename(int dir_fd, const char *from, const char *to) {
    (void)dir_fd;
    fail_msg("a reader renames %s to %s", from, to);
    return -1;
}

static int refuse_unlink(int dir_fd, const char *name) {
    (void)dir_fd;
    fail_msg("a reader removes %s", name);
    return -1;
}

static void a_reader_writes_nothing(void **state) {
    struct fixture *self = *state;
    toon_io io = toon_io_system;
    toon_store *store;
    io.open_at = read_only_open;
    io.sync = refuse_fd;
    io.truncate = refuse_truncate;
    io.rename_at = refuse_rename;
    io.unlink_at = refuse_unlink;
    put(self, "a", "old");
    append_half_a_batch(self);
    spill(self, "db.toon.new", "x", 1);
    for (int dead = 0; dead < 2; dead++) {
        assert_ok(toon_open_on(&io, self->dir, &for_reading, &store));
        assert_in(store, "a", "old");
        assert_ok(toon_close(store));
        remove_file(self, "db.lock"); /* and now as if nobody wrote */
    }
    assert_true(file_exists(self, "db.toon.new"));
    assert_false(file_exists(self, "db.lock"));
}

/* -------------------------------------------------------------------- locks */

static void who_holds_the_lock_is_seen_without_taking_it(void **state) {
    struct fixture *self = *state;
    toon_dir dir;
    toon_file lock;
    assert_ok(toon_dir_open(&toon_io_system, self->dir, false, &dir));
    assert_true(toon_dir_is_locked(&dir));
    assert_int_equal(toon_dir_lock(&dir, &lock), TOON_LOCKED);
    assert_true(toon_dir_is_locked(&dir)); /* a refused one frees nothing */
    close_store(self);
    assert_false(toon_dir_is_locked(&dir));
    assert_ok(toon_dir_lock(&dir, &lock));
    assert_true(toon_dir_is_locked(&dir));
    toon_file_close(&lock);
    remove_file(self, "db.lock");
    assert_false(toon_dir_is_locked(&dir));
    toon_dir_close(&dir);
    reopen(self);
}

/* ------------------------------------------------------ another process writes */

enum {
    SECONDS_MAX = 3,
    PATIENCE_S = 60, /* more, on a busy machine */
    SNAPSHOTS = 300,
    SNAPSHOTS_MIN = 20,
    MOVES_MIN = 2, /* of what they show */
};

/* Batches that keep a = b, and lives of the store that end and begin anew. */
static void write_until_killed(const struct fixture *self) {
    toon_options options = {.sync = TOON_SYNC_EVERYSEC};
    char number[24];
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (unsigned i = 1;; i++) {
        toon_store *store;
        if (toon_open(self->dir, &options, &store) != TOON_OK)
            _exit(1);
        for (unsigned j = 0; j < 3000; j++) {
            (void)snprintf(number, sizeof number, "%u", i * 3000 + j);
            toon_slice value = toon_str(number);
            if (toon_batch_begin(store) != TOON_OK ||
                toon_set(store, toon_str("a"), value, NULL) != TOON_OK ||
                toon_set(store, value, value, NULL) != TOON_OK ||
                toon_append(store, toon_str("log"), toon_str("."), NULL) !=
                    TOON_OK ||
                toon_set(store, toon_str("b"), value, NULL) != TOON_OK ||
                toon_batch_commit(store) != TOON_OK)
                _exit(2);
            if (j == 1000 && i % 2 == 0 && toon_clear(store) != TOON_OK)
                _exit(3);
            if (j == 2000 && toon_compact(store, NULL, NULL) != TOON_OK)
                _exit(3);
        }
        if (toon_close(store) != TOON_OK)
            _exit(4);
    }
}

static uint64_t read_number(toon_store *store, const char *key) {
    toon_value value = {0};
    toon_err err = toon_get(store, toon_str(key), &value);
    if (err == TOON_NOT_FOUND)
        return 0;
    assert_ok(err);
    uint64_t number = strtoull(value.data, NULL, 10);
    toon_value_release(&value);
    return number;
}

static bool check_pair(void *arg, toon_slice key, const toon_key_stat *stat) {
    toon_value value = {0};
    assert_ok(toon_get(arg, key, &value));
    assert_int_equal(value.size, stat->size);
    if (key.data[0] >= '0' && key.data[0] <= '9') {
        assert_int_equal(value.size, key.size);
        assert_memory_equal(value.data, key.data, key.size);
    }
    toon_value_release(&value);
    return true;
}

/* Returns the number that it found. */
static uint64_t check_snapshot(const struct fixture *self, bool whole) {
    toon_store *store = snapshot(self);
    uint64_t a = read_number(store, "a");
    uint64_t b = read_number(store, "b");
    char key[24];
    assert_int_equal(a, b);
    (void)snprintf(key, sizeof key, "%llu", (unsigned long long)a);
    if (a != 0)
        assert_int_equal(read_number(store, key), a);
    toon_range_options options = {.with_stat = true};
    if (whole)
        assert_ok(toon_range(store, &options, check_pair, store));
    assert_ok(toon_close(store));
    return a;
}

static void show_damage(void *arg, int64_t offset, const char *text) {
    (void)arg;
    if (strncmp(text, "damaged", 7) == 0)
        print_error("offset %lld: %s\n", (long long)offset, text);
}

static void every_snapshot_of_a_busy_store_is_consistent(void **state) {
    struct fixture *self = *state;
    uint64_t last = 0;
    int done = 0, moved = 0;
    put(self, "a", "0");
    put(self, "b", "0");
    close_store(self);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        write_until_killed(self);
    time_t end = time(NULL) + SECONDS_MAX;
    while ((done < SNAPSHOTS && (done < SNAPSHOTS_MIN || time(NULL) < end)) ||
           (moved <= MOVES_MIN && time(NULL) < end + PATIENCE_S)) {
        uint64_t now = check_snapshot(self, done % 8 == 0);
        toon_check_report report;
        if (done % 16 == 0)
            assert_ok(toon_check(self->dir, show_damage, NULL, NULL, &report));
        if (now != 0) { /* nothing that was seen is taken back */
            assert_true(now >= last);
            moved += now > last;
            last = now;
        }
        done++;
    }
    int status;
    assert_int_equal(waitpid(child, &status, WNOHANG), 0); /* it still writes */
    (void)kill(child, SIGKILL);
    (void)waitpid(child, &status, 0);
    assert_true(moved > MOVES_MIN);
    (void)check_snapshot(self, true); /* of a dead one as well */
    reopen(self);
}

int main(void) {
#define SNAPSHOT_TEST(name)                                                    \
    cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        SNAPSHOT_TEST(readers_and_a_writer_keep_nobody_out),
        SNAPSHOT_TEST(a_snapshot_stays_what_it_was),
        SNAPSHOT_TEST(a_snapshot_has_all_that_was_acknowledged),
        SNAPSHOT_TEST(what_has_only_gathered_is_not_in_a_snapshot),
        SNAPSHOT_TEST(a_read_only_opener_finds_no_store_where_one_is_made),
        SNAPSHOT_TEST(half_a_write_is_neither_shown_nor_told),
        SNAPSHOT_TEST(what_a_dead_writer_left_is_told),
        SNAPSHOT_TEST(an_index_younger_than_the_look_at_the_log_is_used),
        SNAPSHOT_TEST(an_index_of_the_next_log_is_not_used),
        SNAPSHOT_TEST(what_was_taken_back_is_an_error_and_no_other_value),
        SNAPSHOT_TEST(a_log_rewritten_while_it_is_read_is_read_again),
        SNAPSHOT_TEST(a_reader_writes_nothing),
        SNAPSHOT_TEST(who_holds_the_lock_is_seen_without_taking_it),
        SNAPSHOT_TEST(every_snapshot_of_a_busy_store_is_consistent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
