/*
 * fs.h - one mount, as the parts of fuse/ share it.
 *
 * Locks, in the order in which they may be taken:
 *   file locks   the content of open files; several by index
 *   the store's own
 *   inodes       keys, counts and flags of nodes
 *   notices      the queue of what the kernel must hear
 *   ticks, handles
 * The store calls its watchers while a writer waits, and the watcher here
 * takes `inodes` and `notices`: so the store is never called with these held.
 * The kernel is told things by the notice thread alone, without any lock.
 */
#ifndef TOON_FS_H
#define TOON_FS_H

#define FUSE_USE_VERSION 314

#include "attr.h"
#include "backend.h"
#include "handles.h"
#include "inodes.h"
#include "invalidate.h"
#include "mount.h"
#include "versions.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <stdatomic.h>

#define FILE_LOCKS 32 /* a power of two */
#define RETRIES    64 /* of kernel calls that were answered ESTALE */
#define PAGE_BYTES ((size_t)4096) /* of the kernel's; larger ones are aligned */

struct mount {
    backend store;
    mount_options options;
    toon_slice prefix; /* of the options: the root's key */
    inodes inodes;
    node *root;
    ticks ticks;
    notices notices;
    handles handles; /* of directories, and of files apart */
    uint64_t watch;
    uint64_t moved_mark; /* versions.h; with the lock of the inodes */
    pthread_cond_t moved;
    pthread_mutex_t file_locks[FILE_LOCKS];
    _Atomic uint64_t estale[RETRIES];
    int64_t started_ms;
    _Atomic uint32_t root_mode;      /* 0: as the options say */
    _Atomic int64_t root_written_ms; /* 0: never set */

    struct fuse_session *session;
    char *mountpoint;
    bool mounted;
    pthread_t *threads;
    unsigned thread_count;
    _Atomic unsigned threads_serving;
    int ended_fd; /* readable: unmounted from outside */
};

extern const struct fuse_lowlevel_ops mount_ops;

static inline struct mount *mount_of(fuse_req_t req) {
    return fuse_req_userdata(req);
}

static inline node *node_of(const struct mount *m, fuse_ino_t ino) {
    return ino == FUSE_ROOT_ID ? m->root : (node *)ino;
}

static inline fuse_ino_t ino_of(const struct mount *m, const node *n) {
    return n == m->root ? FUSE_ROOT_ID : (fuse_ino_t)n;
}

static inline toon_slice key_slice(const key_text *key) {
    return toon_bytes(key->data, key->size);
}

/* The part of a key below the mount's prefix. */
static inline toon_slice key_below(const struct mount *m, toon_slice key) {
    return toon_bytes(key.data + m->prefix.size, key.size - m->prefix.size);
}

int64_t now_ms(void);

/* 0 or an errno; the one table of them. */
int errno_of(toon_err err);

void file_lock(struct mount *m, const node *n);
void file_unlock(struct mount *m, const node *n);
/* Either may be NULL. */
void file_lock_two(struct mount *m, const node *a, const node *b);
void file_unlock_two(struct mount *m, const node *a, const node *b);

/* No file is committed meanwhile, under whichever name. */
void file_lock_all(struct mount *m);
void file_unlock_all(struct mount *m);

/* The store's changes of this thread: by the mount itself, or by one file
 * alone (then its watcher knows whose they are). */
void origin_mount(struct mount *m);
void origin_file(const node *n);

/* Every reply that says no more than how it went. */
void reply_done(fuse_req_t req, int error);

/* Something came into a directory, or left it, through the mount. */
void dir_changed(struct mount *m, node *dir);

#endif
