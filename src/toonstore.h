/*
 * toonstore.h - the public store.
 *
 * A store is a directory whose log, `db.toon`, is readable TOON text. One
 * process writes it at a time (a lock sees to that); inside that process any
 * number of threads read, and readers never wait for a writer.
 *
 * How to read this manual
 *   - Every function may be called from every thread, but for toon_close(),
 *     which must be the last call on its store.
 *   - A function that can fail returns a toon_err and fills its last
 *     arguments only on TOON_OK. On any other result they are left alone and
 *     the store is unchanged, unless a comment says otherwise.
 *   - A toon_slice borrows: the bytes belong to the caller and are needed
 *     only until the call returns. What the library hands out says how long
 *     it lives.
 *   - Keys and values are bytes, any bytes; both may be empty.
 *   - Times are milliseconds since the Unix epoch.
 *   - An expired key is absent for every function, from the millisecond on
 *     that its expiry names.
 *   - "Changing" calls return after their bytes are in the kernel, so an
 *     acknowledged change survives `kill -9`. What survives a power cut is
 *     the choice of toon_options.sync.
 *
 * The format of the files is doc/format.md's.
 */
#ifndef TOONSTORE_H
#define TOONSTORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TOONSTORE_VERSION_MAJOR 0
#define TOONSTORE_VERSION_MINOR 1
#define TOONSTORE_VERSION_PATCH 0
#define TOONSTORE_VERSION       "0.1.0"

#if defined(__GNUC__)
#define TOON_API __attribute__((visibility("default")))
#else
#define TOON_API
#endif

/* ------------------------------------------------------------------ errors */

/* One list makes the enum and the texts of toon_strerror(). */
#define TOON_ERRORS(X)                                                         \
    X(TOON_OK, "ok")                                                           \
    X(TOON_NOT_FOUND, "no such key")                                           \
    X(TOON_EXISTS, "the key exists already")                                   \
    X(TOON_TOO_LARGE, "the key or the value is over its size limit")           \
    X(TOON_FULL, "no space left for the store")                                \
    X(TOON_CORRUPT, "damaged data")                                            \
    X(TOON_IO, "the disk failed")                                              \
    X(TOON_LOCKED, "another process has the store open")                       \
    X(TOON_READ_ONLY, "the store is read-only")                                \
    X(TOON_INVALID, "invalid argument")                                        \
    X(TOON_NO_MEMORY, "out of memory")                                         \
    X(TOON_CLOSED, "the store is closed")                                      \
    X(TOON_CONFLICT, "the key changed in between")                             \
    X(TOON_VERSION, "a file format this program does not know")

typedef enum toon_err {

#define TOON_ERROR_NAME(name, text) name,
    TOON_ERRORS(TOON_ERROR_NAME)
#undef TOON_ERROR_NAME
} toon_err;

/* A short text, static; never NULL, also for values that are no error. */
TOON_API const char *toon_strerror(toon_err err);

/*
 * What is known of the last failure in this thread. Set by every call that
 * returns something other than TOON_OK, NOT_FOUND, EXISTS or CONFLICT.
 */
typedef struct toon_error {
    toon_err err;
    int sys_errno;  /* 0 where no system call failed */
    int64_t offset; /* in the file at `path`; -1 where there is none */
    char path[256]; /* "" where no file is concerned; long paths are cut */
    char text[512]; /* a sentence for people: what happened, what to do */
} toon_error;

/* Valid until this thread's next failing call. Never NULL. */
TOON_API const toon_error *toon_last_error(void);

/* ------------------------------------------------------------------ slices */

/* Borrowed bytes. `data` may be NULL where `size` is 0. */
typedef struct toon_slice {
    const char *data;
    size_t size;
} toon_slice;

static inline toon_slice toon_bytes(const void *data, size_t size) {
    toon_slice slice = {(const char *)data, size};
    return slice;
}

/* The bytes of a C string without its NUL. */
static inline toon_slice toon_str(const char *text) {
    return toon_bytes(text, strlen(text));
}

/* -------------------------------------------------------------- open, close */

typedef struct toon_store toon_store;

