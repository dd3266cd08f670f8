/*
 * test_compact_value.c - values that change while the log is compacted: how
 * often they are copied, and that the copy is what they were.
 */
#include "append_fixture.h"
#include "compact.h"
#include "epoch.h"
#include "faulty_io.h"
#include "key_hash.h"
#include "store_internal.h"

#include <pthread.h>

enum { LONG_SIZE = 50001 };

/* Into a new log, by hand, all that was written so far. */
static void copy_on(struct fixture *self, toon_compaction *compaction) {
    const toon_volume *volume = atomic_load(&self->store->volume);
    uint64_t end = atomic_load(&volume->log->written);
    while (compaction->at < end)
        assert_ok(toon_compaction_step(compaction, end));
}

static void change_a_little(struct fixture *self, int round, int *lines) {
    toon_meta meta = {.written_ms = 1000 + round, .mode = 0600};
    int count = 1 + round * 7 % 13;
    add_lines(self, "log", *lines, *lines + count);
    *lines += count;
    assert_ok(
        toon_set_meta(self->store, toon_str("log"), TOON_META_WRITTEN, &meta));
    if (round % 5 == 4) {
        assert_ok(toon_batch_begin(self->store));
        assert_ok(
            toon_set_meta(self->store, toon_str("log"), TOON_META_MODE, &meta));
        add_lines(self, "log", *lines, *lines + 2);
        assert_ok(toon_batch_commit(self->store));
        *lines += 2;
    }
    put(self, "other", round % 2 == 0 ? "even" : "odd");
}

static void rename_there_and_back(struct fixture *self, int *lines) {
    assert_ok(toon_rename(self->store, toon_str("log"), toon_str("log.1"), 0));
    add_lines(self, "log.1", *lines, *lines + 3);
    *lines += 3;
    put(self, "log", "another");
    assert_ok(toon_rename(self->store, toon_str("log"), toon_str("log.1"),
                          TOON_RENAME_EXCHANGE));
    assert_ok(toon_append(self->store, toon_str("log.1"), toon_str("+"), NULL));
}

/* What the copy knows of a value is what a look at its pieces tells. */
static void assert_known_rightly(const toon_volume *volume, const char *key) {
    toon_hit hit;
    toon_fact told, found;
    assert_true(toon_epoch_enter());
    assert_ok(toon_volume_find(volume, toon_str(key),
                               toon_key_hash(toon_str(key), volume->seed),
                               TOON_LOOK_META, true, &hit));
    assert_ok(toon_volume_measure(volume, &hit, true, &told));
    for (uint64_t at = 0; at <= toon_payload_offset(hit.payload); at++)
        toon_facts_forget(volume->facts, at);
    assert_ok(toon_volume_measure(volume, &hit, true, &found));
    assert_int_equal(told.value_size, found.value_size);
    assert_int_equal(told.chain_size, found.chain_size);
    assert_int_equal(told.line_size, found.line_size);
    assert_int_equal(told.small, found.small);
    assert_int_equal(told.tiny, found.tiny);
    toon_hit_free(&hit);
    toon_epoch_leave();
}

/* The sizes that a value has at the ends of a log's batches, in order; 0 where
 * it has none yet. Returns how many. */
static size_t sizes_of(const toon_log *log, const char *key, size_t *sizes,
                       size_t most) {
    enum { NOTED = 4096 };

    static struct {
        uint64_t offset;
        size_t size;
    } noted[NOTED];

    size_t count = 0, ends = 0, now = 0, size;
    uint64_t written = atomic_load(&log->written);
    for (uint64_t at = log->first; at < written;) {
        toon_record record;
        uint64_t synced;
        toon_slice view = toon_log_view(log, at, 0);
        if (toon_mark_parse(view, log->salt, &synced, &size) == RECORD_OK) {
            at += size;
            continue;
        }
        assert_int_equal(toon_record_parse(view, log->salt, &record),
                         RECORD_OK);
        assert_true(toon_record_value_size(&record, &size));
        for (size_t i = 0; i < count; i++)
            size += record.ref == noted[i].offset ? noted[i].size : 0;
        if (toon_record_key_is(&record, toon_str(key))) {
            assert_true(count < NOTED);
            noted[count].offset = at;
            noted[count++].size = size;
            now = size;
        }
        if (!record.more) {
            assert_true(ends < most);
            sizes[ends++] = now;
        }
        at += record.size;
    }
    return ends;
}

