/*
 * fuzz_open.c - a whole data directory as input: opened, read, changed,
 * compacted, copied, closed, opened again, checked, repaired.
 *
 * The input:
 *   0  u8   what is put right (HOW_..., below)
 *   1  u8   seed of the changes
 *   2  u16  size of the log's part, little-endian
 *   4       the log: its bytes, or a script of it (made_log.h); then the
 *           index: its bytes, or one byte that says how much of the log an
 *           honest one covers
 *
 * What must hold for every input: opening answers TOON_OK, CORRUPT or
 * VERSION; one that fails has written nothing; opening to read finds the same
 * as opening to write. Unless an index was forged: a change is read back, a
 * closed store is found again as it was, with its index or without it, and a
 * store that toon_check() calls sound has no damaged key, needs no repair, can
 * be compacted, and copied to one that is as sound and has the same.
 */
#include "made_index.h"
#include "made_log.h"
#include "mend.h"
#include "scratch.h"
#include "store_internal.h"

enum {
    HOW_MADE_LOG = 1 << 0,     /* the log's part is a script */
    HOW_MEND_LOG = 1 << 1,     /* put its lines' checksums right */
    HOW_MEND_INDEX = 1 << 2,   /* put the index's checksum right, */
    HOW_BIND_INDEX = 1 << 3,   /* and its salt and last CRC */
    HOW_HONEST_INDEX = 1 << 4, /* make it of a part of the log */
    HOW_NO_INDEX = 1 << 5,
    HEAD_SIZE = 4,
    CHANGES_MAX = 8,
};

/* ------------------------------------------------------- the directory */

static bool is_forged(unsigned how) {
    return (how & (HOW_HONEST_INDEX | HOW_NO_INDEX)) == 0 &&
           (how & (HOW_MEND_INDEX | HOW_BIND_INDEX)) != 0;
}

static void write_log(fuzz_input part, unsigned how, toon_buf *log) {
    if ((how & HOW_MADE_LOG) != 0) {
        made_log made;
        made_log_begin(&made);
        while (part.left > 0 && made.count < MADE_RECORDS_MAX)
            made_log_add(&made, &part);
        *log = made.bytes;
    } else {
        toon_buf_append(log, part.at, part.left);
        if ((how & HOW_MEND_LOG) != 0)
            mend_log(log->data, log->size);
    }
    scratch_write("db.toon", log->data, log->size);
}

/* Of the log up to some place, as if there had been a checkpoint. */
static void write_honest_index(fuzz_input part, const toon_buf *log) {
    toon_dir dir;
    size_t size = log->size * fuzz_byte(&part) / UINT8_MAX;
    scratch_write("db.toon", log->data, size);
    CHECK(toon_dir_open(scratch_io(), scratch_path(), false, &dir) == TOON_OK);
    (void)made_index_write(&dir);
    toon_dir_close(&dir);
    scratch_write("db.toon", log->data, log->size);
}

static void write_index(fuzz_input part, unsigned how, const toon_buf *log) {
    if ((how & HOW_NO_INDEX) != 0)
        return;
    if ((how & HOW_HONEST_INDEX) != 0) {
        write_honest_index(part, log);
        return;
    }
    char *index = fuzz_copy(part.at, part.left);
    if ((how & HOW_BIND_INDEX) != 0)
        mend_index_for_log(index, part.left, log->data, log->size);
    if ((how & (HOW_MEND_INDEX | HOW_BIND_INDEX)) != 0)
        mend_index(index, part.left);
    scratch_write("db.toon.idx", index, part.left);
    free(index);
}

/* ------------------------------------------------------ what is in a store */

struct view {
    toon_store *store;
    bool forged; /* slots may have any hash */
    uint64_t keys;
    uint64_t damaged;
    uint64_t digest; /* of keys, values, times and modes, in any order */
    uint64_t in_order;
    uint64_t in_order_damaged;
    toon_buf last; /* scratch */
};

static uint64_t mix(uint64_t digest, const void *bytes, size_t size) {
    const unsigned char *at = bytes;
    for (size_t i = 0; i < size; i++)
        digest = (digest ^ at[i]) * UINT64_C(1099511628211);
    return (digest ^ size) * UINT64_C(0x9e3779b97f4a7c15);
}

