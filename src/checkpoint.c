/*
 * checkpoint.c - from a volume to db.toon.idx, also while it changes.
 *
 * The index tells of the log up to a point. Slots are copied some at a time,
 * in pauses between changes; those that point past the point are left out:
 * opening reads the log from there on and finds them again. A slot that
 * points before it is as it was at the point, since a key's slot only moves
 * on. So the copy, with the tail, is whole whenever each part was taken; and
 * the tail is made durable before the index takes its place, or a power cut
 * would leave keys of which neither tells.
 *
 * The index lists every row of the log, and memory knows only where the live
 * ones are. So the rows come from the index before, and behind what that one
 * covers from the log's own line ends; a row is live if a slot points at it
 * or a live record builds on it, one behind the point too. That is noted in
 * one bit for each 16 bytes of log (no record is shorter), for a window of the
 * log at a time.
 *
 * Knows volume, log lines and index file; must never know clients or locks.
 */
#include "checkpoint.h"

#include "epoch.h"
#include "error.h"
#include "recover.h"

#include <inttypes.h>
#include <stdlib.h>

enum {
    SLOTS_AT_ONCE = 1024,
    SLOTS_CAPACITY = 4096, /* what toon_slot_map_scan asks for */
    UNIT_BITS = 4,         /* of log, a bit in the map: 16 bytes */
};

#ifdef TOON_HOSTILE
#define WINDOW_BYTES ((uint64_t)1 << 17)
#define LINES_BYTES  ((uint64_t)1 << 10)
#else
#define WINDOW_BYTES ((uint64_t)1 << 32)
#define LINES_BYTES  ((uint64_t)16 << 20) /* looked at in one epoch */
#endif

struct checkpoint {
    const toon_volume *volume; /* alive only where enter() says so */
    const toon_point *point;
    const toon_pause *pause;
    toon_index_head head;
    toon_slot *slots; /* scratch */

    uint64_t window, window_end; /* of the log */
    uint64_t *live;              /* the window's bits; owned */
    bool counting;               /* the first way through the slots */
    uint64_t slot_count, expiring_count, live_bytes;

    toon_index before;
    uint64_t before_row; /* the next one of it */
    uint64_t line;       /* behind it: the next line of the log */
    toon_index_writer writer;
};

toon_point toon_point_of(const toon_volume *volume) {
    return (toon_point){
        .covered = atomic_load(&volume->log->written),
        .rows = atomic_load(&volume->rows),
        .last_offset = volume->last_offset,
    };
}

/* An epoch in which the volume is the store's. */
static toon_err enter(const struct checkpoint *self) {
    if (!toon_epoch_enter())
        return toon_fail_memory();
    if (toon_pause_begin(self->pause)) {
        toon_pause_end(self->pause);
        return TOON_OK;
    }
    toon_epoch_leave();
    return TOON_CONFLICT;
}

/* ------------------------------------------------------------- every slot */

typedef toon_err slot_fn(struct checkpoint *self, toon_slot slot);

/* Copies some slots in a pause; *cursor as toon_slot_map_scan has it. */
static toon_err copy_slots(struct checkpoint *self, uint64_t *cursor,
                           size_t *count) {
    if (!toon_pause_begin(self->pause))
        return TOON_CONFLICT;
    *count = toon_slot_map_scan(self->volume->table, cursor, SLOTS_AT_ONCE,
                                self->slots, SLOTS_CAPACITY);
    toon_pause_end(self->pause);
    return TOON_OK;
}

/* Does it point past the point? All that is seen in a pause is written. */
static bool is_past(const struct checkpoint *self, toon_slot slot) {
    return toon_payload_offset(slot.payload) >= self->point->covered;
}

/* fn runs while others write. */
static toon_err each_slot(struct checkpoint *self, slot_fn *fn) {
    uint64_t cursor = 0;
    toon_err err;
    do {
        size_t count = 0;
        if (!toon_epoch_enter())
            return toon_fail_memory();
        err = copy_slots(self, &cursor, &count);
        for (size_t i = 0; err == TOON_OK && i < count; i++)
            err = fn(self, self->slots[i]);
        toon_epoch_leave();
    } while (err == TOON_OK && cursor != 0);
    return err;
}

