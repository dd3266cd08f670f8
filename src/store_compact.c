/*
 * store_compact.c - when the log is compacted and its index saved, and the
 * thread that does it while others read and write.
 *
 * Knows the thread, when something is due and how fast it may go; must never
 * know how a log is compacted (compact.c), nor under which locks it takes the
 * old one's place (store_swap.c).
 *
 * Space: the log and its copy together stay below space_max().
 * So a compaction begins while that much is left, goes as fast as it can when
 * writers use it up, and holds them back, by a few milliseconds a write, when
 * they are faster still.
 */
#include "checkpoint.h"
#include "epoch.h"
#include "error.h"
#include "index_file.h"
#include "store_internal.h"
#include "thread.h"

#include <errno.h>
#include <time.h>

enum {
    GARBAGE_DEFAULT = 50, /* percent */
    GARBAGE_NEVER = 100,
    SLEEP_MAX_MS = 20,      /* of a slow compaction, at a time */
    HOLD_MAX_MS = 4,        /* of a writer, for each … */
    HOLD_BYTES = 64 * 1024, /* … that it wrote */
    TRIES_MAX = 3,          /* of a compaction: is_worth_a_try() */
};

#ifdef TOON_HOSTILE
#define RATE_DEFAULT    UINT64_MAX
#define LOG_MIN         ((uint64_t)2 << 10)
#define LOOK_BYTES      ((uint64_t)512)
#define CHECKPOINT_MIN  ((uint64_t)4 << 10)
#define GARBAGE_SURPLUS ((uint64_t)1 << 10)
#else
#define RATE_DEFAULT    ((uint64_t)128 << 20)
#define LOG_MIN         ((uint64_t)64 << 20) /* smaller ones are left alone */
#define LOOK_BYTES      ((uint64_t)4 << 20)
#define CHECKPOINT_MIN  ((uint64_t)64 << 20) /* of log without an index */
#define GARBAGE_SURPLUS ((uint64_t)24 << 20)
#endif
#define SMALL_MIN    ((uint64_t)64 << 10) /* no limits for smaller disks */
#define RESERVE_MAX  ((uint64_t)16 << 20)
#define RETRY_NS     ((int64_t)1000000000) /* of a failed one, at least */
#define RETRY_TIMES  8                     /* what it took */
#define STARVED_MIN  ((uint64_t)64 << 10)  /* of garbage, on a full disk */
#define SPACE_SLACK  ((uint64_t)64 << 20)  /* 128 MiB less what is reserved */
#define INDEX_MAX    (SPACE_SLACK / 2)     /* of it for an index */
#define HOLD_MIN     ((uint64_t)8 << 20) /* bytes a second that are let through */
#define HOLD_DEBT_NS ((int64_t)1000000000) /* of writers, at most */

