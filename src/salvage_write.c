/*
 * salvage_write.c - the mended log, and what is kept beside it.
 *
 * In an order that leaves one whole log under its name at every moment: what
 * is kept beside is made and synced, the new log is made and synced, the old
 * one gets a second name, and only then the new one takes its place.
 *
 * Knows files and how a log is written; must never know what is damaged.
 */
#include "epoch.h"
#include "error.h"
#include "recover.h"
#include "salvage_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    NAME_SIZE = sizeof((toon_repair_report *)NULL)->aside,
    PIECE = 1 << 16,
    WRITE_SIZE = 1 << 20, /* gathered before it is written */
};

static const char aside_name[] = "db.toon.damaged-";
static const char before_name[] = "db.toon.before-repair-";

/* The first number that no file has. */
static toon_err make_file(const toon_dir *dir, const char *start,
                          char name[NAME_SIZE], toon_file *file) {
    toon_err err;
    unsigned n = 1;
    do {
        (void)snprintf(name, NAME_SIZE, "%s%u", start, n++);
        err = toon_file_open(dir, name, O_WRONLY | O_CREAT | O_EXCL, file);
    } while (err != TOON_OK && toon_last_error()->sys_errno == EEXIST);
    return err;
}

/* -------------------------------------------------------- damaged bytes */

static bool all_zeros(toon_slice bytes) {
    return bytes.size > 0 && bytes.data[0] == 0 &&
           memcmp(bytes.data, bytes.data + 1, bytes.size - 1) == 0;
}

/* What the disk did not give is zeros in the mapping. */
static toon_err put_place(const toon_salvage *salvage, const toon_damage *place,
                          toon_file *file, uint64_t *at) {
    char line[100];
    uint64_t size = place->to - place->from;
    toon_slice bytes =
        toon_log_view(salvage->survey.log, place->from, (size_t)size);
    bool zeros = all_zeros(bytes);
    int length = snprintf(line, sizeof line,
                          "# offset %" PRIu64 ", %" PRIu64 " bytes%s\n",
                          place->from, size, zeros ? ", all zero" : "");
    toon_err err = toon_file_write(file, line, (size_t)length, *at);
    *at += (uint64_t)length;
    if (err != TOON_OK || zeros || size == 0)
        return err;
    err = toon_file_write(file, bytes.data, bytes.size, *at);
    *at += bytes.size;
    if (err == TOON_OK)
        err = toon_file_write(file, "\n", 1, *at);
    *at += 1;
    return err;
}

static toon_err put_aside(toon_salvage *salvage) {
    toon_repair_report *report = salvage->report;
    toon_file file;
    uint64_t at = 0;
    if (salvage->place_count == 0)
        return TOON_OK;
    toon_err err = make_file(salvage->dir, aside_name, report->aside, &file);
    if (err != TOON_OK) {
        report->aside[0] = '\0';
        return err;
    }
    for (size_t i = 0; err == TOON_OK && i < salvage->place_count; i++)
        err = put_place(salvage, &salvage->places[i], &file, &at);
    if (err == TOON_OK)
        err = toon_file_sync(&file);
    toon_file_close(&file);
    return err;
}

/* ------------------------------------------------------------- the old log */

/* Where files have but one name. */
static toon_err copy_before(toon_salvage *salvage) {
    const toon_log *log = salvage->survey.log;
    toon_repair_report *report = salvage->report;
    toon_file file;
    toon_err err = make_file(salvage->dir, before_name, report->before, &file);
    if (err != TOON_OK) {
        report->before[0] = '\0';
        return err;
    }
    for (uint64_t at = 0; err == TOON_OK && at < salvage->size; at += PIECE) {
        uint64_t rest = salvage->size - at;
        toon_slice bytes =
            toon_log_view(log, at, rest < PIECE ? (size_t)rest : PIECE);
        err = toon_file_write(&file, bytes.data, bytes.size, at);
    }
    if (err == TOON_OK)
        err = toon_file_sync(&file);
    toon_file_close(&file);
    return err;
}

static bool has_no_links(int sys_errno) {
    return sys_errno == EPERM || sys_errno == EOPNOTSUPP ||
           sys_errno == ENOSYS || sys_errno == EMLINK;
}

static toon_err keep_before(toon_salvage *salvage) {
    toon_repair_report *report = salvage->report;
    toon_err err;
    unsigned n = 1;
    do {
        (void)snprintf(report->before, sizeof report->before, "%s%u",
                       before_name, n++);
        err = toon_dir_link(salvage->dir, TOON_LOG_NAME, report->before);
    } while (err != TOON_OK && toon_last_error()->sys_errno == EEXIST);
    if (err != TOON_OK) {
        report->before[0] = '\0';
        if (has_no_links(toon_last_error()->sys_errno))
            err = copy_before(salvage);
    }
    return err;
}

