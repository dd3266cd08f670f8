/*
 * checkpoint.h - from a volume to db.toon.idx, also while it changes.
 *
 * Knows volume, log lines and index file; must never know clients or locks.
 */
#ifndef TOON_CHECKPOINT_H
#define TOON_CHECKPOINT_H

#include "pause.h"
#include "volume.h"

/* Up to where an index tells of the log: a place between two changes. */
typedef struct toon_point {
    uint64_t covered;     /* length of the log */
    uint64_t rows;        /* records in it */
    uint64_t last_offset; /* of the newest one; 0: there is none */
} toon_point;

/* The volume as it stands; in a pause, with all of its log written. */
toon_point toon_point_of(const toon_volume *volume);

/*
 * Writes the index of the volume up to `point`, which is durable already.
 * Changes past it may go on: what they touch is left to the log's tail, which
 * opening reads anyway. Without an index, opening reads the whole log: a
 * failure loses nothing. TOON_CONFLICT: a pause was refused.
 */
toon_err toon_checkpoint(const toon_dir *dir, const toon_volume *volume,
                         const toon_point *point, const toon_pause *pause);

#endif
