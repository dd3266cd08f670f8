/*
 * inodes.c - the files and directories that the kernel knows, by key. Knows
 * keys and counts; must never know values' bytes, the store or how the kernel
 * is told.
 */
#include "inodes.h"

#define XXH_INLINE_ALL
#include <assert.h>
#include <stdlib.h>
#include <xxhash.h>

#define BUCKETS_MIN ((size_t)1024) /* a power of two */

bool inodes_init(inodes *t) {
    *t = (inodes){.bucket_count = BUCKETS_MIN, .next_generation = 1};
    t->buckets = calloc(BUCKETS_MIN, sizeof(node *));
    LIST_INIT(&t->created);
    return t->buckets != NULL && pthread_mutex_init(&t->lock, NULL) == 0;
}

static void node_free(node *n) {
    assert(n->content == NULL);
    free(n->key);
    free(n);
}

void inodes_free(inodes *t) {
    for (size_t i = 0; t->buckets != NULL && i < t->bucket_count; i++) {
        while (t->buckets[i] != NULL) {
            node *n = t->buckets[i];
            t->buckets[i] = n->next;
            node_free(n);
        }
    }
    free(t->buckets);
    t->buckets = NULL;
    pthread_mutex_destroy(&t->lock);
}

void inodes_lock(inodes *t) {
    pthread_mutex_lock(&t->lock);
}

void inodes_unlock(inodes *t) {
    pthread_mutex_unlock(&t->lock);
}

uint64_t inode_number(node_kind kind, toon_slice key) {
    uint64_t hash = XXH64(key.data, key.size, (uint64_t)kind);
    return hash > 1 ? hash : hash + 2;
}

static node **bucket_of(const inodes *t, uint64_t hash) {
    return &t->buckets[hash & (t->bucket_count - 1)];
}

static bool key_is(const node *n, toon_slice key) {
    return n->key_size == key.size &&
           (key.size == 0 || memcmp(n->key, key.data, key.size) == 0);
}

node *inodes_find_locked(const inodes *t, node_kind kind, toon_slice key) {
    uint64_t hash = inode_number(kind, key);
    node *n = *bucket_of(t, hash);
    while (n != NULL && !(n->hash == hash && n->kind == kind && !n->detached &&
                          !n->unlinked && key_is(n, key))) {
        n = n->next;
    }
    return n;
}

static void insert(inodes *t, node *n) {
    node **bucket = bucket_of(t, n->hash);
    n->next = *bucket;
    *bucket = n;
    t->node_count++;
}

static void take_out(inodes *t, node *n) {
    node **link = bucket_of(t, n->hash);
    while (*link != n) {
        link = &(*link)->next;
    }
    *link = n->next;
    t->node_count--;
}

/* Longer chains do no harm, so no memory is no failure. */
static void grow(inodes *t) {
    size_t count = t->bucket_count * 2;
    node **buckets = calloc(count, sizeof(node *));
    if (buckets == NULL) {
        return;
    }
    for (size_t i = 0; i < t->bucket_count; i++) {
        while (t->buckets[i] != NULL) {
            node *n = t->buckets[i];
            t->buckets[i] = n->next;
            n->next = buckets[n->hash & (count - 1)];
            buckets[n->hash & (count - 1)] = n;
        }
    }
    free(t->buckets);
    t->buckets = buckets;
    t->bucket_count = count;
}

static char *copy_bytes(toon_slice bytes) {
    char *copy = malloc(bytes.size + 1);
    if (copy != NULL && bytes.size > 0) {
        memcpy(copy, bytes.data, bytes.size);
    }
    return copy;
}

static node *make_locked(inodes *t, node_kind kind, toon_slice key) {
    node *n = calloc(1, sizeof(*n));
    char *copy = copy_bytes(key);
    if (n == NULL || copy == NULL) {
        free(n);
        free(copy);
        return NULL;
    }
    n->key = copy;
    n->key_size = key.size;
    n->kind = kind;
    n->hash = inode_number(kind, key);
    n->generation = t->next_generation++;
    if (t->node_count >= t->bucket_count) {
        grow(t);
    }
    insert(t, n);
    return n;
}

node *inodes_hold(inodes *t, node_kind kind, toon_slice key) {
    inodes_lock(t);
    node *n = inodes_find_locked(t, kind, key);
    if (n == NULL) {
        n = make_locked(t, kind, key);
    }
    if (n != NULL) {
        n->refs++;
    }
    inodes_unlock(t);
    return n;
}