static void begin(struct fixture *self, toon_compaction *compaction) {
    static const toon_pause alone = {0};
    assert_ok(toon_compaction_begin(compaction, &self->store->dir,
                                    atomic_load(&self->store->volume), 0,
                                    &alone));
}

static void a_value_in_two_records_is_one_change(void **state) {
    struct fixture *self = *state;
    toon_compaction compaction;
    size_t sizes[100];
    char *base = calloc(1, LONG_SIZE);
    assert_ok(toon_set(self->store, toon_str("log"),
                       toon_bytes(base, LONG_SIZE), NULL));
    free(base);
    add(self, "log", "+", 1, LONG_SIZE + 1);
    begin(self, &compaction);
    copy_on(self, &compaction);
    for (int i = 0; i < 2; i++) {
        compaction.exact = i == 1;
        assert_ok(
            toon_rename(self->store, toon_str("log"), toon_str("moved"), 0));
        copy_on(self, &compaction);
        assert_ok(
            toon_rename(self->store, toon_str("moved"), toon_str("log"), 0));
        copy_on(self, &compaction);
    }
    assert_ok(toon_compaction_write(&compaction));
    size_t count = sizes_of(compaction.into->log, "moved", sizes, 100);
    assert_in_range(count, 5, 100);
    for (size_t i = 0; i < count; i++)
        assert_true(sizes[i] == 0 || sizes[i] == LONG_SIZE + 1);
    toon_compaction_end(&compaction);
}

static void tell_finding(void *arg, int64_t offset, const char *text) {
    (void)arg;
    if (offset >= 0) /* the index is of the old log */
        print_message("%lld: %s\n", (long long)offset, text);
}

static void assert_sound(const char *dir) {
    toon_check_report report;
    assert_ok(toon_check(dir, tell_finding, NULL, NULL, &report));
    assert_int_equal(report.torn_bytes, 0);
}

/* What was copied takes the log's place; the store is opened on it. */
static void open_copy(struct fixture *self, toon_compaction *compaction) {
    toon_volume *volume;
    toon_stats stats;
    assert_ok(toon_compaction_sync(compaction, 0));
    assert_ok(toon_compaction_install(compaction, &volume));
    assert_known_rightly(volume, "log");
    uint64_t live_bytes = atomic_load(&volume->live_bytes);
    toon_volume_free(volume);
    toon_compaction_end(compaction);
    close_store(self);
    assert_sound(self->dir);
    reopen(self); /* with no index that fits: the log tells all */
    toon_stat(self->store, &stats);
    assert_int_equal(stats.live_bytes, live_bytes);
}

enum { ROUNDS_BESIDE = 80 };

/* Half of the rounds as copies that catch up, half as exact ones. Returns how
 * many bytes they wrote, but for the first ones. */
static uint64_t change_beside(struct fixture *self, bool renames, int *lines) {
    toon_compaction compaction;
    uint64_t copied = 0;
    begin(self, &compaction);
    copy_on(self, &compaction);
    for (int round = 0; round < ROUNDS_BESIDE; round++) {
        if (round == 10) /* all of it once more: its small pieces were merged */
            copied = toon_log_end(compaction.into->log);
        compaction.exact = round >= ROUNDS_BESIDE / 2;
        change_a_little(self, round, lines);
        if (renames && round % 9 == 5)
            rename_there_and_back(self, lines);
        if (round % 7 != 6)
            copy_on(self, &compaction);
    }
    copy_on(self, &compaction);
    uint64_t grown = toon_log_end(compaction.into->log) - copied;
    open_copy(self, &compaction);
    return grown;
}

static void assert_log_goes_on(struct fixture *self, int lines) {
    toon_value value;
    assert_lines(self, "log", lines);
    assert_ok(toon_get(self->store, toon_str("log"), &value));
    assert_int_equal(value.meta.mode, 0600);
    toon_value_release(&value);
    add_lines(self, "log", lines, lines + 100);
    assert_lines(self, "log", lines + 100);
}

static void what_grows_meanwhile_is_not_copied_again(void **state) {
    struct fixture *self = *state;
    int lines = LINES;
    add_lines(self, "log", 0, lines);
    uint64_t grown = change_beside(self, false, &lines);
    assert_in_range(grown, 0, 4 * (uint64_t)(lines - LINES) * LINE);
    assert_log_goes_on(self, lines);
}

