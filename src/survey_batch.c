/*
 * survey_batch.c - do the offsets in a batch's records name what they should?
 *
 * That a valid record begins where an offset points is not enough: where
 * pages have come to lie in one another's place, it can be a wrong one. A
 * record of type t takes the value that its key has, an a or c one of its
 * pieces, and an r the value of another key, which the same batch deletes or
 * gives another: so the writer does it, and so it is asked for.
 *
 * Knows records and the volume; must never know damage.
 */
#include "epoch.h"
#include "error.h"
#include "key_hash.h"
#include "survey.h"

#include <stdlib.h>

/* Slots cannot hold 0. */
enum { ABSENT = 1 };

struct judge {
    const toon_survey *survey;
    toon_slot_map *now;    /* key to value, of keys that the batch changed */
    toon_slot_map *values; /* that its keys have had before or during it */
    toon_buf key;          /* scratch */
};

static toon_slice bytes_at(const struct judge *judge, uint64_t offset) {
    return toon_log_view(judge->survey->log, offset, 0);
}

static bool parse_at(const struct judge *judge, uint64_t offset,
                     toon_record *out) {
    return toon_record_parse(bytes_at(judge, offset), judge->survey->log->salt,
                             out) == RECORD_OK;
}

static bool borrows_value(char type) {
    return type == RECORD_META || type == RECORD_SAME_VALUE;
}

/* -------------------------------------------------------- values of keys */

static toon_err hash_of(struct judge *judge, const toon_record *record,
                        uint64_t *hash) {
    judge->key.size = 0;
    if (!toon_record_key(record, &judge->key) && judge->key.failed)
        return toon_fail_memory();
    *hash =
        toon_key_hash(toon_buf_slice(&judge->key), judge->survey->volume->seed);
    return TOON_OK;
}

/* Where the value of the key in judge->key lies in the volume; 0: absent. */
static toon_err value_in_volume(const struct judge *judge, uint64_t hash,
                                uint64_t *offset) {
    toon_hit hit;
    toon_err err =
        toon_volume_find(judge->survey->volume, toon_buf_slice(&judge->key),
                         hash, TOON_LOOK_META, false, &hit);
    if (err != TOON_OK)
        return err;
    bool there = hit.payload != 0 && !hit.damaged;
    *offset = there ? toon_hit_value_offset(&hit) : 0;
    toon_hit_free(&hit);
    return TOON_OK;
}

static toon_err value_now(struct judge *judge, const toon_record *record,
                          uint64_t *offset) {
    uint64_t hash;
    uint64_t changed[SLOT_MAP_SAME_HASH_MAX];
    toon_err err = hash_of(judge, record, &hash);
    if (err != TOON_OK)
        return err;
    if (judge->now == NULL || toon_slot_map_get(judge->now, hash, changed) == 0)
        return value_in_volume(judge, hash, offset);
    *offset = changed[0] == ABSENT ? 0 : changed[0];
    return TOON_OK;
}

static uint64_t hash_of_offset(uint64_t offset) {
    return offset * 0x9e3779b97f4a7c15u;
}

/* Of many keys with one value, a few are enough. */
static bool note_value(const struct judge *judge, uint64_t key_hash,
                       uint64_t offset) {
    uint64_t hash = hash_of_offset(offset);
    uint64_t keys[SLOT_MAP_SAME_HASH_MAX];
    if (offset == 0)
        return true;
    size_t count = toon_slot_map_get(judge->values, hash, keys);
    for (size_t i = 0; i < count; i++) {
        if (keys[i] == (key_hash | 1))
            return true;
    }
    return count == SLOT_MAP_SAME_HASH_MAX ||
           toon_slot_map_add(judge->values, hash, key_hash | 1);
}

/* Has another key of the batch had this value? */
static bool is_of_other(const struct judge *judge, uint64_t key_hash,
                        uint64_t offset) {
    uint64_t keys[SLOT_MAP_SAME_HASH_MAX];
    size_t count =
        toon_slot_map_get(judge->values, hash_of_offset(offset), keys);
    for (size_t i = 0; i < count; i++) {
        if (keys[i] != (key_hash | 1))
            return true;
    }
    return false;
}

/* The record has been judged: from here on, its key has its value. */
static toon_err change_value(struct judge *judge, const toon_record *record,
                             uint64_t offset) {
    uint64_t hash;
    uint64_t before[SLOT_MAP_SAME_HASH_MAX];
    uint64_t value = borrows_value(record->type) ? record->ref : offset;
    if (judge->now == NULL)
        return TOON_OK;
    toon_err err = hash_of(judge, record, &hash);
    if (err != TOON_OK)
        return err;
    if (record->type == RECORD_DELETED)
        value = ABSENT;
    else if (!note_value(judge, hash, value))
        return toon_fail_memory();
    bool changed = toon_slot_map_get(judge->now, hash, before) > 0;
    if (changed ? !toon_slot_map_replace(judge->now, hash, before[0], value)
                : !toon_slot_map_add(judge->now, hash, value))
        return toon_fail_memory();
    return TOON_OK;
}

/* ----------------------------------------------------------------- judging */

/* The bytes of a piece, appended to `out`. */
static bool put_piece(const toon_record *piece, toon_buf *out) {
    size_t size;
    if (!toon_record_value_size(piece, &size) || size > TOON_VALUE_SIZE_LIMIT ||
        !toon_buf_reserve(out, size + 1) || /* also of none */
        !toon_record_value(piece, out->data + out->size))
        return false;
    out->size += size;
    return true;
}

