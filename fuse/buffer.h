/*
 * buffer.h - the content of one open file: what the store has of it, pinned,
 * and what was written since.
 *
 * Pure memory: must never know keys, the store's calls or the kernel.
 *
 * The content is `base` followed by `tail`. What only appends leaves the base
 * alone and costs what it appends; every other write first moves all of it
 * into the tail (`whole`), and is committed as a whole.
 */
#ifndef TOON_BUFFER_H
#define TOON_BUFFER_H

#include "toonstore.h"

#include <sys/uio.h>

typedef struct buffer {
    toon_value base;   /* pinned; all zero while only its size is known */
    size_t base_size;  /* 0: the tail is everything */
    bool base_missing; /* the size alone is known */
    bool whole;        /* must be committed whole, not as an append */
    char *tail;
    size_t tail_size, tail_capacity;
    size_t tail_committed; /* that much of the tail is in the store */
} buffer;

void buffer_init(buffer *b);
void buffer_free(buffer *b);

size_t buffer_size(const buffer *b);

/* Only before anything was written. */
void buffer_set_base_size(buffer *b, size_t size);

/* The base that was missing, of that size. Takes the pin over. */
void buffer_set_base(buffer *b, toon_value *value);

/* False: no memory, nothing has changed. Writing and truncating need a base
 * that is not missing, unless all is cut away. */
bool buffer_append(buffer *b, toon_slice bytes);
bool buffer_write(buffer *b, size_t offset, toon_slice bytes);
bool buffer_truncate(buffer *b, size_t size);

/* The bytes of [offset, offset + size) as at most two slices, which die with
 * the next change. Returns their number. */
int buffer_slices(const buffer *b, size_t offset, size_t size,
                  struct iovec out[2]);

/* What an append commits; with `whole`, the tail is the content. */
toon_slice buffer_uncommitted(const buffer *b);

/* All of it is in the store now. */
void buffer_committed(buffer *b);

/*
 * The store has a newer value. If it only adds to the end of what was
 * committed, or if `force` says that this does not matter, the buffer moves on
 * to it (and takes the pin), with what is not committed yet behind it. Else
 * false, and nothing has changed. Never moves a buffer that is whole.
 */
bool buffer_rebase(buffer *b, toon_value *newer, bool force);

/* Debug builds and tests: the invariants. */
bool buffer_check(const buffer *b);

#endif
