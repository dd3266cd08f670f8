/*
 * salvage.c - from a damaged log to a new one with all that is valid.
 *
 * First the check says whether there is anything to do: a sound store is not
 * touched, and where only the index is wrong, it is taken away and no more.
 *
 * Knows the steps of a repair; must never know clients.
 */
#include "salvage.h"

#include "check.h"
#include "dir_lock.h"
#include "error.h"
#include "recover.h"
#include "salvage_internal.h"

#include <stdlib.h>

enum { PROGRESS_STEPS = 200 };

/* ------------------------------------------------------------------ telling */

void toon_salvage_tell_progress(toon_salvage *salvage, uint64_t done) {
    uint64_t total = TOON_SALVAGE_PHASES * salvage->size;
    uint64_t at = salvage->phase * salvage->size + done;
    uint64_t step = total / PROGRESS_STEPS + 1;
    if (salvage->progress == NULL || salvage->size == 0 || at > total ||
        (at < salvage->told + step && at < total))
        return;
    salvage->told = at;
    salvage->progress(salvage->arg, at, total);
}

static void on_check_progress(void *arg, uint64_t done, uint64_t total) {
    toon_salvage *salvage = arg;
    salvage->size = total;
    toon_salvage_tell_progress(salvage, done);
}

void toon_salvage_find(const toon_salvage *salvage, int64_t offset,
                       const char *text) {
    if (salvage->finding != NULL)
        salvage->finding(salvage->arg, offset, text);
}

void toon_salvage_find_key(const toon_salvage *salvage, uint64_t offset,
                           const char *text, toon_slice key, const char *more) {
    toon_buf line = {0};
    toon_buf_append_str(&line, text);
    toon_record_put_key(&line, key);
    toon_buf_append_str(&line, more);
    toon_buf_append(&line, "", 1);
    toon_salvage_find(salvage, (int64_t)offset,
                      line.failed ? "a key, for whose name there is no memory"
                                  : line.data);
    toon_buf_free(&line);
}

uint64_t toon_salvage_rows_hinted(const toon_salvage *salvage, uint64_t rows) {
    const toon_survey_head *head = &salvage->survey.head;
    uint64_t hint = salvage->survey.log->row_hint;
    bool may_be = head->magic_right && head->version_right && hint > rows &&
                  hint - rows < salvage->size;
    return may_be ? hint : rows;
}

/* ------------------------------------------------------------------- steps */

/* Was it whole, and of this log? Then one of the two is of another moment, or
 * lines came and went: which, nobody can tell. */
static bool index_disagrees(const toon_salvage *salvage) {
    toon_index index = {0};
    toon_log *log = NULL;
    bool is =
        toon_index_load(salvage->dir, &index) == TOON_OK &&
        toon_log_open(salvage->dir, TOON_LOG_NAME, true, &log) == TOON_OK &&
        index.head.salt == log->salt;
    toon_log_free(log);
    toon_index_free(&index);
    return is;
}

static toon_err remove_index(toon_salvage *salvage) {
    bool disagrees = index_disagrees(salvage);
    toon_err err = toon_dir_unlink(salvage->dir, TOON_INDEX_NAME);
    if (err == TOON_OK)
        err = toon_dir_sync(salvage->dir);
    if (err != TOON_OK)
        return err;
    toon_salvage_find(salvage, -1,
                      "the index was wrong and has been taken away; each line "
                      "of the log is sound, and opening makes an index of it");
    if (!disagrees)
        return TOON_OK;
    salvage->report->keys_unknown++;
    toon_salvage_find(salvage, -1,
                      "the index was whole and told otherwise: the log or the "
                      "index is of another moment, or lines of the log are "
                      "doubled, missing or in another order; keys may be "
                      "older, lost, or back although they were deleted");
    return TOON_OK;
}

/* Only the version is wrong: damage, or a newer program's. If every line
 * behind it is one of ours, it was ours. */
static bool is_ours(const toon_salvage *salvage) {
    const toon_survey_head *head = &salvage->survey.head;
    return head->magic_right && head->headline_right && salvage->rows > 0 &&
           salvage->place_count == 1 && salvage->left_out == 0;
}

