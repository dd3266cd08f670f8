/*
 * cache.h - recent values in memory: two budgets, an eviction policy, pins.
 *
 * Knows values, budgets, eviction; must never know where misses are read.
 *
 * A value is a `toon_blob`, counted by references: the cache holds one, every
 * pin another; what the cache drops stays readable for those who have it
 * pinned. Hits take no lock (slot_map.h, epochs) but for the LRU policy,
 * which has a list to keep.
 */
#ifndef TOON_CACHE_H
#define TOON_CACHE_H

#include "bytes.h"

#include <stdalign.h>
#include <stdatomic.h>

/* One version of one key's value. Never changes once it is shared. */
typedef struct toon_blob {
    atomic_uint refs;
    unsigned key_size; /* <= TOON_KEY_SIZE_LIMIT */
    uint64_t hash;
    uint64_t place; /* where the store keeps this version: its own number */
    toon_meta meta;
    size_t size; /* of the value */

    /* The cache's own (cache_policy.h). */
    _Atomic(void *) owner; /* whose lists it is in; NULL: none */
    struct toon_blob *newer, *older;
    atomic_uchar heat;   /* hits, up to a few */
    unsigned char queue; /* which list */

    alignas(8) char bytes[]; /* the value, NUL, the key */
} toon_blob;

/* With one reference. The value's bytes are the caller's to fill (the NUL is
 * set). NULL: no memory, or the sizes overflow. */
toon_blob *toon_blob_new(toon_slice key, uint64_t hash, size_t value_size);
toon_blob *toon_blob_share(toon_blob *blob);
void toon_blob_release(toon_blob *blob); /* NULL is allowed */

static inline toon_slice toon_blob_key(const toon_blob *blob) {
    return toon_bytes(blob->bytes, blob->key_size);
}

static inline char *toon_blob_data(toon_blob *blob) {
    return blob->bytes + blob->key_size;
}

/* Memory that it takes in a cache, with the allocator's share and its slot:
 * what counts against the bytes budget. */
size_t toon_blob_bytes(const toon_blob *blob);

typedef struct toon_cache toon_cache;

typedef struct toon_cache_stats {
    uint64_t hits, misses, insertions, evictions;
    uint64_t entries, bytes;
} toon_cache_stats;

/* Budgets bind together, whichever is reached first; entries_max 0: only the
 * bytes. Small caches (under 4,096 entries or 4 MiB) have one shard and evict
 * in the policy's exact order. TOON_CACHE_NONE is not for here: the store
 * then has no cache. NULL: no memory. */
toon_cache *toon_cache_new(toon_cache_policy policy, size_t entries_max,
                           size_t bytes_max);

/* No reader may be left. Pins stay valid. */
void toon_cache_free(toon_cache *cache);

/*
 * Any thread, inside toon_epoch_enter(). The blob of this key, or NULL; it is
 * readable until the epoch is left, and toon_blob_try_share() pins it for
 * longer. Counts a hit or a miss and tells the policy.
 */
toon_blob *toon_cache_get(toon_cache *cache, uint64_t hash, toon_slice key);

/* The same without counting and without telling the policy. */
toon_blob *toon_cache_peek(toon_cache *cache, uint64_t hash, toon_slice key);

/* Pins what toon_cache_get() found; false if its last reference has gone
 * meanwhile (then treat it as a miss). */
bool toon_blob_try_share(toon_blob *blob);

/*
 * Takes a reference of its own. Replaces what is there for the key; evicts
 * until the budgets hold. A blob larger than the shard's bytes budget is not
 * kept, and what was there goes. No memory: the same; never an error. The
 * same for a blob that another cache has: it can be in one at a time.
 */
void toon_cache_put(toon_cache *cache, toon_blob *blob);

/*
 * A read that missed: puts the blob only if `still(arg)` says, under the
 * shard's lock, that it is still the key's current version, and if nothing is
 * there for the key of which it says the same. So a slow reader never brings an old version back:
 * writers change the key table first and the cache second.
 */
void toon_cache_fill(toon_cache *cache, toon_blob *blob,
                     bool (*still)(void *arg, const toon_blob *blob),
                     void *arg);

void toon_cache_drop(toon_cache *cache, uint64_t hash, toon_slice key);
void toon_cache_clear(toon_cache *cache);

/* Sums over shards; counters since the cache was made. */
void toon_cache_stat(const toon_cache *cache, toon_cache_stats *out);

/* Lists, table and budgets agree. For tests and debug builds. */
bool toon_cache_check(toon_cache *cache);

#endif
