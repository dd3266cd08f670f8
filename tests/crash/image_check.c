/*
 * image_check.c - opening images.
 *
 * Knows the public store and the history; must never know how an image came
 * to be.
 */
#include "image_check.h"

#include <assert.h>
#include <stdio.h>
#include <unistd.h>

/* Keys that the check itself writes start so. Their lines are as long as those
 * of a uniform life. */
static const char after_1[] = "a01", after_2[] = "a02";
static const char after_value[] = "what was set later..";
static_assert(sizeof after_value - 1 == HISTORY_PLAIN_SIZE, "as the others");

static bool say(char *out, size_t size, const char *what, toon_err err) {
    (void)snprintf(out, size, "%s: %s (%s)", what, toon_strerror(err),
                   err == TOON_OK ? "" : toon_last_error()->text);
    return false;
}

/* ----------------------------------------------------------------- looking */

struct look {
    toon_store *store;
    const history *history;
    image_found *found;
};

static bool is_after(toon_slice key) {
    return key.size == 3 && key.data[0] == 'a' && key.data[1] == '0';
}

static bool look_at_key(void *arg, toon_slice name, const toon_key_stat *stat) {
    struct look *self = arg;
    image_found *found = self->found;
    unsigned key = history_key_of(name);
    toon_value value;
    (void)stat;
    if (key == HISTORY_KEYS) {
        found->strangers += !is_after(name);
        return true;
    }
    toon_err err = toon_get(self->store, name, &value);
    if (err != TOON_OK) {
        found->err = found->err == TOON_OK ? err : found->err;
        return true;
    }
    uint64_t hash =
        history_hash(key, toon_bytes(value.data, value.size), &value.meta);
    toon_value_release(&value);
    found->hash += hash;
    found->hashes[key] = hash;
    found->invented += !history_knows(self->history, hash);
    return true;
}

void image_look(toon_store *store, const history *past, image_found *out) {
    struct look look = {store, past, out};
    uint64_t cursor = 0;
    *out = (image_found){0};
    do {
        toon_err err = toon_scan(store, &cursor, NULL, look_at_key, &look);
        if (err != TOON_OK) {
            out->err = err;
            break;
        }
    } while (cursor != 0);
}

static unsigned differences(const history_state *state,
                            const image_found *found) {
    unsigned count = 0;
    for (unsigned key = 0; key < HISTORY_KEYS; key++) {
        const key_value *value = state->values[key];
        count += found->hashes[key] != (value != NULL ? value->hash : 0);
    }
    return count;
}

void image_describe(const history *past, history_window window,
                    const image_found *found, char *out, size_t size) {
    size_t nearest = 0;
    for (size_t i = 0; i < past->count; i++) {
        if (differences(&past->states[i], found) <=
            differences(&past->states[nearest], found))
            nearest = i;
    }
    int used =
        snprintf(out, size,
                 "not in a state from %zu to %zu; nearest is %zu of "
                 "%zu, %zu strangers, %zu invented, %s; other keys:",
                 window.first, window.last, nearest, history_newest(past),
                 found->strangers, found->invented, toon_strerror(found->err));
    for (unsigned key = 0; key < HISTORY_KEYS; key++) {
        const key_value *value = past->states[nearest].values[key];
        uint64_t wanted = value != NULL ? value->hash : 0;
        if (found->hashes[key] == wanted || used < 0 || (size_t)used >= size)
            continue;
        used += snprintf(out + used, size - (size_t)used, " %u%s", key,
                         wanted == 0               ? " (should be absent)"
                         : found->hashes[key] == 0 ? " (is absent)"
                                                   : "");
    }
}

/* --------------------------------------------------------- honest crashes */

struct image {
    const char *dir;
    const history *history;
    history_window window;
    char *wrong;
    size_t size;
    bool known;    /* it was looked at already, */
    uint64_t hash; /* and is in the state of this hash */
};

