/*
 * test_copy.c - hot copies: whole, at one moment, durable before they have
 * their name, and nothing of them left when they fail.
 */
#include "checkpoint.h"
#include "dir_lock.h"
#include "fixture.h"
#include "index_file.h"
#include "lying_disk.h"
#include "store_internal.h"

#include <errno.h>
#include <pthread.h>

static char copy_dir[64];

static int copy_setup(void **state) {
    lying_disk_reset();
    if (fixture_setup(state) != 0)
        return -1;
    const struct fixture *self = *state;
    (void)snprintf(copy_dir, sizeof copy_dir, "%.50s-copy", self->dir);
    return 0;
}

static void remove_copy(void) {
    remove_files(copy_dir);
    (void)rmdir(copy_dir);
}

static int copy_teardown(void **state) {
    remove_copy();
    int result = fixture_teardown(state);
    lying_disk_reset();
    return result;
}

static bool is_there(const char *path) {
    return access(path, F_OK) == 0;
}

static bool copy_has(const char *name) {
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", copy_dir, name);
    return is_there(path);
}

/* Opens the copy as a writer does, so that anything wrong is cut or refused,
 * and looks that nothing had to be. */
static void open_copy(struct fixture *copy) {
    toon_check_report report;
    toon_stats stats;
    *copy = (struct fixture){.options.sync = TOON_SYNC_NO};
    (void)snprintf(copy->dir, sizeof copy->dir, "%s", copy_dir);
    assert_ok(toon_check(copy_dir, NULL, NULL, NULL, &report));
    assert_int_equal(report.damaged, 0);
    assert_int_equal(report.torn_bytes, 0);
    reopen(copy);
    toon_stat(copy->store, &stats);
    assert_int_equal(stats.torn_bytes, 0);
    assert_int_equal(stats.keys, report.live_keys);
}

static toon_err copy(struct fixture *self) {
    return toon_copy(self->store, copy_dir, NULL, NULL);
}

static void fill(struct fixture *self, int count) {
    char key[32];
    char value[200];
    memset(value, 'v', sizeof value - 1);
    value[sizeof value - 1] = '\0';
    for (int i = 0; i < count; i++) {
        (void)snprintf(key, sizeof key, "key:%d", i);
        put(self, key, value);
    }
}

/* ------------------------------------------------------------------ copies */

static void a_copy_is_the_store_as_it_stands(void **state) {
    struct fixture *self = *state;
    struct fixture other;
    put(self, "a", "1");
    put(self, "b", "2");
    assert_ok(toon_append(self->store, toon_str("a"), toon_str("1"), NULL));
    assert_ok(toon_delete(self->store, toon_str("b"), 0, NULL));
    assert_ok(copy(self));
    put(self, "a", "later");
    open_copy(&other);
    assert_value(&other, "a", "11");
    assert_absent(&other, "b");
    put(&other, "a", "elsewhere");
    close_store(&other);
    assert_value(self, "a", "later");
}

static void a_copy_of_an_empty_store_is_one(void **state) {
    struct fixture *self = *state;
    struct fixture other;
    toon_stats stats;
    assert_ok(copy(self));
    open_copy(&other);
    toon_stat(other.store, &stats);
    assert_int_equal(stats.keys, 0);
    close_store(&other);
}

static void
what_has_gathered_is_copied_and_a_batch_that_goes_on_is_not(void **state) {
    struct fixture *self = *state;
    struct fixture other;
    put(self, "a", "old");
    toon_gather_begin(self->store);
    put(self, "b", "gathered");
    assert_ok(copy(self));
    assert_ok(toon_gather_end(self->store));
    open_copy(&other);
    assert_value(&other, "b", "gathered");
    close_store(&other);
    remove_copy();
    assert_ok(toon_batch_begin(self->store));
    put(self, "a", "new");
    assert_ok(copy(self));
    assert_ok(toon_batch_commit(self->store));
    open_copy(&other);
    assert_value(&other, "a", "old");
    close_store(&other);
}

static void a_fitting_index_comes_along(void **state) {
    struct fixture *self = *state;
    toon_check_report report;
    fill(self, 10);
    reopen(self); /* writes the index */
    put(self, "later", "1");
    assert_ok(copy(self));
    assert_ok(toon_check(copy_dir, NULL, NULL, NULL, &report));
    assert_true(report.index_usable);
    assert_int_equal(report.live_keys, 11);
}

