/*
 * check_index.c - is what the index says what the log says?
 *
 * Knows the index file's content and the volume; must never know files.
 */
#include "check_index.h"

#include "error.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void __attribute__((format(printf, 2, 3)))
wrong(toon_index_audit *audit, const char *format, ...) {
    va_list args;
    va_start(args, format);
    if (audit->wrong++ == 0)
        (void)vsnprintf(audit->first, sizeof audit->first, format, args);
    va_end(args);
}

/* -------------------------------------------------------------------- rows */

void toon_index_audit_row(toon_index_audit *audit, uint64_t offset) {
    uint64_t row = audit->rows++;
    if (row >= audit->index->head.rows)
        return; /* the count will be found to be wrong */
    uint64_t said = toon_index_row(audit->index, row);
    if (said != 0 && said != offset)
        wrong(audit,
              "row %" PRIu64 " is said to be at %" PRIu64 " and is at %" PRIu64,
              row, said, offset);
}

struct offsets {
    uint64_t *items; /* owned */
    size_t count, capacity;
};

static bool push(struct offsets *list, uint64_t offset) {
    if (list->count == list->capacity) {
        size_t capacity = list->capacity * 2 + 1024;
        uint64_t *items = realloc(list->items, capacity * sizeof *items);
        if (items == NULL)
            return false;
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = offset;
    return true;
}

/* A live key's record and all that it builds on. */
static toon_err push_chain(const toon_volume *volume, uint64_t payload,
                           struct offsets *live) {
    uint64_t offset = toon_payload_offset(payload);
    while (offset != 0) {
        toon_hit hit;
        if (!push(live, offset))
            return toon_fail_memory();
        if (!toon_payload_builds_on(payload))
            return TOON_OK;
        toon_err err = toon_volume_load(volume, toon_payload_at(offset),
                                        TOON_LOOK_META, false, &hit);
        toon_hit_free(&hit);
        if (err != TOON_OK)
            return err;
        uint64_t ref = hit.damaged ? 0 : hit.record.ref;
        offset = ref < offset ? ref : 0;
    }
    return TOON_OK;
}

static int compare_offsets(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static bool has_offset(const struct offsets *sorted, uint64_t offset) {
    return sorted->count > 0 &&
           bsearch(&offset, sorted->items, sorted->count, sizeof *sorted->items,
                   compare_offsets) != NULL;
}

/* Rows that are not 0 are live; those of keys that the index has are not 0. */
static void compare_rows(toon_index_audit *audit, const struct offsets *live,
                         const struct offsets *known) {
    size_t next = 0;
    for (uint64_t row = 0; row < audit->index->head.rows; row++) {
        uint64_t offset = toon_index_row(audit->index, row);
        if (offset == 0)
            continue;
        if (!has_offset(live, offset))
            wrong(audit, "the row at %" PRIu64 " is dead and said to be live",
                  offset);
        for (; next < known->count && known->items[next] < offset; next++)
            wrong(audit, "the row at %" PRIu64 " is live and said to be dead",
                  known->items[next]);
        while (next < known->count && known->items[next] == offset)
            next++; /* several keys may build on it */
    }
    for (; next < known->count; next++)
        wrong(audit, "the row at %" PRIu64 " is live and said to be dead",
              known->items[next]);
}

/* ------------------------------------------------------------------- slots */

static bool has_slot(const toon_volume *volume, uint64_t hash, uint64_t stored,
                     bool *expires) {
    uint64_t payloads[SLOT_MAP_SAME_HASH_MAX];
    size_t count = toon_slot_map_get(volume->table, hash, payloads);
    for (size_t i = 0; i < count; i++) {
        *expires = toon_payload_expires(payloads[i]);
        if (toon_payload_to_index(payloads[i]) == stored)
            return true;
    }
    return false;
}

static void compare_slots(toon_index_audit *audit, const toon_volume *volume) {
    const toon_index *index = audit->index;
    bool expires;
    for (uint64_t i = 0; i < index->head.slots; i++) {
        toon_slot slot = toon_index_slot(index, i);
        if (slot.payload == 0) /* stands for nothing */
            continue;
        if (!has_slot(volume, slot.hash, slot.payload, &expires))
            wrong(audit,
                  "no live key has its record at %" PRIu64 ", as a slot says",
                  toon_payload_offset(
                      toon_payload_of_index(slot.payload, false)));
    }
}

static bool push_lacking(toon_index_audit *audit, toon_slot slot) {
    if (audit->lacking_count == audit->lacking_capacity) {
        size_t capacity = audit->lacking_capacity * 2 + 64;
        toon_slot *slots = realloc(audit->lacking, capacity * sizeof *slots);
        if (slots == NULL)
            return false;
        audit->lacking = slots;
        audit->lacking_capacity = capacity;
    }
    audit->lacking[audit->lacking_count++] = slot;
    return true;
}

static toon_slot_map *map_of_index(const toon_index *index) {
    toon_slot_map *map = toon_slot_map_new(1, index->head.slots);
    for (uint64_t i = 0; map != NULL && i < index->head.slots; i++) {
        toon_slot slot = toon_index_slot(index, i);
        if (slot.payload != 0 &&
            !toon_slot_map_add(map, slot.hash, slot.payload)) {
            toon_slot_map_free(map);
            return NULL;
        }
    }
    return map;
}

static toon_slot_map *map_of_expiries(const toon_index *index) {
    toon_slot_map *map = toon_slot_map_new(1, index->head.expiring);
    for (uint64_t i = 0; map != NULL && i < index->head.expiring; i++) {
        toon_expiry_entry entry = toon_index_expiry(index, i);
        if (entry.payload != 0 &&
            !toon_slot_map_add(map, entry.hash, entry.payload)) {
            toon_slot_map_free(map);
            return NULL;
        }
    }
    return map;
}

static bool map_has(const toon_slot_map *map, toon_slot slot) {
    uint64_t payloads[SLOT_MAP_SAME_HASH_MAX];
    size_t count = toon_slot_map_get(map, slot.hash, payloads);
    for (size_t i = 0; i < count; i++) {
        if (payloads[i] == toon_payload_to_index(slot.payload))
            return true;
    }
    return false;
}

typedef toon_err table_fn(void *arg, toon_slot slot);

static toon_err each_table_slot(const toon_volume *volume, table_fn *fn,
                                void *arg) {
    enum { CAPACITY = 8192, WANT = 2048 };

    toon_slot *slots = malloc(CAPACITY * sizeof *slots);
    uint64_t cursor = 0;
    toon_err err = slots != NULL ? TOON_OK : toon_fail_memory();
    while (err == TOON_OK) {
        size_t count =
            toon_slot_map_scan(volume->table, &cursor, WANT, slots, CAPACITY);
        for (size_t i = 0; err == TOON_OK && i < count; i++)
            err = fn(arg, slots[i]);
        if (cursor == 0)
            break;
    }
    free(slots);
    return err;
}

struct sorting {
    toon_index_audit *audit;
    const toon_volume *volume;
    const toon_slot_map *known; /* the index's slots */
    const toon_slot_map *timed; /* and its expiries */
    struct offsets live;        /* rows that are */
    struct offsets live_known;  /* those of keys that the index has */
};

static toon_err sort_slot(void *arg, toon_slot slot) {
    struct sorting *sorting = arg;
    toon_err err = push_chain(sorting->volume, slot.payload, &sorting->live);
    if (err != TOON_OK)
        return err;
    bool known = map_has(sorting->known, slot);
    if (known)
        err = push_chain(sorting->volume, slot.payload, &sorting->live_known);
    if (err != TOON_OK)
        return err;
    if (known &&
        (!toon_payload_expires(slot.payload) || map_has(sorting->timed, slot)))
        return TOON_OK;
    return push_lacking(sorting->audit, slot) ? TOON_OK : toon_fail_memory();
}

void toon_index_audit_tail(toon_index_audit *audit, const toon_volume *volume) {
    bool expires;
    for (size_t i = 0; i < audit->lacking_count; i++) {
        const toon_slot *slot = &audit->lacking[i];
        if (has_slot(volume, slot->hash, toon_payload_to_index(slot->payload),
                     &expires))
            wrong(audit,
                  "it lacks the key, or its expiry, whose record is at "
                  "%" PRIu64,
                  toon_payload_offset(slot->payload));
    }
}

void toon_index_audit_free(toon_index_audit *audit) {
    free(audit->lacking);
    *audit = (toon_index_audit){0};
}

/* ---------------------------------------------------------------- expiries */

static toon_err compare_expiry(toon_index_audit *audit,
                               const toon_volume *volume,
                               toon_expiry_entry entry) {
    bool expires = false;
    toon_hit hit;
    if (!has_slot(volume, entry.hash, entry.payload, &expires))
        return TOON_OK; /* left over from an earlier record: harmless */
    uint64_t payload = toon_payload_of_index(entry.payload, true);
    toon_err err =
        toon_volume_load(volume, toon_payload_at(toon_payload_offset(payload)),
                         TOON_LOOK_META, false, &hit);
    if (err != TOON_OK)
        return err;
    if (!expires || hit.damaged || hit.record.expires_ms != entry.expires_ms)
        wrong(audit, "the expiry of the key at %" PRIu64 " is another",
              toon_payload_offset(payload));
    toon_hit_free(&hit);
    return TOON_OK;
}

static toon_err compare_expiries(toon_index_audit *audit,
                                 const toon_volume *volume) {
    toon_err err = TOON_OK;
    for (uint64_t i = 0; err == TOON_OK && i < audit->index->head.expiring; i++)
        err = compare_expiry(audit, volume, toon_index_expiry(audit->index, i));
    return err;
}

/* --------------------------------------------------------------------- all */

static void sort_offsets(struct offsets *list) {
    if (list->count > 0)
        qsort(list->items, list->count, sizeof *list->items, compare_offsets);
}

static toon_err compare(struct sorting *sorting) {
    toon_index_audit *audit = sorting->audit;
    toon_err err = each_table_slot(sorting->volume, sort_slot, sorting);
    sort_offsets(&sorting->live);
    sort_offsets(&sorting->live_known);
    if (err == TOON_OK && audit->rows == audit->index->head.rows)
        compare_rows(audit, &sorting->live, &sorting->live_known);
    free(sorting->live.items);
    free(sorting->live_known.items);
    return err == TOON_OK ? compare_expiries(audit, sorting->volume) : err;
}

toon_err toon_index_audit_end(toon_index_audit *audit,
                              const toon_volume *volume) {
    if (audit->rows != audit->index->head.rows)
        wrong(audit, "it has %" PRIu64 " rows, the log has %" PRIu64,
              audit->index->head.rows, audit->rows);
    compare_slots(audit, volume);
    toon_slot_map *known = map_of_index(audit->index);
    toon_slot_map *timed = map_of_expiries(audit->index);
    struct sorting sorting = {
        .audit = audit, .volume = volume, .known = known, .timed = timed};
    toon_err err =
        known != NULL && timed != NULL ? compare(&sorting) : toon_fail_memory();
    toon_slot_map_free(known);
    toon_slot_map_free(timed);
    return err;
}
