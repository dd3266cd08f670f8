/*
 * cache.c - blobs, the table that finds them, and the budgets.
 *
 * Knows blobs, shards, budgets and locks; must never know in what order a
 * policy evicts, nor where misses are read.
 *
 * A shard of the cache is a shard of the slot map: its mutex serialises the
 * writers of that shard and guards its policy. The map's payloads are blobs;
 * the cache's reference on a blob goes through epoch.h, so a reader inside an
 * epoch may read whatever blob it found there.
 *
 * A blob's `owner` is the shard whose lists it is in; &leaving from the time
 * it left the lists until nothing links through it any more; else NULL.
 */
#include "cache.h"

#include "cache_policy.h"
#include "epoch.h"
#include "slot_map.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

enum {
    CACHE_LINE_BYTES = 64,
    SHARDS_MAX = 64,
    TALLIES = 64, /* the last one is shared by all further threads */
    SHARD_ENTRIES_MIN = 4096,
    SHARD_BYTES_MIN = 4 << 20,
    SLOT_SHARE_BYTES = 32, /* of the table's memory, on average */
    ALLOCATOR_BYTES = 16,  /* its unit, and more than its header */
};

typedef struct cache_shard {
    alignas(CACHE_LINE_BYTES) pthread_mutex_t lock;
    void *policy;
    size_t entries_max, bytes_max;
    size_t entries, bytes;
    uint64_t insertions, evictions;
} cache_shard;

/* A thread's own counters: no line of memory is written by two. */
typedef struct tally {
    alignas(CACHE_LINE_BYTES) _Atomic uint64_t hits;
    _Atomic uint64_t misses;
} tally;

struct toon_cache {
    const toon_policy *policy;
    toon_slot_map *map;
    cache_shard *shards;
    tally *tallies;
    unsigned shard_count;
};

static char leaving;

/* ------------------------------------------------------------------- blobs */

toon_blob *toon_blob_new(toon_slice key, uint64_t hash, size_t value_size) {
    size_t rest = offsetof(toon_blob, bytes) + 1 + key.size;
    if (key.size > TOON_KEY_SIZE_LIMIT || value_size > SIZE_MAX / 2 - rest) {
        return NULL;
    }
    toon_blob *blob = malloc(rest + value_size);
    if (blob == NULL) {
        return NULL;
    }
    memset(blob, 0, offsetof(toon_blob, bytes));
    atomic_init(&blob->refs, 1);
    blob->key_size = (unsigned)key.size;
    blob->hash = hash;
    blob->size = value_size;
    blob->bytes[key.size + value_size] = '\0';
    if (key.size > 0) {
        memcpy(blob->bytes, key.data, key.size);
    }
    return blob;
}

toon_blob *toon_blob_share(toon_blob *blob) {
    atomic_fetch_add_explicit(&blob->refs, 1, memory_order_relaxed);
    return blob;
}

bool toon_blob_try_share(toon_blob *blob) {
    unsigned refs = atomic_load_explicit(&blob->refs, memory_order_relaxed);
    while (refs > 0) {
        if (atomic_compare_exchange_weak_explicit(&blob->refs, &refs, refs + 1,
                                                  memory_order_relaxed,
                                                  memory_order_relaxed)) {
            return true;
        }
    }
    return false;
}

void toon_blob_release(toon_blob *blob) {
    if (blob != NULL &&
        atomic_fetch_sub_explicit(&blob->refs, 1, memory_order_acq_rel) == 1) {
        free(blob);
    }
}

size_t toon_blob_bytes(const toon_blob *blob) {
    size_t bytes = offsetof(toon_blob, bytes) + blob->size + 1 + blob->key_size;
    return (bytes / ALLOCATOR_BYTES + 2) * ALLOCATOR_BYTES + SLOT_SHARE_BYTES;
}

/* --------------------------------------------------------- making, freeing */

static unsigned shard_count_for(size_t entries_max, size_t bytes_max) {
    size_t count = 1;
    while (count < SHARDS_MAX && entries_max / SHARD_ENTRIES_MIN >= count * 2 &&
           bytes_max / SHARD_BYTES_MIN >= count * 2) {
        count *= 2;
    }
    return (unsigned)count;
}

/* Shard i's part of a budget; the parts add up to the whole. */
static size_t part_of(size_t budget, unsigned count, unsigned i) {
    return budget / count + (i < budget % count);
}

static bool init_shard(const toon_policy *policy, cache_shard *shard) {
    shard->policy = policy->make(shard->entries_max, shard->bytes_max);
    if (shard->policy == NULL) {
        return false;
    }
    if (pthread_mutex_init(&shard->lock, NULL) != 0) {
        policy->free(shard->policy);
        shard->policy = NULL;
        return false;
    }
    return true;
}

