/*
 * key_block.h - a sorted run of keys, packed: a node of key_order.c.
 *
 * Knows keys; must never know the tree, values, disk.
 *
 * A block is one allocation, about as large as what it holds: the end of each
 * key, the prefix that all have in common, once, and what follows it of each.
 * `total` below is the caller's count of the bytes of all its blocks.
 */
#ifndef TOON_KEY_BLOCK_H
#define TOON_KEY_BLOCK_H

#include "bytes.h"

typedef struct key_block {
    uint32_t capacity; /* of `ends` to the end of the allocation, in bytes */
    uint32_t count;
    uint32_t prefix_size;
    uint32_t tail_size; /* of all tails together */
    uint32_t ends[];    /* count; then the prefix; then the tails */
} key_block;

static inline const char *key_block_prefix(const key_block *block) {
    return (const char *)(block->ends + block->count);
}

/* A key in two pieces, as a block holds it. */
typedef struct key_text {
    toon_slice head, tail;
} key_text;

static inline key_text key_text_of(toon_slice key) {
    return (key_text){{NULL, 0}, key};
}

static inline size_t key_text_size(key_text text) {
    return text.head.size + text.tail.size;
}

size_t toon_key_text_common(key_text a, key_text b); /* bytes at the start */
bool toon_key_text_less(key_text a, key_text b);

/* The shortest text s with low < s <= high; borrows from `high`. */
key_text toon_key_text_between(key_text low, key_text high);

/* Copies all but the first `skip` bytes; returns where it ended. */
char *toon_key_text_copy(key_text text, size_t skip, char *out);

/* NULL: no memory. An empty one with room for `bytes` of ends and keys; one
 * with this key alone. */
key_block *toon_key_block_new(size_t *total, size_t bytes);
key_block *toon_key_block_of(size_t *total, key_text key);
void toon_key_block_free(size_t *total, key_block *block);

/* A new block of keys [from, to), at least one, which all have the prefix;
 * and of all keys of two blocks. NULL: no memory. */
key_block *toon_key_block_slice(size_t *total, const key_block *source,
                                uint32_t from, uint32_t to, size_t prefix_size);
key_block *toon_key_block_join(size_t *total, const key_block *left,
                               const key_block *right, size_t prefix_size);

/* Makes room for one key more, with that tail; false: no memory, and `*block`
 * is as it was. */
bool toon_key_block_reserve(size_t *total, key_block **block, size_t tail_size);

/* Gives back what it can spare; no harm if that fails. */
void toon_key_block_trim(size_t *total, key_block **block);

/* Borrows from the block. */
key_text toon_key_block_at(const key_block *block, uint32_t i);

/* The first key that is not less. */
uint32_t toon_key_block_find(const key_block *block, toon_slice key,
                             bool *found);

/* Bytes that keys [from, to) have in common at their start. */
size_t toon_key_block_common(const key_block *block, uint32_t from,
                             uint32_t to);

/* Bytes of its ends, its prefix and its tails. */
size_t toon_key_block_bytes(const key_block *block);

/* Bytes of its ends and tails if the prefix had that size. The prefix is left
 * out: it is there once, however long it is and however many keys. */
size_t toon_key_block_load(const key_block *block, size_t prefix_size);

/* Puts a key in that has the prefix, at its place i; the room is reserved. */
void toon_key_block_put(key_block *block, uint32_t i, key_text key);
void toon_key_block_drop(key_block *block, uint32_t i);
void toon_key_block_cut(key_block *block, uint32_t count); /* keep the first */

/* Ends and order of the keys. For tests and debug builds. */
bool toon_key_block_check(const key_block *block);

#endif
