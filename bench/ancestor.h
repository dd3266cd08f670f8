/*
 * ancestor.h - the ancestor's way to keep rows: the base line of bench_core.
 *
 * Knows files and an LRU list; must never know toonstore.
 *
 * It re-creates an access pattern, not a program: a put is one write of the
 * line, one of the index's count and one of the index's entry; a get is an
 * lseek and reads of 4 KiB until a newline; recent values are in an LRU list
 * with a hash table under one lock.
 */
#ifndef BENCH_ANCESTOR_H
#define BENCH_ANCESTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct ancestor ancestor;

/* Two new files in `dir`. Values to cache: 0 for none. NULL: errno says. */
ancestor *ancestor_open(const char *dir, size_t cache_entries);
void ancestor_close(ancestor *self);

/* The row number is 0 for the first put, then 1, and so on. A value has no
 * newline. False: errno says. */
bool ancestor_put(ancestor *self, const char *value, size_t size);

/* Copies the value to `out`; false if it is not there or does not fit. */
bool ancestor_get(ancestor *self, uint32_t row, char *out, size_t capacity,
                  size_t *size);

#endif
