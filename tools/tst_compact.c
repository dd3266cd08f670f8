/*
 * tst_compact.c - tst compact: gives back the space of what was overwritten.
 *
 * Knows the store's public calls; must never know the command line's syntax.
 */
#include "tst.h"

#include <inttypes.h>

static void show_progress(void *arg, uint64_t done, uint64_t total) {
    tst_bar_draw(arg, done, total);
}

static void put_gain(const tst_args *args, const toon_stats *before,
                     const toon_stats *after, int64_t spent_ms) {
    uint64_t gained = before->log_bytes > after->log_bytes
                          ? before->log_bytes - after->log_bytes
                          : 0;
    if (args->json) {
        (void)printf("{\"bytes_before\":%" PRIu64 ",\"bytes_after\":%" PRIu64
                     ",\"bytes_gained\":%" PRIu64 ",\"rows_before\":%" PRIu64
                     ",\"rows_after\":%" PRIu64 ",\"keys\":%" PRIu64
                     ",\"ms\":%" PRId64 "}\n",
                     before->log_bytes, after->log_bytes, gained, before->rows,
                     after->rows, after->keys, spent_ms);
        return;
    }
    (void)printf("%s: compacted\n  %" PRIu64 " bytes before, %" PRIu64
                 " after: %" PRIu64 " gained (%.0f %%)\n  %" PRIu64
                 " row%s before, %" PRIu64 " after, for %" PRIu64 " key%s\n",
                 args->dir, before->log_bytes, after->log_bytes, gained,
                 100.0 * (double)gained / (double)before->log_bytes,
                 before->rows, tst_s(before->rows), after->rows, after->keys,
                 tst_s(after->keys));
}

int tst_compact(const tst_args *args) {
    toon_store *store;
    toon_stats before, after;
    tst_args own = *args;
    own.instead = "redis-cli BGREWRITEAOF";
    int code = tst_open(&own, TOON_OPEN_NO_CREATE, &store);
    if (code != TST_DONE) {
        return code;
    }
    tst_bar bar = tst_bar_begin(args);
    toon_stat(store, &before);
    toon_err err = toon_compact(store, show_progress, &bar);
    tst_bar_clear(&bar);
    int64_t spent_ms = tst_now_ms() - bar.started_ms;
    toon_stat(store, &after);
    code = err == TOON_OK ? TST_DONE : tst_failed(args, err);
    code = tst_close(args, store, code);
    if (code == TST_DONE && (args->json || !args->quiet)) {
        put_gain(args, &before, &after, spent_ms);
    }
    return code;
}
