/*
 * file.c - open files: one shared content for each, and when it is committed.
 * Knows the store and nodes; must never know requests or replies.
 */
#include "file.h"

#include "lookup.h"

#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>

/* What the table knows of a node, read at once. */
struct standing {
    key_text key;
    uint64_t version, appends;
    uint64_t mark; /* by which `version` is compared */
    int64_t changed_ms;
    bool current, unlinked, unseen;
};

static void standing_of(struct mount *m, const node *n, struct standing *out) {
    inodes_copy_key(&m->inodes, n, &out->key);
    inodes_lock(&m->inodes);
    out->version = n->version;
    out->mark = m->moved_mark;
    out->appends = n->appends;
    out->changed_ms = n->changed_ms;
    out->current = !n->detached && !n->unlinked;
    out->unlinked = n->unlinked;
    out->unseen = n->names == 0;
    inodes_unlock(&m->inodes);
}

/* A version that was read before a compaction and is noted after it would
 * pass for what was moved, whatever has changed in between. */
static void set_version(struct mount *m, node *n, uint64_t version,
                        uint64_t mark) {
    inodes_lock(&m->inodes);
    if (m->moved_mark == mark) {
        n->version = version;
    }
    inodes_unlock(&m->inodes);
}

static bool stands_for(const struct standing *is, const toon_meta *meta) {
    return versions_same(is->version, meta->version, is->mark);
}

static bool is_uncommitted(const content *c) {
    return c->dirty || c->pending;
}

/* ----------------------------------------------------------- pinned values */

static bool is_pinned(const content *c) {
    return c->base.blob != NULL || c->base.line != NULL;
}

static int read_pinned(const struct mount *m, content *c) {
    toon_value value;
    if (!c->bytes.base_missing || !is_pinned(c)) {
        return 0;
    }
    toon_err err = m->store.ops->pinned_get(&c->base, &value);
    if (err != TOON_OK) {
        return errno_of(err);
    }
    buffer_set_base(&c->bytes, &value);
    m->store.ops->pinned_release(&c->base);
    return 0;
}

/* Its base has gone, or another one has come. */
static void drop_pinned(const struct mount *m, content *c) {
    if (!c->bytes.base_missing) {
        m->store.ops->pinned_release(&c->base);
    }
}

/* ---------------------------------------------------------------- refresh */

/* What was appended here may have come behind what others appended. As long as
 * nothing else was told of the node, that is what it stands for. */
static bool adopt_locked(struct mount *m, node *n, toon_value *value) {
    content *c = n->content;
    struct standing is;
    standing_of(m, n, &is);
    if (!is.current || !stands_for(&is, &value->meta)) {
        return false;
    }
    size_t same = c->bytes.base_size; /* that much at least */
    if (!buffer_rebase(&c->bytes, value, true)) {
        return false;
    }
    notices_push_pages(m, n, (int64_t)(same & ~(PAGE_BYTES - 1)));
    return true;
}

static int refresh_locked(struct mount *m, node *n) {
    content *c = n->content;
    struct standing is;
    standing_of(m, n, &is);
    toon_value value;
    int error =
        read_pinned(m, c); /* to see whether the new one begins with it */
    if (error != 0) {
        return error;
    }
    toon_err err =
        m->store.ops->get(m->store.store, key_slice(&is.key), &value);
    if (err != TOON_OK) {
        return err == TOON_NOT_FOUND ? ESTALE : errno_of(err);
    }
    toon_meta meta = value.meta;
    bool moved =
        buffer_rebase(&c->bytes, &value, false) || adopt_locked(m, n, &value);
    toon_value_release(&value);
    if (!moved) {
        return ESTALE;
    }
    drop_pinned(m, c);
    c->appends = is.appends;
    if (!is_uncommitted(c)) {
        c->meta = meta;
    }
    set_version(m, n, meta.version, is.mark);
    return 0;
}

/* What was appended from outside is part of a file that is open. */
static void catch_up(struct mount *m, node *n) {
    inodes_lock(&m->inodes);
    bool grew = n->appends != n->content->appends && !n->detached;
    inodes_unlock(&m->inodes);
    if (grew && !n->content->bytes.whole) {
        /* Where it cannot, the version that is open stays. */
        (void)refresh_locked(m, n);
    }
}

