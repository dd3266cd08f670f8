/*
 * invalidate.c - what the kernel must forget. Knows nodes and the kernel's
 * notices; must never know values.
 *
 * How a notice and a reply that is under way are kept in order:
 *   - A reply about a name holds its directory's lock in the kernel, and so
 *     does a notice about the name: it comes after the reply.
 *   - A reply about an inode that was asked for before a notice came is
 *     dropped by the kernel. Where the inode is not there yet, a notice about
 *     its name waits for the reply that brings it, and a second try finds it.
 */
#include "invalidate.h"

#include "fs.h"
#include "lookup.h"

#include <stdlib.h>
#include <unistd.h>

/* What is queued beyond that is told as "everything". */
#define QUEUE_MAX ((size_t)65536)
#define RETRY_US  10000

/* ------------------------------------------------------------------- queue */

bool notices_init(notices *q) {
    *q = (notices){.last = &q->first};
    return pthread_mutex_init(&q->lock, NULL) == 0 &&
           pthread_cond_init(&q->wake, NULL) == 0;
}

void notices_free(notices *q) {
    pthread_cond_destroy(&q->wake);
    pthread_mutex_destroy(&q->lock);
}

static notice *notice_new(unsigned tell, const node *n, toon_slice key) {
    notice *new = malloc(sizeof(*new) + key.size);
    if (new != NULL) {
        *new = (notice){.tell = tell, .node = n, .key_size = key.size};
        new->is_dir = n != NULL && n->kind == NODE_DIR;
        new->names = n != NULL ? n->names : 0;
        if (key.size > 0) {
            memcpy(new->key, key.data, key.size);
        }
    }
    return new;
}

/* NULL: there was no memory, and everything must be told. */
static void push(notices *q, notice *new) {
    pthread_mutex_lock(&q->lock);
    if (q->stop) { /* nobody is left to tell it */
        pthread_mutex_unlock(&q->lock);
        free(new);
        return;
    }
    if (q->length >= QUEUE_MAX) {
        free(new);
        new = NULL;
    }
    if (new == NULL) {
        q->all = true;
    } else {
        *q->last = new;
        q->last = &new->next;
        q->length++;
    }
    atomic_fetch_add(&q->queued, 1);
    pthread_cond_signal(&q->wake);
    pthread_mutex_unlock(&q->lock);
}

static void push_inode(struct mount *m, const node *n, unsigned tell,
                       int64_t offset) {
    inodes_lock(&m->inodes);
    notice *new = notice_new(tell, n, node_key_locked(n));
    inodes_unlock(&m->inodes);
    if (new != NULL) {
        new->offset = offset;
    }
    push(&m->notices, new);
}

void notices_push_pages(struct mount *m, const node *n, int64_t offset) {
    push_inode(m, n, TELL_PAGES, offset);
}

void notices_push_attr(struct mount *m, const node *n) {
    push_inode(m, n, TELL_ATTR, -1);
}

static void replace_locked(struct mount *m, node *n) {
    n->detached = true;
    inodes_set_created_locked(&m->inodes, n, false);
    if (n->names != 0) {
        push(&m->notices, notice_new(TELL_NAME, n, node_key_locked(n)));
    }
}

void notices_replace(struct mount *m, node *n) {
    inodes_lock(&m->inodes);
    if (!n->detached && !n->unlinked) {
        replace_locked(m, n);
    }
    inodes_unlock(&m->inodes);
}

/* ----------------------------------------------------- changes of the store */

/* A change that the mount made itself: the kernel knows, but what the node
 * stands for has a new version, or one that is not known. */
static void note_own_locked(node *n, const toon_change *change) {
    bool content_is_known =
        change->kind == TOON_CHANGE_META || change->origin == n;
    n->version = content_is_known ? change->version : 0;
    n->renamed_version = content_is_known ? 0 : change->version;
}

