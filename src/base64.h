/*
 * base64.h - RFC 4648, section 4, with padding, canonical only.
 *
 * Knows bytes; must never know TOON.
 */
#ifndef TOON_BASE64_H
#define TOON_BASE64_H

#include "bytes.h"

/* Characters that `size` bytes become. */
static inline size_t toon_base64_size(size_t size) {
    return (size + 2) / 3 * 4;
}

/* `out` has room for toon_base64_size(in.size) characters. */
void toon_base64_encode(char *out, toon_slice in);

/* Bytes that a canonical text of `in.size` characters stands for; false if
 * its length or padding is wrong. */
bool toon_base64_decoded_size(toon_slice in, size_t *size);

/* `out` has room for that. False on a wrong character or stray bits. */
bool toon_base64_decode(char *out, toon_slice in);

#endif
