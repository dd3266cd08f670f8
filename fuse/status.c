/*
 * status.c - `.toonstore/` at the root: figures of mount and store, to read.
 * Knows figures; they are no keys.
 */
#include "status.h"

#include "tree.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct figures {
    toon_stats store;
    uint64_t nodes, keys_not_shown, queued, told;
    uint64_t compacting, read_only; /* of `store`, as numbers */
};

/* One line of a file: its name and where its value lies. */
struct line {
    const char *name;
    size_t offset;
};

#define OWN_LINE(field)                                                        \
    { #field, offsetof(struct figures, field) }
#define STORE_LINE(field)                                                      \
    { #field, offsetof(struct figures, store.field) }

static const struct line status_lines[] = {
    OWN_LINE(keys_not_shown),
    OWN_LINE(nodes),
    {"notices_queued", offsetof(struct figures, queued)},
    {"notices_told", offsetof(struct figures, told)},
    STORE_LINE(keys),
    STORE_LINE(log_bytes),
    STORE_LINE(live_bytes),
    STORE_LINE(unsynced_bytes),
    STORE_LINE(changes),
    STORE_LINE(cache_bytes),
    OWN_LINE(compacting),
    OWN_LINE(read_only),
    {NULL, 0},
};

static const struct line info_lines[] = {
    STORE_LINE(keys),
    STORE_LINE(keys_expiring),
    STORE_LINE(keys_expired),
    STORE_LINE(rows),
    STORE_LINE(log_bytes),
    STORE_LINE(live_bytes),
    STORE_LINE(changes),
    STORE_LINE(syncs),
    STORE_LINE(indexed_bytes),
    STORE_LINE(checkpoints),
    OWN_LINE(compacting),
    STORE_LINE(compact_done),
    STORE_LINE(compact_total),
    STORE_LINE(compactions),
    OWN_LINE(read_only),
    STORE_LINE(cache_hits),
    STORE_LINE(cache_misses),
    STORE_LINE(cache_bytes),
    STORE_LINE(cache_bytes_max),
    {NULL, 0},
};

static const struct status_file {
    const char *name, *separator, *end, *heading;
    const struct line *lines;
} files[] = {
    {"status", ": ", "\n", "", status_lines},
    {"info", ":", "\r\n", "# Store\r\n", info_lines},
};

#define FILE_COUNT (sizeof(files) / sizeof(files[0]))

const char *status_name(size_t index) {
    return index < FILE_COUNT ? files[index].name : NULL;
}

static toon_slice node_path(const node *n) {
    return toon_bytes(n->key, n->key_size); /* never renamed */
}

bool status_is_dir(const node *n) {
    return node_path(n).size == strlen(STATUS_DIR);
}

static const struct status_file *file_of(const node *n) {
    toon_slice path = node_path(n);
    size_t skip = strlen(STATUS_DIR) + 1;
    for (size_t i = 0; i < FILE_COUNT && path.size > skip; i++) {
        if (strlen(files[i].name) == path.size - skip &&
            memcmp(path.data + skip, files[i].name, path.size - skip) == 0) {
            return &files[i];
        }
    }
    return NULL;
}

void status_attr(struct mount *m, const node *n, struct stat *attr,
                 double *timeout) {
    mount_options plain = m->options;
    plain.file_mode = 0444;
    plain.dir_mode = 0555;
    file_facts facts = {.number = n->hash,
                        .meta = {.written_ms = m->started_ms}};
    if (status_is_dir(n)) {
        attr_of_dir(&plain, &facts, attr);
    } else {
        attr_of_file(&plain, &facts, attr);
    }
    *timeout = TIMEOUT_LONG_S;
}

int status_find(struct mount *m, const node *dir, const char *name,
                struct fuse_entry_param *e) {
    char path[sizeof(STATUS_DIR) + NAME_SIZE_MAX + 1];
    bool known = dir == m->root && strcmp(name, STATUS_DIR) == 0;
    for (size_t i = 0; i < FILE_COUNT && dir->kind == NODE_STATUS; i++) {
        known = known || strcmp(name, files[i].name) == 0;
    }
    if (!known) {
        return ENOENT;
    }
    int size = snprintf(path, sizeof(path), "%s%s%s", STATUS_DIR,
                        dir == m->root ? "" : "/", dir == m->root ? "" : name);
    node *n =
        inodes_hold(&m->inodes, NODE_STATUS, toon_bytes(path, (size_t)size));
    if (n == NULL) {
        return ENOMEM;
    }
    memset(e, 0, sizeof(*e));
    e->ino = ino_of(m, n);
    e->generation = n->generation;
    status_attr(m, n, &e->attr, &e->attr_timeout);
    e->entry_timeout = e->attr_timeout;
    return 0;
}

struct hidden {
    const struct mount *m;
    uint64_t count;
};

static bool count_hidden(void *arg, toon_slice key, const toon_key_stat *stat) {
    struct hidden *hidden = arg;
    (void)stat;
    hidden->count +=
        !key_is_shown(key_below(hidden->m, key), hidden->m->options.flat);
    return true;
}

static void take_figures(struct mount *m, struct figures *out) {
    m->store.ops->figures(m->store.store, &out->store);
    out->compacting = out->store.compacting;
    out->read_only = out->store.read_only;
    struct hidden hidden = {m, 0};
    toon_range_options all = {.prefix = m->prefix};
    /* What cannot be counted is not worth failing for. */
    (void)m->store.ops->range(m->store.store, &all, count_hidden, &hidden);
    out->keys_not_shown = hidden.count;
    out->queued = atomic_load(&m->notices.queued);
    out->told = atomic_load(&m->notices.told);
    inodes_lock(&m->inodes);
    out->nodes = m->inodes.node_count;
    inodes_unlock(&m->inodes);
}

char *status_text(struct mount *m, const node *n, size_t *size) {
    const struct status_file *file = file_of(n);
    char *text = NULL;
    FILE *out = open_memstream(&text, size);
    if (out == NULL || file == NULL) {
        if (out != NULL) {
            (void)fclose(out);
        }
        free(text);
        return NULL;
    }
    struct figures figures;
    take_figures(m, &figures);
    (void)fputs(file->heading, out);
    for (const struct line *line = file->lines; line->name != NULL; line++) {
        uint64_t value;
        memcpy(&value, (const char *)&figures + line->offset, sizeof(value));
        (void)fprintf(out, "%s%s%" PRIu64 "%s", line->name, file->separator,
                      value, file->end);
    }
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}
