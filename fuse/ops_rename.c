/*
 * ops_rename.c - the callback that moves names, in one batch of the store.
 * Knows keys and their directories; must never know what content is.
 */
#include "file.h"
#include "ops.h"

#include <linux/fs.h>

#define FLAGS_KNOWN (RENAME_NOREPLACE | RENAME_EXCHANGE)

/* Both ends of a rename. */
struct ends {
    tree_child from, to;
    key_text from_dir, to_dir;
    unsigned flags;
};

static toon_err commit_or_cancel(struct mount *m, toon_err err) {
    if (err != TOON_OK) {
        m->store.ops->batch_cancel(m->store.store);
        return err;
    }
    return m->store.ops->batch_commit(m->store.store);
}

/* ------------------------------------------------------------------- files */

static unsigned store_flags(unsigned flags) {
    return ((flags & RENAME_NOREPLACE) != 0 ? (unsigned)TOON_RENAME_NO_REPLACE
                                            : 0u) |
           ((flags & RENAME_EXCHANGE) != 0 ? (unsigned)TOON_RENAME_EXCHANGE
                                           : 0u);
}

static bool is_created(struct mount *m, const node *n) {
    inodes_lock(&m->inodes);
    bool created = n->created;
    inodes_unlock(&m->inodes);
    return created;
}

/* What is not in the store cannot be exchanged there. */
static int commit_created_locked(struct mount *m, node *a, node *b) {
    int error = is_created(m, a) ? file_commit_locked(m, a) : 0;
    return error == 0 && is_created(m, b) ? file_commit_locked(m, b) : error;
}

static int move_keys(struct mount *m, const struct ends *ends) {
    tree t = tree_of(m);
    toon_err err = m->store.ops->batch_begin(m->store.store);
    if (err != TOON_OK) {
        return errno_of(err);
    }
    err = m->store.ops->rename(m->store.store, key_slice(&ends->from.file),
                               key_slice(&ends->to.file),
                               store_flags(ends->flags));
    if (err == TOON_OK) {
        err = tree_keep(&t, key_slice(&ends->from_dir));
    }
    return errno_of(commit_or_cancel(m, err));
}

/* A file that is not committed yet takes a free name without the store. To
 * replace a key it is committed first, so that the key is gone at once. */
static int move_file_locked(struct mount *m, const struct ends *ends,
                            node *source, node *target) {
    if ((ends->flags & RENAME_EXCHANGE) != 0) {
        int error = commit_created_locked(m, source, target);
        return error != 0 ? error : move_keys(m, ends);
    }
    toon_key_stat replaced;
    int error = 0;
    if (is_created(m, source)) {
        toon_err err = m->store.ops->stat(m->store.store,
                                          key_slice(&ends->to.file), &replaced);
        if (err == TOON_NOT_FOUND) {
            file_replaces_locked(source);
            return 0;
        }
        error = file_commit_locked(m, source);
    }
    return error != 0 ? error : move_keys(m, ends);
}

/* The nodes follow. One whose value was the store's before is so after. */
static void move_file_nodes(struct mount *m, const struct ends *ends,
                            node *source, const node *target,
                            uint64_t version_before, inodes_spare *spare) {
    inodes_lock(&m->inodes);
    bool known = version_before != 0 && !source->detached &&
                 !target->detached && !source->created;
    uint64_t version = target->renamed_version;
    inodes_move_locked(&m->inodes, key_slice(&ends->from.file),
                       key_slice(&ends->to.file),
                       (ends->flags & RENAME_EXCHANGE) != 0, spare);
    source->version = known ? version : 0;
    source->names = ends->to.by;
    source->changed_ms = now_ms();
    inodes_unlock(&m->inodes);
}

static uint64_t version_of(struct mount *m, const node *n) {
    inodes_lock(&m->inodes);
    uint64_t version = n->version;
    inodes_unlock(&m->inodes);
    return version;
}

static int rename_nodes(struct mount *m, const struct ends *ends, node *source,
                        node *target) {
    inodes_spare spare = {NULL};
    file_lock_two(m, source, target);
    uint64_t before = version_of(m, source);
    int error = ENOMEM;
    if (inodes_reserve(&m->inodes, key_slice(&ends->from.file),
                       key_slice(&ends->to.file), false,
                       (ends->flags & RENAME_EXCHANGE) != 0, &spare)) {
        error = move_file_locked(m, ends, source, target);
    }
    if (error == 0) {
        move_file_nodes(m, ends, source, target, before, &spare);
    }
    file_unlock_two(m, source, target);
    inodes_spare_free(&spare);
    return error;
}

static int rename_file(struct mount *m, const struct ends *ends) {
    toon_slice from = key_slice(&ends->from.file);
    toon_slice to = key_slice(&ends->to.file);
    if (!ends->to.has_file) {
        return EINVAL;
    }
    node *source = inodes_hold(&m->inodes, NODE_KEY, from);
    node *target = inodes_hold(&m->inodes, NODE_KEY, to);
    int error = source == NULL || target == NULL ? ENOMEM : 0;
    if (error == 0 && source != target) {
        error = rename_nodes(m, ends, source, target);
    }
    if (source != NULL) {
        inodes_put(&m->inodes, source, 1);
    }
    if (target != NULL) {
        inodes_put(&m->inodes, target, 1);
    }
    return error;
}

/* ------------------------------------------------------------- directories */

