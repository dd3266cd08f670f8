/*
 * check.c - reading every byte of a store, and writing none.
 *
 * Knows the log's lines and the index file; must never know clients.
 */
#include "dir_lock.h"
#include "epoch.h"
#include "error.h"
#include "recover.h"

#include <inttypes.h>
#include <stdio.h>

/* Progress is told so many times at most. */
enum { PROGRESS_STEPS = 200 };

struct check {
    const toon_log *log;
    toon_finding_fn *finding;
    toon_progress_fn *progress;
    void *arg;
    toon_check_report *report;
    uint64_t durable; /* D of doc/format.md: before it, all must be valid */
    uint64_t told;    /* progress */
    uint64_t batch;   /* where a batch that goes on began; 0: none */
    uint64_t torn_at; /* the first invalid line past D; 0: none */
    bool is_written;  /* a process has it open: its end is half written */
};

static void find(const struct check *check, uint64_t offset, const char *text) {
    if (check->finding != NULL)
        check->finding(check->arg, (int64_t)offset, text);
}

static void tell_progress(struct check *check, uint64_t at, uint64_t end) {
    uint64_t step = end / PROGRESS_STEPS + 1;
    if (check->progress == NULL || (at < check->told + step && at < end))
        return;
    check->told = at;
    check->progress(check->arg, at, end);
}

static void bad_line(struct check *check, uint64_t offset, const char *text) {
    char line[120];
    if (offset < check->durable) {
        check->report->damaged++;
        (void)snprintf(line, sizeof line, "damaged: %s", text);
        find(check, offset, line);
        return;
    }
    if (check->torn_at == 0) {
        check->torn_at = check->batch != 0 ? check->batch : offset;
        if (check->is_written)
            return;
        (void)snprintf(line, sizeof line,
                       "torn end: %s; opening the store cuts it off", text);
        find(check, offset, line);
    }
}

/* What a record refers to: an earlier line that is a record. */
static bool ref_is_record(const struct check *check, const toon_record *record,
                          uint64_t offset) {
    toon_record base;
    if (record->ref == 0)
        return true;
    if (record->ref < check->log->first || record->ref >= offset)
        return false;
    toon_slice before = toon_log_view(check->log, record->ref - 1, 1);
    toon_slice line = toon_log_view(check->log, record->ref, 0);
    return before.data != NULL && before.data[0] == '\n' &&
           toon_record_parse(line, check->log->salt, &base) == RECORD_OK &&
           base.type != RECORD_DELETED && base.type != RECORD_META &&
           base.type != RECORD_SAME_VALUE;
}

static size_t check_record(struct check *check, toon_slice view,
                           uint64_t offset) {
    toon_record record;
    if (toon_record_parse(view, check->log->salt, &record) != RECORD_OK)
        return 0;
    check->report->rows++;
    if (!toon_record_value_check(&record))
        bad_line(check, offset, "a value is not in its canonical form");
    else if (!ref_is_record(check, &record, offset))
        bad_line(check, offset, "a record refers to what is no record");
    if (!record.more)
        check->batch = 0;
    else if (check->batch == 0)
        check->batch = offset;
    return record.size;
}

static size_t check_mark(struct check *check, toon_slice view,
                         uint64_t offset) {
    uint64_t synced;
    size_t size;
    if (toon_mark_parse(view, check->log->salt, &synced, &size) != RECORD_OK ||
        synced > offset)
        return 0;
    check->report->marks++;
    return size;
}

/* Goes on behind a bad line: all damage is to be named, not the first. */
static void check_lines(struct check *check) {
    uint64_t end = atomic_load(&check->log->written);
    uint64_t at = check->log->first;
    while (at < end) {
        toon_slice view = toon_log_view(check->log, at, 0);
        size_t size = view.data[0] == '#' ? check_mark(check, view, at)
                                          : check_record(check, view, at);
        if (size == 0) {
            bad_line(check, at, "no valid line");
            const char *newline = memchr(view.data, '\n', view.size);
            size = newline ? (size_t)(newline - view.data) + 1 : view.size;
        }
        at += size;
        tell_progress(check, at, end);
    }
    if (check->batch != 0)
        bad_line(check, check->batch, "a batch without its end");
    if (check->torn_at != 0 && !check->is_written)
        check->report->torn_bytes = end - check->torn_at;
}

