/*
 * fault.c - counting calls, and failing one of them.
 *
 * Knows the calls and the ways in which each can fail; must never know what
 * a store is.
 */
#include "fault.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

/* ---------------------------------------------------------- ways of failing */

/* What happens to the calls behind the one that fails, until the public call
 * returns. */
typedef enum what_follows {
    NOTHING,    /* they are fine */
    NO_ROOM,    /* what takes room on the disk fails with ENOSPC */
    DEAD_DISK,  /* all fail with EIO */
    NO_WRITING, /* the next write and the next truncate fail with EIO */
    NO_MEMORY,  /* no allocation succeeds any more */
} what_follows;

typedef struct way {
    int error;  /* 0: none, less is transferred than asked for */
    bool quiet; /* who calls has to go on as if nothing was */
    what_follows then;
} way;

#define NO_WAY                                                                 \
    { -1, false, NOTHING }

enum { WAYS_MAX = 8 };

typedef enum call {
    CALL_MEMORY,
    CALL_OPEN,
    CALL_CREATE, /* an open that may make a file */
    CALL_CLOSE,
    CALL_READ,
    CALL_WRITE,
    CALL_SYNC,
    CALL_TRUNCATE,
    CALL_ALLOCATE,
    CALL_RENAME,
    CALL_UNLINK,
    CALL_LINK,
    CALL_COPY,
    CALL_MAP,
    CALL_MKDIR,
    CALL_LOCK,
    CALL_STAT,
    CALL_RANDOM,
    CALL_THREAD,
    CALLS,
} call;

static const struct {
    const char *name;
    bool takes_room;
    way ways[WAYS_MAX];
} calls[CALLS] = {
    [CALL_MEMORY] = {"allocation",
                     false,
                     {{ENOMEM, false, NOTHING},
                      {ENOMEM, false, NO_MEMORY},
                      NO_WAY}},
    [CALL_OPEN] = {"open",
                   false,
                   {{EIO, false, NOTHING},
                    {EMFILE, false, NOTHING},
                    {EINTR, true, NOTHING},
                    {EIO, false, DEAD_DISK},
                    NO_WAY}},
    [CALL_CREATE] = {"create",
                     true,
                     {{EIO, false, NOTHING},
                      {EMFILE, false, NOTHING},
                      {EINTR, true, NOTHING},
                      {ENOSPC, false, NOTHING},
                      {ENOSPC, false, NO_ROOM},
                      {EIO, false, DEAD_DISK},
                      NO_WAY}},
    [CALL_CLOSE] = {"close", false, {{EIO, true, NOTHING}, NO_WAY}},
    [CALL_READ] = {"read",
                   false,
                   {{EIO, false, NOTHING},
                    {EINTR, true, NOTHING},
                    {0, true, NOTHING},
                    {EIO, false, DEAD_DISK},
                    NO_WAY}},
    [CALL_WRITE] = {"write",
                    true,
                    {{EIO, false, NOTHING},
                     {ENOSPC, false, NO_ROOM},
                     {EINTR, true, NOTHING},
                     {0, true, NOTHING},
                     {0, false, NO_ROOM},
                     {0, false, NO_WRITING},
                     {EIO, false, DEAD_DISK},
                     NO_WAY}},
    [CALL_SYNC] = {"sync",
                   false,
                   {{EIO, false, NOTHING},
                    {ENOSPC, false, NOTHING},
                    {EINTR, true, NOTHING},
                    {EIO, false, DEAD_DISK},
                    NO_WAY}},
    [CALL_TRUNCATE] = {"truncate",
                       false,
                       {{EIO, false, NOTHING},
                        {EINTR, true, NOTHING},
                        {EIO, false, DEAD_DISK},
                        NO_WAY}},
    [CALL_ALLOCATE] = {"allocate",
                       true,
                       {{ENOSPC, false, NO_ROOM},
                        {ENOSPC, false, NOTHING},
                        {EIO, false, NOTHING},
                        {EINTR, true, NOTHING},
                        {EOPNOTSUPP, true, NOTHING},
                        NO_WAY}},
    [CALL_RENAME] = {"rename",
                     true,
                     {{EIO, false, NOTHING},
                      {ENOSPC, false, NO_ROOM},
                      {EIO, false, DEAD_DISK},
                      NO_WAY}},
    [CALL_UNLINK] = {"unlink",
                     false,
                     {{EIO, false, NOTHING}, {EROFS, false, NOTHING}, NO_WAY}},
    [CALL_LINK] = {"link",
                   true,
                   {{EIO, false, NOTHING},
                    {ENOSPC, false, NO_ROOM},
                    {EPERM, true, NOTHING}, /* some file systems have none */
                    {EIO, false, DEAD_DISK},
                    NO_WAY}},
    [CALL_COPY] = {"copy",
                   true,
                   {{EIO, true, NOTHING}, /* then reads and writes do it */
                    {EXDEV, true, NOTHING},
                    {0, true, NOTHING},
                    {ENOSPC, false, NO_ROOM},
                    {EIO, false, DEAD_DISK},
                    NO_WAY}},
    [CALL_MAP] = {"map", false, {{ENOMEM, false, NOTHING}, NO_WAY}},
    [CALL_MKDIR] = {"mkdir",
                    true,
                    {{EIO, false, NOTHING}, {ENOSPC, false, NO_ROOM}, NO_WAY}},
    [CALL_LOCK] = {"lock", false, {{ENOLCK, false, NOTHING}, NO_WAY}},
    [CALL_STAT] = {"stat", false, {{EIO, false, NOTHING}, NO_WAY}},
    [CALL_RANDOM] = {"getrandom",
                     false,
                     {{EINTR, true, NOTHING},
                      {ENOSYS, false, NOTHING},
                      NO_WAY}},
    [CALL_THREAD] = {"pthread_create",
                     false,
                     {{EAGAIN, false, NOTHING}, NO_WAY}},
};

