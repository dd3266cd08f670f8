/* test_recover.c - opening after crashes, over torn ends and damage. */
#include "crc32c.h"
#include "fixture.h"
#include "record.h"

#include <inttypes.h>

/* ---------------------------------------------------------------- helpers */

/* What a kill leaves: the files as they are now, in a directory of its own. */
struct crash {
    struct fixture copy;
    char text[400]; /* the last message */
};

static void note_message(void *arg, toon_message_level level,
                         const char *text) {
    struct crash *crash = arg;
    (void)level;
    (void)snprintf(crash->text, sizeof crash->text, "%s", text);
}

static void copy_file(const struct fixture *from, const struct fixture *to,
                      const char *name) {
    size_t size;
    if (!file_exists(from, name))
        return;
    char *bytes = slurp(from, name, &size);
    spill(to, name, bytes, size);
    free(bytes);
}

static void crash_now(const struct fixture *self, struct crash *crash) {
    *crash = (struct crash){0};
    (void)snprintf(crash->copy.dir, sizeof crash->copy.dir,
                   "/tmp/toon-unit-XXXXXX");
    assert_non_null(mkdtemp(crash->copy.dir));
    crash->copy.options.sync = TOON_SYNC_NO;
    crash->copy.options.message = note_message;
    crash->copy.options.message_arg = crash;
    copy_file(self, &crash->copy, "db.toon");
    copy_file(self, &crash->copy, "db.toon.idx");
}

static void crash_over(struct crash *crash) {
    if (crash->copy.store != NULL)
        (void)toon_close(crash->copy.store);
    remove_files(crash->copy.dir);
    (void)rmdir(crash->copy.dir);
}

static toon_err try_open(struct fixture *self) {
    return toon_open(self->dir, &self->options, &self->store);
}

static size_t log_size(const struct fixture *self) {
    size_t size;
    free(slurp(self, "db.toon", &size));
    return size;
}

static void flip(const struct fixture *self, const char *name, size_t at) {
    size_t size;
    char *bytes = slurp(self, name, &size);
    assert_true(at < size);
    bytes[at] = (char)(bytes[at] ^ 0x10);
    spill(self, name, bytes, size);
    free(bytes);
}

/* ---------------------------------------------------------- after a crash */

static void what_was_written_is_there_after_a_kill(void **state) {
    struct fixture *self = *state;
    struct crash crash;
    put(self, "in the index", "1");
    reopen(self);
    put(self, "in the tail", "2");
    assert_ok(toon_delete(self->store, toon_str("in the index"), 0, NULL));
    put(self, "in the tail", "3");
    crash_now(self, &crash);
    assert_ok(try_open(&crash.copy));
    assert_value(&crash.copy, "in the tail", "3");
    assert_absent(&crash.copy, "in the index");
    assert_string_equal(crash.text, "");
    crash_over(&crash);
    crash_now(self, &crash);
    remove_file(&crash.copy, "db.toon.idx");
    assert_ok(try_open(&crash.copy));
    assert_value(&crash.copy, "in the tail", "3");
    assert_absent(&crash.copy, "in the index");
    crash_over(&crash);
}

/* Cut at every byte behind what was synced: opening succeeds, whole batches
 * are there, and nothing else is. */
static void torn_tail_is_dropped_and_earlier_keys_survive(void **state) {
    struct fixture *self = *state;
    put(self, "durable", "yes");
    assert_ok(toon_sync(self->store));
    put(self, "first", "1");
    size_t first_end = log_size(self);
    assert_ok(toon_batch_begin(self->store));
    put(self, "a", "2");
    put(self, "b", "2");
    assert_ok(toon_delete(self->store, toon_str("first"), 0, NULL));
    assert_ok(toon_batch_commit(self->store));
    size_t batch_end = log_size(self);
    for (size_t size = first_end; size <= batch_end; size++) {
        struct crash crash;
        crash_now(self, &crash);
        char path[128];
        path_of(&crash.copy, "db.toon", path);
        assert_int_equal(truncate(path, (off_t)size), 0);
        assert_ok(try_open(&crash.copy));
        assert_value(&crash.copy, "durable", "yes");
        if (size < batch_end) {
            assert_value(&crash.copy, "first", "1");
            assert_absent(&crash.copy, "a");
            assert_absent(&crash.copy, "b");
            assert_int_equal(log_size(&crash.copy), first_end);
        } else {
            assert_absent(&crash.copy, "first");
            assert_value(&crash.copy, "b", "2");
        }
        bool torn = size > first_end && size < batch_end;
        assert_int_equal(file_exists(&crash.copy, "db.toon.torn-1"), torn);
        assert_int_equal(crash.text[0] != '\0', torn);
        crash_over(&crash);
    }
}

