/*
 * list.c - what is in a directory, in order, a piece at a time. Knows keys,
 * names and ranges of the store; must never know the kernel.
 */
#include "list.h"

#include <stdlib.h>

void list_piece_free(list_piece *piece) {
    free(piece->bytes);
    piece->bytes = NULL;
}

void list_start(const tree *t, toon_slice dir, list_place *out) {
    (void)t;
    out->value_listed = false;
    (void)key_join(&out->from, dir, toon_bytes(NULL, 0), "");
}

static void place_behind(toon_slice dir, list_kind kind, toon_slice component,
                         list_place *out) {
    out->value_listed = true;
    (void)key_join(&out->from, dir, component, kind == LIST_DIR ? "0" : "");
    bool is_key = kind == LIST_LAST || kind == LIST_FILE;
    if (is_key && out->from.size < sizeof(out->from.data)) {
        out->from.data[out->from.size++] = '\0';
    }
}

/* ----------------------------------------------------------------- reading */

struct reading {
    const tree *tree;
    toon_slice dir;
    list_piece *out;
    bool full, in_subtree, no_memory;
};

static bool add(struct reading *r, list_kind kind, toon_slice component,
                uint32_t mode) {
    list_piece *out = r->out;
    r->full = out->count == LIST_PIECE;
    if (r->full) {
        return false;
    }
    if (out->bytes_size + component.size > out->bytes_capacity) {
        size_t capacity = (out->bytes_size + component.size) * 2 + 4096;
        char *bytes = realloc(out->bytes, capacity);
        r->no_memory = bytes == NULL;
        if (bytes == NULL) {
            return false;
        }
        out->bytes = bytes;
        out->bytes_capacity = capacity;
    }
    if (component.size > 0) {
        memcpy(out->bytes + out->bytes_size, component.data, component.size);
    }
    out->entries[out->count++] =
        (list_entry){kind, mode, out->bytes_size, component.size};
    out->bytes_size += component.size;
    return true;
}

static bool on_key(void *arg, toon_slice key, const toon_key_stat *stat) {
    struct reading *r = arg;
    toon_slice rest =
        toon_bytes(key.data + r->dir.size, key.size - r->dir.size);
    if (rest.size == 0) {
        return tree_is_marker(r->tree, key, stat->size) ||
               add(r, r->tree->flat ? LIST_FILE : LIST_LAST, rest,
                   stat->meta.mode);
    }
    const char *slash =
        r->tree->flat ? NULL : memchr(rest.data, '/', rest.size);
    toon_slice component =
        slash == NULL ? rest
                      : toon_bytes(rest.data, (size_t)(slash - rest.data));
    if (component.size > NAME_SIZE_MAX) {
        return true; /* nor can anything below it be shown */
    }
    if (slash == NULL) {
        return add(r, LIST_FILE, component, stat->meta.mode);
    }
    r->in_subtree = add(r, LIST_DIR, component, 0);
    return false;
}

/* All entries from a place on, each subtree skipped by a range of its own. */
static toon_err read_entries(struct reading *r, const list_place *place) {
    list_place at = *place;
    toon_err err = TOON_OK;
    do {
        r->in_subtree = false;
        toon_range_options options = {
            .prefix = r->dir,
            .from = toon_bytes(at.from.data, at.from.size),
            .with_stat = true};
        err = r->tree->store.ops->range(r->tree->store.store, &options, on_key,
                                        r);
        if (r->in_subtree) {
            place_behind(r->dir, LIST_DIR,
                         list_component(r->out, r->out->count - 1), &at);
        }
    } while (err == TOON_OK && r->in_subtree && !r->no_memory);
    return err == TOON_OK && r->no_memory ? TOON_NO_MEMORY : err;
}

static bool starts_with(toon_slice text, toon_slice start) {
    return text.size >= start.size &&
           memcmp(text.data, start.data, start.size) == 0;
}

/*
 * Is the file at `index` the name of a directory as well? Between key `a` and
 * the keys `a/…` there are only keys that start with `a` and a byte below the
 * slash: so the next entry mostly tells.
 */
static toon_err is_dir_too(const struct reading *r, size_t index, bool *is) {
    const list_piece *piece = r->out;
    toon_slice component = list_component(piece, index);
    *is = false;
    if (index + 1 < piece->count) {
        toon_slice next = list_component(piece, index + 1);
        if (!starts_with(next, component)) {
            return TOON_OK;
        }
        if (next.size == component.size) {
            *is = piece->entries[index + 1].kind == LIST_DIR;
            return TOON_OK;
        }
        if ((unsigned char)next.data[component.size] > '/') {
            return TOON_OK;
        }
    } else if (!r->full) {
        return TOON_OK;
    }
    key_text dir;
    tree_probe probe;
    if (!key_join(&dir, r->dir, component, "/")) {
        return TOON_OK;
    }
    toon_err err = tree_look(r->tree, toon_bytes(dir.data, dir.size), &probe);
    *is = err == TOON_OK && probe.found;
    return err;
}

/* A key that is a directory too is listed there, as `%3D`. */
static toon_err drop_values(struct reading *r) {
    list_piece *piece = r->out;
    size_t kept = 0;
    for (size_t i = 0; i < piece->count; i++) {
        bool drop = false;
        if (piece->entries[i].kind == LIST_FILE && !r->tree->flat) {
            toon_err err = is_dir_too(r, i, &drop);
            if (err != TOON_OK) {
                return err;
            }
        }
        if (!drop) {
            piece->entries[kept++] = piece->entries[i];
        }
    }
    piece->count = kept;
    return TOON_OK;
}

