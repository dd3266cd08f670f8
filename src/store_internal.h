/*
 * store_internal.h - the inside of a store, for store.c and its store_*.c.
 *
 * store.c alone holds locks and decides the order of steps; the others say
 * what a change or a read is.
 *
 * Locks, in the order in which they may be taken:
 *   gate     only to wait for `writer` before others may
 *   writer   one change (or batch) at a time; steps, events, gather buffer
 *   order    the ordered index; writers of it hold `writer` too
 *   sync     one fdatasync at a time; swapping the log
 *   notify   delivering events to watchers
 *   queue    the events that were written and not yet delivered
 *   care     what the thread of store_compact.c is asked to do
 * Readers take none, but `order` for ranges, and `writer` to see a record
 * that is still in the gather buffer.
 */
#ifndef TOON_STORE_INTERNAL_H
#define TOON_STORE_INTERNAL_H

#include "cache.h"
#include "compact.h"
#include "key_order.h"
#include "volume.h"

#include <pthread.h>
#include <time.h>

struct watcher {
    struct watcher *next;
    uint64_t id;
    toon_watch_fn *fn;
    void *arg;
};

/* Compaction and checkpoints, by a thread of their own (store_compact.c). */
struct care {
    pthread_t thread;
    bool runs;
    pthread_mutex_t lock;
    pthread_cond_t wake, ended;
    bool stop;            /* the store is being closed */
    bool look;            /* something may be due */
    _Atomic bool wanted;  /* a compaction was asked for */
    unsigned waiting;     /* who wait for it: it need not be slow */
    uint64_t ended_count; /* compactions, however they ended */
    toon_err result;      /* of the last one */
    toon_error told;      /* if that is none */
    _Atomic bool cancel;  /* the one that runs is to end */
    _Atomic bool compacting;

    toon_pause pause;
    uint64_t swaps;      /* of the store, when what goes on began */
    uint64_t swaps_seen; /* the thread's own, as what follows: of what log */
    uint64_t base_min;   /* row numbers grew by a digit */
    uint64_t retry_log; /* after a failure, not before the log is so long … */
    uint64_t retry_dead; /* … or, on a full disk, has so much garbage, … */
    int64_t retry_ns;    /* … or it is so late, by the monotonic clock */

    bool tight; /* the disk, for the last copy that found no room */

    struct {            /* the writer's: what a compaction needs of the disk */
        uint64_t from;  /* what is written past this is copied, too; 0: none */
        uint64_t size;  /* of the rest's copy, more or less */
        uint64_t taken; /* of the disk, by the copy */
        uint64_t freed; /* it is the log now: it and the free space together
                            when the old one has gone; 0: not so */
    } copy;

    toon_err told_failure;  /* the last one that was told of */
    uint64_t checkpoint_at; /* length of the log that wants a new index */
    uint64_t covered;       /* by the index that is being written */

    _Atomic unsigned garbage;   /* percent */
    _Atomic uint64_t rate;      /* bytes a second */
    _Atomic uint64_t look_at;   /* length of the log at which to look again */
    _Atomic bool starved;       /* a change was refused for want of room */
    _Atomic bool making_room;   /* refuse those that add */
    _Atomic uint64_t hold_rate; /* bytes a second for writers; 0: no bound */
    _Atomic uint64_t brake_at;  /* writers wait past this length of the log */
    _Atomic bool low;           /* what is left for removals runs out */
    uint64_t low_room;          /* the writer's: less than that is low */
    _Atomic int64_t hold_due_ns;
    _Atomic uint64_t done, total, compactions, checkpoints, indexed;
    _Atomic toon_err last_result;
    _Atomic int64_t took_ms;
};

struct toon_store {
    toon_dir dir;
    toon_file lock_file;
    toon_options options; /* no zeros left that stand for defaults */
    uint64_t seed;
    _Atomic(toon_volume *) volume;
    /* toon_version_base(); who moves versions sets it before the volume that
     * has the new ones is published. */
    _Atomic uint64_t version_base;
    toon_cache *cache; /* NULL with TOON_CACHE_NONE */