static int64_t monotonic_ns(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void sleep_ns(int64_t ns) {
    struct timespec time = {ns / 1000000000, ns % 1000000000};
    (void)nanosleep(&time, NULL);
}

/* ------------------------------------------------------------------- space */

/* How much log there is, and how much of it is needed. */
struct extent {
    uint64_t log, live, keys, rows;
};

static bool look_at_extent(toon_store *store, struct extent *out) {
    if (!toon_epoch_enter())
        return false;
    const toon_volume *volume = atomic_load(&store->volume);
    *out = (struct extent){
        .log = atomic_load(&volume->log->written),
        .live = atomic_load(&volume->live_bytes),
        .keys = toon_slot_map_count(volume->table),
        .rows = atomic_load(&volume->rows),
    };
    toon_epoch_leave();
    return true;
}

static uint64_t garbage_of(const struct extent *extent) {
    return extent->log > extent->live ? extent->log - extent->live : 0;
}

static uint64_t index_size(const struct extent *extent) {
    return extent->keys * 16 + extent->rows * 8;
}

/* What the log and its copy may take together, so that with an index and what
 * is reserved ahead the directory stays below 2.2 times the live bytes and
 * 128 MiB. */
static uint64_t space_max(const struct extent *extent) {
    uint64_t live = extent->live;
    uint64_t index = index_size(extent);
    return live * 2 + live / 5 + SPACE_SLACK -
           (index < INDEX_MAX ? index : INDEX_MAX);
}

/* How large the copy is going to be: of the part of the log that was there at
 * the start, what is live and not dealt with yet; of what came since, all. */
static uint64_t copy_to_be(const toon_compaction *compaction,
                           const struct extent *extent) {
    uint64_t start = compaction->start;
    uint64_t at = compaction->at;
    uint64_t since = extent->log - (at > start ? at : start);
    uint64_t copy = toon_log_end(compaction->into->log) + since;
    if (at < start && extent->live > since)
        copy += (uint64_t)((double)(extent->live - since) *
                           (double)(start - at) / (double)start);
    return copy;
}

/* How much may be written yet until log and copy are past that; each byte
 * counts twice, since it is copied too. */
static uint64_t room_left(const struct extent *extent, uint64_t copy) {
    uint64_t taken = extent->log + copy;
    uint64_t max = space_max(extent);
    return taken < max ? (max - taken) / 2 : 0;
}

/* What is left of the disk for a log and its copy, and of store-max. */
static uint64_t space_of(const toon_store *store, const struct extent *extent) {
    uint64_t space = toon_dir_space(&store->dir);
    uint64_t max = store->options.store_size_max;
    if (space < UINT64_MAX - extent->log)
        space += extent->log;
    return max != 0 && max < space ? max : space;
}

/* A limit that is meant for large disks. On smaller ones it is smaller, so that
 * a log is compacted before there is no room for a copy. */
static uint64_t scale(uint64_t limit, uint64_t space) {
    enum { SHARE = 4 }; /* LOG_MIN is at most one part in so many */

    uint64_t part = space / SHARE;
    if (part < SMALL_MIN)
        part = SMALL_MIN;
    if (part >= LOG_MIN)
        return limit;
    return (uint64_t)((double)limit * (double)part / (double)LOG_MIN);
}

/* -------------------------------------------------------------- what is due */

bool toon_is_worth_compacting(uint64_t log, uint64_t live) {
    uint64_t garbage = log > live ? log - live : 0;
    return garbage >= log / 8 && garbage >= STARVED_MIN;
}

static bool compaction_is_due(toon_store *store) {
    struct care *care = &store->care;
    struct extent extent;
    unsigned percent = atomic_load(&care->garbage);
    if (atomic_load(&store->read_only) || !look_at_extent(store, &extent))
        return false;
    uint64_t garbage = garbage_of(&extent);
    if (atomic_load(&care->starved) &&
        toon_is_worth_compacting(extent.log, extent.live) &&
        (garbage >= care->retry_dead || monotonic_ns() >= care->retry_ns))
        return true;
    uint64_t space = space_of(store, &extent);
    if (percent >= GARBAGE_NEVER || extent.log < scale(LOG_MIN, space) ||
        extent.log < care->retry_log)
        return false;
    /* The second condition leaves room for what is written meanwhile. */
    return garbage >= extent.log / 100 * percent ||
           garbage > extent.live / 20 * 3 + scale(GARBAGE_SURPLUS, space);
}

static uint64_t next_checkpoint(uint64_t indexed, const struct extent *extent) {
    uint64_t size = index_size(extent);
    return indexed + (size > CHECKPOINT_MIN ? size : CHECKPOINT_MIN);
}

/* It must not take the room of a compaction that there still is room for. */
static bool has_room_for_index(const toon_store *store,
                               const struct extent *extent) {
    uint64_t space = toon_dir_space(&store->dir);
    uint64_t copy = toon_copy_size(extent->live);
    return space < copy || space - copy >= index_size(extent);
}

static bool checkpoint_is_due(toon_store *store) {
    struct extent extent;
    if (atomic_load(&store->read_only) || !look_at_extent(store, &extent))
        return false;
    if (store->care.checkpoint_at == 0)
        store->care.checkpoint_at =
            next_checkpoint(atomic_load(&store->care.indexed), &extent);
    return extent.log >= store->care.checkpoint_at &&
           has_room_for_index(store, &extent);
}

/* ------------------------------------------------------------------ pauses */

static bool begin_pause(void *arg) {
    toon_store *store = arg;
    toon_lock_writer(store);
    if (store->swaps == store->care.swaps && !atomic_load(&store->read_only) &&
        !atomic_load(&store->care.cancel) && toon_epoch_enter()) {
        (void)toon_write_locked(store); /* written or undone: nothing gathers */
        toon_epoch_leave();
        return true;
    }
    toon_unlock_writer(store);
    return false;
}

static void end_pause(void *arg) {
    toon_store *store = arg;
    toon_unlock_writer(store);
    toon_notify(store);
}

static bool sync_all(void *arg) {
    toon_store *store = arg;
    toon_lock_writer(store);
    toon_written written = toon_written_locked(store);
    toon_unlock_writer(store);
    /* What the index does not tell of gets a mark, to be known as durable. */
    if (written.up_to == store->care.covered)
        return toon_sync_up_to(store, written) == TOON_OK;
    return toon_sync(store) == TOON_OK;
}

/* The volume that is the store's now; work on it is given up when it goes. */
static toon_volume *begin_work(toon_store *store) {
    toon_lock_writer(store);
    store->care.swaps = store->swaps;
    toon_volume *volume = atomic_load(&store->volume);
    toon_unlock_writer(store);
    return volume;
}

/* -------------------------------------------------------------- checkpoint */

static void say(const toon_store *store, toon_message_level level) {
    if (store->options.message != NULL)
        store->options.message(store->options.message_arg, level,
                               toon_last_error()->text);
}

static toon_err write_checkpoint(toon_store *store, const toon_pause *pause) {
    const toon_volume *volume = begin_work(store);
    if (!toon_pause_begin(pause))
        return TOON_CONFLICT;
    toon_point point = toon_point_of(volume);
    toon_written written = toon_written_locked(store);
    toon_pause_end(pause);
    store->care.covered = point.covered;
    toon_err err = toon_sync_up_to(store, written);
    if (err == TOON_OK && !toon_pause_begin(pause))
        err = TOON_CONFLICT;
    if (err != TOON_OK)
        return err;
    uint32_t hint = point.rows < UINT32_MAX ? (uint32_t)point.rows : UINT32_MAX;
    (void)toon_log_set_row_hint(volume->log, hint); /* rows that are durable */
    toon_pause_end(pause);
    err = toon_checkpoint(&store->dir, volume, &point, pause);
    if (err != TOON_OK)
        return err;
    if (!toon_pause_begin(pause)) /* it tells of a log that has gone */
        return TOON_CONFLICT;
    atomic_store(&store->care.indexed, point.covered);
    (void)atomic_fetch_add(&store->care.checkpoints, 1);
    toon_pause_end(pause);
    return TOON_OK;
}

/* A failure loses nothing; it is tried again when the log has grown. */
static void save_index(toon_store *store) {
    struct care *care = &store->care;
    struct extent extent = {0};
    toon_err err = write_checkpoint(store, &care->pause);
    if (err != TOON_OK && err != TOON_CONFLICT)
        say(store, TOON_WARNING);
    if (!look_at_extent(store, &extent))
        return;
    uint64_t from = err == TOON_OK ? atomic_load(&care->indexed) : extent.log;
    care->checkpoint_at = next_checkpoint(from, &extent);
}

toon_err toon_checkpoint_at_close(toon_store *store) {
    static const toon_pause alone = {0};
    const toon_volume *volume = atomic_load(&store->volume);
    toon_point point = toon_point_of(volume);
    /* Without the mark that tells of the last sync: nothing has synced it. */
    point.covered = atomic_load(&volume->log->synced);
    return toon_checkpoint(&store->dir, volume, &point, &alone);
}

/* --------------------------------------------------------------- the speed */

struct pace {
    int64_t began_ns;
    uint64_t first;     /* where in the old log it began */
    uint64_t room;      /* that there was then */
    uint64_t next_look; /* at this place of the old log */
    bool fast;
};

static bool is_awaited(toon_store *store) {
    struct care *care = &store->care;
    (void)pthread_mutex_lock(&care->lock);
    bool awaited = care->waiting > 0 || care->stop;
    (void)pthread_mutex_unlock(&care->lock);
    return awaited;
}

/* Writers get what room there is, spread over the time that is left. */
static void hold_writers(toon_store *store, const struct pace *pace,
                         const struct extent *extent, uint64_t at,
                         uint64_t room) {
    double seconds = (double)(monotonic_ns() - pace->began_ns) / 1e9;
    double speed = (double)(at - pace->first) / (seconds + 1e-3) + 1;
    double left = (double)(extent->log - at) / speed + 0.05;
    double rate = (double)room / left;
    uint64_t bound = rate < 1e12 ? (uint64_t)rate : UINT64_MAX;
    atomic_store(&store->care.hold_rate, bound > HOLD_MIN ? bound : HOLD_MIN);
}

/* Where writers have to wait, because compacting could not keep up. */
static void set_brake(toon_store *store, const struct extent *extent,
                      uint64_t room) {
    struct care *care = &store->care;
    bool off = atomic_load(&care->garbage) >= GARBAGE_NEVER ||
               extent->log < care->retry_log;
    atomic_store(&care->brake_at, off ? UINT64_MAX : extent->log + room);
}

static void set_next_look(toon_store *store) {
    struct extent extent;
    if (!look_at_extent(store, &extent))
        return;
    uint64_t step = scale(LOOK_BYTES, space_of(store, &extent));
    atomic_store(&store->care.look_at, extent.log + step);
    set_brake(store, &extent, room_left(&extent, extent.live));
}

static void look_at_space(toon_store *store, const toon_compaction *compaction,
                          struct pace *pace) {
    struct extent extent;
    toon_lock_writer(store);
    store->care.copy.taken = toon_log_taken(compaction->into->log);
    toon_unlock_writer(store);
    if (!look_at_extent(store, &extent))
        return;
    if (extent.log < compaction->at || extent.log < compaction->start)
        return; /* another log: this one has been cleared */
    uint64_t room = room_left(&extent, copy_to_be(compaction, &extent));
    if (pace->next_look == 0)
        pace->room = room;
    set_brake(store, &extent, room);
    pace->next_look = compaction->at + LOOK_BYTES / 4;
    pace->fast = pace->fast || atomic_load(&store->care.starved) ||
                 room <= pace->room / 4 * 3 || is_awaited(store);
    if (pace->fast)
        hold_writers(store, pace, &extent, compaction->at, room);
}

/* After a step. */
static void keep_pace(toon_store *store, const toon_compaction *compaction,
                      struct pace *pace) {
    atomic_store(&store->care.done, compaction->at);
    if (compaction->at >= pace->next_look)
        look_at_space(store, compaction, pace);
    if (pace->fast)
        return;
    uint64_t rate = atomic_load(&store->care.rate);
    double due = (double)(compaction->at - pace->first) / (double)rate * 1e9;
    int64_t early = pace->began_ns + (int64_t)due - monotonic_ns();
    int64_t most = (int64_t)SLEEP_MAX_MS * 1000000;
    if (early > 0)
        sleep_ns(early < most ? early : most);
}

int64_t toon_space_delay(const toon_store *store, size_t bytes) {
    const struct care *care = &store->care;
    if (atomic_load(&care->low) && bytes > 0)
        return (int64_t)HOLD_MAX_MS * 1000000;
    uint64_t rate = atomic_load(&care->hold_rate);
    if (rate == 0)
        rate = HOLD_MIN;
    double delay = (double)bytes / (double)rate * 1e9;
    return delay < HOLD_DEBT_NS ? (int64_t)delay : HOLD_DEBT_NS;
}

int64_t toon_note_written(toon_store *store, size_t bytes) {
    struct care *care = &store->care;
    int64_t cost = toon_space_delay(store, bytes);
    int64_t now = monotonic_ns();
    int64_t due = atomic_load(&care->hold_due_ns);
    int64_t next;
    do { /* a debt that cannot be paid is forgotten after a second */
        next = (due > now ? due : now) + cost;
        if (next > now + HOLD_DEBT_NS)
            next = now + HOLD_DEBT_NS;
    } while (!atomic_compare_exchange_weak(&care->hold_due_ns, &due, next));
    return next - now;
}

bool toon_is_held_still(toon_store *store, toon_written written) {
    const struct care *care = &store->care;
    struct extent extent;
    /* The brake was set before this change: now there may be more live. */
    if (!atomic_load(&care->compacting) && look_at_extent(store, &extent))
        set_brake(store, &extent, room_left(&extent, extent.live));
    return toon_is_held_back(store, written);
}

void toon_wait_for_space(toon_store *store, size_t bytes) {
    const struct care *care = &store->care;
    const int64_t step = (int64_t)HOLD_MAX_MS * 1000000;
    uint64_t compactions = atomic_load(&care->compactions);
    if (bytes == 0)
        return;
    int64_t most = step * (int64_t)(bytes / HOLD_BYTES + 1);
    int64_t wait = toon_note_written(store, bytes);
    if (wait > most)
        wait = most;
    for (; wait > 1000000 && compactions == atomic_load(&care->compactions);
         wait -= step)
        sleep_ns(wait < step ? wait : step);
}

/* -------------------------------------------------------------- compaction */

static toon_err copy_up_to(toon_store *store, toon_compaction *compaction,
                           uint64_t end, struct pace *pace) {
    toon_err err = TOON_OK;
    while (err == TOON_OK && compaction->at < end) {
        err = toon_compaction_step(compaction, end);
        if (err == TOON_OK)
            keep_pace(store, compaction, pace);
    }
    return err;
}

/* Blocks for the first writes after the swap. Where files are in memory they
 * cost the zeroing of as many bytes, and a writer would wait for that. */
static void reserve_ahead(const toon_store *store,
                          const toon_compaction *compaction) {
    toon_log *log = compaction->into->log;
    uint64_t size = atomic_load(&log->written) / 8;
    if (!atomic_load(&store->care.making_room)) /* all of it or nothing */
        (void)toon_log_make_room(log, toon_log_end(log),
                                 size < RESERVE_MAX ? size : RESERVE_MAX,
                                 UINT64_MAX, 0);
}

/* What was written since the last round, until little is left. */
static toon_err catch_up(toon_store *store, toon_compaction *compaction,
                         struct pace *pace) {
    enum { MARGIN_ROWS = 4096, MARGIN_SHIFT_MAX = 6 };

    toon_err err = TOON_OK;
    bool swapped = false;
    for (unsigned tries = 0; err == TOON_OK && !swapped; tries++) {
        if (!toon_pause_begin(&compaction->pause))
            return TOON_CONFLICT;
        toon_point point = toon_point_of(compaction->from);
        store->care.copy.taken = toon_log_taken(compaction->into->log);
        uint64_t base = compaction->from->log->base + point.rows;
        unsigned shift = tries < MARGIN_SHIFT_MAX ? tries : MARGIN_SHIFT_MAX;
        if (tries > 0) /* who writes now, writes on */
            base += (uint64_t)MARGIN_ROWS << shift;
        toon_pause_end(&compaction->pause);
        atomic_store(&store->care.total, point.covered);
        compaction->exact = false;
        err = copy_up_to(store, compaction, point.covered, pace);
        if (err == TOON_OK)
            err = toon_swap_settle(store, compaction, tries);
        if (err == TOON_OK)
            err = toon_compaction_sync(compaction, base);
        if (err == TOON_OK)
            reserve_ahead(store, compaction);
        if (err == TOON_OK)
            err = toon_swap_compacted(store, compaction, tries, &swapped);
        if (err == TOON_TOO_LARGE) /* the next one has room for all tries */
            store->care.base_min =
                base + base / 2 + ((uint64_t)MARGIN_ROWS << MARGIN_SHIFT_MAX);
    }
    return err;
}

/* A full disk: what the log has reserved is room for the copy, but for the
 * deletions that come meanwhile; and so is its index, which ends with it. */
static void give_room(toon_store *store) {
    enum { FOR_DELETIONS = 8 }; /* one part in so many */

    toon_lock_writer(store);
    if (toon_dir_unlink(&store->dir, TOON_INDEX_NAME) == TOON_OK)
        atomic_store(&store->care.indexed, 0);
    if (toon_epoch_enter()) {
        (void)toon_write_locked(store); /* or it would lose its blocks */
        toon_log *log = atomic_load(&store->volume)->log;
        uint64_t kept = toon_cushion(log) / FOR_DELETIONS;
        if (kept < TOON_LOG_RESERVE)
            kept = TOON_LOG_RESERVE;
        toon_log_trim(log);
        (void)toon_log_reserve(log, kept);
        store->care.low_room = kept / 2;
        atomic_store(&store->care.making_room, true);
        toon_epoch_leave();
    }
    toon_unlock_writer(store);
    toon_notify(store);
}

uint64_t toon_copy_size(uint64_t live) {
    return live + live / 16;
}

/* May there be too little room for a copy and for what is written meanwhile? */
static bool is_tight(uint64_t space, uint64_t live) {
    enum { TIMES = 3 };

    return space / TIMES < live;
}

/* From now on writers leave the copy what it needs. *tight: there is room for
 * it, but there may be too little for both. */
static bool claim_for_copy(toon_store *store, const toon_compaction *compaction,
                           bool *tight) {
    struct extent extent;
    if (!toon_pause_begin(&compaction->pause))
        return false;
    bool ok = look_at_extent(store, &extent);
    if (ok) {
        struct care *care = &store->care;
        uint64_t space = toon_dir_space(&store->dir);
        care->copy.from = extent.log;
        care->copy.size = toon_copy_size(extent.live);
        care->copy.taken = 0;
        *tight = is_tight(space, extent.live) && space >= care->copy.size;
    }
    toon_pause_end(&compaction->pause);
    return ok;
}

/* Where there may be too little room, the copy has its own from the start, and
 * whatever is written meanwhile does not take it. A little at a time: writers
 * wait, so that nobody finds room taken and does not know by whom. */
static void reserve_for_copy(toon_store *store,
                             const toon_compaction *compaction) {
    const uint64_t step_min = (uint64_t)4 << 20;

    enum { STEPS = 256 };

    struct care *care = &store->care;
    toon_log *log = compaction->into->log;
    bool more;
    if (!claim_for_copy(store, compaction, &more))
        return;
    uint64_t step = care->copy.size / STEPS;
    if (step < step_min)
        step = step_min;
    uint64_t size = 0;
    while (more && toon_pause_begin(&compaction->pause)) {
        size = care->copy.size - size > step ? size + step : care->copy.size;
        more = toon_log_reserve(log, size) && size < care->copy.size;
        care->copy.taken = toon_log_taken(log);
        toon_pause_end(&compaction->pause);
    }
}

/* The new log's space counts now, also while the old one is freed. */
static void begin_anew(toon_store *store) {
    atomic_store(&store->care.hold_rate, 0);
    set_next_look(store);
}

static void nothing(void *arg) {
    (void)arg;
}

/* The other way round, whether or not there is a copy now: those that remove
 * have their reserve again before any others may take the room. The error of
 * the compaction stays the last one. */
static void take_room_back(toon_store *store) {
    toon_error told = *toon_last_error();
    toon_lock_writer(store);
    toon_log *log = atomic_load(&store->volume)->log;
    (void)toon_log_reserve(log, toon_cushion(log));
    atomic_store(&store->care.low, false);
    atomic_store(&store->care.making_room, false);
    toon_unlock_writer(store);
    (void)toon_fail_again(&told);
}

/* Here, and not by whoever writes next: to unmap and to close a large file
 * takes long. */
static void free_replaced(toon_store *store, toon_volume *old) {
    if (old == NULL)
        return;
    toon_epoch_retire(nothing, NULL);
    toon_epoch_drain(); /* no reader is left */
    toon_pins_settle(store);
    toon_volume_free(old);
}

/* A copy that found no room leaves its own to the next one, which needs less
 * when nobody adds: those who do must not take it. */
static void give_up_copy(toon_store *store, toon_compaction *compaction,
                         toon_err err) {
    struct care *care = &store->care;
    struct extent extent;
    if (err == TOON_FULL && compaction->into != NULL &&
        look_at_extent(store, &extent)) {
        uint64_t taken = toon_log_taken(compaction->into->log);
        uint64_t space = toon_dir_space(&store->dir);
        care->tight =
            space < UINT64_MAX && is_tight(space + taken, extent.live);
        if (care->tight)
            atomic_store(&care->making_room, true);
    }
    toon_lock_writer(store);
    care->copy.taken = 0; /* before it is free: too little, not too much */
    toon_unlock_writer(store);
    toon_compaction_end(compaction);
    if (err != TOON_OK)
        toon_epoch_drain(); /* or its mappings keep the space */
    toon_lock_writer(store);
    care->copy.from = 0;
    care->copy.freed = 0;
    toon_unlock_writer(store);
}

static toon_err compact_once(toon_store *store) {
    struct care *care = &store->care;
    toon_compaction compaction;
    if (atomic_load(&care->starved))
        give_room(store);
    toon_volume *volume = begin_work(store);
    toon_err err = toon_compaction_begin(&compaction, &store->dir, volume,
                                         care->base_min, &care->pause);
    if (err == TOON_OK) {
        struct pace pace = {.began_ns = monotonic_ns(), .first = compaction.at};
        atomic_store(&care->total, compaction.start);
        reserve_for_copy(store, &compaction);
        err = copy_up_to(store, &compaction, compaction.start, &pace);
        if (err == TOON_OK)
            err = catch_up(store, &compaction, &pace);
        if (err == TOON_OK)
            begin_anew(store);
        free_replaced(store, compaction.replaced);
        give_up_copy(store, &compaction, err);
    }
    atomic_store(&care->hold_rate, 0);
    return err;
}

static void say_not_compacted(const toon_store *store) {
    toon_error told = *toon_last_error();
    (void)toon_fail_plain(told.err, "the log could not be compacted: %s",
                          told.text);
    say(store, TOON_WARNING);
    (void)toon_fail_again(&told);
}

/* Not again at once for the same reason: `dead` was the garbage when it began,
 * for what was removed since may be all that was lacking. On a full disk room
 * may come from elsewhere, too, so there it is tried now and then. */
static void note_failure(toon_store *store, toon_err err, uint64_t dead,
                         int64_t took_ns) {
    struct care *care = &store->care;
    struct extent extent = {0};
    if (err == TOON_CONFLICT || !look_at_extent(store, &extent))
        return;
    uint64_t least = scale(LOG_MIN, space_of(store, &extent));
    uint64_t more = extent.log / 4;
    care->retry_log = extent.log + (more > least ? more : least);
    care->retry_dead = dead + extent.log / 64 + 4096;
    care->retry_ns = monotonic_ns() + RETRY_NS + took_ns * RETRY_TIMES;
    if (care->told_failure != err) /* once, however often it is tried again */
        say_not_compacted(store);
    care->told_failure = err;
}

/* Row numbers grew by a digit; the log was cleared; or others took the room,
 * which they cannot the next time. */
static bool is_worth_a_try(toon_store *store, toon_err err, bool starved) {
    const struct care *care = &store->care;
    if (err == TOON_FULL)
        return !starved && care->tight;
    if (err == TOON_CONFLICT)
        return !atomic_load(&care->cancel) && !atomic_load(&store->read_only);
    return err == TOON_TOO_LARGE;
}

static toon_err try_to_compact(toon_store *store) {
    struct care *care = &store->care;
    bool starved = atomic_load(&care->starved);
    toon_err err = compact_once(store);
    for (int i = 1; i < TRIES_MAX && is_worth_a_try(store, err, starved); i++) {
        if (err == TOON_FULL) {
            starved = true;
            atomic_store(&care->starved, true);
        }
        err = compact_once(store);
    }
    if (atomic_load(&store->care.making_room))
        take_room_back(store);
    if (err != TOON_CONFLICT)
        return err;
    if (atomic_load(&store->read_only)) /* that is why no pause was given */
        return toon_refuse_read_only(store);
    return toon_fail_plain(err, "the compaction was stopped");
}

static void begin_compaction(struct care *care) {
    (void)pthread_mutex_lock(&care->lock);
    atomic_store(&care->cancel, care->stop);
    atomic_store(&care->done, 0);
    atomic_store(&care->total, 0);
    atomic_store(&care->compacting, true);
    atomic_store(&care->wanted, false);
    (void)pthread_mutex_unlock(&care->lock);
}

static void end_compaction(struct care *care, toon_err err, int64_t took_ms) {
    (void)pthread_mutex_lock(&care->lock);
    care->result = err;
    care->told = *toon_last_error();
    care->told.err = err;
    care->ended_count++;
    atomic_store(&care->took_ms, took_ms);
    atomic_store(&care->last_result, err);
    atomic_store(&care->cancel, false);
    atomic_store(&care->compacting, false);
    (void)pthread_cond_broadcast(&care->ended);
    (void)pthread_mutex_unlock(&care->lock);
}

static void compact(toon_store *store) {
    struct care *care = &store->care;
    int64_t began_ns = monotonic_ns();
    struct extent before = {0};
    begin_compaction(care);
    (void)look_at_extent(store, &before);
    toon_err err = try_to_compact(store);
    if (err == TOON_OK) {
        (void)atomic_fetch_add(&care->compactions, 1);
        atomic_store(&care->starved, false);
        care->retry_log = 0;
        care->retry_dead = 0;
        care->told_failure = TOON_OK;
        care->checkpoint_at = 1; /* the new log has no index yet */
    } else {
        note_failure(store, err, garbage_of(&before),
                     monotonic_ns() - began_ns);
    }
    end_compaction(care, err, (monotonic_ns() - began_ns) / 1000000);
}

/* -------------------------------------------------------------- the thread */

static bool wait_for_work(toon_store *store, bool *wanted) {
    struct care *care = &store->care;
    (void)pthread_mutex_lock(&care->lock);
    while (!care->stop && !care->look && !care->wanted)
        (void)pthread_cond_wait(&care->wake, &care->lock);
    bool stop = care->stop;
    *wanted = care->wanted;
    care->look = false;
    (void)pthread_mutex_unlock(&care->lock);
    return !stop;
}

/* What is known of a log ends with it. */
static void look_for_swap(toon_store *store) {
    struct care *care = &store->care;
    toon_lock_writer(store);
    uint64_t swaps = store->swaps;
    toon_unlock_writer(store);
    if (swaps == care->swaps_seen)
        return;
    care->swaps_seen = swaps;
    care->retry_log = 0;
    care->retry_dead = 0;
    care->told_failure = TOON_OK;
    care->checkpoint_at = 0;
}

static void *care_for(void *arg) {
    toon_store *store = arg;
    bool wanted;
    while (wait_for_work(store, &wanted)) {
        look_for_swap(store);
        if (wanted || compaction_is_due(store))
            compact(store);
        if (checkpoint_is_due(store))
            save_index(store);
        set_next_look(store);
    }
    return NULL;
}

void toon_care_look(toon_store *store) {
    struct care *care = &store->care;
    atomic_store(&care->look_at, UINT64_MAX); /* until it has looked */
    (void)pthread_mutex_lock(&care->lock);
    care->look = true;
    (void)pthread_cond_signal(&care->wake);
    (void)pthread_mutex_unlock(&care->lock);
}

void toon_care_init(toon_store *store) {
    struct care *care = &store->care;
    (void)pthread_mutex_init(&care->lock, NULL);
    (void)pthread_cond_init(&care->wake, NULL);
    (void)pthread_cond_init(&care->ended, NULL);
    care->pause = (toon_pause){begin_pause, end_pause, store, sync_all};
    atomic_store(&care->look_at, UINT64_MAX);
    atomic_store(&care->brake_at, UINT64_MAX);
    (void)toon_compact_tune(store, store->options.compact_garbage,
                            store->options.compact_rate);
}

void toon_care_free(toon_store *store) {
    struct care *care = &store->care;
    (void)pthread_mutex_destroy(&care->lock);
    (void)pthread_cond_destroy(&care->wake);
    (void)pthread_cond_destroy(&care->ended);
}

toon_err toon_care_start(toon_store *store) {
    struct care *care = &store->care;
    care->look = true;
    int result = toon_thread_start(&care->thread, care_for, store);
    if (result != 0) {
        toon_where where = {NULL, -1, result};
        return toon_fail(TOON_NO_MEMORY, where, "cannot start a thread");
    }
    care->runs = true;
    return TOON_OK;
}

void toon_care_stop(toon_store *store) {
    struct care *care = &store->care;
    if (!care->runs)
        return;
    (void)pthread_mutex_lock(&care->lock);
    care->stop = true;
    atomic_store(&care->cancel, true);
    (void)pthread_cond_signal(&care->wake);
    (void)pthread_mutex_unlock(&care->lock);
    (void)pthread_join(care->thread, NULL);
    care->runs = false;
}

/* ------------------------------------------------------------- what is public */

static toon_err check_compact(toon_store *store) {
    if (toon_in_own_batch(store))
        return toon_fail_plain(TOON_INVALID, "a batch cannot wait for a "
                                             "compaction");
    if (atomic_load(&store->read_only))
        return toon_refuse_read_only(store);
    return TOON_OK;
}

toon_err toon_compact_start(toon_store *store) {
    struct care *care = &store->care;
    toon_err err = check_compact(store);
    if (err != TOON_OK)
        return err;
    (void)pthread_mutex_lock(&care->lock);
    if (care->wanted || atomic_load(&care->compacting)) {
        err = TOON_CONFLICT;
    } else {
        care->wanted = true;
        (void)pthread_cond_signal(&care->wake);
    }
    (void)pthread_mutex_unlock(&care->lock);
    return err;
}

static void tell_progress(toon_store *store, toon_progress_fn *progress,
                          void *arg) {
    toon_stats stats = {0};
    if (progress == NULL)
        return;
    toon_stat_care(store, &stats);
    if (stats.compacting && stats.compact_total > 0)
        progress(arg, stats.compact_done, stats.compact_total);
}

/* With the care lock, which is given back while waiting. */
static void wait_for_end(struct care *care) {
    enum { PROGRESS_MS = 100 };

    struct timespec until = toon_deadline(CLOCK_REALTIME, PROGRESS_MS);
    (void)pthread_cond_timedwait(&care->ended, &care->lock, &until);
}

toon_err toon_compact(toon_store *store, toon_progress_fn *progress,
                      void *arg) {
    struct care *care = &store->care;
    toon_err err = check_compact(store);
    if (err != TOON_OK)
        return err;
    (void)pthread_mutex_lock(&care->lock);
    uint64_t before = care->ended_count;
    care->wanted = care->wanted || !atomic_load(&care->compacting);
    care->waiting++;
    (void)pthread_cond_signal(&care->wake);
    while (care->ended_count == before) {
        wait_for_end(care);
        (void)pthread_mutex_unlock(&care->lock);
        tell_progress(store, progress, arg);
        (void)pthread_mutex_lock(&care->lock);
    }
    care->waiting--;
    err = care->result;
    toon_error told = care->told;
    (void)pthread_mutex_unlock(&care->lock);
    return err == TOON_OK ? TOON_OK : toon_fail_again(&told);
}

void toon_compact_stop(toon_store *store) {
    struct care *care = &store->care;
    bool batch = toon_in_own_batch(store); /* what is stopped may wait for it */
    (void)pthread_mutex_lock(&care->lock);
    if (care->wanted && !atomic_load(&care->compacting)) {
        (void)toon_fail_plain(TOON_CONFLICT, "the compaction was stopped");
        care->wanted = false;
        care->result = TOON_CONFLICT;
        care->told = *toon_last_error();
        care->ended_count++;
        (void)pthread_cond_broadcast(&care->ended);
    }
    uint64_t before = care->ended_count;
    if (atomic_load(&care->compacting))
        atomic_store(&care->cancel, true);
    while (!batch && atomic_load(&care->compacting) &&
           care->ended_count == before)
        (void)pthread_cond_wait(&care->ended, &care->lock);
    (void)pthread_mutex_unlock(&care->lock);
}

toon_err toon_compact_tune(toon_store *store, unsigned garbage, uint64_t rate) {
    if (garbage > GARBAGE_NEVER)
        return toon_fail_plain(TOON_INVALID,
                               "garbage is a percentage: 100 at most");
    atomic_store(&store->care.garbage, garbage ? garbage : GARBAGE_DEFAULT);
    atomic_store(&store->care.rate, rate ? rate : RATE_DEFAULT);
    if (store->care.runs)
        toon_care_look(store);
    return TOON_OK;
}

void toon_stat_care(toon_store *store, toon_stats *out) {
    struct care *care = &store->care;
    /* In this order: one that was begun is seen from then on to its end. */
    bool wanted = atomic_load(&care->wanted);
    out->compacting = atomic_load(&care->compacting) || wanted;
    out->compact_done = out->compacting ? atomic_load(&care->done) : 0;
    out->compact_total = out->compacting ? atomic_load(&care->total) : 0;
    out->compactions = atomic_load(&care->compactions);
    out->compact_result = atomic_load(&care->last_result);
    out->compact_ms = atomic_load(&care->took_ms);
    out->indexed_bytes = atomic_load(&care->indexed);
    out->checkpoints = atomic_load(&care->checkpoints);
}
