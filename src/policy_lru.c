/*
 * policy_lru.c - the blob that was used least recently goes first.
 *
 * Knows one list of blobs; must never know tables, budgets, locks.
 */
#include "cache_policy.h"

#include <stdlib.h>

static void *lru_make(size_t entries_max, size_t bytes_max) {
    (void)entries_max;
    (void)bytes_max;
    return calloc(1, sizeof(toon_blob_list));
}

static void lru_insert(void *policy, toon_blob *blob,
                       const toon_blob *replaced) {
    (void)replaced;
    toon_blob_list_push(policy, blob);
}

static void lru_remove(void *policy, toon_blob *blob) {
    toon_blob_list_remove(policy, blob);
}

static void lru_hit(void *policy, toon_blob *blob) {
    toon_blob_list_remove(policy, blob);
    toon_blob_list_push(policy, blob);
}

static toon_blob *lru_evict(void *policy) {
    toon_blob_list *list = policy;
    toon_blob *blob = list->oldest;
    if (blob != NULL) {
        toon_blob_list_remove(list, blob);
    }
    return blob;
}

static const toon_blob_list *lru_list(const void *policy, unsigned index) {
    return index == 0 ? policy : NULL;
}

const toon_policy toon_policy_lru = {
    .make = lru_make,
    .free = free,
    .insert = lru_insert,
    .hit = lru_hit,
    .remove = lru_remove,
    .evict = lru_evict,
    .list = lru_list,
    .hit_needs_lock = true,
};
