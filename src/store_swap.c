/*
 * store_swap.c - another log in the place of the one there is: an empty one
 * (clear), or the compacted one.
 *
 * Knows volumes and the locks under which one takes the place of another; must
 * never know what changes mean, nor how a log is compacted.
 *
 * The directory names the new log from the rename on, and memory follows
 * before a lock is given back. That the rename is durable is seen to before
 * any later sync is (store->dir_unsynced): a power cut before that leaves the
 * old log, with all that was synced before.
 */
#include "compact.h"
#include "epoch.h"
#include "error.h"
#include "recover.h"
#include "store_internal.h"

/* More than this is not copied while writers wait; twice as much after each
 * try, so that it ends also on a disk that is slower than they are. */
#ifdef TOON_HOSTILE
#define REST_BYTES ((uint64_t)1 << 10)
#else
#define REST_BYTES ((uint64_t)128 << 10)
#endif
enum { TRIES_MAX = 6, DOUBLINGS_MAX = 24 };

static void retire_volume(void *arg) {
    toon_volume_free(arg);
}

/* The writer lock and the sync lock are held: nobody writes or syncs. */
static void publish_locked(toon_store *store, toon_volume *fresh) {
    const toon_volume *old = atomic_load(&store->volume);
    uint64_t generation = atomic_load(&old->generation) + 1;
    atomic_store(&fresh->generation, generation);
    atomic_store(&store->version_base, toon_version_of(generation, 0));
    atomic_store(&store->volume, fresh);
    atomic_store(&store->care.indexed, 0);
    store->swaps++;
    uint64_t space = toon_dir_space(&store->dir);
    if (store->care.copy.from > 0 && space < UINT64_MAX / 2)
        store->care.copy.freed =
            space + toon_log_taken(old->log) + toon_log_taken(fresh->log);
    store->care.copy.from = 0;
}

/* ------------------------------------------------------------------- clear */

/* All that may be refused, while the old log has its name. */
static toon_err make_empty(toon_store *store, uint64_t base,
                           toon_volume **out) {
    const toon_dir *dir = &store->dir;
    toon_log *log = NULL;
    uint32_t salt = 0;
    toon_err err = toon_random(&salt, sizeof salt);
    if (err == TOON_OK)
        err = toon_log_create(dir, TOON_LOG_NEW_NAME, base, salt, true);
    if (err == TOON_OK)
        err = toon_log_open(dir, TOON_LOG_NEW_NAME, false, &log);
    if (err != TOON_OK)
        return err;
    *out = toon_volume_new(log, store->seed, 1, 0);
    if (*out == NULL) {
        toon_log_free(log);
        return toon_fail_memory();
    }
    atomic_store(&log->synced, log->first);
    log->marked = log->first;
    return TOON_OK;
}

/* *renamed tells, also on failure, whether the old log has lost its name. */
static toon_err install_empty(toon_store *store, toon_volume *fresh,
                              bool *renamed) {
    toon_err err =
        toon_dir_rename(&store->dir, TOON_LOG_NEW_NAME, TOON_LOG_NAME);
    *renamed = err == TOON_OK;
    if (err != TOON_OK)
        return err;
    toon_log_named(fresh->log, &store->dir, TOON_LOG_NAME);
    return toon_dir_sync(&store->dir);
}

static toon_err give_up_empty(toon_store *store, toon_volume *fresh,
                              bool renamed, toon_err err) {
    toon_error told = *toon_last_error();
    toon_volume_free(fresh);
    if (!renamed) {
        toon_log *log = atomic_load(&store->volume)->log;
        (void)toon_dir_unlink(&store->dir, TOON_LOG_NEW_NAME);
        (void)toon_log_reserve(log, toon_cushion(log));
    }
    (void)toon_fail_again(&told);
    if (renamed) /* the files have moved on and memory has not */
        toon_turn_read_only(store, err);
    return err;
}

static toon_err swap_empty_locked(toon_store *store) {
    toon_volume *old = atomic_load(&store->volume);
    toon_volume *fresh = NULL;
    uint64_t base = old->log->base + atomic_load(&old->rows);
    bool renamed = false;
    toon_log_trim(old->log); /* a full disk has to have room for the new one */
    toon_err err = make_empty(store, base, &fresh);
    if (err == TOON_OK)
        err = install_empty(store, fresh, &renamed);
    if (err != TOON_OK)
        return give_up_empty(store, fresh, renamed, err);
    publish_locked(store, fresh);
    atomic_store(&store->care.last_result, TOON_OK); /* of what is gone */
    store->dir_unsynced = false;
    toon_epoch_retire(retire_volume, old);
    (void)toon_dir_unlink(&store->dir, TOON_INDEX_NAME);
    return TOON_OK;
}

