/*
 * log.c - db.toon as bytes: header, gather buffer, mapping, sync.
 *
 * Knows the file's header and the lines' framing; must never know what keys
 * mean.
 */
#include "log.h"

#include "epoch.h"
#include "error.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const char magic[8] = {'T', 'O', 'O', 'N', '0', '0', '1', '\n'};

enum { ANCESTOR_VERSION = 1 };

/* Blocks are reserved in steps of an eighth of the log between these. */
#define RESERVE_STEP_MIN ((uint64_t)1 << 20)
#define RESERVE_STEP_MAX ((uint64_t)4 << 20)

/* A mapping reaches far past the file's end: addresses cost nothing, and to
 * unmap what a growing log has outgrown is a pause for its writer. Where
 * addresses are limited it is smaller. */
#ifdef TOON_HOSTILE
#define MAP_SIZE_MIN ((uint64_t)64 << 10)
#else
#define MAP_SIZE_MIN ((uint64_t)64 << 30)
#endif

/* A gather buffer that grew past this is given back after the write. */
#define GATHER_KEEP_MAX ((size_t)4 << 20)

struct toon_log_map {
    const toon_io *io;
    char *at;
    uint64_t size;
    uint64_t used; /* by the file, when it is freed */
};

static toon_err fail_at(const toon_log *log, toon_err err, uint64_t offset,
                        const char *what) {
    toon_where where = {log->file.path, (int64_t)offset, 0};
    return toon_fail(err, where, "%s: %s", log->file.path, what);
}

/* ----------------------------------------------------------------- mapping */

static void free_map(void *arg) {
    toon_log_map *map = arg;
    toon_file_unmap(map->io, map->at, map->size, map->used);
    free(map);
}

/* Without a mapping, or with one that is too short, reads go by calls, so to
 * most a failure here is none. */
static toon_err map_up_to(toon_log *log, uint64_t size) {
    toon_log_map *old = atomic_load(&log->map);
    if (old != NULL && old->size >= size)
        return TOON_OK;
    toon_log_map *map = malloc(sizeof *map);
    if (map == NULL)
        return toon_fail_memory();
    map->io = log->file.io;
    map->size = size * 2 < MAP_SIZE_MIN ? MAP_SIZE_MIN : size * 2;
    map->at = toon_file_map(&log->file, map->size);
    if (map->at == NULL && errno == ENOMEM) {
        map->size = size * 2;
        map->at = toon_file_map(&log->file, map->size);
    }
    if (map->at == NULL) {
        toon_err err = toon_file_fail(&log->file, 0, "cannot map");
        free(map);
        return err;
    }
    atomic_store(&log->map, map);
    if (old != NULL) {
        old->used = old->size;
        toon_epoch_retire(free_map, old);
    }
    return TOON_OK;
}

/* ----------------------------------------------------------- create, open */

toon_err toon_log_create(const toon_dir *dir, const char *name, uint64_t base,
                         uint32_t salt, bool durable) {
    toon_buf text = {0};
    toon_file file;
    char numbers[8];
    toon_put_u32(numbers, TOON_LOG_VERSION);
    toon_put_u32(numbers + 4, 0);
    toon_buf_append(&text, magic, sizeof magic);
    toon_buf_append(&text, numbers, sizeof numbers);
    toon_headline_encode(&text, base, salt);
    toon_err err = text.failed ? toon_fail_memory() : TOON_OK;
    if (err == TOON_OK)
        err = toon_file_open(dir, name, O_RDWR | O_CREAT | O_TRUNC, &file);
    if (err == TOON_OK) {
        err = toon_file_write(&file, text.data, text.size, 0);
        if (err == TOON_OK && durable)
            err = toon_file_sync(&file);
        toon_file_close(&file);
    }
    toon_buf_free(&text);
    return err;
}

static toon_err unknown_version(const toon_log *log, uint32_t version) {
    toon_where where = {log->file.path, 8, 0};
    return toon_fail(TOON_VERSION, where,
                     "%s is of version %" PRIu32
                     ", this program knows version %u; it was left untouched: "
                     "open it with a newer program, and if none ever wrote "
                     "it, look at it with tst check",
                     log->file.path, version, TOON_LOG_VERSION);
}