static void tell_file_locked(struct mount *m, node *n,
                             const toon_change *change) {
    bool grew = change->kind == TOON_CHANGE_APPEND && change->existed;
    if (!grew && change->kind != TOON_CHANGE_META) {
        bool seen = change->version != 0 && n->version == change->version;
        if (!seen) {
            replace_locked(m, n);
        } else {
            /* A look-up was faster, but its reply may still be under way. */
            push(&m->notices, notice_new(TELL_NAME, n, change->key));
        }
        return;
    }
    n->version = change->version;
    n->appends += grew;
    if (n->names != 0) {
        /* An expiry bounds how long the name may be believed. */
        unsigned tell = grew ? TELL_ATTR : TELL_ATTR | TELL_NAME;
        push(&m->notices, notice_new(tell, n, change->key));
    }
}

/* Is a directory above the key known, whose listing or existence may change?
 * Files above it that are directories now are told at once. */
static bool tell_above_locked(struct mount *m, const toon_change *change,
                              bool gone) {
    bool concerned = m->root->attr_told;
    for (size_t i = m->prefix.size; i < change->key.size && !m->options.flat;
         i++) {
        if (change->key.data[i] != '/') {
            continue;
        }
        node *dir = inodes_find_locked(&m->inodes, NODE_DIR,
                                       toon_bytes(change->key.data, i + 1));
        concerned = concerned || (dir != NULL && (gone || dir->attr_told));
        node *file = inodes_find_locked(&m->inodes, NODE_KEY,
                                        toon_bytes(change->key.data, i));
        if (!gone && file != NULL && (file->names & NODE_BY_NAME) != 0) {
            push(&m->notices,
                 notice_new(TELL_NAME, file, node_key_locked(file)));
        }
    }
    return concerned;
}

static void tell_change_locked(struct mount *m, const toon_change *change) {
    node *n = inodes_find_locked(&m->inodes, NODE_KEY, change->key);
    if (change->origin == m || (n != NULL && change->origin == n)) {
        if (n != NULL) {
            note_own_locked(n, change);
        }
        return;
    }
    if (n != NULL) {
        tell_file_locked(m, n, change);
    }
    node *dir = inodes_find_locked(&m->inodes, NODE_DIR, change->key);
    if (dir != NULL && dir->attr_told) {
        push(&m->notices, notice_new(TELL_ATTR, dir, change->key));
    }
    bool gone = change->kind == TOON_CHANGE_DELETE ||
                change->kind == TOON_CHANGE_EXPIRE;
    bool came = !change->existed && !gone;
    if ((gone || came) && tell_above_locked(m, change, gone)) {
        push(&m->notices,
             notice_new(gone ? TELL_GONE : TELL_CAME, NULL, change->key));
    }
}

static void detach_file(void *arg, node *n) {
    (void)arg;
    n->detached = n->detached || (n->kind == NODE_KEY && !n->created);
}

void notices_on_change(void *arg, const toon_change *change) {
    struct mount *m = arg;
    bool below =
        change->key.size >= m->prefix.size &&
        (m->prefix.size == 0 ||
         memcmp(change->key.data, m->prefix.data, m->prefix.size) == 0);
    bool clear = change->kind == TOON_CHANGE_CLEAR;
    uint64_t base =
        clear ? m->store.ops->version_base(m->store.store) : change->version;
    inodes_lock(&m->inodes);
    if (clear) {
        inodes_each_locked(&m->inodes, detach_file, NULL);
        versions_moved_locked(m, base);
        push(&m->notices, NULL);
    } else if (change->kind == TOON_CHANGE_MOVED) {
        versions_moved_locked(m, change->version);
    } else if (below) {
        tell_change_locked(m, change);
    }
    inodes_unlock(&m->inodes);
}

/* ------------------------------------------------------- telling the kernel */

/* The kernel's number of a directory; false: it does not know it. */
static bool dir_ino(struct mount *m, toon_slice key, fuse_ino_t *ino) {
    inodes_lock(&m->inodes);
    const node *dir = inodes_find_locked(&m->inodes, NODE_DIR, key);
    if (dir != NULL) {
        *ino = ino_of(m, dir);
    }
    inodes_unlock(&m->inodes);
    return dir != NULL;
}

