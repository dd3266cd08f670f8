/*
 * salvage_find.c - what is left of a damaged log, and what is lost.
 *
 * What is left, the survey tells. What is lost has three witnesses: valid
 * records that were left out name their keys; damaged bytes may, and surely
 * if one damaged byte explains them; and an index (salvage_index.c).
 *
 * Knows the log's lines and the volume; must never know what the index says
 * or where the new log goes.
 */
#include "epoch.h"
#include "error.h"
#include "key_hash.h"
#include "record_damage.h"
#include "salvage_internal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ------------------------------------------------------------------ claims */

static toon_err claim_key(toon_salvage *salvage, toon_slice key,
                          uint64_t offset, bool sure, bool is_deletion) {
    toon_claim claim = {
        .hash = toon_key_hash(key, salvage->survey.volume->seed),
        .offset = offset,
        .name = (char *)(uintptr_t)key.data, /* copied, not changed */
        .name_size = key.size,
        .sure = sure,
        .is_deletion = is_deletion,
    };
    if (claim.name == NULL)
        claim.name = (char[1]){0};
    return toon_claims_add(&salvage->claims, &claim) ? TOON_OK
                                                     : toon_fail_memory();
}

static toon_err note_unknown(toon_salvage *salvage, uint64_t offset) {
    return toon_survey_push(&salvage->unknown, offset);
}

/* -------------------------------------------------------- damaged places */

static toon_err note_place(toon_salvage *salvage, const toon_damage *place) {
    if (salvage->place_count == salvage->place_capacity) {
        size_t capacity = salvage->place_capacity * 2 + 16;
        toon_damage *places =
            realloc(salvage->places, capacity * sizeof *places);
        if (places == NULL)
            return toon_fail_memory();
        salvage->places = places;
        salvage->place_capacity = capacity;
    }
    salvage->places[salvage->place_count++] = *place;
    salvage->report->bytes_aside += place->to - place->from;
    return TOON_OK;
}

/* The record that one damaged byte made invalid. */
static toon_err claim_mended(toon_salvage *salvage, const toon_record *record,
                             uint64_t offset) {
    toon_buf key = {0};
    toon_err err = TOON_OK;
    if (toon_record_key(record, &key))
        err = claim_key(salvage, toon_buf_slice(&key), offset, true,
                        record->type == RECORD_DELETED);
    else if (key.failed)
        err = toon_fail_memory();
    toon_buf_free(&key);
    salvage->report->rows_lost++;
    salvage->rows_damaged++;
    return err;
}

/* TOON_NOT_FOUND: more than one byte is damaged. */
static toon_err name_mended(toon_salvage *salvage, const toon_damage *place) {
    toon_buf line = {0};
    toon_record record;
    bool is_mark;
    toon_err err = TOON_NOT_FOUND;
    if (toon_survey_mend(&salvage->survey, place, &line, &record, &is_mark))
        err = is_mark ? TOON_OK : claim_mended(salvage, &record, place->from);
    else if (line.failed)
        err = toon_fail_memory();
    toon_buf_free(&line);
    return err;
}

/* A mark tells of more bytes than there are before it: some are missing,
 * perhaps with whole lines, and the offsets of an index mean nothing here. */
static toon_err note_moved_mark(toon_salvage *salvage, const toon_damage *line,
                                bool *is_one) {
    uint64_t synced;
    size_t size;
    const toon_log *log = salvage->survey.log;
    toon_slice bytes =
        toon_log_view(log, line->from, (size_t)(line->to - line->from));
    *is_one = toon_mark_parse(bytes, log->salt, &synced, &size) == RECORD_OK &&
              synced > line->from;
    if (!*is_one)
        return TOON_OK;
    salvage->moved = true;
    if (synced - line->from <= salvage->missing)
        return TOON_OK; /* those that an earlier one told of */
    salvage->missing = synced - line->from;
    return note_unknown(salvage, line->from);
}

