/*
 * test_salvage.c - repairing a damaged store: what is kept, what is told, and
 * that nothing is ever destroyed.
 */
#include "crc32c.h"
#include "fixture.h"
#include "key_hash.h"
#include "lying_disk.h"
#include "record.h"
#include "salvage.h"
#include "store_internal.h"

#include <errno.h>
#include <sys/wait.h>

/* ---------------------------------------------------------------- helpers */

struct repair {
    toon_repair_report report;
    char told[4000]; /* all findings, a line each: offset, text */
    uint64_t progress, total;
};

static void note_finding(void *arg, int64_t offset, const char *text) {
    struct repair *repair = arg;
    size_t used = strlen(repair->told);
    (void)snprintf(repair->told + used, sizeof repair->told - used, "%lld %s\n",
                   (long long)offset, text);
}

static void note_progress(void *arg, uint64_t done, uint64_t total) {
    struct repair *repair = arg;
    assert_true(done >= repair->progress && done <= total);
    repair->progress = done;
    repair->total = total;
}

static toon_err try_repair(const struct fixture *self, const toon_io *io,
                           struct repair *repair) {
    *repair = (struct repair){.total = 1};
    return toon_repair_on(io, self->dir, note_finding, note_progress, repair,
                          &repair->report);
}

static void repair_store(const struct fixture *self, struct repair *repair) {
    assert_ok(try_repair(self, &toon_io_system, repair));
    assert_int_equal(repair->progress, repair->total);
}

static void assert_told(const struct repair *repair, const char *text) {
    if (strstr(repair->told, text) == NULL)
        fail_msg("nobody said '%s', but:\n%s", text, repair->told);
}

static void assert_not_told(const struct repair *repair, const char *text) {
    if (strstr(repair->told, text) != NULL)
        fail_msg("somebody said '%s':\n%s", text, repair->told);
}

static size_t log_size(const struct fixture *self) {
    size_t size;
    free(slurp(self, "db.toon", &size));
    return size;
}

static void damage(const struct fixture *self, size_t at, const void *bytes,
                   size_t size) {
    size_t all;
    char *log = slurp(self, "db.toon", &all);
    assert_true(at + size <= all);
    memcpy(log + at, bytes, size);
    spill(self, "db.toon", log, all);
    free(log);
}

static void flip(const struct fixture *self, size_t at) {
    size_t size;
    char *log = slurp(self, "db.toon", &size);
    log[at] = (char)(log[at] ^ 4);
    spill(self, "db.toon", log, size);
    free(log);
}

static void assert_same_file(const struct fixture *self, const char *name,
                             const char *bytes, size_t size) {
    size_t now_size;
    char *now = slurp(self, name, &now_size);
    assert_int_equal(now_size, size);
    assert_memory_equal(now, bytes, size);
    free(now);
}

static void assert_sound(const struct fixture *self) {
    toon_check_report report;
    assert_ok(toon_check(self->dir, NULL, NULL, NULL, &report));
    assert_int_equal(report.torn_bytes, 0);
}

static unsigned count_files(const struct fixture *self) {
    DIR *listing = opendir(self->dir);
    const struct dirent *entry;
    unsigned count = 0;
    while ((entry = readdir(listing)) != NULL)
        count += entry->d_name[0] != '.';
    (void)closedir(listing);
    return count;
}

/* ------------------------------------------------------------- what is kept */

static void a_sound_store_is_left_as_it_is(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    size_t size, index_size;
    put(self, "a", "1");
    put(self, "b", "2");
    close_store(self);
    char *log = slurp(self, "db.toon", &size);
    char *index = slurp(self, "db.toon.idx", &index_size);
    unsigned files = count_files(self);
    repair_store(self, &repair);
    assert_same_file(self, "db.toon", log, size);
    assert_same_file(self, "db.toon.idx", index, index_size);
    assert_int_equal(count_files(self), files);
    assert_int_equal(repair.report.keys, 2);
    assert_string_equal(repair.report.before, "");
    assert_string_equal(repair.told, "");
    free(log);
    free(index);
}

/* Opening will cut it. */
static void a_torn_end_is_left_to_opening(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    put(self, "a", "1");
    close_store(self);
    remove_file(self, "db.toon.idx");
    size_t size;
    char *log = slurp(self, "db.toon", &size);
    log = realloc(log, size + 9);
    memcpy(log + size, "torn[4]: ", 9);
    spill(self, "db.toon", log, size + 9);
    repair_store(self, &repair);
    assert_same_file(self, "db.toon", log, size + 9);
    free(log);
}

static void everything_of_a_key_is_kept(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    toon_set_options options = {.flags = TOON_SET_MODE,
                                .mode = 0755,
                                .written_ms = 12345,
                                .expires_ms = 4000000000000};
    toon_meta meta = {.mode = 0600};
    toon_key_stat stat;
    assert_ok(
        toon_set(self->store, toon_str("run.sh"), toon_str("#!"), &options));
    assert_ok(
        toon_append(self->store, toon_str("log"), toon_str("one\n"), NULL));
    assert_ok(
        toon_append(self->store, toon_str("log"), toon_str("two\n"), NULL));
    put(self, "m", "moves");
    assert_ok(toon_rename(self->store, toon_str("m"), toon_str("n"), 0));
    assert_ok(toon_set_meta(self->store, toon_str("n"), TOON_META_MODE, &meta));
    put(self, "gone", "1");
    assert_ok(toon_delete(self->store, toon_str("gone"), 0, NULL));
    size_t at = log_size(self);
    put(self, "victim", "1");
    close_store(self);
    flip(self, at + 2);
    repair_store(self, &repair);
    assert_sound(self);
    reopen(self);
    assert_value(self, "run.sh", "#!");
    assert_ok(toon_stat_key(self->store, toon_str("run.sh"), &stat));
    assert_int_equal(stat.meta.mode, 0755);
    assert_int_equal(stat.meta.written_ms, 12345);
    assert_int_equal(stat.meta.expires_ms, 4000000000000);
    assert_value(self, "log", "one\ntwo\n");
    assert_value(self, "n", "moves");
    assert_ok(toon_stat_key(self->store, toon_str("n"), &stat));
    assert_int_equal(stat.meta.mode, 0600);
    assert_absent(self, "m");
    assert_absent(self, "gone");
    assert_absent(self, "victim");
    assert_int_equal(repair.report.keys, 3);
    assert_int_equal(repair.report.keys_lost, 1);
    assert_int_equal(repair.report.keys_older, 0);
    assert_told(&repair, "lost: victim\n");
}

/* --------------------------------------------------------- what is told of */

static void a_key_that_fell_back_is_named(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    char line[64];
    for (int indexed = 0; indexed < 2; indexed++) {
        put(self, "user:1", "old");
        size_t at = log_size(self);
        put(self, "user:1", "new");
        put(self, "other", "x");
        close_store(self);
        if (!indexed)
            remove_file(self, "db.toon.idx");
        flip(self, at + 12);
        repair_store(self, &repair);
        (void)snprintf(line, sizeof line, "%zu older: \"user:1\" has", at);
        assert_told(&repair, line);
        assert_not_told(&repair, "other");
        assert_int_equal(repair.report.keys_older, 1);
        assert_int_equal(repair.report.keys_unknown, 0);
        reopen(self);
        assert_value(self, "user:1", "old");
        assert_value(self, "other", "x");
    }
}

/* Damage of the name itself does not put the blame on another key. */
static void a_key_is_named_right_though_its_name_was_hit(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    put(self, "key1", "old");
    put(self, "key3", "stays");
    size_t at = log_size(self);
    put(self, "key1", "new");
    put(self, "last", "x");
    close_store(self);
    remove_file(self, "db.toon.idx");
    damage(self, at + 3, "3", 1); /* now it reads key3 */
    repair_store(self, &repair);
    assert_told(&repair, "older: key1");
    assert_not_told(&repair, "key3");
}

