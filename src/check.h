/*
 * check.h - reading every byte of a store, for those inside.
 *
 * Knows the log's lines and the index file; must never know clients.
 */
#ifndef TOON_CHECK_H
#define TOON_CHECK_H

#include "index_file.h"

/* Where the damage is. */
typedef struct toon_verdict {
    bool log_damaged;
    bool index_damaged; /* it is to be thrown away; nothing is lost */
    bool is_newer;      /* the log has records that a newer program wrote */
} toon_verdict;

/* As toon_check(). `alone`: the caller holds the lock, nobody writes. */
toon_err toon_check_dir(const toon_dir *dir, bool alone,
                        toon_finding_fn *finding, toon_progress_fn *progress,
                        void *arg, toon_check_report *report,
                        toon_verdict *verdict);

/* On a disk of the caller's: for tests. */
toon_err toon_check_on(const toon_io *io, const char *path,
                       toon_finding_fn *finding, toon_progress_fn *progress,
                       void *arg, toon_check_report *report);

#endif
