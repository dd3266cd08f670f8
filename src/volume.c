/*
 * volume.c - from a key to its record, and from records to a value.
 *
 * Knows what keys mean and where their records lie; must never know locks,
 * clients or caching.
 */
#include "volume.h"

#include "error.h"
#include "key_hash.h"

#include <assert.h>
#include <stdlib.h>

#ifdef TOON_FUZZING /* a table that is gone through quickly */
enum { TABLE_SHARDS = 4 };
#else
enum { TABLE_SHARDS = 256 };
#endif

/* Of longer records, a look at meta data reads the ends only. */
enum { LONG_RECORD = 16 * 1024 };

toon_volume *toon_volume_new(toon_log *log, uint64_t seed, uint64_t generation,
                             uint64_t keys_expected) {
    toon_volume *volume = calloc(1, sizeof *volume);
    toon_slot_map *table = toon_slot_map_new(TABLE_SHARDS, keys_expected);
    toon_facts *facts = toon_facts_new();
    if (volume == NULL || table == NULL || facts == NULL) {
        if (table != NULL)
            toon_slot_map_free(table);
        toon_facts_free(facts);
        free(volume);
        return NULL;
    }
    volume->log = log;
    volume->table = table;
    volume->facts = facts;
    volume->seed = seed;
    atomic_store(&volume->generation, generation);
    return volume;
}

void toon_volume_free(toon_volume *volume) {
    if (volume == NULL)
        return;
    if (volume->log != NULL)
        toon_log_shrink(volume->log);
    toon_log_free(volume->log);
    toon_slot_map_free(volume->table);
    toon_facts_free(volume->facts);
    toon_expiry_free(&volume->expiry);
    free(volume);
}

void toon_hit_free(toon_hit *hit) {
    toon_buf_free(&hit->own);
}

toon_err toon_line_damaged(const toon_log *log, uint64_t offset) {
    const char *path = log->file.path;
    toon_where where = {path, (int64_t)offset, 0};
    toon_slice view = toon_log_view(log, offset, 0);
    char type;
    size_t size;
    if (toon_record_is_foreign(view, log->salt, &type, &size))
        return toon_fail(TOON_VERSION, where,
                         "%s: the record at offset %llu is of type %c, which "
                         "this program does not know; nothing was written: "
                         "open the store with the newer program that wrote it",
                         path, (unsigned long long)offset, type);
    return toon_fail(TOON_CORRUPT, where,
                     "%s: damaged record at offset %llu; run tst check", path,
                     (unsigned long long)offset);
}

toon_err toon_volume_damaged(const toon_volume *volume, uint64_t offset) {
    return toon_line_damaged(volume->log, offset);
}

/* ---------------------------------------------------------- one record */

static bool carries_no_value(char type) {
    return type == RECORD_META || type == RECORD_SAME_VALUE;
}

/* Of long ones that carry a value the head is believed: no damage of it can
 * make the key seem to be gone, nor find its way into another record. */
static bool may_be_trusted(const toon_record *record) {
    return record->expires_ms == 0 && !carries_no_value(record->type);
}

static bool parse_line(const toon_log *log, toon_slice bytes, size_t length,
                       toon_look look, toon_record *out) {
    bool trusted = look == TOON_LOOK_META && length > LONG_RECORD;
    if (trusted && toon_record_parse_trusted(bytes, out) != RECORD_OK)
        return false;
    if (trusted && may_be_trusted(out))
        return true;
    if (length > 0)
        return toon_record_parse_line(bytes, log->salt, out) == RECORD_OK;
    return toon_record_parse(bytes, log->salt, out) == RECORD_OK;
}

/*
 * The record at `offset`, of `length` bytes or 0 if that is not known. First
 * from the mapping; what does not parse there (a page that the disk failed to
 * give reads as zeros) is read again by a call, which knows the error.
 */