/* With an index it is known that the key was deleted; without, that it is
 * back. */
static void a_deletion_that_is_lost_is_known_to_the_index(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    for (int indexed = 0; indexed < 2; indexed++) {
        put(self, "k", "secret");
        size_t at = log_size(self);
        assert_ok(toon_delete(self->store, toon_str("k"), 0, NULL));
        put(self, "other", "x");
        close_store(self);
        if (!indexed)
            remove_file(self, "db.toon.idx");
        flip(self, at + 12);
        repair_store(self, &repair);
        reopen(self);
        if (indexed) {
            assert_absent(self, "k");
            assert_int_equal(repair.report.keys_older, 0);
        } else {
            assert_value(self, "k", "secret");
            assert_told(&repair, "older: k had been deleted and is back");
        }
    }
}

static void a_batch_that_lacks_a_record_is_left_out_whole(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    put(self, "a", "before");
    for (size_t hit = 0; hit < 3; hit++) {
        size_t starts[3];
        assert_ok(toon_batch_begin(self->store));
        starts[0] = log_size(self);
        put(self, "a", "0");
        put(self, "b", "1");
        put(self, "c", "2");
        assert_ok(toon_batch_commit(self->store));
        size_t size;
        char *log = slurp(self, "db.toon", &size);
        char *b = memmem(log + starts[0], size - starts[0], "\nb[", 3);
        char *c = memmem(log + starts[0], size - starts[0], "\nc[", 3);
        starts[1] = (size_t)(b - log) + 1;
        starts[2] = (size_t)(c - log) + 1;
        free(log);
        put(self, "after", "x");
        close_store(self);
        remove_file(self, "db.toon.idx");
        flip(self, starts[hit] + 8);
        repair_store(self, &repair);
        assert_told(&repair, "older: a");
        assert_told(&repair, "lost: b");
        assert_told(&repair, "lost: c");
        assert_int_equal(repair.report.keys_lost, 2);
        assert_int_equal(repair.report.rows_lost, 3);
        reopen(self);
        assert_value(self, "a", "before");
        assert_absent(self, "b");
        assert_absent(self, "c");
        assert_value(self, "after", "x");
    }
}

/* Also where nothing tells whether more of the batch followed. */
static void no_half_of_a_batch_comes_back_behind_zeros(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    static const char zeros[64];
    put(self, "before", "x");
    size_t at = log_size(self);
    assert_ok(toon_batch_begin(self->store));
    put(self, "a", "0");
    put(self, "b", "1");
    assert_ok(toon_batch_commit(self->store));
    put(self, "after", "x");
    close_store(self);
    remove_file(self, "db.toon.idx");
    size_t size;
    char *log = slurp(self, "db.toon", &size);
    char *b = memmem(log + at, size - at, "\nb[", 3);
    size_t first = (size_t)(b - log) - at; /* all but its newline */
    free(log);
    damage(self, at, zeros, first);
    repair_store(self, &repair);
    assert_told(&repair, "lost: b");
    assert_int_equal(repair.report.keys_unknown, 1);
    reopen(self);
    assert_absent(self, "a");
    assert_absent(self, "b");
    assert_value(self, "before", "x");
    assert_value(self, "after", "x");
}

/* A batch whose second record begins so far behind a sector's end; returns
 * where. */
static size_t put_batch_over_sectors(struct fixture *self, size_t sector,
                                     size_t rest) {
    char value[] = "0";
    char *filler = calloc(1, sector + 1);
    size_t length = 0, second = rest + 1;
    while (second % sector != rest) {
        size_t size, at = log_size(self);
        assert_true(value[0] < '9');
        value[0]++;
        memset(filler, 'f', length);
        filler[length] = '\0';
        put(self, "filler", filler);
        assert_ok(toon_batch_begin(self->store));
        put(self, "a", value);
        put(self, "b", value);
        assert_ok(toon_batch_commit(self->store));
        char *log = slurp(self, "db.toon", &size);
        char *b = memmem(log + at, size - at, "\nb[", 3);
        second = (size_t)(b - log) + 1;
        free(log);
        size_t next = size + (second - at) - length; /* without a filler */
        length = (2 * sector + rest - next % sector) % sector;
    }
    free(filler);
    return second;
}

/* What another file's sector seems to say of a batch, it says of its own; so
 * too where the end of our line stands behind it. */
static void no_half_of_a_batch_comes_back_behind_others_bytes(void **state) {
    enum { SECTOR = 512 };

    static const char line[] = "\nzz[4]: v,1732300000010,0,s044a0000\n";
    static const size_t rests[] = {0, 1, 5, 9, 10};
    struct fixture *self = *state;
    for (size_t i = 0; i < sizeof rests / sizeof *rests; i++) {
        struct repair repair;
        char others[SECTOR], told[64];
        size_t size = strlen(line) - rests[i];
        size_t second = put_batch_over_sectors(self, SECTOR, rests[i]);
        put(self, "after", "x");
        close_store(self);
        remove_file(self, "db.toon.idx");
        memset(others, 'x', sizeof others);
        memcpy(others + SECTOR - size, line, size);
        damage(self, second - rests[i] - SECTOR, others, SECTOR);
        repair_store(self, &repair);
        (void)snprintf(told, sizeof told, "%zu left out: a record of a batch",
                       second);
        assert_told(&repair, told);
        reopen(self);
        assert_value(self, "after", "x");
    }
}

static uint32_t salt_of(const char *log) {
    return (uint32_t)strtoul(strstr(log + 16, "salt=") + 5, NULL, 16);
}

/* Of a batch whose beginning is damaged and whose end is missing: what is
 * between them is not all of it, though a mark follows. */
static void what_a_mark_cuts_off_is_no_batch(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    toon_buf bytes = {0};
    size_t size;
    toon_record_draft draft = {.type = RECORD_STRING,
                               .key = toon_str("half"),
                               .value = toon_str("1"),
                               .written_ms = 1,
                               .more = true};
    put(self, "a", "1");
    close_store(self);
    remove_file(self, "db.toon.idx");
    char *log = slurp(self, "db.toon", &size);
    toon_buf_append(&bytes, log, size);
    toon_buf_append_str(&bytes, "something that has no end\n");
    (void)toon_record_encode(&bytes, &draft, salt_of(log));
    toon_mark_encode(&bytes, bytes.size, salt_of(log));
    draft.key = toon_str("b");
    draft.more = false;
    (void)toon_record_encode(&bytes, &draft, salt_of(log));
    spill(self, "db.toon", bytes.data, bytes.size);
    repair_store(self, &repair);
    assert_told(&repair, "left out: a record of a batch that lacks another");
    reopen(self);
    assert_absent(self, "half");
    assert_value(self, "a", "1");
    assert_value(self, "b", "1");
    toon_buf_free(&bytes);
    free(log);
}

/* A log with lines that are valid, each by itself. */
struct forged {
    toon_buf bytes; /* owned */
    uint32_t salt;
};

static struct forged forge_log(struct fixture *self) {
    struct forged forged = {{0}, 0};
    size_t size;
    close_store(self);
    remove_file(self, "db.toon.idx");
    char *log = slurp(self, "db.toon", &size);
    toon_buf_append(&forged.bytes, log, size);
    forged.salt = salt_of(log);
    free(log);
    return forged;
}

/* Where it begins. */
static uint64_t add_record(struct forged *forged, char type, const char *key,
                           const char *value, uint64_t ref) {
    uint64_t at = forged->bytes.size;
    toon_record_draft draft = {.type = type,
                               .key = toon_str(key),
                               .value = toon_str(value),
                               .ref = ref,
                               .written_ms = 1};
    (void)toon_record_encode(&forged->bytes, &draft, forged->salt);
    return at;
}

/* What goes on behind an earlier piece says the later ones again; if it says
 * something else, it lies where it was not written. */
