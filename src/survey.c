/*
 * survey.c - from line to line through a log that may be damaged.
 *
 * Knows the log's lines and the volume; must never know what is to be done
 * about damage.
 */
#include "survey.h"

#include "epoch.h"
#include "error.h"
#include "key_hash.h"
#include "record_damage.h"
#include "recover.h"

#include <inttypes.h>
#include <stdlib.h>

enum {
    MEND_MAX = 1 << 20, /* of longer damage nobody tries to make sense */
    SECTOR = 512,       /* what a disk writes, or misplaces, as one piece */
};

/* --------------------------------------------------------------- one line */

typedef enum line_kind {
    LINE_BAD,
    LINE_RECORD,
    LINE_MARK,
    LINE_FOREIGN,
} line_kind;

struct line {
    line_kind kind;
    toon_record record;
    char type; /* of a foreign one */
    size_t size;
};

static toon_slice bytes_at(const toon_survey *survey, uint64_t offset) {
    return toon_log_view(survey->log, offset, 0);
}

static bool is_mark(const toon_survey *survey, toon_slice view, uint64_t offset,
                    struct line *line) {
    uint64_t synced;
    return toon_mark_parse(view, survey->log->salt, &synced, &line->size) ==
               RECORD_OK &&
           synced <= offset;
}

static struct line look_at(const toon_survey *survey, uint64_t offset) {
    struct line line = {.kind = LINE_BAD};
    uint32_t salt = survey->log->salt;
    toon_slice view = bytes_at(survey, offset);
    if (view.size == 0)
        return line;
    if (view.data[0] == '#') {
        if (is_mark(survey, view, offset, &line))
            line.kind = LINE_MARK;
    } else if (toon_record_parse(view, salt, &line.record) == RECORD_OK) {
        line.kind = LINE_RECORD;
        line.size = line.record.size;
    } else if (toon_record_is_foreign(view, salt, &line.type, &line.size)) {
        line.kind = LINE_FOREIGN;
    }
    return line;
}

/* ---------------------------------------------------------- damaged places */

/* Where the next valid line begins, at or behind `from`, which is none. */
static uint64_t find_next(const toon_survey *survey, uint64_t from) {
    uint64_t end = atomic_load(&survey->log->written);
    while (from < end) {
        size_t inner;
        toon_slice view = bytes_at(survey, from);
        const char *newline = memchr(view.data, '\n', view.size);
        if (newline == NULL)
            return end;
        size_t size = (size_t)(newline - view.data) + 1;
        if (toon_line_find_inner(toon_bytes(view.data, size), survey->log->salt,
                                 &inner))
            return from + inner;
        from += size;
        if (look_at(survey, from).kind != LINE_BAD)
            return from;
    }
    return end;
}

/* What the mapping shows as zeros, a call tells the truth about. */
static toon_err read_again(const toon_survey *survey, toon_damage *place) {
    enum { PIECE = 1 << 16 };

    toon_err err = TOON_OK;
    toon_buf bytes = {0};
    for (uint64_t at = place->from; err == TOON_OK && at < place->to;
         at += PIECE) {
        uint64_t rest = place->to - at;
        size_t size = rest < PIECE ? (size_t)rest : PIECE;
        toon_slice view = toon_log_view(survey->log, at, size);
        bytes.size = 0;
        err = toon_log_read(survey->log, at, size, &bytes);
        if (err == TOON_IO) {
            place->unreadable = true;
            err = TOON_OK;
        } else if (err == TOON_OK &&
                   !toon_slice_equal(view, toon_buf_slice(&bytes))) {
            place->unsteady = true;
        } else if (err == TOON_CORRUPT) { /* it has become shorter */
            place->unsteady = true;
            err = TOON_OK;
        }
    }
    toon_buf_free(&bytes);
    return err;
}

toon_err toon_survey_fail_unsteady(const toon_survey *survey,
                                   const toon_damage *place) {
    const char *path = survey->log->file.path;
    toon_where where = {path, (int64_t)place->from, 0};
    return toon_fail(TOON_IO, where,
                     "%s: the bytes from offset %" PRIu64
                     " are others each time they are read; nothing was written",
                     path, place->from);
}

bool toon_survey_mend(const toon_survey *survey, const toon_damage *place,
                      toon_buf *line, toon_record *record, bool *mark) {
    uint64_t size = place->to - place->from;
    struct line unused;
    line->size = 0;
    if (size > MEND_MAX || place->unreadable)
        return false;
    toon_slice bytes = toon_log_view(survey->log, place->from, (size_t)size);
    if (!toon_line_mend(bytes, survey->log->salt, line))
        return false;
    toon_slice mended = toon_buf_slice(line);
    *mark = mended.data[0] == '#';
    if (*mark)
        return is_mark(survey, mended, place->from, &unused);
    return toon_record_parse(mended, survey->log->salt, record) == RECORD_OK &&
           record->size == mended.size;
}

