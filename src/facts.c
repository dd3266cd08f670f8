/*
 * facts.c - a table of fixed size: sets of a few entries, of which the one
 * that was not used for longest goes. Knows numbers; must never know records.
 */
#include "facts.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

enum { WAYS = 8, SET_BITS = 11 };

static_assert(TOON_FACTS_COUNT_MAX == (size_t)WAYS << SET_BITS,
              "the table holds what the header says");

struct entry {
    uint64_t offset; /* 0: free */
    uint64_t chain_size;
    uint32_t line_size;
    uint32_t value_size;
    uint32_t used; /* the table's clock then */
    uint8_t tiny;
    uint8_t small;
};

static_assert(sizeof(struct entry) == 32, "half a MiB holds them all");

struct toon_facts {
    pthread_mutex_t lock;
    struct entry *entries; /* NULL until the first fact is put */
    uint32_t clock;
};

/* The run at the end, of which `merged` pieces have become one, or none that
 * belongs there. */
static uint8_t run_after(unsigned run, unsigned merged, bool belongs) {
    unsigned left = merged < run ? run - merged : 0;
    if (!belongs)
        return 0;
    return (uint8_t)(left < UINT8_MAX ? left + 1 : UINT8_MAX);
}

toon_fact toon_fact_after(const toon_fact *before, const toon_grown *grown) {
    bool tiny = grown->piece_size <= TOON_PIECE_TINY_MAX;
    bool small = grown->piece_size <= TOON_PIECE_SMALL_MAX;
    return (toon_fact){
        .chain_size =
            before->chain_size - grown->merged_size + grown->line_size,
        .line_size = (uint32_t)grown->line_size,
        .value_size = before->value_size + (uint32_t)grown->appended,
        .tiny = run_after(before->tiny, grown->merged, tiny),
        .small = run_after(before->small, grown->merged, small),
    };
}

toon_facts *toon_facts_new(void) {
    toon_facts *facts = calloc(1, sizeof *facts);
    if (facts != NULL && pthread_mutex_init(&facts->lock, NULL) != 0) {
        free(facts);
        return NULL;
    }
    return facts;
}

void toon_facts_free(toon_facts *facts) {
    if (facts == NULL)
        return;
    (void)pthread_mutex_destroy(&facts->lock);
    free(facts->entries);
    free(facts);
}

static struct entry *set_of(const toon_facts *facts, uint64_t offset) {
    uint64_t mixed = offset * UINT64_C(0x9e3779b97f4a7c15);
    return facts->entries + (mixed >> (64 - SET_BITS)) * WAYS;
}

/* NULL: nothing is known of it. */
static struct entry *find_locked(const toon_facts *facts, uint64_t offset) {
    if (facts->entries == NULL)
        return NULL;
    struct entry *set = set_of(facts, offset);
    for (int i = 0; i < WAYS; i++) {
        if (set[i].offset == offset)
            return &set[i];
    }
    return NULL;
}

/* The entry that is free, or else the oldest. The clock may pass zero. */
static struct entry *make_room_locked(const toon_facts *facts,
                                      uint64_t offset) {
    struct entry *set = set_of(facts, offset);
    struct entry *oldest = set;
    for (int i = 0; i < WAYS; i++) {
        if (set[i].offset == 0)
            return &set[i];
        if (facts->clock - set[i].used > facts->clock - oldest->used)
            oldest = &set[i];
    }
    return oldest;
}

bool toon_facts_find(toon_facts *facts, uint64_t offset, toon_fact *out) {
    (void)pthread_mutex_lock(&facts->lock);
    struct entry *entry = find_locked(facts, offset);
    if (entry != NULL) {
        entry->used = ++facts->clock;
        *out = (toon_fact){entry->chain_size, entry->line_size,
                           entry->value_size, entry->tiny, entry->small};
    }
    (void)pthread_mutex_unlock(&facts->lock);
    return entry != NULL;
}

void toon_facts_put(toon_facts *facts, uint64_t offset, const toon_fact *fact) {
    assert(offset != 0);
    (void)pthread_mutex_lock(&facts->lock);
    if (facts->entries == NULL)
        facts->entries = calloc(TOON_FACTS_COUNT_MAX, sizeof *facts->entries);
    if (facts->entries != NULL) {
        struct entry *entry = find_locked(facts, offset);
        if (entry == NULL)
            entry = make_room_locked(facts, offset);
        *entry = (struct entry){
            .offset = offset,
            .chain_size = fact->chain_size,
            .line_size = fact->line_size,
            .value_size = fact->value_size,
            .used = ++facts->clock,
            .tiny = fact->tiny,
            .small = fact->small,
        };
    }
    (void)pthread_mutex_unlock(&facts->lock);
}

void toon_facts_forget(toon_facts *facts, uint64_t offset) {
    (void)pthread_mutex_lock(&facts->lock);
    struct entry *entry = find_locked(facts, offset);
    if (entry != NULL)
        entry->offset = 0;
    (void)pthread_mutex_unlock(&facts->lock);
}

size_t toon_facts_count(toon_facts *facts) {
    size_t count = 0;
    (void)pthread_mutex_lock(&facts->lock);
    for (size_t i = 0; facts->entries != NULL && i < TOON_FACTS_COUNT_MAX; i++)
        count += facts->entries[i].offset != 0;
    (void)pthread_mutex_unlock(&facts->lock);
    return count;
}