static toon_err load_at(const toon_log *log, uint64_t offset, size_t length,
                        toon_look look, toon_hit *hit) {
    toon_slice view = toon_log_view(log, offset, length);
    if (view.data != NULL && parse_line(log, view, length, look, &hit->record))
        return TOON_OK;
    hit->own.size = 0;
    toon_err err = toon_log_read(log, offset, length, &hit->own);
    if (err != TOON_OK)
        return err;
    if (parse_line(log, toon_buf_slice(&hit->own), length, look, &hit->record))
        return TOON_OK;
    return TOON_CORRUPT;
}

toon_err toon_line_load(const toon_log *log, uint64_t offset, size_t size,
                        toon_hit *out) {
    *out = (toon_hit){.payload = toon_payload_at(offset)};
    toon_err err = load_at(log, offset, size, TOON_LOOK_WHOLE, out);
    return err == TOON_CORRUPT ? toon_line_damaged(log, offset) : err;
}

static toon_err load_gathered(const toon_volume *volume, uint64_t offset,
                              toon_hit *hit) {
    toon_slice bytes = toon_log_view_gathered(volume->log, offset);
    if (toon_record_parse(bytes, volume->log->salt, &hit->record) != RECORD_OK)
        return TOON_CORRUPT;
    return TOON_OK;
}

/* The length of a line that is too long for a slot to tell and that was seen
 * before; 0: not known, or soon found. */
static size_t known_length(const toon_volume *volume, uint64_t offset) {
    toon_fact fact;
    toon_slice view = toon_log_view(volume->log, offset, 0);
    size_t start = view.size < LONG_RECORD ? view.size : LONG_RECORD;
    if (start == 0 || memchr(view.data, '\n', start) != NULL)
        return 0;
    return toon_facts_find(volume->facts, offset, &fact) ? fact.line_size : 0;
}

static void remember_length(const toon_volume *volume, uint64_t offset,
                            size_t length) {
    toon_fact fact;
    if (length <= TOON_PAYLOAD_LENGTH_MAX || length > UINT32_MAX ||
        toon_facts_find(volume->facts, offset, &fact))
        return;
    fact = (toon_fact){.line_size = (uint32_t)length};
    toon_facts_put(volume->facts, offset, &fact);
}

/* TOON_CORRUPT without a text: the caller decides what it means. */
static toon_err load(const toon_volume *volume, uint64_t offset, size_t length,
                     toon_look look, bool gathered, toon_hit *hit) {
    uint64_t written =
        atomic_load_explicit(&volume->log->written, memory_order_acquire);
    if (offset >= written)
        return gathered ? load_gathered(volume, offset, hit) : TOON_CONFLICT;
    bool given = length > 0;
    if (!given)
        length = known_length(volume, offset);
    toon_err err = load_at(volume->log, offset, length, look, hit);
    if (err == TOON_OK && !given && length == 0)
        remember_length(volume, offset, hit->record.size);
    return err;
}

toon_err toon_volume_load(const toon_volume *volume, uint64_t payload,
                          toon_look look, bool gathered, toon_hit *out) {
    *out = (toon_hit){.payload = payload};
    toon_err err = load(volume, toon_payload_offset(payload),
                        toon_payload_length(payload), look, gathered, out);
    if (err != TOON_CORRUPT)
        return err;
    out->damaged = true;
    return TOON_OK;
}

void toon_volume_check_key(const toon_volume *volume, uint64_t hash,
                           toon_hit *hit) {
    toon_buf key = {0};
    if (hit->damaged)
        return;
    if (!toon_record_key(&hit->record, &key))
        hit->damaged = !key.failed;
    else if (toon_key_hash(toon_buf_slice(&key), volume->seed) != hash)
        hit->damaged = true;
    toon_buf_free(&key);
}