/* -------------------------------------------------------------------- look */

static void fill_facts(struct mount *m, const node *n,
                       const struct standing *is, toon_key_stat stat,
                       file_facts *out) {
    out->number = n->hash;
    out->size = stat.size;
    out->meta = stat.meta;
    out->changed_ms = is->changed_ms;
    out->nameless = !is->current;
    out->tick_us = ticks_of(&m->ticks, n->hash, &stat.meta, is->mark);
}

/* The store's value of a current node with clean content or none. */
static int match_locked(struct mount *m, node *n, const struct standing *is,
                        const toon_key_stat *stat) {
    content *c = n->content;
    if (c == NULL && is->unseen) {
        set_version(m, n, stat->meta.version, is->mark);
        return 0;
    }
    if (c != NULL &&
        (c->appends != is->appends || !stands_for(is, &stat->meta))) {
        return refresh_locked(m, n);
    }
    return stands_for(is, &stat->meta) ? 0 : ESTALE;
}

/* Fills `stat` unless it returns another error than ESTALE. */
static int look_once_locked(struct mount *m, node *n, const struct standing *is,
                            toon_key_stat *stat) {
    content *c = n->content;
    if (c != NULL && (!is->current || is_uncommitted(c))) {
        catch_up(m, n);
        *stat = (toon_key_stat){buffer_size(&c->bytes), c->meta};
        stat->meta.version = 0;
        c->shown = true;
        return 0;
    }
    if (is->unlinked) {
        return ENOENT;
    }
    toon_slice key = key_slice(&is->key);
    tree t = tree_of(m);
    toon_err err = m->store.ops->stat(m->store.store, key, stat);
    if (err != TOON_OK) {
        return errno_of(err);
    }
    if (tree_is_marker(&t, key, stat->size)) {
        return ENOENT;
    }
    int error = is->current ? match_locked(m, n, is, stat) : ESTALE;
    if (c != NULL) { /* who has it open sees its version, and that size */
        stat->size = buffer_size(&c->bytes);
    }
    if (error == ESTALE && c != NULL) {
        stat->meta = c->meta;
        stat->meta.version = 0;
    }
    return error;
}

int file_look_locked(struct mount *m, node *n, file_facts *out) {
    struct standing is;
    toon_key_stat stat;
    int error;
    do {
        standing_of(m, n, &is);
        error = look_once_locked(m, n, &is, &stat);
    } while (!versions_settled(m, is.mark));
    if (error == 0 || error == ESTALE) {
        fill_facts(m, n, &is, stat, out);
    }
    return error;
}

/* -------------------------------------------------------------------- open */

/* Has the store room for so many bytes more? */
static int check_space(const struct mount *m, const toon_stats *stats,
                       uint64_t bytes) {
    struct statvfs fs;
    if (m->options.data_dir != NULL && statvfs(m->options.data_dir, &fs) == 0 &&
        (uint64_t)fs.f_bavail * fs.f_frsize < bytes) {
        return ENOSPC;
    }
    uint64_t most = m->options.store_size_max;
    return most != 0 && stats->log_bytes + bytes > most ? ENOSPC : 0;
}

/* What cannot be kept is refused at once: many programs look at no error of
 * close(2). */
static int check_writable(const struct mount *m, bool replaces) {
    toon_stats stats;
    m->store.ops->figures(m->store.store, &stats);
    if (stats.read_only) {
        return EROFS;
    }
    return replaces ? check_space(m, &stats, 1) : 0;
}

int file_create_locked(struct mount *m, node *n, mode_t mode) {
    assert(n->content == NULL);
    int error = check_writable(m, true);
    if (error != 0) {
        return error;
    }
    content *c = calloc(1, sizeof(*c));
    if (c == NULL) {
        return ENOMEM;
    }
    buffer_init(&c->bytes);
    c->pending = true;
    c->mode_set = true;
    c->meta.mode = mode_to_store(mode, m->options.file_mode);
    c->meta.written_ms = now_ms();
    n->content = c;
    inodes_lock(&m->inodes);
    c->appends = n->appends;
    inodes_set_created_locked(&m->inodes, n, true);
    inodes_unlock(&m->inodes);
    return 0;
}

