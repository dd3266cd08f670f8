/*
 * policy_s3fifo.c - S3-FIFO: a small queue on trial, a main queue, ghosts.
 * (Yang, Zhang, Qiu, Yue, Rashmi: "FIFO queues are all you need for cache
 * eviction", SOSP '23.)
 *
 * A new blob waits in the small queue, a tenth of the budget. Hit more than
 * once by the time it reaches the end, it moves on to the main queue; else it
 * goes, and only its hash is kept as a ghost for a while. A blob whose ghost
 * is still known starts in the main queue, which gives those that were hit
 * another round. A hit only warms the blob, without a lock.
 *
 * Knows queues of blobs and hashes; must never know tables, budgets, locks.
 */
#include "cache_policy.h"

#include <stdlib.h>

enum {
    HEAT_MAX = 3,
    HEAT_TO_STAY = 2,     /* at the end of the small queue */
    PASSED_ON_MAX = 4096, /* by one eviction: no long stalls */
    SMALL_SHARE = 10,     /* the small queue's part: one in so many */
    GHOSTS_IN_BUCKET = 4,
    BYTES_PER_GHOST = 256, /* of budget: about a blob with a small value */
};

enum { SMALL, MAIN, QUEUES };

typedef struct ghost {
    uint32_t fingerprint;
    uint32_t born; /* value of `clock` then; 0: no ghost */
} ghost;

typedef struct bucket {
    ghost ghosts[GHOSTS_IN_BUCKET];
} bucket;

typedef struct s3fifo {
    toon_blob_list queues[QUEUES];
    size_t small_count_max, small_bytes_max;
    uint32_t clock; /* blobs that became ghosts, and 1 */
    size_t bucket_mask;
    bucket buckets[];
} s3fifo;

static size_t bucket_count_for(size_t entries_max, size_t bytes_max) {
    size_t ghosts = bytes_max / BYTES_PER_GHOST;
    ghosts = ghosts < entries_max ? ghosts : entries_max;
    size_t count = 1;
    while (count * GHOSTS_IN_BUCKET < ghosts) {
        count *= 2;
    }
    return count;
}

static size_t small_part(size_t budget) {
    return budget > SMALL_SHARE ? budget / SMALL_SHARE : 1;
}

static void *s3fifo_make(size_t entries_max, size_t bytes_max) {
    size_t buckets = bucket_count_for(entries_max, bytes_max);
    s3fifo *made = calloc(1, sizeof *made + buckets * sizeof(bucket));
    if (made == NULL) {
        return NULL;
    }
    made->small_count_max = small_part(entries_max);
    made->small_bytes_max = small_part(bytes_max);
    made->clock = 1;
    made->bucket_mask = buckets - 1;
    return made;
}

/* ------------------------------------------------------------------ ghosts */

/* The top bits of the hashes in a shard are the same: use the others. */
static bucket *bucket_of(s3fifo *p, uint64_t hash) {
    return &p->buckets[hash & p->bucket_mask];
}

static uint32_t fingerprint_of(uint64_t hash) {
    return (uint32_t)(hash >> 24);
}

/* How many blobs became ghosts after it. */
static uint32_t age_of(const s3fifo *p, const ghost *g) {
    return g->born == 0 ? UINT32_MAX : p->clock - g->born;
}

static void add_ghost(s3fifo *p, uint64_t hash) {
    bucket *b = bucket_of(p, hash);
    ghost *place = &b->ghosts[0];
    for (size_t i = 1; i < GHOSTS_IN_BUCKET; i++) {
        if (age_of(p, &b->ghosts[i]) > age_of(p, place)) {
            place = &b->ghosts[i];
        }
    }
    *place = (ghost){.fingerprint = fingerprint_of(hash), .born = p->clock};
    p->clock = p->clock == UINT32_MAX ? 1 : p->clock + 1;
}

/* Whether the hash has a ghost that is young enough; it has none then. As
 * many ghosts count as the main queue would hold blobs. */
