/*
 * store_scan.c - going through many keys: in hash order by a cursor, in byte
 * order by the ordered index.
 *
 * Knows the table's cursors and the ordered index; must never know the order
 * of a commit. Callbacks run without locks and outside of epochs.
 */
#include "epoch.h"
#include "error.h"
#include "key_hash.h"
#include "store_internal.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    SCAN_CAPACITY = 4096, /* what toon_slot_map_scan asks for */
    COUNT_DEFAULT = 10,
#ifdef TOON_HOSTILE
    RANGE_KEYS_MAX = 1,
#else
    RANGE_KEYS_MAX = 512, /* copied under the lock at a time */
#endif
    RANGE_BYTES_MAX = 64 * 1024,
};

/* Keys that were looked at, each as a toon_key_stat, a u32 size, its bytes. */
struct found {
    toon_buf keys;
    bool with_stat;
    int64_t now_ms;
    uint64_t payload;
};

/* -------------------------------------------------------------- one key */

static toon_err keep_slot(void *arg, const toon_volume *volume,
                          const toon_hit *hit, bool gathered) {
    struct found *found = arg;
    toon_key_stat stat = {0};
    (void)gathered;
    if (hit->damaged || toon_is_expired(hit->record.expires_ms, found->now_ms))
        return TOON_OK;
    stat.meta = toon_hit_meta(volume, hit);
    size_t before = found->keys.size;
    char size[4] = {0};
    toon_buf_append(&found->keys, &stat, sizeof stat);
    toon_buf_append(&found->keys, size, sizeof size);
    size_t start = found->keys.size;
    if (!toon_record_key(&hit->record, &found->keys)) {
        found->keys.size = before;
        return found->keys.failed ? toon_fail_memory() : TOON_OK;
    }
    toon_put_u32(found->keys.data + start - sizeof size,
                 (uint32_t)(found->keys.size - start));
    return TOON_OK;
}

static toon_slice next_found(const toon_buf *keys, size_t *at,
                             toon_key_stat *stat) {
    memcpy(stat, keys->data + *at, sizeof *stat);
    *at += sizeof *stat;
    size_t size = toon_get_u32(keys->data + *at);
    *at += 4;
    toon_slice key = toon_bytes(keys->data + *at, size);
    *at += size;
    return key;
}

/* ----------------------------------------------------------- by a cursor */

static toon_err collect_slots(toon_store *store, uint64_t *cursor, size_t want,
                              toon_slot *slots, struct found *found) {
    toon_err err = TOON_OK;
    if (!toon_epoch_enter())
        return toon_fail_memory();
    const toon_volume *volume = atomic_load(&store->volume);
    uint64_t generation = atomic_load(&volume->generation);
    size_t count =
        toon_slot_map_scan(volume->table, cursor, want, slots, SCAN_CAPACITY);
    for (size_t i = 0; err == TOON_OK && i < count; i++) {
        err = toon_with_slot(store, volume, generation, slots[i], keep_slot,
                             found);
    }
    toon_epoch_leave();
    return err;
}

/* The size of a value costs reading it, so only for keys that matched. */
static toon_err visit(toon_store *store, toon_slice key,
                      const toon_scan_options *options, toon_key_fn *fn,
                      void *arg, bool *going) {
    toon_slice pattern = toon_bytes(options->match, options->match_size);
    toon_key_stat stat;
    if (options->match != NULL && !toon_glob_match(pattern, key))
        return TOON_OK;
    if (!options->with_stat) {
        *going = fn(arg, key, NULL);
        return TOON_OK;
    }
    toon_err err = toon_stat_key(store, key, &stat);
    if (err == TOON_OK)
        *going = fn(arg, key, &stat);
    /* Gone meanwhile, or damaged: passed over. */
    return err == TOON_NOT_FOUND || err == TOON_CORRUPT ? TOON_OK : err;
}

/* For visitors that pass over what they cannot read. */
static toon_err confirm_visit(toon_store *store, toon_err err) {
    if ((store->options.flags & TOON_OPEN_READ_ONLY) == 0)
        return err;
    return toon_confirm_read(atomic_load(&store->volume), err);
}

