/*
 * store.c - the order of steps: locks, changes, batches, gathering, syncing,
 * telling watchers.
 *
 * Knows every lock of the store (store_internal.h lists their order) and when
 * bytes are written; must never know sockets, paths of a mount, or what a
 * single change means (store_change.c).
 */
#include "epoch.h"
#include "error.h"
#include "recover.h"
#include "store_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

/* Gathered bytes are written early past this, to bound memory. */
#ifdef TOON_HOSTILE
#define GATHER_MAX ((size_t)200)
#else
#define GATHER_MAX ((size_t)1 << 20)
#endif

/* A change that adds leaves an eighth of the log, between these, for those
 * that remove and for the compaction that follows: a full disk can be cleaned
 * up through the store itself. Those that remove leave some for the new log
 * of a clear. */
#define CUSHION_MIN   TOON_LOG_RESERVE
#define CUSHION_MAX   ((uint64_t)16 << 20)
#define CLEAR_CUSHION ((size_t)16 << 10)

int64_t toon_now_ms(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

struct timespec toon_deadline(clockid_t clock, unsigned ms) {
    struct timespec until;
    (void)clock_gettime(clock, &until);
    until.tv_nsec += (long)ms * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    return until;
}

/* ------------------------------------------------------- what threads know */

/* A thread gathers in a few stores at most; past that, changes are written
 * one by one, which is only slower. */
enum { GATHERING_MAX = 16 };

struct gathering {
    const toon_store *store; /* NULL: free */
    uint64_t failures;       /* write_failures at its beginning */
    int64_t delay_ns;        /* toon_gather_delay() */
    bool changed;
};

static _Thread_local struct {
    const void *origin;
    struct gathering gathering[GATHERING_MAX];
    int64_t delay_ns; /* of the last that ended */
    char self;        /* its address names the thread */
} this_thread;

static struct gathering *find_gathering(const toon_store *store) {
    for (int i = 0; i < GATHERING_MAX; i++) {
        if (this_thread.gathering[i].store == store)
            return &this_thread.gathering[i];
    }
    return NULL;
}

const void *toon_thread_origin(const void *origin) {
    const void *before = this_thread.origin;
    this_thread.origin = origin;
    return before;
}

bool toon_in_own_batch(const toon_store *store) {
    return atomic_load(&store->batch_thread) == &this_thread.self;
}

/* ------------------------------------------------------- the writer lock */

/* Who has waited so long closes the gate. */
enum { PATIENCE_MS = 1 };

/*
 * A mutex is not fair: who gives it back and wants it again has it before
 * those who sleep have woken. So one who has been passed over for long closes
 * the gate, at which all others wait until he had his turn.
 */
static void lock_contended(toon_store *store) {
    struct timespec until = toon_deadline(CLOCK_REALTIME, PATIENCE_MS);
    if (pthread_mutex_timedlock(&store->writer_lock, &until) == 0)
        return;
    (void)pthread_mutex_lock(&store->gate);
    atomic_store(&store->gate_closed, true);
    (void)pthread_mutex_lock(&store->writer_lock);
    atomic_store(&store->gate_closed, false);
    (void)pthread_mutex_unlock(&store->gate);
}

void toon_lock_writer(toon_store *store) {
    if (atomic_load_explicit(&store->gate_closed, memory_order_relaxed)) {
        (void)pthread_mutex_lock(&store->gate);
        (void)pthread_mutex_unlock(&store->gate);
    }
    if (pthread_mutex_trylock(&store->writer_lock) != 0)
        lock_contended(store);
}

void toon_unlock_writer(toon_store *store) {
    (void)pthread_mutex_unlock(&store->writer_lock);
}

void toon_lock_gathered(toon_store *store) {
    if (!toon_in_own_batch(store))
        toon_lock_writer(store);
}

void toon_unlock_gathered(toon_store *store) {
    if (!toon_in_own_batch(store))
        toon_unlock_writer(store);
}

static toon_log *current_log(toon_store *store) {
    return atomic_load(&store->volume)->log;
}

/* -------------------------------------------------------------- watching */

/* An event as it stands in the buffers; the key's bytes follow. */
struct event {
    toon_change_kind kind;
    bool existed;
    const void *origin;
    uint64_t version; /* known once the record has its place */
    size_t key_size;
};

bool toon_push_event(toon_store *store, toon_change_kind kind, bool existed,
                     toon_slice key) {
    struct event event = {kind, existed, this_thread.origin, 0, key.size};
    if (!atomic_load(&store->watched))
        return true;
    if (!toon_buf_reserve(&store->events, sizeof event + key.size)) {
        store->events.failed = false;
        return false;
    }
    toon_buf_append(&store->events, &event, sizeof event);
    toon_buf_append_slice(&store->events, key);
    return true;
}

/* The event that was pushed when the buffer had `at` bytes. */
void toon_set_event_version(toon_store *store, size_t at, uint64_t version) {
    if (store->events.size > at)
        memcpy(store->events.data + at + offsetof(struct event, version),
               &version, sizeof version);
}

/* What was written may be told; in order, so under the writer lock. */
void toon_queue_events_locked(toon_store *store) {
    if (store->events.size == 0)
        return;
    (void)pthread_mutex_lock(&store->queue_lock);
    if (store->queue.size == 0) {
        toon_buf swap = store->queue;
        store->queue = store->events;
        store->events = swap;
    } else {
        toon_buf_append_slice(&store->queue, toon_buf_slice(&store->events));
        if (store->queue.failed) /* told as if everything had changed */
            store->queue_lost = true;
        store->queue.failed = false;
    }
    (void)pthread_mutex_unlock(&store->queue_lock);
    store->events.size = 0;
}

static void tell_one(const toon_store *store, const toon_change *change) {
    for (struct watcher *w = store->watchers; w != NULL; w = w->next)
        w->fn(w->arg, change);
}

static void tell(const toon_store *store, const toon_buf *events) {
    size_t at = 0;
    while (at < events->size) {
        struct event event;
        memcpy(&event, events->data + at, sizeof event);
        at += sizeof event;
        toon_change change = {
            .kind = event.kind,
            .key = toon_bytes(events->data + at, event.key_size),
            .existed = event.existed,
            .version = event.version,
            .origin = event.origin,
        };
        at += event.key_size;
        tell_one(store, &change);
    }
}

/* Delivers what is queued. Who finds the queue empty has waited for those
 * who deliver what it queued itself. */
void toon_notify(toon_store *store) {
    if (!atomic_load(&store->watched))
        return;
    (void)pthread_mutex_lock(&store->notify_lock);
    (void)pthread_mutex_lock(&store->queue_lock);
    toon_buf events = store->queue;
    bool lost = store->queue_lost;
    store->queue = (toon_buf){0};
    store->queue_lost = false;
    (void)pthread_mutex_unlock(&store->queue_lock);
    tell(store, &events);
    if (lost)
        tell_one(store, &(toon_change){.kind = TOON_CHANGE_CLEAR});
    (void)pthread_mutex_unlock(&store->notify_lock);
    toon_buf_free(&events);
}

toon_err toon_watch(toon_store *store, toon_watch_fn *fn, void *arg,
                    uint64_t *id) {
    struct watcher *watcher = malloc(sizeof *watcher);
    if (watcher == NULL)
        return toon_fail_memory();
    (void)pthread_mutex_lock(&store->notify_lock);
    *id = ++store->next_watcher;
    *watcher = (struct watcher){store->watchers, *id, fn, arg};
    store->watchers = watcher;
    atomic_store(&store->watched, true);
    (void)pthread_mutex_unlock(&store->notify_lock);
    return TOON_OK;
}

void toon_unwatch(toon_store *store, uint64_t id) {
    (void)pthread_mutex_lock(&store->notify_lock);
    struct watcher **link = &store->watchers;
    while (*link != NULL && (*link)->id != id)
        link = &(*link)->next;
    struct watcher *gone = *link;
    if (gone != NULL)
        *link = gone->next;
    atomic_store(&store->watched, store->watchers != NULL);
    (void)pthread_mutex_unlock(&store->notify_lock);
    free(gone);
}

/* -------------------------------------------------------- undoing, writing */

/* The ordered index follows the table. The caller has the writer lock. */
static void follow_order(toon_store *store, const toon_step *step,
                         toon_slice key, bool undo) {
    bool was = (undo ? step->payload : step->old_payload) != 0;
    bool is = (undo ? step->old_payload : step->payload) != 0;
    /* A damaged record's key could not be read when the index was built. */
    if (is && step->old_damaged)
        was = false;
    if (was == is || !atomic_load(&store->order_wanted))
        return;
    (void)pthread_rwlock_wrlock(&store->order_lock);
    if (is)
        toon_order_insert_locked(store, key);
    else
        toon_order_remove_locked(store, key);
    (void)pthread_rwlock_unlock(&store->order_lock);
}

void toon_drop_order_locked(toon_store *store) {
    (void)pthread_rwlock_wrlock(&store->order_lock);
    toon_key_order_free(store->order);
    store->order = NULL; /* built again when it is wanted */
    (void)pthread_rwlock_unlock(&store->order_lock);
}

/* The key is read back from the gather buffer, where its record still is. */
static void undo_order(toon_store *store, const toon_step *step) {
    const toon_log *log = current_log(store);
    toon_record record;
    toon_buf key = {0};
    toon_slice line = toon_log_view_gathered(log, step->offset);
    if (toon_record_parse(line, log->salt, &record) == RECORD_OK &&
        toon_record_key(&record, &key))
        follow_order(store, step, toon_buf_slice(&key), true);
    else
        toon_drop_order_locked(store);
    toon_buf_free(&key);
}

/* Versions are offsets, and offsets will be used again: the generation moves
 * on, and what is cached is of the one before and counts no more. */
static void undo_locked(toon_store *store, size_t first_step,
                        size_t gather_size, size_t events_size) {
    toon_volume *volume = atomic_load(&store->volume);
    bool undone = store->step_count > first_step;
    bool expiring = false;
    while (store->step_count > first_step) {
        const toon_step *step = &store->steps[--store->step_count];
        toon_volume_undo(volume, step);
        expiring = expiring || step->expires_ms != 0;
        if (atomic_load(&store->order_wanted))
            undo_order(store, step);
    }
    if (expiring) /* the next record may come to stand where one of these did */
        toon_volume_trim_expiry(volume);
    if (undone) /* a reader who saw the table before this must look again */
        (void)atomic_fetch_add(&volume->generation, 1);
    toon_log_drop(volume->log, gather_size);
    store->events.size = events_size;
}

/* The first one stays. */
static void remember_failure(_Atomic toon_err *failure, toon_err err) {
    toon_err none = TOON_OK;
    (void)atomic_compare_exchange_strong(failure, &none, err);
}

void toon_turn_read_only(toon_store *store, toon_err err) {
    remember_failure(&store->failure, err);
    remember_failure(&store->read_only_failure, err);
    (void)atomic_fetch_add(&store->write_failures, 1); /* who gathers hears */
    if (atomic_exchange(&store->read_only, true) ||
        store->options.message == NULL)
        return;
    store->options.message(store->options.message_arg, TOON_WARNING,
                           toon_last_error()->text);
    store->options.message(
        store->options.message_arg, TOON_WARNING,
        "the store is read-only from now on: what was not synced may be lost; "
        "mend the disk, then open the store again");
}

toon_err toon_refuse_read_only(const toon_store *store) {
    if ((store->options.flags & TOON_OPEN_READ_ONLY) != 0)
        return toon_fail_plain(TOON_READ_ONLY,
                               "the store was opened for reading only");
    return toon_fail_plain(
        TOON_READ_ONLY,
        "the store is read-only since a write or sync "
        "failed (%s); mend the disk and open it again",
        toon_strerror(atomic_load(&store->read_only_failure)));
}

/* Whoever reads several keys together sees all of the group go. */
static void undo_group_locked(toon_store *store) {
    (void)atomic_fetch_add(&store->batches, 1);
    undo_locked(store, 0, 0, 0);
    (void)atomic_fetch_add(&store->batches, 1);
}

toon_err toon_write_locked(toon_store *store) {
    bool cut_failed = false;
    if (store->step_count == 0)
        return TOON_OK;
    if (atomic_load(&store->read_only)) { /* it failed while these waited */
        undo_group_locked(store);
        return toon_refuse_read_only(store);
    }
    toon_err err = toon_log_write(current_log(store), &cut_failed);
    if (err != TOON_OK) {
        toon_error told = *toon_last_error();
        (void)atomic_fetch_add(&store->write_failures, 1);
        undo_group_locked(store);
        if (cut_failed)
            toon_turn_read_only(store, err);
        else if (err != TOON_FULL) /* nothing is wrong with the disk */
            remember_failure(&store->failure, err);
        return toon_fail_again(&told);
    }
    (void)atomic_fetch_add(&store->changes, store->step_count);
    store->step_count = 0;
    toon_queue_events_locked(store);
    toon_care_if_grown(store);
    return TOON_OK;
}

/* ---------------------------------------------------------------- syncing */

/* The sync lock is held. */
static toon_err sync_locked(toon_store *store) {
    toon_err err = TOON_OK;
    if (store->dir_unsynced)
        err = toon_dir_sync(&store->dir);
    if (err == TOON_OK) {
        store->dir_unsynced = false;
        err = toon_log_sync(current_log(store), UINT64_MAX);
    }
    (void)atomic_fetch_add(&store->syncs, 1);
    atomic_store(&store->last_sync_ms, toon_now_ms());
    return err;
}

toon_err toon_sync_up_to(toon_store *store, toon_written written) {
    toon_err err = TOON_OK;
    (void)pthread_mutex_lock(&store->sync_lock);
    uint64_t synced = atomic_load(&current_log(store)->synced);
    /* What was written to a log that has gone lies somewhere in this one. */
    if (store->dir_unsynced || store->swaps != written.swaps ||
        synced < written.up_to) {
        if (atomic_load(&store->read_only_failure) != TOON_OK)
            err = toon_fail_plain(TOON_IO, "an earlier write or sync failed; "
                                           "the store is read-only");
        else
            err = sync_locked(store);
        if (err != TOON_OK) { /* whatever the system calls it */
            toon_error told = *toon_last_error();
            told.err = TOON_IO;
            toon_turn_read_only(store, TOON_IO);
            err = toon_fail_again(&told);
        }
    }
    (void)pthread_mutex_unlock(&store->sync_lock);
    return err;
}

toon_written toon_written_locked(const toon_store *store) {
    const toon_volume *volume = atomic_load(&store->volume);
    return (toon_written){store->swaps, atomic_load(&volume->log->written)};
}

/* Says in the log how far it is durable, also when no change follows. Without
 * it nothing is lost but what a later damage can be told apart by; so it fails
 * only if the disk could not be brought back to what was there before. */
static toon_err write_mark_locked(toon_store *store) {
    bool cut_failed = false;
    toon_log *log = current_log(store);
    if (log->gather.size > 0 || !toon_log_mark_is_due(log) ||
        atomic_load(&store->read_only))
        return TOON_OK;
    size_t begun = toon_log_begin(log);
    if (!log->gather.failed && toon_log_write(log, &cut_failed) == TOON_OK)
        return TOON_OK;
    toon_log_drop(log, begun);
    if (!cut_failed)
        return TOON_OK;
    toon_error told = *toon_last_error();
    told.err = TOON_IO;
    toon_turn_read_only(store, TOON_IO);
    return toon_fail_again(&told);
}

bool toon_wants_sync(toon_store *store) {
    toon_lock_gathered(store);
    const toon_log *log = current_log(store);
    bool wants =
        log->gather.size > 0 || atomic_load(&log->synced) < log->records_end;
    toon_unlock_gathered(store);
    return wants;
}

toon_err toon_sync(toon_store *store) {
    if ((store->options.flags & TOON_OPEN_READ_ONLY) != 0)
        return TOON_OK;
    bool batch = toon_in_own_batch(store);
    toon_lock_gathered(store);
    toon_err err = batch ? TOON_OK : toon_write_locked(store);
    toon_written written = toon_written_locked(store);
    toon_unlock_gathered(store);
    if (!batch) /* a watcher may wait for the batch */
        toon_notify(store);
    if (err == TOON_OK)
        err = toon_sync_up_to(store, written);
    if (err != TOON_OK || batch)
        return err;
    toon_lock_gathered(store);
    err = write_mark_locked(store);
    toon_unlock_gathered(store);
    return err;
}

toon_log *toon_share_log(toon_store *store, uint64_t *end, uint64_t *rows) {
    bool batch = toon_in_own_batch(store);
    toon_lock_gathered(store);
    if (!batch && toon_epoch_enter()) { /* undoing reads the table */
        (void)toon_write_locked(store);
        toon_epoch_leave();
    }
    const toon_volume *volume = atomic_load(&store->volume);
    toon_log *log = toon_log_share(volume->log);
    *end = atomic_load(&log->written);
    *rows = atomic_load(&volume->rows) - store->step_count;
    toon_unlock_gathered(store);
    if (!batch)
        toon_notify(store);
    return log;
}

/* ---------------------------------------------------------------- changes */

toon_err toon_change_begin(toon_store *store) {
    toon_lock_gathered(store);
    toon_err err = TOON_OK;
    if (atomic_load(&store->read_only))
        err = toon_refuse_read_only(store);
    else if (!toon_epoch_enter())
        err = toon_fail_memory();
    if (err != TOON_OK)
        toon_unlock_gathered(store);
    return err;
}

/* Unlocks, tells, and if the log outgrows its space, holds the writer back; of
 * one that gathers, only notes for how long. */
static void after_write(toon_store *store, toon_written written, size_t bytes,
                        int64_t *delay_ns) {
    toon_unlock_writer(store);
    toon_epoch_leave();
    toon_notify(store);
    if (!toon_is_held_back(store, written) ||
        !toon_is_held_still(store, written))
        return;
    if (delay_ns == NULL) {
        toon_wait_for_space(store, bytes);
        return;
    }
    (void)toon_note_written(store, bytes);
    *delay_ns += toon_space_delay(store, bytes);
}

toon_err toon_change_end(toon_store *store, toon_err err) {
    if (toon_in_own_batch(store)) {
        toon_epoch_leave();
        return err;
    }
    const toon_log *log = current_log(store);
    size_t bytes = log->gather.size;
    struct gathering *gathering = find_gathering(store);
    if (gathering != NULL && bytes <= GATHER_MAX) {
        toon_unlock_writer(store);
        toon_epoch_leave();
        return err;
    }
    toon_err result = toon_write_locked(store);
    toon_written written = toon_written_locked(store);
    after_write(store, written, bytes,
                gathering != NULL ? &gathering->delay_ns : NULL);
    if (err != TOON_OK)
        return err;
    if (result == TOON_OK && gathering == NULL &&
        store->options.sync == TOON_SYNC_ALWAYS)
        result = toon_sync_up_to(store, written);
    return result;
}

static bool reserve_step(toon_store *store) {
    if (store->step_count < store->step_capacity)
        return true;
    size_t capacity = store->step_capacity * 2 + 64;
    toon_step *steps = realloc(store->steps, capacity * sizeof *steps);
    if (steps == NULL)
        return false;
    store->steps = steps;
    store->step_capacity = capacity;
    return true;
}

static toon_step step_of_plan(const toon_change_plan *plan,
                              const toon_volume *volume, uint64_t offset,
                              size_t size) {
    const toon_hit *old = plan->old;
    const toon_record_draft *draft = &plan->draft;
    toon_step step = {.hash = plan->hash, .offset = offset};
    step.old_payload = old->payload;
    step.old_damaged = old->damaged;
    if (old->payload != 0 && !old->damaged)
        step.old_expires_ms = old->record.expires_ms;
    if (draft->type != RECORD_DELETED) {
        step.payload =
            toon_payload(offset, size, draft->expires_ms != 0, draft->ref != 0);
        step.expires_ms = draft->expires_ms;
        step.live_bytes = size;
    }
    if (old->payload != 0)
        step.garbage = toon_volume_garbage(volume, old->payload,
                                           &(toon_kept){{plan->kept}}, true);
    return step;
}

static void update_cache(toon_store *store, const toon_change_plan *plan,
                         const toon_volume *volume, const toon_step *step) {
    if (store->cache == NULL)
        return;
    if (plan->blob == NULL) {
        toon_cache_drop(store->cache, plan->hash, plan->draft.key);
        return;
    }
    plan->blob->place = step->payload;
    plan->blob->meta = (toon_meta){
        plan->draft.written_ms, plan->draft.expires_ms,
        toon_volume_version(volume, step->payload), plan->draft.mode};
    toon_cache_put(store->cache, plan->blob);
}

uint64_t toon_cushion(const toon_log *log) {
    uint64_t size = toon_log_end(log) / 8;
    if (size < CUSHION_MIN)
        return CUSHION_MIN;
    return size < CUSHION_MAX ? size : CUSHION_MAX;
}

/* While a compaction makes room, what adds must not take it. */
static toon_err check_making_room(toon_store *store) {
    if (!atomic_load_explicit(&store->care.making_room, memory_order_relaxed))
        return TOON_OK;
    return toon_fail_plain(TOON_FULL, "no space left; a compaction that makes "
                                      "room is under way");
}

/* What a copy still has to take of the disk when the log has this size. */
static uint64_t lacking_for_copy(const struct care *care, uint64_t live,
                                 uint64_t log_size) {
    if (care->copy.from == 0)
        return toon_copy_size(live);
    uint64_t size = care->copy.size;
    if (log_size > care->copy.from)
        size += log_size - care->copy.from;
    return size > care->copy.taken ? size - care->copy.taken : 0;
}

/* What is free of the disk, or is going to be. */
static uint64_t space_beside(const toon_store *store, const toon_log *log) {
    uint64_t freed = store->care.copy.freed;
    uint64_t taken = toon_log_taken(log);
    if (freed == 0)
        return toon_dir_space(&store->dir);
    return freed > taken ? freed - taken : 0;
}

/* With so much free beside the log and what is to be added: would a compaction
 * help that cannot be had any more? */
static bool keeps_copy_out(const toon_store *store, const toon_log *log,
                           uint64_t space, uint64_t copy_size) {
    const struct care *care = &store->care;
    uint64_t live = atomic_load(&atomic_load(&store->volume)->live_bytes);
    uint64_t used = atomic_load(&log->written);
    if (!toon_is_worth_compacting(used, live))
        return false;
    if (care->copy.from == 0) /* there must be room for one at all */
        return space + (toon_log_taken(log) - used) >= live;
    /* Another one, while nobody adds, would need no more than this. */
    return space + care->copy.taken < copy_size;
}

/*
 * Where a compaction would help, those that add must not take the room that it
 * needs, or it cannot be had any more when the disk is full. Where there is no
 * such room, they may go on. Looked at when the log takes more of the disk: all
 * that it may hold until the next time, and the `size` bytes that are added,
 * may be live. It may take *spare bytes more than it needs up to `end`.
 */
static toon_err check_room_for_copy(const toon_store *store,
                                    const toon_log *log, uint64_t end,
                                    uint64_t size, uint64_t *spare) {
    const struct care *care = &store->care;
    uint64_t cushion = toon_cushion(log);
    *spare = UINT64_MAX;
    if (end + cushion <= log->allocated || !care->runs ||
        atomic_load(&care->last_result) == TOON_CORRUPT)
        return TOON_OK;
    uint64_t live =
        atomic_load(&atomic_load(&store->volume)->live_bytes) + size + cushion;
    uint64_t growth = end + cushion - toon_log_taken(log);
    uint64_t space = space_beside(store, log);
    uint64_t taken = growth + lacking_for_copy(care, live, end + cushion);
    if (space >= taken) {
        *spare = (space - taken) / 3; /* and for its copy */
        return TOON_OK;
    }
    if (!keeps_copy_out(store, log, space, growth + toon_copy_size(live)))
        return TOON_OK;
    return toon_fail_plain(TOON_FULL, "no space left beside what a compaction "
                                      "needs, which makes room now");
}

/* A full disk is a reason to compact. */
static toon_err note_room(toon_store *store, toon_err err) {
    bool starved = err == TOON_FULL;
    if (starved ==
            atomic_load_explicit(&store->care.starved, memory_order_relaxed) ||
        (!starved && err != TOON_OK))
        return err;
    atomic_store(&store->care.starved, starved);
    if (starved && store->care.runs)
        toon_care_look(store);
    return err;
}

/* Up to `end`, for `size` bytes, with the locks that admit() has. */
static toon_err make_room(toon_store *store, toon_log *log, uint64_t end,
                          uint64_t size) {
    uint64_t spare;
    toon_err err = check_room_for_copy(store, log, end, size, &spare);
    if (err == TOON_OK)
        err = toon_log_make_room(log, end, toon_cushion(log), spare,
                                 store->options.store_size_max);
    return note_room(store, err);
}

/* While room is made, those that remove wait a little each when what is left
 * for them on a full disk runs out: the compaction may be done before. */
static void note_low(toon_store *store, toon_log *log) {
    struct care *care = &store->care;
    if (atomic_load_explicit(&care->making_room, memory_order_relaxed))
        atomic_store(&care->low, !toon_log_reserve(log, care->low_room));
}

/* Room for the line that was encoded last. */
static toon_err admit(toon_store *store, size_t begun, bool removes) {
    toon_log *log = current_log(store);
    if (removes) {
        note_low(store, log);
        return toon_log_admit(log, begun, CLEAR_CUSHION, 0);
    }
    toon_err err = check_making_room(store);
    if (err == TOON_OK && !log->gather.failed)
        err =
            make_room(store, log, toon_log_end(log), log->gather.size - begun);
    if (err != TOON_OK) {
        toon_log_drop(log, begun);
        return err;
    }
    return toon_log_admit(log, begun, 0, 0);
}

/* Of bytes that are no text, base64 makes a third more. */
static uint64_t record_size_max(size_t value_size) {
    enum { KEY_AND_REST = 4096 };

    return (uint64_t)value_size + value_size / 3 + KEY_AND_REST;
}

toon_err toon_reserve(toon_store *store, size_t bytes) {
    toon_lock_gathered(store);
    toon_log *log = current_log(store);
    uint64_t size = record_size_max(bytes);
    toon_err err = atomic_load(&store->read_only) ? toon_refuse_read_only(store)
                                                  : check_making_room(store);
    if (err == TOON_OK)
        err = make_room(store, log, toon_log_end(log) + size, size);
    toon_unlock_gathered(store);
    return err;
}

toon_err toon_apply_locked(toon_store *store, toon_change_plan *plan) {
    toon_volume *volume = atomic_load(&store->volume);
    toon_log *log = volume->log;
    bool removes = plan->draft.type == RECORD_DELETED;
    size_t events_size = store->events.size;
    if (!reserve_step(store) || !toon_volume_reserve(volume, plan->hash) ||
        !toon_push_event(store, plan->kind, plan->existed, plan->draft.key)) {
        store->events.size = events_size;
        return toon_fail_memory();
    }
    size_t begun = toon_log_begin(log);
    uint64_t offset = toon_log_end(log);
    plan->draft.more = atomic_load(&store->batch_thread) != NULL;
    size_t size = toon_record_encode(&log->gather, &plan->draft, log->salt);
    toon_err err = admit(store, begun, removes);
    if (err != TOON_OK) {
        store->events.size = events_size;
        return err;
    }
    toon_step *step = &store->steps[store->step_count++];
    *step = step_of_plan(plan, volume, offset, size);
    if (step->payload != 0)
        toon_set_event_version(store, events_size,
                               toon_volume_version(volume, step->payload));
    toon_volume_apply(volume, step);
    follow_order(store, step, plan->draft.key, false);
    update_cache(store, plan, volume, step);
    struct gathering *gathering = find_gathering(store);
    if (gathering != NULL)
        gathering->changed = true;
    return TOON_OK;
}

/* ---------------------------------------------------------------- batches */

static void begin_batch_locked(toon_store *store) {
    (void)atomic_fetch_add(&store->batches, 1);
    atomic_store(&store->batch_thread, &this_thread.self);
    store->batch.first_step = store->step_count;
    store->batch.gather_size = current_log(store)->gather.size;
    store->batch.events_size = store->events.size;
}

/* Only now is it known which record is the batch's last. */
static void seal_batch_locked(toon_store *store) {
    toon_log *log = current_log(store);
    if (store->step_count > store->batch.first_step) {
        uint64_t offset = store->steps[store->step_count - 1].offset;
        size_t at = (size_t)(offset - atomic_load(&log->written));
        toon_record_set_more(log->gather.data + at, log->gather.size - at,
                             false, log->salt);
    }
    atomic_store(&store->batch_thread, NULL);
    (void)atomic_fetch_add(&store->batches, 1);
}

static void cancel_batch_locked(toon_store *store) {
    undo_locked(store, store->batch.first_step, store->batch.gather_size,
                store->batch.events_size);
    atomic_store(&store->batch_thread, NULL);
    (void)atomic_fetch_add(&store->batches, 1);
}

toon_group toon_group_begin_locked(toon_store *store) {
    toon_group group = {
        .joined = toon_in_own_batch(store),
        .first_step = store->step_count,
        .gather_size = current_log(store)->gather.size,
        .events_size = store->events.size,
    };
    if (!group.joined)
        begin_batch_locked(store);
    return group;
}

void toon_group_commit_locked(toon_store *store, const toon_group *group) {
    if (!group->joined)
        seal_batch_locked(store);
}

void toon_group_cancel_locked(toon_store *store, const toon_group *group) {
    if (group->joined)
        undo_locked(store, group->first_step, group->gather_size,
                    group->events_size);
    else
        cancel_batch_locked(store);
}

toon_err toon_batch_begin(toon_store *store) {
    if (toon_in_own_batch(store))
        return toon_fail_plain(TOON_INVALID, "batches do not nest");
    toon_lock_writer(store);
    if (atomic_load(&store->read_only)) {
        toon_unlock_writer(store);
        return toon_refuse_read_only(store);
    }
    begin_batch_locked(store);
    return TOON_OK;
}

toon_err toon_batch_commit(toon_store *store) {
    if (!toon_in_own_batch(store))
        return toon_fail_plain(TOON_INVALID, "there is no batch to commit");
    if (!toon_epoch_enter()) {
        toon_batch_cancel(store);
        return toon_fail_memory();
    }
    seal_batch_locked(store);
    return toon_change_end(store, TOON_OK);
}

void toon_batch_cancel(toon_store *store) {
    if (!toon_in_own_batch(store))
        return;
    bool entered = toon_epoch_enter();
    cancel_batch_locked(store);
    if (entered)
        toon_epoch_leave();
    toon_unlock_writer(store);
}

/* The number of whole batches so far; waits while one is being applied. */
static uint64_t whole_batches(toon_store *store) {
    uint64_t seen = atomic_load(&store->batches);
    while ((seen & 1) != 0) {
        toon_lock_writer(store);
        toon_unlock_writer(store);
        seen = atomic_load(&store->batches);
    }
    return seen;
}

void toon_read_together(toon_store *store, toon_read_fn *fn, void *arg) {
    enum { TRIES = 4 };

    if (toon_in_own_batch(store)) {
        fn(arg);
        return;
    }
    for (int i = 0; i < TRIES; i++) {
        uint64_t seen = whole_batches(store);
        fn(arg);
        if (atomic_load(&store->batches) == seen)
            return;
    }
    toon_lock_writer(store);
    atomic_store(&store->batch_thread, &this_thread.self);
    fn(arg);
    atomic_store(&store->batch_thread, NULL);
    toon_unlock_writer(store);
}

/* -------------------------------------------------------------- gathering */

void toon_gather_begin(toon_store *store) {
    struct gathering *free_slot = find_gathering(NULL);
    if (find_gathering(store) != NULL || free_slot == NULL)
        return;
    *free_slot = (struct gathering){
        .store = store, .failures = atomic_load(&store->write_failures)};
}

void toon_forget_gathering(const toon_store *store) {
    struct gathering *gathering = find_gathering(store);
    if (gathering != NULL)
        gathering->store = NULL;
}

toon_err toon_gather_end(toon_store *store) {
    struct gathering *gathering = find_gathering(store);
    this_thread.delay_ns = 0;
    if (gathering == NULL)
        return TOON_OK;
    if (toon_in_own_batch(store))
        return toon_fail_plain(TOON_INVALID,
                               "a batch ends before the gathering around it");
    struct gathering was = *gathering;
    gathering->store = NULL;
    if (!was.changed)
        return TOON_OK;
    toon_lock_writer(store);
    if (!toon_epoch_enter()) { /* undoing reads the table */
        toon_unlock_writer(store);
        return toon_fail_memory();
    }
    size_t bytes = current_log(store)->gather.size;
    toon_err err = toon_write_locked(store);
    toon_written written = toon_written_locked(store);
    after_write(store, written, bytes, &was.delay_ns);
    this_thread.delay_ns = was.delay_ns;
    if (err == TOON_OK && atomic_load(&store->write_failures) != was.failures)
        err = toon_fail_plain(TOON_IO, "a write to the log failed and its "
                                       "changes were undone");
    if (err == TOON_OK && store->options.sync == TOON_SYNC_ALWAYS)
        err = toon_sync_up_to(store, written);
    return err;
}

int64_t toon_gather_delay(void) {
    return this_thread.delay_ns;
}

/* ------------------------------------------------------------- statistics */

static void stat_memory(toon_store *store, toon_stats *out) {
    (void)pthread_rwlock_rdlock(&store->order_lock);
    if (store->order != NULL)
        out->order_bytes = toon_key_order_bytes(store->order);
    (void)pthread_rwlock_unlock(&store->order_lock);
    if (store->cache == NULL)
        return;
    toon_cache_stats cache;
    toon_cache_stat(store->cache, &cache);
    out->cache_hits = cache.hits;
    out->cache_misses = cache.misses;
    out->cache_insertions = cache.insertions;
    out->cache_evictions = cache.evictions;
    out->cache_entries = cache.entries;
    out->cache_bytes = cache.bytes;
    out->cache_bytes_max = store->options.cache_bytes_max;
}

void toon_stat(toon_store *store, toon_stats *out) {
    *out = (toon_stats){0};
    if (!toon_epoch_enter())
        return;
    const toon_volume *volume = atomic_load(&store->volume);
    toon_log *log = volume->log;
    uint64_t written = atomic_load(&log->written);
    uint64_t synced = atomic_load(&log->synced);
    uint64_t live = atomic_load(&volume->live_bytes);
    *out = (toon_stats){
        .keys = toon_slot_map_count(volume->table),
        .keys_expiring = atomic_load(&volume->expiring),
        .keys_expired = atomic_load(&store->keys_expired),
        .keys_hidden = atomic_load(&store->keys_hidden),
        .rows = atomic_load(&volume->rows),
        .row_base = log->base,
        .log_bytes = written,
        .live_bytes = live < written ? live : written,
        .unsynced_bytes = written > synced ? written - synced : 0,
        .torn_bytes = atomic_load(&store->torn_bytes),
        .changes = atomic_load(&store->changes),
        .syncs = atomic_load(&store->syncs),
        .last_sync_ms = atomic_load(&store->last_sync_ms),
        .read_only = atomic_load(&store->read_only),
        .failure = atomic_load(&store->read_only_failure),
        .table_bytes = toon_slot_map_bytes(volume->table),
    };
    toon_stat_care(store, out);
    stat_memory(store, out);
    out->read_hits = out->cache_hits + atomic_load(&store->log_hits);
    out->read_misses = atomic_load(&store->log_misses);
    toon_epoch_leave();
}
