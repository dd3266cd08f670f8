/*
 * copy.c - a hot backup: the log only grows, so a prefix of it that ends with
 * a batch is a snapshot, and a copy of its bytes is a store.
 *
 * Writers wait only while the end of that prefix is looked up. The copy is
 * written under the names that a store gives to what is not finished, made
 * durable, and renamed: db.toon is there when all of it is.
 *
 * Knows the files of a store and where its log ends; must never know what is
 * in them.
 */
#include "checkpoint.h"
#include "dir_lock.h"
#include "error.h"
#include "index_file.h"
#include "store_internal.h"

/* Progress is told so many times at most. */
enum { PROGRESS_STEPS = 200 };

/* So little is left to write at the end that whoever syncs the store itself
 * does not wait for all of the copy. */
#define SYNC_EVERY ((uint64_t)32 << 20)

/* Copied between two looks at whether to go on. */
#define PIECE_MAX ((uint64_t)4 << 20)

struct copying {
    const toon_store *store;
    uint64_t stops; /* store->copy_stops at the beginning */
    toon_progress_fn *progress;
    void *arg;
    uint64_t told, total;

    toon_dir dir;
    bool made_dir, made_lock;
    toon_file lock;
    const char *path; /* as the caller gave it */
};

static toon_err check_stop(const struct copying *self) {
    if (atomic_load(&self->store->copy_stops) == self->stops)
        return TOON_OK;
    return toon_fail_plain(TOON_CONFLICT, "the copy was stopped");
}

void toon_copy_stop(toon_store *store) {
    (void)atomic_fetch_add(&store->copy_stops, 1);
}

static void tell_progress(struct copying *self, uint64_t done) {
    uint64_t step = self->total / PROGRESS_STEPS + 1;
    bool due = done == 0 || done == self->total || done >= self->told + step;
    if (self->progress == NULL || !due)
        return;
    self->told = done;
    self->progress(self->arg, done, self->total);
}

/* ---------------------------------------------------- the copy's directory */

static toon_err refuse_store(const struct copying *self) {
    toon_file file;
    toon_err err = toon_file_open(&self->dir, TOON_LOG_NAME, O_RDONLY, &file);
    toon_file_close(&file);
    if (err == TOON_NOT_FOUND)
        return TOON_OK;
    if (err != TOON_OK)
        return err;
    toon_where where = {self->path, -1, 0};
    return toon_fail(TOON_EXISTS, where, "there is a store in %s already",
                     self->path);
}

/* The lock keeps a server from making a store where the copy is to be. */
static toon_err open_dir(const toon_io *io, struct copying *self) {
    toon_err err = toon_dir_open(io, self->path, false, &self->dir);
    if (err == TOON_NOT_FOUND) {
        self->made_dir = true;
        err = toon_dir_open(io, self->path, true, &self->dir);
    }
    if (err == TOON_OK)
        err = refuse_store(self);
    if (err != TOON_OK)
        return err;
    self->made_lock = !toon_dir_has_lock(&self->dir);
    err = toon_dir_lock(&self->dir, &self->lock);
    if (err == TOON_OK)
        err = refuse_store(self); /* it may have been made before the lock */
    return err;
}

/* What was not there before goes again; who waits for the lock looks whether
 * its file has been removed. */
static void close_dir(struct copying *self, bool keep) {
    if (self->lock.fd >= 0 && self->made_lock && !keep)
        (void)toon_dir_unlink(&self->dir, TOON_LOCK_NAME);
    toon_file_close(&self->lock);
    toon_dir_close(&self->dir);
    if (self->made_dir && !keep)
        toon_dir_unmake(self->path);
}

/* ---------------------------------------------------------------- the bytes */

/* Room is taken first: a disk that is too small is known at once, and the
 * store that lies on it, too, is not starved bit by bit. */
static toon_err copy_bytes(struct copying *self, const toon_file *from,
                           const toon_file *to, uint64_t size) {
    uint64_t done = 0;
    uint64_t synced = 0;
    bool reserved;
    toon_err err = toon_file_allocate(to, 0, size, &reserved);
    while (err == TOON_OK && done < size) {
        uint64_t piece = size - done < PIECE_MAX ? size - done : PIECE_MAX;
        err = check_stop(self);
        if (err == TOON_OK)
            err = toon_file_copy(from, to, done, piece);
        done += piece;
        if (err == TOON_OK && done - synced >= SYNC_EVERY) {
            err = toon_file_sync(to);
            synced = done;
        }
        if (err == TOON_OK)
            tell_progress(self, done);
    }
    return err;
}

/* `rows` goes into a log's head; NULL: it is no log. */
static toon_err copy_file(struct copying *self, const toon_file *from,
                          const char *name, uint64_t size,
                          const uint32_t *rows) {
    toon_file to;
    toon_err err =
        toon_file_open(&self->dir, name, O_RDWR | O_CREAT | O_TRUNC, &to);
    if (err == TOON_OK)
        err = copy_bytes(self, from, &to, size);
    if (err == TOON_OK && rows != NULL)
        err = toon_log_write_row_hint(&to, *rows);
    if (err == TOON_OK)
        err = toon_file_sync(&to);
    toon_file_close(&to);
    return err;
}

