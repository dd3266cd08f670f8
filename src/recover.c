/*
 * recover.c - opening: the index, then the log's tail.
 *
 * Knows log, index file and volume; must never know clients or the store's
 * locks.
 */
#include "recover.h"

#include "dir_lock.h"
#include "epoch.h"
#include "error.h"
#include "index_file.h"
#include "key_hash.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ------------------------------------------------------------- fresh logs */

toon_err toon_log_install(const toon_dir *dir, uint64_t base, bool *renamed) {
    uint32_t salt = 0;
    *renamed = false;
    toon_err err = toon_random(&salt, sizeof salt);
    if (err == TOON_OK)
        err = toon_log_create(dir, TOON_LOG_NEW_NAME, base, salt, true);
    if (err == TOON_OK)
        err = toon_dir_rename(dir, TOON_LOG_NEW_NAME, TOON_LOG_NAME);
    *renamed = err == TOON_OK;
    if (err == TOON_OK)
        err = toon_dir_sync(dir);
    if (err != TOON_OK) /* the failure that counts has been told */
        (void)dir->io->unlink_at(dir->fd, TOON_LOG_NEW_NAME);
    return err;
}

/* ------------------------------------------------------------------ index */

/* What is covered ends with a line: reading goes on there. */
static bool ends_line(const toon_log *log, uint64_t end) {
    toon_slice last = toon_log_view(log, end - 1, 1);
    return last.data != NULL && last.data[0] == '\n';
}

bool toon_index_fits(const toon_index *index, const toon_log *log) {
    const toon_index_head *head = &index->head;
    if (head->salt != log->salt || head->covered > atomic_load(&log->written) ||
        head->covered < log->first || !ends_line(log, head->covered))
        return false;
    toon_record record;
    if (head->last_offset == 0)
        return head->rows == 0 && head->slots == 0;
    if (head->last_offset < log->first || head->last_offset >= head->covered)
        return false;
    toon_slice view = toon_log_view(log, head->last_offset, 0);
    return view.data != NULL &&
           toon_record_parse(view, log->salt, &record) == RECORD_OK &&
           record.crc == head->last_crc &&
           head->last_offset + record.size <= head->covered;
}

/* More slots of one hash than can be are no want of memory. */
static toon_err add_slot(toon_slot_map *table, toon_slot slot) {
    uint64_t payloads[SLOT_MAP_SAME_HASH_MAX];
    if (toon_slot_map_add(table, slot.hash, slot.payload))
        return TOON_OK;
    if (toon_slot_map_get(table, slot.hash, payloads) == SLOT_MAP_SAME_HASH_MAX)
        return TOON_CORRUPT;
    return toon_fail_memory();
}

static toon_err fill_from_index(toon_volume *volume, const toon_index *index) {
    const toon_index_head *head = &index->head;
    for (uint64_t i = 0; i < head->slots; i++) {
        toon_slot slot = toon_index_slot(index, i);
        if (slot.payload == 0) /* moved on while the index was written */
            continue;
        slot.payload = toon_payload_of_index(slot.payload, false);
        uint64_t offset = toon_payload_offset(slot.payload);
        if (offset < volume->log->first || offset >= head->covered)
            return TOON_CORRUPT;
        toon_err err = add_slot(volume->table, slot);
        if (err != TOON_OK)
            return err;
    }
    if (!toon_expiry_reserve(&volume->expiry, head->expiring))
        return toon_fail_memory();
    for (uint64_t i = 0; i < head->expiring; i++) {
        toon_expiry_entry entry = toon_index_expiry(index, i);
        uint64_t plain = toon_payload_of_index(entry.payload, false);
        entry.payload = plain | TOON_PAYLOAD_EXPIRES;
        if (toon_slot_map_replace(volume->table, entry.hash, plain,
                                  entry.payload))
            toon_expiry_push(&volume->expiry, entry);
    }
    atomic_store(&volume->rows, head->rows);
    atomic_store(&volume->live_bytes, head->live_bytes);
    atomic_store(&volume->expiring, volume->expiry.count);
    volume->last_offset = head->last_offset;
    return TOON_OK;
}

