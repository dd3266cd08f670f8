/*
 * recover.h - from the files of a directory to a volume: index, then the
 * log's tail; torn ends and damage told apart. doc/format.md, "Validity, and
 * what opening does", is the specification.
 *
 * Knows log, index file and volume; must never know clients or locks.
 */
#ifndef TOON_RECOVER_H
#define TOON_RECOVER_H

#include "index_file.h"
#include "volume.h"

typedef struct toon_recovery {
    uint64_t indexed;      /* bytes of the log that the index covers; 0: there
                              is none that fits */
    uint64_t replayed;     /* records read from the log's tail */
    uint64_t torn_bytes;   /* cut off (read-only: passed over) */
    uint64_t missing_rows; /* the header counts so many more than there are */
    bool is_written;       /* read-only: another process has the store open */
    char kept[32];         /* name of the file that holds them; "": all zeros,
                              or no room for it */
    bool no_room;
} toon_recovery;

/*
 * Opens the log and brings its volume to life. TOON_NOT_FOUND: there is no
 * log.
 *
 * With `read_only` nothing is written and nobody kept out: it is a snapshot
 * of what another process may be writing, whole batches up to where the log
 * went at some moment of the call. What is half written behind them is not
 * torn.
 */
toon_err toon_recover(const toon_dir *dir, bool read_only, toon_volume **out,
                      toon_recovery *recovery);

/* In an epoch. Applies a valid record to the volume, as the next of the log.
 * `kept`: what stays live beside what it builds on. `scratch` has its key
 * afterwards. */
toon_err toon_replay_record(toon_volume *volume, const toon_record *record,
                            uint64_t offset, toon_kept kept, toon_buf *scratch);

/* Where there is no log: TOON_NOT_FOUND, or if there was one, as an index
 * tells, TOON_CORRUPT: an empty log must not take its place unasked. */
toon_err toon_log_missing(const toon_dir *dir);

/* Makes an empty log in place of whatever is there: written aside, synced,
 * renamed, the directory synced. *renamed tells, also on failure, whether the
 * log before is gone from the directory. */
toon_err toon_log_install(const toon_dir *dir, uint64_t base, bool *renamed);

/* Is the index of this log: the same salt, not more of it than there is, and
 * does its last record stand where it says? */
bool toon_index_fits(const toon_index *index, const toon_log *log);

/* For tst check: the offset below which everything must be valid, as far as
 * the sync marks at or past `from` tell; 0: no mark. */
uint64_t toon_last_mark(const toon_log *log, uint64_t from);

#endif
