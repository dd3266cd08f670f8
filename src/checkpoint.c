/*
 * checkpoint.c - from a volume to db.toon.idx.
 *
 * The index lists every row of the log, and memory knows only where the live
 * ones are. So the rows come from the index before, and behind what that one
 * covers from the log's own line ends; a row is live if a slot points at it or
 * a live record builds on it.
 *
 * Knows volume, log lines and index file; must never know clients or locks.
 */
#include "checkpoint.h"

#include "epoch.h"
#include "error.h"
#include "recover.h"

#include <stdlib.h>

/* ------------------------------------------------- which rows are live */

struct offsets {
    uint64_t *items; /* owned */
    size_t count;
    size_t capacity;
};

static bool push(struct offsets *offsets, uint64_t offset) {
    if (offsets->count == offsets->capacity) {
        size_t capacity = offsets->capacity * 2 + 1024;
        uint64_t *items = realloc(offsets->items, capacity * sizeof *items);
        if (items == NULL)
            return false;
        offsets->items = items;
        offsets->capacity = capacity;
    }
    offsets->items[offsets->count++] = offset;
    return true;
}

/* The record of a slot and all that it builds on. */
static toon_err push_chain(const toon_volume *volume, uint64_t payload,
                           struct offsets *live) {
    uint64_t offset = toon_payload_offset(payload);
    uint64_t below = UINT64_MAX;
    if (!toon_payload_builds_on(payload))
        return push(live, offset) ? TOON_OK : toon_fail_memory();
    while (offset != 0 && offset < below) {
        toon_hit hit;
        if (!push(live, offset))
            return toon_fail_memory();
        toon_err err = toon_volume_load(volume, toon_payload_at(offset),
                                        TOON_LOOK_META, false, &hit);
        toon_hit_free(&hit);
        if (err != TOON_OK)
            return err;
        below = offset;
        offset = hit.damaged ? 0 : hit.record.ref;
    }
    return TOON_OK;
}

/* Least significant digit first, 16 bits a pass: offsets have 40. */
static bool sort(struct offsets *offsets) {
    enum { DIGIT_BITS = 16, DIGITS = 1 << DIGIT_BITS, PASSES = 3 };

    uint64_t *from = offsets->items;
    uint64_t *to = malloc((offsets->count + 1) * sizeof *to);
    size_t *starts = malloc(DIGITS * sizeof *starts);
    if (to == NULL || starts == NULL) {
        free(to);
        free(starts);
        return false;
    }
    for (unsigned pass = 0; pass < PASSES; pass++) {
        unsigned shift = pass * DIGIT_BITS;
        memset(starts, 0, DIGITS * sizeof *starts);
        for (size_t i = 0; i < offsets->count; i++)
            starts[from[i] >> shift & (DIGITS - 1)]++;
        size_t sum = 0;
        for (size_t d = 0; d < DIGITS; d++) {
            size_t count = starts[d];
            starts[d] = sum;
            sum += count;
        }
        for (size_t i = 0; i < offsets->count; i++)
            to[starts[from[i] >> shift & (DIGITS - 1)]++] = from[i];
        uint64_t *swap = from;
        from = to;
        to = swap;
    }
    offsets->items = from;
    offsets->capacity = offsets->count;
    free(to);
    free(starts);
    return true;
}

/* ------------------------------------------------------------ the writing */

typedef bool slot_fn(void *arg, toon_slot slot);

/* Every slot, in hash order; writers are kept out. */
static bool each_slot(const toon_slot_map *table, slot_fn *fn, void *arg) {
    enum { CAPACITY = 8192, WANT = 2048 };

    toon_slot *slots = malloc(CAPACITY * sizeof *slots);
    uint64_t cursor = 0;
    bool good = slots != NULL;
    while (good) {
        size_t count =
            toon_slot_map_scan(table, &cursor, WANT, slots, CAPACITY);
        for (size_t i = 0; good && i < count; i++)
            good = fn(arg, slots[i]);
        if (cursor == 0)
            break;
    }
    free(slots);
    return good;
}

struct checkpoint {
    toon_volume *volume;
    struct offsets live;
    size_t next_live;
    toon_index before;
    toon_index_writer writer;
    toon_err err;
};

static bool collect_slot(void *arg, toon_slot slot) {
    struct checkpoint *self = arg;
    self->err = push_chain(self->volume, slot.payload, &self->live);
    return self->err == TOON_OK;
}

