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

/* The rows that are not 0 are the live ones, in their order. */
static void compare_rows(toon_index_audit *audit, const struct offsets *live) {
    size_t next = 0;
    for (uint64_t row = 0; row < audit->index->head.rows; row++) {
        uint64_t offset = toon_index_row(audit->index, row);
        while (next < live->count && offset != 0 &&
               live->items[next] < offset) {
            wrong(audit, "the row at %" PRIu64 " is live and said to be dead",
                  live->items[next]);
            next++;
        }
        if (offset == 0)
            continue;
        if (next < live->count && live->items[next] == offset)
            next++;
        else
            wrong(audit, "the row at %" PRIu64 " is dead and said to be live",
                  offset);
        while (next < live->count && live->items[next] == offset)
            next++; /* several keys may build on it */
    }
    for (; next < live->count; next++)
        wrong(audit, "the row at %" PRIu64 " is live and said to be dead",
              live->items[next]);
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
    uint64_t keys = toon_slot_map_count(volume->table);
    bool expires;
    for (uint64_t i = 0; i < index->head.slots; i++) {
        toon_slot slot = toon_index_slot(index, i);
        if (!has_slot(volume, slot.hash, slot.payload, &expires))
            wrong(audit,
                  "no live key has its record at %" PRIu64 ", as a slot says",
                  toon_payload_offset(
                      toon_payload_of_index(slot.payload, false)));
    }
    if (index->head.slots != keys)
        wrong(audit, "it has %" PRIu64 " keys, the log has %" PRIu64,
              index->head.slots, keys);
}

/* ---------------------------------------------------------------- expiries */

static toon_err compare_expiry(toon_index_audit *audit,
                               const toon_volume *volume,
                               toon_expiry_entry entry, uint64_t *right) {
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
    else
        ++*right;
    toon_hit_free(&hit);
    return TOON_OK;
}

static toon_err compare_expiries(toon_index_audit *audit,
                                 const toon_volume *volume) {
    uint64_t right = 0;
    toon_err err = TOON_OK;
    for (uint64_t i = 0; err == TOON_OK && i < audit->index->head.expiring; i++)
        err = compare_expiry(audit, volume, toon_index_expiry(audit->index, i),
                             &right);
    uint64_t expiring = atomic_load(&volume->expiring);
    if (err == TOON_OK && right != expiring && audit->wrong == 0)
        wrong(audit,
              "it has %" PRIu64 " keys that expire, the log has %" PRIu64,
              right, expiring);
    return err;
}

/* --------------------------------------------------------------------- all */

static toon_err collect_live(const toon_volume *volume, struct offsets *live) {
    enum { CAPACITY = 8192, WANT = 2048 };

    toon_slot *slots = malloc(CAPACITY * sizeof *slots);
    uint64_t cursor = 0;
    toon_err err = slots != NULL ? TOON_OK : toon_fail_memory();
    while (err == TOON_OK) {
        size_t count =
            toon_slot_map_scan(volume->table, &cursor, WANT, slots, CAPACITY);
        for (size_t i = 0; err == TOON_OK && i < count; i++)
            err = push_chain(volume, slots[i].payload, live);
        if (cursor == 0)
            break;
    }
    free(slots);
    if (err == TOON_OK && live->count > 0)
        qsort(live->items, live->count, sizeof *live->items, compare_offsets);
    return err;
}

toon_err toon_index_audit_end(toon_index_audit *audit,
                              const toon_volume *volume) {
    struct offsets live = {0};
    toon_err err = collect_live(volume, &live);
    if (audit->rows != audit->index->head.rows)
        wrong(audit, "it has %" PRIu64 " rows, the log has %" PRIu64,
              audit->index->head.rows, audit->rows);
    else if (err == TOON_OK)
        compare_rows(audit, &live);
    compare_slots(audit, volume);
    if (err == TOON_OK)
        err = compare_expiries(audit, volume);
    free(live.items);
    return err;
}
