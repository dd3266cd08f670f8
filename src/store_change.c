/*
 * store_change.c - what each change means: SET, APPEND, DELETE, RENAME, meta,
 * rows, expiry, as records to write.
 *
 * Knows records and versions; must never know locks beyond begin and end, nor
 * when bytes reach the disk (store.c).
 */
#include "epoch.h"
#include "error.h"
#include "key_hash.h"
#include "store_internal.h"

#include <stdlib.h>

/* A value that was appended to is kept current in the cache up to this size;
 * past it, copying it for each append would cost more than reading it back. */
#define APPEND_CACHED_MAX ((size_t)64 * 1024)

/* So many pieces of about one size are merged into one. */
enum { MERGE_RUN = 64 };

/* When what was appended has outgrown the base so many times, a merge takes
 * the base in too. */
enum { REWRITE_FACTOR = 7 };

enum { MODE_MAX = 0177777, MODE_TYPE = 0170000 };

/* ------------------------------------------------------------------ guards */

static toon_err check_sizes(const toon_store *store, toon_slice key,
                            size_t value_size) {
    if (key.size > store->options.key_size_max)
        return toon_fail_plain(TOON_TOO_LARGE,
                               "the key has %zu bytes, the limit is %zu",
                               key.size, store->options.key_size_max);
    if (value_size > store->options.value_size_max)
        return toon_fail_plain(TOON_TOO_LARGE,
                               "the value has %zu bytes, the limit is %zu",
                               value_size, store->options.value_size_max);
    return TOON_OK;
}

/* The key's record as the writer sees it, and whether it counts. */
struct target {
    toon_slice key;
    uint64_t hash;
    toon_hit hit;
    bool present; /* not absent, not expired */
};

static toon_err find_target(toon_store *store, toon_slice key, toon_look look,
                            struct target *out) {
    const toon_volume *volume = atomic_load(&store->volume);
    out->key = key;
    out->hash = toon_key_hash(key, store->seed);
    out->hit = (toon_hit){0};
    toon_err err =
        toon_volume_find(volume, key, out->hash, look, true, &out->hit);
    if (err != TOON_OK)
        return err;
    out->present =
        out->hit.payload != 0 &&
        (out->hit.damaged || !toon_has_expired(out->hit.record.expires_ms));
    return TOON_OK;
}

static uint64_t version_of(toon_store *store, const struct target *target) {
    if (!target->present)
        return 0;
    return toon_volume_version(atomic_load(&store->volume),
                               target->hit.payload);
}

/* The mode that a new value gets when none is named: the permission bits
 * stay, a symbolic link becomes a plain file. */
static uint32_t kept_mode(const struct target *target) {
    if (!target->present || target->hit.damaged ||
        (target->hit.record.mode & MODE_TYPE) != 0)
        return 0;
    return target->hit.record.mode;
}

static int64_t kept_expiry(const struct target *target) {
    if (!target->present || target->hit.damaged)
        return 0;
    return target->hit.record.expires_ms;
}

/* The previous value for the caller who asked. A damaged one is an error
 * only to those. */
static toon_err take_old(toon_store *store, const struct target *target,
                         toon_value *old) {
    toon_blob *blob;
    *old = (toon_value){0};
    if (!target->present)
        return TOON_OK;
    toon_err err = toon_blob_of_hit(atomic_load(&store->volume), &target->hit,
                                    target->key, target->hash, true, &blob);
    if (err == TOON_OK)
        toon_value_of_blob(blob, old);
    return err;
}

/* A copy for the cache, if there is one and it could hold it. Without one
 * the key is merely dropped there. */
static toon_blob *blob_of(const toon_store *store, const struct target *target,
                          toon_slice value) {
    if (store->cache == NULL || value.size > store->options.cache_bytes_max)
        return NULL;
    toon_blob *blob = toon_blob_new(target->key, target->hash, value.size);
    if (blob != NULL && value.size > 0)
        memcpy(toon_blob_data(blob), value.data, value.size);
    return blob;
}

static toon_change_plan plan_for(const struct target *target, char type,
                                 toon_change_kind kind) {
    return (toon_change_plan){
        .draft = {.key = target->key, .type = type},
        .hash = target->hash,
        .old = &target->hit,
        .kind = kind,
        .existed = target->present,
    };
}

/* --------------------------------------------------------------------- SET */