static bool lay_ghost(s3fifo *p, uint64_t hash) {
    size_t known = p->queues[SMALL].count + p->queues[MAIN].count + 1;
    known -= known / SMALL_SHARE;
    bucket *b = bucket_of(p, hash);
    for (size_t i = 0; i < GHOSTS_IN_BUCKET; i++) {
        ghost *g = &b->ghosts[i];
        if (g->born != 0 && g->fingerprint == fingerprint_of(hash)) {
            bool young = age_of(p, g) <= known;
            *g = (ghost){0};
            return young;
        }
    }
    return false;
}

/* ------------------------------------------------------------------ queues */

static unsigned char heat_of(toon_blob *blob) {
    return atomic_load_explicit(&blob->heat, memory_order_relaxed);
}

static void set_heat(toon_blob *blob, unsigned char heat) {
    atomic_store_explicit(&blob->heat, heat, memory_order_relaxed);
}

static void enqueue(s3fifo *p, toon_blob *blob, unsigned char queue) {
    blob->queue = queue;
    toon_blob_list_push(&p->queues[queue], blob);
}

/* By any thread: two at once may count as one. A warm blob is only read, so
 * that its memory can stay in all processors' caches. */
static void s3fifo_hit(void *policy, toon_blob *blob) {
    (void)policy;
    unsigned char heat = heat_of(blob);
    if (heat < HEAT_MAX) {
        set_heat(blob, (unsigned char)(heat + 1));
    }
}

static void s3fifo_insert(void *policy, toon_blob *blob,
                          const toon_blob *replaced) {
    s3fifo *p = policy;
    if (replaced != NULL) {
        set_heat(blob,
                 atomic_load_explicit(&replaced->heat, memory_order_relaxed));
        s3fifo_hit(p, blob);
        enqueue(p, blob, replaced->queue);
        return;
    }
    set_heat(blob, 0);
    enqueue(p, blob, lay_ghost(p, blob->hash) ? MAIN : SMALL);
}

static void s3fifo_remove(void *policy, toon_blob *blob) {
    s3fifo *p = policy;
    toon_blob_list_remove(&p->queues[blob->queue], blob);
}

static unsigned char queue_to_evict_from(const s3fifo *p) {
    const toon_blob_list *small = &p->queues[SMALL];
    if (p->queues[MAIN].count == 0) {
        return SMALL;
    }
    bool large = small->count > 0 && (small->count >= p->small_count_max ||
                                      small->bytes >= p->small_bytes_max);
    return large ? SMALL : MAIN;
}

/* Another round in the main queue for a blob that was warm enough. */
static bool passes_on(s3fifo *p, toon_blob *blob) {
    unsigned char heat = heat_of(blob);
    if (blob->queue == SMALL && heat >= HEAT_TO_STAY) {
        set_heat(blob, 0);
    } else if (blob->queue == MAIN && heat > 0) {
        set_heat(blob, (unsigned char)(heat - 1));
    } else {
        return false;
    }
    enqueue(p, blob, MAIN);
    return true;
}

static toon_blob *s3fifo_evict(void *policy) {
    s3fifo *p = policy;
    for (unsigned passed = 0;; passed++) {
        toon_blob *blob = p->queues[queue_to_evict_from(p)].oldest;
        if (blob == NULL) {
            return NULL;
        }
        s3fifo_remove(p, blob);
        if (passed < PASSED_ON_MAX && passes_on(p, blob)) {
            continue;
        }
        if (blob->queue == SMALL) {
            add_ghost(p, blob->hash);
        }
        return blob;
    }
}

static const toon_blob_list *s3fifo_list(const void *policy, unsigned index) {
    const s3fifo *p = policy;
    return index < QUEUES ? &p->queues[index] : NULL;
}

const toon_policy toon_policy_s3fifo = {
    .make = s3fifo_make,
    .free = free,
    .insert = s3fifo_insert,
    .hit = s3fifo_hit,
    .remove = s3fifo_remove,
    .evict = s3fifo_evict,
    .list = s3fifo_list,
    .hit_needs_lock = false,
};