toon_err toon_volume_find(const toon_volume *volume, toon_slice key,
                          uint64_t hash, toon_look look, bool gathered,
                          toon_hit *out) {
    uint64_t payloads[SLOT_MAP_SAME_HASH_MAX];
    toon_hit damaged = {0};
    size_t count = toon_slot_map_get(volume->table, hash, payloads);
    for (size_t i = 0; i < count; i++) {
        toon_err err =
            toon_volume_load(volume, payloads[i], look, gathered, out);
        if (err != TOON_OK) {
            toon_hit_free(out);
            return err;
        }
        if (!out->damaged && toon_record_key_is(&out->record, key))
            return TOON_OK;
        toon_volume_check_key(volume, hash, out);
        if (out->damaged)
            damaged = (toon_hit){.payload = payloads[i], .damaged = true};
        toon_hit_free(out);
    }
    /* All 64 bits of a secret hash agree: a damaged record is this key's. */
    *out = damaged;
    return TOON_OK;
}

uint64_t toon_hit_value_offset(const toon_hit *hit) {
    if (carries_no_value(hit->record.type))
        return hit->record.ref;
    return toon_payload_offset(hit->payload);
}

/* ------------------------------------------------------------- the value */

static bool ends_chain(char type) {
    return type == RECORD_STRING || type == RECORD_BASE64;
}

void toon_pieces_free(toon_pieces *pieces) {
    for (size_t i = 0; i < pieces->count; i++)
        toon_buf_free(&pieces->items[i].own);
    free(pieces->items);
    *pieces = (toon_pieces){0};
}

static bool push_piece(toon_pieces *pieces, uint64_t offset, toon_hit *hit) {
    if ((pieces->count & (pieces->count + 1)) == 0) { /* 0, 1, 3, 7, … */
        size_t capacity = (pieces->count + 1) * 2;
        toon_piece *items = realloc(pieces->items, capacity * sizeof *items);
        if (items == NULL)
            return false;
        pieces->items = items;
    }
    toon_piece *piece = &pieces->items[pieces->count++];
    *piece = (toon_piece){hit->record, offset, 0, hit->own};
    return true;
}

static void reverse(toon_pieces *pieces) {
    for (size_t i = 0; i < pieces->count / 2; i++) {
        toon_piece *a = &pieces->items[i];
        toon_piece *b = &pieces->items[pieces->count - 1 - i];
        toon_piece swap = *a;
        *a = *b;
        *b = swap;
    }
}

/* A piece of a value at `offset`, which a record at `above` builds on. */
static toon_err load_piece(const toon_volume *volume, uint64_t offset,
                           uint64_t above, toon_look look, bool gathered,
                           toon_hit *out) {
    *out = (toon_hit){0};
    if (offset >= above || offset < volume->log->first)
        return toon_volume_damaged(volume, offset);
    toon_err err = load(volume, offset, 0, look, gathered, out);
    if (err == TOON_OK && (carries_no_value(out->record.type) ||
                           out->record.type == RECORD_DELETED))
        err = TOON_CORRUPT;
    if (err != TOON_OK)
        toon_hit_free(out);
    return err == TOON_CORRUPT ? toon_volume_damaged(volume, offset) : err;
}

static toon_err push_measured(const toon_volume *volume, toon_pieces *pieces,
                              uint64_t offset, toon_hit *hit) {
    size_t size;
    if (!toon_record_value_size(&hit->record, &size) ||
        pieces->size + size > TOON_VALUE_SIZE_LIMIT)
        return toon_volume_damaged(volume, offset);
    if (!push_piece(pieces, offset, hit))
        return toon_fail_memory();
    pieces->items[pieces->count - 1].size = size;
    pieces->size += size;
    return TOON_OK;
}

/* Where a walk down a value's pieces ends before its first one. */
struct stop {
    size_t count;         /* behind so many pieces */
    toon_known_fn *known; /* before one that this accepts; or NULL */
    void *arg;
    uint64_t offset; /* of that one; else 0 */
};

