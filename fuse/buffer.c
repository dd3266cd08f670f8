/*
 * buffer.c - the content of one open file. Pure memory; must never know keys,
 * the store's calls or the kernel.
 */
#include "buffer.h"

#include <assert.h>
#include <stdlib.h>

#define CAPACITY_MIN ((size_t)4096)

void buffer_init(buffer *b) {
    *b = (buffer){.base_size = 0};
}

void buffer_free(buffer *b) {
    toon_value_release(&b->base);
    free(b->tail);
    buffer_init(b);
}

size_t buffer_size(const buffer *b) {
    return b->base_size + b->tail_size;
}

void buffer_set_base_size(buffer *b, size_t size) {
    assert(b->tail_size == 0 && !b->whole);
    b->base_size = size;
    b->base_missing = size > 0;
}

void buffer_set_base(buffer *b, toon_value *value) {
    assert(b->base_missing && value->size == b->base_size);
    b->base = *value;
    b->base_missing = false;
    *value = (toon_value){.data = NULL};
}

static bool reserve_tail(buffer *b, size_t size) {
    if (size <= b->tail_capacity) {
        return true;
    }
    size_t capacity = b->tail_capacity + b->tail_capacity / 2;
    if (capacity < size) {
        capacity = size;
    }
    if (capacity < CAPACITY_MIN) {
        capacity = CAPACITY_MIN;
    }
    char *tail = realloc(b->tail, capacity);
    if (tail == NULL) {
        return false;
    }
    b->tail = tail;
    b->tail_capacity = capacity;
    return true;
}

bool buffer_append(buffer *b, toon_slice bytes) {
    if (!reserve_tail(b, b->tail_size + bytes.size)) {
        return false;
    }
    if (bytes.size > 0) {
        memcpy(b->tail + b->tail_size, bytes.data, bytes.size);
    }
    b->tail_size += bytes.size;
    return true;
}

/* All content into the tail, with room for `size` bytes. */
static bool make_whole(buffer *b, size_t size) {
    assert(!b->base_missing);
    size_t now = buffer_size(b);
    if (!reserve_tail(b, size > now ? size : now)) {
        return false;
    }
    if (b->base_size > 0) {
        memmove(b->tail + b->base_size, b->tail, b->tail_size);
        memcpy(b->tail, b->base.data, b->base_size);
        b->tail_size = now;
        b->tail_committed = 0;
        b->base_size = 0;
    }
    toon_value_release(&b->base);
    b->whole = true;
    return true;
}

bool buffer_truncate(buffer *b, size_t size) {
    if (size == 0) {
        toon_value_release(&b->base);
        b->base_size = 0;
        b->base_missing = false;
        b->tail_size = 0;
        b->tail_committed = 0;
        b->whole = true;
        return true;
    }
    if (!make_whole(b, size)) {
        return false;
    }
    if (size > b->tail_size) {
        memset(b->tail + b->tail_size, 0, size - b->tail_size);
    }
    b->tail_size = size;
    if (b->tail_committed > size) {
        b->tail_committed = size;
    }
    return true;
}

bool buffer_write(buffer *b, size_t offset, toon_slice bytes) {
    size_t end = offset + bytes.size;
    if (!make_whole(b, end)) {
        return false;
    }
    if (offset > b->tail_size) {
        memset(b->tail + b->tail_size, 0, offset - b->tail_size);
    }
    if (bytes.size > 0) {
        memcpy(b->tail + offset, bytes.data, bytes.size);
    }
    if (end > b->tail_size) {
        b->tail_size = end;
    }
    return true;
}

static int put_slice(struct iovec *out, const char *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    /* iovec serves reading and writing alike, so it has no const. */
    out->iov_base = (void *)(uintptr_t)data;
    out->iov_len = size;
    return 1;
}

int buffer_slices(const buffer *b, size_t offset, size_t size,
                  struct iovec out[2]) {
    size_t all = buffer_size(b);
    if (offset >= all) {
        return 0;
    }
    if (size > all - offset) {
        size = all - offset;
    }
    int count = 0;
    if (offset < b->base_size) {
        assert(!b->base_missing);
        size_t first = b->base_size - offset;
        if (first > size) {
            first = size;
        }
        count += put_slice(out, b->base.data + offset, first);
        offset += first;
        size -= first;
    }
    if (size > 0) {
        count +=
            put_slice(out + count, b->tail + (offset - b->base_size), size);
    }
    return count;
}

toon_slice buffer_uncommitted(const buffer *b) {
    size_t from = b->whole ? 0 : b->tail_committed;
    return from == b->tail_size
               ? toon_bytes(NULL, 0)
               : toon_bytes(b->tail + from, b->tail_size - from);
}

void buffer_committed(buffer *b) {
    b->whole = false;
    b->tail_committed = b->tail_size;
}

/* Does `newer` start with all that was committed? */
static bool extends(const buffer *b, const toon_value *newer) {
    if (newer->size < b->base_size + b->tail_committed) {
        return false;
    }
    bool same_base = b->base_size == 0 || b->base_missing ||
                     memcmp(newer->data, b->base.data, b->base_size) == 0;
    return same_base &&
           (b->tail_committed == 0 || memcmp(newer->data + b->base_size,
                                             b->tail, b->tail_committed) == 0);
}

bool buffer_rebase(buffer *b, toon_value *newer, bool force) {
    if (b->whole || !(force || extends(b, newer))) {
        return false;
    }
    if (b->tail_committed > 0) {
        b->tail_size -= b->tail_committed;
        memmove(b->tail, b->tail + b->tail_committed, b->tail_size);
        b->tail_committed = 0;
    }
    toon_value_release(&b->base);
    b->base = *newer;
    b->base_size = newer->size;
    b->base_missing = false;
    *newer = (toon_value){.data = NULL};
    return true;
}

bool buffer_check(const buffer *b) {
    return b->tail_size <= b->tail_capacity &&
           b->tail_committed <= b->tail_size &&
           (!b->whole || b->base_size == 0) &&
           (!b->base_missing || b->base_size > 0) &&
           (b->base_missing || b->base_size == 0 ||
            b->base.size == b->base_size);
}