toon_err toon_scan(toon_store *store, uint64_t *cursor,
                   const toon_scan_options *options, toon_key_fn *fn,
                   void *arg) {
    static const toon_scan_options defaults = {0};
    if (options == NULL)
        options = &defaults;
    size_t count = options->count ? options->count : COUNT_DEFAULT;
    struct found found = {.now_ms = toon_now_ms()};
    toon_slot *slots = malloc(SCAN_CAPACITY * sizeof *slots);
    uint64_t next = *cursor;
    bool going = true;
    toon_err err = slots ? TOON_OK : toon_fail_memory();
    while (err == TOON_OK && going && count > 0) {
        size_t want = count < SCAN_CAPACITY / 4 ? count : SCAN_CAPACITY / 4;
        size_t at = 0;
        found.keys.size = 0;
        err = collect_slots(store, &next, want, slots, &found);
        while (err == TOON_OK && going && at < found.keys.size) {
            toon_key_stat stat;
            toon_slice key = next_found(&found.keys, &at, &stat);
            err = visit(store, key, options, fn, arg, &going);
        }
        if (err == TOON_OK && going)
            *cursor = next;
        if (next == 0)
            break;
        count -= want;
    }
    free(slots);
    toon_buf_free(&found.keys);
    return confirm_visit(store, err);
}

/* -------------------------------------------------------- the ordered index */

/* Without memory for a key the index is dropped, and built when it is wanted
 * again. */
void toon_order_insert_locked(toon_store *store, toon_slice key) {
    if (store->order == NULL ||
        toon_key_order_insert(store->order, key) == TOON_OK)
        return;
    toon_key_order_free(store->order);
    store->order = NULL;
}

void toon_order_remove_locked(toon_store *store, toon_slice key) {
    if (store->order != NULL)
        (void)toon_key_order_remove(store->order, key);
}

/* What no key can be read of is counted. */
static toon_err insert_hit(toon_key_order *order, const toon_hit *hit,
                           size_t *damaged) {
    toon_buf key = {0};
    toon_err err = TOON_OK;
    if (hit->damaged)
        ++*damaged;
    else if (toon_record_key(&hit->record, &key))
        err = toon_key_order_insert(order, toon_buf_slice(&key));
    else if (key.failed)
        err = toon_fail_memory();
    toon_buf_free(&key);
    return err;
}

static toon_err fill_order(toon_store *store, toon_key_order *order,
                           toon_slot *slots, size_t *damaged) {
    const toon_volume *volume = atomic_load(&store->volume);
    uint64_t cursor = 0;
    toon_err err = TOON_OK;
    do {
        size_t count = toon_slot_map_scan(
            volume->table, &cursor, SCAN_CAPACITY / 4, slots, SCAN_CAPACITY);
        for (size_t i = 0; err == TOON_OK && i < count; i++) {
            toon_hit hit;
            err = toon_volume_load(volume, slots[i].payload, TOON_LOOK_META,
                                   true, &hit);
            if (err == TOON_OK) {
                toon_volume_check_key(volume, slots[i].hash, &hit);
                err = insert_hit(order, &hit, damaged);
            }
            toon_hit_free(&hit);
        }
    } while (err == TOON_OK && cursor != 0);
    return toon_confirm_read(volume, err);
}

static void warn_of_damage(const toon_store *store, size_t damaged) {
    char text[300];
    (void)snprintf(text, sizeof text,
                   "%s: %zu key%s cannot be listed for damage in the log; tst "
                   "check names the places",
                   store->dir.path, damaged, damaged == 1 ? "" : "s");
    if (store->options.message != NULL)
        store->options.message(store->options.message_arg, TOON_WARNING, text);
}

/* With the writer lock: the keys stand still. */
static toon_err build_order_gathered(toon_store *store) {
    toon_key_order *order = toon_key_order_new();
    toon_slot *slots = malloc(SCAN_CAPACITY * sizeof *slots);
    toon_err err = TOON_NO_MEMORY;
    size_t damaged = 0;
    if (order != NULL && slots != NULL)
        err = fill_order(store, order, slots, &damaged);
    free(slots);
    if (err == TOON_OK && damaged > 0)
        warn_of_damage(store, damaged);
    if (err != TOON_OK) {
        toon_key_order_free(order);
        return err == TOON_NO_MEMORY ? toon_fail_memory() : err;
    }
    (void)pthread_rwlock_wrlock(&store->order_lock);
    store->order = order;
    (void)pthread_rwlock_unlock(&store->order_lock);
    atomic_store(&store->keys_hidden, damaged);
    atomic_store(&store->order_wanted, true);
    return TOON_OK;
}

static toon_err build_order(toon_store *store) {
    toon_err err = TOON_OK;
    if (!toon_epoch_enter())
        return toon_fail_memory();
    toon_lock_gathered(store);
    (void)pthread_rwlock_rdlock(&store->order_lock);
    bool built = store->order != NULL;
    (void)pthread_rwlock_unlock(&store->order_lock);
    if (!built)
        err = build_order_gathered(store);
    toon_unlock_gathered(store);
    toon_epoch_leave();
    return err;
}

