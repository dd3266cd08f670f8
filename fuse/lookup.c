/*
 * lookup.c - from a name in a directory to a node that the kernel may hold.
 * Knows names, directories, nodes; must never know what is done with them.
 *
 * A node is in the table before the store is asked about it: a change that
 * comes in between finds it there and marks it, and the look-up starts again.
 */
#include "lookup.h"

#include "file.h"
#include "status.h"

/* How often a look-up starts again before it answers with what it has, not to
 * be believed for any time. */
#define TRIES 16

tree tree_of(const struct mount *m) {
    return (tree){m->store, m->prefix, m->options.flat};
}

int child_of(struct mount *m, const node *dir, const char *text,
             tree_child *out) {
    key_text key;
    tree t = tree_of(m);
    inodes_copy_key(&m->inodes, dir, &key);
    return tree_child_of(&t, key_slice(&key), toon_str(text), out);
}

bool has_created_below(struct mount *m, toon_slice dir) {
    bool found = false;
    const node *n;
    inodes_lock(&m->inodes);
    LIST_FOREACH(n, &m->inodes.created, created_link) {
        found = found || (n->key_size >= dir.size &&
                          memcmp(n->key, dir.data, dir.size) == 0);
    }
    inodes_unlock(&m->inodes);
    return found;
}

static void fill_entry(struct mount *m, const node *n,
                       struct fuse_entry_param *e, double timeout) {
    e->ino = ino_of(m, n);
    e->generation = n->generation;
    e->entry_timeout = timeout;
    e->attr_timeout = timeout;
}

/* ------------------------------------------------------------- directories */

/* ENOENT: it is gone; `attr` is filled all the same, for who stands in it. */
static int dir_attr(struct mount *m, node *n, toon_slice dir, struct stat *attr,
                    double *timeout) {
    tree t = tree_of(m);
    tree_probe probe = {.found = true};
    int error = 0;
    inodes_lock(&m->inodes);
    n->attr_told = true;
    int64_t changed_ms = n->changed_ms;
    inodes_unlock(&m->inodes);
    if (n == m->root) {
        probe.meta.mode = m->root_mode;
        probe.meta.written_ms = m->root_written_ms;
    } else {
        toon_err err = tree_look(&t, dir, &probe);
        if (err != TOON_OK) {
            return errno_of(err);
        }
        if (!probe.found && !has_created_below(m, dir)) {
            error = ENOENT;
        }
    }
    file_facts facts = {.number = n == m->root ? FUSE_ROOT_ID : n->hash,
                        .meta = probe.meta,
                        .changed_ms = changed_ms,
                        .nameless = error != 0};
    if (facts.meta.written_ms == 0) {
        facts.meta.written_ms = m->started_ms;
    }
    if (changed_ms > facts.meta.written_ms) {
        facts.meta.written_ms = changed_ms;
    }
    attr_of_dir(&m->options, &facts, attr);
    *timeout = timeout_until(probe.expires_ms, now_ms());
    return error;
}

int entry_find_dir(struct mount *m, toon_slice dir,
                   struct fuse_entry_param *e) {
    tree t = tree_of(m);
    tree_probe probe;
    toon_err err = tree_look(&t, dir, &probe);
    if (err != TOON_OK) {
        return errno_of(err);
    }
    if (!probe.found && !has_created_below(m, dir)) {
        return ENOENT;
    }
    node *n = inodes_hold(&m->inodes, NODE_DIR, dir);
    if (n == NULL) {
        return ENOMEM;
    }
    double timeout;
    int error = dir_attr(m, n, dir, &e->attr, &timeout);
    if (error != 0) {
        inodes_put(&m->inodes, n, 1);
        return error;
    }
    fill_entry(m, n, e, timeout);
    return 0;
}

/* ------------------------------------------------------------------- files */

/* The node may not be believed for any time if it was replaced meanwhile. */
static bool is_current(struct mount *m, node *n, unsigned by) {
    inodes_lock(&m->inodes);
    n->names |= by;
    bool current = !n->detached && !n->unlinked;
    inodes_unlock(&m->inodes);
    return current;
}

