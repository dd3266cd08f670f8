/*
 * key_order.c - all keys in byte order: a B+tree of packed leaves.
 *
 * Knows keys; must never know values, disk, locks.
 *
 * A leaf is a block (key_block.h) of keys; an inner node has a block of
 * separators, and child i holds the keys k with
 *     separator i - 1 <= k < separator i.
 *
 * An insert goes down from the root. Whatever it meets that has no room is
 * made roomy by one step (a split, a longer or shorter common prefix), and it
 * starts again from the root. Each step allocates before it changes anything
 * and leaves a valid tree with the same keys, so running out of memory needs
 * no undoing, and no step ever has to climb back up.
 *
 * A key that belongs at the edge of a full leaf gets a leaf of its own: keys
 * that arrive in order, upwards or downwards, leave full leaves behind.
 */
#include "key_order.h"

#include "key_block.h"

#include <assert.h>
#include <stdlib.h>

enum {
    LEAF_BYTES = 1536,    /* a leaf over this, with two keys or more, splits */
    LEAF_BYTES_LOW = 384, /* a leaf under this looks for one to merge with */
    LEAF_BYTES_BOTH = 1024, /* the most that such a merge may give */
    INNER_KEYS_MAX = 128,   /* separators of an inner node */
    INNER_KEYS_MIN = 8,     /* it keeps so many, however long they are */
    INNER_BYTES = 4096,     /* over this it splits, if it has those */
    /* A node is born with 4 children or more and has twice that when it
     * splits, so this height would take 4^32 inserts. */
    HEIGHT_MAX = 32,
};

struct inner;

union link {
    key_block *leaf;
    struct inner *inner;
};

struct inner {
    key_block *separators; /* never with a prefix */
    union link child[INNER_KEYS_MAX + 1];
};

struct toon_key_order {
    union link root;
    unsigned height; /* inner nodes above each leaf */
    uint64_t count;
    size_t bytes; /* of all nodes */
};

/* Where a walk stands: the inner nodes from the root down. */
struct path {
    struct inner *node[HEIGHT_MAX];
    unsigned slot[HEIGHT_MAX];
    unsigned height;
};

enum step {
    STEP_DONE,
    STEP_AGAIN, /* there is more room now: start over */
    STEP_NO_MEMORY,
};

static size_t load_of(const key_block *block) {
    return toon_key_block_load(block, block->prefix_size);
}

/* Asks for all of a leaf at once before it is searched; a search by itself
 * would wait for one line of memory after the other. */
static void prefetch(const key_block *leaf) {
    for (size_t i = 0; i < LEAF_BYTES; i += 64) {
        __builtin_prefetch((const char *)leaf + i);
    }
}

/* -------------------------------------------------------------- inner nodes */

static bool inner_full(const struct inner *inner) {
    uint32_t count = inner->separators->count;
    return count == INNER_KEYS_MAX ||
           (count >= INNER_KEYS_MIN &&
            toon_key_block_bytes(inner->separators) > INNER_BYTES);
}

/* Takes the separators, which may be NULL for want of memory. */
static struct inner *inner_new(toon_key_order *order, key_block *separators) {
    if (separators == NULL) {
        return NULL;
    }
    struct inner *inner = malloc(sizeof *inner);
    if (inner == NULL) {
        toon_key_block_free(&order->bytes, separators);
        return NULL;
    }
    inner->separators = separators;
    order->bytes += sizeof *inner;
    return inner;
}

static void inner_free(toon_key_order *order, struct inner *inner) {
    toon_key_block_free(&order->bytes, inner->separators);
    order->bytes -= sizeof *inner;
    free(inner);
}

static unsigned child_of(const struct inner *inner, toon_slice key) {
    bool found;
    unsigned slot = toon_key_block_find(inner->separators, key, &found);
    return found ? slot + 1 : slot;
}

/* Child `slot` becomes two, `left` and `right`. Room is reserved. */
static void put_child(struct inner *inner, unsigned slot, key_text separator,
                      union link left, union link right) {
    unsigned behind = inner->separators->count - slot;
    memmove(&inner->child[slot + 2], &inner->child[slot + 1],
            behind * sizeof inner->child[0]);
    inner->child[slot] = left;
    inner->child[slot + 1] = right;
    toon_key_block_put(inner->separators, slot, separator);
}

