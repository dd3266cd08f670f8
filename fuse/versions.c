/*
 * versions.c - which versions of a key stand for the same value. Knows what
 * the store tells of compactions; must never know what a value is.
 */
#include "versions.h"

#include "fs.h"

#include <time.h>

/* An event follows at once. Should it be lost, what it would have told is
 * done without: nodes with versions from before it are replaced. */
#define EVENT_WAIT_S 2

void versions_start(struct mount *m) {
    uint64_t base = m->store.ops->version_base(m->store.store);
    inodes_lock(&m->inodes);
    versions_moved_locked(m, base);
    inodes_unlock(&m->inodes);
}

void versions_moved_locked(struct mount *m, uint64_t mark) {
    if (mark > m->moved_mark) {
        m->moved_mark = mark;
        ticks_moved(&m->ticks, mark);
        (void)pthread_cond_broadcast(&m->moved);
    }
}

bool versions_settled(struct mount *m, uint64_t mark) {
    uint64_t base = m->store.ops->version_base(m->store.store);
    if (base <= mark) {
        return true;
    }
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += EVENT_WAIT_S;
    int error = 0;
    inodes_lock(&m->inodes);
    while (m->moved_mark < base && error == 0) {
        error = pthread_cond_timedwait(&m->moved, &m->inodes.lock, &until);
    }
    versions_moved_locked(m, base);
    inodes_unlock(&m->inodes);
    return false;
}