/* Walks from `offset` down, newest first. */
static toon_err collect(const toon_volume *volume, uint64_t offset,
                        struct stop *stop, bool gathered, toon_pieces *out) {
    uint64_t above = UINT64_MAX;
    while (out->count < stop->count) {
        toon_hit hit;
        if (stop->known != NULL && stop->known(stop->arg, offset)) {
            stop->offset = offset;
            return TOON_OK;
        }
        toon_err err =
            load_piece(volume, offset, above, TOON_LOOK_WHOLE, gathered, &hit);
        if (err == TOON_OK)
            err = push_measured(volume, out, offset, &hit);
        if (err != TOON_OK) {
            toon_hit_free(&hit);
            return err;
        }
        if (ends_chain(hit.record.type))
            return TOON_OK;
        above = offset;
        offset = hit.record.ref;
    }
    return TOON_OK;
}

static toon_err collect_oldest_first(const toon_volume *volume,
                                     const toon_hit *hit, struct stop *stop,
                                     bool gathered, toon_pieces *out) {
    *out = (toon_pieces){0};
    toon_err err =
        collect(volume, toon_hit_value_offset(hit), stop, gathered, out);
    if (err == TOON_OK)
        reverse(out);
    else
        toon_pieces_free(out);
    return err;
}

/* They lead down to the value's first piece, or are refused. */
static toon_err require_first(const toon_volume *volume, toon_pieces *pieces) {
    if (ends_chain(pieces->items[0].record.type))
        return TOON_OK;
    toon_err err = toon_volume_damaged(volume, pieces->items[0].offset);
    toon_pieces_free(pieces);
    return err;
}

toon_err toon_volume_pieces(const toon_volume *volume, const toon_hit *hit,
                            bool gathered, toon_pieces *out) {
    struct stop stop = {.count = TOON_PIECES_MAX};
    toon_err err = collect_oldest_first(volume, hit, &stop, gathered, out);
    return err == TOON_OK ? require_first(volume, out) : err;
}

toon_err toon_volume_last_pieces(const toon_volume *volume, const toon_hit *hit,
                                 size_t count, bool gathered,
                                 toon_pieces *out) {
    struct stop stop = {.count = count};
    toon_err err = collect_oldest_first(volume, hit, &stop, gathered, out);
    if (err != TOON_OK || out->count == count)
        return err;
    err = toon_volume_damaged(volume, toon_hit_value_offset(hit));
    toon_pieces_free(out);
    return err;
}

toon_err toon_volume_pieces_behind(const toon_volume *volume,
                                   const toon_hit *hit, toon_known_fn *known,
                                   void *arg, toon_pieces *out,
                                   uint64_t *floor) {
    struct stop stop = {TOON_PIECES_MAX, known, arg, 0};
    toon_err err = collect_oldest_first(volume, hit, &stop, false, out);
    *floor = stop.offset;
    return err == TOON_OK && stop.offset == 0 ? require_first(volume, out)
                                              : err;
}

toon_err toon_pieces_copy(const toon_volume *volume, const toon_piece *pieces,
                          size_t count, char *out) {
    for (size_t i = 0; i < count; i++) {
        if (!toon_record_value(&pieces[i].record, out))
            return toon_volume_damaged(volume, pieces[i].offset);
        out += pieces[i].size;
    }
    return TOON_OK;
}

/* -------------------------------------------------------------- measuring */

/* One more of the pieces at the end, if all that came before it are, too. */
static void count_piece(uint8_t *run, size_t seen, bool belongs) {
    if (belongs && *run == seen && *run < UINT8_MAX)
        ++*run;
}

/* Adds the piece before the `seen` ones that are in the fact already. */
static toon_err add_to_fact(const toon_volume *volume, uint64_t offset,
                            const toon_record *record, size_t seen,
                            toon_fact *fact) {
    size_t size;
    if (!toon_record_value_size(record, &size) ||
        fact->value_size + size > TOON_VALUE_SIZE_LIMIT)
        return toon_volume_damaged(volume, offset);
    count_piece(&fact->small, seen, size <= TOON_PIECE_SMALL_MAX);
    count_piece(&fact->tiny, seen, size <= TOON_PIECE_TINY_MAX);
    fact->value_size += (uint32_t)size;
    fact->chain_size += record->size;
    if (seen == 0)
        fact->line_size = (uint32_t)record->size;
    return TOON_OK;
}

