/*
 * invalidate.h - what the kernel must forget: a queue of notices and the one
 * thread that tells them. Knows nodes and the kernel's notices. Must never
 * know values.
 *
 * A notice may wait behind an operation that the kernel has pending, so no
 * thread that answers operations ever waits for one.
 */
#ifndef TOON_INVALIDATE_H
#define TOON_INVALIDATE_H

#include "inodes.h"

struct mount;

/* What of a key is to be told. */
enum {
    TELL_NAME = 1 << 0,  /* the name leads elsewhere, or nowhere */
    TELL_ATTR = 1 << 1,  /* the attributes of the node */
    TELL_PAGES = 1 << 2, /* its pages from `offset` on */
    TELL_CAME = 1 << 3,  /* the key is new: directories may be, too */
    TELL_GONE = 1 << 4,  /* the key is gone: directories may be, too */
    TELL_ALL = 1 << 5,   /* everything that is known */
};

typedef struct notice {
    struct notice *next;
    unsigned tell;
    unsigned names; /* of the node */
    bool is_dir;
    const node *node; /* a number for the kernel; may be gone */
    int64_t offset;
    size_t key_size;
    char key[];
} notice;

typedef struct notices {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    notice *first, **last;
    size_t length;
    bool all; /* there was no room for single ones */
    bool stop;
    bool running;
    pthread_t thread;
    _Atomic uint64_t queued, told;
    void (*on_told)(void *arg);
    void *on_told_arg;
} notices;

bool notices_init(notices *q);
void notices_free(notices *q);

/* The thread, and the watch on the store. Stopping tells what is queued. */
bool notices_start(struct mount *m);
void notices_stop(struct mount *m);

/* The pages of a node from `offset` on are not what the kernel thinks. */
void notices_push_pages(struct mount *m, const node *n, int64_t offset);

/* The attributes that somebody has seen have changed. */
void notices_push_attr(struct mount *m, const node *n);

/* A file's value is not what the kernel's node stands for: the name must lead
 * to a new node. */
void notices_replace(struct mount *m, node *n);

/* toon_watch's callback; `arg` is the mount. */
void notices_on_change(void *arg, const toon_change *change);

#endif