static void a_torn_end_of_zeros_is_cut_and_not_kept(void **state) {
    struct fixture *self = *state;
    struct crash crash;
    static const char zeros[5000];
    put(self, "k", "v");
    crash_now(self, &crash);
    size_t size;
    char *bytes = slurp(self, "db.toon", &size);
    bytes = realloc(bytes, size + sizeof zeros);
    memcpy(bytes + size, zeros, sizeof zeros);
    spill(&crash.copy, "db.toon", bytes, size + sizeof zeros);
    free(bytes);
    assert_ok(try_open(&crash.copy));
    assert_value(&crash.copy, "k", "v");
    assert_int_equal(log_size(&crash.copy), size);
    assert_false(file_exists(&crash.copy, "db.toon.torn-1"));
    toon_stats stats;
    toon_stat(crash.copy.store, &stats);
    assert_int_equal(stats.torn_bytes, sizeof zeros);
    crash_over(&crash);
}

/* Valid records behind a torn one do not come back: they may have overtaken
 * others on their way to the disk. */
static void nothing_behind_a_torn_record_comes_back(void **state) {
    struct fixture *self = *state;
    struct crash crash;
    put(self, "a", "1");
    size_t torn_at = log_size(self);
    put(self, "b", "2");
    put(self, "c", "3");
    crash_now(self, &crash);
    flip(&crash.copy, "db.toon", torn_at + 2);
    assert_ok(try_open(&crash.copy));
    assert_value(&crash.copy, "a", "1");
    assert_absent(&crash.copy, "b");
    assert_absent(&crash.copy, "c");
    assert_true(file_exists(&crash.copy, "db.toon.torn-1"));
    put(&crash.copy, "d", "4");
    reopen(&crash.copy);
    assert_value(&crash.copy, "d", "4");
    crash_over(&crash);
}

/* ------------------------------------------------------------------ damage */

static void a_mark_behind_bad_bytes_makes_them_damage(void **state) {
    struct fixture *self = *state;
    struct crash crash;
    put(self, "a", "1");
    size_t bad_at = log_size(self);
    put(self, "b", "2");
    assert_ok(toon_sync(self->store));
    put(self, "c", "3"); /* starts with the mark */
    size_t size = log_size(self);
    crash_now(self, &crash);
    flip(&crash.copy, "db.toon", bad_at + 2);
    assert_int_equal(try_open(&crash.copy), TOON_CORRUPT);
    char offset[32];
    (void)snprintf(offset, sizeof offset, "%zu", bad_at);
    assert_non_null(strstr(toon_last_error()->text, offset));
    assert_int_equal(toon_last_error()->offset, bad_at);
    assert_int_equal(log_size(&crash.copy), size); /* nothing was cut */
    crash_over(&crash);
}

/* Nothing follows the sync, no index tells of it: the log itself does. */
static void damage_below_the_last_sync_is_no_torn_end(void **state) {
    struct fixture *self = *state;
    struct crash crash;
    put(self, "a", "1");
    size_t bad_at = log_size(self);
    put(self, "b", "2");
    assert_ok(toon_sync(self->store));
    crash_now(self, &crash);
    flip(&crash.copy, "db.toon", bad_at + 2);
    assert_int_equal(try_open(&crash.copy), TOON_CORRUPT);
    crash_over(&crash);
    size_t size = log_size(self);
    assert_ok(toon_sync(self->store)); /* a mark is not marked again */
    assert_int_equal(log_size(self), size);
    close_store(self);
    crash_now(self, &crash);
    remove_file(&crash.copy, "db.toon.idx");
    flip(&crash.copy, "db.toon", bad_at + 2);
    assert_int_equal(try_open(&crash.copy), TOON_CORRUPT);
    crash_over(&crash);
}

