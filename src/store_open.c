/*
 * store_open.c - opening and closing a store, and the thread that keeps it:
 * expired keys go, the log is synced every second.
 *
 * Knows the order of opening and closing; must never know what changes mean.
 */
#include "dir_lock.h"
#include "epoch.h"
#include "error.h"
#include "recover.h"
#include "store_internal.h"
#include "thread.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    TICK_MS = 100, /* of the keeper */
    SYNC_EVERY_MS = 1000,
    EXPIRE_AT_ONCE = 128, /* keys in one batch */
    EXPIRE_BATCHES_MAX = 64,
};

#define CACHE_BYTES_DEFAULT ((size_t)64 << 20)

/* ------------------------------------------------------------------ keeper */

static void keep_expiring(toon_store *store) {
    bool more = true;
    for (int i = 0; more && i < EXPIRE_BATCHES_MAX; i++) {
        if (toon_expire_some(store, EXPIRE_AT_ONCE, &more) != TOON_OK)
            break; /* the next tick tries again */
    }
}

static void keep_synced(toon_store *store, int64_t *next_ms) {
    struct timespec now;
    if (store->options.sync != TOON_SYNC_EVERYSEC ||
        atomic_load(&store->read_only))
        return;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t now_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
    if (now_ms < *next_ms)
        return;
    if (toon_wants_sync(store))
        (void)toon_sync(store); /* its failure is remembered and told there */
    *next_ms = now_ms + SYNC_EVERY_MS;
}

static bool wait_for_tick(toon_store *store) {
    struct timespec until = toon_deadline(CLOCK_MONOTONIC, TICK_MS);
    (void)pthread_mutex_lock(&store->keeper_lock);
    int result = 0;
    while (!store->keeper_stop && result != ETIMEDOUT)
        result = pthread_cond_timedwait(&store->keeper_wake,
                                        &store->keeper_lock, &until);
    bool stop = store->keeper_stop;
    (void)pthread_mutex_unlock(&store->keeper_lock);
    return !stop;
}

static void *keep(void *arg) {
    toon_store *store = arg;
    int64_t next_sync_ms = 0;
    while (wait_for_tick(store)) {
        keep_expiring(store);
        keep_synced(store, &next_sync_ms);
        if (atomic_load(&store->care.starved))
            toon_care_look(store);
    }
    return NULL;
}

static toon_err start_keeper(toon_store *store) {
    int result = toon_thread_start(&store->keeper, keep, store);
    if (result != 0) {
        toon_where where = {NULL, -1, result};
        return toon_fail(TOON_NO_MEMORY, where, "cannot start a thread");
    }
    store->keeper_runs = true;
    return TOON_OK;
}

static void stop_keeper(toon_store *store) {
    if (!store->keeper_runs)
        return;
    (void)pthread_mutex_lock(&store->keeper_lock);
    store->keeper_stop = true;
    (void)pthread_cond_signal(&store->keeper_wake);
    (void)pthread_mutex_unlock(&store->keeper_lock);
    (void)pthread_join(store->keeper, NULL);
    store->keeper_runs = false;
}

/* -------------------------------------------------------------------- open */

