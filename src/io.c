/*
 * io.c - system calls with their small print: EINTR, short transfers, SIGBUS.
 *
 * Knows system calls; must never know formats.
 */
#include "io.h"

#include "error.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* The hostile build transfers a few bytes a call, so that every caller meets
 * short reads and writes. */
#ifdef TOON_HOSTILE
#define TRANSFER_MAX ((size_t)509)
#else
#define TRANSFER_MAX ((size_t)1 << 30)
#endif

static size_t transfer_size(size_t size) {
    return size < TRANSFER_MAX ? size : TRANSFER_MAX;
}

/* ------------------------------------------------------- the real system */

static int system_open_at(int dir_fd, const char *name, int flags,
                          mode_t mode) {
    return openat(dir_fd, name, flags | O_CLOEXEC, mode);
}

static int system_rename_at(int dir_fd, const char *from, const char *to) {
    return renameat(dir_fd, from, dir_fd, to);
}

static int system_unlink_at(int dir_fd, const char *name) {
    return unlinkat(dir_fd, name, 0);
}

static off_t system_size(int fd) {
    struct stat st;
    return fstat(fd, &st) == 0 ? st.st_size : -1;
}

static int system_link_at(int dir_fd, const char *from, const char *to) {
    return linkat(dir_fd, from, dir_fd, to, 0);
}

static ssize_t system_copy(int from, int to, off_t offset, size_t size) {
    off_t to_offset = offset;
    return copy_file_range(from, &offset, to, &to_offset, size, 0);
}

static int system_allocate(int fd, off_t offset, off_t size) {
    return fallocate(fd, FALLOC_FL_KEEP_SIZE, offset, size);
}

static int system_sync(int fd) {
    return fdatasync(fd);
}

static uint64_t system_space(int dir_fd) {
    struct statvfs space;
    if (fstatvfs(dir_fd, &space) != 0)
        return UINT64_MAX;
    return (uint64_t)space.f_bavail * space.f_frsize;
}

static void *system_map(int fd, size_t size) {
    return mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
}

const toon_io toon_io_system = {
    .open_at = system_open_at,
    .close = close,
    .pread = pread,
    .pwrite = pwrite,
    .sync = system_sync,
    .truncate = ftruncate,
    .allocate = system_allocate,
    .rename_at = system_rename_at,
    .unlink_at = system_unlink_at,
    .make_dir = mkdir,
    .size = system_size,
    .copy = system_copy,
    .link_at = system_link_at,
    .space = system_space,
    .map = system_map,
    .unmap = munmap,
};

/* ------------------------------------------------------------ directories */

static toon_err dir_fail(const char *path, const char *what) {
    toon_where where = {.path = path, .offset = -1, .sys_errno = errno};
    return toon_fail(toon_err_of_errno(errno), where, "%s %s", what, path);
}

