/*
 * history.c - states and promises.
 *
 * Knows keys and values; must never know files.
 */
#include "history.h"

#include "key_hash.h"

#include <stdio.h>
#include <stdlib.h>

static void *must(void *allocated) {
    if (allocated == NULL)
        abort();
    return allocated;
}

/* ------------------------------------------------------------------- names */

static const char *const name_starts[HISTORY_NAME_KINDS] = {"k", "dir/", "\xff",
                                                            "a b", "n\n"};

toon_slice history_key_name(unsigned key, char name[32]) {
    int size = snprintf(name, 32, "%s%02u",
                        name_starts[key % HISTORY_NAME_KINDS], key);
    return toon_bytes(name, (size_t)size);
}

unsigned history_key_of(toon_slice name) {
    unsigned key = 0;
    for (; key < HISTORY_KEYS; key++) {
        char text[32];
        toon_slice own = history_key_name(key, text);
        if (own.size == name.size && memcmp(text, name.data, own.size) == 0)
            break;
    }
    return key;
}

/* ------------------------------------------------------------------ values */

uint64_t history_hash(unsigned key, toon_slice bytes, const toon_meta *meta) {
    uint64_t hash = key + 1;
    toon_slice numbers[] = {
        toon_bytes(&meta->mode, sizeof meta->mode),
        toon_bytes(&meta->expires_ms, sizeof meta->expires_ms),
        toon_bytes(&meta->written_ms, sizeof meta->written_ms),
        bytes,
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        hash = toon_key_hash(numbers[i], hash);
    return hash;
}

const key_value *history_value(history *self, unsigned key, toon_slice bytes,
                               const toon_meta *meta) {
    key_value *value = must(malloc(sizeof *value + bytes.size));
    value->hash = history_hash(key, bytes, meta);
    value->key = key;
    value->mode = meta->mode;
    value->expires_ms = meta->expires_ms;
    value->written_ms = meta->written_ms;
    value->size = bytes.size;
    if (bytes.size > 0)
        memcpy(value->bytes, bytes.data, bytes.size);
    value->next = self->made;
    self->made = value;
    return value;
}

bool history_knows(const history *self, uint64_t hash) {
    const key_value *value = self->made;
    while (value != NULL && value->hash != hash)
        value = value->next;
    return value != NULL;
}

/* ------------------------------------------------------------------ states */

static void push_mark(history *self, history_mark mark) {
    if (self->mark_count == self->mark_capacity) {
        self->mark_capacity = self->mark_capacity * 2 + 64;
        self->marks = must(
            realloc(self->marks, self->mark_capacity * sizeof *self->marks));
    }
    self->marks[self->mark_count++] = mark;
}

void history_init(history *self) {
    *self = (history){0};
    (void)history_push(self, (key_values){NULL}, 0);
    push_mark(self, (history_mark){0});
}

void history_free(history *self) {
    while (self->made != NULL) {
        key_value *value = self->made;
        self->made = value->next;
        free(value);
    }
    free(self->states);
    free(self->ghosts);
    free(self->marks);
    *self = (history){0};
}

static history_state state_of(const key_values values, size_t begun) {
    history_state state = {.begun = begun};
    memcpy(state.values, values, sizeof state.values);
    for (unsigned key = 0; key < HISTORY_KEYS; key++)
        state.hash += values[key] != NULL ? values[key]->hash : 0;
    return state;
}

uint64_t history_hash_of(const key_values values) {
    return state_of(values, 0).hash;
}

size_t history_push(history *self, const key_values values, size_t begun) {
    if (self->count == self->capacity) {
        self->capacity = self->capacity * 2 + 64;
        self->states =
            must(realloc(self->states, self->capacity * sizeof *self->states));
    }
    self->states[self->count] = state_of(values, begun);
    return self->count++;
}

void history_push_ghost(history *self, const key_values values, size_t begun,
                        size_t ended) {
    if (self->ghost_count == self->ghost_capacity) {
        self->ghost_capacity = self->ghost_capacity * 2 + 16;
        self->ghosts = must(
            realloc(self->ghosts, self->ghost_capacity * sizeof *self->ghosts));
    }
    self->ghosts[self->ghost_count++] =
        (history_ghost){state_of(values, begun), history_newest(self), ended};
}

/* ---------------------------------------------------------------- promises */

void history_acknowledge(history *self, size_t journal, size_t state) {
    history_mark mark = self->marks[self->mark_count - 1];
    mark.journal = journal;
    mark.acknowledged = state;
    push_mark(self, mark);
}

void history_durable(history *self, size_t journal, size_t state) {
    history_mark mark = self->marks[self->mark_count - 1];
    mark.journal = journal;
    mark.durable = state;
    push_mark(self, mark);
    for (size_t i = 0; i < self->ghost_count; i++) {
        if (self->ghosts[i].ended == HISTORY_KILLED)
            self->ghosts[i].ended = journal;
    }
}

/* The newest mark that holds behind so many calls. */
static size_t mark_at(const history *self, size_t journal) {
    size_t i = self->mark_count;
    while (i > 1 && self->marks[i - 1].journal > journal)
        i--;
    return i - 1;
}

/* The newest state of which a byte may have been written by then. */
static size_t begun_at(const history *self, size_t journal) {
    size_t i = self->count;
    while (i > 1 && self->states[i - 1].begun >= journal)
        i--;
    return i - 1;
}

static history_window window_from(const history *self, size_t first,
                                  size_t journal) {
    size_t last = begun_at(self, journal);
    return (history_window){first, last > first ? last : first, journal};
}

history_window history_after_kill(const history *self, size_t journal,
                                  bool torn) {
    size_t mark = mark_at(self, journal);
    return window_from(self, self->marks[mark].acknowledged,
                       journal + (torn ? 1 : 0));
}

history_window history_after_power_cut(const history *self, size_t journal) {
    size_t mark = mark_at(self, journal);
    return window_from(self, self->marks[mark].durable, journal);
}

/* The last state in the window with that hash; SIZE_MAX: none. */
static size_t find_state(const history *self, history_window window,
                         uint64_t hash) {
    for (size_t i = window.last + 1; i > window.first; i--) {
        if (self->states[i - 1].hash == hash)
            return i - 1;
    }
    return SIZE_MAX;
}

static const history_ghost *find_ghost(const history *self,
                                       history_window window, uint64_t hash) {
    for (size_t i = 0; i < self->ghost_count; i++) {
        const history_ghost *ghost = &self->ghosts[i];
        if (ghost->state.hash == hash && ghost->state.begun < window.journal &&
            ghost->ended >= window.journal)
            return ghost;
    }
    return NULL;
}

bool history_allows(const history *self, history_window window, uint64_t hash) {
    return find_state(self, window, hash) != SIZE_MAX ||
           find_ghost(self, window, hash) != NULL;
}

static void cut(history *self, size_t journal, size_t state) {
    self->count = state + 1;
    self->mark_count = mark_at(self, journal) + 1;
    for (size_t i = 0; i < self->mark_count; i++) {
        history_mark *mark = &self->marks[i];
        if (mark->acknowledged > state)
            mark->acknowledged = state;
        if (mark->durable > state)
            mark->durable = state;
    }
    while (self->ghost_count > 0 &&
           self->ghosts[self->ghost_count - 1].state.begun >= journal)
        self->ghost_count--;
    for (size_t i = 0; i < self->ghost_count; i++) {
        if (self->ghosts[i].ended > journal)
            self->ghosts[i].ended = HISTORY_KILLED;
    }
}

bool history_go_on(history *self, history_window window, uint64_t hash,
                   size_t journal) {
    size_t state = find_state(self, window, hash);
    const history_ghost *found = find_ghost(self, window, hash);
    if (state != SIZE_MAX) {
        cut(self, journal, state);
        return true;
    }
    if (found == NULL)
        return false;
    history_ghost ghost = *found;
    cut(self, journal, ghost.after);
    (void)history_push(self, ghost.state.values, ghost.state.begun);
    return true;
}

void history_flatten(history *self) {
    size_t newest = history_newest(self);
    for (size_t i = 0; i < self->count; i++)
        self->states[i].begun = 0;
    self->ghost_count = 0;
    self->marks[0] = (history_mark){0, newest, newest};
    self->mark_count = 1;
}
