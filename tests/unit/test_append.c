/*
 * test_append.c - what an append costs in the log, what of the log it reads,
 * and that what is remembered of a value is never that of another.
 */
#include "compact.h"
#include "epoch.h"
#include "faulty_io.h"
#include "fixture.h"
#include "key_hash.h"
#include "store_internal.h"

#include <pthread.h>

enum { LINE = 100, LINES = 10000 };

/* What is cached is not looked for in the log, and what is compacted away
 * cannot be counted. */
static int uncached_setup(void **state) {
    int failed = fixture_setup(state);
    if (failed == 0) {
        struct fixture *self = *state;
        self->options.cache_policy = TOON_CACHE_NONE;
        self->options.compact_garbage = 100;
        reopen(self);
    }
    return failed;
}

static void line_of(int number, char out[LINE]) {
    memset(out, 'a' + number % 26, LINE);
    out[LINE - 1] = '\n';
}

static void add(struct fixture *self, const char *key, const void *bytes,
                size_t count, size_t expected_size) {
    size_t size;
    assert_ok(toon_append(self->store, toon_str(key), toon_bytes(bytes, count),
                          &size));
    assert_int_equal(size, expected_size);
}

static void add_lines(struct fixture *self, const char *key, int from, int to) {
    for (int i = from; i < to; i++) {
        char line[LINE];
        line_of(i, line);
        add(self, key, line, LINE, (size_t)(i + 1) * LINE);
    }
}

static size_t size_of(struct fixture *self, const char *key) {
    toon_key_stat stat;
    assert_ok(toon_stat_key(self->store, toon_str(key), &stat));
    return stat.size;
}

static void assert_lines(struct fixture *self, const char *key, int count) {
    toon_value value;
    assert_int_equal(size_of(self, key), (size_t)count * LINE);
    assert_ok(toon_get(self->store, toon_str(key), &value));
    assert_int_equal(value.size, (size_t)count * LINE);
    for (int i = 0; i < count; i++) {
        char line[LINE];
        line_of(i, line);
        assert_memory_equal(value.data + i * LINE, line, LINE);
    }
    toon_value_release(&value);
}

static uint64_t log_bytes(struct fixture *self) {
    toon_stats stats;
    toon_stat(self->store, &stats);
    return stats.log_bytes;
}

static size_t pieces_of(struct fixture *self, const char *key) {
    toon_hit hit;
    toon_pieces pieces;
    const toon_volume *volume = atomic_load(&self->store->volume);
    assert_true(toon_epoch_enter());
    assert_ok(toon_volume_find(volume, toon_str(key),
                               toon_key_hash(toon_str(key), volume->seed),
                               TOON_LOOK_META, true, &hit));
    assert_ok(toon_volume_pieces(volume, &hit, true, &pieces));
    size_t count = pieces.count;
    toon_pieces_free(&pieces);
    toon_hit_free(&hit);
    toon_epoch_leave();
    return count;
}

/* ------------------------------------------------------------------- bytes */

static void lines_write_at_most_three_times_their_bytes(void **state) {
    static const toon_sync_policy policies[] = {TOON_SYNC_NO, TOON_SYNC_ALWAYS};
    struct fixture *self = *state;
    for (size_t i = 0; i < 2; i++) {
        int lines = policies[i] == TOON_SYNC_NO ? LINES : 130;
        self->options.sync = policies[i];
        reopen(self);
        uint64_t before = log_bytes(self);
        add_lines(self, "log", 0, lines);
        uint64_t grown = log_bytes(self) - before;
        assert_in_range(grown, (uint64_t)lines * LINE,
                        3 * (uint64_t)lines * LINE);
        assert_lines(self, "log", lines);
        assert_ok(toon_delete(self->store, toon_str("log"), 0, NULL));
    }
}

static void lines_of_a_script_write_no_more(void **state) {
    struct fixture *self = *state;
    toon_set_options options = {.flags = TOON_SET_MODE, .mode = 0755};
    toon_value value;
    uint64_t before = log_bytes(self);
    assert_ok(toon_set(self->store, toon_str("run"), toon_str(""), &options));
    add_lines(self, "run", 0, LINES);
    assert_in_range(log_bytes(self) - before, 0, 3 * LINES * LINE);
    assert_lines(self, "run", LINES);
    assert_ok(toon_get(self->store, toon_str("run"), &value));
    assert_int_equal(value.meta.mode, 0755);
    toon_value_release(&value);
}