static void a_piece_that_says_others_again_says_the_same(void **state) {
    struct fixture *self = *state;
    static const char *const pieces[] = {"one, two", "two"};
    for (int wrong = 0; wrong < 2; wrong++) {
        toon_check_report report;
        if (self->store == NULL)
            reopen(self);
        assert_ok(toon_clear(self->store));
        struct forged forged = forge_log(self);
        uint64_t base = add_record(&forged, RECORD_STRING, "k", "zero, ", 0);
        (void)add_record(&forged, RECORD_APPENDED, "k", "one, ", base);
        (void)add_record(&forged, RECORD_APPENDED, "k", pieces[wrong], base);
        spill(self, "db.toon", forged.bytes.data, forged.bytes.size);
        assert_int_equal(toon_check(self->dir, NULL, NULL, NULL, &report),
                         wrong ? TOON_CORRUPT : TOON_OK);
        if (wrong) {
            struct repair repair;
            repair_store(self, &repair);
            assert_told(&repair, "left out: a record that builds on");
        }
        reopen(self);
        assert_value(self, "k", wrong ? "zero, one, " : "zero, one, two");
        close_store(self);
        toon_buf_free(&forged.bytes);
    }
}

static void set_expiry(struct fixture *self, const char *key) {
    toon_meta meta = {.expires_ms = 4102444800000};
    assert_ok(
        toon_set_meta(self->store, toon_str(key), TOON_META_EXPIRES, &meta));
}

/* Blocks have come to lie in one another's place: what is valid there takes
 * over a value that its key no longer had. */
static void a_value_that_had_gone_is_not_taken_over(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    toon_check_report report;
    size_t size, first, second;
    put(self, "k", "old");
    first = log_size(self);
    set_expiry(self, "k");
    put(self, "k", "new");
    second = log_size(self);
    set_expiry(self, "k");
    size = log_size(self) - second;
    close_store(self);
    remove_file(self, "db.toon.idx");
    size_t all;
    char *log = slurp(self, "db.toon", &all);
    damage(self, second, log + first, size);
    free(log);
    assert_int_equal(toon_check(self->dir, NULL, NULL, NULL, &report),
                     TOON_CORRUPT);
    repair_store(self, &repair);
    assert_told(&repair, "left out: a record that builds on a damaged one");
    reopen(self);
    assert_value(self, "k", "new");
}

static void a_value_on_a_damaged_record_is_lost(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    put(self, "k", "first");
    size_t at = log_size(self);
    put(self, "k", "second");
    assert_ok(toon_append(self->store, toon_str("k"), toon_str("+"), NULL));
    put(self, "other", "x");
    close_store(self);
    flip(self, at + 9);
    repair_store(self, &repair);
    assert_told(&repair, "left out: a record that builds on a damaged one");
    assert_told(&repair, "older: k has");
    reopen(self);
    assert_value(self, "k", "first");
}

/* A damaged newline merges two lines. */
static void the_line_behind_a_damaged_newline_is_kept(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    put(self, "a", "1");
    size_t at = log_size(self);
    put(self, "b", "2");
    put(self, "c", "3");
    close_store(self);
    remove_file(self, "db.toon.idx");
    flip(self, at - 1);
    repair_store(self, &repair);
    assert_int_equal(repair.report.keys_lost, 1);
    assert_told(&repair, "lost: a");
    reopen(self);
    assert_absent(self, "a");
    assert_value(self, "b", "2");
    assert_value(self, "c", "3");
}

static void where_nobody_can_know_that_is_said(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    char line[64];
    put(self, "a", "1");
    size_t at = log_size(self);
    put(self, "b", "2");
    put(self, "c", "3");
    close_store(self);
    remove_file(self, "db.toon.idx");
    damage(self, at, "\0\0\0\0\0\0\0\0\0\0\0\0", 12);
    repair_store(self, &repair);
    (void)snprintf(line, sizeof line, "%zu lost: records whose keys are not",
                   at);
    assert_told(&repair, line);
    assert_int_equal(repair.report.keys_unknown, 1);
}

/* An index knows by hash which keys are gone, and names those that it can. */
static void an_index_leaves_nothing_unknown(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    put(self, "a", "1");
    put(self, "b", "old");
    size_t at = log_size(self);
    put(self, "b", "2");
    size_t next = log_size(self);
    put(self, "c", "3");
    put(self, "d", "4");
    close_store(self);
    char *zeros = calloc(1, next + 12 - at);
    damage(self, at, zeros, next + 12 - at); /* b, and the name of c */
    free(zeros);
    repair_store(self, &repair);
    assert_int_equal(repair.report.keys_unknown, 0);
    assert_int_equal(repair.report.keys_lost, 1);
    assert_told(&repair, "lost: a key whose name is not known");
    assert_told(&repair, "older: b has");
    assert_not_told(&repair, ": a has");
    assert_not_told(&repair, ": d");
}

/* ------------------------------------------------- what an index leaves out */

/* Twenty keys in an index of them all, and a log that goes on behind it. */
struct beside {
    char *log, *index; /* owned */
    size_t log_size, index_size;
    size_t starts[20]; /* of the keys' first records */
    size_t covered;
};

static const char *key_number(int number) {
    static char name[16];
    (void)snprintf(name, sizeof name, "k%d", number);
    return name;
}

static void begin_beside(struct fixture *self, struct beside *beside) {
    for (int i = 0; i < 20; i++) {
        beside->starts[i] = log_size(self);
        put(self, key_number(i), "value");
    }
    close_store(self);
    beside->covered = log_size(self);
    beside->index = slurp(self, "db.toon.idx", &beside->index_size);
    reopen(self);
}

/* The process ends here, without another index. */
static void end_beside(struct fixture *self, struct beside *beside) {
    beside->log = slurp(self, "db.toon", &beside->log_size);
    close_store(self);
}

/* As if the key had moved on while the index was written. */
static void leave_out(struct beside *beside, const char *key) {
    char *keys = beside->index + 12 + 8 * toon_get_u32(beside->index + 8);
    uint64_t hash = toon_key_hash(toon_str(key), toon_get_u64(keys + 40));
    uint64_t slots = toon_get_u64(keys + 48);
    size_t size = beside->index_size - 4;
    char *slot = keys + 64;
    while (slots > 0 && toon_get_u64(slot) != hash) {
        slot += 16;
        slots--;
    }
    assert_true(slots > 0);
    memset(slot, 0, 16);
    toon_put_u32(beside->index + size, toon_crc32c(0, beside->index, size));
}

static void spill_beside(const struct fixture *self, struct beside *beside) {
    spill(self, "db.toon", beside->log, beside->log_size);
    spill(self, "db.toon.idx", beside->index, beside->index_size);
    free(beside->log);
    free(beside->index);
}

static void slots_that_stand_for_nothing_are_no_keys(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    struct beside beside;
    begin_beside(self, &beside);
    for (int i = 0; i < 10; i++)
        put(self, key_number(i), "newer");
    end_beside(self, &beside);
    for (int i = 0; i < 10; i++)
        leave_out(&beside, key_number(i));
    beside.log[beside.starts[15] + 6] ^= 4;
    spill_beside(self, &beside);
    repair_store(self, &repair);
    assert_told(&repair, "lost: k15\n");
    assert_int_equal(repair.report.keys_lost, 1);
    assert_int_equal(repair.report.keys_older, 0);
    assert_int_equal(repair.report.keys_unknown, 0);
    reopen(self);
    assert_value(self, "k9", "newer");
    assert_value(self, "k10", "value");
}