/* `skipped` are pieces, the newest first. */
static bool begins_with(const struct judge *judge, const toon_record *record,
                        const toon_survey_list *skipped, toon_buf scratch[2]) {
    for (size_t i = skipped->count; i > 0; i--) {
        toon_record piece;
        if (!parse_at(judge, skipped->items[i - 1], &piece) ||
            !put_piece(&piece, &scratch[0]))
            return false;
    }
    return put_piece(record, &scratch[1]) &&
           scratch[1].size >= scratch[0].size &&
           memcmp(scratch[1].data, scratch[0].data, scratch[0].size) == 0;
}

/*
 * Does the record go on behind the value that ends at `offset`? Or behind an
 * earlier piece of it, and then say the later ones again: so pieces are
 * merged.
 */
static toon_err goes_on(const struct judge *judge, const toon_record *record,
                        uint64_t offset, bool *based) {
    toon_survey_list skipped = {0};
    toon_buf scratch[2] = {{0}};
    toon_err err = TOON_OK;
    while (err == TOON_OK && offset > record->ref) {
        toon_record piece;
        err = toon_survey_push(&skipped, offset);
        bool valid = parse_at(judge, offset, &piece) && piece.ref < offset;
        offset = valid ? piece.ref : 0;
    }
    *based =
        err == TOON_OK && offset == record->ref &&
        (skipped.count == 0 || begins_with(judge, record, &skipped, scratch));
    if (scratch[0].failed || scratch[1].failed)
        err = toon_fail_memory();
    toon_buf_free(&scratch[0]);
    toon_buf_free(&scratch[1]);
    free(skipped.items);
    return err;
}

static toon_err judge_record(struct judge *judge, const toon_record *record,
                             uint64_t offset, bool *based) {
    toon_record base;
    uint64_t now = 0;
    uint64_t hash;
    *based = record->ref == 0;
    if (*based)
        return TOON_OK;
    if (record->ref >= offset || record->ref < judge->survey->start ||
        !parse_at(judge, record->ref, &base) || borrows_value(base.type) ||
        base.type == RECORD_DELETED)
        return TOON_OK;
    toon_err err = record->type == RECORD_SAME_VALUE
                       ? hash_of(judge, record, &hash)
                       : value_now(judge, record, &now);
    if (err != TOON_OK)
        return err;
    if (record->type == RECORD_SAME_VALUE) /* alone: a copy of any key's */
        *based = judge->values == NULL || is_of_other(judge, hash, record->ref);
    else if (record->type == RECORD_META)
        *based = now == record->ref;
    else
        err = goes_on(judge, record, now, based);
    return err;
}

/* A value that was left out is what it should build on. */
static toon_err judge_certain(struct judge *judge, const toon_record *record,
                              bool *based) {
    uint64_t hash;
    uint64_t known[SLOT_MAP_SAME_HASH_MAX];
    if (record->ref == 0 || record->type == RECORD_SAME_VALUE || !*based)
        return TOON_OK;
    toon_err err = hash_of(judge, record, &hash);
    if (err == TOON_OK &&
        (judge->now == NULL || toon_slot_map_get(judge->now, hash, known) == 0))
        *based = toon_slot_map_get(judge->survey->uncertain, hash, known) == 0;
    return err;
}

static toon_err judge_all(struct judge *judge, bool *based) {
    const toon_survey_list *pending = &judge->survey->pending;
    toon_err err = TOON_OK;
    *based = true;
    for (size_t i = 0; err == TOON_OK && *based && i < pending->count; i++) {
        toon_record record;
        if (!parse_at(judge, pending->items[i], &record))
            return toon_volume_damaged(judge->survey->volume,
                                       pending->items[i]);
        err = judge_record(judge, &record, pending->items[i], based);
        if (err == TOON_OK)
            err = judge_certain(judge, &record, based);
        if (err == TOON_OK)
            err = change_value(judge, &record, pending->items[i]);
    }
    return err;
}

static toon_err note_before(struct judge *judge) {
    const toon_survey_list *pending = &judge->survey->pending;
    toon_err err = TOON_OK;
    judge->now = toon_slot_map_new(1, pending->count);
    judge->values = toon_slot_map_new(1, pending->count * 2);
    if (judge->now == NULL || judge->values == NULL)
        return toon_fail_memory();
    for (size_t i = 0; err == TOON_OK && i < pending->count; i++) {
        toon_record record;
        uint64_t offset = 0;
        uint64_t hash = 0;
        if (parse_at(judge, pending->items[i], &record)) {
            err = hash_of(judge, &record, &hash);
            if (err == TOON_OK)
                err = value_in_volume(judge, hash, &offset);
        }
        if (err == TOON_OK && !note_value(judge, hash, offset))
            err = toon_fail_memory();
    }
    return err;
}

toon_err toon_survey_judge_pending(const toon_survey *survey, bool *based) {
    struct judge judge = {.survey = survey};
    toon_err err = TOON_OK;
    if (!toon_epoch_enter())
        return toon_fail_memory();
    if (survey->pending.count > 1)
        err = note_before(&judge);
    if (err == TOON_OK)
        err = judge_all(&judge, based);
    toon_epoch_leave();
    if (judge.now != NULL)
        toon_slot_map_free(judge.now);
    if (judge.values != NULL)
        toon_slot_map_free(judge.values);
    toon_buf_free(&judge.key);
    return err;
}
