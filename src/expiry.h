/*
 * expiry.h - which keys expire next: a binary heap of (time, hash, place).
 *
 * An entry whose key has moved on is stale and stays until it comes up or the
 * heap is rebuilt; whoever pops must look whether the place still holds a key
 * that is due. Knows times; must never know keys. The caller serialises.
 */
#ifndef TOON_EXPIRY_H
#define TOON_EXPIRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct toon_expiry_entry {
    int64_t expires_ms;
    uint64_t hash;
    uint64_t payload; /* of the key's slot */
} toon_expiry_entry;

typedef struct toon_expiry {
    toon_expiry_entry *entries; /* owned */
    size_t count;
    size_t capacity;
} toon_expiry;

void toon_expiry_free(toon_expiry *heap);

/* Room for `more` pushes; false if memory runs out. */
bool toon_expiry_reserve(toon_expiry *heap, size_t more);

/* Needs room. */
void toon_expiry_push(toon_expiry *heap, toon_expiry_entry entry);

/* The earliest, or NULL. */
const toon_expiry_entry *toon_expiry_peek(const toon_expiry *heap);
void toon_expiry_pop(toon_expiry *heap);

/* Keeps the entries that `keep` wants. */
void toon_expiry_filter(toon_expiry *heap,
                        bool (*keep)(void *arg, const toon_expiry_entry *),
                        void *arg);

/* No entry is earlier than its parent. */
bool toon_expiry_check(const toon_expiry *heap);

#endif