static toon_err too_short(const toon_log *log, uint64_t covered) {
    uint64_t size = atomic_load(&log->written);
    toon_where where = {log->file.path, (int64_t)size, 0};
    return toon_fail(TOON_CORRUPT, where,
                     "%s ends at offset %" PRIu64 ", but %" PRIu64
                     " bytes of it were durable; nothing was written: if you "
                     "put an older " TOON_LOG_NAME
                     " here, take " TOON_INDEX_NAME " away",
                     log->file.path, size, covered);
}

/* An index is renamed into place only when all that it covers is durable: if
 * its last record is none any more, that is damage, and not a torn end. */
static toon_err check_last(const toon_index *index, const toon_log *log) {
    const toon_index_head *head = &index->head;
    toon_record record;
    if (head->covered > atomic_load(&log->written))
        return too_short(log, head->covered);
    if (head->last_offset < log->first || head->last_offset >= head->covered)
        return TOON_OK;
    toon_slice view = toon_log_view(log, head->last_offset, 0);
    if (toon_record_parse(view, log->salt, &record) == RECORD_OK)
        return TOON_OK;
    toon_where where = {log->file.path, (int64_t)head->last_offset, 0};
    return toon_fail(TOON_CORRUPT, where,
                     "%s: damaged record at offset %" PRIu64
                     "; nothing was written",
                     log->file.path, head->last_offset);
}

/* *covered stays 0 if there is no index that fits. */
static toon_err volume_from_index(const toon_dir *dir, bool read_only,
                                  toon_log *log, toon_volume **out,
                                  uint64_t *covered) {
    toon_index index;
    toon_err err = toon_index_load(dir, &index);
    if (err == TOON_NO_MEMORY)
        return err;
    if (err != TOON_OK)
        return TOON_OK;
    /* It may be younger than the first look at the log's size. */
    if (read_only)
        err = toon_log_look_again(log);
    if (err == TOON_OK)
        err = toon_log_require_map(log);
    if (err == TOON_OK && index.head.salt == log->salt)
        err = check_last(&index, log);
    if (err == TOON_OK && toon_index_fits(&index, log)) {
        toon_volume *volume =
            toon_volume_new(log, index.head.seed, 1, index.head.slots);
        err = volume ? fill_from_index(volume, &index) : toon_fail_memory();
        if (err == TOON_OK) {
            *out = volume;
            *covered = index.head.covered;
        } else if (volume != NULL) {
            volume->log = NULL; /* stays the caller's */
            toon_volume_free(volume);
        }
        if (err == TOON_CORRUPT)
            err = TOON_OK; /* an index is only a cache */
    }
    toon_index_free(&index);
    return err;
}

/* ----------------------------------------------------------------- replay */

/* A record of a batch whose end has not been read. */
struct batched {
    uint64_t offset;
    uint64_t shares; /* the record whose value it takes over (type r); or 0 */
};

/* A reader of the log's lines, and what it has understood so far. */
struct replay {
    toon_volume *volume;
    uint64_t start;
    uint64_t at;
    uint64_t valid_end; /* behind the last whole batch */
    uint64_t durable;   /* D of doc/format.md */
    uint64_t records;
    uint64_t last_end;     /* of the last of them, */
    uint32_t last_crc;     /* and its CRC */
    uint64_t digest;       /* of where they stand and of their CRCs */
    struct batched *batch; /* of the batch that goes on; owned */
    size_t batch_count;
    size_t batch_capacity;
    toon_buf key; /* scratch */
};

/* The mapping shows zeros where the disk failed. */
static toon_err unreadable(const toon_log *log, uint64_t offset) {
    toon_where where = {log->file.path, (int64_t)offset, 0};
    return toon_fail(TOON_IO, where,
                     "%s: the disk gave no or other bytes at offset %" PRIu64
                     "; nothing was written",
                     log->file.path, offset);
}