/* As an editor leaves a log from which something was deleted. */
static void remove_bytes(const struct fixture *self, size_t at, size_t count) {
    size_t size;
    char *log = slurp(self, "db.toon", &size);
    memmove(log + at, log + at + count, size - at - count);
    spill(self, "db.toon", log, size - count);
    free(log);
}

/* Then no mark behind stands where it was, and each names more than there is
 * before it. */
static void bytes_that_are_missing_are_damage(void **state) {
    struct fixture *self = *state;
    struct crash crash;
    size_t start = 0;
    size_t end = 0;
    for (int i = 0; i < 20; i++) {
        char key[8];
        if (i == 7)
            start = log_size(self);
        (void)snprintf(key, sizeof key, "k%d", i);
        put(self, key, "value");
        if (i == 7)
            end = log_size(self);
        if (i % 5 == 4)
            assert_ok(toon_sync(self->store));
    }
    for (size_t count = 1; count <= end - start; count++) {
        toon_check_report check;
        toon_repair_report repair;
        crash_now(self, &crash);
        remove_bytes(&crash.copy, start, count);
        size_t size = log_size(&crash.copy);
        assert_int_equal(try_open(&crash.copy), TOON_CORRUPT);
        assert_int_equal(log_size(&crash.copy), size); /* nothing was cut */
        assert_int_equal(toon_check(crash.copy.dir, NULL, NULL, NULL, &check),
                         TOON_CORRUPT);
        assert_ok(toon_repair(crash.copy.dir, NULL, NULL, NULL, &repair));
        reopen(&crash.copy);
        assert_absent(&crash.copy, "k7");
        for (int i = 0; i < 20; i++) {
            char key[8];
            (void)snprintf(key, sizeof key, "k%d", i);
            if (i != 7 && i != 8) /* that one may have been a batch's end */
                assert_value(&crash.copy, key, "value");
        }
        close_store(&crash.copy);
        crash_over(&crash);
    }
}

static void a_damaged_last_record_of_the_index_is_damage(void **state) {
    struct fixture *self = *state;
    put(self, "a", "1");
    size_t bad_at = log_size(self);
    put(self, "b", "2");
    close_store(self);
    flip(self, "db.toon", bad_at + 2);
    assert_int_equal(try_open(self), TOON_CORRUPT);
    assert_int_equal(toon_last_error()->offset, bad_at);
    toon_check_report report;
    assert_int_equal(toon_check(self->dir, NULL, NULL, NULL, &report),
                     TOON_CORRUPT);
}

/* Replaying the log comes to the same figures as making the changes did. */
static void replay_counts_live_bytes_as_the_changes_did(void **state) {
    struct fixture *self = *state;
    struct crash crash;
    toon_stats before, after;
    put(self, "a", "the value of a");
    put(self, "b", "the value of b, a longer one");
    put(self, "c", "third");
    assert_ok(toon_rename(self->store, toon_str("a"), toon_str("b"),
                          TOON_RENAME_EXCHANGE));
    assert_ok(toon_append(self->store, toon_str("a"), toon_str("+"), NULL));
    assert_ok(toon_rename(self->store, toon_str("c"), toon_str("d"), 0));
    assert_ok(toon_rename(self->store, toon_str("d"), toon_str("b"), 0));
    toon_stat(self->store, &before);
    crash_now(self, &crash);
    assert_ok(try_open(&crash.copy));
    toon_stat(crash.copy.store, &after);
    assert_int_equal(after.live_bytes, before.live_bytes);
    assert_ok(toon_delete(crash.copy.store, toon_str("a"), 0, NULL));
    assert_ok(toon_delete(crash.copy.store, toon_str("b"), 0, NULL));
    toon_stat(crash.copy.store, &after);
    assert_int_equal(after.live_bytes, 0);
    crash_over(&crash);
}

static bool note_key(void *arg, toon_slice key, const toon_key_stat *stat) {
    char *text = arg;
    (void)stat;
    (void)strncat(text, key.data, key.size);
    return true;
}

static void a_healed_key_is_listed_again(void **state) {
    struct fixture *self = *state;
    toon_range_options all = {.limit = 0};
    char listed[16] = "";
    size_t bad_at = log_size(self);
    put(self, "a", "1");
    put(self, "b", "2");
    close_store(self);
    flip(self, "db.toon", bad_at + 2);
    reopen(self);
    assert_ok(toon_range(self->store, &all, note_key, listed));
    assert_string_equal(listed, "b");
    put(self, "a", "new");
    listed[0] = '\0';
    assert_ok(toon_range(self->store, &all, note_key, listed));
    assert_string_equal(listed, "ab");
}