static toon_err open_damaged(toon_salvage *salvage) {
    toon_err err = toon_index_load(salvage->dir, &salvage->index);
    salvage->has_index = err == TOON_OK;
    if (err == TOON_NO_MEMORY)
        return err;
    err = toon_survey_open(salvage->dir,
                           salvage->has_index ? &salvage->index : NULL, true,
                           &salvage->survey);
    if (err == TOON_OK)
        salvage->size = atomic_load(&salvage->survey.log->written);
    return err;
}

/* `judged`: what the check said. */
static toon_err mend(toon_salvage *salvage, toon_err judged) {
    toon_error told = *toon_last_error();
    if (!toon_claims_init(&salvage->claims))
        return toon_fail_memory();
    toon_err err = open_damaged(salvage);
    if (err == TOON_CORRUPT && judged == TOON_VERSION)
        return toon_fail_again(&told); /* another version's, all of it */
    if (err != TOON_OK)
        return err;
    salvage->phase = 1;
    err = toon_salvage_read(salvage);
    if (err == TOON_OK && judged == TOON_VERSION && !is_ours(salvage))
        err = toon_fail_again(&told);
    salvage->phase = 2;
    if (err == TOON_OK)
        err = toon_salvage_write(salvage);
    if (err == TOON_OK) {
        toon_salvage_tell_lost(salvage);
        toon_salvage_tell_progress(salvage, salvage->size);
    }
    toon_survey_close(&salvage->survey);
    return err;
}

static void free_salvage(toon_salvage *salvage) {
    toon_claims_free(&salvage->claims);
    toon_index_free(&salvage->index);
    free(salvage->unlisted);
    free(salvage->unknown.items);
    free(salvage->places);
}

static toon_err repair(toon_salvage *salvage) {
    toon_check_report checked;
    toon_verdict verdict;
    toon_err err = toon_check_dir(salvage->dir, true, NULL, on_check_progress,
                                  salvage, &checked, &verdict);
    bool log_is_sound = !verdict.log_damaged && !verdict.is_newer;
    if (err == TOON_CORRUPT && verdict.index_damaged && log_is_sound)
        err = remove_index(salvage);
    else if (err == TOON_VERSION || (err == TOON_CORRUPT && !log_is_sound))
        return mend(salvage, err);
    if (err == TOON_OK) {
        salvage->report->rows_kept = checked.rows;
        salvage->report->keys = checked.live_keys;
        salvage->phase = TOON_SALVAGE_PHASES - 1;
        toon_salvage_tell_progress(salvage, salvage->size);
    }
    return err;
}

/* Before a lock file is made in a directory that may be no store. */
static toon_err require_log(const toon_dir *dir) {
    toon_file file;
    toon_err err = toon_file_open(dir, TOON_LOG_NAME, O_RDONLY, &file);
    toon_file_close(&file);
    return err == TOON_NOT_FOUND ? toon_log_missing(dir) : err;
}

toon_err toon_repair_on(const toon_io *io, const char *path,
                        toon_finding_fn *finding, toon_progress_fn *progress,
                        void *arg, toon_repair_report *report) {
    toon_dir dir = {.fd = -1};
    toon_file lock = {.fd = -1, .io = io};
    toon_salvage salvage = {.dir = &dir,
                            .finding = finding,
                            .progress = progress,
                            .arg = arg,
                            .report = report};
    *report = (toon_repair_report){0};
    toon_err err = toon_dir_open(io, path, false, &dir);
    if (err == TOON_OK)
        err = require_log(&dir);
    bool had_lock = err != TOON_OK || toon_dir_has_lock(&dir);
    if (err == TOON_OK)
        err = toon_dir_lock(&dir, &lock);
    if (err == TOON_OK)
        err = repair(&salvage);
    toon_error told = *toon_last_error();
    free_salvage(&salvage);
    if (err != TOON_OK && lock.fd >= 0 && !had_lock)
        (void)toon_dir_unlink(&dir, TOON_LOCK_NAME);
    toon_file_close(&lock);
    toon_dir_close(&dir);
    return err == TOON_OK ? TOON_OK : toon_fail_again(&told);
}

toon_err toon_repair(const char *dir, toon_finding_fn *finding,
                     toon_progress_fn *progress, void *arg,
                     toon_repair_report *report) {
    return toon_repair_on(&toon_io_system, dir, finding, progress, arg, report);
}
