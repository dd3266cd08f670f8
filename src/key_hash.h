/*
 * key_hash.h - the keyed 64-bit hash of a key: XXH3 with a secret seed, so
 * that nobody can choose keys that collide.
 */
#ifndef TOON_KEY_HASH_H
#define TOON_KEY_HASH_H

#include "toonstore.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

static inline uint64_t toon_key_hash(toon_slice key, uint64_t seed) {
    return XXH3_64bits_withSeed(key.size ? key.data : "", key.size, seed);
}

#endif
