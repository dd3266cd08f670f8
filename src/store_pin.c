/*
 * store_pin.c - values as they were at one moment, to be read later or never.
 *
 * A long one stays where it lies, which costs nothing as long as nobody reads
 * it: its pin shares the log. When another log takes that one's place, such
 * values are read into memory, so that a pin never keeps an old log's space.
 *
 * Knows where a whole value's line lies; must never know what changes mean.
 */
#include "epoch.h"
#include "error.h"
#include "key_hash.h"
#include "store_internal.h"

#include <stdlib.h>

#ifdef TOON_HOSTILE
enum { LONG_LINE = 64 };
#else
enum { LONG_LINE = 64 * 1024 }; /* shorter values are read at once */
#endif

typedef struct toon_pin {
    _Atomic unsigned refs;
    pthread_mutex_t lock; /* of what follows, to `blob` */
    toon_log *log;        /* shared; NULL: the value is in `blob` */
    toon_blob *blob;
    uint64_t offset;
    size_t line_size;
    toon_meta meta;

    /* The store's, as long as it is open. */
    toon_store *store;
    struct toon_pin *next, **link;
    uint64_t round; /* of settling, in which it was looked at */
} toon_pin;

/* -------------------------------------------------------------- the store's */

void toon_pins_init(toon_store *store) {
    (void)pthread_mutex_init(&store->pins_lock, NULL);
}

static void enlist(toon_store *store, toon_pin *pin) {
    (void)pthread_mutex_lock(&store->pins_lock);
    pin->store = store;
    pin->round = store->pins_round;
    pin->next = store->pins;
    pin->link = &store->pins;
    if (pin->next != NULL)
        pin->next->link = &pin->next;
    store->pins = pin;
    (void)pthread_mutex_unlock(&store->pins_lock);
}

static void unlist(toon_pin *pin) {
    toon_store *store = pin->store;
    if (store == NULL)
        return;
    (void)pthread_mutex_lock(&store->pins_lock);
    *pin->link = pin->next;
    if (pin->next != NULL)
        pin->next->link = pin->link;
    (void)pthread_mutex_unlock(&store->pins_lock);
}

void toon_pins_free(toon_store *store) {
    for (toon_pin *pin = store->pins; pin != NULL; pin = pin->next)
        pin->store = NULL;
    (void)pthread_mutex_destroy(&store->pins_lock);
}

static void drop(toon_pin *pin) {
    if (atomic_fetch_sub(&pin->refs, 1) > 1)
        return;
    toon_log_free(pin->log);
    toon_blob_release(pin->blob);
    (void)pthread_mutex_destroy(&pin->lock);
    free(pin);
}

/* ------------------------------------------------------------------ reading */

static toon_err blob_of_line(const toon_pin *pin, toon_blob **out) {
    toon_hit hit;
    toon_err err = toon_line_load(pin->log, pin->offset, pin->line_size, &hit);
    if (err == TOON_OK)
        err = toon_blob_of_whole(pin->log, pin->offset, &hit.record,
                                 toon_bytes(NULL, 0), 0, out);
    toon_hit_free(&hit);
    if (err == TOON_OK)
        (*out)->meta = pin->meta;
    return err;
}

/* With the pin's lock. */
static toon_err read_locked(toon_pin *pin) {
    if (pin->log == NULL)
        return TOON_OK;
    if (!toon_epoch_enter())
        return toon_fail_memory();
    toon_err err = blob_of_line(pin, &pin->blob);
    toon_epoch_leave();
    if (err != TOON_OK)
        return err;
    toon_log_free(pin->log);
    pin->log = NULL;
    return TOON_OK;
}

/* One that was not looked at in this round; with a reference. */
static toon_pin *next_to_settle(toon_store *store, uint64_t round) {
    toon_pin *found = NULL;
    (void)pthread_mutex_lock(&store->pins_lock);
    for (toon_pin *pin = store->pins; pin != NULL && found == NULL;
         pin = pin->next) {
        if (pin->round < round)
            found = pin;
    }
    if (found != NULL) {
        found->round = round;
        (void)atomic_fetch_add(&found->refs, 1);
    }
    (void)pthread_mutex_unlock(&store->pins_lock);
    return found;
}

static const toon_log *log_of(toon_store *store) {
    if (!toon_epoch_enter())
        return NULL;
    const toon_log *log = atomic_load(&store->volume)->log;
    toon_epoch_leave();
    return log;
}

