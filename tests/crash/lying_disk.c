/*
 * lying_disk.c - system calls that are put down, counted, refused or lied
 * about.
 *
 * Knows system calls; must never know what a store is.
 */
#include "lying_disk.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FDS_MAX = 4096, CALL_KINDS = 14 };

/* `change` is held while a call changes the disk and is put down; `count`
 * inside of it, or alone. */
static struct {
    pthread_mutex_t change;
    disk_journal *journal;
    char root[200];
    int node_of[FDS_MAX]; /* one more than the node; 0: not ours */
    disk_hook_fn *hook;
    void *hook_arg;

    pthread_mutex_t count;
    disk_fault fault;
    pthread_t asked_by;
    uint64_t counts[CALL_KINDS];
    uint64_t matching, struck;
} disk = {.change = PTHREAD_MUTEX_INITIALIZER,
          .count = PTHREAD_MUTEX_INITIALIZER};

/* ------------------------------------------------------------------ faults */

static void count_call(disk_call call) {
    for (unsigned i = 0; i < CALL_KINDS; i++) {
        if (call == 1u << i)
            disk.counts[i]++;
    }
}

/* Does the fault strike here? */
static bool strikes(disk_call call, disk_fault *out) {
    (void)pthread_mutex_lock(&disk.count);
    *out = disk.fault;
    count_call(call);
    bool matches = (out->calls & (unsigned)call) != 0 && out->at > 0;
    if (out->mine && !pthread_equal(disk.asked_by, pthread_self()))
        matches = false;
    disk.matching += matches;
    bool strike = matches && (disk.matching == out->at ||
                              (out->goes_on && disk.matching > out->at));
    disk.struck += strike;
    (void)pthread_mutex_unlock(&disk.count);
    return strike;
}

/* For calls that are done or not. True: it must not be done. *lies: do it, but
 * it will not last. */
static bool refused(disk_call call, bool *lies) {
    disk_fault fault;
    bool strike = strikes(call, &fault);
    *lies = strike && fault.kind == FAULT_LIES;
    if (strike && !*lies)
        errno = fault.error;
    return strike && !*lies;
}

void lying_disk_fail(const disk_fault *fault) {
    (void)pthread_mutex_lock(&disk.count);
    disk.fault = fault != NULL ? *fault : (disk_fault){0};
    disk.asked_by = pthread_self();
    disk.matching = 0;
    disk.struck = 0;
    memset(disk.counts, 0, sizeof disk.counts);
    (void)pthread_mutex_unlock(&disk.count);
}

uint64_t lying_disk_calls(unsigned calls) {
    uint64_t sum = 0;
    (void)pthread_mutex_lock(&disk.count);
    for (unsigned i = 0; i < CALL_KINDS; i++) {
        if ((calls & 1u << i) != 0)
            sum += disk.counts[i];
    }
    (void)pthread_mutex_unlock(&disk.count);
    return sum;
}

uint64_t lying_disk_struck(void) {
    (void)pthread_mutex_lock(&disk.count);
    uint64_t struck = disk.struck;
    (void)pthread_mutex_unlock(&disk.count);
    return struck;
}

/* ----------------------------------------------------------------- journal */

static void lock_changes(void) {
    (void)pthread_mutex_lock(&disk.change);
}

/* Gives the lock back, then tells the hook of `op` if it was put down; the
 * errno of the call stays. */
static void unlock_changes(const disk_op *op) {
    int kept = errno;
    disk_hook_fn *hook = disk.hook;
    void *arg = disk.hook_arg;
    (void)pthread_mutex_unlock(&disk.change);
    if (op->node >= 0 && hook != NULL)
        hook(arg, op);
    errno = kept;
}

static const disk_op nothing = {.node = -1};

/* -1: not recorded. */
static int node_of(int fd) {
    bool known = disk.journal != NULL && fd >= 0 && fd < FDS_MAX;
    return known ? disk.node_of[fd] - 1 : -1;
}