static toon_err clear_locked(toon_store *store) {
    toon_err err = toon_write_locked(store);
    if (err != TOON_OK)
        return err;
    if (!toon_push_event(store, TOON_CHANGE_CLEAR, true, toon_bytes(NULL, 0)))
        return toon_fail_memory();
    (void)atomic_fetch_add(&store->batches, 1);
    (void)pthread_mutex_lock(&store->sync_lock);
    err = swap_empty_locked(store);
    (void)pthread_mutex_unlock(&store->sync_lock);
    (void)atomic_fetch_add(&store->batches, 1);
    if (err != TOON_OK) {
        store->events.size = 0;
        return err;
    }
    toon_drop_order_locked(store);
    (void)atomic_fetch_add(&store->changes, 1);
    toon_queue_events_locked(store);
    return TOON_OK;
}

toon_err toon_clear(toon_store *store) {
    if (toon_in_own_batch(store))
        return toon_fail_plain(TOON_INVALID, "a batch cannot clear a store");
    toon_compact_stop(store); /* its file may be all the room there is */
    (void)pthread_mutex_lock(&store->writer_lock);
    toon_err err;
    if (atomic_load(&store->read_only)) {
        err = toon_refuse_read_only(store);
    } else if (toon_epoch_enter()) {
        err = clear_locked(store);
        toon_epoch_leave();
    } else {
        err = toon_fail_memory();
    }
    (void)pthread_mutex_unlock(&store->writer_lock);
    if (err == TOON_OK && store->cache != NULL)
        toon_cache_clear(store->cache);
    toon_epoch_drain(); /* gives the old log's space back now */
    toon_pins_settle(store);
    if (err == TOON_OK && store->care.runs)
        toon_care_look(store); /* what it waits for was of the old log */
    toon_notify(store);
    return err;
}

/* ------------------------------------------------------------- compaction */

/* More is not copied while writers wait. */
static bool is_little(uint64_t rest, unsigned tries) {
    return rest <= REST_BYTES
                       << (tries < DOUBLINGS_MAX ? tries : DOUBLINGS_MAX);
}

/* What was written to the old log since the last round, into the new one. The
 * writer lock is held: that is the pause. */
static toon_err copy_rest_locked(toon_store *store,
                                 toon_compaction *compaction) {
    const toon_volume *old = atomic_load(&store->volume);
    uint64_t end = atomic_load(&old->log->written);
    toon_pause pause = compaction->pause;
    toon_err err = TOON_OK;
    compaction->pause = (toon_pause){0};
    while (err == TOON_OK && compaction->at < end)
        err = toon_compaction_step(compaction, end);
    compaction->pause = pause;
    return err;
}

/* Its end as for toon_write_locked(): nothing is gathered then. */
static toon_err settle_locked(toon_store *store, toon_compaction *compaction,
                              unsigned tries) {
    toon_err err = toon_write_locked(store);
    const toon_log *log = atomic_load(&store->volume)->log;
    uint64_t end = atomic_load(&log->written);
    if (err != TOON_OK || !is_little(end - compaction->at, tries) ||
        !toon_compaction_is_cheap(compaction, end))
        return err;
    err = copy_rest_locked(store, compaction);
    compaction->exact = err == TOON_OK;
    return err;
}

toon_err toon_swap_settle(toon_store *store, toon_compaction *compaction,
                          unsigned tries) {
    const toon_pause *pause = &store->care.pause;
    if (!toon_pause_begin(pause))
        return TOON_CONFLICT;
    toon_err err = toon_epoch_enter() ? TOON_OK : toon_fail_memory();
    if (err == TOON_OK) {
        err = settle_locked(store, compaction, tries);
        toon_epoch_leave();
    }
    toon_pause_end(pause);
    return err;
}

static void tell_moved_locked(toon_store *store) {
    const toon_volume *volume = atomic_load(&store->volume);
    toon_change_kind kind = TOON_CHANGE_MOVED;
    size_t at = store->events.size;
    if (!toon_push_event(store, kind, true, toon_bytes(NULL, 0))) {
        (void)pthread_mutex_lock(&store->queue_lock);
        store->queue_lost = true;
        (void)pthread_mutex_unlock(&store->queue_lock);
        return;
    }
    /* Without a mark in between, the next record begins where these end. */
    uint64_t last = atomic_load(&volume->log->written) - 1;
    toon_set_event_version(
        store, at, toon_version_of(atomic_load(&volume->generation), last));
    toon_queue_events_locked(store);
}