/* ------------------------------------------------- which rows are live */

static void mark_live(struct checkpoint *self, uint64_t offset) {
    if (offset < self->window || offset >= self->window_end)
        return;
    uint64_t unit = (offset - self->window) >> UNIT_BITS;
    self->live[unit / 64] |= (uint64_t)1 << unit % 64;
}

static bool is_live(const struct checkpoint *self, uint64_t offset) {
    uint64_t unit = (offset - self->window) >> UNIT_BITS;
    return (self->live[unit / 64] >> unit % 64 & 1) != 0;
}

/* The record and all that it builds on. */
static toon_err mark_chain(struct checkpoint *self, uint64_t offset) {
    uint64_t below = UINT64_MAX;
    while (offset != 0 && offset < below) {
        toon_hit hit;
        mark_live(self, offset);
        toon_err err = toon_volume_load(self->volume, toon_payload_at(offset),
                                        TOON_LOOK_META, false, &hit);
        toon_hit_free(&hit);
        if (err != TOON_OK)
            return err;
        if (self->counting && !hit.damaged && offset < self->point->covered)
            self->live_bytes += hit.record.size;
        below = offset;
        offset = hit.damaged ? 0 : hit.record.ref;
    }
    return TOON_OK;
}

static toon_err look_at_slot(struct checkpoint *self, toon_slot slot) {
    uint64_t offset = toon_payload_offset(slot.payload);
    size_t length = toon_payload_length(slot.payload);
    bool past = is_past(self, slot);
    if (self->counting && !past) {
        self->slot_count++;
        self->expiring_count += toon_payload_expires(slot.payload);
    }
    if (toon_payload_builds_on(slot.payload) || length == 0)
        return mark_chain(self, offset);
    mark_live(self, offset);
    if (self->counting && !past)
        self->live_bytes += length;
    return TOON_OK;
}

static toon_err mark_bases(struct checkpoint *self, toon_slice tail) {
    const char *at = tail.data;
    const char *end = tail.data + tail.size;
    toon_err err = TOON_OK;
    while (err == TOON_OK && at < end) {
        toon_record record;
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        if (newline == NULL)
            break;
        toon_slice line = toon_bytes(at, (size_t)(newline + 1 - at));
        if (*at != '#' && toon_record_parse_trusted(line, &record) == RECORD_OK)
            err = mark_chain(self, record.ref);
        at = newline + 1;
    }
    return err;
}

/* A value that was renamed from a place where each_slot() had not been to one
 * where it had: the record behind the point tells what it builds on. What is
 * counted already is not counted again. */
static toon_err look_at_tail(struct checkpoint *self) {
    bool counting = self->counting;
    toon_err err = enter(self);
    if (err != TOON_OK)
        return err;
    self->counting = false;
    const toon_log *log = self->volume->log;
    uint64_t covered = self->point->covered;
    toon_slice tail = toon_log_view(log, covered, 0);
    if (tail.data != NULL)
        err = mark_bases(self, tail);
    else if (atomic_load(&log->written) > covered)
        err = TOON_CONFLICT; /* no memory for a map: another time */
    self->counting = counting;
    toon_epoch_leave();
    return err;
}

static toon_err look_at_window(struct checkpoint *self, uint64_t start) {
    uint64_t end = self->point->covered;
    self->window = start;
    self->window_end = end - start > WINDOW_BYTES ? start + WINDOW_BYTES : end;
    uint64_t bytes = self->window_end - start;
    size_t words = (size_t)(bytes >> UNIT_BITS) / 64 + 1;
    free(self->live);
    self->live = calloc(words, sizeof *self->live);
    if (self->live == NULL)
        return toon_fail_memory();
    toon_err err = each_slot(self, look_at_slot);
    return err == TOON_OK ? look_at_tail(self) : err;
}

/* ------------------------------------------------------------------- rows */

static void write_row(struct checkpoint *self, uint64_t offset) {
    toon_index_add_row(&self->writer, is_live(self, offset) ? offset : 0);
}