static void a_log_shorter_than_its_index_is_damage(void **state) {
    struct fixture *self = *state;
    char path[128];
    put(self, "a", "1");
    put(self, "b", "2");
    close_store(self);
    size_t size = log_size(self);
    path_of(self, "db.toon", path);
    assert_int_equal(truncate(path, (off_t)size - 1), 0);
    assert_int_equal(try_open(self), TOON_CORRUPT);
    assert_int_equal(log_size(self), size - 1);
}

/* Below what opening reads, damage is found when the record is read. */
static void a_damaged_record_fails_alone(void **state) {
    struct fixture *self = *state;
    put(self, "a", "value a");
    size_t bad_at = log_size(self);
    put(self, "b", "value b");
    put(self, "c", "value c");
    close_store(self);
    flip(self, "db.toon", bad_at + 7);
    reopen(self);
    toon_value value;
    assert_value(self, "a", "value a");
    assert_value(self, "c", "value c");
    assert_int_equal(toon_get(self->store, toon_str("b"), &value),
                     TOON_CORRUPT);
    assert_int_equal(toon_last_error()->offset, bad_at);
    assert_int_equal(
        toon_append(self->store, toon_str("b"), toon_str("x"), NULL),
        TOON_CORRUPT);
    put(self, "b", "new"); /* a whole new value heals it */
    assert_value(self, "b", "new");
    toon_check_report report;
    close_store(self);
    assert_int_equal(toon_check(self->dir, NULL, NULL, NULL, &report),
                     TOON_CORRUPT);
    assert_int_equal(report.damaged, 1);
}

/* Every byte of the file, one after the other: opening and reading all keys
 * either gives the right values or says what is wrong. */
static void no_flipped_byte_goes_unnoticed(void **state) {
    struct fixture *self = *state;
    put(self, "a", "value of a");
    assert_ok(toon_append(self->store, toon_str("a"), toon_str("+"), NULL));
    put(self, "b", "value of b");
    assert_ok(toon_rename(self->store, toon_str("b"), toon_str("c"), 0));
    assert_ok(toon_sync(self->store));
    put(self, "d", "x");
    close_store(self);
    remove_file(self, "db.toon.idx");
    size_t size = log_size(self);
    size_t last = size - strlen("d[4]: x,1732300000000,0,s25d9ec82\n");
    for (size_t at = 0; at < last; at++) {
        toon_check_report report;
        flip(self, "db.toon", at);
        toon_err err = toon_check(self->dir, NULL, NULL, NULL, &report);
        if (err == TOON_OK && report.torn_bytes == 0)
            fail_msg("byte %zu", at);
        flip(self, "db.toon", at);
    }
    toon_check_report report;
    assert_ok(toon_check(self->dir, NULL, NULL, NULL, &report));
    assert_int_equal(report.live_keys, 3);
    assert_int_equal(report.torn_bytes, 0);
}

/* ------------------------------------------------------------------- index */

static void an_index_that_does_not_fit_is_made_anew(void **state) {
    struct fixture *self = *state;
    size_t size;
    put(self, "a", "1");
    put(self, "b", "2");
    close_store(self);
    char *index = slurp(self, "db.toon.idx", &size);
    for (size_t at = 0; at < size; at++) {
        flip(self, "db.toon.idx", at);
        reopen(self);
        assert_value(self, "a", "1");
        assert_value(self, "b", "2");
        close_store(self);
    }
    for (size_t cut = 0; cut < size; cut++) {
        spill(self, "db.toon.idx", index, cut);
        reopen(self);
        assert_value(self, "b", "2");
        close_store(self);
    }
    free(index);
}

static void an_index_of_another_log_is_not_believed(void **state) {
    struct fixture *self = *state;
    struct crash other;
    put(self, "a", "1");
    close_store(self);
    crash_now(self, &other);
    remove_file(&other.copy, "db.toon");
    remove_file(&other.copy, "db.toon.idx");
    assert_ok(try_open(&other.copy));
    put(&other.copy, "x", "1");
    close_store(&other.copy);
    copy_file(&other.copy, self, "db.toon.idx");
    reopen(self);
    assert_value(self, "a", "1");
    assert_absent(self, "x");
    crash_over(&other);
}

