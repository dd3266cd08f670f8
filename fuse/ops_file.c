/*
 * ops_file.c - callbacks about open files. Knows requests and when content is
 * committed; must never know how content is kept.
 */
#include "file.h"
#include "ops.h"
#include "status.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>

/* What an open that is not the file's shared content reads: `fi->fh`. */
typedef struct own_view {
    handle handle;         /* first */
    _Atomic unsigned uses; /* the open, and reads that reply */
    toon_value value;      /* pinned, or all zero */
    char *text;            /* owned, or NULL */
    size_t size;
} own_view;

static own_view *view_of(const struct fuse_file_info *fi) {
    return (own_view *)(uintptr_t)fi->fh;
}

static void view_drop(own_view *view) {
    if (atomic_fetch_sub(&view->uses, 1) == 1) {
        toon_value_release(&view->value);
        free(view->text);
        free(view);
    }
}

static void view_free(handle *self) {
    view_drop((own_view *)self);
}

static void set_view(struct mount *m, struct fuse_file_info *fi,
                     own_view *view) {
    atomic_store(&view->uses, 1);
    handle_add(&m->handles, &view->handle, view_free);
    fi->fh = (uintptr_t)view;
    fi->direct_io = 1;
    fi->keep_cache = 0;
    fi->noflush = 1;
}

/* -------------------------------------------------------------------- open */

/* Content and pages are the node's, so an open needs no more. */
static void set_shared(struct fuse_file_info *fi) {
    fi->fh = 0;
    fi->keep_cache = 1;
    fi->noflush = (fi->flags & O_ACCMODE) == O_RDONLY;
}

static int open_status(struct mount *m, const node *n,
                       struct fuse_file_info *fi) {
    if ((fi->flags & O_ACCMODE) != O_RDONLY) {
        return EACCES;
    }
    own_view *view = calloc(1, sizeof(*view));
    if (view == NULL) {
        return ENOMEM;
    }
    view->text = status_text(m, n, &view->size);
    if (view->text == NULL) {
        free(view);
        return ENOMEM;
    }
    set_view(m, fi, view);
    return 0;
}

/* Has this caller just been sent to look again for this file? */
static bool was_sent_back(struct mount *m, fuse_req_t req, const node *n) {
    uint64_t caller = (uint64_t)fuse_req_ctx(req)->pid << 32 ^ n->hash;
    _Atomic uint64_t *slot =
        &m->estale[(uint64_t)fuse_req_ctx(req)->pid % RETRIES];
    bool again = atomic_load(slot) == caller;
    atomic_store(slot, again ? 0 : caller);
    return again;
}

/*
 * The kernel looks a name up once more after ESTALE, not twice. Where the
 * value is replaced faster than it can look up and open, a reader gets the
 * present version for itself, past the pages of the node.
 */
static int open_own_view(struct mount *m, const node *n,
                         struct fuse_file_info *fi) {
    key_text key;
    inodes_copy_key(&m->inodes, n, &key);
    own_view *view = calloc(1, sizeof(*view));
    if (view == NULL) {
        return ENOMEM;
    }
    toon_err err =
        m->store.ops->get(m->store.store, key_slice(&key), &view->value);
    if (err != TOON_OK) {
        free(view);
        return errno_of(err);
    }
    view->size = view->value.size;
    set_view(m, fi, view);
    return 0;
}

static int open_node(struct mount *m, fuse_req_t req, node *n,
                     struct fuse_file_info *fi) {
    if (n->kind != NODE_KEY) {
        return n->kind == NODE_STATUS ? open_status(m, n, fi) : EISDIR;
    }
    file_lock(m, n);
    int error = file_open_locked(m, n, fi->flags);
    file_unlock(m, n);
    bool reads = (fi->flags & O_ACCMODE) == O_RDONLY;
    if (error == ESTALE && reads && was_sent_back(m, req, n)) {
        return open_own_view(m, n, fi);
    }
    if (error == 0) {
        set_shared(fi);
    }
    return error;
}

static int close_node(struct mount *m, node *n,
                      const struct fuse_file_info *fi) {
    if (fi->fh != 0) {
        handle_free(&m->handles, &view_of(fi)->handle);
        return 0;
    }
    file_lock(m, n);
    int error = file_close_locked(m, n);
    file_unlock(m, n);
    inodes_put(&m->inodes, n, 1);
    return error;
}

void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
    struct mount *m = mount_of(req);
    node *n = node_of(m, ino);
    int error = open_node(m, req, n, fi);
    if (error != 0) {
        reply_done(req, error);
        return;
    }
    if (fuse_reply_open(req, fi) != 0) {
        (void)close_node(m, n, fi);
    }
}

/* A new node for a file that no one has, open once. */
static int create_file(struct mount *m, const tree_child *child, mode_t mode,
                       struct fuse_file_info *fi, struct fuse_entry_param *e) {
    node *n = inodes_hold(&m->inodes, NODE_KEY, key_slice(&child->file));
    if (n == NULL) {
        return ENOMEM;
    }
    file_lock(m, n);
    int error = n->content == NULL ? file_create_locked(m, n, mode) : EEXIST;
    if (error == 0) {
        n->content->handles++;
        inodes_hold_node(&m->inodes, n);
    }
    file_unlock(m, n);
    if (error == 0) {
        set_shared(fi);
        error = entry_of_new_file(m, n, child->by, e);
    }
    if (error != 0) {
        inodes_put(&m->inodes, n, 1);
    }
    return error;
}

