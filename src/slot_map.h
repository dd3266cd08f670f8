/*
 * slot_map.h - 64-bit hash to 64-bit payload, read without locks.
 *
 * An open-addressing table of 16-byte slots in shards. Slots stand in the
 * order of their hashes as far as linear probing allows: a slot's home is its
 * hash scaled to the number of homes, so growing reads no keys, a table can
 * have any size, and a scan's cursor is a hash. From a few thousand slots on,
 * one takes 19 to 29 bytes. Each shard has a sequence lock (C11 atomics: copy, then validate), so
 * readers never wait; writers are the caller's to serialise, shard by shard
 * or as a whole. Old tables go through epoch.h, and readers must be inside
 * toon_epoch_enter().
 *
 * Several slots may have the same hash (keys that collide): they differ in
 * their payload. Payload 0 means empty and cannot be stored.
 *
 * Knows numbers; must never know keys, values, disk.
 */
#ifndef TOON_SLOT_MAP_H
#define TOON_SLOT_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLOT_MAP_SAME_HASH_MAX 8 /* slots of one hash */

typedef struct toon_slot {
    uint64_t hash;
    uint64_t payload;
} toon_slot;

typedef struct toon_slot_map toon_slot_map;

/* `shards`: a power of two, 1 to 1024. `expected` slots get room at once.
 * NULL if memory runs out. */
toon_slot_map *toon_slot_map_new(unsigned shards, uint64_t expected);

/* Frees at once: no reader may be left. */
void toon_slot_map_free(toon_slot_map *map);

/* Which shard a hash belongs to. */
unsigned toon_slot_map_shard(const toon_slot_map *map, uint64_t hash);

/* Any thread, in an epoch. Fills `payloads` with those of `hash` and returns
 * how many there are. */
size_t toon_slot_map_get(const toon_slot_map *map, uint64_t hash,
                         uint64_t payloads[SLOT_MAP_SAME_HASH_MAX]);

/* Asks the processor to load the slot's cache line. */
void toon_slot_map_prefetch(const toon_slot_map *map, uint64_t hash);

/* Writer. False if memory ran out or SAME_HASH_MAX is reached: nothing has
 * changed. */
bool toon_slot_map_add(toon_slot_map *map, uint64_t hash, uint64_t payload);

/* Writer: makes sure that the next `count` adds to the shard of `hash`, of any
 * hashes, cannot fail for want of memory. False: no memory. */
bool toon_slot_map_reserve(toon_slot_map *map, uint64_t hash, size_t count);

/* Writer. Replaces old_payload by payload in place; never fails if it is
 * there, false if it is not. */
bool toon_slot_map_replace(toon_slot_map *map, uint64_t hash,
                           uint64_t old_payload, uint64_t payload);

/* Writer. By shifting back, no tombstones. False if it was not there. */
bool toon_slot_map_remove(toon_slot_map *map, uint64_t hash, uint64_t payload);

uint64_t toon_slot_map_count(const toon_slot_map *map);
size_t toon_slot_map_bytes(const toon_slot_map *map); /* memory */

/*
 * Any thread, in an epoch. Copies slots in about hash order, starting at
 * *cursor (0: the beginning), until at least `want` were copied or `capacity`
 * would not hold the next home's; moves *cursor to where the next call goes
 * on, 0 at the end. Slots that are there throughout come exactly once,
 * whatever is added, removed, or grown between calls. `capacity` must be at
 * least 4096. Returns how many were copied.
 */
size_t toon_slot_map_scan(const toon_slot_map *map, uint64_t *cursor,
                          size_t want, toon_slot *out, size_t capacity);

/* Every slot reachable from its home, counts right, in order. For tests and
 * debug builds. */
bool toon_slot_map_check(const toon_slot_map *map);

#endif