static toon_err check_conditions(toon_store *store, const struct target *target,
                                 const toon_set_options *options) {
    if (options->if_version != 0 &&
        version_of(store, target) != options->if_version)
        return TOON_CONFLICT;
    if ((options->flags & TOON_SET_IF_ABSENT) != 0 && target->present)
        return TOON_EXISTS;
    if ((options->flags & TOON_SET_IF_PRESENT) != 0 && !target->present)
        return TOON_NOT_FOUND;
    return TOON_OK;
}

static toon_err write_value(toon_store *store, const struct target *target,
                            toon_slice value, const toon_set_options *options) {
    toon_change_plan plan = plan_for(target, RECORD_STRING, TOON_CHANGE_SET);
    toon_record_draft *draft = &plan.draft;
    draft->value = value;
    draft->written_ms =
        options->written_ms != 0 ? options->written_ms : toon_now_ms();
    draft->expires_ms = (options->flags & TOON_SET_KEEP_EXPIRY) != 0
                            ? kept_expiry(target)
                            : options->expires_ms;
    draft->mode = (options->flags & TOON_SET_MODE) != 0 ? options->mode
                                                        : kept_mode(target);
    plan.blob = blob_of(store, target, value);
    toon_err err = toon_apply_locked(store, &plan);
    toon_blob_release(plan.blob);
    return err;
}

static toon_err set_locked(toon_store *store, toon_slice key, toon_slice value,
                           const toon_set_options *options) {
    struct target target;
    toon_value old = {0};
    toon_look look = options->old ? TOON_LOOK_WHOLE : TOON_LOOK_META;
    toon_err err = find_target(store, key, look, &target);
    if (err != TOON_OK)
        return err;
    err = check_conditions(store, &target, options);
    if (options->old != NULL && (err == TOON_OK || err == TOON_EXISTS)) {
        toon_err taken = take_old(store, &target, &old);
        if (taken != TOON_OK)
            err = taken;
    }
    bool refused = err == TOON_EXISTS;
    if (err == TOON_OK)
        err = write_value(store, &target, value, options);
    toon_hit_free(&target.hit);
    if (options->old != NULL && (err == TOON_OK || refused))
        *options->old = old;
    else
        toon_value_release(&old);
    return err;
}

static toon_err check_set_options(const toon_set_options *options) {
    unsigned both = TOON_SET_IF_ABSENT | TOON_SET_IF_PRESENT;
    if ((options->flags & both) == both || options->expires_ms < 0 ||
        options->mode > MODE_MAX)
        return toon_fail_plain(TOON_INVALID,
                               "set: contradicting flags, a negative expiry, "
                               "or a mode that is none");
    return TOON_OK;
}

toon_err toon_set(toon_store *store, toon_slice key, toon_slice value,
                  const toon_set_options *options) {
    static const toon_set_options defaults = {0};
    if (options == NULL)
        options = &defaults;
    toon_err err = check_set_options(options);
    if (err == TOON_OK)
        err = check_sizes(store, key, value.size);
    if (err == TOON_OK)
        err = toon_change_begin(store);
    if (err != TOON_OK)
        return err;
    return toon_change_end(store, set_locked(store, key, value, options));
}

/* Time, expiry or mode, by a record that leaves the value where it is. */
static toon_err write_meta(toon_store *store, const struct target *target,
                           unsigned what, const toon_meta *meta) {
    const toon_record *record = &target->hit.record;
    toon_change_plan plan = plan_for(target, RECORD_META, TOON_CHANGE_META);
    toon_record_draft *draft = &plan.draft;
    draft->written_ms =
        (what & TOON_META_WRITTEN) != 0 ? meta->written_ms : record->written_ms;
    draft->expires_ms =
        (what & TOON_META_EXPIRES) != 0 ? meta->expires_ms : record->expires_ms;
    draft->mode = (what & TOON_META_MODE) != 0 ? meta->mode : record->mode;
    if (draft->written_ms == record->written_ms &&
        draft->expires_ms == record->expires_ms && draft->mode == record->mode)
        return TOON_OK;
    draft->ref = toon_hit_value_offset(&target->hit);
    plan.kept = draft->ref;
    return toon_apply_locked(store, &plan);
}

/* ------------------------------------------------------------------ APPEND */

/* Pieces of sizes within a factor of 64 are of one class. */
static int size_class(size_t size) {
    int bits = 0;
    while (size > 1) {
        size >>= 1;
        bits++;
    }
    return bits / 6;
}

