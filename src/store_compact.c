/*
 * store_compact.c - when the log is compacted and its index saved, and by
 * which thread.
 */
#include "error.h"
#include "store_internal.h"

toon_err toon_compact(toon_store *store, toon_progress_fn *progress,
                      void *arg) {
    (void)store;
    (void)progress;
    (void)arg;
    return toon_fail_plain(TOON_INVALID, "compaction is not built yet");
}

toon_err toon_compact_start(toon_store *store) {
    (void)store;
    return toon_fail_plain(TOON_INVALID, "compaction is not built yet");
}

void toon_compact_stop(toon_store *store) {
    (void)store;
}

toon_err toon_compact_tune(toon_store *store, unsigned garbage, uint64_t rate) {
    (void)store;
    (void)garbage;
    (void)rate;
    return TOON_OK;
}

uint64_t toon_version_now(toon_store *store, toon_slice key, uint64_t version) {
    (void)store;
    (void)key;
    return version;
}