/* ------------------------------------------------------------- the new log */

struct slots {
    toon_slot *items; /* owned */
    size_t count;
};

static int compare_places(const void *a, const void *b) {
    uint64_t x = ((const toon_slot *)a)->payload;
    uint64_t y = ((const toon_slot *)b)->payload;
    return (x > y) - (x < y); /* the offset is a payload's high bits */
}

/* All keys that are left, in the order of their records. */
static toon_err collect(const toon_volume *volume, struct slots *slots) {
    enum { ROOM = 8192, WANT = 2048 };

    uint64_t cursor = 0;
    size_t capacity = (size_t)toon_slot_map_count(volume->table) + ROOM;
    slots->items = malloc(capacity * sizeof *slots->items);
    if (slots->items == NULL)
        return toon_fail_memory();
    do {
        slots->count += toon_slot_map_scan(volume->table, &cursor, WANT,
                                           slots->items + slots->count, ROOM);
    } while (cursor != 0);
    qsort(slots->items, slots->count, sizeof *slots->items, compare_places);
    return TOON_OK;
}

static toon_err write_gathered(toon_log *log) {
    bool cut_failed;
    return toon_log_write(log, &cut_failed);
}

static toon_err append(toon_log *log, const toon_record_draft *draft) {
    size_t begun = toon_log_begin(log);
    (void)toon_record_encode(&log->gather, draft, log->salt);
    toon_err err = toon_log_admit(log, begun, 0, 0);
    if (err == TOON_OK && log->gather.size >= WRITE_SIZE)
        err = write_gathered(log);
    return err;
}

/* Reads a value whole. TOON_CORRUPT: its pieces make none. */
static toon_err read_value(const toon_volume *volume, const toon_hit *hit,
                           toon_buf *value) {
    toon_pieces pieces;
    toon_err err = toon_volume_pieces(volume, hit, false, &pieces);
    if (err != TOON_OK)
        return err;
    value->size = 0;
    if (!toon_buf_reserve(value, pieces.size + 1))
        err = toon_fail_memory();
    else
        err = toon_pieces_copy(volume, pieces.items, pieces.count, value->data);
    value->size = pieces.size;
    toon_pieces_free(&pieces);
    return err;
}

struct copying {
    toon_log *to;
    toon_buf key;
    toon_buf value;
};

/* One record a key, whole, as a compaction would leave it. */
static toon_err copy_key(toon_salvage *salvage, struct copying *copying,
                         uint64_t payload) {
    const toon_volume *volume = salvage->survey.volume;
    toon_hit hit;
    toon_err err =
        toon_volume_load(volume, payload, TOON_LOOK_WHOLE, false, &hit);
    if (err != TOON_OK)
        return err;
    copying->key.size = 0;
    if (hit.damaged || !toon_record_key(&hit.record, &copying->key))
        err = copying->key.failed
                  ? toon_fail_memory()
                  : toon_volume_damaged(volume, toon_payload_offset(payload));
    if (err == TOON_OK)
        err = read_value(volume, &hit, &copying->value);
    toon_record_draft draft = {
        .type = RECORD_STRING,
        .key = toon_buf_slice(&copying->key),
        .value = toon_buf_slice(&copying->value),
        .written_ms = hit.record.written_ms,
        .expires_ms = hit.record.expires_ms,
        .mode = hit.record.mode,
    };
    if (err == TOON_OK)
        err = append(copying->to, &draft);
    toon_hit_free(&hit);
    return err;
}

/* A value that nobody could have read is lost, too. */
static void tell_unmade(toon_salvage *salvage, const struct copying *copying,
                        uint64_t payload) {
    salvage->report->keys_lost++;
    toon_salvage_find_key(salvage, toon_payload_offset(payload),
                          "lost: ", toon_buf_slice(&copying->key),
                          ", whose pieces make no value");
}

static toon_err copy_keys(toon_salvage *salvage, toon_log *log) {
    struct slots slots = {0};
    struct copying copying = {.to = log};
    toon_err err = collect(salvage->survey.volume, &slots);
    for (size_t i = 0; err == TOON_OK && i < slots.count; i++) {
        uint64_t payload = slots.items[i].payload;
        err = copy_key(salvage, &copying, payload);
        if (err == TOON_OK)
            salvage->report->keys++;
        if (err == TOON_CORRUPT) {
            tell_unmade(salvage, &copying, payload);
            err = TOON_OK;
        }
        toon_salvage_tell_progress(salvage, toon_payload_offset(payload));
    }
    free(slots.items);
    toon_buf_free(&copying.key);
    toon_buf_free(&copying.value);
    return err;
}

