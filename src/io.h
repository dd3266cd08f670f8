/*
 * io.h - the disk, behind a small seam.
 *
 * Everything that the store does to files goes through one `struct toon_io`,
 * so that tests put a disk behind it that refuses, tears, loses and lies.
 * Names are relative to the store's directory, which is held open.
 *
 * Knows system calls; must never know formats.
 */
#ifndef TOON_IO_H
#define TOON_IO_H

#include "bytes.h"

#include <fcntl.h>
#include <sys/types.h>

/* As the system calls of these names: -1 and errno on failure. */
typedef struct toon_io {
    int (*open_at)(int dir_fd, const char *name, int flags, mode_t mode);
    int (*close)(int fd);
    ssize_t (*pread)(int fd, void *buf, size_t size, off_t offset);
    ssize_t (*pwrite)(int fd, const void *buf, size_t size, off_t offset);
    int (*sync)(int fd); /* fdatasync(2), or fsync(2) of a directory */
    int (*truncate)(int fd, off_t size);
    int (*allocate)(int fd, off_t offset, off_t size); /* size is kept */
    int (*rename_at)(int dir_fd, const char *from, const char *to);
    int (*unlink_at)(int dir_fd, const char *name);
    int (*make_dir)(const char *path, mode_t mode);
    off_t (*size)(int fd); /* of the file; -1: fstat(2) failed */
    /* To the same place in the other file, as copy_file_range(2). NULL: this
     * disk cannot; reads and writes do it. */
    ssize_t (*copy)(int from, int to, off_t offset, size_t size);
    int (*link_at)(int dir_fd, const char *from, const char *to); /* hard */
    /* Bytes that the file system has left, UINT64_MAX if it does not tell. NULL:
     * it never does. */
    uint64_t (*space)(int dir_fd);
    void *(*map)(int fd, size_t size); /* read-only, shared */
    int (*unmap)(void *at, size_t size);
} toon_io;

extern const toon_io toon_io_system;

/* One open file of the store; what messages and errors need goes with it. */
typedef struct toon_file {
    const toon_io *io;
    int fd;         /* -1: none */
    char path[256]; /* for people; long ones are cut */
} toon_file;

/* The directory of a store. */
typedef struct toon_dir {
    const toon_io *io;
    int fd;
    char path[200];
} toon_dir;

/* TOON_NOT_FOUND if there is no such directory and `create` is false. */
toon_err toon_dir_open(const toon_io *io, const char *path, bool create,
                       toon_dir *out);
void toon_dir_close(toon_dir *dir);
/* Removes a directory that is empty; no failure is told. */
void toon_dir_unmake(const char *path);
toon_err toon_dir_sync(const toon_dir *dir);
/* Bytes that the file system has left, as far as it tells; UINT64_MAX if not. */
uint64_t toon_dir_space(const toon_dir *dir);
toon_err toon_dir_rename(const toon_dir *dir, const char *from, const char *to);
/* A second name for a file; the first stays. Some file systems have none:
 * toon_last_error()->sys_errno is then EPERM or EOPNOTSUPP. */
toon_err toon_dir_link(const toon_dir *dir, const char *from, const char *to);
/* A missing name is fine. */
toon_err toon_dir_unlink(const toon_dir *dir, const char *name);

/* TOON_NOT_FOUND if it is not there and O_CREAT is not among the flags. */
toon_err toon_file_open(const toon_dir *dir, const char *name, int flags,
                        toon_file *out);
void toon_file_close(toon_file *file);
toon_err toon_file_size(const toon_file *file, uint64_t *size);

/* Reads all of `size` bytes; the end of the file before that is
 * TOON_CORRUPT. Interrupted and short calls go on. */
toon_err toon_file_read(const toon_file *file, void *buf, size_t size,
                        uint64_t offset);
toon_err toon_file_write(const toon_file *file, const void *buf, size_t size,
                         uint64_t offset);
toon_err toon_file_sync(const toon_file *file);
toon_err toon_file_truncate(const toon_file *file, uint64_t size);

/* Room on the disk for those bytes without changing the file's size. A file
 * system that cannot reserve is TOON_OK, and *reserved is false then. */
toon_err toon_file_allocate(const toon_file *file, uint64_t offset,
                            uint64_t size, bool *reserved);

/* Copies those bytes to the same place in the other file. */
toon_err toon_file_copy(const toon_file *from, const toon_file *to,
                        uint64_t offset, uint64_t size);

/* A failure of this file, told with the system's errno as it stands. */
toon_err toon_file_fail(const toon_file *file, int64_t offset,
                        const char *what);

/*
 * A read-only mapping. A disk error under it does not end the process: the
 * page reads as zeros from then on (io.c catches SIGBUS for addresses of such
 * mappings), so that its records fail their CRC and are read again by calls,
 * which tell the error. NULL and errno if the system refuses; reads then go by
 * calls.
 */
void *toon_file_map(const toon_file *file, size_t size);

/* Of its bytes `used` may be in memory. These are let go in slices: whoever
 * else maps something, as malloc does now and then, has to wait for one. */
void toon_file_unmap(const toon_io *io, void *at, size_t size, size_t used);

/* Random bytes from the system. */
toon_err toon_random(void *out, size_t size);

#endif