static toon_err check_header(toon_log *log, uint64_t size) {
    char header[TOON_LOG_HEADER_SIZE];
    if (size < sizeof header)
        return fail_at(log, TOON_CORRUPT, size,
                       "shorter than its header; not a store's log");
    toon_err err = toon_file_read(&log->file, header, sizeof header, 0);
    if (err != TOON_OK)
        return err;
    if (memcmp(header, magic, sizeof magic) != 0)
        return fail_at(log, TOON_CORRUPT, 0,
                       "does not start with TOON001; not a store's log");
    uint32_t version = toon_get_u32(header + 8);
    if (version == ANCESTOR_VERSION)
        return fail_at(log, TOON_VERSION, 8,
                       "is of version 1, raw rows without keys, which this "
                       "program does not open; it was left untouched. `tst "
                       "import` reads it");
    if (version != TOON_LOG_VERSION)
        return unknown_version(log, version);
    log->row_hint = toon_get_u32(header + 12);
    return TOON_OK;
}

static toon_err check_headline(toon_log *log, uint64_t size) {
    char start[512];
    uint64_t rest = size - TOON_LOG_HEADER_SIZE;
    size_t count = rest < sizeof start ? (size_t)rest : sizeof start;
    size_t line_size;
    toon_err err =
        toon_file_read(&log->file, start, count, TOON_LOG_HEADER_SIZE);
    if (err != TOON_OK)
        return err;
    if (toon_headline_parse(toon_bytes(start, count), &log->base, &log->salt,
                            &line_size) != RECORD_OK)
        return fail_at(log, TOON_CORRUPT, TOON_LOG_HEADER_SIZE,
                       "the first comment line is damaged; nothing was "
                       "written");
    log->first = TOON_LOG_HEADER_SIZE + line_size;
    return TOON_OK;
}

toon_err toon_log_check_head(toon_log *log) {
    uint64_t size = atomic_load(&log->written);
    toon_err err = check_header(log, size);
    return err == TOON_OK ? check_headline(log, size) : err;
}

static toon_err open_bytes(const toon_dir *dir, const char *name,
                           bool read_only, toon_log **out) {
    toon_log *log = calloc(1, sizeof *log);
    uint64_t size = 0;
    if (log == NULL)
        return toon_fail_memory();
    toon_err err =
        toon_file_open(dir, name, read_only ? O_RDONLY : O_RDWR, &log->file);
    if (err == TOON_OK)
        err = toon_file_size(&log->file, &size);
    if (err != TOON_OK) {
        toon_log_free(log);
        return err;
    }
    atomic_store(&log->written, size);
    log->allocated = size;
    *out = log;
    return TOON_OK;
}

toon_err toon_log_open(const toon_dir *dir, const char *name, bool read_only,
                       toon_log **out) {
    toon_log *log;
    toon_err err = open_bytes(dir, name, read_only, &log);
    if (err != TOON_OK)
        return err;
    err = toon_log_check_head(log);
    if (err != TOON_OK) {
        toon_log_free(log);
        return err;
    }
    log->records_end = log->first;
    (void)map_up_to(log, atomic_load(&log->written));
    *out = log;
    return TOON_OK;
}

toon_err toon_log_open_any(const toon_dir *dir, const char *name,
                           toon_log **out) {
    toon_err err = open_bytes(dir, name, true, out);
    if (err == TOON_OK)
        (void)map_up_to(*out, atomic_load(&(*out)->written));
    return err;
}

void toon_log_shrink(toon_log *log) {
    uint64_t end = atomic_load(&log->written);
    if (log->file.fd < 0 || log->allocated <= end)
        return;
    toon_log_trim(log);
    if (log->allocated == end)
        (void)log->file.io->allocate(log->file.fd, (off_t)end,
                                     (off_t)TOON_LOG_RESERVE);
}

toon_log *toon_log_share(toon_log *log) {
    (void)atomic_fetch_add(&log->sharers, 1);
    return log;
}

void toon_log_named(toon_log *log, const toon_dir *dir, const char *name) {
    (void)snprintf(log->file.path, sizeof log->file.path, "%s/%s", dir->path,
                   name);
}

void toon_log_free(toon_log *log) {
    if (log == NULL || atomic_fetch_sub(&log->sharers, 1) > 0)
        return;
    toon_log_map *map = atomic_load(&log->map);
    if (map != NULL) {
        uint64_t written = atomic_load(&log->written);
        map->used = written < map->size ? written : map->size;
        free_map(map);
    }
    toon_file_close(&log->file);
    toon_buf_free(&log->gather);
    free(log);
}

/* --------------------------------------------------------------- appending */

static toon_err allocate(toon_log *log, uint64_t size) {
    bool reserved;
    toon_err err =
        toon_file_allocate(&log->file, log->allocated, size, &reserved);
    if (err != TOON_OK)
        return err;
    log->allocated += size;
    log->unreserved = !reserved;
    return TOON_OK;
}

