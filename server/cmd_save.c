/*
 * cmd_save.c - SAVE, BGSAVE, LASTSAVE: what is durable, and where copies go.
 * Knows the store's calls and backups; no sockets.
 */
#include "numbers.h"
#include "state.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

void server_backup_dir(const server *s, char path[PATH_MAX]) {
    int size = snprintf(path, PATH_MAX, "%s", s->config.backup_dir);

    if (size == 0)
        size = snprintf(path, PATH_MAX, "%s/backup", s->config.dir);
    if (size >= PATH_MAX)
        path[0] = '\0'; /* no directory: a backup says that it cannot */
}

void server_backup_note(void *arg, bool failed, const char *line) {
    server_log(arg, failed ? LOG_LEVEL_WARNING : LOG_LEVEL_NOTICE, "%s", line);
}

/* Not a copy, but as durable as one: all that was acknowledged. */
void cmd_save(call *c) {
    server *s = c->server;
    toon_stats now;
    toon_err err = turn_settle(s);

    toon_stat(s->store, &now);
    if (err == TOON_OK)
        err = toon_sync(s->store);
    if (err != TOON_OK) {
        call_fail(c, err);
        return;
    }
    backup_saved(&s->backup, now.changes);
    reply_ok(c->out);
}

/* Nothing that runs keeps a backup from being made, so that SCHEDULE has
 * nothing to wait for. */
void cmd_bgsave(call *c) {
    server *s = c->server;
    char dir[PATH_MAX];
    int failure = 0;

    if (c->argc > 2 || (c->argc == 2 && !slice_is(c->argv[1], "schedule"))) {
        call_syntax_error(c);
        return;
    }
    server_backup_dir(s, dir);
    failure = backup_start(&s->backup, dir, s->config.backup_keep);
    if (failure == EBUSY) {
        reply_error(c->out, "ERR Background save already in progress");
        return;
    }
    if (failure != 0) {
        call_fail(c, TOON_NO_MEMORY);
        return;
    }
    server_log(s, LOG_LEVEL_NOTICE, "Background saving started by pid %d",
               (int)getpid());
    reply_simple(c->out, "Background saving started");
}

void cmd_lastsave(call *c) {
    backup_figures figures;

    backup_stat(&c->server->backup, &figures);
    reply_integer(c->out, figures.saved_s);
}