/* Copies the next keys. An index that is missing (never built, or dropped for
 * want of memory) is built first. */
static toon_err copy_keys(toon_store *store, toon_slice from, bool after,
                          size_t max_keys, toon_buf *keys, size_t *count) {
    for (;;) {
        keys->size = 0;
        (void)pthread_rwlock_rdlock(&store->order_lock);
        bool built = store->order != NULL;
        if (built)
            *count = toon_key_order_copy(store->order, from, after, max_keys,
                                         RANGE_BYTES_MAX, keys);
        (void)pthread_rwlock_unlock(&store->order_lock);
        if (keys->failed)
            return toon_fail_memory();
        if (built)
            return TOON_OK;
        toon_err err = build_order(store);
        if (err != TOON_OK)
            return err;
    }
}

/* ------------------------------------------------------------ byte order */

struct range {
    toon_store *store;
    const toon_range_options *options;
    toon_key_fn *fn;
    void *arg;
    size_t left;   /* of the limit; SIZE_MAX: none */
    bool expiring; /* some key could, before the keys were copied */
};

static bool starts_with(toon_slice key, toon_slice prefix) {
    return key.size >= prefix.size &&
           (prefix.size == 0 ||
            memcmp(key.data, prefix.data, prefix.size) == 0);
}

static bool may_expire(toon_store *store) {
    if (!toon_epoch_enter())
        return true;
    bool expiring = atomic_load(&atomic_load(&store->volume)->expiring) > 0;
    toon_epoch_leave();
    return expiring;
}

/* While nothing expires, every key of the index is there: neither now nor when
 * it was copied, since the last key that could may be removed in between. A
 * damaged one is, too, and one that the disk does not give: hiding it would
 * make its loss go unnoticed. */
static toon_err look_up(const struct range *range, toon_slice key,
                        toon_key_stat *stat) {
    *stat = (toon_key_stat){0};
    if (!range->options->with_stat && !range->expiring &&
        !may_expire(range->store))
        return TOON_OK;
    toon_err err = toon_stat_key(range->store, key, stat);
    return err == TOON_NOT_FOUND || err == TOON_NO_MEMORY ? err : TOON_OK;
}

static toon_err visit_key(struct range *range, toon_slice key, bool *going) {
    toon_key_stat stat;
    if (!starts_with(key, range->options->prefix)) {
        *going = false;
        return TOON_OK;
    }
    toon_err err = look_up(range, key, &stat);
    if (err != TOON_OK)
        return err == TOON_NOT_FOUND ? TOON_OK : err;
    *going =
        range->fn(range->arg, key, range->options->with_stat ? &stat : NULL);
    if (*going && range->left != SIZE_MAX)
        *going = --range->left > 0;
    return TOON_OK;
}

/* Visits the copied keys; *going is false when the range is over. */
static toon_err visit_keys(struct range *range, const toon_buf *keys,
                           toon_buf *last, bool *going) {
    size_t at = 0;
    toon_err err = TOON_OK;
    while (err == TOON_OK && *going && at < keys->size) {
        size_t size = toon_get_u32(keys->data + at);
        toon_slice key = toon_bytes(keys->data + at + 4, size);
        at += 4 + size;
        err = visit_key(range, key, going);
        if (at >= keys->size) { /* where the next copy goes on */
            last->size = 0;
            toon_buf_append_slice(last, key);
        }
    }
    return *going && last->failed ? toon_fail_memory() : err;
}

toon_err toon_range(toon_store *store, const toon_range_options *options,
                    toon_key_fn *fn, void *arg) {
    struct range range = {
        store, options, fn, arg, options->limit ? options->limit : SIZE_MAX,
        true};
    toon_buf keys = {0};
    toon_buf last = {0};
    toon_slice from = options->from;
    if (toon_slice_compare(from, options->prefix) < 0)
        from = options->prefix;
    bool after = false;
    bool going = true;
    toon_err err = TOON_OK;
    while (going && err == TOON_OK) {
        size_t count = 0;
        size_t max_keys =
            range.left < RANGE_KEYS_MAX ? range.left : RANGE_KEYS_MAX;
        range.expiring = may_expire(store);
        err = copy_keys(store, from, after, max_keys, &keys, &count);
        if (err != TOON_OK || count == 0)
            break;
        err = visit_keys(&range, &keys, &last, &going);
        from = toon_buf_slice(&last);
        after = true;
    }
    toon_buf_free(&keys);
    toon_buf_free(&last);
    return confirm_visit(store, err);
}