void toon_pins_settle(toon_store *store) {
    toon_pin *pin;
    const toon_log *current = log_of(store);
    (void)pthread_mutex_lock(&store->pins_lock);
    uint64_t round = ++store->pins_round;
    (void)pthread_mutex_unlock(&store->pins_lock);
    while ((pin = next_to_settle(store, round)) != NULL) {
        (void)pthread_mutex_lock(&pin->lock);
        if (pin->log != current) /* what cannot be read stays as it is */
            (void)read_locked(pin);
        (void)pthread_mutex_unlock(&pin->lock);
        drop(pin);
    }
}

/* ------------------------------------------------------------------ pinning */

struct pinning {
    toon_pin *pin;
    size_t size;
};

static toon_pin *pin_new(const toon_volume *volume, const toon_hit *hit,
                         uint64_t offset, size_t line_size) {
    toon_pin *pin = calloc(1, sizeof *pin);
    if (pin == NULL)
        return NULL;
    atomic_store(&pin->refs, 1);
    (void)pthread_mutex_init(&pin->lock, NULL);
    pin->log = toon_log_share(volume->log);
    pin->offset = offset;
    pin->line_size = line_size;
    pin->meta = toon_hit_meta(volume, hit);
    return pin;
}

/* One line that has the whole value, or a value that is read at once. */
static toon_err pin_hit(void *arg, const toon_volume *volume,
                        const toon_hit *hit, bool gathered) {
    struct pinning *self = arg;
    toon_fact fact;
    if (hit->damaged)
        return toon_volume_damaged(volume, toon_payload_offset(hit->payload));
    if (hit->payload == 0 || toon_has_expired(hit->record.expires_ms))
        return TOON_NOT_FOUND;
    if (gathered)
        return TOON_OK;
    toon_err err = toon_volume_measure(volume, hit, gathered, &fact);
    if (err != TOON_OK || fact.chain_size < LONG_LINE ||
        fact.chain_size != fact.line_size)
        return err;
    self->size = fact.value_size;
    self->pin =
        pin_new(volume, hit, toon_hit_value_offset(hit), fact.line_size);
    return self->pin == NULL ? toon_fail_memory() : TOON_OK;
}

static void pin_blob(toon_blob *blob, toon_pinned *out) {
    *out = (toon_pinned){blob->size, blob->meta, blob, NULL};
}

static toon_err pin_missed(toon_store *store, toon_slice key, uint64_t hash,
                           toon_pinned *out) {
    struct pinning pinning = {0};
    toon_blob *blob;
    toon_err err =
        toon_with_hit(store, key, hash, TOON_LOOK_META, pin_hit, &pinning);
    if (err != TOON_OK) {
        if (pinning.pin != NULL)
            drop(pinning.pin);
        return err;
    }
    if (pinning.pin != NULL) {
        *out =
            (toon_pinned){pinning.size, pinning.pin->meta, NULL, pinning.pin};
        enlist(store, pinning.pin);
        return TOON_OK;
    }
    err = toon_load_blob(store, key, hash, &blob);
    if (err == TOON_OK)
        pin_blob(blob, out);
    return err;
}

toon_err toon_pin_value(toon_store *store, toon_slice key, toon_pinned *out) {
    uint64_t hash = toon_key_hash(key, store->seed);
    toon_err err = TOON_OK;
    if (!toon_epoch_enter())
        return toon_fail_memory();
    toon_blob *blob = toon_cached(store, key, hash, false);
    if (blob != NULL && !toon_has_expired(blob->meta.expires_ms) &&
        toon_blob_try_share(blob))
        pin_blob(blob, out);
    else
        err = pin_missed(store, key, hash, out);
    toon_epoch_leave();
    return err;
}

toon_err toon_pinned_get(const toon_pinned *pinned, toon_value *out) {
    toon_pin *pin = pinned->line;
    toon_blob *blob = pinned->blob;
    if (pin != NULL) {
        (void)pthread_mutex_lock(&pin->lock);
        toon_err err = read_locked(pin);
        blob = pin->blob;
        (void)pthread_mutex_unlock(&pin->lock);
        if (err != TOON_OK)
            return err;
    }
    toon_value_of_blob(toon_blob_share(blob), out);
    return TOON_OK;
}

void toon_pinned_release(toon_pinned *pinned) {
    toon_pin *pin = pinned->line;
    toon_blob_release(pinned->blob);
    if (pin != NULL) {
        unlist(pin);
        drop(pin);
    }
    *pinned = (toon_pinned){0};
}