static void a_long_piece_is_written_once(void **state) {
    enum { LONG = 5000 };

    struct fixture *self = *state;
    char bytes[LONG];
    memset(bytes, 'x', sizeof bytes);
    uint64_t before = log_bytes(self);
    for (size_t i = 1; i <= 500; i++)
        add(self, "log", bytes, LONG, i * LONG);
    assert_in_range(log_bytes(self) - before, 500 * LONG, 500 * (LONG + 60));
}

/* Adds so many pieces of one size; returns how many the value is in then. */
static size_t pieces_after(struct fixture *self, int count, size_t size) {
    char bytes[6000];
    memset(bytes, 'z', sizeof bytes);
    for (int i = 0; i < count; i++)
        assert_ok(toon_append(self->store, toon_str("k"),
                              toon_bytes(bytes, size), NULL));
    return pieces_of(self, "k");
}

static void pieces_of_a_size_become_one_of_the_next(void **state) {
    struct fixture *self = *state;
    put(self, "k", ""); /* the first piece */
    assert_int_equal(pieces_after(self, 62, 63), 63);
    assert_int_equal(pieces_after(self, 1, 63), 1);
    assert_int_equal(pieces_after(self, 63, 1), 64);
    assert_int_equal(pieces_after(self, 1, 1), 2); /* 63 * 63 and 64 */
    assert_int_equal(pieces_after(self, 60, 64), 62);
    assert_int_equal(pieces_after(self, 63, 63), 125);
    assert_int_equal(pieces_after(self, 1, 63), 63);   /* the tiny ones */
    assert_int_equal(pieces_after(self, 63, 63), 126); /* the most there are */
    assert_int_equal(pieces_after(self, 1, 63), 1);    /* all: a full one */
    assert_int_equal(pieces_after(self, 63, 4095), 64);
    assert_int_equal(pieces_after(self, 1, 4095), 2);
    assert_int_equal(pieces_after(self, 10, 4096),
                     12); /* full from the start */
    assert_int_equal(pieces_after(self, 10, 63), 22);
    assert_int_equal(pieces_after(self, 10, 64), 32);
    assert_int_equal(pieces_after(self, 1, 4096), 13); /* takes them in */
    assert_int_equal(pieces_after(self, 63, 1), 76);
    assert_int_equal(pieces_after(self, 1, 64), 14); /* tiny ones count too */
}

/* Whatever sizes come, few pieces are not full ones. */
static void a_value_is_in_few_pieces(void **state) {
    struct fixture *self = *state;
    char bytes[6000];
    uint64_t random = 7;
    size_t size = 0;
    memset(bytes, 'y', sizeof bytes);
    for (int i = 0; i < 6000; i++) {
        static const size_t most[] = {1, 1, 3, 60, 64, 65, 200, 4095, 4096};
        random = random * 6364136223846793005u + 1442695040888963407u;
        size_t limit = most[(random >> 33) % 9];
        size_t count = 1 + (random >> 40) % limit;
        size += count;
        add(self, "k", bytes, count, size);
        if (i % 10 == 0)
            assert_in_range(pieces_of(self, "k"), 1, 126 + size / 4096);
    }
    assert_int_equal(size_of(self, "k"), size);
}

/* By a value's facts as by a walk over what is left of it. */
static void what_is_replaced_is_garbage_to_the_last_byte(void **state) {
    struct fixture *self = *state;
    toon_set_options options = {.flags = TOON_SET_MODE, .mode = 0700};
    toon_stats before, after;
    put(self, "other", "value");
    toon_stat(self->store, &before);
    for (int i = 0; i < 4; i++) {
        if (i % 2 == 1)
            assert_ok(
                toon_set(self->store, toon_str("log"), toon_str(""), &options));
        add_lines(self, "log", 0, 777);
        if (i >= 2) { /* nothing is known of it then */
            reopen(self);
            assert_int_equal(size_of(self, "other"), 5);
        }
        assert_ok(toon_delete(self->store, toon_str("log"), 0, NULL));
        toon_stat(self->store, &after);
        assert_int_equal(after.live_bytes, before.live_bytes);
    }
}

