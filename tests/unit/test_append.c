/*
 * test_append.c - what an append costs in the log, what of the log it reads,
 * and that what is remembered of a value is never that of another.
 */
#include "append_fixture.h"
#include "epoch.h"
#include "faulty_io.h"
#include "key_hash.h"
#include "store_internal.h"

#include <pthread.h>

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

/* On a disk of which nothing can be mapped, so that reads are counted; nobody
 * saves an index meanwhile, which reads too. */
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
    if (toon_open_on(&io, self->dir, &self->options, &self->store) != TOON_OK)
        return -1;
    toon_care_stop(self->store);
    return 0;
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
        assert_in_range(faulty.read_bytes, 1, first + first / 8);
    }
    assert_in_range(first, 1, LINES / 10 * (200 + 2 * 4096));
    assert_lines(self, "log", LINES);
}

static void a_stat_reads_one_piece(void **state) {
    struct fixture *self = *state;
    add_lines(self, "log", 0, LINES);
    faulty.read_bytes = 0;
    assert_int_equal(size_of(self, "log"), LINES * LINE);
    assert_in_range(faulty.read_bytes, 1, 200);
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
    assert_in_range(faulty.read_bytes, 1, 40 * 4096);
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

/* Also the index, which leaves a mark in the new log. */
static void compact(struct fixture *self) {
    toon_stats before, after;
    toon_stat(self->store, &before);
    assert_ok(toon_compact(self->store, NULL, NULL));
    do {
        toon_stat(self->store, &after);
        assert_int_equal(usleep(1000), 0);
    } while (after.checkpoints == before.checkpoints);
}

/* The new log begins with another value where the old one began with one. */
static void and_what_was_compacted_away(void **state) {
    struct fixture *self = *state;
    toon_stats stats;
    add_lines(self, "rows", 0, 200); /* both logs' first has three digits */
    assert_ok(toon_delete(self->store, toon_str("rows"), 0, NULL));
    compact(self);
    uint64_t start = log_bytes(self);
    set_long(self, "gone");
    assert_int_equal(size_of(self, "gone"), LONG_TEXT);
    add_lines(self, "log", 0, 300);
    assert_ok(toon_delete(self->store, toon_str("gone"), 0, NULL));
    compact(self);
    toon_stat(self->store, &stats);
    assert_int_equal(stats.log_bytes - stats.live_bytes, start);
    assert_int_equal(pieces_of(self, "log"), 1);
    assert_lines(self, "log", 300);
    add_lines(self, "log", 300, 500);
    assert_lines(self, "log", 500);
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
        APPEND_TEST(an_append_blesses_no_damage),
        APPEND_TEST(a_damaged_base_that_is_long_is_found_when_it_is_read),
        APPEND_TEST(readers_see_whole_pieces_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