static toon_err read_index(const toon_dir *dir, toon_log *log,
                           struct check *check) {
    toon_index index;
    toon_err err = toon_index_load(dir, &index);
    if (err == TOON_OK) { /* it may be younger than the log's size */
        err = toon_log_look_again(log);
        if (err == TOON_OK)
            err = toon_log_require_map(log);
        if (err != TOON_OK)
            toon_index_free(&index);
    }
    if (err == TOON_NOT_FOUND) {
        find(check, UINT64_MAX, "there is no index; opening makes one");
        return TOON_OK;
    }
    if (err == TOON_CORRUPT) {
        find(check, UINT64_MAX,
             "the index is damaged; opening reads the log instead");
        return TOON_OK;
    }
    if (err != TOON_OK)
        return err;
    uint64_t end = atomic_load(&check->log->written);
    bool same_log = index.head.salt == check->log->salt;
    check->report->index_usable = toon_index_fits(&index, check->log);
    if (check->report->index_usable ||
        (same_log && index.head.covered <= end)) {
        check->durable = index.head.covered;
    } else if (same_log && index.head.covered > end) {
        check->durable = index.head.covered;
        check->report->damaged++;
        find(check, end, "damaged: the log is shorter than what was durable");
    } else {
        find(check, UINT64_MAX,
             "the index is of another log; opening reads the log instead");
    }
    toon_index_free(&index);
    return TOON_OK;
}

/* The live keys are what opening finds. */
static toon_err count_live(const toon_dir *dir, toon_check_report *report) {
    toon_volume *volume;
    toon_recovery recovery;
    toon_err err = toon_recover(dir, true, &volume, &recovery);
    if (err != TOON_OK)
        return err;
    report->live_keys = toon_slot_map_count(volume->table);
    toon_volume_free(volume);
    return TOON_OK;
}

static toon_err check_log(const toon_dir *dir, struct check *check) {
    toon_log *log;
    check->is_written = toon_dir_is_locked(dir);
    toon_err err = toon_log_open(dir, TOON_LOG_NAME, true, &log);
    if (err != TOON_OK)
        return err;
    check->log = log;
    err = toon_log_require_map(log);
    if (err == TOON_OK)
        err = read_index(dir, log, check);
    check->report->log_bytes = atomic_load(&log->written);
    if (err == TOON_OK) {
        check->is_written = check->is_written || toon_dir_is_locked(dir);
        uint64_t mark = toon_last_mark(log, log->first);
        check->durable = mark > check->durable ? mark : check->durable;
        check_lines(check);
    }
    toon_log_free(log);
    return err;
}

toon_err toon_check(const char *path, toon_finding_fn *finding,
                    toon_progress_fn *progress, void *arg,
                    toon_check_report *report) {
    toon_dir dir = {.fd = -1};
    struct check check = {
        .finding = finding, .progress = progress, .arg = arg, .report = report};
    *report = (toon_check_report){0};
    toon_err err = toon_dir_open(&toon_io_system, path, false, &dir);
    if (err == TOON_OK && !toon_epoch_enter())
        err = toon_fail_memory();
    else if (err == TOON_OK) {
        err = check_log(&dir, &check);
        if (err == TOON_OK && report->damaged == 0)
            err = count_live(&dir, report);
        toon_epoch_leave();
    }
    if (err == TOON_OK && report->damaged > 0)
        err = toon_fail_plain(TOON_CORRUPT, "%s: %" PRIu64 " damaged places",
                              path, report->damaged);
    toon_dir_close(&dir);
    return err;
}