/* When fdatasync(2) is called; see doc/format.md, "Durability". */
typedef enum toon_sync_policy {
    TOON_SYNC_EVERYSEC = 0, /* about once a second, by a thread of the store */
    TOON_SYNC_ALWAYS,       /* before a changing call returns */
    TOON_SYNC_NO,           /* on toon_sync() and toon_close() alone */
} toon_sync_policy;

typedef enum toon_cache_policy {
    TOON_CACHE_S3FIFO = 0, /* S3-FIFO (Yang et al., SOSP '23) */
    TOON_CACHE_LRU,        /* least recently used goes first */
    TOON_CACHE_NONE,       /* every read goes to the log */
} toon_cache_policy;

typedef enum toon_message_level {
    TOON_NOTE,    /* something worth knowing, e.g. a torn tail was cut */
    TOON_WARNING, /* something a person should look at */
} toon_message_level;

/* Told of what no return value can say. It must not call the store. */
typedef void toon_message_fn(void *arg, toon_message_level level,
                             const char *text);

enum {
    TOON_OPEN_READ_ONLY = 1 << 0, /* refuse changes with TOON_READ_ONLY, write
                                     nothing, and keep nobody out: see below */
    TOON_OPEN_NO_CREATE = 1 << 1, /* TOON_NOT_FOUND if there is no store */
};

#define TOON_KEY_SIZE_LIMIT   ((size_t)64 * 1024)
#define TOON_VALUE_SIZE_LIMIT ((size_t)512 * 1024 * 1024)

/* All zero is a good default for every field. */
typedef struct toon_options {
    unsigned flags;
    toon_sync_policy sync;
    toon_cache_policy cache_policy;
    size_t cache_bytes_max;   /* 0: 64 MiB */
    size_t cache_entries_max; /* 0: no limit but the bytes */
    size_t key_size_max;      /* 0: TOON_KEY_SIZE_LIMIT, which is the most */
    size_t value_size_max;    /* 0: TOON_VALUE_SIZE_LIMIT, which is the most */
    uint64_t store_size_max;  /* bytes of the log; 0: no limit */
    unsigned compact_garbage; /* percent of the log that may be dead before it
                                 is compacted; 0: 50; 100: never by itself,
                                 but to make room on a full disk */
    uint64_t compact_rate;    /* bytes a second that a compaction which began
                                 by itself reads at most, unless the log
                                 outgrows its space; 0: 128 MiB */
    toon_message_fn *message; /* NULL: nobody is told */
    void *message_arg;
} toon_options;

/*
 * Opens the store in directory `dir`, made if it is missing (its parent must
 * exist). `options` may be NULL. After a crash the log's tail is read back
 * first: everything that was acknowledged as durable is there, a torn end is
 * cut off, kept beside the log and reported as a message.
 *
 * With TOON_OPEN_READ_ONLY the store is a snapshot as of opening, whole
 * batches only, and stays so whatever another process does that has it open
 * for writing, before or after. (Should a write of that process fail in the
 * very moment, reads may answer TOON_IO; open it again.) An old log that it
 * reads from keeps its space on the disk until it is closed.
 *
 * TOON_LOCKED: another process has it open for writing, and this one would
 * write, too; the error's text names that one's pid.
 * TOON_CORRUPT: damage below what was durable; nothing was written.
 * TOON_VERSION: a newer or foreign file; nothing was written.
 * TOON_NOT_FOUND (with TOON_OPEN_NO_CREATE or TOON_OPEN_READ_ONLY),
 * TOON_INVALID, TOON_IO, TOON_FULL, TOON_NO_MEMORY.
 */
TOON_API toon_err toon_open(const char *dir, const toon_options *options,
                            toon_store **out);

/*
 * Syncs, writes the index, unlocks, frees. Returns the first failure of a
 * write or sync that the store ever met, so that nobody can miss it; not that
 * the disk was full, of which whoever wrote was told. The store is gone
 * afterwards whatever is returned. Values that are still pinned stay readable
 * until they are released. NULL is allowed.
 */
TOON_API toon_err toon_close(toon_store *store);

/* ----------------------------------------------------------------- reading */

/*
 * Modes are those of stat(2), permission bits and, for a symbolic link,
 * S_IFLNK (0120777). 0 stands for "the default", and is not stored.
 */