static int open_or_create(struct mount *m, fuse_req_t req,
                          const tree_child *child, mode_t mode,
                          struct fuse_file_info *fi,
                          struct fuse_entry_param *e) {
    int error = entry_find(m, child, e);
    if (error == ENOENT) {
        return create_file(m, child, mode, fi, e);
    }
    if (error != 0) {
        return error;
    }
    node *n = node_of(m, e->ino);
    error = (fi->flags & O_EXCL) != 0 ? EEXIST
            : n->kind == NODE_DIR     ? EISDIR
                                      : open_node(m, req, n, fi);
    if (error != 0) {
        entry_drop(m, e);
    }
    return error;
}

void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
               struct fuse_file_info *fi) {
    struct mount *m = mount_of(req);
    node *dir = node_of(m, parent);
    tree_child child;
    struct fuse_entry_param e;
    int error = dir->kind == NODE_DIR ? child_of(m, dir, name, &child) : EACCES;
    if (error == 0 && !child.has_file) {
        error = EINVAL;
    }
    if (error == 0) {
        error = open_or_create(m, req, &child, mode, fi, &e);
    }
    if (error != 0) {
        reply_done(req, error);
        return;
    }
    dir_changed(m, dir);
    if (fuse_reply_create(req, &e, fi) != 0) {
        (void)close_node(m, node_of(m, e.ino), fi);
        entry_drop(m, &e);
    }
}

/* -------------------------------------------------------------------- read */

/* Who has the reply may close the file before the reply is done here. */
static void read_view(fuse_req_t req, own_view *view, size_t size,
                      size_t offset) {
    const char *data = view->text != NULL ? view->text : view->value.data;
    size_t left = offset < view->size ? view->size - offset : 0;
    (void)atomic_fetch_add(&view->uses, 1);
    (void)fuse_reply_buf(req, left > 0 ? data + offset : NULL,
                         size < left ? size : left);
    view_drop(view);
}

void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
             struct fuse_file_info *fi) {
    struct mount *m = mount_of(req);
    node *n = node_of(m, ino);
    if (fi->fh != 0) {
        read_view(req, view_of(fi), size, (size_t)offset);
        return;
    }
    struct iovec slices[2];
    toon_value pin = {.data = NULL};
    int count = 0;
    file_lock(m, n);
    int error = file_read_locked(m, n, (size_t)offset, size, slices, &count);
    /* Bytes that were written may move with the next write; the store's, once
     * pinned, stay. */
    bool stays = error == 0 && n->content->bytes.tail_size == 0;
    if (stays) {
        toon_value_share(&n->content->bytes.base, &pin);
        file_unlock(m, n);
    }
    if (error != 0) {
        reply_done(req, error);
    } else {
        (void)fuse_reply_iov(req, slices, count);
    }
    if (!stays) {
        file_unlock(m, n);
    }
    toon_value_release(&pin);
}

/* ------------------------------------------------------------------- write */

void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size,
              off_t offset, struct fuse_file_info *fi) {
    struct mount *m = mount_of(req);
    node *n = node_of(m, ino);
    /* Pages of a shared mapping have their place, whatever the flags say. */
    bool append = (fi->flags & O_APPEND) != 0 && !fi->writepage;
    size_t at = (size_t)offset;
    file_lock(m, n);
    int error = file_write_locked(m, n, toon_bytes(data, size), append, &at);
    file_unlock(m, n);
    if (error != 0) {
        reply_done(req, error);
        return;
    }
    if (at != (size_t)offset) {
        size_t first = at < (size_t)offset ? at : (size_t)offset;
        notices_push_pages(m, n, (int64_t)(first & ~(PAGE_BYTES - 1)));
    }
    (void)fuse_reply_write(req, size);
}

void op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset,
                  off_t size, struct fuse_file_info *fi) {
    struct mount *m = mount_of(req);
    node *n = node_of(m, ino);
    size_t from = (size_t)offset;
    size_t end = from + (size_t)size;
    bool zeroes = (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0;
    (void)fi;
    if ((mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE |
                  FALLOC_FL_ZERO_RANGE)) != 0 ||
        n->kind != NODE_KEY) {
        reply_done(req, EOPNOTSUPP);
        return;
    }
    file_lock(m, n);
    int error = zeroes ? file_zero_locked(m, n, from, (size_t)size) : 0;
    if (error == 0 && (mode & FALLOC_FL_KEEP_SIZE) == 0 &&
        end > buffer_size(&n->content->bytes)) {
        error = file_truncate_locked(m, n, end);
    }
    file_unlock(m, n);
    reply_done(req, error);
}

/* ------------------------------------------------------------------- close */

void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
    struct mount *m = mount_of(req);
    node *n = node_of(m, ino);
    int error = 0;
    if (fi->fh == 0) {
        file_lock(m, n);
        error = file_flush_locked(m, n);
        file_unlock(m, n);
    }
    reply_done(req, error);
}

void op_fsync(fuse_req_t req, fuse_ino_t ino, int data_only,
              struct fuse_file_info *fi) {
    struct mount *m = mount_of(req);
    node *n = node_of(m, ino);
    int error = 0;
    (void)data_only;
    if (fi->fh == 0) {
        file_lock(m, n);
        error = file_commit_locked(m, n);
        file_unlock(m, n);
    }
    if (error == 0) {
        error = errno_of(m->store.ops->sync(m->store.store));
    }
    reply_done(req, error);
}

void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
    struct mount *m = mount_of(req);
    /* Nobody waits for this error; the last flush had its chance. */
    (void)close_node(m, node_of(m, ino), fi);
    reply_done(req, 0);
}
