/*
 * damage_verdict.h - was the damage of a copy found, and what became of it?
 *
 * A damaged copy is checked, opened and read, repaired, checked and read
 * again. Right is: the check finds it, or nothing could; opening refuses and
 * writes nothing, or each key answers what it should or an error; the repair
 * leaves every key right or names it; no batch is there by halves.
 *
 * Knows what was in the store; must never know how it was damaged.
 */
#ifndef TOON_TEST_DAMAGE_VERDICT_H
#define TOON_TEST_DAMAGE_VERDICT_H

#include "damage_store.h"

/* A damaged copy. */
typedef struct damaged_copy {
    const damage_store *store;
    const damage_store *other; /* of which bytes may have come in, or NULL */
    file_bytes log, index;     /* owned; no bytes: the file is missing */
    uint64_t covered;          /* of the log by an index that is believed */
    bool must_find;            /* although the log is as it was */
    bool one_byte;             /* no more was changed, and in the log alone */
    char what[160];
} damaged_copy;

/* Nothing is wrong? What is, is told on standard error. `dir` is an empty
 * directory and is one again afterwards. */
bool judge_damage(const char *dir, const damaged_copy *damage);

#endif
