/*
 * epoch.c - who is inside, and what waits until they have left.
 *
 * Knows threads, epochs and a queue of memory to free; must never know what
 * that memory holds.
 *
 * The invariant: the epoch moves from e to e + 1 only when every thread that
 * is inside has published e, and a thread goes on in enter only after it has
 * seen the epoch again equal to what it published. So while a thread that
 * published e is inside, the epoch is e or e + 1. What was retired in epoch r
 * is freed at r + 2: threads of epoch r and older have left by then, and a
 * thread that published r + 1 has synchronised with the step to r + 1, which
 * came after the retirement, and so cannot find the memory any more.
 *
 * Publishing and looking again must not change places. Where the kernel
 * offers membarrier(2), the thread that moves the epoch pays for that, which
 * is rare, and entering is two plain memory accesses; else who enters pays.
 */
#include "epoch.h"

#include <assert.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    CACHE_LINES_BYTES = 128, /* two: processors fetch them in pairs */
    RESERVE_COUNT = 512,     /* retirements that need no memory */
    BATCH_COUNT = 64,        /* freed between two looks at the queue */
    PUT_OFF_COUNT = 64,      /* lazy retirements between two looks, */
    PUT_OFF_BYTES = 1 << 20, /* or what they hold */
};

/* A thread that takes part. Never freed; reused after the thread's end. */
typedef struct member {
    alignas(CACHE_LINES_BYTES) _Atomic uint64_t inside; /* epoch; 0: outside */
    unsigned depth;                                     /* the thread's own */
    unsigned number;                                    /* constant */
    struct member *next;                                /* constant */
    bool taken;                                         /* under the lock */
} member;

typedef struct retired {
    void (*free_fn)(void *);
    void *arg;
    uint64_t epoch;
} retired;

static retired reserve[RESERVE_COUNT];

/* All under the lock but for in_flight, which also falls outside of it. */
static struct {
    pthread_mutex_t lock;
    member *members;
    unsigned member_count;
    retired *ring; /* in the order of their epochs */
    size_t capacity, head, count;
    uint64_t pushed, taken;
    size_t lazy_count, lazy_bytes; /* since the last look */
    _Atomic size_t in_flight;      /* taken, free_fn not done yet */
} domain = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .ring = reserve,
    .capacity = RESERVE_COUNT,
};

static alignas(CACHE_LINES_BYTES) _Atomic uint64_t current_epoch = 1;

#define FAST_TLS __attribute__((tls_model("initial-exec")))

static _Thread_local member *self FAST_TLS;
static _Thread_local bool freeing FAST_TLS; /* free_fn may retire */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static bool key_made;
static bool kernel_orders; /* constant once a member exists */

static void give_back(void *arg) {
    member *leaver = arg;
    atomic_store_explicit(&leaver->inside, 0, memory_order_release);
    leaver->depth = 0;
    self = NULL;
    pthread_mutex_lock(&domain.lock);
    leaver->taken = false;
    pthread_mutex_unlock(&domain.lock);
}

static bool membarrier(int command) {
    return syscall(SYS_membarrier, command, 0, 0) == 0;
}

static void begin(void) {
    kernel_orders = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
    key_made = pthread_key_create(&key, give_back) == 0;
}

static member *take_member_locked(void) {
    member *found = domain.members;
    while (found != NULL && found->taken) {
        found = found->next;
    }
    if (found == NULL) {
        found = aligned_alloc(alignof(member), sizeof *found);
        if (found == NULL) {
            return NULL;
        }
        *found =
            (member){.number = domain.member_count++, .next = domain.members};
        domain.members = found;
    }
    found->taken = true;
    return found;
}

static member *join(void) {
    pthread_once(&once, begin);
    if (!key_made) {
        return NULL;
    }
    pthread_mutex_lock(&domain.lock);
    member *joined = take_member_locked();
    pthread_mutex_unlock(&domain.lock);
    if (joined != NULL && pthread_setspecific(key, joined) != 0) {
        give_back(joined);
        return NULL;
    }
    self = joined;
    return joined;
}

static void publish(member *me, uint64_t epoch) {
    if (kernel_orders) {
        atomic_store_explicit(&me->inside, epoch, memory_order_release);
        atomic_signal_fence(memory_order_seq_cst);
        return;
    }
    atomic_store(&me->inside, epoch);
}

bool toon_epoch_enter(void) {
    member *me = self;
    if (me == NULL) {
        me = join();
        if (me == NULL) {
            return false;
        }
    }
    if (me->depth++ > 0) {
        return true;
    }
    uint64_t epoch = atomic_load_explicit(&current_epoch, memory_order_relaxed);
    for (;;) {
        publish(me, epoch);
        uint64_t seen = atomic_load(&current_epoch);
        if (seen == epoch) {
            return true;
        }
        epoch = seen;
    }
}

void toon_epoch_leave(void) {
    member *me = self;
    assert(me != NULL && me->depth > 0);
    if (--me->depth == 0) {
        atomic_store_explicit(&me->inside, 0, memory_order_release);
    }
}

unsigned toon_epoch_thread(void) {
    assert(self != NULL);
    return self->number;
}

/* What a thread published before this is seen after it, and a thread that
 * publishes later sees what was stored before. */