void inodes_hold_node(inodes *t, node *n) {
    inodes_lock(t);
    n->refs++;
    inodes_unlock(t);
}

void inodes_put(inodes *t, node *n, uint64_t count) {
    inodes_lock(t);
    assert(n->refs >= count);
    n->refs -= count;
    bool last = n->refs == 0;
    if (last) {
        inodes_set_created_locked(t, n, false);
        take_out(t, n);
    }
    inodes_unlock(t);
    if (last) {
        node_free(n);
    }
}

void inodes_copy_key(inodes *t, const node *n, key_text *out) {
    inodes_lock(t);
    assert(n->key_size <= sizeof(out->data));
    out->size = n->key_size;
    memcpy(out->data, n->key, n->key_size);
    inodes_unlock(t);
}

void inodes_set_created_locked(inodes *t, node *n, bool created) {
    if (created && !n->created) {
        LIST_INSERT_HEAD(&t->created, n, created_link);
    } else if (!created && n->created) {
        LIST_REMOVE(n, created_link);
    }
    n->created = created;
}

void inodes_detach(inodes *t, node *n) {
    inodes_lock(t);
    n->detached = true;
    inodes_set_created_locked(t, n, false);
    inodes_unlock(t);
}

void inodes_unlink_locked(inodes *t, toon_slice key) {
    uint64_t hash = inode_number(NODE_KEY, key);
    for (node *n = *bucket_of(t, hash); n != NULL; n = n->next) {
        if (n->hash == hash && n->kind == NODE_KEY && key_is(n, key)) {
            n->unlinked = true;
            inodes_set_created_locked(t, n, false);
        }
    }
}

/* Takes `key` over. Without memory for one the node is cut off: rather a
 * write that is lost with the file than one under a wrong name. */
static void rekey(inodes *t, node *n, char *key, size_t size) {
    if (key == NULL) {
        n->unlinked = true;
        inodes_set_created_locked(t, n, false);
        return;
    }
    take_out(t, n);
    free(n->key);
    n->key = key;
    n->key_size = size;
    n->hash = inode_number(n->kind, toon_bytes(key, size));
    insert(t, n);
}

/* Is the node what a move of `from` takes? */
static bool is_moved(const node *n, toon_slice from, bool tree) {
    bool match = tree ? n->key_size >= from.size &&
                            memcmp(n->key, from.data, from.size) == 0
                      : n->kind == NODE_KEY && key_is(n, from);
    return match && !n->unlinked && n->kind != NODE_STATUS;
}

/* The buckets in which such nodes are: [first, end). */
static void buckets_of(const inodes *t, toon_slice from, bool tree,
                       size_t *first, size_t *end) {
    uint64_t hash = inode_number(NODE_KEY, from);
    *first = tree ? 0 : (size_t)(hash & (t->bucket_count - 1));
    *end = tree ? t->bucket_count : *first + 1;
}

/* Chains the nodes that `from` describes by their `next`, out of the table. */
static node *take_all(inodes *t, toon_slice from, bool tree) {
    node *taken = NULL;
    size_t first;
    size_t end;
    buckets_of(t, from, tree, &first, &end);
    for (size_t i = first; i < end; i++) {
        for (node **link = &t->buckets[i]; *link != NULL;) {
            node *n = *link;
            if (!is_moved(n, from, tree)) {
                link = &n->next;
                continue;
            }
            *link = n->next;
            n->next = taken;
            taken = n;
            t->node_count--;
        }
    }
    return taken;
}

/* ------------------------------------------------- memory for their new keys */

/* Its own memory becomes the key. */
struct spare_key {
    struct spare_key *next;
    size_t size;
};

static bool reserve_key(inodes_spare *spare, size_t size) {
    size = size < sizeof(struct spare_key) ? sizeof(struct spare_key) : size;
    struct spare_key *key = malloc(size);
    if (key == NULL) {
        return false;
    }
    *key = (struct spare_key){spare->first, size};
    spare->first = key;
    return true;
}

