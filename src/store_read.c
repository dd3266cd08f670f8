/*
 * store_read.c - what a read is: cache, else log; a copy or a pin.
 *
 * Knows cache and volume; must never know the order of a commit.
 */
#include "epoch.h"
#include "error.h"
#include "key_hash.h"
#include "store_internal.h"

#include <stdlib.h>

static toon_err not_found(toon_store *store) {
    (void)atomic_fetch_add_explicit(&store->log_misses, 1,
                                    memory_order_relaxed);
    return TOON_NOT_FOUND;
}

/* ------------------------------------------------------ from log to value */

static bool is_whole(const toon_record *record) {
    return record->type == RECORD_STRING || record->type == RECORD_BASE64;
}

/* The usual case: one record holds all of it. */
toon_err toon_blob_of_whole(const toon_log *log, uint64_t offset,
                            const toon_record *record, toon_slice key,
                            uint64_t hash, toon_blob **out) {
    size_t size;
    if (!is_whole(record) || !toon_record_value_size(record, &size))
        return toon_line_damaged(log, offset);
    toon_blob *blob = toon_blob_new(key, hash, size);
    if (blob == NULL)
        return toon_fail_memory();
    if (!toon_record_value(record, toon_blob_data(blob))) {
        toon_blob_release(blob);
        return toon_line_damaged(log, offset);
    }
    *out = blob;
    return TOON_OK;
}

static toon_err blob_of_pieces(const toon_volume *volume, const toon_hit *hit,
                               toon_slice key, uint64_t hash, bool gathered,
                               toon_blob **out) {
    toon_pieces pieces;
    toon_err err = toon_volume_pieces(volume, hit, gathered, &pieces);
    if (err != TOON_OK)
        return err;
    toon_blob *blob = toon_blob_new(key, hash, pieces.size);
    if (blob == NULL)
        err = toon_fail_memory();
    else
        err = toon_pieces_copy(volume, pieces.items, pieces.count,
                               toon_blob_data(blob));
    toon_pieces_free(&pieces);
    if (err == TOON_OK)
        *out = blob;
    else
        toon_blob_release(blob);
    return err;
}

toon_err toon_blob_of_hit(const toon_volume *volume, const toon_hit *hit,
                          toon_slice key, uint64_t hash, bool gathered,
                          toon_blob **out) {
    toon_err err;
    if (hit->damaged)
        return toon_volume_damaged(volume, toon_payload_offset(hit->payload));
    if (is_whole(&hit->record))
        err = toon_blob_of_whole(volume->log, toon_payload_offset(hit->payload),
                                 &hit->record, key, hash, out);
    else
        err = blob_of_pieces(volume, hit, key, hash, gathered, out);
    if (err == TOON_OK) {
        (*out)->place = hit->payload;
        (*out)->meta = toon_hit_meta(volume, hit);
    }
    return err;
}

/* ------------------------------------------------ lookups, twice if need be */

/*
 * First without a lock. Under the writer lock again, against the volume that
 * is current there, if something needed is still in the gather buffer
 * (TOON_CONFLICT), or if changes were undone meanwhile: then another record
 * may have come to stand where the table pointed.
 */
static toon_err find_locked(toon_store *store, toon_slice key, uint64_t hash,
                            toon_look look, toon_use_hit_fn *use, void *arg) {
    toon_hit hit;
    toon_lock_gathered(store);
    const toon_volume *volume = atomic_load(&store->volume);
    toon_err err = toon_volume_find(volume, key, hash, look, true, &hit);
    if (err == TOON_OK) {
        err = use(arg, volume, &hit, true);
        toon_hit_free(&hit);
    }
    toon_unlock_gathered(store);
    return err;
}

/* Also what was found damaged or absent may only have been taken back. */
toon_err toon_confirm_read(const toon_volume *volume, toon_err err) {
    if (volume->log->held_end == 0)
        return err;
    toon_err held = toon_log_check_held(volume->log);
    return held == TOON_OK ? err : held;
}