/* --------------------------------------------------------------- the index */

/*
 * The one that the store has, if it is of this log. It leaves out the keys
 * that were changed until it was done, since they stand in the log behind what
 * it covers: `index` was opened before the end of the copy was known, so all
 * of that is copied.
 */
static toon_err take_index(struct copying *self, const toon_file *index,
                           const toon_log *log) {
    struct copying quiet = *self;
    toon_index_head head;
    uint64_t size = 0;
    quiet.progress = NULL;
    if (index->fd < 0)
        return TOON_NOT_FOUND;
    toon_err err = toon_index_peek(index, &head);
    if (err == TOON_OK && head.salt != log->salt)
        return TOON_NOT_FOUND;
    if (err == TOON_OK)
        err = toon_file_size(index, &size);
    if (err == TOON_OK)
        err = copy_file(&quiet, index, TOON_INDEX_NEW_NAME, size, NULL);
    if (err == TOON_OK)
        err = toon_dir_rename(&self->dir, TOON_INDEX_NEW_NAME, TOON_INDEX_NAME);
    return err;
}

/* Of a snapshot: the store's own may be younger by now, but its table stands
 * still. */
static toon_err make_index(const struct copying *self) {
    static const toon_pause nobody_writes = {0};
    const toon_volume *volume = atomic_load(&self->store->volume);
    toon_point point = toon_point_of(volume);
    return toon_checkpoint(&self->dir, volume, &point, &nobody_writes);
}

/* So that the copy opens fast. It is only a cache: what goes wrong is no
 * failure, but nothing may be left that is no index of this log. */
static toon_err put_index(struct copying *self, const toon_file *index,
                          const toon_log *log) {
    bool snapshot = (self->store->options.flags & TOON_OPEN_READ_ONLY) != 0;
    toon_err err = snapshot ? make_index(self) : take_index(self, index, log);
    if (err == TOON_OK)
        err = toon_log_check_held(log);
    if (err == TOON_OK)
        return toon_dir_sync(&self->dir);
    err = toon_dir_unlink(&self->dir, TOON_INDEX_NEW_NAME);
    return err == TOON_OK ? toon_dir_unlink(&self->dir, TOON_INDEX_NAME) : err;
}

/* ------------------------------------------------------------------- whole */

/* The store's own names are ours, too: refuse_store() found none. */
static void remove_copy(const struct copying *self) {
    static const char *const names[] = {
        TOON_LOG_NAME,
        TOON_LOG_NEW_NAME,
        TOON_INDEX_NAME,
        TOON_INDEX_NEW_NAME,
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        (void)toon_dir_unlink(&self->dir, names[i]);
}

/* The index follows when the log has its name for good: where an index stands
 * alone, somebody took a log away. */
static toon_err copy_log(struct copying *self, const toon_file *index,
                         const toon_log *log, uint64_t end, uint64_t rows) {
    uint32_t hint = rows < UINT32_MAX ? (uint32_t)rows : UINT32_MAX;
    self->total = end;
    tell_progress(self, 0);
    toon_err err = copy_file(self, &log->file, TOON_LOG_NEW_NAME, end, &hint);
    if (err == TOON_OK) /* a copy before this one may not have come further */
        err = toon_dir_unlink(&self->dir, TOON_INDEX_NAME);
    if (err == TOON_OK) /* of a snapshot: is it still what it was? */
        err = toon_log_check_held(log);
    if (err == TOON_OK)
        err = check_stop(self);
    if (err == TOON_OK)
        err = toon_dir_rename(&self->dir, TOON_LOG_NEW_NAME, TOON_LOG_NAME);
    if (err == TOON_OK)
        err = toon_dir_sync(&self->dir);
    return err == TOON_OK ? put_index(self, index, log) : err;
}

static toon_err copy_store(toon_store *store, struct copying *self) {
    uint64_t end, rows;
    toon_file index;
    (void)toon_file_open(&store->dir, TOON_INDEX_NAME, O_RDONLY, &index);
    toon_log *log = toon_share_log(store, &end, &rows);
    toon_err err = copy_log(self, &index, log, end, rows);
    toon_log_free(log);
    toon_file_close(&index);
    if (err == TOON_OK)
        return TOON_OK;
    toon_error told = *toon_last_error();
    remove_copy(self);
    return toon_fail_again(&told);
}

toon_err toon_copy(toon_store *store, const char *dir,
                   toon_progress_fn *progress, void *arg) {
    struct copying self = {
        .store = store,
        .stops = atomic_load(&store->copy_stops),
        .progress = progress,
        .arg = arg,
        .dir = {.fd = -1},
        .lock = {.fd = -1},
        .path = dir,
    };
    toon_err err = open_dir(store->dir.io, &self);
    if (err == TOON_OK)
        err = copy_store(store, &self);
    toon_error told = *toon_last_error();
    close_dir(&self, err == TOON_OK);
    return err == TOON_OK ? TOON_OK : toon_fail_again(&told);
}
