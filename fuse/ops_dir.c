/*
 * ops_dir.c - callbacks about listings. Knows requests and pieces of a
 * listing; must never know how the store orders keys.
 *
 * A cookie counts the entries up to and with its own. Two are `.` and `..`.
 */
#include "list.h"
#include "ops.h"
#include "status.h"

#include <stdlib.h>

#define DOTS ((uint64_t)2)

/* Where a piece starts that was read before, for seekdir(3). */
struct mark {
    uint64_t first;
    bool value_listed;
    size_t size;
    char *from;
};

typedef struct listing {
    handle handle; /* first */
    key_text dir;
    list_piece piece;
    uint64_t first; /* entries before the piece's */
    bool loaded;
    struct mark *marks;
    size_t mark_count, mark_capacity;
} listing;

static listing *listing_of(const struct fuse_file_info *fi) {
    return (listing *)(uintptr_t)fi->fh;
}

static void drop_marks(listing *l) {
    for (size_t i = 0; i < l->mark_count; i++) {
        free(l->marks[i].from);
    }
    l->mark_count = 0;
}

static void listing_free(handle *self) {
    listing *l = (listing *)self;
    drop_marks(l);
    free(l->marks);
    list_piece_free(&l->piece);
    free(l);
}

void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
    struct mount *m = mount_of(req);
    listing *l = calloc(1, sizeof(*l));
    if (l == NULL) {
        reply_done(req, ENOMEM);
        return;
    }
    inodes_copy_key(&m->inodes, node_of(m, ino), &l->dir);
    handle_add(&m->handles, &l->handle, listing_free);
    fi->fh = (uintptr_t)l;
    if (fuse_reply_open(req, fi) != 0) {
        handle_free(&m->handles, &l->handle);
    }
}

void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi) {
    (void)ino;
    handle_free(&mount_of(req)->handles, &listing_of(fi)->handle);
    reply_done(req, 0);
}

void op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int data_only,
                 struct fuse_file_info *fi) {
    struct mount *m = mount_of(req);
    (void)ino;
    (void)data_only;
    (void)fi;
    reply_done(req, errno_of(m->store.ops->sync(m->store.store)));
}

/* ----------------------------------------------------- files not committed */

static int compare_keys(const void *a, const void *b) {
    const toon_slice *x = a;
    const toon_slice *y = b;
    size_t common = x->size < y->size ? x->size : y->size;
    int order = common == 0 ? 0 : memcmp(x->data, y->data, common);
    return order != 0 ? order : (x->size > y->size) - (x->size < y->size);
}

/* In this directory itself, or the value that is its `%3D`. */
static bool is_in(const struct mount *m, toon_slice dir, toon_slice key) {
    if (key.size + 1 == dir.size && memcmp(key.data, dir.data, key.size) == 0) {
        return true;
    }
    return key.size >= dir.size && memcmp(key.data, dir.data, dir.size) == 0 &&
           (m->options.flat || key.size == dir.size ||
            memchr(key.data + dir.size, '/', key.size - dir.size) == NULL);
}

static void free_created(list_created *created, toon_slice *keys) {
    for (size_t i = 0; i < created->count; i++) {
        free((void *)(uintptr_t)keys[i].data);
    }
    free(keys);
}

/* Copies of their keys, sorted. False: no memory for one. */
static bool copy_created(struct mount *m, toon_slice dir, list_created *out,
                         toon_slice **owned) {
    toon_slice *keys = NULL;
    size_t count = 0;
    bool copied = true;
    const node *n;
    inodes_lock(&m->inodes);
    LIST_FOREACH(n, &m->inodes.created, created_link) {
        toon_slice key = node_key_locked(n);
        if (!is_in(m, dir, key)) {
            continue;
        }
        toon_slice *more = realloc(keys, (count + 1) * sizeof(*keys));
        keys = more != NULL ? more : keys;
        char *copy = more != NULL ? malloc(key.size + 1) : NULL;
        copied = copied && copy != NULL;
        if (copy != NULL) {
            memcpy(copy, key.data, key.size);
            keys[count++] = toon_bytes(copy, key.size);
        }
    }
    inodes_unlock(&m->inodes);
    if (count > 1) {
        qsort(keys, count, sizeof(*keys), compare_keys);
    }
    *out = (list_created){keys, count};
    *owned = keys;
    return copied;
}