toon_err toon_with_hit(toon_store *store, toon_slice key, uint64_t hash,
                       toon_look look, toon_use_hit_fn *use, void *arg) {
    toon_hit hit;
    const toon_volume *volume = atomic_load(&store->volume);
    uint64_t generation = atomic_load(&volume->generation);
    toon_err err = toon_volume_find(volume, key, hash, look, false, &hit);
    if (err == TOON_OK) {
        bool found = hit.payload != 0 && !hit.damaged;
        if (found || atomic_load(&volume->generation) == generation)
            err = use(arg, volume, &hit, false);
        else
            err = TOON_CONFLICT;
        toon_hit_free(&hit);
    }
    if (err == TOON_CORRUPT && atomic_load(&volume->generation) != generation)
        err = TOON_CONFLICT;
    if (err == TOON_CONFLICT)
        err = find_locked(store, key, hash, look, use, arg);
    return toon_confirm_read(volume, err);
}

/* What the table says now of all keys with this hash. */
static toon_err each_of_hash_locked(toon_store *store, uint64_t hash,
                                    toon_use_hit_fn *use, void *arg) {
    uint64_t payloads[SLOT_MAP_SAME_HASH_MAX];
    toon_err err = TOON_OK;
    const toon_volume *volume = atomic_load(&store->volume);
    size_t count = toon_slot_map_get(volume->table, hash, payloads);
    for (size_t i = 0; err == TOON_OK && i < count; i++) {
        toon_hit hit;
        err = toon_volume_load(volume, payloads[i], TOON_LOOK_META, true, &hit);
        if (err == TOON_OK) {
            toon_volume_check_key(volume, hash, &hit);
            err = use(arg, volume, &hit, true);
        }
        toon_hit_free(&hit);
    }
    return err;
}

toon_err toon_with_slot(toon_store *store, const toon_volume *volume,
                        uint64_t generation, toon_slot slot,
                        toon_use_hit_fn *use, void *arg) {
    toon_hit hit;
    toon_err err =
        toon_volume_load(volume, slot.payload, TOON_LOOK_META, false, &hit);
    if (atomic_load(&volume->generation) != generation)
        err = TOON_CONFLICT;
    if (err == TOON_OK) {
        toon_volume_check_key(volume, slot.hash, &hit);
        err = use(arg, volume, &hit, false);
    }
    toon_hit_free(&hit);
    if (err != TOON_CONFLICT)
        return toon_confirm_read(volume, err);
    toon_lock_gathered(store);
    err = each_of_hash_locked(store, slot.hash, use, arg);
    toon_unlock_gathered(store);
    return err;
}

struct load {
    toon_slice key;
    uint64_t hash;
    toon_blob *blob;
};

static toon_err load_value(void *arg, const toon_volume *volume,
                           const toon_hit *hit, bool gathered) {
    struct load *load = arg;
    if (hit->payload == 0)
        return TOON_NOT_FOUND;
    if (!hit->damaged && toon_has_expired(hit->record.expires_ms))
        return TOON_NOT_FOUND;
    return toon_blob_of_hit(volume, hit, load->key, load->hash, gathered,
                            &load->blob);
}

/* For toon_cache_fill: is this still what the table points at? */
static bool is_current(void *arg, const toon_blob *blob) {
    toon_store *store = arg;
    uint64_t payloads[SLOT_MAP_SAME_HASH_MAX];
    const toon_volume *volume = atomic_load(&store->volume);
    if (toon_volume_version(volume, blob->place) != blob->meta.version)
        return false;
    size_t count = toon_slot_map_get(volume->table, blob->hash, payloads);
    for (size_t i = 0; i < count; i++) {
        if (payloads[i] == blob->place)
            return true;
    }
    return false;
}

static toon_err load_missed(toon_store *store, toon_slice key, uint64_t hash,
                            toon_blob **out) {
    struct load load = {.key = key, .hash = hash};
    toon_err err =
        toon_with_hit(store, key, hash, TOON_LOOK_WHOLE, load_value, &load);
    if (err == TOON_NOT_FOUND)
        return not_found(store);
    if (err != TOON_OK) {
        toon_blob_release(load.blob);
        return err;
    }
    (void)atomic_fetch_add_explicit(&store->log_hits, 1, memory_order_relaxed);
    if (store->cache != NULL)
        toon_cache_fill(store->cache, load.blob, is_current, store);
    *out = load.blob;
    return TOON_OK;
}

/* Versions of a generation that has gone (an undo, a compaction) are not the
 * table's any more, though what stands in the cache may be. */
toon_blob *toon_cached(const toon_store *store, toon_slice key, uint64_t hash,
                       bool counted) {
    if (store->cache == NULL)
        return NULL;
    toon_blob *blob = counted ? toon_cache_get(store->cache, hash, key)
                              : toon_cache_peek(store->cache, hash, key);
    const toon_volume *volume = atomic_load(&store->volume);
    if (blob == NULL || toon_version_generation(blob->meta.version) !=
                            atomic_load(&volume->generation))
        return NULL;
    return blob;
}