/* A line that is invalid in the mapping: is that what is on the disk? */
static toon_err confirm_invalid(const toon_log *log, uint64_t offset) {
    toon_buf line = {0};
    toon_err err = toon_log_read(log, offset, 0, &line);
    toon_slice view = toon_log_view(log, offset, line.size);
    if (err == TOON_CORRUPT) /* it has no end */
        err = TOON_OK;
    else if (err == TOON_OK && !toon_slice_equal(view, toon_buf_slice(&line)))
        err = unreadable(log, offset);
    toon_buf_free(&line);
    return err;
}

toon_err toon_replay_record(toon_volume *volume, const toon_record *record,
                            uint64_t offset, toon_kept kept,
                            toon_buf *scratch) {
    scratch->size = 0;
    if (!toon_record_key(record, scratch))
        return scratch->failed ? toon_fail_memory()
                               : toon_volume_damaged(volume, offset);
    toon_slice key = toon_buf_slice(scratch);
    toon_hit old;
    toon_step step = {.hash = toon_key_hash(key, volume->seed),
                      .offset = offset};
    if (!toon_volume_reserve(volume, step.hash))
        return toon_fail_memory();
    toon_err err =
        toon_volume_find(volume, key, step.hash, TOON_LOOK_META, false, &old);
    if (err != TOON_OK)
        return err;
    step.old_payload = old.payload;
    /* An index that was written beside changes may lack the expiry. */
    if (toon_payload_expires(old.payload) && !old.damaged)
        step.old_expires_ms = old.record.expires_ms;
    toon_hit_free(&old);
    if (record->type != RECORD_DELETED) {
        kept.offsets[0] = record->ref;
        step.payload = toon_payload(offset, record->size,
                                    record->expires_ms != 0, record->ref != 0);
        step.expires_ms = record->expires_ms;
        step.live_bytes = record->size;
    }
    if (step.old_payload != 0)
        step.garbage =
            toon_volume_garbage(volume, step.old_payload, &kept, false);
    toon_volume_apply(volume, &step);
    return TOON_OK;
}

static bool push_batch(struct replay *replay, const toon_record *record) {
    if (replay->batch_count == replay->batch_capacity) {
        size_t capacity = replay->batch_capacity * 2 + 16;
        struct batched *batch =
            realloc(replay->batch, capacity * sizeof *batch);
        if (batch == NULL)
            return false;
        replay->batch = batch;
        replay->batch_capacity = capacity;
    }
    bool shares = record->type == RECORD_SAME_VALUE;
    replay->batch[replay->batch_count++] =
        (struct batched){replay->at, shares ? record->ref : 0};
    return true;
}

/* A value that the record before or behind takes over is still live: a rename
 * is an r and a d, an exchange two r. */
static toon_kept kept_around(const struct replay *replay, size_t i) {
    toon_kept kept = {{0}};
    if (i > 0)
        kept.offsets[1] = replay->batch[i - 1].shares;
    if (i + 1 < replay->batch_count)
        kept.offsets[2] = replay->batch[i + 1].shares;
    return kept;
}

static uint64_t add_to_digest(uint64_t digest, uint64_t offset, uint32_t crc) {
    const uint64_t odd = 0x9e3779b97f4a7c15; /* any number that mixes well */
    return (digest ^ (offset << 32 ^ offset >> 32) ^ crc) * odd;
}

/* Its records have been parsed once; they are valid. */
static toon_err apply_batch(struct replay *replay) {
    const toon_log *log = replay->volume->log;
    for (size_t i = 0; i < replay->batch_count; i++) {
        toon_record record;
        uint64_t offset = replay->batch[i].offset;
        toon_slice view = toon_log_view(log, offset, 0);
        if (toon_record_parse(view, log->salt, &record) != RECORD_OK)
            return unreadable(log, offset);
        if (!toon_epoch_enter())
            return toon_fail_memory();
        toon_err err = toon_replay_record(replay->volume, &record, offset,
                                          kept_around(replay, i), &replay->key);
        toon_epoch_leave();
        if (err != TOON_OK)
            return err;
        replay->records++;
        replay->last_end = offset + record.size;
        replay->last_crc = record.crc;
        replay->digest = add_to_digest(replay->digest, offset, record.crc);
    }
    replay->batch_count = 0;
    return TOON_OK;
}

