/*
 * tree.h - directories, as keys imply them. Knows keys, names and ranges of
 * the store; must never know nodes or the kernel.
 *
 * A directory is a prefix with its slash. It is there when a key starts with
 * it, which may be the key that is just the prefix, empty: its marker.
 */
#ifndef TOON_TREE_H
#define TOON_TREE_H

#include "backend.h"
#include "inodes.h"

/* What the operations of tree.c need to know of a mount. */
typedef struct tree {
    backend store;
    toon_slice root; /* the root directory's key */
    bool flat;
} tree;

/* What a name in a directory can stand for. */
typedef struct tree_child {
    bool has_file, has_dir;
    unsigned by; /* NODE_BY_NAME or NODE_BY_VALUE, for the file */
    key_text file, dir;
} tree_child;

/* 0, ENAMETOOLONG, ENOENT (it can be the name of no key) or EPERM (it is one
 * of the mount's own). */
int tree_child_of(const tree *t, toon_slice dir, toon_slice text,
                  tree_child *out);

/* The key whose value is the directory's `%3D`. False: there is no such name,
 * as an empty component has a name of its own as a file. */
bool tree_value_of(const tree *t, toon_slice dir, toon_slice *key);

/* Joins up to the room there is. */
bool key_join(key_text *out, toon_slice a, toon_slice b, const char *end);

/* The directory of a key: all up to its last slash, at least the root. */
toon_slice tree_parent(const tree *t, toon_slice key);

/* An empty value of a key that ends in a slash: no file. */
bool tree_is_marker(const tree *t, toon_slice key, size_t value_size);

typedef struct tree_probe {
    bool found;
    bool marked; /* it has a marker, whose `meta` this is */
    toon_meta meta;
    int64_t expires_ms; /* the directory is there until then at least; 0: no
                           key of it expires */
} tree_probe;

toon_err tree_look(const tree *t, toon_slice dir, tree_probe *out);

/* Does just one key start with it? */
toon_err tree_has_one(const tree *t, toon_slice dir, bool *one);

/* Is there anything in it but its marker? The value that is its `%3D`
 * counts. */
toon_err tree_is_empty(const tree *t, toon_slice dir, bool *empty);

/* After a removal, in its batch: a directory that has lost its last key gets
 * a marker. The root needs none. */
toon_err tree_keep(const tree *t, toon_slice dir);

/*
 * Moves every key below `from` (and the value `from` is the directory of) to
 * `to`, or swaps the two, by renames. In a batch of the caller's.
 */
toon_err tree_move(const tree *t, toon_slice from, toon_slice to, bool swap);

#endif
