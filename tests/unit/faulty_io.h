/*
 * faulty_io.h - a disk that fails on demand, behind the seam of io.h.
 */
#ifndef TOON_TEST_FAULTY_IO_H
#define TOON_TEST_FAULTY_IO_H

#include "io.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* What the next calls do. 0 or false: as the system does. A store's
 * threads call, too. */
static struct {
    atomic_int write_errno; /* every write fails so */
    atomic_size_t
        write_at_most; /* bytes a call takes; then write_errno, if set */
    atomic_int truncate_errno;
    atomic_int sync_errno;
    atomic_int syncs_before; /* so many of files are fine first */
    atomic_int dir_sync_errno;
    atomic_int read_errno;
    atomic_bool map_fails; /* mappings show zeros, as where a disk fails */
    atomic_int allocate_errno;
    atomic_int rename_errno;
    atomic_int interrupts; /* so many EINTR first, of any read or write */
    atomic_size_t transfer_max;
    atomic_int writes, syncs;
    atomic_size_t read_bytes; /* by calls, not from the mapping */
} faulty;

static bool interrupted(void) {
    if (faulty.interrupts == 0)
        return false;
    faulty.interrupts--;
    errno = EINTR;
    return true;
}

static size_t limited(size_t size) {
    return faulty.transfer_max > 0 && size > faulty.transfer_max
               ? faulty.transfer_max
               : size;
}

static ssize_t faulty_pread(int fd, void *buf, size_t size, off_t offset) {
    if (faulty.read_errno != 0 && offset >= 512) { /* the start is fine */
        errno = faulty.read_errno;
        return -1;
    }
    if (interrupted())
        return -1;
    ssize_t count = pread(fd, buf, limited(size), offset);
    faulty.read_bytes += count > 0 ? (size_t)count : 0;
    return count;
}

static ssize_t faulty_pwrite(int fd, const void *buf, size_t size,
                             off_t offset) {
    if (interrupted())
        return -1;
    faulty.writes++;
    if (faulty.write_errno != 0 && faulty.write_at_most == 0) {
        errno = faulty.write_errno;
        return -1;
    }
    if (faulty.write_errno != 0) { /* a torn write, then the error */
        size_t some = size < faulty.write_at_most ? size : faulty.write_at_most;
        faulty.write_at_most = 0;
        return pwrite(fd, buf, some, offset);
    }
    return pwrite(fd, buf, limited(size), offset);
}

static int faulty_sync(int fd) {
    struct stat st;
    if (faulty.dir_sync_errno != 0 && fstat(fd, &st) == 0 &&
        S_ISDIR(st.st_mode)) {
        errno = faulty.dir_sync_errno;
        return -1;
    }
    faulty.syncs++;
    if (faulty.sync_errno == 0 || faulty.syncs_before-- > 0)
        return fdatasync(fd);
    errno = faulty.sync_errno;
    return -1;
}

static int faulty_truncate(int fd, off_t size) {
    errno = faulty.truncate_errno;
    return faulty.truncate_errno != 0 ? -1 : ftruncate(fd, size);
}

static int faulty_allocate(int fd, off_t offset, off_t size) {
    errno = faulty.allocate_errno;
    return faulty.allocate_errno != 0
               ? -1
               : toon_io_system.allocate(fd, offset, size);
}

static int faulty_rename(int dir_fd, const char *from, const char *to) {
    errno = faulty.rename_errno;
    return faulty.rename_errno != 0 ? -1 : renameat(dir_fd, from, dir_fd, to);
}

static void *faulty_map(int fd, size_t size) {
    if (!faulty.map_fails)
        return toon_io_system.map(fd, size);
    char *at = mmap(NULL, size, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at != MAP_FAILED)
        (void)!pread(fd, at, 512, 0);
    return at;
}

static inline toon_io faulty_io(void) {
    toon_io io = toon_io_system;
    io.pread = faulty_pread;
    io.pwrite = faulty_pwrite;
    io.sync = faulty_sync;
    io.truncate = faulty_truncate;
    io.allocate = faulty_allocate;
    io.rename_at = faulty_rename;
    io.map = faulty_map;
    return io;
}

#endif
