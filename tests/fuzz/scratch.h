/*
 * scratch.h - a store's directory for a fuzz target: in memory where there is
 * such a file system, emptied between inputs, removed at exit. Its disk syncs
 * at once and counts what changes files.
 *
 * Knows directories and the seam of io.h; must never know formats.
 */
#ifndef TOON_FUZZ_SCRATCH_H
#define TOON_FUZZ_SCRATCH_H

#include "io.h"

/* Below $TMPDIR, else /dev/shm, else /tmp. */
const char *scratch_path(void);

void scratch_empty(void);

/* Where a copy of the store may be made; one that is there is removed. */
const char *scratch_no_copy(void);

void scratch_write(const char *name, const void *bytes, size_t size);
void scratch_remove(const char *name);

/* Replaces what is in `out`. False: there is no such file. */
bool scratch_read(const char *name, toon_buf *out);

/* The disk, and how many calls changed a file of the store since the last
 * scratch_forget_changes(); the lock file is not counted. */
const toon_io *scratch_io(void);
unsigned scratch_changes(void);
void scratch_forget_changes(void);

#endif
