/*
 * check.c - reading every byte of a store, and writing none.
 *
 * The log is read line by line, as an opening without an index would, but on
 * behind what is damaged; then the index is held against what came out.
 *
 * Knows the log's lines and the index file; must never know clients.
 */
#include "check.h"

#include "check_index.h"
#include "dir_lock.h"
#include "epoch.h"
#include "error.h"
#include "recover.h"
#include "survey.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* Progress is told so many times at most. */
enum { PROGRESS_STEPS = 200 };

/* Behind a torn end nothing counts: opening cuts it off. No failure. */
#define STOP TOON_CLOSED

struct check {
    toon_finding_fn *finding;
    toon_progress_fn *progress;
    void *arg;
    toon_check_report *report;
    toon_verdict *verdict;
    toon_survey survey;
    toon_index index;
    bool has_index;   /* one of this log, with a right checksum */
    uint64_t durable; /* D of doc/format.md: before it, all must be valid */
    uint64_t told;    /* progress */
    uint64_t foreign; /* records that a newer program wrote */
    bool unfit;       /* it is of this log, and not of what it holds now */
    bool alone;       /* nobody writes */
    bool is_written;  /* a process has it open: its end is half written */
    toon_index_audit audit;
};

static void find(const struct check *check, int64_t offset, const char *text) {
    if (check->finding != NULL)
        check->finding(check->arg, offset, text);
}

static void find_damage(struct check *check, int64_t offset, const char *text) {
    char line[540];
    check->report->damaged++;
    (void)snprintf(line, sizeof line, "damaged: %s", text);
    find(check, offset, line);
}

static void find_log_damage(struct check *check, uint64_t offset,
                            const char *text) {
    check->verdict->log_damaged = true;
    find_damage(check, (int64_t)offset, text);
}

static void find_index_damage(struct check *check, const char *text) {
    check->verdict->index_damaged = true;
    find_damage(check, -1, text);
}

static void tell_progress(void *arg, uint64_t at, uint64_t end) {
    struct check *check = arg;
    uint64_t step = end / PROGRESS_STEPS + 1;
    if (check->progress == NULL || (at < check->told + step && at < end))
        return;
    check->told = at;
    check->progress(check->arg, at, end);
}

/* --------------------------------------------------------------- the lines */

/* Below D damage, else the torn end. */
static toon_err bad_line(struct check *check, uint64_t offset,
                         const char *text) {
    char line[200];
    uint64_t end = atomic_load(&check->survey.log->written);
    if (offset < check->durable) {
        find_log_damage(check, offset, text);
        return TOON_OK;
    }
    if (check->is_written)
        return STOP;
    (void)snprintf(line, sizeof line,
                   "torn end: %s; opening the store cuts it off", text);
    find(check, (int64_t)offset, line);
    check->report->torn_bytes = end - offset;
    return STOP;
}

static toon_err on_record(void *arg, const toon_record *record,
                          uint64_t offset) {
    struct check *check = arg;
    check->report->rows++;
    if (check->has_index && offset < check->index.head.covered)
        toon_index_audit_row(&check->audit, offset);
    if (!toon_record_value_check(record)) /* and yet valid: no torn end */
        find_log_damage(check, offset, "a value is not in its canonical form");
    return TOON_OK;
}

static toon_err on_mark(void *arg, uint64_t offset) {
    struct check *check = arg;
    (void)offset;
    check->report->marks++;
    return TOON_OK;
}

static toon_err on_left_out(void *arg, const toon_surveyed *it,
                            toon_left_out why) {
    struct check *check = arg;
    if (why == LEFT_OUT_OF_BATCH)
        return bad_line(check, it->offset,
                        "a batch without its end, or without another record");
    find_log_damage(check, it->offset,
                    "a record builds on what is no valid record");
    return TOON_OK;
}

static toon_err on_damaged(void *arg, const toon_damage *place) {
    struct check *check = arg;
    char text[100];
    bool settled = !check->is_written || place->from < check->durable;
    if (place->unsteady && settled)
        return toon_survey_fail_unsteady(&check->survey, place);
    if (place->unreadable)
        (void)snprintf(text, sizeof text,
                       "the disk gave not all of %" PRIu64 " bytes",
                       place->to - place->from);
    else
        (void)snprintf(text, sizeof text, "no valid line in %" PRIu64 " bytes",
                       place->to - place->from);
    return bad_line(check, place->from, text);
}

static toon_err on_foreign(void *arg, uint64_t offset, char type) {
    struct check *check = arg;
    char text[100];
    (void)snprintf(text, sizeof text,
                   "a record of type %c, which a newer program wrote", type);
    find(check, (int64_t)offset, text);
    check->foreign++;
    check->verdict->is_newer = true;
    return TOON_OK;
}

/* ---------------------------------------------------------------- the index */