/* ------------------------------------------------------------------ pieces */

/* Without memory a later seek into this piece reads from an earlier one. */
static void add_mark(listing *l, const list_place *place) {
    if (l->mark_count > 0 && l->marks[l->mark_count - 1].first >= l->first) {
        return;
    }
    if (l->mark_count == l->mark_capacity) {
        size_t capacity = l->mark_capacity * 2 + 16;
        struct mark *marks = realloc(l->marks, capacity * sizeof(*marks));
        if (marks == NULL) {
            return;
        }
        l->marks = marks;
        l->mark_capacity = capacity;
    }
    char *from = malloc(place->from.size + 1);
    if (from != NULL) {
        memcpy(from, place->from.data, place->from.size);
        l->marks[l->mark_count++] = (struct mark){l->first, place->value_listed,
                                                  place->from.size, from};
    }
}

static int read_piece(struct mount *m, listing *l, const list_place *place) {
    tree t = tree_of(m);
    list_created created;
    toon_slice *keys;
    toon_err err = TOON_NO_MEMORY;
    if (copy_created(m, key_slice(&l->dir), &created, &keys)) {
        err = list_read(&t, key_slice(&l->dir), place, &created, &l->piece);
    }
    free_created(&created, keys);
    l->loaded = err == TOON_OK;
    if (l->loaded) {
        add_mark(l, place);
    }
    return errno_of(err);
}

/* The latest place that was marked at or before entry `index`. */
static void start_before(struct mount *m, listing *l, uint64_t index,
                         list_place *place) {
    tree t = tree_of(m);
    list_start(&t, key_slice(&l->dir), place);
    l->first = 0;
    if (index == 0) {
        drop_marks(l); /* what is counted from here on may be others */
    }
    for (size_t i = l->mark_count; i > 0; i--) {
        const struct mark *mark = &l->marks[i - 1];
        if (mark->first <= index) {
            l->first = mark->first;
            place->value_listed = mark->value_listed;
            place->from.size = mark->size;
            memcpy(place->from.data, mark->from, mark->size);
            return;
        }
    }
}

/* Reads until entry `index` is in the piece. *end: there are not so many. */
static int seek_entry(struct mount *m, listing *l, uint64_t index, bool *end) {
    list_place place;
    *end = false;
    if (!l->loaded || index < l->first || index == 0) {
        start_before(m, l, index, &place);
        int error = read_piece(m, l, &place);
        if (error != 0) {
            return error;
        }
    }
    while (index >= l->first + l->piece.count) {
        if (l->piece.last) {
            *end = true;
            return 0;
        }
        l->first += l->piece.count;
        place = l->piece.next;
        int error = read_piece(m, l, &place);
        if (error != 0) {
            return error;
        }
    }
    return 0;
}

/* ----------------------------------------------------------------- replies */

/* A reply that is being filled. */
struct filling {
    fuse_req_t req;
    struct mount *m;
    bool plus;
    char *data;
    size_t used, size;
};

/* False: there is no room for it. */
static bool put(struct filling *f, const char *text,
                const struct fuse_entry_param *e, uint64_t cookie) {
    size_t left = f->size - f->used;
    size_t size = f->plus ? fuse_add_direntry_plus(f->req, f->data + f->used,
                                                   left, text, e, (off_t)cookie)
                          : fuse_add_direntry(f->req, f->data + f->used, left,
                                              text, &e->attr, (off_t)cookie);
    if (size > left) {
        return false;
    }
    f->used += size;
    return true;
}

static bool put_plain(struct filling *f, const char *text, uint64_t number,
                      mode_t type, uint64_t cookie) {
    struct fuse_entry_param e = {
        .attr = {.st_ino = (ino_t)number, .st_mode = type}};
    return put(f, text, &e, cookie);
}