/* The bytes from the last line that begins inside the place. */
static toon_damage last_line(const toon_survey *survey,
                             const toon_damage *place) {
    toon_slice bytes = toon_log_view(survey->log, place->from,
                                     (size_t)(place->to - place->from));
    toon_damage last = *place;
    const char *newline =
        bytes.size < 2 ? NULL : memrchr(bytes.data, '\n', bytes.size - 1);
    if (newline != NULL)
        last.from += (uint64_t)(newline - bytes.data) + 1;
    return last;
}

/* A mark that tells of more than there is before it is a mark all the same. */
static bool is_any_mark(const toon_survey *survey, toon_slice line) {
    uint64_t synced;
    size_t size;
    return toon_mark_parse(line, survey->log->salt, &synced, &size) ==
           RECORD_OK;
}

/* Where a sector ends in the last bytes of a line, those before it may be
 * another file's, and tell nothing. */
static bool guess_end(const toon_damage *last, toon_slice line) {
    return last->to % SECTOR > TOON_LINE_END_SIZE &&
           toon_line_guess_end(line) == LINE_ENDS_BATCH;
}

/* Do records of the batch that the damaged bytes were of follow? If nothing
 * tells, yes: a batch must never come back by halves. */
static bool ends_batch(const toon_survey *survey, const toon_damage *place) {
    toon_buf line = {0};
    toon_record record;
    bool mark;
    bool ends;
    toon_damage last = last_line(survey, place);
    toon_slice bytes =
        toon_log_view(survey->log, last.from, (size_t)(last.to - last.from));
    if (toon_survey_mend(survey, place, &line, &record, &mark) ||
        toon_survey_mend(survey, &last, &line, &record, &mark))
        ends = mark || !record.more;
    else
        ends = is_any_mark(survey, bytes) || guess_end(&last, bytes);
    toon_buf_free(&line);
    return ends;
}

/* ------------------------------------------------------------------ records */