/* TOON_NOT_FOUND: what stands here is no valid line. */
static toon_err read_mark(struct replay *replay, toon_slice view) {
    uint64_t synced;
    size_t size;
    if (toon_mark_parse(view, replay->volume->log->salt, &synced, &size) !=
            RECORD_OK ||
        synced > replay->at)
        return TOON_NOT_FOUND;
    if (synced > replay->durable)
        replay->durable = synced;
    replay->at += size;
    if (replay->batch_count == 0)
        replay->valid_end = replay->at;
    return TOON_OK;
}

static toon_err read_line(struct replay *replay) {
    const toon_log *log = replay->volume->log;
    toon_record record;
    toon_slice view = toon_log_view(log, replay->at, 0);
    if (view.data[0] == '#')
        return read_mark(replay, view);
    if (toon_record_parse(view, log->salt, &record) != RECORD_OK) {
        char type;
        size_t size;
        return toon_record_is_foreign(view, log->salt, &type, &size)
                   ? toon_volume_damaged(replay->volume, replay->at)
                   : TOON_NOT_FOUND;
    }
    if (record.ref != 0 &&
        (record.ref >= replay->at || record.ref < log->first))
        return TOON_NOT_FOUND;
    if (!push_batch(replay, &record))
        return toon_fail_memory();
    replay->at += record.size;
    if (record.more)
        return TOON_OK;
    toon_err err = apply_batch(replay);
    if (err == TOON_OK)
        replay->valid_end = replay->at;
    return err;
}

/* A mark that names more than there is before it tells, too: some of what was
 * durable is missing. */
uint64_t toon_last_mark(const toon_log *log, uint64_t from) {
    static const char start[] = "# synced=";
    uint64_t best = 0;
    toon_slice view = toon_log_view(log, from, 0);
    const char *at = view.data;
    const char *end = at == NULL ? NULL : at + view.size;
    while (at < end) {
        at = memmem(at, (size_t)(end - at), start, sizeof start - 1);
        if (at == NULL)
            break;
        uint64_t synced;
        size_t size;
        toon_slice rest = toon_bytes(at, (size_t)(end - at));
        if (toon_mark_parse(rest, log->salt, &synced, &size) == RECORD_OK &&
            synced > best)
            best = synced;
        at++;
    }
    return best;
}

/* Reads to the end, or to the first line that is not valid. */
static toon_err replay_tail(struct replay *replay) {
    const toon_log *log = replay->volume->log;
    uint64_t end = atomic_load(&log->written);
    toon_err err = TOON_OK;
    while (err == TOON_OK && replay->at < end)
        err = read_line(replay);
    if (err == TOON_NOT_FOUND)
        err = confirm_invalid(log, replay->at);
    if (err != TOON_OK)
        return err;
    uint64_t mark = toon_last_mark(log, replay->at);
    if (mark > replay->durable)
        replay->durable = mark;
    if (replay->valid_end < replay->durable) {
        uint64_t bad = replay->at < end ? replay->at : replay->valid_end;
        return toon_volume_damaged(replay->volume, bad);
    }
    return TOON_OK;
}

/* -------------------------------------------------------------- torn tail */

#ifdef TOON_HOSTILE
#define TORN_PIECE ((size_t)7)
#else
#define TORN_PIECE ((size_t)1 << 20)
#endif

static bool all_zeros(toon_slice bytes) {
    return bytes.size == 0 ||
           (bytes.data[0] == 0 &&
            memcmp(bytes.data, bytes.data + 1, bytes.size - 1) == 0);
}