static bool is_sound(const struct image *self, const char *when) {
    toon_check_report report;
    toon_err err = toon_check(self->dir, NULL, NULL, NULL, &report);
    if (err == TOON_OK || err == TOON_NOT_FOUND)
        return true;
    return say(self->wrong, self->size, when, err);
}

static bool is_in_window(struct image *self, toon_store *store) {
    image_found found;
    image_look(store, self->history, &found);
    bool allowed = history_allows(self->history, self->window, found.hash) &&
                   (!self->known || found.hash == self->hash);
    if (allowed && found.strangers == 0 && found.err == TOON_OK) {
        self->hash = found.hash;
        self->known = true;
        return true;
    }
    image_describe(self->history, self->window, &found, self->wrong,
                   self->size);
    return false;
}

static bool has_file(const struct image *self, const char *name) {
    char path[400];
    (void)snprintf(path, sizeof path, "%s/%s", self->dir, name);
    return access(path, F_OK) == 0;
}

/* A reader before the writer: what it finds, the writer must find too. */
static bool reads_right(struct image *self) {
    toon_options options = {.flags = TOON_OPEN_READ_ONLY,
                            .cache_policy = TOON_CACHE_NONE};
    toon_store *store;
    if (!has_file(self, "db.toon"))
        return true;
    toon_err err = toon_open(self->dir, &options, &store);
    if (err != TOON_OK)
        return say(self->wrong, self->size, "opening to read", err);
    bool right = is_in_window(self, store);
    (void)toon_close(store);
    return right;
}

static toon_err set_after(toon_store *store) {
    return toon_set(store, toon_str(after_1), toon_str(after_value), NULL);
}

static toon_err batch_after(toon_store *store) {
    toon_err err = toon_batch_begin(store);
    if (err != TOON_OK)
        return err;
    err = toon_append(store, toon_str(after_1), toon_str("!"), NULL);
    if (err == TOON_OK)
        err = toon_set(store, toon_str(after_2), toon_str(after_value), NULL);
    if (err == TOON_OK)
        return toon_batch_commit(store);
    toon_batch_cancel(store);
    return err;
}

static bool has_value(toon_store *store, const char *key, const char *text,
                      const char *more) {
    char bytes[HISTORY_PLAIN_SIZE * 2], wanted[HISTORY_PLAIN_SIZE * 2];
    size_t size = 0;
    toon_err err = toon_read(store, toon_str(key), bytes, sizeof bytes, &size);
    (void)snprintf(wanted, sizeof wanted, "%s%s", text, more);
    return err == TOON_OK && size == strlen(wanted) &&
           memcmp(bytes, wanted, size) == 0;
}

/* Still in the state that was found, and with what was set after it? */
static bool shows_the_same(const struct image *self, unsigned flags, bool batch,
                           const char *when) {
    toon_options options = {.flags = flags, .cache_policy = TOON_CACHE_NONE};
    toon_store *store;
    image_found found;
    toon_err err = toon_open(self->dir, &options, &store);
    if (err != TOON_OK)
        return say(self->wrong, self->size, when, err);
    image_look(store, self->history, &found);
    bool right = found.hash == self->hash && found.err == TOON_OK &&
                 has_value(store, after_1, after_value, batch ? "!" : "") &&
                 (!batch || has_value(store, after_2, after_value, ""));
    err = toon_close(store);
    if (!right)
        (void)snprintf(self->wrong, self->size, "%s: not the same as before",
                       when);
    return right && (err == TOON_OK || say(self->wrong, self->size, when, err));
}

static bool has_no_leftovers(const struct image *self) {
    static const char *const leftovers[] = {"db.toon.new", "db.toon.idx.new",
                                            "db.toon.compact"};
    for (size_t i = 0; i < sizeof leftovers / sizeof *leftovers; i++) {
        if (has_file(self, leftovers[i]))
            return say(self->wrong, self->size, leftovers[i], TOON_EXISTS);
    }
    return true;
}

