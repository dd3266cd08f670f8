/*
 * status.h - `.toonstore/` at the root: figures of mount and store, to read.
 * Knows figures; they are no keys.
 */
#ifndef TOON_STATUS_H
#define TOON_STATUS_H

#include "fs.h"

/* The name of the directory, never listed. */
#define STATUS_DIR ".toonstore"

/* Finds `name` in the root or in the status directory. ENOENT. */
int status_find(struct mount *m, const node *dir, const char *name,
                struct fuse_entry_param *e);

bool status_is_dir(const node *n);
void status_attr(struct mount *m, const node *n, struct stat *attr,
                 double *timeout);

/* The text of a file as it is now; the caller frees it. NULL: no memory. */
char *status_text(struct mount *m, const node *n, size_t *size);

/* The names in the status directory, by index; NULL past the end. */
const char *status_name(size_t index);

#endif