static void init_locks(toon_store *store) {
    pthread_condattr_t attr;
    (void)pthread_mutex_init(&store->writer_lock, NULL);
    (void)pthread_mutex_init(&store->gate, NULL);
    (void)pthread_rwlock_init(&store->order_lock, NULL);
    (void)pthread_mutex_init(&store->notify_lock, NULL);
    (void)pthread_mutex_init(&store->queue_lock, NULL);
    (void)pthread_mutex_init(&store->sync_lock, NULL);
    (void)pthread_mutex_init(&store->keeper_lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&store->keeper_wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    toon_pins_init(store);
    toon_care_init(store);
}

static void free_locks(toon_store *store) {
    (void)pthread_mutex_destroy(&store->writer_lock);
    (void)pthread_mutex_destroy(&store->gate);
    (void)pthread_rwlock_destroy(&store->order_lock);
    (void)pthread_mutex_destroy(&store->notify_lock);
    (void)pthread_mutex_destroy(&store->queue_lock);
    (void)pthread_mutex_destroy(&store->sync_lock);
    (void)pthread_mutex_destroy(&store->keeper_lock);
    (void)pthread_cond_destroy(&store->keeper_wake);
    toon_care_free(store);
}

static void free_store(toon_store *store) {
    struct watcher *watcher = store->watchers;
    while (watcher != NULL) {
        struct watcher *next = watcher->next;
        free(watcher);
        watcher = next;
    }
    toon_pins_free(store);
    toon_volume_free(atomic_load(&store->volume));
    toon_cache_free(store->cache);
    toon_key_order_free(store->order);
    toon_buf_free(&store->events);
    toon_buf_free(&store->queue);
    free(store->steps);
    toon_file_close(&store->lock_file);
    toon_dir_close(&store->dir);
    free_locks(store);
    free(store);
}

static toon_err check_options(const toon_options *options) {
    if (options->key_size_max > TOON_KEY_SIZE_LIMIT ||
        options->value_size_max > TOON_VALUE_SIZE_LIMIT ||
        options->sync > TOON_SYNC_NO ||
        options->cache_policy > TOON_CACHE_NONE ||
        options->compact_garbage > 100)
        return toon_fail_plain(TOON_INVALID,
                               "an option of toon_open is out of its range");
    return TOON_OK;
}

static toon_options with_defaults(const toon_options *given) {
    toon_options options = {0};
    if (given != NULL)
        options = *given;
    if (options.key_size_max == 0)
        options.key_size_max = TOON_KEY_SIZE_LIMIT;
    if (options.value_size_max == 0)
        options.value_size_max = TOON_VALUE_SIZE_LIMIT;
    if (options.cache_bytes_max == 0)
        options.cache_bytes_max = CACHE_BYTES_DEFAULT;
#ifdef TOON_HOSTILE
    options.cache_entries_max = 1;
#endif
    return options;
}

static void say(const toon_store *store, toon_message_level level,
                const char *text) {
    if (store->options.message != NULL)
        store->options.message(store->options.message_arg, level, text);
}

static void report_missing(const toon_store *store,
                           const toon_recovery *recovery) {
    char text[400];
    if (recovery->missing_rows == 0)
        return;
    (void)snprintf(text, sizeof text,
                   "%s: when the store was last closed its log had %" PRIu64
                   " rows more than now; run tst check",
                   store->dir.path, recovery->missing_rows);
    say(store, TOON_WARNING, text);
}

static void report(const toon_store *store, const toon_recovery *recovery) {
    char text[400];
    bool read_only = (store->options.flags & TOON_OPEN_READ_ONLY) != 0;
    report_missing(store, recovery);
    if (recovery->torn_bytes == 0)
        return;
    (void)snprintf(
        text, sizeof text,
        "%s: the last %" PRIu64
        " bytes of the log were torn by a crash and %s%s%s%s",
        store->dir.path, recovery->torn_bytes,
        read_only ? "passed over; the next writer cuts them off" : "cut off",
        recovery->kept[0] != '\0' ? "; they are kept in " : "", recovery->kept,
        recovery->no_room ? "; there was no room to keep them" : "");
    say(store, TOON_WARNING, text);
}

/* What a crash in the middle of a swap leaves. */
static toon_err remove_leftovers(const toon_dir *dir) {
    static const char *const names[] = {
        TOON_LOG_NEW_NAME,
        TOON_INDEX_NEW_NAME,
        TOON_COMPACT_NAME,
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        toon_err err = toon_dir_unlink(dir, names[i]);
        if (err != TOON_OK)
            return err;
    }
    return TOON_OK;
}

/* Before anything is written into a directory that may be no store. */
static toon_err require_log(const toon_dir *dir) {
    toon_file file;
    toon_err err = toon_file_open(dir, TOON_LOG_NAME, O_RDONLY, &file);
    toon_file_close(&file);
    return err == TOON_NOT_FOUND ? toon_log_missing(dir) : err;
}

static toon_err open_files(toon_store *store, const char *path) {
    unsigned flags = store->options.flags;
    bool read_only = (flags & TOON_OPEN_READ_ONLY) != 0;
    bool create = !read_only && (flags & TOON_OPEN_NO_CREATE) == 0;
    toon_recovery recovery;
    toon_volume *volume = NULL;
    bool renamed;
    toon_err err =
        toon_dir_open(store->lock_file.io, path, create, &store->dir);
    if (err == TOON_OK && !create)
        err = require_log(&store->dir);
    if (err == TOON_OK && !read_only)
        err = toon_dir_lock(&store->dir, &store->lock_file);
    if (err == TOON_OK && !read_only)
        err = remove_leftovers(&store->dir);
    /* Whoever renamed a log into place may have been killed before this. */
    if (err == TOON_OK && !read_only)
        err = toon_dir_sync(&store->dir);
    if (err != TOON_OK)
        return err;
    err = toon_recover(&store->dir, read_only, &volume, &recovery);
    if (err == TOON_NOT_FOUND && create) {
        err = toon_log_install(&store->dir, 0, &renamed);
        if (err == TOON_OK)
            err = toon_recover(&store->dir, read_only, &volume, &recovery);
    }
    if (err != TOON_OK)
        return err;
    atomic_store(&store->volume, volume);
    store->seed = volume->seed;
    atomic_store(&store->torn_bytes, recovery.torn_bytes);
    atomic_store(&store->care.indexed, recovery.indexed);
    atomic_store(&store->version_base,
                 toon_version_of(atomic_load(&volume->generation), 0));
    report(store, &recovery);
    return TOON_OK;
}

static toon_err open_rest(toon_store *store) {
    const toon_options *options = &store->options;
    if (options->cache_policy != TOON_CACHE_NONE) {
        store->cache =
            toon_cache_new(options->cache_policy, options->cache_entries_max,
                           options->cache_bytes_max);
        if (store->cache == NULL)
            return toon_fail_memory();
    }
    atomic_store(&store->last_sync_ms, toon_now_ms());
    if ((options->flags & TOON_OPEN_READ_ONLY) != 0) {
        atomic_store(&store->read_only, true);
        return TOON_OK;
    }
    toon_err err = start_keeper(store);
    return err == TOON_OK ? toon_care_start(store) : err;
}

toon_err toon_open_on(const toon_io *io, const char *dir,
                      const toon_options *options, toon_store **out) {
    toon_options resolved = with_defaults(options);
    toon_err err = check_options(&resolved);
    if (err != TOON_OK)
        return err;
    toon_store *store = calloc(1, sizeof *store);
    if (store == NULL)
        return toon_fail_memory();
    store->options = resolved;
    store->dir.fd = -1;
    store->lock_file.fd = -1;
    store->lock_file.io = io;
    init_locks(store);
    err = open_files(store, dir);
    if (err == TOON_OK)
        err = open_rest(store);
    if (err != TOON_OK) {
        toon_error told = *toon_last_error();
        stop_keeper(store);
        free_store(store);
        told.err = err;
        return toon_fail_again(&told);
    }
    *out = store;
    return TOON_OK;
}

toon_err toon_open(const char *dir, const toon_options *options,
                   toon_store **out) {
    return toon_open_on(&toon_io_system, dir, options, out);
}

/* ------------------------------------------------------------------- close */

/* Twice: the second sync is of the row count and of the mark that tells of the
 * first. They help people and later checks; nothing rests on them. */
static toon_err close_files(toon_store *store) {
    toon_volume *volume = atomic_load(&store->volume);
    uint64_t rows = atomic_load(&volume->rows);
    uint32_t hint = rows < UINT32_MAX ? (uint32_t)rows : UINT32_MAX;
    toon_err err = toon_sync(store);
    if (err != TOON_OK ||
        atomic_load(&store->care.indexed) >= volume->log->records_end)
        return err;
    (void)toon_log_set_row_hint(volume->log, hint);
    err = toon_sync(store);
    if (err == TOON_OK && toon_checkpoint_at_close(store) != TOON_OK)
        say(store, TOON_WARNING, toon_last_error()->text);
    return err;
}

toon_err toon_close(toon_store *store) {
    toon_err err = TOON_OK;
    if (store == NULL)
        return TOON_OK;
    stop_keeper(store);
    toon_care_stop(store);
    toon_forget_gathering(store);
    if (!atomic_load(&store->read_only))
        err = close_files(store);
    if (atomic_load(&store->failure) != TOON_OK)
        err = atomic_load(&store->failure);
    toon_epoch_drain();
    free_store(store);
    return err;
}
