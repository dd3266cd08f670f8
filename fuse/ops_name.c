/*
 * ops_name.c - callbacks about names that come and go. Knows keys and their
 * directories; must never know content.
 */
#include "ops.h"

/* The start of every operation here: what the name can be. */
static int find_child(struct mount *m, fuse_ino_t parent, const char *name,
                      tree_child *child) {
    const node *dir = node_of(m, parent);
    return dir->kind == NODE_DIR ? child_of(m, dir, name, child) : EPERM;
}

/* ---------------------------------------------------------------- new ones */

/* 0: there is neither a file nor a directory of that name. */
static int must_be_free(struct mount *m, const tree_child *child) {
    struct fuse_entry_param e;
    int error = entry_find(m, child, &e);
    if (error == 0) {
        entry_drop(m, &e);
    }
    return error == ENOENT ? 0 : error == 0 ? EEXIST : error;
}

static void reply_new(fuse_req_t req, fuse_ino_t parent,
                      const tree_child *child, int error) {
    struct mount *m = mount_of(req);
    struct fuse_entry_param e;
    if (error == 0) {
        dir_changed(m, node_of(m, parent));
        error = entry_find(m, child, &e);
    }
    if (error != 0) {
        reply_done(req, error);
        return;
    }
    reply_entry(req, &e);
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name,
              mode_t mode) {
    struct mount *m = mount_of(req);
    tree_child child;
    int error = find_child(m, parent, name, &child);
    if (error == 0 && !child.has_dir) {
        error = m->options.flat ? EPERM : EINVAL;
    }
    if (error == 0) {
        error = must_be_free(m, &child);
    }
    if (error == 0) {
        toon_set_options options = {
            .flags = TOON_SET_IF_ABSENT | TOON_SET_MODE,
            .mode = mode_to_store(mode, m->options.dir_mode)};
        error =
            errno_of(m->store.ops->set(m->store.store, key_slice(&child.dir),
                                       toon_bytes(NULL, 0), &options));
    }
    reply_new(req, parent, &child, error);
}

void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent,
                const char *name) {
    struct mount *m = mount_of(req);
    tree_child child;
    int error = find_child(m, parent, name, &child);
    if (error == 0 && !child.has_file) {
        error = EINVAL;
    }
    if (error == 0) {
        error = must_be_free(m, &child);
    }
    if (error == 0) {
        toon_set_options options = {.flags = TOON_SET_IF_ABSENT | TOON_SET_MODE,
                                    .mode = TOON_MODE_SYMLINK};
        error =
            errno_of(m->store.ops->set(m->store.store, key_slice(&child.file),
                                       toon_str(target), &options));
    }
    reply_new(req, parent, &child, error);
}

void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
              dev_t device) {
    (void)parent;
    (void)name;
    (void)mode;
    (void)device;
    reply_done(req, EPERM);
}

void op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent,
             const char *new_name) {
    (void)ino;
    (void)new_parent;
    (void)new_name;
    reply_done(req, EPERM);
}

/* ----------------------------------------------------------------- removal */

/* Removes the key, and keeps the directory that it was the last of. */
static toon_err remove_key(struct mount *m, toon_slice key, toon_slice dir,
                           bool may_be_absent) {
    tree t = tree_of(m);
    const backend_ops *ops = m->store.ops;
    toon_err err = ops->batch_begin(m->store.store);
    if (err != TOON_OK) {
        return err;
    }
    err = ops->remove(m->store.store, key);
    if (err == TOON_NOT_FOUND && may_be_absent) {
        err = TOON_OK;
    }
    if (err == TOON_OK) {
        err = tree_keep(&t, dir);
    }
    if (err != TOON_OK) {
        ops->batch_cancel(m->store.store);
        return err;
    }
    return ops->batch_commit(m->store.store);
}

static int unlink_file(struct mount *m, const node *dir, toon_slice key) {
    key_text dir_key;
    inodes_copy_key(&m->inodes, dir, &dir_key);
    node *n = inodes_hold(&m->inodes, NODE_KEY, key);
    if (n == NULL) {
        return ENOMEM;
    }
    file_lock(m, n);
    inodes_lock(&m->inodes);
    bool created = n->created;
    inodes_unlock(&m->inodes);
    toon_err err = remove_key(m, key, key_slice(&dir_key), created);
    if (err == TOON_OK) {
        inodes_lock(&m->inodes);
        inodes_unlink_locked(&m->inodes, key);
        inodes_unlock(&m->inodes);
    }
    file_unlock(m, n);
    inodes_put(&m->inodes, n, 1);
    return errno_of(err);
}

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name) {
    struct mount *m = mount_of(req);
    node *dir = node_of(m, parent);
    tree_child child;
    int error = find_child(m, parent, name, &child);
    if (error == 0) {
        error = child.has_file ? unlink_file(m, dir, key_slice(&child.file))
                               : ENOENT;
    }
    if (error == 0) {
        dir_changed(m, dir);
    }
    reply_done(req, error);
}

static int remove_dir(struct mount *m, const node *parent, toon_slice dir) {
    tree t = tree_of(m);
    key_text parent_key;
    bool empty = false;
    inodes_copy_key(&m->inodes, parent, &parent_key);
    const backend_ops *ops = m->store.ops;
    toon_err err = ops->batch_begin(m->store.store);
    if (err != TOON_OK) {
        return errno_of(err);
    }
    err = tree_is_empty(&t, dir, &empty);
    bool free_to_go = empty && !has_created_below(m, dir);
    if (err == TOON_OK && free_to_go) {
        err = ops->remove(m->store.store, dir);
    }
    if (err == TOON_OK && free_to_go) {
        err = tree_keep(&t, key_slice(&parent_key));
    }
    if (err != TOON_OK || !free_to_go) {
        ops->batch_cancel(m->store.store);
        return err != TOON_OK ? errno_of(err) : ENOTEMPTY;
    }
    return errno_of(ops->batch_commit(m->store.store));
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name) {
    struct mount *m = mount_of(req);
    node *dir = node_of(m, parent);
    tree_child child;
    int error = find_child(m, parent, name, &child);
    if (error == 0) {
        error =
            child.has_dir ? remove_dir(m, dir, key_slice(&child.dir)) : ENOTDIR;
    }
    if (error == 0) {
        dir_changed(m, dir);
    }
    reply_done(req, error);
}