/* The present value, pinned or (`size_only`) just looked at, and what the node
 * is beside it. */
static toon_err look_at_value(struct mount *m, const node *n, bool size_only,
                              struct standing *is, toon_pinned *out) {
    toon_err err;
    *out = (toon_pinned){.size = 0};
    do {
        m->store.ops->pinned_release(out);
        standing_of(m, n, is);
        toon_slice key = key_slice(&is->key);
        toon_key_stat stat;
        if (!size_only) {
            err = m->store.ops->pin_value(m->store.store, key, out);
        } else {
            err = m->store.ops->stat(m->store.store, key, &stat);
            if (err == TOON_OK) {
                *out = (toon_pinned){.size = stat.size, .meta = stat.meta};
            }
        }
    } while (!versions_settled(m, is->mark));
    return err;
}

/* Content for a file that is not open: its value, which is not read yet, or
 * (`size_only`) just how long it is. */
static int load(struct mount *m, node *n, bool size_only) {
    struct standing is;
    toon_pinned value;
    toon_err err = look_at_value(m, n, size_only, &is, &value);
    if (err != TOON_OK) {
        return err == TOON_NOT_FOUND ? ESTALE : errno_of(err);
    }
    content *c = calloc(1, sizeof(*c));
    bool same = is.current && stands_for(&is, &value.meta);
    if (c == NULL || !(same || size_only)) {
        m->store.ops->pinned_release(&value);
        free(c);
        return c == NULL ? ENOMEM : ESTALE;
    }
    buffer_init(&c->bytes);
    buffer_set_base_size(&c->bytes, value.size);
    c->base = value;
    c->meta = value.meta;
    c->appends = is.appends;
    n->content = c;
    return 0;
}

/* The bytes of content of which only the size was needed so far. */
static int load_base(struct mount *m, node *n, bool force) {
    content *c = n->content;
    if (!c->bytes.base_missing) {
        return 0;
    }
    int error = read_pinned(m, c);
    if (error != 0 || !c->bytes.base_missing) {
        return error;
    }
    struct standing is;
    standing_of(m, n, &is);
    toon_value value;
    toon_err err =
        m->store.ops->get(m->store.store, key_slice(&is.key), &value);
    if (err == TOON_NOT_FOUND && force) {
        value = (toon_value){.data = NULL};
    } else if (err != TOON_OK) {
        return err == TOON_NOT_FOUND ? ESTALE : errno_of(err);
    }
    bool moved = buffer_rebase(&c->bytes, &value, force);
    toon_value_release(&value);
    c->appends = is.appends;
    return moved ? 0 : ESTALE;
}

static void content_free(const struct mount *m, content *c) {
    m->store.ops->pinned_release(&c->base);
    buffer_free(&c->bytes);
    free(c);
}

static int open_existing(struct mount *m, node *n, int flags) {
    bool append_only =
        (flags & O_ACCMODE) == O_WRONLY && (flags & O_APPEND) != 0;
    bool truncate = (flags & O_ACCMODE) != O_RDONLY && (flags & O_TRUNC) != 0;
    int error = 0;
    if (n->content == NULL) {
        error = load(m, n, append_only || truncate);
    } else if (!append_only && !truncate) {
        catch_up(m, n);
        error = is_pinned(n->content) ? 0 : load_base(m, n, false);
    }
    if (error == 0 && truncate) {
        content *c = n->content;
        (void)buffer_truncate(&c->bytes, 0);
        drop_pinned(m, c);
        c->pending = true;
        c->time_set = false;
        c->meta.written_ms = now_ms();
    }
    return error;
}

