/*
 * workload.h - a random life of a store beside its history: every kind of
 * change, batches, gatherings, syncs, reopening, compaction, copies.
 *
 * Knows the public store and the history; must never know images.
 */
#ifndef TOON_TEST_WORKLOAD_H
#define TOON_TEST_WORKLOAD_H

#include "history.h"

enum { WORKLOAD_COPIES = 2 }; /* at most, in one life */

/* A copy that was made: from `done` calls on it is promised. */
typedef struct workload_copy {
    char name[24]; /* its directory, beside the store's */
    size_t begun, done;
    size_t state;
} workload_copy;

typedef enum workload_kind {
    WORKLOAD_MIXED,   /* everything */
    WORKLOAD_UNIFORM, /* everything, but nearly all lines have one length */
    WORKLOAD_BARE,    /* such lines alone, and no sync */
} workload_kind;

typedef struct workload {
    workload_kind kind;
    toon_store *store;
    toon_options options;
    const char *root; /* the directory above */
    history *history; /* whose newest state is the store's */
    key_values now;
    uint64_t random; /* not 0 */
    int64_t clock_ms;
    bool gathering, batching;
    bool plain;           /* sets and deletions alone, for a while */
    bool failed;          /* a write did: closing will say so */
    unsigned copies_ever; /* their names are never used again */
    unsigned copies;      /* of this life */
    workload_copy copied[WORKLOAD_COPIES];
    char wrong[600]; /* what the store did that its model does not; "" */
} workload;

/* The name of the store's directory below the root. */
#define WORKLOAD_STORE "store"
#define WORKLOAD_COPY  "copy-%u"

/* The other options by chance. */
void workload_init(workload *self, const char *root, history *past,
                   workload_kind kind, toon_sync_policy sync, uint64_t seed);

/* Opens the store on the lying disk. */
toon_err workload_open(workload *self);

/* A new life: the model goes on from the history's newest state. */
void workload_adopt(workload *self);

/* So many random steps, or until something is wrong. */
void workload_run(workload *self, unsigned steps);

/* Closes the store. */
void workload_close(workload *self);

#endif