/* `newest` is the piece at `offset`. */
static toon_err measure_chain(const toon_volume *volume, uint64_t offset,
                              const toon_record *newest, bool gathered,
                              toon_fact *fact) {
    toon_hit hit = {.record = *newest};
    *fact = (toon_fact){0};
    for (size_t seen = 0; seen < TOON_PIECES_MAX; seen++) {
        bool last = ends_chain(hit.record.type);
        uint64_t below = hit.record.ref;
        toon_err err = add_to_fact(volume, offset, &hit.record, seen, fact);
        toon_hit_free(&hit);
        if (err == TOON_OK && !last)
            err = load_piece(volume, below, offset, TOON_LOOK_META, gathered,
                             &hit);
        if (err != TOON_OK || last)
            return err;
        offset = below;
    }
    toon_hit_free(&hit);
    return toon_volume_damaged(volume, offset);
}

void toon_volume_remember(const toon_volume *volume, uint64_t offset,
                          size_t line_size, size_t value_size) {
    if (line_size < TOON_REMEMBER_MIN)
        return;
    toon_fact fact = {
        .chain_size = line_size,
        .line_size = (uint32_t)line_size,
        .value_size = (uint32_t)value_size,
        .tiny = value_size <= TOON_PIECE_TINY_MAX,
        .small = value_size <= TOON_PIECE_SMALL_MAX,
    };
    toon_facts_put(volume->facts, offset, &fact);
}

/* Not worth remembering. */
static bool is_soon_measured(const toon_record *record) {
    return ends_chain(record->type) && record->size <= LONG_RECORD;
}

toon_err toon_volume_measure(const toon_volume *volume, const toon_hit *hit,
                             bool gathered, toon_fact *out) {
    uint64_t offset = toon_hit_value_offset(hit);
    if (is_soon_measured(&hit->record))
        return measure_chain(volume, offset, &hit->record, gathered, out);
    if (toon_facts_find(volume->facts, offset, out) && out->chain_size > 0)
        return TOON_OK;
    toon_hit newest = {.record = hit->record};
    toon_err err = TOON_OK;
    if (carries_no_value(hit->record.type))
        err = load_piece(volume, offset, toon_payload_offset(hit->payload),
                         TOON_LOOK_META, gathered, &newest);
    if (err == TOON_OK)
        err = measure_chain(volume, offset, &newest.record, gathered, out);
    if (err == TOON_OK && !is_soon_measured(&newest.record))
        toon_facts_put(volume->facts, offset, out);
    toon_hit_free(&newest);
    return err;
}

/* -------------------------------------------------------------- garbage */

static bool is_kept(const toon_kept *kept, uint64_t offset) {
    return offset == kept->offsets[0] || offset == kept->offsets[1] ||
           offset == kept->offsets[2];
}

static bool keeps_nothing(const toon_kept *kept) {
    return (kept->offsets[0] | kept->offsets[1] | kept->offsets[2]) == 0;
}

uint64_t toon_volume_garbage(const toon_volume *volume, uint64_t old_payload,
                             const toon_kept *kept, bool gathered) {
    uint64_t offset = toon_payload_offset(old_payload);
    size_t length = toon_payload_length(old_payload);
    if (!toon_payload_builds_on(old_payload) && length > 0)
        return is_kept(kept, offset) ? 0 : length;
    uint64_t bytes = 0;
    uint64_t below = UINT64_MAX;
    while (offset != 0 && offset < below && !is_kept(kept, offset)) {
        toon_fact fact;
        toon_hit hit = {0};
        if (keeps_nothing(kept) &&
            toon_facts_find(volume->facts, offset, &fact) &&
            fact.chain_size > 0)
            return bytes + fact.chain_size;
        toon_err err =
            load(volume, offset, length, TOON_LOOK_META, gathered, &hit);
        toon_hit_free(&hit);
        if (err != TOON_OK)
            break;
        bytes += hit.record.size;
        below = offset;
        offset = hit.record.ref;
        length = 0;
    }
    return bytes;
}