static toon_err allocate_up_to(toon_log *log, uint64_t size, uint64_t ahead) {
    if (size <= log->allocated)
        return TOON_OK;
    uint64_t step = log->allocated / 8;
    if (step < RESERVE_STEP_MIN)
        step = RESERVE_STEP_MIN;
    if (step > RESERVE_STEP_MAX)
        step = RESERVE_STEP_MAX;
    if (step > ahead)
        step = ahead;
    toon_err err = allocate(log, size + step - log->allocated);
    if (err == TOON_FULL) /* a nearly full disk: just what is needed */
        err = allocate(log, size - log->allocated);
    return err;
}

size_t toon_log_begin(toon_log *log) {
    size_t begun = log->gather.size;
    if (begun > 0)
        return begun;
    log->marked_before = log->marked;
    if (toon_log_mark_is_due(log)) {
        log->marked = atomic_load(&log->synced);
        toon_mark_encode(&log->gather, log->marked, log->salt);
    }
    return begun;
}

void toon_log_drop(toon_log *log, size_t size) {
    log->gather.size = size;
    log->gather.failed = false;
    if (size == 0)
        log->marked = log->marked_before;
    if (size == 0 && log->gather.cap > GATHER_KEEP_MAX)
        toon_buf_free(&log->gather);
}

toon_err toon_log_make_room(toon_log *log, uint64_t end, uint64_t cushion,
                            uint64_t ahead, uint64_t size_max) {
    if (size_max == 0 || size_max > TOON_LOG_OFFSET_LIMIT)
        size_max = TOON_LOG_OFFSET_LIMIT;
    if (end > size_max)
        return fail_at(log, TOON_FULL, end,
                       "no space: the store has reached its size limit");
    return allocate_up_to(log, end + cushion, ahead);
}

toon_err toon_log_admit(toon_log *log, size_t begun, size_t cushion,
                        uint64_t size_max) {
    uint64_t end = toon_log_end(log);
    toon_err err =
        log->gather.failed
            ? toon_fail_memory()
            : toon_log_make_room(log, end, cushion, UINT64_MAX, size_max);
    if (err != TOON_OK)
        toon_log_drop(log, begun);
    else
        log->records_end = end;
    return err;
}

toon_err toon_log_write(toon_log *log, bool *cut_failed) {
    uint64_t written = atomic_load(&log->written);
    *cut_failed = false;
    if (log->gather.size == 0)
        return TOON_OK;
    toon_err err = toon_file_write(&log->file, log->gather.data,
                                   log->gather.size, written);
    if (err != TOON_OK) {
        toon_error first = *toon_last_error();
        /* Synced, or a power cut could bring whole lines of it back. */
        *cut_failed = toon_file_truncate(&log->file, written) != TOON_OK ||
                      toon_file_sync(&log->file) != TOON_OK;
        /* One past: closing tries the cut again. */
        log->allocated = written + (*cut_failed ? 1 : 0);
        return toon_fail_again(&first);
    }
    written += log->gather.size;
    (void)map_up_to(log, written);
    atomic_store_explicit(&log->written, written, memory_order_release);
    log->marked_before = log->marked;
    toon_log_drop(log, 0);
    return TOON_OK;
}

toon_err toon_log_sync(toon_log *log, uint64_t up_to) {
    if (atomic_load(&log->synced) >= up_to)
        return TOON_OK;
    uint64_t written = atomic_load(&log->written);
    toon_err err = toon_file_sync(&log->file);
    if (err == TOON_OK)
        atomic_store(&log->synced, written);
    return err;
}

toon_err toon_log_look_again(toon_log *log) {
    uint64_t size = 0;
    toon_err err = toon_file_size(&log->file, &size);
    if (err != TOON_OK || size <= atomic_load(&log->written))
        return err;
    map_up_to(log, size);
    atomic_store(&log->written, size);
    log->allocated = size;
    return TOON_OK;
}

void toon_log_hold(toon_log *log, uint64_t offset, uint32_t crc) {
    (void)snprintf(log->held, sizeof log->held, "%08" PRIx32 "\n", crc);
    log->held_end = offset;
}

toon_err toon_log_check_held(const toon_log *log) {
    enum { SIZE = sizeof log->held - 1 }; /* without the NUL */

    if (log->held_end == 0)
        return TOON_OK;
    /* What was read before this call was read before this look. */
    atomic_thread_fence(memory_order_acquire);
    uint64_t offset = log->held_end - SIZE;
    toon_slice view = toon_log_view(log, offset, SIZE);
    if (view.data != NULL && memcmp(view.data, log->held, SIZE) == 0)
        return TOON_OK;
    return fail_at(log, TOON_IO, offset,
                   "a write of the process that has the store open failed, "
                   "and what this snapshot read of it was taken back; open "
                   "the store again");
}

