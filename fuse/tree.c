/*
 * tree.c - directories, as keys imply them. Knows keys, names and ranges of
 * the store; must never know nodes or the kernel.
 */
#include "tree.h"

#include <errno.h>
#include <stdlib.h>

static bool put(key_text *out, toon_slice bytes) {
    if (bytes.size > sizeof(out->data) - out->size) {
        return false;
    }
    if (bytes.size > 0) {
        memcpy(out->data + out->size, bytes.data, bytes.size);
    }
    out->size += bytes.size;
    return true;
}

bool key_join(key_text *out, toon_slice a, toon_slice b, const char *end) {
    out->size = 0;
    return put(out, a) && put(out, b) && put(out, toon_str(end));
}

bool tree_value_of(const tree *t, toon_slice dir, toon_slice *key) {
    if (t->flat || dir.size < t->root.size + 2) {
        return false;
    }
    *key = toon_bytes(dir.data, dir.size - 1);
    return key->data[key->size - 1] != '/';
}

static bool is_shown(const tree *t, const key_text *key, size_t cut) {
    return key_is_shown(
        toon_bytes(key->data + t->root.size, key->size - t->root.size - cut),
        t->flat);
}

int tree_child_of(const tree *t, toon_slice dir, toon_slice text,
                  tree_child *out) {
    name_text component;
    name_kind kind = name_decode(text, t->flat, &component);
    toon_slice part = toon_bytes(component.data, component.size);
    toon_slice value;
    bool fits = true;
    out->has_file = kind == NAME_PLAIN || kind == NAME_LAST;
    out->has_dir = !t->flat && (kind == NAME_PLAIN || kind == NAME_EMPTY);
    out->by = NODE_BY_NAME;
    if (kind == NAME_TOO_LONG) {
        return ENAMETOOLONG;
    }
    if (kind == NAME_OWN) {
        return EPERM;
    }
    if (kind == NAME_VALUE && tree_value_of(t, dir, &value)) {
        out->has_file = true;
        out->by = NODE_BY_VALUE;
        fits = key_join(&out->file, value, toon_bytes(NULL, 0), "");
    } else if (out->has_file) {
        fits =
            key_join(&out->file, dir, part, "") && is_shown(t, &out->file, 0);
    }
    if (out->has_dir) {
        fits = fits && key_join(&out->dir, dir, part, "/") &&
               is_shown(t, &out->dir, 1);
    }
    if (!fits) {
        return ENAMETOOLONG;
    }
    return out->has_file || out->has_dir ? 0 : ENOENT;
}

toon_slice tree_parent(const tree *t, toon_slice key) {
    size_t size = t->flat ? t->root.size : key.size;
    while (size > t->root.size && key.data[size - 1] != '/') {
        size--;
    }
    return toon_bytes(key.data, size);
}

bool tree_is_marker(const tree *t, toon_slice key, size_t value_size) {
    return value_size == 0 && key.size > 0 && key.data[key.size - 1] == '/' &&
           !t->flat;
}

struct look {
    const tree *tree;
    toon_slice dir;
    tree_probe *out;
};

static bool see_first(void *arg, toon_slice key, const toon_key_stat *stat) {
    struct look *look = arg;
    look->out->found = true;
    look->out->expires_ms = stat->meta.expires_ms;
    if (key.size == look->dir.size &&
        tree_is_marker(look->tree, key, stat->size)) {
        look->out->marked = true;
        look->out->meta = stat->meta;
    }
    return false;
}

toon_err tree_look(const tree *t, toon_slice dir, tree_probe *out) {
    *out = (tree_probe){.found = false};
    struct look look = {t, dir, out};
    toon_range_options options = {.prefix = dir, .limit = 1, .with_stat = true};
    return t->store.ops->range(t->store.store, &options, see_first, &look);
}

static bool count_key(void *arg, toon_slice key, const toon_key_stat *stat) {
    (void)key;
    (void)stat;
    ++*(size_t *)arg;
    return true;
}

toon_err tree_has_one(const tree *t, toon_slice dir, bool *one) {
    size_t count = 0;
    toon_range_options options = {.prefix = dir, .limit = 2};
    toon_err err =
        t->store.ops->range(t->store.store, &options, count_key, &count);
    *one = count == 1;
    return err;
}

struct emptiness {
    const tree *tree;
    toon_slice dir;
    bool empty;
};

static bool see_other(void *arg, toon_slice key, const toon_key_stat *stat) {
    struct emptiness *e = arg;
    e->empty =
        key.size == e->dir.size && tree_is_marker(e->tree, key, stat->size);
    return e->empty;
}

