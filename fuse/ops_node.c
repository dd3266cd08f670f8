/*
 * ops_node.c - callbacks about what a node is: look-up, attributes, links.
 * Must never know how content is kept or listed.
 */
#include "file.h"
#include "ops.h"
#include "status.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/statvfs.h>

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name) {
    struct mount *m = mount_of(req);
    const node *dir = node_of(m, parent);
    struct fuse_entry_param e;
    int error = status_find(m, dir, name, &e);
    if (error == ENOENT && dir->kind == NODE_DIR) {
        tree_child child;
        error = child_of(m, dir, name, &child);
        /* The mount's own names are not there but for the one above. */
        error = error == 0       ? entry_find(m, &child, &e)
                : error == EPERM ? ENOENT
                                 : error;
    }
    if (error != 0) {
        reply_done(req, error);
        return;
    }
    reply_entry(req, &e);
}

void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count) {
    struct mount *m = mount_of(req);
    if (ino != FUSE_ROOT_ID) {
        inodes_put(&m->inodes, node_of(m, ino), count);
    }
    fuse_reply_none(req);
}

void op_forget_multi(fuse_req_t req, size_t count,
                     struct fuse_forget_data *forgets) {
    struct mount *m = mount_of(req);
    for (size_t i = 0; i < count; i++) {
        if (forgets[i].ino != FUSE_ROOT_ID) {
            inodes_put(&m->inodes, node_of(m, forgets[i].ino),
                       forgets[i].nlookup);
        }
    }
    fuse_reply_none(req);
}

static void reply_attr(fuse_req_t req, fuse_ino_t ino, bool changed) {
    struct mount *m = mount_of(req);
    struct stat attr;
    double timeout;
    int error = node_attr(m, node_of(m, ino), &attr, &timeout);
    if (error != 0) {
        reply_done(req, error);
        return;
    }
    /* The kernel takes the answer to a change as it is, also when it has been
     * told of a later one: so it is to be asked for again. */
    (void)fuse_reply_attr(req, &attr, changed ? 0 : timeout);
}

void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
    (void)fi;
    reply_attr(req, ino, false);
}

/* ----------------------------------------------------------------- setattr */

#define SETS_TIME (FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_MTIME_NOW)

static int64_t time_to_set(const struct stat *attr, int what) {
    return (what & FUSE_SET_ATTR_MTIME_NOW) != 0
               ? now_ms()
               : (int64_t)attr->st_mtim.tv_sec * 1000 +
                     attr->st_mtim.tv_nsec / 1000000;
}

/* Which fields of toon_meta a request sets, and to what. */
static unsigned meta_to_set(const struct stat *attr, int what,
                            unsigned default_mode, toon_meta *meta) {
    unsigned fields = 0;
    if ((what & FUSE_SET_ATTR_MODE) != 0) {
        fields |= TOON_META_MODE;
        meta->mode = mode_to_store(attr->st_mode, default_mode);
    }
    if ((what & SETS_TIME) != 0) {
        fields |= TOON_META_WRITTEN;
        meta->written_ms = time_to_set(attr, what);
    }
    return fields;
}

static int set_root_meta(struct mount *m, unsigned fields,
                         const toon_meta *meta) {
    if ((fields & TOON_META_MODE) != 0) {
        m->root_mode = meta->mode;
    }
    if ((fields & TOON_META_WRITTEN) != 0) {
        m->root_written_ms = meta->written_ms;
    }
    return 0;
}

/* A directory keeps them in its marker, which it gets for that. */
static int set_dir_meta(struct mount *m, node *n, unsigned fields,
                        const toon_meta *meta) {
    const backend_ops *ops = m->store.ops;
    key_text dir;
    if (n == m->root) {
        return set_root_meta(m, fields, meta);
    }
    inodes_copy_key(&m->inodes, n, &dir);
    toon_set_options options = {.flags = TOON_SET_IF_ABSENT};
    toon_err err = ops->batch_begin(m->store.store);
    if (err != TOON_OK) {
        return errno_of(err);
    }
    err = ops->set(m->store.store, key_slice(&dir), toon_bytes(NULL, 0),
                   &options);
    if (err == TOON_OK || err == TOON_EXISTS) {
        err = ops->set_meta(m->store.store, key_slice(&dir), fields, meta);
    }
    if (err != TOON_OK) {
        ops->batch_cancel(m->store.store);
        return errno_of(err);
    }
    return errno_of(ops->batch_commit(m->store.store));
}

/* 0, or what to answer for a node that is not what its name leads to. */
static int gone_status(struct mount *m, const node *n) {
    inodes_lock(&m->inodes);
    int error = n->unlinked ? ENOENT : n->detached ? ESTALE : 0;
    inodes_unlock(&m->inodes);
    return error;
}

/* With the file's lock. What is not committed yet keeps it until then. */
static int set_file_meta_locked(struct mount *m, node *n, unsigned fields,
                                const toon_meta *meta) {
    content *c = n->content;
    if (c != NULL && (fields & TOON_META_WRITTEN) != 0) {
        c->meta.written_ms = meta->written_ms;
        c->time_set = c->dirty || c->pending;
    }
    if (c != NULL && (fields & TOON_META_MODE) != 0) {
        c->meta.mode = meta->mode;
        c->mode_set = c->dirty || c->pending;
    }
    ticks_keep(&m->ticks, n->hash);
    if (c != NULL && (c->dirty || c->pending) && !c->lost) {
        return 0;
    }
    /* What has its name now is another file, which is left alone. */
    int gone = gone_status(m, n);
    if (gone != 0) {
        return c != NULL ? 0 : gone;
    }
    key_text key;
    inodes_copy_key(&m->inodes, n, &key);
    origin_file(n);
    toon_err err =
        m->store.ops->set_meta(m->store.store, key_slice(&key), fields, meta);
    origin_mount(m);
    return errno_of(err);
}