/* What moved on builds on what was there before. */
static void what_the_log_behind_tells_of_is_not_deleted(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    struct beside beside;
    toon_meta meta = {.mode = 0600};
    begin_beside(self, &beside);
    assert_ok(toon_append(self->store, toon_str("k3"), toon_str("+"), NULL));
    assert_ok(toon_rename(self->store, toon_str("k5"), toon_str("n5"), 0));
    assert_ok(
        toon_set_meta(self->store, toon_str("k6"), TOON_META_MODE, &meta));
    assert_ok(toon_delete(self->store, toon_str("k7"), 0, NULL));
    end_beside(self, &beside);
    leave_out(&beside, "k3");
    leave_out(&beside, "k5");
    leave_out(&beside, "k6");
    leave_out(&beside, "k7");
    memset(beside.log + beside.starts[9], 0, 9);
    spill_beside(self, &beside);
    repair_store(self, &repair);
    assert_int_equal(repair.report.keys_lost, 1); /* k9 */
    assert_int_equal(repair.report.keys_older, 0);
    assert_int_equal(repair.report.keys_deleted, 0);
    assert_int_equal(repair.report.keys_unknown, 0);
    reopen(self);
    assert_value(self, "k3", "value+");
    assert_value(self, "n5", "value");
    assert_value(self, "k6", "value");
    assert_absent(self, "k5");
    assert_absent(self, "k7");
    assert_absent(self, "k9");
}

static void a_key_that_moved_on_into_damage_falls_back(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    for (int wide = 0; wide < 2; wide++) {
        struct beside beside;
        begin_beside(self, &beside);
        size_t at = log_size(self);
        put(self, "k3", "newer");
        assert_ok(toon_sync(self->store)); /* it is no torn end */
        put(self, "last", "x");
        end_beside(self, &beside);
        leave_out(&beside, "k3");
        if (wide) {
            memset(beside.log + beside.starts[1], 0, 9);
            memset(beside.log + at, 0, 30);
        } else {
            beside.log[at + 7] ^= 4;
        }
        spill_beside(self, &beside);
        repair_store(self, &repair);
        assert_told(&repair, wide ? "perhaps older: k3" : "older: k3 has");
        assert_int_equal(repair.report.keys_older, 1 + wide); /* k1 */
        reopen(self);
        assert_value(self, "k3", "value");
        assert_value(self, "last", "x");
    }
}

/* The log ends with a line, but not with its last: nobody sees it. */
static void a_key_whose_newest_record_nobody_has_stays(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    struct beside beside;
    begin_beside(self, &beside);
    size_t at = log_size(self);
    put(self, "k3", "newer");
    end_beside(self, &beside);
    leave_out(&beside, "k3");
    beside.log[beside.starts[9] + 6] ^= 4;
    beside.log_size = at;
    spill_beside(self, &beside);
    repair_store(self, &repair);
    assert_told(&repair, "lost: k9");
    assert_told(&repair, "perhaps older: k3 has");
    assert_int_equal(repair.report.keys_older, 1);
    reopen(self);
    assert_value(self, "k3", "value");
}

/* Without a word no key goes. */
static void a_deleted_key_stays_deleted_and_is_named(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    for (int wide = 0; wide < 2; wide++) {
        put(self, "k", "secret");
        size_t at = log_size(self);
        assert_ok(toon_delete(self->store, toon_str("k"), 0, NULL));
        put(self, "other", "x");
        close_store(self);
        if (wide)
            damage(self, at, "\0\0\0\0\0\0\0\0\0\0\0\0", 12);
        else
            flip(self, at + 12);
        repair_store(self, &repair);
        assert_told(&repair, "deleted: k is not in the index");
        assert_int_equal(repair.report.keys_deleted, 1);
        assert_int_equal(repair.report.keys_lost, 0);
        assert_int_equal(repair.report.keys_older, 0);
        reopen(self);
        assert_absent(self, "k");
        assert_value(self, "other", "x");
    }
}

/* The key may have been there again. */
static void a_deletion_with_damage_behind_is_no_proof(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    struct beside beside;
    put(self, "k", "secret");
    size_t gone = log_size(self);
    assert_ok(toon_delete(self->store, toon_str("k"), 0, NULL));
    begin_beside(self, &beside);
    size_t at = log_size(self);
    put(self, "k", "again");
    put(self, "last", "x");
    end_beside(self, &beside);
    memset(beside.log + gone, 0, 12);
    memset(beside.log + at, 0, 30);
    spill_beside(self, &beside);
    repair_store(self, &repair);
    assert_told(&repair, "perhaps older: k had been deleted and is back");
    assert_int_equal(repair.report.keys_deleted, 0);
    reopen(self);
    assert_value(self, "k", "secret");
}

/* An older log beside a newer index: a backup that was put there. */
static void an_older_log_loses_nothing_to_its_index(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    size_t size;
    put(self, "precious1", "1");
    put(self, "precious2", "2");
    put(self, "precious3", "3");
    char *log = slurp(self, "db.toon", &size);
    assert_ok(toon_delete(self->store, toon_str("precious1"), 0, NULL));
    assert_ok(toon_delete(self->store, toon_str("precious2"), 0, NULL));
    put(self, "later", "4");
    close_store(self);
    spill(self, "db.toon", log, size);
    free(log);
    assert_int_equal(toon_open(self->dir, &self->options, &self->store),
                     TOON_CORRUPT);
    assert_non_null(strstr(toon_last_error()->text, "take db.toon.idx away"));
    repair_store(self, &repair);
    assert_told(&repair, "perhaps older: precious1 had been deleted");
    assert_told(&repair, "perhaps older: precious2 had been deleted");
    assert_int_equal(repair.report.keys_deleted, 0);
    reopen(self);
    assert_value(self, "precious1", "1");
    assert_value(self, "precious2", "2");
    assert_value(self, "precious3", "3");
}

/* From one log two went on, and the index of the one lies beside the other. */
static void an_index_of_another_continuation_deletes_nothing(void **state) {
    struct fixture *self = *state;
    for (int hidden = 0; hidden < 2; hidden++) {
        struct repair repair;
        char value[301];
        size_t size, ours_size, index_size;
        memset(value, 'v', sizeof value - 1);
        value[sizeof value - 1] = '\0';
        put(self, "common1", "1");
        put(self, "common2", "2");
        close_store(self);
        char *log = slurp(self, "db.toon", &size);
        reopen(self);
        size_t first = log_size(self);
        put(self, "mine1", value);
        size_t second = log_size(self);
        put(self, "mine2", value);
        close_store(self);
        char *ours = slurp(self, "db.toon", &ours_size);
        remove_files(self->dir);
        spill(self, "db.toon", log, size);
        reopen(self);
        assert_ok(toon_delete(self->store, toon_str("common1"), 0, NULL));
        put(self, "theirs", value);
        put(self, "last", "x"); /* in the midst of mine2 */
        close_store(self);
        char *index = slurp(self, "db.toon.idx", &index_size);
        remove_files(self->dir);
        if (hidden)
            memset(ours + second, 0, 200);
        else
            ours[first + 100] ^= 4; /* mine1 */
        spill(self, "db.toon", ours, ours_size);
        spill(self, "db.toon.idx", index, index_size);
        repair_store(self, &repair);
        assert_int_equal(repair.report.keys_deleted, 0);
        assert_true(repair.report.keys_unknown > 0);
        reopen(self);
        assert_value(self, "common1", "1");
        assert_value(self, "common2", "2");
        assert_value(self, hidden ? "mine1" : "mine2", value);
        free(log);
        free(ours);
        free(index);
        close_store(self);
        remove_files(self->dir);
        reopen(self);
    }
}

/* ------------------------------------------------------- bytes cut out */

static void cut_out(const struct fixture *self, size_t from, size_t to) {
    size_t size;
    char *log = slurp(self, "db.toon", &size);
    assert_true(from < to && to <= size);
    memmove(log + from, log + to, size - to);
    spill(self, "db.toon", log, size - (to - from));
    free(log);
}

/* Somebody has taken a line away in an editor: the mark behind tells. */
static void a_line_that_is_missing_is_told_of(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    put(self, "a", "1");
    size_t from = log_size(self);
    put(self, "b", "2");
    size_t to = log_size(self);
    put(self, "c", "3");
    close_store(self); /* with a mark */
    remove_file(self, "db.toon.idx");
    cut_out(self, from, to);
    repair_store(self, &repair);
    assert_int_equal(repair.report.keys_unknown, 1);
    assert_told(&repair, "lost: records whose keys are not known");
    reopen(self);
    assert_value(self, "a", "1");
    assert_value(self, "c", "3");
}

