/*
 * model.h - what a store ought to hold: keys, values, modes, times.
 *
 * Small enough to be copied before every call. Names and values are borrowed
 * from an arena that lives as long as the test's run.
 *
 * Knows the public store; must never know of faults.
 */
#ifndef TOON_TEST_MODEL_H
#define TOON_TEST_MODEL_H

#include "toonstore.h"

enum { MODEL_KEYS = 96 };

typedef struct model_key {
    toon_slice name;
    toon_slice value;
    uint32_t mode;
    int64_t expires_ms;
    int64_t written_ms; /* 0: whenever */
} model_key;

typedef struct model {
    size_t count;
    model_key keys[MODEL_KEYS];
} model;

/* NULL if it is not there. */
model_key *model_find(model *m, toon_slice name);
/* Found, or added empty. */
model_key *model_put(model *m, toon_slice name);
void model_remove(model *m, toon_slice name);

/* NULL if the store holds exactly this, else what is different, in words that
 * live until the next call. The store is only read. */
const char *model_difference(const model *m, toon_store *store);

#endif
