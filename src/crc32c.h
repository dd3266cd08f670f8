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

#endif