/* ---------------------------------------------------------------- counting */

static fault_plan plan;
static _Atomic bool inside;
static _Atomic uint64_t counts[FAULT_CALL + 1];
static _Atomic bool came;      /* the call that was to fail */
static _Atomic bool came_here; /* in this public call */
static _Atomic call failed;
static _Atomic what_follows following;
static _Atomic bool cut_refused;
static _Atomic uint64_t firsts[CALLS]; /* the number of its first; 0: none */

void fault_arm(fault_plan new_plan) {
    plan = new_plan;
    came = came_here = inside = false;
    following = NOTHING;
    cut_refused = false;
    for (int i = 0; i <= FAULT_CALL; i++)
        counts[i] = 0;
    for (int i = 0; i < CALLS; i++)
        firsts[i] = 0;
}

bool fault_was_first(fault_kind kind, uint64_t at) {
    for (int i = 0; i < CALLS; i++) {
        if (firsts[i] == at && (i == CALL_MEMORY) == (kind == FAULT_MEMORY))
            return true;
    }
    return false;
}

void fault_enter(void) {
    came_here = false;
    inside = true;
}

bool fault_leave(void) {
    inside = false;
    following = NOTHING;
    return came_here;
}

static const way *chosen(void) {
    return &calls[failed].ways[plan.way];
}

bool fault_has_come(void) {
    return came;
}

unsigned fault_ways(void) {
    unsigned ways = 0;
    while (calls[failed].ways[ways].error >= 0)
        ways++;
    return ways;
}

bool fault_is_harmless(void) {
    return came && chosen()->quiet;
}

/* A failed sync does, and a cut that failed. */
bool fault_may_end_writing(void) {
    if (!came || chosen()->quiet)
        return false;
    return failed == CALL_SYNC || cut_refused || chosen()->then == DEAD_DISK;
}

bool fault_ended_the_disk(void) {
    return came && chosen()->then == DEAD_DISK;
}

bool fault_left_a_torn_end(void) {
    return came && cut_refused;
}

toon_err fault_expected(void) {
    int error = chosen()->error;
    if (failed == CALL_MEMORY || error == ENOMEM || failed == CALL_THREAD)
        return TOON_NO_MEMORY;
    if (error == ENOSPC || (error == 0 && chosen()->then == NO_ROOM))
        return TOON_FULL;
    return TOON_IO;
}