static void *zeroed_lines(size_t bytes) {
    void *memory = aligned_alloc(CACHE_LINE_BYTES, bytes);
    if (memory != NULL) {
        memset(memory, 0, bytes);
    }
    return memory;
}

static bool init_cache(toon_cache *cache, size_t entries_max,
                       size_t bytes_max) {
    unsigned count = shard_count_for(entries_max, bytes_max);
    cache->map = toon_slot_map_new(count, 0);
    cache->tallies = zeroed_lines(TALLIES * sizeof(tally));
    cache->shards = zeroed_lines(count * sizeof(cache_shard));
    if (cache->map == NULL || cache->tallies == NULL || cache->shards == NULL) {
        return false;
    }
    for (unsigned i = 0; i < count; i++) {
        cache_shard *shard = &cache->shards[i];
        shard->entries_max = part_of(entries_max, count, i);
        shard->bytes_max = part_of(bytes_max, count, i);
        if (!init_shard(cache->policy, shard)) {
            return false;
        }
        cache->shard_count = i + 1;
    }
    return true;
}

toon_cache *toon_cache_new(toon_cache_policy policy, size_t entries_max,
                           size_t bytes_max) {
    assert(policy != TOON_CACHE_NONE);
    toon_cache *cache = calloc(1, sizeof *cache);
    if (cache == NULL) {
        return NULL;
    }
    cache->policy =
        policy == TOON_CACHE_LRU ? &toon_policy_lru : &toon_policy_s3fifo;
    if (!init_cache(cache, entries_max > 0 ? entries_max : SIZE_MAX,
                    bytes_max)) {
        toon_cache_free(cache);
        return NULL;
    }
    return cache;
}

/* ----------------------------------------------------------------- reading */

static cache_shard *shard_of(toon_cache *cache, uint64_t hash) {
    return &cache->shards[toon_slot_map_shard(cache->map, hash)];
}

static uint64_t payload_of(toon_blob *blob) {
    return (uint64_t)(uintptr_t)blob;
}

static toon_blob *blob_of(uint64_t payload) {
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): payloads are numbers */
    return (toon_blob *)(uintptr_t)payload;
}

toon_blob *toon_cache_peek(toon_cache *cache, uint64_t hash, toon_slice key) {
    uint64_t payloads[SLOT_MAP_SAME_HASH_MAX];
    size_t count = toon_slot_map_get(cache->map, hash, payloads);
    for (size_t i = 0; i < count; i++) {
        toon_blob *blob = blob_of(payloads[i]);
        if (toon_slice_equal(toon_blob_key(blob), key)) {
            return blob;
        }
    }
    return NULL;
}