static void set_node(int fd, int node) {
    if (fd >= 0 && fd < FDS_MAX)
        disk.node_of[fd] = node + 1;
}

/* Where a name stands. */
struct place {
    int dir; /* -1: not below the root */
    char name[DISK_NAME_MAX];
};

static int parent_of(int node) {
    const disk_names *names = &disk.journal->names;
    for (size_t i = 0; i < names->count; i++) {
        if (names->items[i].node == node)
            return names->items[i].dir;
    }
    return 0;
}

/* The path below the root, or NULL. */
static const char *below_root(const char *path) {
    size_t size = strlen(disk.root);
    if (disk.journal == NULL || strncmp(path, disk.root, size) != 0 ||
        (path[size] != '/' && path[size] != '\0'))
        return NULL;
    path += size;
    while (*path == '/')
        path++;
    return path;
}

/* Walks down to the directory of the last name; "" is the directory itself. */
static struct place place_below(int dir, const char *path) {
    struct place place = {.dir = dir, .name = ""};
    const char *slash;
    while (place.dir >= 0 && (slash = strchr(path, '/')) != NULL) {
        (void)snprintf(place.name, sizeof place.name, "%.*s",
                       (int)(slash - path), path);
        place.dir =
            disk_names_find(&disk.journal->names, place.dir, place.name);
        path = slash + 1;
    }
    (void)snprintf(place.name, sizeof place.name, "%s", path);
    return place;
}

static struct place place_of(int dir_fd, const char *path) {
    const char *below = path[0] == '/' ? below_root(path) : NULL;
    if (below != NULL)
        return place_below(0, below);
    int dir = path[0] == '/' ? -1 : node_of(dir_fd);
    return dir < 0 ? (struct place){.dir = -1} : place_below(dir, path);
}

static int node_at(const struct place *place) {
    if (place->dir < 0 || place->name[0] == '\0')
        return place->dir;
    if (strcmp(place->name, "..") == 0)
        return parent_of(place->dir);
    return disk_names_find(&disk.journal->names, place->dir, place->name);
}

static disk_op op_at(disk_op_kind kind, const struct place *place, int node) {
    disk_op op = {.kind = kind, .node = node, .dir = place->dir};
    (void)snprintf(op.name, sizeof op.name, "%s", place->name);
    return op;
}

/* The name is for people: the first that the node has. */
static disk_op op_on(disk_op_kind kind, int node) {
    const disk_names *names = &disk.journal->names;
    disk_op op = {.kind = kind, .node = node, .dir = -1};
    for (size_t i = 0; i < names->count && op.dir < 0; i++) {
        if (names->items[i].node != node)
            continue;
        op.dir = names->items[i].dir;
        memcpy(op.name, names->items[i].name, sizeof op.name);
    }
    return op;
}

/* ------------------------------------------------------------- name calls */

/* What opening changed: it may have made the file, or emptied it. */
static disk_op note_open(int fd, const struct place *place, int flags) {
    int node = node_at(place);
    disk_op op = nothing;
    if (node < 0) {
        node = disk.journal->nodes;
        op = op_at(DISK_CREATE, place, node);
    } else if ((flags & O_TRUNC) != 0) {
        op = op_on(DISK_TRUNCATE, node);
    }
    if (op.node >= 0)
        disk_journal_push(disk.journal, &op);
    set_node(fd, node);
    return op;
}

static int lying_open_at(int dir_fd, const char *name, int flags, mode_t mode) {
    bool lies;
    if (refused(CALL_OPEN, &lies))
        return -1;
    disk_op op = nothing;
    lock_changes();
    struct place place = place_of(dir_fd, name);
    int fd = toon_io_system.open_at(dir_fd, name, flags, mode);
    set_node(fd, -1);
    if (fd >= 0 && place.dir >= 0)
        op = note_open(fd, &place, flags);
    unlock_changes(&op);
    return fd;
}