    pthread_mutex_t writer_lock, gate;
    _Atomic bool gate_closed;
    _Atomic(const void *) batch_thread; /* who holds it for a batch, or NULL */
    _Atomic uint64_t batches;           /* odd while one is being applied */
    toon_step *steps;                   /* applied and not yet written */
    size_t step_count, step_capacity;
    toon_buf events; /* of those steps */

    struct {
        size_t first_step, gather_size, events_size;
    } batch;

    _Atomic bool read_only;
    _Atomic toon_err failure; /* of the first write or sync that failed */
    _Atomic toon_err read_only_failure; /* that made it so; else TOON_OK */
    _Atomic uint64_t write_failures;    /* groups that were undone */

    pthread_rwlock_t order_lock;
    toon_key_order *order; /* NULL: not built */
    _Atomic bool order_wanted;
    _Atomic uint64_t keys_hidden; /* damaged when the order was built */

    pthread_mutex_t notify_lock;
    pthread_mutex_t queue_lock;
    struct watcher *watchers;
    uint64_t next_watcher;
    _Atomic bool watched;
    toon_buf queue;
    bool queue_lost; /* memory ran out for some of it */

    pthread_mutex_t sync_lock;
    bool dir_unsynced; /* a rename is not yet durable; sync lock */
    uint64_t swaps;    /* of the volume; writer and sync lock to change it */
    _Atomic int64_t last_sync_ms;
    _Atomic uint64_t syncs;

    pthread_t keeper;
    bool keeper_runs;
    pthread_mutex_t keeper_lock;
    pthread_cond_t keeper_wake;
    bool keeper_stop;

    struct care care;

    pthread_mutex_t pins_lock;
    struct toon_pin *pins; /* of values that lie in a log */
    uint64_t pins_round;   /* of toon_pins_settle() */

    _Atomic uint64_t copy_stops; /* calls of toon_copy_stop() */
    _Atomic uint64_t changes, keys_expired, torn_bytes;
    _Atomic uint64_t log_hits, log_misses;
};

/* toon_open() on a disk of the caller's: for tests. */
toon_err toon_open_on(const toon_io *io, const char *dir,
                      const toon_options *options, toon_store **out);

int64_t toon_now_ms(void);

/* The moment so many ms from now, below a second, for timed waits. */
struct timespec toon_deadline(clockid_t clock, unsigned ms);

static inline bool toon_is_expired(int64_t expires_ms, int64_t now_ms) {
    return expires_ms != 0 && expires_ms <= now_ms;
}

/* Looks at the clock only for keys that expire at all. */
static inline bool toon_has_expired(int64_t expires_ms) {
    return expires_ms != 0 && toon_is_expired(expires_ms, toon_now_ms());
}

/* ----------------------------------------------------- a change (store.c) */

/*
 * Begin takes the writer lock (a batch of this thread has it already) and
 * enters an epoch; end writes unless a batch or a gathering goes on, undoes
 * all if that fails, tells the watchers and syncs as the policy says. End
 * returns `err` if that is an error. Begin that failed needs no end.
 */
toon_err toon_change_begin(toon_store *store);
toon_err toon_change_end(toon_store *store, toon_err err);

/* What one record does. */
typedef struct toon_change_plan {
    toon_record_draft draft; /* `more` is set by toon_apply_locked */
    uint64_t hash;
    const toon_hit *old; /* the key's record now, expired or not */
    uint64_t kept;       /* the record whose chain stays live; 0: none */
    toon_change_kind kind;
    bool existed;    /* the key was there and not expired */
    toon_blob *blob; /* the new version for the cache, or NULL: drop */
} toon_change_plan;

/* Between begin and end. What `old` borrows from the gather buffer is gone
 * afterwards; its numbers stay. On failure nothing has changed. */
toon_err toon_apply_locked(toon_store *store, toon_change_plan *plan);

/* Between begin and end: several applies as one batch. Joins one that goes on
 * already. Cancel undoes what the group did. */
typedef struct toon_group {
    bool joined;
    size_t first_step, gather_size, events_size;
} toon_group;

