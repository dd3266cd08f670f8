/*
 * disk_shim.c - preloaded into tstd (LD_PRELOAD): a disk that fails its syncs
 * from some moment on, or is the process's end in the middle of a call, or
 * cannot reserve blocks.
 *
 * DISK_SHIM_DIR names the directory whose files are meant, as /proc shows it;
 * DISK_SHIM_CONTROL a file of the words below, which the test writes to while
 * tstd runs. Knows system calls; must never know what is in the files.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

/* harness.py's DiskShim has the same list. */
struct control {
    _Atomic int sync_errno; /* not 0: every sync fails so */
    _Atomic int syncs_failed;
    _Atomic int last_call; /* the n-th call from now on is the last; 0: none */
    _Atomic int how;       /* LAST_... */
    _Atomic int no_blocks; /* none can be reserved */
};

enum { LAST_BEFORE, LAST_AFTER, LAST_HALF };

static struct control nothing;
static struct control *control = &nothing;
static const char *directory = "";

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("DISK_SHIM_CONTROL");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *at = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE,
                    MAP_SHARED, fd, 0);
    (void)close(fd);
    if (at == MAP_FAILED)
        return;
    control = at;
    directory = getenv("DISK_SHIM_DIR") ? getenv("DISK_SHIM_DIR") : "";
}

/* The directory itself, or a file in it? */
static int is_meant(int fd) {
    char link[64];
    char path[4096];
    size_t size = strlen(directory);
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t got = readlink(link, path, sizeof path - 1);
    if (size == 0 || got < (ssize_t)size)
        return 0;
    path[got] = '\0';
    return strncmp(path, directory, size) == 0 &&
           (path[size] == '/' || path[size] == '\0');
}

static void end_process(void) {
    (void)kill(getpid(), SIGKILL);
    for (;;)
        (void)pause();
}

/* Counts a call down. True: it is the last one. */
static int is_last(int fd) {
    if (atomic_load(&control->last_call) <= 0 || !is_meant(fd))
        return 0;
    if (atomic_fetch_sub(&control->last_call, 1) != 1)
        return 0;
    if (atomic_load(&control->how) == LAST_BEFORE)
        end_process();
    return 1;
}

static void *next(const char *name) {
    return dlsym(RTLD_NEXT, name);
}

/* The real call by its name, looked up once. */
#define REAL(type, name)                                                       \
    static _Atomic(type) real;                                                 \
    if (atomic_load(&real) == NULL)                                            \
        atomic_store(&real, (type)next(name));                                 \
    type call = atomic_load(&real)

typedef int sync_fn(int);
typedef ssize_t pwrite_fn(int, const void *, size_t, off_t);
typedef int truncate_fn(int, off_t);
typedef int allocate_fn(int, int, off_t, off_t);
typedef int rename_fn(int, const char *, int, const char *);
typedef int unlink_fn(int, const char *, int);

int fdatasync(int fd);

int fdatasync(int fd) {
    REAL(sync_fn *, "fdatasync");
    int error = atomic_load(&control->sync_errno);
    if (error != 0 && is_meant(fd)) {
        (void)atomic_fetch_add(&control->syncs_failed, 1);
        errno = error;
        return -1;
    }
    int last = is_last(fd);
    int result = call(fd);
    if (last)
        end_process();
    return result;
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off_t offset);

ssize_t pwrite64(int fd, const void *bytes, size_t size, off_t offset) {
    REAL(pwrite_fn *, "pwrite64");
    int last = is_last(fd);
    if (last && atomic_load(&control->how) == LAST_HALF)
        size /= 2;
    ssize_t result = call(fd, bytes, size, offset);
    if (last)
        end_process();
    return result;
}

int ftruncate64(int fd, off_t size);

int ftruncate64(int fd, off_t size) {
    REAL(truncate_fn *, "ftruncate64");
    int last = is_last(fd);
    int result = call(fd, size);
    if (last)
        end_process();
    return result;
}

int fallocate64(int fd, int mode, off_t offset, off_t size);

int fallocate64(int fd, int mode, off_t offset, off_t size) {
    REAL(allocate_fn *, "fallocate64");
    if (atomic_load(&control->no_blocks) && is_meant(fd)) {
        errno = EOPNOTSUPP;
        return -1;
    }
    int last = is_last(fd);
    int result = call(fd, mode, offset, size);
    if (last)
        end_process();
    return result;
}

int renameat(int from_fd, const char *from, int to_fd, const char *to);

int renameat(int from_fd, const char *from, int to_fd, const char *to) {
    REAL(rename_fn *, "renameat");
    int last = is_last(from_fd);
    int result = call(from_fd, from, to_fd, to);
    if (last)
        end_process();
    return result;
}

int unlinkat(int fd, const char *name, int flags);

int unlinkat(int fd, const char *name, int flags) {
    REAL(unlink_fn *, "unlinkat");
    int last = is_last(fd);
    int result = call(fd, name, flags);
    if (last)
        end_process();
    return result;
}