/* --------------------------------------------------------- what it reads */

static toon_io io;

/* In the hostile build the index is saved again and again, which reads too. */
#ifdef TOON_HOSTILE
#define READS_MAX(bytes) SIZE_MAX
#else
#define READS_MAX(bytes) (bytes)
#endif

/* On a disk of which nothing can be mapped, so that reads are counted. */
static int counting_setup(void **state) {
    struct fixture *self = calloc(1, sizeof *self);
    memset(&faulty, 0, sizeof faulty);
    faulty.map_fails = true;
    io = faulty_io();
    (void)snprintf(self->dir, sizeof self->dir, "/tmp/toon-unit-XXXXXX");
    if (mkdtemp(self->dir) == NULL)
        return -1;
    self->options.sync = TOON_SYNC_NO;
    self->options.cache_policy = TOON_CACHE_NONE;
    self->options.compact_garbage = 100;
    *state = self;
    return toon_open_on(&io, self->dir, &self->options, &self->store);
}

static int counting_teardown(void **state) {
    memset(&faulty, 0, sizeof faulty);
    return fixture_teardown(state);
}

static void an_append_reads_no_more_of_a_longer_value(void **state) {
    struct fixture *self = *state;
    size_t first = 0;
    for (int i = 0; i < LINES; i += LINES / 10) {
        faulty.read_bytes = 0;
        add_lines(self, "log", i, i + LINES / 10);
        if (i == 0)
            first = faulty.read_bytes;
        /* The newest piece each time, and at a merge a page for each: once for
         * its bytes, once to count it as garbage. */
        assert_in_range(faulty.read_bytes, 1, READS_MAX(first + first / 8));
    }
    assert_in_range(first, 1, LINES / 10 * (200 + 2 * 4096));
    assert_lines(self, "log", LINES);
}

static void a_stat_reads_one_piece(void **state) {
    struct fixture *self = *state;
    add_lines(self, "log", 0, LINES);
    faulty.read_bytes = 0;
    assert_int_equal(size_of(self, "log"), LINES * LINE);
    assert_in_range(faulty.read_bytes, 1, READS_MAX(200));
}

static void meta_and_rename_leave_it_known(void **state) {
    struct fixture *self = *state;
    toon_meta meta = {.mode = 0700, .expires_ms = INT64_MAX / 2};
    add_lines(self, "log", 0, LINES);
    faulty.read_bytes = 0;
    assert_ok(
        toon_set_meta(self->store, toon_str("log"), TOON_META_MODE, &meta));
    assert_ok(toon_rename(self->store, toon_str("log"), toon_str("log.1"), 0));
    assert_ok(toon_set_meta(self->store, toon_str("log.1"), TOON_META_EXPIRES,
                            &meta));
    add_lines(self, "log.1", LINES, LINES + 10);
    assert_int_equal(size_of(self, "log.1"), (LINES + 10) * LINE);
    assert_ok(toon_delete(self->store, toon_str("log.1"), 0, NULL));
    assert_in_range(faulty.read_bytes, 1, READS_MAX(40 * 4096));
}

/* Puts a quote where none may stand, which who counts a value's bytes sees. */
static void spoil(struct fixture *self) {
    char path[128];
    path_of(self, "db.toon", path);
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "\"", 1, 500000), 1);
    assert_int_equal(close(fd), 0);
}

enum { LARGE = 2 << 20 };

static void a_large_value_is_known_once_it_is_written(void **state) {
    struct fixture *self = *state;
    toon_key_stat stat;
    char *text = malloc(LARGE);
    memset(text, 'x', LARGE);
    text[LARGE - 1] = '\n';
    assert_ok(
        toon_set(self->store, toon_str("k"), toon_bytes(text, LARGE), NULL));
    free(text);
    put(self, "last", "which is read when the store is opened");
    spoil(self);
    assert_int_equal(size_of(self, "k"), LARGE);
    reopen(self);
    assert_int_equal(toon_stat_key(self->store, toon_str("k"), &stat),
                     TOON_CORRUPT);
}

static void and_once_it_is_compacted(void **state) {
    struct fixture *self = *state;
    add_lines(self, "log", 0, LARGE / LINE);
    assert_ok(toon_compact(self->store, NULL, NULL));
    spoil(self);
    assert_int_equal(size_of(self, "log"), LARGE / LINE * LINE);
    add(self, "log", "+", 1, LARGE / LINE * LINE + 1);
}