/*
 * Which pieces the appended bytes are merged with: those from the returned
 * index on (count: none, 0: all of them, and the value is written whole). A
 * run of 64 pieces of one class becomes one of the next, so a byte is copied
 * once for each factor of 64 that its value grows by.
 */
static size_t merge_from(const toon_pieces *pieces, size_t appended) {
    size_t first = pieces->count;
    size_t merged = appended;
    for (;;) {
        size_t run = first;
        int class = size_class(merged);
        while (run > 1 && size_class(pieces->items[run - 1].size) <= class)
            run--;
        if (first - run + 1 < MERGE_RUN)
            break;
        while (first > run)
            merged += pieces->items[--first].size;
    }
    size_t base = pieces->items[0].size;
    size_t outgrown = pieces->size - base + appended;
    if (first < pieces->count && outgrown / REWRITE_FACTOR >= base)
        return 0;
    return first;
}

static toon_blob *blob_of_append(toon_store *store, const struct target *target,
                                 size_t old_size, toon_slice bytes) {
    if (store->cache == NULL || old_size + bytes.size > APPEND_CACHED_MAX)
        return NULL;
    toon_blob *before =
        toon_cache_peek(store->cache, target->hash, target->key);
    if (before == NULL || before->size != old_size)
        return NULL;
    toon_blob *blob =
        toon_blob_new(target->key, target->hash, old_size + bytes.size);
    if (blob == NULL)
        return NULL;
    memcpy(toon_blob_data(blob), toon_blob_data(before), old_size);
    memcpy(toon_blob_data(blob) + old_size, bytes.data, bytes.size);
    return blob;
}

/* The pieces from `first` on and the new bytes, as one run of bytes. */
static toon_err merge(toon_store *store, const toon_pieces *pieces,
                      size_t first, toon_slice bytes, toon_buf *out) {
    size_t size = 0;
    for (size_t i = first; i < pieces->count; i++)
        size += pieces->items[i].size;
    if (!toon_buf_reserve(out, size + bytes.size))
        return toon_fail_memory();
    toon_err err =
        toon_pieces_copy(atomic_load(&store->volume), pieces, first, out->data);
    out->size = size;
    toon_buf_append_slice(out, bytes);
    return err;
}

static toon_err append_piece(toon_store *store, const struct target *target,
                             const toon_pieces *pieces, toon_slice bytes) {
    toon_buf merged = {0};
    toon_err err = TOON_OK;
    size_t first = merge_from(pieces, bytes.size);
    toon_change_plan plan =
        plan_for(target, first == 0 ? RECORD_STRING : RECORD_APPENDED,
                 TOON_CHANGE_APPEND);
    plan.draft.value = bytes;
    plan.draft.written_ms = toon_now_ms();
    plan.draft.expires_ms = target->hit.record.expires_ms;
    if (first == 0)
        plan.draft.mode = target->hit.record.mode;
    if (first < pieces->count) {
        err = merge(store, pieces, first, bytes, &merged);
        plan.draft.value = toon_buf_slice(&merged);
    }
    if (first > 0)
        plan.draft.ref = pieces->items[first - 1].offset;
    plan.kept = plan.draft.ref;
    plan.blob = blob_of_append(store, target, pieces->size, bytes);
    if (err == TOON_OK)
        err = toon_apply_locked(store, &plan);
    toon_blob_release(plan.blob);
    toon_buf_free(&merged);
    return err;
}

/* A piece has no cell for a mode: where there is one, a second record of the
 * same batch says it again. */
static toon_err append_with_mode(toon_store *store, const struct target *target,
                                 const toon_pieces *pieces, toon_slice bytes) {
    struct target grown;
    toon_meta meta = {.mode = target->hit.record.mode};
    if (meta.mode == 0)
        return append_piece(store, target, pieces, bytes);
    toon_group group = toon_group_begin_locked(store);
    toon_err err = append_piece(store, target, pieces, bytes);
    if (err == TOON_OK)
        err = find_target(store, target->key, TOON_LOOK_META, &grown);
    if (err == TOON_OK) {
        err = write_meta(store, &grown, TOON_META_MODE, &meta);
        toon_hit_free(&grown.hit);
    }
    if (err == TOON_OK)
        toon_group_commit_locked(store, &group);
    else
        toon_group_cancel_locked(store, &group);
    return err;
}

