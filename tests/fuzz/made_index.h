/*
 * made_index.h - db.toon.idx as a checkpoint of the log in the directory
 * would write it, but always the same for the same log.
 *
 * Knows recovery and the index file; must never know how a store decides to
 * write one.
 */
#ifndef TOON_FUZZ_MADE_INDEX_H
#define TOON_FUZZ_MADE_INDEX_H

#include "io.h"

/* False, and no index in the directory, if its log cannot be opened. */
bool made_index_write(const toon_dir *dir);

#endif
