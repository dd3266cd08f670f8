/*
 * history.h - what a store was told and what it promised: every state that it
 * went through, and since which call on the disk each was acknowledged or
 * durable.
 *
 * A state is what one whole group of changes (a change, a batch) leads to.
 * Groups stand in the log one behind the other, so after a crash the store is
 * in one of these states: none invented, none skipped.
 *
 * Knows keys and values; must never know files.
 */
#ifndef TOON_TEST_HISTORY_H
#define TOON_TEST_HISTORY_H

#include "toonstore.h"

enum {
    HISTORY_KEYS = 24,
    HISTORY_NAME_KINDS = 5, /* every fifth name is of one kind */
    HISTORY_VALUE_MAX = 6000,
    HISTORY_PLAIN_SIZE = 20, /* of most values */
};

/* Never changed once it is made; NULL stands for an absent key. */
typedef struct key_value {
    struct key_value *next; /* made before it */
    uint64_t hash;          /* of all that follows */
    unsigned key;
    uint32_t mode;
    int64_t expires_ms, written_ms;
    size_t size;
    char bytes[];
} key_value;

typedef const key_value *key_values[HISTORY_KEYS];

typedef struct history_state {
    key_values values;
    uint64_t hash;
    size_t begun; /* length of the journal before its first byte was written */
} history_state;

/* From this length of the journal on, these states are promised. */
typedef struct history_mark {
    size_t journal;
    size_t acknowledged, durable;
} history_mark;

/* What a change that failed would have led to. It may be there while its call
 * had not returned, and never again; but if the process was killed in that
 * call, until something is durable again. */
typedef struct history_ghost {
    history_state state;
    size_t after; /* the newest state then */
    size_t ended; /* length of the journal when its call returned, or … */
#define HISTORY_KILLED SIZE_MAX
} history_ghost;

typedef struct history {
    key_value *made; /* all values, owned; the newest first */
    history_state *states;
    size_t count, capacity;
    history_ghost *ghosts;
    size_t ghost_count, ghost_capacity;
    history_mark *marks;
    size_t mark_count, mark_capacity;
} history;

/* Begins with the empty state, acknowledged and durable. */
void history_init(history *self);
void history_free(history *self);

/* The name of a model key: plain (the first, and every fifth), quoted, base64,
 * with a slash. */
toon_slice history_key_name(unsigned key, char name[32]);
/* HISTORY_KEYS: it is none of ours. */
unsigned history_key_of(toon_slice name);

/* Owned by the history. */
const key_value *history_value(history *self, unsigned key, toon_slice bytes,
                               const toon_meta *meta);

/* That of a state, as image_found has it. */
uint64_t history_hash_of(const key_values values);

/* Returns its number. */
size_t history_push(history *self, const key_values values, size_t begun);

/* The same of a change that failed just now. */
void history_push_ghost(history *self, const key_values values, size_t begun,
                        size_t ended);

static inline size_t history_newest(const history *self) {
    return self->count - 1;
}

/* All states up to this one are, from this length of the journal on. */
void history_acknowledge(history *self, size_t journal, size_t state);
void history_durable(history *self, size_t journal, size_t state);

/* Which states may be found after a crash behind `journal` calls; with `torn`
 * in the middle of the next. */
typedef struct history_window {
    size_t first, last;
    size_t journal;
} history_window;

history_window history_after_kill(const history *self, size_t journal,
                                  bool torn);
history_window history_after_power_cut(const history *self, size_t journal);

/* May a state of that hash be found? */
bool history_allows(const history *self, history_window window, uint64_t hash);

/* Goes on from the state of that hash: forgets what came after it, and the
 * promises past `journal`. False: there is none. */
bool history_go_on(history *self, history_window window, uint64_t hash,
                   size_t journal);

/* The journal begins anew, and all up to the newest state is on the disk. */
void history_flatten(history *self);

/* The hash of a set of values is the sum of theirs. */
uint64_t history_hash(unsigned key, toon_slice bytes, const toon_meta *meta);

/* Did a key ever have this value? */
bool history_knows(const history *self, uint64_t hash);

#endif