/* The mark behind ends where a sector does: what follows is of no batch that
 * it could have ended. */
static void a_mark_at_the_end_of_a_sector_costs_nothing(void **state) {
    enum { SECTOR = 512, TRIES = 9 };

    struct fixture *self = *state;
    struct repair repair;
    char filler[SECTOR + 1];
    size_t length = 1, tries = 0;
    put(self, "a", "1");
    size_t from = log_size(self);
    put(self, "b", "2");
    size_t to = log_size(self);
    size_t end = 1; /* of the mark, once b's line is gone */
    while (end % SECTOR != 0) {
        size_t before = log_size(self);
        assert_true(tries++ < TRIES);
        memset(filler, 'f', length);
        filler[length] = '\0';
        put(self, "filler", filler);
        assert_ok(toon_sync(self->store));
        size_t now = log_size(self);
        end = now - (to - from);
        size_t next = end + (now - before) - length;
        length = SECTOR - next % SECTOR;
    }
    put(self, "after", "x");
    close_store(self);
    remove_file(self, "db.toon.idx");
    cut_out(self, from, to);
    repair_store(self, &repair);
    assert_not_told(&repair, "left out");
    reopen(self);
    assert_value(self, "after", "x");
}

/* A second line is cut out behind a mark that tells of the first: the next
 * mark tells of more, those behind it of no more. */
static void each_missing_line_is_told_of_once(void **state) {
    enum { LINES = 5 };

    struct fixture *self = *state;
    struct repair repair;
    size_t starts[LINES], ends[LINES];
    for (int i = 0; i < LINES; i++) {
        starts[i] = log_size(self);
        put(self, key_number(i), "value");
        ends[i] = log_size(self);
        assert_ok(toon_sync(self->store));
    }
    close_store(self);
    remove_file(self, "db.toon.idx");
    cut_out(self, starts[2], ends[2]);
    cut_out(self, starts[0], ends[0]);
    repair_store(self, &repair);
    assert_int_equal(repair.report.keys_unknown, 2);
    assert_int_equal(repair.report.keys, 3);
}

/* From before an index's end to behind it. No mark follows, but a line goes on
 * where the index ends. */
static void
an_index_over_whose_end_bytes_are_missing_is_not_believed(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    struct beside beside;
    begin_beside(self, &beside);
    size_t from = beside.starts[19] + 3;
    put(self, "k3", "newer");
    size_t to = log_size(self) + 3;
    put(self, "long",
        "a value that is long enough to reach over the end of "
        "the index, and then some");
    put(self, "after", "x");
    end_beside(self, &beside);
    spill_beside(self, &beside);
    cut_out(self, from, to);
    repair_store(self, &repair);
    assert_true(repair.report.keys_unknown > 0);
}

/* Each line is sound, and the index is: only together they are not. */
static void a_line_that_is_there_twice_is_told_of(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    struct beside beside;
    size_t size;
    begin_beside(self, &beside);
    put(self, "k3", "newer");
    size_t end = log_size(self);
    close_store(self);
    size_t line = beside.starts[4] - beside.starts[3];
    char *log = slurp(self, "db.toon", &size);
    char *doubled = malloc(size + line);
    memcpy(doubled, log, end);
    memcpy(doubled + end, log + beside.starts[3], line);
    memcpy(doubled + end + line, log + end, size - end);
    spill(self, "db.toon", doubled, size + line);
    repair_store(self, &repair);
    assert_told(&repair, "the index was whole and told otherwise");
    assert_int_equal(repair.report.keys_unknown, 1);
    free(log);
    free(doubled);
    free(beside.index);
}

/* What one damaged byte hides, it tells; not what is gone behind it. */
static void damage_does_not_hide_that_the_end_is_gone(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    struct beside beside;
    begin_beside(self, &beside);
    end_beside(self, &beside);
    beside.log[beside.starts[3] + 6] ^= 4;
    beside.log_size = beside.starts[15];
    spill_beside(self, &beside);
    remove_file(self, "db.toon.idx");
    repair_store(self, &repair);
    assert_told(&repair, "lost: k3\n");
    assert_int_equal(repair.report.rows_lost, 1 + 5);
    assert_int_equal(repair.report.keys_unknown, 1);
}

/* The end is gone, at a line's end, and no mark either: the header counts the
 * rows, as does a checkpoint beside changes. */
static void
rows_that_the_header_counts_behind_an_index_are_missed(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    struct beside beside;
    begin_beside(self, &beside);
    put(self, "k3", "newer");
    end_beside(self, &beside);
    memset(beside.log + beside.starts[9], 0, 9); /* the index counts it */
    toon_put_u32(beside.log + 12, 21);
    beside.log_size = beside.covered;
    spill_beside(self, &beside);
    repair_store(self, &repair);
    assert_int_equal(repair.report.rows_lost, 2);
    assert_int_equal(repair.report.keys_lost, 1);
    assert_int_equal(repair.report.keys_unknown, 1);
}

/* ------------------------------------------------------------ the first bytes */

static void expect_all_kept(struct fixture *self) {
    struct repair repair;
    repair_store(self, &repair);
    assert_int_equal(repair.report.keys, 3);
    assert_int_equal(repair.report.keys_lost, 0);
    assert_int_equal(repair.report.keys_older, 0);
    assert_int_equal(repair.report.keys_unknown, 0);
    assert_int_equal(repair.report.rows_lost, 0);
    assert_sound(self);
    reopen(self);
    assert_value(self, "a", "1");
    assert_value(self, "b", "2");
    assert_value(self, "c", "3");
    close_store(self);
}

static void a_damaged_head_costs_no_key(void **state) {
    struct fixture *self = *state;

    static const struct {
        size_t at, size;
        bool indexed;
    } cases[] = {
        {0, 1, false},   {3, 1, true},    {8, 1, false},    {11, 1, false},
        {16, 1, false},  {60, 1, false},  {134, 1, false},  {140, 1, false},
        {150, 1, false}, {157, 1, false}, {16, 142, false}, {16, 142, true},
        {0, 158, false}, {0, 158, true},  {40, 118, false},
    };

    put(self, "a", "1");
    put(self, "b", "2");
    put(self, "c", "3");
    close_store(self);
    size_t size, index_size;
    char *log = slurp(self, "db.toon", &size);
    char *index = slurp(self, "db.toon.idx", &index_size);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char garbage[200];
        memset(garbage, 'X', sizeof garbage);
        remove_files(self->dir);
        spill(self, "db.toon", log, size);
        if (cases[i].indexed)
            spill(self, "db.toon.idx", index, index_size);
        damage(self, cases[i].at, garbage, cases[i].size);
        expect_all_kept(self);
    }
    free(log);
    free(index);
}

/* A version is only damage if all behind it is ours. */
static void a_newer_store_is_left_alone(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    size_t size;
    put(self, "a", "1");
    size_t at = log_size(self);
    put(self, "b", "2");
    close_store(self);
    damage(self, 8, "\3", 1);
    damage(self, at + 4, "?", 1); /* no line of version 2 */
    char *log = slurp(self, "db.toon", &size);
    unsigned files = count_files(self);
    assert_int_equal(try_repair(self, &toon_io_system, &repair), TOON_VERSION);
    assert_non_null(strstr(toon_last_error()->text, "version 3"));
    assert_same_file(self, "db.toon", log, size);
    assert_int_equal(count_files(self), files);
    free(log);
}

static const char newer_record[] = "k[5]: YQ==,Yg==,1732300000000,0,h";