/* ------------------------------------------------------ not yet in the store */

/* The order of an entry and a file, as of their keys. */
static int compare(const list_piece *piece, size_t index, toon_slice file) {
    toon_slice component = list_component(piece, index);
    list_kind kind = piece->entries[index].kind;
    if (kind == LIST_VALUE) {
        return -1;
    }
    size_t common = component.size < file.size ? component.size : file.size;
    int order = common == 0 ? 0 : memcmp(component.data, file.data, common);
    if (order != 0) {
        return order;
    }
    if (kind == LIST_DIR && file.size > component.size) {
        return '/' - (unsigned char)file.data[component.size];
    }
    return component.size > file.size || kind == LIST_DIR ? 1
           : component.size < file.size                   ? -1
                                                          : 0;
}

/* Puts one in its place; the last entry makes room if it must. */
static void insert_created(struct reading *r, toon_slice file) {
    list_piece *piece = r->out;
    size_t at = 0;
    while (at < piece->count && compare(piece, at, file) < 0) {
        at++;
    }
    if (at < piece->count && compare(piece, at, file) == 0) {
        return;
    }
    bool beyond = at == piece->count && !piece->last;
    if (beyond || at == LIST_PIECE) {
        piece->last = false;
        return;
    }
    if (piece->count == LIST_PIECE) {
        piece->count--;
        piece->last = false;
    }
    size_t count = piece->count;
    if (!add(r, file.size == 0 && !r->tree->flat ? LIST_LAST : LIST_FILE, file,
             0)) {
        return;
    }
    list_entry entry = piece->entries[count];
    memmove(&piece->entries[at + 1], &piece->entries[at],
            (count - at) * sizeof(entry));
    piece->entries[at] = entry;
    if (!piece->last) {
        list_place_after(r->dir, piece, piece->count - 1, &piece->next);
    }
}

static bool precedes(toon_slice key, const key_text *from) {
    size_t common = key.size < from->size ? key.size : from->size;
    int order = memcmp(key.data, from->data, common);
    return order < 0 || (order == 0 && key.size < from->size);
}

static void insert_all_created(struct reading *r, const list_place *place,
                               const list_created *created) {
    for (size_t i = 0; i < created->count && !r->no_memory; i++) {
        toon_slice key = created->keys[i];
        if (key.size >= r->dir.size && !precedes(key, &place->from)) {
            insert_created(
                r, toon_bytes(key.data + r->dir.size, key.size - r->dir.size));
        }
    }
}

static bool is_created(const list_created *created, toon_slice key) {
    bool found = false;
    for (size_t i = 0; i < created->count; i++) {
        toon_slice other = created->keys[i];
        found = found || (other.size == key.size &&
                          memcmp(other.data, key.data, key.size) == 0);
    }
    return found;
}

/* --------------------------------------------------------------------- all */

/* Also where it cannot be read: who looks at it is told why. */
static void add_value(struct reading *r, const list_created *created) {
    toon_slice key;
    toon_key_stat stat = {.size = 0};
    const backend *store = &r->tree->store;
    if (!tree_value_of(r->tree, r->dir, &key)) {
        return;
    }
    toon_err err = store->ops->stat(store->store, key, &stat);
    if (err != TOON_NOT_FOUND || is_created(created, key)) {
        (void)add(r, LIST_VALUE, toon_bytes(NULL, 0), stat.meta.mode);
    }
}

toon_err list_read(const tree *t, toon_slice dir, const list_place *place,
                   const list_created *created, list_piece *out) {
    struct reading r = {.tree = t, .dir = dir, .out = out};
    out->count = 0;
    out->bytes_size = 0;
    if (!place->value_listed) {
        add_value(&r, created);
    }
    toon_err err = read_entries(&r, place);
    if (err != TOON_OK) {
        return err;
    }
    out->last = !r.full;
    if (out->count > 0) {
        list_place_after(dir, out, out->count - 1, &out->next);
    }
    err = drop_values(&r);
    if (err == TOON_OK) {
        insert_all_created(&r, place, created);
    }
    return err == TOON_OK && r.no_memory ? TOON_NO_MEMORY : err;
}

void list_place_after(toon_slice dir, const list_piece *piece, size_t index,
                      list_place *out) {
    list_kind kind = piece->entries[index].kind;
    place_behind(dir, kind, list_component(piece, index), out);
    if (kind == LIST_VALUE) {
        out->from.size = dir.size;
    }
}

bool list_name(const tree *t, const list_piece *piece, size_t index,
               name_text *out) {
    list_kind kind = piece->entries[index].kind;
    if (kind == LIST_VALUE) {
        toon_slice value = name_of_value();
        memcpy(out->data, value.data, value.size);
        out->size = value.size;
        return true;
    }
    return name_encode(list_component(piece, index), kind != LIST_DIR, t->flat,
                       out);
}

bool list_child(const tree *t, toon_slice dir, const list_piece *piece,
                size_t index, tree_child *out) {
    name_text text;
    return list_name(t, piece, index, &text) &&
           tree_child_of(t, dir, toon_bytes(text.data, text.size), out) == 0;
}