static void and_what_is_renamed_meanwhile_is_right(void **state) {
    struct fixture *self = *state;
    int lines = LINES;
    add_lines(self, "log", 0, lines);
    (void)change_beside(self, true, &lines);
    assert_value(self, "log.1", "another+");
    assert_log_goes_on(self, lines);
}

static void touch(struct fixture *self, const char *key, int64_t written_ms) {
    toon_meta meta = {.written_ms = written_ms};
    assert_ok(
        toon_set_meta(self->store, toon_str(key), TOON_META_WRITTEN, &meta));
}

/* Somebody who adds a line whenever a compaction lets go of the writers. */
struct busy {
    struct fixture *self;
    int lines, left;
    bool touches; /* so that the newest record is no piece */
};

static void add_after_pause(void *arg) {
    struct busy *busy = arg;
    if (busy->left == 0)
        return;
    busy->left--;
    add_lines(busy->self, "log", busy->lines, busy->lines + 3);
    busy->lines += 3;
    if (busy->touches)
        touch(busy->self, "log", busy->lines);
}

/* In the hostile build steps are so short that all is added before the first
 * copy. */
#ifdef TOON_HOSTILE
enum { REST_MAX = 400 * LINE };
#else
enum { REST_MAX = 64 * 2 * LINE };
#endif

/* Each record of the value is dead before it could be copied. */
static void grow_all_the_time(struct fixture *self, bool touches) {
    struct busy busy = {self, LINES, 100, touches};
    toon_pause pause = {.end = add_after_pause, .arg = &busy};
    toon_compaction compaction;
    add_lines(self, "log", 0, LINES);
    assert_ok(toon_compaction_begin(&compaction, &self->store->dir,
                                    atomic_load(&self->store->volume), 0,
                                    &pause));
    while (busy.left > 1)
        copy_on(self, &compaction);
    uint64_t ahead = toon_log_end(compaction.into->log);
    assert_in_range(ahead, LINES * LINE, LINES * LINE * 11 / 10);
    busy.left = 0;
    copy_on(self, &compaction);
    uint64_t rest = toon_log_end(compaction.into->log) - ahead;
    assert_in_range(rest, 1, REST_MAX);
    open_copy(self, &compaction);
    assert_lines(self, "log", busy.lines);
}

static void what_grows_all_the_time_is_copied_ahead(void **state) {
    grow_all_the_time(*state, false);
}

static void and_where_its_newest_record_is_no_piece(void **state) {
    grow_all_the_time(*state, true);
}

/* -------------------------------------------------------------- soundness */

/* So many bytes of one kind, as one value or one piece of it. */
static void set_many(struct fixture *self, const char *key, size_t count) {
    char *bytes = malloc(count);
    assert_non_null(bytes);
    memset(bytes, 'v', count);
    assert_ok(
        toon_set(self->store, toon_str(key), toon_bytes(bytes, count), NULL));
    free(bytes);
}

static void add_many(struct fixture *self, const char *key, char byte,
                     size_t count) {
    char *bytes = malloc(count);
    assert_non_null(bytes);
    memset(bytes, byte, count);
    assert_ok(toon_append(self->store, toon_str(key), toon_bytes(bytes, count),
                          NULL));
    free(bytes);
}

/* A small piece whose text is as long as that of a full one. */
static void a_copy_ahead_takes_nothing_back(void **state) {
    enum { BASE = 100000, FULL = 5000, QUOTES = 3900, TINY = 64 };

    struct fixture *self = *state;
    toon_compaction compaction;
    set_many(self, "log", BASE);
    begin(self, &compaction);
    copy_on(self, &compaction);
    add_many(self, "log", 'p', FULL);
    for (int i = 0; i < TINY; i++) {
        add_many(self, "log", 't', 1);
        if (i == 2) {
            touch(self, "log", 1000);
            copy_on(self, &compaction);
        }
    }
    add_many(self, "log", '"', QUOTES);
    add_many(self, "log", 'x', 1);
    copy_on(self, &compaction);
    open_copy(self, &compaction);
    assert_int_equal(size_of(self, "log"), BASE + FULL + TINY + QUOTES + 1);
}