/* The log, to be freed, with a line at its end whose CRC is right. */
static char *with_line(const struct fixture *self, const char *text,
                       size_t *size) {
    char line[128];
    size_t length = strlen(text);
    memcpy(line, text, length);
    char *log = slurp(self, "db.toon", size);
    (void)snprintf(line + length, 16, "%08x\n",
                   toon_crc32c(salt_of(log), line, length));
    length += 9;
    log = realloc(log, *size + length);
    assert_non_null(log);
    memcpy(log + *size, line, length);
    *size += length;
    return log;
}

static void a_record_of_a_newer_program_stops_a_repair(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    size_t size;
    put(self, "a", "1");
    size_t at = log_size(self);
    put(self, "b", "2");
    close_store(self);
    remove_file(self, "db.toon.idx");
    char *log = with_line(self, newer_record, &size);
    log[at + 8] ^= 1; /* and damage, so that there is something to repair */
    spill(self, "db.toon", log, size);
    assert_int_equal(try_repair(self, &toon_io_system, &repair), TOON_VERSION);
    assert_non_null(strstr(toon_last_error()->text, "type h"));
    assert_same_file(self, "db.toon", log, size);
    toon_check_report report;
    log[at + 8] ^= 1;
    spill(self, "db.toon", log, size);
    assert_int_equal(toon_check(self->dir, NULL, NULL, NULL, &report),
                     TOON_VERSION);
    free(log);
}

/* Its index is its own, too, whatever it looks like from here. */
static void a_newer_programs_index_is_left_alone(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    size_t size;
    put(self, "a", "1");
    close_store(self);
    char *log = with_line(self, newer_record, &size);
    spill(self, "db.toon", log, size);
    spill(self, "db.toon.idx", "TOONIDX2", 8);
    assert_int_equal(try_repair(self, &toon_io_system, &repair), TOON_VERSION);
    assert_non_null(strstr(toon_last_error()->text, "type h"));
    assert_same_file(self, "db.toon", log, size);
    assert_same_file(self, "db.toon.idx", "TOONIDX2", 8);
    free(log);
}

/* Opening takes it for a record, so nobody may promise that it is cut off. */
static void a_value_of_another_form_is_damage_and_no_torn_end(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    toon_check_report report;
    toon_value value;
    size_t size;
    put(self, "a", "1");
    close_store(self);
    char *log = with_line(self, "k[4]: /wE<,1732300000000,0,b", &size);
    spill(self, "db.toon", log, size);
    assert_int_equal(toon_check(self->dir, NULL, NULL, NULL, &report),
                     TOON_CORRUPT);
    assert_int_equal(report.torn_bytes, 0);
    reopen(self);
    assert_int_equal(toon_get(self->store, toon_str("k"), &value),
                     TOON_CORRUPT);
    close_store(self);
    repair_store(self, &repair);
    assert_told(&repair, "lost: k, whose pieces make no value");
    assert_sound(self);
    reopen(self);
    assert_value(self, "a", "1");
    assert_absent(self, "k");
    free(log);
}

static void what_is_no_store_is_refused(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    close_store(self);
    remove_file(self, "db.toon.idx");
    spill(self, "db.toon", "hello", 5);
    assert_int_equal(try_repair(self, &toon_io_system, &repair), TOON_CORRUPT);
    assert_same_file(self, "db.toon", "hello", 5);
    remove_files(self->dir);
    assert_int_equal(try_repair(self, &toon_io_system, &repair),
                     TOON_NOT_FOUND);
    assert_int_equal(count_files(self), 0);
}

/* The ancestor's. Its first bytes are right, and nothing behind them is. */
static void a_store_of_version_1_is_left_to_the_import(void **state) {
    struct fixture *self = *state;
    static const char log[] = "TOON001\n\1\0\0\0\1\0\0\0hello\n";
    struct repair repair;
    close_store(self);
    remove_files(self->dir);
    spill(self, "db.toon", log, sizeof log - 1);
    assert_int_equal(try_repair(self, &toon_io_system, &repair), TOON_VERSION);
    assert_non_null(strstr(toon_last_error()->text, "tst import"));
    assert_same_file(self, "db.toon", log, sizeof log - 1);
    assert_int_equal(count_files(self), 1); /* no lock either */
}

/* --------------------------------------------------------- files beside it */

static void the_old_log_and_the_damaged_bytes_are_kept(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    for (int round = 1; round <= 2; round++) {
        char name[64], head[64];
        size_t size;
        put(self, "a", "1");
        size_t at = log_size(self);
        put(self, "b", "2");
        size_t end = log_size(self);
        put(self, "c", "3");
        close_store(self);
        flip(self, at + 6);
        char *log = slurp(self, "db.toon", &size);
        repair_store(self, &repair);
        (void)snprintf(name, sizeof name, "db.toon.before-repair-%d", round);
        assert_string_equal(repair.report.before, name);
        assert_same_file(self, name, log, size);
        (void)snprintf(name, sizeof name, "db.toon.damaged-%d", round);
        assert_string_equal(repair.report.aside, name);
        (void)snprintf(head, sizeof head, "# offset %zu, %zu bytes\n", at,
                       end - at);
        size_t aside_size;
        char *aside = slurp(self, name, &aside_size);
        assert_int_equal(aside_size, strlen(head) + (end - at) + 1);
        assert_memory_equal(aside, head, strlen(head));
        assert_memory_equal(aside + strlen(head), log + at, end - at);
        assert_int_equal(repair.report.bytes_aside, end - at);
        assert_false(file_exists(self, "db.toon.idx"));
        assert_false(file_exists(self, "db.toon.new"));
        free(aside);
        free(log);
        reopen(self);
    }
}

static void a_wrong_index_alone_is_taken_away(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    size_t size, index_size;
    put(self, "a", "1");
    put(self, "b", "2");
    close_store(self);
    char *log = slurp(self, "db.toon", &size);
    char *index = slurp(self, "db.toon.idx", &index_size);
    index[40] ^= 1;
    spill(self, "db.toon.idx", index, index_size);
    toon_check_report report;
    assert_int_equal(toon_check(self->dir, NULL, NULL, NULL, &report),
                     TOON_CORRUPT);
    repair_store(self, &repair);
    assert_false(file_exists(self, "db.toon.idx"));
    assert_same_file(self, "db.toon", log, size);
    assert_told(&repair, "the index was wrong");
    assert_sound(self);
    free(log);
    free(index);
}

static void row_numbers_are_not_used_twice(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    uint64_t row = 0, again = 0;
    size_t at = 0;
    for (int i = 0; i < 20; i++) {
        at = log_size(self);
        assert_ok(toon_add(self->store, toon_str("v"), &row));
    }
    close_store(self);
    damage(self, at, "\0\0\0\0\0\0\0\0\0\0", 10); /* the last of them */
    repair_store(self, &repair);
    reopen(self);
    assert_ok(toon_add(self->store, toon_str("w"), &again));
    assert_true(again > row);
    close_store(self);
    remove_file(self, "db.toon.idx");
    damage(self, 16, "XXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX", 30);
    damage(self, 130, "XXXXXXXXXXXXXXXXXXXXXXXXXX", 24); /* no base */
    repair_store(self, &repair);
    reopen(self);
    assert_ok(toon_add(self->store, toon_str("w"), &row));
    assert_true(row > again);
}

/* Twenty rows, and no index. Returns the last one's number. */
static uint64_t add_rows(struct fixture *self, size_t starts[20]) {
    uint64_t row = 0;
    for (int i = 0; i < 20; i++) {
        starts[i] = log_size(self);
        assert_ok(toon_add(self->store, toon_str("v"), &row));
    }
    close_store(self);
    remove_file(self, "db.toon.idx");
    return row;
}

static void assert_repaired_above(struct fixture *self, uint64_t row) {
    struct repair repair;
    repair_store(self, &repair);
    reopen(self);
    assert_true(atomic_load(&self->store->volume)->log->base > row);
}

/* Damaged bytes may have been rows. */
static void nor_where_nothing_tells_how_many_there_were(void **state) {
    struct fixture *self = *state;
    static const char zeros[4096];
    size_t starts[20];
    uint64_t row = add_rows(self, starts);
    damage(self, 12, "\0\0\0", 4); /* no hint in the header */
    damage(self, starts[2], zeros, starts[18] - starts[2]);
    assert_repaired_above(self, row);
}