static void tell_entry(struct mount *m, toon_slice dir, const char *text,
                       size_t size) {
    fuse_ino_t ino;
    if (dir_ino(m, dir, &ino)) {
        /* It fails where the kernel does not know the name. */
        (void)fuse_lowlevel_notify_inval_entry(m->session, ino, text, size);
    }
}

static void tell_file_name(struct mount *m, toon_slice key, unsigned names) {
    tree t = tree_of(m);
    toon_slice dir = tree_parent(&t, key);
    name_text text;
    if ((names & NODE_BY_NAME) != 0 &&
        name_encode(toon_bytes(key.data + dir.size, key.size - dir.size), true,
                    t.flat, &text)) {
        tell_entry(m, dir, text.data, text.size);
    }
    if ((names & NODE_BY_VALUE) != 0) {
        key_text own = {.size = key.size + 1};
        memcpy(own.data, key.data, key.size);
        own.data[key.size] = '/';
        toon_slice value = name_of_value();
        tell_entry(m, key_slice(&own), value.data, value.size);
    }
}

/* The directory that a directory (not the root) is in. */
static toon_slice dir_above(const tree *t, toon_slice dir) {
    return tree_parent(t, toon_bytes(dir.data, dir.size - 1));
}

static void tell_dir_name(struct mount *m, toon_slice dir) {
    tree t = tree_of(m);
    toon_slice above = dir_above(&t, dir);
    name_text text;
    if (name_encode(
            toon_bytes(dir.data + above.size, dir.size - above.size - 1), false,
            false, &text)) {
        tell_entry(m, above, text.data, text.size);
    }
}

static void tell_dir_attr(struct mount *m, toon_slice dir) {
    inodes_lock(&m->inodes);
    node *n = inodes_find_locked(&m->inodes, NODE_DIR, dir);
    bool told = n != NULL && n->attr_told;
    fuse_ino_t ino = n != NULL ? ino_of(m, n) : 0;
    if (n != NULL) {
        n->changed_ms = now_ms();
        n->attr_told = false;
    }
    inodes_unlock(&m->inodes);
    if (told &&
        fuse_lowlevel_notify_inval_inode(m->session, ino, -1, 0) == -ENOENT &&
        dir.size > m->prefix.size) {
        tell_dir_name(m, dir);
        (void)fuse_lowlevel_notify_inval_inode(m->session, ino, -1, 0);
    }
}

/* A key came: the directory that it is in has changed, and those above it
 * where there was no such directory before. */
static void tell_came(struct mount *m, toon_slice key) {
    tree t = tree_of(m);
    toon_slice dir = tree_parent(&t, key);
    for (bool is_new = true; is_new;) {
        tell_dir_attr(m, dir);
        if (dir.size <= m->prefix.size) {
            return;
        }
        toon_err err = tree_has_one(&t, dir, &is_new);
        is_new = is_new || err != TOON_OK;
        dir = dir_above(&t, dir);
    }
}

static void tell_gone(struct mount *m, toon_slice key) {
    tree t = tree_of(m);
    toon_slice dir = tree_parent(&t, key);
    for (bool there = false; !there;) {
        tell_dir_attr(m, dir);
        if (dir.size <= m->prefix.size) {
            return;
        }
        tree_probe probe;
        there = tree_look(&t, dir, &probe) == TOON_OK && probe.found;
        if (!there) {
            tell_dir_name(m, dir);
            dir = dir_above(&t, dir);
        }
    }
}

static void tell_inode(struct mount *m, const notice *what, toon_slice key) {
    fuse_ino_t ino = (fuse_ino_t)what->node;
    bool pages = (what->tell & TELL_PAGES) != 0;
    int64_t offset = pages ? what->offset : -1;
    if (fuse_lowlevel_notify_inval_inode(m->session, ino, offset, 0) ==
        -ENOENT) {
        tell_file_name(m, key, what->names);
        (void)fuse_lowlevel_notify_inval_inode(m->session, ino, offset, 0);
    }
}