/* A line among damaged ones. *sure: what it was is known. */
static toon_err name_line(toon_salvage *salvage, const toon_damage *place,
                          bool *sure) {
    toon_buf key = {0};
    bool is_mark;
    toon_err err = note_moved_mark(salvage, place, &is_mark);
    if (err == TOON_OK && !is_mark)
        err = name_mended(salvage, place);
    *sure = err == TOON_OK;
    if (err != TOON_NOT_FOUND)
        return err;
    err = TOON_OK;
    salvage->report->rows_lost++;
    salvage->rows_damaged++;
    if (toon_line_guess_key(toon_log_view(salvage->survey.log, place->from,
                                          (size_t)(place->to - place->from)),
                            &key))
        err =
            claim_key(salvage, toon_buf_slice(&key), place->from, false, false);
    else if (key.failed)
        err = toon_fail_memory();
    toon_buf_free(&key);
    return err;
}

static toon_err name_lines(toon_salvage *salvage, const toon_damage *place) {
    toon_err err = TOON_OK;
    bool all_sure = true;
    toon_damage line = *place;
    while (err == TOON_OK && line.from < place->to) {
        bool sure;
        toon_slice rest = toon_log_view(salvage->survey.log, line.from,
                                        (size_t)(place->to - line.from));
        const char *newline = memchr(rest.data, '\n', rest.size);
        line.to = newline == NULL
                      ? place->to
                      : line.from + (uint64_t)(newline - rest.data) + 1;
        err = name_line(salvage, &line, &sure);
        all_sure = all_sure && sure;
        line.from = line.to;
    }
    if (err == TOON_OK && !all_sure)
        err = note_unknown(salvage, place->from);
    return err;
}

static toon_err on_damaged(void *arg, const toon_damage *place) {
    toon_salvage *salvage = arg;
    char text[100];
    if (place->unsteady)
        return toon_survey_fail_unsteady(&salvage->survey, place);
    (void)snprintf(text, sizeof text, "damaged: %s %" PRIu64 " bytes",
                   place->unreadable ? "the disk gave not all of"
                                     : "no valid line in",
                   place->to - place->from);
    toon_salvage_find(salvage, (int64_t)place->from, text);
    toon_err err = note_place(salvage, place);
    if (err == TOON_OK)
        err = name_mended(salvage, place);
    return err == TOON_NOT_FOUND ? name_lines(salvage, place) : err;
}

/* ------------------------------------------------------------------ records */

static toon_err on_record(void *arg, const toon_record *record,
                          uint64_t offset) {
    toon_salvage *salvage = arg;
    toon_slice text = record->key_text;
    uint64_t number;
    salvage->rows++;
    if (record->crc == salvage->index.head.last_crc) {
        bool here = offset == salvage->index.head.last_offset;
        salvage->met_last = salvage->met_last || here;
        salvage->moved = salvage->moved || !here;
    }
    if (text.size > 2 && text.data[0] == '"' &&
        toon_parse_u64(toon_bytes(text.data + 1, text.size - 2), &number) &&
        number < UINT64_MAX / 2 && number >= salvage->number_next)
        salvage->number_next = number + 1;
    return TOON_OK;
}

static toon_err on_kept(void *arg, const toon_surveyed *it) {
    toon_salvage *salvage = arg;
    toon_claims_settle(&salvage->claims, it->hash);
    salvage->report->rows_kept++;
    return TOON_OK;
}

static toon_err on_left_out(void *arg, const toon_surveyed *it,
                            toon_left_out why) {
    toon_salvage *salvage = arg;
    toon_salvage_find(salvage, (int64_t)it->offset,
                      why == LEFT_OUT_OF_BATCH
                          ? "left out: a record of a batch that lacks another"
                          : "left out: a record that builds on a damaged one");
    salvage->report->rows_lost++;
    salvage->left_out++;
    salvage->left_out_last = it->offset;
    return claim_key(salvage, it->key, it->offset, true,
                     it->record->type == RECORD_DELETED);
}

static toon_err on_foreign(void *arg, uint64_t offset, char type) {
    toon_salvage *salvage = arg;
    (void)type;
    return toon_volume_damaged(salvage->survey.volume, offset);
}

static void on_progress(void *arg, uint64_t at, uint64_t end) {
    (void)end;
    toon_salvage_tell_progress(arg, at);
}

/* All up to what the index covers has been read. */
static toon_err on_reached(void *arg) {
    return toon_salvage_ask_index(arg);
}

