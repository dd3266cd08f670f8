/*
 * salvage_index.c - what the index knows of a damaged log.
 *
 * It knows by hash where each key's newest record was, up to where it covers
 * the log: so it tells whose newest records are lost, and nothing before that
 * is left to be guessed. Which keys were deleted, it tells only together with
 * the log behind: a key that changed while the index was written is not in it
 * either. So a key is taken for deleted if damage can hide the record that did
 * it, and the log behind is whole and says no more of it.
 *
 * Knows the volume and the index's content; must never know the log's lines
 * or where the new log goes.
 */
#include "epoch.h"
#include "error.h"
#include "salvage_internal.h"

#include <stdlib.h>

/* ---------------------------------------------------- is it to be believed? */

bool toon_salvage_is_witness(const toon_salvage *salvage) {
    const toon_log *log = salvage->survey.log;
    const toon_index_head *head = &salvage->index.head;
    toon_record record;
    if (head->salt != log->salt)
        return false;
    toon_slice view = toon_log_view(log, head->last_offset, 0);
    return head->last_offset == 0 ||
           toon_record_parse(view, log->salt, &record) != RECORD_OK ||
           record.crc == head->last_crc;
}

/* Places rise and do not meet. */
static bool is_damaged(const toon_salvage *salvage, uint64_t offset) {
    size_t from = 0, to = salvage->place_count;
    while (from < to) {
        size_t middle = from + (to - from) / 2;
        if (salvage->places[middle].to <= offset)
            from = middle + 1;
        else
            to = middle;
    }
    return from < salvage->place_count && salvage->places[from].from <= offset;
}

/* Was there, or may have been, a record at this offset? */
static bool is_missing(const toon_salvage *salvage, uint64_t offset) {
    return offset >= salvage->size || is_damaged(salvage, offset);
}

/* Does a line begin where it ends, as far as can be seen? */
static bool ends_with_a_line(const toon_salvage *salvage) {
    uint64_t covered = salvage->index.head.covered;
    return salvage->survey.at <= covered || is_damaged(salvage, covered);
}

/* If what was its last record is a sound part of the log and no record, or a
 * sound line goes on where it ends, the index is of another continuation of
 * the log, or bytes are missing. */
static bool is_believed(const toon_salvage *salvage) {
    uint64_t last = salvage->index.head.last_offset;
    return !salvage->moved && ends_with_a_line(salvage) &&
           (last == 0 || salvage->met_last || is_missing(salvage, last));
}

/* Does a record begin there whose key has this hash? */
static toon_err has_record(const toon_salvage *salvage, uint64_t offset,
                           uint64_t hash, bool *has) {
    toon_hit hit;
    const toon_volume *volume = salvage->survey.volume;
    toon_err err = toon_volume_load(volume, toon_payload_at(offset),
                                    TOON_LOOK_WHOLE, false, &hit);
    if (err == TOON_OK && !hit.damaged)
        toon_volume_check_key(volume, hash, &hit);
    *has = err == TOON_OK && !hit.damaged;
    toon_hit_free(&hit);
    return err;
}

/* ------------------------------------------------------- records it lists */

/* A copy of the key of a record, which may be damaged. */
static toon_err key_at(const toon_volume *volume, uint64_t payload,
                       toon_buf *key) {
    toon_hit hit;
    toon_err err =
        toon_volume_load(volume, payload, TOON_LOOK_META, false, &hit);
    key->size = 0;
    if (err == TOON_OK && !hit.damaged && !toon_record_key(&hit.record, key) &&
        key->failed)
        err = toon_fail_memory();
    toon_hit_free(&hit);
    return err;
}

/* The claim gets the name of the key whose record that is. */
static toon_err claim_at(toon_salvage *salvage, toon_claims *claims,
                         uint64_t payload, toon_claim claim) {
    toon_buf key = {0};
    toon_err err = key_at(salvage->survey.volume, payload, &key);
    claim.name = key.data != NULL ? key.data : (char[1]){0};
    claim.name_size = key.size;
    if (err == TOON_OK && !toon_claims_add(claims, &claim))
        err = toon_fail_memory();
    toon_buf_free(&key);
    return err;
}

/* A slot of the index whose record is not the key's newest that is left. */
static toon_err claim_slot(toon_salvage *salvage, toon_slot slot,
                           uint64_t older, toon_claims *now) {
    const toon_claim *named = toon_claims_find(&salvage->claims, slot.hash);
    toon_claim claim = {
        .hash = slot.hash,
        .offset =
            toon_payload_offset(toon_payload_of_index(slot.payload, false)),
        .sure = true,
    };
    if (older != 0)
        return claim_at(salvage, now, older, claim);
    if (named != NULL) {
        claim.name = named->name;
        claim.name_size = named->name_size;
    }
    return toon_claims_add(now, &claim) ? TOON_OK : toon_fail_memory();
}