/* Rows that are missing at the end leave no bytes behind. */
static void nor_where_the_header_alone_tells(void **state) {
    struct fixture *self = *state;
    size_t starts[20], size;
    uint64_t row = add_rows(self, starts);
    char *log = slurp(self, "db.toon", &size);
    assert_true(toon_get_u32(log + 12) >= 20);
    spill(self, "db.toon", log, starts[10]);
    free(log);
    flip(self, starts[3] + 8);
    assert_repaired_above(self, row);
}

static void a_store_in_use_is_refused(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    char pid[32];
    put(self, "a", "1");
    assert_int_equal(try_repair(self, &toon_io_system, &repair), TOON_LOCKED);
    (void)snprintf(pid, sizeof pid, "process %ld", (long)getpid());
    assert_non_null(strstr(toon_last_error()->text, pid));
}

/* ----------------------------------------------------- crashes and failures */

/* Which call of those that change something fails, or ends the process. */
static struct {
    int at; /* from 1; 0: none */
    int calls, error;
    bool dies;
    bool lasts; /* all calls behind it fail, too */
    bool no_links;
    bool swapped;  /* the mended log has its name */
    bool mattered; /* what failed was needed, and came before that */
    int lock_fd;   /* the pid in there is for people only */
} trouble;

static bool strikes(void) {
    if (++trouble.calls != trouble.at &&
        !(trouble.lasts && trouble.calls > trouble.at))
        return false;
    if (trouble.dies)
        _exit(7);
    errno = trouble.error;
    return true;
}

static bool strikes_what_matters(void) {
    bool strike = strikes();
    trouble.mattered = trouble.mattered || (strike && !trouble.swapped);
    return strike;
}

static int trouble_open(int dir_fd, const char *name, int flags, mode_t mode) {
    if ((flags & O_CREAT) != 0 && strikes_what_matters())
        return -1;
    int fd = toon_io_system.open_at(dir_fd, name, flags, mode);
    if (strcmp(name, "db.lock") == 0)
        trouble.lock_fd = fd;
    return fd;
}

static ssize_t trouble_pwrite(int fd, const void *bytes, size_t size,
                              off_t offset) {
    bool strike = fd == trouble.lock_fd ? strikes() : strikes_what_matters();
    return strike ? -1 : toon_io_system.pwrite(fd, bytes, size, offset);
}

static int trouble_sync(int fd) {
    (void)fd;
    return strikes_what_matters() ? -1 : 0;
}

static int trouble_truncate(int fd, off_t size) {
    return strikes() ? -1 : toon_io_system.truncate(fd, size);
}

static int trouble_allocate(int fd, off_t offset, off_t size) {
    return strikes() ? -1 : toon_io_system.allocate(fd, offset, size);
}

static int trouble_rename(int dir_fd, const char *from, const char *to) {
    if (strikes_what_matters())
        return -1;
    trouble.swapped = trouble.swapped || strcmp(to, "db.toon") == 0;
    return toon_io_system.rename_at(dir_fd, from, to);
}

static int trouble_unlink(int dir_fd, const char *name) {
    return strikes() ? -1 : toon_io_system.unlink_at(dir_fd, name);
}

static int trouble_link(int dir_fd, const char *from, const char *to) {
    errno = EOPNOTSUPP;
    if (trouble.no_links || strikes())
        return -1;
    return toon_io_system.link_at(dir_fd, from, to);
}

static const toon_io *trouble_io(int at, int error, bool dies) {
    static toon_io io;
    io = toon_io_system;
    io.open_at = trouble_open;
    io.pwrite = trouble_pwrite;
    io.sync = trouble_sync;
    io.truncate = trouble_truncate;
    io.allocate = trouble_allocate;
    io.rename_at = trouble_rename;
    io.unlink_at = trouble_unlink;
    io.link_at = trouble_link;
    trouble.at = at;
    trouble.error = error;
    trouble.dies = dies;
    trouble.calls = 0;
    trouble.swapped = false;
    trouble.mattered = false;
    return &io;
}

/* Returns where the damage is. */
static size_t make_damaged(struct fixture *self, char **log, size_t *size,
                           char **index, size_t *index_size) {
    put(self, "a", "1");
    size_t at = log_size(self);
    put(self, "b", "2");
    put(self, "c", "3");
    close_store(self);
    flip(self, at + 6);
    *log = slurp(self, "db.toon", size);
    *index = slurp(self, "db.toon.idx", index_size);
    return at;
}

static void put_back(const struct fixture *self, const char *log, size_t size,
                     const char *index, size_t index_size) {
    remove_files(self->dir);
    spill(self, "db.toon", log, size);
    spill(self, "db.toon.idx", index, index_size);
}

/* Nothing of it was done, or all. */
static void assert_old_or_mended(struct fixture *self, const char *log,
                                 size_t size) {
    size_t now_size;
    struct repair repair;
    char *now = slurp(self, "db.toon", &now_size);
    if (now_size != size || memcmp(now, log, size) != 0)
        assert_sound(self);
    free(now);
    repair_store(self, &repair); /* once more, and it is mended */
    assert_sound(self);
    reopen(self);
    assert_value(self, "a", "1");
    assert_absent(self, "b");
    assert_value(self, "c", "3");
    close_store(self);
}

static void a_crash_at_any_call_leaves_a_whole_store(void **state) {
    struct fixture *self = *state;
    char *log, *index;
    size_t size, index_size;
    int status = 7 << 8;
    (void)make_damaged(self, &log, &size, &index, &index_size);
    for (int at = 1; status == 7 << 8; at++) {
        put_back(self, log, size, index, index_size);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            struct repair repair;
            _exit(try_repair(self, trouble_io(at, 0, true), &repair) !=
                  TOON_OK);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_old_or_mended(self, log, size);
        if (status != 7 << 8) {
            assert_int_equal(status, 0);
            assert_true(at > 15);
        }
    }
    free(log);
    free(index);
}

static void a_failure_at_any_call_leaves_the_store_as_it_was(void **state) {
    static const struct {
        int sys_errno;
        toon_err err;
    } errors[] = {{EIO, TOON_IO}, {ENOSPC, TOON_FULL}};
    struct fixture *self = *state;
    char *log, *index;
    size_t size, index_size;
    (void)make_damaged(self, &log, &size, &index, &index_size);
    for (int i = 0; i < 4; i++) {
        toon_err err = TOON_IO;
        trouble.no_links = i >= 2;
        for (int at = 1; trouble.calls >= at - 1; at++) {
            struct repair repair;
            put_back(self, log, size, index, index_size);
            err = try_repair(
                self, trouble_io(at, errors[i % 2].sys_errno, false), &repair);
            if (err != TOON_OK)
                assert_int_equal(err, errors[i % 2].err);
            assert_true(err != TOON_OK || !trouble.mattered);
            bool swapped = !file_exists(self, "db.toon.idx") ||
                           (err != TOON_OK && repair.report.before[0] != '\0');
            if (err != TOON_OK && !swapped) {
                assert_same_file(self, "db.toon", log, size);
                assert_false(file_exists(self, "db.toon.damaged-1"));
                assert_false(file_exists(self, "db.toon.before-repair-1"));
            }
            assert_old_or_mended(self, log, size);
        }
        assert_ok(err); /* the last had nothing to fail */
    }
    trouble.no_links = false;
    free(log);
    free(index);
}

/* Also once the new log has its name, but not for good. If the old one cannot
 * be put back, that is said. */