/* ------------------------------------------------- never that of another */

/* So long that its size is remembered; every eighth letter is an escape. */
#define LONG_TEXT ((size_t)50001)

static void set_long(struct fixture *self, const char *key) {
    char *text = malloc(LONG_TEXT);
    for (size_t i = 0; i < LONG_TEXT; i++)
        text[i] = i % 8 == 0 ? '"' : 'x';
    assert_ok(toon_set(self->store, toon_str(key), toon_bytes(text, LONG_TEXT),
                       NULL));
    free(text);
}

static void assert_long(struct fixture *self, const char *key) {
    toon_value value;
    assert_int_equal(size_of(self, key), LONG_TEXT);
    add(self, key, "+", 1, LONG_TEXT + 1);
    assert_int_equal(size_of(self, key), LONG_TEXT + 1);
    assert_ok(toon_get(self->store, toon_str(key), &value));
    assert_int_equal(value.size, LONG_TEXT + 1);
    toon_value_release(&value);
}

static void what_a_batch_undid_is_forgotten(void **state) {
    struct fixture *self = *state;
    add_lines(self, "log", 0, 200);
    uint64_t offset = log_bytes(self);
    assert_ok(toon_batch_begin(self->store));
    add_lines(self, "log", 200, 201);
    assert_int_equal(size_of(self, "log"), 201 * LINE);
    toon_batch_cancel(self->store);
    set_long(self, "log2"); /* where the line was */
    assert_true(log_bytes(self) > offset);
    assert_long(self, "log2");
    assert_lines(self, "log", 200);
    add_lines(self, "log", 200, 300);
    assert_lines(self, "log", 300);
}

static void and_what_a_failing_disk_undid(void **state) {
    struct fixture *self = *state;
    char line[LINE];
    size_t size;
    line_of(200, line);
    add_lines(self, "log", 0, 200);
    faulty.write_errno = ENOSPC;
    assert_int_equal(toon_append(self->store, toon_str("log"),
                                 toon_bytes(line, LINE), &size),
                     TOON_FULL);
    faulty.write_errno = 0;
    set_long(self, "log2");
    assert_long(self, "log2");
    add_lines(self, "log", 200, 300);
    assert_lines(self, "log", 300);
}

static void and_what_was_cleared(void **state) {
    struct fixture *self = *state;
    char filler[8000];
    memset(filler, 'f', sizeof filler);
    add_lines(self, "log", 0, 40);
    uint64_t newest = log_bytes(self);
    add_lines(self, "log", 40, 41);
    assert_ok(toon_clear(self->store));
    uint64_t start = log_bytes(self);
    put(self, "f", "ff");
    uint64_t around = log_bytes(self) - start - 2;
    size_t fill = (size_t)(newest - log_bytes(self) - around);
    assert_ok(
        toon_set(self->store, toon_str("f"), toon_bytes(filler, fill), NULL));
    assert_int_equal(log_bytes(self), newest);
    set_long(self, "log2"); /* where the newest line was */
    assert_long(self, "log2");
}

/* The new log begins with another value where the old one began with one. */
static void and_what_was_compacted_away(void **state) {
    struct fixture *self = *state;
    toon_stats stats;
    add_lines(self, "rows", 0, 200); /* both logs' first has three digits */
    assert_ok(toon_delete(self->store, toon_str("rows"), 0, NULL));
    assert_ok(toon_compact(self->store, NULL, NULL));
    uint64_t start = log_bytes(self);
    set_long(self, "gone");
    assert_int_equal(size_of(self, "gone"), LONG_TEXT);
    add_lines(self, "log", 0, 300);
    assert_ok(toon_delete(self->store, toon_str("gone"), 0, NULL));
    assert_ok(toon_compact(self->store, NULL, NULL));
    toon_stat(self->store, &stats);
    assert_int_equal(stats.log_bytes - stats.live_bytes, start);
    assert_int_equal(pieces_of(self, "log"), 1);
    assert_lines(self, "log", 300);
    add_lines(self, "log", 300, 500);
    assert_lines(self, "log", 500);
}

/* ----------------------------------------------- beside a compaction */

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
        toon_slice view = toon_log_view(log, at, 0);
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