static mode_t type_of(const list_entry *entry) {
    return entry->kind == LIST_DIR ? S_IFDIR
           : S_ISLNK(entry->mode)  ? S_IFLNK
                                   : S_IFREG;
}

static uint64_t number_of(const tree_child *child) {
    return child->has_dir ? inode_number(NODE_DIR, key_slice(&child->dir))
                          : inode_number(NODE_KEY, key_slice(&child->file));
}

/* With its attributes, and one more look-up that the kernel holds. */
static bool put_found(struct filling *f, const tree_child *child,
                      const list_entry *entry, const char *text,
                      uint64_t cookie) {
    struct fuse_entry_param e;
    int error = child->has_file && !child->has_dir
                    ? entry_find(f->m, child, &e)
                    : entry_find_dir(f->m, key_slice(&child->dir), &e);
    if (error == ENOENT) {
        return true; /* it has gone since */
    }
    if (error != 0) { /* who asks for more than its name is told why */
        return put_plain(f, text, number_of(child), type_of(entry), cookie);
    }
    bool fits = put(f, text, &e, cookie);
    if (!fits) {
        entry_drop(f->m, &e);
    }
    return fits;
}

static bool put_entry(struct filling *f, const listing *l, size_t index,
                      uint64_t cookie) {
    tree t = tree_of(f->m);
    toon_slice dir = key_slice(&l->dir);
    const list_entry *entry = &l->piece.entries[index];
    name_text text;
    tree_child child;
    if (!list_name(&t, &l->piece, index, &text) ||
        !list_child(&t, dir, &l->piece, index, &child)) {
        return true; /* it cannot be shown */
    }
    char terminated[NAME_SIZE_MAX + 1];
    memcpy(terminated, text.data, text.size);
    terminated[text.size] = '\0';
    bool is_dir = entry->kind == LIST_DIR;
    child.has_dir = is_dir;
    child.has_file = !is_dir;
    if (f->plus) {
        return put_found(f, &child, entry, terminated, cookie);
    }
    return put_plain(f, terminated, number_of(&child), type_of(entry), cookie);
}

static int fill_keys(struct filling *f, listing *l, uint64_t offset) {
    for (uint64_t index = offset - DOTS;; index++) {
        bool end;
        int error = seek_entry(f->m, l, index, &end);
        if (error != 0) {
            return f->used > 0 ? 0 : error;
        }
        if (end ||
            !put_entry(f, l, (size_t)(index - l->first), index + DOTS + 1)) {
            return 0;
        }
    }
}

static void fill_status(struct filling *f, uint64_t offset) {
    for (uint64_t index = offset - DOTS; status_name(index) != NULL; index++) {
        if (!put_plain(f, status_name(index), 0xffffffff, S_IFREG,
                       index + DOTS + 1)) {
            return;
        }
    }
}

static int fill(struct filling *f, const node *n, listing *l, uint64_t offset) {
    static const char *const dots[] = {".", ".."};
    for (; offset < DOTS; offset++) {
        if (!put_plain(f, dots[offset], FUSE_ROOT_ID, S_IFDIR, offset + 1)) {
            return 0;
        }
    }
    if (n->kind == NODE_STATUS) {
        fill_status(f, offset);
        return 0;
    }
    return fill_keys(f, l, offset);
}

static void list(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                 listing *l, bool plus) {
    struct mount *m = mount_of(req);
    struct filling f = {
        .req = req, .m = m, .plus = plus, .data = malloc(size), .size = size};
    int error = f.data == NULL ? ENOMEM
                               : fill(&f, node_of(m, ino), l, (uint64_t)offset);
    if (error != 0) {
        reply_done(req, error);
    } else {
        (void)fuse_reply_buf(req, f.data, f.used);
    }
    free(f.data);
}

void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                struct fuse_file_info *fi) {
    list(req, ino, size, offset, listing_of(fi), false);
}

void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset,
                    struct fuse_file_info *fi) {
    list(req, ino, size, offset, listing_of(fi), true);
}
