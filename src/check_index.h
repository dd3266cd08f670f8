/*
 * check_index.h - is what the index says what the log says?
 *
 * Its CRC tells that it is what somebody wrote. This looks at whether that
 * was right: every row, slot and expiry against a replay of the log.
 *
 * Knows the index file's content and the volume; must never know files.
 */
#ifndef TOON_CHECK_INDEX_H
#define TOON_CHECK_INDEX_H

#include "index_file.h"
#include "volume.h"

typedef struct toon_index_audit {
    const toon_index *index;
    uint64_t rows;   /* records below what it covers, so far */
    uint64_t wrong;  /* entries */
    char first[160]; /* what is wrong with the first of them */
} toon_index_audit;

/* For each record below what the index covers, in their order. */
void toon_index_audit_row(toon_index_audit *audit, uint64_t offset);

/* With the volume as it is when all these have been replayed; its hash is the
 * index's. In an epoch. TOON_NO_MEMORY. */
toon_err toon_index_audit_end(toon_index_audit *audit,
                              const toon_volume *volume);

#endif
