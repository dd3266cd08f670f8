/*
 * backend_store.c - the mount on a store of its own process. Knows the calls
 * of toonstore.h; must never know what the mount does with them.
 */
#include "backend.h"

static toon_err store_get(void *store, toon_slice key, toon_value *out) {
    return toon_get(store, key, out);
}

static toon_err store_pin_value(void *store, toon_slice key, toon_pinned *out) {
    return toon_pin_value(store, key, out);
}

static toon_err store_stat(void *store, toon_slice key, toon_key_stat *out) {
    return toon_stat_key(store, key, out);
}

static toon_err store_set(void *store, toon_slice key, toon_slice value,
                          const toon_set_options *options) {
    return toon_set(store, key, value, options);
}

static toon_err store_reserve(void *store, size_t bytes) {
    return toon_reserve(store, bytes);
}

static toon_err store_append(void *store, toon_slice key, toon_slice bytes) {
    return toon_append(store, key, bytes, NULL);
}

static toon_err store_remove(void *store, toon_slice key) {
    return toon_delete(store, key, 0, NULL);
}

static toon_err store_rename(void *store, toon_slice from, toon_slice to,
                             unsigned flags) {
    return toon_rename(store, from, to, flags);
}

static toon_err store_set_meta(void *store, toon_slice key, unsigned what,
                               const toon_meta *meta) {
    return toon_set_meta(store, key, what, meta);
}

static toon_err store_range(void *store, const toon_range_options *options,
                            toon_key_fn *fn, void *arg) {
    return toon_range(store, options, fn, arg);
}

static toon_err store_batch_begin(void *store) {
    return toon_batch_begin(store);
}

static toon_err store_batch_commit(void *store) {
    return toon_batch_commit(store);
}

static void store_batch_cancel(void *store) {
    toon_batch_cancel(store);
}

static toon_err store_watch(void *store, toon_watch_fn *fn, void *arg,
                            uint64_t *id) {
    return toon_watch(store, fn, arg, id);
}

static void store_unwatch(void *store, uint64_t id) {
    toon_unwatch(store, id);
}

static toon_err store_sync(void *store) {
    return toon_sync(store);
}

static uint64_t store_version_base(void *store) {
    return toon_version_base(store);
}

static void store_figures(void *store, toon_stats *out) {
    toon_stat(store, out);
}

backend backend_of_store(toon_store *store) {
    static const backend_ops ops = {
        .get = store_get,
        .pin_value = store_pin_value,
        .pinned_get = toon_pinned_get,
        .pinned_release = toon_pinned_release,
        .stat = store_stat,
        .set = store_set,
        .reserve = store_reserve,
        .append = store_append,
        .remove = store_remove,
        .rename = store_rename,
        .set_meta = store_set_meta,
        .range = store_range,
        .batch_begin = store_batch_begin,
        .batch_commit = store_batch_commit,
        .batch_cancel = store_batch_cancel,
        .watch = store_watch,
        .unwatch = store_unwatch,
        .sync = store_sync,
        .version_base = store_version_base,
        .figures = store_figures,
    };
    return (backend){&ops, store};
}