/* The child's keys, if it has any, now belong to a neighbour. */
static void drop_child(toon_key_order *order, struct inner *inner,
                       unsigned slot) {
    unsigned behind = inner->separators->count - slot;
    memmove(&inner->child[slot], &inner->child[slot + 1],
            behind * sizeof inner->child[0]);
    toon_key_block_drop(inner->separators, slot > 0 ? slot - 1 : 0);
    toon_key_block_trim(&order->bytes, &inner->separators);
}

/* ---------------------------------------------------------------- inserting */

/* Puts an inner node above the root, so that the root can be split. */
static enum step raise_root(toon_key_order *order) {
    assert(order->height < HEIGHT_MAX);
    struct inner *root = inner_new(order, toon_key_block_new(&order->bytes, 0));
    if (root == NULL) {
        return STEP_NO_MEMORY;
    }
    root->child[0] = order->root;
    order->root.inner = root;
    order->height++;
    return STEP_AGAIN;
}

/* The middle separator moves up to the parent, which is not full. */
static enum step split_inner(toon_key_order *order, struct inner *parent,
                             unsigned slot) {
    struct inner *left = parent->child[slot].inner;
    key_block *keys = left->separators;
    uint32_t middle = keys->count / 2, behind = keys->count - middle - 1;
    key_text up = toon_key_block_at(keys, middle);
    if (!toon_key_block_reserve(&order->bytes, &parent->separators,
                                key_text_size(up))) {
        return STEP_NO_MEMORY;
    }
    struct inner *right =
        inner_new(order, toon_key_block_slice(&order->bytes, keys, middle + 1,
                                              keys->count, 0));
    if (right == NULL) {
        return STEP_NO_MEMORY;
    }
    memcpy(right->child, &left->child[middle + 1],
           (behind + 1) * sizeof right->child[0]);
    put_child(parent, slot, up, (union link){.inner = left},
              (union link){.inner = right});
    toon_key_block_cut(keys, middle);
    toon_key_block_trim(&order->bytes, &left->separators);
    return STEP_AGAIN;
}

static enum step split_leaf(toon_key_order *order, struct inner *parent,
                            unsigned slot) {
    key_block *leaf = parent->child[slot].leaf;
    uint32_t middle = leaf->count / 2;
    key_text separator = toon_key_text_between(
        toon_key_block_at(leaf, middle - 1), toon_key_block_at(leaf, middle));
    if (!toon_key_block_reserve(&order->bytes, &parent->separators,
                                key_text_size(separator))) {
        return STEP_NO_MEMORY;
    }
    key_block *left = toon_key_block_slice(
        &order->bytes, leaf, 0, middle, toon_key_block_common(leaf, 0, middle));
    key_block *right =
        toon_key_block_slice(&order->bytes, leaf, middle, leaf->count,
                             toon_key_block_common(leaf, middle, leaf->count));
    if (left == NULL || right == NULL) {
        goto fail;
    }
    put_child(parent, slot, separator, (union link){.leaf = left},
              (union link){.leaf = right});
    toon_key_block_free(&order->bytes, leaf);
    return STEP_AGAIN;

fail:
    if (left != NULL) {
        toon_key_block_free(&order->bytes, left);
    }
    if (right != NULL) {
        toon_key_block_free(&order->bytes, right);
    }
    return STEP_NO_MEMORY;
}

/* A leaf for this key alone, before all keys of the full one or behind. */
static enum step split_at_edge(toon_key_order *order, struct inner *parent,
                               unsigned slot, bool before, key_text key) {
    union link old = parent->child[slot];
    key_text separator =
        before ? toon_key_text_between(key, toon_key_block_at(old.leaf, 0))
               : toon_key_text_between(
                     toon_key_block_at(old.leaf, old.leaf->count - 1), key);
    if (!toon_key_block_reserve(&order->bytes, &parent->separators,
                                key_text_size(separator))) {
        return STEP_NO_MEMORY;
    }
    union link alone = {.leaf = toon_key_block_of(&order->bytes, key)};
    if (alone.leaf == NULL) {
        return STEP_NO_MEMORY;
    }
    put_child(parent, slot, separator, before ? alone : old,
              before ? old : alone);
    toon_key_block_trim(&order->bytes,
                        &parent->child[before ? slot + 1 : slot].leaf);
    return STEP_DONE;
}

