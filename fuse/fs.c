/*
 * fs.c - what all operations of a mount need: locks, errnos, marks. Must
 * never know a single operation.
 */
#include "fs.h"

#include <assert.h>
#include <time.h>

int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int errno_of(toon_err err) {
    static const int table[] = {
        [TOON_OK] = 0,
        [TOON_NOT_FOUND] = ENOENT,
        [TOON_EXISTS] = EEXIST,
        [TOON_TOO_LARGE] = EFBIG,
        [TOON_FULL] = ENOSPC,
        [TOON_CORRUPT] = EIO,
        [TOON_IO] = EIO,
        [TOON_LOCKED] = EBUSY,
        [TOON_READ_ONLY] = EROFS,
        [TOON_INVALID] = EINVAL,
        [TOON_NO_MEMORY] = ENOMEM,
        [TOON_CLOSED] = EIO,
        [TOON_CONFLICT] = EAGAIN,
        [TOON_VERSION] = EIO,
    };
    return (size_t)err < sizeof(table) / sizeof(table[0]) ? table[err] : EIO;
}

static size_t lock_index(const node *n) {
    return (size_t)(n->generation & (FILE_LOCKS - 1));
}

void file_lock(struct mount *m, const node *n) {
    pthread_mutex_lock(&m->file_locks[lock_index(n)]);
}

void file_unlock(struct mount *m, const node *n) {
    pthread_mutex_unlock(&m->file_locks[lock_index(n)]);
}

void file_lock_two(struct mount *m, const node *a, const node *b) {
    if (a == NULL || b == NULL || lock_index(a) == lock_index(b)) {
        if (a != NULL || b != NULL) {
            file_lock(m, a != NULL ? a : b);
        }
        return;
    }
    bool a_first = lock_index(a) < lock_index(b);
    file_lock(m, a_first ? a : b);
    file_lock(m, a_first ? b : a);
}

void file_unlock_two(struct mount *m, const node *a, const node *b) {
    if (a != NULL) {
        file_unlock(m, a);
    }
    if (b != NULL && (a == NULL || lock_index(a) != lock_index(b))) {
        file_unlock(m, b);
    }
}

void file_lock_all(struct mount *m) {
    for (size_t i = 0; i < FILE_LOCKS; i++) {
        pthread_mutex_lock(&m->file_locks[i]);
    }
}

void file_unlock_all(struct mount *m) {
    for (size_t i = 0; i < FILE_LOCKS; i++) {
        pthread_mutex_unlock(&m->file_locks[i]);
    }
}

void origin_mount(struct mount *m) {
    toon_thread_origin(m);
}

void origin_file(const node *n) {
    toon_thread_origin(n);
}

void reply_done(fuse_req_t req, int error) {
    /* It fails when the caller has gone, which changes nothing here. */
    (void)fuse_reply_err(req, error);
}

void dir_changed(struct mount *m, node *dir) {
    inodes_lock(&m->inodes);
    dir->changed_ms = now_ms();
    inodes_unlock(&m->inodes);
}
