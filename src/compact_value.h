/*
 * compact_value.h - how a value that other records are parts of gets into the
 * new log.
 *
 * Whole, as one record. But a value that changes again and again while the
 * log is compacted, a large one to which lines are appended, say, would be
 * copied whole each time, the last time while writers wait. So the new log's
 * place of what was copied is noted, and what builds on it in the old log
 * builds on the copy in the new one.
 *
 * Knows volumes and log lines; must never know locks, threads, or when what
 * is copied.
 */
#ifndef TOON_COMPACT_VALUE_H
#define TOON_COMPACT_VALUE_H

#include "compact.h"

/* NULL: no memory. */
toon_moved *toon_moved_new(void);

/* The new log's record at `into` has the value that ends with the old log's
 * record at `from`; its line has `line_size` bytes. Forgets others. */
void toon_moved_note(toon_compaction *self, uint64_t from, uint64_t into,
                     size_t line_size);

/*
 * Adds the value of the record at `offset`, of type a, c, t or r, to the new
 * log, and to its table: self->key has its key, step->old_payload what the
 * new log has of it so far. Errors as toon_compaction_step().
 */
toon_err toon_compaction_copy_value(toon_compaction *self,
                                    const toon_record *record, uint64_t offset,
                                    toon_step *step);

/*
 * The same for a record that is not live any more, but of a value that goes
 * on growing: as far as it lasts (all but the small pieces at its end), unless
 * what is in the new log already is nearly all of that. `now` is the piece that
 * the key's value ended with a moment ago: nothing is copied that is no part of
 * that value.
 */
toon_err toon_compaction_copy_ahead(toon_compaction *self,
                                    const toon_record *record, uint64_t offset,
                                    uint64_t now, toon_step *step);

/* Of records that come one after the other: what will copying their values
 * cost beside their own bytes? */
enum { TOON_COST_SEEN = 256 };

typedef struct toon_cost {
    size_t left;                   /* bytes that it may cost */
    uint64_t seen[TOON_COST_SEEN]; /* records that are dealt with by then */
} toon_cost;

/* The next record, at `offset`; the new log has `payload` of its key, 0 for
 * nothing. False: more than that. */
bool toon_cost_add(toon_cost *cost, const toon_compaction *self,
                   const toon_record *record, uint64_t offset,
                   uint64_t payload);

#endif