static void an_index_of_another_log_stays_behind(void **state) {
    struct fixture *self = *state;
    size_t size;
    fill(self, 10);
    reopen(self);
    char *index = slurp(self, "db.toon.idx", &size);
    assert_ok(toon_clear(self->store));
    spill(self, "db.toon.idx", index, size);
    assert_ok(copy(self));
    assert_false(copy_has("db.toon.idx"));
    remove_copy();
    spill(self, "db.toon.idx", index, 5);
    assert_ok(copy(self));
    assert_false(copy_has("db.toon.idx"));
    assert_true(copy_has("db.toon"));
    free(index);
}

static void a_snapshot_of_another_writers_store_can_be_copied(void **state) {
    struct fixture *self = *state;
    struct fixture other;
    toon_store *store;
    toon_options options = {.flags = TOON_OPEN_READ_ONLY};
    put(self, "a", "old");
    assert_ok(toon_open(self->dir, &options, &store));
    put(self, "a", "new");
    assert_ok(toon_clear(self->store));
    assert_ok(toon_copy(store, copy_dir, NULL, NULL));
    assert_ok(toon_close(store));
    open_copy(&other);
    assert_value(&other, "a", "old");
    close_store(&other);
}

/* An index leaves out what changes while it is written. One that is younger
 * than a snapshot is not the snapshot's, also if it covers no more of the log.
 */
static void a_snapshot_makes_an_index_of_its_own(void **state) {
    static const toon_pause nobody_else = {0};
    struct fixture *self = *state;
    struct fixture other;
    toon_store *store;
    toon_dir dir;
    toon_check_report report;
    toon_options options = {.flags = TOON_OPEN_READ_ONLY};
    put(self, "a", "old");
    put(self, "b", "old");
    assert_ok(toon_sync(self->store));
    toon_point point = toon_point_of(atomic_load(&self->store->volume));
    assert_ok(toon_open(self->dir, &options, &store));
    put(self, "a", "new");
    assert_ok(toon_dir_open(&toon_io_system, self->dir, false, &dir));
    assert_ok(toon_checkpoint(&dir, atomic_load(&self->store->volume), &point,
                              &nobody_else));
    toon_dir_close(&dir);
    assert_ok(toon_copy(store, copy_dir, NULL, NULL));
    assert_ok(toon_close(store));
    assert_ok(toon_check(copy_dir, NULL, NULL, NULL, &report));
    assert_true(report.index_usable);
    open_copy(&other);
    assert_value(&other, "a", "old");
    assert_value(&other, "b", "old");
    close_store(&other);
}

/* ------------------------------------------------------------- destinations */

static void where_a_store_is_none_is_copied_to(void **state) {
    struct fixture *self = *state;
    size_t before, size;
    put(self, "a", "1");
    char *log = slurp(self, "db.toon", &before);
    assert_int_equal(toon_copy(self->store, self->dir, NULL, NULL),
                     TOON_EXISTS);
    char *same = slurp(self, "db.toon", &size);
    assert_int_equal(size, before);
    assert_memory_equal(same, log, size);
    assert_ok(copy(self));
    put(self, "a", "2");
    assert_int_equal(copy(self), TOON_EXISTS);
    assert_non_null(strstr(toon_last_error()->text, copy_dir));
    struct fixture other;
    open_copy(&other);
    assert_value(&other, "a", "1");
    close_store(&other);
    free(log);
    free(same);
}

static void a_copy_may_lie_inside_its_source(void **state) {
    struct fixture *self = *state;
    (void)snprintf(copy_dir, sizeof copy_dir, "%.50s/backup", self->dir);
    put(self, "a", "1");
    assert_ok(copy(self));
    struct fixture other;
    open_copy(&other);
    assert_value(&other, "a", "1");
    close_store(&other);
}