/* In the order of take_all(), so that each finds its own at the front. */
static bool reserve_all(const inodes *t, toon_slice from, size_t to_size,
                        bool tree, inodes_spare *spare) {
    size_t first;
    size_t end;
    bool reserved = true;
    buckets_of(t, from, tree, &first, &end);
    for (size_t i = first; i < end; i++) {
        for (const node *n = t->buckets[i]; n != NULL; n = n->next) {
            reserved =
                reserved &&
                (!is_moved(n, from, tree) ||
                 reserve_key(spare, to_size + n->key_size - from.size + 1));
        }
    }
    return reserved;
}

bool inodes_reserve(inodes *t, toon_slice from, toon_slice to, bool tree,
                    bool swap, inodes_spare *spare) {
    inodes_lock(t);
    bool reserved = (!swap || reserve_all(t, to, from.size, tree, spare)) &&
                    reserve_all(t, from, to.size, tree, spare);
    inodes_unlock(t);
    return reserved;
}

void inodes_spare_free(inodes_spare *spare) {
    while (spare->first != NULL) {
        struct spare_key *key = spare->first;
        spare->first = key->next;
        free(key);
    }
}

/* Of nodes that came since, there is none; then any that is large enough. */
static char *take_key(inodes_spare *spare, size_t size) {
    struct spare_key **link = &spare->first;
    bool fits = *link != NULL && (*link)->size >= size;
    char *made = fits ? NULL : malloc(size);
    if (made != NULL) {
        return made;
    }
    while (*link != NULL && (*link)->size < size) {
        link = &(*link)->next;
    }
    struct spare_key *key = *link;
    if (key != NULL) {
        *link = key->next;
    }
    return (char *)key;
}

/* ------------------------------------------------------------------- moving */

/* Puts taken nodes back, `from` at the start of their keys replaced. */
static void put_back(inodes *t, node *taken, size_t from_size, toon_slice to,
                     inodes_spare *spare) {
    while (taken != NULL) {
        node *n = taken;
        taken = n->next;
        insert(t, n);
        size_t rest = n->key_size - from_size;
        char *key = take_key(spare, to.size + rest + 1);
        if (key != NULL) {
            memcpy(key, to.data, to.size);
            memcpy(key + to.size, n->key + from_size, rest);
        }
        rekey(t, n, key, to.size + rest);
    }
}

static void put_back_unlinked(inodes *t, node *taken) {
    while (taken != NULL) {
        node *n = taken;
        taken = n->next;
        insert(t, n);
        n->unlinked = true;
        inodes_set_created_locked(t, n, false);
    }
}

static void move(inodes *t, toon_slice from, toon_slice to, bool tree,
                 bool swap, inodes_spare *spare) {
    node *moved = take_all(t, from, tree);
    node *replaced = take_all(t, to, tree);
    put_back(t, moved, from.size, to, spare);
    if (swap) {
        put_back(t, replaced, to.size, from, spare);
    } else {
        put_back_unlinked(t, replaced);
    }
}

void inodes_move_locked(inodes *t, toon_slice from, toon_slice to, bool swap,
                        inodes_spare *spare) {
    move(t, from, to, false, swap, spare);
}

void inodes_move_tree_locked(inodes *t, toon_slice from, toon_slice to,
                             bool swap, inodes_spare *spare) {
    move(t, from, to, true, swap, spare);
}

node *inodes_next(inodes *t, const node *after) {
    inodes_lock(t);
    node *n = after != NULL ? after->next : t->buckets[0];
    size_t i = after != NULL ? after->hash & (t->bucket_count - 1) : 0;
    while (n == NULL && ++i < t->bucket_count) {
        n = t->buckets[i];
    }
    inodes_unlock(t);
    return n;
}

void inodes_each_locked(const inodes *t, void (*fn)(void *arg, node *n),
                        void *arg) {
    for (size_t i = 0; i < t->bucket_count; i++) {
        for (node *n = t->buckets[i]; n != NULL; n = n->next) {
            fn(arg, n);
        }
    }
}

bool inodes_check_locked(const inodes *t) {
    size_t count = 0;
    for (size_t i = 0; i < t->bucket_count; i++) {
        for (const node *n = t->buckets[i]; n != NULL; n = n->next) {
            toon_slice key = node_key_locked(n);
            bool current = !n->detached && !n->unlinked;
            if (n->hash != inode_number(n->kind, key) ||
                (n->hash & (t->bucket_count - 1)) != i || n->refs == 0 ||
                (current && inodes_find_locked(t, n->kind, key) != n)) {
                return false;
            }
            count++;
        }
    }
    return count == t->node_count;
}