static toon_err append_locked(toon_store *store, toon_slice key,
                              toon_slice bytes, size_t *size) {
    static const toon_set_options plain = {0};
    struct target target;
    toon_pieces pieces = {0};
    size_t new_size = bytes.size;
    toon_err err = find_target(store, key, TOON_LOOK_META, &target);
    if (err != TOON_OK)
        return err;
    if (target.present && target.hit.damaged) {
        err = toon_volume_damaged(atomic_load(&store->volume),
                                  toon_payload_offset(target.hit.payload));
    } else if (target.present) {
        err = toon_volume_pieces(atomic_load(&store->volume), &target.hit, true,
                                 &pieces);
        new_size += pieces.size;
        if (err == TOON_OK)
            err = check_sizes(store, key, new_size);
        if (err == TOON_OK && bytes.size > 0)
            err = append_with_mode(store, &target, &pieces, bytes);
    } else {
        err = write_value(store, &target, bytes, &plain);
    }
    toon_pieces_free(&pieces);
    toon_hit_free(&target.hit);
    if (err == TOON_OK && size != NULL)
        *size = new_size;
    return err;
}

toon_err toon_append(toon_store *store, toon_slice key, toon_slice bytes,
                     size_t *size) {
    toon_err err = check_sizes(store, key, bytes.size);
    if (err == TOON_OK)
        err = toon_change_begin(store);
    if (err != TOON_OK)
        return err;
    return toon_change_end(store, append_locked(store, key, bytes, size));
}

/* ------------------------------------------------------------------ DELETE */

/* `kept`: a record that stays live although the key goes (RENAME). */
static toon_err write_deletion(toon_store *store, const struct target *target,
                               uint64_t kept, toon_change_kind kind) {
    toon_change_plan plan = plan_for(target, RECORD_DELETED, kind);
    plan.draft.written_ms = toon_now_ms();
    plan.kept = kept;
    return toon_apply_locked(store, &plan);
}

static toon_err delete_locked(toon_store *store, toon_slice key,
                              uint64_t if_version, toon_value *old) {
    struct target target;
    toon_value before = {0};
    toon_look look = old ? TOON_LOOK_WHOLE : TOON_LOOK_META;
    toon_err err = find_target(store, key, look, &target);
    if (err != TOON_OK)
        return err;
    if (!target.present)
        err = TOON_NOT_FOUND;
    else if (if_version != 0 && version_of(store, &target) != if_version)
        err = TOON_CONFLICT;
    else if (old != NULL)
        err = take_old(store, &target, &before);
    if (err == TOON_OK)
        err = write_deletion(store, &target, 0, TOON_CHANGE_DELETE);
    toon_hit_free(&target.hit);
    if (err == TOON_OK && old != NULL)
        *old = before;
    else
        toon_value_release(&before);
    return err;
}

toon_err toon_delete(toon_store *store, toon_slice key, uint64_t if_version,
                     toon_value *old) {
    toon_err err = toon_change_begin(store);
    if (err != TOON_OK)
        return err;
    return toon_change_end(store, delete_locked(store, key, if_version, old));
}

/* ------------------------------------------------------------------ RENAME */

/* Key `to` gets the value, time, expiry and mode of `from`'s record. */
static toon_err write_same(toon_store *store, const struct target *from,
                           const struct target *to, uint64_t kept) {
    toon_change_plan plan = plan_for(to, RECORD_SAME_VALUE, TOON_CHANGE_SET);
    plan.draft.ref = toon_hit_value_offset(&from->hit);
    plan.draft.written_ms = from->hit.record.written_ms;
    plan.draft.expires_ms = from->hit.record.expires_ms;
    plan.draft.mode = from->hit.record.mode;
    plan.kept = kept != 0 ? kept : plan.draft.ref;
    return toon_apply_locked(store, &plan);
}

static toon_err rename_found(toon_store *store, const struct target *from,
                             const struct target *to, unsigned flags) {
    bool exchange = (flags & TOON_RENAME_EXCHANGE) != 0;
    toon_group group = toon_group_begin_locked(store);
    toon_err err;
    if (exchange) {
        uint64_t kept_to = toon_hit_value_offset(&to->hit);
        uint64_t kept_from = toon_hit_value_offset(&from->hit);
        err = write_same(store, from, to, kept_to);
        if (err == TOON_OK)
            err = write_same(store, to, from, kept_from);
    } else {
        err = write_same(store, from, to, 0);
        if (err == TOON_OK)
            err = write_deletion(store, from, toon_hit_value_offset(&from->hit),
                                 TOON_CHANGE_DELETE);
    }
    if (err == TOON_OK)
        toon_group_commit_locked(store, &group);
    else
        toon_group_cancel_locked(store, &group);
    return err;
}