static void a_directory_without_a_store_is_used_as_it_is(void **state) {
    struct fixture *self = *state;
    struct fixture other;
    toon_check_report report;
    static const char longer[5000] = "left by a crash";
    assert_int_equal(mkdir(copy_dir, 0777), 0);
    (void)snprintf(other.dir, sizeof other.dir, "%s", copy_dir);
    spill(&other, "README", "mine", 4);
    spill(&other, "db.toon.new", longer, sizeof longer);
    spill(&other, "db.toon.idx", "left by a crash", 15);
    put(self, "a", "1");
    assert_ok(copy(self));
    assert_true(copy_has("README"));
    assert_false(copy_has("db.toon.new"));
    assert_ok(toon_check(copy_dir, NULL, NULL, NULL, &report));
    assert_int_equal(report.torn_bytes, 0);
    open_copy(&other);
    assert_value(&other, "a", "1");
    close_store(&other);
}

static void a_destination_that_somebody_works_in_is_refused(void **state) {
    struct fixture *self = *state;
    toon_dir dir;
    toon_file lock;
    char missing[120];
    assert_ok(toon_dir_open(&toon_io_system, copy_dir, true, &dir));
    assert_ok(toon_dir_lock(&dir, &lock));
    assert_int_equal(copy(self), TOON_LOCKED);
    toon_file_close(&lock);
    toon_dir_close(&dir);
    (void)snprintf(missing, sizeof missing, "%s/not/there", copy_dir);
    assert_int_equal(toon_copy(self->store, missing, NULL, NULL), TOON_IO);
    assert_ok(copy(self));
}

/* ------------------------------------------------------- progress, stopping */

struct watch {
    toon_store *store;
    uint64_t last, total;
    int calls;
    int stop_at;
    bool early; /* db.toon was there before the end */
};

static void watch_progress(void *arg, uint64_t done, uint64_t total) {
    struct watch *watch = arg;
    assert_true(done <= total && done >= watch->last);
    watch->last = done;
    watch->total = total;
    watch->early = watch->early || copy_has("db.toon");
    if (++watch->calls == watch->stop_at)
        toon_copy_stop(watch->store);
}

static void progress_goes_from_nothing_to_all_of_it(void **state) {
    struct fixture *self = *state;
    struct watch watch = {.store = self->store};
    toon_stats stats;
    fill(self, 2000);
    toon_care_stop(self->store); /* an index would leave a mark */
    toon_stat(self->store, &stats);
    assert_ok(toon_copy(self->store, copy_dir, watch_progress, &watch));
    assert_int_equal(watch.total, stats.log_bytes);
    assert_int_equal(watch.last, watch.total);
    assert_true(watch.calls >= 2 && watch.calls < 400);
    assert_false(watch.early);
}

static void a_copy_that_is_stopped_leaves_nothing(void **state) {
    struct fixture *self = *state;
    for (int at = 1; at <= 2; at++) {
        struct watch watch = {.store = self->store, .stop_at = at};
        assert_int_equal(
            toon_copy(self->store, copy_dir, watch_progress, &watch),
            TOON_CONFLICT);
        assert_int_equal(watch.calls, at);
        assert_false(is_there(copy_dir));
    }
    assert_ok(copy(self)); /* what was stopped was stopped */
}

/* -------------------------------------------------------------------- faults */

static void open_on(struct fixture *self, const toon_io *io) {
    close_store(self);
    assert_ok(toon_open_on(io, self->dir, &self->options, &self->store));
}

/* Each call on the disk fails once, in each way that it can. A copy that says
 * that it failed has left nothing; one that was made is whole. */
static void try_fault(struct fixture *self, disk_fault fault, bool *struck) {
    lying_disk_fail(&fault);
    toon_err err = copy(self);
    *struck = lying_disk_struck() > 0;
    lying_disk_fail(NULL);
    if (err != TOON_OK) {
        assert_true(err == TOON_IO || err == TOON_FULL || err == TOON_CORRUPT);
        if (fault.error == ENOSPC && (fault.calls & CALL_WRITE) != 0)
            assert_int_equal(err, TOON_FULL);
        assert_true(toon_last_error()->text[0] != '\0');
        if ((fault.calls & CALL_UNLINK) == 0)
            assert_false(is_there(copy_dir));
        assert_false(copy_has("db.toon"));
    } else {
        struct fixture other;
        open_copy(&other);
        assert_value(&other, "key:49", "last");
        close_store(&other);
    }
    remove_copy();
}

