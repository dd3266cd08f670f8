/*
 * salvage_internal.h - one repair, for salvage.c and its salvage_*.c.
 *
 * salvage.c decides the steps; salvage_find.c finds out what is left and what
 * is lost; salvage_index.c asks the index, too; salvage_write.c makes the new
 * log and puts it in place.
 */
#ifndef TOON_SALVAGE_INTERNAL_H
#define TOON_SALVAGE_INTERNAL_H

#include "salvage_claims.h"
#include "survey.h"

/* A key that is left, and of which the index does not tell: it was deleted, or
 * it changed while the index was written, and the log behind tells more. */
typedef struct toon_unlisted {
    uint64_t hash;
    uint64_t payload;
    bool may_be_deleted; /* the record that did it can be among what is lost */
} toon_unlisted;

typedef struct toon_salvage {
    const toon_dir *dir;
    toon_finding_fn *finding;
    toon_progress_fn *progress;
    void *arg;
    toon_repair_report *report;

    unsigned phase; /* of TOON_SALVAGE_PHASES, for the progress */
    uint64_t told;  /* of the progress, last */
    uint64_t size;  /* of the old log */

    toon_index index;
    bool has_index;   /* it is of this log: a witness of what was there */
    bool moved;       /* bytes are missing before what it tells of, or it is
                         of another continuation of this log */
    bool met_last;    /* its last record is where it says */
    uint64_t missing; /* bytes, as marks tell, that were before them */
    toon_unlisted *unlisted; /* owned */
    size_t unlisted_count, unlisted_capacity;
    toon_survey survey;
    toon_claims claims;
    toon_survey_list unknown; /* places that may have held anybody's record */
    toon_damage *places;      /* owned; what goes to the side file */
    size_t place_count, place_capacity;
    size_t left_out;        /* valid records */
    uint64_t left_out_last; /* where the last of them is; 0: none */
    uint64_t rows;          /* valid records */
    uint64_t rows_damaged;  /* lines that were records, as it seems */
    uint64_t rows_covered;  /* both, before the index's end */
    uint64_t number_next;   /* above every key that is a number, if the log's
                               base is not known */
} toon_salvage;

enum {
    TOON_SALVAGE_PHASES = 3,   /* check, find, write */
    TOON_SALVAGE_ROW_MIN = 16, /* bytes; a row is longer */
};

void toon_salvage_tell_progress(toon_salvage *salvage, uint64_t done);

/* Tells of something at `offset`; -1: nowhere. */
void toon_salvage_find(const toon_salvage *salvage, int64_t offset,
                       const char *text);

/* The same of a key: `text`, its name as it stands in a log, `more`. */
void toon_salvage_find_key(const toon_salvage *salvage, uint64_t offset,
                           const char *text, toon_slice key, const char *more);

/* Reads the log; afterwards survey.volume has the keys that are left, and the
 * claims those that are not as they were. TOON_VERSION: a newer program's
 * record is among them. */
toon_err toon_salvage_read(toon_salvage *salvage);

/* Records that are there, or seem to have been. */
static inline uint64_t toon_salvage_rows_seen(const toon_salvage *salvage) {
    return salvage->rows + salvage->rows_damaged;
}

/* What the header counts, if it is more than `rows` and can be. */
uint64_t toon_salvage_rows_hinted(const toon_salvage *salvage, uint64_t rows);

/* Is the index of this log, as far as can be told before the log is read? */
bool toon_salvage_is_witness(const toon_salvage *salvage);

/* Where the index's end has been read: from here back, it knows whose newest
 * records are missing. */
toon_err toon_salvage_ask_index(toon_salvage *salvage);

/* Where the log's end has been read: removes the keys that were deleted
 * although the record of that is lost. */
toon_err toon_salvage_judge_unlisted(toon_salvage *salvage);

/* Tells of every key that is lost, may be older or was removed, and counts
 * them. After the log has been written. */
void toon_salvage_tell_lost(toon_salvage *salvage);

/* Writes the new log and what goes beside it, and swaps. */
toon_err toon_salvage_write(toon_salvage *salvage);

#endif