toon_group toon_group_begin_locked(toon_store *store);
void toon_group_commit_locked(toon_store *store, const toon_group *group);
void toon_group_cancel_locked(toon_store *store, const toon_group *group);

/* What has gathered, into the kernel. If that fails it is undone. */
toon_err toon_write_locked(toon_store *store);

/* How far the log is written, for toon_sync_up_to: to be asked for with the
 * writer lock, and synced without. */
typedef struct toon_written {
    uint64_t swaps, up_to;
} toon_written;

toon_written toon_written_locked(const toon_store *store);

/* Any failure makes the store read-only and is TOON_IO. */
toon_err toon_sync_up_to(toon_store *store, toon_written written);

/* Does this thread hold the writer lock for a batch? */
bool toon_in_own_batch(const toon_store *store);

/* Why nothing can be changed: TOON_READ_ONLY. */
toon_err toon_refuse_read_only(const toon_store *store);
void toon_turn_read_only(toon_store *store, toon_err err);

/* An event for the watchers, by the writer; false: no memory. Its version is
 * told where the buffer had `at` bytes before. What was pushed is queued when
 * it is written, and delivered without locks. */
bool toon_push_event(toon_store *store, toon_change_kind kind, bool existed,
                     toon_slice key);
void toon_set_event_version(toon_store *store, size_t at, uint64_t version);
void toon_queue_events_locked(toon_store *store);
void toon_notify(toon_store *store);

/* The ordered index goes, until it is wanted again. */
void toon_drop_order_locked(toon_store *store);

/* Is there more to sync than a mark? */
bool toon_wants_sync(toon_store *store);

/*
 * For a copy: writes what has gathered, then gives the current log, how far it
 * goes, which is the end of a batch, and how many rows that is. What cannot be written is undone, and
 * its own callers hear of it. To be freed by toon_log_free().
 */
toon_log *toon_share_log(toon_store *store, uint64_t *end, uint64_t *rows);

/* At closing: what this thread began and did not end. */
void toon_forget_gathering(const toon_store *store);

/* The writer lock, for threads that have no batch. */
void toon_lock_writer(toon_store *store);
void toon_unlock_writer(toon_store *store);

/* The same for any thread: one in a batch has it already. */
void toon_lock_gathered(toon_store *store);
void toon_unlock_gathered(toon_store *store);

/* Writer lock. What those that add leave reserved behind the log's end, for
 * those that remove. */
uint64_t toon_cushion(const toon_log *log);

/* On a disk that is full, or nearly so: is a compaction a way out? */
bool toon_is_worth_compacting(uint64_t log, uint64_t live);
/* Of the disk, for a compacted log: what it takes and some more. */
uint64_t toon_copy_size(uint64_t live);

/* ------------------------------------- compaction (store_compact.c, _swap) */

void toon_care_init(toon_store *store);
void toon_care_free(toon_store *store);
toon_err toon_care_start(toon_store *store);
void toon_care_stop(toon_store *store);

/* The thread looks whether something is due. */
void toon_care_look(toon_store *store);

/* The same if the log has grown by a step; the writer asks after each write. */
static inline void toon_care_if_grown(toon_store *store) {
    const toon_log *log = atomic_load(&store->volume)->log;
    if (atomic_load_explicit(&log->written, memory_order_relaxed) >=
        atomic_load_explicit(&store->care.look_at, memory_order_relaxed))
        toon_care_look(store);
}

/* Must writers wait, lest the log outgrows its space, or uses up what is left,
 * before a compaction that runs is done? */
static inline bool toon_is_held_back(toon_store *store, toon_written written) {
    const struct care *care = &store->care;
    return atomic_load_explicit(&care->hold_rate, memory_order_relaxed) != 0 ||
           written.up_to >=
               atomic_load_explicit(&care->brake_at, memory_order_relaxed) ||
           atomic_load_explicit(&care->low, memory_order_relaxed);
}

/* In that case: also by what is known now? Without locks. */
bool toon_is_held_still(toon_store *store, toon_written written);