/* Above every number that was ever given: damaged bytes may have been rows,
 * too, and so may what is missing at the end. */
static uint64_t new_base(const toon_salvage *salvage) {
    const toon_log *log = salvage->survey.log;
    uint64_t base = log->base;
    uint64_t rows = salvage->rows;
    uint64_t bytes = salvage->report->bytes_aside;
    if (!salvage->survey.head.base_known && salvage->number_next > base)
        base = salvage->number_next;
    if (salvage->has_index && salvage->index.head.rows > rows)
        rows = salvage->index.head.rows;
    rows = toon_salvage_rows_hinted(salvage, rows);
    if (salvage->has_index && salvage->index.head.covered > salvage->size)
        bytes += salvage->index.head.covered - salvage->size;
    return base + rows + bytes / TOON_SALVAGE_ROW_MIN + 1;
}

static toon_err fill_log(toon_salvage *salvage, toon_log *log) {
    if (!toon_epoch_enter())
        return toon_fail_memory();
    toon_err err = copy_keys(salvage, log);
    toon_epoch_leave();
    if (err == TOON_OK)
        err = write_gathered(log);
    if (err == TOON_OK)
        err = toon_log_sync(log, atomic_load(&log->written));
    if (err != TOON_OK)
        return err;
    /* What is durable is so before the log gets its name: it may say so. */
    uint64_t keys = salvage->report->keys;
    (void)toon_log_begin(log);
    err = write_gathered(log);
    if (err == TOON_OK)
        err = toon_log_set_row_hint(log, keys < UINT32_MAX ? (uint32_t)keys
                                                           : UINT32_MAX);
    toon_log_trim(log);
    if (err == TOON_OK)
        err = toon_log_sync(log, atomic_load(&log->written) + 1);
    return err;
}

static toon_err make_log(toon_salvage *salvage) {
    uint32_t salt = 0;
    toon_log *log;
    toon_err err = toon_random(&salt, sizeof salt);
    if (err == TOON_OK)
        err = toon_log_create(salvage->dir, TOON_LOG_NEW_NAME,
                              new_base(salvage), salt, false);
    if (err == TOON_OK)
        err = toon_log_open(salvage->dir, TOON_LOG_NEW_NAME, false, &log);
    if (err != TOON_OK)
        return err;
    log->marked = log->first;
    err = fill_log(salvage, log);
    toon_log_free(log);
    return err;
}

/* -------------------------------------------------------------------- all */

/* The store is as it was; what failed has been told. */
static void take_back(toon_salvage *salvage) {
    toon_error told = *toon_last_error();
    toon_repair_report *report = salvage->report;
    (void)toon_dir_unlink(salvage->dir, TOON_LOG_NEW_NAME);
    if (report->aside[0] != '\0')
        (void)toon_dir_unlink(salvage->dir, report->aside);
    if (report->before[0] != '\0')
        (void)toon_dir_unlink(salvage->dir, report->before);
    report->aside[0] = '\0';
    report->before[0] = '\0';
    (void)toon_fail_again(&told);
}

/* The new log has its name, but not for good. The old one gets its place back,
 * in one step again; if even that fails, both stay where they are. */
static void swap_back(toon_salvage *salvage) {
    toon_error told = *toon_last_error();
    toon_repair_report *report = salvage->report;
    if (toon_dir_rename(salvage->dir, report->before, TOON_LOG_NAME) ==
        TOON_OK) {
        report->before[0] = '\0';
        take_back(salvage);
        (void)toon_dir_sync(salvage->dir);
    }
    (void)toon_fail_again(&told);
}

/* The old index is of a log with another salt: nobody believes it, also if it
 * cannot be taken away. */
static void remove_old_index(const toon_salvage *salvage) {
    if (toon_dir_unlink(salvage->dir, TOON_INDEX_NAME) == TOON_OK)
        (void)toon_dir_sync(salvage->dir);
}

toon_err toon_salvage_write(toon_salvage *salvage) {
    toon_err err = put_aside(salvage);
    if (err == TOON_OK)
        err = make_log(salvage);
    if (err == TOON_OK)
        err = keep_before(salvage);
    if (err == TOON_OK)
        err = toon_dir_sync(salvage->dir);
    if (err == TOON_OK)
        err = toon_dir_rename(salvage->dir, TOON_LOG_NEW_NAME, TOON_LOG_NAME);
    if (err != TOON_OK) {
        take_back(salvage);
        return err;
    }
    err = toon_dir_sync(salvage->dir);
    if (err == TOON_OK)
        remove_old_index(salvage);
    else
        swap_back(salvage);
    return err;
}
