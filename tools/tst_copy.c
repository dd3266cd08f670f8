/*
 * tst_copy.c - tst copy: a hot backup, whether or not somebody writes.
 *
 * Knows the store's public calls; must never know the command line's syntax.
 */
#include "tst.h"

#include <inttypes.h>
#include <signal.h>

typedef struct copying {
    toon_store *store;
    tst_bar bar;
} copying;

/* A copy that is interrupted is removed, and then we end. */
static volatile sig_atomic_t interrupted;

static void on_interrupt(int number) {
    interrupted = number;
}

static void catch_interrupts(void) {
    struct sigaction action = {0};
    action.sa_handler = on_interrupt;
    action.sa_flags = SA_RESTART | (int)SA_RESETHAND; /* the second one ends */
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

static void show_progress(void *arg, uint64_t done, uint64_t total) {
    copying *it = arg;
    if (interrupted != 0) {
        toon_copy_stop(it->store);
    }
    tst_bar_draw(&it->bar, done, total);
}

static void put_report(const tst_args *args, const toon_stats *stats,
                       int64_t spent_ms) {
    const char *to = args->words[0];
    if (args->json) {
        (void)fputc('{', stdout);
        tst_put_json(stdout, "source", toon_str(args->dir));
        (void)fputc(',', stdout);
        tst_put_json(stdout, "copy", toon_str(to));
        (void)printf(",\"keys\":%" PRIu64 ",\"rows\":%" PRIu64
                     ",\"bytes\":%" PRIu64 ",\"ms\":%" PRId64 "}\n",
                     stats->keys, stats->rows, stats->log_bytes, spent_ms);
        return;
    }
    (void)printf("%s: copied to %s\n  %" PRIu64 " key%s in %" PRIu64
                 " row%s, %" PRIu64 " bytes, %.1f s\n",
                 args->dir, to, stats->keys, tst_s(stats->keys), stats->rows,
                 tst_s(stats->rows), stats->log_bytes, (double)spent_ms / 1000);
}

int tst_copy(const tst_args *args) {
    copying it;
    toon_stats stats;
    int code =
        tst_open(args, TOON_OPEN_READ_ONLY | TOON_OPEN_NO_CREATE, &it.store);
    if (code != TST_DONE) {
        return code;
    }
    catch_interrupts();
    it.bar = tst_bar_begin(args);
    toon_err err = toon_copy(it.store, args->words[0], show_progress, &it);
    tst_bar_clear(&it.bar);
    int64_t spent_ms = tst_now_ms() - it.bar.started_ms;
    toon_stat(it.store, &stats); /* of what was copied: a snapshot */
    code = err == TOON_OK ? TST_DONE : tst_failed(args, err);
    code = tst_close(args, it.store, code);
    if (code == TST_DONE && (args->json || !args->quiet)) {
        put_report(args, &stats, spent_ms);
    }
    return code;
}