static enum step change_prefix(toon_key_order *order, key_block **leaf,
                               size_t prefix_size) {
    key_block *block = toon_key_block_slice(&order->bytes, *leaf, 0,
                                            (*leaf)->count, prefix_size);
    if (block == NULL) {
        return STEP_NO_MEMORY;
    }
    toon_key_block_free(&order->bytes, *leaf);
    *leaf = block;
    return STEP_AGAIN;
}

/* One step for a key that is not in the leaf yet. */
static enum step insert_in_leaf(toon_key_order *order, struct inner *parent,
                                unsigned slot, uint32_t at, toon_slice key) {
    key_block **leaf =
        parent == NULL ? &order->root.leaf : &parent->child[slot].leaf;
    key_text text = key_text_of(key);
    uint32_t count = (*leaf)->count;
    size_t prefix = (*leaf)->prefix_size, best = prefix;

    /* The prefix stays if it can; if the key lacks it, or the leaf is full,
     * it becomes all that the keys and the new one have in common. */
    bool has =
        key.size >= prefix &&
        (prefix == 0 || memcmp(key.data, key_block_prefix(*leaf), prefix) == 0);
    size_t tail = sizeof(uint32_t) + key.size;
    if (count != 0 && (!has || load_of(*leaf) + tail - prefix > LEAF_BYTES)) {
        best = toon_key_block_common(*leaf, 0, count);
        size_t shared = toon_key_text_common(toon_key_block_at(*leaf, 0), text);
        best = shared < best ? shared : best;
    }
    if (count == 0 ||
        toon_key_block_load(*leaf, best) + tail - best <= LEAF_BYTES) {
        if (best != prefix) {
            return change_prefix(order, leaf, best);
        }
        if (!toon_key_block_reserve(&order->bytes, leaf, key.size - prefix)) {
            return STEP_NO_MEMORY;
        }
        toon_key_block_put(*leaf, at, text);
        return STEP_DONE;
    }
    if (parent == NULL) {
        return raise_root(order);
    }
    if (at == 0 || at == count) {
        return split_at_edge(order, parent, slot, at == 0, text);
    }
    return split_leaf(order, parent, slot);
}

static enum step insert_step(toon_key_order *order, toon_slice key) {
    struct inner *parent = NULL;
    unsigned slot = 0;
    union link at = order->root;

    for (unsigned level = order->height; level > 0; level--) {
        if (inner_full(at.inner)) {
            return parent == NULL ? raise_root(order)
                                  : split_inner(order, parent, slot);
        }
        parent = at.inner;
        slot = child_of(parent, key);
        at = parent->child[slot];
    }
    prefetch(at.leaf);
    bool found;
    uint32_t i = toon_key_block_find(at.leaf, key, &found);
    if (found) {
        return STEP_DONE;
    }
    enum step step = insert_in_leaf(order, parent, slot, i, key);
    order->count += step == STEP_DONE;
    return step;
}

toon_err toon_key_order_insert(toon_key_order *order, toon_slice key) {
    assert(key.size <= TOON_KEY_SIZE_LIMIT);
    enum step step;
    do {
        step = insert_step(order, key);
    } while (step == STEP_AGAIN);
    return step == STEP_DONE ? TOON_OK : TOON_NO_MEMORY;
}

/* ----------------------------------------------------------------- walking */

/* To the leaf where `key` is or would be. */
static key_block *walk_down(const toon_key_order *order, toon_slice key,
                            struct path *path) {
    union link at = order->root;
    path->height = order->height;
    for (unsigned depth = 0; depth < path->height; depth++) {
        path->node[depth] = at.inner;
        path->slot[depth] = child_of(at.inner, key);
        at = at.inner->child[path->slot[depth]];
    }
    prefetch(at.leaf);
    return at.leaf;
}