static void fill_file(struct mount *m, const node *n, const file_facts *facts,
                      struct fuse_entry_param *e) {
    attr_of_file(&m->options, facts, &e->attr);
    fill_entry(m, n, e, timeout_until(facts->meta.expires_ms, now_ms()));
}

/* Takes the reference of `n` over, and may come back with another node. */
static int find_file(struct mount *m, node *n, const tree_child *child,
                     struct fuse_entry_param *e) {
    for (int tries = 1;; tries++) {
        file_facts facts;
        file_lock(m, n);
        int error = file_look_locked(m, n, &facts);
        file_unlock(m, n);
        if (error != 0 && error != ESTALE) {
            inodes_put(&m->inodes, n, 1);
            return error;
        }
        bool current = is_current(m, n, child->by);
        if (error == 0 && current) {
            fill_file(m, n, &facts, e);
            return 0;
        }
        if (error == 0 && tries >= TRIES) {
            fill_file(m, n, &facts, e);
            e->entry_timeout = 0;
            e->attr_timeout = 0;
            return 0;
        }
        inodes_detach(&m->inodes, n);
        inodes_put(&m->inodes, n, 1);
        n = inodes_hold(&m->inodes, NODE_KEY, key_slice(&child->file));
        if (n == NULL) {
            return ENOMEM;
        }
    }
}

int entry_find(struct mount *m, const tree_child *child,
               struct fuse_entry_param *e) {
    node *file = NULL;
    memset(e, 0, sizeof(*e));
    if (child->has_file) {
        file = inodes_hold(&m->inodes, NODE_KEY, key_slice(&child->file));
        if (file == NULL) {
            return ENOMEM;
        }
    }
    int error = ENOENT;
    if (child->has_dir) {
        error = entry_find_dir(m, key_slice(&child->dir), e);
    }
    if (file == NULL) {
        return error;
    }
    if (error == ENOENT) {
        return find_file(m, file, child, e);
    }
    inodes_put(&m->inodes, file, 1);
    return error;
}

int entry_of_new_file(struct mount *m, node *n, unsigned by,
                      struct fuse_entry_param *e) {
    file_facts facts;
    memset(e, 0, sizeof(*e));
    file_lock(m, n);
    int error = file_look_locked(m, n, &facts);
    file_unlock(m, n);
    if (error == 0) {
        (void)is_current(m, n, by);
        fill_file(m, n, &facts, e);
    }
    return error;
}

/* ------------------------------------------------------------------- rest */

void entry_drop(struct mount *m, const struct fuse_entry_param *e) {
    inodes_put(&m->inodes, node_of(m, e->ino), 1);
}

void reply_entry(fuse_req_t req, const struct fuse_entry_param *e) {
    struct mount *m = mount_of(req);
    if (fuse_reply_entry(req, e) != 0) {
        entry_drop(m, e);
    }
}

static int file_attr(struct mount *m, node *n, struct stat *attr,
                     double *timeout) {
    file_facts facts;
    file_lock(m, n);
    int error = file_look_locked(m, n, &facts);
    file_unlock(m, n);
    if (error != 0 && error != ESTALE) {
        return error;
    }
    attr_of_file(&m->options, &facts, attr);
    *timeout = error == 0 ? timeout_until(facts.meta.expires_ms, now_ms()) : 0;
    return 0;
}

int node_attr(struct mount *m, node *n, struct stat *attr, double *timeout) {
    if (n->kind == NODE_KEY) {
        return file_attr(m, n, attr, timeout);
    }
    if (n->kind == NODE_STATUS) {
        status_attr(m, n, attr, timeout);
        return 0;
    }
    key_text dir;
    inodes_copy_key(&m->inodes, n, &dir);
    int error = dir_attr(m, n, key_slice(&dir), attr, timeout);
    if (error == ENOENT) {
        *timeout = 0;
        error = 0;
    }
    return error;
}