static void an_index_from_the_past_is_completed_from_the_tail(void **state) {
    struct fixture *self = *state;
    size_t size;
    put(self, "a", "1");
    put(self, "b", "1");
    close_store(self);
    char *index = slurp(self, "db.toon.idx", &size);
    reopen(self);
    put(self, "a", "2");
    assert_ok(toon_delete(self->store, toon_str("b"), 0, NULL));
    assert_ok(toon_append(self->store, toon_str("a"), toon_str("3"), NULL));
    close_store(self);
    spill(self, "db.toon.idx", index, size);
    free(index);
    reopen(self);
    assert_value(self, "a", "23");
    assert_absent(self, "b");
    toon_stats stats;
    toon_stat(self->store, &stats);
    assert_int_equal(stats.rows, 5);
    assert_int_equal(stats.keys, 1);
}

/* The ancestor's reader: count, offsets, and from each the bytes up to the
 * next LF. It must find exactly the lines of live rows. */
static void the_ancestors_reader_finds_the_live_rows(void **state) {
    struct fixture *self = *state;
    put(self, "a", "old");
    put(self, "b", "stays");
    put(self, "a", "new");
    put(self, "c", "goes");
    assert_ok(toon_delete(self->store, toon_str("c"), 0, NULL));
    reopen(self); /* rows 0 to 4 now come from the index before */
    put(self, "d", "later");
    close_store(self);
    size_t index_size, size;
    char *index = slurp(self, "db.toon.idx", &index_size);
    char *log = slurp(self, "db.toon", &size);
    static const char *const starts[] = {NULL, "b[4]: stays,", "a[4]: new,",
                                         NULL, NULL,           "d[4]: later,"};
    assert_memory_equal(index, "TOONIDX1\x06\0\0\0", 12);
    for (size_t row = 0; row < 6; row++) {
        uint64_t offset;
        memcpy(&offset, index + 12 + row * 8, 8);
        if (starts[row] == NULL) {
            assert_int_equal(offset, 0);
            continue;
        }
        assert_true(offset < size);
        assert_memory_equal(log + offset, starts[row], strlen(starts[row]));
    }
    uint32_t hint;
    memcpy(&hint, log + 12, 4);
    assert_int_equal(hint, 6);
    free(index);
    free(log);
}

/* ---------------------------------------------------- what is no store of ours */

static void assert_refused(struct fixture *self, const void *bytes, size_t size,
                           toon_err err) {
    size_t after;
    remove_file(self, "db.toon.idx");
    spill(self, "db.toon", bytes, size);
    assert_int_equal(try_open(self), err);
    char *now = slurp(self, "db.toon", &after);
    assert_int_equal(after, size);
    assert_memory_equal(now, bytes, size);
    free(now);
}

static void foreign_files_are_refused_untouched(void **state) {
    struct fixture *self = *state;
    size_t size;
    put(self, "a", "1");
    close_store(self);
    char *log = slurp(self, "db.toon", &size);
    assert_refused(self, "", 0, TOON_CORRUPT);
    assert_refused(self, log, 15, TOON_CORRUPT);
    assert_refused(self, log, 100, TOON_CORRUPT); /* half a headline */
    log[0] = 'X';
    assert_refused(self, log, size, TOON_CORRUPT);
    log[0] = 'T';
    log[8] = 1;
    assert_refused(self, log, size, TOON_VERSION);
    log[8] = 3;
    assert_refused(self, log, size, TOON_VERSION);
    log[8] = 2;
    log[20] ^= 1;
    assert_refused(self, log, size, TOON_CORRUPT);
    log[20] ^= 1;
    spill(self, "db.toon", log, size);
    free(log);
    assert_ok(try_open(self));
    assert_value(self, "a", "1");
}

/* Each version but ours is named, and nothing is written. */
static void an_unknown_version_is_refused_and_named(void **state) {
    struct fixture *self = *state;
    static const unsigned char versions[] = {0, 1, 3, 4, 6, 255};
    size_t size;
    put(self, "a", "1");
    close_store(self);
    char *log = slurp(self, "db.toon", &size);
    for (size_t i = 0; i < sizeof versions; i++) {
        char text[32];
        log[8] = (char)versions[i];
        assert_refused(self, log, size, TOON_VERSION);
        assert_int_equal(toon_last_error()->offset, 8);
        (void)snprintf(text, sizeof text, "version %d", versions[i]);
        assert_non_null(strstr(toon_last_error()->text, text));
    }
    log[8] = 2;
    log[11] = 1;
    assert_refused(self, log, size, TOON_VERSION);
    free(log);
}