const char *fault_name(void) {
    static char name[120];
    const char *kind = plan.kind == FAULT_MEMORY ? "memory" : "call";
    int error = came ? chosen()->error : 0;
    static const char *const then[] = {"", ", then no room", ", then dead",
                                       ", then no writing", ", then no memory"};
    if (plan.kind == FAULT_NONE)
        return "no fault";
    (void)snprintf(name, sizeof name, "%s %llu %u (%s: %s%s)", kind,
                   (unsigned long long)plan.at, plan.way,
                   came ? calls[failed].name : "not come yet",
                   error == 0 ? "less than asked" : strerrorname_np(error),
                   came ? then[chosen()->then] : "");
    return name;
}

/* ----------------------------------------------------------------- failing */

static const way fine = {-1, true, NOTHING};
static const way io_error = {EIO, false, NOTHING};
static const way no_room = {ENOSPC, false, NOTHING};
static const way no_memory = {ENOMEM, false, NOTHING};

/* What the call before brought upon this one. */
static const way *inherited(call this_call) {
    switch (following) {
    case NO_MEMORY:
        return this_call == CALL_MEMORY ? &no_memory : &fine;
    case NO_ROOM:
        return calls[this_call].takes_room ? &no_room : &fine;
    case DEAD_DISK:
        if (this_call == CALL_TRUNCATE)
            cut_refused = true;
        return this_call == CALL_MEMORY || this_call == CALL_CLOSE ? &fine
                                                                   : &io_error;
    case NO_WRITING:
        if (this_call == CALL_TRUNCATE)
            cut_refused = true;
        if (this_call == CALL_WRITE || this_call == CALL_TRUNCATE)
            return &io_error;
        return &fine;
    case NOTHING:
    default:
        return &fine;
    }
}

/* Counts the call; how it fails, or `fine`. */
static const way *next(call this_call) {
    fault_kind kind = this_call == CALL_MEMORY ? FAULT_MEMORY : FAULT_CALL;
    if (!inside)
        return &fine;
    const way *how = inherited(this_call);
    if (how != &fine)
        return how;
    uint64_t at = atomic_fetch_add(&counts[kind], 1) + 1;
    uint64_t none = 0;
    (void)atomic_compare_exchange_strong(&firsts[this_call], &none, at);
    if (plan.kind != kind || at != plan.at)
        return how;
    failed = this_call;
    came = came_here = true;
    how = chosen();
    following = how->then;
    return how;
}

/* Does the call fail? Sets errno then. */
static bool fails(call this_call) {
    const way *how = next(this_call);
    if (how->error > 0)
        errno = how->error;
    return how->error > 0;
}

/* ------------------------------------------------------------------ memory */

static _Atomic long live_memory, live_files;

long fault_live_memory(void) {
    return live_memory;
}

long fault_live_files(void) {
    return live_files;
}

static void *counted(void *memory) {
    if (memory != NULL)
        (void)atomic_fetch_add(&live_memory, 1);
    return memory;
}

/* The linker's names. */
// NOLINTBEGIN(bugprone-reserved-identifier,cert-dcl37-c)
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void __real_free(void *memory);
int __real_flock(int fd, int operation);
ssize_t __real_getrandom(void *out, size_t size, unsigned flags);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
                          void *(*fn)(void *), void *arg);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void __wrap_free(void *memory);
int __wrap_flock(int fd, int operation);
ssize_t __wrap_getrandom(void *out, size_t size, unsigned flags);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
                          void *(*fn)(void *), void *arg);

