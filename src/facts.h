/*
 * facts.h - a small memory of what was dear to find out about large values.
 *
 * Maps the offset of a record to what is known of its line and of the value
 * that ends with it. All of that can be found out again from the log: what
 * was not asked for in a while makes room for other facts, and where memory
 * runs out nothing is remembered.
 *
 * A record never changes while its log is the same, so a fact stays true
 * until a change that was never written is undone: its offset is used again,
 * and whoever undoes it says toon_facts_forget(). Facts of a record that is
 * not written yet are the writer's to add.
 *
 * Knows offsets and sizes; must never know records, keys or files. Any
 * thread; the lock inside is held for a few steps and nothing is called
 * under it.
 */
#ifndef TOON_FACTS_H
#define TOON_FACTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TOON_FACTS_COUNT_MAX ((size_t)16 * 1024) /* in half a MiB */

/* Pieces of one value are told apart by size: an appended piece is tiny,
 * small or full, and only the last ones of a value are not full. */
#define TOON_PIECE_TINY_MAX  ((size_t)63)
#define TOON_PIECE_SMALL_MAX ((size_t)4095)

typedef struct toon_fact {
    uint64_t chain_size; /* lines that the value is made of, bytes; 0: of the
                            line alone is anything known */
    uint32_t line_size;  /* of the record there; 0: not known */
    uint32_t value_size;
    uint8_t tiny;  /* pieces at the value's end that are tiny; the most that */
    uint8_t small; /* is counted is 255; that are small or tiny */
} toon_fact;

/* A piece that is written behind a value, in the place of the last ones. */
typedef struct toon_grown {
    size_t piece_size;    /* bytes of the value in it */
    size_t line_size;     /* of its line */
    size_t appended;      /* bytes that the value has grown by */
    unsigned merged;      /* pieces that are in it now */
    uint64_t merged_size; /* of their lines */
} toon_grown;

/* What is known then. */
toon_fact toon_fact_after(const toon_fact *before, const toon_grown *grown);

typedef struct toon_facts toon_facts;

/* NULL: no memory. */
toon_facts *toon_facts_new(void);

/* No reader may be left. NULL is allowed. */
void toon_facts_free(toon_facts *facts);

bool toon_facts_find(toon_facts *facts, uint64_t offset, toon_fact *out);

/* `offset` is not 0. Replaces what is known of it. */
void toon_facts_put(toon_facts *facts, uint64_t offset, const toon_fact *fact);
void toon_facts_forget(toon_facts *facts, uint64_t offset);

/* How many facts there are. For tests. */
size_t toon_facts_count(toon_facts *facts);

#endif