/* A line with a right CRC, made from what stands behind `salt=`. */
static size_t add_line(const struct fixture *self, const char *text) {
    size_t size;
    char line[200];
    char *log = slurp(self, "db.toon", &size);
    uint32_t salt = (uint32_t)strtoul(strstr(log + 16, "salt=") + 5, NULL, 16);
    uint32_t crc = toon_crc32c(salt, text, strlen(text));
    int more = snprintf(line, sizeof line, "%s%08x\n", text, crc);
    log = realloc(log, size + (size_t)more);
    assert_non_null(log);
    memcpy(log + size, line, (size_t)more);
    spill(self, "db.toon", log, size + (size_t)more);
    free(log);
    return size;
}

/* A whole record that we cannot read was written by a newer program. */
static void a_reserved_type_is_a_version_and_no_torn_end(void **state) {
    struct fixture *self = *state;
    static const char types[] = "lhmgG";
    put(self, "a", "1");
    close_store(self);
    for (size_t i = 0; i < sizeof types - 1; i++) {
        struct crash crash;
        char line[64], text[64];
        crash_now(self, &crash);
        (void)snprintf(line, sizeof line, "k[5]: YQ==,Yg==,1732300000000,0,%c",
                       types[i]);
        size_t at = add_line(&crash.copy, line);
        size_t size = log_size(&crash.copy);
        assert_int_equal(try_open(&crash.copy), TOON_VERSION);
        assert_int_equal(toon_last_error()->offset, at);
        (void)snprintf(text, sizeof text, "type %c", types[i] | 0x20);
        assert_non_null(strstr(toon_last_error()->text, text));
        crash.copy.options.flags = TOON_OPEN_READ_ONLY;
        assert_int_equal(try_open(&crash.copy), TOON_VERSION);
        assert_int_equal(log_size(&crash.copy), size);
        assert_false(file_exists(&crash.copy, "db.toon.torn-1"));
        crash_over(&crash);
    }
}

static void a_log_that_is_gone_is_not_begun_anew(void **state) {
    struct fixture *self = *state;
    put(self, "a", "1");
    close_store(self);
    remove_file(self, "db.toon");
    assert_int_equal(try_open(self), TOON_CORRUPT);
    assert_false(file_exists(self, "db.toon"));
    self->options.flags = TOON_OPEN_NO_CREATE;
    assert_int_equal(try_open(self), TOON_CORRUPT);
    self->options.flags = TOON_OPEN_READ_ONLY;
    assert_int_equal(try_open(self), TOON_CORRUPT);
    self->options.flags = 0;
    remove_file(self, "db.toon.idx");
    assert_ok(try_open(self));
    assert_absent(self, "a");
}

/* The header's count is no authority, but a reason to say something. */
static void rows_that_the_header_counts_and_nobody_has_are_told(void **state) {
    struct fixture *self = *state;
    struct crash crash;
    char path[128];
    put(self, "a", "1");
    size_t size = log_size(self);
    put(self, "b", "2");
    close_store(self);
    crash_now(self, &crash);
    remove_file(&crash.copy, "db.toon.idx");
    path_of(&crash.copy, "db.toon", path);
    assert_int_equal(truncate(path, (off_t)size), 0);
    assert_ok(try_open(&crash.copy));
    assert_non_null(strstr(crash.text, "1 rows more"));
    assert_value(&crash.copy, "a", "1");
    crash_over(&crash);
}

/* ------------------------------------- records that nobody reads as a whole */

static bool count_key(void *arg, toon_slice key, const toon_key_stat *stat) {
    (void)key;
    (void)stat;
    ++*(size_t *)arg;
    return true;
}

/* Of a long record, looks at its meta data do not check the CRC: its key and
 * whether it is gone are made sure of in other ways. */
