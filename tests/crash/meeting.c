/*
 * meeting.c - two threads that take turns.
 *
 * Knows the store's locks; must never know what either thread does.
 */
#include "meeting.h"

#include "lying_disk.h"
#include "store_internal.h"

#include <errno.h>
#include <time.h>

enum { PATIENCE_MS = 4 };

static struct {
    pthread_mutex_t lock;
    pthread_cond_t change;
    toon_store *store; /* NULL: closed */
    pthread_t host;
    bool waiting; /* a guest is there */
} meeting = {.lock = PTHREAD_MUTEX_INITIALIZER,
             .change = PTHREAD_COND_INITIALIZER};

static struct timespec patience(void) {
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += (long)PATIENCE_MS * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    return until;
}

/* Waits until the guest's presence is `wanted`; the lock is held. */
static bool wait_for(bool wanted) {
    struct timespec until = patience();
    int result = 0;
    while (meeting.waiting != wanted && result != ETIMEDOUT)
        result = pthread_cond_timedwait(&meeting.change, &meeting.lock, &until);
    return meeting.waiting == wanted;
}

static bool is_free(pthread_mutex_t *lock) {
    bool got = pthread_mutex_trylock(lock) == 0;
    if (got)
        (void)pthread_mutex_unlock(lock);
    return got;
}

/* In the other thread, behind each of its calls that changed the disk. */
static void meet(void *arg, const disk_op *op) {
    toon_store *store = arg;
    (void)op;
    if (pthread_equal(pthread_self(), meeting.host) ||
        !is_free(&store->writer_lock) || !is_free(&store->sync_lock))
        return;
    (void)pthread_mutex_lock(&meeting.lock);
    if (meeting.store != NULL && !meeting.waiting) {
        meeting.waiting = true;
        (void)pthread_cond_broadcast(&meeting.change);
        (void)wait_for(false);
        meeting.waiting = false;
    }
    (void)pthread_mutex_unlock(&meeting.lock);
}

void meeting_open(toon_store *store) {
    (void)pthread_mutex_lock(&meeting.lock);
    meeting.store = store;
    meeting.host = pthread_self();
    meeting.waiting = false;
    (void)pthread_mutex_unlock(&meeting.lock);
    lying_disk_hook(meet, store);
}

void meeting_close(void) {
    lying_disk_hook(NULL, NULL);
    (void)pthread_mutex_lock(&meeting.lock);
    meeting.store = NULL;
    meeting.waiting = false;
    (void)pthread_cond_broadcast(&meeting.change);
    (void)pthread_mutex_unlock(&meeting.lock);
}

bool meeting_wait(void) {
    (void)pthread_mutex_lock(&meeting.lock);
    bool came = wait_for(true);
    (void)pthread_mutex_unlock(&meeting.lock);
    return came;
}

void meeting_go_on(void) {
    (void)pthread_mutex_lock(&meeting.lock);
    meeting.waiting = false;
    (void)pthread_cond_broadcast(&meeting.change);
    (void)pthread_mutex_unlock(&meeting.lock);
}
