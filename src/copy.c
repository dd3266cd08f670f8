/*
 * copy.c - a hot backup: the log only grows, so a prefix of it is a snapshot.
 */
#include "error.h"
#include "store_internal.h"

toon_err toon_copy(toon_store *store, const char *dir,
                   toon_progress_fn *progress, void *arg) {
    (void)store;
    (void)dir;
    (void)progress;
    (void)arg;
    return toon_fail_plain(TOON_INVALID, "copying is not built yet");
}