static void what_is_set_again_is_not_copied_ahead(void **state) {
    enum { SIZE = 1 << 20 };

    struct fixture *self = *state;
    toon_compaction compaction;
    begin(self, &compaction);
    for (int i = 0; i < 20; i++) {
        set_many(self, "log", SIZE);
        add_many(self, "log", '+', 1);
    }
    copy_on(self, &compaction);
    assert_in_range(toon_log_end(compaction.into->log), SIZE, 2 * SIZE);
    open_copy(self, &compaction);
    assert_int_equal(size_of(self, "log"), SIZE + 1);
}

/* --------------------------------------------------- while writers wait */

static uint64_t log_end(struct fixture *self) {
    return atomic_load(&atomic_load(&self->store->volume)->log->written);
}

static bool is_cheap(struct fixture *self, toon_compaction *compaction) {
    return toon_compaction_is_cheap(compaction, log_end(self));
}

static uint64_t copied_by(struct fixture *self, toon_compaction *compaction) {
    uint64_t before = toon_log_end(compaction->into->log);
    copy_on(self, compaction);
    return toon_log_end(compaction->into->log) - before;
}

enum { DEAR = 2 << 20, CHEAP = 1 << 20 };

static void what_another_key_takes_over_is_dear(void **state) {
    struct fixture *self = *state;
    toon_compaction compaction;
    set_many(self, "log", DEAR);
    add_many(self, "log", '+', 1);
    begin(self, &compaction);
    copy_on(self, &compaction);
    compaction.exact = true;
    add_many(self, "log", '+', 1);
    touch(self, "log", 1000);
    assert_true(is_cheap(self, &compaction));
    assert_in_range(copied_by(self, &compaction), 1, CHEAP);
    assert_ok(toon_rename(self->store, toon_str("log"), toon_str("moved"), 0));
    assert_false(is_cheap(self, &compaction));
    assert_in_range(copied_by(self, &compaction), DEAR, UINT64_MAX);
    add_many(self, "moved", '+', 1);
    assert_true(is_cheap(self, &compaction));
    assert_in_range(copied_by(self, &compaction), 1, CHEAP);
    assert_ok(toon_rename(self->store, toon_str("moved"), toon_str("log"), 0));
    add_many(self, "log", '+', 1);
    assert_false(is_cheap(self, &compaction));
    copy_on(self, &compaction);
    open_copy(self, &compaction);
    assert_int_equal(size_of(self, "log"), DEAR + 4);
}

/* The record that the value was taken over with is dead by the time. */
static void and_stays_so_until_it_is_copied(void **state) {
    struct fixture *self = *state;
    toon_compaction compaction;
    set_many(self, "first", DEAR);
    begin(self, &compaction);
    copy_on(self, &compaction);
    assert_ok(toon_rename(self->store, toon_str("first"), toon_str("log"), 0));
    uint64_t end = log_end(self);
    add_many(self, "log", '+', 1);
    while (compaction.at < end)
        assert_ok(toon_compaction_step(&compaction, end));
    uint64_t before = toon_log_end(compaction.into->log);
    bool cheap = is_cheap(self, &compaction);
    copy_on(self, &compaction);
    if (cheap)
        assert_in_range(toon_log_end(compaction.into->log) - before, 1, CHEAP);
    open_copy(self, &compaction);
    assert_int_equal(size_of(self, "log"), DEAR + 1);
}

/* Each time its newest record is copied, all of it would be. */
static void a_short_value_is_copied_once_too(void **state) {
    enum { SHORT = 10000, TIMES = 50 };

    struct fixture *self = *state;
    toon_compaction compaction;
    begin(self, &compaction);
    copy_on(self, &compaction);
    compaction.exact = true;
    set_many(self, "log", SHORT);
    for (int i = 0; i < TIMES; i++)
        add_many(self, "log", '+', 1);
    assert_in_range(copied_by(self, &compaction), SHORT,
                    2 * SHORT + TIMES * 200);
    open_copy(self, &compaction);
    assert_int_equal(size_of(self, "log"), SHORT + TIMES);
}