/* 0: the target of a directory's rename may be replaced, or is not there. */
static int check_target(struct mount *m, const struct ends *ends) {
    tree t = tree_of(m);
    toon_slice to = key_slice(&ends->to.dir);
    tree_probe probe;
    bool empty = false;
    toon_err err = tree_look(&t, to, &probe);
    if (err != TOON_OK) {
        return errno_of(err);
    }
    bool there = probe.found || has_created_below(m, to);
    if ((ends->flags & RENAME_EXCHANGE) != 0) {
        return there ? 0 : ENOENT;
    }
    if (!there) {
        return 0;
    }
    err = tree_is_empty(&t, to, &empty);
    if (err != TOON_OK) {
        return errno_of(err);
    }
    return empty && !has_created_below(m, to) ? 0 : ENOTEMPTY;
}

/* A directory's value, its `%3D`, has its name without the slash. */
static toon_slice value_of(const key_text *dir) {
    return toon_bytes(dir->data, dir->size - 1);
}

static bool reserve_nodes(struct mount *m, const struct ends *ends,
                          inodes_spare *spare) {
    bool swap = (ends->flags & RENAME_EXCHANGE) != 0;
    return inodes_reserve(&m->inodes, value_of(&ends->from.dir),
                          value_of(&ends->to.dir), false, swap, spare) &&
           inodes_reserve(&m->inodes, key_slice(&ends->from.dir),
                          key_slice(&ends->to.dir), true, swap, spare);
}

static void move_nodes(struct mount *m, const struct ends *ends,
                       inodes_spare *spare) {
    bool swap = (ends->flags & RENAME_EXCHANGE) != 0;
    inodes_lock(&m->inodes);
    inodes_move_tree_locked(&m->inodes, key_slice(&ends->from.dir),
                            key_slice(&ends->to.dir), swap, spare);
    inodes_move_locked(&m->inodes, value_of(&ends->from.dir),
                       value_of(&ends->to.dir), swap, spare);
    inodes_unlock(&m->inodes);
}

static int move_tree(struct mount *m, const struct ends *ends) {
    tree t = tree_of(m);
    toon_err err = m->store.ops->batch_begin(m->store.store);
    if (err != TOON_OK) {
        return errno_of(err);
    }
    int error = check_target(m, ends);
    if (error != 0) {
        m->store.ops->batch_cancel(m->store.store);
        return error;
    }
    err = tree_move(&t, key_slice(&ends->from.dir), key_slice(&ends->to.dir),
                    (ends->flags & RENAME_EXCHANGE) != 0);
    if (err == TOON_OK) {
        err = tree_keep(&t, key_slice(&ends->from_dir));
    }
    err = commit_or_cancel(m, err);
    return err == TOON_TOO_LARGE ? ENAMETOOLONG : errno_of(err);
}

/* A file that is committed meanwhile must not bring an old name back. */
static int rename_dir(struct mount *m, const struct ends *ends) {
    if (!ends->to.has_dir) {
        return EINVAL;
    }
    inodes_spare spare = {NULL};
    file_lock_all(m);
    int error = reserve_nodes(m, ends, &spare) ? move_tree(m, ends) : ENOMEM;
    if (error == 0) {
        move_nodes(m, ends, &spare);
    }
    file_unlock_all(m);
    inodes_spare_free(&spare);
    return error;
}

/* -------------------------------------------------------------------- both */

static int is_directory(struct mount *m, const tree_child *child, bool *is) {
    struct fuse_entry_param e;
    int error = entry_find(m, child, &e);
    if (error == 0) {
        *is = S_ISDIR(e.attr.st_mode);
        entry_drop(m, &e);
    }
    return error;
}

static int move_either(struct mount *m, const struct ends *ends) {
    bool source_is_dir = false;
    bool target_is_dir = false;
    int error = is_directory(m, &ends->from, &source_is_dir);
    int target_error = is_directory(m, &ends->to, &target_is_dir);
    if (error != 0) {
        return error;
    }
    if (target_error == ENOMEM) { /* who knows what is there */
        return target_error;
    }
    if (target_error == 0 && (ends->flags & RENAME_NOREPLACE) != 0) {
        return EEXIST;
    }
    if (target_error == 0 && source_is_dir != target_is_dir) {
        return (ends->flags & RENAME_EXCHANGE) != 0 ? EINVAL
               : target_is_dir                      ? EISDIR
                                                    : ENOTDIR;
    }
    return source_is_dir ? rename_dir(m, ends) : rename_file(m, ends);
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name,
               fuse_ino_t new_parent, const char *new_name, unsigned flags) {
    struct mount *m = mount_of(req);
    node *from = node_of(m, parent);
    node *to = node_of(m, new_parent);
    struct ends ends = {.flags = flags};
    int error = 0;
    if ((flags & ~(unsigned)FLAGS_KNOWN) != 0) {
        error = EINVAL;
    } else if (from->kind != NODE_DIR || to->kind != NODE_DIR) {
        error = EPERM;
    }
    if (error == 0) {
        error = child_of(m, from, name, &ends.from);
    }
    if (error == 0) {
        error = child_of(m, to, new_name, &ends.to);
    }
    if (error == 0) {
        inodes_copy_key(&m->inodes, from, &ends.from_dir);
        inodes_copy_key(&m->inodes, to, &ends.to_dir);
        error = move_either(m, &ends);
    }
    if (error == 0) {
        dir_changed(m, from);
        dir_changed(m, to);
    }
    reply_done(req, error);
}