static bool see_key(void *arg, toon_slice key, const toon_key_stat *stat) {
    struct view *view = arg;
    toon_value value;
    toon_key_stat told;
    (void)stat;
    view->keys++;
    toon_err err = toon_get(view->store, key, &value);
    if (err == TOON_CORRUPT || (view->forged && err == TOON_NOT_FOUND)) {
        view->damaged++;
        return true;
    }
    CHECK(err == TOON_OK);
    CHECK(value.data[value.size] == '\0');
    CHECK(toon_stat_key(view->store, key, &told) == TOON_OK);
    CHECK(told.size == value.size && told.meta.version == value.meta.version);
    uint64_t one = mix(1, key.data, key.size);
    one = mix(one, value.data, value.size);
    one = mix(one, &value.meta.written_ms, sizeof value.meta.written_ms);
    one = mix(one, &value.meta.expires_ms, sizeof value.meta.expires_ms);
    view->digest += mix(one, &value.meta.mode, sizeof value.meta.mode);
    toon_value_release(&value);
    return true;
}

static bool see_next(void *arg, toon_slice key, const toon_key_stat *stat) {
    struct view *view = arg;
    toon_value value = {0};
    (void)stat;
    if (view->in_order > 0)
        CHECK(toon_slice_compare(toon_buf_slice(&view->last), key) < 0);
    view->in_order++;
    if (toon_get(view->store, key, &value) == TOON_CORRUPT)
        view->in_order_damaged++;
    toon_value_release(&value);
    view->last.size = 0;
    toon_buf_append_slice(&view->last, key);
    return true;
}

static struct view look_at(toon_store *store, bool forged) {
    struct view view = {.store = store, .forged = forged};
    toon_scan_options scan = {.count = 7};
    toon_range_options range = {0};
    uint64_t cursor = 0;
    do {
        CHECK(toon_scan(store, &cursor, &scan, see_key, &view) == TOON_OK);
    } while (cursor != 0);
    CHECK(toon_range(store, &range, see_next, &view) == TOON_OK);
    /* A change that was taken back named a key that nobody could read. */
    CHECK(forged ||
          view.in_order - view.in_order_damaged == view.keys - view.damaged);
    toon_buf_free(&view.last);
    return view;
}

static bool same(const struct view *a, const struct view *b) {
    return a->keys == b->keys && a->damaged == b->damaged &&
           a->digest == b->digest;
}

/* ------------------------------------------------------- opening, closing */

/* NULL: it failed, and wrote nothing. */
static toon_store *open_store(const char *dir, unsigned flags) {
    toon_options options = {.flags = flags | TOON_OPEN_NO_CREATE,
                            .sync = TOON_SYNC_NO,
                            .cache_entries_max = 4,
                            .compact_garbage = 100};
    toon_store *store = NULL;
    scratch_forget_changes();
    toon_err err = toon_open_on(scratch_io(), dir, &options, &store);
    CHECK(err == TOON_OK || err == TOON_CORRUPT || err == TOON_VERSION);
    if (err != TOON_OK || (flags & TOON_OPEN_READ_ONLY) != 0)
        CHECK(scratch_changes() == 0);
    return err == TOON_OK ? store : NULL;
}

static void close_store(toon_store *store) {
    CHECK(toon_close(store) == TOON_OK);
}

static bool is_sound(const char *dir) {
    toon_check_report report;
    toon_err err = toon_check(dir, NULL, NULL, NULL, &report);
    CHECK(err == TOON_OK || err == TOON_CORRUPT || err == TOON_VERSION);
    return err == TOON_OK;
}

/* Bytes are copied as they are: damaged ones, too. */
static void copy_store(toon_store *store, bool forged) {
    bool sound = is_sound(scratch_path());
    const char *dir = scratch_no_copy();
    CHECK(toon_copy(store, dir, NULL, NULL) == TOON_OK);
    CHECK(is_sound(dir) || !sound);
    toon_store *other = open_store(dir, 0);
    CHECK(other != NULL || !sound);
    if (other == NULL)
        return;
    struct view view = look_at(store, forged);
    struct view again = look_at(other, forged);
    CHECK(forged || same(&view, &again));
    close_store(other);
}

