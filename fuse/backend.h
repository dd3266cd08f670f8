/*
 * backend.h - the operations through which the mount reaches a store.
 *
 * The vocabulary (slices, values, errors) is toonstore.h's; which engine
 * stands behind is known to the one file that fills the table.
 */
#ifndef TOON_BACKEND_H
#define TOON_BACKEND_H

#include "toonstore.h"

/* Each as the function of toonstore.h with that name. */
typedef struct backend_ops {
    toon_err (*get)(void *store, toon_slice key, toon_value *out);
    toon_err (*pin_value)(void *store, toon_slice key, toon_pinned *out);
    toon_err (*pinned_get)(const toon_pinned *pinned, toon_value *out);
    void (*pinned_release)(toon_pinned *pinned);
    toon_err (*stat)(void *store, toon_slice key, toon_key_stat *out);
    toon_err (*set)(void *store, toon_slice key, toon_slice value,
                    const toon_set_options *options);
    toon_err (*reserve)(void *store, size_t bytes);
    toon_err (*append)(void *store, toon_slice key, toon_slice bytes);
    toon_err (*remove)(void *store, toon_slice key);
    toon_err (*rename)(void *store, toon_slice from, toon_slice to,
                       unsigned flags);
    toon_err (*set_meta)(void *store, toon_slice key, unsigned what,
                         const toon_meta *meta);
    toon_err (*range)(void *store, const toon_range_options *options,
                      toon_key_fn *fn, void *arg);
    toon_err (*batch_begin)(void *store);
    toon_err (*batch_commit)(void *store);
    void (*batch_cancel)(void *store);
    toon_err (*watch)(void *store, toon_watch_fn *fn, void *arg, uint64_t *id);
    void (*unwatch)(void *store, uint64_t id);
    toon_err (*sync)(void *store);
    uint64_t (*version_base)(void *store);
    void (*figures)(void *store, toon_stats *out);
} backend_ops;

typedef struct backend {
    const backend_ops *ops;
    void *store;
} backend;

/* The store of this process. */
backend backend_of_store(toon_store *store);

#endif