/* -------------------------------------------------------------------- all */

static toon_err note_head(toon_salvage *salvage) {
    const toon_survey_head *head = &salvage->survey.head;
    toon_damage place = {.from = 0, .to = salvage->survey.start};
    if (head->magic_right && head->version_right && head->headline_right)
        return TOON_OK;
    toon_salvage_find(salvage, 0, "damaged: the head of the log");
    return note_place(salvage, &place);
}

/* Rows that the header counts and nobody has seen or told of: of those that
 * damage hides there is a line for each at least, and an index has counted all
 * up to where it covers the log. */
static toon_err note_missing(toon_salvage *salvage) {
    uint64_t rows = toon_salvage_rows_seen(salvage) +
                    salvage->missing / TOON_SALVAGE_ROW_MIN;
    if (salvage->has_index && !salvage->moved)
        rows += salvage->index.head.rows - salvage->rows_covered;
    uint64_t hint = toon_salvage_rows_hinted(salvage, rows);
    if (hint <= rows)
        return TOON_OK;
    salvage->report->rows_lost += hint - rows;
    return note_unknown(salvage, salvage->size);
}

toon_err toon_salvage_read(toon_salvage *salvage) {
    toon_survey *survey = &salvage->survey;
    const toon_survey_events events = {
        .arg = salvage,
        .record = on_record,
        .kept = on_kept,
        .left_out = on_left_out,
        .damaged = on_damaged,
        .foreign = on_foreign,
        .reached = on_reached,
        .progress = on_progress,
    };
    salvage->has_index = salvage->has_index && toon_salvage_is_witness(salvage);
    survey->stop =
        salvage->has_index ? salvage->index.head.covered : UINT64_MAX;
    toon_err err = note_head(salvage);
    if (err == TOON_OK)
        err = toon_survey_run(survey, &events);
    if (err == TOON_OK)
        err = toon_salvage_judge_unlisted(salvage);
    return err == TOON_OK ? note_missing(salvage) : err;
}

/* -------------------------------------------------------------- the telling */

static void tell_claim(toon_salvage *salvage, const toon_claim *claim,
                       bool is_left) {
    toon_repair_report *report = salvage->report;
    toon_slice key = toon_bytes(claim->name, claim->name_size);
    if (claim->is_removed) {
        report->keys_deleted++;
        toon_salvage_find_key(salvage, claim->offset, "deleted: ", key,
                              " is not in the index, and damage hides the "
                              "record that deleted it; it stays deleted");
    } else if (claim->name == NULL) {
        report->keys_lost++;
        toon_salvage_find(salvage, (int64_t)claim->offset,
                          "lost: a key whose name is not known");
    } else if (is_left) {
        report->keys_older++;
        toon_salvage_find_key(salvage, claim->offset,
                              claim->sure ? "older: " : "perhaps older: ", key,
                              claim->is_deletion
                                  ? " had been deleted and is back"
                                  : " has the value from before this record");
    } else if (!claim->is_deletion) {
        report->keys_lost++;
        toon_salvage_find_key(salvage, claim->offset,
                              claim->sure ? "lost: " : "perhaps lost: ", key,
                              "");
    }
}

void toon_salvage_tell_lost(toon_salvage *salvage) {
    const toon_claims *claims = &salvage->claims;
    uint64_t payloads[SLOT_MAP_SAME_HASH_MAX];
    bool entered = toon_epoch_enter(); /* not for the first time: it cannot
                                          fail */
    assert(entered);
    for (size_t i = 0; i < claims->count; i++) {
        const toon_claim *claim = &claims->items[i];
        if (!claim->settled)
            tell_claim(salvage, claim,
                       toon_slot_map_get(salvage->survey.volume->table,
                                         claim->hash, payloads) > 0);
    }
    if (entered)
        toon_epoch_leave();
    for (size_t i = 0; i < salvage->unknown.count; i++) {
        salvage->report->keys_unknown++;
        toon_salvage_find(salvage, (int64_t)salvage->unknown.items[i],
                          "lost: records whose keys are not known for sure; "
                          "any key last written before them may be older, "
                          "lost, or back although it was deleted");
    }
}
