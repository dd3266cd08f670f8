/*
 * checkpoint.h - from a volume to db.toon.idx.
 *
 * Knows volume, log lines and index file; must never know clients or locks.
 */
#ifndef TOON_CHECKPOINT_H
#define TOON_CHECKPOINT_H

#include "volume.h"

/* Writes the index of the volume as it stands. All of its log is synced
 * already, and the caller keeps writers out. Without one, opening reads the
 * whole log: a failure loses nothing. */
toon_err toon_checkpoint(const toon_dir *dir, toon_volume *volume);

#endif
