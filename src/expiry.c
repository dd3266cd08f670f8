/* expiry.c - the heap of expiry times. Must never know keys. */
#include "expiry.h"

#include <assert.h>
#include <stdlib.h>

void toon_expiry_free(toon_expiry *heap) {
    free(heap->entries);
    *heap = (toon_expiry){0};
}

/* By half, and back when most of it is empty: many keys may expire at once. */
static size_t wanted_capacity(const toon_expiry *heap, size_t needed) {
    enum { CAPACITY_MIN = 64, SHRINK_MIN = 4096 };

    if (heap->capacity >= SHRINK_MIN && needed <= heap->capacity / 4)
        return heap->capacity / 2;
    if (heap->capacity >= needed)
        return heap->capacity;
    size_t capacity = heap->capacity + heap->capacity / 2;
    if (capacity < CAPACITY_MIN)
        capacity = CAPACITY_MIN;
    return capacity > needed ? capacity : needed;
}

bool toon_expiry_reserve(toon_expiry *heap, size_t more) {
    size_t needed = heap->count + more;
    size_t capacity = wanted_capacity(heap, needed);
    if (capacity == heap->capacity)
        return true;
    toon_expiry_entry *entries =
        realloc(heap->entries, capacity * sizeof *entries);
    if (entries == NULL)
        return heap->capacity >= needed;
    heap->entries = entries;
    heap->capacity = capacity;
    return true;
}

/* Moves `entry` down from `at` to where neither child is earlier. */
static void sift_down(toon_expiry *heap, size_t at, toon_expiry_entry entry) {
    toon_expiry_entry *entries = heap->entries;
    for (;;) {
        size_t child = at * 2 + 1;
        if (child >= heap->count)
            break;
        if (child + 1 < heap->count &&
            entries[child + 1].expires_ms < entries[child].expires_ms)
            child++;
        if (entries[child].expires_ms >= entry.expires_ms)
            break;
        entries[at] = entries[child];
        at = child;
    }
    entries[at] = entry;
}

void toon_expiry_push(toon_expiry *heap, toon_expiry_entry entry) {
    assert(heap->count < heap->capacity);
    size_t at = heap->count++;
    while (at > 0) {
        size_t parent = (at - 1) / 2;
        if (heap->entries[parent].expires_ms <= entry.expires_ms)
            break;
        heap->entries[at] = heap->entries[parent];
        at = parent;
    }
    heap->entries[at] = entry;
}

const toon_expiry_entry *toon_expiry_peek(const toon_expiry *heap) {
    return heap->count > 0 ? &heap->entries[0] : NULL;
}

void toon_expiry_pop(toon_expiry *heap) {
    assert(heap->count > 0);
    heap->count--;
    if (heap->count > 0)
        sift_down(heap, 0, heap->entries[heap->count]);
}

void toon_expiry_filter(toon_expiry *heap,
                        bool (*keep)(void *arg, const toon_expiry_entry *),
                        void *arg) {
    size_t kept = 0;
    for (size_t i = 0; i < heap->count; i++) {
        if (keep(arg, &heap->entries[i]))
            heap->entries[kept++] = heap->entries[i];
    }
    heap->count = kept;
    for (size_t i = kept / 2; i-- > 0;)
        sift_down(heap, i, heap->entries[i]);
}

bool toon_expiry_check(const toon_expiry *heap) {
    for (size_t i = 1; i < heap->count; i++) {
        if (heap->entries[i].expires_ms < heap->entries[(i - 1) / 2].expires_ms)
            return false;
    }
    return true;
}