toon_err toon_survey_push(toon_survey_list *list, uint64_t offset) {
    if (list->count == list->capacity) {
        size_t capacity = list->capacity * 2 + 64;
        uint64_t *items = realloc(list->items, capacity * sizeof *items);
        if (items == NULL)
            return toon_fail_memory();
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = offset;
    return TOON_OK;
}

/* A key is uncertain from when a value of it was left out until it has another
 * one that builds on nothing. */
static bool set_certain(const toon_survey *survey, uint64_t hash, bool is) {
    uint64_t known[SLOT_MAP_SAME_HASH_MAX];
    bool was = toon_slot_map_get(survey->uncertain, hash, known) == 0;
    if (was == is)
        return true;
    if (is)
        return toon_slot_map_remove(survey->uncertain, hash, 1);
    return toon_slot_map_add(survey->uncertain, hash, 1);
}

static toon_err tell_left_out(toon_survey *survey, const toon_record *record,
                              uint64_t offset, toon_left_out why) {
    const toon_survey_events *events = survey->events;
    survey->key.size = 0;
    if (!toon_record_key(record, &survey->key))
        return survey->key.failed ? toon_fail_memory() : TOON_OK;
    toon_slice key = toon_buf_slice(&survey->key);
    toon_surveyed it = {key, toon_key_hash(key, survey->volume->seed), record,
                        offset};
    if (record->type != RECORD_META && !set_certain(survey, it.hash, false))
        return toon_fail_memory();
    return events->left_out ? events->left_out(events->arg, &it, why) : TOON_OK;
}

static toon_err keep(toon_survey *survey, const toon_record *record,
                     uint64_t offset) {
    const toon_survey_events *events = survey->events;
    toon_kept kept = {{0}};
    if (!toon_epoch_enter())
        return toon_fail_memory();
    toon_err err =
        toon_replay_record(survey->volume, record, offset, kept, &survey->key);
    toon_epoch_leave();
    if (err != TOON_OK)
        return err;
    toon_slice key = toon_buf_slice(&survey->key);
    toon_surveyed it = {key, toon_key_hash(key, survey->volume->seed), record,
                        offset};
    if (!set_certain(survey, it.hash, true))
        return toon_fail_memory();
    return events->kept ? events->kept(events->arg, &it) : TOON_OK;
}

/* ------------------------------------------------------------------ batches */

typedef toon_err record_fn(toon_survey *survey, const toon_record *record,
                           uint64_t offset);

static toon_err leave_out_of_batch(toon_survey *survey,
                                   const toon_record *record, uint64_t offset) {
    return tell_left_out(survey, record, offset, LEFT_OUT_OF_BATCH);
}

static toon_err leave_out_of_chain(toon_survey *survey,
                                   const toon_record *record, uint64_t offset) {
    return tell_left_out(survey, record, offset, LEFT_OUT_OF_CHAIN);
}

static toon_err each_pending(toon_survey *survey, record_fn *fn) {
    toon_err err = TOON_OK;
    for (size_t i = 0; err == TOON_OK && i < survey->pending.count; i++) {
        toon_record record;
        uint64_t offset = survey->pending.items[i];
        if (toon_record_parse(bytes_at(survey, offset), survey->log->salt,
                              &record) == RECORD_OK)
            err = fn(survey, &record, offset);
        else /* it has been valid before */
            err = toon_volume_damaged(survey->volume, offset);
    }
    survey->pending.count = 0;
    return err;
}

/* `whole`: none of its records is missing. */
static toon_err end_batch(toon_survey *survey, bool whole) {
    bool based = true;
    if (!whole)
        return each_pending(survey, leave_out_of_batch);
    toon_err err = toon_survey_judge_pending(survey, &based);
    if (err != TOON_OK)
        return err;
    return each_pending(survey, based ? keep : leave_out_of_chain);
}

static toon_err take_record(toon_survey *survey, const toon_record *record) {
    const toon_survey_events *events = survey->events;
    toon_err err = TOON_OK;
    if (events->record != NULL)
        err = events->record(events->arg, record, survey->at);
    if (err == TOON_OK)
        err = toon_survey_push(&survey->pending, survey->at);
    if (err != TOON_OK || record->more)
        return err;
    bool whole = !survey->in_broken_batch;
    survey->in_broken_batch = false;
    return end_batch(survey, whole);
}

/* ------------------------------------------------------------------ the walk */

static toon_err take_damage(toon_survey *survey) {
    const toon_survey_events *events = survey->events;
    toon_damage place = {.from = survey->at,
                         .to = find_next(survey, survey->at)};
    toon_err err = read_again(survey, &place);
    if (err == TOON_OK)
        err = end_batch(survey, false);
    if (err == TOON_OK && events->damaged != NULL)
        err = events->damaged(events->arg, &place);
    survey->in_broken_batch = !ends_batch(survey, &place);
    survey->at = place.to;
    return err;
}

/* A mark stands at the start of a write, and a batch is written at once. */
static toon_err take_mark(toon_survey *survey) {
    const toon_survey_events *events = survey->events;
    toon_err err = TOON_OK;
    if (survey->in_broken_batch)
        err = end_batch(survey, false);
    survey->in_broken_batch = false;
    if (err == TOON_OK && events->mark != NULL)
        err = events->mark(events->arg, survey->at);
    return err;
}

static toon_err take_line(toon_survey *survey) {
    const toon_survey_events *events = survey->events;
    toon_err err = TOON_OK;
    struct line line = look_at(survey, survey->at);
    switch (line.kind) {
    case LINE_BAD:
        return take_damage(survey);
    case LINE_RECORD:
        err = take_record(survey, &line.record);
        break;
    case LINE_MARK:
        err = take_mark(survey);
        break;
    case LINE_FOREIGN:
        if (events->foreign != NULL)
            err = events->foreign(events->arg, survey->at, line.type);
        break;
    }
    survey->at += line.size;
    return err;
}

static toon_err reach(toon_survey *survey) {
    const toon_survey_events *events = survey->events;
    survey->stop = UINT64_MAX;
    return events->reached ? events->reached(events->arg) : TOON_OK;
}

toon_err toon_survey_run(toon_survey *survey,
                         const toon_survey_events *events) {
    uint64_t end = atomic_load(&survey->log->written);
    toon_err err = TOON_OK;
    survey->events = events;
    survey->at = survey->start;
    while (err == TOON_OK && survey->at < end) {
        if (survey->at >= survey->stop)
            err = reach(survey);
        if (err == TOON_OK)
            err = take_line(survey);
        if (events->progress != NULL)
            events->progress(events->arg, survey->at, end);
    }
    if (err == TOON_OK)
        err = end_batch(survey, false);
    if (err == TOON_OK && survey->stop != UINT64_MAX)
        err = reach(survey);
    return err;
}

/* -------------------------------------------------------------- open, close */

static toon_err make_volume(toon_survey *survey, const toon_index *index) {
    uint64_t seed = 0;
    toon_err err = TOON_OK;
    if (index != NULL && index->head.salt == survey->log->salt)
        seed = index->head.seed;
    else
        err = toon_random(&seed, sizeof seed);
    if (err != TOON_OK)
        return err;
    survey->volume = toon_volume_new(survey->log, seed, 1, 0);
    survey->uncertain = toon_slot_map_new(1, 0);
    return survey->volume != NULL && survey->uncertain != NULL
               ? TOON_OK
               : toon_fail_memory();
}

toon_err toon_survey_open(const toon_dir *dir, const toon_index *index,
                          bool distrust, toon_survey *out) {
    *out = (toon_survey){.stop = UINT64_MAX};
    toon_err err = toon_log_open_any(dir, TOON_LOG_NAME, &out->log);
    if (err == TOON_NOT_FOUND)
        return toon_log_missing(dir);
    if (err == TOON_OK)
        err = toon_survey_read_head(out->log, index, distrust, &out->head);
    if (err == TOON_OK)
        err = make_volume(out, index);
    if (err != TOON_OK) {
        if (out->volume == NULL)
            toon_log_free(out->log);
        toon_survey_close(out);
        return err;
    }
    out->start = out->log->first;
    return TOON_OK;
}

void toon_survey_close(toon_survey *survey) {
    toon_volume_free(survey->volume);
    if (survey->uncertain != NULL)
        toon_slot_map_free(survey->uncertain);
    free(survey->pending.items);
    toon_buf_free(&survey->key);
    *survey = (toon_survey){0};
}