static void count_read(toon_cache *cache, bool found) {
    unsigned thread = toon_epoch_thread();
    bool alone = thread < TALLIES - 1;
    tally *mine = &cache->tallies[alone ? thread : TALLIES - 1];
    _Atomic uint64_t *counter = found ? &mine->hits : &mine->misses;
    if (alone) {
        uint64_t before = atomic_load_explicit(counter, memory_order_relaxed);
        atomic_store_explicit(counter, before + 1, memory_order_relaxed);
        return;
    }
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static void tell_policy_locking(toon_cache *cache, toon_blob *blob) {
    cache_shard *shard = shard_of(cache, blob->hash);
    pthread_mutex_lock(&shard->lock);
    /* It may have left the lists since it was found. */
    if (atomic_load_explicit(&blob->owner, memory_order_relaxed) == shard) {
        cache->policy->hit(shard->policy, blob);
    }
    pthread_mutex_unlock(&shard->lock);
}

toon_blob *toon_cache_get(toon_cache *cache, uint64_t hash, toon_slice key) {
    toon_blob *blob = toon_cache_peek(cache, hash, key);
    count_read(cache, blob != NULL);
    if (blob == NULL) {
        return NULL;
    }
    if (cache->policy->hit_needs_lock) {
        tell_policy_locking(cache, blob);
    } else {
        cache->policy->hit(NULL, blob);
    }
    return blob;
}

/* ---------------------------------------------------------------- changing */

/* Blobs that have left, linked by `older`; given back without the lock. */
typedef struct leavers {
    toon_blob *first;
} leavers;

static void count_in_locked(cache_shard *shard, const toon_blob *blob) {
    shard->entries++;
    shard->bytes += toon_blob_bytes(blob);
}

static void count_out_locked(cache_shard *shard, const toon_blob *blob) {
    shard->entries--;
    shard->bytes -= toon_blob_bytes(blob);
}

static void leave_locked(toon_blob *blob, leavers *gone) {
    atomic_store_explicit(&blob->owner, &leaving, memory_order_relaxed);
    blob->older = gone->first;
    gone->first = blob;
}

static void evict_locked(toon_cache *cache, cache_shard *shard, leavers *gone) {
    toon_blob *blob = cache->policy->evict(shard->policy);
    assert(blob != NULL);
    toon_slot_map_remove(cache->map, blob->hash, payload_of(blob));
    count_out_locked(shard, blob);
    leave_locked(blob, gone);
    shard->evictions++;
}

static void remove_locked(toon_cache *cache, cache_shard *shard,
                          toon_blob *blob, leavers *gone) {
    toon_slot_map_remove(cache->map, blob->hash, payload_of(blob));
    cache->policy->remove(shard->policy, blob);
    count_out_locked(shard, blob);
    leave_locked(blob, gone);
}

static void release_retired(void *blob) {
    toon_blob_release(blob);
}

/* The next one that has left, which may be put into a cache again from now
 * on; NULL: none. */
static toon_blob *take_leaver(leavers *gone) {
    toon_blob *blob = gone->first;
    if (blob != NULL) {
        gone->first = blob->older;
        atomic_store_explicit(&blob->owner, NULL, memory_order_release);
    }
    return blob;
}

static void unlock_and_give_back(cache_shard *shard, leavers *gone) {
    pthread_mutex_unlock(&shard->lock);
    toon_blob *blob = take_leaver(gone);
    while (blob != NULL) {
        toon_epoch_retire_lazily(release_retired, blob, toon_blob_bytes(blob));
        blob = take_leaver(gone);
    }
}

/* False if the blob is in a cache already. */
static bool claim_locked(cache_shard *shard, toon_blob *blob) {
    void *nobody = NULL;
    return atomic_compare_exchange_strong_explicit(&blob->owner, &nobody, shard,
                                                   memory_order_acquire,
                                                   memory_order_relaxed);
}

/* False, and the blob unclaimed, without memory. */
static bool publish_locked(toon_cache *cache, toon_blob *blob, toon_blob *old) {
    toon_blob_share(blob);
    if (old != NULL) {
        return toon_slot_map_replace(cache->map, blob->hash, payload_of(old),
                                     payload_of(blob));
    }
    if (toon_slot_map_add(cache->map, blob->hash, payload_of(blob))) {
        return true;
    }
    atomic_store_explicit(&blob->owner, NULL, memory_order_release);
    toon_blob_release(blob);
    return false;
}

/*
 * Takes a claimed blob, no larger than the shard's budget, in the place of
 * `old`, which may be NULL. Readers find the old one until they find the new.
 */
static void insert_locked(toon_cache *cache, cache_shard *shard,
                          toon_blob *blob, toon_blob *old, leavers *gone) {
    if (old != NULL) {
        cache->policy->remove(shard->policy, old);
        count_out_locked(shard, old);
    }
    size_t most = shard->bytes_max - toon_blob_bytes(blob);
    while (shard->entries >= shard->entries_max || shard->bytes > most) {
        evict_locked(cache, shard, gone);
    }
    if (!publish_locked(cache, blob, old)) {
        return;
    }
    cache->policy->insert(shard->policy, blob, old);
    count_in_locked(shard, blob);
    shard->insertions++;
    if (old != NULL) {
        leave_locked(old, gone);
    }
}

void toon_cache_put(toon_cache *cache, toon_blob *blob) {
    cache_shard *shard = shard_of(cache, blob->hash);
    leavers gone = {NULL};
    pthread_mutex_lock(&shard->lock);
    toon_blob *old = toon_cache_peek(cache, blob->hash, toon_blob_key(blob));
    bool fits = toon_blob_bytes(blob) <= shard->bytes_max;
    if (fits && claim_locked(shard, blob)) {
        insert_locked(cache, shard, blob, old, &gone);
    } else if (old != NULL && old != blob) {
        remove_locked(cache, shard, old, &gone);
    }
    unlock_and_give_back(shard, &gone);
}

void toon_cache_fill(toon_cache *cache, toon_blob *blob,
                     bool (*still)(void *arg, const toon_blob *blob),
                     void *arg) {
    cache_shard *shard = shard_of(cache, blob->hash);
    if (toon_blob_bytes(blob) > shard->bytes_max) {
        return;
    }
    leavers gone = {NULL};
    pthread_mutex_lock(&shard->lock);
    toon_blob *old = toon_cache_peek(cache, blob->hash, toon_blob_key(blob));
    if ((old == NULL || !still(arg, old)) && still(arg, blob) &&
        claim_locked(shard, blob)) {
        insert_locked(cache, shard, blob, old, &gone);
    }
    unlock_and_give_back(shard, &gone);
}

void toon_cache_drop(toon_cache *cache, uint64_t hash, toon_slice key) {
    cache_shard *shard = shard_of(cache, hash);
    leavers gone = {NULL};
    pthread_mutex_lock(&shard->lock);
    toon_blob *blob = toon_cache_peek(cache, hash, key);
    if (blob != NULL) {
        remove_locked(cache, shard, blob, &gone);
    }
    unlock_and_give_back(shard, &gone);
}

static toon_blob *any_blob_locked(const toon_cache *cache,
                                  const cache_shard *shard) {
    const toon_blob_list *list = cache->policy->list(shard->policy, 0);
    for (unsigned i = 1; list != NULL; i++) {
        if (list->oldest != NULL) {
            return list->oldest;
        }
        list = cache->policy->list(shard->policy, i);
    }
    return NULL;
}

static void clear_locked(toon_cache *cache, cache_shard *shard, leavers *gone) {
    for (;;) {
        toon_blob *blob = any_blob_locked(cache, shard);
        if (blob == NULL) {
            return;
        }
        remove_locked(cache, shard, blob, gone);
    }
}

void toon_cache_clear(toon_cache *cache) {
    for (unsigned i = 0; i < cache->shard_count; i++) {
        cache_shard *shard = &cache->shards[i];
        leavers gone = {NULL};
        pthread_mutex_lock(&shard->lock);
        clear_locked(cache, shard, &gone);
        unlock_and_give_back(shard, &gone);
    }
}

static void free_shard(toon_cache *cache, cache_shard *shard) {
    leavers gone = {NULL};
    clear_locked(cache, shard, &gone);
    toon_blob *blob = take_leaver(&gone);
    while (blob != NULL) {
        toon_blob_release(blob);
        blob = take_leaver(&gone);
    }
    cache->policy->free(shard->policy);
    pthread_mutex_destroy(&shard->lock);
}

void toon_cache_free(toon_cache *cache) {
    if (cache == NULL) {
        return;
    }
    for (unsigned i = 0; i < cache->shard_count; i++) {
        free_shard(cache, &cache->shards[i]);
    }
    toon_slot_map_free(cache->map);
    free(cache->shards);
    free(cache->tallies);
    free(cache);
}

/* ------------------------------------------------------- figures, checking */

void toon_cache_stat(const toon_cache *cache, toon_cache_stats *out) {
    *out = (toon_cache_stats){0};
    for (unsigned i = 0; i < TALLIES; i++) {
        out->hits +=
            atomic_load_explicit(&cache->tallies[i].hits, memory_order_relaxed);
        out->misses += atomic_load_explicit(&cache->tallies[i].misses,
                                            memory_order_relaxed);
    }
    for (unsigned i = 0; i < cache->shard_count; i++) {
        cache_shard *shard = &cache->shards[i];
        pthread_mutex_lock(&shard->lock);
        out->insertions += shard->insertions;
        out->evictions += shard->evictions;
        out->entries += shard->entries;
        out->bytes += shard->bytes;
        pthread_mutex_unlock(&shard->lock);
    }
}

static bool check_list_locked(toon_cache *cache, cache_shard *shard,
                              const toon_blob_list *list) {
    size_t count = 0;
    size_t bytes = 0;
    const toon_blob *newer = NULL;
    for (toon_blob *blob = list->newest; blob != NULL; blob = blob->older) {
        if (blob->newer != newer || shard_of(cache, blob->hash) != shard ||
            atomic_load_explicit(&blob->owner, memory_order_relaxed) != shard ||
            toon_cache_peek(cache, blob->hash, toon_blob_key(blob)) != blob) {
            return false;
        }
        count++;
        bytes += toon_blob_bytes(blob);
        newer = blob;
    }
    return list->oldest == newer && list->count == count &&
           list->bytes == bytes;
}

static bool check_shard_locked(toon_cache *cache, cache_shard *shard) {
    size_t entries = 0;
    size_t bytes = 0;
    const toon_blob_list *list = cache->policy->list(shard->policy, 0);
    for (unsigned i = 1; list != NULL; i++) {
        if (!check_list_locked(cache, shard, list)) {
            return false;
        }
        entries += list->count;
        bytes += list->bytes;
        list = cache->policy->list(shard->policy, i);
    }
    return entries == shard->entries && entries <= shard->entries_max &&
           bytes == shard->bytes && bytes <= shard->bytes_max;
}

bool toon_cache_check(toon_cache *cache) {
    bool sound = true;
    uint64_t entries = 0;
    for (unsigned i = 0; i < cache->shard_count; i++) {
        pthread_mutex_lock(&cache->shards[i].lock);
    }
    for (unsigned i = 0; i < cache->shard_count; i++) {
        sound = sound && check_shard_locked(cache, &cache->shards[i]);
        entries += cache->shards[i].entries;
    }
    sound = sound && entries == toon_slot_map_count(cache->map) &&
            toon_slot_map_check(cache->map);
    for (unsigned i = 0; i < cache->shard_count; i++) {
        pthread_mutex_unlock(&cache->shards[i].lock);
    }
    return sound;
}