#define TOON_MODE_SYMLINK 0120777u

typedef struct toon_meta {
    int64_t written_ms; /* time of the last change, or as set by touch(1) */
    int64_t expires_ms; /* 0: never */
    uint64_t version;   /* larger after every change of the key; never 0 */
    uint32_t mode;
} toon_meta;

/* A pinned value. The bytes are followed by a NUL that `size` leaves out. */
typedef struct toon_value {
    const char *data;
    size_t size;
    toon_meta meta;
    void *pin; /* the library's own */
} toon_value;

/*
 * The value, without a copy where it is cached. It stays readable, and the
 * same, until toon_value_release(), whatever happens to the key or the store.
 * TOON_NOT_FOUND, TOON_CORRUPT (this key's record is damaged; others are
 * served), TOON_IO, TOON_NO_MEMORY.
 */
TOON_API toon_err toon_get(toon_store *store, toon_slice key, toon_value *out);

/* Gives the pin back. A zeroed or released value is allowed. */
TOON_API void toon_value_release(toon_value *value);

/* Another pin on the same bytes; both must be released. */
TOON_API void toon_value_share(const toon_value *value, toon_value *out);

typedef struct toon_pinned {
    size_t size; /* of the value, bytes */
    toon_meta meta;
    void *blob, *line; /* the library's own */
} toon_pinned;

/*
 * The value as it is now, to be read later or never: a long one is not looked
 * at before that, however long it is. What it is stays readable, and the same,
 * until toon_pinned_release(), whatever happens to the key. Errors as
 * toon_get(), but damage of a long value is found when it is read.
 */
TOON_API toon_err toon_pin_value(toon_store *store, toon_slice key,
                                 toon_pinned *out);

/* The value, as from toon_get(). Any thread. TOON_CORRUPT, TOON_IO,
 * TOON_NO_MEMORY. */
TOON_API toon_err toon_pinned_get(const toon_pinned *pinned, toon_value *out);

/* A zeroed or released one is allowed. Before or after toon_close(). */
TOON_API void toon_pinned_release(toon_pinned *pinned);

/*
 * Copies the first min(size, capacity) bytes of the value to `buffer`, sets
 * *size to the value's whole size. Allocates nothing when the value is cached.
 */
TOON_API toon_err toon_read(toon_store *store, toon_slice key, void *buffer,
                            size_t capacity, size_t *size);

typedef struct toon_key_stat {
    size_t size; /* of the value, bytes */
    toon_meta meta;
} toon_key_stat;

TOON_API toon_err toon_stat_key(toon_store *store, toon_slice key,
                                toon_key_stat *out);

/*
 * Reads of several keys that see all of a batch or nothing of it: calls
 * fn(arg), which must not change the store, and again as often as a batch
 * of another thread came in between; after a few times it keeps batches out
 * for the length of one call. What fn() produced before its last call is to
 * be thrown away.
 */
typedef void toon_read_fn(void *arg);
TOON_API void toon_read_together(toon_store *store, toon_read_fn *fn,
                                 void *arg);

/* ---------------------------------------------------------------- changing */

/*
 * All of these: TOON_READ_ONLY (opened so, or after a failed sync),
 * TOON_TOO_LARGE, TOON_FULL (no room on the disk or in store_size_max),
 * TOON_IO, TOON_NO_MEMORY; on each of them nothing has changed, but for this:
 *
 * With TOON_SYNC_ALWAYS a change is written, visible and told to watchers
 * before it is synced. If that sync fails, the call returns TOON_IO (and hands
 * nothing out), the store is read-only from then on, and the change stays
 * visible until it is closed; whether it is there after a power cut, nobody
 * knows. So with toon_batch_commit() and toon_gather_end(), too.
 */

enum {
    TOON_SET_IF_ABSENT = 1 << 0,   /* else TOON_EXISTS */
    TOON_SET_IF_PRESENT = 1 << 1,  /* else TOON_NOT_FOUND */
    TOON_SET_KEEP_EXPIRY = 1 << 2, /* expires_ms is ignored */
    TOON_SET_MODE = 1 << 3,        /* store `mode`; else permission bits stay
                                      and a symbolic link becomes a file */
};