static void a_failure_is_told_with_what_became_of_the_store(void **state) {
    struct fixture *self = *state;
    char *log, *index;
    size_t size, index_size;
    (void)make_damaged(self, &log, &size, &index, &index_size);
    for (int lasts = 0; lasts < 2; lasts++) {
        toon_err err = TOON_IO;
        bool swapped = false;
        for (int at = 1; err != TOON_OK; at++) {
            struct repair repair;
            put_back(self, log, size, index, index_size);
            trouble.lasts = lasts > 0;
            err = try_repair(self, trouble_io(at, EIO, false), &repair);
            trouble.lasts = false;
            bool stays = repair.report.before[0] != '\0';
            if (err == TOON_OK)
                break;
            assert_int_equal(err, TOON_IO);
            swapped = swapped || stays;
            assert_same_file(self, stays ? repair.report.before : "db.toon",
                             log, size);
            assert_same_file(self, "db.toon.idx", index, index_size);
            if (!lasts)
                assert_true(count_files(self) <= 3); /* and a lock */
        }
        assert_int_equal(swapped, lasts);
    }
    free(log);
    free(index);
}

static void without_hard_links_the_old_log_is_copied(void **state) {
    struct fixture *self = *state;
    struct repair repair;
    char *log, *index;
    size_t size, index_size;
    (void)make_damaged(self, &log, &size, &index, &index_size);
    trouble.no_links = true;
    assert_ok(try_repair(self, trouble_io(0, 0, false), &repair));
    trouble.no_links = false;
    assert_string_equal(repair.report.before, "db.toon.before-repair-1");
    assert_same_file(self, "db.toon.before-repair-1", log, size);
    free(log);
    free(index);
}

/* Which of the calls gives the mended log its name. */
static size_t find_swap(const disk_journal *journal, size_t from) {
    for (size_t i = from; i < journal->count; i++) {
        const disk_op *op = &journal->ops[i];
        if (op->kind == DISK_RENAME && strcmp(op->to, "db.toon") == 0)
            return i;
    }
    fail_msg("nothing was renamed");
    return 0;
}

/* After the calls from `from` to `to`: files whose bytes, or names, could be
 * lost in a power cut. The lock file has nothing to lose. */
static size_t count_unsynced(const disk_journal *journal, size_t from,
                             size_t to) {
    enum { NODES_MAX = 64 };

    bool unsynced[NODES_MAX] = {false};
    bool names = false;
    size_t count = 0;
    int lock = disk_names_find(&journal->names, 0, "db.lock");
    for (size_t i = from; i < to; i++) {
        const disk_op *op = &journal->ops[i];
        assert_true(op->node < NODES_MAX);
        if (op->kind == DISK_SYNC && op->is_dir)
            names = false;
        else if (op->kind == DISK_SYNC)
            unsynced[op->node] = false;
        else if (disk_op_is_naming(op))
            names = names || op->node != lock;
        else if (op->kind != DISK_ALLOCATE)
            unsynced[op->node] = op->node != lock;
    }
    for (size_t i = 0; i < NODES_MAX; i++)
        count += unsynced[i];
    return count + names;
}

static void what_is_kept_and_mended_is_durable_before_the_swap(void **state) {
    static const disk_fault no_links = {.kind = FAULT_FAILS,
                                        .calls = CALL_LINK,
                                        .at = 1,
                                        .goes_on = true,
                                        .error = EOPNOTSUPP};
    struct fixture *self = *state;
    for (int round = 0; round < 2; round++) {
        struct repair repair;
        disk_journal journal;
        if (self->store != NULL)
            close_store(self);
        remove_files(self->dir);
        disk_journal_init(&journal);
        lying_disk_record(self->dir, &journal);
        assert_ok(toon_open_on(&lying_disk_io, self->dir, &self->options,
                               &self->store));
        put(self, "a", "1");
        size_t at = log_size(self);
        put(self, "b", "2");
        put(self, "c", "3");
        close_store(self);
        flip(self, at + 6);
        size_t begun = lying_disk_length();
        lying_disk_fail(round == 1 ? &no_links : NULL);
        assert_ok(try_repair(self, &lying_disk_io, &repair));
        lying_disk_fail(NULL);
        size_t swap = find_swap(&journal, begun);
        assert_int_equal(count_unsynced(&journal, begun, swap), 0);
        assert_int_equal(count_unsynced(&journal, begun, journal.count), 0);
        assert_true(file_exists(self, repair.report.before));
        assert_true(file_exists(self, repair.report.aside));
        lying_disk_reset();
        disk_journal_free(&journal);
    }
}

int main(void) {
#define STORE_TEST(name)                                                       \
    cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        STORE_TEST(a_sound_store_is_left_as_it_is),
        STORE_TEST(a_torn_end_is_left_to_opening),
        STORE_TEST(everything_of_a_key_is_kept),
        STORE_TEST(a_key_that_fell_back_is_named),
        STORE_TEST(a_key_is_named_right_though_its_name_was_hit),
        STORE_TEST(a_deletion_that_is_lost_is_known_to_the_index),
        STORE_TEST(a_batch_that_lacks_a_record_is_left_out_whole),
        STORE_TEST(no_half_of_a_batch_comes_back_behind_zeros),
        STORE_TEST(no_half_of_a_batch_comes_back_behind_others_bytes),
        STORE_TEST(what_a_mark_cuts_off_is_no_batch),
        STORE_TEST(a_piece_that_says_others_again_says_the_same),
        STORE_TEST(a_value_that_had_gone_is_not_taken_over),
        STORE_TEST(a_value_on_a_damaged_record_is_lost),
        STORE_TEST(the_line_behind_a_damaged_newline_is_kept),
        STORE_TEST(where_nobody_can_know_that_is_said),
        STORE_TEST(an_index_leaves_nothing_unknown),
        STORE_TEST(slots_that_stand_for_nothing_are_no_keys),
        STORE_TEST(what_the_log_behind_tells_of_is_not_deleted),
        STORE_TEST(a_key_that_moved_on_into_damage_falls_back),
        STORE_TEST(a_key_whose_newest_record_nobody_has_stays),
        STORE_TEST(a_deleted_key_stays_deleted_and_is_named),
        STORE_TEST(a_deletion_with_damage_behind_is_no_proof),
        STORE_TEST(an_older_log_loses_nothing_to_its_index),
        STORE_TEST(an_index_of_another_continuation_deletes_nothing),
        STORE_TEST(a_line_that_is_missing_is_told_of),
        STORE_TEST(a_mark_at_the_end_of_a_sector_costs_nothing),
        STORE_TEST(each_missing_line_is_told_of_once),
        STORE_TEST(a_line_that_is_there_twice_is_told_of),
        STORE_TEST(damage_does_not_hide_that_the_end_is_gone),
        STORE_TEST(an_index_over_whose_end_bytes_are_missing_is_not_believed),
        STORE_TEST(rows_that_the_header_counts_behind_an_index_are_missed),
        STORE_TEST(a_damaged_head_costs_no_key),
        STORE_TEST(a_newer_store_is_left_alone),
        STORE_TEST(a_record_of_a_newer_program_stops_a_repair),
        STORE_TEST(a_newer_programs_index_is_left_alone),
        STORE_TEST(a_value_of_another_form_is_damage_and_no_torn_end),
        STORE_TEST(a_store_of_version_1_is_left_to_the_import),
        STORE_TEST(what_is_no_store_is_refused),
        STORE_TEST(the_old_log_and_the_damaged_bytes_are_kept),
        STORE_TEST(a_wrong_index_alone_is_taken_away),
        STORE_TEST(row_numbers_are_not_used_twice),
        STORE_TEST(nor_where_nothing_tells_how_many_there_were),
        STORE_TEST(nor_where_the_header_alone_tells),
        STORE_TEST(a_store_in_use_is_refused),
        STORE_TEST(a_crash_at_any_call_leaves_a_whole_store),
        STORE_TEST(a_failure_at_any_call_leaves_the_store_as_it_was),
        STORE_TEST(a_failure_is_told_with_what_became_of_the_store),
        STORE_TEST(without_hard_links_the_old_log_is_copied),
        STORE_TEST(what_is_kept_and_mended_is_durable_before_the_swap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
