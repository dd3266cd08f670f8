/*
 * ops_xattr.c - callbacks about extended attributes: a key's expiry, and what
 * else a file has no other place for. Only with `-o xattr`.
 *
 * Knows attributes as texts; must never know how content is kept.
 */
#include "file.h"
#include "ops.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/xattr.h>

enum { TEXT_MAX = 32 };

#define EXPIRES_MAX_MS INT64_C(9007199254740991) /* what every client can say */

/* ------------------------------------------------------------- what there is */

/* The text of an attribute; false: the key has none now. */
typedef bool show_fn(const toon_meta *meta, char text[TEXT_MAX]);

/* Fills in when the key expires. False: the text says no such time. */
typedef bool read_fn(const char *text, int64_t *expires_ms);

static bool show_ttl(const toon_meta *meta, char text[TEXT_MAX]) {
    int64_t left = meta->expires_ms - now_ms();
    if (meta->expires_ms == 0) {
        return false;
    }
    left = left > 0 ? left : 0;
    (void)snprintf(text, TEXT_MAX, "%" PRId64 ".%03d", left / 1000,
                   (int)(left % 1000));
    return true;
}

static bool show_expires(const toon_meta *meta, char text[TEXT_MAX]) {
    (void)snprintf(text, TEXT_MAX, "%" PRId64, meta->expires_ms);
    return meta->expires_ms != 0;
}

static bool show_type(const toon_meta *meta, char text[TEXT_MAX]) {
    (void)meta;
    (void)snprintf(text, TEXT_MAX, "string");
    return true;
}

static bool show_version(const toon_meta *meta, char text[TEXT_MAX]) {
    (void)snprintf(text, TEXT_MAX, "%" PRIu64, meta->version);
    return true;
}

static bool read_ttl(const char *text, int64_t *expires_ms) {
    char *end;
    double seconds = strtod(text, &end);
    bool fits = seconds > 0 && seconds < (double)EXPIRES_MAX_MS / 1000 / 2;
    if (end == text || *end != '\0' || !fits) {
        return false;
    }
    *expires_ms = now_ms() + (int64_t)(seconds * 1000 + 0.5);
    return true;
}

static bool read_expires(const char *text, int64_t *expires_ms) {
    char *end;
    errno = 0;
    *expires_ms = strtoll(text, &end, 10);
    return end != text && *end == '\0' && errno == 0 &&
           *expires_ms > now_ms() && *expires_ms <= EXPIRES_MAX_MS;
}

static const struct attribute {
    const char *name;
    show_fn *show;
    read_fn *read; /* NULL: nobody may set it */
} attributes[] = {
    {"user.toon.ttl", show_ttl, read_ttl},
    {"user.toon.expires", show_expires, read_expires},
    {"user.toon.type", show_type, NULL},
    {"user.toon.version", show_version, NULL},
};

#define ATTRIBUTES (sizeof(attributes) / sizeof(attributes[0]))

/* ------------------------------------------------------------------ finding */

/* ENOSYS tells the kernel not to ask again. */
static int find(const struct mount *m, const node *n, const char *name,
                const struct attribute **out) {
    if (!m->options.xattr) {
        return ENOSYS;
    }
    for (size_t i = 0; i < ATTRIBUTES && n->kind == NODE_KEY; i++) {
        if (strcmp(attributes[i].name, name) == 0) {
            *out = &attributes[i];
            return 0;
        }
    }
    return ENOTSUP;
}

/* Of the value that the store has; a file that is not committed has none. */
static int look(struct mount *m, const node *n, key_text *key,
                toon_meta *meta) {
    toon_key_stat stat;
    inodes_copy_key(&m->inodes, n, key);
    inodes_lock(&m->inodes);
    bool there = !n->detached && !n->unlinked && !n->created;
    inodes_unlock(&m->inodes);
    toon_err err =
        there ? m->store.ops->stat(m->store.store, key_slice(key), &stat)
              : TOON_NOT_FOUND;
    if (err == TOON_OK) {
        *meta = stat.meta;
    }
    return err == TOON_NOT_FOUND ? ENODATA : errno_of(err);
}

/* A size of 0 asks how much it would be. */
static void reply_text(fuse_req_t req, const char *text, size_t length,
                       size_t size) {
    if (size == 0) {
        (void)fuse_reply_xattr(req, length);
    } else if (size < length) {
        reply_done(req, ERANGE);
    } else {
        (void)fuse_reply_buf(req, text, length);
    }
}