static void every_call_of_a_copy_may_fail(void **state) {
    struct fixture *self = *state;
    static const disk_fault_kind kinds[] = {FAULT_FAILS, FAULT_IS_SHORT,
                                            FAULT_IS_TORN};
    static const int errors[] = {EIO, ENOSPC};
    fill(self, 50);
    put(self, "key:49", "last");
    open_on(self, &lying_disk_io); /* with an index */
    int count = 0;
    for (size_t i = 0; i < 6; i++) {
        bool struck = true;
        for (uint64_t at = 1; struck; at++, count++) {
            disk_fault fault = {.kind = kinds[i / 2],
                                .calls = CALL_ANY & ~(unsigned)CALL_UNLINK,
                                .at = at,
                                .error = errors[i % 2]};
            if (fault.kind != FAULT_FAILS)
                fault.calls = CALL_READ | CALL_WRITE;
            try_fault(self, fault, &struck);
        }
    }
    assert_true(count > 60);
    assert_value(self, "key:49", "last");
    put(self, "key:49", "on we go");
}

static void a_full_disk_is_told_and_nothing_left(void **state) {
    struct fixture *self = *state;
    struct fixture other;
    fill(self, 50);
    open_on(self, &lying_disk_io);
    disk_fault fault = {.kind = FAULT_FAILS,
                        .calls = CALL_WRITE | CALL_ALLOCATE,
                        .at = 1,
                        .goes_on = true,
                        .error = ENOSPC};
    /* In a directory that was there: it stays, and is empty again. */
    assert_int_equal(mkdir(copy_dir, 0777), 0);
    lying_disk_fail(&fault);
    assert_int_equal(copy(self), TOON_FULL);
    lying_disk_fail(NULL);
    assert_int_equal(rmdir(copy_dir), 0);
    put(self, "a", "1");
    assert_ok(copy(self));
    open_copy(&other);
    assert_value(&other, "a", "1");
    close_store(&other);
}

/* In the order of the journal: is what `name` is called synced after its last
 * write, before it has that name, and the name synced before the end? */
static void assert_durable(const disk_journal *journal, const char *name) {
    int node = -1;
    bool dirty = false, named = false, kept = false;
    for (size_t i = 0; i < journal->count; i++) {
        const disk_op *op = &journal->ops[i];
        if (op->kind == DISK_RENAME && strcmp(op->to, name) == 0)
            node = op->node;
    }
    assert_true(node >= 0);
    for (size_t i = 0; i < journal->count; i++) {
        const disk_op *op = &journal->ops[i];
        if (op->node == node && op->kind == DISK_WRITE)
            dirty = true;
        if (op->node == node && op->kind == DISK_SYNC)
            dirty = false;
        if (op->node == node && op->kind == DISK_RENAME) {
            assert_false(dirty);
            named = true;
        }
        if (op->kind == DISK_SYNC && op->is_dir)
            kept = kept || named;
    }
    assert_false(dirty);
    assert_true(kept);
}

static void a_copy_is_durable_before_it_has_its_name(void **state) {
    struct fixture *self = *state;
    disk_journal journal;
    fill(self, 50);
    open_on(self, &lying_disk_io);
    disk_journal_init(&journal);
    /* The directory above is not the journal's, so the copy's is the root. */
    assert_int_equal(mkdir(copy_dir, 0777), 0);
    lying_disk_record(copy_dir, &journal);
    assert_ok(copy(self));
    assert_durable(&journal, "db.toon");
    assert_durable(&journal, "db.toon.idx");
    disk_journal_free(&journal);
    lying_disk_reset();
}

/* A disk on which, when the index is looked for, a key is set and the index
 * saved anew. */
static struct fixture *saving;

static int open_saved_anew(int dir_fd, const char *name, int flags,
                           mode_t mode) {
    static const toon_pause nobody_writes = {0};
    struct fixture *self = saving;
    if (self != NULL && strcmp(name, TOON_INDEX_NAME) == 0) {
        toon_dir dir;
        saving = NULL;
        put(self, "late", "1");
        assert_ok(toon_sync(self->store));
        const toon_volume *volume = atomic_load(&self->store->volume);
        toon_point point = toon_point_of(volume);
        assert_ok(toon_dir_open(&toon_io_system, self->dir, false, &dir));
        assert_ok(toon_checkpoint(&dir, volume, &point, &nobody_writes));
        toon_dir_close(&dir);
    }
    return toon_io_system.open_at(dir_fd, name, flags, mode);
}