/* A truncation by path has nobody who would close the file: it is committed
 * at once. */
static int truncate_file_locked(struct mount *m, node *n, size_t size,
                                bool by_handle) {
    bool opened = n->content == NULL || !by_handle;
    int error = 0;
    if (opened) {
        error =
            file_open_locked(m, n, size == 0 ? O_WRONLY | O_TRUNC : O_WRONLY);
    }
    if (error != 0) {
        return error;
    }
    error = file_truncate_locked(m, n, size);
    if (!opened) {
        return error;
    }
    int failed = file_commit_locked(m, n);
    error = error != 0 ? error : failed;
    failed = file_close_locked(m, n);
    inodes_put(&m->inodes, n, 1);
    return error != 0 ? error : failed;
}

static int set_file(struct mount *m, node *n, const struct stat *attr, int what,
                    bool by_handle) {
    toon_meta meta = {.mode = 0};
    unsigned fields = meta_to_set(attr, what, m->options.file_mode, &meta);
    int error = 0;
    file_lock(m, n);
    if ((what & FUSE_SET_ATTR_SIZE) != 0) {
        error = truncate_file_locked(m, n, (size_t)attr->st_size, by_handle);
    }
    if (error == 0 && fields != 0) {
        error = set_file_meta_locked(m, n, fields, &meta);
    }
    file_unlock(m, n);
    return error;
}

static bool changes_owner(const struct mount *m, const struct stat *attr,
                          int what) {
    return ((what & FUSE_SET_ATTR_UID) != 0 &&
            attr->st_uid != m->options.uid) ||
           ((what & FUSE_SET_ATTR_GID) != 0 && attr->st_gid != m->options.gid);
}

void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int what,
                struct fuse_file_info *fi) {
    struct mount *m = mount_of(req);
    node *n = node_of(m, ino);
    int error = 0;
    if (n->kind == NODE_STATUS ||
        (m->options.strict_owner && changes_owner(m, attr, what))) {
        error = EPERM;
    } else if (n->kind == NODE_KEY) {
        error = set_file(m, n, attr, what, fi != NULL);
    } else {
        toon_meta meta = {.mode = 0};
        unsigned fields = meta_to_set(attr, what, m->options.dir_mode, &meta);
        error = fields != 0 ? set_dir_meta(m, n, fields, &meta) : 0;
    }
    if (error != 0) {
        reply_done(req, error);
        return;
    }
    inodes_lock(&m->inodes);
    /* A directory's own time is told by this field, a file's ctime too. */
    bool dir_time = n->kind == NODE_DIR && (what & SETS_TIME) != 0;
    n->changed_ms = dir_time              ? 0
                    : n->kind == NODE_DIR ? n->changed_ms
                                          : now_ms();
    inodes_unlock(&m->inodes);
    reply_attr(req, ino, true);
}

/* -------------------------------------------------------------------- rest */

void op_readlink(fuse_req_t req, fuse_ino_t ino) {
    struct mount *m = mount_of(req);
    const node *n = node_of(m, ino);
    key_text key;
    toon_value value = {.data = NULL};
    inodes_copy_key(&m->inodes, n, &key);
    int error =
        errno_of(m->store.ops->get(m->store.store, key_slice(&key), &value));
    /* Looked at after the value was read: it may be another's by now. */
    int gone = gone_status(m, n);
    if (gone != 0) {
        error = gone;
    } else if (error == 0 && !S_ISLNK(value.meta.mode)) {
        error = ESTALE;
    }
    if (error != 0) {
        reply_done(req, error);
    } else {
        /* A pinned value ends in a NUL. */
        (void)fuse_reply_readlink(req, value.data);
    }
    toon_value_release(&value);
}

void op_statfs(fuse_req_t req, fuse_ino_t ino) {
    struct mount *m = mount_of(req);
    struct statvfs fs = {.f_bsize = 4096, .f_frsize = 4096};
    toon_stats stats;
    (void)ino;
    if (m->options.data_dir != NULL && statvfs(m->options.data_dir, &fs) != 0) {
        reply_done(req, errno);
        return;
    }
    m->store.ops->figures(m->store.store, &stats);
    if (m->options.store_size_max != 0) {
        uint64_t limit = m->options.store_size_max;
        uint64_t left = limit > stats.log_bytes ? limit - stats.log_bytes : 0;
        fsblkcnt_t blocks_left = (fsblkcnt_t)(left / fs.f_frsize);
        fs.f_blocks = (fsblkcnt_t)(limit / fs.f_frsize);
        fs.f_bavail = fs.f_bavail < blocks_left ? fs.f_bavail : blocks_left;
        fs.f_bfree = fs.f_bavail;
    }
    fs.f_ffree = (fsfilcnt_t)1 << 40;
    fs.f_files = fs.f_ffree + (fsfilcnt_t)stats.keys;
    fs.f_favail = fs.f_ffree;
    fs.f_namemax = NAME_SIZE_MAX;
    (void)fuse_reply_statfs(req, &fs);
}