static bool write_slot(void *arg, toon_slot slot) {
    struct checkpoint *self = arg;
    slot.payload = toon_payload_to_index(slot.payload);
    toon_index_add_slot(&self->writer, slot);
    return true;
}

/* Rows come in the order of their offsets, and so do the live ones. */
static void write_row(struct checkpoint *self, uint64_t offset) {
    const struct offsets *live = &self->live;
    while (self->next_live < live->count &&
           live->items[self->next_live] < offset)
        self->next_live++;
    bool is_live =
        self->next_live < live->count && live->items[self->next_live] == offset;
    toon_index_add_row(&self->writer, is_live ? offset : 0);
}

static void write_rows(struct checkpoint *self) {
    const toon_log *log = self->volume->log;
    const toon_index_head *before = &self->before.head;
    for (uint64_t row = 0; row < before->rows; row++)
        write_row(self, toon_index_row(&self->before, row));
    uint64_t at = before->covered > 0 ? before->covered : log->first;
    toon_slice view = toon_log_view(log, at, 0);
    const char *line = view.data;
    const char *end = line == NULL ? NULL : line + view.size;
    while (line < end && self->writer.rows_left > 0) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        if (newline == NULL)
            break;
        if (*line != '#')
            write_row(self, at + (uint64_t)(line - view.data));
        line = newline + 1;
    }
}

static void write_expiries(struct checkpoint *self) {
    const toon_expiry *heap = &self->volume->expiry;
    for (size_t i = 0; i < heap->count; i++) {
        toon_expiry_entry entry = heap->entries[i];
        entry.payload = toon_payload_to_index(entry.payload);
        toon_index_add_expiry(&self->writer, entry);
    }
}

/* An index that does not fit is as good as none. */
static void load_before(struct checkpoint *self, const toon_dir *dir) {
    if (toon_index_load(dir, &self->before) != TOON_OK)
        return;
    if (!toon_index_fits(&self->before, self->volume->log))
        toon_index_free(&self->before);
}

static toon_err describe(const struct checkpoint *self, toon_index_head *head) {
    const toon_volume *volume = self->volume;
    *head = (toon_index_head){
        .salt = volume->log->salt,
        .covered = atomic_load(&volume->log->synced),
        .last_offset = volume->last_offset,
        .live_bytes = atomic_load(&volume->live_bytes),
        .seed = volume->seed,
        .rows = atomic_load(&volume->rows),
        .slots = toon_slot_map_count(volume->table),
        .expiring = volume->expiry.count,
    };
    if (head->last_offset == 0)
        return TOON_OK;
    toon_hit hit;
    uint64_t payload = toon_payload_at(head->last_offset);
    toon_err err =
        toon_volume_load(volume, payload, TOON_LOOK_META, false, &hit);
    toon_hit_free(&hit);
    if (err == TOON_OK && hit.damaged)
        err = toon_volume_damaged(volume, head->last_offset);
    head->last_crc = hit.record.crc;
    return err;
}

static toon_err write_index(struct checkpoint *self, const toon_dir *dir) {
    toon_index_head head;
    toon_err err = describe(self, &head);
    if (err != TOON_OK)
        return err;
    if (head.rows > UINT32_MAX)
        return toon_fail_plain(TOON_TOO_LARGE, "too many rows for an index");
    toon_index_begin(&self->writer, dir, &head);
    write_rows(self);
    if (self->writer.rows_left > 0) { /* the log has fewer lines than rows */
        self->writer.err =
            toon_volume_damaged(self->volume, self->volume->last_offset);
        return toon_index_end(&self->writer);
    }
    if (!each_slot(self->volume->table, write_slot, self))
        self->writer.err = toon_fail_memory();
    else
        write_expiries(self);
    return toon_index_end(&self->writer);
}

toon_err toon_checkpoint(const toon_dir *dir, toon_volume *volume) {
    struct checkpoint self = {.volume = volume};
    if (!toon_epoch_enter())
        return toon_fail_memory();
    toon_volume_trim_expiry(volume);
    load_before(&self, dir);
    if (!each_slot(volume->table, collect_slot, &self) || !sort(&self.live))
        self.err = self.err == TOON_OK ? toon_fail_memory() : self.err;
    if (self.err == TOON_OK)
        self.err = write_index(&self, dir);
    toon_index_free(&self.before);
    free(self.live.items);
    toon_epoch_leave();
    return self.err;
}
