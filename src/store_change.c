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

/* So many tiny pieces, or small ones, are merged into one. */
enum { MERGE_RUN = 64 };

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

/*
 * The same for a change that needs no more of the record than its numbers: of
 * a key that is cached they are known, and its line, which has long left the
 * processor's caches, is not read.
 */
static toon_err find_numbers(toon_store *store, toon_slice key,
                             struct target *out) {
    uint64_t payloads[SLOT_MAP_SAME_HASH_MAX];
    const toon_volume *volume = atomic_load(&store->volume);
    uint64_t hash = toon_key_hash(key, store->seed);
    const toon_blob *blob = toon_cached(store, key, hash, false);
    if (blob == NULL)
        return find_target(store, key, TOON_LOOK_META, out);
    *out = (struct target){.key = key, .hash = hash};
    out->hit.payload = blob->place;
    out->hit.record.expires_ms = blob->meta.expires_ms;
    out->hit.record.mode = blob->meta.mode;
    out->present = !toon_has_expired(blob->meta.expires_ms);
    size_t count = toon_slot_map_get(volume->table, hash, payloads);
    for (size_t i = 0; i < count; i++) {
        if (payloads[i] == blob->place)
            return TOON_OK;
    }
    return find_target(store, key, TOON_LOOK_META, out);
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

/* To the caller if the change has been made, which is known only when it is
 * written. */
static void give_old(toon_value *old, toon_value *out, bool made) {
    if (out != NULL && made)
        *out = *old;
    else
        toon_value_release(old);
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

/* The log's last record is a large value, whole. */
static void remember_set(toon_store *store, size_t value_size) {
    const toon_volume *volume = atomic_load(&store->volume);
    uint64_t offset = volume->last_offset;
    toon_volume_remember(volume, offset, toon_log_end(volume->log) - offset,
                         value_size);
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
    if (err == TOON_OK && value.size >= TOON_REMEMBER_MIN)
        remember_set(store, value.size);
    toon_blob_release(plan.blob);
    return err;
}

/* `old` is filled also on TOON_EXISTS. */
static toon_err set_locked(toon_store *store, toon_slice key, toon_slice value,
                           const toon_set_options *options, toon_value *old) {
    struct target target;
    toon_err err = options->old != NULL
                       ? find_target(store, key, TOON_LOOK_WHOLE, &target)
                       : find_numbers(store, key, &target);
    if (err != TOON_OK)
        return err;
    err = check_conditions(store, &target, options);
    if (options->old != NULL && (err == TOON_OK || err == TOON_EXISTS)) {
        toon_err taken = take_old(store, &target, old);
        if (taken != TOON_OK)
            err = taken;
    }
    if (err == TOON_OK)
        err = write_value(store, &target, value, options);
    toon_hit_free(&target.hit);
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
    toon_value old = {0};
    err = set_locked(store, key, value, options, &old);
    err = toon_change_end(store, err);
    give_old(&old, options->old, err == TOON_OK || err == TOON_EXISTS);
    return err;
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

/*
 * With how many of the last pieces the appended bytes are merged. 64 tiny
 * pieces become a small one and 64 small ones a full one, which is left alone
 * from then on: reading it costs hardly more a byte than reading one record.
 * So a byte is written again once or, if it came in a tiny piece, twice, and
 * there are never more than 63 tiny and 63 small pieces behind the full ones.
 */
static unsigned count_to_merge(const toon_fact *fact, size_t appended) {
    if (appended > TOON_PIECE_SMALL_MAX)
        return fact->small;
    bool tiny = appended <= TOON_PIECE_TINY_MAX;
    unsigned run = tiny ? fact->tiny : fact->small;
    if (run + 1 < MERGE_RUN)
        return 0;
    /* What tiny ones become may be the last that a run of small ones needs. */
    bool all = fact->small - run + 1 >= MERGE_RUN;
    return all ? fact->small : run;
}

/* The pieces at the end that the appended bytes are merged with. */
struct merge {
    toon_pieces pieces;
    toon_buf bytes;      /* of those and the appended ones; empty: no pieces */
    uint64_t lines_size; /* of those pieces in the log */
};

static void free_merge(struct merge *merge) {
    toon_pieces_free(&merge->pieces);
    toon_buf_free(&merge->bytes);
}

static toon_err prepare_merge(toon_store *store, const struct target *target,
                              unsigned count, toon_slice appended,
                              struct merge *out) {
    const toon_volume *volume = atomic_load(&store->volume);
    *out = (struct merge){.lines_size = 0};
    if (count == 0)
        return TOON_OK;
    toon_err err = toon_volume_last_pieces(volume, &target->hit, count, true,
                                           &out->pieces);
    if (err != TOON_OK)
        return err;
    for (size_t i = 0; i < count; i++)
        out->lines_size += out->pieces.items[i].record.size;
    if (!toon_buf_reserve(&out->bytes, out->pieces.size + appended.size))
        return toon_fail_memory();
    err = toon_pieces_copy(volume, out->pieces.items, count, out->bytes.data);
    out->bytes.size = out->pieces.size;
    toon_buf_append_slice(&out->bytes, appended);
    return err;
}

static toon_blob *blob_of_append(toon_store *store, const struct target *target,
                                 size_t old_size, toon_slice bytes) {
    if (store->cache == NULL || old_size + bytes.size > APPEND_CACHED_MAX)
        return NULL;
    toon_blob *before = toon_cached(store, target->key, target->hash, false);
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

/* The value's newest piece is the log's last record now: what was known of
 * the value before is known of it after. */
static void remember_append(toon_store *store, const struct target *target,
                            const toon_fact *before, const struct merge *merge,
                            size_t appended) {
    const toon_volume *volume = atomic_load(&store->volume);
    uint64_t offset = volume->last_offset;
    uint64_t line_size = toon_log_end(volume->log) - offset;
    toon_grown grown = {
        .piece_size = merge->pieces.size + appended,
        .line_size = line_size,
        .appended = appended,
        .merged = (unsigned)merge->pieces.count,
        .merged_size = merge->lines_size,
    };
    toon_fact after = toon_fact_after(before, &grown);
    toon_facts_forget(volume->facts, toon_hit_value_offset(&target->hit));
    toon_facts_put(volume->facts, offset, &after);
}

static toon_err append_piece(toon_store *store, const struct target *target,
                             const toon_fact *fact, toon_slice bytes) {
    struct merge merge;
    unsigned count = count_to_merge(fact, bytes.size);
    toon_err err = prepare_merge(store, target, count, bytes, &merge);
    uint64_t ref = toon_hit_value_offset(&target->hit);
    if (err == TOON_OK && count > 0)
        ref = merge.pieces.items[0].record.ref;
    toon_change_plan plan = plan_for(
        target, ref == 0 ? RECORD_STRING : RECORD_APPENDED, TOON_CHANGE_APPEND);
    plan.draft.value = count > 0 ? toon_buf_slice(&merge.bytes) : bytes;
    plan.draft.ref = ref;
    plan.draft.written_ms = toon_now_ms();
    plan.draft.expires_ms = target->hit.record.expires_ms;
    plan.draft.mode = target->hit.record.mode;
    plan.kept = ref;
    plan.blob = blob_of_append(store, target, fact->value_size, bytes);
    if (err == TOON_OK)
        err = toon_apply_locked(store, &plan);
    if (err == TOON_OK)
        remember_append(store, target, fact, &merge, bytes.size);
    toon_blob_release(plan.blob);
    free_merge(&merge);
    return err;
}

static toon_err append_locked(toon_store *store, toon_slice key,
                              toon_slice bytes, size_t *size) {
    static const toon_set_options plain = {0};
    struct target target;
    toon_fact fact;
    size_t new_size = bytes.size;
    toon_err err = find_target(store, key, TOON_LOOK_META, &target);
    if (err != TOON_OK)
        return err;
    if (target.present && target.hit.damaged) {
        err = toon_volume_damaged(atomic_load(&store->volume),
                                  toon_payload_offset(target.hit.payload));
    } else if (target.present) {
        err = toon_volume_measure(atomic_load(&store->volume), &target.hit,
                                  true, &fact);
        if (err == TOON_OK) {
            new_size += fact.value_size;
            err = check_sizes(store, key, new_size);
        }
        if (err == TOON_OK && bytes.size > 0)
            err = append_piece(store, &target, &fact, bytes);
    } else {
        err = write_value(store, &target, bytes, &plain);
    }
    toon_hit_free(&target.hit);
    *size = new_size;
    return err;
}

toon_err toon_append(toon_store *store, toon_slice key, toon_slice bytes,
                     size_t *size) {
    size_t new_size = 0;
    toon_err err = check_sizes(store, key, bytes.size);
    if (err == TOON_OK)
        err = toon_change_begin(store);
    if (err != TOON_OK)
        return err;
    err = append_locked(store, key, bytes, &new_size);
    err = toon_change_end(store, err);
    if (err == TOON_OK && size != NULL)
        *size = new_size;
    return err;
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
                              uint64_t if_version, bool wants_old,
                              toon_value *old) {
    struct target target;
    toon_err err = wants_old ? find_target(store, key, TOON_LOOK_WHOLE, &target)
                             : find_numbers(store, key, &target);
    if (err != TOON_OK)
        return err;
    if (!target.present)
        err = TOON_NOT_FOUND;
    else if (if_version != 0 && version_of(store, &target) != if_version)
        err = TOON_CONFLICT;
    else if (wants_old)
        err = take_old(store, &target, old);
    if (err == TOON_OK)
        err = write_deletion(store, &target, 0, TOON_CHANGE_DELETE);
    toon_hit_free(&target.hit);
    return err;
}

toon_err toon_delete(toon_store *store, toon_slice key, uint64_t if_version,
                     toon_value *old) {
    toon_value before = {0};
    toon_err err = toon_change_begin(store);
    if (err != TOON_OK)
        return err;
    err = delete_locked(store, key, if_version, old != NULL, &before);
    err = toon_change_end(store, err);
    give_old(&before, old, err == TOON_OK);
    return err;
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
    } else if (key->failed) {
        err = toon_fail_memory();
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