/* The rows that the index before knows. What was dead there stays dead. */
static void write_known_rows(struct checkpoint *self) {
    const toon_index *before = &self->before;
    while (self->before_row < before->head.rows) {
        uint64_t offset = toon_index_row(before, self->before_row);
        if (offset >= self->window_end)
            return;
        if (offset < self->window)
            offset = 0; /* dead, or no row at all */
        if (offset == 0)
            toon_index_add_row(&self->writer, 0);
        else
            write_row(self, offset);
        self->before_row++;
    }
}

/* Lines of the log up to `end`; whole ones, since the log up to the point is.
 * False: it is not. */
static bool write_lines(struct checkpoint *self, uint64_t end) {
    toon_slice view =
        toon_log_view(self->volume->log, self->line,
                      (size_t)(self->point->covered - self->line));
    const char *at = view.data;
    while (at != NULL && self->line < end) {
        const char *stop = view.data + view.size;
        const char *newline = memchr(at, '\n', (size_t)(stop - at));
        if (newline == NULL)
            return false;
        if (*at != '#' && self->writer.rows_left == 0)
            return false;
        if (*at != '#')
            write_row(self, self->line);
        self->line += (uint64_t)(newline + 1 - at);
        at = newline + 1;
    }
    return at != NULL;
}

static toon_err not_a_log(const struct checkpoint *self) {
    return toon_fail_plain(TOON_CORRUPT,
                           "the log is damaged near offset %" PRIu64
                           ": no index was written; run tst check",
                           self->line);
}

static toon_err write_new_rows(struct checkpoint *self) {
    while (self->line < self->window_end) {
        uint64_t end = self->line + LINES_BYTES;
        if (end > self->window_end)
            end = self->window_end;
        toon_err err = enter(self);
        if (err != TOON_OK)
            return err;
        bool sound = write_lines(self, end);
        toon_epoch_leave();
        if (!sound)
            return not_a_log(self);
    }
    return TOON_OK;
}

static toon_err write_rows(struct checkpoint *self) {
    toon_err err = TOON_OK;
    uint64_t covered = self->point->covered;
    for (;;) {
        write_known_rows(self);
        err = write_new_rows(self);
        if (err != TOON_OK || self->window_end >= covered)
            break;
        err = look_at_window(self, self->window_end);
        if (err != TOON_OK)
            break;
    }
    if (err == TOON_OK && self->writer.rows_left > 0)
        err = not_a_log(self);
    return err;
}

/* ---------------------------------------------------------- slots, expiries */

/* Fewer than were counted are left; no more can come. */
static toon_err write_slot(struct checkpoint *self, toon_slot slot) {
    if (is_past(self, slot))
        return TOON_OK;
    if (self->writer.slots_left == 0)
        return TOON_CONFLICT;
    slot.payload = toon_payload_to_index(slot.payload);
    toon_index_add_slot(&self->writer, slot);
    return TOON_OK;
}

static toon_err write_expiry(struct checkpoint *self, toon_slot slot) {
    toon_hit hit;
    if (is_past(self, slot) || !toon_payload_expires(slot.payload))
        return TOON_OK;
    if (self->writer.expiring_left == 0)
        return TOON_CONFLICT;
    toon_err err = toon_volume_load(self->volume, slot.payload, TOON_LOOK_META,
                                    false, &hit);
    if (err == TOON_OK && !hit.damaged)
        toon_index_add_expiry(
            &self->writer, (toon_expiry_entry){
                               .hash = slot.hash,
                               .payload = toon_payload_to_index(slot.payload),
                               .expires_ms = hit.record.expires_ms,
                           });
    toon_hit_free(&hit);
    return err;
}

/* Nothing stands for those that moved on since they were counted. */
static toon_err write_keys(struct checkpoint *self) {
    toon_err err = each_slot(self, write_slot);
    if (err != TOON_OK)
        return err;
    while (self->writer.slots_left > 0)
        toon_index_add_slot(&self->writer, (toon_slot){0});
    if (self->expiring_count > 0)
        err = each_slot(self, write_expiry);
    if (err != TOON_OK)
        return err;
    while (self->writer.expiring_left > 0)
        toon_index_add_expiry(&self->writer, (toon_expiry_entry){0});
    return TOON_OK;
}

