/*
 * file.h - open files: one shared content for each, and when it is committed.
 * Knows the store and nodes; must never know requests or replies.
 *
 * All of these want the file's lock (fs.h). They return 0 or an errno.
 *
 * Content is `dirty` when a write, truncate or fallocate came since the last
 * commit, and `pending` when it was only created or truncated by an open: a
 * flush commits what is dirty, the last release and fsync what is pending too.
 */
#ifndef TOON_FILE_H
#define TOON_FILE_H

#include "buffer.h"
#include "fs.h"

typedef struct content {
    buffer bytes;
    toon_pinned base; /* what `bytes` lacks; zeros: only its size is known */
    toon_meta meta;   /* written_ms: of the last write here */
    uint64_t appends; /* of the node's, those that `bytes` has */
    unsigned handles;
    bool dirty, pending;
    bool mode_set; /* meta.mode must be stored with it */
    bool time_set; /* meta.written_ms was asked for */
    bool lost;     /* who closed it was told that it cannot be kept */
    bool shown;    /* somebody has seen attributes of what is uncommitted */
    int refused;   /* what the last write was refused with; 0: it was taken */
} content;

/*
 * What stat(2) says of the file. ENOENT: it is not there. ESTALE: the store
 * has a value that this node does not stand for, and `out` describes that.
 */
int file_look_locked(struct mount *m, node *n, file_facts *out);

/* A content with no handle, for a file that is not in the store yet. */
int file_create_locked(struct mount *m, node *n, mode_t mode);

/*
 * One more handle. ESTALE: the name leads to another node by now. So too after
 * a close that was told its content is lost: the program may write it once
 * more before the kernel lets go of the file, and not on top of it.
 */
int file_open_locked(struct mount *m, node *n, int flags);

/* One handle less. The last one commits; what cannot be committed is lost
 * then, and the kernel is told. What somebody was told is not kept is not. */
int file_close_locked(struct mount *m, node *n);

/*
 * After a write that was refused, for want of room say, what there is would be
 * half of what was meant: it is refused too and the store keeps the old value,
 * until a write succeeds. What only appends is committed as far as it came.
 */
int file_commit_locked(struct mount *m, node *n);

/* For close(2), which tells its caller: commits what is dirty. */
int file_flush_locked(struct mount *m, node *n);

/* `*at`: where it went; with `append` that is the end. */
int file_write_locked(struct mount *m, node *n, toon_slice bytes, bool append,
                      size_t *at);
int file_truncate_locked(struct mount *m, node *n, size_t size);
int file_zero_locked(struct mount *m, node *n, size_t from, size_t size);

/* At most two slices, which live until the lock is given back; those of
 * content without a tail, as long as a pin on its base. */
int file_read_locked(struct mount *m, node *n, size_t offset, size_t size,
                     struct iovec out[2], int *count);

/* It takes a name whose value, if it has one, it will replace whole: a file
 * that is not in the store yet. */
void file_replaces_locked(node *n);

/* Every file: commits what it has, and gives the contents back. Without other
 * threads. The first error. */
int file_commit_all(struct mount *m, bool close);

#endif