static toon_err check_rename(toon_store *store, const struct target *from,
                             const struct target *to, unsigned flags) {
    const toon_volume *volume = atomic_load(&store->volume);
    if (!from->present)
        return TOON_NOT_FOUND;
    if (from->hit.damaged)
        return toon_volume_damaged(volume,
                                   toon_payload_offset(from->hit.payload));
    if ((flags & TOON_RENAME_NO_REPLACE) != 0 && to->present)
        return TOON_EXISTS;
    if ((flags & TOON_RENAME_EXCHANGE) == 0)
        return TOON_OK;
    if (!to->present)
        return TOON_NOT_FOUND;
    if (to->hit.damaged)
        return toon_volume_damaged(volume,
                                   toon_payload_offset(to->hit.payload));
    return TOON_OK;
}

static toon_err rename_locked(toon_store *store, toon_slice from_key,
                              toon_slice to_key, unsigned flags) {
    struct target from;
    struct target to = {0};
    toon_err err = find_target(store, from_key, TOON_LOOK_META, &from);
    if (err != TOON_OK)
        return err;
    err = find_target(store, to_key, TOON_LOOK_META, &to);
    if (err == TOON_OK)
        err = check_rename(store, &from, &to, flags);
    if (err == TOON_OK && !toon_slice_equal(from_key, to_key))
        err = rename_found(store, &from, &to, flags);
    toon_hit_free(&from.hit);
    toon_hit_free(&to.hit);
    return err;
}

toon_err toon_rename(toon_store *store, toon_slice from, toon_slice to,
                     unsigned flags) {
    unsigned both = TOON_RENAME_NO_REPLACE | TOON_RENAME_EXCHANGE;
    if ((flags & both) == both)
        return toon_fail_plain(TOON_INVALID, "rename: contradicting flags");
    toon_err err = check_sizes(store, to, 0);
    if (err == TOON_OK)
        err = toon_change_begin(store);
    if (err != TOON_OK)
        return err;
    return toon_change_end(store, rename_locked(store, from, to, flags));
}

/* -------------------------------------------------------------------- meta */

static toon_err set_meta_locked(toon_store *store, toon_slice key,
                                unsigned what, const toon_meta *meta) {
    struct target target;
    toon_err err = find_target(store, key, TOON_LOOK_META, &target);
    if (err != TOON_OK)
        return err;
    if (!target.present)
        err = TOON_NOT_FOUND;
    else if (target.hit.damaged)
        err = toon_volume_damaged(atomic_load(&store->volume),
                                  toon_payload_offset(target.hit.payload));
    else if ((what & TOON_META_EXPIRES) != 0 &&
             toon_has_expired(meta->expires_ms))
        err = write_deletion(store, &target, 0, TOON_CHANGE_DELETE);
    else
        err = write_meta(store, &target, what, meta);
    toon_hit_free(&target.hit);
    return err;
}

toon_err toon_set_meta(toon_store *store, toon_slice key, unsigned what,
                       const toon_meta *meta) {
    unsigned known = TOON_META_EXPIRES | TOON_META_WRITTEN | TOON_META_MODE;
    if ((what & ~known) != 0 ||
        ((what & TOON_META_EXPIRES) != 0 && meta->expires_ms < 0) ||
        ((what & TOON_META_MODE) != 0 && meta->mode > MODE_MAX))
        return toon_fail_plain(TOON_INVALID,
                               "meta: an unknown field, a negative expiry, or "
                               "a mode that is none");
    toon_err err = toon_change_begin(store);
    if (err != TOON_OK)
        return err;
    return toon_change_end(store, set_meta_locked(store, key, what, meta));
}

/* -------------------------------------------------------------------- rows */

/* A key of the next row's name was set by hand: the row number is used up by
 * a record that repeats what that key is. */
static toon_err pass_over(toon_store *store, const struct target *target) {
    const toon_record *record = &target->hit.record;
    if (target->hit.damaged)
        return toon_volume_damaged(atomic_load(&store->volume),
                                   toon_payload_offset(target->hit.payload));
    toon_change_plan plan = plan_for(target, RECORD_META, TOON_CHANGE_META);
    plan.draft.ref = toon_hit_value_offset(&target->hit);
    plan.draft.written_ms = record->written_ms;
    plan.draft.expires_ms = record->expires_ms;
    plan.draft.mode = record->mode;
    plan.kept = plan.draft.ref;
    return toon_apply_locked(store, &plan);
}

