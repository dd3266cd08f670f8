/*
 * crc32c.h - CRC-32C (Castagnoli; RFC 3720, appendix B.4).
 *
 * Knows bytes; must never know files or records.
 */
#ifndef TOON_CRC32C_H
#define TOON_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continues `crc` (0 to begin) over `size` bytes; the usual inversions are
 * inside, so crc32c(crc32c(0, a), b) is the CRC of a then b. Uses the SSE4.2
 * or ARMv8 instruction where the processor has it. */
uint32_t toon_crc32c(uint32_t crc, const void *data, size_t size);

/* The table-driven twin, for machines without and for the tests. */
uint32_t toon_crc32c_portable(uint32_t crc, const void *data, size_t size);

/*
 * Backwards, for bytes that may be damaged; a table look-up a byte.
 *
 * back: the CRC before these bytes if `crc` is the one behind them, so that
 * toon_crc32c(toon_crc32c_back(c, d, n), d, n) == c.
 *
 * find_start: where in `data` the bytes begin of which, continued from
 * `start`, `crc` is the CRC up to the end; the last such place. SIZE_MAX: none.
 *
 * find_byte: which one byte of `size`, and the exclusive or of what it is and
 * was, explains that the CRC of them all is wrong by `difference` (exclusive
 * or, not 0). SIZE_MAX: none, so more than one byte is wrong.
 */
uint32_t toon_crc32c_back(uint32_t crc, const void *data, size_t size);
size_t toon_crc32c_find_start(uint32_t start, uint32_t crc, const void *data,
                              size_t size);
size_t toon_crc32c_find_byte(uint32_t difference, size_t size,
                             unsigned char *change);

#endif