static void a_value_in_two_records_is_one_change(void **state) {
    static const toon_pause alone = {0};
    struct fixture *self = *state;
    toon_compaction compaction;
    size_t sizes[100];
    char *base = calloc(1, LONG_TEXT);
    assert_ok(toon_set(self->store, toon_str("log"),
                       toon_bytes(base, LONG_TEXT), NULL));
    free(base);
    add(self, "log", "+", 1, LONG_TEXT + 1);
    assert_ok(toon_compaction_begin(&compaction, &self->store->dir,
                                    atomic_load(&self->store->volume), 0,
                                    &alone));
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
        assert_true(sizes[i] == 0 || sizes[i] == LONG_TEXT + 1);
    toon_compaction_end(&compaction);
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
    reopen(self); /* with no index that fits: the log tells all */
    toon_stat(self->store, &stats);
    assert_int_equal(stats.live_bytes, live_bytes);
}

enum { ROUNDS_BESIDE = 80 };

/* Half of the rounds as copies that catch up, half as exact ones. Returns how
 * many bytes they wrote, but for the first ones. */
static uint64_t change_beside(struct fixture *self, bool renames, int *lines) {
    static const toon_pause alone = {0};
    toon_compaction compaction;
    uint64_t copied = 0;
    assert_ok(toon_compaction_begin(&compaction, &self->store->dir,
                                    atomic_load(&self->store->volume), 0,
                                    &alone));
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

/* Somebody who adds a line whenever a compaction lets go of the writers. */
struct busy {
    struct fixture *self;
    int lines, left;
};

static void add_after_pause(void *arg) {
    struct busy *busy = arg;
    if (busy->left == 0)
        return;
    busy->left--;
    add_lines(busy->self, "log", busy->lines, busy->lines + 3);
    busy->lines += 3;
}

/* Each record of the value is dead before it could be copied. */
static void what_grows_all_the_time_is_copied_ahead(void **state) {
    struct fixture *self = *state;
    struct busy busy = {.self = self, .lines = LINES, .left = 100};
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
    assert_in_range(rest, 1, 64 * 2 * LINE);
    open_copy(self, &compaction);
    assert_lines(self, "log", busy.lines);
}

/* ------------------------------------------------------------------ damage */

/* Overwrites one byte of the log, `back` from its end. */
static void damage(struct fixture *self, uint64_t offset) {
    char path[128];
    path_of(self, "db.toon", path);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    char byte;
    assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)offset), 1);
    assert_int_equal(close(fd), 0);
}

static void an_append_blesses_no_damage(void **state) {
    struct fixture *self = *state;
    toon_value value;
    size_t size;
    add_lines(self, "log", 0, 20);
    uint64_t middle = log_bytes(self);
    add_lines(self, "log", 20, 40);
    damage(self, middle + 30);
    /* What is known of the value is not read again: this damage shows when
     * the value is read, and when it is merged. */
    add_lines(self, "log", 40, 41);
    assert_int_equal(toon_get(self->store, toon_str("log"), &value),
                     TOON_CORRUPT);
    assert_int_equal(toon_last_error()->offset, middle);
    for (int i = 41; i < 63; i++)
        add_lines(self, "log", i, i + 1);
    uint64_t before = log_bytes(self);
    for (int i = 0; i < 2; i++)
        assert_int_equal(toon_append(self->store, toon_str("log"),
                                     toon_str("long enough to be no tiny piece,"
                                              " so it needs a merge; and more"
                                              " than that"),
                                     &size),
                         TOON_CORRUPT);
    assert_int_equal(log_bytes(self), before);
    reopen(self);
    assert_int_equal(
        toon_append(self->store, toon_str("log"), toon_str("x"), &size),
        TOON_CORRUPT);
    assert_int_equal(toon_get(self->store, toon_str("log"), &value),
                     TOON_CORRUPT);
    put(self, "log", "new");
    assert_value(self, "log", "new");
}

static void a_damaged_base_that_is_long_is_found_when_it_is_read(void **state) {
    struct fixture *self = *state;
    toon_value value;
    uint64_t start = log_bytes(self);
    set_long(self, "k");
    reopen(self);
    damage(self, start + 30000);
    (void)toon_append(self->store, toon_str("k"), toon_str("+"), NULL);
    assert_int_equal(toon_get(self->store, toon_str("k"), &value),
                     TOON_CORRUPT);
}