/* What is reserved for those that remove, on a disk that may have no more. */
static void move_reserve(toon_log *old, toon_log *fresh) {
    uint64_t end = toon_log_end(old);
    uint64_t size = old->allocated > end ? old->allocated - end : 0;
    toon_log_trim(old);
    (void)toon_log_reserve(fresh, size);
}

/* Both locks are held, and nothing is gathered. */
static toon_err swap_locked(toon_store *store, toon_compaction *compaction,
                            bool sync) {
    toon_volume *old = atomic_load(&store->volume);
    uint64_t next_row = old->log->base + atomic_load(&old->rows);
    toon_volume *fresh = NULL;
    if (sync) /* then only the end counts */
        compaction->exact = false;
    toon_err err = copy_rest_locked(store, compaction);
    if (err == TOON_OK && sync)
        err = toon_compaction_sync(compaction, next_row);
    else if (err == TOON_OK)
        err = toon_compaction_write(compaction);
    if (err == TOON_OK)
        err = toon_compaction_install(compaction, &fresh);
    if (err != TOON_OK)
        return err;
    store->dir_unsynced = true;
    publish_locked(store, fresh);
    compaction->replaced = old;
    if (atomic_load(&store->care.making_room))
        move_reserve(old->log, fresh->log);
    tell_moved_locked(store);
    return TOON_OK;
}

/*
 * Nobody shall have to wait here for long. Not for the copy of a large value
 * that a little record leads to, since nothing that it builds on is in the new
 * log yet: one more round copies it while nobody waits. And not for a sync, if
 * a power cut behind the rename loses no more without it than it did before.
 * So the new log must have all that is durable in the old one, and what of it
 * is durable must be a state of its own: then what was copied since is a tail
 * as any other. No row number of the old log may be used again either. With
 * TOON_SYNC_ALWAYS it is synced here; and after some tries, all of this is
 * done here whatever it costs.
 */
static bool may_swap_locked(toon_store *store, toon_compaction *compaction,
                            unsigned tries, bool *sync) {
    const toon_volume *volume = atomic_load(&store->volume);
    const toon_log *log = volume->log;
    uint64_t end = atomic_load(&log->written);
    uint64_t next_row = log->base + atomic_load(&volume->rows);
    if (!is_little(end - compaction->at, tries))
        return false;
    bool cheap = toon_compaction_is_cheap(compaction, end);
    *sync = !compaction->exact || !cheap ||
            atomic_load(&log->synced) > compaction->durable ||
            compaction->into->log->base < next_row;
    if (tries >= TRIES_MAX)
        return true;
    return cheap && (!*sync || store->options.sync == TOON_SYNC_ALWAYS);
}

/* Who has the sync lock waits for the disk, and nobody else shall. But where
 * there is always somebody, there has to be an end of that. */
static bool take_sync_lock(toon_store *store, unsigned tries) {
    if (tries < TRIES_MAX)
        return pthread_mutex_trylock(&store->sync_lock) == 0;
    return pthread_mutex_lock(&store->sync_lock) == 0;
}

static toon_err try_swap_locked(toon_store *store, toon_compaction *compaction,
                                unsigned tries, bool *swapped) {
    bool sync;
    toon_err err = toon_write_locked(store);
    if (err != TOON_OK || !may_swap_locked(store, compaction, tries, &sync))
        return err;
    if (!take_sync_lock(store, tries))
        return TOON_OK;
    err = swap_locked(store, compaction, sync);
    (void)pthread_mutex_unlock(&store->sync_lock);
    *swapped = err == TOON_OK;
    return err;
}

toon_err toon_swap_compacted(toon_store *store, toon_compaction *compaction,
                             unsigned tries, bool *swapped) {
    *swapped = false;
    if (!toon_pause_begin(&compaction->pause))
        return TOON_CONFLICT;
    const toon_pause *pause = &store->care.pause;
    toon_err err = toon_epoch_enter() ? TOON_OK : toon_fail_memory();
    if (err == TOON_OK) {
        err = try_swap_locked(store, compaction, tries, swapped);
        toon_epoch_leave();
    }
    toon_written written = toon_written_locked(store);
    toon_pause_end(pause);
    if (err != TOON_OK)
        return err;
    if (!*swapped) { /* a sync may be under way: let it end */
        (void)pthread_mutex_lock(&store->sync_lock);
        (void)pthread_mutex_unlock(&store->sync_lock);
        return TOON_OK;
    }
    return toon_sync_up_to(store, written);
}