/* What is not damaged, a true index does not say otherwise: either the record
 * was left out, or this is no index of this log, or bytes are missing. */
static toon_err judge_slot(toon_salvage *salvage, toon_slot slot) {
    bool has = false;
    uint64_t offset =
        toon_payload_offset(toon_payload_of_index(slot.payload, false));
    if (is_missing(salvage, offset))
        return TOON_OK;
    toon_err err = has_record(salvage, offset, slot.hash, &has);
    if (!has || toon_claims_find(&salvage->claims, slot.hash) == NULL)
        salvage->moved = true;
    return err;
}

static toon_err compare_slot(toon_salvage *salvage, toon_slot slot,
                             toon_claims *now) {
    uint64_t payloads[SLOT_MAP_SAME_HASH_MAX];
    size_t count =
        toon_slot_map_get(salvage->survey.volume->table, slot.hash, payloads);
    for (size_t i = 0; i < count; i++) {
        if (toon_payload_to_index(payloads[i]) == slot.payload)
            return TOON_OK;
    }
    toon_err err = judge_slot(salvage, slot);
    return err == TOON_OK
               ? claim_slot(salvage, slot, count > 0 ? payloads[0] : 0, now)
               : err;
}

/* -------------------------------------------------- keys that it does not */

static toon_err push_unlisted(toon_salvage *salvage, toon_slot slot,
                              bool may_be_deleted) {
    if (salvage->unlisted_count == salvage->unlisted_capacity) {
        size_t capacity = salvage->unlisted_capacity * 2 + 64;
        toon_unlisted *items =
            realloc(salvage->unlisted, capacity * sizeof *items);
        if (items == NULL)
            return toon_fail_memory();
        salvage->unlisted = items;
        salvage->unlisted_capacity = capacity;
    }
    salvage->unlisted[salvage->unlisted_count++] =
        (toon_unlisted){slot.hash, slot.payload, may_be_deleted};
    return TOON_OK;
}

/* Is the record that deleted it known to be lost, or may it be where nobody
 * knows what was lost? */
static bool may_be_deleted(const toon_salvage *salvage, toon_slot slot) {
    const toon_survey_list *unknown = &salvage->unknown;
    const toon_claim *claim = toon_claims_find(&salvage->claims, slot.hash);
    return (claim != NULL && claim->is_deletion) ||
           salvage->size < salvage->index.head.covered ||
           (unknown->count > 0 && unknown->items[unknown->count - 1] >
                                      toon_payload_offset(slot.payload));
}

static toon_err find_unlisted(toon_salvage *salvage,
                              const toon_slot_map *said) {
    enum { CAPACITY = 8192, WANT = 2048 };

    toon_slot_map *table = salvage->survey.volume->table;
    toon_slot *slots = malloc(CAPACITY * sizeof *slots);
    uint64_t payloads[SLOT_MAP_SAME_HASH_MAX];
    uint64_t cursor = 0;
    toon_err err = TOON_OK;
    if (slots == NULL)
        return toon_fail_memory();
    while (err == TOON_OK) {
        size_t count =
            toon_slot_map_scan(table, &cursor, WANT, slots, CAPACITY);
        for (size_t i = 0; err == TOON_OK && i < count; i++) {
            if (toon_slot_map_get(said, slots[i].hash, payloads) == 0)
                err = push_unlisted(salvage, slots[i],
                                    may_be_deleted(salvage, slots[i]));
        }
        if (cursor == 0)
            break;
    }
    free(slots);
    return err;
}

/* ------------------------------------------------------------ at its end */

static toon_err compare_index(toon_salvage *salvage, toon_slot_map *said,
                              toon_claims *now) {
    uint64_t payloads[SLOT_MAP_SAME_HASH_MAX];
    toon_err err = TOON_OK;
    for (uint64_t i = 0; err == TOON_OK && i < salvage->index.head.slots; i++) {
        toon_slot slot = toon_index_slot(&salvage->index, i);
        if (slot.payload == 0) /* moved on while the index was written */
            continue;
        if (toon_slot_map_add(said, slot.hash, i + 1))
            err = compare_slot(salvage, slot, now);
        else if (toon_slot_map_get(said, slot.hash, payloads) ==
                 SLOT_MAP_SAME_HASH_MAX)
            salvage->moved = true; /* no table ever was so */
        else
            err = toon_fail_memory();
    }
    return err == TOON_OK ? find_unlisted(salvage, said) : err;
}

