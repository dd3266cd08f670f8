/*
 * compact.c - the live records of a volume, into a new log beside it.
 *
 * A record is live if the key table points at it. That is looked up in a
 * pause, when the table says what the log says: a record that is dead then
 * stays dead, since only a record behind it can have taken its place. One
 * that is live then may be overtaken later; its successor is met later too,
 * and the new volume follows as the old one did. Each key gets one `s` or `b`
 * record, and where its value changes meanwhile, others that build on it
 * (compact_value.h). Deletions are copied only of keys that were copied before
 * they were deleted.
 *
 * Knows volumes and log lines; must never know locks, threads, or when the
 * swap is due.
 */
#include "compact.h"

#include "compact_value.h"
#include "epoch.h"
#include "error.h"
#include "key_hash.h"

#include <stdlib.h>

/* What one step looks at, and so how long its pause is. */
enum { RECORDS_AT_ONCE = 256 };
#ifdef TOON_HOSTILE
#define STEP_BYTES  ((uint64_t)300)
#define WRITE_BYTES ((size_t)100)
#define SYNC_BYTES  ((uint64_t)64 << 10)
#define CHEAP_BYTES ((size_t)1 << 10)
#define GROWING_MIN ((size_t)200)
#else
#define STEP_BYTES  ((uint64_t)256 << 10)
#define WRITE_BYTES ((size_t)1 << 20)
#define SYNC_BYTES  ((uint64_t)32 << 20) /* so that the last sync is short */
#define CHEAP_BYTES ((size_t)1 << 20)
#define GROWING_MIN ((size_t)64 << 10)
#endif

/* A record of the old log, and whether the new one is to have it. */
struct toon_candidate {
    toon_record record;
    toon_slice line;
    uint64_t offset, hash;
    uint64_t growing; /* dead, but of a large value that goes on: where that
                         ends now; else 0 */
    bool live;        /* of a deletion: the key is absent */
};

/* ------------------------------------------------------------------- begin */

/* What the new log takes from the old one, as it stands. */
struct origin {
    uint64_t base, seed, keys;
};

static toon_err look_at_origin(toon_compaction *self, struct origin *origin) {
    const toon_volume *from = self->from;
    if (!toon_epoch_enter())
        return toon_fail_memory();
    toon_err err = TOON_CONFLICT;
    if (toon_pause_begin(&self->pause)) {
        self->at = from->log->first;
        self->start = atomic_load(&from->log->written);
        *origin = (struct origin){
            .base = from->log->base + atomic_load(&from->rows),
            .seed = from->seed,
            .keys = toon_slot_map_count(from->table),
        };
        toon_pause_end(&self->pause);
        err = TOON_OK;
    }
    toon_epoch_leave();
    return err;
}

static toon_err make_volume(toon_compaction *self, const struct origin *origin,
                            uint64_t base_min) {
    toon_log *log = NULL;
    uint32_t salt = 0;
    uint64_t base = origin->base > base_min ? origin->base : base_min;
    toon_err err = toon_random(&salt, sizeof salt);
    if (err == TOON_OK)
        err = toon_log_create(self->dir, TOON_COMPACT_NAME, base, salt, false);
    if (err == TOON_OK)
        err = toon_log_open(self->dir, TOON_COMPACT_NAME, false, &log);
    if (err != TOON_OK)
        return err;
    log->marked = log->first; /* nothing of it is durable yet */
    self->into = toon_volume_new(log, origin->seed, 1, origin->keys);
    if (self->into != NULL)
        return TOON_OK;
    toon_log_free(log);
    return toon_fail_memory();
}