typedef struct toon_set_options {
    unsigned flags;
    uint32_t mode;       /* with TOON_SET_MODE; 0: the default */
    int64_t expires_ms;  /* 0: never */
    int64_t written_ms;  /* 0: now */
    uint64_t if_version; /* not 0: the key must be there with this version,
                            else TOON_CONFLICT */
    toon_value *old;     /* not NULL: receives the value before, pinned; also
                            on TOON_EXISTS; `pin` is NULL where there was
                            none */
} toon_set_options;

/*
 * Is there room for a value of so many bytes more? For who gathers one in
 * pieces and wants to know in time. What it reserves on the disk is kept for
 * nobody. On TOON_FULL the store makes room if it can, which takes a moment.
 */
TOON_API toon_err toon_reserve(toon_store *store, size_t bytes);

/* Replaces the value whole. `options` may be NULL. */
TOON_API toon_err toon_set(toon_store *store, toon_slice key, toon_slice value,
                           const toon_set_options *options);

/*
 * Adds bytes to the end; an absent key is created. Expiry and mode stay.
 * Costs what is appended, not what is there. *size (may be NULL) is the new
 * size of the value.
 */
TOON_API toon_err toon_append(toon_store *store, toon_slice key,
                              toon_slice bytes, size_t *size);

/*
 * TOON_NOT_FOUND if it is not there. With `if_version` not 0: TOON_CONFLICT
 * unless the key has that version. `old` as in toon_set_options, may be NULL.
 */
TOON_API toon_err toon_delete(toon_store *store, toon_slice key,
                              uint64_t if_version, toon_value *old);

enum {
    TOON_RENAME_NO_REPLACE = 1 << 0, /* else TOON_EXISTS */
    TOON_RENAME_EXCHANGE = 1 << 1,   /* both must be there; they swap */
};

/*
 * Gives the value, its expiry and its mode to key `to`, in one batch and
 * without a copy of the value. TOON_NOT_FOUND if `from` is not there. A key
 * renamed to itself is left as it is.
 */
TOON_API toon_err toon_rename(toon_store *store, toon_slice from, toon_slice to,
                              unsigned flags);

enum {
    TOON_META_EXPIRES = 1 << 0,
    TOON_META_WRITTEN = 1 << 1,
    TOON_META_MODE = 1 << 2,
};

/*
 * Changes what `what` names and leaves the value: expiry (0: never; a time
 * that has passed deletes the key), time of the last change, mode. Does not
 * count as a change of the value: written_ms stays unless it is named.
 */
TOON_API toon_err toon_set_meta(toon_store *store, toon_slice key,
                                unsigned what, const toon_meta *meta);

/* The ancestor's PUT: the key is the new row number, in decimal digits; row
 * numbers are never used twice. A key of that name that was set by hand is
 * passed over, never replaced. */
TOON_API toon_err toon_add(toon_store *store, toon_slice value, uint64_t *row);

/* Removes every key, by a new empty log. Refused inside a batch. If it cannot
 * be known whether the new log's name is durable, that is TOON_IO: the store
 * is read-only from then on, and shows its keys until it is closed. */
TOON_API toon_err toon_clear(toon_store *store);

/* ----------------------------------------------------------------- batches */

/*
 * Many changes, all or none, also across a crash. Between begin and commit
 * the changing calls of THIS THREAD join the batch; other threads' changes
 * wait, so keep it short. Single reads by others may see a part of it,
 * toon_read_together() does not. Batches do not nest: TOON_INVALID.
 *
 * A changing call that fails inside a batch leaves the batch as it was; the
 * caller decides whether to commit or to cancel.
 */
TOON_API toon_err toon_batch_begin(toon_store *store);

/* On any error nothing of the batch has happened, but where its sync failed
 * (above); it has ended all the same. */
TOON_API toon_err toon_batch_commit(toon_store *store);

/* Undoes what the batch did so far and ends it; without one it does nothing.
 * All versions (toon_meta) are others afterwards. */
TOON_API void toon_batch_cancel(toon_store *store);