void *__wrap_malloc(size_t size) {
    return fails(CALL_MEMORY) ? NULL : counted(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size) {
    return fails(CALL_MEMORY) ? NULL : counted(__real_calloc(count, size));
}

void *__wrap_realloc(void *old, size_t size) {
    if (fails(CALL_MEMORY))
        return NULL;
    void *memory = __real_realloc(old, size);
    return old == NULL ? counted(memory) : memory;
}

void *__wrap_aligned_alloc(size_t alignment, size_t size) {
    return fails(CALL_MEMORY) ? NULL
                              : counted(__real_aligned_alloc(alignment, size));
}

void __wrap_free(void *memory) {
    if (memory != NULL)
        (void)atomic_fetch_sub(&live_memory, 1);
    __real_free(memory);
}

/* ---------------------------------------------- the system beside the seam */

int __wrap_flock(int fd, int operation) {
    return fails(CALL_LOCK) ? -1 : __real_flock(fd, operation);
}

ssize_t __wrap_getrandom(void *out, size_t size, unsigned flags) {
    return fails(CALL_RANDOM) ? -1 : __real_getrandom(out, size, flags);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr,
                          void *(*fn)(void *), void *arg) {
    if (fails(CALL_THREAD))
        return EAGAIN;
    return __real_pthread_create(thread, attr, fn, arg);
}

// NOLINTEND(bugprone-reserved-identifier,cert-dcl37-c)

/* ---------------------------------------------------------------- the seam */

static int open_at(int dir_fd, const char *name, int flags, mode_t mode) {
    if (fails((flags & O_CREAT) != 0 ? CALL_CREATE : CALL_OPEN))
        return -1;
    int fd = toon_io_system.open_at(dir_fd, name, flags, mode);
    if (fd >= 0)
        (void)atomic_fetch_add(&live_files, 1);
    return fd;
}

/* Linux closes the file whatever it answers. */
static int close_file(int fd) {
    bool failing = fails(CALL_CLOSE);
    int saved_errno = errno;
    (void)atomic_fetch_sub(&live_files, 1);
    int result = toon_io_system.close(fd);
    errno = failing ? saved_errno : errno;
    return failing ? -1 : result;
}

static size_t less_than(size_t size) {
    return size > 1 ? size / 2 : size;
}

static ssize_t read_some(int fd, void *buf, size_t size, off_t offset) {
    const way *how = next(CALL_READ);
    if (how->error > 0) {
        errno = how->error;
        return -1;
    }
    return pread(fd, buf, how->error == 0 ? less_than(size) : size, offset);
}

static ssize_t write_some(int fd, const void *buf, size_t size, off_t offset) {
    const way *how = next(CALL_WRITE);
    if (how->error > 0) {
        errno = how->error;
        return -1;
    }
    return pwrite(fd, buf, how->error == 0 ? less_than(size) : size, offset);
}

static int sync_nothing(int fd) {
    (void)fd;
    return fails(CALL_SYNC) ? -1 : 0;
}

static int truncate_file(int fd, off_t size) {
    return fails(CALL_TRUNCATE) ? -1 : ftruncate(fd, size);
}

static int allocate_nothing(int fd, off_t offset, off_t size) {
    (void)fd;
    (void)offset;
    (void)size;
    return fails(CALL_ALLOCATE) ? -1 : 0;
}

static int rename_at(int dir_fd, const char *from, const char *to) {
    return fails(CALL_RENAME) ? -1 : renameat(dir_fd, from, dir_fd, to);
}

static int unlink_at(int dir_fd, const char *name) {
    return fails(CALL_UNLINK) ? -1 : unlinkat(dir_fd, name, 0);
}

static ssize_t copy_some(int from, int to, off_t offset, size_t size) {
    const way *how = next(CALL_COPY);
    if (how->error > 0) {
        errno = how->error;
        return -1;
    }
    size = how->error == 0 ? less_than(size) : size;
    return toon_io_system.copy(from, to, offset, size);
}

static int link_at(int dir_fd, const char *from, const char *to) {
    if (fails(CALL_LINK))
        return -1;
    return toon_io_system.link_at(dir_fd, from, to);
}

static int make_dir(const char *path, mode_t mode) {
    return fails(CALL_MKDIR) ? -1 : toon_io_system.make_dir(path, mode);
}

static off_t size_of(int fd) {
    return fails(CALL_STAT) ? -1 : toon_io_system.size(fd);
}

static void *map(int fd, size_t size) {
    if (fails(CALL_MAP))
        return MAP_FAILED;
    void *at = toon_io_system.map(fd, size);
    if (at != MAP_FAILED)
        (void)atomic_fetch_add(&live_files, 1);
    return at;
}

static int unmap(void *at, size_t size) {
    (void)atomic_fetch_sub(&live_files, 1);
    return munmap(at, size);
}

const toon_io fault_io = {
    .open_at = open_at,
    .close = close_file,
    .pread = read_some,
    .pwrite = write_some,
    .sync = sync_nothing,
    .truncate = truncate_file,
    .allocate = allocate_nothing,
    .rename_at = rename_at,
    .unlink_at = unlink_at,
    .make_dir = make_dir,
    .copy = copy_some,
    .link_at = link_at,
    .size = size_of,
    .map = map,
    .unmap = unmap,
};