toon_err toon_compaction_begin(toon_compaction *self, const toon_dir *dir,
                               toon_volume *from, uint64_t base_min,
                               const toon_pause *pause) {
    struct origin origin = {0};
    *self = (toon_compaction){.dir = dir, .from = from, .pause = *pause};
    self->candidates = malloc(RECORDS_AT_ONCE * sizeof *self->candidates);
    self->moved = toon_moved_new();
    toon_err err = TOON_OK;
    if (self->candidates == NULL || self->moved == NULL)
        err = toon_fail_memory();
    if (err == TOON_OK)
        err = look_at_origin(self, &origin);
    if (err == TOON_OK)
        err = make_volume(self, &origin, base_min);
    if (err != TOON_OK)
        toon_compaction_end(self);
    return err;
}

void toon_compaction_end(toon_compaction *self) {
    if (self->into != NULL)
        toon_volume_free(self->into);
    if (self->dir != NULL) /* what failed has been told */
        (void)self->dir->io->unlink_at(self->dir->fd, TOON_COMPACT_NAME);
    free(self->candidates);
    free(self->moved);
    toon_buf_free(&self->key);
    toon_buf_free(&self->value);
    *self = (toon_compaction){0};
}

/* ----------------------------------------------------- reading the old log */

/* What the mapping shows is no line: is that so on the disk? */
static toon_err unreadable(const toon_volume *volume, uint64_t offset) {
    toon_hit hit;
    toon_err err = toon_volume_load(volume, toon_payload_at(offset),
                                    TOON_LOOK_WHOLE, false, &hit);
    toon_hit_free(&hit);
    if (err != TOON_OK || hit.damaged)
        return err != TOON_OK ? err : toon_volume_damaged(volume, offset);
    toon_where where = {volume->log->file.path, (int64_t)offset, 0};
    return toon_fail(TOON_IO, where, "%s: the disk gave other bytes",
                     volume->log->file.path);
}

static toon_err hash_of(toon_compaction *self, const toon_record *record,
                        uint64_t offset, uint64_t *hash) {
    self->key.size = 0;
    if (!toon_record_key(record, &self->key)) {
        bool failed = self->key.failed;
        self->key.failed = false;
        return failed ? toon_fail_memory()
                      : toon_volume_damaged(self->from, offset);
    }
    *hash = toon_key_hash(toon_buf_slice(&self->key), self->from->seed);
    return TOON_OK;
}

/* Passes over a mark; false: there is none. */
static bool skip_mark(const toon_compaction *self, toon_slice view,
                      uint64_t *at) {
    uint64_t synced;
    size_t size;
    if (view.data[0] != '#' || toon_mark_parse(view, self->from->log->salt,
                                               &synced, &size) != RECORD_OK)
        return false;
    *at += size;
    return true;
}

/* Tombstones of what was never copied are dead. */
static bool may_be_live(const toon_compaction *self,
                        const struct toon_candidate *candidate) {
    return candidate->record.type != RECORD_DELETED ||
           candidate->offset >= self->start;
}

/* Reads on from *at; *count candidates. */
static toon_err read_some(toon_compaction *self, uint64_t up_to, uint64_t *at,
                          size_t *count) {
    const toon_log *log = self->from->log;
    uint64_t stop = *at + STEP_BYTES < up_to ? *at + STEP_BYTES : up_to;
    *count = 0;
    while (*at < stop && *count < RECORDS_AT_ONCE) {
        struct toon_candidate *next = &self->candidates[*count];
        toon_slice view = toon_log_view(log, *at, 0);
        if (view.data == NULL)
            return unreadable(self->from, *at);
        if (skip_mark(self, view, at))
            continue;
        if (toon_record_parse(view, log->salt, &next->record) != RECORD_OK)
            return unreadable(self->from, *at);
        next->offset = *at;
        next->line = toon_bytes(view.data, next->record.size);
        *at += next->record.size;
        if (!may_be_live(self, next))
            continue;
        toon_err err = hash_of(self, &next->record, next->offset, &next->hash);
        if (err != TOON_OK)
            return err;
        toon_slot_map_prefetch(self->from->table, next->hash);
        ++*count;
    }
    return TOON_OK;
}

/* ------------------------------------------------------------ what is live */

static bool is_whole(char type) {
    return type == RECORD_STRING || type == RECORD_BASE64 ||
           type == RECORD_DELETED;
}

