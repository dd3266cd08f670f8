/*
 * damage_store.h - stores to be damaged, and all that they ever answered.
 *
 * A store is made by a life that a seed decides, then taken as files. What
 * every key was after each change is kept: what is read back from a damaged
 * copy is compared with it.
 *
 * Knows the public store; must never know what damage is.
 */
#ifndef TOON_TEST_DAMAGE_STORE_H
#define TOON_TEST_DAMAGE_STORE_H

#include "io.h"
#include "toonstore.h"

enum {
    SINGLE_KEYS = 20, /* changed at will */
    GROUPS = 6,       /* of keys that one batch sets and nobody touches */
    GROUP_KEYS = 3,
    KEYS = SINGLE_KEYS + GROUPS * GROUP_KEYS,
};

/* What a key answers. */
typedef struct key_state {
    toon_err err; /* TOON_OK, NOT_FOUND, or a failure */
    uint64_t digest;
    int64_t written_ms, expires_ms;
    uint32_t mode;
} key_state;

bool key_state_equal(const key_state *a, const key_state *b);

/* All keys, when the log ended at `end`, between two batches. */
typedef struct moment {
    uint64_t end;
    key_state keys[KEYS];
} moment;

/* A sync mark as it stands in the log. */
typedef struct log_mark {
    uint64_t at, size, synced;
} log_mark;

typedef struct file_bytes {
    char *bytes; /* owned; NULL: there is no such file */
    size_t size;
} file_bytes;

typedef struct damage_store {
    file_bytes log, index;
    uint64_t first;       /* offset of the first line behind the comment */
    uint64_t covered;     /* by the index; 0: there is none */
    uint64_t longest;     /* line */
    file_bytes old_index; /* from earlier; may be missing */
    uint64_t old_covered;
    moment *moments; /* owned, rising */
    size_t moment_count, moment_capacity;
    log_mark *marks; /* owned */
    size_t mark_count;
} damage_store;

typedef enum store_end {
    ENDS_CLOSED,   /* with an index of all */
    ENDS_KILLED,   /* with an index from before, if there was one */
    ENDS_UNINDEXED /* closed, and the index taken away */
} store_end;

typedef struct store_plan {
    uint64_t seed;
    unsigned changes; /* 0: the script in which every kind of record is */
    unsigned value_max;
    store_end end;
    bool twin;      /* goes another way after two thirds */
    unsigned pause; /* of the script: its index is written while it goes on,
                       which it does in this pause; 0: it is not */
} store_plan;

/* A disk whose syncs cost nothing. */
const toon_io *quick_io(void);

/* Made in `dir`, an empty directory, which is empty again afterwards. Ends
 * the program if that fails: a broken test. */
void damage_store_make(const char *dir, const store_plan *plan,
                       damage_store *out);
void damage_store_free(damage_store *store);

/* The number of a key, for its name. */
size_t key_name(unsigned key, char name[32]);

/* What every key answers now. */
void read_states(toon_store *store, key_state out[KEYS]);

/* Files of a directory. */
void write_file(const char *dir, const char *name, const file_bytes *file);
file_bytes read_file(const char *dir, const char *name);
void empty_directory(const char *dir);

/* A small generator; the state is any number but 0. */
uint64_t pick(uint64_t *random, uint64_t below);

/* Says what and ends the program. */
void give_up(const char *what) __attribute__((noreturn));

#endif