/* ----------------------------------------------------------------- changes */

struct change {
    toon_store *store;
    bool forged;
    uint64_t random;
};

static unsigned pick(struct change *change, unsigned below) {
    change->random ^= change->random << 13;
    change->random ^= change->random >> 7;
    change->random ^= change->random << 17;
    return (unsigned)(change->random % below);
}

static void expect(struct change *change, toon_slice key, toon_slice wanted) {
    toon_value value;
    toon_err err = toon_get(change->store, key, &value);
    if (change->forged && err == TOON_CORRUPT)
        return;
    CHECK(err == TOON_OK);
    CHECK(change->forged ||
          toon_slice_equal(toon_bytes(value.data, value.size), wanted));
    toon_value_release(&value);
}

static void expect_absent(struct change *change, toon_slice key) {
    toon_key_stat stat;
    toon_err err = toon_stat_key(change->store, key, &stat);
    CHECK(change->forged || err == TOON_NOT_FOUND);
}

static toon_slice pick_value(struct change *change) {
    static const char bytes[5000] = "value \xff\n\"";
    static const unsigned sizes[] = {0, 1, 6, 9, 300, 5000};
    return toon_bytes(bytes, sizes[pick(change, 6)]);
}

static void set(struct change *change, toon_slice key) {
    toon_slice value = pick_value(change);
    CHECK(toon_set(change->store, key, value, NULL) == TOON_OK);
    expect(change, key, value);
}

static void append(struct change *change, toon_slice key) {
    toon_slice more = pick_value(change);
    toon_key_stat stat;
    size_t size = 0;
    toon_err before = toon_stat_key(change->store, key, &stat);
    toon_err err = toon_append(change->store, key, more, &size);
    CHECK(err == TOON_OK || err == TOON_CORRUPT);
    if (err == TOON_OK && before == TOON_OK && !change->forged)
        CHECK(size == stat.size + more.size);
}

static void delete (struct change *change, toon_slice key) {
    toon_err err = toon_delete(change->store, key, 0, NULL);
    CHECK(err == TOON_OK || err == TOON_NOT_FOUND);
    expect_absent(change, key);
}

static void rename_key(struct change *change, toon_slice key) {
    toon_slice to = made_key(pick(change, MADE_KEYS));
    unsigned flags = pick(change, 3); /* none, NO_REPLACE, EXCHANGE */
    toon_err err = toon_rename(change->store, key, to, flags);
    CHECK(err == TOON_OK || err == TOON_NOT_FOUND || err == TOON_EXISTS ||
          err == TOON_CORRUPT);
    if (err == TOON_OK && flags != TOON_RENAME_EXCHANGE &&
        !toon_slice_equal(key, to))
        expect_absent(change, key);
}

static void set_meta(struct change *change, toon_slice key) {
    static const int64_t expiries[] = {0, 1, MADE_FAR_FUTURE_MS};
    toon_meta meta = {
        .expires_ms = expiries[pick(change, 3)], .written_ms = 5, .mode = 0700};
    toon_err err =
        toon_set_meta(change->store, key, 1 + pick(change, 7), &meta);
    CHECK(err == TOON_OK || err == TOON_NOT_FOUND || err == TOON_CORRUPT);
}

/* Nothing of a batch that was cancelled, all of one that was not. */
static void batch(struct change *change, toon_slice key) {
    struct view before = look_at(change->store, change->forged);
    toon_slice value = pick_value(change);
    bool keep = pick(change, 2) == 0;
    CHECK(toon_batch_begin(change->store) == TOON_OK);
    set(change, made_key(pick(change, MADE_KEYS)));
    delete (change, made_key(pick(change, MADE_KEYS)));
    append(change, made_key(pick(change, MADE_KEYS)));
    CHECK(toon_set(change->store, key, value, NULL) == TOON_OK);
    if (keep) {
        CHECK(toon_batch_commit(change->store) == TOON_OK);
        expect(change, key, value);
        return;
    }
    toon_batch_cancel(change->store);
    struct view after = look_at(change->store, change->forged);
    CHECK(change->forged || same(&before, &after));
}

