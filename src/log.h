/*
 * log.h - db.toon: appending lines, reading them at an offset.
 *
 * Lines gather in memory and are written together. Offsets below `written`
 * are in the file and never change while the log is open; from there to `end`
 * they are in the gather buffer.
 *
 * Knows the file's header and the lines' framing (record.h); must never know
 * what keys mean.
 *
 * Threads: one appends at a time (the store's writer lock: "writer" below).
 * Any thread may read what is written, inside toon_epoch_enter().
 */
#ifndef TOON_LOG_H
#define TOON_LOG_H

#include "io.h"
#include "record.h"

#include <stdatomic.h>

#define TOON_LOG_NAME         "db.toon"
#define TOON_LOG_NEW_NAME     "db.toon.new" /* before it is renamed into place */
#define TOON_LOG_HEADER_SIZE  16u
#define TOON_LOG_VERSION      2u
#define TOON_LOG_OFFSET_LIMIT ((uint64_t)1 << 40) /* what a slot can hold */

/* Room that stays reserved behind the end of a log that is closed, so that on
 * a disk that others have filled meanwhile keys can still be removed. */
#define TOON_LOG_RESERVE ((uint64_t)80 << 10)

typedef struct toon_log_map toon_log_map; /* the current mapping */

typedef struct toon_log {
    toon_file file;
    uint32_t salt;
    uint64_t base;  /* row number of the first record */
    uint64_t first; /* offset behind the headline */
    uint32_t row_hint;

    _Atomic uint64_t written; /* published end */
    _Atomic uint64_t synced;  /* all before this is durable */
    _Atomic(toon_log_map *) map;

    /* The writer's own. */
    toon_buf gather;
    uint64_t allocated;     /* blocks are reserved up to here … */
    bool unreserved;        /* … or not, where the file system cannot */
    uint64_t records_end;   /* behind the newest record */
    uint64_t marked;        /* the newest sync mark says this offset */
    uint64_t marked_before; /* the same without the gather buffer's mark */

    _Atomic unsigned sharers; /* beside the volume: toon_log_share() */

    /* A reader's: toon_log_hold(). */
    uint64_t held_end; /* 0: nothing */
    char held[10];     /* the bytes before it: CRC and line end */
} toon_log;

/* Writes a new, empty log under `name`; `durable`: and syncs it. */
toon_err toon_log_create(const toon_dir *dir, const char *name, uint64_t base,
                         uint32_t salt, bool durable);

/*
 * Opens and checks header and headline. `written` is the file's size: cutting
 * a torn tail off is recovery's decision (toon_log_cut). TOON_NOT_FOUND,
 * TOON_VERSION, TOON_CORRUPT.
 */
toon_err toon_log_open(const toon_dir *dir, const char *name, bool read_only,
                       toon_log **out);

/* The same, read-only, of whatever bytes are there: what the head says
 * (salt, base, first, row_hint) stays 0 until it has been checked. */
toon_err toon_log_open_any(const toon_dir *dir, const char *name,
                           toon_log **out);
toon_err toon_log_check_head(toon_log *log);

/* Its file has another name now. */
void toon_log_named(toon_log *log, const toon_dir *dir, const char *name);

/* No reader may be left (toon_epoch_retire). NULL is allowed. */
void toon_log_free(toon_log *log);

/* The log stays until both have freed it: for who reads its file for long,
 * and not through the volume. */
toon_log *toon_log_share(toon_log *log);

/* What of the disk it has already, behind its end as well. Writer. */
static inline uint64_t toon_log_taken(const toon_log *log) {
    uint64_t written =
        atomic_load_explicit(&log->written, memory_order_relaxed);
    return log->unreserved || log->allocated < written ? written
                                                       : log->allocated;
}

/* Offset of the next line. Writer. */
static inline uint64_t toon_log_end(const toon_log *log) {
    return atomic_load_explicit(&log->written, memory_order_relaxed) +
           log->gather.size;
}

/*
 * Writer. Adds the sync mark if one is due, at the start of a write only.
 * Then the caller encodes one line straight into log->gather and asks for its
 * admission. Returns the gather size to go back to if that is refused.
 */