static void a_copys_index_covers_no_more_than_its_log(void **state) {
    struct fixture *self = *state;
    struct fixture other;
    toon_check_report report;
    static toon_io io; /* the store has it to its end */
    io = toon_io_system;
    io.open_at = open_saved_anew;
    fill(self, 50);
    open_on(self, &io);
    saving = self;
    assert_ok(copy(self));
    assert_null(saving);
    open_copy(&other);
    assert_value(&other, "late", "1");
    close_store(&other);
    assert_ok(toon_check(copy_dir, NULL, NULL, NULL, &report));
    assert_true(report.index_usable);
}

static int source_syncs;
static struct stat source_log;

static int count_source_syncs(int fd) {
    struct stat st;
    if (fstat(fd, &st) == 0 && st.st_ino == source_log.st_ino)
        source_syncs++;
    return toon_io_system.sync(fd);
}

static ssize_t copy_some(int from, int to, off_t offset, size_t size) {
    if (offset >= 4096) {
        errno = EXDEV;
        return -1;
    }
    return toon_io_system.copy(from, to, offset, size < 1000 ? size : 1000);
}

static void the_source_is_not_synced_and_any_disk_can_copy(void **state) {
    struct fixture *self = *state;
    struct fixture other;
    char path[128];
    static toon_io io; /* the store has it to its end */
    io = toon_io_system;
    io.sync = count_source_syncs;
    fill(self, 500);
    for (int way = 0; way < 3; way++) {
        if (way == 1)
            io.copy = copy_some;
        if (way == 2)
            io.copy = NULL;
        open_on(self, &io);
        put(self, "a", "unsynced");
        path_of(self, "db.toon", path);
        assert_int_equal(stat(path, &source_log), 0);
        source_syncs = 0;
        assert_ok(copy(self));
        assert_int_equal(source_syncs, 0);
        open_copy(&other);
        assert_value(&other, "a", "unsynced");
        close_store(&other);
        remove_copy();
    }
}

static void a_store_whose_sync_failed_can_be_copied(void **state) {
    struct fixture *self = *state;
    struct fixture other;
    open_on(self, &lying_disk_io);
    put(self, "a", "1");
    disk_fault fault = {
        .kind = FAULT_FAILS, .calls = CALL_SYNC, .at = 1, .error = EIO};
    lying_disk_fail(&fault);
    assert_int_equal(toon_sync(self->store), TOON_IO);
    lying_disk_fail(NULL);
    assert_ok(copy(self));
    open_copy(&other);
    assert_value(&other, "a", "1");
    close_store(&other);
    assert_int_equal(toon_close(self->store), TOON_IO);
    self->store = NULL;
}

/* ------------------------------------------------------ under writers */

enum { COPIES = 8, PAIRS = 50 };

struct writing {
    struct fixture *fixture;
    _Atomic bool stop;
    _Atomic bool pause; /* while a copy is looked at, or the log outgrows us */
    _Atomic unsigned batches;
};

/* In a thread, where cmocka cannot jump from. */
static void must(toon_err err) {
    if (err == TOON_OK)
        return;
    print_error("a writer: %s\n", toon_last_error()->text);
    abort();
}

/* Pairs that are equal in every whole batch. */
static void write_pair(toon_store *store, unsigned n) {
    char key[2][24];
    char value[24];
    (void)snprintf(value, sizeof value, "%u", n);
    must(toon_batch_begin(store));
    for (int i = 0; i < 2; i++) {
        (void)snprintf(key[i], sizeof key[i], "%c:%u", 'a' + i, n % PAIRS);
        must(toon_set(store, toon_str(key[i]), toon_str(value), NULL));
    }
    must(toon_append(store, toon_str("log"), toon_str("."), NULL));
    must(toon_batch_commit(store));
}

static void *write_pairs(void *arg) {
    struct writing *writing = arg;
    for (unsigned n = 1; !atomic_load(&writing->stop); n++) {
        while (atomic_load(&writing->pause) && !atomic_load(&writing->stop))
            (void)sched_yield();
        write_pair(writing->fixture->store, n);
        (void)atomic_fetch_add(&writing->batches, 1);
    }
    return NULL;
}

