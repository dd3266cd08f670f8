/*
 * model.c - keeping the model, and comparing a store with it.
 *
 * Knows the public store; must never know of faults.
 */
#include "model.h"

#include <stdarg.h>
#include <stdio.h>

static bool same(toon_slice a, toon_slice b) {
    return a.size == b.size &&
           (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static const model_key *find(const model *m, toon_slice name) {
    for (size_t i = 0; i < m->count; i++) {
        if (same(m->keys[i].name, name))
            return &m->keys[i];
    }
    return NULL;
}

model_key *model_find(model *m, toon_slice name) {
    const model_key *found = find(m, name);
    return found == NULL ? NULL : &m->keys[found - m->keys];
}

model_key *model_put(model *m, toon_slice name) {
    model_key *found = model_find(m, name);
    if (found != NULL || m->count == MODEL_KEYS)
        return found;
    m->keys[m->count] = (model_key){.name = name};
    return &m->keys[m->count++];
}

void model_remove(model *m, toon_slice name) {
    model_key *found = model_find(m, name);
    if (found != NULL)
        *found = m->keys[--m->count];
}

/* --------------------------------------------------------------- comparing */

static char difference[300];

static const char *__attribute__((format(printf, 2, 3)))
differs(toon_slice name, const char *format, ...) {
    int at = snprintf(difference, sizeof difference,
                      "key \"%.*s\": ", (int)(name.size < 40 ? name.size : 40),
                      name.size ? name.data : "");
    va_list args;
    va_start(args, format);
    (void)vsnprintf(difference + at, sizeof difference - (size_t)at, format,
                    args);
    va_end(args);
    return difference;
}

static const char *meta_difference(const model_key *key,
                                   const toon_meta *meta) {
    if (meta->mode != key->mode)
        return differs(key->name, "mode %o, not %o", meta->mode, key->mode);
    if (meta->expires_ms != key->expires_ms)
        return differs(key->name, "expires %lld, not %lld",
                       (long long)meta->expires_ms, (long long)key->expires_ms);
    if (key->written_ms != 0 && meta->written_ms != key->written_ms)
        return differs(key->name, "written %lld, not %lld",
                       (long long)meta->written_ms, (long long)key->written_ms);
    if (meta->version == 0)
        return differs(key->name, "its version is 0");
    return NULL;
}

static const char *key_difference(const model_key *key, toon_store *store) {
    toon_value value;
    toon_key_stat stat;
    toon_err err = toon_get(store, key->name, &value);
    if (err != TOON_OK)
        return differs(key->name, "getting it: %s", toon_strerror(err));
    const char *result = meta_difference(key, &value.meta);
    if (!same(toon_bytes(value.data, value.size), key->value))
        result = differs(key->name, "another value of %zu bytes, not %zu",
                         value.size, key->value.size);
    err = toon_stat_key(store, key->name, &stat);
    if (err != TOON_OK)
        result = differs(key->name, "its stat: %s", toon_strerror(err));
    else if (stat.size != key->value.size ||
             stat.meta.version != value.meta.version)
        result = differs(key->name, "its stat is not its value's");
    toon_value_release(&value);
    return result;
}

struct listing {
    const model *m;
    size_t visited;
    const char *result;
    char last[300]; /* the key before, cut */
    size_t last_size;
    bool ordered;
};

static bool look(void *arg, toon_slice key, const toon_key_stat *stat) {
    struct listing *self = arg;
    const model_key *known = find(self->m, key);
    if (known == NULL)
        self->result = differs(key, "listed, and should not be there");
    else if (stat == NULL || stat->meta.version == 0 ||
             stat->size != known->value.size)
        self->result = differs(key, "listed with a wrong size");
    size_t common = key.size < self->last_size ? key.size : self->last_size;
    int order = common == 0 ? 0 : memcmp(self->last, key.data, common);
    bool rises = order < 0 || (order == 0 && self->last_size < key.size);
    if (self->ordered && self->visited > 0 && !rises)
        self->result = differs(key, "listed out of order");
    self->last_size = key.size < sizeof self->last ? key.size : 0;
    if (self->last_size > 0)
        memcpy(self->last, key.data, key.size);
    self->visited++;
    return self->result == NULL;
}

static const char *check_count(const struct listing *listing, toon_err err,
                               const char *what) {
    if (listing->result != NULL)
        return listing->result;
    if (err != TOON_OK)
        return differs(toon_str(what), "failed: %s", toon_strerror(err));
    if (listing->visited != listing->m->count)
        return differs(toon_str(what), "%zu keys, not %zu", listing->visited,
                       listing->m->count);
    return NULL;
}

static const char *range_difference(const model *m, toon_store *store) {
    struct listing listing = {.m = m, .ordered = true};
    toon_range_options all = {.with_stat = true};
    toon_err err = toon_range(store, &all, look, &listing);
    return check_count(&listing, err, "(range)");
}

static const char *scan_difference(const model *m, toon_store *store) {
    struct listing listing = {.m = m};
    toon_scan_options all = {.with_stat = true, .count = 100};
    uint64_t cursor = 0;
    toon_err err;
    do {
        err = toon_scan(store, &cursor, &all, look, &listing);
    } while (err == TOON_OK && cursor != 0 && listing.result == NULL);
    return check_count(&listing, err, "(scan)");
}

const char *model_difference(const model *m, toon_store *store) {
    toon_stats stats;
    const char *result = NULL;
    for (size_t i = 0; result == NULL && i < m->count; i++)
        result = key_difference(&m->keys[i], store);
    if (result == NULL)
        result = range_difference(m, store);
    if (result == NULL)
        result = scan_difference(m, store);
    toon_stat(store, &stats);
    if (result == NULL && stats.keys < m->count)
        result = differs(toon_str("(stats)"), "%zu keys, not %zu",
                         (size_t)stats.keys, m->count);
    return result;
}
