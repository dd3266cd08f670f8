/*
 * index_file.h - db.toon.idx: where rows start, and the key table, so that
 * opening is fast. A cache of the log: missing or unfit, it is made anew.
 *
 * Layout (little-endian), after doc/format.md:
 *   0   8 bytes  "TOONIDX1"
 *   8   u32      count of rows
 *   12  u64 × count   offset of row i's line; 0: deleted or superseded
 *   then the key section, which the ancestor's reader does not look at:
 *   0   8 bytes  "TOONKEYS"
 *   8   u32      salt of the log
 *   12  u32      CRC of the last record that is covered (0: there is none)
 *   16  u64      length of the log that is covered
 *   24  u64      offset of that last record
 *   32  u64      bytes of live records
 *   40  u64      seed of the key hash
 *   48  u64      slots
 *   56  u64      entries with an expiry
 *   64  u64 × 2 × slots     hash, payload (offset, length, builds on another:
 *                           volume.h); two zeros stand for nothing
 *   …   u64 × 3 × entries   hash, payload, expiry in ms; three zeros: nothing
 *   …   u32      CRC-32C of everything before
 *
 * Knows this layout; must never know the inside of the log or the key table.
 */
#ifndef TOON_INDEX_FILE_H
#define TOON_INDEX_FILE_H

#include "expiry.h"
#include "io.h"
#include "slot_map.h"

#define TOON_INDEX_NAME     "db.toon.idx"
#define TOON_INDEX_NEW_NAME "db.toon.idx.new"

typedef struct toon_index_head {
    uint32_t salt;
    uint32_t last_crc;
    uint64_t covered;
    uint64_t last_offset; /* 0: the log had no record */
    uint64_t live_bytes;
    uint64_t seed;
    uint64_t rows;
    uint64_t slots;
    uint64_t expiring;
} toon_index_head;

/* A loaded index: the file, mapped. It is never changed in place. */
typedef struct toon_index {
    toon_index_head head;
    const toon_io *io;
    char *at; /* NULL: none is loaded */
    size_t size;
    const char *row_offsets; /* u64 × rows, into bytes */
    const char *slot_pairs;
    const char *expiry_triples;
} toon_index;

/* TOON_NOT_FOUND: there is none. TOON_CORRUPT: not an index, or damaged. */
toon_err toon_index_load(const toon_dir *dir, toon_index *out);
void toon_index_free(toon_index *index);

/* What an open index is of, without reading all of it: its checksum is not
 * looked at. TOON_CORRUPT: not an index. */
toon_err toon_index_peek(const toon_file *file, toon_index_head *out);

uint64_t toon_index_row(const toon_index *index, uint64_t row);
toon_slot toon_index_slot(const toon_index *index, uint64_t i);
toon_expiry_entry toon_index_expiry(const toon_index *index, uint64_t i);

/*
 * Writes a new index in pieces: begin, then exactly as many rows, slots and
 * expiries as the head says, in that order, then end, which syncs and renames
 * it into place. The error is sticky and told by end; a writer that was begun
 * must be ended.
 */
typedef struct toon_index_writer {
    const toon_dir *dir;
    toon_file file;
    toon_buf buf;
    uint64_t offset;
    uint32_t crc;
    toon_err err;
    toon_index_head head;
    uint64_t rows_left;
    uint64_t slots_left;
    uint64_t expiring_left;
} toon_index_writer;

void toon_index_begin(toon_index_writer *writer, const toon_dir *dir,
                      const toon_index_head *head);
void toon_index_add_row(toon_index_writer *writer, uint64_t offset);
void toon_index_add_slot(toon_index_writer *writer, toon_slot slot);
void toon_index_add_expiry(toon_index_writer *writer, toon_expiry_entry entry);
toon_err toon_index_end(toon_index_writer *writer);

#endif