static void tell(struct mount *m, const notice *what) {
    toon_slice key = toon_bytes(what->key, what->key_size);
    if ((what->tell & TELL_ATTR) != 0 && what->is_dir) {
        tell_dir_attr(m, key);
    } else if ((what->tell & (TELL_ATTR | TELL_PAGES)) != 0) {
        tell_inode(m, what, key);
    }
    if ((what->tell & TELL_NAME) != 0) {
        tell_file_name(m, key, what->names);
    }
    if ((what->tell & TELL_CAME) != 0) {
        tell_came(m, key);
    }
    if ((what->tell & TELL_GONE) != 0) {
        tell_gone(m, key);
    }
}

struct everything {
    notice *first;
    const node *root;
    bool missed; /* there was no memory for some */
};

static void list_node(void *arg, node *n) {
    struct everything *list = arg;
    bool is_file = n->kind == NODE_KEY && n->names != 0;
    bool is_dir = n->kind == NODE_DIR && n != list->root;
    if (!is_file && !is_dir) {
        return;
    }
    notice *new = notice_new(is_file ? TELL_NAME | TELL_ATTR : TELL_GONE, n,
                             node_key_locked(n));
    if (new == NULL) {
        list->missed = true;
        return;
    }
    new->next = list->first;
    list->first = new;
}

static bool is_stopping(notices *q) {
    pthread_mutex_lock(&q->lock);
    bool stop = q->stop;
    pthread_mutex_unlock(&q->lock);
    return stop;
}

/* What the kernel is not told it would believe for a day: where there is no
 * memory to list it all, the list is made again. */
static void tell_all(struct mount *m) {
    struct everything list;
    do {
        list = (struct everything){.root = m->root};
        inodes_lock(&m->inodes);
        inodes_each_locked(&m->inodes, list_node, &list);
        inodes_unlock(&m->inodes);
        while (list.first != NULL) {
            notice *what = list.first;
            list.first = what->next;
            tell(m, what);
            free(what);
        }
    } while (list.missed && !is_stopping(&m->notices) && usleep(RETRY_US) == 0);
    tell_dir_attr(m, m->prefix);
}

/* -------------------------------------------------------------- the thread */

/* Waits for work. False: there is none and there will be none. */
static bool take(notices *q, notice **first, bool *all, uint64_t *upto) {
    pthread_mutex_lock(&q->lock);
    while (q->first == NULL && !q->all && !q->stop) {
        pthread_cond_wait(&q->wake, &q->lock);
    }
    *first = q->first;
    *all = q->all;
    *upto = atomic_load(&q->queued);
    q->first = NULL;
    q->last = &q->first;
    q->length = 0;
    q->all = false;
    pthread_mutex_unlock(&q->lock);
    return *first != NULL || *all;
}

static void tell_upto(notices *q, uint64_t ticket) {
    atomic_store(&q->told, ticket);
    if (q->on_told != NULL) {
        q->on_told(q->on_told_arg);
    }
}

static void *serve_notices(void *arg) {
    struct mount *m = arg;
    notice *first;
    bool all;
    uint64_t upto;
    while (take(&m->notices, &first, &all, &upto)) {
        while (first != NULL) {
            notice *what = first;
            first = what->next;
            tell(m, what);
            free(what);
        }
        if (all) {
            tell_all(m);
        }
        tell_upto(&m->notices, upto);
    }
    return NULL;
}

bool notices_start(struct mount *m) {
    notices *q = &m->notices;
    if (pthread_create(&q->thread, NULL, serve_notices, m) != 0) {
        return false;
    }
    q->running = true;
    toon_err err =
        m->store.ops->watch(m->store.store, notices_on_change, m, &m->watch);
    versions_start(m);
    return err == TOON_OK;
}

void notices_stop(struct mount *m) {
    notices *q = &m->notices;
    if (m->watch != 0) {
        m->store.ops->unwatch(m->store.store, m->watch);
    }
    pthread_mutex_lock(&q->lock);
    q->stop = true;
    pthread_cond_signal(&q->wake);
    pthread_mutex_unlock(&q->lock);
    if (q->running) {
        pthread_join(q->thread, NULL);
        q->running = false;
    }
    tell_upto(q, atomic_load(&q->queued));
}