/*
 * For servers: between begin and end, the changes of this thread are applied
 * at once and visible at once, but written together by toon_gather_end() (or
 * earlier, with another thread's change). They must not be acknowledged to
 * anybody before it returns TOON_OK. If it fails, all changes since begin
 * that were not written are undone (those that were and could not be synced
 * stay, as above). May be left open for a loop turn; readers and writers of
 * other threads are not held up. A batch inside of it ends first: else
 * toon_gather_end() is TOON_INVALID, and the gathering goes on.
 */
TOON_API void toon_gather_begin(toon_store *store);
TOON_API toon_err toon_gather_end(toon_store *store);

/*
 * For how long those who wrote in this thread's last gathering had better be
 * left alone, in nanoseconds: 0 unless the log grows faster than a compaction
 * makes room. A writer without a gathering waits by itself then, inside of its
 * call; a server would make all of its clients wait.
 */
TOON_API int64_t toon_gather_delay(void);

/* -------------------------------------------------------- scanning, ranges */

typedef struct toon_scan_options {
    const char *match; /* glob as Redis's KEYS: * ? [a-z] [^x] \x; NULL: all */
    size_t match_size; /* bytes of `match` */
    size_t count;      /* about how many keys to look at; 0: 10 */
    bool with_stat;    /* `stat` is filled for the callback */
} toon_scan_options;

/* Return false to stop. `key` and `stat` live until the callback returns.
 * `stat` is NULL unless asked for. Calls into the store are allowed. */
typedef bool toon_key_fn(void *arg, toon_slice key, const toon_key_stat *stat);

/*
 * Visits about `count` keys and moves *cursor on; start with 0, done when it
 * is 0 again. In no order. A key that is there from the first to the last
 * call is visited at least once (here: exactly once, unless it is renamed),
 * whatever changes meanwhile. A stop by the callback ends the call after
 * the key that it refused, of which the cursor may show the rest again.
 */
TOON_API toon_err toon_scan(toon_store *store, uint64_t *cursor,
                            const toon_scan_options *options, toon_key_fn *fn,
                            void *arg);

/* Does `key` match the glob `pattern`, by Redis's rules? */
TOON_API bool toon_glob_match(toon_slice pattern, toon_slice key);

typedef struct toon_range_options {
    toon_slice prefix; /* only keys that start so */
    toon_slice from;   /* only keys >= this, in byte order */
    size_t limit;      /* at most so many keys; 0: no limit */
    bool with_stat;
} toon_range_options;

/*
 * Visits keys in byte order. What is there throughout is visited exactly
 * once. The first call builds an ordered index of all keys (about 1 s for two
 * million); it is kept up to date from then on, and a call costs what it
 * visits. A key whose record was damaged after that, or cannot be read, is
 * visited too, with a stat that is all zero (version 0); of one damaged
 * before, no key can be read, and the message function is told.
 */
TOON_API toon_err toon_range(toon_store *store,
                             const toon_range_options *options, toon_key_fn *fn,
                             void *arg);

/* ---------------------------------------------------------------- watching */

typedef enum toon_change_kind {
    TOON_CHANGE_SET = 0, /* a new value, whole */
    TOON_CHANGE_APPEND,  /* the value grew at its end */
    TOON_CHANGE_META,    /* expiry, time or mode; not the value */
    TOON_CHANGE_DELETE,
    TOON_CHANGE_EXPIRE, /* removed by the background cycle */
    TOON_CHANGE_CLEAR,  /* every key is gone; `key` is empty */
    TOON_CHANGE_MOVED,  /* a compaction gave every key another version, and
                           changed nothing else; `key` is empty */
} toon_change_kind;

typedef struct toon_change {
    toon_change_kind kind;
    toon_slice key;   /* lives until the callback returns */
    bool existed;     /* the key was there before */
    uint64_t version; /* toon_meta.version after it; 0: absent now, or unknown.
                    Of MOVED: no key has a larger one by that; only what is
                    changed later has */
    const void *origin; /* the mark of the thread that made it, or NULL */
} toon_change;

/*
 * Called once for each change after it was written and before its call
 * returns (before toon_gather_end() returns), in the order of the log, by a
 * thread that writes, without locks that reads need. It must not change the
 * store, nor call toon_watch() or toon_unwatch(), and should be quick. RENAME
 * is a DELETE and a SET. If memory runs out for the list of changes, it is
 * told TOON_CHANGE_CLEAR: anything may have changed.
 */