static void damage_of_a_long_record_neither_hides_nor_invents(void **state) {
    struct fixture *self = *state;
    toon_range_options all = {.limit = 0};
    toon_key_stat stat;
    size_t at = log_size(self), size, listed = 0, scanned = 0;
    uint64_t cursor = 0;
    char *long_text = calloc(1, 40000);
    assert_non_null(long_text);
    memset(long_text, 'x', 39999);
    put(self, "long", long_text);
    free(long_text);
    put(self, "z", "");
    close_store(self);
    char *log = slurp(self, "db.toon", &size);
    log[at] = 'k'; /* "kong" */
    spill(self, "db.toon", log, size);
    reopen(self);
    assert_int_equal(toon_stat_key(self->store, toon_str("long"), &stat),
                     TOON_CORRUPT);
    assert_absent(self, "kong");
    assert_ok(toon_range(self->store, &all, count_key, &listed));
    assert_ok(toon_scan(self->store, &cursor, NULL, count_key, &scanned));
    assert_int_equal(listed, 1);
    assert_int_equal(scanned, 1);
    close_store(self);
    log[at] = 'l';
    char *expiry = memmem(log + at, size - at, ",0,s", 4);
    assert_non_null(expiry);
    expiry[1] = '1'; /* expired for long */
    spill(self, "db.toon", log, size);
    free(log);
    reopen(self);
    assert_int_equal(toon_stat_key(self->store, toon_str("long"), &stat),
                     TOON_CORRUPT);
}

/* Pages may come to lie in each other's place with all their lines whole: a
 * slot knows whose record it points at. */
static void a_record_in_anothers_place_is_damage(void **state) {
    struct fixture *self = *state;
    struct crash crash;
    toon_value value;
    size_t a = log_size(self), size;
    put(self, "a", "1");
    size_t b = log_size(self);
    put(self, "b", "2");
    close_store(self);
    crash_now(self, &crash);
    char *log = slurp(self, "db.toon", &size);
    char line[100];
    assert_true(b - a < sizeof line);
    memcpy(line, log + a, b - a);
    memmove(log + a, log + b, b - a);
    memcpy(log + b, line, b - a);
    spill(&crash.copy, "db.toon", log, size);
    free(log);
    /* The last record is another: an index that tells so is not believed. */
    toon_err err = try_open(&crash.copy);
    assert_ok(err);
    assert_value(&crash.copy, "a", "1");
    assert_ok(toon_close(crash.copy.store));
    crash.copy.store = NULL;
    crash_over(&crash);
    reopen(self);
    put(self, "c", "3");
    close_store(self);
    log = slurp(self, "db.toon", &size);
    memcpy(line, log + a, b - a);
    memmove(log + a, log + b, b - a);
    memcpy(log + b, line, b - a);
    spill(self, "db.toon", log, size);
    free(log);
    reopen(self);
    assert_int_equal(toon_get(self->store, toon_str("a"), &value),
                     TOON_CORRUPT);
    assert_int_equal(toon_get(self->store, toon_str("b"), &value),
                     TOON_CORRUPT);
    assert_value(self, "c", "3");
}

static void the_whole_log_of_the_format_page_opens(void **state) {
    static const char text[] =
        "# toonstore log: key[n]: value,written_ms,expires_ms,type+crc32c; "
        "the last line of a key wins, null deletes it; base=0 salt=9f3a77c1 "
        "044c13d2\n"
        "\"user:1\"[4]: hello,1732300000000,0,sa2c21433\n"
        "\"sess:9f\"[4]: tok,1732300000006,1732303600006,s1b57c918\n"
        "log[4]: \"line 1\\n\",1732300000010,0,s9218dece\n"
        "log[5]: \"line 2\\n\",259,1732300000013,0,a906cfe96\n"
        "\"sess:9f\"[5]: null,203,1732300000016,1732307200000,t751a85e7\n"
        "# synced=414 9c07bcbe\n"
        "run.sh[5]: \"#!/bin/sh\\n\",755,1732300000020,0,s1897e2bc\n"
        "bin.sh[6]: null,436,755,1732300000021,0,R6d7c309b\n"
        "run.sh[4]: null,1732300000021,0,d6a7ec500\n"
        "\"user:1\"[4]: null,1732300000022,0,d8f89d7ba\n";
    struct fixture *self = *state;
    char file[2048] = "TOON001\n\x02\0\0\0\0\0\0\0";
    memcpy(file + 16, text, sizeof text - 1);
    close_store(self);
    remove_file(self, "db.toon.idx");
    spill(self, "db.toon", file, 16 + sizeof text - 1);
    reopen(self);
    assert_value(self, "log", "line 1\nline 2\n");
    assert_value(self, "bin.sh", "#!/bin/sh\n");
    assert_absent(self, "run.sh");
    assert_absent(self, "user:1");
    assert_absent(self, "sess:9f"); /* expired long ago */
    toon_key_stat stat;
    assert_ok(toon_stat_key(self->store, toon_str("bin.sh"), &stat));
    assert_int_equal(stat.meta.mode, 0755);
}