/* More than there is room to note. */
static void many_values_let_no_large_one_be_forgotten(void **state) {
#ifdef TOON_HOSTILE
    enum { MANY = 2000 };
#else
    enum { MANY = 20000 };
#endif
    struct fixture *self = *state;
    toon_compaction compaction;
    set_many(self, "log", DEAR);
    for (int i = 0; i < MANY; i++) {
        char key[24];
        (void)snprintf(key, sizeof key, "key:%d", i);
        put(self, key, "a ");
        assert_ok(toon_append(self->store, toon_str(key), toon_str("b"), NULL));
    }
    begin(self, &compaction);
    copy_on(self, &compaction);
    add_many(self, "log", '+', 1);
    assert_true(is_cheap(self, &compaction));
    assert_in_range(copied_by(self, &compaction), 1, CHEAP);
    open_copy(self, &compaction);
    assert_int_equal(size_of(self, "log"), DEAR + 1);
    assert_value(self, "key:100", "a b");
}

enum { LAST_TRY = 100 };

static void begin_in_store(struct fixture *self, toon_compaction *compaction) {
    assert_ok(toon_compaction_begin(compaction, &self->store->dir,
                                    atomic_load(&self->store->volume), 0,
                                    &self->store->care.pause));
    copy_on(self, compaction);
}

static void nothing(void *arg) {
    (void)arg;
}

static void end_in_store(toon_compaction *compaction) {
    assert_non_null(compaction->replaced);
    toon_epoch_retire(nothing, NULL);
    toon_epoch_drain(); /* nobody reads it any more */
    toon_volume_free(compaction->replaced);
    toon_compaction_end(compaction);
}

/* Whether it settles or is swapped in: not with much to copy. */
static void what_is_dear_is_not_copied_while_writers_wait(void **state) {
    static const toon_sync_policy policies[] = {TOON_SYNC_NO, TOON_SYNC_ALWAYS};
    struct fixture *self = *state;
    for (size_t i = 0; i < 2; i++) {
        toon_compaction compaction;
        bool swapped;
        self->options.sync = policies[i];
        reopen(self);
        set_many(self, "from", DEAR);
        begin_in_store(self, &compaction);
        assert_ok(
            toon_rename(self->store, toon_str("from"), toon_str("log"), 0));
        uint64_t before = compaction.at;
        assert_ok(toon_swap_settle(self->store, &compaction, 0));
        assert_int_equal(compaction.at, before);
        assert_false(compaction.exact);
        assert_ok(toon_swap_compacted(self->store, &compaction, 0, &swapped));
        assert_false(swapped);
        assert_int_equal(compaction.at, before);
        assert_ok(
            toon_swap_compacted(self->store, &compaction, LAST_TRY, &swapped));
        assert_true(swapped);
        end_in_store(&compaction);
        assert_int_equal(size_of(self, "log"), DEAR);
        assert_absent(self, "from");
    }
}

struct syncing {
    toon_store *store;
    _Atomic bool begun;
};

static void *hold_sync_lock(void *arg) {
    struct syncing *syncing = arg;
    (void)pthread_mutex_lock(&syncing->store->sync_lock);
    atomic_store(&syncing->begun, true);
    (void)usleep(100 * 1000);
    (void)pthread_mutex_unlock(&syncing->store->sync_lock);
    return NULL;
}

static void somebody_who_always_syncs_is_waited_for(void **state) {
    struct fixture *self = *state;
    toon_compaction compaction;
    pthread_t thread;
    bool swapped;
    self->options.sync = TOON_SYNC_ALWAYS;
    reopen(self);
    put(self, "k", "v");
    begin_in_store(self, &compaction);
    for (unsigned tries = 0; tries <= LAST_TRY; tries += LAST_TRY) {
        struct syncing syncing = {.store = self->store};
        assert_int_equal(
            pthread_create(&thread, NULL, hold_sync_lock, &syncing), 0);
        while (!atomic_load(&syncing.begun))
            (void)usleep(100);
        assert_ok(
            toon_swap_compacted(self->store, &compaction, tries, &swapped));
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(swapped, tries > 0);
    }
    end_in_store(&compaction);
    assert_value(self, "k", "v");
}

static toon_io io;

/* Also where it has been tried often: or a power cut behind the rename would
 * take what the old log had kept. */