/* As on Linux, it is closed also when that fails. */
static int lying_close(int fd) {
    bool lies;
    lock_changes();
    set_node(fd, -1);
    int result = toon_io_system.close(fd);
    unlock_changes(&nothing);
    return refused(CALL_CLOSE, &lies) ? -1 : result;
}

static int lying_make_dir(const char *path, mode_t mode) {
    bool lies;
    if (refused(CALL_MAKE_DIR, &lies))
        return -1;
    disk_op op = nothing;
    lock_changes();
    struct place place = place_of(AT_FDCWD, path);
    int result = toon_io_system.make_dir(path, mode);
    if (result == 0 && place.dir >= 0) {
        op = op_at(DISK_CREATE, &place, disk.journal->nodes);
        op.is_dir = true;
        op.lied = lies;
        disk_journal_push(disk.journal, &op);
    }
    unlock_changes(&op);
    return result;
}

/* Renaming and linking. */
static int name_anew(disk_op_kind kind, bool lies, int dir_fd, const char *from,
                     const char *to) {
    disk_op op = nothing;
    lock_changes();
    struct place place = place_of(dir_fd, from);
    int result = kind == DISK_RENAME
                     ? toon_io_system.rename_at(dir_fd, from, to)
                     : toon_io_system.link_at(dir_fd, from, to);
    if (result == 0 && place.dir >= 0) {
        op = op_at(kind, &place, node_at(&place));
        (void)snprintf(op.to, sizeof op.to, "%s", to);
        op.lied = lies;
        disk_journal_push(disk.journal, &op);
    }
    unlock_changes(&op);
    return result;
}

static int lying_rename_at(int dir_fd, const char *from, const char *to) {
    bool lies;
    return refused(CALL_RENAME, &lies)
               ? -1
               : name_anew(DISK_RENAME, lies, dir_fd, from, to);
}

static int lying_unlink_at(int dir_fd, const char *name) {
    bool lies;
    if (refused(CALL_UNLINK, &lies))
        return -1;
    disk_op op = nothing;
    lock_changes();
    struct place place = place_of(dir_fd, name);
    int result = toon_io_system.unlink_at(dir_fd, name);
    if (result == 0 && place.dir >= 0) {
        op = op_at(DISK_UNLINK, &place, node_at(&place));
        op.lied = lies;
        disk_journal_push(disk.journal, &op);
    }
    unlock_changes(&op);
    return result;
}

static int lying_link_at(int dir_fd, const char *from, const char *to) {
    bool lies;
    return refused(CALL_LINK, &lies)
               ? -1
               : name_anew(DISK_LINK, lies, dir_fd, from, to);
}

/* ------------------------------------------------------------- data calls */

static ssize_t lying_pread(int fd, void *buf, size_t size, off_t offset) {
    disk_fault fault;
    if (!strikes(CALL_READ, &fault))
        return pread(fd, buf, size, offset);
    if (fault.kind == FAULT_IS_SHORT)
        return pread(fd, buf, (size + 1) / 2, offset);
    errno = fault.error;
    return -1;
}

/* Puts a change of an open file down, if the file is one of ours. */
static disk_op note_change(disk_op_kind kind, int fd, uint64_t offset,
                           size_t size, const void *bytes) {
    int node = node_of(fd);
    if (node < 0)
        return nothing;
    disk_op op = op_on(kind, node);
    op.offset = offset;
    op.size = size;
    if (bytes != NULL) {
        op.bytes = malloc(size + 1);
        if (op.bytes == NULL)
            abort();
        memcpy(op.bytes, bytes, size);
    }
    disk_journal_push(disk.journal, &op);
    return op;
}

static ssize_t write_some(int fd, const void *bytes, size_t size,
                          off_t offset) {
    disk_op op = nothing;
    lock_changes();
    ssize_t put = pwrite(fd, bytes, size, offset);
    if (put > 0)
        op = note_change(DISK_WRITE, fd, (uint64_t)offset, (size_t)put, bytes);
    unlock_changes(&op);
    return put;
}

