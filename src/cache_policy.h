/*
 * cache_policy.h - what an eviction policy is: an order of blobs.
 *
 * A policy keeps the blobs of one shard of a cache in lists and says which
 * goes next. Everything is called under the shard's lock, but for `hit` where
 * hit_needs_lock is false; everything takes constant time (evict: amortised
 * over the hits, and bounded).
 *
 * Knows blobs; must never know the cache's table, budgets in force, or locks.
 */
#ifndef TOON_CACHE_POLICY_H
#define TOON_CACHE_POLICY_H

#include "cache.h"

/* Linked through the blobs. All zero is an empty list. */
typedef struct toon_blob_list {
    toon_blob *newest, *oldest;
    size_t count, bytes;
} toon_blob_list;

static inline void toon_blob_list_push(toon_blob_list *list, toon_blob *blob) {
    blob->newer = NULL;
    blob->older = list->newest;
    if (list->newest != NULL) {
        list->newest->newer = blob;
    } else {
        list->oldest = blob;
    }
    list->newest = blob;
    list->count++;
    list->bytes += toon_blob_bytes(blob);
}

static inline void toon_blob_list_remove(toon_blob_list *list,
                                         toon_blob *blob) {
    if (blob->newer != NULL) {
        blob->newer->older = blob->older;
    } else {
        list->newest = blob->older;
    }
    if (blob->older != NULL) {
        blob->older->newer = blob->newer;
    } else {
        list->oldest = blob->newer;
    }
    list->count--;
    list->bytes -= toon_blob_bytes(blob);
}

typedef struct toon_policy {
    /* Budgets of the shard, for proportions. NULL: no memory. */
    void *(*make)(size_t entries_max, size_t bytes_max);
    void (*free)(void *policy);

    /* `replaced`: the key's version before, just removed; NULL: none. */
    void (*insert)(void *policy, toon_blob *blob, const toon_blob *replaced);
    void (*hit)(void *policy, toon_blob *blob);
    void (*remove)(void *policy, toon_blob *blob);

    /* Takes the next one out of the lists. NULL: there is none. */
    toon_blob *(*evict)(void *policy);

    /* The lists, for clearing and checking; NULL after the last. */
    const toon_blob_list *(*list)(const void *policy, unsigned index);

    bool hit_needs_lock;
} toon_policy;

extern const toon_policy toon_policy_lru;
extern const toon_policy toon_policy_s3fifo;

#endif