/* ---------------------------------------------------------------- changes */

/* For toon_expiry_filter: does a key still stand where the entry says? */
static bool is_current(void *arg, const toon_expiry_entry *entry) {
    const toon_volume *volume = arg;
    uint64_t payloads[SLOT_MAP_SAME_HASH_MAX];
    size_t count = toon_slot_map_get(volume->table, entry->hash, payloads);
    for (size_t i = 0; i < count; i++) {
        if (payloads[i] == entry->payload)
            return true;
    }
    return false;
}

void toon_volume_trim_expiry(toon_volume *volume) {
    toon_expiry_filter(&volume->expiry, is_current, volume);
}

bool toon_volume_reserve(toon_volume *volume, uint64_t hash) {
    enum { STALE_SLACK = 1024 };

    toon_expiry *heap = &volume->expiry;
    if (heap->count > STALE_SLACK + 2 * atomic_load(&volume->expiring))
        toon_volume_trim_expiry(volume);
    return toon_slot_map_reserve(volume->table, hash, 1) &&
           toon_expiry_reserve(heap, 1);
}

static void count_expiring(toon_volume *volume, int64_t gone_ms,
                           int64_t come_ms) {
    if (gone_ms != 0)
        (void)atomic_fetch_sub(&volume->expiring, 1);
    if (come_ms != 0)
        (void)atomic_fetch_add(&volume->expiring, 1);
}

/* From one payload to another, 0 being none. Only adding can fail, and the
 * caller has reserved. */
static void repoint(toon_volume *volume, uint64_t hash, uint64_t from,
                    uint64_t to) {
    bool done;
    if (from == 0 && to == 0)
        return;
    if (from == 0)
        done = toon_slot_map_add(volume->table, hash, to);
    else if (to == 0)
        done = toon_slot_map_remove(volume->table, hash, from);
    else
        done = toon_slot_map_replace(volume->table, hash, from, to);
    assert(done);
    (void)done;
}

void toon_volume_apply(toon_volume *volume, toon_step *step) {
    if (step->payload != 0 && toon_payload_length(step->payload) == 0)
        remember_length(volume, step->offset, step->live_bytes);
    step->old_last = volume->last_offset;
    volume->last_offset = step->offset;
    repoint(volume, step->hash, step->old_payload, step->payload);
    count_expiring(volume, step->old_expires_ms, step->expires_ms);
    if (step->expires_ms != 0)
        toon_expiry_push(
            &volume->expiry,
            (toon_expiry_entry){step->expires_ms, step->hash, step->payload});
    (void)atomic_fetch_add(&volume->rows, 1);
    (void)atomic_fetch_add(&volume->live_bytes,
                           step->live_bytes - step->garbage);
}

/* The new record's entry is stale now. The old one's may have been filtered
 * away as stale meanwhile, and counts again. */
static void restore_expiry(toon_volume *volume, const toon_step *step) {
    toon_expiry *heap = &volume->expiry;
    toon_expiry_entry entry = {step->old_expires_ms, step->hash,
                               step->old_payload};
    if (step->old_expires_ms == 0)
        return;
    for (size_t i = 0; i < heap->count; i++) {
        if (heap->entries[i].payload == entry.payload)
            return;
    }
    if (toon_expiry_reserve(heap, 1))
        toon_expiry_push(heap, entry);
}

void toon_volume_undo(toon_volume *volume, const toon_step *step) {
    repoint(volume, step->hash, step->payload, step->old_payload);
    count_expiring(volume, step->expires_ms, step->old_expires_ms);
    volume->last_offset = step->old_last;
    toon_facts_forget(volume->facts, step->offset); /* it is used again */
    restore_expiry(volume, step);
    (void)atomic_fetch_sub(&volume->rows, 1);
    (void)atomic_fetch_sub(&volume->live_bytes,
                           step->live_bytes - step->garbage);
}
