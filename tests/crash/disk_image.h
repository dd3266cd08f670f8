/*
 * disk_image.h - what a disk may hold after a power cut or a kill, from the
 * journal of the calls that changed it.
 *
 * The rules, after "All File Systems Are Not Created Equal" (OSDI '14):
 *   - A file holds what it held when it was last synced. Of what was written,
 *     cut or grown since, any part may be there: none, all, some of the calls,
 *     calls torn at every 512 bytes, each sector as it was at another moment.
 *     Where a file grew without its data there are zeros, or (blocks that a
 *     deleted file gave back) bytes of other files.
 *   - A name is made, moved or removed for good when its directory was synced.
 *     Of what was done since, any may be there, in order or not, whether the
 *     file's data is or not. A rename leaves the new name, the old, or both.
 *   - Syncing a file says nothing of its name, syncing a directory nothing of
 *     its files, and neither anything of other files.
 *   - A kill loses nothing; it may tear the write that goes on, at any byte.
 *
 * Knows the journal; must never know what a store is.
 */
#ifndef TOON_TEST_DISK_IMAGE_H
#define TOON_TEST_DISK_IMAGE_H

#include "lying_disk.h"

/* Kind, its name, what becomes of data and of names since their sync. */
#define DISK_IMAGES(X)                                                         \
    X(IMAGE_KILL, "kill", DATA_NOW, NAMES_NOW)                                 \
    X(IMAGE_KILL_TORN, "kill-torn", DATA_NOW, NAMES_NOW)                       \
    X(IMAGE_LOST, "lost", DATA_SYNCED, NAMES_SYNCED)                           \
    X(IMAGE_NAMES_FIRST, "names-first", DATA_SYNCED, NAMES_NOW)                \
    X(IMAGE_DATA_FIRST, "data-first", DATA_NOW, NAMES_SYNCED)                  \
    X(IMAGE_ZEROS, "zeros", DATA_ZEROS, NAMES_NOW)                             \
    X(IMAGE_PREFIX, "prefix", DATA_PREFIX, NAMES_PREFIX)                       \
    X(IMAGE_SUBSET, "subset", DATA_SUBSET, NAMES_SUBSET)                       \
    X(IMAGE_SECTORS, "sectors", DATA_SECTORS, NAMES_PREFIX)                    \
    X(IMAGE_HOLES, "holes", DATA_LAST, NAMES_NOW)                              \
    X(IMAGE_UNCUT, "uncut", DATA_UNCUT, NAMES_NOW)                             \
    X(IMAGE_STALE, "stale", DATA_STALE, NAMES_PREFIX)                          \
    X(IMAGE_DOUBLED, "doubled", DATA_PREFIX, NAMES_DOUBLED)

typedef enum disk_image_kind {

#define DISK_IMAGE_KIND(kind, name, data, names) kind,
    DISK_IMAGES(DISK_IMAGE_KIND)
#undef DISK_IMAGE_KIND
        IMAGE_KINDS
} disk_image_kind;

const char *disk_image_kind_name(disk_image_kind kind);
/* IMAGE_KINDS: there is none of that name. */
disk_image_kind disk_image_kind_of(const char *name);

static inline bool disk_image_is_kill(disk_image_kind kind) {
    return kind == IMAGE_KILL || kind == IMAGE_KILL_TORN;
}

/* One file or directory as it is, and as it was last synced. */
typedef struct disk_platter {
    bool is_dir;
    toon_buf now, synced;
    size_t *unsynced; /* calls since the sync, by their place; owned */
    size_t unsynced_count, unsynced_capacity;
} disk_platter;

/* The disk after the first `at` calls of the journal. */
typedef struct disk_platters {
    const disk_journal *journal;
    size_t at;
    size_t lie;          /* this call lied, though the journal does not know; or
                   SIZE_MAX */
    disk_platter *nodes; /* owned; journal->nodes of them */
    disk_names names, names_synced;
    size_t *unsynced; /* calls on names; owned */
    size_t unsynced_count, unsynced_capacity;
} disk_platters;

void disk_platters_init(const disk_journal *journal, disk_platters *out);
void disk_platters_free(disk_platters *platters);

/* To the disk after `at` calls; only forward. */
void disk_platters_advance(disk_platters *platters, size_t at);

/* Nothing is unsynced: every power cut leaves the same. */
bool disk_platters_are_clean(const disk_platters *platters);

typedef struct disk_image {
    disk_names names;
    disk_platter *nodes; /* only `now` and is_dir count */
    int node_count;
} disk_image;

/* `seed` chooses among all that the kind allows. */
void disk_image_build(const disk_platters *platters, disk_image_kind kind,
                      uint64_t seed, disk_image *out);
void disk_image_free(disk_image *image);

/* Makes it: directory `from` of the image's root, as `path`, which is made.
 * False: the image has no such directory. Aborts where the test's own disk
 * fails. */
bool disk_image_write(const disk_image *image, const char *from,
                      const char *path);

/* A journal that ends in that directory, synced. */
void disk_image_journal(const disk_image *image, const char *from,
                        disk_journal *out);

/* Removes directory `path` and the files in it. */
void disk_remove(const char *path);

#endif