static toon_err on_reached(void *arg) {
    struct check *check = arg;
    if (!check->has_index || check->report->damaged > 0 || check->foreign > 0)
        return TOON_OK; /* the replay is not what it should be either */
    if (!toon_epoch_enter())
        return toon_fail_memory();
    toon_err err = toon_index_audit_end(&check->audit, check->survey.volume);
    toon_epoch_leave();
    return err;
}

/* At the end of the log. */
static void judge_audit(struct check *check) {
    char text[260];
    if (!check->has_index || check->report->damaged > 0 || check->foreign > 0)
        return;
    toon_index_audit_tail(&check->audit, check->survey.volume);
    if (check->audit.wrong == 0)
        return;
    (void)snprintf(text, sizeof text,
                   "the index is not what the log says, in %" PRIu64
                   " place%s: %s",
                   check->audit.wrong, check->audit.wrong == 1 ? "" : "s",
                   check->audit.first);
    find_index_damage(check, text);
    check->report->index_usable = false;
}

static toon_err load_index(struct check *check, const toon_dir *dir) {
    toon_err err = toon_index_load(dir, &check->index);
    check->has_index = err == TOON_OK;
    if (err == TOON_NOT_FOUND) {
        find(check, -1, "there is no index; opening makes one");
        return TOON_OK;
    }
    if (err == TOON_CORRUPT) {
        find_index_damage(check, "the index has a wrong checksum or form; "
                                 "opening reads the log instead");
        return TOON_OK;
    }
    return err;
}

/* Its last record is not in the log. If no line is damaged, it never was. */
static void judge_unfit(struct check *check) {
    if (check->unfit && check->report->damaged == 0)
        find_index_damage(check, "the index and the log are not of one moment "
                                 "of this store: one of them was put here");
}

static void judge_index(struct check *check) {
    const toon_log *log = check->survey.log;
    const toon_index_head *head = &check->index.head;
    uint64_t end = atomic_load(&log->written);
    if (!check->has_index)
        return;
    if (head->salt != log->salt) {
        find(check, -1,
             "the index is of another log; opening reads the log instead");
        check->has_index = false;
        return;
    }
    check->durable = head->covered;
    check->report->index_usable = toon_index_fits(&check->index, log);
    if (head->covered > end)
        find_log_damage(check, end,
                        "the log is shorter than what was durable; if an "
                        "older " TOON_LOG_NAME
                        " was put here, no repair is needed: "
                        "take " TOON_INDEX_NAME " away");
    else
        check->unfit = !check->report->index_usable;
    check->has_index = check->report->index_usable;
    if (check->has_index)
        check->survey.stop = head->covered;
}

/* ------------------------------------------------------------------ the rest */

/* What the first bytes say was found out another way. */
static void judge_head(struct check *check) {
    const toon_survey_head *head = &check->survey.head;
    if (!head->magic_right)
        find_log_damage(check, 0, "the file does not start with TOON001");
    if (!head->version_right)
        find_log_damage(check, 8, "the version");
    if (!head->headline_right)
        find_log_damage(check, TOON_LOG_HEADER_SIZE, "the first comment line");
}

/* The header's count was written when all these rows were durable. */
static void judge_rows(struct check *check) {
    char text[120];
    uint64_t rows = check->report->rows;
    uint32_t hint = check->survey.log->row_hint;
    if (check->verdict->log_damaged || hint <= rows || check->is_written)
        return;
    (void)snprintf(text, sizeof text,
                   "the header counts %" PRIu32 " rows, the log has %" PRIu64,
                   hint, rows);
    find_log_damage(check, 12, text);
}

/* Records are valid one by one; are the values that are in many pieces? */
static toon_err check_value(struct check *check, uint64_t payload) {
    toon_hit hit;
    toon_pieces pieces = {0};
    const toon_volume *volume = check->survey.volume;
    uint64_t offset = toon_payload_offset(payload);
    if (!toon_payload_builds_on(payload) ||
        (check->is_written && offset >= check->durable))
        return TOON_OK;
    toon_err err =
        toon_volume_load(volume, payload, TOON_LOOK_META, false, &hit);
    if (err == TOON_OK && !hit.damaged)
        err = toon_volume_pieces(volume, &hit, false, &pieces);
    if (hit.damaged || err == TOON_CORRUPT) {
        find_log_damage(check, offset, "the pieces of a value make none");
        err = TOON_OK;
    }
    toon_pieces_free(&pieces);
    toon_hit_free(&hit);
    return err;
}