/* The torn end, from its first byte on. Read by calls: what is cut for good is
 * what the disk holds. */
struct torn {
    const toon_log *log;
    uint64_t at, end;
    toon_buf bytes; /* those before `at`, a piece of it; owned */
};

static toon_err read_torn(struct torn *torn) {
    uint64_t left = torn->end - torn->at;
    size_t size = left < TORN_PIECE ? (size_t)left : TORN_PIECE;
    torn->bytes.size = 0;
    toon_err err = toon_log_read(torn->log, torn->at, size, &torn->bytes);
    torn->at += size;
    return err;
}

static toon_err look_for_content(struct torn torn, bool *out) {
    toon_err err = TOON_OK;
    *out = false;
    while (err == TOON_OK && !*out && torn.at < torn.end) {
        err = read_torn(&torn);
        *out = err == TOON_OK && !all_zeros(toon_buf_slice(&torn.bytes));
    }
    toon_buf_free(&torn.bytes);
    return err;
}

static toon_err copy_torn(struct torn torn, const toon_file *file) {
    const uint64_t start = torn.at;
    toon_err err = TOON_OK;
    while (err == TOON_OK && torn.at < torn.end) {
        uint64_t to = torn.at - start;
        err = read_torn(&torn);
        if (err == TOON_OK)
            err = toon_file_write(file, torn.bytes.data, torn.bytes.size, to);
    }
    toon_buf_free(&torn.bytes);
    return err;
}

static toon_err keep_torn(const toon_dir *dir, const struct torn *torn,
                          char name[32]) {
    toon_file file;
    toon_err err;
    unsigned n = 1;
    do {
        (void)snprintf(name, 32, "db.toon.torn-%u", n++);
        err = toon_file_open(dir, name, O_WRONLY | O_CREAT | O_EXCL, &file);
    } while (err != TOON_OK && toon_last_error()->sys_errno == EEXIST);
    if (err != TOON_OK)
        return err;
    err = copy_torn(*torn, &file);
    if (err == TOON_OK)
        err = toon_file_sync(&file);
    toon_file_close(&file);
    return err == TOON_OK ? toon_dir_sync(dir) : err;
}

static toon_err cut_torn(const toon_dir *dir, struct replay *replay,
                         toon_recovery *recovery) {
    toon_log *log = replay->volume->log;
    uint64_t start = replay->valid_end;
    struct torn torn = {log, start, start + recovery->torn_bytes, {0}};
    bool content;
    toon_err err = look_for_content(torn, &content);
    if (err == TOON_OK && content)
        err = keep_torn(dir, &torn, recovery->kept);
    if (err == TOON_FULL) { /* what nobody was promised keeps no store shut */
        err = toon_dir_unlink(dir, recovery->kept);
        recovery->kept[0] = '\0';
        recovery->no_room = true;
    }
    if (err == TOON_OK)
        err = toon_log_cut(log, replay->valid_end);
    if (err == TOON_OK)
        replay->durable = replay->valid_end;
    return err;
}

/* --------------------------------------------------------------- snapshots */

static toon_err changed_meanwhile(const toon_log *log) {
    toon_where where = {log->file.path, -1, 0};
    return toon_fail(TOON_IO, where,
                     "%s: a write of the process that has the store open "
                     "failed, and what was read of it was taken back",
                     log->file.path);
}

/*
 * A write that failed may have been read, then cut off, and the log may have
 * grown over it, all while it was replayed: then the table has records of
 * before the cut, and the log those of after. So what was replayed is walked
 * a second time. What is cut from here on takes the last record with it.
 */