toon_err toon_load_blob(toon_store *store, toon_slice key, uint64_t hash,
                        toon_blob **out) {
    toon_blob *blob = toon_cached(store, key, hash, true);
    if (blob != NULL && toon_has_expired(blob->meta.expires_ms))
        return not_found(store);
    if (blob != NULL && toon_blob_try_share(blob)) {
        *out = blob;
        return TOON_OK;
    }
    return load_missed(store, key, hash, out);
}

/* ------------------------------------------------------------ public reads */

void toon_value_of_blob(toon_blob *blob, toon_value *out) {
    out->data = toon_blob_data(blob);
    out->size = blob->size;
    out->meta = blob->meta;
    out->pin = blob;
}

toon_err toon_get(toon_store *store, toon_slice key, toon_value *out) {
    toon_blob *blob;
    uint64_t hash = toon_key_hash(key, store->seed);
    if (!toon_epoch_enter())
        return toon_fail_memory();
    toon_err err = toon_load_blob(store, key, hash, &blob);
    toon_epoch_leave();
    if (err == TOON_OK)
        toon_value_of_blob(blob, out);
    return err;
}

void toon_value_release(toon_value *value) {
    toon_blob_release(value->pin);
    *value = (toon_value){0};
}

void toon_value_share(const toon_value *value, toon_value *out) {
    *out = *value;
    if (value->pin != NULL)
        (void)toon_blob_share(value->pin);
}

static void copy_out(toon_blob *blob, void *buffer, size_t capacity,
                     size_t *size) {
    size_t count = blob->size < capacity ? blob->size : capacity;
    if (count > 0)
        memcpy(buffer, toon_blob_data(blob), count);
    *size = blob->size;
}

toon_err toon_read(toon_store *store, toon_slice key, void *buffer,
                   size_t capacity, size_t *size) {
    uint64_t hash = toon_key_hash(key, store->seed);
    toon_err err = TOON_OK;
    if (!toon_epoch_enter())
        return toon_fail_memory();
    /* A hit needs no pin: the epoch keeps the blob for the copy. */
    toon_blob *blob = toon_cached(store, key, hash, true);
    if (blob != NULL && toon_has_expired(blob->meta.expires_ms)) {
        err = not_found(store);
    } else if (blob != NULL) {
        copy_out(blob, buffer, capacity, size);
    } else {
        err = load_missed(store, key, hash, &blob);
        if (err == TOON_OK) {
            copy_out(blob, buffer, capacity, size);
            toon_blob_release(blob);
        }
    }
    toon_epoch_leave();
    return err;
}

/* -------------------------------------------------------------------- stat */

static toon_err stat_hit(void *arg, const toon_volume *volume,
                         const toon_hit *hit, bool gathered) {
    toon_key_stat *stat = arg;
    if (hit->damaged)
        return toon_volume_damaged(volume, toon_payload_offset(hit->payload));
    if (hit->payload == 0 || toon_has_expired(hit->record.expires_ms))
        return TOON_NOT_FOUND;
    toon_fact fact;
    toon_err err = toon_volume_measure(volume, hit, gathered, &fact);
    stat->meta = toon_hit_meta(volume, hit);
    stat->size = fact.value_size;
    return err;
}

toon_err toon_stat_key(toon_store *store, toon_slice key, toon_key_stat *out) {
    uint64_t hash = toon_key_hash(key, store->seed);
    toon_key_stat stat = {0};
    toon_err err = TOON_OK;
    if (!toon_epoch_enter())
        return toon_fail_memory();
    const toon_blob *blob = toon_cached(store, key, hash, false);
    if (blob != NULL && toon_has_expired(blob->meta.expires_ms))
        err = TOON_NOT_FOUND;
    else if (blob != NULL)
        stat = (toon_key_stat){blob->size, blob->meta};
    else
        err = toon_with_hit(store, key, hash, TOON_LOOK_META, stat_hit, &stat);
    toon_epoch_leave();
    if (err == TOON_OK)
        *out = stat;
    return err;
}

/* ---------------------------------------------------------------- versions */

uint64_t toon_version_base(toon_store *store) {
    /* The look before this may have read the volume without an order. */
    atomic_thread_fence(memory_order_acquire);
    return atomic_load(&store->version_base);
}