/* ---------------------------------------------------------------- operations */

void op_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name,
                 size_t size) {
    struct mount *m = mount_of(req);
    const node *n = node_of(m, ino);
    const struct attribute *attribute;
    key_text key;
    toon_meta meta;
    char text[TEXT_MAX];
    int error = find(m, n, name, &attribute);
    if (error == 0) {
        error = look(m, n, &key, &meta);
    }
    if (error == 0 && !attribute->show(&meta, text)) {
        error = ENODATA;
    }
    if (error != 0) {
        reply_done(req, error);
        return;
    }
    reply_text(req, text, strlen(text), size);
}

void op_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size) {
    struct mount *m = mount_of(req);
    const node *n = node_of(m, ino);
    key_text key;
    toon_meta meta;
    char names[ATTRIBUTES * TEXT_MAX], text[TEXT_MAX];
    size_t length = 0;
    if (!m->options.xattr) {
        reply_done(req, ENOSYS);
        return;
    }
    int error = n->kind == NODE_KEY ? look(m, n, &key, &meta) : ENODATA;
    for (size_t i = 0; i < ATTRIBUTES && error == 0; i++) {
        if (attributes[i].show(&meta, text)) {
            size_t name_size = strlen(attributes[i].name) + 1;
            memcpy(names + length, attributes[i].name, name_size);
            length += name_size;
        }
    }
    if (error != 0 && error != ENODATA) {
        reply_done(req, error);
        return;
    }
    reply_text(req, names, length, size);
}

/* As if from outside: what the kernel believes of the file is bounded by its
 * expiry, so that it has to ask again. */
static int set_expiry(struct mount *m, const key_text *key,
                      int64_t expires_ms) {
    toon_meta meta = {.expires_ms = expires_ms};
    toon_thread_origin(NULL);
    toon_err err = m->store.ops->set_meta(m->store.store, key_slice(key),
                                          TOON_META_EXPIRES, &meta);
    origin_mount(m);
    return errno_of(err);
}

/* What was written so far is what gets the attribute. */
static int commit(struct mount *m, node *n) {
    file_lock(m, n);
    int error = file_commit_locked(m, n);
    file_unlock(m, n);
    return error;
}

static int set_attribute(struct mount *m, node *n,
                         const struct attribute *attribute, toon_slice value,
                         int flags) {
    key_text key;
    toon_meta meta;
    char text[TEXT_MAX], now[TEXT_MAX];
    int64_t expires_ms = 0;
    if (attribute->read == NULL) {
        return EPERM;
    }
    int error = commit(m, n);
    if (error == 0) {
        error = look(m, n, &key, &meta);
    }
    if (error != 0) {
        return error;
    }
    bool has = attribute->show(&meta, now);
    if (has && (flags & XATTR_CREATE) != 0) {
        return EEXIST;
    }
    if (!has && (flags & XATTR_REPLACE) != 0) {
        return ENODATA;
    }
    if (value.size >= sizeof(text) ||
        memchr(value.data, '\0', value.size) != NULL) {
        return EINVAL;
    }
    memcpy(text, value.data, value.size);
    text[value.size] = '\0';
    return attribute->read(text, &expires_ms) ? set_expiry(m, &key, expires_ms)
                                              : EINVAL;
}

void op_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name,
                 const char *value, size_t size, int flags) {
    struct mount *m = mount_of(req);
    node *n = node_of(m, ino);
    const struct attribute *attribute;
    int error = find(m, n, name, &attribute);
    if (error == 0) {
        error = set_attribute(m, n, attribute, toon_bytes(value, size), flags);
    }
    reply_done(req, error);
}

void op_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name) {
    struct mount *m = mount_of(req);
    const node *n = node_of(m, ino);
    const struct attribute *attribute;
    key_text key;
    toon_meta meta;
    int error = find(m, n, name, &attribute);
    if (error == 0 && attribute->read == NULL) {
        error = EPERM;
    }
    if (error == 0) {
        error = look(m, n, &key, &meta);
    }
    if (error == 0) {
        error = meta.expires_ms != 0 ? set_expiry(m, &key, 0) : ENODATA;
    }
    reply_done(req, error);
}
