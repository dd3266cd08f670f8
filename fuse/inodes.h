/*
 * inodes.h - the files and directories that the kernel knows, by key.
 *
 * A node is what one kernel inode stands for; its address is the kernel's
 * node number. Knows keys and counts. Must never know values' bytes, the
 * store or how the kernel is told.
 *
 * At most one node of a kind and key is current. When the value is replaced
 * behind the kernel's back its node is detached: it lives on for those who
 * have it open, and the name leads to a new one.
 */
#ifndef TOON_INODES_H
#define TOON_INODES_H

#include "names.h"

#include <pthread.h>
#include <sys/queue.h>

/* A prefix, a path below it, and one more component. */
#define PREFIX_SIZE_MAX ((size_t)4096)
#define KEY_TEXT_MAX    (PREFIX_SIZE_MAX + PATH_SIZE_MAX + NAME_SIZE_MAX + 8)

typedef struct key_text {
    size_t size;
    char data[KEY_TEXT_MAX];
} key_text;

typedef enum node_kind {
    NODE_DIR,    /* the key is a prefix with its slash; the root's as given */
    NODE_KEY,    /* file or symbolic link */
    NODE_STATUS, /* `.toonstore` and what is in it; keys are paths */
} node_kind;

/* The names by which the kernel may know a NODE_KEY. */
enum {
    NODE_BY_NAME = 1 << 0,
    NODE_BY_VALUE = 1 << 1, /* as the `%3D` of the directory of that name */
};

typedef struct node {
    struct node *next; /* in its bucket */
    LIST_ENTRY(node) created_link;
    char *key;
    size_t key_size;
    uint64_t hash;
    uint64_t refs;    /* look-ups of the kernel, open handles, calls at work */
    uint64_t version; /* of the value that the kernel's pages belong to */
    uint64_t generation;      /* no two nodes have the same */
    uint64_t renamed_version; /* that a rename through the mount put here */
    uint64_t appends;   /* to the value, from outside, that were heard of */
    int64_t changed_ms; /* directory: entries; file: at least its ctime */
    struct content *content; /* the file lock's; NULL: not open */
    node_kind kind;
    unsigned names;
    bool detached;  /* the value was replaced from outside */
    bool unlinked;  /* removed through the mount: commits nothing */
    bool created;   /* not yet in the store */
    bool attr_told; /* directory: the kernel may have its attributes */
} node;

LIST_HEAD(node_list, node);

typedef struct inodes {
    pthread_mutex_t lock;
    node **buckets;
    size_t bucket_count, node_count;
    uint64_t next_generation;
    struct node_list created;
} inodes;

bool inodes_init(inodes *t);
/* Frees all nodes, whatever their counts; contents must be gone. */
void inodes_free(inodes *t);

void inodes_lock(inodes *t);
void inodes_unlock(inodes *t);

/* A stable number for stat(2): never 0, nor the root's 1. */
uint64_t inode_number(node_kind kind, toon_slice key);

static inline toon_slice node_key_locked(const node *n) {
    return toon_bytes(n->key, n->key_size);
}

/* The current node or NULL; no reference is taken. */
node *inodes_find_locked(const inodes *t, node_kind kind, toon_slice key);

/* The current node, made if need be, with one more reference. NULL: no
 * memory. */
node *inodes_hold(inodes *t, node_kind kind, toon_slice key);
void inodes_hold_node(inodes *t, node *n);
void inodes_put(inodes *t, node *n, uint64_t count);

void inodes_copy_key(inodes *t, const node *n, key_text *out);

/* The name leads to another node from now on. */
void inodes_detach(inodes *t, node *n);

/* A file that exists only here, until it is committed or unlinked. */
void inodes_set_created_locked(inodes *t, node *n, bool created);

/* All nodes of this key, detached ones too, commit nothing any more. */
void inodes_unlink_locked(inodes *t, toon_slice key);

/* The keys that the nodes of a move will have, so that it cannot fail once the
 * store has moved. All zero: none yet. */
typedef struct inodes_spare {
    struct spare_key *first;
} inodes_spare;

/* For the move with the same arguments; more than once for more than one, the
 * last first. False: no memory. */
bool inodes_reserve(inodes *t, toon_slice from, toon_slice to, bool tree,
                    bool swap, inodes_spare *spare);
void inodes_spare_free(inodes_spare *spare);

/* The file `from` is `to` now, with its detached nodes; what was there before
 * is unlinked. With `swap`, both move. */
void inodes_move_locked(inodes *t, toon_slice from, toon_slice to, bool swap,
                        inodes_spare *spare);

/* The same for everything below a directory (prefixes with their slash), and
 * for the directories themselves. */
void inodes_move_tree_locked(inodes *t, toon_slice from, toon_slice to,
                             bool swap, inodes_spare *spare);

/* Goes through the table, in which nobody moves nodes meanwhile: the first
 * (after NULL), the next, NULL behind the last. */
node *inodes_next(inodes *t, const node *after);

/* fn may not change the table. */
void inodes_each_locked(const inodes *t, void (*fn)(void *arg, node *n),
                        void *arg);

/* Tests and debug builds: the invariants. */
bool inodes_check_locked(const inodes *t);

#endif