int file_open_locked(struct mount *m, node *n, int flags) {
    if (n->content != NULL && n->content->lost) {
        notices_replace(m, n);
        return ESTALE;
    }
    inodes_lock(&m->inodes);
    bool detached = n->detached;
    bool gone = n->unlinked && n->content == NULL;
    inodes_unlock(&m->inodes);
    bool writes = (flags & O_ACCMODE) != O_RDONLY;
    bool rewrites = writes && (flags & (O_TRUNC | O_APPEND)) != 0;
    if (gone || (detached && !rewrites)) {
        return ESTALE;
    }
    int error = writes ? check_writable(m, (flags & O_TRUNC) != 0) : 0;
    if (error == 0) {
        error = open_existing(m, n, flags);
    }
    if (error == 0) {
        n->content->handles++;
        inodes_hold_node(&m->inodes, n);
    }
    return error;
}

/* ------------------------------------------------------------------ commit */

static toon_err set_whole(struct mount *m, toon_slice key, const content *c,
                          unsigned flags) {
    toon_set_options options = {
        .flags = flags | (c->mode_set ? TOON_SET_MODE : 0u),
        .mode = c->meta.mode,
        .written_ms = c->meta.written_ms,
    };
    return m->store.ops->set(m->store.store, key, buffer_uncommitted(&c->bytes),
                             &options);
}

/* An append, with what belongs to it in one batch. */
static toon_err append_more(struct mount *m, toon_slice key, const content *c) {
    const backend_ops *ops = m->store.ops;
    unsigned what = (c->mode_set ? (unsigned)TOON_META_MODE : 0u) |
                    (c->time_set ? (unsigned)TOON_META_WRITTEN : 0u);
    if (what == 0) {
        return ops->append(m->store.store, key, buffer_uncommitted(&c->bytes));
    }
    toon_err err = ops->batch_begin(m->store.store);
    if (err != TOON_OK) {
        return err;
    }
    err = ops->append(m->store.store, key, buffer_uncommitted(&c->bytes));
    if (err == TOON_OK) {
        err = ops->set_meta(m->store.store, key, what, &c->meta);
    }
    if (err != TOON_OK) {
        ops->batch_cancel(m->store.store);
        return err;
    }
    return ops->batch_commit(m->store.store);
}

static toon_err put_content(struct mount *m, toon_slice key, const content *c) {
    if (c->bytes.whole) {
        return set_whole(m, key, c, 0);
    }
    if (buffer_uncommitted(&c->bytes).size > 0) {
        return append_more(m, key, c);
    }
    /* Created and nothing written. Who else has made it meanwhile, with more
     * in it, is left alone. */
    toon_err err = set_whole(m, key, c, TOON_SET_IF_ABSENT);
    return err == TOON_EXISTS ? TOON_OK : err;
}

int file_commit_locked(struct mount *m, node *n) {
    content *c = n->content;
    if (c == NULL || !is_uncommitted(c)) {
        return 0;
    }
    if (c->refused != 0 && (c->bytes.whole || c->pending)) {
        return c->refused;
    }
    struct standing is;
    standing_of(m, n, &is);
    bool appended = !c->bytes.whole;
    toon_err err = TOON_OK;
    if (!is.unlinked) {
        origin_file(n);
        err = put_content(m, key_slice(&is.key), c);
        origin_mount(m);
    }
    if (err != TOON_OK) {
        return errno_of(err);
    }
    buffer_committed(&c->bytes);
    c->dirty = false;
    c->pending = false;
    c->lost = false;
    c->mode_set = false;
    c->time_set = false;
    inodes_lock(&m->inodes);
    inodes_set_created_locked(&m->inodes, n, false);
    inodes_unlock(&m->inodes);
    if (c->shown && appended) {
        notices_push_attr(m, n); /* the store dates an append itself */
    }
    c->shown = false;
    catch_up(m, n);
    return 0;
}

int file_flush_locked(struct mount *m, node *n) {
    content *c = n->content;
    int error = c->dirty ? file_commit_locked(m, n) : 0;
    c->lost = error != 0;
    return error;
}

/* A program that was told so and writes it once more must not find it there
 * twice. */
static int commit_last_locked(struct mount *m, node *n) {
    return n->content->lost ? EIO : file_commit_locked(m, n);
}