/* ----------------------------------------------------------------- threads */

enum { PIECE = 70, ROUNDS = 3000 };

struct watch {
    struct fixture *self;
    _Atomic bool done;
    _Atomic(const char *) wrong;
};

static const char *look(struct fixture *self) {
    toon_slice key = toon_str("log");
    toon_key_stat stat;
    toon_value value;
    if (toon_stat_key(self->store, key, &stat) != TOON_OK ||
        stat.size % PIECE != 0)
        return "a size that was never there";
    if (toon_get(self->store, key, &value) != TOON_OK)
        return "a value that cannot be read";
    bool whole = value.size % PIECE == 0;
    toon_value_release(&value);
    return whole ? NULL : "a part of a piece";
}

static void *look_on(void *arg) {
    struct watch *watch = arg;
    while (!atomic_load(&watch->done)) {
        const char *wrong = look(watch->self);
        if (wrong != NULL)
            atomic_store(&watch->wrong, wrong);
    }
    return NULL;
}

/* Appends that stay, and appends that do not. */
static void readers_see_whole_pieces_alone(void **state) {
    struct fixture *self = *state;
    struct watch watch = {.self = self};
    pthread_t readers[2];
    char piece[PIECE];
    size_t kept = PIECE;
    memset(piece, 'p', PIECE);
    self->options.cache_policy = TOON_CACHE_S3FIFO;
    self->options.cache_entries_max = 1;
    reopen(self);
    add(self, "log", piece, PIECE, PIECE);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, look_on, &watch), 0);
    for (int i = 0; i < ROUNDS; i++) {
        if (i % 3 == 0) {
            assert_ok(toon_batch_begin(self->store));
            add(self, "log", piece, PIECE, kept + PIECE);
            add(self, "log", piece, PIECE, kept + 2 * PIECE);
            toon_batch_cancel(self->store);
        }
        kept += PIECE;
        add(self, "log", piece, PIECE, kept);
        if (i % 100 == 0)
            put(self, "other", "that takes the cache's only place");
    }
    atomic_store(&watch.done, true);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(readers[i], NULL), 0);
    if (watch.wrong != NULL)
        fail_msg("%s", watch.wrong);
    assert_int_equal(size_of(self, "log"), kept);
}

int main(void) {
#define APPEND_TEST(name)                                                      \
    cmocka_unit_test_setup_teardown(name, uncached_setup, fixture_teardown)
#define COUNTING_TEST(name)                                                    \
    cmocka_unit_test_setup_teardown(name, counting_setup, counting_teardown)
    const struct CMUnitTest tests[] = {
        APPEND_TEST(lines_write_at_most_three_times_their_bytes),
        APPEND_TEST(lines_of_a_script_write_no_more),
        APPEND_TEST(a_long_piece_is_written_once),
        APPEND_TEST(pieces_of_a_size_become_one_of_the_next),
        APPEND_TEST(a_value_is_in_few_pieces),
        APPEND_TEST(what_is_replaced_is_garbage_to_the_last_byte),
        COUNTING_TEST(an_append_reads_no_more_of_a_longer_value),
        COUNTING_TEST(a_stat_reads_one_piece),
        COUNTING_TEST(meta_and_rename_leave_it_known),
        APPEND_TEST(a_large_value_is_known_once_it_is_written),
        APPEND_TEST(and_once_it_is_compacted),
        APPEND_TEST(what_a_batch_undid_is_forgotten),
        COUNTING_TEST(and_what_a_failing_disk_undid),
        APPEND_TEST(and_what_was_cleared),
        APPEND_TEST(and_what_was_compacted_away),
        APPEND_TEST(what_grows_meanwhile_is_not_copied_again),
        APPEND_TEST(and_what_is_renamed_meanwhile_is_right),
        APPEND_TEST(a_value_in_two_records_is_one_change),
        APPEND_TEST(what_grows_all_the_time_is_copied_ahead),
        APPEND_TEST(an_append_blesses_no_damage),
        APPEND_TEST(a_damaged_base_that_is_long_is_found_when_it_is_read),
        APPEND_TEST(readers_see_whole_pieces_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