toon_err toon_log_cut(toon_log *log, uint64_t size) {
    toon_err err = toon_file_truncate(&log->file, size);
    if (err == TOON_OK)
        err = toon_file_sync(&log->file);
    if (err == TOON_OK) {
        atomic_store(&log->written, size);
        log->allocated = size;
    }
    return err;
}

bool toon_log_reserve(toon_log *log, uint64_t size) {
    enum { BLOCK_SIZE = 4096 }; /* less is not worth a call */

    uint64_t end = toon_log_end(log) + size;
    uint64_t step = end > log->allocated ? end - log->allocated : 0;
    while (step >= BLOCK_SIZE) {
        toon_err err = allocate(log, step);
        if (err != TOON_OK && err != TOON_FULL)
            return false;
        if (err == TOON_FULL)
            step /= 2;
        if (step > end - log->allocated)
            step = end - log->allocated;
    }
    return log->allocated + BLOCK_SIZE > end;
}

void toon_log_trim(toon_log *log) {
    /* Also what an earlier process reserved, which nobody knows of. */
    uint64_t written = atomic_load(&log->written);
    if (toon_file_truncate(&log->file, written) == TOON_OK)
        log->allocated = written;
}

toon_err toon_log_set_row_hint(toon_log *log, uint32_t rows) {
    if (rows == log->row_hint)
        return TOON_OK;
    log->row_hint = rows;
    return toon_log_write_row_hint(&log->file, rows);
}

toon_err toon_log_write_row_hint(const toon_file *file, uint32_t rows) {
    char number[4];
    toon_put_u32(number, rows);
    return toon_file_write(file, number, sizeof number, 12);
}

toon_err toon_log_rebase(toon_log *log, uint64_t base) {
    toon_buf line = {0};
    toon_err err = TOON_OK;
    toon_headline_encode(&line, base, log->salt);
    if (line.failed)
        err = toon_fail_memory();
    else if (line.size != log->first - TOON_LOG_HEADER_SIZE)
        err = toon_fail_plain(TOON_TOO_LARGE, "the row number grew by a digit");
    else
        err = toon_file_write(&log->file, line.data, line.size,
                              TOON_LOG_HEADER_SIZE);
    if (err == TOON_OK)
        log->base = base;
    toon_buf_free(&line);
    return err;
}

/* ----------------------------------------------------------------- reading */

toon_slice toon_log_view(const toon_log *log, uint64_t offset, size_t size) {
    toon_slice none = {NULL, 0};
    uint64_t written =
        atomic_load_explicit(&log->written, memory_order_acquire);
    const toon_log_map *map = atomic_load(&log->map);
    if (offset >= written || map == NULL)
        return none;
    uint64_t rest = written - offset;
    if (size == 0)
        size = (size_t)rest;
    if (size > rest || offset + size > map->size)
        return none;
    return toon_bytes(map->at + offset, size);
}

/* Reads on in growing pieces until the line ends. */
static toon_err read_line(const toon_log *log, uint64_t offset, toon_buf *out) {
    uint64_t written = atomic_load(&log->written);
    size_t piece = 4096;
    size_t start = out->size;
    while (offset < written) {
        uint64_t rest = written - offset;
        size_t count = rest < piece ? (size_t)rest : piece;
        if (!toon_buf_reserve(out, count))
            return toon_fail_memory();
        char *at = out->data + out->size;
        toon_err err = toon_file_read(&log->file, at, count, offset);
        if (err != TOON_OK)
            return err;
        const char *newline = memchr(at, '\n', count);
        if (newline != NULL) {
            out->size += (size_t)(newline - at) + 1;
            return TOON_OK;
        }
        out->size += count;
        offset += count;
        piece *= 2;
    }
    out->size = start;
    return fail_at(log, TOON_CORRUPT, offset, "a line has no end");
}

toon_err toon_log_require_map(toon_log *log) {
    return map_up_to(log, atomic_load(&log->written));
}

toon_err toon_log_read(const toon_log *log, uint64_t offset, size_t size,
                       toon_buf *out) {
    if (size == 0)
        return read_line(log, offset, out);
    if (!toon_buf_reserve(out, size))
        return toon_fail_memory();
    toon_err err =
        toon_file_read(&log->file, out->data + out->size, size, offset);
    if (err == TOON_OK)
        out->size += size;
    return err;
}

toon_slice toon_log_view_gathered(const toon_log *log, uint64_t offset) {
    uint64_t written = atomic_load(&log->written);
    if (offset < written)
        return toon_log_view(log, offset, 0);
    size_t skip = (size_t)(offset - written);
    if (skip >= log->gather.size)
        return toon_bytes(NULL, 0);
    return toon_bytes(log->gather.data + skip, log->gather.size - skip);
}