/* Of what lies behind, the index knows nothing: damage that goes on there, an
 * end that is missing. */
static toon_err keep_later(toon_salvage *salvage, toon_claims *now) {
    uint64_t covered = salvage->index.head.covered;
    uint64_t last = 0;
    toon_claims *before = &salvage->claims;
    for (size_t i = 0; i < before->count; i++) {
        const toon_claim *claim = &before->items[i];
        if (!claim->settled && claim->offset >= covered &&
            !toon_claims_add(now, claim))
            return toon_fail_memory();
    }
    salvage->unknown.count = 0;
    if (salvage->place_count > 0)
        last = salvage->places[salvage->place_count - 1].to;
    bool more = salvage->size < covered || last > covered;
    return more ? toon_survey_push(&salvage->unknown, covered) : TOON_OK;
}

static toon_err disbelieve(toon_salvage *salvage) {
    salvage->moved = true;
    salvage->unlisted_count = 0;
    return toon_survey_push(&salvage->unknown, salvage->index.head.covered);
}

toon_err toon_salvage_ask_index(toon_salvage *salvage) {
    toon_claims now = {0};
    salvage->rows_covered = toon_salvage_rows_seen(salvage);
    if (!is_believed(salvage))
        return disbelieve(salvage);
    toon_slot_map *said = toon_slot_map_new(256, salvage->index.head.slots);
    toon_err err = toon_fail_memory();
    if (said != NULL && toon_claims_init(&now) && toon_epoch_enter()) {
        err = compare_index(salvage, said, &now);
        toon_epoch_leave();
    }
    if (said != NULL)
        toon_slot_map_free(said);
    if (err == TOON_OK && !salvage->moved)
        err = keep_later(salvage, &now);
    if (err == TOON_OK && !salvage->moved) {
        toon_claims before = salvage->claims;
        salvage->claims = now;
        now = before;
    }
    toon_claims_free(&now);
    return err == TOON_OK && salvage->moved ? disbelieve(salvage) : err;
}

/* ------------------------------------------------------- at the log's end */

/* Nothing is known to be missing behind what the index covers. */
static bool is_rest_whole(const toon_salvage *salvage) {
    const toon_index_head *head = &salvage->index.head;
    const toon_damage *places = salvage->places;
    size_t count = salvage->place_count;
    uint64_t rows =
        head->rows + (toon_salvage_rows_seen(salvage) - salvage->rows_covered);
    return salvage->size >= head->covered &&
           (count == 0 || places[count - 1].to <= head->covered) &&
           salvage->left_out_last < head->covered &&
           salvage->survey.log->row_hint <= rows;
}

static bool is_unchanged(const toon_slot_map *table, const toon_unlisted *it) {
    uint64_t payloads[SLOT_MAP_SAME_HASH_MAX];
    size_t count = toon_slot_map_get(table, it->hash, payloads);
    for (size_t i = 0; i < count; i++) {
        if (payloads[i] == it->payload)
            return true;
    }
    return false;
}

/* The log behind has said nothing of it. */
static toon_err judge_unchanged(toon_salvage *salvage, const toon_unlisted *it,
                                bool rest_whole) {
    uint64_t covered = salvage->index.head.covered;
    const toon_claim *known = toon_claims_find(&salvage->claims, it->hash);
    toon_claim claim = {
        .hash = it->hash,
        .offset = salvage->size < covered ? salvage->size : covered,
        .is_deletion = it->may_be_deleted,
        .is_removed = it->may_be_deleted && rest_whole,
    };
    if (claim.is_removed)
        claim.offset = toon_payload_offset(it->payload);
    else if (known != NULL && known->name != NULL)
        return TOON_OK; /* what has hidden it is known */
    toon_err err = claim_at(salvage, &salvage->claims, it->payload, claim);
    if (err == TOON_OK && claim.is_removed)
        (void)toon_slot_map_remove(salvage->survey.volume->table, it->hash,
                                   it->payload);
    return err;
}

toon_err toon_salvage_judge_unlisted(toon_salvage *salvage) {
    toon_err err = TOON_OK;
    bool rest_whole = is_rest_whole(salvage);
    if (salvage->unlisted_count == 0)
        return TOON_OK;
    if (!toon_epoch_enter())
        return toon_fail_memory();
    for (size_t i = 0; err == TOON_OK && i < salvage->unlisted_count; i++) {
        const toon_unlisted *it = &salvage->unlisted[i];
        if (is_unchanged(salvage->survey.volume->table, it))
            err = judge_unchanged(salvage, it, rest_whole);
    }
    toon_epoch_leave();
    return err;
}
