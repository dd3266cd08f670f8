/*
 * mend.h - puts checksums right, so that random changes of a file reach what
 * lies behind them.
 *
 * Knows where the files' checksums are (doc/format.md), and none of the code
 * that is fuzzed but the CRC itself.
 */
#ifndef TOON_FUZZ_MEND_H
#define TOON_FUZZ_MEND_H

#include <stddef.h>
#include <stdint.h>

/* The last eight characters of the line, its LF not counted. */
void mend_line(char *line, size_t size, uint32_t salt);

/* The first line's salt; 0 if there is no such line. */
uint32_t mend_salt_of(const char *log, size_t size);

/* The headline and all lines behind it. */
void mend_log(char *log, size_t size);

/* The index's own checksum. */
void mend_index(char *index, size_t size);

/* Makes the index one of this log: its salt, and the CRC of the line that it
 * says is the last. */
void mend_index_for_log(char *index, size_t size, const char *log,
                        size_t log_size);

#endif