static void leftovers_of_a_swap_are_removed(void **state) {
    struct fixture *self = *state;
    put(self, "a", "1");
    close_store(self);
    spill(self, "db.toon.new", "half", 4);
    spill(self, "db.toon.compact", "half", 4);
    reopen(self);
    assert_false(file_exists(self, "db.toon.new"));
    assert_false(file_exists(self, "db.toon.compact"));
    assert_value(self, "a", "1");
}

static void clearing_starts_a_new_log_that_survives(void **state) {
    struct fixture *self = *state;
    struct crash crash;
    put(self, "a", "1");
    assert_ok(toon_clear(self->store));
    put(self, "b", "2");
    crash_now(self, &crash);
    assert_ok(try_open(&crash.copy));
    assert_absent(&crash.copy, "a");
    assert_value(&crash.copy, "b", "2");
    crash_over(&crash);
}

static void a_read_only_open_over_a_torn_end_writes_nothing(void **state) {
    struct fixture *self = *state;
    struct crash crash;
    put(self, "a", "1");
    put(self, "b", "2");
    crash_now(self, &crash);
    size_t size = log_size(&crash.copy);
    char path[128];
    path_of(&crash.copy, "db.toon", path);
    assert_int_equal(truncate(path, (off_t)size - 3), 0);
    crash.copy.options.flags = TOON_OPEN_READ_ONLY;
    assert_ok(try_open(&crash.copy));
    assert_value(&crash.copy, "a", "1");
    assert_absent(&crash.copy, "b");
    close_store(&crash.copy);
    assert_int_equal(log_size(&crash.copy), size - 3);
    crash_over(&crash);
}

int main(void) {
#define STORE_TEST(name)                                                       \
    cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        STORE_TEST(what_was_written_is_there_after_a_kill),
        STORE_TEST(torn_tail_is_dropped_and_earlier_keys_survive),
        STORE_TEST(a_torn_end_of_zeros_is_cut_and_not_kept),
        STORE_TEST(nothing_behind_a_torn_record_comes_back),
        STORE_TEST(a_mark_behind_bad_bytes_makes_them_damage),
        STORE_TEST(damage_below_the_last_sync_is_no_torn_end),
        STORE_TEST(bytes_that_are_missing_are_damage),
        STORE_TEST(a_damaged_last_record_of_the_index_is_damage),
        STORE_TEST(replay_counts_live_bytes_as_the_changes_did),
        STORE_TEST(a_healed_key_is_listed_again),
        STORE_TEST(a_log_shorter_than_its_index_is_damage),
        STORE_TEST(a_damaged_record_fails_alone),
        STORE_TEST(no_flipped_byte_goes_unnoticed),
        STORE_TEST(an_index_that_does_not_fit_is_made_anew),
        STORE_TEST(an_index_of_another_log_is_not_believed),
        STORE_TEST(an_index_from_the_past_is_completed_from_the_tail),
        STORE_TEST(the_ancestors_reader_finds_the_live_rows),
        STORE_TEST(foreign_files_are_refused_untouched),
        STORE_TEST(an_unknown_version_is_refused_and_named),
        STORE_TEST(a_reserved_type_is_a_version_and_no_torn_end),
        STORE_TEST(a_log_that_is_gone_is_not_begun_anew),
        STORE_TEST(rows_that_the_header_counts_and_nobody_has_are_told),
        STORE_TEST(damage_of_a_long_record_neither_hides_nor_invents),
        STORE_TEST(a_record_in_anothers_place_is_damage),
        STORE_TEST(the_whole_log_of_the_format_page_opens),
        STORE_TEST(leftovers_of_a_swap_are_removed),
        STORE_TEST(clearing_starts_a_new_log_that_survives),
        STORE_TEST(a_read_only_open_over_a_torn_end_writes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