size_t toon_log_begin(toon_log *log);

/* Writer. Reserves room on the disk for a log that ends at `end`, plus
 * `cushion` bytes, and looks at size_max (0: no limit). If it reserves, then
 * some more, for fewer calls, but at most `ahead` bytes. TOON_FULL, IO. */
toon_err toon_log_make_room(toon_log *log, uint64_t end, uint64_t cushion,
                            uint64_t ahead, uint64_t size_max);

/*
 * Writer. Reserves room on the disk for what was encoded since begin, plus
 * `cushion` bytes, and looks at size_max (0: no limit). On TOON_FULL, IO or
 * NO_MEMORY the gather buffer is as it was at begin.
 */
toon_err toon_log_admit(toon_log *log, size_t begun, size_t cushion,
                        uint64_t size_max);

/* Writer. Is something durable that no mark in the log tells of? */
static inline bool toon_log_mark_is_due(const toon_log *log) {
    return atomic_load(&log->synced) > log->marked &&
           log->records_end > log->marked;
}

/* Writer, at the log's end. Gives room back that was reserved behind it, but
 * for TOON_LOG_RESERVE. A failure is nobody's: there is no reserve then. */
void toon_log_shrink(toon_log *log);

/* Writer. Forgets what has gathered past `size`. */
void toon_log_drop(toon_log *log, size_t size);

/*
 * Writer. Writes what has gathered. On failure the file is cut back for good to
 * `written` and the gather buffer is left for the caller, who undoes what is
 * in it and drops it; *cut_failed tells that even the cut failed and the log
 * must not be written any more.
 */
toon_err toon_log_write(toon_log *log, bool *cut_failed);

/* Any thread, one at a time. Makes `up_to` (<= written) durable. */
toon_err toon_log_sync(toon_log *log, uint64_t up_to);

/* A reader, while opening: what another process has added meanwhile. */
toon_err toon_log_look_again(toon_log *log);

/*
 * A reader's log may be cut back by the process that writes it, when a write
 * of it fails, and written anew from there. `offset` is where the newest
 * record that is read ends, `crc` what it ends in: it goes with whatever is
 * cut. TOON_IO from then on.
 */
void toon_log_hold(toon_log *log, uint64_t offset, uint32_t crc);
toon_err toon_log_check_held(const toon_log *log);

/* Writer, while opening. Shortens the file and syncs. */
toon_err toon_log_cut(toon_log *log, uint64_t size);

/* Writer. Reserves room for `size` more bytes, or as much of it as there is.
 * False: blocks of it are lacking. */
bool toon_log_reserve(toon_log *log, uint64_t size);

/* Writer; nothing is gathered. Gives blocks that were only reserved back to the
 * disk. */
void toon_log_trim(toon_log *log);

/* Writer. The hint in the header. */
toon_err toon_log_set_row_hint(toon_log *log, uint32_t rows);
/* Of a log that is not open. */
toon_err toon_log_write_row_hint(const toon_file *file, uint32_t rows);

/* Writer. Another first row number. TOON_TOO_LARGE: its digits are more than
 * those in the file. */
toon_err toon_log_rebase(toon_log *log, uint64_t base);

/*
 * The bytes from `offset`: `size` of them, or with size 0 all that are
 * written. From the mapping; data is NULL if there is none that covers them.
 * They stay until the epoch is left.
 */
toon_slice toon_log_view(const toon_log *log, uint64_t offset, size_t size);

/* While opening. Tries again if what is written is not mapped as a whole. */
toon_err toon_log_require_map(toon_log *log);

/* The same by a read call, appended to `out`. With size 0 up to and with the
 * next LF. */
toon_err toon_log_read(const toon_log *log, uint64_t offset, size_t size,
                       toon_buf *out);

/* Writer. As toon_log_view, but also of what has gathered. The bytes stay
 * until the next begin, admit or write. No data: nothing starts there. */
toon_slice toon_log_view_gathered(const toon_log *log, uint64_t offset);

#endif