/* The log is replaced under the copies: by an empty one, and by compaction. */
static void *swap_logs(void *arg) {
    struct writing *writing = arg;
    const struct timespec pause = {.tv_nsec = 3000000};
    for (unsigned n = 0; !atomic_load(&writing->stop); n++) {
        if (n % 2 == 0)
            must(toon_clear(writing->fixture->store));
        else
            must(toon_compact(writing->fixture->store, NULL, NULL));
        (void)nanosleep(&pause, NULL);
    }
    return NULL;
}

static void assert_pairs(struct fixture *other) {
    char key[24];
    for (unsigned n = 0; n < PAIRS; n++) {
        toon_value a = {0}, b = {0};
        (void)snprintf(key, sizeof key, "a:%u", n);
        toon_err first = toon_get(other->store, toon_str(key), &a);
        key[0] = 'b';
        toon_err second = toon_get(other->store, toon_str(key), &b);
        assert_int_equal(first, second);
        assert_true(first == TOON_OK || first == TOON_NOT_FOUND);
        assert_int_equal(a.size, b.size);
        if (a.size > 0)
            assert_memory_equal(a.data, b.data, a.size);
        toon_value_release(&a);
        toon_value_release(&b);
    }
}

static void copy_while(struct fixture *self, void *(*also)(void *)) {
    struct writing writing = {.fixture = self};
    struct fixture other;
    pthread_t threads[3];
    int count = also != NULL ? 3 : 2;
    fill(self, 3000);
    for (int i = 0; i < 2; i++)
        assert_int_equal(
            pthread_create(&threads[i], NULL, write_pairs, &writing), 0);
    if (also != NULL)
        assert_int_equal(pthread_create(&threads[2], NULL, also, &writing), 0);
    for (int i = 0; i < COPIES; i++) {
        unsigned before = atomic_load(&writing.batches);
        atomic_store(&writing.pause, false);
        while (atomic_load(&writing.batches) < before + 10)
            (void)sched_yield();
        assert_ok(copy(self));
        atomic_store(&writing.pause, true);
        open_copy(&other);
        assert_pairs(&other);
        close_store(&other);
        remove_copy();
    }
    atomic_store(&writing.stop, true);
    for (int i = 0; i < count; i++)
        (void)pthread_join(threads[i], NULL);
}

static void copies_under_writers_have_whole_batches(void **state) {
    copy_while(*state, NULL);
}

static void copies_go_on_while_logs_are_swapped(void **state) {
    const struct fixture *self = *state;
    toon_stats stats;
    copy_while(*state, swap_logs);
    toon_stat(self->store, &stats);
    assert_true(stats.compactions > 1);
}

int main(void) {
#define COPY_TEST(name)                                                        \
    cmocka_unit_test_setup_teardown(name, copy_setup, copy_teardown)
    const struct CMUnitTest tests[] = {
        COPY_TEST(a_copy_is_the_store_as_it_stands),
        COPY_TEST(a_copy_of_an_empty_store_is_one),
        COPY_TEST(what_has_gathered_is_copied_and_a_batch_that_goes_on_is_not),
        COPY_TEST(a_fitting_index_comes_along),
        COPY_TEST(an_index_of_another_log_stays_behind),
        COPY_TEST(a_copys_index_covers_no_more_than_its_log),
        COPY_TEST(a_snapshot_of_another_writers_store_can_be_copied),
        COPY_TEST(a_snapshot_makes_an_index_of_its_own),
        COPY_TEST(where_a_store_is_none_is_copied_to),
        COPY_TEST(a_copy_may_lie_inside_its_source),
        COPY_TEST(a_directory_without_a_store_is_used_as_it_is),
        COPY_TEST(a_destination_that_somebody_works_in_is_refused),
        COPY_TEST(progress_goes_from_nothing_to_all_of_it),
        COPY_TEST(a_copy_that_is_stopped_leaves_nothing),
        COPY_TEST(every_call_of_a_copy_may_fail),
        COPY_TEST(a_full_disk_is_told_and_nothing_left),
        COPY_TEST(a_copy_is_durable_before_it_has_its_name),
        COPY_TEST(the_source_is_not_synced_and_any_disk_can_copy),
        COPY_TEST(a_store_whose_sync_failed_can_be_copied),
        COPY_TEST(copies_under_writers_have_whole_batches),
        COPY_TEST(copies_go_on_while_logs_are_swapped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