static toon_err check_values(struct check *check) {
    enum { CAPACITY = 8192, WANT = 2048 };

    const toon_slot_map *table = check->survey.volume->table;
    toon_slot *slots = malloc(CAPACITY * sizeof *slots);
    uint64_t cursor = 0;
    toon_err err = slots != NULL ? TOON_OK : toon_fail_memory();
    while (err == TOON_OK) {
        size_t count =
            toon_slot_map_scan(table, &cursor, WANT, slots, CAPACITY);
        for (size_t i = 0; err == TOON_OK && i < count; i++)
            err = check_value(check, slots[i].payload);
        if (cursor == 0)
            break;
    }
    free(slots);
    check->report->live_keys = toon_slot_map_count(table);
    return err;
}

static toon_err read_lines(struct check *check) {
    const toon_survey_events events = {
        .arg = check,
        .record = on_record,
        .mark = on_mark,
        .left_out = on_left_out,
        .damaged = on_damaged,
        .foreign = on_foreign,
        .reached = on_reached,
        .progress = tell_progress,
    };
    uint64_t end = atomic_load(&check->survey.log->written);
    uint64_t mark = toon_last_mark(check->survey.log, check->survey.start);
    if (mark > check->durable)
        check->durable = mark;
    toon_err err = toon_survey_run(&check->survey, &events);
    if (err == STOP)
        err = TOON_OK;
    if (err != TOON_OK)
        return err;
    judge_rows(check);
    if (!toon_epoch_enter())
        return toon_fail_memory();
    judge_audit(check);
    err = check_values(check);
    toon_epoch_leave();
    tell_progress(check, end, end);
    return err;
}

/* The newer program that may have written it knows what its bytes mean. */
static toon_err refuse_version(const toon_dir *dir) {
    toon_log *log;
    toon_err err = toon_log_open_any(dir, TOON_LOG_NAME, &log);
    if (err == TOON_OK) {
        err = toon_log_check_head(log);
        toon_log_free(log);
    }
    return err == TOON_VERSION ? err : TOON_OK;
}

/* The index first: then the log is at least as long as it says. */
static toon_err check_files(struct check *check, const toon_dir *dir) {
    check->is_written = !check->alone && toon_dir_is_locked(dir);
    toon_err err = refuse_version(dir);
    if (err == TOON_OK)
        err = load_index(check, dir);
    if (err == TOON_OK)
        err = toon_survey_open(dir, check->has_index ? &check->index : NULL,
                               false, &check->survey);
    if (err != TOON_OK)
        return err;
    check->report->log_bytes = atomic_load(&check->survey.log->written);
    check->is_written =
        check->is_written || (!check->alone && toon_dir_is_locked(dir));
    judge_head(check);
    judge_index(check);
    err = read_lines(check);
    if (err == TOON_OK)
        judge_unfit(check);
    toon_survey_close(&check->survey);
    return err;
}

static toon_err conclude(const struct check *check, const toon_dir *dir) {
    if (check->report->damaged > 0)
        return toon_fail_plain(TOON_CORRUPT, "%s: %" PRIu64 " damaged place%s",
                               dir->path, check->report->damaged,
                               check->report->damaged == 1 ? "" : "s");
    if (check->foreign > 0)
        return toon_fail_plain(TOON_VERSION,
                               "%s: %" PRIu64
                               " records of types that this program does not "
                               "know; a newer one wrote them and can read them",
                               dir->path, check->foreign);
    return TOON_OK;
}

toon_err toon_check_dir(const toon_dir *dir, bool alone,
                        toon_finding_fn *finding, toon_progress_fn *progress,
                        void *arg, toon_check_report *report,
                        toon_verdict *verdict) {
    struct check check = {.finding = finding,
                          .progress = progress,
                          .arg = arg,
                          .report = report,
                          .verdict = verdict,
                          .alone = alone};
    check.audit.index = &check.index;
    *report = (toon_check_report){0};
    *verdict = (toon_verdict){0};
    toon_err err = check_files(&check, dir);
    toon_index_audit_free(&check.audit);
    toon_index_free(&check.index);
    if (err == TOON_OK)
        return conclude(&check, dir);
    if (err == TOON_CORRUPT) { /* nothing can be told of its lines */
        toon_error told = *toon_last_error();
        find_damage(&check, told.offset, told.text);
        verdict->index_damaged = false; /* there is worse */
        return toon_fail_again(&told);
    }
    return err;
}

toon_err toon_check_on(const toon_io *io, const char *path,
                       toon_finding_fn *finding, toon_progress_fn *progress,
                       void *arg, toon_check_report *report) {
    toon_dir dir = {.fd = -1};
    toon_verdict verdict;
    *report = (toon_check_report){0};
    toon_err err = toon_dir_open(io, path, false, &dir);
    if (err == TOON_OK)
        err = toon_check_dir(&dir, false, finding, progress, arg, report,
                             &verdict);
    toon_dir_close(&dir);
    return err;
}

toon_err toon_check(const char *path, toon_finding_fn *finding,
                    toon_progress_fn *progress, void *arg,
                    toon_check_report *report) {
    return toon_check_on(&toon_io_system, path, finding, progress, arg, report);
}