static bool is_pointed_at(const toon_volume *volume,
                          const struct toon_candidate *candidate) {
    uint64_t payloads[SLOT_MAP_SAME_HASH_MAX];
    size_t count = toon_slot_map_get(volume->table, candidate->hash, payloads);
    for (size_t i = 0; i < count; i++) {
        if (toon_payload_offset(payloads[i]) == candidate->offset)
            return true;
    }
    return false;
}

/* Of a deletion: nothing has taken its place. */
static toon_err is_absent(toon_compaction *self,
                          const struct toon_candidate *candidate,
                          bool *absent) {
    uint64_t hash;
    toon_hit hit;
    toon_err err = hash_of(self, &candidate->record, candidate->offset, &hash);
    if (err == TOON_OK)
        err = toon_volume_find(self->from, toon_buf_slice(&self->key), hash,
                               TOON_LOOK_META, true, &hit);
    if (err != TOON_OK)
        return err;
    *absent = hit.payload == 0;
    toon_hit_free(&hit);
    return TOON_OK;
}

/* Of a slot: where its value's newest piece lies; 0: it cannot be read. */
static uint64_t value_of_slot(const toon_volume *volume, uint64_t payload) {
    toon_hit hit;
    toon_err err =
        toon_volume_load(volume, payload, TOON_LOOK_META, false, &hit);
    bool there = err == TOON_OK && !hit.damaged;
    uint64_t offset = there ? toon_hit_value_offset(&hit) : 0;
    toon_hit_free(&hit);
    return offset;
}

static bool is_large(const toon_volume *volume, uint64_t value) {
    toon_fact fact;
    return value != 0 && toon_facts_find(volume->facts, value, &fact) &&
           fact.value_size >= GROWING_MIN;
}

/* Of a record that is not live any more, though it was written since the
 * compaction began: where its key's value ends now, if that is one of pieces,
 * and large; else 0. */
static uint64_t find_growing(const toon_compaction *self,
                             const struct toon_candidate *candidate) {
    uint64_t payloads[SLOT_MAP_SAME_HASH_MAX];
    const toon_volume *from = self->from;
    if (candidate->offset < self->start || is_whole(candidate->record.type))
        return 0;
    size_t count = toon_slot_map_get(from->table, candidate->hash, payloads);
    for (size_t i = 0; i < count; i++) {
        uint64_t value = toon_payload_offset(payloads[i]);
        if (!toon_payload_builds_on(payloads[i]))
            continue;
        if (!is_large(from, value)) /* it may have another's: t and r */
            value = value_of_slot(from, payloads[i]);
        if (is_large(from, value))
            return value;
    }
    return 0;
}

static void take_all(toon_compaction *self, size_t count) {
    for (size_t i = 0; i < count; i++)
        self->candidates[i].live = true;
}

static toon_err look_up(toon_compaction *self, size_t count) {
    toon_err err = TOON_OK;
    if (!toon_pause_begin(&self->pause))
        return TOON_CONFLICT;
    for (size_t i = 0; err == TOON_OK && i < count; i++) {
        struct toon_candidate *candidate = &self->candidates[i];
        if (candidate->record.type == RECORD_DELETED)
            err = is_absent(self, candidate, &candidate->live);
        else
            candidate->live = is_pointed_at(self->from, candidate);
        candidate->growing =
            candidate->live ? 0 : find_growing(self, candidate);
    }
    toon_pause_end(&self->pause);
    return err;
}

/* ----------------------------------------------------- writing the new log */

toon_err toon_compaction_write(toon_compaction *self) {
    bool cut_failed;
    toon_log *log = self->into->log;
    self->unsynced += log->gather.size;
    return toon_log_write(log, &cut_failed);
}

