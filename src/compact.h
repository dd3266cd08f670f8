/*
 * compact.h - the live records of a volume, into a new log beside it.
 *
 * A compaction deals with the old log from its start, some records a step,
 * while writers append to it; when it has come close to the end, the store
 * keeps writers out, lets it deal with the rest and puts the new volume in
 * the old one's place.
 *
 * Knows volumes and log lines; must never know locks, threads, or when the
 * swap is due (store_compact.c).
 */
#ifndef TOON_COMPACT_H
#define TOON_COMPACT_H

#include "pause.h"
#include "volume.h"

#define TOON_COMPACT_NAME "db.toon.compact"

/* Where the new log has what is large in the old one (compact_value.h). */
typedef struct toon_moved toon_moved;

typedef struct toon_compaction {
    const toon_dir *dir;
    toon_volume *from;     /* the store's; alive only in an epoch and a pause */
    toon_volume *into;     /* owned until it is taken */
    toon_volume *replaced; /* `from`, once `into` has taken its place: the
                              caller's, to be freed when no reader is left */
    toon_pause pause;
    uint64_t at;       /* records of `from` before this are dealt with */
    uint64_t start;    /* end of `from` when it began */
    uint64_t durable;  /* those before this are in `into` for good */
    uint64_t unsynced; /* bytes of `into` since its last sync */
    /* `into` is what `from` was at `at`. While that is so, every record that
     * follows is copied, and batches stay whole: any prefix of them leads to a
     * state that `from` was in. */
    bool exact;
    toon_moved *moved;                 /* owned */
    struct toon_candidate *candidates; /* scratch; owned */
    toon_buf key, value;               /* scratch */
} toon_compaction;

/*
 * Makes the new log. `base_min`: the least row number to start with, 0 for
 * any. TOON_CONFLICT: a pause was refused. On failure there is nothing to
 * end.
 */
toon_err toon_compaction_begin(toon_compaction *self, const toon_dir *dir,
                               toon_volume *from, uint64_t base_min,
                               const toon_pause *pause);

/*
 * Deals with some of the records before `up_to`, an end of a change. Called
 * until `at` has reached it; not again after a failure. TOON_CORRUPT: a
 * damaged record; TOON_CONFLICT: a pause was refused; TOON_FULL, TOON_IO,
 * TOON_NO_MEMORY.
 */
toon_err toon_compaction_step(toon_compaction *self, uint64_t up_to);

/*
 * Makes what was copied durable, and its first row number `base` or more:
 * what `from` has used up by the swap. TOON_TOO_LARGE: `base` has more digits
 * than the new log has room for; it has to begin anew, with that as base_min.
 */
toon_err toon_compaction_sync(toon_compaction *self, uint64_t base);

/* Writes what was copied since, without a sync. */
toon_err toon_compaction_write(toon_compaction *self);

/* Are all records before `up_to` cheap to copy: do they build on nothing that
 * has to be copied again, but for a little? No, if one of them is damaged. */
bool toon_compaction_is_cheap(toon_compaction *self, uint64_t up_to);

/* Renames the new log into place. On TOON_OK the volume is the caller's. */
toon_err toon_compaction_install(toon_compaction *self, toon_volume **out);

/* Frees; removes the new log unless it was installed. */
void toon_compaction_end(toon_compaction *self);

#endif