int file_close_locked(struct mount *m, node *n) {
    content *c = n->content;
    assert(c != NULL && c->handles > 0);
    c->handles--;
    if (c->handles > 0) {
        return 0;
    }
    int error = commit_last_locked(m, n);
    if (error != 0) {
        notices_replace(m, n);
    }
    content_free(m, c);
    n->content = NULL;
    return error;
}

/* ------------------------------------------------------------------- write */

/* May the content be `size` bytes, of which `add` are to be committed? Asked
 * for at once: many programs look at no error of close(2). */
static int check_room(const struct mount *m, size_t size, size_t add) {
    size_t limit = m->options.value_size_max != 0 ? m->options.value_size_max
                                                  : TOON_VALUE_SIZE_LIMIT;
    return size > limit ? EFBIG
                        : errno_of(m->store.ops->reserve(m->store.store, add));
}

int file_read_locked(struct mount *m, node *n, size_t offset, size_t size,
                     struct iovec out[2], int *count) {
    catch_up(m, n);
    int error = load_base(m, n, true);
    if (error == 0) {
        *count = buffer_slices(&n->content->bytes, offset, size, out);
    }
    return error;
}

static void touch(content *c) {
    c->dirty = true;
    c->refused = 0;
    c->lost = false;
    c->time_set = false;
    c->meta.written_ms = now_ms();
}

int file_write_locked(struct mount *m, node *n, toon_slice bytes, bool append,
                      size_t *at) {
    content *c = n->content;
    catch_up(m, n);
    if (append) {
        *at = buffer_size(&c->bytes);
    }
    size_t now = buffer_size(&c->bytes);
    size_t size = *at + bytes.size > now ? *at + bytes.size : now;
    size_t add = append && !c->bytes.whole
                     ? buffer_uncommitted(&c->bytes).size + bytes.size
                     : size;
    int error = check_room(m, size, add);
    if (error == 0 && !append) {
        error = load_base(m, n, true);
    }
    if (error != 0) {
        c->refused = error;
        return error;
    }
    bool done = append ? buffer_append(&c->bytes, bytes)
                       : buffer_write(&c->bytes, *at, bytes);
    if (!done) {
        c->refused = ENOMEM;
        return ENOMEM;
    }
    touch(c);
    return 0;
}

int file_truncate_locked(struct mount *m, node *n, size_t size) {
    content *c = n->content;
    catch_up(m, n);
    int error = check_room(m, size, size);
    if (error == 0 && size > 0) {
        error = load_base(m, n, true);
    }
    if (error != 0) {
        c->refused = error;
        return error;
    }
    if (!buffer_truncate(&c->bytes, size)) {
        return ENOMEM;
    }
    drop_pinned(m, c);
    touch(c);
    return 0;
}

int file_zero_locked(struct mount *m, node *n, size_t from, size_t size) {
    content *c = n->content;
    catch_up(m, n);
    size_t end = buffer_size(&c->bytes);
    int error = check_room(m, end, end);
    if (error == 0) {
        error = load_base(m, n, true);
    }
    if (error != 0 || from >= end) {
        return error;
    }
    if (size > end - from) {
        size = end - from;
    }
    /* Truncating to the size it has makes it whole. */
    if (!buffer_truncate(&c->bytes, end)) {
        return ENOMEM;
    }
    memset(c->bytes.tail + from, 0, size);
    touch(c);
    return 0;
}

void file_replaces_locked(node *n) {
    assert(n->content != NULL && n->content->bytes.base_size == 0);
    n->content->bytes.whole = true;
}

/* --------------------------------------------------------------------- all */

static int commit_one(struct mount *m, node *n, bool close) {
    int error = 0;
    file_lock(m, n);
    content *c = n->content;
    if (c != NULL) {
        error = commit_last_locked(m, n);
        if (close) {
            content_free(m, c);
            n->content = NULL;
        }
    }
    file_unlock(m, n);
    return error;
}

int file_commit_all(struct mount *m, bool close) {
    int error = 0;
    node *n = NULL;
    while ((n = inodes_next(&m->inodes, n)) != NULL) {
        int failed = commit_one(m, n, close);
        error = error != 0 ? error : failed;
    }
    return error;
}