/* The leaf behind this one; NULL at the end. `depth`: of the node where the
 * two part, its slot now that of the second. */
static key_block *walk_on(struct path *path, unsigned *depth) {
    unsigned d = path->height;
    while (d > 0 && path->slot[d - 1] == path->node[d - 1]->separators->count) {
        d--;
    }
    if (d == 0) {
        return NULL;
    }
    *depth = d - 1;
    union link at = path->node[d - 1]->child[++path->slot[d - 1]];
    for (; d < path->height; d++) {
        path->node[d] = at.inner;
        path->slot[d] = 0;
        at = at.inner->child[0];
    }
    return at.leaf;
}

static bool append_key(toon_buf *keys, key_text key) {
    size_t size = key_text_size(key);
    if (!toon_buf_reserve(keys, sizeof(uint32_t) + size)) {
        return false;
    }
    char *out = keys->data + keys->size;
    toon_put_u32(out, (uint32_t)size);
    (void)toon_key_text_copy(key, 0, out + sizeof(uint32_t));
    keys->size += sizeof(uint32_t) + size;
    return true;
}

size_t toon_key_order_copy(const toon_key_order *order, toon_slice from,
                           bool after, size_t max_keys, size_t max_bytes,
                           toon_buf *keys) {
    struct path path;
    unsigned depth;
    bool found;
    size_t copied = 0, start = keys->size;
    key_block *leaf = walk_down(order, from, &path);
    uint32_t i = toon_key_block_find(leaf, from, &found);
    if (found && after) {
        i++;
    }
    while (leaf != NULL && copied < max_keys &&
           keys->size - start < max_bytes) {
        if (i == leaf->count) {
            leaf = walk_on(&path, &depth);
            i = 0;
            continue;
        }
        if (!append_key(keys, toon_key_block_at(leaf, i))) {
            break;
        }
        copied++;
        i++;
    }
    return copied;
}

/* ----------------------------------------------------------------- removing */

/* The root has two children or is a leaf. */
static void lower_root(toon_key_order *order) {
    while (order->height > 0 && order->root.inner->separators->count == 0) {
        struct inner *root = order->root.inner;
        order->root = root->child[0];
        order->height--;
        inner_free(order, root);
    }
}

/* Frees an empty leaf, and the inner nodes that have only it below them. */
static void free_leaf(toon_key_order *order, struct path *path,
                      key_block *leaf) {
    unsigned depth = path->height - 1;
    toon_key_block_free(&order->bytes, leaf);
    while (path->node[depth]->separators->count == 0) {
        inner_free(order, path->node[depth]);
        assert(depth > 0); /* the root has two children */
        depth--;
    }
    drop_child(order, path->node[depth], path->slot[depth]);
}

/* Two small leaves become one, if they have one parent and there is memory. */
static void merge_leaf(toon_key_order *order, struct inner *parent,
                       unsigned slot) {
    if (parent->separators->count == 0) {
        return;
    }
    unsigned first = slot < parent->separators->count ? slot : slot - 1;
    key_block *left = parent->child[first].leaf;
    key_block *right = parent->child[first + 1].leaf;
    size_t prefix = toon_key_text_common(
        toon_key_block_at(left, 0), toon_key_block_at(right, right->count - 1));
    size_t load =
        toon_key_block_load(left, prefix) + toon_key_block_load(right, prefix);
    if (load > LEAF_BYTES_BOTH) {
        return;
    }
    key_block *both = toon_key_block_join(&order->bytes, left, right, prefix);
    if (both == NULL) {
        return;
    }
    drop_child(order, parent, first + 1);
    parent->child[first].leaf = both;
    toon_key_block_free(&order->bytes, left);
    toon_key_block_free(&order->bytes, right);
}

