/*
 * mount.h - a store as a file system: what a program that mounts needs.
 *
 * The only header of fuse/ that others see (tstfs's main and tstd's main).
 */
#ifndef TOON_MOUNT_H
#define TOON_MOUNT_H

#include "toonstore.h"

typedef struct mount mount;

/* As the -o words of doc/mount.md. Zeroed by mount_options_init(). */
typedef struct mount_options {
    bool read_only;
    bool flat;
    bool fast_open;
    bool lazy;
    bool xattr;
    bool allow_other;
    bool strict_owner;
    unsigned uid, gid;            /* default: the mounting process's */
    unsigned file_mode, dir_mode; /* default: 0644, 0755 */
    unsigned database;
    char *prefix;       /* owned, NULL: none */
    unsigned threads;   /* 0: the default */
    char *kernel_words; /* owned, NULL: none; such as "noexec,noatime" */
    /* What the store was opened with, so that a write that cannot be kept is
     * refused at once. Not -o words: set by the program that mounts. */
    char *data_dir;          /* owned, NULL: not known */
    size_t value_size_max;   /* 0: TOON_VALUE_SIZE_LIMIT */
    uint64_t store_size_max; /* 0: no limit */
} mount_options;

void mount_options_init(mount_options *options);
void mount_options_free(mount_options *options);

/* Parses "ro,uid=5,…". False with a sentence in `error` for an unknown word
 * or a bad value. Words that a file system should accept and ignore are. */
bool mount_options_parse(mount_options *options, const char *words, char *error,
                         size_t error_size);

/* Is there a usable /dev/fuse? If not, why, as one line. */
bool mount_available(char *why, size_t why_size);

/*
 * Mounts and starts to serve, by threads of its own; returns when the mount
 * answers. A dead mount of a predecessor is detached first, with a word on
 * stderr. NULL with a sentence in `error`. The store must outlive the mount.
 */
mount *mount_start(toon_store *store, const char *mountpoint,
                   const mount_options *options, char *error,
                   size_t error_size);

/* Commits what is still in buffers, unmounts, joins the threads, frees. */
void mount_stop(mount *m);

/* Becomes readable when the file system was unmounted from outside. */
int mount_ended_fd(const mount *m);

/*
 * Notices to the kernel have tickets, counted up from 1. A change that the
 * kernel must hear of has been queued when toon_watch's callback returns,
 * that is before the changing call (or toon_gather_end()) returns. Told means
 * that the kernel has taken it. Any thread.
 */
uint64_t mount_notices_queued(const mount *m);
uint64_t mount_notices_told(const mount *m);

/* fn is called, by the notice thread, whenever `told` has moved. Set once,
 * before changes are made. */
void mount_on_told(mount *m, void (*fn)(void *arg), void *arg);

#endif