static toon_err add_locked(toon_store *store, toon_slice value, uint64_t *row) {
    static const toon_set_options plain = {0};
    for (;;) {
        char digits[20];
        struct target target;
        const toon_volume *volume = atomic_load(&store->volume);
        uint64_t next = volume->log->base + atomic_load(&volume->rows);
        toon_slice key = toon_bytes(digits, toon_format_u64(digits, next));
        toon_err err = find_target(store, key, TOON_LOOK_META, &target);
        if (err != TOON_OK)
            return err;
        bool taken = target.present;
        err = taken ? pass_over(store, &target)
                    : write_value(store, &target, value, &plain);
        toon_hit_free(&target.hit);
        if (err != TOON_OK)
            return err;
        if (!taken) {
            *row = next;
            return TOON_OK;
        }
    }
}

toon_err toon_add(toon_store *store, toon_slice value, uint64_t *row) {
    uint64_t added = 0;
    toon_err err = check_sizes(store, toon_bytes(NULL, 0), value.size);
    if (err == TOON_OK)
        err = toon_change_begin(store);
    if (err != TOON_OK)
        return err;
    err = toon_change_end(store, add_locked(store, value, &added));
    if (err == TOON_OK)
        *row = added;
    return err;
}

/* ------------------------------------------------------------------ expiry */

/* Does the slot's record say that its key is due? A slot that moved on, or a
 * record that cannot be read, is not. */
static toon_err expire_slot(toon_store *store, const toon_expiry_entry *entry,
                            toon_buf *key) {
    uint64_t payloads[SLOT_MAP_SAME_HASH_MAX];
    const toon_volume *volume = atomic_load(&store->volume);
    struct target target = {.hash = entry->hash, .present = false};
    size_t count = toon_slot_map_get(volume->table, entry->hash, payloads);
    bool current = false;
    for (size_t i = 0; i < count; i++)
        current = current || payloads[i] == entry->payload;
    if (!current)
        return TOON_OK;
    toon_err err = toon_volume_load(volume, entry->payload, TOON_LOOK_META,
                                    true, &target.hit);
    if (err != TOON_OK)
        return err;
    key->size = 0;
    toon_volume_check_key(volume, entry->hash, &target.hit);
    if (!target.hit.damaged && target.hit.record.expires_ms != 0 &&
        target.hit.record.expires_ms <= entry->expires_ms &&
        toon_record_key(&target.hit.record, key)) {
        target.key = toon_buf_slice(key);
        err = write_deletion(store, &target, 0, TOON_CHANGE_EXPIRE);
        if (err == TOON_OK)
            (void)atomic_fetch_add(&store->keys_expired, 1);
    }
    toon_hit_free(&target.hit);
    return err;
}

static const toon_expiry_entry *next_due(const toon_volume *volume,
                                         int64_t now) {
    const toon_expiry_entry *next = toon_expiry_peek(&volume->expiry);
    return next != NULL && next->expires_ms <= now ? next : NULL;
}

static toon_err expire_locked(toon_store *store, size_t count, bool *more) {
    toon_volume *volume = atomic_load(&store->volume);
    toon_buf key = {0};
    toon_err err = TOON_OK;
    int64_t now = toon_now_ms();
    if (next_due(volume, now) == NULL)
        return TOON_OK;
    toon_group group = toon_group_begin_locked(store);
    for (;;) {
        const toon_expiry_entry *due = next_due(volume, now);
        if (due == NULL)
            break;
        *more = count == 0;
        if (count-- == 0)
            break;
        /* Popped first: writing may rebuild the heap. The room stays. */
        toon_expiry_entry entry = *due;
        toon_expiry_pop(&volume->expiry);
        err = expire_slot(store, &entry, &key);
        if (err != TOON_OK) {
            toon_expiry_push(&volume->expiry, entry);
            break;
        }
    }
    /* What went so far is whole by itself: it stays when a later one fails. */
    toon_group_commit_locked(store, &group);
    toon_buf_free(&key);
    return err;
}

toon_err toon_expire_some(toon_store *store, size_t count, bool *more) {
    *more = false;
    toon_err err = toon_change_begin(store);
    if (err != TOON_OK)
        return err;
    return toon_change_end(store, expire_locked(store, count, more));
}