static ssize_t lying_pwrite(int fd, const void *buf, size_t size,
                            off_t offset) {
    disk_fault fault;
    if (!strikes(CALL_WRITE, &fault))
        return write_some(fd, buf, size, offset);
    if (fault.kind == FAULT_IS_SHORT)
        return write_some(fd, buf, (size + 1) / 2, offset);
    if (fault.kind != FAULT_FAILS && size > 1)
        (void)write_some(fd, buf, size / 2, offset);
    errno = fault.error;
    return fault.kind == FAULT_LIES ? (ssize_t)size : -1;
}

static bool is_directory(int fd) {
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
}

static int lying_sync(int fd) {
    bool is_dir = is_directory(fd);
    bool lies;
    if (refused(is_dir ? CALL_SYNC_DIR : CALL_SYNC, &lies))
        return -1;
    disk_op op = nothing;
    lock_changes();
    int node = node_of(fd);
    int result = lies ? 0 : toon_io_system.sync(fd);
    if (result == 0 && node >= 0) {
        op = op_on(DISK_SYNC, node);
        op.is_dir = is_dir;
        op.lied = lies;
        disk_journal_push(disk.journal, &op);
    }
    unlock_changes(&op);
    return result;
}

static int lying_truncate(int fd, off_t size) {
    bool lies;
    if (refused(CALL_TRUNCATE, &lies))
        return -1;
    disk_op op = nothing;
    lock_changes();
    int result = toon_io_system.truncate(fd, size);
    if (result == 0)
        op = note_change(DISK_TRUNCATE, fd, (uint64_t)size, 0, NULL);
    unlock_changes(&op);
    return result;
}

static int lying_allocate(int fd, off_t offset, off_t size) {
    bool lies;
    if (refused(CALL_ALLOCATE, &lies))
        return -1;
    disk_op op = nothing;
    lock_changes();
    int result = toon_io_system.allocate(fd, offset, size);
    if (result == 0)
        op = note_change(DISK_ALLOCATE, fd, (uint64_t)offset, (size_t)size,
                         NULL);
    unlock_changes(&op);
    return result;
}

static off_t lying_size(int fd) {
    bool lies;
    return refused(CALL_SIZE, &lies) ? -1 : toon_io_system.size(fd);
}

static void *lying_map(int fd, size_t size) {
    bool lies;
    return refused(CALL_MAP, &lies) ? MAP_FAILED : toon_io_system.map(fd, size);
}

static int lying_unmap(void *at, size_t size) {
    return toon_io_system.unmap(at, size);
}

const toon_io lying_disk_io = {
    .open_at = lying_open_at,
    .close = lying_close,
    .pread = lying_pread,
    .pwrite = lying_pwrite,
    .sync = lying_sync,
    .truncate = lying_truncate,
    .allocate = lying_allocate,
    .rename_at = lying_rename_at,
    .unlink_at = lying_unlink_at,
    .link_at = lying_link_at,
    .make_dir = lying_make_dir,
    .size = lying_size,
    .map = lying_map,
    .unmap = lying_unmap,
};

/* ----------------------------------------------------------------- control */

void lying_disk_reset(void) {
    lying_disk_fail(NULL);
    lock_changes();
    disk.journal = NULL;
    disk.hook = NULL;
    memset(disk.node_of, 0, sizeof disk.node_of);
    unlock_changes(&nothing);
}

void lying_disk_record(const char *root, disk_journal *journal) {
    lock_changes();
    disk.journal = journal;
    (void)snprintf(disk.root, sizeof disk.root, "%s", root);
    memset(disk.node_of, 0, sizeof disk.node_of);
    unlock_changes(&nothing);
}

size_t lying_disk_length(void) {
    lock_changes();
    size_t length = disk.journal != NULL ? disk.journal->count : 0;
    unlock_changes(&nothing);
    return length;
}

void lying_disk_hook(disk_hook_fn *fn, void *arg) {
    lock_changes();
    disk.hook = fn;
    disk.hook_arg = arg;
    unlock_changes(&nothing);
}
