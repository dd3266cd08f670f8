/*
 * cmd_compact.c - BGREWRITEAOF, and what is told of compactions. Knows the
 * store's calls and figures; must never know how a log is compacted.
 */
#include "state.h"

void compaction_sample(server *s, const toon_stats *now) {
    compaction_watch *watch = &s->compaction;

    if (now->compacting && !watch->runs)
        watch->started_ms = monotonic_ms();
    watch->runs = now->compacting;
    if (watch->finished != now->compactions)
        watch->base_bytes = now->log_bytes;
    watch->finished = now->compactions;
}

void compaction_tune(server *s) {
    /* The directives allow nothing that the store refuses. */
    (void)toon_compact_tune(s->store, (unsigned)s->config.compact_garbage,
                            config_compact_rate(&s->config));
}

void cmd_bgrewriteaof(call *c) {
    server *s = c->server;
    toon_stats now;
    toon_err err = toon_compact_start(s->store);

    if (err == TOON_CONFLICT) {
        reply_error(c->out, "ERR Background append only file rewriting "
                            "already in progress");
        return;
    }
    if (err != TOON_OK) {
        call_fail(c, err);
        return;
    }
    toon_stat(s->store, &now);
    compaction_sample(s, &now);
    reply_simple(c->out, "Background append only file rewriting started");
}