static toon_err confirm_replayed(const struct replay *replay) {
    toon_log *log = replay->volume->log;
    uint64_t digest = 0;
    uint64_t at = replay->start;
    if (replay->records == 0)
        return TOON_OK; /* all is from the index, and durable */
    while (at < replay->last_end) {
        toon_record record;
        uint64_t synced;
        size_t size;
        toon_slice view = toon_log_view(log, at, 0);
        if (view.data[0] == '#') {
            if (toon_mark_parse(view, log->salt, &synced, &size) != RECORD_OK)
                return changed_meanwhile(log);
            at += size;
            continue;
        }
        if (toon_record_parse(view, log->salt, &record) != RECORD_OK)
            return changed_meanwhile(log);
        digest = add_to_digest(digest, at, record.crc);
        at += record.size;
    }
    if (digest != replay->digest)
        return changed_meanwhile(log);
    toon_log_hold(log, replay->last_end, replay->last_crc);
    return toon_log_check_held(log);
}

static toon_err confirm_snapshot(const toon_dir *dir, struct replay *replay,
                                 toon_recovery *recovery) {
    recovery->is_written = toon_dir_is_locked(dir) || recovery->is_written;
    if (!recovery->is_written)
        return TOON_OK;
    recovery->torn_bytes = 0; /* it is being written */
    recovery->missing_rows = 0;
    return confirm_replayed(replay);
}

/* ---------------------------------------------------------------- opening */

/* Where the records end, and whether a mark there tells of them already. */
static void find_marked(struct replay *replay) {
    toon_log *log = replay->volume->log;
    uint64_t last = replay->volume->last_offset;
    toon_record record;
    uint64_t synced;
    size_t size;
    log->marked = log->first;
    log->records_end = log->first;
    if (last == 0 || toon_record_parse(toon_log_view(log, last, 0), log->salt,
                                       &record) != RECORD_OK)
        return;
    log->records_end = last + record.size;
    toon_slice behind = toon_log_view(log, log->records_end, 0);
    if (behind.data != NULL &&
        toon_mark_parse(behind, log->salt, &synced, &size) == RECORD_OK)
        log->marked = synced;
}

/* The header's count is a hint and no reason to refuse a log of valid lines.
 * But it counts what was durable: what is not valid here is no torn end if
 * rows are missing. */
static toon_err not_torn(const struct replay *replay) {
    const toon_log *log = replay->volume->log;
    toon_where where = {log->file.path, (int64_t)replay->valid_end, 0};
    return toon_fail(TOON_CORRUPT, where,
                     "%s: damaged at offset %" PRIu64 ": behind it are not the "
                     "%" PRIu32 " rows that were durable; run tst check",
                     log->file.path, replay->valid_end, log->row_hint);
}

static toon_err finish(const toon_dir *dir, bool read_only,
                       struct replay *replay, toon_recovery *recovery) {
    toon_log *log = replay->volume->log;
    recovery->replayed = replay->records;
    recovery->torn_bytes = atomic_load(&log->written) - replay->valid_end;
    uint64_t rows = atomic_load(&replay->volume->rows);
    /* A writer may have counted more since the log's end was looked at. */
    if (log->row_hint > rows && !recovery->is_written)
        recovery->missing_rows = log->row_hint - rows;
    if (recovery->missing_rows > 0 && recovery->torn_bytes > 0)
        return not_torn(replay);
    if (recovery->torn_bytes > 0 && read_only) {
        atomic_store(&log->written, replay->valid_end);
        log->allocated = replay->valid_end;
    } else if (recovery->torn_bytes > 0) {
        toon_err err = cut_torn(dir, replay, recovery);
        if (err != TOON_OK)
            return err;
    }
    uint64_t durable =
        replay->durable > log->first ? replay->durable : log->first;
    atomic_store(&log->synced, durable);
    find_marked(replay);
    return TOON_OK;
}