typedef void toon_watch_fn(void *arg, const toon_change *change);

/* Neither inside a batch. The watch ends with the store or with
 * toon_unwatch(), after which fn is not called any more. *id is never 0. */
TOON_API toon_err toon_watch(toon_store *store, toon_watch_fn *fn, void *arg,
                             uint64_t *id);
TOON_API void toon_unwatch(toon_store *store, uint64_t id);

/*
 * No key has a smaller version than this. It grows when versions move, before
 * anybody can read one of them, and so before TOON_CHANGE_MOVED is told. Who
 * keeps versions and reads this after a look at a key knows whether that look
 * came before or after what was told last: as long as this is not larger than
 * the version of the last TOON_CHANGE_MOVED, nothing has moved since.
 */
TOON_API uint64_t toon_version_base(toon_store *store);

/* Marks this thread's changes from now on, so that a watcher knows its own.
 * Returns the mark before. */
TOON_API const void *toon_thread_origin(const void *origin);

/* -------------------------------------------------- care, figures, checking */

/* All that was acknowledged before this call is durable when it returns
 * TOON_OK. A failure makes the store read-only: TOON_IO, from then on. */
TOON_API toon_err toon_sync(toon_store *store);

typedef struct toon_stats {
    uint64_t keys;          /* expired ones that are not yet removed count */
    uint64_t keys_expiring; /* with an expiry */
    uint64_t keys_expired;  /* removed by expiry since opening */
    uint64_t keys_hidden;   /* by damage, from toon_range(); after the first */
    uint64_t rows;          /* records in the log */
    uint64_t row_base;      /* row number of the first one */
    uint64_t log_bytes;
    uint64_t live_bytes; /* records that a live key needs; an estimate */
    uint64_t unsynced_bytes;
    uint64_t torn_bytes; /* cut from the tail at opening */
    uint64_t changes;    /* since opening */
    uint64_t syncs;
    int64_t last_sync_ms; /* also the time of opening */
    bool read_only;
    toon_err failure; /* the write or sync failure that made it so */
    bool compacting;
    uint64_t compact_done;   /* of compact_total: bytes of the log that the */
    uint64_t compact_total;  /* compaction under way has dealt with */
    uint64_t compactions;    /* finished since opening */
    toon_err compact_result; /* of the last one that ended */
    int64_t compact_ms;      /* how long that one took */
    uint64_t indexed_bytes;  /* of the log that db.toon.idx covers */
    uint64_t checkpoints;    /* indexes written since opening */
    uint64_t table_bytes;    /* memory of the key table */
    uint64_t order_bytes;    /* of the ordered index; 0: not built */
    uint64_t cache_hits, cache_misses, cache_insertions, cache_evictions;
    uint64_t cache_entries, cache_bytes, cache_bytes_max;
    uint64_t read_hits, read_misses; /* keys found, not found */
} toon_stats;

TOON_API void toon_stat(toon_store *store, toon_stats *out);

/* done and total in bytes; called a few hundred times at most. */
typedef void toon_progress_fn(void *arg, uint64_t done, uint64_t total);

/* -------------------------------------------------------------- compaction */

/*
 * Writes the live records to a new log, which then takes the old one's place:
 * dead bytes go, and values in many pieces become whole again. Readers and
 * writers go on meanwhile. It begins by itself where toon_options says;
 * at most one runs at a time, in a thread of the store.
 *
 * toon_compact() begins one, or joins the one that runs, and returns when it
 * has ended; not inside a batch (TOON_INVALID). `progress` may be NULL. No
 * error loses anything. On all but one the old log is there as before:
 * TOON_CORRUPT: a damaged record (run tst check); TOON_FULL: no room for the
 * copy; TOON_CONFLICT: toon_compact_stop() or toon_clear() ended it;
 * TOON_READ_ONLY, TOON_NO_MEMORY; TOON_IO: if the store is read-only then, it
 * was the last sync, and the new log may have taken its place.
 */
TOON_API toon_err toon_compact(toon_store *store, toon_progress_fn *progress,
                               void *arg);

