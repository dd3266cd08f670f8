/*
 * lookup.h - from a name in a directory to a node that the kernel may hold.
 * Knows names, directories, nodes; must never know what is done with them.
 */
#ifndef TOON_LOOKUP_H
#define TOON_LOOKUP_H

#include "fs.h"
#include "tree.h"

/* The mount's prefix and style, for tree.h. */
tree tree_of(const struct mount *m);

/* As tree_child_of(), in the directory of a node. */
int child_of(struct mount *m, const node *dir, const char *text,
             tree_child *out);

/*
 * Finds what a name stands for and fills `e`; the kernel has one look-up more
 * then, which entry_drop() takes back. ENOENT and other errnos.
 */
int entry_find(struct mount *m, const tree_child *child,
               struct fuse_entry_param *e);
int entry_find_dir(struct mount *m, toon_slice dir, struct fuse_entry_param *e);

/* For a node that was just made and is held once for it. */
int entry_of_new_file(struct mount *m, node *n, unsigned by,
                      struct fuse_entry_param *e);

void entry_drop(struct mount *m, const struct fuse_entry_param *e);

/* Sends it, or takes it back when the caller has gone. */
void reply_entry(fuse_req_t req, const struct fuse_entry_param *e);

/* Attributes of a file or directory that the kernel holds. */
int node_attr(struct mount *m, node *n, struct stat *attr, double *timeout);

/* Is a file below this directory that is not in the store yet? */
bool has_created_below(struct mount *m, toon_slice dir);

#endif
