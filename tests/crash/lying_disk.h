/*
 * lying_disk.h - a disk behind the seam of io.h that keeps a journal of every
 * call that changes it, refuses the n-th call, and lies.
 *
 * The calls go to real files, so a store that runs on it is a store as any
 * other. The journal is what a power cut is made of: disk_image.h builds from
 * it what the platters may hold.
 *
 * There is one such disk in a process, since the seam's functions know no
 * context. Its functions may be called from every thread; calls that change
 * the disk are done one at a time, so that the journal has their true order.
 *
 * Knows system calls and names; must never know formats.
 */
#ifndef TOON_TEST_LYING_DISK_H
#define TOON_TEST_LYING_DISK_H

#include "io.h"

/* ----------------------------------------------------------------- journal */

enum { DISK_NAME_MAX = 64 }; /* bytes of a name, with its NUL */

typedef enum disk_op_kind {
    DISK_CREATE, /* a file or a directory that was not there */
    DISK_WRITE,
    DISK_SYNC, /* of a file or a directory */
    DISK_TRUNCATE,
    DISK_ALLOCATE,
    DISK_RENAME,
    DISK_LINK, /* a second name */
    DISK_UNLINK,
} disk_op_kind;

/* One change. Files and directories are numbered as they appear, and keep
 * their number whatever they are called; 0 is the root. */
typedef struct disk_op {
    disk_op_kind kind;
    bool is_dir; /* what was created or synced */
    bool lied;   /* it was said to be done and never is */
    int node;    /* what was created, written, synced, renamed, unlinked */
    int dir;     /* where its name stands, or stood */
    char name[DISK_NAME_MAX];
    char to[DISK_NAME_MAX]; /* of a rename or link */
    uint64_t offset;        /* of a write; of a truncation the new size */
    size_t size;
    char *bytes; /* written; owned by the journal */
} disk_op;

/* What is called what. */
typedef struct disk_name {
    int dir;
    int node;
    char name[DISK_NAME_MAX];
} disk_name;

typedef struct disk_names {
    disk_name *items; /* owned */
    size_t count, capacity;
} disk_names;

typedef struct disk_journal {
    disk_op *ops; /* owned */
    size_t count, capacity;
    int nodes;
    disk_names names; /* after the last of them */
} disk_journal;

void disk_journal_init(disk_journal *journal);
void disk_journal_free(disk_journal *journal);

/* Takes op->bytes. */
void disk_journal_push(disk_journal *journal, const disk_op *op);

/* The first `count` calls alone. The bytes are copied. */
void disk_journal_copy(const disk_journal *from, size_t count,
                       disk_journal *to);

/* One call in words, for people. */
void disk_op_text(const disk_op *op, char *out, size_t size);

/* Does the call make or remove names? */
bool disk_op_is_naming(const disk_op *op);

void disk_names_free(disk_names *names);
void disk_names_copy(disk_names *to, const disk_names *from);
void disk_names_apply(disk_names *names, const disk_op *op);
/* -1: nothing is called so. */
int disk_names_find(const disk_names *names, int dir, const char *name);

/* ------------------------------------------------------------------ faults */

/* Calls of the seam; bits of a mask. */
typedef enum disk_call {
    CALL_OPEN = 1 << 0,
    CALL_CLOSE = 1 << 1,
    CALL_READ = 1 << 2,
    CALL_WRITE = 1 << 3,
    CALL_SYNC = 1 << 4, /* of files */
    CALL_SYNC_DIR = 1 << 5,
    CALL_TRUNCATE = 1 << 6,
    CALL_ALLOCATE = 1 << 7,
    CALL_RENAME = 1 << 8,
    CALL_UNLINK = 1 << 9,
    CALL_MAKE_DIR = 1 << 10,
    CALL_SIZE = 1 << 11,
    CALL_MAP = 1 << 12,
    CALL_LINK = 1 << 13,
    CALL_ANY = (1 << 14) - 1,
} disk_call;

typedef enum disk_fault_kind {
    FAULT_FAILS,    /* nothing is done, errno is `error` */
    FAULT_IS_SHORT, /* a read or write does the first half, and says so */
    FAULT_IS_TORN,  /* a write does the first half; then errno is `error` */
    FAULT_LIES,     /* says that all was done: a write did half of it, a sync
                       nothing, a name is gone after the next power cut */
} disk_fault_kind;

typedef struct disk_fault {
    disk_fault_kind kind;
    unsigned calls; /* which calls count: a mask of disk_call */
    uint64_t at;    /* which of them, from 1; 0: none */
    bool goes_on;   /* so do all that follow */
    int error;
    bool mine; /* only calls of the thread that asks for it count */
} disk_fault;

/* Counting starts anew. NULL: a good disk. */
void lying_disk_fail(const disk_fault *fault);

/* Calls of these kinds since lying_disk_fail() or lying_disk_reset(). */
uint64_t lying_disk_calls(unsigned calls);

/* How often the fault has struck. */
uint64_t lying_disk_struck(void);

/* -------------------------------------------------------------- the disk */

extern const toon_io lying_disk_io;

/* No journal, no fault, no hook. */
void lying_disk_reset(void);

/*
 * From now on, what happens below directory `root` is put down in `journal`,
 * which must know all that is there already (an empty directory: nothing).
 * The journal stays the caller's, who may read it when no store is open.
 */
void lying_disk_record(const char *root, disk_journal *journal);

/* The length of the journal; 0 without one. */
size_t lying_disk_length(void);

/* Called after each call that was put down, outside of locks of this disk. */
typedef void disk_hook_fn(void *arg, const disk_op *op);
void lying_disk_hook(disk_hook_fn *fn, void *arg);

#endif