/* Some file systems let a signal end calls that others never interrupt. */
static int open_whole(const toon_io *io, int dir_fd, const char *name,
                      int flags) {
    int fd;
    do {
        fd = io->open_at(dir_fd, name, flags, 0666);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

static bool sync_whole(const toon_io *io, int fd) {
    int result;
    do {
        result = io->sync(fd);
    } while (result != 0 && errno == EINTR);
    return result == 0;
}

uint64_t toon_dir_space(const toon_dir *dir) {
    return dir->io->space != NULL ? dir->io->space(dir->fd) : UINT64_MAX;
}

/*
 * So that the directory is there after a power cut. Also if it was there: who
 * made it may have been killed before this. Then a directory above that cannot
 * be opened is none of our business.
 */
static toon_err sync_above(const toon_dir *dir, bool made) {
    toon_err err = TOON_OK;
    int above = open_whole(dir->io, dir->fd, "..", O_RDONLY | O_DIRECTORY);
    if (above < 0 && !made)
        return TOON_OK;
    if (above < 0 || !sync_whole(dir->io, above))
        err = dir_fail(dir->path, "cannot sync the directory above");
    if (above >= 0)
        (void)dir->io->close(above);
    return err;
}

toon_err toon_dir_open(const toon_io *io, const char *path, bool create,
                       toon_dir *out) {
    bool made = create && io->make_dir(path, 0777) == 0;
    if (create && !made && errno != EEXIST)
        return dir_fail(path, "cannot make the store's directory");
    int fd = open_whole(io, AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
    if (fd < 0 && errno == ENOENT) {
        toon_where where = {.path = path, .offset = -1, .sys_errno = 0};
        return toon_fail(TOON_NOT_FOUND, where, "there is no directory %s",
                         path);
    }
    if (fd < 0)
        return dir_fail(path, "cannot open the store's directory");
    out->io = io;
    out->fd = fd;
    (void)snprintf(out->path, sizeof out->path, "%s", path);
    toon_err err = create ? sync_above(out, made) : TOON_OK;
    if (err != TOON_OK)
        toon_dir_close(out);
    return err;
}

void toon_dir_close(toon_dir *dir) {
    if (dir->fd >= 0)
        (void)dir->io->close(dir->fd);
    dir->fd = -1;
}

void toon_dir_unmake(const char *path) {
    (void)rmdir(path);
}

toon_err toon_dir_sync(const toon_dir *dir) {
    if (sync_whole(dir->io, dir->fd))
        return TOON_OK;
    return dir_fail(dir->path, "cannot sync the directory");
}

toon_err toon_dir_rename(const toon_dir *dir, const char *from,
                         const char *to) {
    if (dir->io->rename_at(dir->fd, from, to) == 0)
        return TOON_OK;
    return dir_fail(dir->path, "cannot rename a file in");
}

toon_err toon_dir_link(const toon_dir *dir, const char *from, const char *to) {
    if (dir->io->link_at(dir->fd, from, to) == 0)
        return TOON_OK;
    return dir_fail(dir->path, "cannot give a file a second name in");
}

toon_err toon_dir_unlink(const toon_dir *dir, const char *name) {
    if (dir->io->unlink_at(dir->fd, name) == 0 || errno == ENOENT)
        return TOON_OK;
    return dir_fail(dir->path, "cannot remove a file in");
}

/* ------------------------------------------------------------------ files */

toon_err toon_file_fail(const toon_file *file, int64_t offset,
                        const char *what) {
    toon_where where = {file->path, offset, errno};
    return toon_fail(toon_err_of_errno(errno), where, "%s %s", what,
                     file->path);
}

toon_err toon_file_open(const toon_dir *dir, const char *name, int flags,
                        toon_file *out) {
    out->io = dir->io;
    (void)snprintf(out->path, sizeof out->path, "%s/%s", dir->path, name);
    out->fd = open_whole(dir->io, dir->fd, name, flags);
    if (out->fd >= 0)
        return TOON_OK;
    if (errno != ENOENT || (flags & O_CREAT) != 0)
        return toon_file_fail(out, -1, "cannot open");
    toon_where where = {.path = out->path, .offset = -1, .sys_errno = 0};
    return toon_fail(TOON_NOT_FOUND, where, "there is no file %s", out->path);
}

void toon_file_close(toon_file *file) {
    if (file->fd >= 0)
        (void)file->io->close(file->fd);
    file->fd = -1;
}

toon_err toon_file_size(const toon_file *file, uint64_t *size) {
    off_t got = file->io->size(file->fd);
    if (got < 0)
        return toon_file_fail(file, -1, "cannot stat");
    *size = (uint64_t)got;
    return TOON_OK;
}

toon_err toon_file_read(const toon_file *file, void *buf, size_t size,
                        uint64_t offset) {
    char *at = buf;
    while (size > 0) {
        ssize_t got =
            file->io->pread(file->fd, at, transfer_size(size), (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return toon_file_fail(file, (int64_t)offset, "cannot read");
        if (got == 0) {
            toon_where where = {file->path, (int64_t)offset, 0};
            return toon_fail(TOON_CORRUPT, where, "%s ends too early",
                             file->path);
        }
        at += got;
        size -= (size_t)got;
        offset += (uint64_t)got;
    }
    return TOON_OK;
}

toon_err toon_file_write(const toon_file *file, const void *buf, size_t size,
                         uint64_t offset) {
    const char *at = buf;
    while (size > 0) {
        ssize_t put =
            file->io->pwrite(file->fd, at, transfer_size(size), (off_t)offset);
        if (put < 0 && errno == EINTR)
            continue;
        if (put == 0)
            errno = EIO; /* a regular file always takes something */
        if (put <= 0)
            return toon_file_fail(file, (int64_t)offset, "cannot write to");
        at += put;
        size -= (size_t)put;
        offset += (uint64_t)put;
    }
    return TOON_OK;
}

/* In the kernel where it can: a file system that shares blocks copies none. */
static uint64_t copy_in_kernel(const toon_file *from, const toon_file *to,
                               uint64_t offset, uint64_t size) {
    uint64_t done = 0;
    while (to->io->copy != NULL && done < size) {
        uint64_t rest = size - done;
        size_t piece = rest < TRANSFER_MAX ? (size_t)rest : TRANSFER_MAX;
        ssize_t put =
            to->io->copy(from->fd, to->fd, (off_t)(offset + done), piece);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            break;
        done += (uint64_t)put;
    }
    return done;
}

/* What the kernel would not copy goes by calls that tell why. */
toon_err toon_file_copy(const toon_file *from, const toon_file *to,
                        uint64_t offset, uint64_t size) {
    enum { PIECE = 256 * 1024 };

    uint64_t done = copy_in_kernel(from, to, offset, size);
    char *piece = done < size ? malloc(PIECE) : NULL;
    toon_err err = TOON_OK;
    if (done < size && piece == NULL)
        return toon_fail_memory();
    while (err == TOON_OK && done < size) {
        size_t count = size - done < PIECE ? (size_t)(size - done) : PIECE;
        err = toon_file_read(from, piece, count, offset + done);
        if (err == TOON_OK)
            err = toon_file_write(to, piece, count, offset + done);
        done += count;
    }
    free(piece);
    return err;
}

toon_err toon_file_sync(const toon_file *file) {
    if (sync_whole(file->io, file->fd))
        return TOON_OK;
    return toon_file_fail(file, -1, "cannot sync");
}

toon_err toon_file_truncate(const toon_file *file, uint64_t size) {
    int result;
    do {
        result = file->io->truncate(file->fd, (off_t)size);
    } while (result != 0 && errno == EINTR);
    if (result == 0)
        return TOON_OK;
    return toon_file_fail(file, (int64_t)size, "cannot cut");
}

toon_err toon_file_allocate(const toon_file *file, uint64_t offset,
                            uint64_t size, bool *reserved) {
    int result;
    do {
        result = file->io->allocate(file->fd, (off_t)offset, (off_t)size);
    } while (result != 0 && errno == EINTR);
    *reserved = result == 0;
    if (result == 0 || errno == EOPNOTSUPP || errno == ENOSYS)
        return TOON_OK;
    return toon_file_fail(file, (int64_t)offset, "no space to grow");
}

/* ---------------------------------------------------------------- mappings */

/*
 * The handler finds the mapping of a faulting address in a fixed table that
 * is changed under a mutex and read without. A slot is free while `size` is
 * 0; it is set last and cleared first.
 */
enum { MAPPINGS_MAX = 256 };

static struct mapping {
    _Atomic uintptr_t start;
    _Atomic size_t size;
} mappings[MAPPINGS_MAX];

static pthread_mutex_t mappings_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t handler_once = PTHREAD_ONCE_INIT;
static struct sigaction handler_before;

static bool is_ours(uintptr_t address) {
    for (int i = 0; i < MAPPINGS_MAX; i++) {
        size_t size = atomic_load(&mappings[i].size);
        uintptr_t start = atomic_load(&mappings[i].start);
        if (size > 0 && address >= start && address - start < size)
            return true;
    }
    return false;
}

/* Zeros take the place of the page that the disk could not give. */
static void on_bus_error(int number, siginfo_t *info, void *context) {
    int saved_errno = errno;
    uintptr_t page_size = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t address = (uintptr_t)info->si_addr;
    if (is_ours(address)) {
        char *page = (char *)info->si_addr - address % page_size;
        int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
        if (mmap(page, page_size, PROT_READ, flags, -1, 0) != MAP_FAILED) {
            errno = saved_errno;
            return;
        }
    }
    if ((handler_before.sa_flags & SA_SIGINFO) != 0) {
        handler_before.sa_sigaction(number, info, context);
        return;
    }
    /* The fault comes again and finds what was there before us. */
    (void)sigaction(number, &handler_before, NULL);
}

static void install_handler(void) {
    struct sigaction action = {0};
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO | SA_NODEFER;
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGBUS, &action, &handler_before);
}

static bool remember_mapping(const void *at, size_t size) {
    bool found = false;
    (void)pthread_mutex_lock(&mappings_lock);
    for (int i = 0; i < MAPPINGS_MAX && !found; i++) {
        if (atomic_load(&mappings[i].size) != 0)
            continue;
        atomic_store(&mappings[i].start, (uintptr_t)at);
        atomic_store(&mappings[i].size, size);
        found = true;
    }
    (void)pthread_mutex_unlock(&mappings_lock);
    return found;
}

static void forget_mapping(const void *at) {
    (void)pthread_mutex_lock(&mappings_lock);
    for (int i = 0; i < MAPPINGS_MAX; i++) {
        if (atomic_load(&mappings[i].start) == (uintptr_t)at)
            atomic_store(&mappings[i].size, 0);
    }
    (void)pthread_mutex_unlock(&mappings_lock);
}

void *toon_file_map(const toon_file *file, size_t size) {
    (void)pthread_once(&handler_once, install_handler);
    void *at = file->io->map(file->fd, size);
    if (at == MAP_FAILED)
        return NULL;
    if (remember_mapping(at, size))
        return at;
    (void)file->io->unmap(at, size);
    errno = ENOMEM; /* the table is full */
    return NULL;
}

void toon_file_unmap(const toon_io *io, void *at, size_t size, size_t used) {
    const size_t slice = (size_t)16 << 20;
    forget_mapping(at);
    for (size_t done = 0; done < used; done += slice)
        (void)madvise((char *)at + done,
                      used - done < slice ? used - done : slice, MADV_DONTNEED);
    (void)io->unmap(at, size);
}

toon_err toon_random(void *out, size_t size) {
    ssize_t got;
    do {
        got = getrandom(out, size, 0);
    } while (got < 0 && errno == EINTR);
    if (got == (ssize_t)size)
        return TOON_OK;
    toon_where where = {NULL, -1, errno};
    return toon_fail(TOON_IO, where, "no random numbers");
}
