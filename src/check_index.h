/*
 * check_index.h - is what the index says what the log says?
 *
 * Its CRC tells that it is what somebody wrote. This looks at whether that
 * was right: every row, slot and expiry against a replay of the log.
 *
 * An index that was written beside changes leaves out the keys that were
 * changed before it was done; the log's tail brings them back (checkpoint.c).
 * So what it lacks is wrong only if the tail does not.
 *
 * Knows the index file's content and the volume; must never know files.
 */
#ifndef TOON_CHECK_INDEX_H
#define TOON_CHECK_INDEX_H

#include "index_file.h"
#include "volume.h"

typedef struct toon_index_audit {
    const toon_index *index;
    toon_slot *lacking; /* slots of the log that it has not; owned */
    size_t lacking_count, lacking_capacity;
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

/* With the volume as the whole log leaves it. In an epoch. */
void toon_index_audit_tail(toon_index_audit *audit, const toon_volume *volume);

void toon_index_audit_free(toon_index_audit *audit);

#endif