bool toon_key_order_remove(toon_key_order *order, toon_slice key) {
    struct path path;
    bool found;
    lower_root(order); /* a failed insert may have raised it */
    key_block *leaf = walk_down(order, key, &path);
    uint32_t i = toon_key_block_find(leaf, key, &found);
    if (!found) {
        return false;
    }
    toon_key_block_drop(leaf, i);
    order->count--;
    if (path.height == 0) {
        toon_key_block_trim(&order->bytes, &order->root.leaf);
        return true;
    }

    struct inner *parent = path.node[path.height - 1];
    unsigned slot = path.slot[path.height - 1];
    if (leaf->count == 0) {
        free_leaf(order, &path, leaf);
    } else {
        toon_key_block_trim(&order->bytes, &parent->child[slot].leaf);
        if (load_of(parent->child[slot].leaf) < LEAF_BYTES_LOW) {
            merge_leaf(order, parent, slot);
        }
    }
    lower_root(order);
    return true;
}

/* -------------------------------------------------------------- the rest */

toon_key_order *toon_key_order_new(void) {
    toon_key_order *order = calloc(1, sizeof *order);
    if (order == NULL) {
        return NULL;
    }
    order->root.leaf = toon_key_block_new(&order->bytes, 0);
    if (order->root.leaf == NULL) {
        free(order);
        return NULL;
    }
    return order;
}

void toon_key_order_free(toon_key_order *order) {
    if (order == NULL) {
        return;
    }
    struct path path = {.height = order->height};
    union link at = order->root;
    unsigned depth = 0;
    /* Down along the first children, then from child to child; a node goes
     * when all of its children have gone. */
    for (;;) {
        for (; depth < path.height; depth++) {
            path.node[depth] = at.inner;
            path.slot[depth] = 0;
            at = at.inner->child[0];
        }
        toon_key_block_free(&order->bytes, at.leaf);
        while (depth > 0 && path.slot[depth - 1] ==
                                path.node[depth - 1]->separators->count) {
            inner_free(order, path.node[--depth]);
        }
        if (depth == 0) {
            break;
        }
        at = path.node[depth - 1]->child[++path.slot[depth - 1]];
    }
    assert(order->bytes == 0);
    free(order);
}

uint64_t toon_key_order_count(const toon_key_order *order) {
    return order->count;
}

size_t toon_key_order_bytes(const toon_key_order *order) {
    return sizeof *order + order->bytes;
}

static bool inner_check(const struct inner *inner) {
    const key_block *keys = inner->separators;
    return toon_key_block_check(keys) && keys->count <= INNER_KEYS_MAX &&
           keys->prefix_size == 0;
}

/* Empty only as the root; over its size only with one key. */
static bool leaf_check(const toon_key_order *order, const key_block *leaf) {
    return toon_key_block_check(leaf) &&
           (leaf->count > 0 || order->height == 0) &&
           (leaf->count < 2 || load_of(leaf) <= LEAF_BYTES);
}

/* From the node at `depth` the walk has just gone from `last` to `next`: the
 * separator stands between the two, and the nodes below are sound. */
static bool border_check(const struct path *path, unsigned depth,
                         const key_block *last, const key_block *next) {
    for (unsigned d = depth + 1; d < path->height; d++) {
        if (!inner_check(path->node[d])) {
            return false;
        }
    }
    key_text separator =
        toon_key_block_at(path->node[depth]->separators, path->slot[depth] - 1);
    return toon_key_text_less(toon_key_block_at(last, last->count - 1),
                              separator) &&
           !toon_key_text_less(toon_key_block_at(next, 0), separator);
}

bool toon_key_order_check(const toon_key_order *order) {
    struct path path;
    unsigned depth = 0;
    const key_block *leaf = walk_down(order, toon_bytes(NULL, 0), &path);
    for (unsigned d = 0; d < path.height; d++) {
        if (!inner_check(path.node[d])) {
            return false;
        }
    }
    if (!leaf_check(order, leaf)) {
        return false;
    }
    uint64_t count = leaf->count;
    const key_block *last = leaf;
    while ((leaf = walk_on(&path, &depth)) != NULL) {
        if (!leaf_check(order, leaf) ||
            !border_check(&path, depth, last, leaf)) {
            return false;
        }
        count += leaf->count;
        last = leaf;
    }
    return count == order->count;
}