/* ------------------------------------------------------------------ whole */

/* The index that is there, if it tells of this log. In an epoch. */
static void load_before(struct checkpoint *self, const toon_dir *dir) {
    const toon_log *log = self->volume->log;
    self->line = log->first;
    if (toon_index_load(dir, &self->before) != TOON_OK)
        return;
    uint64_t covered = self->before.head.covered;
    if (toon_index_fits(&self->before, log) && covered >= log->first &&
        covered <= self->point->covered)
        self->line = covered;
    else
        toon_index_free(&self->before);
}

/* In an epoch. */
static toon_err describe(struct checkpoint *self) {
    toon_hit hit = {0};
    const toon_volume *volume = self->volume;
    self->head = (toon_index_head){
        .salt = volume->log->salt,
        .covered = self->point->covered,
        .last_offset = self->point->last_offset,
        .seed = volume->seed,
        .rows = self->point->rows,
    };
    if (self->head.last_offset == 0)
        return TOON_OK;
    toon_err err =
        toon_volume_load(volume, toon_payload_at(self->head.last_offset),
                         TOON_LOOK_META, false, &hit);
    if (err == TOON_OK && hit.damaged)
        err = toon_volume_damaged(volume, self->head.last_offset);
    self->head.last_crc = hit.record.crc;
    toon_hit_free(&hit);
    return err;
}

static toon_err begin(struct checkpoint *self, const toon_dir *dir) {
    if (self->point->rows > UINT32_MAX)
        return toon_fail_plain(TOON_TOO_LARGE, "too many rows for an index");
    self->slots = malloc(SLOTS_CAPACITY * sizeof *self->slots);
    if (self->slots == NULL)
        return toon_fail_memory();
    toon_err err = enter(self);
    if (err != TOON_OK)
        return err;
    err = describe(self);
    load_before(self, dir);
    self->window_end = self->volume->log->first;
    toon_epoch_leave();
    return err;
}

/* What lies behind, of which the index leaves keys out, is durable before the
 * index has its name, and the header says how many rows that are: where they
 * are lost all the same, opening sees it. */
static toon_err sync_behind(struct checkpoint *self) {
    const toon_volume *volume = self->volume;
    if (!toon_pause_begin(self->pause))
        return TOON_CONFLICT;
    uint64_t rows = atomic_load(&volume->rows);
    toon_pause_end(self->pause);
    if (!toon_pause_sync(self->pause))
        return TOON_IO;
    if (rows == self->point->rows || rows > UINT32_MAX)
        return TOON_OK;
    if (!toon_pause_begin(self->pause))
        return TOON_CONFLICT;
    (void)toon_log_set_row_hint(volume->log, (uint32_t)rows);
    toon_pause_end(self->pause);
    return TOON_OK;
}

static toon_err write_index(struct checkpoint *self, const toon_dir *dir) {
    self->head.live_bytes = self->live_bytes;
    self->head.slots = self->slot_count;
    self->head.expiring = self->expiring_count;
    toon_index_begin(&self->writer, dir, &self->head);
    toon_err err = write_rows(self);
    if (err == TOON_OK)
        err = write_keys(self);
    if (err == TOON_OK)
        err = sync_behind(self);
    if (err != TOON_OK && self->writer.err == TOON_OK)
        self->writer.err = err;
    return toon_index_end(&self->writer);
}

toon_err toon_checkpoint(const toon_dir *dir, const toon_volume *volume,
                         const toon_point *point, const toon_pause *pause) {
    struct checkpoint self = {
        .volume = volume, .point = point, .pause = pause, .counting = true};
    toon_err err = begin(&self, dir);
    if (err == TOON_OK)
        err = look_at_window(&self, self.window_end);
    self.counting = false;
    if (err == TOON_OK)
        err = write_index(&self, dir);
    toon_index_free(&self.before);
    free(self.live);
    free(self.slots);
    return err;
}
