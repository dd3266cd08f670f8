/* mend.c - checksums put right. */
#include "mend.h"

#include "bytes.h"
#include "crc32c.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    CRC_DIGITS = 8,
    HEADER_SIZE = 16,    /* of the log, before its first line */
    ROWS_HEAD_SIZE = 12, /* of the index */
    KEYS_HEAD_SIZE = 64, /* of its second section */
    CRC_SIZE = 4,        /* at its end */
    AT_SALT = 8,         /* in the second section */
    AT_LAST_CRC = 12,
    AT_LAST_OFFSET = 24,
};

void mend_line(char *line, size_t size, uint32_t salt) {
    char digits[CRC_DIGITS + 1];
    if (size < CRC_DIGITS)
        return;
    size_t covered = size - CRC_DIGITS;
    unsigned crc = toon_crc32c(salt, line, covered);
    (void)snprintf(digits, sizeof digits, "%08x", crc);
    memcpy(line + covered, digits, CRC_DIGITS);
}

uint32_t mend_salt_of(const char *log, size_t size) {
    static const char name[] = " salt=";
    char digits[CRC_DIGITS + 1] = {0};
    if (size <= HEADER_SIZE)
        return 0;
    const char *line = log + HEADER_SIZE;
    size_t rest = size - HEADER_SIZE;
    const char *end = memchr(line, '\n', rest);
    if (end != NULL)
        rest = (size_t)(end - line);
    const char *at = memmem(line, rest, name, sizeof name - 1);
    if (at == NULL || at + sizeof name - 1 + CRC_DIGITS > line + rest)
        return 0;
    memcpy(digits, at + sizeof name - 1, CRC_DIGITS);
    return (uint32_t)strtoul(digits, NULL, 16);
}

void mend_log(char *log, size_t size) {
    size_t at = HEADER_SIZE;
    uint32_t salt = 0;
    while (at < size) {
        const char *end = memchr(log + at, '\n', size - at);
        if (end == NULL)
            return;
        size_t line_size = (size_t)(end - log) - at;
        mend_line(log + at, line_size, salt);
        if (at == HEADER_SIZE)
            salt = mend_salt_of(log, size);
        at += line_size + 1;
    }
}

void mend_index(char *index, size_t size) {
    if (size < CRC_SIZE)
        return;
    size -= CRC_SIZE;
    toon_put_u32(index + size, toon_crc32c(0, index, size));
}

/* Its digits, as they stand in the line at `offset`. */
static uint32_t crc_of_line(const char *log, size_t size, uint64_t offset) {
    char digits[CRC_DIGITS + 1] = {0};
    if (offset >= size)
        return 0;
    const char *end = memchr(log + offset, '\n', size - (size_t)offset);
    if (end == NULL || end - (log + offset) < CRC_DIGITS)
        return 0;
    memcpy(digits, end - CRC_DIGITS, CRC_DIGITS);
    return (uint32_t)strtoul(digits, NULL, 16);
}

void mend_index_for_log(char *index, size_t size, const char *log,
                        size_t log_size) {
    if (size < ROWS_HEAD_SIZE + KEYS_HEAD_SIZE + CRC_SIZE)
        return;
    size_t rows = toon_get_u32(index + 8);
    size_t most = size - ROWS_HEAD_SIZE - KEYS_HEAD_SIZE - CRC_SIZE;
    if (rows > most / 8)
        return;
    char *keys = index + ROWS_HEAD_SIZE + rows * 8;
    uint64_t last = toon_get_u64(keys + AT_LAST_OFFSET);
    toon_put_u32(keys + AT_SALT, mend_salt_of(log, log_size));
    toon_put_u32(keys + AT_LAST_CRC, crc_of_line(log, log_size, last));
}