static toon_err write_enough(toon_compaction *self) {
    toon_log *log = self->into->log;
    if (log->gather.size < WRITE_BYTES)
        return TOON_OK;
    toon_err err = toon_compaction_write(self);
    /* In the middle of a batch, a mark would call a part of it durable. */
    if (err == TOON_OK && !self->exact && self->unsynced >= SYNC_BYTES) {
        err = toon_log_sync(log, atomic_load(&log->written));
        self->unsynced = 0;
    }
    return err;
}

/* The line as it is, with the new log's CRC. */
static void copy_line(toon_log *log, const struct toon_candidate *candidate,
                      bool more) {
    size_t at = log->gather.size;
    toon_buf_append_slice(&log->gather, candidate->line);
    if (!log->gather.failed)
        toon_record_set_more(log->gather.data + at, candidate->line.size, more,
                             log->salt);
}

/* So that nobody has to count the bytes of a large value again. */
static void remember(toon_compaction *self,
                     const struct toon_candidate *candidate,
                     const toon_step *step) {
    size_t size;
    if (step->live_bytes >= TOON_REMEMBER_MIN &&
        toon_record_value_size(&candidate->record, &size))
        toon_volume_remember(self->into, step->offset, step->live_bytes, size);
    toon_moved_note(self, candidate->offset, step->offset, step->live_bytes);
}

/* What the new volume has of the key: something only where the key was copied
 * before, and changed since. */
static toon_err find_before(toon_compaction *self,
                            const struct toon_candidate *candidate,
                            toon_step *step) {
    toon_hit hit;
    if (candidate->offset < self->start)
        return TOON_OK;
    toon_err err =
        toon_volume_find(self->into, toon_buf_slice(&self->key),
                         candidate->hash, TOON_LOOK_META, true, &hit);
    if (err != TOON_OK)
        return err;
    step->old_payload = hit.payload;
    if (hit.payload != 0 && !hit.damaged)
        step->old_expires_ms = hit.record.expires_ms;
    toon_hit_free(&hit);
    return TOON_OK;
}

/* Of a batch of which only the live records are copied, each stands alone. */
static toon_err add_line(toon_compaction *self,
                         const struct toon_candidate *candidate,
                         toon_step *step) {
    static const toon_kept nothing = {{0}};
    toon_volume *into = self->into;
    toon_log *log = into->log;
    if (!toon_volume_reserve(into, step->hash))
        return toon_fail_memory();
    size_t begun = toon_log_begin(log);
    step->offset = toon_log_end(log);
    copy_line(log, candidate, self->exact && candidate->record.more);
    toon_err err = toon_log_admit(log, begun, 0, 0);
    if (err != TOON_OK)
        return err;
    if (candidate->record.type != RECORD_DELETED) {
        step->live_bytes = toon_log_end(log) - step->offset;
        step->expires_ms = candidate->record.expires_ms;
        step->payload = toon_payload(step->offset, step->live_bytes,
                                     step->expires_ms != 0, false);
    }
    if (step->old_payload != 0)
        step->garbage =
            toon_volume_garbage(into, step->old_payload, &nothing, true);
    toon_volume_apply(into, step);
    remember(self, candidate, step);
    return TOON_OK;
}

static toon_err copy_one(toon_compaction *self,
                         const struct toon_candidate *candidate) {
    toon_step step = {.hash = candidate->hash};
    uint64_t hash;
    bool needs_key =
        candidate->offset >= self->start || !is_whole(candidate->record.type);
    toon_err err = TOON_OK;
    if (needs_key)
        err = hash_of(self, &candidate->record, candidate->offset, &hash);
    if (err == TOON_OK)
        err = find_before(self, candidate, &step);
    if (err != TOON_OK)
        return err;
    if (candidate->record.type == RECORD_DELETED && step.old_payload == 0 &&
        !self->exact)
        return TOON_OK; /* it was never copied */
    if (is_whole(candidate->record.type))
        err = add_line(self, candidate, &step);
    else
        err = toon_compaction_copy_value(self, &candidate->record,
                                         candidate->offset, &step);
    return err == TOON_OK ? write_enough(self) : err;
}