static void what_is_durable_is_so_in_the_copy_before_the_swap(void **state) {
    struct fixture *self = *state;
    toon_compaction compaction;
    bool swapped;
    close_store(self);
    io = faulty_io();
    assert_ok(toon_open_on(&io, self->dir, &self->options, &self->store));
    put(self, "old", "v");
    begin_in_store(self, &compaction);
    assert_ok(toon_compaction_sync(&compaction, 0));
    put(self, "new", "v");
    assert_ok(toon_sync(self->store));
    faulty.sync_errno = EIO;
    assert_int_not_equal(
        toon_swap_compacted(self->store, &compaction, LAST_TRY, &swapped),
        TOON_OK);
    faulty.sync_errno = 0;
    assert_false(swapped);
    assert_null(compaction.replaced);
    toon_compaction_end(&compaction);
    assert_value(self, "new", "v");
    reopen(self);
    assert_value(self, "old", "v");
    assert_value(self, "new", "v");
}

/* ------------------------------------------------------------- power cuts */

/* What was copied takes the log's place. Returns its bytes, to be freed. */
static char *install_unsynced(struct fixture *self, toon_compaction *compaction,
                              size_t *size) {
    toon_volume *volume;
    assert_ok(toon_compaction_write(compaction));
    assert_ok(toon_compaction_install(compaction, &volume));
    *size = (size_t)atomic_load(&volume->log->written);
    toon_volume_free(volume);
    toon_compaction_end(compaction);
    close_store(self);
    size_t all;
    char *bytes = slurp(self, "db.toon", &all);
    assert_true(all >= *size);
    return bytes;
}

/* A store of so many bytes of the log, which must not seem damaged. */
static void reopen_cut(struct fixture *self, const char *bytes, size_t size) {
    if (self->store != NULL)
        close_store(self);
    remove_files(self->dir);
    spill(self, "db.toon", bytes, size);
    reopen(self);
}

static void assert_one_of_both(struct fixture *self, const char *one,
                               const char *other, size_t size) {
    toon_key_stat stat;
    bool first = toon_stat_key(self->store, toon_str(one), &stat) == TOON_OK;
    assert_absent(self, first ? other : one);
    assert_int_equal(size_of(self, first ? one : other), size);
}

#ifdef TOON_HOSTILE
enum { SYNCED_SIZE = 100 << 10 };
#else
enum { SYNCED_SIZE = 33 << 20 };
#endif

/* So large that it is synced behind the first record of the batch, if that is
 * not kept from it. */
static void a_batch_is_not_synced_in_its_middle(void **state) {
    struct fixture *self = *state;
    toon_compaction compaction;
    size_t size;
    set_many(self, "log", SYNCED_SIZE);
    begin(self, &compaction);
    copy_on(self, &compaction);
    assert_ok(toon_compaction_sync(&compaction, 0));
    compaction.exact = true;
    assert_ok(toon_rename(self->store, toon_str("log"), toon_str("moved"), 0));
    copy_on(self, &compaction);
    char *bytes = install_unsynced(self, &compaction, &size);
    for (size_t cut = 0; cut < 200; cut += 13) {
        reopen_cut(self, bytes, size - cut);
        assert_one_of_both(self, "moved", "log", SYNCED_SIZE);
    }
    free(bytes);
}

int main(void) {
#define VALUE_TEST(name)                                                       \
    cmocka_unit_test_setup_teardown(name, uncached_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        VALUE_TEST(what_grows_meanwhile_is_not_copied_again),
        VALUE_TEST(and_what_is_renamed_meanwhile_is_right),
        VALUE_TEST(a_value_in_two_records_is_one_change),
        VALUE_TEST(what_grows_all_the_time_is_copied_ahead),
        VALUE_TEST(and_where_its_newest_record_is_no_piece),
        VALUE_TEST(a_copy_ahead_takes_nothing_back),
        VALUE_TEST(what_is_set_again_is_not_copied_ahead),
        VALUE_TEST(what_another_key_takes_over_is_dear),
        VALUE_TEST(and_stays_so_until_it_is_copied),
        VALUE_TEST(a_short_value_is_copied_once_too),
        VALUE_TEST(many_values_let_no_large_one_be_forgotten),
        VALUE_TEST(what_is_dear_is_not_copied_while_writers_wait),
        VALUE_TEST(somebody_who_always_syncs_is_waited_for),
        VALUE_TEST(what_is_durable_is_so_in_the_copy_before_the_swap),
        VALUE_TEST(a_batch_is_not_synced_in_its_middle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