/* For how long so many bytes are enough then, in ns; at most a second. */
int64_t toon_space_delay(const toon_store *store, size_t bytes);

/* Adds that to what all writers have to wait for, which it returns. */
int64_t toon_note_written(toon_store *store, size_t bytes);

/* Without locks: who wrote so many bytes waits a little, but not for longer
 * than a compaction takes. */
void toon_wait_for_space(toon_store *store, size_t bytes);

void toon_stat_care(toon_store *store, toon_stats *out);

/* Writes the index of all that is synced; nobody else writes. */
toon_err toon_checkpoint_at_close(toon_store *store);

/* Copies what little was written since the last round while writers wait, so
 * that the new log is a state of its own once it is synced; nothing if it is
 * too much. */
toon_err toon_swap_settle(toon_store *store, toon_compaction *compaction,
                          unsigned tries);

/*
 * The rest, and the swap; *swapped stays false with TOON_OK if there is too
 * much of it yet, and more has to be copied and synced first. `tries`: how
 * often that was so. After TOON_OK and *swapped the new log is durable.
 */
toon_err toon_swap_compacted(toon_store *store, toon_compaction *compaction,
                             unsigned tries, bool *swapped);

/* ------------------------------------------------- reading (store_read.c) */

/* In an epoch. What the cache has of the key, if that counts; `counted`: it
 * is a hit or a miss. It may have expired. */
toon_blob *toon_cached(const toon_store *store, toon_slice key, uint64_t hash,
                       bool counted);

/* In an epoch. The key's current version with one reference, from cache or
 * log. TOON_NOT_FOUND when it is absent or expired. */
toon_err toon_load_blob(toon_store *store, toon_slice key, uint64_t hash,
                        toon_blob **out);

/* In an epoch. Decodes the value of a record that has all of it. */
toon_err toon_blob_of_whole(const toon_log *log, uint64_t offset,
                            const toon_record *record, toon_slice key,
                            uint64_t hash, toon_blob **out);

/* In an epoch. Decodes the value of a record that was found. */
toon_err toon_blob_of_hit(const toon_volume *volume, const toon_hit *hit,
                          toon_slice key, uint64_t hash, bool gathered,
                          toon_blob **out);

/* Takes the reference. */
void toon_value_of_blob(toon_blob *blob, toon_value *out);

/* In an epoch, with the look-up repeated under the writer lock if need be.
 * The record's slices are good only until that lock is given back, so `use`
 * does the work. */
typedef toon_err toon_use_hit_fn(void *arg, const toon_volume *volume,
                                 const toon_hit *hit, bool gathered);
toon_err toon_with_hit(toon_store *store, toon_slice key, uint64_t hash,
                       toon_look look, toon_use_hit_fn *use, void *arg);

/* When all has been read: TOON_IO if this is a snapshot of which something was
 * taken back (toon_log_hold), else `err`. Both with_hit and with_slot do it. */
toon_err toon_confirm_read(const toon_volume *volume, toon_err err);

/* The same for a slot that was copied from the table, after `generation` was
 * read: if that has moved on, for all keys of its hash that are there now. */
toon_err toon_with_slot(toon_store *store, const toon_volume *volume,
                        uint64_t generation, toon_slot slot,
                        toon_use_hit_fn *use, void *arg);

/* ------------------------------------------- pinned values (store_pin.c) */

void toon_pins_init(toon_store *store);
void toon_pins_free(toon_store *store); /* those that are left stay good */

/* Once nobody can pin a value of an old log any more: reads those that are in
 * one. Without locks. */
void toon_pins_settle(toon_store *store);

/* -------------------------------------------- expiry (store_change.c) */

/* Removes up to `count` keys that are due, in one batch; *more: there are
 * others. */
toon_err toon_expire_some(toon_store *store, size_t count, bool *more);

/* --------------------------------------------- order (store_scan.c) */

/* With the writer lock and the order lock for writing. */
void toon_order_insert_locked(toon_store *store, toon_slice key);
void toon_order_remove_locked(toon_store *store, toon_slice key);

#endif