toon_err tree_is_empty(const tree *t, toon_slice dir, bool *empty) {
    toon_slice value;
    toon_key_stat stat;
    if (tree_value_of(t, dir, &value) &&
        t->store.ops->stat(t->store.store, value, &stat) == TOON_OK) {
        *empty = false;
        return TOON_OK;
    }
    struct emptiness e = {t, dir, true};
    toon_range_options options = {.prefix = dir, .limit = 2, .with_stat = true};
    toon_err err = t->store.ops->range(t->store.store, &options, see_other, &e);
    *empty = e.empty;
    return err;
}

toon_err tree_keep(const tree *t, toon_slice dir) {
    if (dir.size <= t->root.size) {
        return TOON_OK;
    }
    tree_probe probe;
    toon_err err = tree_look(t, dir, &probe);
    if (err == TOON_OK && !probe.found) {
        err = t->store.ops->set(t->store.store, dir, toon_bytes(NULL, 0), NULL);
    }
    return err;
}

/* ------------------------------------------------------------------ moving */

struct key_list {
    char **keys; /* each a size_t and the bytes */
    size_t count, capacity;
    bool no_memory;
};

static toon_slice listed(const struct key_list *list, size_t i) {
    size_t size;
    memcpy(&size, list->keys[i], sizeof(size));
    return toon_bytes(list->keys[i] + sizeof(size), size);
}

static bool list_key(void *arg, toon_slice key, const toon_key_stat *stat) {
    struct key_list *list = arg;
    (void)stat;
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 64 : list->capacity * 2;
        char **keys = realloc(list->keys, capacity * sizeof(*keys));
        list->no_memory = keys == NULL;
        if (list->no_memory) {
            return false;
        }
        list->keys = keys;
        list->capacity = capacity;
    }
    char *copy = malloc(sizeof(key.size) + key.size);
    list->no_memory = copy == NULL;
    if (copy == NULL) {
        return false;
    }
    memcpy(copy, &key.size, sizeof(key.size));
    memcpy(copy + sizeof(key.size), key.data, key.size);
    list->keys[list->count++] = copy;
    return true;
}

static void list_free(struct key_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        free(list->keys[i]);
    }
    free(list->keys);
}

/* In byte order: the value's key is the start of all others. */
static toon_err list_below(const tree *t, toon_slice dir,
                           struct key_list *list) {
    toon_slice value;
    toon_key_stat stat;
    if (tree_value_of(t, dir, &value) &&
        t->store.ops->stat(t->store.store, value, &stat) == TOON_OK) {
        list_key(list, value, NULL);
    }
    toon_range_options options = {.prefix = dir};
    toon_err err =
        list->no_memory
            ? TOON_NO_MEMORY
            : t->store.ops->range(t->store.store, &options, list_key, list);
    return err == TOON_OK && list->no_memory ? TOON_NO_MEMORY : err;
}

static bool list_has(const struct key_list *list, toon_slice key) {
    size_t low = 0;
    size_t high = list->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        toon_slice other = listed(list, middle);
        size_t common = key.size < other.size ? key.size : other.size;
        int order = memcmp(other.data, key.data, common);
        if (order == 0 && other.size == key.size) {
            return true;
        }
        if (order < 0 || (order == 0 && other.size < key.size)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return false;
}

struct move {
    const tree *tree;
    toon_slice from, to;
    const struct key_list *others; /* what is at `to` and moves as well */
    bool second; /* the others had their turn: they swapped what both have */
};

static toon_err move_keys(const struct move *move,
                          const struct key_list *list) {
    const backend *store = &move->tree->store;
    toon_err err = TOON_OK;
    for (size_t i = 0; i < list->count && err == TOON_OK; i++) {
        toon_slice key = listed(list, i);
        size_t stem = move->from.size - 1; /* without the slash */
        key_text text;
        if (!key_join(&text, toon_bytes(move->to.data, move->to.size - 1),
                      toon_bytes(key.data + stem, key.size - stem), "")) {
            return TOON_TOO_LARGE;
        }
        toon_slice target = toon_bytes(text.data, text.size);
        bool both = list_has(move->others, target);
        if (!(both && move->second)) {
            err = store->ops->rename(store->store, key, target,
                                     both ? TOON_RENAME_EXCHANGE : 0);
        }
    }
    return err;
}

toon_err tree_move(const tree *t, toon_slice from, toon_slice to, bool swap) {
    struct key_list here = {.count = 0};
    struct key_list there = {.count = 0};
    toon_err err = list_below(t, from, &here);
    if (err == TOON_OK && swap) {
        err = list_below(t, to, &there);
    }
    if (err == TOON_OK) {
        struct move move = {t, from, to, &there, false};
        err = move_keys(&move, &here);
    }
    if (err == TOON_OK && swap) {
        struct move back = {t, to, from, &here, true};
        err = move_keys(&back, &there);
    }
    list_free(&here);
    list_free(&there);
    return err;
}