static bool order_all_threads(void) {
    return !kernel_orders || membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
}

static bool advance_locked(void) {
    uint64_t epoch = atomic_load_explicit(&current_epoch, memory_order_relaxed);
    if (!order_all_threads()) {
        return false;
    }
    for (member *m = domain.members; m != NULL; m = m->next) {
        uint64_t inside = atomic_load(&m->inside);
        if (inside != 0 && inside != epoch) {
            return false;
        }
    }
    atomic_store(&current_epoch, epoch + 1);
    return true;
}

/* Whether the item that waits at this place of the queue can be freed. */
static bool is_due_locked(size_t place) {
    size_t at = (domain.head + place) & (domain.capacity - 1);
    return place < domain.count &&
           domain.ring[at].epoch + 2 <=
               atomic_load_explicit(&current_epoch, memory_order_relaxed);
}

static size_t take_due_locked(retired due[BATCH_COUNT]) {
    domain.lazy_count = 0;
    domain.lazy_bytes = 0;
    while (domain.count > 0 && !is_due_locked(domain.count - 1) &&
           advance_locked()) {
    }
    size_t count = 0;
    while (count < BATCH_COUNT && is_due_locked(0)) {
        due[count++] = domain.ring[domain.head];
        domain.head = (domain.head + 1) & (domain.capacity - 1);
        domain.count--;
    }
    domain.taken += count;
    atomic_fetch_add_explicit(&domain.in_flight, count, memory_order_relaxed);
    if (domain.count == 0 && domain.ring != reserve) {
        free(domain.ring);
        domain.ring = reserve;
        domain.capacity = RESERVE_COUNT;
        domain.head = 0;
    }
    return count;
}

static bool grow_ring_locked(void) {
    retired *wider = calloc(domain.capacity * 2, sizeof *wider);
    if (wider == NULL) {
        return false;
    }
    for (size_t i = 0; i < domain.count; i++) {
        wider[i] = domain.ring[(domain.head + i) & (domain.capacity - 1)];
    }
    if (domain.ring != reserve) {
        free(domain.ring);
    }
    domain.ring = wider;
    domain.capacity *= 2;
    domain.head = 0;
    return true;
}

static bool push_locked(void (*free_fn)(void *), void *arg) {
    if (domain.count == domain.capacity && !grow_ring_locked()) {
        return false;
    }
    size_t end = (domain.head + domain.count) & (domain.capacity - 1);
    domain.ring[end] = (retired){
        .free_fn = free_fn,
        .arg = arg,
        .epoch = atomic_load_explicit(&current_epoch, memory_order_relaxed),
    };
    domain.count++;
    domain.pushed++;
    return true;
}

/* Frees what is due; returns with the lock free, as it was on the call. */
static void free_due_unlock(void) {
    retired due[BATCH_COUNT];
    size_t count = 0;
    if (!freeing) {
        count = take_due_locked(due);
    }
    pthread_mutex_unlock(&domain.lock);
    while (count > 0) {
        freeing = true;
        for (size_t i = 0; i < count; i++) {
            due[i].free_fn(due[i].arg);
        }
        freeing = false;
        atomic_fetch_sub_explicit(&domain.in_flight, count,
                                  memory_order_release);
        bool more = count == BATCH_COUNT;
        count = 0;
        if (more) {
            pthread_mutex_lock(&domain.lock);
            count = take_due_locked(due);
            pthread_mutex_unlock(&domain.lock);
        }
    }
}

static void nap(void) {
    const struct timespec briefly = {.tv_nsec = 50000};
    nanosleep(&briefly, NULL);
}

/* Returns with the lock taken. */
static void push_lock(void (*free_fn)(void *), void *arg) {
    pthread_mutex_lock(&domain.lock);
    /* The reserve is more than one call of the store retires, so even a
     * thread that is inside does not wait here for itself. */
    while (!push_locked(free_fn, arg)) {
        free_due_unlock();
        nap();
        pthread_mutex_lock(&domain.lock);
    }
}

void toon_epoch_retire(void (*free_fn)(void *), void *arg) {
    push_lock(free_fn, arg);
    free_due_unlock();
}

void toon_epoch_retire_lazily(void (*free_fn)(void *), void *arg,
                              size_t bytes) {
    push_lock(free_fn, arg);
    domain.lazy_count++;
    domain.lazy_bytes += bytes < PUT_OFF_BYTES ? bytes : PUT_OFF_BYTES;
    if (domain.lazy_count >= PUT_OFF_COUNT ||
        domain.lazy_bytes >= PUT_OFF_BYTES) {
        free_due_unlock();
        return;
    }
    pthread_mutex_unlock(&domain.lock);
}

void toon_epoch_drain(void) {
    assert(self == NULL || self->depth == 0);
    pthread_mutex_lock(&domain.lock);
    uint64_t last = domain.pushed;
    for (;;) {
        free_due_unlock();
        pthread_mutex_lock(&domain.lock);
        if (domain.taken >= last &&
            atomic_load_explicit(&domain.in_flight, memory_order_acquire) ==
                0) {
            break;
        }
        pthread_mutex_unlock(&domain.lock);
        nap();
        pthread_mutex_lock(&domain.lock);
    }
    pthread_mutex_unlock(&domain.lock);
}
