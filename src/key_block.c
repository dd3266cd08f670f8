/*
 * key_block.c - a sorted run of keys, packed: a node of key_order.c.
 *
 * Knows keys; must never know the tree, values, disk.
 */
#include "key_block.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>

enum {
    GROWTH_BYTES = 128,    /* blocks grow in steps of this */
    SPARE_BYTES_MAX = 512, /* and are trimmed past this */
};

/* -------------------------------------------------------------------- texts */

static unsigned char text_byte(key_text text, size_t i) {
    size_t head = text.head.size;
    const char *at =
        i < head ? text.head.data + i : text.tail.data + (i - head);
    return (unsigned char)*at;
}

size_t toon_key_text_common(key_text a, key_text b) {
    size_t most = key_text_size(a) < key_text_size(b) ? key_text_size(a)
                                                      : key_text_size(b);
    size_t i = 0;
    while (i < most && text_byte(a, i) == text_byte(b, i)) {
        i++;
    }
    return i;
}

bool toon_key_text_less(key_text a, key_text b) {
    size_t i = toon_key_text_common(a, b);
    if (i == key_text_size(a) || i == key_text_size(b)) {
        return key_text_size(a) < key_text_size(b);
    }
    return text_byte(a, i) < text_byte(b, i);
}

static key_text text_cut(key_text text, size_t size) {
    if (size <= text.head.size) {
        return key_text_of(toon_bytes(text.head.data, size));
    }
    text.tail.size = size - text.head.size;
    return text;
}

char *toon_key_text_copy(key_text text, size_t skip, char *out) {
    toon_slice pieces[] = {text.head, text.tail};
    for (int i = 0; i < 2; i++) {
        size_t cut = skip < pieces[i].size ? skip : pieces[i].size;
        size_t size = pieces[i].size - cut;
        skip -= cut;
        if (size != 0) {
            memcpy(out, pieces[i].data + cut, size);
            out += size;
        }
    }
    return out;
}

key_text toon_key_text_between(key_text low, key_text high) {
    return text_cut(high, toon_key_text_common(low, high) + 1);
}

/* ------------------------------------------------------------------- blocks */

static const char *block_tails(const key_block *block) {
    return key_block_prefix(block) + block->prefix_size;
}

static uint32_t tail_begin(const key_block *block, uint32_t i) {
    return i == 0 ? 0 : block->ends[i - 1];
}

static toon_slice tail_at(const key_block *block, uint32_t i) {
    uint32_t begin = tail_begin(block, i);
    return toon_bytes(block_tails(block) + begin, block->ends[i] - begin);
}

key_text toon_key_block_at(const key_block *block, uint32_t i) {
    toon_slice prefix = toon_bytes(key_block_prefix(block), block->prefix_size);
    return (key_text){prefix, tail_at(block, i)};
}

size_t toon_key_block_bytes(const key_block *block) {
    return block->count * sizeof block->ends[0] + block->prefix_size +
           block->tail_size;
}

size_t toon_key_block_load(const key_block *block, size_t size) {
    return block->count * (sizeof block->ends[0] + block->prefix_size) +
           block->tail_size - block->count * size;
}

static size_t round_up(size_t bytes) {
    return (bytes + GROWTH_BYTES - 1) / GROWTH_BYTES * GROWTH_BYTES;
}

key_block *toon_key_block_new(size_t *total, size_t bytes) {
    size_t capacity = round_up(bytes);
    key_block *block = malloc(sizeof *block + capacity);
    if (block == NULL) {
        return NULL;
    }
    *block = (key_block){.capacity = (uint32_t)capacity};
    *total += sizeof *block + capacity;
    return block;
}

void toon_key_block_free(size_t *total, key_block *block) {
    *total -= sizeof *block + block->capacity;
    free(block);
}

static bool block_resize(size_t *total, key_block **block, size_t bytes) {
    size_t capacity = round_up(bytes);
    if (capacity == (*block)->capacity) {
        return true;
    }
    key_block *moved = realloc(*block, sizeof *moved + capacity);
    if (moved == NULL) {
        return false;
    }
    *total -= moved->capacity;
    *total += capacity;
    moved->capacity = (uint32_t)capacity;
    *block = moved;
    return true;
}

bool toon_key_block_reserve(size_t *total, key_block **block,
                            size_t tail_size) {
    size_t bytes = toon_key_block_bytes(*block) + sizeof(uint32_t) + tail_size;
    return bytes <= (*block)->capacity || block_resize(total, block, bytes);
}

void toon_key_block_trim(size_t *total, key_block **block) {
    if (toon_key_block_bytes(*block) < (*block)->capacity / 2 ||
        (*block)->capacity > toon_key_block_bytes(*block) + SPARE_BYTES_MAX) {
        (void)block_resize(total, block, toon_key_block_bytes(*block));
    }
}

/* The first eight bytes as a number that sorts as they do; zeros where there
 * are fewer. Most comparisons of a search end with it. */
static inline uint64_t head_of(const char *data, size_t size) {
    uint64_t head = 0;
    if (size >= sizeof head) {
        memcpy(&head, data, sizeof head);
        return be64toh(head);
    }
    for (size_t i = 0; i < size; i++) {
        head |= (uint64_t)(unsigned char)data[i] << (56 - 8 * i);
    }
    return head;
}

static uint32_t tail_find(const key_block *block, toon_slice tail,
                          bool *found) {
    uint64_t head = head_of(tail.data, tail.size);
    uint32_t low = 0, high = block->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        toon_slice there = tail_at(block, middle);
        uint64_t its_head = head_of(there.data, there.size);
        bool less = its_head < head;
        if (its_head == head) {
            int order = toon_slice_compare(there, tail);
            *found = *found || order == 0;
            less = order < 0;
        }
        low = less ? middle + 1 : low;
        high = less ? high : middle;
    }
    return low;
}