/* `beside`: a reader looks at what the log holds then, as after a kill. */
static bool writes_right(struct image *self, bool beside) {
    toon_options options = {.sync = TOON_SYNC_NO,
                            .cache_policy = TOON_CACHE_NONE};
    toon_store *store;
    toon_err err = toon_open(self->dir, &options, &store);
    if (err != TOON_OK)
        return say(self->wrong, self->size, "opening", err);
    bool right = is_in_window(self, store);
    err = right ? set_after(store) : TOON_OK;
    if (right && err == TOON_OK && beside)
        right =
            shows_the_same(self, TOON_OPEN_READ_ONLY, false, "reading beside");
    err = right ? batch_after(store) : err;
    if (err != TOON_OK)
        right = say(self->wrong, self->size, "writing after opening", err);
    err = toon_close(store);
    if (right && err != TOON_OK)
        right = say(self->wrong, self->size, "closing", err);
    return right && has_no_leftovers(self);
}

/* So that opening reads the whole log. */
static void remove_index(const struct image *self) {
    char path[400];
    (void)snprintf(path, sizeof path, "%s/db.toon.idx", self->dir);
    (void)unlink(path);
}

bool image_is_right(const char *dir, const history *past, history_window window,
                    uint64_t variant, char *wrong, size_t size) {
    struct image self = {dir, past, window, wrong, size, false, 0};
    if (variant % 3 == 0 && !is_sound(&self, "the check before opening"))
        return false;
    if (variant % 4 == 0 && !reads_right(&self))
        return false;
    if (!writes_right(&self, variant % 5 == 0) ||
        !is_sound(&self, "the check after closing"))
        return false;
    if (variant % 2 == 0)
        remove_index(&self);
    return shows_the_same(&self, TOON_OPEN_NO_CREATE, true, "opening again");
}

/* ------------------------------------------------------------------- liars */

static bool may_fail_so(toon_err err) {
    return err == TOON_OK || err == TOON_CORRUPT;
}

bool image_is_no_invention(const char *dir, const history *past, char *wrong,
                           size_t size) {
    toon_options options = {.sync = TOON_SYNC_NO,
                            .cache_policy = TOON_CACHE_NONE};
    toon_store *store;
    toon_check_report report;
    image_found found;
    toon_err err = toon_open(dir, &options, &store);
    if (!may_fail_so(err))
        return say(wrong, size, "opening after a lie", err);
    if (err == TOON_CORRUPT)
        return true;
    image_look(store, past, &found);
    bool right = found.strangers == 0 && found.invented == 0;
    if (!right)
        image_describe(past, (history_window){0, 0, 0}, &found, wrong, size);
    err = set_after(store);
    if (right && (!may_fail_so(found.err) || err != TOON_OK))
        right = say(wrong, size, "reading and writing after a lie", err);
    err = toon_close(store);
    if (right && !may_fail_so(err))
        right = say(wrong, size, "closing after a lie", err);
    err = toon_check(dir, NULL, NULL, NULL, &report);
    if (right && !may_fail_so(err))
        right = say(wrong, size, "the check after a lie", err);
    return right;
}

/* ------------------------------------------------------------------ copies */

bool image_is_copy(const char *dir, const history *past, size_t state,
                   bool done, char *wrong, size_t size) {
    toon_options options = {.flags = TOON_OPEN_NO_CREATE,
                            .cache_policy = TOON_CACHE_NONE};
    struct image self = {dir, past, {state, state, 0}, wrong, size, false, 0};
    toon_store *store;
    toon_err err = toon_open(dir, &options, &store);
    if (err == TOON_NOT_FOUND && !done)
        return true;
    if (err != TOON_OK)
        return say(wrong, size, "opening a copy", err);
    bool right = is_in_window(&self, store);
    (void)toon_close(store);
    return right && is_sound(&self, "the check of a copy");
}
