/*
 * backup.h - backups of the store: copies that a thread makes while commands
 * go on, in a directory of which the newest few are kept.
 *
 *     BACKUP-DIR/20261123T101530.123Z/   a store of that moment (UTC), whole
 *     BACKUP-DIR/unfinished/             one that is being made
 *
 * Knows the store's copy and names of files; must never know commands.
 */
#ifndef TOON_BACKUP_H
#define TOON_BACKUP_H

#include "toonstore.h"

#include <limits.h>
#include <pthread.h>

typedef struct backup_figures {
    bool runs;
    bool failed;          /* the last one that ended */
    int64_t saved_s;      /* Unix time of the last that did not; at first, of
                             the server's start */
    int64_t took_s;       /* the last one that ended; -1: none did */
    int64_t takes_s;      /* the one that runs, so far; -1: none does */
    uint64_t done, total; /* bytes of the one that runs */
    uint64_t count;       /* of saves that succeeded since the start */
    uint64_t changes;     /* of the store at the last of them */
    char path[PATH_MAX];  /* the newest one since the start; "": none */
} backup_figures;

/* What is told from the thread: a line for the server's log. */
typedef void backup_note_fn(void *arg, bool failed, const char *line);

typedef struct backup {
    toon_store *store;
    backup_note_fn *note;
    void *note_arg;

    pthread_mutex_t lock; /* of what follows */
    backup_figures figures;
    bool stopping;
    int64_t started_ms;

    /* Its user's alone. */
    pthread_t thread;
    bool has_thread;
    char dir[PATH_MAX];
    int64_t keep;              /* newest ones; 0: all */
    uint64_t changes_at_start; /* of the store */
} backup;

void backup_init(backup *b, toon_store *store, backup_note_fn *note, void *arg);
/* Ends the one that runs and waits for it. */
void backup_stop(backup *b);
void backup_free(backup *b); /* stops, too */

/* Begins one in directory `dir`, of which `keep` are kept (0: all). EBUSY: one
 * runs. 0, or another errno: no thread. */
int backup_start(backup *b, const char *dir, int64_t keep);

/* What is durable up to now was saved in another way. */
void backup_saved(backup *b, uint64_t changes);

void backup_stat(backup *b, backup_figures *out);

/* Removes what a server that was killed left in `dir`. */
void backup_clean(const char *dir);

#endif