/* All of them have the prefix, so only their tails are looked at once `key`
 * has it too. */
uint32_t toon_key_block_find(const key_block *block, toon_slice key,
                             bool *found) {
    *found = false;
    size_t size = block->prefix_size;
    if (size == 0) {
        return tail_find(block, key, found);
    }
    toon_slice head = toon_bytes(key.data, key.size < size ? key.size : size);
    int order =
        toon_slice_compare(head, toon_bytes(key_block_prefix(block), size));
    if (order != 0) {
        return order < 0 ? 0 : block->count;
    }
    return tail_find(block, toon_bytes(key.data + size, key.size - size),
                     found);
}

void toon_key_block_put(key_block *block, uint32_t i, key_text key) {
    size_t size = key_text_size(key) - block->prefix_size;
    uint32_t begin = tail_begin(block, i);
    size_t before = block->prefix_size + begin;
    char *old = (char *)(block->ends + block->count);
    char *new = old + sizeof block->ends[0];

    assert(toon_key_block_bytes(block) + sizeof block->ends[0] + size <=
           block->capacity);
    memmove(new + before + size, old + before, block->tail_size - begin);
    memmove(new, old, before);
    (void)toon_key_text_copy(key, block->prefix_size, new + before);

    for (uint32_t k = block->count; k > i; k--) {
        block->ends[k] = block->ends[k - 1] + (uint32_t)size;
    }
    block->ends[i] = begin + (uint32_t)size;
    block->count++;
    block->tail_size += (uint32_t)size;
}

void toon_key_block_drop(key_block *block, uint32_t i) {
    uint32_t begin = tail_begin(block, i), end = block->ends[i];
    size_t before = block->prefix_size + begin;
    char *old = (char *)(block->ends + block->count);
    char *new = old - sizeof block->ends[0];

    for (uint32_t k = i; k + 1 < block->count; k++) {
        block->ends[k] = block->ends[k + 1] - (end - begin);
    }
    memmove(new, old, before);
    memmove(new + before, old + block->prefix_size + end,
            block->tail_size - end);
    block->count--;
    block->tail_size -= end - begin;
    if (block->count == 0) {
        block->prefix_size = 0;
    }
}

/* Puts keys [from, to) of `source` behind those of `block`, which has the
 * room and a prefix that they have as well. */
static void copy_keys(key_block *block, const key_block *source, uint32_t from,
                      uint32_t to) {
    uint32_t i = block->count;
    char *old = (char *)(block->ends + block->count);
    block->count += to - from;
    memmove(block->ends + block->count, old,
            block->prefix_size + block->tail_size);

    char *start = (char *)(block->ends + block->count) + block->prefix_size;
    char *out = start + block->tail_size;
    for (; from < to; from++) {
        out = toon_key_text_copy(toon_key_block_at(source, from),
                                 block->prefix_size, out);
        block->ends[i++] = (uint32_t)(out - start);
    }
    block->tail_size = (uint32_t)(out - start);
}

void toon_key_block_cut(key_block *block, uint32_t count) {
    const char *old = key_block_prefix(block);
    block->tail_size = tail_begin(block, count);
    block->count = count;
    memmove(block->ends + count, old, block->prefix_size + block->tail_size);
}

static void set_prefix(key_block *block, key_text key, size_t size) {
    block->prefix_size = (uint32_t)size;
    (void)toon_key_text_copy(text_cut(key, size), 0, (char *)block->ends);
}

size_t toon_key_block_common(const key_block *block, uint32_t from,
                             uint32_t to) {
    return toon_key_text_common(toon_key_block_at(block, from),
                                toon_key_block_at(block, to - 1));
}

key_block *toon_key_block_slice(size_t *total, const key_block *source,
                                uint32_t from, uint32_t to,
                                size_t prefix_size) {
    uint32_t count = to - from;
    size_t bytes = source->ends[to - 1] - tail_begin(source, from) +
                   count * (sizeof source->ends[0] + source->prefix_size) +
                   prefix_size - count * prefix_size;
    key_block *block = toon_key_block_new(total, bytes);
    if (block != NULL) {
        set_prefix(block, toon_key_block_at(source, from), prefix_size);
        copy_keys(block, source, from, to);
    }
    return block;
}

key_block *toon_key_block_join(size_t *total, const key_block *left,
                               const key_block *right, size_t prefix_size) {
    size_t bytes = prefix_size + toon_key_block_load(left, prefix_size) +
                   toon_key_block_load(right, prefix_size);
    key_block *block = toon_key_block_new(total, bytes);
    if (block != NULL) {
        set_prefix(block, toon_key_block_at(left, 0), prefix_size);
        copy_keys(block, left, 0, left->count);
        copy_keys(block, right, 0, right->count);
    }
    return block;
}

key_block *toon_key_block_of(size_t *total, key_text key) {
    key_block *block =
        toon_key_block_new(total, sizeof(uint32_t) + key_text_size(key));
    if (block != NULL) {
        toon_key_block_put(block, 0, key);
    }
    return block;
}

bool toon_key_block_check(const key_block *block) {
    uint32_t begin = 0;
    if (toon_key_block_bytes(block) > block->capacity) {
        return false;
    }
    for (uint32_t i = 0; i < block->count; i++) {
        if (block->ends[i] < begin || block->ends[i] > block->tail_size ||
            (i > 0 && toon_slice_compare(tail_at(block, i - 1),
                                         tail_at(block, i)) >= 0)) {
            return false;
        }
        begin = block->ends[i];
    }
    return begin == block->tail_size;
}