/* Begins one and returns at once. TOON_CONFLICT: one runs already. How it
 * goes and went, toon_stat() says. TOON_READ_ONLY; TOON_INVALID: inside a
 * batch. */
TOON_API toon_err toon_compact_start(toon_store *store);

/* Ends the one that runs, if any, and waits until it has gone (but inside a
 * batch, which it may have to wait for). */
TOON_API void toon_compact_stop(toon_store *store);

/* Changes what toon_options said of compaction; zeros as there.
 * TOON_INVALID: garbage over 100. */
TOON_API toon_err toon_compact_tune(toon_store *store, unsigned garbage,
                                    uint64_t rate);

/*
 * A hot backup: a copy of the store as it stands at some moment of the call,
 * batches whole, in directory `dir`, which is made; there must be no store in
 * it (TOON_EXISTS), and its parent must exist. Writers go on meanwhile. Until
 * all of it is durable it has another name, so that no crash leaves half a
 * store there; on failure what was written is removed. Also of a store that
 * was opened for reading only. The bytes are copied as they are: toon_check()
 * of the copy finds damage that they had. TOON_LOCKED: a process is at work
 * in `dir`. TOON_CONFLICT: toon_copy_stop(). TOON_FULL, TOON_IO,
 * TOON_NO_MEMORY.
 */
TOON_API toon_err toon_copy(toon_store *store, const char *dir,
                            toon_progress_fn *progress, void *arg);

/* Ends the copies that are under way: each returns TOON_CONFLICT soon. Also
 * for `progress`. */
TOON_API void toon_copy_stop(toon_store *store);

/* ---------------------------------------------------------------- checking */

typedef struct toon_check_report {
    uint64_t rows, live_keys, marks;
    uint64_t log_bytes;  /* 0: not the log of a store; no repair begins */
    uint64_t damaged;    /* places below the durable length */
    uint64_t torn_bytes; /* at the end; opening would cut them */
    bool index_usable;   /* db.toon.idx fits the log */
} toon_check_report;

/* Told of each damaged place, and (offset -1) of other findings. */
typedef void toon_finding_fn(void *arg, int64_t offset, const char *text);

/*
 * Reads every byte of the store in `dir` and writes nothing. TOON_OK: sound
 * (a torn end is not damage). TOON_CORRUPT: damaged, the report says how
 * badly and is filled. Of a store that a process has open: as it stood at
 * some moment of the call. Callbacks may be NULL.
 */
TOON_API toon_err toon_check(const char *dir, toon_finding_fn *finding,
                             toon_progress_fn *progress, void *arg,
                             toon_check_report *report);

typedef struct toon_repair_report {
    uint64_t rows_kept, rows_lost;
    uint64_t keys;         /* that the mended store has */
    uint64_t keys_lost;    /* gone; not all of them need have a name left */
    uint64_t keys_older;   /* that may have fallen back to an older value */
    uint64_t bytes_aside;  /* damaged bytes, kept beside the log */
    char aside[64];        /* the name of that file in `dir`; "": none */
    char before[64];       /* the old log's name now; "": it was sound */
    uint64_t keys_unknown; /* places where records were lost and nobody knows
                              of which keys: any key that was last written
                              before one may be lost, older, or back */
    uint64_t keys_deleted; /* that the index calls deleted, though the record
                              of that is lost: they were not taken over */
} toon_repair_report;

/*
 * Salvage: writes a new log with every valid record of the store in `dir`
 * and puts it in the old one's place, which is kept beside it. A batch that
 * lacks a record is left out whole, a value that builds on a damaged record
 * is lost; `finding` is told of every damaged place, and by name of every key
 * that is lost, may have fallen back to an older value or was not taken over.
 * A sound store is left as it is. TOON_LOCKED; TOON_VERSION, TOON_CORRUPT: the
 * file's head is not a store's; TOON_FULL, TOON_IO, TOON_NO_MEMORY: the store
 * is as before, unless report->before has a name: then the new log has taken
 * the old one's place, it is not known whether for good, and the old one could
 * not be put back.
 */
TOON_API toon_err toon_repair(const char *dir, toon_finding_fn *finding,
                              toon_progress_fn *progress, void *arg,
                              toon_repair_report *report);

#ifdef __cplusplus
}
#endif

#endif