/* What lasts of its value is copied while nobody waits: what comes behind it
 * will be little. */
static toon_err copy_ahead(toon_compaction *self,
                           const struct toon_candidate *candidate) {
    toon_step step = {.hash = candidate->hash};
    uint64_t hash;
    toon_err err = hash_of(self, &candidate->record, candidate->offset, &hash);
    if (err == TOON_OK)
        err = find_before(self, candidate, &step);
    if (err == TOON_OK)
        err = toon_compaction_copy_ahead(self, &candidate->record,
                                         candidate->offset, candidate->growing,
                                         &step);
    return err == TOON_OK ? write_enough(self) : err;
}

/* -------------------------------------------------------------------- step */

static toon_err step_in_epoch(toon_compaction *self, uint64_t up_to) {
    uint64_t at = self->at;
    size_t count = 0;
    toon_err err = read_some(self, up_to, &at, &count);
    if (err == TOON_OK && self->exact)
        take_all(self, count);
    else if (err == TOON_OK)
        err = look_up(self, count);
    for (size_t i = 0; err == TOON_OK && i < count; i++) {
        if (self->candidates[i].live)
            err = copy_one(self, &self->candidates[i]);
        else if (self->candidates[i].growing != 0)
            err = copy_ahead(self, &self->candidates[i]);
    }
    if (err == TOON_OK)
        self->at = at;
    return err;
}

toon_err toon_compaction_step(toon_compaction *self, uint64_t up_to) {
    if (!toon_epoch_enter())
        return toon_fail_memory();
    toon_err err = TOON_CONFLICT;
    if (toon_pause_begin(&self->pause)) { /* the old volume is alive */
        toon_pause_end(&self->pause);
        err = step_in_epoch(self, up_to);
    }
    toon_epoch_leave();
    return err;
}

/* -------------------------------------------------------------------- swap */

toon_err toon_compaction_sync(toon_compaction *self, uint64_t base) {
    toon_log *log = self->into->log;
    toon_err err = toon_compaction_write(self);
    if (err == TOON_OK && log->base < base)
        err = toon_log_rebase(log, base);
    if (err == TOON_OK)
        err = toon_log_sync(log, UINT64_MAX);
    if (err == TOON_OK) {
        self->durable = self->at;
        self->unsynced = 0;
    }
    return err;
}

/* Adds what copying the record will cost. False: too much, or unknown. */
static bool add_cost(toon_compaction *self, const toon_record *record,
                     uint64_t offset, toon_cost *cost) {
    uint64_t payloads[SLOT_MAP_SAME_HASH_MAX] = {0};
    uint64_t hash;
    if (!is_whole(record->type)) {
        if (hash_of(self, record, offset, &hash) != TOON_OK)
            return false;
        (void)toon_slot_map_get(self->into->table, hash, payloads);
    }
    return toon_cost_add(cost, self, record, offset, payloads[0]);
}

bool toon_compaction_is_cheap(toon_compaction *self, uint64_t up_to) {
    const toon_log *log = self->from->log;
    toon_cost cost = {.left = CHEAP_BYTES};
    uint64_t at = self->at;
    while (at < up_to) {
        toon_record record;
        toon_slice view = toon_log_view(log, at, 0);
        if (view.data == NULL)
            return false;
        if (skip_mark(self, view, &at))
            continue;
        if (toon_record_parse(view, log->salt, &record) != RECORD_OK ||
            !add_cost(self, &record, at, &cost))
            return false;
        at += record.size;
    }
    return true;
}

toon_err toon_compaction_install(toon_compaction *self, toon_volume **out) {
    toon_err err = toon_dir_rename(self->dir, TOON_COMPACT_NAME, TOON_LOG_NAME);
    if (err != TOON_OK)
        return err;
    toon_log_named(self->into->log, self->dir, TOON_LOG_NAME);
    *out = self->into;
    self->into = NULL;
    self->dir = NULL;
    return TOON_OK;
}