static void compact(struct change *change, toon_slice key) {
    (void)key;
    struct view before = look_at(change->store, change->forged);
    bool sound = is_sound(scratch_path());
    toon_err err = toon_compact(change->store, NULL, NULL);
    bool met_damage = err == TOON_CORRUPT || err == TOON_VERSION;
    if (err != TOON_OK && (!met_damage || sound))
        (void)fprintf(stderr, "%s: %s\n", toon_strerror(err),
                      toon_last_error()->text);
    CHECK(err == TOON_OK || (met_damage && !sound));
    CHECK(err != TOON_OK || change->forged || before.damaged == 0);
    struct view after = look_at(change->store, change->forged);
    CHECK(change->forged || same(&before, &after));
}

static void copy(struct change *change, toon_slice key) {
    (void)key;
    copy_store(change->store, change->forged);
}

static void others(struct change *change, toon_slice key) {
    uint64_t row;
    (void)key;
    CHECK(toon_add(change->store, pick_value(change), &row) == TOON_OK);
    CHECK(toon_sync(change->store) == TOON_OK);
    if (pick(change, 16) == 0)
        CHECK(toon_clear(change->store) == TOON_OK);
}

static void make_changes(toon_store *store, unsigned seed, bool forged) {
    typedef void change_fn(struct change *, toon_slice);
    static change_fn *const kinds[] = {
        set, append, delete, rename_key, set_meta, batch, compact, others, copy,
    };

    enum { KINDS = sizeof kinds / sizeof kinds[0] };

    struct change change = {store, forged, (seed + 1) * UINT64_C(0x9e3779b9)};
    for (unsigned n = pick(&change, CHANGES_MAX); n > 0; n--)
        kinds[pick(&change, KINDS)](&change,
                                    made_key(pick(&change, MADE_KEYS)));
}

/* --------------------------------------------------------- closed stores */

static struct view view_of_open(bool forged) {
    toon_store *store = open_store(scratch_path(), 0);
    CHECK(store != NULL);
    struct view view = look_at(store, forged);
    close_store(store);
    return view;
}

/* What is left afterwards is sound. */
static bool repair(void) {
    toon_repair_report report;
    toon_err err = toon_repair(scratch_path(), NULL, NULL, NULL, &report);
    CHECK(err == TOON_OK || err == TOON_CORRUPT || err == TOON_VERSION);
    if (err != TOON_OK)
        return false;
    CHECK(is_sound(scratch_path()));
    struct view view = view_of_open(false);
    CHECK(view.damaged == 0);
    return true;
}

/* A store that was closed: as it was, with its index and without. */
static void check_closed(const struct view *before, bool forged) {
    bool sound = is_sound(scratch_path());
    CHECK(!sound || forged || before->damaged == 0);
    struct view again = view_of_open(forged);
    CHECK(forged || same(before, &again));
    if (!sound || forged)
        return;
    scratch_remove("db.toon.idx");
    again = view_of_open(false);
    CHECK(same(before, &again));
    if (repair()) {
        again = view_of_open(false);
        CHECK(same(before, &again));
    }
}

static void live(unsigned seed, bool forged) {
    toon_store *store = open_store(scratch_path(), TOON_OPEN_READ_ONLY);
    struct view first = {0};
    bool opened = store != NULL;
    if (opened) {
        first = look_at(store, forged);
        copy_store(store, forged);
        close_store(store);
    }
    store = open_store(scratch_path(), 0);
    CHECK((store != NULL) == opened);
    if (store == NULL) {
        (void)repair();
        return;
    }
    struct view second = look_at(store, forged);
    CHECK(forged || same(&first, &second));
    make_changes(store, seed, forged);
    second = look_at(store, forged);
    close_store(store);
    check_closed(&second, forged);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input input = {data, size};
    toon_buf log = {0};
    if (size < HEAD_SIZE)
        return 0;
    unsigned how = fuzz_byte(&input);
    unsigned seed = fuzz_byte(&input);
    size_t log_size = fuzz_byte(&input);
    log_size += (size_t)fuzz_byte(&input) << 8;
    scratch_empty();
    write_log(fuzz_take(&input, log_size), how, &log);
    write_index(input, how, &log);
    live(seed, is_forged(how));
    toon_buf_free(&log);
    return 0;
}
