/*
 * key_order.h - all keys in byte order: a B+tree.
 *
 * Knows keys; must never know values, disk, locks. One writer or several
 * readers at a time: the caller serialises (store.c, a read-write lock).
 */
#ifndef TOON_KEY_ORDER_H
#define TOON_KEY_ORDER_H

#include "bytes.h"

typedef struct toon_key_order toon_key_order;

toon_key_order *toon_key_order_new(void); /* NULL: no memory */
void toon_key_order_free(toon_key_order *order);

/* Copies the key. TOON_OK also if it is there already. TOON_NO_MEMORY: the
 * tree is as it was. */
toon_err toon_key_order_insert(toon_key_order *order, toon_slice key);

/* False if it was not there. Never needs memory. */
bool toon_key_order_remove(toon_key_order *order, toon_slice key);

/*
 * Appends to `keys` the first keys >= `from` (> `from` if `after`), in order,
 * until `max_keys` or at least `max_bytes` of them: each as a u32 length
 * (toon_put_u32), then its bytes. Returns how many.
 */
size_t toon_key_order_copy(const toon_key_order *order, toon_slice from,
                           bool after, size_t max_keys, size_t max_bytes,
                           toon_buf *keys);

uint64_t toon_key_order_count(const toon_key_order *order);
size_t toon_key_order_bytes(const toon_key_order *order); /* memory */

/* Order, depth, fill of nodes, counts. For tests and debug builds. */
bool toon_key_order_check(const toon_key_order *order);

#endif