static toon_err recover_log(const toon_dir *dir, bool read_only, bool use_index,
                            toon_log *log, toon_volume **out,
                            toon_recovery *recovery) {
    struct replay replay = {.at = log->first};
    uint64_t covered = 0;
    toon_err err = TOON_OK;
    if (use_index)
        err = volume_from_index(dir, read_only, log, &replay.volume, &covered);
    if (err == TOON_OK && replay.volume == NULL) {
        uint64_t seed = 0;
        err = toon_random(&seed, sizeof seed);
        if (err == TOON_OK)
            replay.volume = toon_volume_new(log, seed, 1, 0);
        if (err == TOON_OK && replay.volume == NULL)
            err = toon_fail_memory();
    }
    if (err != TOON_OK)
        goto fail;
    recovery->indexed = covered;
    if (covered > 0)
        replay.at = covered;
    replay.valid_end = replay.at;
    replay.durable = covered;
    replay.start = replay.at;
    err = replay_tail(&replay);
    if (err == TOON_OK)
        err = finish(dir, read_only, &replay, recovery);
    if (err == TOON_OK && read_only)
        err = confirm_snapshot(dir, &replay, recovery);
    free(replay.batch);
    toon_buf_free(&replay.key);
    if (err == TOON_OK) {
        *out = replay.volume;
        return TOON_OK;
    }
fail:
    if (replay.volume != NULL)
        toon_volume_free(replay.volume);
    else
        toon_log_free(log);
    return err;
}

toon_err toon_log_missing(const toon_dir *dir) {
    toon_file index;
    toon_err err = toon_file_open(dir, TOON_INDEX_NAME, O_RDONLY, &index);
    toon_file_close(&index);
    toon_where where = {dir->path, -1, 0};
    if (err == TOON_NOT_FOUND)
        return toon_fail(TOON_NOT_FOUND, where, "there is no store in %s",
                         dir->path);
    if (err != TOON_OK)
        return err;
    return toon_fail(TOON_CORRUPT, where,
                     "%s: the index " TOON_INDEX_NAME
                     " is there, but the log " TOON_LOG_NAME
                     " is missing; nothing was written: put the log back, or "
                     "take the index away too to begin with an empty store",
                     dir->path);
}

static toon_err recover_once(const toon_dir *dir, bool read_only,
                             bool use_index, toon_volume **out,
                             toon_recovery *recovery) {
    toon_log *log;
    *recovery = (toon_recovery){0};
    recovery->is_written = read_only && toon_dir_is_locked(dir);
    toon_err err = toon_log_open(dir, TOON_LOG_NAME, read_only, &log);
    if (err == TOON_NOT_FOUND)
        return toon_log_missing(dir);
    if (err != TOON_OK)
        return err;
    err = toon_log_require_map(log);
    if (err != TOON_OK) {
        toon_log_free(log);
        return err;
    }
    return recover_log(dir, read_only, use_index, log, out, recovery);
}

/* Later rows would make up for those that it counts: it must not be believed
 * then, nor be what the next index builds on. */
static toon_err remove_index(const toon_dir *dir) {
    toon_err err = toon_dir_unlink(dir, TOON_INDEX_NAME);
    return err == TOON_OK || err == TOON_NOT_FOUND ? toon_dir_sync(dir) : err;
}

/* An index leaves out keys whose newest records are among rows that are
 * missing; of those the log has older ones. */
static toon_err recover_without_index(const toon_dir *dir, bool read_only,
                                      toon_volume **out,
                                      toon_recovery *recovery) {
    toon_err err = recover_once(dir, read_only, false, out, recovery);
    if (err != TOON_OK || read_only)
        return err;
    err = remove_index(dir);
    if (err != TOON_OK)
        toon_volume_free(*out);
    return err;
}

toon_err toon_recover(const toon_dir *dir, bool read_only, toon_volume **out,
                      toon_recovery *recovery) {
    enum { TRIES = 5 };

    for (int i = 1;; i++) {
        toon_err err = recover_once(dir, read_only, true, out, recovery);
        if (err == TOON_OK && recovery->missing_rows > 0 &&
            recovery->indexed > 0) {
            toon_volume_free(*out);
            err = recover_without_index(dir, read_only, out, recovery);
        }
        if ((err != TOON_CORRUPT && err != TOON_IO) || !read_only || i == TRIES)
            return err;
        /* What a writer does meanwhile can look like damage: again. */
        if (!recovery->is_written && !toon_dir_is_locked(dir))
            return err;
    }
}
